//! Clients that do not keep up, and what they cost the others: nothing.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use boardcast::{net::Limits, telemetry::HubSettings};
use nix::sys::socket::{setsockopt, sockopt};

use super::fixture::*;

fn small_ring() -> HubSettings {
    HubSettings { ring_bytes: 64 * 1024, ..HubSettings::default() }
}

/// A client whose kernel takes no more than it does at first: left to itself,
/// it would go on to take megabytes.
fn narrow_client(board: &Board) -> Client {
    let client = board.client();
    setsockopt(client.socket.get_ref(), sockopt::RcvBuf, &65_536).expect("set");
    client
}

/// Publishes at the pace of a healthy client until the slow one has stood
/// still for long enough to be overtaken; returns the last batch. In between
/// its kernel may make room once or twice.
fn overtake(board: &Board) -> u64 {
    let mut healthy = board.client();
    healthy.next("data");
    let stats = board.engine.handle().stats().clone();
    let (mut blocked, mut still) = (0, 0);
    for _ in 0..20_000 {
        let seq = board.publish_text(1000);
        assert_eq!(healthy.json()["seq"], seq, "a healthy client missed something");
        // A client that is blocked is not tried again: its count stands still.
        let now = stats.blocked_sends.get();
        still = if now > 0 && now == blocked { still + 1 } else { 0 };
        blocked = now;
        if still == 300 {
            return seq;
        }
    }
    panic!("its socket takes everything");
}

/// Publishes until a client has been ended for taking nothing. As long as its
/// kernel still makes room it takes something.
fn publish_until_ended(board: &Board) {
    let stats = board.engine.handle().stats().clone();
    wait_for("the end of the stuck client", || {
        board.publish_text(1000);
        (stats.ended_slow.get() == 1).then_some(())
    });
}

#[test]
fn a_client_that_is_overtaken_gets_a_gap_and_then_the_latest_values() {
    let board = Board::with(small_ring(), Limits::default());
    let mut slow = narrow_client(&board);
    let last = overtake(&board);
    let mut seq = slow.next("data")["seq"].as_u64().expect("a number");
    let mut gaps = 0;
    while seq < last {
        let message = slow.json();
        if message["type"] == "gap" {
            gaps += 1;
            assert_eq!(message["from"], seq + 1, "the gap begins where the batches end");
            let snapshot = slow.json();
            assert_eq!((&snapshot["snapshot"], &snapshot["seq"]), (&true.into(), &message["to"]));
            seq = snapshot["seq"].as_u64().expect("a number");
        } else {
            seq += 1;
            assert_eq!(message["seq"], seq, "a hole that no gap tells of");
        }
    }
    assert!((1..10).contains(&gaps), "{gaps} gaps");
    let next = board.publish();
    assert_eq!(slow.json()["seq"], next, "and then it goes on");
}

#[test]
fn beside_a_stuck_client_the_others_get_everything() {
    let board = Board::with(small_ring(), Limits::default());
    let stuck = narrow_client(&board);
    let mut healthy: Vec<_> = (0..10).map(|_| board.client()).collect();
    for client in &mut healthy {
        client.next("data");
    }
    for _ in 0..1500 {
        let seq = board.publish_text(1000);
        for client in &mut healthy {
            assert_eq!(client.json()["seq"], seq);
        }
    }
    let (bytes, _) = board.hub.view().ring_use();
    assert!(bytes <= 64 * 1024, "the ring takes {bytes} bytes");
    assert!(board.engine.handle().stats().blocked_sends.get() > 0, "nobody was stuck");
    drop(stuck);
}

#[test]
fn a_client_that_takes_nothing_is_ended_with_1013_and_its_place_is_free() {
    let limits = Limits {
        stuck: Duration::from_millis(400),
        close_time: Duration::from_millis(300),
        ..Limits::default()
    };
    let board = Board::with(small_ring(), limits);
    let stuck = narrow_client(&board);
    publish_until_ended(&board);
    wait_for("its place", || (board.engine.streams() == 0).then_some(()));
    assert!(get(board.engine.address, "/metrics").text().contains("boardcast_ended_slow_total 1"));
    drop(stuck);
}

