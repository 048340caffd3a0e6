//! Anything at all as the file that keeps history.

use std::{io::Write, time::Duration};

use flate2::{Compression, write::GzEncoder};

use super::{
    History, Store, Summary, archive,
    file::{self, Head},
    levels::LEVELS,
    store::Entry,
};
use crate::telemetry::{Batch, BootTime, Channel, ChannelId};

/// A small budget, so that small files reach it.
const BUDGET: usize = 30_000;

/// A file. The first byte tells whether it comes as it is, or is packed before, so
/// that the checksum, which would keep nearly everything out, is right; and whether
/// the board was started since. Whatever is read keeps the budget, has possible
/// numbers, and is the same once it was written and read again.
pub fn history(bytes: &[u8]) {
    let Some((&how, content)) = bytes.split_first() else { return };
    let packed;
    let input = if how & 1 == 0 {
        packed = pack(content);
        &packed[..]
    } else {
        content
    };
    let here = Head { boot: "b".into(), uptime: 60_000, wall: 1_763_796_000_000, phase: 0 };
    let place = |then: &Head| match how >> 1 & 3 {
        0 | 1 => Some(archive::shift(then, &here)),
        2 => Some(0),
        _ => None,
    };
    let entries = match file::read(input, BUDGET, place) {
        Ok(Some(entries)) => entries,
        Ok(None) => return,
        Err(why) => {
            let why = why.to_string();
            return assert!(why.len() <= 400 && !why.contains(char::is_control), "{why}");
        }
    };
    let history = adopted(entries);
    look_at(&history.lock(), true);
    let read = numbers(&history);
    let written = file::write(Vec::new(), &here, &history, i64::MIN).expect("memory takes it");
    let again = file::read(&written[..], BUDGET, |_| Some(0)).expect("it was just written");
    assert_eq!(numbers(&adopted(again.expect("placed"))), read);
    ask(&history);
}

fn pack(content: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::none());
    packer.write_all(content).expect("memory takes it");
    packer.finish().expect("memory takes it")
}

fn adopted(entries: Vec<Entry>) -> History {
    let history = History::new(BUDGET);
    entries.into_iter().for_each(|entry| history.adopt(entry));
    history
}

fn look_at(store: &Store, ascending: bool) {
    assert!(store.bytes() <= store.budget(), "{} bytes", store.bytes());
    assert_eq!(store.bytes(), store.counted());
    for entry in store.entries() {
        for level in 0..LEVELS.len() {
            let buckets = entry.series.buckets(level, i64::MIN..i64::MAX);
            let mut last = i64::MIN;
            for (bucket, summary) in buckets {
                assert!(!ascending || bucket > last || last == i64::MIN, "{bucket} behind {last}");
                last = bucket;
                let Summary { min, mean, max, count, .. } = summary;
                assert!(min <= mean && mean <= max && min.is_finite() && max.is_finite());
                assert!((1..=65_535).contains(&count));
            }
        }
    }
}

/// Everything that is held, as text. Where a file names a channel twice, what one
/// of them has given up the other may have: that is not taken from a file again. A
/// channel without readings is not written.
fn numbers(history: &History) -> Vec<String> {
    let say = |entry: &Entry| {
        let series = &entry.series;
        let levels = (0..LEVELS.len()).map(|level| {
            let lost = series.lost(level);
            (lost, series.buckets(level, lost..i64::MAX).collect::<Vec<_>>())
        });
        let levels: Vec<_> = levels.collect();
        let some = levels.iter().any(|(_, buckets)| !buckets.is_empty());
        some.then(|| format!("{} {} {levels:?}", entry.name, series.is_counter()))
    };
    let mut all: Vec<_> = history.lock().entries().filter_map(say).collect();
    all.sort();
    all
}

/// Readings go on, and somebody asks for all.
fn ask(history: &History) {
    let mut channels = Vec::new();
    for name in history.names().into_iter().take(4) {
        channels.push(Channel::gauge(name.as_str()).expect("a name"));
    }
    for step in 0..3 {
        let mut batch = Batch::at(BootTime::new(Duration::from_millis(60_000 + step * 500)));
        for number in 0..channels.len() {
            batch.set(ChannelId(number as u32), step as f64);
        }
        history.note(&batch, |id| channels.get(id.0 as usize));
    }
    look_at(&history.lock(), false);
    let ids: Vec<_> = (0..channels.len() as u32).map(ChannelId).collect();
    for (from, to, points) in [(0, 61_000, 2), (-172_800_000, 61_000, 600), (59_000, 62_000, 9)] {
        let plan = history.plan(&ids, from..to, points);
        assert!(plan.len() <= points);
        for &id in &ids {
            let points = history.points(&plan, id);
            assert_eq!(points.len(), plan.len());
            assert!(points.iter().flatten().all(|point| point.min <= point.max));
        }
    }
}
