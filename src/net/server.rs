//! Puts the engine together: bind, start, stop, wait.
//!
//! The engine receives its world: listeners that are bound already, signals
//! that are blocked already, an application. It reads no environment and
//! installs nothing in the process.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr, TcpListener},
    os::fd::{AsRawFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, RwLock, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
};

use mio::{Poll, Waker};
use nix::sys::{
    signalfd::SignalFd,
    socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockopt, listen,
        setsockopt, socket, sockopt,
    },
};

use super::{
    acceptor::{Acceptor, Pause, Refused, Requests, WAKE},
    connection::{Application, Engine},
    gate::Gate,
    limits::Limits,
    pusher::Pool,
    slots::Slots,
    stats::Stats,
    tls::Tls,
};
use crate::{
    error::{Error, Result},
    fault,
    pulse::Pulse,
    purse::Purse,
};

/// Sockets that are bound and listening.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<TcpListener>,
    tls: Option<Tls>,
}

impl Listeners {
    /// Binds the addresses, all or none. `[::]` takes IPv6 alone, so that it
    /// stands beside `0.0.0.0`. Port 0 lets the system choose.
    ///
    /// # Errors
    /// [`Error::Io`] names the address; a port that is in use is
    /// [`io::ErrorKind::AddrInUse`].
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self> {
        let bound = addresses.iter().map(|&address| bind_one(address));
        Ok(Self::plain(bound.collect::<Result<_>>()?))
    }

