//! A short life of the engine, again and again: each time another one of the
//! calls that it makes fails. It goes on, and at most the connection whose call
//! it was has an end; or it ends with one line. Nobody waits in vain.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use nix::errno::Errno;
use serde_json::Value;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use super::{
    Place,
    plan::{Fault, How, Plan},
};
use crate::{
    App,
    net::{self, Ended, Gate, Handle, Limits, Listeners},
    telemetry::{Batch, Channel, Hub, HubSettings},
};

/// Whoever has heard nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a fault may do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum May {
    /// Nothing that anyone sees.
    Nothing,
    /// End one connection, or keep it out.
    EndOne,
    /// That, or end the program with one line.
    EndAll,
}

#[test]
fn an_accept_that_fails() {
    for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM] {
        fail_each(Place::Accept, How::Fail(errno), May::EndOne, 5);
    }
    for errno in [Errno::ECONNABORTED, Errno::EINTR, Errno::EPROTO] {
        fail_each(Place::Accept, How::Fail(errno), May::Nothing, 5);
    }
}

#[test]
fn a_read_that_fails() {
    for errno in [Errno::ECONNRESET, Errno::ETIMEDOUT, Errno::ENOMEM] {
        fail_each(Place::Read, How::Fail(errno), May::EndOne, 5);
    }
    for how in [How::Fail(Errno::EINTR), How::Short] {
        fail_each(Place::Read, how, May::Nothing, 5);
    }
    live(Fault::every(1, Place::Read, How::Short)).check(May::Nothing);
}

#[test]
fn a_write_that_fails() {
    for errno in [Errno::EPIPE, Errno::ECONNRESET, Errno::ENOBUFS, Errno::EAGAIN] {
        fail_each(Place::Write, How::Fail(errno), May::EndOne, 5);
    }
    for how in [How::Fail(Errno::EINTR), How::Short] {
        fail_each(Place::Write, how, May::Nothing, 5);
    }
    // (tungstenite takes a handshake that comes byte by byte for an attack.)
    live(Fault::every(2, Place::Write, How::Short)).check(May::Nothing);
}

#[test]
fn a_poll_that_fails() {
    fail_each(Place::Poll, How::Fail(Errno::EINTR), May::Nothing, 8);
    fail_each(Place::Poll, How::Fail(Errno::EBADF), May::EndAll, 8);
}

#[test]
fn a_registration_that_fails() {
    for errno in [Errno::ENOMEM, Errno::ENOSPC] {
        fail_each(Place::Register, How::Fail(errno), May::EndAll, 1);
    }
    // Each send meets a full socket, and has to be asked for again.
    for number in 1..10 {
        let full = Fault::every(1, Place::Write, How::Fail(Errno::EAGAIN)).but_for(3);
        let refused = Fault::nth(Place::Register, number, How::Fail(Errno::ENOMEM));
        live_with(&Plan::of([full, refused])).check(May::EndAll);
    }
}

#[test]
fn a_thread_that_is_refused() {
    fail_each(Place::Spawn, How::Fail(Errno::EAGAIN), May::EndAll, 6);
}

#[test]
fn a_clock_that_jumps() {
    for seconds in [3600.0, -3600.0, 1e9] {
        fail_each(Place::Clock, How::Jump(seconds), May::Nothing, 5);
    }
}

/// Fails the first call, the second, and so on, until there are no more; at
/// least so many.
fn fail_each(place: Place, how: How, may: May, least: usize) {
    for number in 1.. {
        let outcome = live(Fault::nth(place, number, how));
        let struck = outcome.plan.struck() > 0;
        outcome.check(may);
        if !struck {
            assert!(number > least, "{place:?} was called {} times only", number - 1);
            return;
        }
    }
}

fn live(fault: Fault) -> Outcome {
    live_with(&Plan::of([fault]))
}

/// What came of a life.
struct Outcome {
    plan: Arc<Plan>,
    /// Whose connection ended early or was refused, and how.
    victims: Vec<String>,
    end: crate::Result<Ended>,
}

impl Outcome {
    fn check(&self, may: May) {
        let Self { plan, victims, end } = self;
        let told = format!("{plan:?}: {victims:?}, {end:?}");
        match end {
            Ok(Ended::Stopped) => {
                let most = usize::from(may != May::Nothing);
                assert!(victims.len() <= most, "{told}");
            }
            Ok(Ended::Interrupted) => panic!("{told}"),
            Err(error) => {
                assert_eq!(may, May::EndAll, "{told}");
                assert_eq!(error.to_string().lines().count(), 1, "{told}");
            }
        }
        // Of a few dozen calls none is made again and again.
        assert!(plan.most_calls() < 5000, "{told}");
    }
}

/// Two viewers come, something is asked, something is published in two ways,
/// one viewer subscribes, all ends.
fn live_with(plan: &Arc<Plan>) -> Outcome {
    plan.plant();
    let mut victims = Vec::new();
    let started = start();
    let end = match started {
        Err(error) => Err(error),
        Ok(board) => {
            // Whoever is refused twice has an engine that ended by itself.
            let _ = board.run(&mut victims);
            board.handle.stop();
            board.handle.join()
        }
    };
    Plan::lift();
    Outcome { plan: plan.clone(), victims, end }
}

/// An engine with the page and a channel.
struct Board {
    handle: Handle,
    hub: Hub,
    publish: Box<dyn Fn() -> u64>,
}

