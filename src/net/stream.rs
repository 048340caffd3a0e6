//! The reading half of a WebSocket: tungstenite on a blocking socket, on the
//! connection's own thread.
//!
//! tungstenite keeps the protocol; around it stand the bounds that it does not
//! keep: its `read()` goes on for as long as the peer sends, so the [`Wire`]
//! lets it read only so much a turn and watches how long a message takes; and
//! after an error it sends no Close, so we do.

use std::{
    borrow::Cow,
    io::{self, Read, Write},
    net::Shutdown,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tungstenite::{
    Error as WsError, Message as WsMessage, WebSocket,
    error::ProtocolError,
    protocol::{CloseFrame, Role, WebSocketConfig},
};

use super::{
    client::Client,
    deflate::{Corrupt, Inflater},
    limits::Limits,
    link::{Connection, Handler},
    stats::Stats,
};
use crate::{
    error::Error,
    fault::{self, Place},
    message::{CloseCode, CloseEvent, Message},
    purse::{Purse, Taken},
};

/// A message of so many bytes is within what every connection may take.
const SHORT: usize = 2 * 1024;
/// How much tungstenite may read before it comes back to us.
const TURN_BYTES: usize = 64 * 1024;

/// Reads messages until the connection ends; calls the handler.
pub(super) fn run(
    client: &Arc<Client>,
    handler: &mut dyn Handler,
    already_read: Vec<u8>,
    limits: &Limits,
    (stats, purse): (&Stats, &Purse),
) {
    let config = WebSocketConfig::default()
        .read_buffer_size(limits.read_buffer)
        .write_buffer_size(0)
        .max_write_buffer_size(64 * 1024)
        .max_message_size(Some(limits.message_bytes))
        .max_frame_size(Some(limits.message_bytes));
    let wire = Wire::new(client.clone(), &already_read, limits, purse);
    let (inflater, already_read) = match client.agreement {
        Some(agreed) => (Some(Box::new(Inflater::new(agreed, &already_read))), Vec::new()),
        None => (None, already_read),
    };
    let inlet = Inlet { inflater, wire };
    let socket = WebSocket::from_partially_read(inlet, already_read, Role::Server, Some(config));
    let now = Instant::now();
    let mut stream = Stream {
        socket,
        client,
        connection: Connection::new(client, client.id, client.peer),
        messages: Bucket::new(limits.message_rate, limits.message_burst, now),
        controls: Bucket::new(limits.control_rate, limits.control_rate, now),
        stats,
    };
    handler.on_open(&stream.connection);
    let event = stream.read_until_closed(handler);
    client.over.store(true, Relaxed);
    handler.on_close(&stream.connection, &event);
    stream.socket.get_mut().wire.linger(event.was_clean);
}

/// Waits for the end of an event stream. Its client has nothing to say: a
/// little is read over.
pub(super) fn run_events(client: &Client) {
    let mut left = Limits::LINGER_BYTES;
    let mut buffer = [0; 256];
    while left > 0 {
        match client.socket.receive(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => left = left.saturating_sub(length),
        }
    }
    client.over.store(true, Relaxed);
    client.socket.shutdown(Shutdown::Both);
}

struct Stream<'a> {
    socket: WebSocket<Inlet>,
    client: &'a Arc<Client>,
    connection: Connection,
    messages: Bucket,
    controls: Bucket,
    stats: &'a Stats,
}

