//! The opening handshake (RFC 6455 section 4) as functions of text: what a
//! server answers to a [`Request`], and what a client asks and takes for an
//! answer.
//!
//! tungstenite has the same checks for a request in a map of headers. Building
//! such maps, for the request and for the answer, left 3 KiB of freed pieces
//! with the allocator for as long as the connection's thread lived.

use tungstenite::handshake::derive_accept_key;

use super::{
    deflate::Agreement,
    http::{Request, Response},
    limits::Limits,
};
use crate::error::Error;

/// Checks the request and makes the head of the 101 answer, without its
/// empty line.
///
/// # Errors
/// The refusal, which says what the request lacks.
pub(super) fn accept(request: &Request) -> Result<String, Response> {
    let lacks = |what| Err(Response::text(400, format!("this is no WebSocket handshake: {what}")));
    let has = |header, token: &str| {
        request.header_list(header).any(|name| name.eq_ignore_ascii_case(token))
    };
    if request.method() != "GET" || !request.is_http_11() {
        return lacks("it begins with GET and is HTTP/1.1");
    }
    if request.has_body() {
        return lacks("it has no body");
    }
    if !has("connection", "upgrade") {
        return lacks("a header line says Connection: Upgrade");
    }
    if !has("upgrade", "websocket") {
        return lacks("a header line says Upgrade: websocket");
    }
    if request.header("sec-websocket-version") != Some("13") {
        // RFC 6455 section 4.2.2.
        let sentence = "this server speaks WebSocket version 13 (RFC 6455)";
        return Err(Response::upgrade_required(sentence).header("Sec-WebSocket-Version", "13"));
    }
    let key = request.header("sec-websocket-key").unwrap_or_default();
    if request.header_count("sec-websocket-key") != 1 || !is_key(key) {
        return lacks("one Sec-WebSocket-Key has 16 bytes in base64");
    }
    let accept = derive_accept_key(key.as_bytes());
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n"
    ))
}

/// Whether it is 16 bytes in base64 (RFC 6455 section 4.2.1, item 5).
fn is_key(key: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with("==") && key.bytes().take(22).all(digit)
}

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    /// `pi.local:8642`
    pub(crate) host: &'a str,
    /// `/ws?channels=cpu`
    pub(crate) path: &'a str,
    pub(crate) protocols: &'a [String],
    /// Whether compressed messages are offered.
    pub(crate) deflate: bool,
    /// Further header lines.
    pub(crate) headers: &'a [(String, String)],
}

/// What a server agreed to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) protocol: String,
    pub(crate) extensions: String,
    /// What was agreed on compression.
    pub(crate) compression: Option<Agreement>,
}

