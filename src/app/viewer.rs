//! Telemetry as a feed: what a client gets, in which order, from its own place.
//!
//! ```text
//! hello · channels… · [subscribed] · snapshot… · data · data · …
//!                                     or, resumed: data · data · …
//! ```
//!
//! A client's connection thread leaves what the client wishes in one place
//! ([`Wishes`]); its worker takes it and looks at the hub once, under one lock:
//! descriptions, latest values and cursor are of one instant, so that nothing
//! is missed between them and nothing comes twice.

mod fleet;
#[cfg(feature = "mqtt")]
mod tap;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;

use self::fleet::Standing;
#[cfg(any(test, fuzzing))]
pub(crate) use self::fleet::fuzzing;
#[cfg(feature = "mqtt")]
pub(crate) use self::tap::{Piece, Place, Tap};
use super::{
    pacer::Pacer,
    recent::{Key, Recent},
    selection::{Mask, Selection, Selections, Share},
    wishes::{Wish, Wishes},
};
use crate::{
    message::Message,
    net::{Bell, Counter, Cursor, Frames, message_frame, text_frame},
    telemetry::{Batch, ChannelState, Filters, Hub, Interest, View, Wall},
    wire::{
        binary, events,
        json::{self, Hello},
        subscribe::{Pace, Since, Subscription},
    },
};

/// A `heartbeat` comes when nothing else was sent for so long.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Describing and showing a thousand channels anew takes a millisecond, during
/// which nothing can be published: a client may change its mind so often,
const CHANGE: Duration = Duration::from_millis(500);
/// and four times in a row.
const CHANGES_AT_ONCE: u32 = 4;
/// So many batches are looked at under one lock; most may hold nothing for
/// this client.
const LOOKS: u64 = 512;

/// How data arrives at a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// All as JSON.
    Json,
    /// Batches of numbers in columns, the rest as JSON.
    Binary,
    /// All as JSON, as server-sent events.
    Events,
}

/// The hub as something that clients have places in.
#[derive(Clone, Debug)]
pub(super) struct Telemetry(Arc<Shared>);

/// What viewers share.
#[derive(Debug)]
struct Shared {
    hub: Hub,
    selections: Selections,
    /// The selection of all who did not ask for anything in particular.
    everything: Arc<Selection>,
    /// Locked after the hub, never before.
    recent: Mutex<Recent>,
    /// Clients that were overtaken by the ring.
    gaps: Counter,
    /// Clients that left too many answers unread.
    crowded: Counter,
    /// The ticks of all paces count from here.
    start: Instant,
    /// Another one who is told that something is new.
    #[cfg(feature = "mqtt")]
    listener: Arc<Mutex<Option<Bell>>>,
}

impl Telemetry {
    pub(super) fn new(hub: Hub) -> Self {
        let selections = Selections::default();
        let everything = selections.get(Filters::all(), &hub);
        Self(Arc::new(Shared {
            hub,
            selections,
            everything,
            recent: Mutex::default(),
            gaps: Counter::default(),
            crowded: Counter::default(),
            start: Instant::now(),
            #[cfg(feature = "mqtt")]
            listener: Arc::default(),
        }))
    }

    /// How many clients were overtaken by the ring.
    pub(super) fn gaps(&self) -> u64 {
        self.0.gaps.get()
    }

    /// Counts clients that left too many answers unread.
    pub(super) fn crowded(&self) -> &Counter {
        &self.0.crowded
    }

    /// How many different selections clients have.
    pub(super) fn selections(&self) -> usize {
        self.0.selections.len()
    }

    /// Rings whenever there is something new.
    pub(super) fn started(&self, bell: Bell) {
        #[cfg(feature = "mqtt")]
        let listener = self.0.listener.clone();
        self.0.hub.on_change(move || {
            bell.ring();
            #[cfg(feature = "mqtt")]
            if let Some(listener) = &*listener.lock().unwrap_or_else(PoisonError::into_inner) {
                listener.ring();
            }
        });
    }

    /// Calls this, too, whenever there is something new; it takes the place of
    /// an earlier one. It must not block.
    #[cfg(feature = "mqtt")]
    pub(super) fn at_change(&self, listener: Bell) {
        *self.0.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }

    /// A subscription, made ready for a worker.
    pub(super) fn wish(&self, asked: Subscription, id: Option<serde_json::Value>) -> Wish {
        let Subscription { filters, pace, since, places } = asked;
        let selection = self.0.selections.get(filters, &self.0.hub);
        Wish { selection, pace, since, places, id, quiet: false }
    }

