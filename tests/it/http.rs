//! Plain HTTP on the engine: answers, refusals, keep-alive, places.

use std::{
    io::{BufReader, Read, Write},
    time::Duration,
};

use boardcast::{net::Limits, telemetry::HubSettings};

use crate::fixture::*;

fn board(change: impl FnOnce(&mut Limits)) -> Board {
    let mut limits = Limits::default();
    change(&mut limits);
    Board::with(HubSettings::default(), limits)
}

#[test]
fn the_api_answers_with_json_and_metrics_with_prometheus() {
    let board = Board::start();
    board.publish();
    let address = board.engine.address;
    let latest = get(address, "/api/latest");
    assert_eq!((latest.status, latest.header("content-type")), (200, Some("application/json")));
    let latest: serde_json::Value = serde_json::from_str(latest.text()).expect("JSON");
    assert_eq!((&latest["seq"], &latest["values"]["count"]), (&1.into(), &1.into()));
    let channels = get(address, "/api/channels");
    let channels: serde_json::Value = serde_json::from_str(channels.text()).expect("JSON");
    assert_eq!(channels["epoch"], board.hub.epoch());
    assert_eq!(channels["channels"][0]["name"], "count");
    assert!(get(address, "/metrics").text().contains("boardcast_channel_up{channel=\"count\""));
    assert_eq!(get(address, "/healthz").status, 200);
}

#[test]
fn without_any_reading_it_is_not_well() {
    let board = Board::start();
    assert_eq!(get(board.engine.address, "/healthz").status, 503);
}

#[test]
fn what_is_not_there_and_what_may_not_be_done_is_said_in_a_sentence() {
    let board = Board::start();
    let address = board.engine.address;
    let missing = get(address, "/nothing");
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains("/api/latest"), "{}", missing.text());
    let answer = ask(address, "DELETE /api/latest HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(get(address, "/ws").status, 426);
}

#[test]
fn head_is_get_without_the_body() {
    let board = Board::start();
    let mut stream = tcp(board.engine.address);
    send(&mut stream, "HEAD /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut reader = BufReader::new(stream);
    let answer = Answer::read_head(&mut reader);
    assert_eq!(answer.status, 404);
    assert!(answer.header("content-length").is_some_and(|length| length != "0"));
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).expect("the end");
    assert_eq!(rest, b"");
}

