//! The hub: every reading goes in here, every reader takes from here.
//!
//! [`Hub`] is a cheap handle, `State` plain data behind one lock. A source
//! never waits for a reader: [`Publisher::publish`] takes the lock for as long as
//! it takes to note the values, unlocks, and only then rings the bell.

mod demand;
#[cfg(test)]
mod device_tests;
mod devices;
mod publisher;
#[cfg(test)]
mod rule_tests;
mod terms;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{
            AtomicU32,
            Ordering::{Acquire, Release},
        },
    },
    time::Duration,
};

use bytes::Bytes;

use self::{demand::Demand, devices::Fleet, terms::AllTerms};
pub use self::{
    demand::Interest,
    devices::{
        DeviceId, DeviceState, DeviceStatus, Devices, FleetBounds, FleetMut, Origin, Run, Told,
        What,
    },
    publisher::Publisher,
};
use super::{
    Batch, BootTime, Channel, ChannelId, ChannelName, Clock, History, Rules, Status, SystemClock,
    Value, ring::Ring,
};

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
    /// Counts changes of the rules and of owners, for a look without the lock.
    generation: AtomicU32,
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
    /// In the order of their numbers; those of a board have no gaps between them.
    channels: Vec<ChannelState>,
    by_name: HashMap<ChannelName, ChannelId>,
    ring: Ring,
    wall: Wall,
    rules: Rules,
    terms: AllTerms,
    demand: Demand,
    /// The devices, where this is a fleet's hub.
    fleet: Option<Box<Fleet>>,
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
        Self::of(settings, clock, None)
    }

    fn of(settings: HubSettings, clock: Arc<dyn Clock>, fleet: Option<Box<Fleet>>) -> Self {
        let state = State {
            seq: 0,
            version: 0,
            channels: Vec::new(),
            by_name: HashMap::new(),
            ring: Ring::new(1, settings.ring_bytes),
            wall: Wall::new(&*clock),
            rules: Rules::default(),
            terms: AllTerms::default(),
            demand: Demand::default(),
            fleet,
        };
        Self(Arc::new(Shared {
            device: settings.device,
            epoch: random_epoch(),
            max_channels: settings.max_channels,
            clock,
            state: Mutex::new(state),
            history: History::new(settings.history_bytes),
            bell: OnceLock::new(),
            generation: AtomicU32::new(0),
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

    /// The publishing end of a source of readings of this name.
    pub fn publisher(&self, name: &str) -> Publisher {
        Publisher::new(self.clone(), name)
    }

    /// Sets what holds for channels whatever their sources say, in place of all
    /// that was set before: for those that are there, and for those that come.
    ///
    /// Readers are told the descriptions that change. A channel that is now
    /// hidden is gone; one that no longer is comes back with its next reading,
    /// under the number that it had.
    pub fn set_rules(&self, rules: Rules) {
        let mut state = self.lock();
        if state.rules == rules {
            return;
        }
        state.rules = rules;
        for id in (0..state.channels.len()).map(|place| ChannelId(place as u32)) {
            if let Some(declared) = state.declared(id).cloned() {
                state.settle(id, declared);
            }
        }
        if state.rules.0.is_empty() {
            state.terms = AllTerms::default();
        }
        // Locked, so that whoever sees it finds the rules that it counts.
        self.0.generation.fetch_add(1, Release);
        drop(state);
        self.ring_bell();
    }

    /// Counts changes of the rules and of owners; 0 before the first.
    pub(super) fn generation(&self) -> u32 {
        self.0.generation.load(Acquire)
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
        let State { channels, version, terms, fleet, .. } = &mut *state;
        // Devices say themselves how their channels are doing.
        let own = if fleet.is_some() { &mut [][..] } else { &mut channels[..] };
        for entry in own {
            let of_source = (entry.channel.stale_after, entry.at);
            let (limit, from) = terms.get(entry.id).map_or(of_source, |t| t.patience(entry));
            let late = limit.is_some_and(|limit| now.since(from) > limit);
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

impl ChannelState {
    /// The channel of this number in a list that is in the order of the numbers.
    pub(crate) fn find(channels: &[Self], id: ChannelId) -> Option<&Self> {
        channels.get(Self::place(channels, id)?)
    }

    /// Where it is. In a hub from which nothing was ever forgotten its number
    /// says so; every board's is one.
    fn place(channels: &[Self], id: ChannelId) -> Option<usize> {
        let place = id.0 as usize;
        match channels.get(place) {
            Some(state) if state.id == id => Some(place),
            _ => channels.binary_search_by_key(&id, |state| state.id).ok(),
        }
    }

    /// Takes a description, which is told when it is another.
    fn describe(&mut self, channel: Channel, version: &mut u64) {
        if self.channel != channel {
            self.channel = channel;
            *version += 1;
            self.version = *version;
        }
    }

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

    /// The channel of this number.
    pub fn channel(&self, id: ChannelId) -> Option<&ChannelState> {
        ChannelState::find(&self.0.channels, id)
    }

    /// The devices, where this is a fleet's hub.
    pub fn devices(&self) -> Option<Devices<'_>> {
        self.0.fleet.as_deref().map(Devices::of)
    }

    /// Whose batch `seq` is, while the ring of a fleet's hub has it.
    pub fn origin(&self, seq: u64) -> Option<&Origin> {
        self.0.ring.origin(seq)
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
