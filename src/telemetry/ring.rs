//! The last batches, in a fixed budget of bytes.
//!
//! Everyone who is behind reads from here by sequence number, so that a slow
//! client costs a number and not a queue. The forms of a batch (what was
//! encoded of it, for whom) are kept beside it within the same budget: in an
//! eighth that batches leave free, so that the newest, which everyone is about
//! to need, has room for its forms when the ring is full, too. The oldest go first.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Batch, Origin};

/// Memory that an entry takes beside its batch and its forms: itself and the
/// headers of its four allocations.
const OVERHEAD: usize = size_of::<Entry>() + 4 * 16;

/// One form of a batch, under the name that its maker gave it: bytes, or the
/// knowledge that there is nothing in it for whoever asked.
type Form = (u64, Option<Bytes>);

#[derive(Debug)]
struct Entry {
    batch: Batch,
    forms: Vec<Form>,
    /// What the forms take. Bytes that two of them share count once.
    forms_size: usize,
}

impl Entry {
    fn size(&self) -> usize {
        OVERHEAD + self.batch.size() + self.forms_size
    }

    fn keep(&mut self, name: u64, frame: Option<Bytes>) {
        let shared = |frame: &Bytes| {
            let of_form = |form: &Form| form.1.as_ref().map(|other| other.as_ptr());
            self.forms.iter().any(|form| of_form(form) == Some(frame.as_ptr()))
        };
        let bytes = frame.as_ref().filter(|frame| !shared(frame)).map_or(0, Bytes::len);
        self.forms_size += size_of::<Form>() + bytes;
        self.forms.reserve_exact(1);
        self.forms.push((name, frame));
    }

    /// Drops the forms; what that frees.
    fn forget(&mut self) -> usize {
        self.forms = Vec::new();
        std::mem::take(&mut self.forms_size)
    }
}

/// A run of batches with consecutive sequence numbers.
#[derive(Debug)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// In a fleet's ring, whose each entry is; elsewhere empty.
    origins: VecDeque<Origin>,
    /// The sequence number of the first entry, or of the next one to come.
    first: u64,
    /// No entry before this one has a form.
    first_formed: u64,
    bytes: usize,
    /// What the forms take of that.
    of_forms: usize,
    budget: usize,
}

impl Ring {
    /// A ring whose first batch will have the number `first`.
    pub(super) fn new(first: u64, budget: usize) -> Self {
        let (entries, origins) = Default::default();
        Self { entries, origins, first, first_formed: first, bytes: 0, of_forms: 0, budget }
    }

    /// The oldest sequence number that is still here (the next one, if none is).
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The bytes that batches and forms take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of batches.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Appends a batch, which gets the next number.
    pub(super) fn push(&mut self, batch: Batch) {
        let entry = Entry { batch, forms: Vec::new(), forms_size: 0 };
        self.bytes += entry.size();
        self.entries.push_back(entry);
        self.shrink(&mut |_, _| {});
    }

    /// As [`push`](Self::push), with whose it is: all are, in a ring, or none.
    /// `gone` is told the number and the origin of what has to make room for it.
    pub(super) fn push_from(
        &mut self,
        batch: Batch,
        origin: Origin,
        gone: &mut dyn FnMut(u64, &Origin),
    ) {
        let entry = Entry { batch, forms: Vec::new(), forms_size: 0 };
        self.bytes += entry.size() + size_of::<Origin>();
        self.entries.push_back(entry);
        self.origins.push_back(origin);
        self.shrink(gone);
    }

    fn index(&self, seq: u64) -> Option<usize> {
        let index = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        (index < self.entries.len()).then_some(index)
    }

    /// Batch `seq`, if it is still here.
    pub(super) fn batch(&self, seq: u64) -> Option<&Batch> {
        Some(&self.entries[self.index(seq)?].batch)
    }

    /// Whose batch `seq` is, if it is still here and a device's of a fleet.
    pub(super) fn origin(&self, seq: u64) -> Option<&Origin> {
        self.origins.get(self.index(seq)?)
    }

    /// The form of this name of batch `seq`, if it is kept.
    pub(super) fn form(&self, seq: u64, name: u64) -> Option<&Option<Bytes>> {
        let entry = &self.entries[self.index(seq)?];
        entry.forms.iter().find(|form| form.0 == name).map(|form| &form.1)
    }

