//! JSON lines: the server's `data`, `gap` and `clock` objects as they came, and
//! `subscribed` after a reconnection with a loss (`docs/protocol.md` describes
//! them), one a line; for `jq` and its like.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt::Write as _,
    io::{self, Write},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::value::RawValue;

use super::{
    View,
    board::{Board, Heard},
};
use crate::error::{Error, Result};

/// A message as one line: what may stand between the parts of JSON becomes a
/// space, and characters that steer a terminal are written as JSON escapes.
pub(super) fn line(json: &str) -> Cow<'_, str> {
    if !json.contains(char::is_control) {
        return json.into();
    }
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // Within a text of JSON they cannot stand as they are.
            '\0'..=' ' => line.push(' '),
            c if c.is_control() => {
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line.into()
}

/// The output of a watch that is piped: messages on standard output, what
/// becomes of the connection on standard error.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lost: bool,
    /// It was said that no channel matches.
    told: bool,
}

impl View for Lines {
    fn heard(&mut self, text: &str, heard: &Heard, board: &Board) -> io::Result<()> {
        // Silence would look like a board that has nothing to say.
        let shown = matches!(heard, Heard::Whole | Heard::Snapshot { complete: true });
        if shown && board.is_empty() && !self.told {
            eprintln!("boardcast: no channel matches, so far");
            self.told = true;
        }
        match heard {
            Heard::Other | Heard::Whole => Ok(()),
            Heard::Error(sentence) => {
                eprintln!("boardcast: {sentence}");
                Ok(())
            }
            Heard::Data | Heard::Snapshot { .. } | Heard::Note => {
                let mut out = io::stdout().lock();
                out.write_all(format!("{}\n", line(text)).as_bytes())?;
                out.flush()
            }
        }
    }

    fn state(&mut self, sentence: &str, live: bool) -> io::Result<()> {
        // Once when it is lost, once when it is back.
        if live && self.lost {
            eprintln!("boardcast: connected again");
        } else if !live && !self.lost {
            eprintln!("boardcast: {sentence}");
        }
        self.lost = !live;
        Ok(())
    }

    fn tick(&mut self, _: &Board, _: Instant) -> io::Result<()> {
        // The reader may go while there is nothing to write.
        let out = io::stdout();
        let mut wanted = [PollFd::new(out.as_fd(), PollFlags::empty())];
        let gone = poll(&mut wanted, PollTimeout::ZERO).is_ok()
            && wanted[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR));
        if gone { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn rest(&self, _: Instant) -> Duration {
        Duration::from_secs(1)
    }
}

/// The parts of a snapshot as one object, numbers as they were written.
#[derive(Debug, Default)]
pub(super) struct Merged {
    head: String,
    values: String,
}

impl Merged {
    /// Adds a part.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is no snapshot.
    pub(super) fn add(&mut self, text: &str) -> Result<()> {
        let wrong = |why| Error::Malformed(format!("a snapshot: {why}"));
        let part: HashMap<String, &RawValue> =
            serde_json::from_str(text).map_err(|why| wrong(why.to_string()))?;
        let field = |name: &str| {
            let value = part.get(name).map(|value| value.get());
            value.ok_or_else(|| wrong(format!("it has no {name}")))
        };
        self.head = format!(
            r#"{{"type":"data","seq":{},"t":{},"snapshot":true,"values":"#,
            field("seq")?,
            field("t")?
        );
        let inner = field("values")?.trim().strip_prefix('{').and_then(|v| v.strip_suffix('}'));
        let inner = inner.ok_or_else(|| wrong("its values are no object".into()))?.trim();
        if !inner.is_empty() {
            if !self.values.is_empty() {
                self.values.push(',');
            }
            self.values.push_str(inner);
        }
        Ok(())
    }

    /// One line.
    pub(super) fn finish(self) -> String {
        format!("{}\n", line(&format!("{}{{{}}}}}", self.head, self.values)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_and_the_same_json() {
        let json = "{\"type\" :\n\t\"data\",\r\n\"x\":\"\u{9b}2J\u{7f}\\n é\"}";
        let line = line(json);
        assert_eq!(line, "{\"type\" :  \"data\",  \"x\":\"\\u009b2J\\u007f\\n é\"}");
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(parse(json), parse(&line));
        assert!(matches!(super::line(r#"{"a":1}"#), Cow::Borrowed(_)));
    }

    #[test]
    fn parts_become_one_object_with_every_digit() {
        let mut merged = Merged::default();
        for part in [
            r#"{"type":"data","seq":7,"t":1.5,"snapshot":true,"more":true,"values":{"a":0.013000000000000001}}"#,
            r#"{"type":"data","seq":7,"t":1.5,"snapshot":true,"more":true,"values":{}}"#,
            r#"{"type":"data","seq":7,"t":1.5,"snapshot":true,"values":{"b":"}{","c":[1,2]}}"#,
        ] {
            merged.add(part).expect(part);
        }
        assert_eq!(
            merged.finish(),
            "{\"type\":\"data\",\"seq\":7,\"t\":1.5,\"snapshot\":true,\"values\":{\"a\":0.013000000000000001,\"b\":\"}{\",\"c\":[1,2]}}\n"
        );
        for bad in ["{}", "7", r#"{"seq":1,"t":2,"values":[]}"#] {
            assert!(Merged::default().add(bad).is_err(), "{bad}");
        }
    }
}
