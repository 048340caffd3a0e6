//! The JSON messages, as `docs/protocol.md` specifies them.
//!
//! ```text
//! {"type":"hello","version":1,"device":"pi-kitchen","epoch":"9f…","seq":1041,"time":1763796000.12,…}
//! {"type":"data","seq":1041,"t":1763796001.118,"snapshot":true,"values":{"cpu/usage":12.5}}
//! {"type":"data","seq":1042,"t":1763796002.118,"values":{"cpu/usage":13.1}}
//! {"type":"data","seq":1043,"t":1763796003.1,"dt":[0,0.001],"values":{"imu/ax":[0.01,0.02]}}
//! {"type":"channels","channels":[…]}
//! {"type":"gap","from":1044,"to":1190}
//! ```

use std::io::Write;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap, SerializeSeq},
};

use super::subscribe::{self, Subscription};
use crate::{
    error::Error,
    telemetry::{
        Batch, BootTime, Channel, ChannelId, ChannelState, Filter, Filters, Origin, Status, Value,
        What,
    },
};

/// A part of a list of channels or values is not made larger than this, so
/// that a board with very many channels sends short frames.
pub const PART_BYTES: usize = 16 * 1024;

/// What `hello` says beside the channels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hello<'a> {
    /// The version of the protocol: 1.
    pub version: u32,
    /// The device's name.
    pub device: &'a str,
    /// New at each start.
    pub epoch: &'a str,
    /// The newest batch; the snapshot that follows has this number.
    pub seq: u64,
    /// Wall clock, in seconds since 1970.
    pub time: f64,
    /// Whether the wall clock is known to be right.
    pub synced: bool,
    /// After how many seconds without anything a `heartbeat` comes.
    pub heartbeat: u64,
    /// Whether this client may publish.
    pub may_publish: bool,
    /// Whether the server speaks for many boards.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fleet: bool,
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serialize_number(*number, serializer),
            Self::Bool(on) => serializer.serialize_bool(*on),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Null => serializer.serialize_unit(),
        }
    }
}

/// A whole number is written without ".0": shorter, and the same to JSON.
pub(super) fn serialize_number<S: Serializer>(
    number: f64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    if number.fract() == 0.0 && number.abs() <= EXACT {
        serializer.serialize_i64(number as i64)
    } else {
        serializer.serialize_f64(number)
    }
}

/// Readings with the digits that their channel's precision has: of one that is
/// single, as few as tell its readings apart.
pub(super) struct Shown<'a, T: ?Sized>(pub(super) &'a T, pub(super) &'a Channel);

impl Serialize for Shown<'_, Value> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let single = self.0.as_f64().and_then(|number| self.1.as_single(number));
        match single {
            Some(single) if single.fract() != 0.0 => serializer.serialize_f32(single),
            Some(single) => serialize_number(single.into(), serializer),
            None => self.0.serialize(serializer),
        }
    }
}

impl Serialize for Shown<'_, [Value]> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|value| Shown(value, self.1)))
    }
}

/// A channel's description on the wire.
struct Description<'a>(&'a ChannelState);

impl Serialize for Description<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ChannelState { id, channel, source, status, .. } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &id.get())?;
        map.serialize_entry("name", channel.name.as_str())?;
        map.serialize_entry("kind", channel.kind.as_str())?;
        if let Some(unit) = &channel.unit {
            map.serialize_entry("unit", unit)?;
        }
        if let Some(label) = &channel.label {
            map.serialize_entry("label", label)?;
        }
        if let Some(min) = channel.min {
            map.serialize_entry("min", &Value::from(min))?;
        }
        if let Some(max) = channel.max {
            map.serialize_entry("max", &Value::from(max))?;
        }
        if let Some(time) = channel.stale_after {
            map.serialize_entry("stale_after", &Value::from(time.as_secs_f64()))?;
        }
        map.serialize_entry("source", &**source)?;
        map.serialize_entry("status", status.as_str())?;
        if let Status::Error(reason) = status {
            map.serialize_entry("reason", &**reason)?;
        }
        map.end()
    }
}

/// Lists of descriptions, each list of at most [`PART_BYTES`] or one channel.
struct Parts<'a> {
    parts: Vec<Vec<&'a ChannelState>>,
}

