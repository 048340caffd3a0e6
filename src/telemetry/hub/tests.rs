//! The hub with its publishers, as a program uses them.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use super::{publisher::MAX_BATCH, *};
use crate::error::Error;

fn gauge(name: &str) -> Channel {
    Channel::gauge(name).expect("a valid name")
}

fn at(seconds: u64) -> BootTime {
    BootTime::new(Duration::from_secs(seconds))
}

fn one(id: ChannelId, instant: BootTime, value: impl Into<Value>) -> Batch {
    let mut batch = Batch::at(instant);
    batch.set(id, value);
    batch
}

#[test]
fn each_batch_gets_the_next_number_and_becomes_the_latest() {
    let hub = Hub::new(HubSettings::default());
    let publisher = hub.publisher("test");
    let id = publisher.channel(gauge("a")).expect("declared");
    assert_eq!(hub.view().seq(), 0);
    assert_eq!(publisher.publish(one(id, at(10), 1.0)), 1);
    assert_eq!(publisher.publish(one(id, at(11), 2.0)), 2);
    let view = hub.view();
    assert_eq!((view.seq(), view.oldest()), (2, 1));
    assert_eq!(view.channels()[0].value, Value::Number(2.0));
}

#[test]
fn a_reading_that_comes_late_does_not_hide_a_newer_one() {
    let hub = Hub::new(HubSettings::default());
    let publisher = hub.publisher("test");
    let id = publisher.channel(gauge("a")).expect("declared");
    let now = hub.clock().boot();
    publisher.publish(one(id, now + Duration::from_secs(5), 2.0));
    publisher.publish(one(id, now + Duration::from_secs(3), 1.0));
    assert_eq!(hub.view().channels()[0].value, Value::Number(2.0));
}

#[test]
fn a_channel_belongs_to_the_source_that_named_it_first() {
    let hub = Hub::new(HubSettings::default());
    let first = hub.publisher("first");
    let id = first.channel(gauge("a")).expect("declared");
    let error = hub.publisher("second").channel(gauge("a")).expect_err("taken");
    assert_eq!(error.to_string(), "channel a belongs to source first; choose another name");
    assert_eq!(first.channel(gauge("a").unit("V")).expect("described anew"), id);
    assert_eq!(hub.view().channels()[0].channel.unit.as_deref(), Some("V"));
}

#[test]
fn a_source_cannot_publish_for_another() {
    let hub = Hub::new(HubSettings::default());
    let (first, second) = (hub.publisher("first"), hub.publisher("second"));
    let a = first.channel(gauge("a")).expect("declared");
    let b = second.channel(gauge("b")).expect("declared");
    let mut batch = one(a, at(1), 666.0);
    batch.set(b, 1.0);
    second.publish(batch);
    let values: Vec<_> = hub.view().channels().iter().map(|s| s.value.clone()).collect();
    assert_eq!(values, [Value::Null, Value::Number(1.0)]);
}

#[test]
fn a_number_that_is_none_harms_nobody() {
    let hub = Hub::new(HubSettings::default());
    let publisher = hub.publisher("test");
    let id = publisher.channel(gauge("a")).expect("declared");
    for (second, number) in (1..).zip([1.0, f64::NAN, f64::INFINITY, 2.0]) {
        // Not through `From`, which knows better.
        publisher.publish(one(id, at(second), Value::Number(number)));
    }
    let plan = hub.history().plan(&[id], 0..10_000, 100);
    let points = hub.history().points(&plan, id);
    let means: Vec<_> = points.iter().map(|point| point.as_ref().map(|s| s.mean)).collect();
    assert_eq!(means, [Some(1.0), None, None, Some(2.0)]);
}

#[test]
fn the_table_of_channels_is_bounded() {
    let hub = Hub::new(HubSettings { max_channels: 1, ..HubSettings::default() });
    let publisher = hub.publisher("test");
    publisher.channel(gauge("a")).expect("declared");
    assert!(matches!(publisher.channel(gauge("b")), Err(Error::TooManyChannels(1))));
}

