//! What a source has said so far, and what is said to the hub for it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{Reading, Readings};
use crate::{
    error::{Error, Result},
    telemetry::{Batch, BootTime, Channel, ChannelId, ChannelName, Levels, Publisher, Value},
};

/// Hands the readings of one source, or of one device of a source, to the hub,
/// round after round. What a round no longer mentions is gone.
#[derive(Debug)]
pub(super) struct Publication {
    publisher: Arc<Publisher>,
    /// How long a channel stays fresh that does not say so itself.
    stale_after: Duration,
    known: HashMap<ChannelName, Known>,
    round: u64,
    /// When readings were last published.
    at: BootTime,
    /// The rules by which channels were declared.
    generation: u32,
    /// When it was last said that a channel was left out.
    complained: Option<BootTime>,
}

#[derive(Debug)]
struct Known {
    id: ChannelId,
    /// The round in which the source last mentioned it.
    seen: u64,
    gone: bool,
}

impl Publication {
    /// One whose source is asked every `interval`.
    pub(super) fn new(publisher: Arc<Publisher>, interval: Duration) -> Self {
        // Two missed ticks and a little.
        let stale_after = (interval * 3).max(Duration::from_secs(3));
        Self {
            publisher,
            stale_after,
            known: HashMap::new(),
            round: 1,
            at: BootTime::default(),
            generation: 0,
            complained: None,
        }
    }

    /// The source's name.
    pub(super) fn name(&self) -> &str {
        self.publisher.name()
    }

    /// Whether a reading of this instant would be taken of any of its
    /// channels, by their rules and by who watches. All are known after the
    /// second round: rates need two. While all are hidden, one look a minute
    /// tells whether there are others by now.
    pub(super) fn wants(&self, at: BootTime) -> bool {
        let generation = self.publisher.generation();
        let there = || self.known.values().filter(|known| !known.gone).map(|known| known.id);
        let knows = self.round > 2 && there().next().is_some();
        if !knows || generation == 0 || generation != self.generation {
            return true;
        }
        let wants = self.publisher.wants(there(), at);
        wants.unwrap_or_else(|| at.since(self.at) >= Duration::from_secs(60))
    }

    /// Publishes readings of the present round, of the instant `at`, as one
    /// batch.
    pub(super) fn publish(&mut self, at: BootTime, readings: &Readings) {
        self.at = at;
        self.renew();
        if let Some(error) = readings.refused() {
            self.complain(at, error);
        }
        let mut batch = Batch::at(at);
        let mut failed = Vec::new();
        for Reading { channel, value } in readings {
            let id = match self.know(channel) {
                Ok(id) => id,
                Err(error) => {
                    self.complain(at, &error);
                    continue;
                }
            };
            match value {
                Ok(value) => batch.set(id, value.clone()),
                Err(reason) => {
                    batch.set(id, Value::Null);
                    failed.push((id, reason));
                }
            }
        }
        if !batch.is_empty() {
            self.publisher.publish(batch);
        }
        for (id, reason) in failed {
            self.publisher.fail(id, reason);
        }
    }

    /// Ends a round: what it did not mention is gone.
    pub(super) fn end_round(&mut self) {
        let round = self.round;
        self.round += 1;
        for known in self.known.values_mut().filter(|known| known.seen != round && !known.gone) {
            known.gone = true;
            self.publisher.gone(known.id);
        }
    }

