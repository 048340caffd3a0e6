//! Viewers of a fleet, against an oracle: what the devices' own streams say.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value as Json;

use super::super::*;
use crate::{
    app::wishes::Wishes,
    fleet::{Fleet, FleetSettings},
    net::Frames,
    telemetry::{FleetBounds, HubSettings},
    wire::subscribe,
};

/// A fleet server, without its sockets.
struct Server {
    fleet: Fleet,
    telemetry: Telemetry,
}

impl Server {
    fn new(ring_bytes: usize) -> Self {
        let settings = HubSettings { ring_bytes, ..HubSettings::default() };
        let hub = Hub::fleet(settings, FleetBounds::default());
        let fleet = Fleet::new(hub.clone(), &FleetSettings::default());
        Self { telemetry: Telemetry::new(hub), fleet }
    }

    fn viewer(&self, subscribe: &str) -> Viewer {
        let wishes = Arc::<Wishes>::default();
        let asked = subscribe::from_message(subscribe).expect(subscribe);
        wishes.leave(self.telemetry.wish(asked, None));
        self.telemetry.viewer(Encoding::Json, wishes)
    }
}

/// Takes up to `most` frames; the messages.
fn take(viewer: &mut Viewer, most: usize, now: Instant) -> Vec<Json> {
    let mut messages = Vec::new();
    loop {
        let mut frames = Frames::default();
        viewer.fill(now, &mut frames);
        let count = frames.len().min(most - messages.len());
        viewer.consume(&frames.places()[..count], now);
        messages.extend(frames.as_slice()[..count].iter().map(message));
        if count == 0 && !(frames.is_empty() && frames.more_follows()) {
            return messages;
        }
    }
}

/// The JSON behind a frame's head.
fn message(frame: &Bytes) -> Json {
    let start = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    serde_json::from_slice(&frame[start..]).expect("JSON")
}

/// A device that counts: at each number it sets some of its channels to that.
struct Device {
    name: String,
    epoch: u64,
    seq: u64,
    channels: usize,
    /// For each number of this start, what was set.
    log: Vec<Vec<usize>>,
}

impl Device {
    fn new(number: usize) -> Self {
        let channels = 1 + number % 4;
        Self { name: format!("pi{number}"), epoch: 1, seq: 0, channels, log: Vec::new() }
    }

    fn epoch(&self) -> String {
        format!("{}e{}", self.name, self.epoch)
    }

    fn restart(&mut self) {
        (self.epoch, self.seq) = (self.epoch + 1, 0);
        self.log.clear();
    }

    /// The values after so many numbers; a channel that was never set has none.
    fn values(&self, seq: u64) -> BTreeMap<usize, u64> {
        let set = self.log.iter().zip(1..).take(seq as usize);
        set.flat_map(|(set, at)| set.iter().map(move |&channel| (channel, at))).collect()
    }

