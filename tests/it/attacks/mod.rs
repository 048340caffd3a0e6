//! Attacks: what a peer can try, and what becomes of it. SECURITY.md has the
//! whole table, with the tests of other files; `table` checks that it is true.
//!
//! Each is a [`Siege`]: a board with a [`Bystander`], a client that was there
//! before. The attack comes, its outcome is checked, and then
//! [`Siege::stands`]: the bystander got every batch, all other places are free
//! again, and no thread has panicked.
//!
//! | file | what is attacked |
//! |---|---|
//! | `gate` | who may come in: pages, names, networks, proxies |
//! | `tokens` | who may do what: tokens, the form, the cookie |
//! | `heads` | the head of a request |
//! | `bodies` | where a body ends: request smuggling |
//! | `frames` | the framing of WebSocket messages |
//! | `json` | what is in a message |
//! | `names` | what is made of names and texts: metrics, CSV, logs |
//! | `peers` | time and room: many, slow, coming and going |
//! | `secrets` | where a token must never be |

mod bodies;
mod frames;
mod gate;
mod heads;
mod json;
mod names;
mod peers;
mod secrets;
mod table;
mod tokens;

use std::{
    io::{BufRead, BufReader},
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::AsRawFd,
};

use boardcast::net::{Gate, Limits, Stats};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use serde_json::Value;

use crate::fixture::*;

/// Makes a test of each row: its name, what is sent, what becomes of it.
macro_rules! attacks {
    ($run:ident: $(fn $name:ident() => $sent:expr, $expected:expr;)+) => {
        $(
            #[test]
            fn $name() {
                $run($sent, $expected);
            }
        )+
    };
}
use attacks;

/// A board under attack, and one who wants nothing but to look.
struct Siege {
    // Goes first: the board's stop would wait for its farewell.
    bystander: Bystander,
    board: Board,
}

impl Siege {
    fn start() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self::behind(Gate::local(), limits)
    }

    fn behind(gate: Gate, limits: Limits) -> Self {
        let board = Board::behind(gate, limits);
        let bystander = Bystander::join(&board);
        Self { bystander, board }
    }

    fn address(&self) -> SocketAddr {
        self.board.engine.address
    }

    fn stats(&self) -> &Stats {
        self.board.engine.handle().stats()
    }

    fn tcp(&self) -> TcpStream {
        tcp(self.address())
    }

    /// One request on a connection of its own.
    fn ask(&self, request: &str) -> Answer {
        ask(self.address(), request)
    }

    /// A WebSocket that is let in; it may look, and not publish.
    fn viewer(&self) -> Client {
        self.try_viewer("/ws?channels=none")
    }

    fn try_viewer(&self, path: &str) -> Client {
        Client::try_connect(self.address(), path, &[("via", "1.1 proxy")]).expect("let in")
    }

    /// Sends these bytes, and reads all answers up to the end of the
    /// connection: their statuses.
    fn statuses(&self, bytes: &[u8]) -> Vec<u16> {
        let mut stream = self.tcp();
        send(&mut stream, bytes);
        // Whoever waits for more hears the end.
        stream.shutdown(std::net::Shutdown::Write).expect("shut down");
        let mut reader = BufReader::new(stream);
        let mut statuses = Vec::new();
        // A reset is an end, too.
        while reader.fill_buf().is_ok_and(|more| !more.is_empty()) {
            statuses.push(Answer::read(&mut reader).status);
        }
        statuses
    }

    /// The end of the attack: all attackers have let go of their connections.
    fn stands(mut self) {
        self.goes_on();
        wait_for("free places", || (self.board.engine.connections() == 1).then_some(()));
        assert_eq!(self.stats().panics.get(), 0, "a thread has panicked");
        assert_eq!(get(self.address(), "/healthz").status, 200);
    }

    /// Readings go on, amid the attack.
    fn goes_on(&mut self) {
        self.bystander.hears_all(&self.board);
    }
}

/// A good client that was there before.
struct Bystander {
    client: Client,
    /// The newest batch that it has.
    seq: u64,
}

impl Bystander {
    fn join(board: &Board) -> Self {
        let mut client = board.client();
        client.next("hello");
        let mut bystander = Self { client, seq: board.hub.view().seq() };
        bystander.hears_all(board);
        bystander
    }

    /// Batches are published, and it gets each that it has not got yet, once
    /// and in order.
    fn hears_all(&mut self, board: &Board) {
        for _ in 0..5 {
            let last = board.publish();
            while self.seq < last {
                let message = self.client.json();
                assert_ne!(message["type"], "gap", "the bystander lost something");
                if message["type"] == "data" && message["snapshot"].is_null() {
                    self.seq += 1;
                    assert_eq!(message["seq"], self.seq, "each batch once and in order");
                }
            }
        }
    }
}

/// A connection that comes from this address of the machine's own.
fn tcp_from(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("made");
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0))).expect("bound");
    connect(socket.as_raw_fd(), &SockaddrStorage::from(to)).expect("connected");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

/// A GET with these header lines.
fn get_with(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n")
}

/// Readings in a POST with these header lines.
fn publish_with(lines: &str) -> String {
    format!(
        "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n{lines}\r\nstolen=1"
    )
}

/// A handshake with these header lines.
fn handshake_with(lines: &str) -> String {
    handshake("/ws").replacen("\r\n\r\n", &format!("\r\n{lines}\r\n"), 1)
}

/// The names of all channels.
fn channels(address: SocketAddr) -> Vec<String> {
    let answer: Value = serde_json::from_str(get(address, "/api/channels").text()).expect("JSON");
    let list = answer["channels"].as_array().expect("a list");
    list.iter().map(|channel| channel["name"].as_str().expect("a name").to_owned()).collect()
}
