//! Anything at all from a peer: as a request, and as the frames of a WebSocket.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    client::{Client, NewClient},
    deflate::Agreement,
    gate::{Gate, LOGIN, Proxies, Role, TokenEntry, Tokens, Tries},
    handshake,
    http::{Chunks, Framing, Parsed, Request},
    limits::Limits,
    link::{Connection, Handler, next_id},
    pusher::{Pool, WorkerHandle},
    slots::{Phase, Slots},
    socket::Socket,
    stats::Stats,
    stream,
};
use crate::{
    message::{CloseCode, CloseEvent, Message},
    purse::Purse,
    wire::subscribe,
};

/// The most of a body in chunks.
const BODY: usize = 300;

fn peer() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}

/// A head, and what follows it as a body. A head is taken as a second, naive
/// reader would take it; where the bytes are cut, and what follows, makes no
/// difference.
pub fn head(bytes: &[u8]) {
    let rest = match Request::parse(bytes, peer()) {
        Err(bad) => {
            assert!([400, 431, 505].contains(&bad.status) && !bad.why.is_empty());
            // Without a head, the bytes are those of a body.
            bytes
        }
        Ok(Parsed::Partial) => bytes,
        Ok(Parsed::Whole(mut request, length)) => {
            let (head, rest) = bytes.split_at(length);
            look_at(&request, head);
            pass(&mut request);
            let again = Request::parse(head, peer());
            assert!(matches!(again, Ok(Parsed::Whole(_, whole)) if whole == length));
            for cut in [length - 1, length / 2, length / 3] {
                let part = Request::parse(&head[..cut], peer());
                assert!(matches!(part, Ok(Parsed::Partial)), "whole at {length}, not at {cut}");
            }
            rest
        }
    };
    let whole = join(rest, rest.len().max(1));
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(join(rest, size), whole, "in pieces of {size}");
    }
    in_chunks(rest);
}

/// Asks everything that the engine and the application ask of a request.
fn look_at(request: &Request, head: &[u8]) {
    let said: Vec<_> = naive_lines(head);
    let shown = |(name, value): &(&[u8], &[u8])| {
        let visible = value.iter().all(|&byte| matches!(byte, b' '..=b'~' | b'\t'));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        visible.then(|| (text(name), text(value)))
    };
    let headers = request.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert!(headers.eq(said.iter().filter_map(shown)), "{said:?}");
    let lines = |name: &'static str| {
        said.iter().filter(move |it| it.0.eq_ignore_ascii_case(name.as_bytes()))
    };
    assert!(lines("host").count() <= 1);
    assert!(!request.method().is_empty());
    assert!(request.path().starts_with('/') || request.path() == "*" || request.path().is_empty());
    assert!(request.url().starts_with("ws://"));
    let _ = (request.accepts_gzip(), request.wants_websocket(), request.expects_continue());
    let _ = request.query().map(subscribe::from_query);
    let lengths = lines("content-length").count();
    let codings = lines("transfer-encoding").count();
    match request.framing() {
        // One way to tell the end of a body, and no other.
        Ok(Framing::Chunked) => assert!(codings == 1 && lengths == 0 && request.has_body()),
        Ok(Framing::Length(0)) => assert!(codings == 0 && lengths <= 1),
        Ok(Framing::Length(_)) => assert!(codings == 0 && lengths == 1 && request.has_body()),
        Err(bad) => assert!([400, 501].contains(&bad.status)),
    }
    if lengths + codings > 0 && request.keeps_alive() {
        assert!(lines("content-length").all(|line| line.1 == b"0") && codings == 0);
    }
    if let Ok(answer) = handshake::accept(request) {
        assert!(request.wants_websocket() && request.method() == "GET" && !request.has_body());
        assert_eq!(answer.lines().count(), 4, "nothing of the peer's is in it");
    }
    if let Some(agreed) = Agreement::choose(request.header_list("sec-websocket-extensions")) {
        let said = agreed.to_string();
        assert!(said.starts_with("permessage-deflate") && !said.contains(char::is_control));
    }
}

