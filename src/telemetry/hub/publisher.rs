//! The publishing end of a source.

use std::{
    sync::{Arc, atomic::Ordering::Release},
    time::Duration,
};

use super::{ChannelState, Hub, State, terms::Terms};
use crate::{
    error::{Error, Result},
    telemetry::{Batch, BootTime, Channel, ChannelId, Status, Value},
};

/// A batch larger than this is split, so that one frame to a slow client
/// stays short.
pub(super) const MAX_BATCH: usize = 64 * 1024;

/// The publishing end of one source. What it declares belongs to it; when it
/// is dropped, its channels are marked [gone](Status::Gone).
///
/// ```
/// # use boardcast::telemetry::{Channel, Hub, HubSettings};
/// # fn main() -> boardcast::Result<()> {
/// let hub = Hub::new(HubSettings::default());
/// let publisher = hub.publisher("sensor");
/// let soil = publisher.channel(Channel::gauge("soil/moisture")?.unit("%"))?;
/// publisher.set(soil, 41.5);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Publisher {
    hub: Hub,
    name: Arc<str>,
}

impl Publisher {
    pub(super) fn new(hub: Hub, name: &str) -> Self {
        Self { hub, name: name.into() }
    }

    /// The source's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Declares a channel, or describes one anew that is already this source's.
    /// One that is gone passes to whoever declares it next.
    ///
    /// One that the [`Rules`](crate::telemetry::Rules) hide gets no number of
    /// its own: publishing under what is returned is no fault, and does
    /// nothing. Declare it again when [`generation`](Self::generation) has
    /// changed.
    ///
    /// # Errors
    /// [`Error::ChannelTaken`] when another source has it,
    /// [`Error::TooManyChannels`] when the table is full.
    pub fn channel(&self, channel: Channel) -> Result<ChannelId> {
        let mut state = self.hub.lock();
        // A fleet's channels are its devices'.
        let max_channels = if state.fleet.is_some() { 0 } else { self.hub.0.max_channels };
        let id = match state.by_name.get(&channel.name) {
            Some(&id) => self.redeclare(&mut state, id, channel)?,
            None if state.rules.of(&channel.name).is_some_and(|rule| rule.hides()) => {
                return Ok(ChannelId::HIDDEN);
            }
            None if state.channels.len() >= max_channels => {
                return Err(Error::TooManyChannels(max_channels));
            }
            None => self.declare(&mut state, channel),
        };
        drop(state);
        self.hub.ring_bell();
        Ok(id)
    }

    fn declare(&self, state: &mut State, channel: Channel) -> ChannelId {
        let id = ChannelId(state.channels.len() as u32);
        state.version += 1;
        state.by_name.insert(channel.name.clone(), id);
        state.channels.push(ChannelState {
            id,
            channel: channel.clone(),
            source: self.name.clone(),
            status: Status::Ok,
            value: Value::Null,
            at: self.hub.0.clock.boot(),
            seq: 0,
            version: state.version,
        });
        state.settle(id, channel);
        id
    }

    fn redeclare(&self, state: &mut State, id: ChannelId, channel: Channel) -> Result<ChannelId> {
        let boot = self.hub.0.clock.boot();
        let State { channels, version, terms, .. } = state;
        let is_hidden = terms.get(id).is_some_and(Terms::hides);
        let entry = &mut channels[id.0 as usize];
        if entry.source != self.name {
            if entry.status != Status::Gone || is_hidden {
                let (channel, owner) = (channel.name.to_string(), entry.source.to_string());
                return Err(Error::ChannelTaken { channel, owner });
            }
            entry.source = self.name.clone();
            // Whoever had it before may live, and has to hear of it.
            self.hub.0.generation.fetch_add(1, Release);
            // As when it is declared for the first time.
            (entry.status, entry.value, entry.seq) = (Status::Ok, Value::Null, 0);
            entry.at = boot;
            *version += 1;
            entry.version = *version;
        }
        state.settle(id, channel);
        Ok(id)
    }

    /// Whether a channel is this source's still: one that was gone may have
    /// passed to another.
    pub(crate) fn owns(&self, id: ChannelId) -> bool {
        let state = self.hub.lock();
        state.channels.get(id.0 as usize).is_some_and(|entry| entry.source == self.name)
    }

    /// Counts changes of the rules, and channels that pass from one source to
    /// another: when it is another number than before, channels that were
    /// hidden may no longer be, and a channel that was this source's may be
    /// another's. Takes no lock.
    pub fn generation(&self) -> u32 {
        self.hub.generation()
    }

