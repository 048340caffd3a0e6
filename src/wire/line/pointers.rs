//! JSON documents of any form, of which JSON pointers (RFC 6901) name the parts.
//!
//! ```text
//! {"lat":48.1,"sat":[{"snr":31}]}      gps/lat is /lat, gps/snr is /sat/0/snr
//! ```
//!
//! A document is walked, not kept: what no pointer leads to costs nothing.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{BadLine, MAX_DOCUMENT, MAX_POINTS, Points, Result, Stamp, checked_text, refuse};
use crate::{
    error::{self, Error},
    telemetry::{ChannelName, Value},
};

/// The most levels of a pointer: each costs a little of the stack.
const MAX_DEPTH: usize = 16;

/// Which place in a document is which channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointers {
    list: Vec<(ChannelName, Vec<String>)>,
}

/// What was found at the place of each pointer.
type Found = Vec<Option<Value>>;

impl Pointers {
    /// Names the places.
    ///
    /// # Errors
    /// [`Error::Setting`] when one is no pointer, or
    /// there is none.
    pub fn parse(list: &[(ChannelName, String)]) -> error::Result<Self> {
        let refuse = |why: String| Err(Error::Setting(format!("pointers: {why}")));
        if list.is_empty() || list.len() > MAX_POINTS {
            let example = "write them as in { \"gps/lat\" = \"/lat\" }";
            return refuse(format!("1 to {MAX_POINTS} of them are needed; {example}"));
        }
        let mut parsed = Vec::with_capacity(list.len());
        for (name, text) in list {
            let Some(tokens) = tokens(text) else {
                return refuse(format!(
                    "{text:?} is no JSON pointer; write it as in /sensors/0/temp \
                     (~1 stands for /, ~0 for ~)"
                ));
            };
            if tokens.len() > MAX_DEPTH {
                return refuse(format!("{text:?} has more than {MAX_DEPTH} levels"));
            }
            parsed.push((name.clone(), tokens));
        }
        Ok(Self { list: parsed })
    }

    /// Reads one document, or several one behind the other, of which the last
    /// ones count, into `points`, which are emptied first. A pointer that finds
    /// nothing, or null, says nothing.
    ///
    /// # Errors
    /// [`BadLine`] when it is longer than [`MAX_DOCUMENT`] or no JSON, or a
    /// pointer leads to an object or a list; then there are no points.
    pub fn read(&self, document: &[u8], points: &mut Points) -> Result<(), BadLine> {
        points.clear();
        let outcome = self.take(document, points);
        if outcome.is_err() {
            points.clear();
        }
        outcome
    }

    fn take(&self, document: &[u8], points: &mut Points) -> Result<()> {
        if document.len() > MAX_DOCUMENT {
            return refuse(format!("longer than {MAX_DOCUMENT} bytes; print a shorter document"));
        }
        let mut found: Found = vec![None; self.list.len()];
        let mut json = serde_json::Deserializer::from_slice(document);
        while json.end().is_err() {
            let all = (0..self.list.len()).collect();
            let place = Place { pointers: self, depth: 0, here: all, found: &mut found };
            place
                .deserialize(&mut json)
                .map_err(|why| BadLine::new(&format!("not JSON that can be taken: {why}")))?;
        }
        for ((name, _), value) in self.list.iter().zip(found) {
            let Some(value) = value.filter(|value| !value.is_null()) else { continue };
            points.name(name.as_str())?;
            points.push(value, Stamp::Arrival)?;
        }
        Ok(())
    }
}

/// The reference tokens of a pointer (RFC 6901 sections 3 and 4).
fn tokens(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let unescape = |token: &str| {
        let mut tildes = token.split('~').skip(1);
        let good = tildes.all(|behind| behind.starts_with(['0', '1']));
        good.then(|| token.replace("~1", "/").replace("~0", "~"))
    };
    text.strip_prefix('/')?.split('/').map(unescape).collect()
}

/// A place in a document, and the pointers that lead to it or through it.
struct Place<'a> {
    pointers: &'a Pointers,
    depth: usize,
    here: Vec<usize>,
    found: &'a mut Found,
}

impl Place<'_> {
    /// The pointers that go on with a token for which this holds.
    fn through(&self, is_it: impl Fn(&str) -> bool) -> Vec<usize> {
        let goes = |&&at: &&usize| {
            self.pointers.list[at].1.get(self.depth).is_some_and(|token| is_it(token))
        };
        self.here.iter().filter(goes).copied().collect()
    }

    fn below(&mut self, here: Vec<usize>) -> Place<'_> {
        Place { pointers: self.pointers, depth: self.depth + 1, here, found: self.found }
    }

    /// The pointers that end here.
    fn ends(&self) -> impl Iterator<Item = usize> {
        self.here.iter().copied().filter(|&at| self.pointers.list[at].1.len() == self.depth)
    }

    fn set<E>(self, value: Option<&Value>) -> Result<(), E> {
        let Self { pointers, depth, here, found } = self;
        for at in here.into_iter().filter(|&at| pointers.list[at].1.len() == depth) {
            found[at] = value.cloned();
        }
        Ok(())
    }

    /// What has parts cannot be the value of a channel.
    fn check<E: serde::de::Error>(&self, what: &str) -> Result<(), E> {
        let Some(at) = self.ends().next() else { return Ok(()) };
        let name = &self.pointers.list[at].0;
        Err(E::custom(format!("{name} is {what}; let its pointer lead to a value in it")))
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.set(None)
    }

    fn visit_bool<E>(self, on: bool) -> Result<(), E> {
        self.set(Some(&on.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.set(Some(&number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.set(Some(&(number as f64).into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.set(Some(&number.into()))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if self.ends().next().is_none() {
            return Ok(());
        }
        let value = checked_text(text).map_err(E::custom)?;
        self.set(Some(&value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.check("a list")?;
        for number in 0_usize.. {
            let number = number.to_string();
            let through = self.through(|token| token == number);
            let more = if through.is_empty() {
                list.next_element::<IgnoredAny>()?.is_some()
            } else {
                list.next_element_seed(self.below(through))?.is_some()
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.check("an object")?;
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            let through = self.through(|token| token == key);
            if through.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(self.below(through))?;
            }
        }
        Ok(())
    }
}