#[test]
fn one_that_drains_in_time_sees_the_code() {
    let limits = Limits { stuck: Duration::from_millis(300), ..Limits::default() };
    let board = Board::with(small_ring(), limits);
    let mut stuck = narrow_client(&board);
    publish_until_ended(&board);
    assert_eq!(stuck.close_code(), Some(1013));
}

#[test]
fn a_client_that_answers_no_ping_is_ended_and_one_that_does_stays() {
    let limits = Limits {
        ping_every: Duration::from_millis(300),
        silence: Duration::from_millis(900),
        ..Limits::default()
    };
    let board = Board::with(HubSettings::default(), limits);
    let silent = board.client();
    let mut answering = board.client();
    let stats = board.engine.handle().stats().clone();
    answering.socket.get_mut().set_read_timeout(Some(Duration::from_millis(20))).expect("set");
    wait_for("the end of the silent one", || {
        // tungstenite answers pings when it reads.
        let _ = answering.socket.read();
        (stats.ended_silent.get() == 1).then_some(())
    });
    wait_for("its place", || (board.engine.streams() == 1).then_some(()));
    drop(silent);
}

#[test]
fn a_slow_reader_that_goes_on_reading_is_not_taken_for_dead() {
    let limits = Limits {
        ping_every: Duration::from_millis(300),
        // Longer than it takes to overtake it, with TLS, too.
        silence: Duration::from_secs(4),
        ..Limits::default()
    };
    let board = Board::with(small_ring(), limits);
    let mut slow = narrow_client(&board);
    // From here on it is behind all the time: it never sees a ping in time.
    overtake(&board);
    let mut healthy = board.client();
    healthy.next("data");
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(7) {
        for _ in 0..40 {
            let seq = board.publish_text(1000);
            assert_eq!(healthy.next("data")["seq"], seq);
        }
        slow.socket.get_mut().read_exact(&mut [0; 10_000]).expect("it is still served");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(board.engine.handle().stats().ended_silent.get(), 0);
}

#[test]
fn a_client_that_is_behind_still_gets_its_close() {
    let board = Board::with(small_ring(), Limits::default());
    let close = client_frame(0x88, &1000_u16.to_be_bytes());
    let no_text = client_frame(0x81, b"\xff");
    for (sent, code) in [(close, 1000), (no_text, 1007)] {
        let mut slow = raw_websocket(board.engine.address, "/ws");
        setsockopt(&slow, sockopt::RcvBuf, &65_536).expect("set");
        overtake(&board);
        send(&mut slow, sent);
        assert_eq!(raw_close_code(&mut slow), Some(code));
    }
}

#[test]
fn answers_that_are_never_read_do_not_hold_a_place_for_ever() {
    let short = Duration::from_millis(400);
    let limits = Limits {
        stuck: short,
        response_time: short,
        close_time: short,
        per_address: 64,
        ..Limits::default()
    };
    let board = Board::with(HubSettings::default(), limits);
    // As many answers as leave little or no room for the handshake's own.
    let stuck: Vec<_> = (0..40)
        .map(|number| {
            let mut stuck = tcp(board.engine.address);
            setsockopt(&stuck, sockopt::RcvBuf, &2048).expect("set");
            let metrics = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(10 + number);
            stuck.set_nonblocking(true).expect("set");
            let _ = stuck.write_all(metrics.as_bytes());
            let _ = stuck.write_all(handshake("/ws").as_bytes());
            stuck
        })
        .collect();
    let accepted = board.engine.handle().stats();
    wait_for("all places, while the peers stay", || {
        board.publish_text(1000);
        (accepted.accepted.get() == 40 && board.engine.connections() == 0).then_some(())
    });
    drop(stuck);
}
