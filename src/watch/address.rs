//! What people type for a board, as the URL of its stream.
//!
//! ```text
//! pi  10.0.0.7  pi:9000  ::1  [::1]:9000      the port is 8642 unless named, the path /ws
//! http://pi:8642/                             the page, as copied from a browser
//! https://example.org/pi/                     the page behind a proxy: its stream is at pi/ws
//! ws://pi:8642/ws                             as it is
//! ```

use crate::{
    config::PORT,
    error::{Error, Result},
    net::Target,
};

/// Whether an argument can only be meant as a filter of channels: no host has
/// `/`, `+` or `#` in its name, and no channel a `:`.
pub(super) fn is_filter(text: &str) -> bool {
    !text.contains(':') && text.contains(['/', '+', '#'])
}

/// Whether an address could have been meant as a channel of one level.
pub(super) fn is_word(text: &str) -> bool {
    !text.contains([':', '.'])
}

/// The URL of the stream, checked.
///
/// # Errors
/// [`Error::Url`] says what to write instead.
pub(crate) fn stream(text: &str) -> Result<String> {
    let text = text.trim();
    let url = match text.split_once("://") {
        Some((scheme, rest)) => with_path(scheme, rest),
        None => format!("ws://{}/ws", with_port(text.trim_end_matches('/'))),
    };
    if text.contains('?') {
        let why = "leave out what stands behind ?; filters follow the address";
        return Err(Error::Url(format!("{text:?}: {why}")));
    }
    Target::parse(&url).map(|target| target.url)
}

/// A page's address leads to the stream beside it, a stream's is complete.
fn with_path(scheme: &str, rest: &str) -> String {
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let page = scheme.to_ascii_lowercase().starts_with("http");
    match path.trim_end_matches('/') {
        "" => format!("{scheme}://{host}/ws"),
        path if page && path != "ws" && !path.ends_with("/ws") => {
            format!("{scheme}://{host}/{path}/ws")
        }
        _ => format!("{scheme}://{rest}"),
    }
}

fn with_port(host: &str) -> String {
    let bracketed = host.starts_with('[');
    if !bracketed && host.matches(':').count() > 1 {
        return format!("[{host}]:{PORT}");
    }
    let has_port = if bracketed { host.contains("]:") } else { host.contains(':') };
    if has_port { host.into() } else { format!("{host}:{PORT}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_names_a_board_becomes_its_stream() {
        for (text, url) in [
            ("pi", "ws://pi:8642/ws"),
            ("pi.local", "ws://pi.local:8642/ws"),
            ("pi:9000", "ws://pi:9000/ws"),
            ("pi:9000/", "ws://pi:9000/ws"),
            ("10.0.0.7", "ws://10.0.0.7:8642/ws"),
            ("::1", "ws://[::1]:8642/ws"),
            ("[::1]", "ws://[::1]:8642/ws"),
            ("[fe80::2]:9", "ws://[fe80::2]:9/ws"),
            ("http://pi:8642/", "ws://pi:8642/ws"),
            ("http://pi:8642", "ws://pi:8642/ws"),
            ("http://pi/", "ws://pi/ws"),
            ("http://example.org/pi/", "ws://example.org/pi/ws"),
            ("ws://pi:8642/ws", "ws://pi:8642/ws"),
            ("ws://pi:8642", "ws://pi:8642/ws"),
            ("ws://pi:8642/stream", "ws://pi:8642/stream"),
            ("WS://Pi:8642/ws", "ws://pi:8642/ws"),
            #[cfg(feature = "tls")]
            ("https://example.org/", "wss://example.org/ws"),
        ] {
            assert_eq!(stream(text).expect(text), url);
        }
    }

    #[test]
    fn what_names_none_is_refused_with_the_mend() {
        for (text, mend) in [
            ("", "names no host"),
            ("p i", "as in"),
            ("pi:port", "port"),
            ("pi:99999", "port"),
            ("ws://pi:8642/ws?channels=cpu", "behind ?"),
            ("ftp://pi/", "ws://"),
            ("me@pi", "header"),
            #[cfg(not(feature = "tls"))]
            ("wss://pi/ws", "TLS"),
        ] {
            let error = stream(text).expect_err(text).to_string();
            assert!(error.contains(mend), "{text}: {error}");
        }
    }
}
