//! What one source hands over at once: a small table.
//!
//! Rows are instants, columns are channels. Mostly there is one row; a fast
//! sensor sends many rows in one batch.

use std::time::Duration;

use super::{BootTime, ChannelId, Value};

/// Readings of one or more channels at one or more instants.
///
/// ```text
///              ax     ay     az        columns: channels
///  t          0.01   0.02   9.81
///  t + 1 ms   0.02   0.02   9.80       rows: instants, ascending
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The instant of the first row.
    start: BootTime,
    /// For each further row, its distance from `start`. Empty: one row.
    later: Vec<Duration>,
    channels: Vec<ChannelId>,
    /// Column after column, each of `rows()` values.
    values: Vec<Value>,
}

impl Batch {
    /// An empty batch of one row.
    pub fn at(instant: BootTime) -> Self {
        Self::rows_at(instant, Vec::new())
    }

    /// An empty batch of `1 + later.len()` rows; `later` holds the distances
    /// of the further rows from the first, ascending.
    pub fn rows_at(start: BootTime, later: Vec<Duration>) -> Self {
        Self { start, later, channels: Vec::new(), values: Vec::new() }
    }

    /// Adds a column to a batch of one row, or one whose value is the same in
    /// all rows.
    pub fn set(&mut self, channel: ChannelId, value: impl Into<Value>) {
        let value = value.into();
        self.column(channel, std::iter::repeat(value));
    }

    /// Adds a column. Values beyond the rows are left out; missing ones are null.
    pub fn column(&mut self, channel: ChannelId, values: impl IntoIterator<Item = Value>) {
        let rows = self.rows();
        self.channels.push(channel);
        let end = self.channels.len() * rows;
        self.values.extend(values.into_iter().take(rows));
        self.values.resize(end, Value::Null);
    }

    /// The number of rows, at least 1.
    pub fn rows(&self) -> usize {
        1 + self.later.len()
    }

    /// Whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// The instant of the first row.
    pub fn start(&self) -> BootTime {
        self.start
    }

    /// The instant of the last row.
    pub fn end(&self) -> BootTime {
        self.start + self.later.last().copied().unwrap_or_default()
    }