    /// Whether a reading of one of these channels would be taken at this
    /// instant; `None` when all of them are hidden.
    pub(crate) fn wants(
        &self,
        ids: impl IntoIterator<Item = ChannelId>,
        at: BootTime,
    ) -> Option<bool> {
        let state = self.hub.lock();
        let ids = ids.into_iter().filter(|&id| id != ChannelId::HIDDEN);
        let terms = ids.map(|id| state.terms.get(id));
        let mut shown = terms.filter(|terms| !terms.is_some_and(Terms::hides)).peekable();
        shown.peek()?;
        Some(shown.any(|terms| terms.is_none_or(|terms| terms.is_due(at))))
    }

    /// Publishes one value, of now; see [`publish`](Self::publish).
    pub fn set(&self, channel: ChannelId, value: impl Into<Value>) -> u64 {
        let mut batch = Batch::at(self.hub.clock().boot());
        batch.set(channel, value);
        self.publish(batch)
    }

    /// Publishes a batch and returns the number that it got, or the last of
    /// its numbers when it was so large (over 64 KiB) that it had to be split.
    /// Columns of channels that belong to other sources are left out, and what
    /// the rules do not let through; a batch that is then empty gets no number.
    ///
    /// Never waits for a reader, and never for the network.
    pub fn publish(&self, mut batch: Batch) -> u64 {
        let mut state = self.hub.lock();
        self.hub.look_at_clock(&mut state);
        let channels = &state.channels;
        batch.retain(|id| {
            channels.get(id.0 as usize).is_some_and(|entry| entry.source == self.name)
        });
        let mut parts = if state.terms.is_empty() { vec![batch] } else { state.admit(batch) };
        parts.reverse();
        while let Some(mut part) = parts.pop() {
            let half = if part.size() > MAX_BATCH { part.split() } else { None };
            match half {
                Some(half) => parts.extend([half, part]),
                None if part.is_empty() => {}
                None => {
                    // The ring counts what a batch holds, not its spare room.
                    part.shrink();
                    self.note(&mut state, part);
                }
            }
        }
        let seq = state.seq;
        drop(state);
        self.hub.ring_bell();
        seq
    }

    fn note(&self, state: &mut State, batch: Batch) {
        let State { channels, version, seq, ring, .. } = state;
        let end = batch.end();
        *seq += 1;
        for (id, values) in batch.columns() {
            let Some(entry) = channels.get_mut(id.0 as usize) else { continue };
            let Some(value) = values.iter().rev().find(|value| !value.is_null()) else { continue };
            // A reading that comes late must not hide a newer one.
            if end >= entry.at || entry.value.is_null() {
                entry.value = value.clone();
                entry.at = end;
                entry.seq = *seq;
            }
            entry.set_status(Status::Ok, version);
        }
        let channels = &*channels;
        let describe = |id: ChannelId| channels.get(id.0 as usize).map(|entry| &entry.channel);
        self.hub.0.history.note(&batch, describe);
        ring.push(batch);
    }

    /// Says that a channel could not be read; its last good value stays.
    pub fn fail(&self, id: ChannelId, reason: &str) {
        self.set_status(id, Status::Error(reason.into()));
    }

    /// Changes after how long without a reading a channel is stale.
    pub(crate) fn set_stale_after(&self, id: ChannelId, time: Duration) {
        let mut state = self.hub.lock();
        let owned = state.channels.get(id.0 as usize).is_some_and(|e| e.source == self.name);
        let declared = state.declared(id).filter(|d| owned && d.stale_after != Some(time));
        let Some(declared) = declared.cloned() else { return };
        state.settle(id, declared.stale_after(time));
        drop(state);
        self.hub.ring_bell();
    }

    /// Says that a channel is no longer there.
    pub fn gone(&self, id: ChannelId) {
        self.set_status(id, Status::Gone);
    }

    fn set_status(&self, id: ChannelId, status: Status) {
        let mut state = self.hub.lock();
        let State { channels, version, terms, .. } = &mut *state;
        let Some(entry) = channels.get_mut(id.0 as usize) else { return };
        let hidden = terms.get(id).is_some_and(Terms::hides);
        let changed = entry.source == self.name && !hidden && entry.set_status(status, version);
        drop(state);
        if changed {
            self.hub.ring_bell();
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        let State { channels, version, .. } = &mut *state;
        for entry in channels.iter_mut().filter(|entry| entry.source == self.name) {
            entry.set_status(Status::Gone, version);
        }
        drop(state);
        self.hub.ring_bell();
    }
}
