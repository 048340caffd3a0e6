//! On what terms the hub takes a channel's readings: what its rules say, and
//! what keeping them takes.
//!
//! A channel of which no rule speaks has no terms, and costs nothing here.

use std::time::Duration;

use super::{ChannelState, State};
use crate::telemetry::{Batch, BootTime, Channel, ChannelId, Rule, Status, Value};

/// The terms of one channel.
#[derive(Debug)]
pub(super) struct Terms {
    /// Its description as its source gives it, for when the rules change.
    declared: Channel,
    /// All that the rules say of it.
    rule: Rule,
    /// The newest reading that was taken.
    last: Option<BootTime>,
    /// It could not be read, or was gone: the next good reading is news.
    unwell: bool,
    /// So many selections that somebody watches hold it; not counted where it
    /// does not matter.
    watchers: usize,
    /// Since when it is watched.
    since: BootTime,
}

impl Terms {
    pub(super) fn hides(&self) -> bool {
        self.rule.hides()
    }

    /// Whether a reading of this instant is taken for its time alone.
    pub(super) fn is_due(&self, at: BootTime) -> bool {
        let pace = self.rule.pace(self.watchers > 0);
        pace.is_zero() || self.last.is_none_or(|last| at.since(last) >= pace - pace / 20)
    }

    /// Whether this reading is taken.
    fn takes(&mut self, at: BootTime, value: &Value) -> bool {
        let is_news = self.unwell && !value.is_null();
        let taken = is_news || self.is_due(at);
        self.unwell &= !is_news;
        if taken {
            self.last = self.last.max(Some(at));
        }
        taken
    }

    /// After how long without a reading the channel is stale, and from when on
    /// that counts: whoever begins to watch waits for the next reading first.
    pub(super) fn patience(&self, entry: &ChannelState) -> (Option<Duration>, BootTime) {
        let limit = entry.channel.stale_after;
        if self.rule.stale_after.is_some() {
            return (limit, entry.at);
        }
        let idle = self.rule.pace(self.watchers > 0).saturating_mul(3);
        (limit.map(|limit| limit.max(idle)), entry.at.max(self.since))
    }
}

/// The terms of all channels, by their numbers.
#[derive(Debug, Default)]
pub(super) struct AllTerms(Vec<Option<Box<Terms>>>);

impl AllTerms {
    /// Whether no channel has any.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, id: ChannelId) -> Option<&Terms> {
        self.0.get(id.0 as usize)?.as_deref()
    }

    fn get_mut(&mut self, id: ChannelId) -> Option<&mut Terms> {
        self.0.get_mut(id.0 as usize)?.as_deref_mut()
    }

    fn take(&mut self, id: ChannelId) -> Option<Box<Terms>> {
        self.0.get_mut(id.0 as usize)?.take()
    }

    fn put(&mut self, id: ChannelId, terms: Box<Terms>) {
        let place = id.0 as usize;
        if self.0.len() <= place {
            self.0.resize_with(place + 1, || None);
        }
        self.0[place] = Some(terms);
    }

    /// Those for which it matters whether somebody watches.
    pub(super) fn idle(&mut self) -> impl Iterator<Item = (&Channel, Watched<'_>)> {
        let idle = |terms: &&mut Box<Terms>| terms.rule.idle_every.is_some();
        self.0.iter_mut().flatten().filter(idle).map(|terms| {
            let Terms { declared, watchers, since, .. } = &mut **terms;
            (&*declared, Watched { watchers, since })
        })
    }
}

/// Who watches a channel.
#[derive(Debug)]
pub(super) struct Watched<'a> {
    watchers: &'a mut usize,
    since: &'a mut BootTime,
}

impl Watched<'_> {
    /// One more selection that somebody watches holds it.
    pub(super) fn more(self, now: BootTime) {
        if *self.watchers == 0 {
            *self.since = now;
        }
        *self.watchers += 1;
    }

    /// One less.
    pub(super) fn less(self) {
        *self.watchers = self.watchers.saturating_sub(1);
    }
}

impl State {
    /// How its source describes a channel.
    pub(super) fn declared(&self, id: ChannelId) -> Option<&Channel> {
        let terms = self.terms.get(id).map(|terms| &terms.declared);
        terms.or(self.channels.get(id.0 as usize).map(|entry| &entry.channel))
    }

    /// Describes a channel by what its source and the rules say, and sets its
    /// terms.
    pub(super) fn settle(&mut self, id: ChannelId, declared: Channel) {
        let Some(entry) = self.channels.get_mut(id.0 as usize) else { return };
        let before = self.terms.take(id);
        let Some(rule) = self.rules.of(&declared.name) else {
            return entry.describe(declared, &mut self.version);
        };
        entry.describe(rule.describe(&declared), &mut self.version);
        if rule.hides() {
            entry.set_status(Status::Gone, &mut self.version);
        }
        let counts = rule.idle_every.is_some();
        let watchers = if counts { self.demand.watchers(&declared.name) } else { 0 };
        let (last, since) = before.map_or_else(Default::default, |terms| (terms.last, terms.since));
        let terms = Terms { declared, rule, last, unwell: false, watchers, since };
        self.terms.put(id, Box::new(terms));
    }

    /// What the terms leave of a batch: scaled, and as several where columns
    /// have lost different rows; in the order of time.
    pub(super) fn admit(&mut self, mut batch: Batch) -> Vec<Batch> {
        let Self { channels, terms, .. } = self;
        batch.retain(|id| !terms.get(id).is_some_and(Terms::hides));
        batch.adjust(|id, values| {
            let Some(terms) = terms.get_mut(id) else { return };
            let status = channels.get(id.0 as usize).map(|entry| &entry.status);
            terms.unwell = matches!(status, Some(Status::Error(_) | Status::Gone));
            terms.rule.scale(values);
        });
        batch.thin(|id, at, value| terms.get_mut(id).is_none_or(|terms| terms.takes(at, value)))
    }
}
