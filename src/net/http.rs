//! HTTP/1.1 as functions of bytes: a head becomes a [`Request`], a
//! [`Response`] becomes bytes (RFC 9110, RFC 9112). No socket is seen here.

use std::{
    borrow::Cow,
    fmt::Write as _,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    ops::Range,
};

use bytes::Bytes;
use http::{Method, Uri, Version};

use super::{
    gate::{Pass, is_token_entry},
    limits::Limits,
};

/// A request, its head parsed.
///
/// It is one copy of the head's bytes and where things stand in it. A map of
/// header values would be dozens of small allocations, which the allocator
/// keeps for the connection's thread for as long as that lives.
#[derive(Debug)]
pub struct Request {
    head: Vec<u8>,
    method: Method,
    uri: Uri,
    version: Version,
    /// Name and value of each header line.
    lines: Vec<(Range<u16>, Range<u16>)>,
    peer: SocketAddr,
    secure: bool,
    /// What the gate found out of who asks.
    pub(super) pass: Pass,
}

/// What begins the answer to a request without TLS, where TLS is spoken.
pub(crate) const SEE_HTTPS: &str = "this port speaks TLS: ";

/// How the end of a body is told (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Length(usize),
    /// In chunks, the last of which is empty.
    Chunked,
}

/// Why a head was refused; the sentence goes to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadHead {
    pub(super) status: u16,
    pub(super) why: &'static str,
}

/// What became of the bytes so far.
pub(super) enum Parsed {
    /// A whole head, and its length in bytes.
    Whole(Box<Request>, usize),
    /// More is needed.
    Partial,
}

