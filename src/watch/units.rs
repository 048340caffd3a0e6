//! SenML units are made for machines: `Cel`, `B/s`, seconds of uptime. People
//! read °C, MiB/s and days. The rules are those of the page
//! (`src/web/units.ts`), so that both show the same.

use serde_json::Value;

/// More than this many decimal places are never shown.
pub(super) const MOST_PLACES: usize = 6;

/// Number and unit apart, so that they can stand in columns.
#[derive(Debug, PartialEq)]
pub(super) struct Shown {
    pub(super) number: String,
    pub(super) unit: String,
    /// Is set like a number, to the right.
    pub(super) numeric: bool,
}

const SI: [&str; 6] = ["", "k", "M", "G", "T", "P"];
const BINARY: [&str; 6] = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];

/// How many decimal places a reading has: 0.42 has two.
pub(super) fn places_of(value: f64) -> usize {
    let exact = |places: &usize| {
        let power = 10_f64.powi(*places as i32);
        (value * power).round() / power == value
    };
    (0..MOST_PLACES).find(exact).unwrap_or(MOST_PLACES)
}

/// A value as people read it. `places` is the most that the channel's readings
/// had so far: one that happens to be 1 gets no fewer than its neighbours.
pub(super) fn show(value: &Value, unit: Option<&str>, places: usize) -> Shown {
    let text = |text: &str, numeric| Shown { number: text.into(), unit: String::new(), numeric };
    match (value, unit) {
        (Value::Bool(on), _) => text(if *on { "yes" } else { "no" }, true),
        (Value::String(value), _) => text(&super::printable(value), false),
        (Value::Number(number), unit) => {
            let number = number.as_f64().unwrap_or_default();
            if unit == Some("s") {
                return text(&duration(number), true);
            }
            let (number, unit) = show_number(number, unit.unwrap_or_default(), places);
            Shown { number, unit, numeric: true }
        }
        _ => text("–", true),
    }
}

fn show_number(value: f64, unit: &str, places: usize) -> (String, String) {
    if unit == "Pa" && value.abs() >= 10_000.0 {
        return show_number(value / 100.0, "hPa", places);
    }
    let prefixed = match unit {
        "B" | "B/s" => Some((unit, BINARY, 1024.0, false)),
        "bit" | "bit/s" | "Hz" | "J" => Some((unit, SI, 1000.0, false)),
        "Ohm" => Some(("Ω", SI, 1000.0, false)),
        "V" | "A" | "W" => Some((unit, SI, 1000.0, true)),
        _ => None,
    };
    if let Some((shown, table, base, milli)) = prefixed {
        return with_prefix(value, shown, &table, base, milli, places);
    }
    let (shown, decimals) = plain(unit);
    let decimals = decimals.unwrap_or_else(|| places.min(decimals_for(value)));
    (fixed(value, decimals), super::printable(shown))
}

/// Units that only look different, and how many decimals they have where that
/// does not depend on the value.
fn plain(unit: &str) -> (&str, Option<usize>) {
    match unit {
        "%" => ("%", Some(1)),
        "%RH" => ("% RH", Some(1)),
        "%EL" => ("%", Some(0)),
        "/" => ("", None),
        "count" => ("", Some(0)),
        "Cel" => ("°C", Some(1)),
        "K" | "hPa" | "dB" | "ms" => (unit, Some(1)),
        "deg" => ("°", Some(1)),
        "lat" | "lon" => ("°", Some(5)),
        "1/min" | "rpm" => ("rpm", Some(0)),
        "beat/min" => ("bpm", Some(0)),
        "1/s" => ("/s", None),
        "m2" => ("m²", None),
        "m3" => ("m³", None),
        "m/s2" => ("m/s²", Some(2)),
        "m3/s" => ("m³/s", None),
        "W/m2" => ("W/m²", None),
        "kg/m3" => ("kg/m³", None),
        "cd/m2" => ("cd/m²", None),
        "ug/m3" => ("µg/m³", None),
        "dBm" => ("dBm", Some(0)),
        "pH" => ("pH", Some(2)),
        other => (other, None),
    }
}