fn start() -> crate::Result<Board> {
    let hub = Hub::new(HubSettings::default());
    let publisher = hub.publisher("test");
    let channel = publisher.channel(Channel::gauge("count")?)?;
    let app = App::new(hub.clone());
    let limits = Limits {
        workers: 2,
        close_time: Duration::from_millis(300),
        // Nothing but a fault may end anyone, however slow this machine is.
        head_time: PATIENCE * 3,
        ping_every: PATIENCE * 2,
        silence: PATIENCE * 3,
        ..Limits::default()
    };
    let listeners = Listeners::bind(&[SocketAddr::from(([127, 0, 0, 1], 0))])?;
    let handle = net::start(listeners, app.clone(), Gate::local(), limits, None)?;
    app.watch(&handle);
    let own = hub.clone();
    let publish = Box::new(move || {
        let mut batch = Batch::at(own.clock().boot());
        batch.set(channel, own.view().seq() as f64);
        publisher.publish(batch)
    });
    Ok(Board { handle, hub, publish })
}

impl Board {
    /// `None` when the same was refused twice.
    fn run(&self, victims: &mut Vec<String>) -> Option<()> {
        let address = self.handle.addresses()[0];
        let mut one = twice(victims, || Viewer::join(address, "/ws"))?;
        let mut two = twice(victims, || Viewer::join(address, "/ws?channels="))?;
        twice(victims, || ask(address, "GET /api/latest HTTP/1.1\r\nHost: localhost\r\n\r\n"))?;
        (self.publish)();
        let subscribe = r##"{"type":"subscribe","channels":["#"],"id":7}"##;
        if let Err(lost) = two.say(subscribe) {
            victims.push(lost);
            two = Viewer::join(address, "/ws").ok()?;
        }
        let post =
            "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\nroom=21";
        twice(victims, || ask(address, post))?;
        for viewer in [&mut one, &mut two] {
            let last = self.hub.view().seq();
            if let Err(lost) = viewer.read_to(last) {
                victims.push(lost);
                *viewer = Viewer::join(address, "/ws").ok()?;
            }
        }
        let [_, _, last] = [(); 3].map(|()| (self.publish)());
        for viewer in [&mut one, &mut two] {
            if let Err(lost) = viewer.read_to(last) {
                victims.push(lost);
                *viewer = Viewer::join(address, "/ws").ok()?;
                viewer.read_to(last).ok()?;
            }
        }
        self.handle.stop();
        for viewer in [one, two] {
            victims.extend(viewer.end().err());
        }
        Some(())
    }
}

/// Once more, when it was refused.
fn twice<T>(victims: &mut Vec<String>, act: impl Fn() -> Result<T, String>) -> Option<T> {
    let first = act();
    first
        .or_else(|lost| {
            victims.push(lost);
            act()
        })
        .ok()
}

/// What a socket says: a time-out means that someone waits in vain.
fn lost(error: &io::Error) -> String {
    let waits = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind());
    assert!(!waits, "nothing was heard for {PATIENCE:?}: it hangs");
    error.to_string()
}

fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).map_err(|error| lost(&error))?;
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    Ok(stream)
}

/// One request, whose answer is to begin with 200.
fn ask(address: SocketAddr, request: &str) -> Result<(), String> {
    let mut stream = connect(address)?;
    stream.write_all(request.as_bytes()).map_err(|error| lost(&error))?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).map_err(|error| lost(&error))?;
    match head.ends_with(b" 200") {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&head).into_owned()),
    }
}

/// A viewer that checks that it gets every batch once, but for gaps that it is
/// told of.
struct Viewer {
    socket: WebSocket<TcpStream>,
    seq: Option<u64>,
}

impl Viewer {
    fn join(address: SocketAddr, path: &str) -> Result<Self, String> {
        let stream = connect(address)?;
        match tungstenite::client(format!("ws://{address}{path}"), stream) {
            Ok((socket, _)) => Ok(Self { socket, seq: None }),
            Err(HandshakeError::Failure(Error::Io(error))) => Err(lost(&error)),
            Err(HandshakeError::Failure(error)) => Err(error.to_string()),
            Err(HandshakeError::Interrupted(_)) => panic!("no answer in {PATIENCE:?}: it hangs"),
        }
    }

    fn say(&mut self, text: &str) -> Result<(), String> {
        self.socket.send(Message::text(text)).map_err(|error| error.to_string())
    }

    /// The next message; `None` when the server says that it ends.
    fn next(&mut self) -> Result<Option<Value>, String> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    return Ok(Some(serde_json::from_str(&text).expect("JSON")));
                }
                Ok(Message::Close(Some(close))) if u16::from(close.code) == 1001 => {
                    return Ok(None);
                }
                Ok(Message::Close(close)) => return Err(format!("{close:?}")),
                Ok(_) => {}
                Err(Error::Io(error)) => return Err(lost(&error)),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn read_to(&mut self, last: u64) -> Result<(), String> {
        while self.seq.is_none_or(|seq| seq < last) {
            let message = self.next()?.ok_or("ended too early")?;
            let number = |key: &str| message[key].as_u64().expect("a number");
            match (message["type"].as_str(), self.seq) {
                (Some("data"), Some(seq)) if message["snapshot"] != true => {
                    assert_eq!(number("seq"), seq + 1, "each batch once and in order");
                    self.seq = Some(seq + 1);
                }
                (Some("data"), _) => self.seq = Some(number("seq")),
                (Some("gap"), Some(seq)) => assert_eq!(number("from"), seq + 1),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads to the end, which is to be said.
    fn end(mut self) -> Result<(), String> {
        while self.next()?.is_some() {}
        // Answers the Close, and waits until the server closes.
        while self.socket.read().is_ok() {}
        Ok(())
    }
}
