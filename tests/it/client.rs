//! The client of the WebSocket API, against our server and against servers
//! that do what they should not.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use boardcast::{
    Error,
    websocket::{
        CloseCode, CloseEvent, Connection, Handler, Message, ReadyState, Server, ServerBuilder,
        WebSocket,
    },
};

use crate::fixture::*;

fn start(server: ServerBuilder, echo: bool) -> Engine {
    let server = server.bind().expect("a free port");
    let start = server.start(move |ws, _| {
        let ws = ws.clone();
        move |message: Message| match message.as_text() {
            Some("close") => ws.close(CloseCode(4000), "as you wish").expect("valid"),
            Some("close without") => ws.close(None, "").expect("valid"),
            _ if echo => ws.send(message).expect("open"),
            _ => {}
        }
    });
    Engine::from(start.expect("started"))
}

fn server() -> ServerBuilder {
    Server::builder().listen("127.0.0.1:0").limits(|limits| limits.message_bytes = 32 << 20)
}

fn echo() -> Engine {
    start(server(), true)
}

fn url(address: SocketAddr) -> String {
    format!("ws://{address}/echo?x=1")
}

fn connect(engine: &Engine) -> WebSocket {
    WebSocket::connect(&url(engine.address)).expect("connected")
}

fn recv(ws: &mut WebSocket) -> Message {
    ws.recv_timeout(PATIENCE).expect("in time").expect("open")
}

fn close_event(ws: &mut WebSocket) -> CloseEvent {
    while ws.recv_timeout(PATIENCE).expect("in time").is_some() {}
    ws.close_event().expect("it has ended").clone()
}

#[test]
fn it_has_what_the_article_lists() {
    let engine = echo();
    let mut ws = connect(&engine);
    assert_eq!(ws.ready_state(), ReadyState::Open);
    assert_eq!(ws.url(), url(engine.address));
    assert_eq!((ws.protocol(), ws.extensions(), ws.buffered_amount()), ("", "", 0));
    assert_eq!(ws.connection().peer(), engine.address);
    ws.send("text").expect("open");
    ws.send(&[1_u8, 2][..]).expect("open");
    ws.send(vec![3_u8]).expect("open");
    ws.send("").expect("open");
    assert_eq!(recv(&mut ws), "text".into());
    assert_eq!(recv(&mut ws).into_vec(), [1, 2]);
    assert_eq!(&recv(&mut ws).into_bytes()[..], [3]);
    assert_eq!(recv(&mut ws), "".into());
    ws.close(CloseCode::NORMAL, "done").expect("valid");
    assert_eq!(ws.ready_state(), ReadyState::Closing);
    let event = close_event(&mut ws);
    assert_eq!((event.code, &*event.reason, event.was_clean), (CloseCode(1000), "done", true));
    assert_eq!(ws.ready_state(), ReadyState::Closed);
    assert!(ws.recv().expect("no error").is_none(), "it stays ended");
}

#[test]
fn messages_of_every_size_come_back_as_they_went() {
    let engine = echo();
    let mut ws = connect(&engine);
    for length in [0, 1, 125, 126, 512, 513, 65_535, 65_536, 4 << 20] {
        let bytes: Vec<u8> = (0..length).map(|n: u32| ((n * 31) >> 3) as u8).collect();
        let sender = ws.connection();
        let sent = bytes.clone();
        // Both ends send more than the kernel holds: somebody has to read.
        let sending = thread::spawn(move || sender.send(sent));
        assert_eq!(recv(&mut ws).into_bytes(), bytes, "{length} bytes");
        sending.join().expect("no panic").expect("sent");
    }
}

#[test]
fn a_message_of_unknown_length_goes_in_fragments_and_arrives_whole() {
    let engine = echo();
    let mut ws = connect(&engine);
    for length in [0_u64, 10, 16 * 1024, 16 * 1024 + 1, 100_000] {
        ws.send_from(io::repeat(7).take(length)).expect("sent");
        assert_eq!(recv(&mut ws).into_vec(), vec![7; length as usize], "{length} bytes");
    }
    // Another thread's messages stay outside of it.
    let sender = ws.connection();
    let other = thread::spawn(move || (0..50).for_each(|_| sender.send("between").expect("open")));
    ws.send_from(io::repeat(8).take(1 << 20)).expect("sent");
    other.join().expect("no panic");
    let mut whole = 0;
    for _ in 0..51 {
        let message = recv(&mut ws);
        whole += usize::from(message.as_text().is_none() && message.len() == 1 << 20);
        assert!(message.len() == 1 << 20 || message.as_text() == Some("between"));
    }
    assert_eq!(whole, 1);
}

struct Breaks;

impl Read for Breaks {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("unplugged"))
    }
}

