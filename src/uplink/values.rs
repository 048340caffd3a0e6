//! One retained value a channel: which are due.
//!
//! A value is told at most once a second; one that is what it was, every 60 s,
//! as a sign that it is still read. A channel that is gone has none.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use super::topics::Topics;
use crate::{
    app::Selection,
    telemetry::{ChannelState, Status, View},
    wire::mqtt::plain,
};

/// A value that changes is told at most so often.
const CHANGED: Duration = Duration::from_secs(1);
/// One that does not, so often.
pub(super) const SAME: Duration = Duration::from_secs(60);
/// All are looked at so often at most.
const LOOK: Duration = Duration::from_millis(100);

/// The channels that have a topic of their own.
pub(super) struct Values {
    /// A channel has one that is in any of these.
    selections: Vec<Arc<Selection>>,
    /// For each channel, by its number, what was told of it.
    slots: Vec<Slot>,
    /// Topics that an earlier publisher has left behind, to be cleared.
    left: Vec<String>,
    /// The next channel to be looked at; all of them are, one after the other.
    next: usize,
    /// The next round begins then.
    round_at: Option<Instant>,
    /// When the first of those that were passed over is due.
    soonest: Option<Instant>,
}

/// What was told of one channel.
#[derive(Clone, Debug, Default)]
struct Slot {
    /// When, on this connection.
    at: Option<Instant>,
    hash: u64,
    /// The last reading that was looked at.
    seq: u64,
    /// It differs from what was told.
    changed: bool,
    /// There has been one since.
    fresh: bool,
    /// The broker has a value.
    retained: bool,
}

/// What to do about a channel's topic.
pub(super) enum Due {
    /// Publish this; empty clears it.
    Now(String, String),
    /// Nothing before then.
    At(Instant),
    Nothing,
}

impl Values {
    pub(super) fn new(selections: Vec<Arc<Selection>>) -> Self {
        let (slots, left) = (Vec::new(), Vec::new());
        Self { selections, slots, left, next: 0, round_at: None, soonest: None }
    }

    /// Takes over the topics that an earlier publisher has left; those that
    /// this one does not have are cleared.
    pub(super) fn take_over(&mut self, mut left: Vec<String>, view: &View<'_>, topics: &Topics) {
        self.slots.resize(view.channels().len(), Slot::default());
        for state in self.chosen(view) {
            let topic = topics.value(&state.channel.name);
            if let Some(place) = left.iter().position(|other| *other == topic) {
                left.swap_remove(place);
                self.slots[state.id.get() as usize].retained = true;
            }
        }
        self.left = left;
    }

    /// The topics that have a value.
    pub(super) fn topics(&self, view: &View<'_>, topics: &Topics) -> Vec<String> {
        let retained = view.channels().iter().zip(&self.slots).filter(|(_, slot)| slot.retained);
        let own = retained.map(|(state, _)| topics.value(&state.channel.name));
        own.chain(self.left.iter().cloned()).collect()
    }

    fn chosen<'a>(&self, view: &'a View<'_>) -> impl Iterator<Item = &'a ChannelState> + use<'a> {
        let masks: Vec<_> = self.selections.iter().map(|s| s.mask(view.channels())).collect();
        view.channels().iter().filter(move |state| masks.iter().any(|mask| mask.has(state.id)))
    }

    /// A new connection: the broker may have lost all.
    pub(super) fn start_over(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.at = None);
        (self.next, self.round_at, self.soonest) = (0, None, None);
    }

    /// What is due next.
    pub(super) fn next(&mut self, view: &View<'_>, topics: &Topics, now: Instant) -> Due {
        if let Some(topic) = self.left.pop() {
            return Due::Now(topic, String::new());
        }
        if self.selections.is_empty() {
            return Due::Nothing;
        }
        if let Some(at) = self.round_at.filter(|at| now < *at) {
            // Something may have come, which the next round will find.
            return Due::At(at);
        }
        self.round_at = None;
        self.slots.resize(view.channels().len(), Slot::default());
        let masks: Vec<_> = self.selections.iter().map(|s| s.mask(view.channels())).collect();
        while let Some(state) = view.channels().get(self.next) {
            let slot = &mut self.slots[self.next];
            self.next += 1;
            if !masks.iter().any(|mask| mask.has(state.id)) {
                continue;
            }
            match slot.look(state, now) {
                Ok(payload) => return Due::Now(topics.value(&state.channel.name), payload),
                Err(due) => self.soonest = [self.soonest, due].into_iter().flatten().min(),
            }
        }
        self.next = 0;
        self.round_at = Some(now + LOOK);
        match self.soonest.take() {
            Some(at) => Due::At(at.max(now + LOOK)),
            None => Due::Nothing,
        }
    }
}

