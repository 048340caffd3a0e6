//! The history of one channel: the same readings at several resolutions.
//!
//! A reading goes into the open bucket of each level, where sums are exact. A
//! bucket is closed by the first reading of a later one and then stands in a
//! block. Time is in milliseconds of boot time; what an earlier start of the
//! board has left is before zero.

use std::{collections::VecDeque, ops::Range};

use super::{
    block::{ALLOCATION, Block, Summary, WIDE},
    levels::{LEVELS, Level},
};

/// Places for blocks are added as many at a time.
const PLACES: usize = 4;

/// The bucket that readings go into.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    /// Its beginning and its end, in milliseconds: looking at them is cheaper
    /// than a division of 64 bits, for which a 32-bit board calls a function.
    start: i64,
    end: i64,
    min: f64,
    max: f64,
    sum: f64,
    /// 0: it is not open.
    count: u32,
}

impl Open {
    fn new(bucket: i64, step: i64, value: f64) -> Self {
        let start = bucket * step;
        Self { start, end: start + step, min: value, max: value, sum: value, count: 1 }
    }

    fn add(&mut self, value: f64) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += value;
        self.count = self.count.saturating_add(1);
    }

    fn summary(&self) -> Option<Summary> {
        let Self { min, max, sum, count, .. } = *self;
        // A sum of the greatest numbers is infinite; a rounded mean may leave the range.
        let mean = (sum / f64::from(count)).clamp(min, max);
        (count > 0).then_some(Summary { min, mean, max, count, single: false })
    }
}

/// One resolution of a channel.
#[derive(Clone, Debug)]
pub(super) struct Track {
    open: Open,
    /// Ascending; a stretch without readings has none.
    blocks: VecDeque<Block>,
    /// Buckets before this one were given up, and are not taken again.
    lost: i64,
}

impl Track {
    fn new() -> Self {
        Self { open: Open::default(), blocks: VecDeque::new(), lost: i64::MIN }
    }

    /// Notes a reading. True when that took memory.
    fn note(&mut self, level: &Level, at: i64, value: f64, counter: bool) -> bool {
        if self.open.count > 0 && at >= self.open.start && at < self.open.end {
            self.open.add(value);
            return false;
        }
        let bucket = at.div_euclid(level.step);
        if self.open.count > 0 && at < self.open.start {
            return self.merge(level, bucket, &Summary::one(value), counter);
        }
        let grown = self.close(level, counter);
        self.open = Open::new(bucket, level.step, value);
        grown
    }

    fn close(&mut self, level: &Level, counter: bool) -> bool {
        let Some(summary) = self.open.summary() else { return false };
        let bucket = self.open.start / level.step;
        self.open.count = 0;
        self.merge(level, bucket, &summary, counter)
    }

    /// Adds readings to a closed bucket, if it is still held.
    fn merge(&mut self, level: &Level, bucket: i64, summary: &Summary, counter: bool) -> bool {
        if bucket < self.lost {
            return false;
        }
        let first = Block::first_of(bucket);
        // Nearly always the last one.
        let later = self.blocks.iter().rev().take_while(|block| block.first() > first).count();
        let place = self.blocks.len() - later;
        let there = place.checked_sub(1).filter(|&last| self.blocks[last].first() == first);
        if let Some(there) = there {
            return self.blocks[there].merge(bucket, summary, counter);
        }
        if self.blocks.len() >= level.blocks() {
            if place == 0 {
                return false;
            }
            self.evict();
            return self.insert(place - 1, bucket, summary, counter);
        }
        self.insert(place, bucket, summary, counter)
    }

    fn insert(&mut self, place: usize, bucket: i64, summary: &Summary, counter: bool) -> bool {
        let mut block = Block::new(Block::first_of(bucket));
        block.merge(bucket, summary, counter);
        if self.blocks.len() == self.blocks.capacity() {
            self.blocks.reserve_exact(PLACES);
        }
        self.blocks.insert(place, block);
        true
    }

    /// Gives up the oldest block.
    fn evict(&mut self) {
        if let Some(block) = self.blocks.pop_front() {
            self.lost = block.end();
        }
        if self.blocks.capacity() - self.blocks.len() > 2 * PLACES {
            self.blocks.shrink_to(self.blocks.len() + PLACES);
        }
    }

    fn heap(&self) -> usize {
        let places = self.blocks.capacity() * size_of::<Block>();
        let list = if places > 0 { places + ALLOCATION } else { 0 };
        list + self.blocks.iter().map(Block::heap).sum::<usize>()
    }

    /// Blocks that are held, as a share of what the level would hold in scarcity.
    fn share(&self, level: &Level) -> usize {
        self.blocks.len() * 1024 / level.scarce_blocks()
    }

