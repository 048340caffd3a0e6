//! Who watches which channels, so that what nobody watches can be read less
//! often.

use std::collections::HashMap;

use super::Hub;
use crate::telemetry::{ChannelName, Filters};

/// What is watched: each set of filters once, and how often.
#[derive(Debug, Default)]
pub(super) struct Demand(HashMap<Filters, usize>);

impl Demand {
    /// How many of the sets hold a channel.
    pub(super) fn watchers(&self, name: &ChannelName) -> usize {
        self.0.keys().filter(|filters| filters.matches(name)).count()
    }
}

/// Somebody watches: a [`Hub`] knows it until this is dropped, which takes the
/// hub's lock.
#[derive(Debug)]
pub struct Interest {
    hub: Hub,
    filters: Filters,
}

impl Hub {
    /// Says that somebody watches what these filters select, until the
    /// [`Interest`] is dropped: meanwhile the channels' `idle_every`
    /// ([`Rule`](crate::telemetry::Rule)) does not count. The next reading that their source
    /// publishes is taken, and the sampler asks for it at its next tick.
    ///
    /// A client of the stream watches for as long as it is connected. Who
    /// takes a [`view`](Self::view) of the latest values does not: these may
    /// be as old as `idle_every`.
    pub fn watch(&self, filters: &Filters) -> Interest {
        let mut state = self.lock();
        let sets = state.demand.0.entry(filters.clone()).or_default();
        *sets += 1;
        if *sets == 1 {
            let now = self.clock().boot();
            let idle = state.terms.idle().filter(|(channel, _)| filters.matches(&channel.name));
            idle.for_each(|(_, watched)| watched.more(now));
        }
        Interest { hub: self.clone(), filters: filters.clone() }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let filters = &self.filters;
        let mut state = self.hub.lock();
        let Some(sets) = state.demand.0.get_mut(filters) else { return };
        *sets -= 1;
        if *sets == 0 {
            state.demand.0.remove(filters);
            let idle = state.terms.idle().filter(|(channel, _)| filters.matches(&channel.name));
            idle.for_each(|(_, watched)| watched.less());
        }
    }
}