impl Stream<'_> {
    fn read_until_closed(&mut self, handler: &mut dyn Handler) -> CloseEvent {
        loop {
            self.socket.get_mut().wire.new_turn();
            let step = match self.socket.read() {
                Ok(message) => self.take(message, handler),
                Err(error) => self.stumble(&error, handler),
            };
            if let Some(event) = step {
                return event;
            }
        }
    }

    /// One message; the event when it was the last.
    #[inline(never)]
    fn take(&mut self, message: WsMessage, handler: &mut dyn Handler) -> Option<CloseEvent> {
        let now = Instant::now();
        let message = match message {
            WsMessage::Text(text) => Message::Text(text),
            WsMessage::Binary(bytes) => Message::Binary(bytes),
            WsMessage::Close(frame) => return Some(self.closed_by_peer(frame)),
            WsMessage::Pong(_) => match self.client.pinged.answered(now) {
                Some(round_trip) => {
                    handler.on_pong(&self.connection, round_trip);
                    return None;
                }
                None => return self.flood_check(now),
            },
            // tungstenite answers a ping only when it is called again.
            WsMessage::Ping(_) => {
                let _ = self.socket.flush();
                return self.flood_check(now);
            }
            WsMessage::Frame(_) => return self.flood_check(now),
        };
        self.stats.messages_received.increment();
        fault::may_strike(Place::Message);
        if !self.messages.take(now) {
            return Some(self.refuse(CloseCode::POLICY, "too many messages; send fewer a second"));
        }
        handler.on_message(&self.connection, message);
        None
    }

    fn flood_check(&mut self, now: Instant) -> Option<CloseEvent> {
        let fine = self.controls.take(now);
        (!fine).then(|| self.refuse(CloseCode::POLICY, "too many control frames"))
    }

    fn closed_by_peer(&mut self, frame: Option<CloseFrame>) -> CloseEvent {
        // Sends tungstenite's reply; the outlet swallows it if ours went first.
        let _ = self.socket.flush();
        self.client.await_end(Instant::now());
        let (code, reason) = match frame {
            Some(frame) => (CloseCode(frame.code.into()), frame.reason.to_string()),
            None => (CloseCode::NO_STATUS, String::new()),
        };
        CloseEvent { code, reason: Cow::Owned(reason), was_clean: true }
    }

    /// What follows from an error of tungstenite; the event when it is the end.
    #[inline(never)]
    fn stumble(&mut self, error: &WsError, handler: &mut dyn Handler) -> Option<CloseEvent> {
        let (code, reason) = match verdict(error) {
            Verdict::GoOn => return None,
            Verdict::Gone => {
                return Some(CloseEvent {
                    code: CloseCode::ABNORMAL,
                    reason: Cow::Borrowed(""),
                    was_clean: false,
                });
            }
            Verdict::Fail(code, reason) => (code, reason),
        };
        let event = self.refuse(code, reason);
        let why = format!("{reason} ({error})");
        handler.on_error(&self.connection, &Error::Protocol { code: code.0, why });
        Some(event)
    }

    /// Ends the connection for what the peer did.
    fn refuse(&mut self, code: CloseCode, reason: &'static str) -> CloseEvent {
        let ended = match code {
            CloseCode::POLICY => &self.stats.ended_policy,
            CloseCode::TRY_AGAIN_LATER => &self.stats.ended_memory,
            _ => &self.stats.ended_protocol,
        };
        ended.increment();
        log::info!("{}: ended with {code}, {reason}", self.client.peer);
        self.client.end(code, reason);
        CloseEvent { code, reason: Cow::Borrowed(reason), was_clean: false }
    }
}

/// What an error of tungstenite means for the connection.
pub(super) enum Verdict {
    /// Nothing; read on.
    GoOn,
    /// The peer is gone, without a Close.
    Gone,
    /// It broke a rule: a Close says which.
    Fail(CloseCode, &'static str),
}

/// tungstenite sends no Close after an error; this is what it should say.
pub(super) fn verdict(error: &WsError) -> Verdict {
    match error {
        WsError::Io(error) if error.kind() == io::ErrorKind::WouldBlock => Verdict::GoOn,
        // Ours, from `Wire`; the kernel's has a number, and means that the peer is gone.
        WsError::Io(error)
            if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() =>
        {
            Verdict::Fail(CloseCode::POLICY, "a message took too long")
        }
        WsError::Io(error)
            if error.kind() == io::ErrorKind::OutOfMemory && error.raw_os_error().is_none() =>
        {
            Verdict::Fail(CloseCode::TRY_AGAIN_LATER, "too much is under way; come back later")
        }
        WsError::Io(error) if Corrupt::caused(error) => {
            Verdict::Fail(CloseCode::INVALID_DATA, "the compressed data is broken")
        }
        WsError::Io(_)
        | WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Verdict::Gone,
        WsError::Capacity(_) => Verdict::Fail(CloseCode::TOO_BIG, "the message is too big"),
        WsError::Utf8(_) => Verdict::Fail(CloseCode::INVALID_DATA, "the text is not UTF-8"),
        _ => Verdict::Fail(CloseCode::PROTOCOL, "a rule of RFC 6455 was broken"),
    }
}

/// tungstenite's view of the connection: plain frames in, whole frames out.
struct Inlet {
    /// Where compression was agreed on.
    inflater: Option<Box<Inflater>>,
    wire: Wire,
}

impl Read for Inlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.inflater {
            Some(inflater) => inflater.read(&mut self.wire, buffer),
            None => self.wire.read(buffer),
        }
    }
}

