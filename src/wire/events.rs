//! The stream as server-sent events (`text/event-stream`): the JSON messages of
//! the protocol, for places where WebSockets do not pass.
//!
//! ```text
//! retry: 3000
//!
//! data: {"type":"hello",…}
//!
//! id: 9f86d081884c7d65:1042
//! data: {"type":"data","seq":1042,…}
//! ```
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::fmt::Write;

use bytes::Bytes;

/// How long a browser waits before it connects anew, in milliseconds.
const RETRY: u32 = 3000;

/// What comes first.
pub fn begin() -> Bytes {
    format!("retry: {RETRY}\n\n").into()
}

/// One message as one event. `place` is what the client may go on behind when
/// it has this: epoch and `seq`.
pub fn event(json: &str, place: Option<(&str, u64)>) -> Bytes {
    let mut text = String::with_capacity(json.len() + 64);
    add_place(&mut text, place);
    // Our JSON has no line breaks: one line holds it.
    let _ = write!(text, "data: {json}\n\n");
    text.into()
}

/// A sign of life, of which a program hears nothing; but its browser notes the
/// place.
pub fn heartbeat(place: Option<(&str, u64)>) -> Bytes {
    let mut text = String::from(": heartbeat\n");
    add_place(&mut text, place);
    text.push('\n');
    text.into()
}

fn add_place(text: &mut String, place: Option<(&str, u64)>) {
    if let Some((epoch, seq)) = place {
        // Writing to memory cannot fail.
        let _ = writeln!(text, "id: {epoch}:{seq}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_data_and_its_place() {
        let bytes = event(r#"{"type":"data"}"#, Some(("9f", 7)));
        assert_eq!(bytes, "id: 9f:7\ndata: {\"type\":\"data\"}\n\n");
        assert_eq!(event("{}", None), "data: {}\n\n");
        assert_eq!(heartbeat(Some(("9f", 8))), ": heartbeat\nid: 9f:8\n\n");
        assert_eq!(heartbeat(None), ": heartbeat\n\n");
    }
}
