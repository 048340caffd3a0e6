//! The hub: every reading goes in here, every reader takes from here.
//!
//! [`Hub`] is a cheap handle, `State` plain data behind one lock. A source
//! never waits for a reader: [`Source::publish`] takes the lock for as long as
//! it takes to note the values, unlocks, and only then rings the bell.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Batch, BootTime, Channel, ChannelId, ChannelName, Clock, History, Status, SystemClock, Value,
    ring::Ring,
};
use crate::error::{Error, Result};

/// A batch larger than this is split, so that one frame to a slow client
/// stays short.
const MAX_BATCH: usize = 64 * 1024;

/// The bounds of a hub.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// The device's name, as shown to people.
    pub device: String,
    /// The most channels. Default 1,024.
    pub max_channels: usize,
    /// The budget of the ring of last batches, in bytes. Default 1 MiB: over
    /// four minutes of 60 channels at 1 Hz. A smaller ring means that a slow client
    /// is told of a gap sooner.
    pub ring_bytes: usize,
    /// The budget of [`History`], in bytes, all channels together. Default 4 MiB.
    ///
    /// With *c* channels that have numbers, each may take at least
    /// `history_bytes / c - 600` bytes, and what some do not need serves the
    /// others. At most 81 KiB hold a channel's 1 s buckets for 15 minutes, 10 s
    /// for 3 hours, 1 min for 48 hours; 138 KiB where its numbers do not fit an
    /// f32 (most counters); half of that, or less, where they seldom change.
    /// With less, first the second day goes (57 and 97 KiB), then all three
    /// reach back less far in proportion. Memory is taken as it fills. 0: no history.
    pub history_bytes: usize,
}

impl Default for HubSettings {
    fn default() -> Self {
        Self {
            device: "boardcast".into(),
            max_channels: 1024,
            ring_bytes: 1 << 20,
            history_bytes: 4 << 20,
        }
    }
}

/// The meeting point of sources and readers. Clones are handles to the same hub.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Shared>);

struct Shared {
    device: String,
    epoch: String,
    max_channels: usize,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Locked after `state`, never before.
    history: History,
    bell: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("device", &self.device).field("epoch", &self.epoch).finish()
    }
}

struct State {
    /// The number of the newest batch; 0 before the first.
    seq: u64,
    /// Counts changes of descriptions and statuses.
    version: u64,
    channels: Vec<ChannelState>,
    by_name: HashMap<ChannelName, ChannelId>,
    ring: Ring,
    wall: Wall,
}

/// The wall clock as readers are told it: boot time and this offset.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wall {
    /// Counts steps of the clock, and changes of `synced`.
    pub version: u64,
    /// Wall time minus boot time, in seconds.
    pub offset: f64,
    /// Whether the clock is known to be right.
    pub synced: bool,
    /// When `synced` was last looked at: it costs a system call.
    looked: BootTime,
}

impl Wall {
    /// A clock that drifts or is slewed is followed; more than that is a step,
    /// in seconds.
    const STEP: f64 = 0.5;

    fn new(clock: &dyn Clock) -> Self {
        let (boot, wall) = (clock.boot(), clock.wall());
        let offset = wall - boot.since_boot().as_secs_f64();
        Self { version: 0, offset, synced: clock.synced(), looked: boot }
    }

    /// Looks at the clock again; whether it was set.
    fn look(&mut self, clock: &dyn Clock) -> bool {
        let boot = clock.boot();
        let offset = clock.wall() - boot.since_boot().as_secs_f64();
        let stepped = (offset - self.offset).abs() > Self::STEP;
        self.offset = offset;
        let mut changed = stepped;
        if stepped || boot.since(self.looked) >= Duration::from_secs(1) {
            self.looked = boot;
            changed |= self.synced != clock.synced();
            self.synced = clock.synced();
        }
        self.version += u64::from(changed);
        stepped
    }
}

/// One channel: its description, how it is doing, and its latest value.
#[derive(Clone, Debug)]
pub struct ChannelState {
    /// Its number on the wire.
    pub id: ChannelId,
    /// Its description.
    pub channel: Channel,
    /// The name of the source that it belongs to.
    pub source: Arc<str>,
    /// How it is doing.
    pub status: Status,
    /// The last good value, or `Null` before the first.
    pub value: Value,
    /// When the value was read.
    pub at: BootTime,
    /// The number of the batch that brought the value; 0 before the first.
    pub seq: u64,
    /// The [version](View::version) of the description and the status.
    pub version: u64,
}

impl Hub {
    /// A hub on the system's clocks.
    pub fn new(settings: HubSettings) -> Self {
        Self::with_clock(settings, Arc::new(SystemClock))
    }

