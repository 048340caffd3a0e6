//! A Unix stream socket, whose clients get an answer, and a datagram socket
//! beside it (`boardcast.sock.dgram`).
//!
//! ```text
//! room/temp=21.5
//! door=open
//!                       error: line 2: "open" is neither a number nor true or false; …
//! ```
//!
//! A client that ends its half hears what was refused, and then the end.

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::socket::{Backlog, MsgFlags, SockType, listen, send};

use super::{
    DATAGRAM, Pace,
    bell::{Bell, Input},
    lines::Lines,
    place::{Bound, bind, make_folder},
};
use crate::{
    error::{Error, Result},
    sources::{Intake, Turn},
    wire::line::BadLine,
};

/// Datagrams that are read before what they say may be published.
const AT_ONCE: usize = 256;
/// How long nobody is accepted after the system had no descriptor for one.
const PAUSE: Duration = Duration::from_secs(1);

/// The two sockets, bound; [`start`](Self::start) takes readings.
#[derive(Debug)]
pub struct UnixInput {
    listener: UnixListener,
    datagrams: UnixDatagram,
    path: PathBuf,
    /// The names in the file system.
    bound: [Bound; 2],
}

impl UnixInput {
    /// Binds the sockets, with mode 0660: stream at `path`, datagram at `path`
    /// with `.dgram` behind it. The file of a server that is no more is
    /// replaced.
    ///
    /// # Errors
    /// [`Error::Io`]; where someone listens already it is
    /// [`io::ErrorKind::AddrInUse`].
    pub fn bind(path: &Path) -> Result<Self> {
        make_folder(path);
        let mut beside = path.as_os_str().to_owned();
        beside.push(".dgram");
        let bound = || {
            let (stream, name) = bind(path, SockType::Stream)?;
            let (datagrams, other) = bind(Path::new(&beside), SockType::Datagram)?;
            listen(&stream, Backlog::MAXCONN)?;
            let (listener, datagrams) = (stream.into(), datagrams.into());
            Ok(Self { listener, datagrams, path: path.into(), bound: [name, other] })
        };
        bound().map_err(|error| {
            Error::io(format!("take readings at the socket {}", path.display()), error)
        })
    }

    /// The path of the stream socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts the thread. So many clients may be connected to the stream socket
    /// at a time; each costs a descriptor, and at most 16 KiB of an unfinished
    /// line.
    ///
    /// # Errors
    /// When the system refuses one.
    pub fn start(self, intake: Intake, most: usize) -> io::Result<Input> {
        let Self { listener, datagrams, bound, .. } = self;
        // One more for a client that is told that there are too many.
        Input::start("bc-socket", most + 3, move |bell| {
            let pace = Pace::new(intake.clone());
            let (clients, buffer) = (Vec::new(), vec![0; DATAGRAM]);
            let server =
                Server { listener, datagrams, clients, most, intake, pace, buffer, paused: None };
            server.run(bell);
            // Until here the names stood for someone who listens.
            drop(bound);
        })
    }
}

struct Server {
    listener: UnixListener,
    datagrams: UnixDatagram,
    clients: Vec<Client>,
    most: usize,
    intake: Intake,
    pace: Pace,
    buffer: Vec<u8>,
    /// Until when nobody is accepted.
    paused: Option<Instant>,
}

impl Server {
    fn run(mut self, bell: &Bell) {
        let mut ready = Vec::new();
        loop {
            let rest = self.pace.settle();
            let now = Instant::now();
            self.paused = self.paused.filter(|until| *until > now);
            let pause = self.paused.map(|until| until - now);
            let time = [rest, pause].into_iter().flatten().min();
            // While nobody is accepted, the datagrams stand in for the listener.
            let listener: BorrowedFd<'_> = match self.paused {
                Some(_) => self.datagrams.as_fd(),
                None => self.listener.as_fd(),
            };
            let clients = self.clients.iter().map(|client| client.stream.as_fd());
            let all: Vec<_> =
                [self.datagrams.as_fd(), listener].into_iter().chain(clients).collect();
            if !bell.wait(&all, time, &mut ready) {
                break;
            }
            self.turn(&ready);
        }
        self.pace.finish();
    }

    /// Reads once whatever is ready: the datagrams, each client; then accepts.
    fn turn(&mut self, ready: &[bool]) {
        let mut turn = self.intake.turn();
        if ready[0] {
            take_datagrams(&self.datagrams, &mut turn, &mut self.buffer);
        }
        let mut flags = ready[2..].iter();
        let buffer = &mut self.buffer[..super::READ];
        self.clients.retain_mut(|client| {
            let readable = flags.next().copied().unwrap_or(false);
            !readable || client.read(&mut turn, buffer)
        });
        drop(turn);
        self.pace.note();
        if ready[1] && self.paused.is_none() {
            self.accept();
        }
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok((stream, _)) if self.clients.len() >= self.most => {
                self.intake.counts().refused_clients.increment();
                let most = self.most;
                let why = format!(
                    "error: {most} clients are connected already; end one of them, or raise \
                     socket_clients\n"
                );
                say(&stream, &why);
            }
            Ok((stream, _)) => {
                if stream.set_nonblocking(true).is_ok() {
                    self.clients.push(Client { stream, lines: Lines::default(), line: 0 });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                log::warn!("{}: nobody is accepted for a second: {error}", self.intake.name());
                self.paused = Some(Instant::now() + PAUSE);
            }
        }
    }
}

/// One client of the stream socket.
struct Client {
    stream: UnixStream,
    lines: Lines,
    /// Lines so far.
    line: u64,
}

impl Client {
    /// Reads once; whether the client is still there. What it leaves unread
    /// of our answers is lost to it: nobody waits for a client.
    fn read(&mut self, turn: &mut Turn<'_>, buffer: &mut [u8]) -> bool {
        let Self { stream, lines, line } = self;
        let answer = |number: u64, why: &BadLine| {
            say(stream, &format!("error: line {number}: {why}\n"));
        };
        match (&*stream).read(buffer) {
            Ok(0) => {
                lines.end(|last| {
                    if let Err(why) = turn.line(last) {
                        answer(*line + 1, &why);
                    }
                });
                false
            }
            Ok(length) => {
                lines.feed(&buffer[..length], |text| {
                    *line += 1;
                    let outcome = match text {
                        Ok(text) => turn.line(text),
                        Err(why) => {
                            turn.refuse(&why);
                            Err(why)
                        }
                    };
                    if let Err(why) = outcome {
                        answer(*line, &why);
                    }
                });
                true
            }
            Err(error) => {
                matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
            }
        }
    }
}

/// Says it if the peer takes it at once.
fn say(peer: &UnixStream, text: &str) {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let _ = send(peer.as_raw_fd(), text.as_bytes(), flags);
}

/// Takes the datagrams that wait. A sender that has bound a name is answered.
fn take_datagrams(socket: &UnixDatagram, turn: &mut Turn<'_>, buffer: &mut [u8]) {
    for _ in 0..AT_ONCE {
        let Ok((length, sender)) = socket.recv_from(buffer) else { return };
        if length == buffer.len() {
            turn.refuse(&BadLine::new("a datagram is longer than 64 KiB; send several"));
            continue;
        }
        let mut answers = String::new();
        for (number, line) in buffer[..length].split(|&byte| byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            if let Err(why) = turn.line(line) {
                answers += &format!("error: line {}: {why}\n", number + 1);
            }
        }
        if let Some(name) = sender.as_pathname().filter(|_| !answers.is_empty()) {
            // The socket does not block; who has no room hears nothing.
            let _ = socket.send_to(answers.as_bytes(), name);
        }
    }
}
