//! Values that wait to be published together.
//!
//! ```text
//!  lines that arrive together          the table: rows are instants
//!  a=1                                      a    b
//!  b=5                                 t    1    5
//!  a=2 b=6                             t    2    6
//!  a=3                                 t    3
//! ```
//!
//! A value takes the first row of its instant that is free in its column and
//! in those of the other values of its line. Columns that fill the same rows
//! become one batch: above, none of `a`'s rows is empty for `b`'s sake, since
//! an empty place would mean that there was no reading.

use super::{BootTime, ChannelId, Value};
use crate::telemetry::Batch;

/// More values than this are published before others come: 32 KiB of batch.
const MAX_VALUES: usize = 1024;
/// More bytes of text than this, too.
const MAX_TEXTS: usize = 32 * 1024;

/// A bounded table of values.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The instants, ascending; the same one several times where a channel has
    /// several values of one instant.
    rows: Vec<BootTime>,
    columns: Vec<Column>,
    /// For each channel, by its number, its column.
    places: Vec<Option<usize>>,
    values: usize,
    texts: usize,
}

#[derive(Debug)]
struct Column {
    id: ChannelId,
    /// In which rows it has values, ascending.
    rows: Vec<u16>,
    values: Vec<Value>,
}

impl Column {
    /// The first row that may be its next.
    fn next(&self) -> usize {
        self.rows.last().map_or(0, |&row| usize::from(row) + 1)
    }
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.values == 0
    }

    /// Whether it should be emptied before so many values are added.
    pub(super) fn is_full(&self, more: usize) -> bool {
        let full = self.values + more > MAX_VALUES || self.texts > MAX_TEXTS;
        full && !self.is_empty()
    }

    /// Seats values of one instant, in one row where no channel comes twice.
    /// False, with what is left in `values`, when the instant lies before
    /// others that are in the table: empty it first.
    pub(super) fn seat(&mut self, at: BootTime, values: &mut Vec<(ChannelId, Value)>) -> bool {
        let first = values.iter().map(|(id, _)| self.next(*id)).max().unwrap_or(0);
        let Some(mut row) = self.row(at, first) else { return false };
        let mut seated = 0;
        let mut all = true;
        for (id, value) in &*values {
            let next = self.next(*id);
            if next > row {
                match self.row(at, next) {
                    Some(later) => row = later,
                    None => {
                        all = false;
                        break;
                    }
                }
            }
            self.put(*id, row, value.clone());
            seated += 1;
        }
        values.drain(..seated);
        all
    }

    /// The first row of an instant that is not before `first`; made, when it
    /// would be the last.
    fn row(&mut self, at: BootTime, first: usize) -> Option<usize> {
        let row = self.rows.partition_point(|row| *row < at).max(first);
        if row == self.rows.len() && self.rows.last().is_none_or(|last| *last <= at) {
            self.rows.push(at);
        }
        (self.rows.get(row) == Some(&at)).then_some(row)
    }

    fn next(&self, id: ChannelId) -> usize {
        let place = self.places.get(id.get() as usize).copied().flatten();
        place.map_or(0, |place| self.columns[place].next())
    }

    fn put(&mut self, id: ChannelId, row: usize, value: Value) {
        let number = id.get() as usize;
        if number >= self.places.len() {
            self.places.resize(number + 1, None);
        }
        let place = *self.places[number].get_or_insert_with(|| {
            self.columns.push(Column { id, rows: Vec::new(), values: Vec::new() });
            self.columns.len() - 1
        });
        self.values += 1;
        self.texts += if let Value::Text(text) = &value { text.len() } else { 0 };
        let column = &mut self.columns[place];
        // There are at most as many rows as values: see `is_full`.
        column.rows.push(row as u16);
        column.values.push(value);
    }

    /// Makes batches of all values and empties the table.
    pub(super) fn empty_into(&mut self, mut publish: impl FnMut(Batch)) {
        let mut columns = std::mem::take(&mut self.columns);
        for column in &columns {
            self.places[column.id.get() as usize] = None;
        }
        // By their first rows, so that batches come in the order of time.
        columns.sort_by(|one, other| one.rows.cmp(&other.rows));
        for alike in columns.chunk_by_mut(|one, other| one.rows == other.rows) {
            let instants = alike[0].rows.iter().map(|&row| self.rows[usize::from(row)]);
            let mut instants = instants.collect::<Vec<_>>().into_iter();
            let start = instants.next().unwrap_or_default();
            let later = instants.map(|instant| instant.since(start)).collect();
            let mut batch = Batch::rows_at(start, later);
            for column in alike {
                batch.column(column.id, column.values.drain(..));
            }
            publish(batch);
        }
        self.rows.clear();
        (self.values, self.texts) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> BootTime {
        BootTime::new(Duration::from_millis(millis))
    }

    fn a() -> ChannelId {
        ChannelId(0)
    }

    fn b() -> ChannelId {
        ChannelId(1)
    }

    fn seat(table: &mut Table, millis: u64, values: &[(ChannelId, f64)]) -> bool {
        let mut row = values.iter().map(|(id, value)| (*id, Value::from(*value))).collect();
        table.seat(at(millis), &mut row)
    }

    type Columns = Vec<(u32, Vec<f64>)>;

    /// Each batch: its instants in milliseconds, its columns.
    fn batches(table: &mut Table) -> Vec<(Vec<u128>, Columns)> {
        let mut list = Vec::new();
        table.empty_into(|batch| {
            let instants = batch.offsets().map(|o| (batch.start() + o).since_boot().as_millis());
            let column = |values: &[Value]| values.iter().filter_map(Value::as_f64).collect();
            let columns = batch.columns().map(|(id, values)| (id.get(), column(values)));
            list.push((instants.collect(), columns.collect()));
        });
        assert!(table.is_empty());
        list
    }

    #[test]
    fn values_of_one_instant_share_rows_and_no_place_is_empty() {
        let mut table = Table::default();
        for row in [&[(a(), 1.0)][..], &[(b(), 5.0)], &[(a(), 2.0), (b(), 6.0)], &[(a(), 3.0)]] {
            assert!(seat(&mut table, 7, row));
        }
        let columns = vec![(1, vec![5.0, 6.0])];
        let longer = vec![(0, vec![1.0, 2.0, 3.0])];
        assert_eq!(batches(&mut table), [(vec![7, 7], columns), (vec![7, 7, 7], longer)]);
        assert!(seat(&mut table, 3, &[(b(), 1.0), (a(), 2.0)]));
        assert_eq!(batches(&mut table), [(vec![3], vec![(1, vec![1.0]), (0, vec![2.0])])]);
    }

    #[test]
    fn rows_ascend_and_an_earlier_instant_waits_for_an_empty_table() {
        let mut table = Table::default();
        assert!(seat(&mut table, 10, &[(a(), 1.0)]));
        assert!(seat(&mut table, 20, &[(a(), 2.0)]));
        assert!(seat(&mut table, 10, &[(b(), 3.0)]), "the row is there, and free for b");
        assert!(!seat(&mut table, 10, &[(a(), 4.0)]), "a has a later one");
        assert!(!seat(&mut table, 5, &[(b(), 4.0)]));
        let expected =
            [(vec![10], vec![(1, vec![3.0])]), (vec![10, 20], vec![(0, vec![1.0, 2.0])])];
        assert_eq!(batches(&mut table), expected);
    }

    #[test]
    fn a_channel_twice_in_a_line_takes_two_rows() {
        let mut table = Table::default();
        assert!(seat(&mut table, 1, &[(a(), 1.0), (b(), 2.0), (a(), 3.0)]));
        let expected = [(vec![1], vec![(1, vec![2.0])]), (vec![1, 1], vec![(0, vec![1.0, 3.0])])];
        assert_eq!(batches(&mut table), expected);
    }

    #[test]
    fn it_is_full_by_values_and_by_texts() {
        let mut table = Table::default();
        assert!(!table.is_full(10_000), "an empty one takes whatever one line holds");
        for value in 0..MAX_VALUES {
            assert!(!table.is_full(1), "{value}");
            seat(&mut table, value as u64, &[(a(), 1.0)]);
        }
        assert!(table.is_full(1));
        let mut table = Table::default();
        let text = || vec![(b(), Value::from("x".repeat(1024).as_str()))];
        for _ in 0..=32 {
            assert!(!table.is_full(1));
            table.seat(at(1), &mut text());
        }
        assert!(table.is_full(1));
    }
}
