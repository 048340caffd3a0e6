//! What is kept of readings: their least, mean and greatest, a bucket each,
//! thirty buckets a block.
//!
//! ```text
//!  block   first = 120          buckets 120 … 149 of one level
//!  count   [ 1    1    0    9 …]   u16; 0: no reading, a gap
//!  mean    [48.1 48.2  .   48.4…]  f32, or f64 where f32 would lose something
//!  min     [48.1 48.2  .   47.9…]  these two from the first bucket on in which
//!  max     [48.1 48.2  .   49.0…]  readings differ: many never do
//! ```

/// Buckets in a block. A larger one wastes more when a channel starts, a
/// smaller one more on its head.
pub(super) const BUCKETS: usize = 30;

/// What the allocator keeps beside each allocation.
pub(super) const ALLOCATION: usize = 16;

/// The most heap that a block takes whose numbers are f32.
#[cfg(test)]
pub(super) const NARROW: usize =
    size_of::<Columns<f32>>() + size_of::<Spread<f32>>() + 2 * ALLOCATION;
/// The most heap that any block takes.
pub(super) const WIDE: usize =
    size_of::<Columns<f64>>() + size_of::<Spread<f64>>() + 2 * ALLOCATION;

/// The readings of a channel in one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The least reading, in the channel's unit.
    pub min: f64,
    /// The sum of the readings divided by their number.
    pub mean: f64,
    /// The greatest reading.
    pub max: f64,
    /// How many readings, at least 1; kept buckets count to 65,535.
    pub count: u32,
    /// The numbers were kept as f32: show them as such (`48.31`, not
    /// `48.310001373291016`).
    pub single: bool,
}

impl Summary {
    /// One reading.
    pub(super) fn one(value: f64) -> Self {
        Self { min: value, mean: value, max: value, count: 1, single: false }
    }

    /// Both together.
    pub(super) fn merge(&mut self, other: &Self) {
        let (own, others) = (f64::from(self.count), f64::from(other.count));
        let all = own + others;
        // Shares, not sums: sums of huge numbers are infinite.
        let mean = self.mean * (own / all) + other.mean * (others / all);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.mean = mean.clamp(self.min, self.max);
        self.count = self.count.saturating_add(other.count);
        self.single &= other.single;
    }

    /// Whether f32 keeps it well enough: its extremes exactly, or, where it is
    /// no counter, to the seven digits of an f32 below 2^24. Sensors have fewer;
    /// larger whole numbers (bytes) must not jump in steps that nobody counted.
    fn fits_narrow(&self, counter: bool) -> bool {
        let exact = |number: f64| f64::from(number as f32) == number;
        let close = |number: f64| {
            let size = number.abs();
            !counter && (1e-30..16_777_216.0).contains(&size)
        };
        [self.min, self.max].into_iter().all(|number| exact(number) || close(number))
    }
}

/// Thirty buckets, column by column: no padding.
#[derive(Clone, Debug)]
struct Columns<N> {
    mean: [N; BUCKETS],
    count: [u16; BUCKETS],
    /// Nothing: wherever there are readings, all are like the mean.
    spread: Option<Box<Spread<N>>>,
}

#[derive(Clone, Debug)]
struct Spread<N> {
    min: [N; BUCKETS],
    max: [N; BUCKETS],
}

impl<N: Copy + Default + PartialEq + Into<f64>> Columns<N> {
    fn empty() -> Box<Self> {
        Box::new(Self { mean: [N::default(); BUCKETS], count: [0; BUCKETS], spread: None })
    }

    fn heap(&self) -> usize {
        let spread = self.spread.as_ref().map(|_| size_of::<Spread<N>>() + ALLOCATION);
        size_of::<Self>() + ALLOCATION + spread.unwrap_or_default()
    }

    fn get(&self, bucket: usize) -> Option<Summary> {
        let (mean, count) = (self.mean[bucket], self.count[bucket]);
        let spread = self.spread.as_ref();
        let (min, max) = spread.map_or((mean, mean), |at| (at.min[bucket], at.max[bucket]));
        (count > 0).then(|| Summary {
            min: min.into(),
            mean: mean.into(),
            max: max.into(),
            count: count.into(),
            single: size_of::<N>() == size_of::<f32>(),
        })
    }

    /// True when that took memory.
    fn set(&mut self, bucket: usize, summary: &Summary, number: impl Fn(f64) -> N) -> bool {
        let [min, mean, max] = [summary.min, summary.mean, summary.max].map(number);
        self.count[bucket] = u16::try_from(summary.count).unwrap_or(u16::MAX);
        self.mean[bucket] = mean;
        let grown = self.spread.is_none() && (min != mean || max != mean);
        if grown {
            self.spread = Some(Box::new(Spread { min: self.mean, max: self.mean }));
        }
        if let Some(spread) = &mut self.spread {
            spread.min[bucket] = min;
            spread.max[bucket] = max;
        }
        grown
    }
}

#[derive(Clone, Debug)]
enum Cells {
    Narrow(Box<Columns<f32>>),
    Wide(Box<Columns<f64>>),
}

/// Thirty neighbouring buckets of a level.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// The number of its first bucket, a multiple of [`BUCKETS`].
    first: i64,
    cells: Cells,
}

