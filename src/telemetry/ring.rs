//! The last batches, in a fixed budget of bytes.
//!
//! Everyone who is behind reads from here by sequence number, so that a slow
//! client costs a number and not a queue. The encoded form of a batch is kept
//! beside it within the same budget; when room is short, the oldest encodings
//! go first (they can be made again), then the oldest batches.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Batch;

/// Memory that an entry takes beside its batch and its encoding: itself and
/// the headers of its four allocations.
const OVERHEAD: usize = size_of::<Entry>() + 4 * 16;

#[derive(Debug)]
struct Entry {
    batch: Batch,
    encoded: Option<Bytes>,
}

impl Entry {
    fn size(&self) -> usize {
        OVERHEAD + self.batch.size()
    }
}

/// A run of batches with consecutive sequence numbers.
#[derive(Debug)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// The sequence number of the first entry, or of the next one to come.
    first: u64,
    /// No entry before this one has an encoding.
    first_encoded: u64,
    bytes: usize,
    budget: usize,
}

impl Ring {
    /// A ring whose first batch will have the number `first`.
    pub(super) fn new(first: u64, budget: usize) -> Self {
        Self { entries: VecDeque::new(), first, first_encoded: first, bytes: 0, budget }
    }

    /// The oldest sequence number that is still here (the next one, if none is).
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The bytes that batches and encodings take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of batches.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Appends a batch, which gets the next number.
    pub(super) fn push(&mut self, batch: Batch) {
        let entry = Entry { batch, encoded: None };
        self.bytes += entry.size();
        self.entries.push_back(entry);
        self.shrink();
    }

    /// The encoded form of batch `seq`, made by `encode` when it is not kept;
    /// `None` when the batch is not here.
    pub(super) fn encoded(
        &mut self,
        seq: u64,
        encode: impl FnOnce(&Batch) -> Bytes,
    ) -> Option<Bytes> {
        let index = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        let entry = self.entries.get_mut(index)?;
        if let Some(encoded) = &entry.encoded {
            return Some(encoded.clone());
        }
        let encoded = encode(&entry.batch);
        entry.encoded = Some(encoded.clone());
        self.bytes += encoded.len();
        self.first_encoded = self.first_encoded.min(seq);
        self.shrink();
        Some(encoded)
    }

    /// Keeps the budget. The newest batch stays whatever its size: it is at
    /// most one of the bounded batches over.
    fn shrink(&mut self) {
        let end = self.first + self.entries.len() as u64;
        while self.bytes > self.budget && self.first_encoded < end {
            let index = (self.first_encoded - self.first) as usize;
            if let Some(encoded) = self.entries[index].encoded.take() {
                self.bytes -= encoded.len();
            }
            self.first_encoded += 1;
        }
        while self.bytes > self.budget && self.entries.len() > 1 {
            let Some(entry) = self.entries.pop_front() else { break };
            self.bytes -= entry.size() + entry.encoded.map_or(0, |encoded| encoded.len());
            self.first += 1;
            self.first_encoded = self.first_encoded.max(self.first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{BootTime, ChannelId};

    fn batch(columns: u32) -> Batch {
        let mut batch = Batch::at(BootTime::default());
        for id in 0..columns {
            batch.set(ChannelId(id), 1.0);
        }
        batch
    }

    fn text(batch: &Batch) -> Bytes {
        Bytes::from(vec![b'x'; batch.len()])
    }

    #[test]
    fn a_batch_is_encoded_once() {
        let mut ring = Ring::new(7, 100_000);
        ring.push(batch(3));
        assert_eq!(ring.encoded(7, text).expect("kept"), "xxx");
        let again = ring.encoded(7, |_| panic!("encoded a second time"));
        assert_eq!(again.expect("kept"), "xxx");
        assert_eq!(ring.encoded(6, text), None);
        assert_eq!(ring.encoded(8, text), None);
    }

    #[test]
    fn the_budget_holds_and_encodings_go_before_batches() {
        let one = Entry { batch: batch(10), encoded: None }.size();
        let mut ring = Ring::new(0, one * 10 + 25);
        for seq in 0..10 {
            ring.push(batch(10));
            ring.encoded(seq, text);
        }
        // Ten batches fit, and two of their encodings.
        assert_eq!((ring.first(), ring.len()), (0, 10));
        assert_eq!(ring.encoded(9, |_| panic!("the newest was evicted")).expect("kept").len(), 10);
        let mut again = 0;
        ring.encoded(0, |batch| {
            again += 1;
            text(batch)
        });
        assert_eq!(again, 1, "the oldest encoding should have gone first");
        for _ in 0..1000 {
            ring.push(batch(10));
            assert!(ring.bytes() <= one * 10 + 25);
        }
        assert_eq!((ring.first(), ring.len()), (1000, 10));
    }

    #[test]
    fn the_newest_batch_stays_even_if_it_is_larger_than_the_budget() {
        let mut ring = Ring::new(0, 10);
        ring.push(batch(1));
        ring.push(batch(100));
        assert_eq!((ring.first(), ring.len()), (1, 1));
        assert!(ring.encoded(1, text).is_some());
    }
}
