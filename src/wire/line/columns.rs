//! Lines of values with a separator between, as in CSV.
//!
//! ```text
//! 2026-11-22T10:00:00,21.5,"a ""quoted"" text"      columns -, temp, note
//! ```

use std::borrow::Cow;

use super::{BadLine, MAX_POINTS, Points, Result, Stamp, foreign, printed, refuse};
use crate::{
    error::{self, Error},
    telemetry::{ChannelName, Value},
};

/// Which column is which channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// `None`: the column is left out.
    names: Vec<Option<ChannelName>>,
    separator: char,
}

impl Columns {
    /// Names the columns in their order; one that is called `-` is left out.
    /// When the separator is a blank, any number of blanks and tabs is one.
    ///
    /// # Errors
    /// [`Error::Setting`] when a name is not valid, or
    /// no column has one.
    pub fn parse(names: &[String], separator: char) -> error::Result<Self> {
        let refuse = |why: &str| Err(Error::Setting(format!("columns: {why}")));
        if separator == '"' || separator.is_alphanumeric() || matches!(separator, '\n' | '\r') {
            return refuse(&format!(
                "{separator:?} is no separator; write one character, as in \",\" or \";\""
            ));
        }
        let name = |name: &String| match name.as_str() {
            "-" => Ok(None),
            name => ChannelName::new(name).map(Some),
        };
        let names = match names.iter().map(name).collect::<error::Result<Vec<_>>>() {
            Ok(names) => names,
            Err(why) => return refuse(&why.to_string()),
        };
        match names.iter().flatten().count() {
            0 => refuse("none has a name; write them as in [\"-\", \"temp\", \"hum\"]"),
            count if count > MAX_POINTS => refuse("more than 512 names"),
            _ => Ok(Self { names, separator }),
        }
    }

    /// Reads one line, without its end, into `points`, which are emptied
    /// first. A cell is a number, true or false, or a text; an empty one says
    /// nothing. So do a blank line, one that begins with `#`, and a header: a
    /// line whose cells are the columns' names.
    ///
    /// # Errors
    /// [`BadLine`] says what is wrong; then there are no points.
    pub fn read(&self, line: &[u8], points: &mut Points) -> Result<(), BadLine> {
        printed(line, points, |line, points| self.take(line, points))
    }

    fn take(&self, line: &str, points: &mut Points) -> Result<()> {
        let mut rest = Some(line.trim_matches(['\r', ' ']));
        if rest.is_none_or(|line| line.is_empty() || line.starts_with('#')) {
            return Ok(());
        }
        let mut header = true;
        let mut count = 0;
        while let Some(text) = rest {
            let (cell, left) = self.cell(text)?;
            rest = left;
            if let Some(Some(name)) = self.names.get(count) {
                header = header && is_name(&cell, name);
                if let Some(value) = foreign(&cell)? {
                    points.name(name.as_str())?;
                    points.push(value, Stamp::Arrival)?;
                }
            }
            count += 1;
        }
        let most = self.names.len();
        if count == most {
            if header {
                points.clear();
            }
            return Ok(());
        }
        let much = if count < most { "few" } else { "many" };
        refuse(format!(
            "{count} columns are too {much}, the settings have {most}; name each, or write \"-\""
        ))
    }

    /// The first cell of a text, and what stands behind its separator.
    fn cell<'a>(&self, text: &'a str) -> Result<(Cow<'a, str>, Option<&'a str>)> {
        // A separator that is a blank itself is not to be trimmed away.
        let text = text.trim_start_matches(|c: char| c.is_whitespace() && c != self.separator);
        let (cell, rest) = match text.strip_prefix('"') {
            Some(inner) => quoted(inner)?,
            None => {
                let end = text.find(|c| self.separates(c)).unwrap_or(text.len());
                (Cow::Borrowed(&text[..end]), &text[end..])
            }
        };
        let rest = rest.trim_start_matches(|c: char| c.is_whitespace() && !self.separates(c));
        let mut chars = rest.chars();
        match chars.next() {
            None => Ok((cell, None)),
            Some(_) if self.separator == ' ' && self.separates_all(rest) => Ok((cell, None)),
            Some(c) if self.separator == ' ' && self.separates(c) => {
                Ok((cell, Some(rest.trim_start_matches([' ', '\t']))))
            }
            Some(c) if self.separates(c) => Ok((cell, Some(chars.as_str()))),
            Some(_) => refuse("a separator must follow a text's closing quote; write \"a\",\"b\""),
        }
    }

    fn separates(&self, c: char) -> bool {
        c == self.separator || (self.separator == ' ' && c == '\t')
    }

    fn separates_all(&self, text: &str) -> bool {
        text.chars().all(|c| self.separates(c))
    }
}

/// Whether a cell of a header is this name, or its last level.
fn is_name(cell: &str, name: &ChannelName) -> bool {
    let (cell, name) = (cell.trim(), name.as_str());
    let last = name.rsplit('/').next().unwrap_or(name);
    // A column may be called 7: then 7 is no header.
    let is_text = matches!(foreign(cell), Ok(Some(Value::Text(_))));
    is_text && (cell.eq_ignore_ascii_case(name) || cell.eq_ignore_ascii_case(last))
}

/// The text up to its closing quote, in which two quotes are one (RFC 4180
/// section 2), and what follows.
fn quoted(inner: &str) -> Result<(Cow<'_, str>, &str)> {
    let mut from = 0;
    while let Some(at) = inner[from..].find('"').map(|at| from + at) {
        if !inner[at + 1..].starts_with('"') {
            let text = &inner[..at];
            let text = if from == 0 { text.into() } else { text.replace("\"\"", "\"").into() };
            return Ok((text, &inner[at + 1..]));
        }
        from = at + 2;
    }
    refuse("a text has no closing quote; in a text, write \" as \"\"")
}