/// Asks every question of the gate: who is refused gets an answer for that, and
/// nobody a right that nothing gives.
fn pass(request: &mut Request) {
    static GATE: OnceLock<Gate> = OnceLock::new();
    let gate = GATE.get_or_init(|| {
        let (entry, _) = TokenEntry::new("x", Role::Publish).expect("random numbers");
        Gate {
            tokens: Tokens::parse(&entry.to_string()).expect("one"),
            proxies: Proxies(vec!["127.0.0.1".parse().expect("a network")]),
            view_needs_token: true,
            token_in_url: true,
            base_path: "/pi".into(),
            ..Gate::local()
        }
    });
    let outcome = gate.judge(request, &Tries::default(), Instant::now(), &|_| false);
    assert!(!request.may_publish(), "nobody knows the token");
    match outcome {
        Err(refused) => {
            let status = refused.response(request).status();
            assert!([303, 401, 403].contains(&status), "{status}");
            let (code, reason) = refused.close();
            assert!(code.is_for_programs() && reason.len() <= 123);
        }
        Ok(()) => assert!(request.path() == LOGIN || request.is_preflight()),
    }
    let _ = gate.moved(request);
    let _ = gate.cross_origin(request);
    assert!(!request.subprotocols().any(|name| name.starts_with("boardcast.auth.")));
}

/// Names and values of the lines behind the first (RFC 9112 section 5), by
/// plain splitting.
fn naive_lines<'a>(head: &'a [u8]) -> Vec<(&'a [u8], &'a [u8])> {
    let blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = head.iter().position(|byte| !blank(byte)).unwrap_or(head.len());
    let lines = head[start..].split(|&byte| byte == b'\n').skip(1);
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let pair = |line: &'a [u8]| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    };
    lines.filter_map(pair).collect()
}

/// What became of a body in chunks.
#[derive(Debug, PartialEq)]
enum Joined {
    Whole(Vec<u8>, usize),
    Open(Vec<u8>),
    TooLong,
    Broken,
}

/// Takes a body in chunks that comes in pieces of this size.
fn join(bytes: &[u8], size: usize) -> Joined {
    let (mut chunks, mut read, mut body) = (Chunks::default(), Vec::new(), Vec::new());
    let mut given = 0;
    for piece in bytes.chunks(size) {
        read.extend_from_slice(piece);
        given += piece.len();
        match chunks.take(&mut read, &mut body, BODY) {
            Err(_) => return Joined::Broken,
            Ok(true) => return Joined::Whole(body, bytes.len() - given + read.len()),
            Ok(false) if body.len() > BODY => return Joined::TooLong,
            Ok(false) => {}
        }
    }
    Joined::Open(body)
}

/// The bytes as the content of chunks, whose sizes they tell themselves.
fn in_chunks(bytes: &[u8]) {
    let body = &bytes[..bytes.len().min(BODY)];
    let (mut left, mut sent) = (body, Vec::new());
    while let Some(&first) = left.first() {
        let (chunk, rest) = left.split_at(usize::from(first % 32 + 1).min(left.len()));
        let extension = if first % 3 == 0 { " ; a=b" } else { "" };
        sent.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        sent.extend_from_slice(chunk);
        sent.extend_from_slice(b"\r\n");
        left = rest;
    }
    sent.extend_from_slice(b"0\r\nX: y\r\n\r\nGET");
    let size = body.first().map_or(1, |&first| usize::from(first) + 1);
    assert_eq!(join(&sent, size), Joined::Whole(body.to_vec(), 3));
}

/// What a peer sends once the connection is a WebSocket. The first byte tells
/// whether compression was agreed on, how the bytes are cut, and how many of
/// them came with the handshake: none of which may change what they say.
pub fn frames(bytes: &[u8]) {
    let Some((&how, sent)) = bytes.split_first() else { return };
    let agreement = (how & 1 != 0).then(|| Agreement::choose(["permessage-deflate"])).flatten();
    let read_buffer = [1, 3, 8, 13, 100, 512, 4096, 20_000][usize::from(how >> 1 & 7)];
    let early = sent.len() * usize::from(how >> 4) / 15;
    let one = converse(sent, agreement, read_buffer, early);
    let other = converse(sent, agreement, 512, 0);
    assert_eq!(one.messages, other.messages);
    // How much came out of a compressed message before it broke depends on how it was cut, and
    // with that, whether another fault of the same message was seen before.
    let broken = [one.code, other.code].contains(&CloseCode::INVALID_DATA);
    let same = one.code == other.code || (agreement.is_some() && broken);
    assert!(same, "{} and {}", one.code, other.code);
    if agreement.is_none() {
        assert!(one.messages.iter().map(Message::len).sum::<usize>() <= sent.len());
    }
}