impl<'a> Parts<'a> {
    fn of(channels: impl Iterator<Item = &'a ChannelState>) -> Self {
        let mut parts = vec![Vec::new()];
        let mut bytes = 0;
        for channel in channels {
            let size = to_vec(&Description(channel)).len() + 1;
            if bytes + size > PART_BYTES && bytes > 0 {
                parts.push(Vec::new());
                bytes = 0;
            }
            bytes += size;
            if let Some(part) = parts.last_mut() {
                part.push(channel);
            }
        }
        Self { parts }
    }
}

pub(super) struct List<'a>(pub(super) &'a [&'a ChannelState]);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for channel in self.0 {
            list.serialize_element(&Description(channel))?;
        }
        list.end()
    }
}

/// `hello` with the first channels; the rest follow as `channels` messages.
pub fn hello<'a>(
    hello: &Hello<'_>,
    channels: impl Iterator<Item = &'a ChannelState>,
) -> Vec<String> {
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'static str,
        #[serde(flatten)]
        hello: &'a Hello<'a>,
        channels: List<'a>,
    }
    let parts = Parts::of(channels).parts;
    let first = parts.first().map_or(&[][..], |part| part);
    let message = Message { r#type: "hello", hello, channels: List(first) };
    let rest = parts.iter().skip(1).map(|part| channels_message(part));
    std::iter::once(text(to_vec(&message))).chain(rest).collect()
}

/// The `channels` messages for these channels; none for none.
pub fn channels<'a>(channels: impl Iterator<Item = &'a ChannelState>) -> Vec<String> {
    let parts = Parts::of(channels).parts;
    parts.iter().filter(|part| !part.is_empty()).map(|part| channels_message(part)).collect()
}

fn channels_message(part: &[&ChannelState]) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'static str,
        channels: List<'a>,
    }
    text(to_vec(&Message { r#type: "channels", channels: List(part) }))
}

/// The body of `/api/channels`.
pub fn channel_list(device: &str, epoch: &str, channels: &[ChannelState]) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        device: &'a str,
        epoch: &'a str,
        channels: List<'a>,
    }
    let all: Vec<_> = channels.iter().collect();
    text(to_vec(&Message { device, epoch, channels: List(&all) }))
}

/// The selected columns of one batch. `start` is the wall time of its first row.
pub fn data(
    seq: u64,
    start: f64,
    batch: &Batch,
    channels: &[ChannelState],
    select: impl Fn(ChannelId) -> bool,
) -> String {
    data_of(None, seq, start, batch, channels, &select)
}

