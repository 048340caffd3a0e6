//! What clients select. All who select the same share one [`Selection`], so
//! that they share what is encoded for it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::telemetry::{Batch, ChannelId, ChannelState, Filters, Hub, Interest};

/// The selections that clients have at the moment; at most one a client.
#[derive(Debug, Default)]
pub(super) struct Selections(Mutex<Live>);

#[derive(Debug, Default)]
struct Live {
    list: Vec<Weak<Selection>>,
    /// How many there have been: no two have the same number.
    count: u64,
}

/// The channels that some clients select.
#[derive(Debug)]
pub(crate) struct Selection {
    id: u64,
    filters: Filters,
    mask: Mutex<Arc<Mask>>,
    /// Held by the viewers that have it. Locked before the hub, never after.
    interest: Mutex<Weak<Interest>>,
}

/// Which of the channels a selection holds, by their numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mask {
    everything: bool,
    /// The channels below this number were looked at.
    known: usize,
    bits: Vec<u64>,
}

/// How much of a batch a selection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Share {
    Nothing,
    Part,
    Whole,
}

impl Selections {
    /// The selection of these filters. Matches the channels that there are
    /// without holding the hub: 64 filters for 1,024 channels take a while.
    pub(super) fn get(&self, filters: Filters, hub: &Hub) -> Arc<Selection> {
        let selection = self.find(filters);
        let from = selection.lock().known;
        let view = hub.view();
        let unknown = behind(view.channels(), from);
        let unknown: Vec<_> = unknown.iter().map(|s| (s.id, s.channel.name.clone())).collect();
        drop(view);
        let found = unknown.iter().map(|(id, name)| (*id, selection.filters.matches(name)));
        let found: Vec<_> = found.collect();
        let mut mask = selection.lock();
        // Someone else may have been faster.
        let known = mask.known;
        let new = found.iter().filter(|(id, _)| id.get() as usize >= known);
        new.for_each(|&(id, held)| Arc::make_mut(&mut mask).put(id, held));
        drop(mask);
        selection
    }

    fn find(&self, filters: Filters) -> Arc<Selection> {
        let mut live = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        live.list.retain(|selection| selection.strong_count() > 0);
        let same = live.list.iter().filter_map(Weak::upgrade).find(|s| s.filters == filters);
        same.unwrap_or_else(|| {
            let mask = Mask { everything: filters == Filters::all(), ..Mask::default() };
            let (mask, interest) = (Mutex::new(Arc::new(mask)), Mutex::default());
            let selection = Arc::new(Selection { id: live.count, filters, mask, interest });
            live.count += 1;
            live.list.push(Arc::downgrade(&selection));
            selection
        })
    }

    /// How many different selections there are.
    pub(super) fn len(&self) -> usize {
        let live = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        live.list.iter().filter(|selection| selection.strong_count() > 0).count()
    }
}