    /// A hub on the given clocks.
    pub fn with_clock(settings: HubSettings, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            seq: 0,
            version: 0,
            channels: Vec::new(),
            by_name: HashMap::new(),
            ring: Ring::new(1, settings.ring_bytes),
            wall: Wall::new(&*clock),
        };
        Self(Arc::new(Shared {
            device: settings.device,
            epoch: random_epoch(),
            max_channels: settings.max_channels,
            clock,
            state: Mutex::new(state),
            history: History::new(settings.history_bytes),
            bell: OnceLock::new(),
        }))
    }

    /// The device's name.
    pub fn device(&self) -> &str {
        &self.0.device
    }

    /// 64 random bits in hex, new at each start: sequence numbers and channel
    /// numbers mean something only within one epoch.
    pub fn epoch(&self) -> &str {
        &self.0.epoch
    }

    /// The clocks by which the hub's instants count.
    pub fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    /// What the channels' readings were. It has a lock of its own: reading it
    /// does not hold up the hub.
    pub fn history(&self) -> &History {
        &self.0.history
    }

    /// Registers a source of readings.
    pub fn source(&self, name: &str) -> Source {
        Source { hub: self.clone(), name: name.into() }
    }

    /// Sets what is called, outside all locks, after each change; the first
    /// call counts.
    pub fn on_change(&self, bell: impl Fn() + Send + Sync + 'static) {
        // A second engine on the same hub would be a mistake of the program;
        // it still reads the hub, only later.
        let _ = self.0.bell.set(Box::new(bell));
    }

    /// Locks the hub for reading; what is read through one view is consistent.
    /// Keep it short: sources wait meanwhile.
    pub fn view(&self) -> View<'_> {
        View(self.lock())
    }

    /// Marks channels that have had no reading for longer than they promised,
    /// and looks whether the clock was set.
    pub fn expire(&self, now: BootTime) {
        let mut state = self.lock();
        let mut changed = self.look_at_clock(&mut state);
        let State { channels, version, .. } = &mut *state;
        for entry in channels {
            let late = entry.channel.stale_after.is_some_and(|limit| now.since(entry.at) > limit);
            if late && entry.status == Status::Ok {
                entry.set_status(Status::Stale, version);
                changed = true;
            }
        }
        drop(state);
        if changed {
            self.ring_bell();
        }
    }

    /// Whether it was set, so that readers have to be told.
    fn look_at_clock(&self, state: &mut State) -> bool {
        let before = state.wall.version;
        if state.wall.look(&*self.0.clock) {
            // They give instants by the old clock.
            state.ring.forget_forms();
        }
        state.wall.version > before
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while publishing leaves at worst a value that is one batch old.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Call it unlocked: whoever is woken wants the lock at once.
    fn ring_bell(&self) {
        if let Some(bell) = self.0.bell.get() {
            bell();
        }
    }
}

/// std seeds its hash tables from the kernel's random numbers, which is all
/// that an epoch needs.
fn random_epoch() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// The publishing end of one source. What it declares belongs to it; when it
/// is dropped, its channels are marked [gone](Status::Gone).
#[derive(Debug)]
pub struct Source {
    hub: Hub,
    name: Arc<str>,
}

