//! What devices say, and what a fleet's hub has of it.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    fleet::FleetSettings,
    net::Counter,
    telemetry::{Clock, FleetBounds, Hub, HubSettings},
};

/// A clock that tests set.
#[derive(Debug, Default)]
struct Manual(std::sync::Mutex<Duration>);

impl Manual {
    fn advance(&self, seconds: f64) {
        *self.0.lock().expect("unpoisoned") += Duration::from_secs_f64(seconds);
    }
}

impl Clock for Manual {
    fn boot(&self) -> BootTime {
        BootTime::new(Duration::from_secs(1000) + *self.0.lock().expect("unpoisoned"))
    }
    fn wall(&self) -> f64 {
        self.boot().since_boot().as_secs_f64() + 1_763_000_000.0
    }
    fn synced(&self) -> bool {
        true
    }
}

struct World {
    clock: Arc<Manual>,
    hub: Hub,
    fleet: Fleet,
}

impl World {
    fn new() -> Self {
        Self::with(FleetBounds::default())
    }

    fn with(bounds: FleetBounds) -> Self {
        let clock = Arc::<Manual>::default();
        let hub = Hub::fleet_with_clock(HubSettings::default(), bounds, clock.clone());
        let fleet = Fleet::new(hub.clone(), &FleetSettings::default());
        Self { clock, hub, fleet }
    }

    fn hear(&self, device: &str, text: &str) {
        self.fleet.hear(device, text.as_bytes(), false);
    }

    /// What the ring has: whose, number, what, and names with values.
    fn ring(&self) -> Vec<String> {
        let view = self.hub.view();
        let entry = |seq| {
            let (origin, batch) = (view.origin(seq).expect("one"), view.batch(seq).expect("one"));
            let name = |id| view.channel(id).map_or("?", |state| state.channel.name.as_str());
            let columns = batch.columns().map(|(id, values)| format!("{}={values:?}", name(id)));
            let columns: Vec<_> = columns.collect();
            let (run, what) = (&origin.run, origin.what);
            format!("{} {} {} {what:?} {}", run.name, run.epoch, origin.seq, columns.join(" "))
                .replace("Number(", "")
                .replace(')', "")
        };
        (view.oldest()..=view.seq()).map(entry).collect()
    }

    /// Name and status of each device.
    fn states(&self) -> Vec<(String, &'static str)> {
        let view = self.hub.view();
        let list = view.devices().expect("a fleet").list();
        list.iter().map(|device| (device.name.to_string(), device.status.as_str())).collect()
    }
}

fn data(epoch: &str, seq: u64, value: f64) -> String {
    format!(
        r#"{{"type":"data","epoch":"{epoch}","seq":{seq},"t":1763000999.5,"values":{{"a":{value}}}}}"#
    )
}

fn latest(epoch: &str, seq: u64, values: &str) -> String {
    format!(
        r#"{{"type":"data","epoch":"{epoch}","seq":{seq},"t":1763000999,"snapshot":true,"values":{values}}}"#
    )
}

