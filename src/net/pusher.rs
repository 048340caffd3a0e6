//! The pool that pushes: a few workers, each with its share of the clients.
//!
//! A worker sleeps in its own poll. It wakes because a feed has something new
//! (the bell), because a client needs attention (it came, it went, something
//! waits for room), because a blocked socket became writable, or because a
//! deadline passed. Then it lets every client catch up from its cursor: when
//! the worker is late, many batches go out in one send, and being late costs
//! nothing more.
//!
//! A client belongs to one worker for life, so the order of what it gets needs
//! no lock.

use std::{
    io,
    os::fd::AsRawFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    client::Client,
    feed::{Bell, Cursor, Frames},
    limits::Limits,
    outlet::Sent,
    squeezed::Squeezed,
    stats::Stats,
};
use crate::{
    error::{Error, Result},
    fault::{self, Place},
    message::CloseCode,
    pulse::{Mark, Pulse},
};
use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};

const WAKE: Token = Token(usize::MAX);
/// Of a poll token, this many bits are the index; the rest is the generation,
/// so that a late event never reaches the next client of a place.
const INDEX_BITS: u32 = 16;
/// So many clients are given to one worker before the next gets its first:
/// each worker that has clients is one more thread to wake for every batch.
const ENOUGH: usize = 128;
/// How often one client may fill again within one turn; a fast publisher must
/// not keep a worker with one client.
const ROUNDS: usize = 64;
/// Deadlines are looked at no more often than this.
const SWEEP: Duration = Duration::from_millis(250);
/// Cursors that are due are looked at no more often than that.
const DUE: Duration = Duration::from_millis(2);

type Joining = (Arc<Client>, Option<Box<dyn Cursor>>);

/// What others leave for a worker.
#[derive(Default)]
struct Inbox {
    joining: Vec<Joining>,
    /// At most once each: `Client::attended` sees to it.
    attend: Vec<Arc<Client>>,
}

struct Shared {
    inbox: Mutex<Inbox>,
    waker: Waker,
    /// The bell rang since the worker last looked.
    rung: AtomicBool,
    /// All clients are to be closed with 1001.
    stopping: AtomicBool,
    quit: AtomicBool,
    clients: AtomicUsize,
    mark: Arc<Mark>,
}

impl Shared {
    fn wake(&self) {
        // An eventfd write fails only when its counter is full: then the
        // worker is being woken already.
        let _ = self.waker.wake();
    }
}

/// One worker, as others see it.
#[derive(Clone)]
pub(super) struct WorkerHandle(Arc<Shared>);

impl std::fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("clients", &self.0.clients).finish()
    }
}

impl WorkerHandle {
    /// Hands a new client over.
    pub(super) fn join(&self, client: Arc<Client>, cursor: Option<Box<dyn Cursor>>) {
        self.0.clients.fetch_add(1, AcqRel);
        self.inbox().joining.push((client, cursor));
        self.0.wake();
    }

    /// Asks the worker to look at a client: it is gone, or something waits.
    pub(super) fn attend(&self, client: &Arc<Client>) {
        // Read-modify-write on both sides: with a plain store the worker could
        // miss what the client did just before asking.
        if !client.attended.swap(true, AcqRel) {
            self.inbox().attend.push(client.clone());
            self.0.wake();
        }
    }