    /// The bucket that is open, with its number.
    fn open_bucket(&self, level: &Level) -> Option<(i64, Summary)> {
        Some((self.open.start / level.step, self.open.summary()?))
    }

    /// All buckets with readings in this range of numbers, ascending but for
    /// late readings in the newest.
    fn buckets(
        &self,
        level: &Level,
        range: Range<i64>,
    ) -> impl DoubleEndedIterator<Item = (i64, Summary)> + '_ {
        let start = self.blocks.partition_point(|block| block.end() <= range.start);
        let end = self.blocks.partition_point(|block| block.first() < range.end);
        let closed = self.blocks.range(start..end.max(start)).flat_map(Block::buckets);
        closed.chain(self.open_bucket(level)).filter(move |(bucket, _)| range.contains(bucket))
    }
}

/// The history of one channel.
#[derive(Clone, Debug)]
pub(super) struct Series {
    tracks: [Track; LEVELS.len()],
    /// Its numbers only grow, and are kept exactly.
    counter: bool,
}

impl Series {
    pub(super) fn new(counter: bool) -> Self {
        Self { tracks: std::array::from_fn(|_| Track::new()), counter }
    }

    /// Notes a reading at `at` milliseconds. True when that took memory.
    pub(super) fn note(&mut self, at: i64, value: f64) -> bool {
        let counter = self.counter;
        let tracks = self.tracks.iter_mut().zip(&LEVELS);
        tracks.fold(false, |grown, (track, level)| track.note(level, at, value, counter) | grown)
    }

    /// Adds what was summed up elsewhere to one bucket of one level.
    pub(super) fn merge(&mut self, level: usize, bucket: i64, summary: &Summary) -> bool {
        self.tracks[level].merge(&LEVELS[level], bucket, summary, self.counter)
    }

    /// Adds all that another one has.
    pub(super) fn absorb(&mut self, other: &Self) {
        for level in 0..LEVELS.len() {
            self.lose(level, other.lost(level));
            for (bucket, summary) in other.buckets(level, i64::MIN..i64::MAX) {
                self.merge(level, bucket, &summary);
            }
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        self.tracks.iter().map(Track::heap).sum()
    }

    /// Gives up one block, the oldest of the level that holds the largest share
    /// of what it would; the newest block of each stays. False when there is no other.
    pub(super) fn evict(&mut self) -> bool {
        let tracks = self.tracks.iter_mut().zip(&LEVELS);
        let more = tracks.filter(|(track, _)| track.blocks.len() > 1);
        let Some((track, _)) = more.max_by_key(|(track, level)| track.share(level)) else {
            return false;
        };
        track.evict();
        true
    }

    /// Since when, in milliseconds, this level holds everything.
    pub(super) fn complete_since(&self, level: usize) -> i64 {
        self.tracks[level].lost.saturating_mul(LEVELS[level].step)
    }

    /// Says that buckets of a level before this one are lost.
    pub(super) fn lose(&mut self, level: usize, bucket: i64) {
        let lost = &mut self.tracks[level].lost;
        *lost = bucket.max(*lost);
    }

    /// The number before which buckets of a level are lost.
    pub(super) fn lost(&self, level: usize) -> i64 {
        self.tracks[level].lost
    }

    /// The buckets with readings in this range of numbers.
    pub(super) fn buckets(
        &self,
        level: usize,
        range: Range<i64>,
    ) -> impl DoubleEndedIterator<Item = (i64, Summary)> + '_ {
        self.tracks[level].buckets(&LEVELS[level], range)
    }

    /// The end of the newest bucket, in milliseconds.
    pub(super) fn newest(&self) -> Option<i64> {
        let ends = self.tracks.iter().zip(&LEVELS).filter_map(|(track, level)| {
            let closed = track.blocks.back().and_then(|block| block.buckets().next_back());
            let bucket = track.open_bucket(level).or(closed)?.0;
            Some((bucket + 1) * level.step)
        });
        // The finest level tells best.
        ends.min()
    }

    /// Whether its numbers only grow.
    pub(super) fn is_counter(&self) -> bool {
        self.counter
    }
}

/// The most that a series takes while every level is full, with numbers that
/// take `block` bytes a block.
#[cfg(test)]
pub(super) fn full(block: usize) -> usize {
    let list = |level: &Level| {
        level.blocks() * block + (level.blocks() + 2 * PLACES) * size_of::<Block>() + ALLOCATION
    };
    LEVELS.iter().map(list).sum()
}

/// The least that a series can be trimmed to.
pub(super) const LEAST: usize =
    LEVELS.len() * (WIDE + 3 * PLACES * size_of::<Block>() + ALLOCATION);
