//! The server's side of the opening handshake (RFC 6455 section 4.2), on a
//! [`Request`] that was parsed already.
//!
//! tungstenite has the same checks for a request in a map of headers. Building
//! such maps, for the request and for the answer, left 3 KiB of freed pieces
//! with the allocator for as long as the connection's thread lived.

use tungstenite::handshake::derive_accept_key;

use super::http::{Request, Response};

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
}