impl Slot {
    /// What to publish now, or when to look again; `None`: after a reading.
    fn look(&mut self, state: &ChannelState, now: Instant) -> Result<String, Option<Instant>> {
        if state.status == Status::Gone && std::mem::take(&mut self.retained) {
            self.at = None;
            return Ok(String::new());
        }
        // One that could not be read is not told as if it had been.
        if state.status != Status::Ok {
            return Err(None);
        }
        let value = |state| plain(state).map(|text| (hash(&text), text));
        if self.seq != state.seq || self.at.is_none() {
            let Some((hash, _)) = value(state) else { return Err(None) };
            (self.seq, self.fresh, self.changed) = (state.seq, true, hash != self.hash);
        }
        let due = match self.at {
            None => now,
            Some(at) if self.changed => at + CHANGED,
            Some(at) if self.fresh => at + SAME,
            Some(_) => return Err(None),
        };
        if now < due {
            return Err(Some(due));
        }
        let Some((hash, text)) = value(state) else { return Err(None) };
        *self = Self { at: Some(now), hash, seq: state.seq, retained: true, ..Self::default() };
        Ok(text)
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::App,
        telemetry::{Channel, Filters, Hub, HubSettings},
    };

    /// Rounds at whole seconds, and what each brings.
    fn round(
        values: &mut Values,
        hub: &Hub,
        now: Instant,
    ) -> (Vec<(String, String)>, Option<Instant>) {
        let topics = Topics::new("boardcast", "homeassistant", "pi");
        let mut told = Vec::new();
        loop {
            let view = hub.view();
            match values.next(&view, &topics, now) {
                Due::Now(topic, payload) => {
                    let name = topic.strip_prefix("boardcast/pi/value/").expect(&topic);
                    told.push((name.to_owned(), payload));
                }
                Due::At(at) => return (told, Some(at)),
                Due::Nothing => return (told, None),
            }
        }
    }

    fn said(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_value_is_told_once_a_second_when_it_changes_and_every_minute_when_not() {
        let hub = Hub::new(HubSettings::default());
        let app = App::new(hub.clone());
        let publisher = hub.publisher("test");
        let declare = |name| publisher.channel(Channel::gauge(name).expect("valid")).expect("fine");
        let (a, other) = (declare("room/a"), declare("x"));
        let selection = app.selection(Filters::parse(["room/#"]).expect("valid"));
        let mut values = Values::new(vec![selection]);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(round(&mut values, &hub, at(0)), (Vec::new(), None), "there is none yet");
        publisher.set(other, 1.0);
        publisher.set(a, 1.5);
        assert_eq!(round(&mut values, &hub, at(100)), (said(&[("room/a", "1.5")]), None));
        // Another one, too soon, and a third in its place.
        publisher.set(a, 2.0);
        assert_eq!(round(&mut values, &hub, at(300)), (Vec::new(), Some(at(1100))));
        publisher.set(a, 3.0);
        assert_eq!(round(&mut values, &hub, at(1100)), (said(&[("room/a", "3")]), None));
        // The same again counts as read.
        publisher.set(a, 3.0);
        assert_eq!(round(&mut values, &hub, at(5000)), (Vec::new(), Some(at(61_100))));
        assert_eq!(round(&mut values, &hub, at(61_100)), (said(&[("room/a", "3")]), None));
        assert_eq!(round(&mut values, &hub, at(200_000)), (Vec::new(), None), "nobody has read it");
        // A new connection has it told again, unless it cannot be read.
        values.start_over();
        assert_eq!(round(&mut values, &hub, at(200_100)).0, said(&[("room/a", "3")]));
        publisher.fail(a, "unplugged");
        values.start_over();
        assert_eq!(round(&mut values, &hub, at(200_200)).0, []);
        // One that is gone is cleared, once.
        publisher.gone(a);
        assert_eq!(round(&mut values, &hub, at(200_300)).0, said(&[("room/a", "")]));
        assert_eq!(round(&mut values, &hub, at(200_400)).0, []);
    }

    #[test]
    fn what_an_earlier_publisher_has_left_is_cleared_but_for_what_is_told_still() {
        let hub = Hub::new(HubSettings::default());
        let app = App::new(hub.clone());
        let publisher = hub.publisher("test");
        for name in ["room/a", "x"] {
            let id = publisher.channel(Channel::gauge(name).expect("valid")).expect("fine");
            publisher.set(id, 1.0);
        }
        let topics = Topics::new("boardcast", "homeassistant", "pi");
        let mut earlier = Values::new(vec![app.selection(Filters::all())]);
        let now = Instant::now();
        assert_eq!(round(&mut earlier, &hub, now).0, said(&[("room/a", "1"), ("x", "1")]));
        let left = earlier.topics(&hub.view(), &topics);
        let mut values = Values::new(vec![app.selection(Filters::parse(["x"]).expect("valid"))]);
        values.take_over(left, &hub.view(), &topics);
        assert_eq!(round(&mut values, &hub, now).0, said(&[("room/a", ""), ("x", "1")]));
    }
}