/// What came of a conversation in which the server says nothing by itself.
struct Said {
    messages: Vec<Message>,
    code: CloseCode,
}

impl Handler for Said {
    fn on_message(&mut self, _: &Connection, message: Message) {
        assert!(message.len() <= MESSAGE);
        self.messages.push(message);
    }

    fn on_close(&mut self, _: &Connection, event: &CloseEvent) {
        self.code = event.code;
        assert!(event.reason.len() <= 123);
    }
}

/// The longest message.
const MESSAGE: usize = 6000;

/// The server's whole reading half, over a pair of connected sockets, whose
/// other end has said everything and shut its direction.
fn converse(sent: &[u8], agreement: Option<Agreement>, read_buffer: usize, early: usize) -> Said {
    let limits = Limits {
        read_buffer,
        message_bytes: MESSAGE,
        message_rate: u32::MAX,
        message_burst: u32::MAX,
        control_rate: 1_000_000,
        // Longer than a machine may stand still.
        message_time: Duration::from_secs(3600),
        ..Limits::default()
    };
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    theirs.write_all(&sent[early..]).expect("the kernel takes it");
    theirs.shutdown(Shutdown::Write).expect("connected");
    let socket = Arc::new(Socket::from(TcpStream::from(OwnedFd::from(ours))));
    let (slots, now) = (Slots::new(&limits, &Arc::default(), || {}), Instant::now());
    let slot = slots.enter(peer(), false, socket.clone(), now, now).expect("room");
    slot.enter(Phase::Stream, None).expect("room");
    let client = Arc::new(Client::new(NewClient {
        socket: socket.clone(),
        slot,
        peer: peer(),
        id: next_id(),
        protocol: None,
        url: "ws://pi/ws".into(),
        agreement,
        worker: worker(),
        head: Bytes::new(),
        held: false,
        events: false,
        control_bytes: limits.control_bytes,
        close_time: limits.close_time,
    }));
    let (mut said, stats) =
        (Said { messages: Vec::new(), code: CloseCode::NORMAL }, Stats::default());
    stream::run(
        &client,
        &mut said,
        sent[..early].to_vec(),
        &limits,
        (&stats, &Purse::new(limits.transit_bytes)),
    );
    let mut answer = Vec::new();
    theirs.read_to_end(&mut answer).expect("read");
    check_answer(&answer, said.code);
    said
}

/// A worker for clients that never need one.
fn worker() -> WorkerHandle {
    static POOL: OnceLock<Pool> = OnceLock::new();
    let start = || {
        let limits = Limits { workers: 1, ..Limits::default() };
        let fatal: Arc<dyn Fn(String) + Send + Sync> = Arc::new(|why| panic!("{why}"));
        Pool::start(&limits, &Arc::default(), &fatal).expect("a thread")
    };
    POOL.get_or_init(start).for_new_client()
}

/// A server that says nothing by itself sends pongs, and at the end a Close.
fn check_answer(mut bytes: &[u8], code: CloseCode) {
    let mut close = None;
    while let [first, length, rest @ ..] = bytes {
        assert!(close.is_none(), "nothing follows a Close");
        assert!(*length < 126, "a control frame is short, and not masked by a server");
        let (payload, rest) = rest.split_at(usize::from(*length));
        match first {
            0x8a => {}
            0x88 => close = Some(payload),
            _ => panic!("a frame that begins with {first:x}"),
        }
        bytes = rest;
    }
    assert!(bytes.is_empty());
    match close {
        Some([high, low, reason @ ..]) => {
            let said = CloseCode(u16::from_be_bytes([*high, *low]));
            assert!(said.may_be_sent() || said.is_for_programs(), "{said}");
            assert!(std::str::from_utf8(reason).is_ok());
            assert!(said == code || code == CloseCode::NO_STATUS, "{said} and {code}");
        }
        Some(short) => assert!(short.is_empty() && code == CloseCode::NO_STATUS),
        None => assert_eq!(code, CloseCode::ABNORMAL),
    }
}