    /// The distances of the rows from [`start`](Self::start), the first included.
    pub fn offsets(&self) -> impl Iterator<Item = Duration> + '_ {
        std::iter::once(Duration::ZERO).chain(self.later.iter().copied())
    }

    /// Each channel with its column of values.
    pub fn columns(&self) -> impl Iterator<Item = (ChannelId, &[Value])> {
        self.channels.iter().copied().zip(self.values.chunks_exact(self.rows()))
    }

    /// Memory that the batch takes, in bytes, for budgets.
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.later)
            + size_of_val(&*self.channels)
            + size_of_val(&*self.values)
            + self.values.iter().map(Value::heap).sum::<usize>()
    }

    /// Drops the columns of channels that `keep` does not want.
    pub(crate) fn retain(&mut self, keep: impl Fn(ChannelId) -> bool) {
        if self.channels.iter().all(|&id| keep(id)) {
            return;
        }
        let rows = self.rows();
        let kept: Vec<bool> = self.channels.iter().map(|&id| keep(id)).collect();
        let mut value = 0..;
        self.values.retain(|_| value.next().is_some_and(|number: usize| kept[number / rows]));
        self.channels.retain(|&id| keep(id));
    }

    /// Hands out each column, to be changed.
    pub(crate) fn adjust(&mut self, mut change: impl FnMut(ChannelId, &mut [Value])) {
        let rows = self.rows();
        for (&id, values) in self.channels.iter().zip(self.values.chunks_exact_mut(rows)) {
            change(id, values);
        }
    }

    /// Leaves out the values that `take` does not want; it is asked column by
    /// column, row by row. An empty place would mean that there was no
    /// reading, so only columns of which the same rows are left stay together.
    /// The batches are in the order of their first rows.
    pub(crate) fn thin(
        self,
        mut take: impl FnMut(ChannelId, BootTime, &Value) -> bool,
    ) -> Vec<Self> {
        let mut taken = Vec::with_capacity(self.values.len());
        for (id, values) in self.columns() {
            let instants = self.offsets().map(|offset| self.start + offset);
            taken.extend(instants.zip(values).map(|(at, value)| take(id, at, value)));
        }
        if taken.iter().all(|&taken| taken) {
            return vec![self];
        }
        let mut parts: Vec<(&[bool], Self)> = Vec::new();
        for ((id, values), rows) in self.columns().zip(taken.chunks_exact(self.rows())) {
            let known = parts.iter().position(|(others, _)| *others == rows);
            let place = known.or_else(|| {
                parts.push((rows, self.with_rows(rows)?));
                Some(parts.len() - 1)
            });
            if let Some(place) = place {
                let left = values.iter().zip(rows).filter(|(_, taken)| **taken);
                parts[place].1.column(id, left.map(|(value, _)| value.clone()));
            }
        }
        parts.sort_by_key(|(_, part)| part.start);
        parts.into_iter().map(|(_, part)| part).collect()
    }

    /// An empty batch of some of the rows; `None` when it is none of them.
    fn with_rows(&self, wanted: &[bool]) -> Option<Self> {
        let offsets = self.offsets().zip(wanted).filter(|(_, wanted)| **wanted);
        let mut offsets = offsets.map(|(offset, _)| offset);
        let first = offsets.next()?;
        let later = offsets.map(|offset| offset.saturating_sub(first)).collect();
        Some(Self::rows_at(self.start + first, later))
    }

    /// Gives back the room that filling it has left over.
    pub(crate) fn shrink(&mut self) {
        self.later.shrink_to_fit();
        self.channels.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    /// Halves a batch, by its rows while there are several, so that the halves
    /// follow each other in time; then by its columns. Returns the second half;
    /// `None` when there is but one value.
    pub(crate) fn split(&mut self) -> Option<Self> {
        if self.later.is_empty() { self.split_columns() } else { Some(self.split_rows()) }
    }

    fn split_columns(&mut self) -> Option<Self> {
        let half = self.channels.len() / 2;
        if half == 0 {
            return None;
        }
        let values = self.values.split_off(half);
        let channels = self.channels.split_off(half);
        Some(Self { start: self.start, later: Vec::new(), channels, values })
    }

    fn split_rows(&mut self) -> Self {
        let rows = self.rows();
        let half = rows / 2;
        let mut later = self.later.split_off(half - 1);
        let distance = later.remove(0);
        for offset in &mut later {
            *offset = offset.saturating_sub(distance);
        }
        let second = |number: usize| number % rows >= half;
        let numbered = std::mem::take(&mut self.values).into_iter().enumerate();
        let (behind, before): (Vec<_>, Vec<_>) = numbered.partition(|(number, _)| second(*number));
        let values = |list: Vec<(usize, Value)>| list.into_iter().map(|(_, value)| value).collect();
        self.values = values(before);
        let (start, channels) = (self.start + distance, self.channels.clone());
        Self { start, later, channels, values: values(behind) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_as_many_values_as_there_are_rows() {
        let step = Duration::from_millis(1);
        let mut batch = Batch::rows_at(BootTime::default(), vec![step, step * 2]);
        batch.column(ChannelId(4), [1.0, 2.0].map(Value::from));
        batch.set(ChannelId(5), true);
        let columns: Vec<_> = batch.columns().collect();
        assert_eq!(columns[0], (ChannelId(4), &[1.0.into(), 2.0.into(), Value::Null][..]));
        assert_eq!(columns[1].1, [Value::Bool(true), Value::Bool(true), Value::Bool(true)]);
        assert_eq!(batch.end().since(batch.start()), step * 2);
    }

    #[test]
    fn columns_can_be_dropped_with_all_their_rows() {
        let mut batch = Batch::rows_at(BootTime::default(), vec![Duration::from_secs(1)]);
        for id in 0..3 {
            batch.column(ChannelId(id), [id, id + 10].map(|n| Value::from(f64::from(n))));
        }
        batch.retain(|id| id != ChannelId(1));
        let columns: Vec<_> = batch.columns().collect();
        assert_eq!(columns[0], (ChannelId(0), &[0.0.into(), 10.0.into()][..]));
        assert_eq!(columns[1], (ChannelId(2), &[2.0.into(), 12.0.into()][..]));
        assert_eq!(columns.len(), 2);
    }

    /// Rows in milliseconds; of each column its number and its numbers.
    type Plain = (Vec<u128>, Vec<(u32, Vec<f64>)>);

    fn plain(batch: &Batch) -> Plain {
        let instants = batch.offsets().map(|o| (batch.start() + o).since_boot().as_millis());
        let numbers = |values: &[Value]| values.iter().filter_map(Value::as_f64).collect();
        (instants.collect(), batch.columns().map(|(id, v)| (id.0, numbers(v))).collect())
    }

    #[test]
    fn columns_that_lose_the_same_rows_stay_together() {
        let millis = Duration::from_millis;
        let mut batch = Batch::rows_at(BootTime::new(millis(100)), vec![millis(1), millis(2)]);
        for id in 0..4_u32 {
            batch.column(ChannelId(id), (0..3).map(|row| f64::from(10 * id + row).into()));
        }
        let whole = batch.clone().thin(|_, _, _| true);
        assert_eq!(whole, [batch.clone()]);
        assert_eq!(batch.clone().thin(|_, _, _| false), []);
        let parts = batch.thin(|id, at, value| {
            let row = at.since_boot().as_millis() - 100;
            assert_eq!(value.as_f64(), Some(f64::from(10 * id.0) + row as f64));
            [row > 0, row != 1, row != 1, false][id.0 as usize]
        });
        let parts: Vec<Plain> = parts.iter().map(plain).collect();
        let both = vec![(1, vec![10.0, 12.0]), (2, vec![20.0, 22.0])];
        assert_eq!(parts, [(vec![100, 102], both), (vec![101, 102], vec![(0, vec![1.0, 2.0])])]);
    }

    #[test]
    fn splitting_keeps_every_column_once() {
        let mut left = Batch::at(BootTime::default());
        for id in 0..5 {
            left.set(ChannelId(id), f64::from(id));
        }
        let right = left.split().expect("five columns can be split");
        let ids: Vec<_> =
            left.columns().chain(right.columns()).map(|(id, v)| (id.0, v[0].clone())).collect();
        assert_eq!(ids, (0..5).map(|id| (id, Value::Number(f64::from(id)))).collect::<Vec<_>>());
        let mut single = Batch::at(BootTime::default());
        single.set(ChannelId(0), 1.0);
        assert_eq!(single.split(), None);
    }

    #[test]
    fn rows_are_split_before_columns_and_keep_their_instants() {
        let millis = Duration::from_millis;
        let mut left = Batch::rows_at(BootTime::default(), [1, 2, 5, 9].map(millis).to_vec());
        for id in 0..2 {
            left.column(ChannelId(id), (0..5).map(|row| f64::from(10 * id + row).into()));
        }
        let right = left.split().expect("five rows can be split");
        let rows = |batch: &Batch| -> Vec<_> {
            batch.offsets().map(|offset| batch.start() + offset).collect()
        };
        let all: Vec<_> = rows(&left).into_iter().chain(rows(&right)).collect();
        assert_eq!(all, [0, 1, 2, 5, 9].map(|at| BootTime::new(millis(at))));
        let numbers = |batch: &Batch| -> Vec<Vec<f64>> {
            batch.columns().map(|(_, v)| v.iter().filter_map(Value::as_f64).collect()).collect()
        };
        assert_eq!(numbers(&left), [[0.0, 1.0], [10.0, 11.0]]);
        assert_eq!(numbers(&right), [[2.0, 3.0, 4.0], [12.0, 13.0, 14.0]]);
    }
}
