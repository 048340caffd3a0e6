//! A fleet's hub: many devices, each with an epoch and numbers of its own.
//!
//! ```text
//!  the hub's number   …  1041     1042    1043    1044     1045
//!  its ring           …  pi1 41 | pi2 7 | pi1 42 | pi3 90 | pi1 43 |
//! ```
//!
//! Every batch has an [`Origin`]: whose it is, and its number there. The hub's
//! own numbers are places in its ring and nothing else, so that a client costs
//! one cursor, however many devices it watches. Channels are named
//! `<device>/<channel>`. A device that is forgotten takes its channels along;
//! numbers are never used again. A board's hub has none of this.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, MutexGuard},
};

use super::{ChannelState, Hub, HubSettings, State};
use crate::telemetry::{
    Batch, BootTime, Channel, ChannelId, Clock, Filters, Status, SystemClock, Value,
};

/// So many devices that were forgotten are remembered by name, to be told.
const REMEMBERED: usize = 4096;

/// The bounds of a fleet, beside those of its hub.
#[derive(Clone, Debug)]
pub struct FleetBounds {
    /// The most devices. Default 2,048.
    pub devices: usize,
    /// The most channels of one device. Default 1,024.
    pub channels_each: usize,
    /// The channels that have a history. Default: none.
    pub history: Filters,
}

impl Default for FleetBounds {
    fn default() -> Self {
        Self { devices: 2048, channels_each: 1024, history: Filters::default() }
    }
}

/// The number of a device; never used for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(u32);

/// Whether anything is heard of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceStatus {
    /// It was heard as lately as it usually is.
    Online,
    /// It was not, but nobody says that it is away.
    Stale,
    /// It is away.
    Offline,
}

impl DeviceStatus {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Stale => "stale",
            Self::Offline => "offline",
        }
    }
}

/// One start of a device: its numbers mean something only within it.
#[derive(Debug)]
pub struct Run {
    /// Whose start it is.
    pub device: DeviceId,
    /// The device's name: the first level of its channels' names.
    pub name: Arc<str>,
    /// The device's epoch.
    pub epoch: Box<str>,
    /// Counts the starts of all devices: a later one has a greater number.
    pub number: u32,
}

/// What an entry of the ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A batch, as the device made it.
    Data,
    /// The latest values of the device.
    Snapshot,
    /// The device's batches from this one to the entry's number were lost; it
    /// has no values, and a snapshot comes next.
    Gap(u64),
}

/// Where a batch came from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The start of the device.
    pub run: Arc<Run>,
    /// The batch's number there.
    pub seq: u64,
    /// The instant of its first row by the device's own clock, in seconds since 1970.
    pub t: f64,
    /// What it is.
    pub what: What,
}

/// What is published of a device.
#[derive(Debug)]
pub struct Told {
    /// The device's own number of it.
    pub seq: u64,
    /// As [`Origin::t`].
    pub t: f64,
    /// What it is.
    pub what: What,
    /// The values, under the hub's numbers of the channels.
    pub batch: Batch,
}

/// A device, as it is known.
#[derive(Debug)]
pub struct DeviceState {
    /// Its number.
    pub id: DeviceId,
    /// Its name.
    pub name: Arc<str>,
    /// Whether anything is heard of it.
    pub status: DeviceStatus,
    /// More of that, for people.
    pub reason: Option<Arc<str>>,
    /// Its newest start; `None` until that is known.
    pub run: Option<Arc<Run>>,
    /// The number of its newest batch in that.
    pub seq: u64,
    /// The instant of that by its own clock, in seconds since 1970.
    pub t: Option<f64>,
    /// The [version](super::View::version) of name, status and start.
    pub version: u64,
    /// That of its channel that was described last.
    pub channels_version: u64,
    /// Its channels, in the order of the numbers.
    pub channels: Vec<ChannelId>,
    /// The hub's number of its newest entry; 0 before the first.
    pub last: u64,
    /// The ring has all batches of its newest start behind this one.
    pub kept_after: u64,
    /// The hub's number of its newest entry that the ring has lost, and of
    /// which start that was.
    pub evicted: (u64, u32),
}

