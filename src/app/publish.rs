//! Readings that come over HTTP: `POST /api/publish`, and `publish` messages.
//!
//! ```text
//! POST /api/publish           room/temp=21.5         → 200 {"lines":2,"values":2,"bad":0}
//!                             door=true
//!                             door=open              → 400 {…,"bad":1,"line":1,"error":"…"}
//! {"type":"publish","id":7,"values":{"room/temp":21.5}}  → {"type":"published","id":7}
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::{
    net::{Answer, Body, Counter, Request, Response},
    sources::{Counts, Intake},
    telemetry::Hub,
    wire::{json, line, prometheus::Page},
};

/// Why someone may not publish.
pub(super) const NOT_ALLOWED: &str = "from another machine, publishing needs a token: on the \
                                      board, boardcast token new NAME --role publish makes one";

/// What takes readings over HTTP, and what all inputs count.
pub(super) struct Publishing {
    http: Intake,
    websocket: Intake,
    counts: Mutex<Vec<(String, Arc<Counts>)>>,
}

impl Publishing {
    pub(super) fn new(hub: &Hub) -> Self {
        let (http, websocket) = (Intake::new(hub, "http"), Intake::new(hub, "websocket"));
        let publishing = Self { http, websocket, counts: Mutex::default() };
        publishing.count(&publishing.http);
        publishing.count(&publishing.websocket);
        publishing
    }

    /// Shows what an intake counts.
    pub(super) fn count(&self, intake: &Intake) {
        let entry = (intake.name().to_owned(), intake.counts().clone());
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// Shows no more what the intake of this name counts.
    pub(super) fn forget(&self, name: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|(known, _)| known != name);
    }

    /// Where WebSocket clients publish.
    pub(super) fn websocket(&self) -> Intake {
        self.websocket.clone()
    }

    /// Answers a request of `/api/publish`.
    pub(super) fn respond(&self, request: &Request) -> Answer {
        if request.method() != "POST" {
            let sentence = "/api/publish takes readings: POST lines or JSON to it";
            return Answer::Response(Response::text(405, sentence).header("Allow", "POST"));
        }
        if !request.may_publish() {
            return Answer::Response(Response::text(403, NOT_ALLOWED));
        }
        let intake = self.http.clone();
        Answer::Body(Body::then(move |request, body| {
            let media = request.header("content-type").unwrap_or_default();
            let taken = take(&intake, media, body);
            let status = if taken.bad == 0 { 200 } else { 400 };
            let text = serde_json::to_string(&taken).unwrap_or_default() + "\n";
            Response::new(status, "application/json", text).header("Cache-Control", "no-store")
        }))
    }

    pub(super) fn describe(&self, page: &mut Page) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        type Of = fn(&Counts) -> &Counter;
        let counters: [(&str, &str, Of); 4] = [
            ("refused_clients", "Clients refused: too many.", |counts| &counts.refused_clients),
            ("lines", "Lines pushed in.", |counts| &counts.lines),
            ("bad_lines", "Lines refused, wholly or in part.", |counts| &counts.bad_lines),
            ("values", "Values of the lines that were not.", |counts| &counts.values),
        ];
        for (what, help, counter) in counters {
            let name = format!("boardcast_pushed_{what}_total");
            let values =
                counts.iter().map(|(source, counts)| (source.as_str(), counter(counts).get()));
            page.by_source(&name, "counter", help, values);
        }
    }
}

/// What became of a body.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Taken {
    lines: usize,
    values: usize,
    bad: usize,
    /// The first bad one, counted from 1, blank ones included.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Takes a body of lines, or one JSON document.
fn take(intake: &Intake, media_type: &str, body: &[u8]) -> Taken {
    let mut taken = Taken::default();
    // A document is one line, whatever breaks it has.
    let whole = is_document(media_type, body);
    let lines = body.split(|&byte| byte == b'\n' && !whole);
    let mut turn = intake.turn();
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.trim_ascii().is_empty()) {
        taken.lines += 1;
        match turn.line(line) {
            Ok(values) => taken.values += values,
            Err(why) => {
                taken.bad += 1;
                taken.line.get_or_insert(number + 1);
                taken.error.get_or_insert_with(|| why.to_string());
            }
        }
    }
    turn.publish();
    taken
}

/// Whether the body is one JSON document, line breaks and all: its type says
/// so, or its first line is the beginning of one.
fn is_document(media_type: &str, body: &[u8]) -> bool {
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let named = ["application/json", "application/senml+json"];
    if named.iter().any(|name| media_type.eq_ignore_ascii_case(name)) {
        return true;
    }
    let body = body.trim_ascii();
    let first = body.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    body.starts_with(b"{") && !first.ends_with(b"}")
        || body.starts_with(b"[") && !first.ends_with(b"]")
}

/// Takes a `publish` message; the answer.
pub(super) fn message(intake: &Intake, text: &str, id: Option<&serde_json::Value>) -> String {
    let mut turn = intake.turn();
    let outcome = turn.take(|points| line::publish_message(text, points));
    turn.publish();
    drop(turn);
    match outcome {
        Ok(_) => json::published(id),
        Err(why) => json::error("refused", why.as_str(), id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::HubSettings;

    fn of(media_type: &str, body: &str) -> Taken {
        let hub = Hub::new(HubSettings::default());
        take(&Intake::new(&hub, "http"), media_type, body.as_bytes())
    }

    #[test]
    fn a_body_is_lines_or_one_document() {
        let two = Taken { lines: 2, values: 2, ..Taken::default() };
        let one = Taken { lines: 1, values: 2, ..Taken::default() };
        for (media_type, body, expected) in [
            ("", "a=1\nb=2\n", &two),
            ("application/x-www-form-urlencoded", "a=1\r\n\r\nb=2", &two),
            ("", "{\"a\":1}\n{\"b\":2}\n", &two),
            ("", "{\n\"a\":1,\n\"b\":2}\n", &one),
            ("Application/JSON; charset=utf-8", "{\"a\":1,\n\"b\":2}", &one),
            ("", "[{\"n\":\"a\",\"v\":1},\n{\"n\":\"b\",\"v\":1}]", &one),
            ("", "", &Taken::default()),
        ] {
            assert_eq!(of(media_type, body), *expected, "{media_type} {body}");
        }
    }

    #[test]
    fn the_first_bad_line_is_named_and_the_good_ones_are_kept() {
        let taken = of("", "a=1\n\nb=x\nc=y\nd=4");
        assert_eq!((taken.lines, taken.values, taken.bad, taken.line), (4, 2, 2, Some(3)));
        assert!(taken.error.is_some_and(|why| why.contains("in quotes")));
    }

    #[test]
    fn a_published_message_is_answered_with_its_id() {
        let hub = Hub::new(HubSettings::default());
        let intake = Intake::new(&hub, "websocket");
        let good = message(&intake, r#"{"type":"publish","values":{"a":1}}"#, Some(&7.into()));
        assert_eq!(good, r#"{"type":"published","id":7}"#);
        let bad = message(&intake, r#"{"type":"publish","values":{"a":[1]}}"#, None);
        assert!(bad.contains(r#""code":"refused""#) && bad.contains("a list is no value"));
        assert_eq!(hub.view().seq(), 1);
    }
}
