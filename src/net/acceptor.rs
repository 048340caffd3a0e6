//! The accept loop: listeners, signals, and the deadlines of every connection
//! that is not streaming.
//!
//! It never reads a request and never waits for anything but its poll. Whom it
//! cannot serve it tells so: one short answer, and then the socket is read
//! empty for a moment, since closing it at once would make the kernel reset
//! what was said.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpListener, unix::SourceFd};
use nix::{libc, sys::signalfd::SignalFd};

use super::{
    connection::{self, Engine, full, too_many},
    http::Response,
    limits::Limits,
    server::Ended,
    slots::{Refusal, Slots},
    socket::Socket,
    stats::Stats,
};
use crate::{
    error::{Error, Result},
    fault::{self, Place},
    pulse::Mark,
};

pub(super) const WAKE: Token = Token(0);
const SIGNAL: Token = Token(1);
const LISTENERS: usize = 2;
/// Tokens from here on are refused peers that are read empty.
const REFUSED: usize = 1 << 16;
/// The first pause after the system had no descriptor or memory for us.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What others ask of the accept loop.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Stop gently.
    pub(super) stop: AtomicBool,
    /// A thread that must live has died; why.
    pub(super) fatal: Mutex<Option<String>>,
    /// Say that you still turn.
    pub(super) mark: Arc<Mark>,
}

pub(super) struct Acceptor {
    pub(super) poll: Poll,
    pub(super) listeners: Vec<TcpListener>,
    pub(super) signals: Option<SignalFd>,
    pub(super) slots: Slots,
    pub(super) engine: Arc<Engine>,
    pub(super) requests: Arc<Requests>,
    pub(super) refused: Refused,
    pub(super) pause: Pause,
}

/// Why the loop ended.
enum Call {
    Stop,
    Fatal(String),
}