impl Selection {
    /// No other selection of this process has, or had, this number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn filters(&self) -> &Filters {
        &self.filters
    }

    /// Tells the hub, once for all viewers, that somebody watches; until all
    /// have let go of what they got.
    pub(super) fn watch(&self, hub: &Hub) -> Arc<Interest> {
        let mut interest = self.interest.lock().unwrap_or_else(PoisonError::into_inner);
        interest.upgrade().unwrap_or_else(|| {
            let new = Arc::new(hub.watch(&self.filters));
            *interest = Arc::downgrade(&new);
            new
        })
    }

    /// Which of these channels it holds.
    pub(crate) fn mask(&self, channels: &[ChannelState]) -> Arc<Mask> {
        let mut mask = self.lock();
        let new = if mask.everything { &[][..] } else { behind(channels, mask.known) };
        if !new.is_empty() {
            let mask = Arc::make_mut(&mut mask);
            for state in new {
                mask.put(state.id, self.filters.matches(&state.channel.name));
            }
        }
        mask.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<Mask>> {
        self.mask.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mask {
    /// Holds every channel.
    pub(super) const EVERYTHING: &'static Self =
        &Self { everything: true, known: 0, bits: Vec::new() };

    /// Whether the selection holds this channel.
    pub(crate) fn has(&self, id: ChannelId) -> bool {
        let index = id.get() as usize;
        let bits = self.bits.get(index / 64).copied().unwrap_or_default();
        self.everything || bits >> (index % 64) & 1 == 1
    }

    /// How much of this batch it holds.
    pub(super) fn share_of(&self, batch: &Batch) -> Share {
        if self.everything {
            return Share::Whole;
        }
        let held = batch.columns().filter(|(id, _)| self.has(*id)).count();
        match held {
            0 => Share::Nothing,
            held if held == batch.len() => Share::Whole,
            _ => Share::Part,
        }
    }

    /// The channel of this number, the greatest so far, is held or is not.
    fn put(&mut self, id: ChannelId, held: bool) {
        let index = id.get() as usize;
        self.bits.resize(index / 64 + 1, 0);
        self.bits[index / 64] |= u64::from(held) << (index % 64);
        self.known = index + 1;
    }
}

/// Those whose numbers are not below this one.
fn behind(channels: &[ChannelState], known: usize) -> &[ChannelState] {
    // Mostly there is none.
    let last = channels.last().map_or(0, |state| state.id.get() as usize + 1);
    let from = if last <= known {
        channels.len()
    } else {
        channels.partition_point(|state| (state.id.get() as usize) < known)
    };
    &channels[from..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{BootTime, Channel, HubSettings, Publisher};

    fn filters(list: &[&str]) -> Filters {
        Filters::parse(list).expect("valid")
    }

    fn declare(publisher: &Publisher, name: &str) -> ChannelId {
        publisher.channel(Channel::gauge(name).expect("valid")).expect("declared")
    }

    #[test]
    fn those_who_select_the_same_share_it_and_it_goes_with_the_last() {
        let hub = Hub::new(HubSettings::default());
        let selections = Selections::default();
        let one = selections.get(filters(&["a", "b/#"]), &hub);
        let two = selections.get(filters(&["b/#", "a"]), &hub);
        let other = selections.get(filters(&["a"]), &hub);
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!(selections.len(), 2);
        assert_ne!(one.id(), other.id());
        let id = one.id();
        drop((one, two));
        assert_eq!(selections.len(), 1);
        assert_ne!(selections.get(filters(&["a", "b/#"]), &hub).id(), id);
    }

    #[test]
    fn channels_that_come_later_are_matched_when_they_are_met() {
        let hub = Hub::new(HubSettings::default());
        let publisher = hub.publisher("test");
        let selections = Selections::default();
        let mut ids = Vec::new();
        for number in 0..100 {
            ids.push(declare(&publisher, &format!("{}/{number}", ["even", "odd"][number % 2])));
        }
        let selection = selections.get(filters(&["odd/#"]), &hub);
        for number in 100..200 {
            ids.push(declare(&publisher, &format!("{}/{number}", ["even", "odd"][number % 2])));
        }
        let view = hub.view();
        let mask = selection.mask(view.channels());
        for (number, &id) in ids.iter().enumerate() {
            assert_eq!(mask.has(id), number % 2 == 1, "{number}");
        }
        let everything = selections.find(Filters::all()).mask(view.channels());
        assert!(ids.iter().all(|&id| everything.has(id)));
        let nothing = selections.find(filters(&[])).mask(view.channels());
        assert!(!ids.iter().any(|&id| nothing.has(id)));
    }

    #[test]
    fn a_batch_is_held_whole_in_part_or_not() {
        let hub = Hub::new(HubSettings::default());
        let publisher = hub.publisher("test");
        let [a, b] = ["a", "b"].map(|name| declare(&publisher, name));
        let selections = Selections::default();
        let share = |list: &[&str], ids: &[ChannelId]| {
            let mut batch = Batch::at(BootTime::default());
            ids.iter().for_each(|&id| batch.set(id, 1.0));
            selections.get(filters(list), &hub).mask(hub.view().channels()).share_of(&batch)
        };
        assert_eq!(share(&["a"], &[a, b]), Share::Part);
        assert_eq!(share(&["a"], &[b]), Share::Nothing);
        assert_eq!(share(&["a"], &[a]), Share::Whole);
        assert_eq!(share(&["+"], &[a, b]), Share::Whole);
        assert_eq!(share(&["#"], &[a, b]), Share::Whole);
        assert_eq!(share(&[], &[a]), Share::Nothing);
    }
}
