//! What was: for each channel with numbers, their least, mean and greatest, at
//! three resolutions, in a fixed budget of memory.
//!
//! ```text
//!  publish ──▶ note ──▶ Series of the channel ─┬─ 1 s buckets, 15 minutes
//!                                              ├─ 10 s buckets, 3 hours
//!                                              └─ 1 min buckets, 48 hours
//!  /api/history ◀── points ◀── plan: which resolution, from where to where
//! ```
//!
//! **Memory.** Buckets come in blocks of 30, as they fill. When the budget is
//! full, whoever has most gives up his oldest block: first of the second day,
//! then of the three resolutions in proportion. So with the default of 4 MiB
//! up to 51 channels of sensors have everything, 70 have a day instead of two,
//! and twice as many half of that; channels that seldom change leave room for
//! others. [`HubSettings::history_bytes`](super::HubSettings::history_bytes) has the formula.
//!
//! **Time** is boot time in milliseconds, with a sign: a step of the wall
//! clock neither folds nor tears a curve, and what an earlier start of the
//! board left in a [file](Archive) stands before zero. A reading that comes
//! late goes into its bucket while that is held, and is left out afterwards.
//! Nulls, truths and texts leave no trace. A stretch without readings takes no
//! memory and stays a gap.
//!
//! **Locks.** History has a lock of its own, taken after the hub's, never
//! before. A query holds it for one channel at a time, for as long as copying
//! that channel's buckets takes, so that a source never waits for a reader.

mod archive;
mod block;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keeper;
mod levels;
#[cfg(test)]
mod oracle;
mod series;
mod store;

use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

pub use self::{
    archive::{Archive, Loaded},
    block::Summary,
    keeper::Keeper,
};
use self::{
    levels::LEVELS,
    series::Series,
    store::{Entry, Store},
};
use super::{Batch, Channel, ChannelId, ChannelName};

/// The history of all channels of a hub.
#[derive(Debug)]
pub struct History(Mutex<Store>);

/// How a query is answered: at which resolution, and for which time. The same
/// for all its channels, so that they share their instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    level: usize,
    /// So many buckets of the level become one point.
    merged: i64,
    /// The number of the first point, counted from boot in steps.
    first: i64,
    len: usize,
}

impl Plan {
    /// The time from one point to the next, in milliseconds.
    pub fn step(&self) -> i64 {
        LEVELS[self.level].step * self.merged
    }

    /// When each point begins, in milliseconds since boot; before zero: before
    /// the board was started.
    pub fn instants(&self) -> impl ExactSizeIterator<Item = i64> + use<> {
        let (step, first) = (self.step(), self.first);
        (0..self.len).map(move |point| (first + point as i64) * step)
    }

    /// The number of points.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The numbers of the buckets.
    fn buckets(&self) -> Range<i64> {
        let end = self.first + self.len as i64;
        self.first * self.merged..end * self.merged
    }
}

impl History {
    /// An empty one that will take at most `budget` bytes.
    pub(super) fn new(budget: usize) -> Self {
        Self(Mutex::new(Store::new(budget)))
    }

