//! InfluxDB's line protocol (InfluxDB documentation, "Line protocol
//! reference", version 2).
//!
//! ```text
//! weather,site=roof,device=a1 temp=21.5,wind=3i,open=t,note="fine" 1763796000000000000
//! measurement,tags             fields                              time stamp, ns
//! ```
//!
//! The channels are `weather/a1/roof/temp` and so on: measurement, the tags'
//! values in the order of their keys, field. A field `value` is left out.

use super::{Points, Result, Stamp, number, quote, quoted, refuse};
use crate::telemetry::{MAX_LEVELS, Value};

const EXAMPLE: &str = "write it as in weather,site=roof temp=21.5,wind=3";

/// Reads a line that looks like one of the line protocol.
pub(super) fn line(line: &str, points: &mut Points) -> Result<()> {
    let (series, rest) = cut(line, b" \t");
    let fields = rest.trim_ascii_start();
    if fields.is_empty() {
        return refuse(format!("a measurement without fields; {EXAMPLE}"));
    }
    make_prefix(series, points)?;
    let stamp = stamp(fields)?;
    let mut rest = fields;
    loop {
        rest = field(rest, stamp, points)?;
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return Ok(()),
        }
    }
}

/// Measurement and tags become the first levels of all names.
fn make_prefix(series: &str, points: &mut Points) -> Result<()> {
    let (measurement, mut rest) = cut(series, b",");
    if measurement.is_empty() {
        return refuse(format!("a measurement is missing; {EXAMPLE}"));
    }
    extend(points, measurement);
    // More would be too many levels, whatever they are.
    let mut tags = [("", ""); MAX_LEVELS];
    let mut count = 0;
    while let Some(tag) = rest.strip_prefix(',') {
        let (key, behind) = cut(tag, b"=,");
        let value = behind.strip_prefix('=').map(|behind| cut(behind, b","));
        let Some((value, left)) = value.filter(|(value, _)| !key.is_empty() && !value.is_empty())
        else {
            return refuse(format!("a tag without key or value; {EXAMPLE}"));
        };
        if count == tags.len() {
            return refuse("more tags than a channel name has levels (8); send fewer");
        }
        tags[count] = (key, value);
        count += 1;
        rest = left;
    }
    let tags = &mut tags[..count];
    tags.sort_unstable();
    for (_, value) in tags {
        extend(points, value);
    }
    Ok(())
}

/// One field; what follows it.
fn field<'a>(text: &'a str, stamp: Stamp, points: &mut Points) -> Result<&'a str> {
    let (key, behind) = cut(text, b"=, \t");
    let Some(value) = behind.strip_prefix('=').filter(|_| !key.is_empty()) else {
        return refuse(format!("a field without name or value; {EXAMPLE}"));
    };
    match key {
        "value" => points.name_of_prefix()?,
        key if key.contains('\\') => points.name_behind_prefix(&without_escapes(key))?,
        key => points.name_behind_prefix(key)?,
    }
    let (value, rest) = if value.starts_with('"') {
        quoted(value)?
    } else {
        let (token, rest) = cut(value, b", \t");
        (scalar(token)?, rest)
    };
    points.push(value, stamp)?;
    Ok(rest)
}

/// The time stamp behind the fields.
fn stamp(fields: &str) -> Result<Stamp> {
    // A blank within a quoted text does not end the fields.
    let (mut in_text, mut escaped) = (false, false);
    let end = fields.bytes().position(|byte| {
        let protected = escaped;
        escaped = byte == b'\\' && !protected;
        if byte == b'"' && !protected {
            in_text = !in_text;
        }
        matches!(byte, b' ' | b'\t') && !in_text && !protected
    });
    let Some(end) = end else { return Ok(Stamp::Arrival) };
    match fields[end..].trim_ascii().parse::<i64>() {
        Ok(nanoseconds) => Ok(Stamp::At(seconds(nanoseconds))),
        Err(_) => refuse(format!(
            "{} is no time stamp in nanoseconds; {EXAMPLE}",
            quote(fields[end..].trim_ascii())
        )),
    }
}

/// Rounded once, not twice: an `f64` holds fewer digits than nanoseconds have.
fn seconds(nanoseconds: i64) -> f64 {
    const SECOND: i64 = 1_000_000_000;
    let (whole, part) = (nanoseconds.div_euclid(SECOND), nanoseconds.rem_euclid(SECOND));
    whole as f64 + part as f64 / SECOND as f64
}

/// A field's value that is no text.
fn scalar(token: &str) -> Result<Value> {
    match token {
        "t" | "T" | "true" | "True" | "TRUE" => return Ok(true.into()),
        "f" | "F" | "false" | "False" | "FALSE" => return Ok(false.into()),
        _ => {}
    }
    let whole = token.strip_suffix(['i', 'u']).filter(|digits| {
        let digits = digits.strip_prefix('-').unwrap_or(digits);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    number(whole.unwrap_or(token)).map(Value::Number)
}

/// The text before the first of `ends` that no backslash protects, and the
/// rest, which begins with it.
fn cut<'a>(text: &'a str, ends: &[u8]) -> (&'a str, &'a str) {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let protected = escaped;
        escaped = byte == b'\\' && !protected;
        ends.contains(&byte) && !protected
    });
    text.split_at(end.unwrap_or(text.len()))
}

fn extend(points: &mut Points, name: &str) {
    if name.contains('\\') {
        points.extend_prefix(&without_escapes(name));
    } else {
        points.extend_prefix(name);
    }
}

/// A backslash before a comma, a blank or an equals sign only protects it.
fn without_escapes(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        if !(c == '\\' && matches!(chars.peek(), Some(',' | ' ' | '=' | '\\'))) {
            plain.push(c);
        }
    }
    plain
}