    /// Binds a port on all addresses, IPv4 and IPv6; a board without IPv6 (or
    /// without IPv4) has the other one alone.
    ///
    /// # Errors
    /// [`Error::Io`] when a family that the board has cannot be bound.
    pub fn bind_all(port: u16) -> Result<Self> {
        let v4 = bind_one(SocketAddr::from(([0, 0, 0, 0], port)));
        let v6 = bind_one(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
        match (v4, v6) {
            (Ok(v4), Ok(v6)) => Ok(Self::plain(vec![v4, v6])),
            (Ok(one), Err(error)) | (Err(error), Ok(one)) if is_missing_family(&error) => {
                Ok(Self::plain(vec![one]))
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// Takes sockets that listen already, such as a service manager passes.
    ///
    /// # Errors
    /// [`Error::Setting`] when one is no listening TCP socket.
    pub fn adopt(sockets: Vec<OwnedFd>) -> Result<Self> {
        Ok(Self::plain(sockets.into_iter().map(adopt_one).collect::<Result<_>>()?))
    }

    fn plain(sockets: Vec<TcpListener>) -> Self {
        Self { sockets, tls: None }
    }

    /// Lets all of them speak TLS: `https://` and `wss://`. A request in plain
    /// HTTP is told where to go.
    pub fn secured(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The addresses, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

fn bind_one(address: SocketAddr) -> Result<TcpListener> {
    let listening = || -> nix::Result<TcpListener> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(family, SockType::Stream, flags, None)?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        if address.is_ipv6() {
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        }
        bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
        // As many as the kernel lets wait (net.core.somaxconn); musl's own constant is 128.
        listen(&fd, Backlog::MAXALLOWABLE)?;
        Ok(TcpListener::from(fd))
    };
    listening().map_err(|errno| Error::io(format!("listen on {address}"), errno.into()))
}

fn adopt_one(socket: OwnedFd) -> Result<TcpListener> {
    let number = socket.as_raw_fd();
    let refuse = |why: &str| {
        Error::Setting(format!(
            "the passed socket {number} {why}; in its socket unit, use ListenStream= with a port \
             or an address and port, and Accept=no"
        ))
    };
    let kind = getsockopt(&socket, sockopt::SockType).map_err(|_| refuse("is no socket"))?;
    if kind != SockType::Stream || getsockopt(&socket, sockopt::AcceptConn) != Ok(true) {
        return Err(refuse("does not listen for connections"));
    }
    let listener = TcpListener::from(socket);
    // std knows no other addresses: a Unix socket has none here.
    listener.local_addr().map_err(|_| refuse("is not TCP"))?;
    listener.set_nonblocking(true).map_err(|_| refuse("cannot be made non-blocking"))?;
    Ok(listener)
}

fn is_missing_family(error: &Error) -> bool {
    use nix::libc::{EADDRNOTAVAIL, EAFNOSUPPORT};
    let Error::Io { source, .. } = error else { return false };
    matches!(source.raw_os_error(), Some(EAFNOSUPPORT | EADDRNOTAVAIL))
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every connection has ended.
    Stopped,
    /// A second signal came, or time was over, while some were left.
    Interrupted,
}

/// A server that runs.
#[derive(Debug)]
pub struct Handle {
    addresses: Vec<SocketAddr>,
    remote: Remote,
    thread: JoinHandle<Result<Ended>>,
}

/// What other threads need to reach the accept loop.
#[derive(Clone)]
struct Remote {
    requests: Arc<Requests>,
    waker: Arc<Waker>,
    slots: Slots,
    stats: Arc<Stats>,
    gate: Arc<RwLock<Gate>>,
    workers: Vec<Pulse>,
    purse: Purse,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("slots", &self.slots).finish()
    }
}

impl Handle {
    /// The addresses it listens on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it has counted.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.remote.stats
    }

    /// What is under way draws from this.
    pub fn purse(&self) -> &Purse {
        &self.remote.purse
    }

    /// A function that tells how many connections there are, and how many of
    /// them are WebSockets.
    pub fn occupancy(&self) -> impl Fn() -> (usize, usize) + Send + Sync + use<> {
        let slots = self.remote.slots.clone();
        move || {
            let occupancy = slots.occupancy();
            (occupancy.connections, occupancy.streams)
        }
    }

    /// A function that tells it to stop gently, and does not wait.
    pub fn stopper(&self) -> impl Fn() + Clone + Send + Sync + use<> {
        let remote = self.remote.clone();
        move || {
            remote.requests.stop.store(true, Relaxed);
            // An eventfd write fails only when it is being woken already.
            let _ = remote.waker.wake();
        }
    }

    /// A function that changes who may come in. Who is in stays.
    pub fn gatekeeper(&self) -> impl Fn(Gate) + Send + Sync + use<> {
        let gate = self.remote.gate.clone();
        move |new| *gate.write().unwrap_or_else(PoisonError::into_inner) = new
    }

    /// Tells it to stop gently, and does not wait: every client gets a Close
    /// with 1001.
    pub fn stop(&self) {
        self.stopper()();
    }

    /// The threads that must turn: the accept loop and every push worker.
    pub fn pulses(&self) -> Vec<Pulse> {
        let waker = self.remote.waker.clone();
        let mark = self.remote.requests.mark.clone();
        // An eventfd write fails only when it is being woken already.
        let accept = Pulse::new("bc-accept", mark, move || drop(waker.wake()));
        [accept].into_iter().chain(self.remote.workers.iter().cloned()).collect()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// [`Error::Fatal`] when the accept loop or a push worker died.
    pub fn join(self) -> Result<Ended> {
        self.thread.join().unwrap_or_else(|_| Err(Error::Fatal("the accept loop panicked".into())))
    }
}

/// Starts a server on threads of its own. When `signals` is given, the first
/// signal stops it gently and the second one at once; SIGHUP is handed to the
/// application. The signals must be blocked in the whole process before.
///
/// # Errors
/// [`Error::Setting`] when the bounds cannot work together, [`Error::Io`] when
/// the system refuses a thread or a poll.
pub fn start(
    listeners: Listeners,
    application: Arc<dyn Application>,
    gate: Gate,
    limits: Limits,
    signals: Option<SignalFd>,
) -> Result<Handle> {
    limits.validate()?;
    let addresses = listeners.addresses();
    let failed = |error: io::Error| Error::io("start the accept loop", error);
    let poll = Poll::new().map_err(failed)?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE).map_err(failed)?);
    let stats = Arc::new(Stats::default());
    let slots = Slots::new(&limits, &stats, {
        let waker = waker.clone();
        move || drop(waker.wake())
    });
    let requests = Arc::new(Requests::default());
    let fatal: Arc<dyn Fn(String) + Send + Sync> = Arc::new({
        let (requests, waker) = (requests.clone(), waker.clone());
        move |why| {
            *requests.fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            drop(waker.wake());
        }
    });
    let pool = Pool::start(&limits, &stats, &fatal)?;
    application.started(pool.bell());
    let workers = pool.pulses();
    let gate = Arc::new(RwLock::new(gate));
    let Listeners { sockets, tls } = listeners;
    let purse = Purse::new(limits.under_way());
    let engine = Engine {
        application,
        gate: gate.clone(),
        tries: Arc::default(),
        limits,
        purse: purse.clone(),
        stats: stats.clone(),
        pool,
        tls,
    };
    let engine = Arc::new(engine);
    let mut acceptor = Acceptor {
        poll,
        listeners: sockets.into_iter().map(mio::net::TcpListener::from_std).collect(),
        signals,
        slots: slots.clone(),
        engine: engine.clone(),
        requests: requests.clone(),
        refused: Refused::new(engine.limits.refused_peers, &stats),
        pause: Pause::new(),
    };
    acceptor.prepare().map_err(failed)?;
    let left = slots.clone();
    let run = move || {
        let ended = catch_unwind(AssertUnwindSafe(|| acceptor.run()))
            .unwrap_or_else(|_| Err(Error::Fatal("the accept loop panicked".into())));
        if ended.is_err() {
            // Nobody serves them any more, and they would wait in vain.
            left.abort_all();
        }
        engine.pool.end();
        ended
    };
    let builder = thread::Builder::new().name("bc-accept".into()).stack_size(256 * 1024);
    let thread = fault::spawn(builder, run).map_err(failed)?;
    let remote = Remote { requests, waker, slots, stats, gate, workers, purse };
    Ok(Handle { addresses, remote, thread })
}
