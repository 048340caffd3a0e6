//! A hub of many devices.

use super::*;
use crate::telemetry::Filters;

fn world(bounds: FleetBounds) -> Hub {
    let settings = HubSettings { ring_bytes: 8000, max_channels: 6, ..HubSettings::default() };
    Hub::fleet(settings, bounds)
}

fn update<T>(hub: &Hub, change: impl FnOnce(&mut FleetMut<'_>) -> T) -> T {
    hub.update(change).expect("a fleet's hub")
}

fn device(hub: &Hub, name: &str) -> DeviceId {
    update(hub, |hub| hub.declare(name, DeviceStatus::Online)).expect("room")
}

fn channel(hub: &Hub, device: DeviceId, name: &str) -> Option<ChannelId> {
    let channel = Channel::gauge(name).expect("valid");
    update(hub, |hub| hub.describe(device, channel, "test", Status::Ok))
}

fn publish(hub: &Hub, device: DeviceId, seq: u64, id: ChannelId) {
    let mut batch = Batch::at(hub.clock().boot());
    batch.set(id, seq);
    update(hub, |hub| hub.publish(device, Told { seq, t: 5.0, what: What::Data, batch }));
}

#[test]
fn a_device_that_is_forgotten_takes_its_channels_along_and_numbers_are_not_used_again() {
    let history = Filters::parse(["+/a"]).expect("valid");
    let hub = world(FleetBounds { devices: 2, channels_each: 2, history });
    let [one, two] = ["one", "two"].map(|name| device(&hub, name));
    assert!(update(&hub, |hub| hub.declare("three", DeviceStatus::Online)).is_none(), "full");
    let ids = ["one/a", "one/b"].map(|name| channel(&hub, one, name).expect("room"));
    assert_eq!(channel(&hub, one, "one/c"), None, "as many as one may have");
    let other = channel(&hub, two, "two/a").expect("room");
    update(&hub, |hub| {
        hub.begin(one, "e1", 0);
        hub.begin(two, "e2", 0);
    });
    for seq in 1..=3 {
        ids.iter().for_each(|&id| publish(&hub, one, seq, id));
        publish(&hub, two, seq, other);
    }
    assert!(hub.history().has(ids[0]) && !hub.history().has(ids[1]));
    let version = hub.view().version();
    update(&hub, |hub| hub.forget(one));
    assert!(!hub.history().has(ids[0]) && hub.history().has(other));
    let view = hub.view();
    assert_eq!(view.channels().len(), 1);
    assert!(view.channel(ids[0]).is_none() && view.channel(ids[1]).is_none());
    assert_eq!(view.channel(other).map(|state| state.channel.name.as_str()), Some("two/a"));
    let devices = view.devices().expect("a fleet");
    assert_eq!(devices.gone_since(version).collect::<Vec<_>>(), ["one"]);
    assert_eq!(devices.gone_since(view.version()).count(), 0);
    drop(view);
    // What the ring has of it stays, whose it was, too.
    assert_eq!(hub.view().origin(1).map(|origin| origin.run.epoch.to_string()), Some("e1".into()));
    let again = device(&hub, "one");
    assert_ne!(again, one);
    assert_eq!(channel(&hub, again, "one/a").map(ChannelId::get), Some(3));
    assert_eq!(hub.view().devices().expect("a fleet").gone_since(0).count(), 0, "it is back");
}

#[test]
fn a_device_knows_what_the_ring_has_of_its_newest_start() {
    let hub = world(FleetBounds::default());
    let [busy, quiet] = ["busy", "quiet"].map(|name| device(&hub, name));
    let ids = [channel(&hub, busy, "busy/a"), channel(&hub, quiet, "quiet/a")]
        .map(|id| id.expect("room"));
    publish(&hub, busy, 1, ids[0]);
    assert_eq!(hub.view().seq(), 0, "its start is not known");
    update(&hub, |hub| {
        hub.begin(busy, "e1", 0);
        hub.begin(quiet, "e2", 6);
    });
    publish(&hub, quiet, 7, ids[1]);
    (1..=100).for_each(|seq| publish(&hub, busy, seq, ids[0]));
    let kept = |id| {
        let view = hub.view();
        let device = view.devices().and_then(|devices| devices.get(id)).expect("there");
        (device.seq, device.kept_after, device.evicted.0)
    };
    let oldest = hub.view().oldest();
    assert!(oldest > 2, "the test tells nothing");
    assert_eq!(kept(quiet), (7, 7, 1));
    assert_eq!(kept(busy), (100, oldest - 2, oldest - 1), "the hub is one ahead");
    // A new start has lost nothing, although the ring loses more of the old one.
    update(&hub, |hub| hub.begin(busy, "e3", 0));
    (1..=5).for_each(|seq| publish(&hub, busy, seq, ids[0]));
    assert_eq!((kept(busy).0, kept(busy).1), (5, 0));
    assert!(kept(busy).2 > oldest - 1);
    let full = (0..5).filter(|n| channel(&hub, quiet, &format!("quiet/{n}")).is_some()).count();
    assert_eq!(full, 4, "as many as the hub may have");
    assert!(hub.publisher("x").channel(Channel::gauge("x").expect("valid")).is_err());
}
