//! What a client asks to see: in the query of `/ws`, or in a `subscribe`.
//!
//! ```text
//! /ws?channels=cpu/%23,+/temperature&max_hz=5&since=9f86d081884c7d65:1041
//! {"type":"subscribe","channels":["cpu/#"],"max_hz":5,"since":{"epoch":"9f86d081884c7d65","seq":1041},"id":7}
//! ```

use std::{borrow::Cow, collections::HashMap, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

use super::query;
use crate::{
    error::{Error, Result},
    telemetry::Filters,
};

/// What one client wants to see, how often, and from where on.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// The channels.
    pub filters: Filters,
    /// At most so often; `None`: every batch.
    pub pace: Option<Pace>,
    /// The last batch that the client has.
    pub since: Option<Since>,
    /// The same where the server speaks for many boards: of each device.
    pub places: Option<Places>,
}

impl Subscription {
    /// Every batch of all channels, from a place on.
    pub fn all_since(since: Since) -> Self {
        Self { filters: Filters::all(), pace: None, since: Some(since), places: None }
    }
}

/// The last batch that a client has of each device.
pub type Places = HashMap<String, Since>;

/// A place in a board's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    /// Of which start of the program.
    pub epoch: String,
    /// The number of the batch.
    pub seq: u64,
}

/// How often a client wants to hear: a period of whole milliseconds, from 10
/// milliseconds to 1,000 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(Duration);

impl Pace {
    /// The pace that comes nearest to so many messages a second.
    ///
    /// # Errors
    /// [`Error::Setting`] when that is no number above 0.
    pub fn from_hz(hz: f64) -> Result<Self> {
        if !hz.is_finite() || hz <= 0.0 {
            return Err(Error::Setting("max_hz is a number above 0, as in 5 or 0.2".into()));
        }
        let millis = (1000.0 / hz.clamp(0.001, 100.0)).round();
        Ok(Self(Duration::from_millis(millis as u64)))
    }

    /// Messages a second.
    pub fn hz(self) -> f64 {
        1.0 / self.0.as_secs_f64()
    }

    /// The time from one message to the next.
    pub fn period(self) -> Duration {
        self.0
    }
}

/// Reads the query of `/ws` and `/events`; `None` when it asks for nothing in particular.
/// Without `channels` it is for all.
///
/// # Errors
/// [`Error::Filter`] or [`Error::Setting`] says what to write instead.
pub fn from_query(text: &str) -> Result<Option<Subscription>> {
    let mut asked = Subscription { filters: Filters::all(), pace: None, since: None, places: None };
    let mut some = false;
    for (name, value) in query::pairs(text) {
        match &*name {
            "channels" => asked.filters = Filters::parse_list(&value)?,
            // What is no number is no number above 0, either.
            "max_hz" => asked.pace = Some(Pace::from_hz(value.parse().unwrap_or(f64::NAN))?),
            "since" => asked.since = Some(since(&value)?),
            // For boards that ask for one; this one does not.
            "token" => continue,
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(Error::Setting(format!(
                    "a stream knows no {other:?}; it takes channels, max_hz and since"
                )));
            }
        }
        some = true;
    }
    Ok(some.then_some(asked))
}

/// Reads a place, as in `9f86d081884c7d65:1041`.
///
/// # Errors
/// [`Error::Setting`] says what it looks like.
pub fn since(text: &str) -> Result<Since> {
    let place = text
        .split_once(':')
        .and_then(|(epoch, seq)| Some(Since { epoch: epoch.to_owned(), seq: seq.parse().ok()? }));
    let hint = "since is EPOCH:SEQ, of the hello and of the last data that came";
    place.ok_or_else(|| Error::Setting(hint.into()))
}

/// Reads a `subscribe` message.
///
/// # Errors
/// [`Error::Filter`] or [`Error::Setting`] says what to write instead.
pub fn from_message(text: &str) -> Result<Subscription> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Message<'a> {
        #[serde(rename = "type")]
        _type: IgnoredAny,
        #[serde(rename = "id", default)]
        _id: IgnoredAny,
        #[serde(borrow)]
        channels: Vec<Cow<'a, str>>,
        max_hz: Option<f64>,
        since: Option<Where>,
    }
    let message: Message<'_> = serde_json::from_str(text).map_err(|why| {
        let example = r#"{"type":"subscribe","channels":["cpu/#"],"max_hz":5}"#;
        Error::Setting(format!("{}; write it as in {example}", words(&why)))
    })?;
    let (since, places) = match message.since {
        Some(Where::One(since)) => (Some(since), None),
        Some(Where::Each(places)) => (None, Some(places)),
        None => (None, None),
    };
    Ok(Subscription {
        filters: Filters::parse(&message.channels)?,
        pace: message.max_hz.map(Pace::from_hz).transpose()?,
        since,
        places,
    })
}

/// A place in one stream, or one for each device.
enum Where {
    One(Since),
    Each(Places),
}

impl<'de> Deserialize<'de> for Where {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WhereVisitor)
    }
}

struct WhereVisitor;

/// What may stand behind a name in `since`: a device may be called `epoch`.
enum Part {
    Epoch(String),
    Seq(u64),
    Place(Since),
}