    /// Keeps a form of batch `seq`, while there is room.
    pub(super) fn keep(&mut self, seq: u64, name: u64, frame: Option<Bytes>) {
        let Some(index) = self.index(seq) else { return };
        let entry = &mut self.entries[index];
        let before = entry.forms_size;
        entry.keep(name, frame);
        let more = entry.forms_size - before;
        self.bytes += more;
        self.of_forms += more;
        self.first_formed = self.first_formed.min(seq);
        // Forms alone make room for forms.
        self.shrink(&mut |_, _| {});
    }

    /// Drops every form: what they say no longer holds.
    pub(super) fn forget_forms(&mut self) {
        self.bytes -= self.entries.iter_mut().map(Entry::forget).sum::<usize>();
        self.of_forms = 0;
    }

    /// Keeps the budget. The newest batch stays whatever its size: it is at
    /// most one of the bounded batches over.
    fn shrink(&mut self, gone: &mut dyn FnMut(u64, &Origin)) {
        let for_batches = self.budget - self.budget / 8;
        while self.bytes - self.of_forms > for_batches && self.entries.len() > 1 {
            let Some(entry) = self.entries.pop_front() else { break };
            self.bytes -= entry.size();
            self.of_forms -= entry.forms_size;
            if let Some(origin) = self.origins.pop_front() {
                self.bytes -= size_of::<Origin>();
                gone(self.first, &origin);
            }
            self.first += 1;
        }
        self.first_formed = self.first_formed.max(self.first);
        let end = self.first + self.entries.len() as u64;
        while self.bytes > self.budget && self.first_formed < end {
            let index = (self.first_formed - self.first) as usize;
            let freed = self.entries[index].forget();
            self.bytes -= freed;
            self.of_forms -= freed;
            self.first_formed += 1;
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

    fn form(length: usize) -> Option<Bytes> {
        Some(Bytes::from(vec![b'x'; length]))
    }

    #[test]
    fn forms_are_kept_by_name() {
        let mut ring = Ring::new(7, 100_000);
        ring.push(batch(3));
        assert_eq!(ring.form(7, 1), None);
        ring.keep(7, 1, form(3));
        ring.keep(7, 2, None);
        assert_eq!(ring.form(7, 1), Some(&form(3)));
        assert_eq!(ring.form(7, 2), Some(&None), "known to hold nothing");
        assert_eq!((ring.form(6, 1), ring.form(8, 1), ring.form(7, 3)), (None, None, None));
        assert_eq!(ring.batch(7).map(Batch::len), Some(3));
        assert!(ring.batch(6).is_none() && ring.batch(8).is_none());
        // Nobody minds what comes too late.
        ring.keep(6, 1, form(3));
        ring.forget_forms();
        assert_eq!(ring.form(7, 1), None);
        assert_eq!(ring.bytes(), OVERHEAD + batch(3).size());
    }

    #[test]
    fn bytes_that_two_forms_share_count_once() {
        let mut ring = Ring::new(0, 100_000);
        ring.push(batch(1));
        let before = ring.bytes();
        let frame = form(1000);
        ring.keep(0, 1, frame.clone());
        ring.keep(0, 2, frame);
        assert_eq!(ring.bytes() - before, 1000 + 2 * size_of::<Form>());
    }

    #[test]
    fn the_budget_holds_and_the_newest_forms_have_room() {
        let one = OVERHEAD + batch(10).size();
        let of_form = size_of::<Form>() + 150;
        // Of so much an eighth is left by ten batches: room for their newest forms.
        let budget = one * 10 * 8 / 7 + 8;
        let mut ring = Ring::new(0, budget);
        for seq in 0..1000 {
            ring.push(batch(10));
            ring.keep(seq, 0, form(150));
            assert!(ring.bytes() <= budget);
            assert!(ring.form(seq, 0).is_some(), "the newest has one");
        }
        assert_eq!((ring.first(), ring.len()), (990, 10));
        let room = (budget - one * 10) / of_form;
        let kept: Vec<_> = (990..1000).filter(|&seq| ring.form(seq, 0).is_some()).collect();
        assert!((2..10).contains(&room), "{room}: the test tells nothing");
        assert_eq!(kept, (1000 - room as u64..1000).collect::<Vec<_>>(), "the oldest go first");
        ring.forget_forms();
        assert_eq!((ring.bytes(), ring.of_forms), (one * 10, 0));
    }

    #[test]
    fn the_newest_batch_stays_even_if_it_is_larger_than_the_budget() {
        let mut ring = Ring::new(0, 10);
        ring.push(batch(1));
        ring.push(batch(100));
        assert_eq!((ring.first(), ring.len()), (1, 1));
        ring.keep(1, 0, form(1));
        assert_eq!(ring.form(1, 0), None, "there is no room for a form");
    }
}