impl Request {
    /// Parses the head at the start of `bytes`.
    pub(super) fn parse(bytes: &[u8], peer: SocketAddr) -> Result<Parsed, BadHead> {
        let mut lines = [httparse::EMPTY_HEADER; Limits::HEAD_LINES];
        let mut raw = httparse::Request::new(&mut lines);
        let length = match raw.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
            Err(httparse::Error::TooManyHeaders) => {
                return refuse(431, "too many header lines: at most 64 are read");
            }
            Err(httparse::Error::Version) => return refuse(505, "only HTTP/1.0 and HTTP/1.1"),
            Err(_) => return refuse(400, "this is not an HTTP request"),
        };
        let not_http = BadHead { status: 400, why: "this is not an HTTP request" };
        let method = Method::from_bytes(raw.method.unwrap_or_default().as_bytes());
        let uri = raw.path.unwrap_or_default().parse::<Uri>();
        let (Ok(method), Ok(uri)) = (method, uri) else { return Err(not_http) };
        let old = raw.version == Some(0);
        let version = if old { Version::HTTP_10 } else { Version::HTTP_11 };
        let place = |part: &[u8]| place_in(bytes, part);
        let lines: Option<Vec<_>> = raw
            .headers
            .iter()
            .map(|line| Some((place(line.name.as_bytes())?, place(line.value)?)))
            .collect();
        // Only a head beyond 64 KiB has places that do not fit.
        let Some(lines) = lines else { return refuse(431, "the request's head is too long") };
        let head = bytes[..length].to_vec();
        let (secure, pass) = (false, Pass::default());
        let request = Self { head, method, uri, version, lines, peer, secure, pass };
        let hosts = request.header_count("host");
        if hosts > 1 || (hosts == 0 && !old) {
            // RFC 9112 section 3.2.
            return refuse(400, "a request has exactly one Host header");
        }
        // RFC 9112 section 3.2.2 lets the target count; here they agree, so that
        // nobody before us can have judged another host than we do.
        let named = request.uri.authority().map(http::uri::Authority::as_str);
        if named.is_some_and(|named| {
            !request.header("host").unwrap_or(named).eq_ignore_ascii_case(named)
        }) {
            return refuse(400, "the request's target and its Host name two hosts");
        }
        Ok(Parsed::Whole(Box::new(request), length))
    }

    /// The method: `GET`, `HEAD`, …
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The path, as it came (percent-encoded), without the query, and without
    /// what a proxy has put in front of it (`base_path`).
    pub fn path(&self) -> &str {
        // Never empty: what was cut off ends before a `/`.
        self.uri.path().get(self.pass.below..).unwrap_or_default()
    }

    /// What stands behind `?`.
    pub fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    /// The address and port of the peer.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Who asks: the peer, or whom a trusted proxy speaks for.
    pub fn client(&self) -> IpAddr {
        self.pass.client.unwrap_or_else(|| self.peer.ip().to_canonical())
    }

    /// Whether it may push readings in: a program on the board itself, or one
    /// with a token for that.
    pub fn may_publish(&self) -> bool {
        self.pass.may_publish
    }

    /// Whether it came over TLS: `https://` or `wss://`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Notes that it came over TLS.
    pub(super) fn set_secure(&mut self, secure: bool) {
        self.secure = secure;
    }

    /// Where it went, as the peer wrote it: `ws://pi:8642/ws?channels=cpu`. A
    /// `token` in the query is left out: this goes into logs.
    pub fn url(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        let host = self.header("host").unwrap_or_default();
        let mut url = format!("{scheme}://{host}{}", self.uri.path());
        let pairs = self.query().into_iter().flat_map(|query| query.split('&'));
        for (number, pair) in pairs.filter(|pair| !pair.starts_with("token=")).enumerate() {
            url.push(if number == 0 { '?' } else { '&' });
            url += pair;
        }
        url
    }

    /// The same place with TLS: what to answer to a request that came without
    /// to a port that speaks it. Another host than the one that it names itself
    /// is never named, and one that is none is not repeated.
    pub(super) fn see_https(&self) -> Response {
        let host = self.header("host").filter(|host| is_host(host));
        let Some(host) = host else {
            return Response::text(400, "this port speaks TLS: write https:// before its address");
        };
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        // `OPTIONS *` has no path.
        let path = if path.starts_with('/') { path } else { "/" };
        let place = format!("https://{host}{path}");
        Response::text(308, format!("{SEE_HTTPS}{place}"))
            .header("Location", place)
            // Kept for ever, it would outlive the day on which TLS is switched off.
            .header("Cache-Control", "no-store")
    }

    /// Every header line, name and value; values that are not visible ASCII
    /// are left out.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().filter_map(|(name, value)| {
            Some((visible(self.part(name))?, visible(self.part(value))?))
        })
    }

    /// The values of a header, one a line.
    fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self
            .lines
            .iter()
            .filter(move |(key, _)| self.part(key).eq_ignore_ascii_case(name.as_bytes()));
        lines.map(|(_, value)| self.part(value))
    }

    fn part(&self, place: &Range<u16>) -> &[u8] {
        &self.head[usize::from(place.start)..usize::from(place.end)]
    }

    /// The first value of a header, when it is visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        visible(self.values(name).next()?)
    }

    /// All values of a header that are visible ASCII, one a line.
    pub(super) fn header_lines<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.values(name).filter_map(visible)
    }

    /// How often a header is there.
    pub(super) fn header_count(&self, name: &str) -> usize {
        self.values(name).count()
    }

    /// All values of a list header, one after the other
    /// (RFC 9110 section 5.6.1).
    pub fn header_list<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let lines = self.values(name).filter_map(visible);
        lines.flat_map(|line| line.split(',')).map(str::trim).filter(|item| !item.is_empty())
    }

    /// Whether an answer may be compressed with gzip: it is named, and not with
    /// the weight 0 (RFC 9110 section 12.5.3).
    pub fn accepts_gzip(&self) -> bool {
        self.header_list("accept-encoding").any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let refused = parts.any(|part| {
                part.strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0_f32))
            });
            matches!(name, "gzip" | "x-gzip" | "*") && !refused
        })
    }

    /// The subprotocols that are offered; a token that stands among them is none.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.header_list("sec-websocket-protocol").filter(|entry| !is_token_entry(entry))
    }

    /// Whether a browser asks what a page of another origin may do.
    pub(super) fn is_preflight(&self) -> bool {
        self.method == Method::OPTIONS && self.header_count("access-control-request-method") > 0
    }

    /// Whether the peer asks for a WebSocket.
    pub fn wants_websocket(&self) -> bool {
        self.header_list("upgrade").any(|name| name.eq_ignore_ascii_case("websocket"))
    }

    /// Whether it is HTTP/1.1 and not 1.0.
    pub(super) fn is_http_11(&self) -> bool {
        self.version == Version::HTTP_11
    }

    /// Whether a body follows. Such a connection is closed after the answer,
    /// so that where the body ends never matters.
    pub(super) fn has_body(&self) -> bool {
        self.header_count("transfer-encoding") > 0
            || self.values("content-length").any(|length| length != b"0")
    }

    /// How the body is framed.
    ///
    /// # Errors
    /// A sentence for the peer, when that cannot be told for certain: whoever
    /// guesses may take a part of the body for a next request, or the other
    /// way round.
    pub(super) fn framing(&self) -> Result<Framing, BadHead> {
        // Every line counts, also one that is empty or cannot be shown.
        let mut codings = self.values("transfer-encoding");
        let lengths = self.header_count("content-length");
        match (codings.next(), codings.next(), lengths) {
            (None, _, 0) => Ok(Framing::Length(0)),
            (None, _, 1) => {
                let length = self.header("content-length").unwrap_or_default();
                // No sign: `parse` would take one.
                let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
                match length.parse() {
                    Ok(length) if digits => Ok(Framing::Length(length)),
                    // More digits than a number has: far too long in any case.
                    Err(_) if digits => Ok(Framing::Length(usize::MAX)),
                    _ => refuse(400, "Content-Length is no number"),
                }
            }
            (Some(coding), None, 0) if coding.eq_ignore_ascii_case(b"chunked") => {
                Ok(Framing::Chunked)
            }
            (Some(_), _, 0) => refuse(501, "only the transfer coding chunked is understood"),
            _ => refuse(400, "the end of the body is told in two ways"),
        }
    }

    /// Whether the peer waits for leave to send the body (RFC 9110 section 10.1.1).
    pub(super) fn expects_continue(&self) -> bool {
        self.is_http_11()
            && self.header("expect").is_some_and(|it| it.eq_ignore_ascii_case("100-continue"))
    }

    /// Whether the peer would send a next request on this connection
    /// (RFC 9112 section 9.3).
    pub(super) fn keeps_alive(&self) -> bool {
        let close = self.header_list("connection").any(|name| name.eq_ignore_ascii_case("close"));
        self.is_http_11() && !close && !self.has_body()
    }
}

