//! The one grammar for a pushed line, wherever it arrives; which form it has
//! is found out line by line.
//!
//! ```text
//! room/temp 21.5
//! room/temp=21.5 door=true note="window open"
//! room.temp:21.5|g                                          statsd, gauges only
//! weather,site=roof temp=21.5,wind=3i 1763796000000000000   InfluxDB's line protocol
//! {"room":{"temp":21.5},"door":true}                        room/temp and door
//! [{"bn":"room/","n":"temp","u":"Cel","v":21.5}]            SenML, RFC 8428
//! # a comment
//! ```
//!
//! A line is taken whole or not at all. What is refused is told in one short
//! sentence that says what to write instead.
//!
//! What a program prints that knows nothing of this grammar is read as the
//! settings say: a bare value ([`value`]), by a [`Pattern`], by [`Pointers`]
//! into JSON, or in [`Columns`].

mod columns;
#[cfg(test)]
mod foreign_tests;
mod influx;
mod json;
mod pattern;
mod pointers;
mod points;
mod senml;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

pub use self::{
    columns::Columns,
    json::publish_message,
    pattern::Pattern,
    pointers::Pointers,
    points::{MAX_POINTS, Point, Points, Stamp},
};
use crate::telemetry::{ChannelName, MAX_TEXT, Value};

/// The longest line, in bytes, without its end.
pub const MAX_LINE: usize = 16 * 1024;
/// The longest JSON document that comes in one piece, in bytes: what a request
/// may carry. In a stream of lines it is a line like any other.
pub const MAX_DOCUMENT: usize = 64 * 1024;

/// Why a line was refused, and what to write instead: one sentence of at most
/// 200 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine(String);

impl BadLine {
    /// The longest sentence, in bytes.
    const MAX: usize = 200;

    /// Makes a sentence safe to be shown: what a stranger wrote may be part of it.
    pub(crate) fn new(why: &str) -> Self {
        let mut sentence = String::with_capacity(why.len().min(Self::MAX));
        for c in why.chars() {
            let c = if c.is_control() { '?' } else { c };
            if sentence.len() + c.len_utf8() > Self::MAX {
                break;
            }
            sentence.push(c);
        }
        Self(sentence)
    }