#[test]
fn statuses_change_the_version_once_and_keep_the_last_good_value() {
    let hub = Hub::new(HubSettings::default());
    let publisher = hub.publisher("test");
    let limit = Duration::from_secs(3);
    let id = publisher.channel(gauge("a").stale_after(limit)).expect("declared");
    let now = hub.clock().boot();
    publisher.publish(one(id, now, 1.0));
    let version = hub.view().version();
    hub.expire(now + Duration::from_secs(3));
    assert_eq!(hub.view().version(), version, "not late yet");
    hub.expire(now + Duration::from_secs(4));
    hub.expire(now + Duration::from_secs(5));
    let view = hub.view();
    assert_eq!(view.version(), version + 1);
    assert_eq!(
        (&view.channels()[0].status, &view.channels()[0].value),
        (&Status::Stale, &Value::Number(1.0))
    );
    drop(view);
    publisher.publish(one(id, now + Duration::from_secs(6), 2.0));
    assert_eq!(hub.view().channels()[0].status, Status::Ok);
    drop(publisher);
    assert_eq!(hub.view().channels()[0].status, Status::Gone);
}

#[test]
fn the_bell_rings_unlocked_after_each_change() {
    let hub = Hub::new(HubSettings::default());
    let rings = Arc::new(AtomicUsize::new(0));
    let (seen, inside) = (rings.clone(), hub.clone());
    hub.on_change(move || {
        // Would deadlock if the hub were still locked.
        let _ = inside.view().seq();
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let publisher = hub.publisher("test");
    let id = publisher.channel(gauge("a")).expect("declared");
    publisher.publish(one(id, at(1), 1.0));
    publisher.fail(id, "broken");
    publisher.fail(id, "broken");
    assert_eq!(rings.load(Ordering::Relaxed), 3);
}

#[test]
fn many_rows_of_one_channel_are_split_in_the_order_of_time() {
    let hub = Hub::new(HubSettings::default());
    let publisher = hub.publisher("test");
    let id = publisher.channel(gauge("fast")).expect("declared");
    let later = (1..10_000).map(Duration::from_millis).collect();
    let mut batch = Batch::rows_at(at(1), later);
    batch.column(id, (0..10_000_u64).map(Value::from));
    let parts = publisher.publish(batch);
    assert!(parts >= 4, "{parts} parts");
    let mut next = 0;
    for seq in 1..=parts {
        let view = hub.view();
        let batch = view.batch(seq).expect("in the ring");
        assert!(batch.size() <= MAX_BATCH);
        let (_, values) = batch.columns().next().expect("a column");
        for (offset, value) in batch.offsets().zip(values) {
            assert_eq!(batch.start() + offset, at(1) + Duration::from_millis(next));
            assert_eq!(*value, Value::from(next));
            next += 1;
        }
    }
    assert_eq!(next, 10_000);
    let view = hub.view();
    let newest = &view.channels()[0];
    assert_eq!(
        (&newest.value, newest.at),
        (&Value::Number(9999.0), at(1) + Duration::from_millis(9999))
    );
}

#[test]
fn a_batch_that_is_too_large_is_split_by_channels() {
    let hub = Hub::new(HubSettings::default());
    let publisher = hub.publisher("test");
    let mut batch = Batch::at(at(1));
    for number in 0..100 {
        let id = publisher.channel(gauge(&format!("text/{number}"))).expect("declared");
        batch.set(id, "x".repeat(1024).as_str());
    }
    let last = publisher.publish(batch);
    assert_eq!(last, 2, "100 KiB are two batches");
    let mut huge = Batch::at(at(2));
    for number in 0..100 {
        for _ in 0..10 {
            huge.set(ChannelId(number), "x".repeat(1024).as_str());
        }
    }
    assert!(huge.size() > 1_000_000);
    let parts = publisher.publish(huge) - last;
    assert!(parts >= 16, "{parts} parts");
    let view = hub.view();
    let sizes = (1..=last + parts).filter_map(|seq| view.batch(seq).map(Batch::size));
    assert!(sizes.into_iter().all(|size| size <= MAX_BATCH));
    drop(view);
    assert!(hub.view().channels().iter().all(|entry| !entry.value.is_null()));
}