/// The devices of a hub.
#[derive(Debug)]
pub(super) struct Fleet {
    /// In the order of their numbers.
    list: Vec<DeviceState>,
    by_name: HashMap<Arc<str>, DeviceId>,
    bounds: FleetBounds,
    /// How many devices, starts and channels there have been.
    devices: u32,
    runs: u32,
    channels: u32,
    /// By the channel's number: whether it has a history.
    recorded: Vec<u64>,
    /// Which devices were forgotten last, at which version.
    gone: VecDeque<(u64, Arc<str>)>,
}

impl Fleet {
    fn find(&self, id: DeviceId) -> Option<&DeviceState> {
        let place = self.list.binary_search_by_key(&id, |device| device.id).ok()?;
        self.list.get(place)
    }

    fn find_mut(&mut self, id: DeviceId) -> Option<&mut DeviceState> {
        let place = self.list.binary_search_by_key(&id, |device| device.id).ok()?;
        self.list.get_mut(place)
    }

    fn records(&self, id: ChannelId) -> bool {
        let bits = self.recorded.get(id.0 as usize / 64).copied().unwrap_or_default();
        bits >> (id.0 % 64) & 1 == 1
    }

    /// The number of the next channel.
    fn next_channel(&mut self, channel: &Channel) -> ChannelId {
        let id = ChannelId(self.channels);
        self.channels += 1;
        if self.bounds.history.matches(&channel.name) {
            let place = id.0 as usize / 64;
            self.recorded.resize(self.recorded.len().max(place + 1), 0);
            self.recorded[place] |= 1 << (id.0 % 64);
        }
        id
    }

    /// The ring has lost an entry.
    fn lose(&mut self, number: u64, origin: &Origin) {
        let Some(device) = self.find_mut(origin.run.device) else { return };
        device.evicted = (number, origin.run.number);
        if device.run.as_ref().is_some_and(|run| run.number == origin.run.number) {
            device.kept_after = origin.seq;
        }
    }
}

/// The devices of a hub, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Devices<'a>(&'a Fleet);

impl<'a> Devices<'a> {
    pub(super) fn of(fleet: &'a Fleet) -> Self {
        Self(fleet)
    }

    /// All of them, in the order of their numbers.
    pub fn list(self) -> &'a [DeviceState] {
        &self.0.list
    }

    /// The device of this number.
    pub fn get(self, id: DeviceId) -> Option<&'a DeviceState> {
        self.0.find(id)
    }

    /// The device of this name.
    pub fn named(self, name: &str) -> Option<&'a DeviceState> {
        self.get(*self.0.by_name.get(name)?)
    }

    /// The names of those that were forgotten since this version of the hub,
    /// and that are not there again.
    pub fn gone_since(self, version: u64) -> impl Iterator<Item = &'a str> {
        let gone = self.0.gone.iter().rev().take_while(move |(at, _)| *at > version);
        gone.map(|(_, name)| &**name).filter(move |name| !self.0.by_name.contains_key(*name))
    }
}

impl Hub {
    /// The hub of a fleet, on the system's clocks. Its channels are its
    /// devices': it has no publishers.
    pub fn fleet(settings: HubSettings, bounds: FleetBounds) -> Self {
        Self::fleet_with_clock(settings, bounds, Arc::new(SystemClock))
    }

    /// As [`fleet`](Self::fleet), on the given clocks.
    pub fn fleet_with_clock(
        settings: HubSettings,
        bounds: FleetBounds,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let fleet = Fleet {
            list: Vec::new(),
            by_name: HashMap::new(),
            bounds,
            devices: 0,
            runs: 0,
            channels: 0,
            recorded: Vec::new(),
            gone: VecDeque::new(),
        };
        Self::of(settings, clock, Some(Box::new(fleet)))
    }

    /// Whether it is a fleet's.
    pub fn is_fleet(&self) -> bool {
        self.lock().fleet.is_some()
    }

    /// Changes what is known of the devices, under one lock; `None` when this
    /// is a board's hub.
    pub fn update<T>(&self, change: impl FnOnce(&mut FleetMut<'_>) -> T) -> Option<T> {
        let mut state = self.lock();
        state.fleet.as_ref()?;
        self.look_at_clock(&mut state);
        let mut devices = FleetMut { hub: self, state, news: false };
        let out = change(&mut devices);
        let FleetMut { state, news, .. } = devices;
        drop(state);
        if news {
            self.ring_bell();
        }
        Some(out)
    }
}

/// The devices of a hub, to be changed.
pub struct FleetMut<'a> {
    hub: &'a Hub,
    state: MutexGuard<'a, State>,
    news: bool,
}

