//! What is said on a connection, and in which order.
//!
//! Status, descriptions, then the batches from the tap's place on, the oldest
//! first; the latest of all when the tap has caught up. Between two batches
//! comes at most one of everything else, so that neither waits for the other.
//! All of it is said only while the connection has room.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use super::{
    described::{Descriptions, Latest},
    discovery::{self, Discovery},
    running::Tally,
    topics::Topics,
    values::{self, Values},
};
use crate::{
    app::{Piece, Place, Selection, Tap},
    mqtt::{Client, Incoming, Link, Publication, Qos},
    telemetry::Hub,
    wire::{
        json,
        mqtt::{self, Source},
    },
};

/// What the broker is told of a board that is there, and of one that is not.
pub(super) const ONLINE: &str = "online";
pub(super) const OFFLINE: &str = "offline";

/// What a publisher needs of a connection; tests have their own.
pub(super) trait Out {
    /// As [`Link::has_room`].
    fn has_room(&self) -> bool;
    /// As [`Link::publish`].
    fn publish(&mut self, publication: &Publication<'_>) -> Option<Qos>;
    /// As [`Link::subscribe`].
    fn subscribe(&mut self, filter: &str, qos: Qos);
}

impl Out for Link<'_> {
    fn has_room(&self) -> bool {
        Self::has_room(self)
    }

    fn publish(&mut self, publication: &Publication<'_>) -> Option<Qos> {
        Self::publish(self, publication)
    }

    fn subscribe(&mut self, filter: &str, qos: Qos) {
        Self::subscribe(self, filter, qos);
    }
}

/// What one publisher leaves to the next, when settings have changed.
#[derive(Debug, Default)]
pub(super) struct Legacy {
    /// Where it stood.
    pub(super) place: Option<Place>,
    /// Retained topics that are cleared if the next one has no use for them.
    pub(super) topics: Vec<String>,
    /// What Home Assistant was told of.
    pub(super) components: BTreeSet<String>,
}

/// Publishes one board's readings.
pub(super) struct Publisher {
    pub(super) hub: Hub,
    pub(super) topics: Topics,
    pub(super) qos: Qos,
    pub(super) tap: Tap,
    /// The channels of which readings are sent.
    pub(super) sent: Arc<Selection>,
    pub(super) descriptions: Descriptions,
    pub(super) latest: Latest,
    pub(super) values: Values,
    pub(super) discovery: Option<Discovery>,
    /// Publications that are not acknowledged, and where the tap stood before
    /// each that came from it.
    pub(super) pending: VecDeque<Option<Place>>,
    pub(super) tally: Arc<Tally>,
    /// Its connection is there. The tally is of all publishers: one that never
    /// had a connection, and ends late, says nothing of another's.
    pub(super) up: bool,
    pub(super) legacy: Arc<Mutex<Legacy>>,
}

/// What became of one thing that may be due.
enum Step {
    Said,
    /// Nothing before then.
    At(Instant),
    Nothing,
}

impl Publisher {
    /// A connection is there.
    pub(super) fn greet(&mut self, out: &mut dyn Out, now: Instant) {
        self.forget();
        self.stands(true);
        self.send(out, &self.topics.status.clone(), &[ONLINE.as_bytes()], true, None);
        self.descriptions = Descriptions::default();
        self.latest = Latest::default();
        self.values.start_over();
        if let Some(discovery) = &mut self.discovery {
            discovery.start_over(now);
            out.subscribe(&self.topics.birth, self.qos);
            out.subscribe(&self.topics.discovery, self.qos);
        }
    }

    /// Says what there is to say, while there is room; when to ask again
    /// although nothing is new.
    pub(super) fn fill(&mut self, out: &mut dyn Out, now: Instant) -> Option<Instant> {
        type Say = fn(&mut Publisher, &mut dyn Out, Instant) -> Step;
        const ALL: [Say; 5] = [
            Publisher::describe,
            Publisher::say_data,
            Publisher::say_latest,
            Publisher::say_value,
            Publisher::announce,
        ];
        loop {
            let (mut said, mut soonest) = (false, self.tap.due());
            for say in ALL {
                if !out.has_room() {
                    return None;
                }
                match say(self, out, now) {
                    Step::Said => said = true,
                    Step::At(at) => soonest = Some(soonest.map_or(at, |other| other.min(at))),
                    Step::Nothing => {}
                }
            }
            if !said {
                return soonest.or_else(|| self.tap.due());
            }
        }
    }

    /// A message has come: Home Assistant has started, or what it was told by
    /// an earlier run.
    pub(super) fn hear(&mut self, message: Incoming<'_>, now: Instant) {
        let Some(discovery) = &mut self.discovery else { return };
        if message.topic == self.topics.birth && message.payload == ONLINE.as_bytes() {
            // One that was kept says nothing new.
            if !message.retained {
                discovery.start_over(now);
            }
        } else if message.topic == self.topics.discovery {
            discovery.recall(message.payload, now);
        }
    }