#[test]
fn requests_that_come_together_are_answered_in_order() {
    let board = Board::start();
    let mut stream = tcp(board.engine.address);
    send(
        &mut stream,
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
    assert_eq!(Answer::read(&mut reader).status, 503);
    assert_eq!(Answer::read(&mut reader).status, 404);
    send(&mut stream, "GET /api/latest HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(Answer::read(&mut reader).status, 200);
}

#[test]
fn an_idle_connection_is_kept_for_a_while_and_then_closed() {
    let board = board(|limits| limits.keep_alive = Duration::from_millis(200));
    let mut stream = tcp(board.engine.address);
    send(&mut stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut reader = BufReader::new(stream);
    Answer::read(&mut reader);
    assert_eq!(reader.read(&mut [0]).expect("closed, not reset"), 0);
}

#[test]
fn a_dripping_head_is_answered_with_408_at_its_deadline() {
    let board = board(|limits| limits.head_time = Duration::from_millis(300));
    let mut stream = tcp(board.engine.address);
    send(&mut stream, "GET / HTTP/1.1\r\n");
    let mut dripping = stream.try_clone().expect("cloned");
    let drip = std::thread::spawn(move || {
        // Each byte comes in time; the whole does not.
        while dripping.write_all(b"X").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let answer = Answer::read(&mut BufReader::new(stream));
    assert_eq!(answer.status, 408);
    drip.join().expect("joined");
}

#[test]
fn a_head_that_is_too_long_is_answered_with_431() {
    let board = Board::start();
    let long = "x".repeat(9000);
    let answer =
        ask(board.engine.address, &format!("GET /?{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_eq!(answer.status, 431);
    let megabyte = "x".repeat(1 << 20);
    let mut stream = tcp(board.engine.address);
    let mut writer = stream.try_clone().expect("cloned");
    // Most of it is never read; the answer must arrive all the same.
    let writing = std::thread::spawn(move || writer.write_all(megabyte.as_bytes()).is_ok());
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 4"));
    drop(stream);
    let _ = writing.join().expect("joined");
}

#[test]
fn a_refusal_arrives_although_the_body_was_never_read() {
    let board = Board::start();
    let mut stream = tcp(board.engine.address);
    let body = "x".repeat(40_000);
    send(
        &mut stream,
        format!(
            "POST /api/latest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000\r\n\r\n{body}"
        ),
    );
    let mut reader = BufReader::new(stream);
    let answer = Answer::read(&mut reader);
    assert_eq!((answer.status, answer.header("connection")), (405, Some("close")));
    assert_eq!(reader.read(&mut [0]).expect("closed, not reset"), 0);
}

#[test]
fn when_all_places_are_taken_the_next_one_is_told_to_come_back() {
    let board = board(|limits| {
        limits.connections = 3;
        limits.reserved_for_http = 1;
    });
    let mut taken: Vec<_> = (0..2).map(|_| board.client()).collect();
    let full = Client::try_connect(board.engine.address, "/ws", &[]).err().expect("refused");
    assert!(full.to_string().contains("503"), "the place kept for HTTP went to a stream: {full}");
    wait_for("the end of the refused one", || (board.engine.connections() == 2).then_some(()));
    let third = tcp(board.engine.address);
    wait_for("three connections", || (board.engine.connections() == 3).then_some(()));
    let answer = get(board.engine.address, "/api/latest");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    assert!(answer.text().contains("connections are taken"));
    drop(third);
    for client in &mut taken {
        client.next("hello");
    }
    wait_for("a free place", || (board.engine.connections() == 2).then_some(()));
    assert!(get(board.engine.address, "/api/latest").status == 200);
}

#[test]
fn an_idle_connection_gives_way_to_a_new_one() {
    let board = board(|limits| {
        limits.connections = 2;
        limits.reserved_for_http = 1;
    });
    let idle: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = tcp(board.engine.address);
            send(&mut stream, "GET /api/latest HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let mut reader = BufReader::new(stream);
            Answer::read(&mut reader);
            reader
        })
        .collect();
    // Whether the answering threads have gone idle yet cannot be seen from
    // outside: the refusal before that is right, too.
    wait_for("a place", || (get(board.engine.address, "/api/latest").status == 200).then_some(()));
    drop(idle);
}

#[test]
fn unfinished_heads_are_bounded_and_the_rest_wait_their_turn() {
    let board = board(|limits| {
        limits.unfinished_heads = 2;
        limits.head_time = Duration::from_millis(300);
    });
    let dripping: Vec<_> = (0..4).map(|_| tcp(board.engine.address)).collect();
    wait_for("two heads", || (board.engine.connections() == 2).then_some(()));
    // It waits in the kernel's queue until the heads before it are over.
    assert_eq!(get(board.engine.address, "/api/latest").status, 200);
    drop(dripping);
}

#[test]
fn a_page_of_another_host_is_refused() {
    let board = Board::start();
    let address = board.engine.address;
    let own = format!("http://{address}");
    for (origin, fine) in [(own.as_str(), true), ("http://evil.example", false), ("null", false)] {
        // A browser could not see a status.
        let mut client = Client::try_connect(address, "/ws", &[("origin", origin)]).expect(origin);
        match fine {
            true => drop(client.next("hello")),
            false => assert_eq!(client.close_code(), Some(4403), "{origin}"),
        }
    }
    let request =
        "GET /api/latest HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n";
    let answer = ask(address, request);
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("--allow-origin"));
}

#[test]
fn bad_handshakes_get_the_answers_of_the_rfc() {
    let board = Board::start();
    let address = board.engine.address;
    let old = handshake("/ws").replace("Version: 13", "Version: 8");
    let answer = ask(address, &old);
    assert_eq!((answer.status, answer.header("sec-websocket-version")), (426, Some("13")));
    for broken in [
        handshake("/ws").replace("dGhlIHNhbXBsZSBub25jZQ==", "short"),
        handshake("/ws").replace("Connection: Upgrade", "Connection: keep-alive"),
        handshake("/ws").replace("Host: localhost", "Host: localhost\r\nContent-Length: 5"),
    ] {
        assert_eq!(ask(address, &broken).status, 400, "{broken}");
    }
}
