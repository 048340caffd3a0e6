//! What a client knows of a board from its messages (`docs/protocol.md`): the
//! channels with their newest readings, and the place to resume at.

use std::{cmp::Ordering, collections::HashMap, time::Instant};

use serde_json::Value;

use super::{
    printable,
    units::{MOST_PLACES, places_of},
};
use crate::error::{Error, Result};

/// More channels than any board has: what a server says must not fill the
/// memory of its client.
pub(super) const MOST_CHANNELS: usize = 10_000;

/// One channel.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) unit: Option<String>,
    /// As on the wire: `ok`, `stale`, `error`, `gone`.
    pub(super) status: String,
    pub(super) reason: Option<String>,
    /// The newest reading; null before the first.
    pub(super) value: Value,
    /// The most decimal places that a reading had so far.
    pub(super) places: usize,
    /// When the reading came here.
    pub(super) at: Option<Instant>,
}

/// What a message was.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// A batch.
    Data,
    /// A snapshot, or a part of one; `complete`: no more parts follow.
    Snapshot { complete: bool },
    /// The snapshots of all devices of a fleet have come.
    Whole,
    /// Batches that did not come, a device that comes or goes, a connection that does not go on where the last one was, or a
    /// clock that was set.
    Note,
    /// The server cannot do what was asked, and says why; printable.
    Error(String),
    /// Something else, or something that this version does not know.
    Other,
}

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) device: String,
    epoch: String,
    /// The last batch after which nothing is missing here.
    seq: Option<u64>,
    channels: HashMap<u64, Row>,
    ids: HashMap<String, u64>,
    /// How many connections there were.
    greetings: u64,
    /// The server speaks for many boards.
    pub(super) is_fleet: bool,
    /// On this connection, all of them have said what they have.
    is_whole: bool,
}

impl Board {
    /// The channels in the order of their names.
    pub(super) fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<_> = self.channels.values().collect();
        rows.sort_by(|a, b| natural(&a.name, &b.name));
        rows
    }

    /// Whether there is no channel.
    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Where to go on after a cut, as the query's `since` names it; there is no
    /// such place in a fleet.
    pub(super) fn since(&self) -> Option<String> {
        self.seq.map(|seq| format!("{}:{seq}", self.epoch))
    }

    /// Notes one message.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is no JSON object with a `type`.
    pub(super) fn hear(&mut self, text: &str, now: Instant) -> Result<Heard> {
        let message: Value = serde_json::from_str(text).map_err(|why| {
            Error::Malformed(format!("{}; is that a boardcast?", printable(&why.to_string())))
        })?;
        let Some(kind) = message["type"].as_str() else {
            return Err(Error::Malformed("it has no type; is that a boardcast?".into()));
        };
        Ok(match kind {
            "hello" => {
                self.greet(&message);
                Heard::Other
            }
            "channels" => {
                self.describe(&message["channels"]);
                Heard::Other
            }
            "data" => self.read(&message, now),
            "heartbeat" => {
                self.reach(&message);
                let was_whole = std::mem::replace(&mut self.is_whole, true);
                if self.is_fleet && !was_whole { Heard::Whole } else { Heard::Other }
            }
            "devices" => Heard::Note,
            // A gap is no place to resume at: its snapshot is still to come.
            "gap" | "clock" => Heard::Note,
            "subscribed" if self.greetings > 1 && message["recovered"] != true => Heard::Note,
            "error" => Heard::Error(printable(message["message"].as_str().unwrap_or("no reason"))),
            _ => Heard::Other,
        })
    }

    fn greet(&mut self, message: &Value) {
        let greetings = self.greetings + 1;
        // It goes into a query: what is no epoch is not sent back.
        let epoch = message["epoch"].as_str().unwrap_or_default();
        let fine = epoch.len() <= 64 && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if epoch != self.epoch || !fine {
            *self =
                Self { epoch: if fine { epoch.into() } else { String::new() }, ..Self::default() };
        }
        self.greetings = greetings;
        (self.is_fleet, self.is_whole) = (message["fleet"] == true, false);
        self.device = message["device"].as_str().unwrap_or_default().into();
        self.describe(&message["channels"]);
    }

    fn describe(&mut self, channels: &Value) {
        for channel in channels.as_array().into_iter().flatten() {
            let (Some(id), Some(name)) = (channel["id"].as_u64(), channel["name"].as_str()) else {
                continue;
            };
            if self.channels.len() >= MOST_CHANNELS && !self.channels.contains_key(&id) {
                continue;
            }
            let text = |field: &str| channel[field].as_str().map(String::from);
            let row = self.channels.entry(id).or_default();
            if row.name != name {
                self.ids.remove(&row.name);
                self.ids.insert(name.into(), id);
                row.name = name.into();
            }
            row.unit = text("unit");
            row.status = text("status").unwrap_or_else(|| "ok".into());
            row.reason = text("reason");
        }
    }

    fn read(&mut self, message: &Value, now: Instant) -> Heard {
        for (name, value) in message["values"].as_object().into_iter().flatten() {
            let Some(row) = self.ids.get(name).and_then(|id| self.channels.get_mut(id)) else {
                continue;
            };
            let newest = match value {
                Value::Array(rows) => rows.iter().rev().find(|value| !value.is_null()),
                value => Some(value).filter(|value| !value.is_null()),
            };
            let Some(newest) = newest else { continue };
            if let Some(number) = newest.as_f64().filter(|_| row.places < MOST_PLACES) {
                row.places = row.places.max(places_of(number));
            }
            row.value = newest.clone();
            row.at = Some(now);
        }
        let snapshot = message["snapshot"] == true;
        let complete = message["more"] != true;
        if complete {
            self.reach(message);
        }
        if snapshot { Heard::Snapshot { complete } } else { Heard::Data }
    }

    fn reach(&mut self, message: &Value) {
        let known = !self.epoch.is_empty() && !self.is_fleet;
        if let Some(seq) = message["seq"].as_u64().filter(|_| known) {
            self.seq = Some(seq);
        }
    }
}