#[test]
fn a_reader_that_fails_ends_the_connection_only_when_half_is_sent() {
    let engine = echo();
    let mut ws = connect(&engine);
    assert!(matches!(ws.send_from(Breaks), Err(Error::Io { .. })));
    ws.send("still open").expect("open");
    assert_eq!(recv(&mut ws), "still open".into());
    assert!(ws.send_from(io::repeat(1).take(20_000).chain(Breaks)).is_err());
    assert_eq!(close_event(&mut ws).code, CloseCode::INTERNAL_ERROR);
}

#[test]
fn what_may_not_be_closed_or_sent_is_a_typed_error() {
    let engine = echo();
    let mut ws = connect(&engine);
    for code in [999, 1001, 1005, 1006, 2999, 5000] {
        let error = ws.close(CloseCode(code), "").expect_err("not for programs");
        assert!(matches!(error, Error::CloseCode(wrong) if wrong == code), "{error}");
    }
    let error = ws.close(None, &"é".repeat(62)).expect_err("too long");
    assert!(matches!(error, Error::CloseReason(124)), "{error}");
    ws.send("still open").expect("open");
    assert_eq!(recv(&mut ws), "still open".into());
    ws.close(CloseCode(3000), &"é".repeat(61)).expect("fits");
    assert!(matches!(ws.send("late"), Err(Error::Closed)));
    assert!(matches!(ws.connection().try_send("late"), Err(Error::Closed)));
    assert!(matches!(ws.ping(), Err(Error::Closed)));
    ws.close(CloseCode(4000), "again").expect("nothing happens");
    assert_eq!(close_event(&mut ws).code, CloseCode(3000));
}

#[test]
fn both_ends_see_the_code_and_the_reason_or_1005() {
    let engine = echo();
    let mut ws = connect(&engine);
    ws.send("close").expect("open");
    let event = close_event(&mut ws);
    assert_eq!(
        (event.code, &*event.reason, event.was_clean),
        (CloseCode(4000), "as you wish", true)
    );
    let mut ws = connect(&engine);
    ws.send("close without").expect("open");
    assert_eq!(close_event(&mut ws).code, CloseCode::NO_STATUS);
    let mut ws = connect(&engine);
    ws.close(None, "").expect("valid");
    let event = close_event(&mut ws);
    assert_eq!((event.code, event.was_clean), (CloseCode::NO_STATUS, true));
}

#[test]
fn a_subprotocol_is_chosen_in_the_order_of_the_server() {
    let engine = start(server().protocols(["chat.v2", "chat.v1"]), false);
    let offer = |names: &[&str]| {
        WebSocket::builder(&url(engine.address)).protocols(names.iter().copied()).connect()
    };
    assert_eq!(offer(&["chat.v1", "x", "chat.v2"]).expect("agreed").protocol(), "chat.v2");
    assert_eq!(offer(&["chat.v1"]).expect("agreed").protocol(), "chat.v1");
    assert_eq!(offer(&[]).expect("without").protocol(), "");
    let refused = offer(&["chat.v3"]).expect_err("unknown");
    assert!(matches!(refused, Error::Handshake { status: 400, .. }), "{refused}");
    assert!(refused.to_string().contains("chat.v2, chat.v1"), "{refused}");
    for bad in [&["a b"][..], &["a", "a"], &[""]] {
        assert!(matches!(offer(bad), Err(Error::Setting(_))), "{bad:?}");
    }
    let any = echo();
    let first = WebSocket::builder(&url(any.address)).protocols(["b", "a"]).connect();
    assert_eq!(first.expect("agreed").protocol(), "b");
}

#[test]
fn an_origin_that_is_not_named_is_refused() {
    let engine = start(server().origins(["https://example.org"]), false);
    let from = |origin: &str| {
        WebSocket::builder(&url(engine.address)).header("Origin", origin).connect().map(drop)
    };
    from("https://example.org").expect("named");
    from(&format!("http://{}", engine.address)).expect("its own page");
    // A browser could not see a status: the code comes once it is open.
    for origin in ["https://evil.example", "null"] {
        let builder = WebSocket::builder(&url(engine.address)).header("Origin", origin);
        let mut ws = builder.connect().expect("a handshake");
        assert_eq!(close_event(&mut ws).code, CloseCode::FORBIDDEN, "{origin}");
    }
    connect(&engine);
}

/// A server that answers one connection with these bytes, and keeps it open.
fn answers(head: &'static str) -> (SocketAddr, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.write_all(head.as_bytes()).expect("sent");
        let mut heard = Vec::new();
        // Until the client ends it.
        let _ = stream.read_to_end(&mut heard);
        heard
    });
    (address, serving)
}

