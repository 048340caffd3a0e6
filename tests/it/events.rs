//! `/events`: the stream for whom WebSockets do not reach.

use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use boardcast::{net::Limits, telemetry::HubSettings};
use serde_json::Value;

use crate::{fixture::*, fleet};

/// A reader of events, as a browser's `EventSource` is one.
struct Source {
    reader: BufReader<TcpStream>,
    head: Answer,
    /// The place of the last event that had one.
    last_id: String,
    /// What the last comment said.
    comment: String,
}

impl Source {
    fn open(address: SocketAddr, path: &str, headers: &str) -> Self {
        Self::over(tcp(address), path, headers)
    }

    fn over(mut stream: TcpStream, path: &str, headers: &str) -> Self {
        send(&mut stream, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
        let mut reader = BufReader::new(stream);
        let head = Answer::read_head(&mut reader);
        Self { reader, head, last_id: String::new(), comment: String::new() }
    }

    /// The data of the next event that has some; `None` at the end.
    fn event(&mut self) -> Option<Value> {
        let mut data = None;
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).expect("a line") == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("id", id)) => self.last_id = id.into(),
                Some(("data", json)) => data = Some(serde_json::from_str(json).expect("JSON")),
                Some(("", comment)) => self.comment = comment.into(),
                Some(("retry", millis)) => assert!(millis.parse::<u32>().is_ok(), "{line}"),
                Some(_) => panic!("{line}"),
                None => {
                    assert_eq!(line, "\n");
                    if data.is_some() {
                        return data;
                    }
                }
            }
        }
    }

    fn next(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event().expect("one more event");
            if event["type"] == kind {
                return event;
            }
        }
    }
}

#[test]
fn the_messages_are_those_of_the_websocket_and_name_their_place() {
    let board = Board::start();
    board.publish();
    let mut source = Source::open(board.engine.address, "/events", "");
    assert_eq!(source.head.status, 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("connection", "close"),
    ] {
        assert_eq!(source.head.header(name), Some(value));
    }
    assert_eq!(source.head.header("content-length"), None);
    let mut viewer = board.client();
    let hello = source.next("hello");
    assert_eq!((&hello["may_publish"], source.last_id.as_str()), (&false.into(), ""));
    assert_eq!(hello["channels"], viewer.next("hello")["channels"]);
    let snapshot = source.next("data");
    assert_eq!(snapshot, viewer.next("data"));
    assert_eq!(source.last_id, format!("{}:1", board.hub.epoch()));
    board.publish();
    assert_eq!(source.next("data"), viewer.next("data"));
    assert_eq!(source.last_id, format!("{}:2", board.hub.epoch()));
}

#[test]
fn a_fleets_events_say_whose_they_are_and_have_no_place_of_their_own() {
    let boards: [Board; 2] = std::array::from_fn(|_| Board::start());
    boards.iter().for_each(|board| _ = board.publish());
    let places = [("a", boards[0].engine.address), ("b", boards[1].engine.address)];
    let server = fleet::fleet(&places, &[]);
    fleet::await_online(&server, &["a", "b"]);
    // A place is one board's: who says one begins anew.
    let place = format!("Last-Event-ID: {}:1\r\n", boards[0].hub.epoch());
    let mut source = Source::open(server.address, "/events?channels=%2B/count", &place);
    assert_eq!(source.head.status, 200);
    assert_eq!(source.next("hello")["fleet"], true);
    assert_eq!(source.next("subscribed")["recovered"], false);
    let mut viewer = Client::connect(server.address, "/ws?channels=%2B/count");
    let batches = |told: &mut dyn FnMut() -> Value| {
        let mut two = [told(), told()].map(|data| (data["device"].to_string(), data));
        two.sort_by(|one, other| one.0.cmp(&other.0));
        two
    };
    let snapshots = batches(&mut || source.next("data"));
    assert_eq!(snapshots, batches(&mut || viewer.next("data")));
    for (snapshot, name) in snapshots.iter().zip(["a", "b"]) {
        assert_eq!(snapshot.1["device"], name);
        assert_eq!(snapshot.1["values"][format!("{name}/count")], 1);
    }
    let seq = boards[1].publish();
    let data = source.next("data");
    assert_eq!((&data["device"], &data["seq"]), (&"b".into(), &seq.into()));
    assert_eq!(data, viewer.next("data"));
    assert_eq!(source.last_id, "");
}

#[test]
fn who_comes_back_goes_on_where_it_was() {
    let board = Board::start();
    board.publish();
    let mut source = Source::open(board.engine.address, "/events?channels=count", "");
    source.next("data");
    let place = source.last_id.clone();
    drop(source);
    board.publish();
    board.publish();
    let goes_on = |path: &str, headers: &str| {
        let mut source = Source::open(board.engine.address, path, headers);
        let subscribed = source.next("subscribed");
        assert_eq!(subscribed["recovered"], true, "{path} {headers}");
        let seqs = [source.next("data"), source.next("data")].map(|data| data["seq"].clone());
        assert_eq!(seqs, [2, 3], "{path} {headers}");
    };
    goes_on("/events?channels=count", &format!("Last-Event-ID: {place}\r\n"));
    goes_on("/events", &format!("Last-Event-ID: {place}\r\n"));
    goes_on(&format!("/events?since={place}"), "");
    // The address stays as it is when a browser connects anew.
    let old = format!("/events?since={}:0", board.hub.epoch());
    goes_on(&old, &format!("Last-Event-ID: {place}\r\n"));
    for other in ["0123456789abcdef:2", "7", "x:y:z", ""] {
        let headers = format!("Last-Event-ID: {other}\r\n");
        let mut source = Source::open(board.engine.address, "/events", &headers);
        assert_eq!(source.next("data")["snapshot"], true, "{other}");
    }
}