impl Acceptor {
    /// Registers everything with the poll.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        for (number, listener) in self.listeners.iter_mut().enumerate() {
            let token = Token(LISTENERS + number);
            fault::check(Place::Register)?;
            self.poll.registry().register(listener, token, Interest::READABLE)?;
        }
        if let Some(signals) = &self.signals {
            let fd = signals.as_raw_fd();
            self.poll.registry().register(&mut SourceFd(&fd), SIGNAL, Interest::READABLE)?;
        }
        Ok(())
    }

    /// Runs until it is told to stop, and then stops everything.
    pub(super) fn run(mut self) -> Result<Ended> {
        match self.accept_until_called() {
            Ok(Call::Stop) => self.stop(),
            Ok(Call::Fatal(why)) => Err(Error::Fatal(why)),
            Err(error) => Err(cannot_poll(&error)),
        }
    }

    fn accept_until_called(&mut self) -> io::Result<Call> {
        let mut events = Events::with_capacity(64);
        loop {
            let now = Instant::now();
            let deadline = self.slots.expire(now);
            let deadline = earliest([deadline, self.refused.expire(now), self.pause.until]);
            self.wait(&mut events, deadline)?;
            self.requests.mark.turned();
            if let Some(call) = self.called() {
                return Ok(call);
            }
            for event in &events {
                match event.token() {
                    SIGNAL if self.signal() => return Ok(Call::Stop),
                    WAKE | SIGNAL => {}
                    Token(token) if token >= REFUSED => self.refused.read(token),
                    Token(_) => {}
                }
            }
            // An edge may have come while accepting was paused; asking every
            // listener costs one EAGAIN each.
            if self.pause.over(Instant::now()) {
                for number in 0..self.listeners.len() {
                    self.accept_all(number);
                }
            }
        }
    }

    fn wait(&mut self, events: &mut Events, deadline: Option<Instant>) -> io::Result<()> {
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let polled = fault::check(Place::Poll)
            .map_err(io::Error::from)
            .and_then(|()| self.poll.poll(events, timeout));
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }

    fn called(&self) -> Option<Call> {
        let fatal = self.requests.fatal.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stop = self.requests.stop.load(Relaxed).then_some(Call::Stop);
        fatal.map(Call::Fatal).or(stop)
    }

    /// Takes all signals that came; whether one of them says stop.
    fn signal(&mut self) -> bool {
        let Some(signals) = &self.signals else { return false };
        let mut stop = false;
        while let Ok(Some(signal)) = signals.read_signal() {
            if signal.ssi_signo == libc::SIGHUP as u32 {
                self.engine.application.hung_up();
            } else {
                log::info!("signal {}: stopping", signal.ssi_signo);
                stop = true;
            }
        }
        stop
    }

    /// Accepts until there is no one left, or no room.
    fn accept_all(&mut self, number: usize) {
        while self.slots.room_for_head() {
            match self.accept(number) {
                Ok((stream, peer)) => {
                    self.pause.reset();
                    self.engine.stats.accepted.increment();
                    self.admit(TcpStream::from(stream), peer);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ if is_exhaustion(&error) => return self.exhausted(number, &error),
                    // accept(2): errors of the connection itself; go on.
                    _ => log::debug!("a connection was lost before it was accepted: {error}"),
                },
            }
        }
    }

    fn accept(&self, number: usize) -> io::Result<(mio::net::TcpStream, SocketAddr)> {
        fault::check(Place::Accept)?;
        self.listeners[number].accept()
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        let now = Instant::now();
        let stats = &self.engine.stats;
        let (refused, proxy) = {
            let gate = self.engine.gate();
            (gate.refuse_peer(peer.ip(), now), gate.proxies.trust(peer.ip()))
        };
        if let Some(sentence) = refused {
            stats.refused_forbidden.increment();
            log::debug!("{peer}: refused, {sentence}");
            return self.refuse(stream, &Response::text(403, sentence), now);
        }
        // mio's streams are non-blocking; a connection thread blocks.
        if let Err(error) = stream.set_nonblocking(false) {
            return log::warn!("{peer}: cannot make its socket block: {error}");
        }
        let socket = Arc::new(Socket::from(stream));
        let deadline = now + self.engine.limits.head_time;
        match self.slots.enter(peer, proxy, socket.clone(), now, deadline) {
            Ok(slot) => {
                let (engine, own) = (self.engine.clone(), socket.clone());
                let stack = self.engine.limits.stack_bytes;
                let run = move || connection::run(&engine, &own, slot, peer);
                let thread = fault::spawn_detached(c"bc-conn", stack, run);
                if let Err(error) = thread {
                    stats.refused_full.increment();
                    log::warn!("{peer}: refused, the system gives no thread: {error}");
                    self.refuse_socket(socket, &full(), now);
                }
            }
            Err(Refusal::Full) => {
                stats.refused_full.increment();
                log::debug!("{peer}: refused, all connections are taken");
                self.refuse_socket(socket, &full(), now);
            }
            Err(Refusal::PerAddress) => {
                stats.refused_address.increment();
                log::debug!("{peer}: refused, too many connections from its address");
                self.refuse_socket(socket, &too_many(), now);
            }
        }
    }

    fn refuse_socket(&mut self, socket: Arc<Socket>, response: &Response, now: Instant) {
        // The thread that was to have the other handle was never started.
        if let Some(socket) = Arc::into_inner(socket) {
            self.refuse(TcpStream::from(socket.into_fd()), response, now);
        }
    }

    fn refuse(&mut self, stream: TcpStream, response: &Response, now: Instant) {
        let deadline = now + self.engine.limits.close_time;
        let said = match &self.engine.tls {
            Some(_) => alert(response.status()).to_vec(),
            None => [response.head(false).as_bytes(), response.body()].concat(),
        };
        if let Err(error) = self.refused.add(stream, &said, deadline, &self.poll) {
            log::debug!("a refused peer went first: {error}");
        }
    }

    /// No descriptor or no memory. No event comes again for who waits, so we
    /// ask again after a pause; the spare descriptor is used to tell one that
    /// we cannot.
    fn exhausted(&mut self, number: usize, error: &io::Error) {
        let now = Instant::now();
        self.engine.stats.accept_errors.increment();
        self.pause.begin(now, error);
        if self.pause.spare.take().is_some() {
            if let Ok((stream, _)) = self.accept(number) {
                self.engine.stats.refused_full.increment();
                self.refuse(TcpStream::from(stream), &full(), now);
                // Without a spare, it cannot stay to be read empty.
                self.refused.clear();
            }
        }
        self.pause.spare = open_spare();
    }

    /// Listeners first, then what feeds the streams, then the streams.
    fn stop(mut self) -> Result<Ended> {
        let now = Instant::now();
        let limits = self.engine.limits.clone();
        self.listeners.clear();
        self.engine.application.stopping();
        self.engine.pool.stop();
        self.slots.stop(now + limits.close_time);
        // A stream's Close sets a deadline of its own, a little after ours.
        let patience = now + limits.close_time + Duration::from_millis(500);
        let patience = patience.min(now + limits.stop_time);
        let mut events = Events::with_capacity(64);
        while self.slots.occupancy().connections > 0 && Instant::now() < patience {
            let deadline = earliest([self.slots.expire(Instant::now()), Some(patience)]);
            // The table does not wake us for every place that becomes free.
            let tick = Instant::now() + Duration::from_millis(20);
            self.wait(&mut events, earliest([deadline, Some(tick)]))
                .map_err(|e| cannot_poll(&e))?;
            if let Some(Call::Fatal(why)) = self.called() {
                return Err(Error::Fatal(why));
            }
            if self.signal() {
                return Ok(Ended::Interrupted);
            }
        }
        self.slots.abort_all();
        let left = self.slots.wait_empty(now + limits.stop_time);
        if left > 0 {
            log::warn!("{left} connections did not end in time");
            return Ok(Ended::Interrupted);
        }
        Ok(Ended::Stopped)
    }
}

