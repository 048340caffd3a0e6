//! The resolutions.

use super::block::BUCKETS;

/// One resolution.
#[derive(Debug)]
pub(super) struct Level {
    /// The length of a bucket in milliseconds.
    pub(super) step: i64,
    /// How many buckets are kept where memory allows it.
    buckets: usize,
    /// Where it does not, the levels have this many in proportion.
    scarce: usize,
}

impl Level {
    /// The most blocks: one more than the buckets fill, since the newest is
    /// still being filled.
    pub(super) const fn blocks(&self) -> usize {
        self.buckets / BUCKETS + 1
    }

    pub(super) const fn scarce_blocks(&self) -> usize {
        self.scarce / BUCKETS + 1
    }
}

/// From fine to coarse: each step divides the next one. When room becomes
/// short, the second day goes first.
pub(super) const LEVELS: [Level; 3] = [
    Level { step: 1000, buckets: 900, scarce: 900 }, // 15 minutes
    Level { step: 10_000, buckets: 1080, scarce: 1080 }, // 3 hours
    Level { step: 60_000, buckets: 2880, scarce: 1440 }, // 48 hours, 24
];

/// How far back the coarsest one reaches, in milliseconds.
pub(super) const LONGEST: i64 = {
    let last = &LEVELS[LEVELS.len() - 1];
    last.step * last.buckets as i64
};