/// The digits at the start, without leading zeros, and what follows: the longer
/// of two such numbers is the greater.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let start = text[..end].iter().take_while(|&&byte| byte == b'0').count();
    (&text[start..end], &text[end..])
}

/// The order of people: level by level, `core2` before `core10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while let ([first, ..], [second, ..]) = (a, b) {
        let order = if first.is_ascii_digit() && second.is_ascii_digit() {
            let (one, other);
            (one, a) = number(a);
            (other, b) = number(b);
            one.len().cmp(&other.len()).then(one.cmp(other))
        } else {
            (a, b) = (&a[1..], &b[1..]);
            (*first != b'/', first).cmp(&(*second != b'/', second))
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = r#"{"type":"hello","device":"pi","epoch":"9f","seq":7,"channels":[
        {"id":0,"name":"cpu/usage","unit":"%","status":"ok"},{"id":3,"name":"imu/ax","status":"ok"}]}"#;

    fn hear(board: &mut Board, text: &str) -> Heard {
        board.hear(text, Instant::now()).expect(text)
    }

    fn board(messages: &[&str]) -> Board {
        let mut board = Board::default();
        for message in messages {
            hear(&mut board, message);
        }
        board
    }

    #[test]
    fn channels_have_their_newest_reading() {
        let mut board = board(&[
            HELLO,
            r#"{"type":"data","seq":7,"t":1,"snapshot":true,"values":{"cpu/usage":12.25,"what":1}}"#,
            r#"{"type":"data","seq":8,"t":2,"dt":[0,1,2],"values":{"cpu/usage":[1,2.5,null],"imu/ax":[null,null,null]}}"#,
            r#"{"type":"channels","channels":[{"id":3,"name":"imu/ax","status":"error","reason":"no bus"}]}"#,
            r#"{"type":"of tomorrow","values":{"cpu/usage":99}}"#,
        ]);
        let rows = board.rows();
        assert_eq!((rows[0].value.as_f64(), rows[0].places), (Some(2.5), 2));
        assert_eq!((rows[1].value.is_null(), rows[1].at), (true, None));
        assert_eq!(rows[1].reason.as_deref(), Some("no bus"));
        assert_eq!(board.device, "pi");
        let error = hear(&mut board, r#"{"type":"error","code":"x","message":"why"}"#);
        assert_eq!(error, Heard::Error("why".into()));
        for bad in ["", "7", "{}", "<html>"] {
            assert!(board.hear(bad, Instant::now()).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_in_the_order_of_people() {
        let ordered = ["a", "a/b", "a-b", "core2", "core02/x", "core10", "core10/a", "cores", "z"];
        for pair in ordered.windows(2) {
            assert_eq!(natural(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(natural(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(natural("core02", "core02"), Ordering::Equal);
    }

    #[test]
    fn it_resumes_after_what_is_complete() {
        let mut board = board(&[HELLO]);
        assert_eq!(board.since(), None, "nothing was seen yet");
        let part = r#"{"type":"data","seq":7,"t":1,"snapshot":true,"more":true,"values":{}}"#;
        assert_eq!(hear(&mut board, part), Heard::Snapshot { complete: false });
        assert_eq!(board.since(), None, "a part of a snapshot is not enough");
        let last = r#"{"type":"data","seq":7,"t":1,"snapshot":true,"values":{}}"#;
        assert_eq!(hear(&mut board, last), Heard::Snapshot { complete: true });
        assert_eq!(board.since().as_deref(), Some("9f:7"));
        for (message, since) in [
            (r#"{"type":"data","seq":9,"t":1,"values":{}}"#, "9f:9"),
            (r#"{"type":"heartbeat","seq":12,"time":1}"#, "9f:12"),
            (r#"{"type":"gap","from":13,"to":20}"#, "9f:12"),
            (r#"{"type":"data","seq":20,"t":1,"snapshot":true,"values":{}}"#, "9f:20"),
            (HELLO, "9f:20"),
        ] {
            hear(&mut board, message);
            assert_eq!(board.since().as_deref(), Some(since), "{message}");
        }
    }

    #[test]
    fn a_connection_that_does_not_go_on_is_told_but_not_the_first() {
        let subscribed =
            |to| format!(r##"{{"type":"subscribed","channels":["#"],"recovered":{to}}}"##);
        let mut board = board(&[HELLO]);
        assert_eq!(hear(&mut board, &subscribed(false)), Heard::Other, "there is nothing to lose");
        hear(&mut board, HELLO);
        assert_eq!(hear(&mut board, &subscribed(true)), Heard::Other, "nothing is lost");
        for epoch in ["9f", "a0"] {
            hear(&mut board, &HELLO.replace("9f", epoch));
            assert_eq!(hear(&mut board, &subscribed(false)), Heard::Note, "{epoch}");
        }
    }

    #[test]
    fn a_fleet_is_whole_when_all_devices_have_had_their_turn() {
        let hello = HELLO.replace(r#""seq":7,"#, r#""seq":7,"fleet":true,"#);
        let mut board = board(&[&hello]);
        let beat = r#"{"type":"heartbeat","seq":7,"time":1}"#;
        for (message, heard) in [
            (r#"{"type":"devices","devices":[{"name":"pi1","status":"online"}]}"#, Heard::Note),
            (
                r#"{"type":"data","device":"pi1","epoch":"b","seq":1,"t":1,"snapshot":true,"values":{}}"#,
                Heard::Snapshot { complete: true },
            ),
            (beat, Heard::Whole),
            (beat, Heard::Other),
            (r#"{"type":"gap","device":"pi1","epoch":"b","to":9}"#, Heard::Note),
        ] {
            assert_eq!(hear(&mut board, message), heard, "{message}");
        }
        assert_eq!(board.since(), None, "each device has a place of its own");
        hear(&mut board, &hello);
        assert_eq!(hear(&mut board, beat), Heard::Whole);
    }

    #[test]
    fn a_board_that_was_started_anew_is_another() {
        let mut board = board(&[
            HELLO,
            r#"{"type":"data","seq":7,"t":1,"snapshot":true,"values":{"cpu/usage":1}}"#,
            r#"{"type":"hello","device":"pi","epoch":"a0","seq":1,"channels":[]}"#,
        ]);
        assert_eq!((board.rows().len(), board.since()), (0, None));
        hear(&mut board, r#"{"type":"hello","device":"pi","epoch":"&x=","seq":1,"channels":[]}"#);
        hear(&mut board, r#"{"type":"heartbeat","seq":12,"time":1}"#);
        assert_eq!(board.since(), None, "that is no epoch");
    }
}