/// tungstenite hands over one whole frame a call: a pong or a Close.
impl Write for Inlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (client, frame) = (&self.wire.client, Bytes::copy_from_slice(bytes));
        client.settle(client.outlet.control(frame, Instant::now()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the peer sends: reads block, within the bounds of a turn and of a
/// message.
struct Wire {
    client: Arc<Client>,
    scanner: Scanner,
    turn_left: usize,
    message_time: Duration,
    /// When the first byte of the unfinished message or frame came.
    since: Option<Instant>,
    /// The bytes of the unfinished message so far.
    under_way: usize,
    /// The most that a message may have.
    most: usize,
    /// What is taken for a message that is long.
    taken: Taken,
}

impl Wire {
    fn new(client: Arc<Client>, already_read: &[u8], limits: &Limits, purse: &Purse) -> Self {
        let mut wire = Self {
            client,
            scanner: Scanner::default(),
            turn_left: 0,
            message_time: limits.message_time,
            since: None,
            under_way: 0,
            most: limits.message_bytes,
            taken: purse.open(),
        };
        wire.note(already_read, Instant::now());
        wire
    }

    fn new_turn(&mut self) {
        self.turn_left = TURN_BYTES;
    }

    /// Follows what was read; the accept loop gets to know until when a message
    /// that is under way must be whole.
    fn note(&mut self, bytes: &[u8], now: Instant) {
        let ended = self.scanner.scan(bytes);
        let before = self.since;
        let goes_on = before.filter(|_| !ended);
        self.since = (!self.scanner.finished()).then(|| goes_on.unwrap_or(now));
        if self.since != before {
            self.client.slot.set_deadline(self.since.map(|since| since + self.message_time));
        }
        self.under_way = match (self.since, goes_on) {
            (None, _) => 0,
            (_, None) => bytes.len(),
            _ => self.under_way.saturating_add(bytes.len()),
        };
    }

    /// Takes memory for the unfinished message, when it is long: tungstenite
    /// makes room for a frame as soon as it knows its length, and for the
    /// message beside it. False when there is none.
    fn afford(&mut self) -> bool {
        let frame = usize::try_from(self.scanner.payload_left).unwrap_or(usize::MAX);
        let message = self.under_way.saturating_add(frame).min(self.most);
        if self.since.is_none() || message <= SHORT {
            self.taken.clear();
            return true;
        }
        self.taken.grow_to(2 * message)
    }

    /// Reads on until the peer's end, so that no reset overtakes our last
    /// words; the accept loop ends it in time. When both Closes have crossed,
    /// there is nothing to wait for, and the server closes first
    /// (RFC 6455 section 7.1.1). Where no Close was said there is no deadline
    /// either: a read has failed, and the peer learns of it now.
    // The frame beneath a blocked read stays for as long as the client does:
    // what is not needed then must not be inlined into it. So for `take` and
    // `stumble`.
    #[inline(never)]
    fn linger(&mut self, clean: bool) {
        let mut bytes = Limits::LINGER_BYTES;
        let mut buffer = [0; 1024];
        let outlet = &self.client.outlet;
        while bytes > 0 && outlet.is_closing() && !(clean && outlet.close_left()) {
            match self.client.socket.receive(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(length) => bytes = bytes.saturating_sub(length),
            }
        }
        self.client.socket.shutdown(Shutdown::Both);
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let late = self.since.is_some_and(|since| since.elapsed() > self.message_time);
        if late {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if self.turn_left == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = buffer.len().min(self.turn_left);
        self.client.hear(Instant::now());
        self.client.reading.store(true, Relaxed);
        let received = self.client.socket.receive(&mut buffer[..most]);
        self.client.reading.store(false, Relaxed);
        let length = received?;
        if length == 0 && self.since.is_some() && self.client.slot.expired() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let now = Instant::now();
        self.turn_left -= length;
        self.client.hear(now);
        self.note(&buffer[..length], now);
        if !self.afford() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(length)
    }
}

/// Follows the frame headers in the bytes of a peer (RFC 6455 section 5.2),
/// to tell whether a message is under way; tungstenite does not say.
#[derive(Debug, Default)]
struct Scanner {
    header: [u8; 14],
    have: usize,
    payload_left: u64,
    /// Between the first and the last fragment of a message.
    fragmented: bool,
}

impl Scanner {
    /// Whether a message ended within these bytes.
    fn scan(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = false;
        while let Some((&first, rest)) = bytes.split_first() {
            if self.payload_left > 0 {
                let skip = self.payload_left.min(bytes.len() as u64);
                self.payload_left -= skip;
                bytes = &bytes[skip as usize..];
                ended |= self.finished();
                continue;
            }
            self.header[self.have] = first;
            self.have += 1;
            bytes = rest;
            if self.have >= 2 && self.have == header_length(self.header[1]) {
                self.begin_payload();
                ended |= self.finished();
            }
        }
        ended
    }

    fn begin_payload(&mut self) {
        let header = &self.header;
        self.payload_left = match header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([header[2], header[3]])),
            127 => header[2..10].iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
            short => u64::from(short),
        };
        let (last, control) = (header[0] & 0x80 != 0, header[0] & 0x08 != 0);
        if !control {
            self.fragmented = !last;
        }
        self.have = 0;
    }

    /// Whether neither a frame nor a message is under way.
    fn finished(&self) -> bool {
        self.have == 0 && self.payload_left == 0 && !self.fragmented
    }
}

fn header_length(second: u8) -> usize {
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + extended + if second & 0x80 != 0 { 4 } else { 0 }
}

/// So many a second, and a burst after a pause.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    rate: f64,
    burst: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self { tokens: burst.into(), rate: rate.into(), burst: burst.into(), at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        let fine = self.tokens >= 1.0;
        if fine {
            self.tokens -= 1.0;
        }
        fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits the bytes at every place: the answer may not depend on it.
    fn finished(bytes: &[u8]) -> bool {
        let mut whole = Scanner::default();
        whole.scan(bytes);
        for cut in 0..bytes.len() {
            let mut parts = Scanner::default();
            parts.scan(&bytes[..cut]);
            parts.scan(&bytes[cut..]);
            assert_eq!(parts.finished(), whole.finished(), "cut at {cut}");
        }
        whole.finished()
    }

    #[test]
    fn the_scanner_knows_when_a_message_is_under_way() {
        let ping = [0x89, 0x81, 1, 2, 3, 4, 9];
        let first = [0x01, 0x81, 1, 2, 3, 4, 9];
        let last = [0x80, 0x80, 1, 2, 3, 4];
        assert!(finished(&ping));
        assert!(!finished(&first));
        assert!(!finished(&[&first[..], &ping[..]].concat()), "a ping between fragments");
        assert!(finished(&[&first[..], &ping[..], &last[..]].concat()));
        assert!(!finished(&ping[..5]), "half a header");
        let long = [&[0x82, 0xfe, 0x01, 0x00, 1, 2, 3, 4][..], &[7; 256]].concat();
        assert!(finished(&long) && !finished(&long[..200]));
        let longer = [&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4][..], &[7; 65536]].concat();
        let mut scanner = Scanner::default();
        scanner.scan(&longer[..longer.len() - 1]);
        assert!(!scanner.finished());
        scanner.scan(&longer[longer.len() - 1..]);
        assert!(scanner.finished());
    }

    #[test]
    fn the_scanner_tells_when_one_message_ends_and_the_next_begins() {
        let mut scanner = Scanner::default();
        let message = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
        assert!(!scanner.scan(&message[..3]));
        for _ in 0..3 {
            assert!(scanner.scan(&[&message[3..], &message[..3]].concat()));
            assert!(!scanner.finished());
        }
        let empty = [0x81, 0x80, 0, 0, 0, 0];
        assert!(Scanner::default().scan(&empty));
    }

    #[test]
    fn a_bucket_lets_a_burst_pass_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 20, start);
        assert_eq!((0..30).filter(|_| bucket.take(start)).count(), 20);
        let mut passed = 0;
        for tick in 1..=100 {
            passed += usize::from(bucket.take(start + Duration::from_millis(20 * tick)));
        }
        assert!((19..=20).contains(&passed), "{passed} passed in two seconds at 10 a second");
    }
}