#[test]
fn servers_that_open_no_websocket_are_told_apart_in_bounded_time() {
    let quick = |address: SocketAddr| {
        let time = Duration::from_millis(300);
        let started = Instant::now();
        let error = WebSocket::builder(&url(address)).connect_timeout(time).connect();
        (error.map(drop).expect_err("no WebSocket"), started.elapsed())
    };
    // A port that nobody listens on any more.
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let (error, _) = quick(closed);
    let Error::Io { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);

    let (silent, _serving) = answers("");
    let (error, took) = quick(silent);
    let Error::Io { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), io::ErrorKind::TimedOut, "{error}");
    assert!(took < PATIENCE / 2, "{took:?}");

    for (head, status, why) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "OK: hello"),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\nlater", 503, "later"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            101,
            "Sec-WebSocket-Accept",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", 0, "not HTTP"),
    ] {
        let (address, serving) = answers(head);
        let (error, _) = quick(address);
        assert!(matches!(error, Error::Handshake { status: got, .. } if got == status), "{error}");
        assert!(error.to_string().contains(why), "{error}");
        serving.join().expect("the client has let go");
    }
    let endless = "HTTP/1.1 101 Switching Protocols\r\nX: ".to_owned() + &"x".repeat(40_000);
    let (address, _serving) = answers(endless.leak());
    let (error, _) = quick(address);
    assert!(error.to_string().contains("16 KiB"), "{error}");
    if cfg!(not(feature = "tls")) {
        assert!(matches!(WebSocket::connect("wss://127.0.0.1/"), Err(Error::Url(_))));
    }
}

/// Notes what is called, in order.
struct Notes(mpsc::Sender<String>);

impl Notes {
    fn note(&self, what: String) {
        self.0.send(what).expect("the test listens");
    }
}

impl Handler for Notes {
    fn on_open(&mut self, ws: &Connection) {
        self.note(format!("open {:?}", ws.ready_state()));
        ws.ping().expect("open");
    }
    fn on_pong(&mut self, ws: &Connection, round_trip: Duration) {
        assert!(ws.round_trip().is_some_and(|told| told <= round_trip));
        self.note("pong".into());
        ws.send("hello").expect("open");
    }
    fn on_message(&mut self, ws: &Connection, message: Message) {
        self.note(format!("message {message}"));
        ws.send("close").expect("open");
    }
    fn on_error(&mut self, _: &Connection, error: &Error) {
        self.note(format!("error {error}"));
    }
    fn on_close(&mut self, ws: &Connection, event: &CloseEvent) {
        self.note(format!("close {} {:?}", event.code, ws.ready_state()));
    }
}

#[test]
fn a_handler_is_called_as_the_article_has_it() {
    let engine = echo();
    let (notes, called) = mpsc::channel();
    let running = connect(&engine).spawn(Notes(notes)).expect("a thread");
    let called: Vec<_> = called.iter().collect();
    assert_eq!(called, ["open Open", "pong", "message hello", "close 4000 Closed"]);
    assert_eq!(running.join().expect("no panic").code, CloseCode(4000));
}

#[test]
fn the_server_sees_the_round_trip_of_its_pings_too() {
    let (told, round_trips) = mpsc::channel();
    let server = server().limits(|limits| limits.ping_every = Duration::from_millis(50)).bind();
    struct Pinged(mpsc::Sender<Option<Duration>>);
    impl Handler for Pinged {
        fn on_message(&mut self, _: &Connection, _: Message) {}
        fn on_pong(&mut self, ws: &Connection, _: Duration) {
            // A test that is over no longer listens.
            let _ = self.0.send(ws.round_trip());
        }
    }
    let start = server.expect("a free port").start(move |_, _| Pinged(told.clone()));
    let engine = Engine::from(start.expect("started"));
    let mut ws = connect(&engine);
    let reading = thread::spawn(move || ws.recv());
    let round_trip = round_trips.recv_timeout(PATIENCE).expect("a pong");
    assert!(round_trip.is_some_and(|time| time < PATIENCE));
    engine.stop().expect("no fault");
    assert!(reading.join().expect("no panic").expect("no error").is_none());
}