    fn json(values: impl Iterator<Item = (usize, u64)>) -> String {
        let values: Vec<_> = values.map(|(c, at)| format!(r#""c{c}":{at}"#)).collect();
        format!("{{{}}}", values.join(","))
    }

    fn step(&mut self, random: &mut dyn FnMut(usize) -> usize) -> String {
        self.seq += 1;
        let set: Vec<_> = (0..self.channels).filter(|_| random(2) == 0).collect();
        let set = if set.is_empty() { vec![0] } else { set };
        let seq = self.seq;
        let values = Self::json(set.iter().map(|&channel| (channel, seq)));
        self.log.push(set);
        let (epoch, t) = (self.epoch(), seq + 1000 * self.epoch);
        format!(r#"{{"type":"data","epoch":"{epoch}","seq":{seq},"t":{t},"values":{values}}}"#)
    }

    fn latest(&self) -> String {
        let (epoch, seq) = (self.epoch(), self.seq);
        let values = Self::json(self.values(seq).into_iter());
        format!(
            r#"{{"type":"data","epoch":"{epoch}","seq":{seq},"t":5,"snapshot":true,"values":{values}}}"#
        )
    }
}

/// What a client knows, as `docs/protocol.md` lets it.
#[derive(Default)]
struct Client {
    /// Epoch and number of the last of each device.
    places: BTreeMap<String, (String, u64)>,
    values: BTreeMap<String, u64>,
    /// Devices of which it was told that something is missing, until the snapshot.
    gaps: BTreeMap<String, u64>,
    described: BTreeMap<String, u64>,
    /// The epoch that was told of each device.
    epochs: BTreeMap<String, String>,
    /// Devices of which it was told a gap in this start, so that the server's own
    /// values may be older than they seem until the device repeats them; and
    /// with which it then went to another server.
    gapped: BTreeSet<String>,
    unsure: BTreeSet<String>,
    lost: u64,
    resumed: usize,
}

impl Client {
    fn since(&self) -> String {
        let places = self.places.iter().map(|(device, (epoch, seq))| {
            format!(r#""{device}":{{"epoch":"{epoch}","seq":{seq}}}"#)
        });
        format!("{{{}}}", places.collect::<Vec<_>>().join(","))
    }

    /// Notes a message; `whole`: the client selects every channel, so that each
    /// number has to come.
    fn hear(&mut self, message: &Json, whole: bool) {
        let device = message["device"].as_str().unwrap_or_default().to_owned();
        match message["type"].as_str().expect("a type") {
            "hello" => assert_eq!(message["fleet"], true),
            "channels" => {
                for channel in message["channels"].as_array().expect("a list") {
                    let name = channel["name"].as_str().expect("a name");
                    self.described.insert(name.into(), channel["id"].as_u64().expect("an id"));
                }
            }
            "devices" => {
                for device in message["devices"].as_array().expect("a list") {
                    let name = device["name"].as_str().expect("a name").to_owned();
                    if let Some(epoch) = device["epoch"].as_str() {
                        self.epochs.insert(name.clone(), epoch.into());
                    }
                    if device["status"] == "gone" {
                        self.places.remove(&name);
                        self.values
                            .retain(|channel, _| !channel.starts_with(&(name.clone() + "/")));
                    }
                }
            }
            "subscribed" => self.resumed += usize::from(message["recovered"] == true),
            "gap" => {
                let (epoch, to) = (&message["epoch"], message["to"].as_u64().expect("a number"));
                if let Some((known, seq)) = self.places.get(&device).filter(|p| p.0 == *epoch) {
                    assert!(to > *seq, "{known}: a gap to {to}, and the client has {seq}");
                    if let Some(from) = message["from"].as_u64() {
                        assert!(!whole || from <= *seq + 1, "{message}: after {seq}");
                    }
                    self.lost += to - seq;
                }
                self.gapped.insert(device.clone());
                self.gaps.insert(device, to);
            }
            "data" => {
                let epoch = message["epoch"].as_str().expect("an epoch").to_owned();
                let seq = message["seq"].as_u64().expect("a number");
                let place = self.places.get(&device);
                let known = place.filter(|(known, _)| *known == epoch).map(|(_, seq)| *seq);
                let is_snapshot = message["snapshot"] == true;
                if known.is_none() || is_snapshot && !self.gaps.contains_key(&device) {
                    self.gapped.remove(&device);
                    self.unsure.remove(&device);
                }
                match (known, is_snapshot) {
                    (None, _) => {
                        // One that had no channel had nothing to show.
                        let fine = is_snapshot || !whole || seq == 1;
                        assert!(fine, "a new start begins with one: {message}");
                        let told = self.epochs.get(&device).map(String::as_str);
                        assert!(told.is_some(), "{message}: a new start was not told");
                    }
                    (Some(known), false) => {
                        assert!(seq > known, "{message}: twice, after {known}");
                        assert!(!whole || seq == known + 1, "{message}: a loss after {known}");
                        assert!(!self.gaps.contains_key(&device), "{message}: the snapshot first");
                    }
                    (Some(known), true) => {
                        let gap = self.gaps.remove(&device);
                        // A server may hear the next batch as a start's first.
                        let next = seq == known || seq == known + 1;
                        let fine = next || gap == Some(seq) || !whole && seq > known;
                        assert!(fine, "{message}: after {known}");
                    }
                }
                for (name, value) in message["values"].as_object().expect("values") {
                    assert!(self.described.contains_key(name), "{name} was not described");
                    assert!(name.starts_with(&format!("{device}/")), "{name} of {device}");
                    self.values.insert(name.clone(), value.as_u64().expect("a number"));
                }
                if message["more"] != true {
                    self.gaps.remove(&device);
                    self.places.insert(device, (epoch, seq));
                }
            }
            "heartbeat" => {}
            other => panic!("{other}"),
        }
    }

    /// Of each device that it selects, the newest number and its values.
    fn is_right(&self, devices: &[Device], filter: &Filters, round: usize) {
        for device in devices.iter().filter(|device| !self.unsure.contains(&device.name)) {
            let of = |channel: usize| format!("{}/c{channel}", device.name);
            let selects = |channel: usize| {
                let name = crate::telemetry::ChannelName::new(&of(channel)).expect("valid");
                filter.matches(&name)
            };
            let selected: Vec<_> = (0..device.channels).filter(|&c| selects(c)).collect();
            for (channel, at) in device.values(device.seq) {
                if selected.contains(&channel) {
                    let known = self.values.get(&of(channel));
                    assert_eq!(known, Some(&at), "round {round}: {}", of(channel));
                }
            }
        }
    }
}

/// Seeded: devices that publish, are started anew and lose batches on their
/// way; viewers that are slow, filter, and move between two servers of which
/// one may lag behind.
fn run(seed: u64) -> (u64, usize) {
    let mut state = seed | 1;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let servers = [Server::new(12_000 + 4000 * (seed as usize % 8)), Server::new(60_000)];
    let mut devices: Vec<_> = (0..6).map(Device::new).collect();
    // What is on its way to each server.
    let mut queues: [Vec<(String, String)>; 2] = Default::default();
    let filters = ["#", "pi1/#", "+/c0", "pi2/c1", "+/c2"];
    let mut clients: Vec<_> = filters
        .iter()
        .map(|filter| {
            let text = format!(r#"{{"type":"subscribe","channels":["{filter}"]}}"#);
            (Client::default(), servers[0].viewer(&text), 0)
        })
        .collect();
    let (mut lost, mut resumed) = (0, 0);
    for round in 0..60 {
        for _ in 0..random(40) {
            let place = random(devices.len());
            let device = &mut devices[place];
            let text = match random(40) {
                0 => {
                    device.restart();
                    device.step(&mut random)
                }
                1 => device.latest(),
                _ => device.step(&mut random),
            };
            for queue in &mut queues {
                // Lost on its way to one of them.
                if random(60) > 0 {
                    queue.push((device.name.clone(), text.clone()));
                }
            }
        }
        let settled = round % 10 == 9;
        for (server, queue) in servers.iter().zip(&mut queues) {
            let count = if settled { queue.len() } else { random(queue.len() + 1) };
            for (name, text) in queue.drain(..count) {
                server.fleet.hear(&name, text.as_bytes(), false);
            }
            if settled {
                // What was lost last comes to light with the next word.
                for device in devices.iter().filter(|device| device.seq > 0) {
                    server.fleet.hear(&device.name, device.latest().as_bytes(), false);
                }
            }
        }
        for (number, (client, viewer, at)) in clients.iter_mut().enumerate() {
            if random(12) == 0 {
                *at = 1 - *at;
                let (filter, since) = (filters[number], client.since());
                let text =
                    format!(r#"{{"type":"subscribe","channels":["{filter}"],"since":{since}}}"#);
                client.gaps.clear();
                let gapped = client.gapped.clone();
                client.unsure.extend(gapped);
                client.described.clear();
                *viewer = servers[*at].viewer(&text);
            }
            let most = if settled { usize::MAX } else { random(60) };
            for message in take(viewer, most, Instant::now()) {
                client.hear(&message, number == 0);
            }
            if settled {
                let filter = Filters::parse([filters[number]]).expect("valid");
                client.is_right(&devices, &filter, round);
                assert!(client.gaps.is_empty());
                let place = viewer.fleet.as_ref().expect("a fleet's");
                assert!(place.unheard.is_empty() && !place.has_turns(), "round {round}");
            }
        }
    }
    for (client, ..) in &clients {
        lost += client.lost;
        resumed += client.resumed;
    }
    (lost, resumed)
}

#[test]
fn each_viewer_ends_up_with_what_the_devices_say_or_is_told_of_a_gap() {
    let (mut lost, mut resumed) = (0, 0);
    // With BOARDCAST_STRESS=200 many more.
    let more = std::env::var("BOARDCAST_STRESS").ok().and_then(|number| number.parse().ok());
    for seed in 1..=more.unwrap_or(4) {
        let (more_lost, more_resumed) = run(seed * 7919);
        lost += more_lost;
        resumed += more_resumed;
    }
    assert!(lost > 20 && resumed > 4, "{lost} lost, {resumed} resumed: the test tells nothing");
}