    /// What the query of `/ws` asks. One for nothing only waits for a
    /// `subscribe`, and has no answer.
    pub(super) fn first_wish(&self, asked: Subscription) -> Wish {
        let quiet = asked.filters.is_empty();
        Wish { quiet, ..self.wish(asked, None) }
    }

    /// A place for a new client. Its first wish, if it has one, waits already.
    pub(super) fn viewer(&self, encoding: Encoding, wishes: Arc<Wishes>) -> Viewer {
        Viewer {
            shared: self.0.clone(),
            wishes,
            encoding,
            may_publish: false,
            greeted: false,
            selection: self.0.everything.clone(),
            interest: None,
            pacer: None,
            change_at: Instant::now(),
            seq: 0,
            version: 0,
            wall: Wall::default(),
            first: VecDeque::new(),
            fleet: self.0.hub.is_fleet().then(Box::default),
            heartbeat: false,
            sent_at: Instant::now(),
        }
    }
}

/// One client's place in the stream.
pub(super) struct Viewer {
    shared: Arc<Shared>,
    wishes: Arc<Wishes>,
    encoding: Encoding,
    may_publish: bool,
    greeted: bool,
    selection: Arc<Selection>,
    /// What the hub knows of it, and of which selection that is.
    interest: Option<(u64, Arc<Interest>)>,
    pacer: Option<Pacer>,
    /// Its next change of mind is taken up then, or up to three changes earlier.
    change_at: Instant,
    /// The last batch that is on its way to the client, or that holds nothing
    /// for it.
    seq: u64,
    /// The version of the descriptions that it has.
    version: u64,
    /// The wall clock that it was told.
    wall: Wall,
    /// What has to go out before the next batch: hello, descriptions, a gap
    /// and its snapshot, what a tick brings. Shared bytes, of one instant.
    first: VecDeque<Bytes>,
    /// What it has beside its cursor, at a fleet's hub.
    fleet: Option<Box<Standing>>,
    /// The last `fill` offered a heartbeat.
    heartbeat: bool,
    /// When something was last sent.
    sent_at: Instant,
}

impl Viewer {
    /// What `hello` tells the client: whether it may publish.
    pub(super) fn may_publish(self, may_publish: bool) -> Self {
        Self { may_publish, ..self }
    }

    /// Looks at the hub once, under one lock, and decides what comes next: what
    /// has to go out first, and the batches behind it.
    fn look(&mut self, now: Instant, frames: &mut Frames) {
        if self.rests(now) {
            return;
        }
        let shared = self.shared.clone();
        let mut view = shared.hub.view();
        if self.first.is_empty() {
            self.prepare(&view, now);
        }
        for frame in &self.first {
            if frames.is_full() {
                return;
            }
            frames.push(frame.clone());
        }
        if self.has_turns() {
            return frames.expect_more();
        }
        if self.pacer.is_some() {
            return;
        }
        if self.is_told(&view) {
            self.offer_batches(&mut view, frames);
        } else {
            // Described, or set, while the first frames waited for room: that
            // has to be told before the batches that came with it.
            frames.expect_more();
        }
    }

    /// Tells the hub which selection is watched, when it is another than before.
    fn attend(&mut self) {
        let id = self.selection.id();
        if self.interest.as_ref().is_none_or(|(known, _)| *known != id) {
            self.interest = Some((id, self.selection.watch(&self.shared.hub)));
        }
    }

    /// Whether there are devices that it has to be told of first.
    fn has_turns(&self) -> bool {
        self.fleet.as_ref().is_some_and(|place| place.has_turns())
    }

    /// Whether it has all descriptions, and the clock, that readings go by.
    fn is_told(&self, view: &View<'_>) -> bool {
        self.version == view.version() && self.wall.version == view.wall().version
    }

    /// From when on a wish is taken up; until then a newer one takes its place.
    fn change_from(&self) -> Instant {
        let early = CHANGE * (CHANGES_AT_ONCE - 1);
        self.change_at.checked_sub(early).unwrap_or(self.change_at)
    }

    /// Between its ticks a paced client does not even look.
    fn rests(&mut self, now: Instant) -> bool {
        let waits = !self.first.is_empty() || self.has_turns();
        let busy = !self.greeted || waits || self.wishes.is_waiting();
        let Some(pacer) = &mut self.pacer else { return false };
        pacer.note(now);
        !busy && !pacer.is_due(now)
    }