    /// So many more have arrived.
    pub(super) fn done(&mut self, count: u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.pending.len());
        self.pending.drain(..count);
    }

    /// The connection is over: what was not acknowledged is said again.
    pub(super) fn forget(&mut self) {
        self.stands(false);
        self.tap.go_back(self.place());
        self.pending.clear();
    }

    fn stands(&mut self, up: bool) {
        if up != std::mem::replace(&mut self.up, up) {
            self.tally.connected(up);
        }
    }

    /// Where to go on on another connection.
    fn place(&self) -> Place {
        self.pending.iter().flatten().next().copied().unwrap_or_else(|| self.tap.place())
    }

    fn send(
        &mut self,
        out: &mut dyn Out,
        topic: &str,
        payload: &[&[u8]],
        retain: bool,
        place: Option<Place>,
    ) {
        let sent = out.publish(&Publication { topic, payload, qos: self.qos, retain });
        if sent == Some(Qos::AtLeastOnce) {
            self.pending.push_back(place);
        }
        if sent.is_some() {
            self.tally.published.increment();
        }
    }

    /// Tells what the channels are.
    fn describe(&mut self, out: &mut dyn Out, now: Instant) -> Step {
        let view = self.hub.view();
        let mask = self.sent.mask(view.channels());
        match self.descriptions.due(&view, &mask, now) {
            None => return Step::Nothing,
            Some(at) if now < at => return Step::At(at),
            Some(_) => {}
        }
        let source = Source {
            device: self.hub.device(),
            epoch: self.hub.epoch(),
            seq: view.seq(),
            time: view.wall_of(self.hub.clock().boot()),
            synced: view.wall().synced,
        };
        let held: Vec<_> = view.channels().iter().filter(|state| mask.has(state.id)).collect();
        let text = mqtt::channels(source, &held);
        self.descriptions.told(&view, now);
        drop(view);
        self.send(out, &self.topics.channels.clone(), &[text.as_bytes()], true, None);
        Step::Said
    }

    /// The next batch, unless a channel is not described yet.
    fn say_data(&mut self, out: &mut dyn Out, now: Instant) -> Step {
        {
            let view = self.hub.view();
            let mask = self.sent.mask(view.channels());
            if self.descriptions.lacks_some(&view, &mask) {
                return Step::Nothing;
            }
        }
        let lost = self.tap.lost();
        let Some(piece) = self.tap.next(now) else { return Step::Nothing };
        self.tally.lost.add(self.tap.lost() - lost);
        let (topic, place) = (self.topics.data.clone(), Some(self.tap.place_before()));
        let epoch = self.hub.epoch();
        match piece {
            Piece::Gap { from, to } => {
                let gap = mqtt::gap(epoch, from, to);
                self.send(out, &topic, &[gap.as_bytes()], false, place);
            }
            Piece::Data { json, after, .. } => {
                let origin = mqtt::origin(epoch, after);
                let parts = mqtt::data(&json, &origin);
                self.send(out, &topic, &parts, false, place);
            }
        }
        Step::Said
    }

    /// The latest of all, once the tap has caught up: its number must not be
    /// ahead of batches that are still to come.
    fn say_latest(&mut self, out: &mut dyn Out, now: Instant) -> Step {
        let view = self.hub.view();
        let mask = self.sent.mask(view.channels());
        if !self.tap.is_at(&view) || self.descriptions.lacks_some(&view, &mask) {
            return Step::Nothing;
        }
        match self.latest.due(&view, &mask, now) {
            None => return Step::Nothing,
            Some(at) if now < at => return Step::At(at),
            Some(_) => {}
        }
        let held: Vec<_> = view.channels().iter().filter(|state| mask.has(state.id)).collect();
        let text = json::latest(view.seq(), &held, |at| view.wall_of(at));
        self.latest.told(view.seq(), now);
        drop(view);
        let origin = mqtt::origin(self.hub.epoch(), None);
        let parts = mqtt::data(text.as_bytes(), &origin);
        self.send(out, &self.topics.latest.clone(), &parts, true, None);
        Step::Said
    }

    fn say_value(&mut self, out: &mut dyn Out, now: Instant) -> Step {
        let due = self.values.next(&self.hub.view(), &self.topics, now);
        match due {
            values::Due::Now(topic, payload) => {
                self.send(out, &topic, &[payload.as_bytes()], true, None);
                Step::Said
            }
            values::Due::At(at) => Step::At(at),
            values::Due::Nothing => Step::Nothing,
        }
    }

    /// Tells Home Assistant what there is.
    fn announce(&mut self, out: &mut dyn Out, now: Instant) -> Step {
        let Some(discovery) = &mut self.discovery else { return Step::Nothing };
        let due = discovery.next(&self.hub.view(), &self.topics, self.hub.device(), now);
        match due {
            discovery::Due::Now(text) => {
                self.send(out, &self.topics.discovery.clone(), &[text.as_bytes()], true, None);
                Step::Said
            }
            discovery::Due::At(at) => Step::At(at),
            discovery::Due::Nothing => Step::Nothing,
        }
    }
}

impl Client for Publisher {
    fn connected(&mut self, link: &mut Link<'_>) {
        self.tally.connects.increment();
        self.greet(link, Instant::now());
    }

    fn ready(&mut self, link: &mut Link<'_>) -> Option<Instant> {
        self.fill(link, Instant::now())
    }

    fn message(&mut self, _: &mut Link<'_>, message: Incoming<'_>) {
        self.hear(message, Instant::now());
    }

    fn acknowledged(&mut self, count: u64) {
        self.done(count);
    }

    fn lost(&mut self, _: &str) {
        self.forget();
    }

    fn farewell(&mut self, link: &mut Link<'_>) {
        self.send(link, &self.topics.status.clone(), &[OFFLINE.as_bytes()], true, None);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stands(false);
        let mut topics = self.values.topics(&self.hub.view(), &self.topics);
        let mut components = BTreeSet::new();
        if let Some(discovery) = &mut self.discovery {
            topics.push(self.topics.discovery.clone());
            components = discovery.take_told();
        }
        let legacy = Legacy { place: Some(self.place()), topics, components };
        *self.legacy.lock().unwrap_or_else(PoisonError::into_inner) = legacy;
    }
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