#[test]
fn batches_keep_their_numbers_and_what_was_lost_is_told() {
    let world = World::new();
    for text in [
        latest("e1", 4, r#"{"a":1,"b":true}"#),
        data("e1", 5, 2.0),
        data("e1", 5, 99.0),
        data("e1", 4, 99.0),
        data("e1", 6, 3.0),
        data("e1", 9, 4.0),
        data("e1", 10, 5.0),
    ] {
        world.hear("pi1", &text);
    }
    assert_eq!(
        world.ring(),
        [
            "pi1 e1 4 Snapshot pi1/a=[1.0] pi1/b=[Bool(true]",
            "pi1 e1 5 Data pi1/a=[2.0]",
            "pi1 e1 6 Data pi1/a=[3.0]",
            "pi1 e1 8 Gap(7 ",
            "pi1 e1 8 Snapshot pi1/a=[3.0] pi1/b=[Bool(true]",
            "pi1 e1 9 Data pi1/a=[4.0]",
            "pi1 e1 10 Data pi1/a=[5.0]",
        ]
    );
    let counts = &world.fleet.0.counts;
    assert_eq!((counts.doubled.get(), counts.lost.get(), counts.messages.get()), (2, 2, 7));
    // Behind a loss the latest of all is news; a second time it is not.
    for _ in 0..2 {
        world.hear("pi1", &latest("e1", 10, r#"{"a":5,"b":false}"#));
    }
    let ring = world.ring();
    assert_eq!(ring[7..], ["pi1 e1 10 Snapshot pi1/a=[5.0] pi1/b=[Bool(false]"]);
    assert_eq!(world.fleet.place("pi1"), Some(("e1".into(), 10)));
}

#[test]
fn numbers_that_are_left_out_on_purpose_are_no_loss() {
    let world = World::new();
    world.hear("pi1", &latest("e1", 4, r#"{"a":1}"#));
    for (after, seq) in [(4, 9), (9, 20), (23, 25)] {
        let text = data("e1", seq, 2.0).replace("\"seq\"", &format!("\"after\":{after},\"seq\""));
        world.hear("pi1", &text);
    }
    let ring = world.ring();
    assert_eq!(
        ring[1..],
        [
            "pi1 e1 9 Data pi1/a=[2.0]",
            "pi1 e1 20 Data pi1/a=[2.0]",
            "pi1 e1 23 Gap(21 ",
            "pi1 e1 23 Snapshot pi1/a=[2.0]",
            "pi1 e1 25 Data pi1/a=[2.0]",
        ]
    );
}

#[test]
fn a_device_that_was_started_anew_begins_with_a_snapshot() {
    let world = World::new();
    world.hear("pi1", &data("e1", 7, 1.0));
    world.hear("pi1", &data("e2", 1, 2.0));
    world.hear("pi1", &latest("e3", 0, "{}"));
    world.hear("pi1", &data("e3", 1, 3.0));
    // What the broker had kept of an earlier start comes too late.
    let old = latest("e1", 90, r#"{"a":0}"#);
    assert_eq!(world.fleet.hear("pi1", old.as_bytes(), true), Heard::Life);
    assert_eq!(
        world.ring(),
        [
            "pi1 e1 7 Snapshot pi1/a=[1.0]",
            "pi1 e2 1 Snapshot pi1/a=[2.0]",
            "pi1 e3 0 Snapshot ",
            "pi1 e3 1 Data pi1/a=[3.0]",
        ]
    );
}

#[test]
fn a_snapshot_comes_in_parts_and_a_link_names_the_epoch_once() {
    let world = World::new();
    let part = |seq, values: &str, more| {
        format!(r#"{{"type":"data","seq":{seq},"t":5,"snapshot":true,"values":{values}{more}}}"#)
    };
    let more = r#","more":true"#;
    world.hear("pi1", &part(3, r#"{"x":0}"#, ""));
    assert_eq!(world.ring(), [""; 0], "whose numbers are these?");
    world.hear(
        "pi1",
        r#"{"type":"hello","version":1,"epoch":"e1","seq":3,"heartbeat":15,"channels":[]}"#,
    );
    world.hear("pi1", &part(3, r#"{"a":1}"#, more));
    world.hear("pi1", &part(3, r#"{"b":2}"#, ""));
    world.hear("pi1", r#"{"type":"data","seq":4,"t":6,"dt":[0,0.5],"values":{"a":[1,2],"b":3}}"#);
    world.hear("pi1", r#"{"type":"gap","from":5,"to":9}"#);
    // Cut off, and the rest of it never comes.
    world.hear("pi1", &part(9, r#"{"a":7}"#, more));
    assert_eq!(world.fleet.place("pi1"), Some(("e1".into(), 4)), "it goes on before the gap");
    world.hear("pi1", r#"{"type":"hello","version":1,"epoch":"e1","seq":12,"channels":[]}"#);
    world.hear("pi1", &part(12, r#"{"a":8}"#, ""));
    assert_eq!(
        world.ring(),
        [
            "pi1 e1 3 Snapshot pi1/a=[1.0] pi1/b=[2.0]",
            "pi1 e1 4 Data pi1/a=[1.0, 2.0] pi1/b=[3.0, 3.0]",
            "pi1 e1 12 Gap(5 ",
            "pi1 e1 12 Snapshot pi1/a=[8.0]",
        ]
    );
}

#[test]
fn what_is_kept_of_long_ago_fills_what_is_not_known() {
    let world = World::new();
    world.hear("pi1", &data("e1", 75, 2.0));
    let old = latest("e1", 40, r#"{"a":1,"b":5}"#);
    for _ in 0..2 {
        world.fleet.hear("pi1", old.as_bytes(), true);
    }
    assert_eq!(
        world.ring(),
        ["pi1 e1 75 Snapshot pi1/a=[2.0]", "pi1 e1 75 Snapshot pi1/a=[2.0] pi1/b=[5.0]"]
    );
}

#[test]
fn descriptions_are_the_devices_and_a_whole_list_takes_the_others_out() {
    let world = World::new();
    world.hear("pi1", &latest("e1", 1, r#"{"a":1,"b":2}"#));
    world.hear(
        "pi1",
        r#"{"type":"channels","device":"pi 1","epoch":"e1","seq":1,"channels":[
            {"id":3,"name":"a","kind":"counter","unit":"B","min":0,"source":"net","status":"error","reason":"no"},
            {"id":4,"name":"c","status":"ok"}]}"#,
    );
    let told = || {
        let view = world.hub.view();
        let channels = view.channels().iter();
        let told =
            channels.map(|s| format!("{} {} {}", s.channel.name, s.status.as_str(), s.source));
        told.collect::<Vec<_>>()
    };
    assert_eq!(told(), ["pi1/a error net", "pi1/b gone ", "pi1/c ok "]);
    let version = world.hub.view().version();
    world.hear("pi1", r#"{"type":"channels","channels":[{"name":"c","status":"ok"}]}"#);
    assert_eq!(world.hub.view().version(), version, "that is nothing new");
    world.hear("pi1", r#"{"type":"channels","channels":[{"name":"b","status":"ok"}]}"#);
    assert_eq!(told()[1], "pi1/b ok ");
    assert_eq!(world.hub.view().channels()[0].channel.unit.as_deref(), Some("B"));
}

#[test]
fn what_cannot_be_taken_is_left_out_and_counted_and_nothing_else_is_lost() {
    let bounds = FleetBounds { devices: 2, channels_each: 3, ..FleetBounds::default() };
    let world = World::with(bounds);
    let deep = "x/".repeat(200) + "x";
    let long = "y".repeat(200);
    let values = format!(r#"{{"a":1,"{deep}":2,"{long}":3,"ä":4,"":5,"b":6}}"#);
    world.hear("pi1", &latest("e1", 1, &values));
    world.hear("pi1", r#"{"type":"data","seq":"x"}"#);
    world.hear("pi1", "no JSON");
    world.hear("pi1", &latest("e1", 2, r#"{"c":1,"d":2,"e":3,"a":2}"#));
    world.hear("the shed", &data("e1", 1, 1.0));
    world.hear("third", &data("e1", 1, 1.0));
    for name in ["", &"x".repeat(65)] {
        world.hear(name, &data("e1", 1, 1.0));
        world.fleet.said(name, true);
    }
    world.hear("pi1", &data("../../", 3, 1.0));
    let rows = vec!["0"; 70_000].join(",");
    let wide = format!(
        r#"{{"type":"data","epoch":"e1","seq":3,"t":1,"dt":[{rows}],"values":{{"a":1,"b":1,"c":1,"d":1}}}}"#
    );
    world.hear("pi1", &wide);
    assert_eq!(
        world.ring(),
        [
            "pi1 e1 1 Snapshot pi1/a=[1.0] pi1/b=[6.0]",
            "pi1 e1 2 Gap(2 ",
            "pi1 e1 2 Snapshot pi1/c=[1.0] pi1/a=[2.0]",
            "the_shed e1 1 Snapshot the_shed/a=[1.0]",
        ]
    );
    let counts = &world.fleet.0.counts;
    let all = [&counts.names, &counts.channels, &counts.devices, &counts.bad];
    assert_eq!(all.map(Counter::get), [4, 2, 5, 3]);
}

#[test]
fn numbers_and_times_that_cannot_be_are_refused() {
    let world = World::new();
    // Beyond that a duration and the time since boot are more than either may be.
    world.clock.advance(1e6);
    world.hear("pi1", &data("e1", 1, 1.0));
    let rows = vec!["0"; 300_000].join(",");
    for bad in [
        r#""seq":2,"t":5,"dt":[0,18446744073709549568],"values":{"a":[1,2]}"#,
        r#""seq":2,"t":1e306,"values":{"a":1}"#,
        r#""seq":2,"t":-1e13,"values":{"a":1}"#,
        r#""seq":9007199254740992,"t":5,"values":{"a":1}"#,
        r#""seq":18446744073709551615,"t":5,"snapshot":true,"values":{"a":1}"#,
        &format!(r#""seq":2,"t":5,"dt":[{rows}],"values":{{}}"#),
    ] {
        world.hear("pi1", &format!(r#"{{"type":"data","epoch":"e1",{bad}}}"#));
    }
    assert_eq!(world.fleet.0.counts.bad.get(), 6);
    world.hear("pi1", &data("e1", 2, 2.0));
    assert_eq!(world.ring(), ["pi1 e1 1 Snapshot pi1/a=[1.0]", "pi1 e1 2 Data pi1/a=[2.0]"]);
    let latest = BootTime::new(Duration::from_secs(1)) + Duration::MAX;
    assert_eq!(latest.since_boot(), Duration::MAX);
}

#[test]
fn a_device_of_the_settings_is_not_forgotten() {
    let world = World::new();
    world.fleet.expect("fixed");
    world.hear("fixed", &data("e1", 1, 1.0));
    world.hear("other", &data("e1", 1, 1.0));
    world.fleet.forget("fixed");
    world.fleet.forget("other");
    world.hear("fixed", &data("e1", 2, 2.0));
    assert_eq!(world.states(), [("fixed".into(), "online")]);
    assert_eq!(world.fleet.0.counts.forgotten.get(), 1);
}

#[test]
fn who_falls_silent_is_stale_then_offline_then_forgotten() {
    let world = World::new();
    world.fleet.expect("fixed");
    for seq in 1..=10 {
        world.hear("pi1", &data("e1", seq, 1.0));
        world.clock.advance(1.0);
    }
    let after = |seconds| {
        world.clock.advance(seconds);
        world.fleet.look(world.clock.boot());
        world.states().iter().map(|(_, state)| *state).collect::<Vec<_>>()
    };
    assert_eq!(world.states()[0], ("fixed".into(), "offline"));
    assert_eq!(after(3.0), ["offline", "online"]);
    assert_eq!(after(3.0), ["offline", "stale"]);
    world.hear("pi1", &data("e1", 11, 1.0));
    assert_eq!(after(0.0), ["offline", "online"]);
    assert_eq!(after(100.0), ["offline", "offline"]);
    world.fleet.leave("pi1", "it said so");
    assert_eq!(world.hub.view().channels().len(), 1);
    assert_eq!(after(90_000.0), ["offline"], "only what is in the settings stays");
    let view = world.hub.view();
    assert_eq!((view.channels().len(), world.fleet.0.counts.forgotten.get()), (0, 1));
    assert_eq!(view.devices().expect("a fleet").gone_since(0).collect::<Vec<_>>(), ["pi1"]);
    drop(view);
    // One that comes again is another, and so are its channels.
    world.hear("pi1", &data("e1", 12, 1.0));
    assert_eq!(world.hub.view().channels()[0].id.get(), 1);
    assert_eq!(world.ring().last().map(String::as_str), Some("pi1 e1 12 Snapshot pi1/a=[1.0]"));
    world.fleet.forget("pi1");
    assert_eq!(world.states().len(), 1);
    world.fleet.leave("pi1", "a will");
    assert_eq!(world.states().len(), 1, "nobody is made for it");
}

#[test]
fn what_a_broker_had_kept_is_no_sign_of_life() {
    let world = World::new();
    world.hear("pi1", &data("e1", 1, 1.0));
    world.fleet.leave("pi1", "its will");
    world.fleet.hear("pi1", latest("e1", 1, "{}").as_bytes(), true);
    assert_eq!(world.states()[0].1, "offline");
    world.hear("pi1", &data("e1", 2, 1.0));
    assert_eq!(world.states()[0].1, "online");
    let hello = br#"{"type":"hello","fleet":true,"epoch":"e","seq":1,"channels":[]}"#;
    assert_eq!(world.fleet.hear("pi9", hello, false), Heard::Fleet);
    assert_eq!(world.states().len(), 1);
}

/// Prints what docs/fleet.md says: `cargo test --release --lib -- --ignored
/// --nocapture what_a_device_costs`.
#[test]
#[ignore = "a measurement"]
fn what_a_device_costs() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("readable");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("there");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("kB")
    };
    const DEVICES: u64 = 2000;
    const CHANNELS: usize = 60;
    let settings =
        HubSettings { ring_bytes: 16 << 20, max_channels: 131_072, ..HubSettings::default() };
    let hub = Hub::fleet(settings, FleetBounds::default());
    let fleet = Fleet::new(hub.clone(), &FleetSettings::default());
    let names: Vec<String> = (0..CHANNELS).map(|n| format!("group{}/reading{n}", n % 7)).collect();
    let described: Vec<_> = names
        .iter()
        .map(|name| {
            format!(
                r#"{{"id":0,"name":"{name}","kind":"gauge","unit":"Cel","label":"A reading","min":0,"max":100,"stale_after":3,"source":"vitals","status":"ok"}}"#
            )
        })
        .collect();
    let before = resident();
    for device in 0..DEVICES {
        let text = format!(
            r#"{{"type":"channels","device":"d","epoch":"e","seq":0,"channels":[{}]}}"#,
            described.join(",")
        );
        fleet.hear(&format!("pi{device}"), text.as_bytes(), false);
    }
    let known = resident();
    let batch = |seq: u64| {
        let values: Vec<_> =
            names.iter().map(|name| format!(r#""{name}":{}.25"#, seq % 100)).collect();
        format!(
            r#"{{"type":"data","epoch":"e","seq":{seq},"t":1763796000.5,"values":{{{}}}}}"#,
            values.join(",")
        )
    };
    const ROUNDS: u64 = 10;
    let texts: Vec<_> = (1..=ROUNDS).map(batch).collect();
    let start = std::time::Instant::now();
    for text in &texts {
        for device in 0..DEVICES {
            fleet.hear(&format!("pi{device}"), text.as_bytes(), false);
        }
    }
    let took = start.elapsed();
    let (bytes, batches) = hub.view().ring_use();
    println!(
        "{DEVICES} devices of {CHANNELS} channels: {} KiB a device; a message of {} bytes takes {:.1} µs; \
         ring {batches} batches in {} KiB, {} KiB resident in all",
        (known - before) / DEVICES,
        texts[0].len(),
        took.as_secs_f64() * 1e6 / (ROUNDS * DEVICES) as f64,
        bytes / 1024,
        resident() - before
    );
}