impl Ask<'_> {
    /// The head of the request (RFC 6455 section 4.1).
    pub(crate) fn head(&self, key: &str) -> String {
        let Self { host, path, protocols, headers, .. } = self;
        let mut head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        );
        if !protocols.is_empty() {
            head += &format!("Sec-WebSocket-Protocol: {}\r\n", protocols.join(", "));
        }
        if let Some(offer) = Agreement::OFFER.filter(|_| self.deflate) {
            head += &format!("Sec-WebSocket-Extensions: {offer}\r\n");
        }
        for (name, value) in *headers {
            head += &format!("{name}: {value}\r\n");
        }
        head + "\r\n"
    }

    /// Checks the head of the answer. `None`: it is not whole yet. Else what
    /// was agreed and the head's length.
    ///
    /// # Errors
    /// [`Error::Handshake`].
    pub(crate) fn take(&self, key: &str, bytes: &[u8]) -> Result<Option<(Agreed, usize)>, Error> {
        let mut lines = [httparse::EMPTY_HEADER; Limits::HEAD_LINES];
        let mut answer = httparse::Response::new(&mut lines);
        let length = match answer.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => {
                let why = format!("its answer is not HTTP ({error}); is this a WebSocket server?");
                return Err(Error::Handshake { status: 0, why });
            }
        };
        let status = answer.code.unwrap_or_default();
        let wrong = |why: String| Err(Error::Handshake { status, why });
        if status != 101 {
            let sentence = String::from_utf8_lossy(&bytes[length..]);
            let sentence: String = sentence.chars().filter(|c| !c.is_control()).take(200).collect();
            let reason = answer.reason.unwrap_or_default();
            let stop = if sentence.is_empty() { "" } else { ": " };
            return wrong(format!("{reason}{stop}{sentence}"));
        }
        let header = |wanted: &str| -> Vec<&str> {
            let lines = answer.headers.iter().filter(|line| line.name.eq_ignore_ascii_case(wanted));
            lines.map(|line| std::str::from_utf8(line.value).unwrap_or_default().trim()).collect()
        };
        let says = |name, token: &str| {
            let mut items = header(name).into_iter().flat_map(|line| line.split(','));
            items.any(|item| item.trim().eq_ignore_ascii_case(token))
        };
        if !says("upgrade", "websocket") || !says("connection", "upgrade") {
            return wrong("its answer lacks Upgrade: websocket or Connection: Upgrade".into());
        }
        if header("sec-websocket-accept") != [derive_accept_key(key.as_bytes())] {
            return wrong(
                "its Sec-WebSocket-Accept does not fit our key; is a proxy between?".into(),
            );
        }
        let protocol = match header("sec-websocket-protocol")[..] {
            [] => String::new(),
            [one] if self.protocols.iter().any(|offered| offered == one) => one.to_owned(),
            _ => return wrong("it chose a subprotocol that was not offered".into()),
        };
        if !self.protocols.is_empty() && protocol.is_empty() {
            return wrong("it speaks none of the subprotocols that were offered".into());
        }
        let extensions = header("sec-websocket-extensions").join(", ");
        if !self.deflate && !extensions.is_empty() {
            return wrong(format!("it uses an extension that was not offered: {extensions}"));
        }
        let compression = match Agreement::accepted(&extensions) {
            Ok(agreed) => agreed,
            Err(why) => return wrong(why),
        };
        Ok(Some((Agreed { protocol, extensions, compression }, length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::http::Parsed;

    /// The handshake of RFC 6455 section 1.2, with one piece exchanged.
    fn answer(piece: &str, by: &str) -> Result<String, u16> {
        let head = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
                    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let head = head.replacen(piece, by, 1);
        let parsed = Request::parse(head.as_bytes(), ([127, 0, 0, 1], 1).into());
        let Ok(Parsed::Whole(request, _)) = parsed else { panic!("no head: {head}") };
        accept(&request).map_err(|refusal| refusal.status())
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted_with_its_key() {
        let head = answer("", "").expect("accepted");
        assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        assert!(answer("Upgrade: websocket", "upgrade: foo, WebSocket").is_ok());
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        let cases = [
            ("GET", "POST", 400),
            ("HTTP/1.1", "HTTP/1.0", 400),
            ("Upgrade: websocket", "Upgrade: h2c", 400),
            ("keep-alive, Upgrade", "keep-alive", 400),
            ("Version: 13", "Version: 8", 426),
            ("Version: 13", "Version: 13, 8", 426),
            ("Sec-WebSocket-Version: 13\r\n", "", 426),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBs SBub25jZQ==", 400),
            ("Sec-WebSocket-Key", "Sec-WebSocket-Keys", 400),
            (
                "Sec-WebSocket-Version",
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version",
                400,
            ),
            ("Upgrade: websocket", "Content-Length: 5\r\nUpgrade: websocket", 400),
        ];
        for (piece, by, status) in cases {
            assert_eq!(answer(piece, by).expect_err(by), status, "{piece} -> {by}");
        }
    }

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn taken(piece: &str, by: &str) -> Result<Option<(Agreed, usize)>, Error> {
        let protocols = ["chat".to_owned(), "superchat".to_owned()];
        let ask =
            Ask { host: "pi", path: "/", protocols: &protocols, deflate: false, headers: &[] };
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                    Sec-WebSocket-Protocol: chat\r\n\r\n";
        ask.take(KEY, head.replacen(piece, by, 1).as_bytes())
    }

    #[test]
    fn a_client_takes_the_answer_of_the_rfc() {
        let (agreed, length) = taken("", "").expect("fine").expect("whole");
        assert_eq!((agreed.protocol.as_str(), length), ("chat", 159));
        assert_eq!(taken("\r\n\r\n", "\r\n").expect("fine"), None);
    }

    #[test]
    fn a_client_refuses_what_is_no_agreement() {
        let cases = [
            ("101 Switching Protocols", "200 OK", "OK"),
            ("101 Switching Protocols", "403 Forbidden", "Forbidden"),
            ("Upgrade: WebSocket", "Upgrade: h2c", "Upgrade"),
            ("Connection: upgrade", "Connection: close", "Connection"),
            ("s3pP", "S3pP", "Sec-WebSocket-Accept"),
            ("Sec-WebSocket-Accept", "X-Accept", "Sec-WebSocket-Accept"),
            ("Protocol: chat", "Protocol: other", "not offered"),
            ("Sec-WebSocket-Protocol: chat\r\n", "", "none of the subprotocols"),
            (
                "Sec-WebSocket-Protocol",
                "Sec-WebSocket-Extensions: x\r\nSec-WebSocket-Protocol",
                "extension",
            ),
            ("HTTP/1.1", "SSH-2.0", "not HTTP"),
        ];
        for (piece, by, why) in cases {
            let error = taken(piece, by).expect_err(by);
            assert!(matches!(error, Error::Handshake { .. }));
            assert!(error.to_string().contains(why), "{by}: {error}");
        }
    }

    #[test]
    fn a_client_asks_for_all_that_it_wants() {
        let protocols = ["a".to_owned(), "b".to_owned()];
        let headers = [("Authorization".to_owned(), "Bearer x".to_owned())];
        let (host, path, headers) = ("pi:1", "/ws?x=1", &headers);
        let ask = Ask { host, path, protocols: &protocols, deflate: true, headers };
        let head = ask.head(KEY);
        let parsed = Request::parse(head.as_bytes(), ([127, 0, 0, 1], 1).into());
        let Ok(Parsed::Whole(request, _)) = parsed else { panic!("no head: {head}") };
        accept(&request).expect("a handshake");
        assert_eq!(request.header_list("sec-websocket-protocol").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(request.header("authorization"), Some("Bearer x"));
        assert_eq!(request.url(), "ws://pi:1/ws?x=1");
    }
}