/// Takes a chunked body as it comes (RFC 9112 section 7.1); trailers are
/// passed over.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: Chunk,
}

#[derive(Debug, Default)]
enum Chunk {
    /// The line with the next chunk's size, so far.
    #[default]
    Size,
    /// So many bytes of it are left.
    Data(usize),
    /// Its line break.
    End,
    /// Lines up to an empty one.
    Trailers,
}

impl Chunks {
    /// The longest line with a size, or of a trailer.
    const LINE: usize = 1024;

    /// Moves what is understood of `read` to `body`. True at the end; false
    /// when more is needed, or when `body` is longer than `most`.
    pub(super) fn take(
        &mut self,
        read: &mut Vec<u8>,
        body: &mut Vec<u8>,
        most: usize,
    ) -> Result<bool, BadHead> {
        let bad = BadHead { status: 400, why: "the chunks of the body are broken" };
        while body.len() <= most {
            if let Chunk::Data(left) = &mut self.state {
                let length = (*left).min(read.len());
                body.extend(read.drain(..length));
                *left -= length;
                // Beyond the bound, what follows is not looked at.
                if *left > 0 || body.len() > most {
                    return Ok(false);
                }
                self.state = Chunk::End;
            }
            let end = read.iter().position(|&byte| byte == b'\n');
            // The same bound for a line that came whole: where it was cut is chance.
            if end.unwrap_or(read.len()) > Self::LINE {
                return Err(bad);
            }
            let Some(end) = end else { return Ok(false) };
            let line: Vec<u8> = read.drain(..=end).collect();
            let line = line.trim_ascii();
            self.state = match self.state {
                Chunk::Size => match chunk_size(line).ok_or(bad.clone())? {
                    0 => Chunk::Trailers,
                    size => Chunk::Data(size),
                },
                Chunk::End if line.is_empty() => Chunk::Size,
                Chunk::Trailers if line.is_empty() => return Ok(true),
                Chunk::Trailers => Chunk::Trailers,
                _ => return Err(bad),
            };
        }
        Ok(false)
    }
}

/// Hexadecimal digits, perhaps with extensions behind them.
fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.split(|&byte| byte == b';').next()?.trim_ascii();
    let hex = !digits.is_empty() && digits.len() <= 7 && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| hex)?;
    usize::from_str_radix(digits, 16).ok()
}

