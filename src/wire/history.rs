//! History as `/api/history` shows it: JSON in columns, or CSV (RFC 4180).
//!
//! ```text
//! {"from":1763795100,"to":1763796000,"step":10,"t":[1763795100.3,1763795110.3],
//!  "channels":{"cpu/temperature":{"min":[48.1,null],"mean":[48.4,null],"max":[49,null]}}}
//!
//! time,cpu/temperature.min,cpu/temperature.mean,cpu/temperature.max
//! 1763795100.3,48.1,48.4,49
//! 1763795110.3,,,
//! ```

use std::io::{self, Write};

use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::json::serialize_number;
use crate::telemetry::Summary;

/// The points of one channel, and its name.
pub type Column<'a> = (&'a str, Vec<Option<Summary>>);

/// What an answer says beside the numbers. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    /// The beginning of what was asked for.
    pub from: f64,
    /// Its end.
    pub to: f64,
    /// The time from one point to the next, in seconds.
    pub step: f64,
    /// When each point begins.
    pub t: Vec<f64>,
}

/// A number that was kept as f32 is written as one: `48.31`, not `48.310001373291016`.
struct Number(f64, bool);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(number, single) = *self;
        if single && number.fract() != 0.0 {
            serializer.serialize_f32(number as f32)
        } else {
            serialize_number(number, serializer)
        }
    }
}

/// Milliseconds are enough, and shorter.
fn time(seconds: f64) -> Number {
    Number((seconds * 1000.0).round() / 1000.0, false)
}

/// What is shown of a point.
type Part = (&'static str, fn(&Summary) -> f64);
const PARTS: [Part; 3] = [("min", |s| s.min), ("mean", |s| s.mean), ("max", |s| s.max)];

/// One of the three columns of a channel.
struct Numbers<'a>(&'a [Option<Summary>], fn(&Summary) -> f64);

impl Serialize for Numbers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(points, part) = self;
        let mut list = serializer.serialize_seq(Some(points.len()))?;
        for point in *points {
            let number = point.as_ref().map(|summary| Number(part(summary), summary.single));
            list.serialize_element(&number)?;
        }
        list.end()
    }
}

/// Writes an answer as JSON, one channel after the other, as they come.
///
/// # Errors
/// What `out` gives.
pub fn json<'a>(
    out: &mut dyn Write,
    times: &Times,
    channels: impl Iterator<Item = Column<'a>>,
) -> io::Result<()> {
    let mut before = "{";
    for (name, value) in [("from", times.from), ("to", times.to), ("step", times.step)] {
        write!(out, "{before}\"{name}\":")?;
        serde_json::to_writer(&mut *out, &time(value))?;
        before = ",";
    }
    out.write_all(b",\"t\":")?;
    serde_json::to_writer(&mut *out, &times.t.iter().map(|&at| time(at)).collect::<Vec<_>>())?;
    before = ",\"channels\":{";
    for (name, points) in channels {
        write!(out, "{before}\"{name}\":")?;
        let mut inner = "{";
        for (part, get) in PARTS {
            write!(out, "{inner}\"{part}\":")?;
            serde_json::to_writer(&mut *out, &Numbers(&points, get))?;
            inner = ",";
        }
        out.write_all(b"}")?;
        before = ",";
    }
    let end: &[u8] = if before == "," { b"}}\n" } else { b",\"channels\":{}}\n" };
    out.write_all(end)
}

/// Writes an answer as CSV: a line of names, and a line a point. Names of
/// channels hold nothing that has to be quoted; but one may begin with `-`,
/// which a spreadsheet takes for the beginning of a formula: it gets a `'` in
/// front, which a spreadsheet does not show (OWASP, "CSV Injection").
///
/// # Errors
/// What `out` gives.
pub fn csv(out: &mut dyn Write, times: &Times, channels: &[Column<'_>]) -> io::Result<()> {
    out.write_all(b"time")?;
    for (name, _) in channels {
        let text = if name.starts_with('-') { "'" } else { "" };
        for (part, _) in PARTS {
            write!(out, ",{text}{name}.{part}")?;
        }
    }
    out.write_all(b"\r\n")?;
    for (row, &at) in times.t.iter().enumerate() {
        serde_json::to_writer(&mut *out, &time(at))?;
        for (_, points) in channels {
            let point = points.get(row).and_then(Option::as_ref);
            for (_, get) in PARTS {
                out.write_all(b",")?;
                if let Some(summary) = point {
                    serde_json::to_writer(&mut *out, &Number(get(summary), summary.single))?;
                }
            }
        }
        out.write_all(b"\r\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> Times {
        Times { from: 1e9, to: 1e9 + 20.0, step: 10.0, t: vec![1e9 + 0.12345, 1e9 + 10.12345] }
    }

    fn columns() -> Vec<Column<'static>> {
        let kept = |number: f64| f64::from(number as f32);
        let single =
            Summary { min: kept(48.1), mean: kept(48.31), max: 49.0, count: 3, single: true };
        let double =
            Summary { min: 1e12 + 0.5, mean: 1e12 + 0.5, max: 3e20, count: 1, single: false };
        vec![("a/b", vec![Some(single), None]), ("c", vec![None, Some(double)])]
    }

    #[test]
    fn json_is_columns_with_null_for_a_gap() {
        let mut out = Vec::new();
        json(&mut out, &times(), columns().into_iter()).expect("written");
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(
            text,
            "{\"from\":1000000000,\"to\":1000000020,\"step\":10,\"t\":[1000000000.123,1000000010.123],\
             \"channels\":{\"a/b\":{\"min\":[48.1,null],\"mean\":[48.31,null],\"max\":[49,null]},\
             \"c\":{\"min\":[null,1000000000000.5],\"mean\":[null,1000000000000.5],\"max\":[null,3e+20]}}}\n"
        );
        let mut none = Vec::new();
        json(&mut none, &Times { t: Vec::new(), ..times() }, std::iter::empty()).expect("written");
        let none: serde_json::Value = serde_json::from_slice(&none).expect("JSON");
        assert_eq!(none["channels"], serde_json::json!({}));
    }

    #[test]
    fn a_name_in_csv_is_no_formula() {
        let mut out = Vec::new();
        let names = ["-1-2/a", ".a", "a-b"].map(|name| (name, Vec::new()));
        csv(&mut out, &Times { t: Vec::new(), ..times() }, &names).expect("written");
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "time,'-1-2/a.min,'-1-2/a.mean,'-1-2/a.max,.a.min,.a.mean,.a.max,a-b.min,a-b.mean,a-b.max\r\n"
        );
    }

    #[test]
    fn csv_is_lines_with_an_empty_field_for_a_gap() {
        let mut out = Vec::new();
        csv(&mut out, &times(), &columns()).expect("written");
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "time,a/b.min,a/b.mean,a/b.max,c.min,c.mean,c.max\r\n\
             1000000000.123,48.1,48.31,49,,,\r\n\
             1000000010.123,,,,1000000000000.5,1000000000000.5,3e+20\r\n"
        );
    }
}