    fn inbox(&self) -> std::sync::MutexGuard<'_, Inbox> {
        self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All workers.
pub(super) struct Pool {
    workers: Vec<WorkerHandle>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    /// Starts the workers. `fatal` is called with one line when one dies.
    pub(super) fn start(
        limits: &Limits,
        stats: &Arc<Stats>,
        fatal: &Arc<dyn Fn(String) + Send + Sync>,
    ) -> Result<Self> {
        // Those that run already end with it, when a further one is refused.
        let mut pool = Self { workers: Vec::new(), threads: Mutex::default() };
        let squeezed = Arc::new(Squeezed::default());
        for number in 0..limits.workers {
            let name = format!("bc-push-{number}");
            let start = || -> io::Result<_> {
                let worker = Worker::new(limits.clone(), stats.clone(), squeezed.clone())?;
                let handle = WorkerHandle(worker.shared.clone());
                let fatal = fatal.clone();
                let builder = thread::Builder::new().name(name.clone()).stack_size(256 * 1024);
                let thread = fault::spawn(builder, move || run(worker, &*fatal))?;
                Ok((handle, thread))
            };
            let (worker, thread) =
                start().map_err(|error| Error::io(format!("start {name}"), error))?;
            pool.workers.push(worker);
            pool.threads.get_mut().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(pool)
    }

    /// The worker for a new client: the first that has not enough to do, or
    /// the one with the fewest clients.
    pub(super) fn for_new_client(&self) -> WorkerHandle {
        let clients = |worker: &WorkerHandle| worker.0.clients.load(Relaxed);
        let idle = self.workers.iter().find(|worker| clients(worker) < ENOUGH);
        let chosen = idle.or_else(|| self.workers.iter().min_by_key(|worker| clients(worker)));
        // A pool has at least one worker: `Limits::validate` sees to it.
        chosen.unwrap_or(&self.workers[0]).clone()
    }

    /// A bell that wakes all workers that have clients. A client that joins
    /// meanwhile is counted before its first fill, which sees what was
    /// published before the bell.
    pub(super) fn bell(&self) -> Bell {
        let workers: Vec<_> = self.workers.iter().map(|worker| worker.0.clone()).collect();
        Bell::new(move || {
            for worker in &workers {
                if worker.clients.load(Acquire) > 0 && !worker.rung.swap(true, AcqRel) {
                    worker.wake();
                }
            }
        })
    }

    /// Every worker, to be asked whether it still turns.
    pub(super) fn pulses(&self) -> Vec<Pulse> {
        let pulse = |(number, worker): (usize, &WorkerHandle)| {
            let shared = worker.0.clone();
            Pulse::new(format!("bc-push-{number}"), shared.mark.clone(), move || shared.wake())
        };
        self.workers.iter().enumerate().map(pulse).collect()
    }

    /// Lets every client catch up once more and then closes it with 1001.
    pub(super) fn stop(&self) {
        for worker in &self.workers {
            worker.0.stopping.store(true, Relaxed);
            worker.0.wake();
        }
    }

    /// Ends the workers and waits for them.
    pub(super) fn end(&self) {
        for worker in &self.workers {
            worker.0.quit.store(true, Relaxed);
            worker.0.wake();
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // Its panic, if any, went to `fatal` already.
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(mut worker: Worker, fatal: &(dyn Fn(String) + Send + Sync)) {
    let name = thread::current().name().unwrap_or("a push worker").to_owned();
    match catch_unwind(AssertUnwindSafe(|| worker.run())) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => fatal(format!("{name} cannot poll: {error}")),
        Err(_) => fatal(format!("{name} panicked")),
    }
}

struct Member {
    client: Arc<Client>,
    cursor: Option<Box<dyn Cursor>>,
    generation: usize,
    registered: bool,
    /// Its replies no longer wait for the feed's first frame.
    released: bool,
    /// Its socket takes nothing at the moment; its event will say when.
    blocked: bool,
    ping_at: Instant,
}

#[derive(Default)]
struct Tally {
    frames: u64,
    bytes: u64,
    calls: u64,
}

struct Worker {
    shared: Arc<Shared>,
    poll: Poll,
    members: Vec<Option<Member>>,
    free: Vec<usize>,
    generation: usize,
    frames: Frames,
    squeezed: Arc<Squeezed>,
    /// What this turn has sent; counted once, at its end.
    sent: Tally,
    sweep_at: Instant,
    /// When the next cursor is due.
    due_at: Option<Instant>,
    closing_all: bool,
    limits: Limits,
    stats: Arc<Stats>,
}

impl Worker {
    fn new(limits: Limits, stats: Arc<Stats>, squeezed: Arc<Squeezed>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let shared = Shared {
            inbox: Mutex::default(),
            waker: Waker::new(poll.registry(), WAKE)?,
            rung: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            quit: AtomicBool::new(false),
            clients: AtomicUsize::new(0),
            mark: Arc::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            poll,
            members: Vec::new(),
            free: Vec::new(),
            generation: 0,
            frames: Frames::default(),
            squeezed,
            sent: Tally::default(),
            sweep_at: Instant::now() + limits.ping_every,
            due_at: None,
            closing_all: false,
            limits,
            stats,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        while !self.shared.quit.load(Relaxed) {
            let now = Instant::now();
            let idle = self.members.len() == self.free.len();
            let next = self.due_at.map_or(self.sweep_at, |due| due.min(self.sweep_at));
            let timeout = (!idle).then(|| next.saturating_duration_since(now));
            let polled = fault::check(Place::Poll)
                .map_err(io::Error::from)
                .and_then(|()| self.poll.poll(&mut events, timeout));
            match polled {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            self.turn(&events, Instant::now());
            self.shared.mark.turned();
        }
        Ok(())
    }

    /// One turn: the inbox, then what became writable, then news for all, then
    /// what is due.
    fn turn(&mut self, events: &Events, now: Instant) {
        self.look_around(events, now);
        let Tally { frames, bytes, calls } = std::mem::take(&mut self.sent);
        if calls > 0 {
            self.stats.frames_sent.add(frames);
            self.stats.bytes_sent.add(bytes);
            self.stats.sends.add(calls);
        }
    }

    fn look_around(&mut self, events: &Events, now: Instant) {
        let rung = self.shared.rung.swap(false, AcqRel);
        self.read_inbox(now);
        for event in events.iter().filter(|event| event.token() != WAKE) {
            self.writable(event.token().0, now);
        }
        if rung {
            self.serve_all(now);
        }
        if self.shared.stopping.load(Relaxed) && !self.closing_all {
            self.close_all(now);
        }
        if self.due_at.is_some_and(|due| due <= now) {
            self.serve_due(now);
        }
        if now >= self.sweep_at {
            self.sweep(now);
        }
    }

    fn read_inbox(&mut self, now: Instant) {
        let inbox =
            std::mem::take(&mut *self.shared.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        for (client, cursor) in inbox.joining {
            self.admit(client, cursor, now);
        }
        for client in inbox.attend {
            client.attended.swap(false, AcqRel);
            let key = client.key.load(Relaxed);
            let Some(index) = self.find(key) else { continue };
            if client.gone.load(Acquire) {
                self.dismiss(index);
            } else {
                self.drain(index, now);
            }
        }
    }

    fn admit(&mut self, client: Arc<Client>, cursor: Option<Box<dyn Cursor>>, now: Instant) {
        fault::may_strike(Place::Worker);
        let index = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            self.members.len() - 1
        });
        // On a 32-bit board a generation has 16 bits: an event would have to
        // be 65,536 clients late.
        self.generation = (self.generation + 1) & (usize::MAX >> (INDEX_BITS + 1));
        client.key.store(self.generation << INDEX_BITS | index, Relaxed);
        client.hear(now);
        let ping_at = now + self.limits.ping_every;
        let generation = self.generation;
        let member = Member {
            client,
            cursor,
            generation,
            registered: false,
            released: false,
            blocked: false,
            ping_at,
        };
        self.members[index] = Some(member);
        self.sweep_at = self.sweep_at.min(ping_at);
        if self.closing_all {
            self.close_member(index, now);
        } else {
            self.drain(index, now);
        }
    }

    /// The index behind a key, when that client is still there.
    fn find(&self, key: usize) -> Option<usize> {
        let index = key & ((1 << INDEX_BITS) - 1);
        let member = self.members.get(index)?.as_ref()?;
        (member.generation == key >> INDEX_BITS).then_some(index)
    }

    fn dismiss(&mut self, index: usize) {
        let Some(member) = self.members[index].take() else { return };
        if member.registered {
            let fd = member.client.socket.as_raw_fd();
            // It was registered, so the kernel knows it; nothing else to do.
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
        self.free.push(index);
        self.shared.clients.fetch_sub(1, Relaxed);
    }

    fn writable(&mut self, key: usize, now: Instant) {
        let Some(index) = self.find(key) else { return };
        if let Some(member) = &mut self.members[index] {
            member.blocked = false;
            // A full socket that has room again: its peer took something, so
            // it lives, although it may be too far behind to see our pings.
            member.client.hear(now);
        }
        self.drain(index, now);
    }

    /// Sends what waits in the outlet, then what the client has missed.
    fn drain(&mut self, index: usize, now: Instant) {
        let Some(member) = &mut self.members[index] else { return };
        match member.client.outlet.drain(now) {
            Sent::All => self.serve(index, now),
            Sent::Blocked => self.arm(index, now),
            Sent::Closed => {}
        }
    }

    fn serve_all(&mut self, now: Instant) {
        for index in 0..self.members.len() {
            self.serve(index, now);
        }
    }

    /// Lets one client catch up from its cursor, as far as its socket takes it.
    fn serve(&mut self, index: usize, now: Instant) {
        let Some(member) = &mut self.members[index] else { return };
        let Some(cursor) = &mut member.cursor else { return };
        if member.blocked {
            return;
        }
        let mut last = Sent::All;
        for round in 0.. {
            self.frames.clear();
            cursor.fill(now, &mut self.frames);
            if self.frames.was_overtaken() {
                log::info!("{}: ended with 1013, it was overtaken", member.client.peer);
                self.stats.ended_slow.increment();
                member.cursor = None;
                member.client.end(CloseCode::TRY_AGAIN_LATER, "too slow; come back later");
                return;
            }
            if self.frames.is_empty() && !self.frames.more_follows() {
                if !std::mem::replace(&mut member.released, true) {
                    last = member.client.outlet.release(now);
                }
                break;
            }
            if round == ROUNDS {
                self.shared.rung.store(true, Relaxed);
                self.shared.wake();
                break;
            }
            if self.frames.is_empty() {
                continue;
            }
            if let Some(agreement) = member.client.agreement {
                self.squeezed.apply(&mut self.frames, agreement);
            }
            let pushed = member.client.outlet.push(self.frames.as_slice(), now);
            cursor.consume(&self.frames.places()[..pushed.taken], now);
            self.sent.frames += pushed.taken as u64;
            self.sent.bytes += pushed.bytes as u64;
            self.sent.calls += 1;
            last = pushed.sent;
            if last != Sent::All || !self.frames.more_follows() {
                break;
            }
        }
        match (last, cursor.due()) {
            (Sent::Blocked, _) => {
                self.stats.blocked_sends.increment();
                self.arm(index, now);
            }
            (Sent::All, Some(due)) => {
                self.due_at = Some(self.due_at.map_or(due, |at| at.min(due)));
            }
            _ => {}
        }
    }

    /// Serves the clients whose cursors asked for this moment. One whose
    /// socket is full is served when that has room.
    fn serve_due(&mut self, now: Instant) {
        self.due_at = None;
        for index in 0..self.members.len() {
            let due = self.members[index].as_ref().and_then(Member::due);
            match due {
                Some(due) if due <= now => self.serve(index, now),
                Some(due) => self.due_at = Some(self.due_at.map_or(due, |at| at.min(due))),
                None => {}
            }
        }
        // A cursor that stays due must not keep the worker turning.
        self.due_at = self.due_at.map(|at| at.max(now + DUE));
    }

    /// Asks for an event when the socket takes something again. Registering
    /// anew reports present readiness, so nothing is lost in between.
    fn arm(&mut self, index: usize, now: Instant) {
        let Some(member) = &mut self.members[index] else { return };
        if member.blocked {
            return;
        }
        let fd = member.client.socket.as_raw_fd();
        let token = Token(member.generation << INDEX_BITS | index);
        let registry = self.poll.registry();
        let armed = if let Err(error) = fault::check(Place::Register) {
            Err(error.into())
        } else if member.registered {
            registry.reregister(&mut SourceFd(&fd), token, Interest::WRITABLE)
        } else {
            registry.register(&mut SourceFd(&fd), token, Interest::WRITABLE)
        };
        match armed {
            Ok(()) => {
                member.registered = true;
                member.blocked = true;
                self.sweep_at = self.sweep_at.min(now + self.limits.stuck);
            }
            Err(error) => {
                // Without an event the client would hang for ever.
                log::warn!("{}: cannot watch the socket: {error}", member.client.peer);
                member.client.outlet.abort();
            }
        }
    }

    fn close_all(&mut self, now: Instant) {
        self.closing_all = true;
        for index in 0..self.members.len() {
            self.close_member(index, now);
        }
    }

    /// 1001 behind what is pending.
    fn close_member(&mut self, index: usize, now: Instant) {
        self.serve(index, now);
        if let Some(member) = &self.members[index] {
            member.client.end(CloseCode::GOING_AWAY, "the server stops");
        }
    }

    /// Pings, silence, stuck writes; and when to look next.
    fn sweep(&mut self, now: Instant) {
        let mut next = now + self.limits.ping_every;
        for index in 0..self.members.len() {
            let Some(member) = &mut self.members[index] else { continue };
            if member.client.outlet.is_closing() {
                continue;
            }
            let due = member.check(now, &self.limits, &self.stats);
            next = next.min(due);
        }
        self.sweep_at = next.max(now + SWEEP);
    }
}

impl Member {
    /// When to serve it even if nothing new comes.
    fn due(&self) -> Option<Instant> {
        let waits = self.blocked || self.client.outlet.is_closing();
        self.cursor.as_ref().filter(|_| !waits)?.due()
    }

    /// Looks at one client's deadlines; returns the next.
    fn check(&mut self, now: Instant, limits: &Limits, stats: &Stats) -> Instant {
        let stuck_at = self.client.outlet.blocked_since().map(|since| since + limits.stuck);
        // A handler at work does not listen; its peer is not to blame.
        let reading = self.client.reading.load(Relaxed);
        let heard_at = if reading { self.client.heard_at() } else { now };
        let silent_at = heard_at + limits.silence;
        if stuck_at.is_some_and(|at| at <= now) {
            let peer = self.client.peer;
            log::info!("{peer}: ended with 1013, it took nothing for {:?}", limits.stuck);
            stats.ended_slow.increment();
            self.client.end(CloseCode::TRY_AGAIN_LATER, "too slow; come back later");
        } else if silent_at <= now {
            log::info!("{}: ended, nothing heard for {:?}", self.client.peer, limits.silence);
            stats.ended_silent.increment();
            self.client.outlet.abort();
        } else if self.ping_at <= now {
            self.ping_at = now + limits.ping_every;
            self.ping(now);
        }
        stuck_at.unwrap_or(silent_at).min(silent_at).min(self.ping_at)
    }

    /// A client that takes nothing gets no further ping: it would only wait.
    fn ping(&mut self, now: Instant) {
        if self.blocked {
            return;
        }
        self.client.pinged.sent(now);
        self.client.settle(self.client.outlet.ping(now));
    }
}