/// Whether this is a host, perhaps with a port (RFC 3986 section 3.2.2), in
/// letters that mean nothing to whoever reads it in an address.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) if address.parse::<Ipv6Addr>().is_ok() => ("v6", rest),
        _ => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port_fits = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| {
            port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit())
        });
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    port_fits && (1..=253).contains(&name.len()) && name.bytes().all(plain)
}

fn refuse<T>(status: u16, why: &'static str) -> Result<T, BadHead> {
    Err(BadHead { status, why })
}

/// Where a part stands in the whole that it was cut from.
fn place_in(whole: &[u8], part: &[u8]) -> Option<Range<u16>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len()).filter(|&end| end <= whole.len())?;
    Some(u16::try_from(start).ok()?..u16::try_from(end).ok()?)
}

/// A value that is visible ASCII, spaces and tabs (RFC 9110 section 5.5).
fn visible(value: &[u8]) -> Option<&str> {
    let fine = value.iter().all(|&byte| matches!(byte, b' '..=b'~' | b'\t'));
    std::str::from_utf8(value).ok().filter(|_| fine)
}

/// What is answered to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: Vec<(&'static str, Cow<'static, str>)>,
    body: Bytes,
}

impl Response {
    /// An answer with a body of the given media type.
    pub fn new(status: u16, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("Content-Type", Cow::Borrowed(media_type))];
        Self { status, headers, body: body.into() }
    }

    /// An answer with a sentence for people.
    pub fn text(status: u16, sentence: impl Into<String>) -> Self {
        let mut sentence = sentence.into();
        sentence.push('\n');
        Self::new(status, "text/plain; charset=utf-8", sentence)
    }

    /// 426: this path speaks WebSocket (RFC 9110 sections 7.8 and 15.5.22).
    pub fn upgrade_required(sentence: impl Into<String>) -> Self {
        Self::text(426, sentence).header("Upgrade", "websocket").header("Connection", "Upgrade")
    }

    /// What was asked for is elsewhere: 303 (look there), 308 (ask there).
    pub fn redirect(status: u16, location: impl Into<Cow<'static, str>>) -> Self {
        Self::empty(status).header("Location", location)
    }

    /// An answer without a body: 204, 304.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// A stream of events, which no proxy is to keep back.
    pub(super) fn event_stream() -> Self {
        Self::new(200, "text/event-stream", "")
            .header("Cache-Control", "no-store")
            .header("X-Accel-Buffering", "no")
    }

    /// Adds a header. A value with a line break in it is left out: it would
    /// let whoever chose it write the rest of the head.
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let value = value.into();
        if !value.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            self.headers.push((name, value));
        }
        self
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The head as bytes.
    pub(super) fn head(&self, keep_alive: bool) -> String {
        self.head_of(Some(self.body.len()), keep_alive)
    }

    /// The head of a body that goes on until the connection ends.
    pub(super) fn endless_head(&self) -> String {
        self.head_of(None, false)
    }

    fn head_of(&self, length: Option<usize>, keep_alive: bool) -> String {
        let reason = http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Unknown");
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if let Some(length) = length.filter(|_| !matches!(self.status, 204 | 304)) {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        // A sensor's text shown as it is must never be taken for markup.
        head.push_str("X-Content-Type-Options: nosniff\r\n");
        head.push_str(if keep_alive { "\r\n" } else { "Connection: close\r\n\r\n" });
        head
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<Option<(Request, usize)>, u16> {
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        match Request::parse(head.as_bytes(), peer) {
            Ok(Parsed::Whole(request, length)) => Ok(Some((*request, length))),
            Ok(Parsed::Partial) => Ok(None),
            Err(bad) => Err(bad.status),
        }
    }

    #[test]
    fn a_head_is_parsed_and_what_follows_it_is_left() {
        let text = "GET /ws?channels=a%2F%23 HTTP/1.1\r\nHost: pi\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n\r\nrest";
        let (request, length) = parse(text).expect("valid").expect("whole");
        assert_eq!(&text[length..], "rest");
        assert_eq!((request.method(), request.path()), ("GET", "/ws"));
        assert_eq!(request.query(), Some("channels=a%2F%23"));
        assert!(request.wants_websocket() && request.keeps_alive());
        let offered: Vec<_> = request.header_list("sec-websocket-protocol").collect();
        assert_eq!(offered, ["a", "b", "c"]);
    }

    #[test]
    fn a_token_in_the_query_goes_into_no_log() {
        let url = |target: &str| {
            let head = format!("GET {target} HTTP/1.1\r\nHost: pi\r\n\r\n");
            parse(&head).expect("valid").expect("whole").0.url()
        };
        assert_eq!(url("/ws?token=bc_x"), "ws://pi/ws");
        assert_eq!(url("/ws?a=1&token=bc_x&b=2"), "ws://pi/ws?a=1&b=2");
        assert_eq!(url("/ws?channels=a%2F%23"), "ws://pi/ws?channels=a%2F%23");
    }

    #[test]
    fn half_a_head_waits_for_the_rest() {
        assert!(parse("GET / HTTP/1.1\r\nHost: pi\r\n").expect("no error yet").is_none());
        assert!(parse("").expect("no error yet").is_none());
    }

    #[test]
    fn bad_heads_get_the_fitting_status() {
        let many = "X: y\r\n".repeat(65);
        for (head, status) in [
            ("\x16\x03\x01\x02\x00", 400),
            ("GET / HTTP/3.0\r\n\r\n", 505),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        ] {
            assert_eq!(parse(head).err(), Some(status), "{head:?}");
        }
    }

    #[test]
    fn a_body_or_http_1_0_ends_the_connection() {
        for head in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
        ] {
            assert!(!parse(head).expect("valid").expect("whole").0.keeps_alive(), "{head:?}");
        }
        let empty = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        assert!(parse(empty).expect("valid").expect("whole").0.keeps_alive());
    }

    #[test]
    fn the_end_of_a_body_is_told_in_one_way_only() {
        for (lines, framing) in [
            ("", Ok(Framing::Length(0))),
            ("Content-Length: 5\r\n", Ok(Framing::Length(5))),
            ("Content-Length: 99999999999999999999999\r\n", Ok(Framing::Length(usize::MAX))),
            ("Transfer-Encoding: Chunked\r\n", Ok(Framing::Chunked)),
            ("Content-Length: +5\r\n", Err(400)),
            ("Content-Length: 5, 5\r\n", Err(400)),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Err(400)),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(400)),
            ("Transfer-Encoding: gzip, chunked\r\n", Err(501)),
            ("Transfer-Encoding: chunk\u{e9}d\r\n", Err(501)),
            ("Content-Length: 5\r\nTransfer-Encoding: chunk\u{e9}d\r\n", Err(400)),
            ("Content-Length: 5\r\nTransfer-Encoding:\r\n", Err(400)),
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            let request = parse(&head).expect("valid").expect("whole").0;
            assert_eq!(request.framing().map_err(|bad| bad.status), framing, "{lines}");
        }
    }

    #[test]
    fn chunks_are_joined_however_they_are_cut() {
        let text = b"5;ext=1\r\nhello\r\n1\r\n \r\n5\nworld\r\n0\r\nTrailer: x\r\n\r\nrest";
        for size in 1..=text.len() {
            let (mut chunks, mut read, mut body) = (Chunks::default(), Vec::new(), Vec::new());
            let mut whole = false;
            for piece in text.chunks(size) {
                read.extend_from_slice(piece);
                whole = whole || chunks.take(&mut read, &mut body, 100).expect("valid");
            }
            assert!(whole && body == b"hello world", "pieces of {size}");
            assert_eq!(read, b"rest");
        }
        let long = format!("1;{}\r\na\r\n", "x".repeat(Chunks::LINE));
        for bad in ["x\r\n", "\r\n", "-1\r\n", "12345678\r\n", "1\r\nab\r\n", &long] {
            let mut read = bad.as_bytes().to_vec();
            assert!(Chunks::default().take(&mut read, &mut Vec::new(), 100).is_err(), "{bad}");
        }
        let mut read = b"a\r\n0123456789\r\n5\r\n01234".to_vec();
        let mut body = Vec::new();
        assert_eq!(Chunks::default().take(&mut read, &mut body, 9), Ok(false));
        assert_eq!(body.len(), 10, "one chunk beyond the bound ends it");
    }

    #[test]
    fn a_response_says_how_long_it_is_and_lets_no_header_in() {
        let response = Response::text(404, "no such page").header("X-Bad", "a\r\nSet-Cookie: b");
        let head = response.head(true);
        assert_eq!(
            head,
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        );
        assert!(Response::empty(304).head(false).ends_with("Connection: close\r\n\r\n"));
    }
}
