//! SenML in JSON (RFC 8428): a pack of records, whose base fields hold for all
//! that follow.
//!
//! ```text
//! [{"bn":"urn:dev:ow:10e2073a01080063:","bt":1.320067464e+09,"bu":"A","bver":5},
//!  {"n":"voltage","u":"V","v":120.1},
//!  {"n":"current","t":-5,"v":1.2},
//!  {"n":"open","vb":true},{"n":"label","vs":"Machine Room"}]
//! ```
//!
//! The channels are `urn_dev_ow_10e2073a01080063_voltage` and so on: slashes in
//! a name divide levels, what is not allowed in a level becomes `_`.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{Points, Result, Stamp, checked_text, json, number, quote, refuse};
use crate::telemetry::{MAX_NAME, Value};

/// The newest version that is understood (RFC 8428 section 4.4).
const VERSION: f64 = 10.0;
/// Times below count from now, others from 1970 (RFC 8428 section 4.5.3).
const RELATIVE: f64 = 268_435_456.0; // 2^28

/// Reads a pack.
pub(super) fn pack(text: &str, points: &mut Points) -> Result<()> {
    json::whole(text, Pack(points))
}

struct Pack<'a>(&'a mut Points);

/// What the records so far say for those that follow.
#[derive(Default)]
struct Base {
    name: String,
    time: Option<f64>,
    unit: String,
    value: f64,
}

/// One record as it is written.
#[derive(Default)]
struct Record<'a> {
    base_name: Option<Cow<'a, str>>,
    base_time: Option<f64>,
    base_unit: Option<Cow<'a, str>>,
    base_value: Option<f64>,
    name: Option<Cow<'a, str>>,
    unit: Option<Cow<'a, str>>,
    time: Option<f64>,
    number: Option<f64>,
    truth: Option<bool>,
    text: Option<Cow<'a, str>>,
    other: bool,
}

impl<'de> DeserializeSeed<'de> for Pack<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Pack<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of SenML records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut base = Base::default();
        while let Some(record) = list.next_element::<Record<'_>>()? {
            record.resolve(&mut base, self.0).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Record<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

/// A text, copied only when it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Record<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a SenML record, as in {\"n\":\"temp\",\"v\":21.5}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record<'de>, A::Error> {
        let mut record = Record::default();
        while let Some(Text(label)) = map.next_key::<Text<'_>>()? {
            match &*label {
                "bn" => record.base_name = Some(map.next_value::<Text<'_>>()?.0),
                "bt" => record.base_time = Some(map.next_value()?),
                "bu" => record.base_unit = Some(map.next_value::<Text<'_>>()?.0),
                "bv" => record.base_value = Some(map.next_value()?),
                "bver" if map.next_value::<f64>()? > VERSION => {
                    return Err(A::Error::custom("a SenML version above 10 is not understood"));
                }
                "bver" => {}
                "n" => record.name = Some(map.next_value::<Text<'_>>()?.0),
                "u" => record.unit = Some(map.next_value::<Text<'_>>()?.0),
                "t" => record.time = Some(map.next_value()?),
                "v" => record.number = Some(map.next_value()?),
                "vb" => record.truth = Some(map.next_value()?),
                "vs" => record.text = Some(map.next_value::<Text<'_>>()?.0),
                // Section 4.4: such labels must be understood.
                must if must.ends_with('_') => {
                    let sentence = format!("SenML label {} is not understood", quote(must));
                    return Err(A::Error::custom(sentence));
                }
                other => {
                    record.other |= matches!(other, "vd" | "s");
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(record)
    }
}

impl Record<'_> {
    /// Section 4.6: what the record means with the base fields before it.
    fn resolve(self, base: &mut Base, points: &mut Points) -> Result<()> {
        if let Some(name) = self.base_name {
            if name.len() > MAX_NAME {
                return refuse("the base name bn is longer than 128 bytes; a channel name is not");
            }
            base.name = name.into_owned();
        }
        base.time = self.base_time.or(base.time);
        base.value = self.base_value.unwrap_or(base.value);
        if let Some(unit) = self.base_unit {
            base.unit = unit.into_owned();
        }
        let value = match (self.number, self.truth, self.text) {
            (Some(number), None, None) => Value::from(number + base.value),
            (None, Some(on), None) => on.into(),
            (None, None, Some(text)) => checked_text(&text)?,
            (None, None, None) if self.name.is_none() && !self.other => return Ok(()),
            _ => {
                return refuse(
                    "a SenML record has one of v, vb and vs; sums and data are not taken",
                );
            }
        };
        if value.is_null() {
            return number("inf").map(drop);
        }
        let name = self.name.unwrap_or_default();
        if base.name.is_empty() {
            points.foreign_path(&name)?;
        } else {
            points.foreign_path(&format!("{}{name}", base.name))?;
        }
        let unit = self.unit.unwrap_or(Cow::Borrowed(&base.unit));
        points.push_with_unit(value, stamp(base.time, self.time), &unit)
    }
}

fn stamp(base: Option<f64>, time: Option<f64>) -> Stamp {
    if base.is_none() && time.is_none() {
        return Stamp::Arrival;
    }
    match base.unwrap_or_default() + time.unwrap_or_default() {
        0.0 => Stamp::Arrival,
        time if time < RELATIVE => Stamp::Offset(time),
        time => Stamp::At(time),
    }
}