    fn prepare(&mut self, view: &View<'_>, now: Instant) {
        if !self.greeted {
            self.greeted = true;
            return self.greet(view, now);
        }
        if self.change_from() <= now {
            if let Some(wish) = self.wishes.take() {
                self.change_at = self.change_at.max(now) + CHANGE;
                return self.subscribe(view, wish, now);
            }
        }
        let devices = view.devices();
        if let Some(devices) = devices {
            self.pass(view, devices);
            if self.has_turns() {
                return self.take_turns(view, devices);
            }
        }
        self.announce(view);
        if let Some(devices) = devices {
            if self.pacer.is_some() {
                self.conflate_fleet(view, devices, now);
            } else if self.seq + 1 < view.oldest() && !self.selection.filters().is_empty() {
                self.shared.gaps.increment();
                self.overtaken(view, devices);
                self.take_turns(view, devices);
            }
        } else if self.pacer.is_some() {
            self.conflate(view, now);
        } else if self.seq + 1 < view.oldest() && !self.selection.filters().is_empty() {
            self.shared.gaps.increment();
            let gap = json::gap(self.seq + 1, view.seq());
            self.first.push_back(self.frame(&gap, None));
            self.restart(view);
        }
    }

    fn greet(&mut self, view: &View<'_>, now: Instant) {
        let wish = self.wishes.take();
        if let Some(wish) = &wish {
            self.selection = wish.selection.clone();
        }
        let hub = &self.shared.hub;
        let hello = Hello {
            version: 1,
            device: hub.device(),
            epoch: hub.epoch(),
            seq: view.seq(),
            time: (hub.clock().wall() * 1000.0).round() / 1000.0,
            synced: view.wall().synced,
            heartbeat: HEARTBEAT.as_secs(),
            may_publish: self.may_publish,
            fleet: self.fleet.is_some(),
        };
        // A fleet's come device by device.
        let mask = match view.devices() {
            Some(_) => Arc::default(),
            None => self.selection.mask(view.channels()),
        };
        let hello = json::hello(&hello, selected(view, &mask));
        if self.encoding == Encoding::Events {
            self.first.push_back(events::begin());
        }
        self.first.extend(self.frames(&hello, None));
        if let Some(devices) = view.devices() {
            self.greet_with_devices(devices);
        }
        self.version = view.version();
        self.wall = view.wall();
        match wish {
            Some(wish) if !wish.quiet => self.subscribe(view, wish, now),
            _ => self.restart(view),
        }
    }

    /// From here on the client gets what it asked for.
    fn subscribe(&mut self, view: &View<'_>, wish: Wish, now: Instant) {
        let Wish { selection, pace, since, places, id, .. } = wish;
        self.pacer = pace.map(|pace| Pacer::new(pace, self.shared.start));
        if let Some(devices) = view.devices() {
            let hz = pace.map(shown);
            let filters = selection.filters().clone();
            self.announce(view);
            self.selection = selection;
            let recovered = match places {
                Some(places) => self.resume_fleet(view, devices, &places),
                None => {
                    self.restart_fleet(view, devices);
                    false
                }
            };
            let text = json::subscribed(&filters, hz, recovered, id.as_ref());
            return self.first.push_back(self.frame(&text, None));
        }
        let since = since.filter(|since| self.can_resume(view, since));
        let hz = pace.map(shown);
        let text = json::subscribed(selection.filters(), hz, since.is_some(), id.as_ref());
        self.first.push_back(self.frame(&text, None));
        if !Arc::ptr_eq(&self.selection, &selection) {
            self.selection = selection;
            self.version = 0;
        }
        self.announce(view);
        match since {
            Some(since) => self.seq = since.seq,
            None => self.restart(view),
        }
        if let Some(pacer) = self.pacer.as_mut().filter(|_| self.seq < view.seq()) {
            pacer.note(now);
        }
    }

    /// Whether everything after this place can be had. A paced client gets
    /// newest values, and these are always there.
    fn can_resume(&self, view: &View<'_>, since: &Since) -> bool {
        // Bounded first: anyone may name the last number that there is.
        let known = since.epoch == self.shared.hub.epoch() && since.seq <= view.seq();
        known && (self.pacer.is_some() || since.seq + 1 >= view.oldest())
    }

    /// Says that the clock was set and which descriptions are new, if so.
    fn announce(&mut self, view: &View<'_>) {
        let wall = view.wall();
        if self.wall.version < wall.version {
            let step = wall.offset - self.wall.offset;
            let time = wall.offset + self.shared.hub.clock().boot().since_boot().as_secs_f64();
            let clock = json::clock(step, time, wall.synced);
            self.first.push_back(self.frame(&clock, None));
        }
        self.wall = wall;
        if self.version == view.version() {
            return;
        }
        let (from, to) = (self.version, view.version());
        let key = Key::Channels { form: self.json_form(), from, to };
        let (_, frames) = self.recent(key, || {
            if let Some(devices) = view.devices() {
                return (view.seq(), self.news(view, devices, from));
            }
            let mask = self.selection.mask(view.channels());
            let changed = selected(view, &mask).filter(|state| state.version > from);
            (view.seq(), self.frames(&json::channels(changed), None))
        });
        self.first.extend(frames.iter().cloned());
        self.version = to;
    }

