//! Those who do something to the program, each until it is over.

use std::{
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    process::ChildStdin,
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{World, count, settings_text};
use crate::{fixture::*, inputs::udp_of, strain::*};

/// One after the other, of every kind that `churn` knows.
pub(super) fn come_and_go(world: &World, seed: u64) {
    let (mut random, mut still) = (Random::new(seed), Vec::new());
    world.repeat(Duration::from_millis(20), || {
        visit(&world.server, &mut random, &mut still);
        count(&world.tally.visits);
    });
}

/// Stays for the whole time; each batch arrives, or a gap says so.
pub(super) fn viewer(world: &World) {
    let mut reader = Reader::new(tcp(world.server.address));
    while !world.over() {
        reader.read_to(reader.seq + 1);
        count(&world.tally.batches);
    }
    world.tally.gaps.fetch_add(reader.gaps as u64, Relaxed);
}

/// The same with binary frames.
pub(super) fn binary_viewer(world: &World) {
    let protocol = [("Sec-WebSocket-Protocol", "boardcast.v1.bin")];
    let mut client = Client::try_connect(world.server.address, "/ws", &protocol).expect("in");
    let mut last = None;
    while !world.over() {
        let seq = match client.socket.read().expect("a message") {
            // docs/protocol.md: the number of the batch is at byte 8.
            tungstenite::Message::Binary(frame) => {
                frame.get(8..16).map(|seq| u64::from_le_bytes(seq.try_into().expect("eight")))
            }
            tungstenite::Message::Text(text) if text.contains(r#""type":"gap""#) => {
                count(&world.tally.gaps);
                last = None;
                continue;
            }
            tungstenite::Message::Text(text) => seq_of(&text, "data"),
            _ => None,
        };
        let Some(seq) = seq else { continue };
        // The first is a snapshot, which is no batch.
        if let Some(last) = last {
            assert_eq!(seq, last + 1, "each batch once and in order");
        }
        last = Some(seq);
        count(&world.tally.batches);
    }
}

/// Says more than it may, until it is ended for that.
pub(super) fn flood(world: &World) {
    let ping = client_frame(0x81, br#"{"type":"ping"}"#).repeat(1000);
    world.repeat(Duration::from_millis(200), || {
        let mut stream = upgrade(tcp(world.server.address), "/ws?channels=");
        // It may be ended before all is said.
        let _ = stream.write_all(&ping);
        read_to_the_end(&mut stream);
        count(&world.tally.flooded);
    });
}

/// A head that never ends, byte by byte.
pub(super) fn drip(world: &World) {
    world.repeat(Duration::ZERO, || {
        let mut stream = tcp(world.server.address);
        for byte in b"GET / HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x')) {
            if world.over() || stream.write_all(&[*byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        count(&world.tally.dripped);
    });
}

/// Answers no ping, as one whose cable was pulled.
pub(super) fn stay_silent(world: &World) {
    world.repeat(Duration::ZERO, || {
        let stream = upgrade(tcp(world.server.address), "/ws?channels=");
        let mut stream = until_over(stream, world);
        if read_to_the_end(&mut stream) {
            count(&world.tally.silent);
        }
    });
}

/// Takes nothing of what it is sent.
pub(super) fn stand_in_the_way(world: &World) {
    world.repeat(Duration::ZERO, || {
        let stream = upgrade(narrow_tcp(world.server.address), "/ws");
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(12) && !world.over() {
            thread::sleep(Duration::from_millis(50));
        }
        drop(stream);
        count(&world.tally.still);
    });
}

/// Reads and throws away, until it is over.
struct UntilOver<'a>(TcpStream, &'a World);

fn until_over(stream: TcpStream, world: &World) -> UntilOver<'_> {
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
    UntilOver(stream, world)
}

impl Read for UntilOver<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if self.1.over() {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
    }
}

/// Whether the server ended it.
fn read_to_the_end(stream: &mut impl Read) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// Reads pages and numbers, and compares clocks.
pub(super) fn request(world: &World) {
    let paths = ["/", "/healthz", "/metrics", "/api/channels", "/api/latest", "/api/history"];
    let mut paths = paths.iter().cycle();
    world.repeat(Duration::from_millis(100), || {
        let path = paths.next().expect("endless");
        let path =
            format!("{path}{}", if path.ends_with('y') { "?channels=cpu/usage" } else { "" });
        let answer = get(world.server.address, &path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.head);
        count(&world.tally.requests);
        if path == "/api/latest" {
            let latest: Value = serde_json::from_slice(&answer.body).expect("JSON");
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            let off = (latest["t"].as_f64().expect("a time") - now.as_secs_f64()).abs();
            world.tally.jump.fetch_max(off as u64, Relaxed);
        }
    });
}

pub(super) fn post(world: &World) {
    let mut number = 0;
    world.repeat(Duration::from_millis(100), || {
        number += 1;
        let line = format!("soak/post={number}\n");
        let head = "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length";
        let answer = ask(world.server.address, &format!("{head}: {}\r\n\r\n{line}", line.len()));
        assert_eq!(answer.status, 200, "{}", answer.head);
        count(&world.tally.pushed);
    });
}

/// Comes and goes; of its lines some are none.
pub(super) fn push_to_socket(world: &World) {
    let mut number = 0;
    world.repeat(Duration::from_millis(50), || {
        let mut stream = UnixStream::connect(&world.socket.0).expect("connected");
        for _ in 0..20 {
            number += 1;
            writeln!(stream, "soak/unix={number}\nno such line at all").expect("taken");
            count(&world.tally.pushed);
        }
    });
}

pub(super) fn push_datagrams(world: &World) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    socket.connect(udp_of(&world.server)).expect("connected");
    let mut number = 0;
    world.repeat(Duration::from_millis(20), || {
        number += 1;
        let _ = socket.send(format!("soak/udp:{number}|g").as_bytes());
        count(&world.tally.pushed);
    });
}

pub(super) fn push_to_stdin(world: &World, mut stdin: ChildStdin) {
    let mut number = 0;
    world.repeat(Duration::from_millis(20), || {
        number += 1;
        writeln!(stdin, "soak/stdin={number}").expect("taken");
        count(&world.tally.pushed);
    });
}

pub(super) fn reload(world: &World) {
    let mut round = 0;
    world.repeat(Duration::from_secs(2), || {
        round += 1;
        world.settings.write(&settings_text(round));
        world.server.signal(Signal::SIGHUP);
        count(&world.tally.reloads);
    });
}