#[test]
fn a_bad_query_is_told_and_nothing_is_pushed_by_it() {
    let board = Board::start();
    let address = board.engine.address;
    for (path, words) in [
        ("/events?max_hz=fast", "max_hz"),
        ("/events?filter=x", "channels"),
        ("/events?channels=", "/events?channels=cpu"),
        ("/events?channels=a%2F%23%2Fb", "#"),
    ] {
        let answer = get(address, path);
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    let post =
        ask(address, "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(post.status, 405);
    let mut stream = tcp(address);
    send(&mut stream, "HEAD /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let head = Answer::read_head(&mut BufReader::new(stream));
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(board.engine.streams(), 0);
}

#[test]
fn it_is_a_stream_among_the_streams() {
    let limits = Limits { connections: 4, reserved_for_http: 2, ..Limits::default() };
    let board = Board::with(HubSettings::default(), limits);
    let address = board.engine.address;
    let mut sources = [(); 2].map(|()| Source::open(address, "/events", ""));
    for source in &mut sources {
        source.next("hello");
    }
    assert_eq!(metric(address, "boardcast_clients"), 2);
    assert_eq!(get(address, "/events").status, 503);
    drop(sources);
    wait_for("their places", || (board.engine.streams() == 0).then_some(()));
    // One of HTTP 1.0 reads until the end, as all do.
    let mut old = tcp(address);
    send(&mut old, "GET /events?max_hz=5 HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let mut old = BufReader::new(old);
    assert_eq!(Answer::read_head(&mut old).status, 200);
    let mut line = String::new();
    while !line.contains("\"subscribed\"") {
        line.clear();
        assert_ne!(old.read_line(&mut line).expect("a line"), 0);
    }
    assert!(line.contains("\"max_hz\":5"), "{line}");
}

#[test]
fn who_talks_without_end_is_ended() {
    let board = Board::start();
    let mut source = Source::open(board.engine.address, "/events", "");
    source.next("hello");
    let stream = source.reader.get_mut();
    // It may be gone before it has said it all.
    for _ in 0..64 {
        if std::io::Write::write_all(stream, &[b'x'; 4096]).is_err() {
            break;
        }
    }
    wait_for("its end", || (board.engine.streams() == 0).then_some(()));
}

#[test]
fn a_slow_reader_gets_a_gap_and_the_latest_values() {
    let settings = HubSettings { ring_bytes: 64 * 1024, ..HubSettings::default() };
    let board = Board::with(settings, Limits::default());
    let mut slow = Source::over(narrow_tcp(board.engine.address), "/events", "");
    slow.next("hello");
    while board.engine.handle().stats().blocked_sends.get() == 0 {
        board.publish_text(1000);
    }
    let mut last = 0;
    for _ in 0..200 {
        last = board.publish_text(1000);
    }
    let gap = slow.next("gap");
    let snapshot = slow.next("data");
    assert_eq!((&snapshot["snapshot"], &snapshot["seq"]), (&true.into(), &gap["to"]));
    assert_eq!(slow.last_id, format!("{}:{}", board.hub.epoch(), gap["to"]));
    // The snapshot may be of the last one already.
    let mut seen = snapshot["seq"].as_u64();
    while seen < Some(last) {
        seen = slow.next("data")["seq"].as_u64();
    }
}

#[test]
fn one_that_takes_nothing_is_ended() {
    let limits = Limits {
        stuck: Duration::from_millis(300),
        close_time: Duration::from_millis(200),
        ..Limits::default()
    };
    let settings = HubSettings { ring_bytes: 64 * 1024, ..HubSettings::default() };
    let board = Board::with(settings, limits);
    let mut stuck = Source::over(narrow_tcp(board.engine.address), "/events", "");
    stuck.next("hello");
    wait_for("its end", || {
        board.publish_text(1000);
        (board.engine.streams() == 0).then_some(())
    });
    assert_eq!(metric(board.engine.address, "boardcast_ended_slow_total"), 1);
}

#[test]
fn silence_is_no_reason_to_end_it() {
    let limits = Limits {
        ping_every: Duration::from_millis(100),
        silence: Duration::from_millis(300),
        ..Limits::default()
    };
    let board = Board::with(HubSettings::default(), limits);
    let mut source = Source::open(board.engine.address, "/events", "");
    let mut silent = raw_websocket(board.engine.address, "/ws");
    source.next("hello");
    // A WebSocket that answers no ping is gone by then.
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest);
    wait_for("the other's end", || (board.engine.streams() == 1).then_some(()));
    let seq = board.publish();
    while source.next("data")["seq"] != seq {}
}

#[test]
fn at_the_stop_it_gets_what_there_is_and_the_reason() {
    let board = Board::start();
    let mut source = Source::open(board.engine.address, "/events", "");
    source.next("hello");
    let seq = board.publish();
    let engine = board.engine;
    let reader = std::thread::spawn(move || {
        while source.next("data")["seq"] != seq {}
        let end = source.event();
        (end, source.comment)
    });
    engine.stop().expect("stopped");
    let (end, comment) = reader.join().expect("no panic");
    assert_eq!((end, comment.as_str()), (None, "the server stops"));
}

#[test]
fn a_page_of_an_origin_that_is_allowed_may_read_it() {
    let server = Binary::start(&["--allow-origin", "https://panel.example"]);
    let of = |origin: &str| {
        let source = Source::open(server.address, "/events", &format!("Origin: {origin}\r\n"));
        source.head.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(of("https://panel.example").as_deref(), Some("https://panel.example"));
    assert_eq!(of("https://evil.example"), None);
    let elsewhere = "GET /events HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert_eq!(ask(server.address, elsewhere).status, 403);
}