    /// The latest values, and the cursor behind them.
    fn restart(&mut self, view: &View<'_>) {
        if let Some(devices) = view.devices() {
            return self.restart_fleet(view, devices);
        }
        self.seq = view.seq();
        if self.selection.filters().is_empty() {
            return;
        }
        let (seq, version, wall) = (view.seq(), view.version(), view.wall().version);
        let key = Key::Snapshot { form: self.json_form(), seq, version, wall };
        let (_, frames) = self.recent(key, || {
            let mask = self.selection.mask(view.channels());
            let texts = json::newest(seq, true, selected(view, &mask), |at| view.wall_of(at));
            (seq, self.frames(&texts, Some(seq)))
        });
        self.first.extend(frames.iter().cloned());
    }

    /// The newest value of what changed since the last tick. Whoever comes
    /// first at a tick decides what belongs to it, so that all stay in step.
    fn conflate(&mut self, view: &View<'_>, now: Instant) {
        let Some(pacer) = &mut self.pacer else { return };
        pacer.rest();
        let (period, tick, from) = (pacer.period(), pacer.tick(now), self.seq);
        let (form, wall) = (self.form_of(&self.selection), view.wall().version);
        let key = Key::Tick { form, from, period, tick, wall };
        let (seq, frames) = self.recent(key, || (view.seq(), self.changed_since(view, from)));
        self.first.extend(frames.iter().cloned());
        self.seq = seq;
        if let Some(pacer) = self.pacer.as_mut().filter(|_| self.seq < view.seq()) {
            pacer.note(now);
        }
    }

    fn changed_since(&self, view: &View<'_>, from: u64) -> Vec<Bytes> {
        let mask = self.selection.mask(view.channels());
        let changed =
            selected(view, &mask).filter(|state| state.seq > from && !state.value.is_null());
        let Some(newest) = changed.clone().map(|state| state.at).max() else { return Vec::new() };
        let (seq, wall_of) = (view.seq(), |at| view.wall_of(at));
        if self.encoding == Encoding::Binary {
            let mut batch = Batch::at(newest);
            changed.clone().for_each(|state| batch.set(state.id, state.value.clone()));
            let columns = binary::data(seq, wall_of(newest), &batch, view.channels(), |_| true);
            if let Some(bytes) = columns {
                return vec![message_frame(&Message::from(bytes))];
            }
        }
        self.frames(&json::newest(seq, false, changed, wall_of), Some(seq))
    }

    /// What was made for `key`, or is made now, and up to which batch it goes.
    fn recent(&self, key: Key, make: impl FnOnce() -> (u64, Vec<Bytes>)) -> (u64, Arc<[Bytes]>) {
        let mut recent = self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let made = recent.get(key, make);
        (made.seq, made.frames.clone())
    }

    fn offer_batches(&mut self, view: &mut View<'_>, frames: &mut Frames) {
        if self.selection.filters().is_empty() {
            self.seq = view.seq();
            return;
        }
        let end = view.seq().min(self.seq + LOOKS);
        for seq in self.seq + 1..=end {
            if frames.is_full() {
                return;
            }
            match self.next_form(view, seq) {
                Some(Some(frame)) => frames.push_at(frame, seq),
                Some(None) if frames.is_empty() => self.seq = seq,
                Some(None) => {}
                // Overtaken while an earlier snapshot is still under way: its
                // gap comes when that is out.
                None => return frames.expect_more(),
            }
        }
        if end < view.seq() {
            frames.expect_more();
        }
    }

    /// As [`form`](Self::form), but nothing of what this client had from elsewhere.
    fn next_form(&self, view: &mut View<'_>, seq: u64) -> Option<Option<Bytes>> {
        if let (Some(place), Some(origin)) = (&self.fleet, view.origin(seq)) {
            if place.has_had(origin) {
                return Some(None);
            }
        }
        self.form(view, seq)
    }

