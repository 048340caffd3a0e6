//! HTTP/1.1 as functions of bytes: a head becomes a [`Request`], a
//! [`Response`] becomes bytes (RFC 9110, RFC 9112). No socket is seen here.

use std::{borrow::Cow, fmt::Write as _, net::SocketAddr, ops::Range};

use bytes::Bytes;
use http::{Method, Uri, Version};

use super::limits::Limits;

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
        let request = Self { head, method, uri, version, lines, peer };
        let hosts = request.header_count("host");
        if hosts > 1 || (hosts == 0 && !old) {
            // RFC 9112 section 3.2.
            return refuse(400, "a request has exactly one Host header");
        }
        Ok(Parsed::Whole(Box::new(request), length))
    }

    /// The method: `GET`, `HEAD`, …
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The path, as it came (percent-encoded), without the query.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// What stands behind `?`.
    pub fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    /// The address and port of the peer.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Where it went, as the peer wrote it: `ws://pi:8642/ws?channels=cpu`.
    pub fn url(&self) -> String {
        let host = self.header("host").unwrap_or_default();
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        format!("ws://{host}{path}")
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

    /// Whether the peer would send a next request on this connection
    /// (RFC 9112 section 9.3).
    pub(super) fn keeps_alive(&self) -> bool {
        let close = self.header_list("connection").any(|name| name.eq_ignore_ascii_case("close"));
        self.is_http_11() && !close && !self.has_body()
    }
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

    /// An answer without a body: 304.
    pub fn not_modified() -> Self {
        Self { status: 304, headers: Vec::new(), body: Bytes::new() }
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
        let reason = http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Unknown");
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if self.status != 304 {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
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
    fn a_response_says_how_long_it_is_and_lets_no_header_in() {
        let response = Response::text(404, "no such page").header("X-Bad", "a\r\nSet-Cookie: b");
        let head = response.head(true);
        assert_eq!(
            head,
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        );
        assert!(Response::not_modified().head(false).ends_with("Connection: close\r\n\r\n"));
    }
}
