//! `/login`: where a person shows a token to a browser, which then shows it
//! with each request, in a cookie.
//!
//! One form, no script, and a style of its own: it has to work where nothing
//! else of the page is served yet.

use std::{net::IpAddr, time::Instant};

use data_encoding::BASE64;
use percent_encoding::percent_decode;
use sha2::{Digest, Sha256};

use super::{
    Gate, Refused, Tries,
    credentials::{COOKIE, SECURE_COOKIE},
};
use crate::net::http::{Request, Response};

/// Where it is.
pub(in crate::net) const LOGIN: &str = "/login";
/// For how long a browser keeps the cookie: a year, as long as a panel on a
/// wall hangs there.
const KEPT: u32 = 365 * 24 * 60 * 60;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:24em;margin:20vh auto;padding:0 1em;\
color-scheme:light dark}input,button{font:inherit;padding:.4em;width:100%;box-sizing:border-box;margin:.3em 0}";

/// What is asked for at `/login`.
pub(in crate::net) enum Login {
    /// Answer this.
    Answer(Response),
    /// Read the form, and then [`enter`](Self::enter).
    Form,
}

impl Login {
    /// What a request for it gets.
    pub(in crate::net) fn of(request: &Request) -> Self {
        match request.method() {
            "GET" | "HEAD" => Self::Answer(page(200, "")),
            "POST" => Self::Form,
            _ => {
                let sentence = "/login takes a token: open it in a browser, or POST token=…";
                Self::Answer(Response::text(405, sentence).header("Allow", "GET, HEAD, POST"))
            }
        }
    }

    /// Takes the form: `token=bc_…`.
    pub(in crate::net) fn enter(
        gate: &Gate,
        tries: &Tries,
        request: &Request,
        form: &[u8],
    ) -> Response {
        let token = token_of(form);
        let address: IpAddr = request.client();
        let outcome = match gate.tokens.is_empty() {
            true => return page(200, "No token is known here, and none is needed to look."),
            false => gate.try_token(&token, address, tries, Instant::now()),
        };
        match outcome {
            // It is known, so it has no byte that a cookie cannot have.
            Ok(_) => {
                let token = String::from_utf8_lossy(&token);
                let asker = gate.proxies.asker(request);
                let secure = asker.is_some_and(|asker| asker.secure);
                // No `Path`: the folder that this is in, whatever a proxy calls it.
                let (name, only) = if secure { (SECURE_COOKIE, "; Secure") } else { (COOKIE, "") };
                let cookie =
                    format!("{name}={token}; Max-Age={KEPT}; HttpOnly; SameSite=Strict{only}");
                let home = Response::redirect(303, "./").header("Set-Cookie", cookie);
                home.header("Cache-Control", "no-store")
            }
            Err(Refused::TooManyTries(left)) => {
                let seconds = left.as_secs() + 1;
                let sentence = format!("Too many wrong tokens. Try again in {seconds} s.");
                page(429, &sentence).header("Retry-After", seconds.to_string())
            }
            Err(_) => page(401, "This token is not known here."),
        }
    }
}

/// The form. `sentence` is ours, never the peer's.
fn page(status: u16, sentence: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
         content=\"width=device-width\"><title>Boardcast: show a token</title>\
         <style>{STYLE}</style><h1>Show a token</h1><p role=alert>{sentence}</p>\
         <form method=post action=login><label>Token<input name=token type=password \
         autocomplete=current-password required autofocus></label><button>Enter</button></form>\
         <p>On the board, <code>boardcast token new NAME</code> makes one.</p>"
    );
    // A page of the same host may show it in a frame, as a proxy's may (Home Assistant's ingress):
    // from another site's, the cookie would never come back (SameSite).
    let hash = BASE64.encode(&Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; \
         frame-ancestors 'self'; base-uri 'none'"
    );
    Response::new(status, "text/html; charset=utf-8", page)
        .header("Content-Security-Policy", policy)
        // With no-referrer, a form would be sent with `Origin: null` (Fetch, "append a
        // request Origin header").
        .header("Referrer-Policy", "same-origin")
        .header("Cache-Control", "no-store")
}

/// The token in `application/x-www-form-urlencoded`; our tokens have no
/// character that `+` could stand for.
fn token_of(form: &[u8]) -> Vec<u8> {
    let mut pairs = form.split(|&byte| byte == b'&');
    let token = pairs.find_map(|pair| pair.strip_prefix(b"token=")).unwrap_or_default();
    percent_decode(token).collect::<Vec<_>>().trim_ascii().to_vec()
}