    /// Batch `seq` as this client gets it; `Some(None)` when it holds nothing
    /// for the client, `None` when it is no longer there.
    fn form(&self, view: &mut View<'_>, seq: u64) -> Option<Option<Bytes>> {
        let name = self.form_of(&self.selection);
        if let Some(form) = view.form(seq, name) {
            return Some(form);
        }
        let mask = self.selection.mask(view.channels());
        let form = match self.share_of(view, seq, &mask)? {
            Share::Nothing => None,
            Share::Part => Some(self.encode(view, seq, &mask)?),
            Share::Whole => Some(self.whole(view, seq)?),
        };
        view.keep(seq, name, form.clone());
        Some(form)
    }

    /// All of batch `seq`, shared with everyone who selects all of it.
    fn whole(&self, view: &mut View<'_>, seq: u64) -> Option<Bytes> {
        let name = self.form_of(&self.shared.everything);
        if let Some(kept) = view.form(seq, name).flatten() {
            return Some(kept);
        }
        let frame = self.encode(view, seq, Mask::EVERYTHING)?;
        if name != self.form_of(&self.selection) {
            view.keep(seq, name, Some(frame.clone()));
        }
        Some(frame)
    }

    fn encode(&self, view: &View<'_>, seq: u64, mask: &Mask) -> Option<Bytes> {
        if self.fleet.is_some() {
            return self.encode_of(view, seq, mask);
        }
        let (batch, channels) = (view.batch(seq)?, view.channels());
        let start = view.wall_of(batch.start());
        if self.encoding == Encoding::Binary {
            if let Some(bytes) = binary::data(seq, start, batch, channels, |id| mask.has(id)) {
                return Some(message_frame(&Message::from(bytes)));
            }
        }
        let text = json::data(seq, start, batch, channels, |id| mask.has(id));
        Some(self.frame(&text, Some(seq)))
    }

    /// The name, beside a batch, of its form for a selection.
    fn form_of(&self, selection: &Selection) -> u64 {
        selection.id() << 2 | self.encoding as u64
    }

    /// The name of what is JSON whichever way batches come.
    fn json_form(&self) -> u64 {
        self.selection.id() << 1 | u64::from(self.encoding == Encoding::Events)
    }

    /// A message as this client gets it; with it the client has all up to
    /// batch `seq`, if that is said.
    fn frame(&self, text: &str, seq: Option<u64>) -> Bytes {
        match self.encoding {
            Encoding::Events => events::event(text, seq.and_then(|seq| self.place(seq))),
            Encoding::Json | Encoding::Binary => text_frame(text),
        }
    }

    /// Where a browser goes on; in a fleet that is a place for each device, which
    /// it cannot show.
    fn place(&self, seq: u64) -> Option<(&str, u64)> {
        self.fleet.is_none().then(|| (self.shared.hub.epoch(), seq))
    }

    /// The parts of a message; with the last one the client has all up to `seq`.
    fn frames(&self, texts: &[String], seq: Option<u64>) -> Vec<Bytes> {
        let last = texts.len().wrapping_sub(1);
        let parts = texts.iter().enumerate();
        parts.map(|(place, text)| self.frame(text, seq.filter(|_| place == last))).collect()
    }
}

/// A rate for people.
fn shown(pace: Pace) -> f64 {
    (pace.hz() * 1000.0).round() / 1000.0
}

/// The channels that a selection holds.
fn selected<'a>(
    view: &'a View<'_>,
    mask: &'a Mask,
) -> impl Iterator<Item = &'a ChannelState> + Clone {
    view.channels().iter().filter(|state| mask.has(state.id))
}

impl Cursor for Viewer {
    fn fill(&mut self, now: Instant, frames: &mut Frames) {
        self.look(now, frames);
        self.attend();
        let idle = frames.is_empty() && !frames.more_follows();
        self.heartbeat = idle && self.sent_at + HEARTBEAT <= now;
        if self.heartbeat {
            let hub = &self.shared.hub;
            frames.push(match self.encoding {
                Encoding::Events => events::heartbeat(self.place(self.seq)),
                _ => text_frame(&json::heartbeat(self.seq, hub.clock().wall())),
            });
        }
    }

    fn consume(&mut self, places: &[u64], now: Instant) {
        if places.is_empty() {
            return;
        }
        self.sent_at = now;
        if self.heartbeat {
            return;
        }
        let of_first = places.len().min(self.first.len());
        self.first.drain(..of_first);
        if let Some(&seq) = places[of_first..].last() {
            self.seq = seq;
        }
    }

    fn due(&self) -> Option<Instant> {
        let beat = self.sent_at + HEARTBEAT;
        let tick = self.pacer.as_ref().and_then(Pacer::due);
        let wish = self.wishes.is_waiting().then(|| self.change_from());
        [tick, wish].into_iter().flatten().chain([beat]).min()
    }
}

#[cfg(test)]
mod tests;