impl Source {
    /// The source's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Declares a channel, or describes one anew that is already this source's.
    /// One that is gone passes to whoever declares it next.
    ///
    /// # Errors
    /// [`Error::ChannelTaken`] when another source has it,
    /// [`Error::TooManyChannels`] when the table is full.
    pub fn channel(&self, channel: Channel) -> Result<ChannelId> {
        let max_channels = self.hub.0.max_channels;
        let mut state = self.hub.lock();
        let id = match state.by_name.get(&channel.name) {
            Some(&id) => self.redeclare(&mut state, id, channel)?,
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
            channel,
            source: self.name.clone(),
            status: Status::Ok,
            value: Value::Null,
            at: self.hub.0.clock.boot(),
            seq: 0,
            version: state.version,
        });
        id
    }

    fn redeclare(&self, state: &mut State, id: ChannelId, channel: Channel) -> Result<ChannelId> {
        let State { channels, version, .. } = state;
        let entry = &mut channels[id.0 as usize];
        let passes = entry.source != self.name;
        if passes && entry.status != Status::Gone {
            let (channel, owner) = (channel.name.to_string(), entry.source.to_string());
            return Err(Error::ChannelTaken { channel, owner });
        }
        if passes {
            entry.source = self.name.clone();
            // As when it is declared for the first time.
            (entry.status, entry.value, entry.seq) = (Status::Ok, Value::Null, 0);
            entry.at = self.hub.0.clock.boot();
        }
        if passes || entry.channel != channel {
            entry.channel = channel;
            *version += 1;
            entry.version = *version;
        }
        Ok(id)
    }

    /// Publishes a batch and returns the number that it got, or the last of
    /// its numbers when it was so large (over 64 KiB) that it had to be split.
    /// Columns of channels that belong to other sources are left out.
    ///
    /// Never waits for a reader, and never for the network.
    pub fn publish(&self, mut batch: Batch) -> u64 {
        let mut state = self.hub.lock();
        self.hub.look_at_clock(&mut state);
        let channels = &state.channels;
        batch.retain(|id| {
            channels.get(id.0 as usize).is_some_and(|entry| entry.source == self.name)
        });
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            let half = if part.size() > MAX_BATCH { part.split() } else { None };
            match half {
                Some(half) => parts.extend([half, part]),
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

    /// Whether a channel is this source's still: one that was gone may have
    /// passed to another.
    pub(crate) fn owns(&self, id: ChannelId) -> bool {
        let state = self.hub.lock();
        state.channels.get(id.0 as usize).is_some_and(|entry| entry.source == self.name)
    }

    /// Changes after how long without a reading a channel is stale.
    pub(crate) fn set_stale_after(&self, id: ChannelId, time: Duration) {
        let mut state = self.hub.lock();
        let State { channels, version, .. } = &mut *state;
        let Some(entry) = channels.get_mut(id.0 as usize) else { return };
        if entry.source == self.name && entry.channel.stale_after != Some(time) {
            entry.channel.stale_after = Some(time);
            *version += 1;
            entry.version = *version;
            drop(state);
            self.hub.ring_bell();
        }
    }

    /// Says that a channel is no longer there.
    pub fn gone(&self, id: ChannelId) {
        self.set_status(id, Status::Gone);
    }

    fn set_status(&self, id: ChannelId, status: Status) {
        let mut state = self.hub.lock();
        let State { channels, version, .. } = &mut *state;
        let Some(entry) = channels.get_mut(id.0 as usize) else { return };
        let changed = entry.source == self.name && entry.set_status(status, version);
        drop(state);
        if changed {
            self.hub.ring_bell();
        }
    }
}

impl Drop for Source {
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

impl ChannelState {
    /// Returns whether that is a change.
    fn set_status(&mut self, status: Status, version: &mut u64) -> bool {
        let changed = self.status != status;
        if changed {
            self.status = status;
            *version += 1;
            self.version = *version;
        }
        changed
    }
}

/// The hub, locked for reading.
pub struct View<'a>(MutexGuard<'a, State>);

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("seq", &self.seq()).finish()
    }
}

