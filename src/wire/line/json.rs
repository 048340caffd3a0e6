//! A JSON object of names and values; objects within join their names with
//! slashes.
//!
//! ```text
//! {"room":{"temp":21.5,"door":true},"note":"fine","broken":null}
//! ```
//!
//! Null says nothing: what has no reading may be left in. Nothing is built
//! here: values go from the bytes into the points, and depth is bounded before
//! it costs stack.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{BadLine, Points, Result, Stamp, checked_text, refuse};
use crate::telemetry::{MAX_LEVELS, Value};

/// Reads an object.
pub(super) fn object(text: &str, points: &mut Points) -> Result<()> {
    whole(text, Object { points, depth: 0, foreign: false })
}

/// Reads an object that was not made for this grammar: what is not allowed in
/// a name becomes `_`, and what cannot be a value (a list, a text that is too
/// long) is left out.
pub(super) fn foreign_object(text: &str, points: &mut Points) -> Result<()> {
    whole(text, Object { points, depth: 0, foreign: true })
}

/// Reads what a WebSocket client publishes: `{"type":"publish","values":{…}}`.
///
/// # Errors
/// [`BadLine`] says what to write instead; then there are no points.
pub fn publish_message(text: &str, points: &mut Points) -> Result<()> {
    points.clear();
    let outcome = whole(text, Message(points));
    if outcome.is_err() {
        points.clear();
    }
    outcome
}

/// Reads a text that holds one value and nothing behind it.
pub(super) fn whole<'de, S: DeserializeSeed<'de, Value = ()>>(
    text: &'de str,
    seed: S,
) -> Result<()> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let outcome = seed.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    outcome.map_err(|error| {
        if error.is_data() {
            BadLine::new(&error.to_string())
        } else {
            BadLine::new(&format!("not JSON: {error}; write it as in {{\"room/temp\":21.5}}"))
        }
    })
}

struct Message<'a>(&'a mut Points);

impl<'de> DeserializeSeed<'de> for Message<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(Key(key)) = map.next_key::<Key<'_>>()? {
            match &*key {
                "type" | "id" => drop(map.next_value::<IgnoredAny>()?),
                "values" if !seen => {
                    seen = true;
                    map.next_value_seed(Object { points: self.0, depth: 0, foreign: false })?;
                }
                _ => return Err(A::Error::custom("publish takes values and id, each once")),
            }
        }
        if seen { Ok(()) } else { Err(A::Error::custom("publish has no values")) }
    }
}

/// A key, copied only when it has escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object, so many levels deep.
struct Object<'a> {
    points: &'a mut Points,
    depth: usize,
    foreign: bool,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.depth == MAX_LEVELS {
            return Err(A::Error::custom("more than 8 levels of objects; a name has at most 8"));
        }
        let length = self.points.prefix.len();
        while let Some(Key(key)) = map.next_key::<Key<'_>>()? {
            if self.foreign {
                self.points.extend_prefix(&key);
            } else {
                if length > 0 {
                    self.points.prefix.push('/');
                }
                self.points.prefix.push_str(&key);
            }
            let Self { depth, foreign, .. } = self;
            map.next_value_seed(Member { points: self.points, depth, foreign })?;
            self.points.prefix.truncate(length);
        }
        Ok(())
    }
}

/// What stands behind a name, which is the points' prefix.
struct Member<'a> {
    points: &'a mut Points,
    depth: usize,
    foreign: bool,
}

impl Member<'_> {
    fn take<E: serde::de::Error>(self, value: Result<Value>) -> Result<(), E> {
        let push = |value| {
            self.points.name_of_prefix()?;
            self.points.push(value, Stamp::Arrival)
        };
        value.and_then(push).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, true, false, a text or an object")
    }
    fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<(), E> {
        self.take(Ok(on.into()))
    }
    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        self.take(Ok(number.into()))
    }
    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.take(Ok(Value::Number(number as f64)))
    }
    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        self.take(Ok(Value::Number(number)))
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        match checked_text(text) {
            Err(_) if self.foreign => Ok(()),
            value => self.take(value),
        }
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.foreign {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        self.take(refuse("a list is no value; give each one a name"))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Self { points, depth, foreign } = self;
        Object { points, depth: depth + 1, foreign }.visit_map(map)
    }
}
