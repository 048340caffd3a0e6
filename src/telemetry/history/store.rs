//! All series, and the budget that they share.

use super::{
    super::{Channel, ChannelId, ChannelName, Kind},
    block::ALLOCATION,
    series::{LEAST, Series},
};

/// Places in the lists are added as many at a time.
const PLACES: usize = 64;

/// One channel's history.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: ChannelName,
    pub(super) series: Box<Series>,
    /// What the series takes.
    heap: usize,
}

impl Entry {
    pub(super) fn new(name: ChannelName, series: Series) -> Self {
        Self { name, heap: series.heap(), series: Box::new(series) }
    }

    /// What it takes beside its buckets.
    fn fixed(&self) -> usize {
        size_of::<Series>() + self.name.as_str().len() + 2 * ALLOCATION
    }

    /// Counts anew what the series takes; `all` is what all take.
    fn count(&mut self, all: &mut usize) {
        let heap = self.series.heap();
        *all = *all + heap - self.heap;
        self.heap = heap;
    }
}

/// Plain data behind [`History`](super::History)'s lock.
#[derive(Debug)]
pub(super) struct Store {
    budget: usize,
    /// By the number of the channel.
    entries: Vec<Option<Entry>>,
    /// Read from a file, and not declared by a source so far.
    early: Vec<Entry>,
    count: usize,
    /// What all entries take.
    bytes: usize,
    /// What all entries take beside their series.
    fixed: usize,
}

impl Store {
    pub(super) fn new(budget: usize) -> Self {
        Self { budget, entries: Vec::new(), early: Vec::new(), count: 0, bytes: 0, fixed: 0 }
    }

    /// Bytes that everything takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.lists()
    }

    /// The most that it may take.
    pub(super) fn budget(&self) -> usize {
        self.budget
    }

    fn lists(&self) -> usize {
        (self.entries.capacity() + self.early.capacity()) * size_of::<Option<Entry>>()
    }

    /// The number of channels.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, id: ChannelId) -> Option<&Entry> {
        self.entries.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten().chain(&self.early)
    }

    /// Notes readings of a channel: milliseconds and numbers.
    pub(super) fn note(
        &mut self,
        id: ChannelId,
        channel: &Channel,
        numbers: impl Iterator<Item = (i64, f64)>,
    ) {
        if self.get(id).is_none() && !self.begin(id, channel) {
            return;
        }
        let Some(Some(entry)) = self.entries.get_mut(id.0 as usize) else { return };
        let grown = numbers.fold(false, |grown, (at, value)| entry.series.note(at, value) | grown);
        if grown {
            entry.count(&mut self.bytes);
            self.keep_budget();
        }
    }

    /// Makes a place for a channel, or takes what a file had of it. False when
    /// there is no room for one more.
    fn begin(&mut self, id: ChannelId, channel: &Channel) -> bool {
        let early = self.early.iter().position(|entry| entry.name == channel.name);
        let entry = match early {
            Some(place) => self.early.swap_remove(place),
            None => {
                let series = Series::new(channel.kind == Kind::Counter);
                let entry = Entry::new(channel.name.clone(), series);
                if !self.admit(&entry) {
                    return false;
                }
                entry
            }
        };
        let place = id.0 as usize;
        if self.entries.len() <= place {
            self.entries.reserve_exact((place + 1 - self.entries.len()).max(PLACES));
            self.entries.resize_with(place + 1, || None);
        }
        self.entries[place] = Some(entry);
        true
    }

    /// Counts a new entry in; others have to make room for it. False when even
    /// the least of all would be too much.
    fn admit(&mut self, entry: &Entry) -> bool {
        let fixed = self.fixed + entry.fixed();
        let lists = self.lists() + 2 * PLACES * size_of::<Option<Entry>>();
        if lists + fixed + (self.count + 1) * LEAST > self.budget {
            return false;
        }
        self.fixed = fixed;
        self.count += 1;
        self.bytes += entry.fixed() + entry.heap;
        true
    }

    /// Takes what was read from a file. Where the channel has readings already,
    /// they go together.
    pub(super) fn adopt(&mut self, entry: Entry) {
        let mut all = self.entries.iter_mut().flatten().chain(&mut self.early);
        if let Some(own) = all.find(|own| own.name == entry.name) {
            own.series.absorb(&entry.series);
            own.count(&mut self.bytes);
        } else if self.admit(&entry) {
            if self.early.len() == self.early.capacity() {
                self.early.reserve_exact(PLACES);
            }
            self.early.push(entry);
        }
        self.keep_budget();
    }

    /// Forgets a channel that will not come again.
    pub(super) fn forget(&mut self, id: ChannelId) {
        let Some(entry) = self.entries.get_mut(id.0 as usize).and_then(Option::take) else {
            return;
        };
        self.count -= 1;
        self.bytes -= entry.fixed() + entry.heap;
        self.fixed -= entry.fixed();
    }

    /// While there is too much, whoever has most gives up his oldest. So each
    /// has at least its share, and what some do not need serves the others.
    fn keep_budget(&mut self) {
        while self.bytes() > self.budget {
            let all = self.entries.iter_mut().flatten().chain(&mut self.early);
            let Some(largest) = all.max_by_key(|entry| entry.heap) else { return };
            if !largest.series.evict() {
                return;
            }
            largest.count(&mut self.bytes);
        }
    }

    /// What [`adopt`](Self::adopt) has taken, to be put elsewhere.
    pub(super) fn into_adopted(self) -> Vec<Entry> {
        self.early
    }

    /// What everything takes, counted anew.
    #[cfg(any(test, fuzzing))]
    pub(super) fn counted(&self) -> usize {
        self.lists() + self.entries().map(|e| e.fixed() + e.series.heap()).sum::<usize>()
    }
}
