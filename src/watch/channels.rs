//! What `boardcast channels` prints: each channel with its description and its
//! newest reading.
//!
//! ```text
//! CHANNEL          VALUE  UNIT  STATUS  KIND   SOURCE   LABEL
//! cpu/temperature   48.3  °C    ok      gauge  thermal  CPU temperature
//! ```
//!
//! Piped, the columns stand between tabs, without a head: value and unit as the
//! board sends them, and behind the label the reason of an error.

use std::collections::{BTreeMap, HashMap};

use serde_json::value::{RawValue, Value};

use super::{
    board::{Board, MOST_CHANNELS},
    lines::line,
    printable,
    units::{Shown, show},
};
use crate::error::{Error, Result};

/// The messages of a board, as they were written.
#[derive(Debug, Default)]
pub(super) struct Channels {
    /// `"device":"pi","epoch":"9f"`
    head: String,
    /// Name and description, an object of JSON, by the channel's number.
    described: BTreeMap<u64, (String, String)>,
    /// JSON, by name.
    values: HashMap<String, String>,
}

/// A message, as far as it matters here.
type Fields<'a> = HashMap<String, &'a RawValue>;

impl Channels {
    /// Notes one message.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is no such object.
    pub(super) fn hear(&mut self, text: &str) -> Result<()> {
        let message: Fields<'_> = parse(text)?;
        // In a fleet others have these, too: each of its own.
        let hello = message.get("type").is_some_and(|kind| kind.get() == r#""hello""#);
        let whose = message.get("device").zip(message.get("epoch"));
        if let Some((device, epoch)) = whose.filter(|_| hello) {
            self.head = format!(r#""device":{device},"epoch":{epoch}"#);
        }
        if let Some(channels) = message.get("channels").filter(|raw| raw.get().starts_with("[{")) {
            for raw in parse::<Vec<&RawValue>>(channels.get())? {
                self.describe(raw.get())?;
            }
        }
        if let Some(values) = message.get("values") {
            for (name, value) in parse::<Fields<'_>>(values.get())? {
                if self.values.len() < MOST_CHANNELS {
                    self.values.insert(name, value.get().to_owned());
                }
            }
        }
        Ok(())
    }

    fn describe(&mut self, raw: &str) -> Result<()> {
        let known: Value = parse(raw)?;
        if let (Some(id), Some(name)) = (known["id"].as_u64(), known["name"].as_str()) {
            if self.described.len() < MOST_CHANNELS || self.described.contains_key(&id) {
                self.described.insert(id, (name.to_owned(), raw.to_owned()));
            }
        }
        Ok(())
    }

    /// One line: the object of `/api/channels`, and in each channel its `value`.
    pub(super) fn json(&self) -> String {
        let channels: Vec<_> = self
            .described
            .values()
            .map(|(name, raw)| {
                let value = self.values.get(name).map_or("null", String::as_str);
                let open = raw.trim_end().strip_suffix('}').unwrap_or(raw);
                format!(r#"{open},"value":{value}}}"#)
            })
            .collect();
        format!("{}\n", line(&format!(r#"{{{},"channels":[{}]}}"#, self.head, channels.join(","))))
    }

    /// Lines with tabs.
    pub(super) fn lines(&self, board: &Board) -> String {
        let mut lines = String::new();
        for row in self.rows(board) {
            let value = match self.values.get(&row.name).map(|raw| parse::<Value>(raw)) {
                Some(Ok(Value::String(text))) => printable(&text),
                // With the digits that it came with.
                Some(Ok(Value::Number(_) | Value::Bool(_))) => self.values[&row.name].clone(),
                _ => String::new(),
            };
            let unit = printable(row.unit.as_deref().unwrap_or_default());
            let end = [&row.status, &row.kind, &row.source, &row.label, &row.reason];
            let end = end.map(|text| printable(text)).join("\t");
            lines += &format!("{}\t{value}\t{unit}\t{end}\n", printable(&row.name));
        }
        lines
    }

    /// A table for people, as wide as it is.
    pub(super) fn table(&self, board: &Board) -> String {
        let head = ["CHANNEL", "VALUE", "UNIT", "STATUS", "KIND", "SOURCE", "LABEL"];
        let mut rows = vec![(head.map(String::from), true, String::new())];
        rows.extend(self.rows(board).into_iter().map(|row| {
            let Shown { number, unit, numeric } = row.shown;
            let cells = [row.name, number, unit, row.status, row.kind, row.source, row.label];
            (cells.map(|cell| printable(&cell)), numeric, printable(&row.reason))
        }));
        let mut widths = [0; 7];
        for (cells, _, _) in &rows {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut table = String::new();
        for (cells, numeric, reason) in rows {
            let mut line = String::new();
            for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
                line += &match (column, numeric) {
                    (1, true) => format!("{cell:>width$}  "),
                    _ => format!("{cell:<width$}  "),
                };
            }
            table += (line + &reason).trim_end();
            table.push('\n');
        }
        table
    }

    /// In the order of people.
    fn rows(&self, board: &Board) -> Vec<Row> {
        let described: HashMap<_, _> =
            self.described.values().map(|(name, raw)| (name.as_str(), raw.as_str())).collect();
        let rows = board.rows().into_iter().map(|row| {
            let raw = described.get(row.name.as_str()).copied().unwrap_or_default();
            let known: Value = parse(raw).unwrap_or_default();
            let text = |field: &str| known[field].as_str().unwrap_or_default().to_owned();
            Row {
                name: row.name.clone(),
                shown: show(&row.value, row.unit.as_deref(), row.places),
                unit: row.unit.clone(),
                status: row.status.clone(),
                reason: row.reason.clone().unwrap_or_default(),
                kind: text("kind"),
                source: text("source"),
                label: text("label"),
            }
        });
        rows.collect()
    }
}

struct Row {
    name: String,
    shown: Shown,
    unit: Option<String>,
    status: String,
    reason: String,
    kind: String,
    source: String,
    label: String,
}

fn parse<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|why| Error::Malformed(printable(&why.to_string())))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const MESSAGES: [&str; 3] = [
        r#"{"type":"hello","device":"pi","epoch":"9f","seq":7,"channels":[{"id":3,"name":"b/text","kind":"state","source":"x","status":"ok"},{"id":1,"name":"a/temp","kind":"gauge","unit":"Cel","label":"A\tlabel","source":"w1","status":"error","reason":"no bus"}]}"#,
        r#"{"type":"channels","channels":[{"id":4,"name":"c","kind":"counter","source":"x","status":"ok"}]}"#,
        r##"{"type":"data","seq":7,"t":1,"snapshot":true,"channels":["#"],"values":{"a/temp":0.013000000000000001,"b/text":"so\u009b"}}"##,
    ];

    fn heard() -> (Channels, Board) {
        let (mut channels, mut board) = (Channels::default(), Board::default());
        for message in MESSAGES {
            board.hear(message, Instant::now()).expect("understood");
            channels.hear(message).expect("understood");
        }
        (channels, board)
    }

    #[test]
    fn json_is_that_of_the_api_with_every_digit_of_the_values() {
        let json = heard().0.json();
        let value: Value = serde_json::from_str(&json).expect("JSON");
        assert!(json.contains("\"value\":0.013000000000000001}") && !json.contains('\u{9b}'));
        assert_eq!(value["epoch"], "9f");
        let names: Vec<_> = value["channels"].as_array().expect("a list").iter().collect();
        assert_eq!(names[0]["name"], "a/temp");
        assert_eq!(names[1]["value"], "so\u{9b}");
        assert!(names[2]["value"].is_null());
    }

    #[test]
    fn lines_have_tabs_between_the_columns_and_nowhere_else() {
        let (channels, board) = heard();
        assert_eq!(
            channels.lines(&board),
            "a/temp\t0.013000000000000001\tCel\terror\tgauge\tw1\tA·label\tno bus\n\
             b/text\tso·\t\tok\tstate\tx\t\t\n\
             c\t\t\tok\tcounter\tx\t\t\n"
        );
    }

    #[test]
    fn a_table_is_aligned() {
        let (channels, board) = heard();
        assert_eq!(
            channels.table(&board),
            "CHANNEL  VALUE  UNIT  STATUS  KIND     SOURCE  LABEL\n\
             a/temp     0.0  °C    error   gauge    w1      A·label  no bus\n\
             b/text   so·          ok      state    x\n\
             c            –        ok      counter  x\n"
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", "7", r#"{"values":7}"#, r#"{"channels":[{"id":"#] {
            assert!(Channels::default().hear(bad).is_err(), "{bad}");
        }
    }
}
