//! The thread of a connection: sockets, deadlines, tries.
//!
//! In a turn it says what the time asks for, lets the client publish while
//! there is room, sends what the kernel takes, and sleeps in `poll(2)` until
//! the broker, the bell or the time has something. All that may take long
//! (resolving a name, connecting) happens between connections.

use std::{
    convert::Infallible,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use super::{
    Client, Counts, Incoming, Options, Publication, Qos, Status, Version,
    session::{End, Event, Session},
};
use crate::{
    backoff::{Backoff, jittered},
    error::{Error, Result},
    fault,
    net::{Pipe, Place},
};

/// Resolving a name goes deepest, in the C library's modules; TLS is next.
const STACK: usize = 256 * 1024;
/// The longest time from one try to the next.
const MOST: Duration = Duration::from_secs(60);
/// What is taken from the socket at once.
const READ: usize = 16 * 1024;
/// After so much without a look at anything else, the others get their turn.
const TURN: usize = 256 * 1024;
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long the end of the thread is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// One connection, while it lasts.
#[derive(Debug)]
pub struct Link<'a>(&'a mut Session);

impl Link<'_> {
    /// The version that is spoken.
    pub fn version(&self) -> Version {
        self.0.version()
    }

    /// Subscribes; [`Client::subscribed`] tells what became of it. Ask again
    /// on each connection: nothing is kept from the one before.
    pub fn subscribe(&mut self, filter: &str, qos: Qos) {
        self.0.subscribe(filter, qos, Instant::now());
    }

    /// Publishes: as which it went out (a broker may have none but QoS 0); a
    /// QoS 1 one is told by [`Client::acknowledged`]. `None`: it did not, for
    /// it is longer than the broker takes, or has no valid topic; that is
    /// counted, and never will be otherwise.
    pub fn publish(&mut self, publication: &Publication<'_>) -> Option<Qos> {
        self.0.publish(publication, Instant::now())
    }

    /// Whether a further message would go out soon: neither too much waits to
    /// be sent, nor too many wait for their acknowledgement.
    pub fn has_room(&self) -> bool {
        self.0.has_room()
    }
}

/// Wakes a connection's thread.
#[derive(Clone, Debug)]
pub struct Bell(Arc<Shared>);

impl Bell {
    /// Wakes it: [`Client::ready`] is asked soon, when there is room. From any
    /// thread; never blocks.
    pub fn ring(&self) {
        self.0.ring();
    }
}

/// What the thread and those who look at it share.
#[derive(Debug)]
struct Shared {
    event: EventFd,
    stop: AtomicBool,
    standing: Mutex<(Status, Counts)>,
}

