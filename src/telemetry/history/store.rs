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
    pub(super) series: Series,
    /// What the series takes.
    heap: usize,
}

impl Entry {
    pub(super) fn new(name: ChannelName, series: Series) -> Box<Self> {
        let heap = series.heap();
        Box::new(Self { name, series, heap })
    }

    /// What it takes beside its series: itself and its name.
    fn fixed(&self) -> usize {
        size_of::<Self>() + self.name.as_str().len() + 2 * ALLOCATION
    }
}

/// Plain data behind [`History`](super::History)'s lock.
#[derive(Debug)]
pub(super) struct Store {
    budget: usize,
    /// By the number of the channel.
    entries: Vec<Option<Box<Entry>>>,
    /// Read from a file, and not declared by a source so far.
    early: Vec<Box<Entry>>,
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
        (self.entries.capacity() + self.early.capacity()) * size_of::<usize>()
    }

    /// The number of channels.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, id: ChannelId) -> Option<&Entry> {
        self.entries.get(id.0 as usize)?.as_deref()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten().chain(&self.early).map(|entry| &**entry)
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
        let share = self.share();
        let Some(Some(entry)) = self.entries.get_mut(id.0 as usize) else { return };
        let grown = numbers.fold(false, |grown, (at, value)| entry.series.note(at, value) | grown);
        if grown {
            fit(entry, share, &mut self.bytes);
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

    /// Counts a new entry in; all others have to make room for it.
    fn admit(&mut self, entry: &Entry) -> bool {
        let fixed = self.fixed + entry.fixed();
        if fixed + (self.count + 1) * LEAST > self.budget {
            return false;
        }
        self.fixed = fixed;
        self.count += 1;
        self.bytes += entry.fixed() + entry.heap;
        let share = self.share();
        for entry in self.entries.iter_mut().flatten().chain(&mut self.early) {
            if entry.heap > share {
                fit(entry, share, &mut self.bytes);
            }
        }
        true
    }

    /// Takes what was read from a file. Where the channel has readings already,
    /// they go together.
    pub(super) fn adopt(&mut self, mut entry: Box<Entry>) {
        let known = self.entries().any(|own| own.name == entry.name);
        if !known && !self.admit(&entry) {
            return;
        }
        let share = self.share();
        if !known {
            fit(&mut entry, share, &mut self.bytes);
            if self.early.len() == self.early.capacity() {
                self.early.reserve_exact(PLACES);
            }
            self.early.push(entry);
            return;
        }
        let mut all = self.entries.iter_mut().flatten().chain(&mut self.early);
        if let Some(own) = all.find(|own| own.name == entry.name) {
            own.series.absorb(&entry.series);
            fit(own, share, &mut self.bytes);
        }
    }

    /// What each series may take.
    fn share(&self) -> usize {
        // The lists may grow before the next one is trimmed.
        let others = self.fixed + self.lists() + 2 * PLACES * size_of::<usize>();
        self.budget.saturating_sub(others) / self.count.max(1)
    }

    /// What [`adopt`](Self::adopt) has taken, to be put elsewhere.
    pub(super) fn into_adopted(self) -> Vec<Box<Entry>> {
        self.early
    }

    /// What everything takes, counted anew.
    #[cfg(test)]
    pub(super) fn counted(&self) -> usize {
        self.lists() + self.entries().map(|e| e.fixed() + e.series.heap()).sum::<usize>()
    }
}

/// Trims a series to its share and counts anew what it takes.
fn fit(entry: &mut Entry, share: usize, bytes: &mut usize) {
    entry.series.trim(share);
    let heap = entry.series.heap();
    *bytes = *bytes + heap - entry.heap;
    entry.heap = heap;
}
