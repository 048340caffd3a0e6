//! What a board says, read without a tree: a message of `docs/protocol.md`,
//! from its own stream or from a broker.
//!
//! ```text
//! {"type":"data","epoch":"9f…","seq":42,"t":1763796001.118,"values":{"cpu/usage":13.1,"door/open":false}}
//! {"type":"data","seq":43,"t":1763796003.1,"dt":[0,0.001],"values":{"imu/ax":[0.01,0.02]}}
//! {"type":"channels","device":"pi1","epoch":"9f…","seq":42,"channels":[{"id":0,"name":"cpu/usage",…}]}
//! ```
//!
//! Unknown fields are skipped, texts are borrowed where they can be.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::telemetry::Value;

/// A message; what it does not say is as if it were not there.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Message<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    /// From a broker a list of channels has it, and is then the whole list.
    #[serde(default)]
    pub(super) device: Option<String>,
    #[serde(default)]
    pub(super) epoch: Option<String>,
    #[serde(default)]
    pub(super) seq: u64,
    /// The number of the message before, where numbers are left out on purpose.
    #[serde(default)]
    pub(super) after: Option<u64>,
    #[serde(default)]
    pub(super) t: f64,
    #[serde(default)]
    pub(super) dt: Vec<f64>,
    #[serde(default)]
    pub(super) snapshot: bool,
    #[serde(default)]
    pub(super) more: bool,
    #[serde(default)]
    pub(super) fleet: bool,
    #[serde(default)]
    pub(super) message: Option<String>,
    #[serde(default, borrow)]
    pub(super) values: Values<'a>,
    #[serde(default)]
    pub(super) channels: Option<Vec<Description>>,
}

/// A channel's description.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Description {
    pub(super) name: String,
    #[serde(default)]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) unit: Option<String>,
    #[serde(default)]
    pub(super) label: Option<String>,
    #[serde(default)]
    pub(super) min: Option<f64>,
    #[serde(default)]
    pub(super) max: Option<f64>,
    #[serde(default)]
    pub(super) stale_after: Option<f64>,
    #[serde(default)]
    pub(super) source: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) reason: Option<String>,
}

/// Names and their readings, in their order.
#[derive(Debug, Default)]
pub(super) struct Values<'a>(pub(super) Vec<(Cow<'a, str>, Reading)>);

/// One reading, or a row's worth of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    One(Value),
    Rows(Vec<Value>),
}

impl<'a> Message<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// One sentence that says what is wrong with it.
    pub(super) fn read(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Values<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfValues;
        impl<'de> Visitor<'de> for OfValues {
            type Value = Values<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values<'de>, A::Error> {
                let mut list = Vec::new();
                while let Some((Name(name), reading)) = map.next_entry()? {
                    list.push((name, reading));
                }
                Ok(Values(list))
            }
        }
        deserializer.deserialize_map(OfValues)
    }
}

struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfName;
        impl<'de> Visitor<'de> for OfName {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a channel's name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.into())))
            }
        }
        deserializer.deserialize_str(OfName)
    }
}

impl<'de> Deserialize<'de> for Reading {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfReading)
    }
}

/// What is no reading (an object, a list in a list) is none: null.
struct OfReading;

impl<'de> Visitor<'de> for OfReading {
    type Value = Reading;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a truth, a text, null, or a list of them")
    }
    fn visit_u64<E>(self, number: u64) -> Result<Reading, E> {
        Ok(Reading::One(number.into()))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Reading, E> {
        Ok(Reading::One(Value::from(number as f64)))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Reading, E> {
        Ok(Reading::One(number.into()))
    }
    fn visit_bool<E>(self, on: bool) -> Result<Reading, E> {
        Ok(Reading::One(on.into()))
    }
    fn visit_str<E>(self, text: &str) -> Result<Reading, E> {
        Ok(Reading::One(text.into()))
    }
    fn visit_unit<E>(self) -> Result<Reading, E> {
        Ok(Reading::One(Value::Null))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Reading, A::Error> {
        let mut rows = Vec::new();
        while let Some(reading) = list.next_element()? {
            rows.push(match reading {
                Reading::One(value) => value,
                Reading::Rows(_) => Value::Null,
            });
        }
        Ok(Reading::Rows(rows))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Reading, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Reading::One(Value::Null))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_order_and_borrow_their_names() {
        let text = br#"{"type":"data","seq":43,"t":1.5,"dt":[0,0.5],"new":{"x":[]},"values":
            {"b/x":[1,2.5],"a":true,"t\u0065xt":"on","n":null,"o":{"deep":[1]},"rows":[null,[1]]}}"#;
        let message = Message::read(text).expect("valid");
        assert_eq!((&*message.kind, message.seq, message.t), ("data", 43, 1.5));
        assert_eq!(message.dt, [0.0, 0.5]);
        let values: Vec<_> =
            message.values.0.iter().map(|(name, r)| (&**name, r.clone())).collect();
        let number = |n: f64| Value::Number(n);
        assert_eq!(
            values,
            [
                ("b/x", Reading::Rows(vec![number(1.0), number(2.5)])),
                ("a", Reading::One(Value::Bool(true))),
                ("text", Reading::One("on".into())),
                ("n", Reading::One(Value::Null)),
                ("o", Reading::One(Value::Null)),
                ("rows", Reading::Rows(vec![Value::Null, Value::Null])),
            ]
        );
        assert!(matches!(message.values.0[0].0, Cow::Borrowed(_)));
    }

    #[test]
    fn a_list_of_channels_is_read_with_what_there_is() {
        let text = br#"{"type":"channels","device":"pi1","epoch":"9f","channels":[
            {"id":0,"name":"cpu/usage","kind":"gauge","unit":"%","min":0,"max":100,"stale_after":3,
             "source":"vitals","status":"error","reason":"no bus"},{"name":"b"}]}"#;
        let message = Message::read(text).expect("valid");
        let channels = message.channels.expect("some");
        assert_eq!((channels[0].stale_after, channels[0].max), (Some(3.0), Some(100.0)));
        assert_eq!(channels[0].reason.as_deref(), Some("no bus"));
        assert_eq!((&*channels[1].name, &*channels[1].status), ("b", ""));
    }

    #[test]
    fn what_is_no_message_is_told() {
        for bad in [&b""[..], b"7", b"[]", b"{}", b"\xff", br#"{"type":"data","seq":-1}"#] {
            Message::read(bad).expect_err("refused");
        }
    }
}