impl Block {
    /// The number of the first bucket of the block that holds this bucket.
    pub(super) fn first_of(bucket: i64) -> i64 {
        bucket - bucket.rem_euclid(BUCKETS as i64)
    }

    /// An empty block for buckets from `first`.
    pub(super) fn new(first: i64) -> Self {
        Self { first, cells: Cells::Narrow(Columns::empty()) }
    }

    /// The number of its first bucket.
    pub(super) fn first(&self) -> i64 {
        self.first
    }

    /// The number behind its last bucket.
    pub(super) fn end(&self) -> i64 {
        self.first + BUCKETS as i64
    }

    /// Bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        match &self.cells {
            Cells::Narrow(columns) => columns.heap(),
            Cells::Wide(columns) => columns.heap(),
        }
    }

    fn get(&self, bucket: usize) -> Option<Summary> {
        match &self.cells {
            Cells::Narrow(columns) => columns.get(bucket),
            Cells::Wide(columns) => columns.get(bucket),
        }
    }

    /// Each bucket with readings, and its number.
    pub(super) fn buckets(&self) -> impl DoubleEndedIterator<Item = (i64, Summary)> + '_ {
        (0..BUCKETS).filter_map(|bucket| Some((self.first + bucket as i64, self.get(bucket)?)))
    }

    /// Adds readings to a bucket of this block. True when that took memory.
    pub(super) fn merge(&mut self, bucket: i64, summary: &Summary, counter: bool) -> bool {
        let Ok(bucket) = usize::try_from(bucket - self.first) else { return false };
        let mut whole = *summary;
        if let Some(kept) = self.get(bucket) {
            whole.merge(&kept);
        }
        let widen = matches!(self.cells, Cells::Narrow(_)) && !whole.fits_narrow(counter);
        if widen {
            self.widen();
        }
        let spread = match &mut self.cells {
            Cells::Narrow(columns) => columns.set(bucket, &whole, |number| number as f32),
            Cells::Wide(columns) => columns.set(bucket, &whole, |number| number),
        };
        widen || spread
    }

    fn widen(&mut self) {
        let mut wide = Columns::<f64>::empty();
        for bucket in 0..BUCKETS {
            if let Some(summary) = self.get(bucket) {
                wide.set(bucket, &summary, |number| number);
            }
        }
        self.cells = Cells::Wide(wide);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The heap of blocks without a spread.
    const FLAT: [usize; 2] =
        [size_of::<Columns<f32>>() + ALLOCATION, size_of::<Columns<f64>>() + ALLOCATION];

    fn kept(values: &[f64], counter: bool) -> (Summary, usize) {
        let mut block = Block::new(60);
        for &value in values {
            block.merge(61, &Summary::one(value), counter);
        }
        let summary = block.buckets().next().expect("kept").1;
        (summary, block.heap())
    }

    #[test]
    fn a_sensors_number_is_kept_to_seven_digits_in_half_the_room() {
        let (summary, heap) = kept(&[48.31], false);
        assert_eq!((summary.min as f32, summary.single, heap), (48.31, true, FLAT[0]));
    }

    #[test]
    fn what_single_precision_would_falsify_is_kept_exactly() {
        let bytes = 1_099_511_627_777.0; // 2^40 + 1
        for (value, counter) in [(bytes, false), (12_345.678_9, true), (1e300, false)] {
            let (summary, heap) = kept(&[value], counter);
            assert_eq!((summary.max, summary.single, heap), (value, false, FLAT[1]), "{value}");
        }
        // Whole numbers and what the kernel counts in pages are exact as they are.
        for value in [16_777_215.0, 4096.0 * 1_000_000.0] {
            assert_eq!(kept(&[value], true).0.max, value);
            assert_eq!(kept(&[value], true).1, FLAT[0]);
        }
    }

    #[test]
    fn a_block_that_widens_keeps_what_it_had() {
        let (summary, heap) = kept(&[1.5, 0.5, 1e12 + 1.0], false);
        assert_eq!((summary.min, summary.max, heap), (0.5, 1e12 + 1.0, WIDE));
        assert!((summary.mean - (1e12 + 3.0) / 3.0).abs() < 1e-3);
        assert_eq!(summary.count, 3);
    }

    #[test]
    fn the_extremes_take_room_once_they_differ() {
        assert_eq!(kept(&[1.5, 1.5], false).1, FLAT[0]);
        let (summary, heap) = kept(&[1.5, 2.5], false);
        assert_eq!((summary.min, summary.mean, summary.max, heap), (1.5, 2.0, 2.5, NARROW));
    }

    #[test]
    fn the_mean_of_the_greatest_numbers_is_finite() {
        let (summary, _) = kept(&[f64::MAX, f64::MAX, f64::MAX], false);
        assert_eq!((summary.min, summary.mean, summary.max), (f64::MAX, f64::MAX, f64::MAX));
    }

    #[test]
    fn blocks_begin_at_multiples_on_both_sides_of_zero() {
        assert_eq!([-31, -30, -1, 0, 29, 30].map(Block::first_of), [-60, -30, -30, 0, 0, 30]);
    }
}
