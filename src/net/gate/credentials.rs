//! The token that a request shows, wherever it stands.
//!
//! | where | who can |
//! |---|---|
//! | `Authorization: Bearer bc_…` (RFC 6750 section 2.1) | programs, `fetch` |
//! | `Sec-WebSocket-Protocol: boardcast.v1.json, boardcast.auth.YmNf…` | a browser's WebSocket, which can send no header: the token in base64url |
//! | `?token=bc_…`, where the settings allow it | a link, a camera's picture frame; it stands in histories and logs |
//! | `Cookie: boardcast_token=bc_…` (over TLS: `boardcast_token_tls`) | a browser that was at `/login` |
//!
//! What was chosen for this request goes before what the browser adds by
//! itself. Other schemes of `Authorization` are a proxy's own.

use std::borrow::Cow;

use data_encoding::BASE64URL_NOPAD;
use percent_encoding::percent_decode_str;

use crate::net::http::Request;

/// The name of the cookie; and of the one that is given over TLS, since a page
/// without may not replace it (RFC 6265bis section 5.7, "leave secure cookies alone").
pub(super) const COOKIE: &str = "boardcast_token";
pub(super) const SECURE_COOKIE: &str = "boardcast_token_tls";
/// How an entry of `Sec-WebSocket-Protocol` begins that has a token in it. It
/// is never chosen, and never echoed.
const ENTRY: &str = "boardcast.auth.";

/// The headers that have the browser forget them.
pub(super) fn no_cookies() -> [String; 2] {
    [COOKIE, SECURE_COOKIE].map(|name| format!("{name}=; Max-Age=0; HttpOnly; SameSite=Strict"))
}

/// What a request shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown<'a> {
    /// Empty when it cannot be understood: a wrong one.
    pub(super) token: Cow<'a, [u8]>,
    /// The browser showed it by itself.
    pub(super) by_cookie: bool,
}

/// The token that a request shows, if any.
pub(super) fn shown(request: &Request, in_url: bool) -> Option<Shown<'_>> {
    let query = || in_url.then(|| of_query(request)).flatten();
    let chosen = of_authorization(request)
        .map(|token| Cow::Borrowed(token.as_bytes()))
        .or_else(|| of_protocols(request))
        .or_else(query);
    let cookie = || {
        of_cookie(request)
            .map(|token| Shown { token: Cow::Borrowed(token.as_bytes()), by_cookie: true })
    };
    chosen.map(|token| Shown { token, by_cookie: false }).or_else(cookie)
}

fn of_authorization(request: &Request) -> Option<&str> {
    let mut lines = request.header_lines("authorization").filter_map(|line| {
        let (scheme, token) = line.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let first = lines.next()?;
    // Which of two counts, nobody can say.
    Some(if lines.next().is_none() { first } else { "" })
}

fn of_protocols(request: &Request) -> Option<Cow<'_, [u8]>> {
    let mut entries = request.header_list("sec-websocket-protocol");
    let entry = entries.find_map(token_part)?;
    let entry = entry.trim_end_matches('=');
    Some(Cow::Owned(BASE64URL_NOPAD.decode(entry.as_bytes()).unwrap_or_default()))
}

/// A page of another site has every browser show what it likes in a URL; that
/// is no try of the person before it.
fn of_query(request: &Request) -> Option<Cow<'_, [u8]>> {
    if request.header("sec-fetch-site") == Some("cross-site") {
        return None;
    }
    let mut pairs = request.query()?.split('&');
    let token = pairs.find_map(|pair| pair.strip_prefix("token="))?;
    Some(percent_decode_str(token).into())
}

fn of_cookie(request: &Request) -> Option<&str> {
    let named = |name: &str| {
        let mut pairs = request.header_lines("cookie").flat_map(|line| line.split(';'));
        pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
    };
    named(SECURE_COOKIE).or_else(|| named(COOKIE))
}

/// Whether an entry of `Sec-WebSocket-Protocol` is no subprotocol but a token.
pub(in crate::net) fn is_token_entry(entry: &str) -> bool {
    token_part(entry).is_some()
}

/// The part of an entry that is the token, however the rest is written: in
/// whatever case, it must not be echoed.
fn token_part(entry: &str) -> Option<&str> {
    let (name, token) = entry.split_at_checked(ENTRY.len())?;
    name.eq_ignore_ascii_case(ENTRY).then_some(token)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::net::http::Parsed;

    fn request(target: &str, lines: &str) -> Box<Request> {
        let head = format!("GET {target} HTTP/1.1\r\nHost: pi\r\n{lines}\r\n");
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        match Request::parse(head.as_bytes(), peer) {
            Ok(Parsed::Whole(request, _)) => request,
            _ => panic!("{head}"),
        }
    }

    #[test]
    fn a_token_is_found_wherever_it_stands() {
        let entry = BASE64URL_NOPAD.encode(b"bc_x");
        for (target, lines) in [
            ("/", "Authorization: Bearer bc_x\r\n".to_owned()),
            ("/", "authorization: bearer  bc_x\r\nCookie: boardcast_token=old\r\n".to_owned()),
            ("/?token=old", format!("Sec-WebSocket-Protocol: a, Boardcast.Auth.{entry}\r\n")),
            ("/?a=b&token=bc%5fx", "Cookie: boardcast_token=old\r\n".to_owned()),
            ("/", "Cookie: a=b; boardcast_token=bc_x\r\n".to_owned()),
            ("/", "Cookie: boardcast_token=old; boardcast_token_tls=bc_x\r\n".to_owned()),
            ("/", "Authorization: Basic cGk6cGk=\r\nCookie: boardcast_token=bc_x\r\n".to_owned()),
        ] {
            let request = request(target, &lines);
            let shown = shown(&request, true).expect(&lines);
            assert_eq!(&*shown.token, b"bc_x", "{target} {lines}");
            assert_eq!(shown.by_cookie, lines.contains("=bc_x"), "{lines}");
        }
    }

    #[test]
    fn what_is_no_token_is_none_or_a_wrong_one() {
        for (target, lines, found) in [
            ("/", "", None),
            ("/?token=x", "", None),
            ("/", "Authorization: Basic cGk6cGk=\r\n", None),
            ("/", "Cookie: xboardcast_token=x\r\n", None),
            ("/", "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", Some("")),
            ("/", "Sec-WebSocket-Protocol: boardcast.auth.~\r\n", Some("")),
            ("/", "Sec-WebSocket-Protocol: boardcast.auth.\r\n", Some("")),
        ] {
            let request = request(target, lines);
            let shown = shown(&request, false).map(|shown| shown.token.into_owned());
            assert_eq!(shown.as_deref(), found.map(str::as_bytes), "{target} {lines}");
        }
    }
}