#[test]
fn a_server_that_falls_silent_is_given_up_and_one_that_is_quiet_is_not() {
    let engine = echo();
    let keep = |engine: &Engine| {
        let builder = WebSocket::builder(&url(engine.address));
        builder.keep_alive(Duration::from_millis(50), Duration::from_millis(400)).connect()
    };
    let mut ws = keep(&engine).expect("connected");
    // It answers our pings: quiet for longer than the limit, and still there.
    let quiet = ws.recv_timeout(Duration::from_millis(900));
    assert!(matches!(quiet, Err(Error::Io { .. })), "{quiet:?}");
    assert_eq!(ws.ready_state(), ReadyState::Open);

    // A program that does not read for longer than the limit has not lost it.
    thread::sleep(Duration::from_millis(600));
    ws.send("back").expect("open");
    assert_eq!(recv(&mut ws), "back".into());

    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let silent = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let mut ws = tungstenite::accept(stream).expect("a handshake");
        // Says hello and then nothing, not even a pong.
        ws.send("hello".into()).expect("sent");
        let _ = ws.get_mut().read_to_end(&mut Vec::new());
    });
    let builder = WebSocket::builder(&url(address));
    let keep = builder.keep_alive(Duration::from_millis(50), Duration::from_millis(400));
    let mut ws = keep.connect().expect("connected");
    assert_eq!(recv(&mut ws), "hello".into());
    let event = close_event(&mut ws);
    assert_eq!((event.code, event.was_clean), (CloseCode::ABNORMAL, false));
    silent.join().expect("no panic");
}

#[test]
fn a_server_that_breaks_a_rule_gets_its_code() {
    for (bytes, code) in [
        (&[0x81, 0x02, 0xc3, 0x28][..], 1007),
        (&[0x91, 0x00], 1002),
        (&[0x82, 0x7f, 0, 0, 0, 0, 0x10, 0, 0, 0], 1009),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let rude = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            let mut ws = tungstenite::accept(stream).expect("a handshake");
            ws.get_mut().write_all(bytes).expect("sent");
            let close = loop {
                match ws.read() {
                    Ok(tungstenite::Message::Close(frame)) => break frame,
                    Ok(_) => {}
                    Err(error) => panic!("no Close: {error}"),
                }
            };
            u16::from(close.expect("with a code").code)
        });
        let mut ws = WebSocket::connect(&url(address)).expect("connected");
        let error = ws.recv().expect_err("a broken rule");
        assert!(matches!(error, Error::Protocol { code: told, .. } if told == code), "{error}");
        assert_eq!(rude.join().expect("no panic"), code);
        assert_eq!(ws.close_event().map(|event| event.was_clean), Some(false));
    }
}

#[test]
fn a_server_that_takes_nothing_blocks_a_sender_only_so_long() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (done, wait) = mpsc::channel::<()>();
    let stuck = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let _ws = tungstenite::accept(stream).expect("a handshake");
        let _ = wait.recv();
    });
    let builder = WebSocket::builder(&url(address)).send_timeout(Duration::from_millis(300));
    let ws = builder.connect().expect("connected");
    let connection = ws.connection();
    let refused = loop {
        match connection.try_send(vec![0; 60_000]) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Busy), "{refused}");
    assert!(ws.buffered_amount() > 0);
    // The kernel may still make some room; it ends.
    let error = loop {
        if let Err(error) = ws.send(vec![0; 60_000]) {
            break error;
        }
    };
    let Error::Io { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), io::ErrorKind::TimedOut);
    assert!(matches!(ws.send("over"), Err(Error::Closed)));
    done.send(()).expect("it waits");
    stuck.join().expect("no panic");
}

#[test]
fn a_server_that_goes_on_after_our_close_is_left_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let talks = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let mut ws = tungstenite::accept(stream).expect("a handshake");
        // Never reads, so never hears our Close.
        while ws.send("and another thing".into()).is_ok() {}
    });
    let builder = WebSocket::builder(&url(address)).close_timeout(Duration::from_millis(200));
    let mut ws = builder.connect().expect("connected");
    ws.close(None, "").expect("valid");
    assert_eq!(close_event(&mut ws).code, CloseCode::ABNORMAL);
    // While it is kept, what was never read fills the window, and the other end waits for room.
    drop(ws);
    talks.join().expect("no panic");
}

#[test]
fn letting_go_of_it_closes_it_with_1001() {
    let (told, closed) = mpsc::channel();
    struct Closes(mpsc::Sender<CloseEvent>);
    impl Handler for Closes {
        fn on_message(&mut self, _: &Connection, _: Message) {}
        fn on_close(&mut self, _: &Connection, event: &CloseEvent) {
            self.0.send(event.clone()).expect("the test listens");
        }
    }
    let server = server().bind().expect("a free port");
    let start = server.start(move |_, _| Closes(told.clone()));
    let engine = Engine::from(start.expect("started"));
    let ws = connect(&engine);
    let handle = ws.connection();
    drop(ws);
    assert_eq!(closed.recv_timeout(PATIENCE).expect("an event").code, CloseCode::GOING_AWAY);
    assert_eq!(handle.ready_state(), ReadyState::Closed);
    assert!(matches!(handle.send("late"), Err(Error::Closed)));
}
