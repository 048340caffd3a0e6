//! What a board's topics carry, as `docs/mqtt.md` specifies it.
//!
//! ```text
//! …/data      {"type":"data","epoch":"9f…","after":1041,"seq":1042,"t":1763796001.118,"values":{"cpu/usage":13.1}}
//! …/data      {"type":"gap","epoch":"9f…","from":1044,"to":1190}
//! …/channels  {"type":"channels","device":"pi-kitchen","epoch":"9f…","seq":1042,"time":1763796001.2,"synced":true,"channels":[…]}
//! …/latest    {"type":"data","epoch":"9f…","seq":1042,"t":1763796001.118,"snapshot":true,"values":{"cpu/usage":13.1}}
//! …/value/…   13.1
//! ```

use serde::Serialize;

use super::json::{List, Shown, millis, text, to_vec};
use crate::telemetry::{ChannelState, Value};

/// How every `data` object begins.
const START: &[u8] = br#"{"type":"data","#;

/// What stands behind the type of a `data` object on a topic: whose numbers
/// these are, and what it follows on.
pub(crate) fn origin(epoch: &str, after: Option<u64>) -> String {
    match after {
        Some(after) => format!(r#""epoch":"{epoch}","after":{after},"#),
        None => format!(r#""epoch":"{epoch}","#),
    }
}

/// A `data` object with its origin in it, in parts that are to be joined: the
/// object itself may be shared with others, and is not copied.
pub(crate) fn data<'a>(json: &'a [u8], origin: &'a str) -> [&'a [u8]; 3] {
    match json.strip_prefix(START) {
        Some(rest) => [START, origin.as_bytes(), rest],
        None => [json, &[], &[]],
    }
}

/// The batches `from` to `to` are lost.
pub(crate) fn gap(epoch: &str, from: u64, to: u64) -> String {
    format!(r#"{{"type":"gap","epoch":"{epoch}","from":{from},"to":{to}}}"#)
}

/// Whose channels these are, and as of when.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Source<'a> {
    /// The device's name, as people have given it.
    pub(crate) device: &'a str,
    pub(crate) epoch: &'a str,
    /// The newest batch.
    pub(crate) seq: u64,
    /// The wall clock, in seconds since 1970.
    pub(crate) time: f64,
    /// Whether that clock is known to be right.
    pub(crate) synced: bool,
}

/// All of these channels, in one message.
pub(crate) fn channels(source: Source<'_>, channels: &[&ChannelState]) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'static str,
        #[serde(flatten)]
        source: Source<'a>,
        channels: List<'a>,
    }
    let source = Source { time: millis(source.time), ..source };
    text(to_vec(&Message { r#type: "channels", source, channels: List(channels) }))
}

/// A channel's latest value by itself: a number, `true` or `false`, a text
/// without quotes; `None` when it has none.
pub(crate) fn plain(state: &ChannelState) -> Option<String> {
    match &state.value {
        Value::Null => None,
        Value::Text(text) => Some(text.to_string()),
        value => Some(text(to_vec(&Shown(value, &state.channel)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        telemetry::{Batch, BootTime, Channel, Hub, HubSettings},
        wire::json,
    };

    #[test]
    fn a_data_object_has_its_origin_behind_its_type() {
        let hub = Hub::new(HubSettings::default());
        let publisher = hub.publisher("test");
        let id = publisher.channel(Channel::gauge("a").expect("valid")).expect("declared");
        let mut batch = Batch::at(BootTime::default());
        batch.set(id, 1.5);
        let object = json::data(7, 1.25, &batch, hub.view().channels(), |_| true);
        let joined = |after| data(object.as_bytes(), &origin("9f", after)).concat();
        assert_eq!(
            String::from_utf8(joined(Some(6))).expect("UTF-8"),
            r#"{"type":"data","epoch":"9f","after":6,"seq":7,"t":1.25,"values":{"a":1.5}}"#
        );
        assert!(joined(None).starts_with(br#"{"type":"data","epoch":"9f","seq":7,"#));
        // The latest of all begins the same way, in parts and in one piece.
        let view = hub.view();
        let all: Vec<_> = view.channels().iter().collect();
        let latest = json::latest(7, &all, |_| 1.0);
        let parts = json::newest(7, true, view.channels().iter(), |_| 1.0);
        for object in [&latest, &parts[0]] {
            let joined = data(object.as_bytes(), &origin("9f", None)).concat();
            let read: serde_json::Value = serde_json::from_slice(&joined).expect("JSON");
            assert_eq!((&read["epoch"], &read["snapshot"]), (&"9f".into(), &true.into()));
        }
    }

    #[test]
    fn channels_say_whose_they_are_and_values_stand_alone() {
        let hub = Hub::new(HubSettings::default());
        let publisher = hub.publisher("test");
        for (name, value, expected) in [
            ("number", Value::from(48.25), Some("48.25")),
            ("whole", Value::from(3.0), Some("3")),
            ("truth", true.into(), Some("true")),
            ("text", "on \"air\"".into(), Some("on \"air\"")),
            ("none", Value::Null, None),
        ] {
            let id = publisher.channel(Channel::gauge(name).expect("valid")).expect("declared");
            publisher.set(id, value);
            let view = hub.view();
            assert_eq!(plain(&view.channels()[id.get() as usize]).as_deref(), expected);
        }
        let view = hub.view();
        let all: Vec<_> = view.channels().iter().collect();
        let (device, epoch) = ("p\"i", "9f");
        let source = Source { device, epoch, seq: 9, time: 1.23456, synced: true };
        let text = channels(source, &all[..1]);
        let start = r#"{"type":"channels","device":"p\"i","epoch":"9f","seq":9,"time":1.235,"synced":true,"channels":[{"id":0,"name":"number","#;
        assert!(text.starts_with(start), "{text}");
        assert_eq!(gap("9f", 3, 8), r#"{"type":"gap","epoch":"9f","from":3,"to":8}"#);
    }
}
