//! Anything at all as what the boards of a fleet say: each line is a device's
//! name and a message of it.
//!
//! ```text
//! pi1 {"type":"data","epoch":"9f","seq":1,"t":5,"values":{"a":1}}      as its link has it
//! pi1 !{"type":"data",…}                                               as a broker had kept it
//! pi1 online · pi1 offline · pi1 forgotten · pi1 away
//! ```

use std::{collections::HashMap, sync::Arc, time::Instant};

use serde_json::Value as Json;

use crate::{
    app::{
        viewer::{Encoding, Telemetry, Viewer},
        wishes::Wishes,
    },
    fleet::{Fleet, FleetSettings},
    net::{Cursor as _, Frames},
    telemetry::{BootTime, ChannelName, FleetBounds, Hub, HubSettings},
};

const DEVICES: usize = 3;
const CHANNELS: usize = 4;
const ALL_CHANNELS: usize = 10;

/// What a viewer had last of a device: its epoch and number.
type Places = HashMap<String, (String, u64)>;

/// The bounds hold; a viewer who is there from the first gets JSON with names
/// of the device's own channels, and of one start of a device no number twice,
/// and none after a later one. In the end all are forgotten.
pub fn boards(bytes: &[u8]) {
    let settings = HubSettings {
        ring_bytes: 16 * 1024,
        max_channels: ALL_CHANNELS,
        history_bytes: 0,
        ..HubSettings::default()
    };
    let bounds =
        FleetBounds { devices: DEVICES, channels_each: CHANNELS, ..FleetBounds::default() };
    let hub = Hub::fleet(settings, bounds);
    let fleet = Fleet::new(hub.clone(), &FleetSettings::default());
    let telemetry = Telemetry::new(hub.clone());
    let mut viewer = telemetry.viewer(Encoding::Json, Arc::<Wishes>::default());
    let mut places = Places::new();
    watch(&mut viewer, &mut places);
    for line in bytes.split(|&byte| byte == b'\n') {
        let mut parts = line.splitn(2, |&byte| byte == b' ');
        let Some(name) = parts.next().and_then(|name| std::str::from_utf8(name).ok()) else {
            continue;
        };
        match parts.next() {
            Some(b"online") => fleet.said(name, true),
            Some(b"offline") => fleet.said(name, false),
            Some(b"forgotten") => fleet.forget(name),
            Some(b"away") => fleet.leave(name, "it is away"),
            Some([b'!', text @ ..]) => _ = fleet.hear(name, text, true),
            Some(text) => _ = fleet.hear(name, text, false),
            None => {}
        }
        watch(&mut viewer, &mut places);
        check_bounds(&hub);
    }
    fleet.look(BootTime::new(std::time::Duration::from_secs(1 << 40)));
    watch(&mut viewer, &mut places);
    assert!(hub.view().devices().is_some_and(|devices| devices.list().is_empty()));
    assert_eq!(hub.view().channels().len(), 0);
    // Who comes now sees none of them.
    let mut late = telemetry.viewer(Encoding::Json, Arc::<Wishes>::default());
    watch(&mut late, &mut Places::new());
}

fn check_bounds(hub: &Hub) {
    let view = hub.view();
    let devices = view.devices().expect("a fleet").list();
    assert!(devices.len() <= DEVICES && view.channels().len() <= ALL_CHANNELS);
    for device in devices {
        assert_eq!(ChannelName::broken_rule(&device.name), None, "{:?}", device.name);
        assert!(device.channels.len() <= CHANNELS);
        for &id in &device.channels {
            let name = view.channel(id).map(|state| state.channel.name.as_str());
            let level = name.and_then(|name| name.split('/').next());
            assert_eq!(level, Some(&*device.name));
        }
    }
}

/// Takes all that there is for a viewer.
fn watch(viewer: &mut Viewer, places: &mut Places) {
    let now = Instant::now();
    loop {
        let mut frames = Frames::default();
        viewer.fill(now, &mut frames);
        if frames.is_empty() && !frames.more_follows() {
            return;
        }
        for frame in frames.as_slice() {
            let start = match frame[1] {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            check(&serde_json::from_slice(&frame[start..]).expect("JSON"), places);
        }
        viewer.consume(frames.places(), now);
    }
}

fn check(message: &Json, places: &mut Places) {
    let text = |key: &str| message[key].as_str().expect("a text").to_owned();
    let number = |key: &str| message[key].as_u64().expect("a number");
    match message["type"].as_str().expect("a type") {
        "data" => {
            let (device, epoch, seq) = (text("device"), text("epoch"), number("seq"));
            for name in message["values"].as_object().expect("an object").keys() {
                assert!(ChannelName::broken_rule(name).is_none(), "{message}");
                assert!(name.strip_prefix(&device).is_some_and(|rest| rest.starts_with('/')));
            }
            // Batches without values are nobody's, so that numbers may be left out.
            if let Some((known, last)) = places.get(&device) {
                let goes_on = *known == epoch && seq > *last;
                assert!(goes_on || message["snapshot"] == true, "{known} {last}: {message}");
            }
            places.insert(device, (epoch, seq));
        }
        "gap" => {
            let (device, epoch, to) = (text("device"), text("epoch"), number("to"));
            assert!(message["from"].as_u64().is_none_or(|from| from <= to), "{message}");
            let known = places.insert(device, (epoch.clone(), to));
            assert!(known.is_none_or(|known| known.0 != epoch || known.1 < to), "{message}");
        }
        "devices" => {
            for device in message["devices"].as_array().expect("a list") {
                let name = device["name"].as_str().expect("a name");
                if places.get(name).is_some_and(|(epoch, _)| device["epoch"] != **epoch) {
                    places.remove(name);
                }
            }
        }
        _ => {}
    }
}