fn with_prefix(
    value: f64,
    unit: &str,
    table: &[&str],
    base: f64,
    milli: bool,
    places: usize,
) -> (String, String) {
    if milli && value != 0.0 && value.abs() < 0.9995 {
        let milli = value * 1000.0;
        return (fixed(milli, usize::from(milli.abs() < 100.0)), format!("m{unit}"));
    }
    let (mut scaled, mut step) = (value, 0);
    // 1023.9 KiB would be rounded to "1024 KiB": the next prefix starts there.
    while scaled.abs() >= base - 0.5 && step + 1 < table.len() {
        scaled /= base;
        step += 1;
    }
    let whole = step == 0 && (places == 0 || !milli);
    let decimals = if whole { 0 } else { three_digits(scaled) };
    (fixed(scaled, decimals), format!("{}{unit}", table[step]))
}

fn three_digits(value: f64) -> usize {
    match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    }
}

fn decimals_for(value: f64) -> usize {
    match value.abs() {
        size if size >= 999.5 => 0,
        size if size >= 0.0995 || size == 0.0 => three_digits(value),
        size if size >= 0.000_95 => 4,
        _ => 6,
    }
}

fn fixed(value: f64, decimals: usize) -> String {
    if value.abs() >= 1e15 {
        return format!("{value:.3e}");
    }
    let digits = format!("{value:.decimals$}");
    // -0.04 with one decimal is "0.0", not "-0.0".
    let zero = digits.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
    if zero { digits.trim_start_matches('-').into() } else { digits }
}

/// "3 d 4 h 12 min": the smaller parts are left out when they no longer matter.
pub(crate) fn duration(seconds: f64) -> String {
    let size = seconds.abs();
    let minus = if seconds < 0.0 && size >= 0.0005 { "-" } else { "" };
    if size < 0.9995 {
        return format!("{minus}{:.0} ms", size * 1000.0);
    }
    if size < 59.95 {
        let decimals = usize::from(size.fract() != 0.0);
        return format!("{minus}{size:.decimals$} s");
    }
    // From 59.95 to 60 it is rounded up; `as` saturates.
    let whole = size.max(60.0) as u64;
    let (d, h, m, s) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (d, h) {
        (0, 0) => format!("{minus}{m} min {s} s"),
        (0, _) => format!("{minus}{h} h {m} min"),
        _ => format!("{minus}{d} d {h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_what_the_page_shows() {
        for (value, unit, places, shown) in [
            (12.34, "%", 2, "12.3 %"),
            (48.31, "Cel", 2, "48.3 °C"),
            (412_356_608.0, "B", 0, "393 MiB"),
            (1023.9 * 1024.0, "B", 0, "1.00 MiB"),
            (0.0, "B/s", 0, "0 B/s"),
            (1_500_000_000.0, "Hz", 0, "1.50 GHz"),
            (0.25, "A", 2, "250 mA"),
            (5.1, "V", 2, "5.10 V"),
            (101_325.0, "Pa", 0, "1013.2 hPa"),
            (0.06, "", 2, "0.06 "),
            (3.0, "", 2, "3.00 "),
            (1.0 / 3.0, "/", 6, "0.33 "),
            (-0.04, "Cel", 2, "0.0 °C"),
            (-7.26, "Cel", 2, "-7.3 °C"),
            (1e18, "", 0, "1.000e18 "),
            (90.0, "s", 0, "1 min 30 s "),
            (9.8, "m/s2", 1, "9.80 m/s²"),
            (4.0, "x\x1b", 0, "4 x·"),
        ] {
            let Shown { number, unit, .. } = show(&value.into(), Some(unit), places);
            assert_eq!(format!("{number} {unit}"), shown);
        }
        assert_eq!(show(&true.into(), None, 0).number, "yes");
        assert_eq!(show(&"a\nb".into(), None, 0).number, "a·b");
        assert_eq!(show(&Value::Null, Some("B"), 0).number, "–");
    }

    #[test]
    fn durations_have_the_parts_that_matter() {
        for (seconds, text) in [
            (0.25, "250 ms"),
            (1.0, "1 s"),
            (59.94, "59.9 s"),
            (59.97, "1 min 0 s"),
            (3_700.0, "1 h 1 min"),
            (273_000.0, "3 d 3 h 50 min"),
            (-90.0, "-1 min 30 s"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!([places_of(0.42), places_of(3.0), places_of(1.0 / 3.0)], [2, 0, MOST_PLACES]);
    }
}