    /// The sentence.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadLine {}

type Result<T, E = BadLine> = std::result::Result<T, E>;

fn refuse<T>(why: impl AsRef<str>) -> Result<T> {
    Err(BadLine::new(why.as_ref()))
}

/// What someone wrote, short enough to be part of a sentence.
fn quote(text: &str) -> String {
    const MOST: usize = 24;
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(MOST).collect();
    let more = if chars.next().is_some() { "…" } else { "" };
    format!("\"{start}{more}\"")
}

/// Reads one line, without its end, into `points`, which are emptied first. A
/// blank line and a comment have none. An object or a list that begins the
/// line may be as long as [`MAX_DOCUMENT`] and have line breaks within.
///
/// # Errors
/// [`BadLine`] says what to write instead; then there are no points.
pub fn parse(line: &[u8], points: &mut Points) -> Result<()> {
    points.clear();
    let outcome = read(line, points);
    if outcome.is_err() {
        points.clear();
    }
    outcome
}

/// Reads a line that a program has printed for people: of at most [`MAX_LINE`]
/// bytes, whatever their encoding; whole or not at all.
fn printed(
    line: &[u8],
    points: &mut Points,
    take: impl FnOnce(&str, &mut Points) -> Result<()>,
) -> Result<()> {
    points.clear();
    if line.len() > MAX_LINE {
        return refuse(format!("longer than {MAX_LINE} bytes; print shorter lines"));
    }
    let outcome = take(&String::from_utf8_lossy(line), points);
    if outcome.is_err() {
        points.clear();
    }
    outcome
}

fn read(line: &[u8], points: &mut Points) -> Result<()> {
    let line = line.trim_ascii();
    let most = match line.first() {
        None | Some(b'#') => return Ok(()),
        Some(b'{' | b'[') => MAX_DOCUMENT,
        Some(_) => MAX_LINE,
    };
    if line.len() > most {
        return refuse(format!("longer than {most} bytes; send fewer values a line"));
    }
    let Ok(line) = std::str::from_utf8(line) else {
        return refuse("the line is not UTF-8; write it as in room/temp=21.5");
    };
    match line.as_bytes()[0] {
        b'{' => json::object(line, points),
        b'[' => senml::pack(line, points),
        b'<' if is_syslog(line) => {
            refuse("a message of syslog is no reading; send the line alone, as in room/temp=21.5")
        }
        _ => text(line, points),
    }
}

/// Whether a line begins with the priority of a message of syslog, `<13>`
/// (RFC 5424 section 6.2.1), as all that logger(1) sends.
fn is_syslog(line: &str) -> bool {
    let priority = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    priority.is_some_and(|(digits, _)| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Reads a text as one value, of this channel: a number, true or false, and
/// whatever else as a text. A blank one, and a program's word for no number
/// (`nan`), say nothing. Bytes that are no UTF-8 are read as what they resemble.
///
/// # Errors
/// [`BadLine`] for a text of more than 1 KiB, and a number that is too large.
pub fn value(name: &ChannelName, text: &[u8], points: &mut Points) -> Result<()> {
    points.clear();
    let Some(value) = foreign(&String::from_utf8_lossy(text))? else { return Ok(()) };
    points.name(name.as_str())?;
    points.push(value, Stamp::Arrival)
}

/// Reads what a device says that knows nothing of this grammar, in one piece of
/// at most [`MAX_DOCUMENT`] bytes: the values of a JSON object by their names,
/// which come below `name`, or one value, which is `name`. What in an object
/// cannot be a value (a list, a text that is too long) is left out.
///
/// # Errors
/// [`BadLine`] when it is too long, or an object that cannot be read; then
/// there are no points.
pub fn payload(name: &ChannelName, bytes: &[u8], points: &mut Points) -> Result<()> {
    points.clear();
    if bytes.len() > MAX_DOCUMENT {
        return refuse(format!("longer than {MAX_DOCUMENT} bytes; send less at once"));
    }
    if bytes.trim_ascii().first() != Some(&b'{') {
        return value(name, bytes, points);
    }
    points.prefix.push_str(name.as_str());
    let outcome = match std::str::from_utf8(bytes) {
        Ok(text) => json::foreign_object(text, points),
        Err(_) => refuse("the object is not UTF-8"),
    };
    points.prefix.clear();
    if outcome.is_err() {
        points.clear();
    }
    outcome
}

/// A value as programs print it that know nothing of this grammar; `None` when
/// it says nothing.
fn foreign(text: &str) -> Result<Option<Value>> {
    // Device trees end their texts with a NUL.
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let starts_so = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    Ok(match text {
        "" => None,
        "true" | "True" | "TRUE" => Some(true.into()),
        "false" | "False" | "FALSE" => Some(false.into()),
        _ => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Some(number.into()),
            Ok(_) if starts_so && text.ends_with(|c: char| c.is_ascii_digit()) => {
                return refuse(format!("{} is too large for a number", quote(text)));
            }
            Ok(_) => None,
            Err(_) => Some(checked_text(text)?),
        },
    })
}

/// The forms that are no JSON: what comes behind the first name tells which.
fn text(line: &str, points: &mut Points) -> Result<()> {
    let Some(end) = first_delimiter(line) else {
        return refuse(format!("{} has no value; write name=value", quote(line)));
    };
    let (name, rest) = line.split_at(end);
    match line.as_bytes()[end] {
        b'=' => assignments(line, points),
        b',' => influx::line(line, points),
        b':' if rest.find(['|', '=', '"']).is_some_and(|at| rest[at..].starts_with('|')) => {
            statsd(name, &rest[1..], points)
        }
        b':' if rest.contains('=') => influx::line(line, points),
        b':' => refuse("a colon alone is no form of a line; write name=value, or name:value|g"),
        _ => match rest.trim_ascii_start() {
            value if value.starts_with('"') => single(name, value, points),
            value if value.starts_with('=') => {
                refuse("no blanks around the = sign; write name=value")
            }
            fields if fields.contains('=') => influx::line(line, points),
            value => single(name, value, points),
        },
    }
}

/// Where the first blank, `=`, `,` or `:` is that no backslash protects.
fn first_delimiter(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let is_one = |byte: u8| matches!(byte, b' ' | b'\t' | b'=' | b',' | b':');
    (0..bytes.len()).find(|&at| is_one(bytes[at]) && (at == 0 || bytes[at - 1] != b'\\'))
}

/// `name value`.
fn single(name: &str, value: &str, points: &mut Points) -> Result<()> {
    let (value, rest) = take_value(value)?;
    if !rest.is_empty() {
        return refuse("one name and one value a line; for several write a=1 b=2");
    }
    points.name(name)?;
    points.push(value, Stamp::Arrival)
}

/// `name=value name=value …`.
fn assignments(line: &str, points: &mut Points) -> Result<()> {
    let mut rest = line;
    while !rest.is_empty() {
        let Some((name, behind)) = rest.split_once('=') else {
            return refuse(format!("{} has no value; write name=value", quote(rest)));
        };
        points.name(name)?;
        let (value, left) = take_value(behind)?;
        points.push(value, Stamp::Arrival)?;
        rest = left;
    }
    Ok(())
}

/// The value at the start of a text, and what follows it behind blanks.
fn take_value(text: &str) -> Result<(Value, &str)> {
    if text.starts_with('"') {
        let (value, rest) = quoted(text)?;
        if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
            return refuse("a blank must follow a text's closing quote; write a=\"x\" b=1");
        }
        return Ok((value, rest.trim_ascii_start()));
    }
    let (token, rest) = text.split_at(text.find([' ', '\t']).unwrap_or(text.len()));
    Ok((scalar(token)?, rest.trim_ascii_start()))
}

/// A text in quotes at the start of `text`, and what follows it. A backslash
/// protects a quote and a backslash, and is itself otherwise.
fn quoted(text: &str) -> Result<(Value, &str)> {
    let inner = text.strip_prefix('"').unwrap_or(text);
    let mut escaped = false;
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Ok((checked_text(&unescape(&inner[..at]))?, &inner[at + 1..])),
            _ => {}
        }
    }
    refuse("a text has no closing quote; write name=\"text\"")
}

fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(&next @ ('"' | '\\'))) => {
                plain.push(next);
                chars.next();
            }
            _ => plain.push(c),
        }
    }
    plain.into()
}

/// A text that is short enough.
fn checked_text(text: &str) -> Result<Value> {
    if text.len() > MAX_TEXT {
        return refuse("a text has more than 1024 bytes; send a shorter one");
    }
    Ok(Value::from(text))
}

/// A number or a truth.
fn scalar(token: &str) -> Result<Value> {
    match token {
        "true" => Ok(true.into()),
        "false" => Ok(false.into()),
        token => number(token).map(Value::Number),
    }
}

/// A finite number as people and programs write it: `21.5`, `-3`, `1.5e3`.
fn number(token: &str) -> Result<f64> {
    let looks_so = token.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    match token.parse::<f64>() {
        Ok(number) if number.is_finite() && looks_so => Ok(number),
        // Rust reads these words, with and without a sign, as numbers.
        Ok(_) if token.ends_with(|c: char| c.is_ascii_alphabetic()) => {
            refuse("NaN and infinity are no readings; leave the value out")
        }
        Ok(_) => refuse(format!("{} is too large for a number", quote(token))),
        Err(_) if token.is_empty() => refuse("a value is missing; write name=value"),
        Err(_) if looks_so => refuse(format!("{} is no number; write it as in 21.5", quote(token))),
        Err(_) => refuse(format!(
            "{} is neither a number nor true or false; write a text in quotes: name=\"text\"",
            quote(token)
        )),
    }
}

/// `name:value|g`, as StatsD's `docs/metric_types.md` has it: a value with a
/// sign is a change of the gauge.
fn statsd(name: &str, rest: &str, points: &mut Points) -> Result<()> {
    let mut parts = rest.split('|');
    let (value, kind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if kind != "g" {
        return refuse(format!(
            "of statsd's types only gauges are taken, not {}; write name:value|g",
            quote(kind)
        ));
    }
    if parts.next().is_some() {
        return refuse("statsd's rates and tags are not taken; write name:value|g");
    }
    points.foreign_path(name)?;
    let number = number(value)?;
    if value.starts_with(['+', '-']) {
        points.push_change(number)
    } else {
        points.push(Value::Number(number), Stamp::Arrival)
    }
}