/// What a peer is told that speaks TLS: an alert, the one thing that may be
/// said before a handshake (RFC 8446 section 6), for which there is no thread
/// here. Its words are few: `access_denied` for 403, `internal_error` for all
/// else.
fn alert(status: u16) -> [u8; 7] {
    let description = if status == 403 { 49 } else { 80 };
    [21, 3, 3, 0, 2, 2, description]
}

fn cannot_poll(error: &io::Error) -> Error {
    Error::Fatal(format!("the accept loop cannot poll: {error}"))
}

fn earliest<const N: usize>(times: [Option<Instant>; N]) -> Option<Instant> {
    times.into_iter().flatten().min()
}

/// accept(2): the process or the system is out of descriptors or memory.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// When accepting goes on after the system had no room for us.
#[derive(Debug)]
pub(super) struct Pause {
    until: Option<Instant>,
    length: Duration,
    /// A descriptor to let go of when there is no other.
    spare: Option<File>,
    /// When it was last said, at most once a minute.
    logged: Option<Instant>,
}

impl Pause {
    pub(super) fn new() -> Self {
        let spare = open_spare();
        Self { until: None, length: FIRST_PAUSE, spare, logged: None }
    }

    fn begin(&mut self, now: Instant, error: &io::Error) {
        let quiet = self.logged.is_some_and(|at| now.duration_since(at) < Duration::from_secs(60));
        if !quiet {
            self.logged = Some(now);
            log::warn!("cannot accept: {error}; trying again every now and then");
        }
        self.until = Some(now + self.length);
        self.length = (self.length * 2).min(LONGEST_PAUSE);
    }

    fn over(&mut self, now: Instant) -> bool {
        let over = self.until.is_none_or(|until| until <= now);
        if over {
            self.until = None;
        }
        over
    }

    fn reset(&mut self) {
        self.length = FIRST_PAUSE;
        if self.spare.is_none() {
            self.spare = open_spare();
        }
    }
}

fn open_spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Peers that were refused and are read empty before they are closed.
#[derive(Debug)]
pub(super) struct Refused {
    list: VecDeque<RefusedPeer>,
    next: usize,
    /// The most at a time; beyond, the oldest goes.
    most: usize,
    stats: Arc<Stats>,
}

#[derive(Debug)]
struct RefusedPeer {
    token: usize,
    stream: TcpStream,
    left: usize,
    deadline: Instant,
}

impl Refused {
    pub(super) fn new(most: usize, stats: &Arc<Stats>) -> Self {
        Self { list: VecDeque::new(), next: 0, most, stats: stats.clone() }
    }

    fn add(
        &mut self,
        mut stream: TcpStream,
        said: &[u8],
        deadline: Instant,
        poll: &Poll,
    ) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        // A fresh socket takes some hundred bytes; whoever takes less gets less.
        let _ = stream.write(said)?;
        stream.shutdown(Shutdown::Write)?;
        if self.list.len() >= self.most {
            self.list.pop_front();
            self.stats.refused_early.increment();
        }
        self.next = (self.next + 1) % REFUSED;
        let token = REFUSED + self.next;
        let fd = stream.as_raw_fd();
        fault::check(Place::Register)?;
        poll.registry().register(&mut SourceFd(&fd), Token(token), Interest::READABLE)?;
        let left = Limits::LINGER_BYTES;
        self.list.push_back(RefusedPeer { token, stream, left, deadline });
        Ok(())
    }

    fn read(&mut self, token: usize) {
        let Some(index) = self.list.iter().position(|peer| peer.token == token) else { return };
        if self.list[index].is_done() {
            // The descriptor was never duplicated: closing it deregisters it.
            self.list.remove(index);
        }
    }

    fn expire(&mut self, now: Instant) -> Option<Instant> {
        self.list.retain(|peer| peer.deadline > now);
        self.list.iter().map(|peer| peer.deadline).min()
    }

    fn clear(&mut self) {
        self.list.clear();
    }
}

impl RefusedPeer {
    /// Reads what is there; whether that was enough.
    fn is_done(&mut self) -> bool {
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(length) if length >= self.left => return true,
                Ok(length) => self.left -= length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }
}
