//! The end game: stopping gently, and what happens when a thread dies.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use boardcast::{
    Error,
    message::Message,
    net::{
        Answer as Reply, Application, Bell, Cursor, Ended, Feed, Frames, Gate, Limits, Request,
        Upgrade, text_frame,
    },
    telemetry::HubSettings,
};

use crate::fixture::*;

#[test]
fn everyone_gets_what_was_published_and_then_1001() {
    let board = Board::start();
    let mut clients: Vec<_> = (0..20).map(|_| board.client()).collect();
    for client in &mut clients {
        client.next("data");
    }
    let mut last = 0;
    for _ in 0..50 {
        last = board.publish();
    }
    let started = Instant::now();
    let ended = std::thread::spawn(move || board.engine.stop());
    for client in &mut clients {
        while client.next("data")["seq"] != last {}
        assert_eq!(client.close_code(), Some(1001));
        // The closing handshake goes on until the server ends the connection.
        while client.socket.read().is_ok() {}
    }
    assert_eq!(ended.join().expect("joined").expect("no fault"), Ended::Stopped);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn stuck_clients_idle_ones_and_half_handshakes_do_not_hold_the_stop_up() {
    let settings = HubSettings { ring_bytes: 64 * 1024, ..HubSettings::default() };
    let board = Board::with(settings, Limits::default());
    let stuck: Vec<_> = (0..5).map(|_| board.client()).collect();
    let blocked = || board.engine.handle().stats().blocked_sends.get();
    wait_for("five full sockets", || {
        board.publish_text(1000);
        (blocked() >= 5).then_some(())
    });
    let mut half = tcp(board.engine.address);
    send(&mut half, "GET /ws HTTP/1.1\r\n");
    wait_for("the half handshake", || (board.engine.connections() == 6).then_some(()));
    let started = Instant::now();
    assert_eq!(board.engine.stop().expect("no fault"), Ended::Stopped);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    drop(stuck);
}

/// Serves a feed whose cursor does what the test says.
struct Planted(fn() -> Box<dyn Cursor>);

impl Application for Planted {
    fn respond(&self, _: &Request) -> Reply {
        Reply::Upgrade(Upgrade::new(|_, _| |_: Message| {}).feed(self))
    }
}

impl Feed for Planted {
    fn cursor(&self, _: u64) -> Box<dyn Cursor> {
        (self.0)()
    }
    fn started(&self, _: Bell) {}
}

struct Panics;

impl Cursor for Panics {
    fn fill(&mut self, _: Instant, _: &mut Frames) {
        panic!("planted");
    }
    fn consume(&mut self, _: &[u64], _: Instant) {}
}

#[test]
fn the_death_of_a_push_worker_ends_the_server_with_one_clear_line() {
    let planted = Arc::new(Planted(|| Box::new(Panics)));
    let engine = Engine::start(planted, Gate::open(), Limits::default());
    let _client = Client::connect(engine.address, "/");
    let error = engine.join().expect_err("a dead worker");
    assert!(matches!(error, Error::Fatal(_)));
    let line = error.to_string();
    assert!(line.contains("bc-push") && line.contains("panicked"), "{line}");
}

/// A feed that never has anything to say.
struct Silent;

impl Cursor for Silent {
    fn fill(&mut self, _: Instant, _: &mut Frames) {}
    fn consume(&mut self, _: &[u64], _: Instant) {}
}

#[test]
fn a_feed_that_is_silent_does_not_hold_back_pongs() {
    let planted = Arc::new(Planted(|| Box::new(Silent)));
    let engine = Engine::start(planted, Gate::open(), Limits::default());
    let mut client = Client::connect(engine.address, "/");
    client.socket.send(tungstenite::Message::Ping("x".into())).expect("sent");
    assert_eq!(client.socket.read().expect("a pong"), tungstenite::Message::Pong("x".into()));
}

/// A feed that always has one more frame.
struct Endless;

impl Cursor for Endless {
    fn fill(&mut self, _: Instant, frames: &mut Frames) {
        frames.push(text_frame("more"));
    }
    fn consume(&mut self, _: &[u64], _: Instant) {}
}

#[test]
fn a_feed_without_end_does_not_keep_a_worker_from_stopping() {
    let planted = Arc::new(Planted(|| Box::new(Endless)));
    let limits = Limits { workers: 1, ..Limits::default() };
    let engine = Engine::start(planted, Gate::open(), limits);
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(engine.address, "/")).collect();
    for client in &mut clients {
        assert_eq!(client.text(), "more");
    }
    drop(clients);
    assert_eq!(engine.stop().expect("no fault"), Ended::Stopped);
}
