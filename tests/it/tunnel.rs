//! The same tests with TLS in between.
//!
//! A [`Tunnel`] takes plain connections and carries each over TLS to a server,
//! byte by byte: it holds nothing back and keeps little, so that a client that
//! reads slowly makes a connection with TLS slow. Through it, tests that know
//! nothing of TLS are run once more, against a board that speaks nothing else.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    sync::Arc,
    thread,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt},
};
use rustls::{ClientConfig, ClientConnection};

use crate::fixture::tcp;

#[path = "delivery.rs"]
mod delivery;
#[path = "slow.rs"]
mod slow;

/// What the tests find in place of the plain fixture.
mod fixture {
    use std::ops::Deref;

    use boardcast::{net::Limits, telemetry::HubSettings};

    pub(crate) use crate::fixture::*;
    use crate::{authority::Authority, fixture};

    /// A board behind a tunnel.
    pub(crate) struct Board(fixture::Board);

    impl Board {
        pub(crate) fn start() -> Self {
            Self::with(HubSettings::default(), Limits::default())
        }

        pub(crate) fn with(settings: HubSettings, limits: Limits) -> Self {
            // A folder for each test: they run at the same time.
            let test = std::thread::current().name().unwrap_or_default().replace("::", "-");
            let authority = Authority::new(&test);
            let listeners = Engine::anywhere().secured(authority.tls());
            let mut board = fixture::Board::listening(listeners, settings, limits);
            let client = authority.client(rustls::ALL_VERSIONS);
            board.engine.address = super::tunnel(board.engine.address, client);
            Self(board)
        }
    }

    impl Deref for Board {
        type Target = fixture::Board;

        fn deref(&self) -> &Self::Target {
            &self.0
        }
    }
}

/// Opens a tunnel to `server`; where it begins. It ends with the process.
fn tunnel(server: SocketAddr, config: ClientConfig) -> SocketAddr {
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for plain in listener.incoming().map_while(Result::ok) {
            let name = "localhost".try_into().expect("a name");
            let session = ClientConnection::new(config.clone(), name).expect("a session");
            let secret = tcp(server);
            thread::spawn(move || {
                let (waiting, more) = (Vec::new(), false);
                Carrier { plain, secret, session, waiting, more }.carry();
            });
        }
    });
    address
}

struct Carrier {
    plain: TcpStream,
    secret: TcpStream,
    session: ClientConnection,
    /// What the client has not taken yet: one reading at most.
    waiting: Vec<u8>,
    /// The session may have more of what the server has said: no socket tells of that.
    more: bool,
}

impl Carrier {
    fn carry(mut self) {
        // The kernel would hide megabytes from the server.
        setsockopt(&self.plain, sockopt::SndBuf, &32_768).expect("set");
        setsockopt(&self.secret, sockopt::RcvBuf, &32_768).expect("set");
        self.plain.set_nonblocking(true).expect("set");
        self.secret.set_nonblocking(true).expect("set");
        // Either end may have gone.
        let _ = self.both_ways();
        let _ = self.plain.shutdown(Shutdown::Both);
    }

    fn both_ways(&mut self) -> std::io::Result<()> {
        let (mut from_client, mut from_server) = (true, true);
        while from_server || !self.waiting.is_empty() {
            self.sleep(from_client, from_server);
            while self.session.wants_write()
                && would_go_on(self.session.write_tls(&mut self.secret))?
            {}
            if from_client && !self.session.wants_write() {
                let mut bytes = [0; 4096];
                match self.plain.read(&mut bytes) {
                    Ok(0) => {
                        from_client = false;
                        self.session.send_close_notify();
                        self.session.write_tls(&mut self.secret)?;
                        self.secret.shutdown(Shutdown::Write)?;
                    }
                    Ok(length) => self.session.writer().write_all(&bytes[..length])?,
                    Err(error) => drop(would_go_on(Err(error))?),
                }
            }
            if from_server && self.waiting.is_empty() {
                from_server = self.hear()?;
            }
            if !self.waiting.is_empty() {
                match self.plain.write(&self.waiting) {
                    Ok(length) => drop(self.waiting.drain(..length)),
                    Err(error) => drop(would_go_on(Err(error))?),
                }
            }
        }
        Ok(())
    }

    /// Takes what the server has said, until there is something for the client;
    /// false at the end.
    fn hear(&mut self) -> std::io::Result<bool> {
        let mut bytes = [0; 4096];
        match self.session.reader().read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(length) => {
                self.waiting.extend(&bytes[..length]);
                self.more = true;
                return Ok(true);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.more = false,
            Err(_) => return Ok(false),
        }
        would_go_on(self.session.read_tls(&mut self.secret))?;
        let news = self.session.process_new_packets().map_err(std::io::Error::other)?;
        if news.plaintext_bytes_to_read() > 0 { self.hear() } else { Ok(true) }
    }

    fn sleep(&mut self, from_client: bool, from_server: bool) {
        let flag = |wanted, flag| if wanted { flag } else { PollFlags::empty() };
        let waits = !self.waiting.is_empty();
        let plain = flag(from_client && !self.session.wants_write(), PollFlags::POLLIN)
            | flag(waits, PollFlags::POLLOUT);
        let secret = flag(from_server && !waits, PollFlags::POLLIN)
            | flag(self.session.wants_write(), PollFlags::POLLOUT);
        let mut wanted =
            [PollFd::new(self.plain.as_fd(), plain), PollFd::new(self.secret.as_fd(), secret)];
        let at_once = self.more && !waits;
        let patience = if at_once { PollTimeout::ZERO } else { PollTimeout::NONE };
        poll(&mut wanted, patience).expect("polled");
    }
}

/// Whether a call did something; not having done so for now is fine.
fn would_go_on(result: std::io::Result<usize>) -> std::io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