impl<'de> Visitor<'de> for WhereVisitor {
    type Value = Where;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"{"epoch":"…","seq":1}, or one of these for each device"#)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Where, A::Error> {
        let (mut epoch, mut seq, mut places) = (None, None, Places::new());
        while let Some(name) = map.next_key::<String>()? {
            match map.next_value::<Part>()? {
                Part::Epoch(text) if name == "epoch" => epoch = Some(text),
                Part::Seq(number) if name == "seq" => seq = Some(number),
                Part::Place(place) => drop(places.insert(name, place)),
                _ => return Err(A::Error::custom("since has an epoch and a seq")),
            }
        }
        match (epoch, seq) {
            (Some(epoch), Some(seq)) if places.is_empty() => Ok(Where::One(Since { epoch, seq })),
            (None, None) => Ok(Where::Each(places)),
            _ => Err(A::Error::custom("since has an epoch and a seq")),
        }
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartVisitor)
    }
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an epoch, a seq, or both for a device")
    }

    fn visit_str<E>(self, text: &str) -> Result<Part, E> {
        Ok(Part::Epoch(text.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Part, E> {
        Ok(Part::Seq(number))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
        let (mut epoch, mut seq) = (None, None);
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            match &*name {
                "epoch" => epoch = Some(map.next_value()?),
                "seq" => seq = Some(map.next_value()?),
                _ => return Err(A::Error::custom("since has an epoch and a seq")),
            }
        }
        match (epoch, seq) {
            (Some(epoch), Some(seq)) => Ok(Part::Place(Since { epoch, seq })),
            _ => Err(A::Error::custom("since has an epoch and a seq")),
        }
    }
}

/// What serde says of a stranger's message. It quotes what the stranger wrote,
/// as long as that is.
pub(super) fn words(why: &serde_json::Error) -> String {
    super::line::BadLine::new(&why.to_string()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_and_a_message_say_the_same() {
        let query = from_query("channels=cpu/%23,+/temperature&max_hz=5&since=9f:1041&token=x");
        let message = from_message(
            r#"{"type":"subscribe","channels":["+/temperature","cpu/#"],"max_hz":5.0,
                "since":{"epoch":"9f","seq":1041},"id":[7]}"#,
        );
        let expected = Subscription {
            filters: Filters::parse(["cpu/#", "+/temperature"]).expect("valid"),
            pace: Some(Pace(Duration::from_millis(200))),
            since: Some(Since { epoch: "9f".into(), seq: 1041 }),
            places: None,
        };
        assert_eq!(query.expect("valid"), Some(expected.clone()));
        assert_eq!(message.expect("valid"), expected);
    }

    #[test]
    fn a_place_is_one_or_one_for_each_device() {
        let read = |since: &str| {
            from_message(&format!(r#"{{"type":"subscribe","channels":[],"since":{since}}}"#))
        };
        let place = |epoch: &str, seq| Since { epoch: epoch.into(), seq };
        let each = read(r#"{"pi1":{"epoch":"9f","seq":4},"epoch":{"seq":0,"epoch":"a"}}"#);
        let expected = [("pi1".to_owned(), place("9f", 4)), ("epoch".to_owned(), place("a", 0))];
        assert_eq!(each.expect("valid").places, Some(expected.into()));
        let one = read(r#"{"seq":7,"epoch":"9f"}"#).expect("valid");
        assert_eq!((one.since, one.places), (Some(place("9f", 7)), None));
        assert_eq!(read("{}").expect("valid").places, Some(Places::new()));
        for bad in [
            "7",
            r#"{"epoch":"9f"}"#,
            r#"{"epoch":"9f","seq":-1}"#,
            r#"{"epoch":"9f","seq":1,"pi1":{"epoch":"9f","seq":4}}"#,
            r#"{"pi1":{"epoch":"9f"}}"#,
            r#"{"pi1":{"epoch":"9f","seq":1,"x":1}}"#,
            r#"{"pi1":[]}"#,
        ] {
            read(bad).expect_err(bad);
        }
    }

    #[test]
    fn what_is_left_out_means_everything() {
        assert_eq!(from_query("").expect("valid"), None);
        assert_eq!(from_query("token=secret").expect("valid"), None);
        let resumed = from_query("since=9f:0").expect("valid").expect("asked");
        assert_eq!((resumed.filters, resumed.pace), (Filters::all(), None));
        let nothing = from_query("channels=").expect("valid").expect("asked");
        assert!(nothing.filters.is_empty());
    }

    #[test]
    fn rates_are_clamped_and_rounded_to_milliseconds() {
        for (asked, kept) in [(5.0, 5.0), (1000.0, 100.0), (1e-9, 0.001), (60.0, 1000.0 / 17.0)] {
            let pace = Pace::from_hz(asked).expect("a rate");
            assert!((pace.hz() - kept).abs() < 1e-9, "{asked} becomes {}", pace.hz());
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_what_to_write() {
        for (query, hint) in [
            ("channels=cpu/%23/x", "# may only be the last level"),
            ("max_hz=fast", "max_hz is a number"),
            ("max_hz=0", "max_hz is a number"),
            ("max_hz=NaN", "max_hz is a number"),
            ("since=9f", "EPOCH:SEQ"),
            ("since=9f:-1", "EPOCH:SEQ"),
            ("filter=x", r#"a stream knows no "filter""#),
        ] {
            let error = from_query(query).expect_err(query).to_string();
            assert!(error.contains(hint), "{query}: {error}");
        }
        for message in [
            r#"{"type":"subscribe"}"#,
            r#"{"type":"subscribe","channels":"cpu/#"}"#,
            r#"{"type":"subscribe","channels":[7]}"#,
            r#"{"type":"subscribe","channels":[],"max_hz":"5"}"#,
            r#"{"type":"subscribe","channels":[],"maxHz":5}"#,
            r#"{"type":"subscribe","channels":[],"since":{"seq":1}}"#,
        ] {
            let error = from_message(message).expect_err(message).to_string();
            assert!(error.contains("write it as in"), "{message}: {error}");
        }
        assert!(matches!(
            from_message(r##"{"type":"subscribe","channels":["#/a"]}"##),
            Err(Error::Filter(_))
        ));
    }
}