impl std::fmt::Debug for FleetMut<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FleetMut").finish_non_exhaustive()
    }
}

impl FleetMut<'_> {
    /// The device of this number.
    pub fn get(&self, id: DeviceId) -> Option<&DeviceState> {
        self.state.fleet.as_ref()?.find(id)
    }

    /// The device of this name.
    pub fn named(&self, name: &str) -> Option<&DeviceState> {
        let fleet = self.state.fleet.as_ref()?;
        fleet.find(*fleet.by_name.get(name)?)
    }

    /// The channel of this whole name, `<device>/<channel>`.
    pub fn channel(&self, name: &str) -> Option<ChannelId> {
        self.state.by_name.get(name).copied()
    }

    /// An instant of a device's clock (seconds since 1970) by this one's; now
    /// when it cannot be one: before this machine was started, or to come.
    pub fn instant(&self, t: f64) -> BootTime {
        let now = self.hub.clock().boot();
        let boot = std::time::Duration::try_from_secs_f64(t - self.state.wall.offset);
        let at = boot.ok().map(BootTime::new);
        at.filter(|&at| at <= now).unwrap_or(now)
    }

    /// The device of this name (one level of a channel's), which is made when
    /// there is none; `None` when there are as many as there may be.
    pub fn declare(&mut self, name: &str, status: DeviceStatus) -> Option<DeviceId> {
        if let Some(device) = self.named(name) {
            return Some(device.id);
        }
        let State { fleet, version, .. } = &mut *self.state;
        let fleet = fleet.as_deref_mut()?;
        if fleet.list.len() >= fleet.bounds.devices {
            return None;
        }
        let (id, name) = (DeviceId(fleet.devices), Arc::<str>::from(name));
        fleet.devices += 1;
        *version += 1;
        fleet.by_name.insert(name.clone(), id);
        fleet.list.push(DeviceState {
            id,
            name,
            status,
            reason: None,
            run: None,
            seq: 0,
            t: None,
            version: *version,
            channels_version: 0,
            channels: Vec::new(),
            last: 0,
            kept_after: 0,
            evicted: (0, 0),
        });
        self.news = true;
        Some(id)
    }

    /// The device was started anew, or is heard for the first time: its next
    /// number is behind `seq`, and a [snapshot](What::Snapshot) is to follow.
    pub fn begin(&mut self, id: DeviceId, epoch: &str, seq: u64) {
        let State { fleet, version, .. } = &mut *self.state;
        let Some(fleet) = fleet.as_deref_mut() else { return };
        fleet.runs += 1;
        let number = fleet.runs;
        let Some(device) = fleet.find_mut(id) else { return };
        let name = device.name.clone();
        device.run = Some(Arc::new(Run { device: id, name, epoch: epoch.into(), number }));
        (device.seq, device.kept_after) = (seq, seq);
        *version += 1;
        device.version = *version;
        self.news = true;
    }

    /// Describes a channel of a device; its whole name begins with the
    /// device's. `None` when the device, or the hub, has as many as there may be.
    pub fn describe(
        &mut self,
        id: DeviceId,
        channel: Channel,
        source: &str,
        status: Status,
    ) -> Option<ChannelId> {
        let max_channels = self.hub.0.max_channels;
        let State { channels, by_name, version, fleet, .. } = &mut *self.state;
        let fleet = fleet.as_deref_mut()?;
        let before = *version;
        let number = match by_name.get(&channel.name) {
            Some(&number) => {
                let place = ChannelState::place(channels, number)?;
                let entry = &mut channels[place];
                entry.describe(channel, version);
                entry.set_status(status, version);
                if *entry.source != *source {
                    entry.source = source.into();
                    *version += 1;
                    entry.version = *version;
                }
                number
            }
            None => {
                let full = channels.len() >= max_channels;
                if full || fleet.find(id)?.channels.len() >= fleet.bounds.channels_each {
                    return None;
                }
                let number = fleet.next_channel(&channel);
                // Most of a device's sources have many channels.
                let last = channels.last().map(|entry: &ChannelState| entry.source.clone());
                let source = last.filter(|last| **last == *source).unwrap_or_else(|| source.into());
                *version += 1;
                by_name.insert(channel.name.clone(), number);
                channels.push(ChannelState {
                    id: number,
                    channel,
                    source,
                    status,
                    value: Value::Null,
                    at: BootTime::default(),
                    seq: 0,
                    version: *version,
                });
                fleet.find_mut(id)?.channels.push(number);
                number
            }
        };
        if *version > before {
            fleet.find_mut(id)?.channels_version = *version;
            self.news = true;
        }
        Some(number)
    }

    /// The device has no other channels than these any more; in the order of
    /// their numbers.
    pub fn keep_only(&mut self, id: DeviceId, kept: &[ChannelId]) {
        let State { channels, version, fleet, .. } = &mut *self.state;
        let Some(device) = fleet.as_deref_mut().and_then(|fleet| fleet.find_mut(id)) else {
            return;
        };
        let before = *version;
        for &number in device.channels.iter().filter(|id| kept.binary_search(id).is_err()) {
            if let Some(place) = ChannelState::place(channels, number) {
                channels[place].set_status(Status::Gone, version);
            }
        }
        if *version > before {
            device.channels_version = *version;
            self.news = true;
        }
    }

    /// Publishes an entry of a device whose start is known.
    pub fn publish(&mut self, id: DeviceId, told: Told) {
        let State { channels, seq, ring, fleet, .. } = &mut *self.state;
        let Some(fleet) = fleet.as_deref_mut() else { return };
        let Some(device) = fleet.find_mut(id) else { return };
        let Some(run) = device.run.clone() else { return };
        let Told { seq: own, t, what, mut batch } = told;
        *seq += 1;
        (device.seq, device.last) = (own, *seq);
        if !matches!(what, What::Gap(_)) {
            device.t = Some(t);
        }
        let end = batch.end();
        for (number, values) in batch.columns() {
            let Some(place) = ChannelState::place(channels, number) else { continue };
            let Some(value) = values.iter().rev().find(|value| !value.is_null()) else { continue };
            let entry = &mut channels[place];
            entry.value = value.clone();
            (entry.at, entry.seq) = (end, *seq);
        }
        if what == What::Data {
            let recorded = |number| {
                let state = ChannelState::find(channels, number).filter(|_| fleet.records(number));
                state.map(|state| &state.channel)
            };
            self.hub.0.history.note(&batch, recorded);
        }
        batch.shrink();
        let origin = Origin { run, seq: own, t, what };
        ring.push_from(batch, origin, &mut |number, origin| {
            fleet.lose(number, origin);
        });
        self.news = true;
    }

    /// The latest values of a device, as of this instant.
    pub fn latest(&self, id: DeviceId, at: BootTime) -> Batch {
        let mut batch = Batch::at(at);
        for &number in self.get(id).map_or(&[][..], |device| &device.channels) {
            let state = ChannelState::find(&self.state.channels, number);
            if let Some(state) = state.filter(|state| !state.value.is_null()) {
                batch.set(number, state.value.clone());
            }
        }
        batch
    }

    /// Says whether anything is heard of a device.
    pub fn set_status(&mut self, id: DeviceId, status: DeviceStatus, reason: Option<&str>) {
        let State { version, fleet, .. } = &mut *self.state;
        let Some(device) = fleet.as_deref_mut().and_then(|fleet| fleet.find_mut(id)) else {
            return;
        };
        if device.status != status || device.reason.as_deref() != reason {
            (device.status, device.reason) = (status, reason.map(Into::into));
            *version += 1;
            device.version = *version;
            self.news = true;
        }
    }

    /// Forgets a device and its channels.
    pub fn forget(&mut self, id: DeviceId) {
        let State { channels, by_name, version, fleet, .. } = &mut *self.state;
        let Some(fleet) = fleet.as_deref_mut() else { return };
        let Ok(place) = fleet.list.binary_search_by_key(&id, |device| device.id) else { return };
        let device = fleet.list.remove(place);
        fleet.by_name.remove(&device.name);
        for &number in &device.channels {
            if let Some(state) = ChannelState::find(channels, number) {
                by_name.remove(&state.channel.name);
            }
        }
        channels.retain(|state| device.channels.binary_search(&state.id).is_err());
        // A growing table frees nothing by itself.
        by_name.shrink_to(2 * by_name.len());
        channels.shrink_to(2 * channels.len());
        self.hub.0.history.forget(&device.channels);
        *version += 1;
        fleet.gone.push_back((*version, device.name));
        if fleet.gone.len() > REMEMBERED {
            fleet.gone.pop_front();
        }
        self.news = true;
    }
}