impl View<'_> {
    /// The number of the newest batch; 0 before the first.
    pub fn seq(&self) -> u64 {
        self.0.seq
    }

    /// The number of the oldest batch in the ring; `seq() + 1` when it is empty.
    pub fn oldest(&self) -> u64 {
        self.0.ring.first()
    }

    /// Counts changes of descriptions and statuses; 0 before the first.
    pub fn version(&self) -> u64 {
        self.0.version
    }

    /// Every channel, in the order of the numbers.
    pub fn channels(&self) -> &[ChannelState] {
        &self.0.channels
    }

    /// Bytes and batches in the ring.
    pub fn ring_use(&self) -> (usize, usize) {
        (self.0.ring.bytes(), self.0.ring.len())
    }

    /// Batch `seq`, while the ring has it.
    pub fn batch(&self, seq: u64) -> Option<&Batch> {
        self.0.ring.batch(seq)
    }

    /// What a reader [kept](Self::keep) of batch `seq` under this name; `None`
    /// when it is not, or no longer, there.
    pub fn form(&self, seq: u64, name: u64) -> Option<Option<Bytes>> {
        self.0.ring.form(seq, name).cloned()
    }

    /// Keeps a form of batch `seq` beside it, within the ring's budget: an
    /// encoding, or `None` where there is nothing to say. Whoever makes it
    /// chooses the name, and uses it for nothing else.
    pub fn keep(&mut self, seq: u64, name: u64, form: Option<Bytes>) {
        self.0.ring.keep(seq, name, form);
    }

    /// The wall clock by which readers are told instants.
    pub fn wall(&self) -> Wall {
        self.0.wall
    }

    /// Boot time in wall time: seconds since 1970.
    pub fn wall_of(&self, instant: BootTime) -> f64 {
        self.0.wall.offset + instant.since_boot().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    fn gauge(name: &str) -> Channel {
        Channel::gauge(name).expect("a valid name")
    }

    fn at(seconds: u64) -> BootTime {
        BootTime::new(Duration::from_secs(seconds))
    }

    fn one(id: ChannelId, instant: BootTime, value: impl Into<Value>) -> Batch {
        let mut batch = Batch::at(instant);
        batch.set(id, value);
        batch
    }

    #[test]
    fn each_batch_gets_the_next_number_and_becomes_the_latest() {
        let hub = Hub::new(HubSettings::default());
        let source = hub.source("test");
        let id = source.channel(gauge("a")).expect("declared");
        assert_eq!(hub.view().seq(), 0);
        assert_eq!(source.publish(one(id, at(10), 1.0)), 1);
        assert_eq!(source.publish(one(id, at(11), 2.0)), 2);
        let view = hub.view();
        assert_eq!((view.seq(), view.oldest()), (2, 1));
        assert_eq!(view.channels()[0].value, Value::Number(2.0));
    }

    #[test]
    fn a_reading_that_comes_late_does_not_hide_a_newer_one() {
        let hub = Hub::new(HubSettings::default());
        let source = hub.source("test");
        let id = source.channel(gauge("a")).expect("declared");
        let now = hub.clock().boot();
        source.publish(one(id, now + Duration::from_secs(5), 2.0));
        source.publish(one(id, now + Duration::from_secs(3), 1.0));
        assert_eq!(hub.view().channels()[0].value, Value::Number(2.0));
    }

    #[test]
    fn a_channel_that_is_gone_passes_to_the_next_source_that_names_it() {
        let hub = Hub::new(HubSettings::default());
        let first = hub.source("first");
        let second = hub.source("second");
        let channel = Channel::gauge("a").expect("valid");
        let id = first.channel(channel.clone()).expect("free");
        let mut batch = Batch::at(hub.clock().boot());
        batch.set(id, 1.0);
        first.publish(batch.clone());
        assert!(second.channel(channel.clone().unit("V")).is_err());
        first.gone(id);
        let version = hub.view().version();
        assert_eq!(second.channel(channel.clone().unit("V")).expect("it passes"), id);
        let state = hub.view().channels()[0].clone();
        assert_eq!(
            (&*state.source, state.status, state.value),
            ("second", Status::Ok, Value::Null)
        );
        assert!(state.channel.unit.is_some() && state.version > version, "readers are told");
        // It is no longer the first one's.
        first.publish(batch.clone());
        first.fail(id, "late");
        assert!(first.channel(channel).is_err());
        assert_eq!(hub.view().channels()[0].value, Value::Null);
        drop(first);
        assert_eq!(hub.view().channels()[0].status, Status::Ok);
        batch.set(id, 2.0);
        second.publish(batch);
        assert_eq!(hub.view().channels()[0].value, Value::Number(2.0));
    }

    #[test]
    fn a_channel_belongs_to_the_source_that_named_it_first() {
        let hub = Hub::new(HubSettings::default());
        let first = hub.source("first");
        let id = first.channel(gauge("a")).expect("declared");
        let error = hub.source("second").channel(gauge("a")).expect_err("taken");
        assert_eq!(error.to_string(), "channel a belongs to source first; choose another name");
        assert_eq!(first.channel(gauge("a").unit("V")).expect("described anew"), id);
        assert_eq!(hub.view().channels()[0].channel.unit.as_deref(), Some("V"));
    }

    #[test]
    fn a_source_cannot_publish_for_another() {
        let hub = Hub::new(HubSettings::default());
        let (first, second) = (hub.source("first"), hub.source("second"));
        let a = first.channel(gauge("a")).expect("declared");
        let b = second.channel(gauge("b")).expect("declared");
        let mut batch = one(a, at(1), 666.0);
        batch.set(b, 1.0);
        second.publish(batch);
        let values: Vec<_> = hub.view().channels().iter().map(|s| s.value.clone()).collect();
        assert_eq!(values, [Value::Null, Value::Number(1.0)]);
    }

    #[test]
    fn a_number_that_is_none_harms_nobody() {
        let hub = Hub::new(HubSettings::default());
        let source = hub.source("test");
        let id = source.channel(gauge("a")).expect("declared");
        for (second, number) in (1..).zip([1.0, f64::NAN, f64::INFINITY, 2.0]) {
            // Not through `From`, which knows better.
            source.publish(one(id, at(second), Value::Number(number)));
        }
        let plan = hub.history().plan(&[id], 0..10_000, 100);
        let points = hub.history().points(&plan, id);
        let means: Vec<_> = points.iter().map(|point| point.as_ref().map(|s| s.mean)).collect();
        assert_eq!(means, [Some(1.0), None, None, Some(2.0)]);
    }

    #[test]
    fn the_table_of_channels_is_bounded() {
        let hub = Hub::new(HubSettings { max_channels: 1, ..HubSettings::default() });
        let source = hub.source("test");
        source.channel(gauge("a")).expect("declared");
        assert!(matches!(source.channel(gauge("b")), Err(Error::TooManyChannels(1))));
    }

    #[test]
    fn statuses_change_the_version_once_and_keep_the_last_good_value() {
        let hub = Hub::new(HubSettings::default());
        let source = hub.source("test");
        let limit = Duration::from_secs(3);
        let id = source.channel(gauge("a").stale_after(limit)).expect("declared");
        let now = hub.clock().boot();
        source.publish(one(id, now, 1.0));
        let version = hub.view().version();
        hub.expire(now + Duration::from_secs(3));
        assert_eq!(hub.view().version(), version, "not late yet");
        hub.expire(now + Duration::from_secs(4));
        hub.expire(now + Duration::from_secs(5));
        let view = hub.view();
        assert_eq!(view.version(), version + 1);
        assert_eq!(
            (&view.channels()[0].status, &view.channels()[0].value),
            (&Status::Stale, &Value::Number(1.0))
        );
        drop(view);
        source.publish(one(id, now + Duration::from_secs(6), 2.0));
        assert_eq!(hub.view().channels()[0].status, Status::Ok);
        drop(source);
        assert_eq!(hub.view().channels()[0].status, Status::Gone);
    }

    #[test]
    fn the_bell_rings_unlocked_after_each_change() {
        let hub = Hub::new(HubSettings::default());
        let rings = Arc::new(AtomicUsize::new(0));
        let (seen, inside) = (rings.clone(), hub.clone());
        hub.on_change(move || {
            // Would deadlock if the hub were still locked.
            let _ = inside.view().seq();
            seen.fetch_add(1, Ordering::Relaxed);
        });
        let source = hub.source("test");
        let id = source.channel(gauge("a")).expect("declared");
        source.publish(one(id, at(1), 1.0));
        source.fail(id, "broken");
        source.fail(id, "broken");
        assert_eq!(rings.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn many_rows_of_one_channel_are_split_in_the_order_of_time() {
        let hub = Hub::new(HubSettings::default());
        let source = hub.source("test");
        let id = source.channel(gauge("fast")).expect("declared");
        let later = (1..10_000).map(Duration::from_millis).collect();
        let mut batch = Batch::rows_at(at(1), later);
        batch.column(id, (0..10_000_u64).map(Value::from));
        let parts = source.publish(batch);
        assert!(parts >= 4, "{parts} parts");
        let mut next = 0;
        for seq in 1..=parts {
            let view = hub.view();
            let batch = view.batch(seq).expect("in the ring");
            assert!(batch.size() <= MAX_BATCH);
            let (_, values) = batch.columns().next().expect("a column");
            for (offset, value) in batch.offsets().zip(values) {
                assert_eq!(batch.start() + offset, at(1) + Duration::from_millis(next));
                assert_eq!(*value, Value::from(next));
                next += 1;
            }
        }
        assert_eq!(next, 10_000);
        let view = hub.view();
        let newest = &view.channels()[0];
        assert_eq!(
            (&newest.value, newest.at),
            (&Value::Number(9999.0), at(1) + Duration::from_millis(9999))
        );
    }

    #[test]
    fn a_batch_that_is_too_large_is_split_by_channels() {
        let hub = Hub::new(HubSettings::default());
        let source = hub.source("test");
        let mut batch = Batch::at(at(1));
        for number in 0..100 {
            let id = source.channel(gauge(&format!("text/{number}"))).expect("declared");
            batch.set(id, "x".repeat(1024).as_str());
        }
        let last = source.publish(batch);
        assert_eq!(last, 2, "100 KiB are two batches");
        let mut huge = Batch::at(at(2));
        for number in 0..100 {
            for _ in 0..10 {
                huge.set(ChannelId(number), "x".repeat(1024).as_str());
            }
        }
        assert!(huge.size() > 1_000_000);
        let parts = source.publish(huge) - last;
        assert!(parts >= 16, "{parts} parts");
        let view = hub.view();
        let sizes = (1..=last + parts).filter_map(|seq| view.batch(seq).map(Batch::size));
        assert!(sizes.into_iter().all(|size| size <= MAX_BATCH));
        drop(view);
        assert!(hub.view().channels().iter().all(|entry| !entry.value.is_null()));
    }
}