impl Shared {
    fn ring(&self) {
        // Full, it is readable all the same.
        let _ = self.event.write(1);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Acquire)
    }

    fn standing(&self) -> MutexGuard<'_, (Status, Counts)> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the bell, for what a socket has, or for the time to be over.
    fn wait(&self, socket: Option<PollFd<'_>>, time: Duration) -> io::Result<()> {
        use std::os::fd::AsFd;
        // Up, so that the time is really over afterwards.
        let millis = if time.is_zero() { 0 } else { time.as_millis() + 1 };
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        let bell = PollFd::new(self.event.as_fd(), PollFlags::POLLIN);
        let outcome = match socket {
            Some(socket) => poll(&mut [bell, socket], timeout),
            None => poll(&mut [bell], timeout),
        };
        let _ = self.event.read();
        match outcome {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// A connection that is kept up. Dropping it says farewell and ends it; that
/// takes 2 s at most.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    /// Nothing is ever sent: its other end goes with the thread.
    ended: Receiver<Infallible>,
}

impl Running {
    /// What wakes its thread.
    pub fn bell(&self) -> Bell {
        Bell(self.shared.clone())
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.shared.standing().0.clone()
    }

    /// What it has counted.
    pub fn counts(&self) -> Counts {
        self.shared.standing().1
    }

    /// How many descriptors it takes at most: a socket, a bell, and those of a
    /// name that is resolved.
    pub fn descriptors(&self) -> usize {
        4
    }

    /// Tells it to stop, and waits for nothing.
    pub fn stop(&self) {
        self.shared.stop.store(true, Release);
        self.shared.ring();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        // One that resolves a name ends by itself, later.
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

/// Connects, and stays connected. The thread has this name, of which the
/// kernel keeps 15 bytes; the log knows it by it, too, without `bc-`. That
/// nobody answers is no error: it is told by [`Client::lost`] and
/// [`Running::status`], and tried again.
///
/// # Errors
/// [`Error::Io`] when the system refuses a thread; [`Error::Setting`] in a
/// build without the feature `mqtt`.
pub fn start(options: Options, name: &str, client: impl Client + 'static) -> Result<Running> {
    let failed = |error| Error::io(format!("start {name}"), error);
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
    let shared = Arc::new(Shared {
        event: event.map_err(|errno| failed(errno.into()))?,
        stop: AtomicBool::new(false),
        standing: Mutex::default(),
    });
    let (held, ended) = mpsc::channel();
    let mut engine = Engine {
        log: format!("{}: {}", name.trim_start_matches("bc-"), options.broker),
        options,
        shared: shared.clone(),
        client: Box::new(client),
        speaks: None,
    };
    let run = move || {
        if catch_unwind(AssertUnwindSafe(|| engine.run())).is_err() {
            let why = "a fault of this program ended it; please report it";
            log::error!("{}: {why}", engine.log);
            engine.shared.standing().0 = Status::Failed(why.into());
        }
        // The client first: who has waited for the end may ask what it left.
        drop(engine);
        drop(held);
    };
    let short: String = name.chars().filter(char::is_ascii).take(15).collect();
    fault::spawn(thread::Builder::new().name(short).stack_size(STACK), run).map_err(failed)?;
    Ok(Running { shared, ended })
}

struct Engine {
    options: Options,
    shared: Arc<Shared>,
    client: Box<dyn Client>,
    log: String,
    /// The version that the broker has spoken.
    speaks: Option<Version>,
}

/// How a connection came to its end.
enum Over {
    /// It was asked for.
    Stopped,
    /// It is to be tried again.
    Lost(End),
}

impl From<End> for Over {
    fn from(end: End) -> Self {
        Self::Lost(end)
    }
}

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Self {
        Self::Lost(End::Other(reason(&error)))
    }
}

impl Engine {
    fn run(&mut self) {
        let mut backoff = Backoff::new(MOST);
        loop {
            let begun = Instant::now();
            let version = self.options.version.or(self.speaks).unwrap_or(Version::V5);
            let mut end = self.connection(version);
            if matches!(end, Over::Lost(End::Version(_))) {
                let is_first = version == Version::V5 && self.speaks.is_none();
                // It may be another broker by now.
                self.speaks = None;
                if is_first && self.options.version.is_none() && !self.shared.stopped() {
                    // Whatever it says now is said of the version that it may know.
                    end = self.connection(Version::V311);
                }
            }
            let why = match end {
                Over::Stopped => break,
                Over::Lost(End::Version(why) | End::Other(why)) => why,
            };
            if self.shared.stopped() {
                break;
            }
            self.fail(&why);
            let until = Instant::now() + jittered(backoff.after(begun.elapsed()));
            while !self.shared.stopped() && Instant::now() < until {
                if self.shared.wait(None, until.saturating_duration_since(Instant::now())).is_err()
                {
                    return;
                }
            }
            if self.shared.stopped() {
                break;
            }
        }
        self.shared.standing().0 = Status::Stopped;
    }

    /// Tells why there is no connection; the log once for each reason.
    fn fail(&mut self, why: &str) {
        let mut standing = self.shared.standing();
        standing.1.failures += 1;
        let is_news = standing.0 != Status::Failed(why.to_owned());
        standing.0 = Status::Failed(why.to_owned());
        drop(standing);
        if is_news {
            log::warn!("{}: {why}; it is tried again", self.log);
        } else {
            log::debug!("{}: {why}; it is tried again", self.log);
        }
        self.client.lost(why);
    }

    /// One connection, from its address to its end.
    fn connection(&mut self, version: Version) -> Over {
        let now = Instant::now();
        let deadline = now + self.options.patience;
        let Options { broker, authority, .. } = &self.options;
        let place = Place {
            host: broker.host(),
            port: broker.port(),
            secure: broker.is_secure(),
            authority: authority.as_ref(),
        };
        let pipe = match Pipe::open(place, deadline) {
            Ok(pipe) => pipe,
            Err(Error::Io { source, .. }) => return source.into(),
            Err(error) => return Over::Lost(End::Other(error.to_string())),
        };
        // Whoever stopped it may have one in its place already: a CONNECT now
        // would end that one, or leave a will behind it.
        if self.shared.stopped() {
            return Over::Stopped;
        }
        let over = match Session::new(version, &self.options, now) {
            Ok(mut session) => {
                let over = self.keep(&pipe, &mut session, deadline);
                self.count(&mut session);
                over
            }
            Err(end) => end.into(),
        };
        pipe.close();
        over
    }

    fn keep(&mut self, pipe: &Pipe, session: &mut Session, deadline: Instant) -> Over {
        loop {
            if let Err(over) = self.turn(pipe, session, deadline) {
                return over;
            }
            if self.shared.stopped() {
                self.farewell(pipe, session);
                return Over::Stopped;
            }
        }
    }

    /// One turn; it ends with what woke it.
    fn turn(
        &mut self,
        pipe: &Pipe,
        session: &mut Session,
        deadline: Instant,
    ) -> std::result::Result<(), Over> {
        let more = self.receive(pipe, session)?;
        let now = Instant::now();
        let mut time = session.tick(now)?;
        if !session.is_welcome() {
            time = deadline.saturating_duration_since(now);
            if time.is_zero() {
                let why = "no answer to CONNECT; is that an MQTT port (with TLS, or without)?";
                return Err(End::Other(why.into()).into());
            }
        } else if session.has_room() {
            if let Some(next) = self.client.ready(&mut Link(session)) {
                time = time.min(next.saturating_duration_since(now));
            }
        }
        let had_room = session.has_room();
        let all = send(pipe, session)?;
        self.count(session);
        if more || session.has_room() && !had_room {
            // There is more to be done before anything is waited for.
            time = Duration::ZERO;
        }
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::POLLIN, session.takes_more());
        wanted.set(PollFlags::POLLOUT, !all);
        self.shared.wait(Some(PollFd::new(pipe.as_fd(), wanted)), time)?;
        Ok(())
    }

    /// Takes what has come; whether there may be more.
    fn receive(&mut self, pipe: &Pipe, session: &mut Session) -> std::result::Result<bool, Over> {
        let (mut buffer, mut taken) = ([0; READ], 0);
        while session.takes_more() {
            if taken >= TURN {
                return Ok(true);
            }
            match pipe.receive(&mut buffer)? {
                None => break,
                Some(0) => return Err(session.closed().into()),
                Some(length) => {
                    taken += length;
                    session.feed(&buffer[..length]);
                    self.events(session)?;
                }
            }
        }
        Ok(false)
    }

    fn events(&mut self, session: &mut Session) -> std::result::Result<(), Over> {
        while let Some(event) = session.event(Instant::now())? {
            match event {
                Event::Connected => {
                    self.speaks = Some(session.version());
                    let status = Status::Connected(session.version());
                    log::info!("{}: {status}", self.log);
                    self.shared.standing().0 = status;
                    self.client.connected(&mut Link(session));
                }
                Event::Message { topic, payload, retained, id } => {
                    let message = Incoming { topic: &topic, payload: &payload, retained };
                    self.client.message(&mut Link(session), message);
                    if let Some(id) = id {
                        session.acknowledge(id);
                    }
                }
                Event::Acknowledged(count) => self.client.acknowledged(count),
                Event::Subscribed { filter, refused } => {
                    if let Some(why) = &refused {
                        log::warn!("{}: no subscription to {filter:?}: {why}", self.log);
                    }
                    self.client.subscribed(&filter, refused.as_deref().map_or(Ok(()), Err));
                }
            }
        }
        Ok(())
    }

    /// The last words, for which there is a second.
    fn farewell(&mut self, pipe: &Pipe, session: &mut Session) {
        if !session.is_welcome() {
            return;
        }
        self.client.farewell(&mut Link(session));
        session.disconnect();
        let deadline = Instant::now() + FAREWELL;
        while let Ok(false) = send(pipe, session) {
            let left = deadline.saturating_duration_since(Instant::now());
            let wanted = PollFd::new(pipe.as_fd(), PollFlags::POLLOUT);
            if left.is_zero() || self.shared.wait(Some(wanted), left).is_err() {
                return;
            }
        }
    }

    fn count(&self, session: &mut Session) {
        let new = session.take_counts();
        if new != Counts::default() {
            self.shared.standing().1.add(&new);
        }
    }
}

/// Sends what the kernel takes; whether that was all.
fn send(pipe: &Pipe, session: &mut Session) -> io::Result<bool> {
    loop {
        let (taken, all) = pipe.send(session.unsent())?;
        session.sent(taken, Instant::now());
        if taken == 0 || session.unsent().is_empty() {
            return Ok(all && session.unsent().is_empty());
        }
    }
}

/// What a failure means to whoever reads the log.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there; is the broker running?".into(),
        io::ErrorKind::TimedOut => "no answer; is the host on, and the address right?".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the connection broke; is that an MQTT port (with TLS, or without)?".into()
        }
        // It names the settings of other clients.
        io::ErrorKind::InvalidData => error
            .to_string()
            .replace("(--authority FILE, Builder::authorities)", "(the setting authority)"),
        _ => error.to_string(),
    }
}