    /// Takes note of how long a round took: a channel is stale when two rounds
    /// were missed, and rounds of a slow device are long.
    pub(super) fn took(&mut self, time: Duration) {
        if time * 3 > self.stale_after {
            // In whole seconds, so that it is not told anew every time.
            self.stale_after =
                Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0)) * 3;
            for known in self.known.values() {
                self.publisher.set_stale_after(known.id, self.stale_after);
            }
        }
    }

    /// Says why a device cannot be read of which no channel is known yet: as one
    /// channel, `<source>/<device>`, which is gone when the device answers.
    pub(super) fn fail_unknown(&mut self, device: &str, reason: &str) {
        if !self.known.is_empty() {
            return;
        }
        let level = Levels::default().level(device);
        let channel = Channel::state(&format!("{}/{level}", self.publisher.name()));
        let known = channel.and_then(|channel| {
            let name = channel.name.clone();
            let id = self.publisher.channel(channel.label(device.to_owned()))?;
            // No round has mentioned it.
            Ok((name, Known { id, seen: 0, gone: false }))
        });
        // When there is no room for it, there is none for its channels either.
        if let Ok((name, known)) = known {
            self.publisher.fail(known.id, reason);
            self.known.insert(name, known);
        }
    }

    /// Says of every channel that is there why it cannot be read.
    pub(super) fn fail_all(&self, reason: &str) {
        for known in self.known.values().filter(|known| !known.gone) {
            self.publisher.fail(known.id, reason);
        }
    }

    /// Says of every channel that it is gone.
    pub(super) fn gone(&mut self) {
        // A round that mentions nothing, and one more if this one had begun.
        self.end_round();
        self.end_round();
    }

    /// Forgets the channels that were hidden when the rules have changed: what
    /// is met again is declared again.
    fn renew(&mut self) {
        let generation = self.publisher.generation();
        if self.generation != generation {
            self.generation = generation;
            self.known.retain(|_, known| known.id != ChannelId::HIDDEN);
        }
    }

    /// The number of a channel, declared when it is met for the first time.
    fn know(&mut self, channel: &Channel) -> Result<ChannelId> {
        // Gone, it may have passed to another source; then it is asked for anew.
        let known = self.known.get_mut(&channel.name);
        if let Some(known) = known.filter(|one| !one.gone || self.publisher.owns(one.id)) {
            known.seen = self.round;
            known.gone = false;
            return Ok(known.id);
        }
        let mut channel = channel.clone();
        channel.stale_after.get_or_insert(self.stale_after);
        let name = channel.name.clone();
        let id = self.publisher.channel(channel)?;
        self.known.insert(name, Known { id, seen: self.round, gone: false });
        Ok(id)
    }

    /// Says at most once a minute that a channel is left out: the next round
    /// would say the same, for as long as the board runs.
    fn complain(&mut self, at: BootTime, error: &Error) {
        if self.complained.is_none_or(|last| at.since(last) >= Duration::from_secs(60)) {
            self.complained = Some(at);
            log::warn!("{}: a channel is left out: {error}", self.publisher.name());
        }
    }

    /// When it was last said that a channel was left out.
    #[cfg(test)]
    pub(super) fn complained(&self) -> Option<BootTime> {
        self.complained
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Hub, HubSettings, Status};

    #[test]
    fn a_channel_that_passed_to_another_while_it_was_gone_comes_back_when_that_lets_go() {
        let hub = Hub::new(HubSettings::default());
        let second = Duration::from_secs(1);
        let mut polled = Publication::new(Arc::new(hub.publisher("polled")), second);
        let mut readings = Readings::default();
        readings.push(Channel::gauge("a"), 1.0);
        let latest = || {
            let state = hub.view().channels()[0].clone();
            (state.source.to_string(), state.status, state.value)
        };
        let mut round = |readings: &Readings| {
            polled.publish(hub.clock().boot(), readings);
            polled.end_round();
            polled.complained().is_some()
        };
        round(&readings);
        round(&Readings::default());
        assert_eq!(latest().1, Status::Gone);
        assert!(!round(&readings), "it is back, and still its own");
        round(&Readings::default());
        let other = hub.publisher("other");
        other.channel(Channel::gauge("a").expect("a name")).expect("it passes");
        assert!(round(&readings), "it says that it has lost it");
        assert_eq!(latest().0, "other");
        drop(other);
        round(&readings);
        assert_eq!(latest(), ("polled".into(), Status::Ok, Value::Number(1.0)));
    }
}
