//! The page, embedded in the binary: `build.rs` lists what `make page`
//! bundled. Its source is the TypeScript package in this folder.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::GzDecoder;

use crate::net::{Request, Response};

/// One file of the page.
struct File {
    path: &'static str,
    media_type: &'static str,
    /// Its entity tag, quotes included.
    tag: &'static str,
    /// How many bytes it has when it is not compressed.
    length: usize,
    /// Compressed: every browser takes it so, and the binary need not hold it
    /// twice.
    gzip: &'static [u8],
}

impl File {
    /// Decompressed, for the few who do not take it otherwise.
    fn plain(&self) -> io::Result<Bytes> {
        let mut plain = Vec::with_capacity(self.length);
        GzDecoder::new(self.gzip).read_to_end(&mut plain)?;
        Ok(plain.into())
    }
}

#[cfg(feature = "page")]
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/page.rs"));
#[cfg(not(feature = "page"))]
static FILES: &[File] = &[];

/// The answer to a GET of one of the page's files, or `None` when there is no
/// such file.
///
/// `frames` says whose pages may show it in a frame: sources of
/// `frame-ancestors` (CSP Level 3).
pub(crate) fn respond(request: &Request, frames: &str) -> Option<Response> {
    let Some(file) = FILES.iter().find(|file| file.path == request.path()) else {
        return (request.path() == "/").then(without_page);
    };
    let response = if request.header_list("if-none-match").any(|tag| same_tag(tag, file.tag)) {
        Response::empty(304)
    } else if request.accepts_gzip() {
        Response::new(200, file.media_type, file.gzip).header("Content-Encoding", "gzip")
    } else {
        match file.plain() {
            Ok(plain) => Response::new(200, file.media_type, plain),
            Err(error) => {
                return Some(Response::text(500, format!("the page is damaged: {error}")));
            }
        }
    };
    // The page is asked for anew, and answered with 304, as long as the binary is the same.
    Some(
        response
            .header("ETag", file.tag)
            .header("Cache-Control", "no-cache")
            .header("Vary", "Accept-Encoding")
            .header("Content-Security-Policy", policy(frames))
            .header("Referrer-Policy", "no-referrer"),
    )
}

/// Whether this is one of the files that the page is made of, beside itself:
/// the same on every board.
pub(crate) fn is_part(path: &str) -> bool {
    path != "/" && FILES.iter().any(|file| file.path == path)
}

/// The page is what was bundled, and nothing else: whatever a sensor says, a
/// browser runs no script and takes no style that does not come from this host
/// (CSP Level 3). `connect-src 'self'` holds for WebSockets, too (in Safari
/// since 15.4).
fn policy(frames: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors {frames}"
    )
}

fn without_page() -> Response {
    let sentence = "This boardcast was built without its page. \
                    The readings are at /api/latest and, live, at /ws (WebSocket).";
    Response::text(200, sentence)
}

/// RFC 9110 section 13.1.2: weak comparison.
fn same_tag(offered: &str, tag: &str) -> bool {
    offered == "*" || offered.trim_start_matches("W/") == tag
}