    /// Notes every row of a batch. `describe` tells what a channel is.
    pub(super) fn note<'a>(
        &self,
        batch: &Batch,
        describe: impl Fn(ChannelId) -> Option<&'a Channel>,
    ) {
        let mut store = self.lock();
        for (id, values) in batch.columns() {
            if values.iter().all(|value| value.as_f64().is_none()) {
                continue;
            }
            let instants = batch.offsets().map(|offset| (batch.start() + offset).millis());
            let rows = instants.zip(values);
            let numbers = rows.filter_map(|(at, value)| Some((at, value.as_f64()?)));
            if let Some(channel) = describe(id) {
                store.note(id, channel, numbers);
            }
        }
    }

    /// Forgets channels that will not come again.
    pub(super) fn forget(&self, channels: &[ChannelId]) {
        let mut store = self.lock();
        channels.iter().for_each(|&id| store.forget(id));
    }

    /// How to show these channels from one instant to another, in milliseconds
    /// since boot, in at most `points` points (at least 2): at the finest resolution that
    /// reaches back so far, merged until it fits. Instants before the first
    /// reading of all, and behind the last, are left out.
    pub fn plan(&self, channels: &[ChannelId], range: Range<i64>, points: usize) -> Plan {
        let level = self.finest(channels, range.start);
        let (merged, wanted) = fit(&range, LEVELS[level].step, points.max(2));
        let mut held: Option<Range<i64>> = None;
        for &id in channels {
            let buckets = wanted.start * merged..wanted.end * merged;
            let Some(extent) = self.with(id, |series| extent(series, level, buckets)) else {
                continue;
            };
            let Some(extent) = extent else { continue };
            let all = held.get_or_insert_with(|| extent.clone());
            *all = all.start.min(extent.start)..all.end.max(extent.end);
        }
        let held = held.unwrap_or_default();
        let (first, last) = (held.start.div_euclid(merged), (held.end - 1).div_euclid(merged));
        let len = if held.is_empty() { 0 } else { (last - first + 1) as usize };
        Plan { level, merged, first, len }
    }

    /// The finest level at which all these channels are held since `from`; the
    /// coarsest, when none is.
    fn finest(&self, channels: &[ChannelId], from: i64) -> usize {
        let since = |level| {
            let times = channels
                .iter()
                .filter_map(|&id| self.with(id, |series| series.complete_since(level)));
            times.max().unwrap_or(i64::MIN)
        };
        (0..LEVELS.len()).find(|&level| since(level) <= from).unwrap_or(LEVELS.len() - 1)
    }

    /// What a channel's readings were, one entry for each instant of the plan;
    /// `None` where there was no reading.
    pub fn points(&self, plan: &Plan, channel: ChannelId) -> Vec<Option<Summary>> {
        let mut points: Vec<Option<Summary>> = vec![None; plan.len];
        self.with(channel, |series| {
            for (bucket, summary) in series.buckets(plan.level, plan.buckets()) {
                let point = bucket.div_euclid(plan.merged) - plan.first;
                match usize::try_from(point).ok().and_then(|point| points.get_mut(point)) {
                    Some(Some(point)) => point.merge(&summary),
                    Some(point) => *point = Some(summary),
                    None => {}
                }
            }
        });
        points
    }

    /// Whether there is anything of this channel.
    pub fn has(&self, channel: ChannelId) -> bool {
        self.with(channel, |_| ()).is_some()
    }

    /// The memory that it takes, in bytes, and the number of channels in it.
    pub fn size(&self) -> (usize, usize) {
        let store = self.lock();
        (store.bytes(), store.len())
    }

    /// The most that it may take, in bytes.
    pub fn budget(&self) -> usize {
        self.lock().budget()
    }

    fn with<T>(&self, channel: ChannelId, look: impl FnOnce(&Series) -> T) -> Option<T> {
        self.lock().get(channel).map(|entry| look(&entry.series))
    }

    /// The names of all that is held, also of channels that nobody has
    /// declared since they were read from a file.
    fn names(&self) -> Vec<ChannelName> {
        self.lock().entries().map(|entry| entry.name.clone()).collect()
    }

    fn with_name<T>(&self, name: &ChannelName, look: impl FnOnce(&Series) -> T) -> Option<T> {
        let store = self.lock();
        store.entries().find(|entry| entry.name == *name).map(|entry| look(&entry.series))
    }

    fn adopt(&self, entry: Entry) {
        self.lock().adopt(entry);
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // A panic while noting leaves at worst one reading out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many buckets have to become one, so that a stretch of time has at most
/// `points`; and the numbers of these points.
fn fit(range: &Range<i64>, step: i64, points: usize) -> (i64, Range<i64>) {
    let points = i64::try_from(points).unwrap_or(i64::MAX);
    let length = (range.end - range.start).max(1);
    let mut merged = (length / step / points).max(1);
    // 15 minutes are 900 seconds and parts of one at both ends: leaving out the
    // first, a fiftieth of the whole at most, is better than halving the resolution.
    let spare = i64::from(points >= 50);
    loop {
        let wide = step * merged;
        let numbers = range.start.div_euclid(wide)..(range.end - 1).div_euclid(wide) + 1;
        // At the latest when one is longer than the whole: then there are two at most.
        if numbers.end - numbers.start <= points + spare {
            return (merged, numbers.start.max(numbers.end - points)..numbers.end);
        }
        merged += 1;
    }
}

/// From the first bucket with readings to behind the last.
fn extent(series: &Series, level: usize, buckets: Range<i64>) -> Option<Range<i64>> {
    let first = series.buckets(level, buckets.clone()).next()?.0;
    let last = series.buckets(level, buckets).next_back()?.0;
    Some(first.min(last)..first.max(last) + 1)
}