/// As [`data`]: of a device, where the server speaks for many.
pub(super) fn data_of(
    origin: Option<&Origin>,
    seq: u64,
    start: f64,
    batch: &Batch,
    channels: &[ChannelState],
    select: &dyn Fn(ChannelId) -> bool,
) -> String {
    struct Values<'a>(&'a Batch, &'a [ChannelState], &'a dyn Fn(ChannelId) -> bool);
    impl Serialize for Values<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            for (id, values) in self.0.columns().filter(|column| (self.2)(column.0)) {
                let Some(state) = ChannelState::find(self.1, id) else { continue };
                let name = state.channel.name.as_str();
                match values {
                    [value] => map.serialize_entry(name, &Shown(value, &state.channel))?,
                    values => map.serialize_entry(name, &Shown(values, &state.channel))?,
                }
            }
            map.end()
        }
    }
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        device: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: Option<&'a str>,
        seq: u64,
        t: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        dt: Option<Vec<Value>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        snapshot: Option<bool>,
        values: Values<'a>,
    }
    let dt = (batch.rows() > 1)
        .then(|| batch.offsets().map(|offset| Value::from(offset.as_secs_f64())).collect());
    let t = millis(start);
    let values = Values(batch, channels, select);
    let device = origin.map(|origin| &*origin.run.name);
    let epoch = origin.map(|origin| &*origin.run.epoch);
    let snapshot = origin.and_then(|origin| (origin.what == What::Snapshot).then_some(true));
    text(to_vec(&Message { r#type: "data", device, epoch, seq, t, dt, snapshot, values }))
}

/// The newest values of channels, as `data` messages with the same `seq`; at
/// least one, even when there is no value. Each but the last says that `more`
/// follow. With `snapshot` they are the latest of all that a client selects,
/// otherwise of those that changed.
pub fn newest<'a>(
    seq: u64,
    snapshot: bool,
    channels: impl Iterator<Item = &'a ChannelState> + Clone,
    wall_of: impl Fn(BootTime) -> f64,
) -> Vec<String> {
    let with_value = channels.filter(|state| !state.value.is_null());
    let newest = with_value.clone().map(|state| state.at).max();
    let t = millis(wall_of(newest.unwrap_or_default()));
    newest_of("", seq, t, snapshot, &mut { with_value })
}

/// As [`newest`], with what stands before `seq`, of channels that have a value.
pub(super) fn newest_of(
    whose: &str,
    seq: u64,
    t: f64,
    snapshot: bool,
    with_value: &mut dyn Iterator<Item = &ChannelState>,
) -> Vec<String> {
    let flag = if snapshot { r#""snapshot":true,"# } else { "" };
    let begin = |part: &mut Vec<u8>| {
        // Writing to memory cannot fail, here and below.
        let _ = write!(part, r#"{{"type":"data",{whose}"seq":{seq},"t":{t},{flag}"values":{{"#);
        part.len()
    };
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut empty = begin(&mut part);
    for state in with_value {
        let entry =
            (to_vec(state.channel.name.as_str()), to_vec(&Shown(&state.value, &state.channel)));
        if part.len() > empty && part.len() + entry.0.len() + entry.1.len() > PART_BYTES {
            part.extend_from_slice(br#"},"more":true}"#);
            parts.push(text(std::mem::take(&mut part)));
            empty = begin(&mut part);
        }
        if part.len() > empty {
            part.push(b',');
        }
        part.extend_from_slice(&entry.0);
        part.push(b':');
        part.extend_from_slice(&entry.1);
    }
    part.extend_from_slice(b"}}");
    parts.push(text(part));
    parts
}

/// The body of `/api/latest`: a snapshot in one piece.
pub fn latest(seq: u64, channels: &[&ChannelState], wall_of: impl Fn(BootTime) -> f64) -> String {
    struct Values<'a>(&'a [&'a ChannelState]);
    impl Serialize for Values<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let with_value = self.0.iter().filter(|state| !state.value.is_null());
            serializer.collect_map(
                with_value.map(|s| (s.channel.name.as_str(), Shown(&s.value, &s.channel))),
            )
        }
    }
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'static str,
        seq: u64,
        t: f64,
        snapshot: bool,
        values: Values<'a>,
    }
    let newest = channels.iter().filter(|state| !state.value.is_null()).map(|state| state.at).max();
    let t = millis(wall_of(newest.unwrap_or_default()));
    text(to_vec(&Message { r#type: "data", seq, t, snapshot: true, values: Values(channels) }))
}

/// The batches `from` to `to` did not reach this client.
pub fn gap(from: u64, to: u64) -> String {
    format!(r#"{{"type":"gap","from":{from},"to":{to}}}"#)
}

/// What a client gets from here on.
pub fn subscribed(
    filters: &Filters,
    max_hz: Option<f64>,
    recovered: bool,
    id: Option<&serde_json::Value>,
) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'static str,
        channels: Vec<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_hz: Option<Value>,
        recovered: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a serde_json::Value>,
    }
    let channels = filters.iter().map(Filter::as_str).collect();
    let max_hz = max_hz.map(Value::from);
    text(to_vec(&Message { r#type: "subscribed", channels, max_hz, recovered, id }))
}

/// The wall clock was set by `step` seconds and says `time` now.
pub fn clock(step: f64, time: f64, synced: bool) -> String {
    let (step, time) = (millis(step), millis(time));
    format!(r#"{{"type":"clock","step":{step},"time":{time},"synced":{synced}}}"#)
}

/// Nothing else was sent for a while; `seq` is this client's cursor.
pub fn heartbeat(seq: u64, time: f64) -> String {
    format!(r#"{{"type":"heartbeat","seq":{seq},"time":{}}}"#, millis(time))
}

/// The answer to a client's `ping`.
pub fn pong(id: Option<&serde_json::Value>, time: f64) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a serde_json::Value>,
        time: f64,
    }
    text(to_vec(&Message { r#type: "pong", id, time: millis(time) }))
}

/// What a client published has been taken.
pub fn published(id: Option<&serde_json::Value>) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a serde_json::Value>,
    }
    text(to_vec(&Message { r#type: "published", id }))
}

/// Something that a client asked cannot be done.
pub fn error(code: &str, message: &str, id: Option<&serde_json::Value>) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'static str,
        code: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a serde_json::Value>,
    }
    text(to_vec(&Message { r#type: "error", code, message, id }))
}

/// What a client's message asks.
#[derive(Debug, PartialEq)]
pub enum Ask {
    /// `{"type":"ping","id":7}`.
    Ping {
        /// Comes back in the answer.
        id: Option<serde_json::Value>,
    },
    /// `{"type":"subscribe",…}`.
    Subscribe {
        /// What it wants to see.
        subscription: Subscription,
        /// Comes back in the answer.
        id: Option<serde_json::Value>,
    },
    /// `{"type":"publish",…}`.
    Publish {
        /// Comes back in the answer; the values are read by
        /// [`line::publish_message`](super::line::publish_message).
        id: Option<serde_json::Value>,
    },
    /// Something that cannot be served; the `error` to answer.
    Unknown(String),
}

/// The longest text that is taken as an id, in bytes: it comes back as it is.
const MAX_ID: usize = 64;

/// A number or a short text. Everything else is skipped without being built:
/// a tree of a stranger's depth has no place on a connection's small stack.
#[derive(Default)]
struct Id(Option<serde_json::Value>);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor)
    }
}

struct IdVisitor;

impl<'de> Visitor<'de> for IdVisitor {
    type Value = Id;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an id")
    }
    fn visit_u64<E>(self, id: u64) -> Result<Id, E> {
        Ok(Id(Some(id.into())))
    }
    fn visit_i64<E>(self, id: i64) -> Result<Id, E> {
        Ok(Id(Some(id.into())))
    }
    fn visit_f64<E>(self, id: f64) -> Result<Id, E> {
        Ok(Id(Some(id.into())))
    }
    fn visit_str<E>(self, id: &str) -> Result<Id, E> {
        Ok(Id((id.len() <= MAX_ID).then(|| id.into())))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Id, E> {
        Ok(Id(None))
    }
    fn visit_unit<E>(self) -> Result<Id, E> {
        Ok(Id(None))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Id, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Id(None))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Id, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Id(None))
    }
}

/// Understands one text message of a client.
pub fn ask(text: &str) -> Ask {
    #[derive(Deserialize)]
    struct Message {
        r#type: String,
        #[serde(default)]
        id: Id,
    }
    let message: Message = match serde_json::from_str(text) {
        // serde takes a list of the same fields, too.
        Ok(_) if text.trim_ascii_start().starts_with('[') => {
            let sentence = "not a message: a list; send an object with a type";
            return Ask::Unknown(error("bad_message", sentence, None));
        }
        Ok(message) => message,
        Err(why) => {
            let why = subscribe::words(&why);
            let sentence = format!("not a message: {why}; send an object with a type");
            return Ask::Unknown(error("bad_message", &sentence, None));
        }
    };
    let id = message.id.0;
    match message.r#type.as_str() {
        "ping" => Ask::Ping { id },
        "subscribe" => match subscribe::from_message(text) {
            Ok(subscription) => Ask::Subscribe { subscription, id },
            Err(why) => {
                let code = match why {
                    Error::Filter(_) => "bad_filter",
                    _ => "bad_message",
                };
                Ask::Unknown(error(code, &why.to_string(), id.as_ref()))
            }
        },
        "publish" => Ask::Publish { id },
        other => {
            let other: String = other.chars().take(40).collect();
            let sentence = format!("this server knows no message of type {other:?}");
            Ask::Unknown(error("unknown_type", &sentence, id.as_ref()))
        }
    }
}

/// Wall time to the millisecond: more digits say nothing and cost bytes.
pub(super) fn millis(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

pub(super) fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // Our types have string keys and no failing Serialize: nothing to report.
    serde_json::to_vec(value).unwrap_or_default()
}

pub(super) fn text(json: Vec<u8>) -> String {
    // serde_json writes UTF-8; see to_vec.
    String::from_utf8(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::telemetry::{Clock, Hub, HubSettings};

    #[derive(Debug)]
    struct Fixed;

    impl Clock for Fixed {
        fn boot(&self) -> BootTime {
            BootTime::new(Duration::from_secs(100))
        }
        fn wall(&self) -> f64 {
            1_763_796_000.0
        }
        fn synced(&self) -> bool {
            true
        }
    }

    fn hub() -> Hub {
        Hub::with_clock(HubSettings::default(), Arc::new(Fixed))
    }

    fn at(millis: u64) -> BootTime {
        BootTime::new(Duration::from_millis(millis))
    }

    #[test]
    fn one_row_is_an_object_of_values() {
        let hub = hub();
        let publisher = hub.publisher("test");
        let a = publisher.channel(Channel::gauge("cpu/usage").expect("valid")).expect("declared");
        let b = publisher.channel(Channel::state("door").expect("valid")).expect("declared");
        let mut batch = Batch::at(at(101_118));
        batch.set(a, 48.31);
        batch.set(b, "a \"b\"\n");
        let json =
            data(1042, Fixed.wall_of(batch.start()), &batch, hub.view().channels(), |_| true);
        assert_eq!(
            json,
            r#"{"type":"data","seq":1042,"t":1763796001.118,"values":{"cpu/usage":48.31,"door":"a \"b\"\n"}}"#
        );
    }

    #[test]
    fn many_rows_are_columns_and_what_is_missing_is_null() {
        let hub = hub();
        let publisher = hub.publisher("test");
        let ax = publisher.channel(Channel::gauge("imu/ax").expect("valid")).expect("declared");
        let steps = [1, 2].map(Duration::from_millis).to_vec();
        let mut batch = Batch::rows_at(at(100_000), steps);
        batch.column(ax, [0.01, f64::NAN, 2.0].map(Value::from));
        let json = data(7, Fixed.wall_of(batch.start()), &batch, hub.view().channels(), |_| true);
        assert_eq!(
            json,
            r#"{"type":"data","seq":7,"t":1763796000.0,"dt":[0,0.001,0.002],"values":{"imu/ax":[0.01,null,2]}}"#
        );
    }

    #[test]
    fn a_reading_of_single_precision_has_no_digits_that_mean_nothing() {
        let hub = hub();
        let publisher = hub.publisher("test");
        let single = |name: &str| Channel::gauge(name).expect("valid").single_precision();
        let a = publisher.channel(single("a")).expect("declared");
        let b = publisher.channel(single("b")).expect("declared");
        let mut batch = Batch::rows_at(at(100_000), vec![Duration::from_millis(1)]);
        batch.column(a, [f64::from(0.1_f32), 9.81].map(Value::from));
        batch.column(b, [16_777_216.0, 1e300].map(Value::from));
        let json = data(1, Fixed.wall_of(batch.start()), &batch, hub.view().channels(), |_| true);
        assert!(json.ends_with(r#""values":{"a":[0.1,9.81],"b":[16777216,1e+300]}}"#), "{json}");
        let mut batch = Batch::at(at(100_002));
        batch.set(a, f64::from(0.1_f32));
        let seq = publisher.publish(batch);
        let view = hub.view();
        let last = latest(seq, &view.channels().iter().collect::<Vec<_>>(), |at| Fixed.wall_of(at));
        assert!(last.ends_with(r#""values":{"a":0.1}}"#), "{last}");
        assert_eq!(newest(seq, true, view.channels().iter(), |at| Fixed.wall_of(at)), [last]);
    }

    #[test]
    fn hello_describes_and_the_snapshot_has_the_latest() {
        let hub = hub();
        let publisher = hub.publisher("test");
        let channel = Channel::gauge("cpu/usage").expect("valid").unit("%").range(0.0, 100.0);
        let id = publisher.channel(channel).expect("declared");
        let mut batch = Batch::at(at(100_500));
        batch.set(id, 12.0);
        let seq = publisher.publish(batch);
        publisher.fail(id, "no such file");
        let head = Hello {
            version: 1,
            device: "pi",
            epoch: "9f",
            seq,
            time: 1_763_796_000.12,
            synced: true,
            heartbeat: 15,
            may_publish: false,
            fleet: false,
        };
        let view = hub.view();
        assert_eq!(
            hello(&head, view.channels().iter()),
            [
                r#"{"type":"hello","version":1,"device":"pi","epoch":"9f","seq":1,"time":1763796000.12,"synced":true,"heartbeat":15,"may_publish":false,"channels":[{"id":0,"name":"cpu/usage","kind":"gauge","unit":"%","min":0,"max":100,"source":"test","status":"error","reason":"no such file"}]}"#
            ]
        );
        let expected =
            r#"{"type":"data","seq":1,"t":1763796000.5,"snapshot":true,"values":{"cpu/usage":12}}"#;
        assert_eq!(newest(seq, true, view.channels().iter(), |at| Fixed.wall_of(at)), [expected]);
        assert_eq!(
            latest(seq, &view.channels().iter().collect::<Vec<_>>(), |at| Fixed.wall_of(at)),
            expected
        );
    }

    #[test]
    fn a_thousand_channels_come_in_short_parts_and_each_once() {
        let hub = hub();
        let publisher = hub.publisher("test");
        let mut batch = Batch::at(at(100_000));
        for number in 0..1000 {
            let channel = Channel::gauge(&format!("group/{number}")).expect("valid");
            let id = publisher.channel(channel.label("x".repeat(20))).expect("declared");
            batch.set(id, f64::from(number));
        }
        publisher.publish(batch);
        let view = hub.view();
        let parts = channels(view.channels().iter());
        assert!(parts.len() > 5 && parts.iter().all(|part| part.len() < PART_BYTES + 64));
        let count: usize = parts.iter().map(|part| part.matches("\"id\":").count()).sum();
        assert_eq!(count, 1000);
        assert!(channels(std::iter::empty()).is_empty());
        let parts = newest(1, true, view.channels().iter(), |at| Fixed.wall_of(at));
        assert!(parts.iter().all(|part| part.len() < PART_BYTES + 64));
        let names: usize = parts.iter().map(|part| part.matches("group/").count()).sum();
        assert_eq!(names, 1000);
        let more: Vec<_> = parts.iter().map(|part| part.ends_with(r#","more":true}"#)).collect();
        assert!(!more[parts.len() - 1] && more[..parts.len() - 1].iter().all(|&more| more));
        for part in &parts {
            serde_json::from_str::<serde_json::Value>(part).expect("valid JSON");
        }
    }

    #[test]
    fn what_is_not_understood_gets_an_error_with_the_id() {
        assert_eq!(ask(r#"{"type":"ping","id":7}"#), Ask::Ping { id: Some(7.into()) });
        let Ask::Unknown(answer) = ask(r#"{"type":"dance","id":"x"}"#) else { panic!("known") };
        assert!(answer.contains(r#""code":"unknown_type""#) && answer.contains(r#""id":"x""#));
        let long = format!(r#"{{"type":"subscribe","channels":[],"{}":1}}"#, "x".repeat(9000));
        let list = r#"["ping",7]"#;
        for bad in ["", "7", "[]", "{}", r#"{"type":7}"#, &"[".repeat(10_000), list, &long] {
            let Ask::Unknown(answer) = ask(bad) else { panic!("{bad} was understood") };
            assert!(answer.contains("bad_message") && answer.len() < 500, "{answer}");
        }
        let long = format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(65));
        for odd in
            [long.as_str(), r#"{"type":"ping","id":[1,{"a":2}]}"#, r#"{"type":"ping","id":null}"#]
        {
            assert_eq!(ask(odd), Ask::Ping { id: None });
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = |open: &str, close: &str| {
            let (open, close) = (open.repeat(8000), close.repeat(8000));
            [
                format!(r#"{{"type":"ping","id":{open}1{close}}}"#),
                format!(r#"{{"x":{open}1{close},"type":"ping"}}"#),
                format!(r#"{{"type":{open}1{close}}}"#),
                format!("{open}1{close}"),
            ]
        };
        let texts = [deep(r#"{"a":"#, "}"), deep("[", "]")].concat();
        let small = std::thread::Builder::new().stack_size(64 * 1024);
        let asking = small.spawn(move || texts.iter().for_each(|text| drop(ask(text))));
        asking.expect("a thread").join().expect("no overflow");
    }
}
