//! What a device says → the hub: what is new, what is doubled, what is lost.
//!
//! ```text
//!            a new epoch ──▶ begin · snapshot
//!   seq = known + 1      ──▶ data
//!   seq > known + 1      ──▶ gap · snapshot of what is known · data
//!   seq ≤ known          ──▶ nothing: it came another way before
//!   snapshot, seq > known──▶ gap · snapshot
//! ```
//!
//! A message is read before any lock is taken. One that cannot be read is
//! counted, told once a minute and device, and loses nothing else.

use std::time::Duration;

use super::{
    Counts, Fleet,
    fresh::Freshness,
    message::{Description, Message, Reading},
    settings::{is_device, level},
};
use crate::{
    telemetry::{
        Batch, BootTime, Channel, ChannelId, ChannelName, DeviceId, DeviceStatus, FleetMut, Kind,
        Status, Told, Value, What,
    },
    watch::printable,
    wire::fleet::is_epoch,
};

/// How often a device's faults are told.
const TOLD: Duration = Duration::from_secs(60);
/// The longest text of a description, in bytes.
const MAX_TEXT: usize = 256;
/// More values in one message than any device may have channels are not read.
const MAX_VALUES: usize = 65_536;
/// And no batch has so many rows times columns: 6 MiB.
const MAX_CELLS: usize = 262_144;
/// The greatest number that JavaScript has exactly (ECMA-262, 21.1.2.6).
const MAX_SEQ: u64 = (1 << 53) - 1;
/// The first and the last instant of its `Date` (21.4.1.1), in seconds from 1970.
const MAX_T: f64 = 8.64e12;
/// The time that the rows of a batch may take, in seconds.
const MAX_DT: f64 = 86_400.0;

/// What is known of a device beside what the hub knows.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) fresh: Freshness,
    /// As the hub was told last.
    pub(super) status: DeviceStatus,
    /// It is in the settings, and never forgotten.
    pub(super) fixed: bool,
    /// The epoch that its link's `hello` named.
    epoch: Option<String>,
    /// The parts of a snapshot that is not complete.
    parts: Option<Parts>,
    /// Batches were lost: some values may be older than they seem.
    has_holes: bool,
    /// When its last fault was told.
    told: Option<BootTime>,
}

#[derive(Debug)]
struct Parts {
    epoch: String,
    seq: u64,
    batch: Batch,
}

/// What a link wants to know of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It counts as a sign of life.
    Life,
    /// It is of another kind of server: that of a fleet.
    Fleet,
    /// It could not be read, or there is no room for the device.
    Nothing,
}

impl Device {
    fn new(now: BootTime, status: DeviceStatus, fixed: bool) -> Self {
        Self {
            fresh: Freshness::new(now),
            status,
            fixed,
            epoch: None,
            parts: None,
            has_holes: false,
            told: None,
        }
    }

    /// Something came from it.
    fn hear(&mut self, now: BootTime) {
        if self.status == DeviceStatus::Offline {
            self.fresh.forgive(now);
        }
        self.fresh.hear(now);
    }

    /// Tells a fault, unless one was told of late.
    fn tell(&mut self, now: BootTime, name: &str, fault: &str) {
        if self.told.is_none_or(|told| now.since(told) >= TOLD) {
            self.told = Some(now);
            log::warn!("device {name}: {}", printable(fault));
        }
    }
}

impl Fleet {
    /// A device that the settings name: it is there from now on, offline until
    /// it is heard.
    pub fn expect(&self, name: &str) {
        let now = self.0.hub.clock().boot();
        let mut devices = self.lock();
        let declared = self.0.hub.update(|hub| hub.declare(name, DeviceStatus::Offline));
        if let Some(id) = declared.flatten() {
            let mut device = Device::new(now, DeviceStatus::Offline, true);
            device.fresh.leave(now, "no connection so far");
            devices.insert(id, device);
        }
    }

    /// A device is away: it said so, or its link is down. One that was never
    /// heard of is not made for it.
    pub fn leave(&self, name: &str, why: &str) {
        let now = self.0.hub.clock().boot();
        let mut devices = self.lock();
        self.0.hub.update(|hub| {
            let Some(id) = hub.named(&level(name)).map(|device| device.id) else { return };
            if let Some(device) = devices.get_mut(&id) {
                device.fresh.leave(now, why);
                device.parts = None;
                device.status = DeviceStatus::Offline;
                hub.set_status(id, DeviceStatus::Offline, Some(why));
            }
        });
    }

    /// A device said that it is there, or its will that it is not. It is known
    /// from then on.
    pub fn said(&self, name: &str, online: bool) {
        const WHY: &str = "it said so";
        let now = self.0.hub.clock().boot();
        let status = if online { DeviceStatus::Online } else { DeviceStatus::Offline };
        let mut devices = self.lock();
        self.0.hub.update(|hub| {
            let Some(id) = self.declared(hub, name, status) else { return };
            let device = devices.entry(id).or_insert_with(|| Device::new(now, status, false));
            if online {
                device.hear(now);
            } else {
                device.fresh.leave(now, WHY);
                device.parts = None;
            }
            device.status = status;
            hub.set_status(id, status, (!online).then_some(WHY));
        });
    }

    /// The device of this name, which is made when there is none; one for which
    /// there is no room, or that can have no such name, is counted.
    fn declared(
        &self,
        hub: &mut FleetMut<'_>,
        name: &str,
        status: DeviceStatus,
    ) -> Option<DeviceId> {
        let level = level(name);
        let id = is_device(&level).then(|| hub.declare(&level, status)).flatten();
        if id.is_none() {
            self.0.counts.devices.increment();
        }
        id
    }

    /// A device is to be forgotten, unless it is in the settings.
    pub fn forget(&self, name: &str) {
        let mut devices = self.lock();
        let forgotten = self.0.hub.update(|hub| {
            let id = hub.named(&level(name))?.id;
            if devices.get(&id).is_some_and(|device| device.fixed) {
                return None;
            }
            hub.forget(id);
            Some(id)
        });
        if let Some(id) = forgotten.flatten() {
            devices.remove(&id);
            self.0.counts.forgotten.increment();
        }
    }

    /// The last batch that is here of a device: its epoch and number.
    pub fn place(&self, name: &str) -> Option<(String, u64)> {
        let view = self.0.hub.view();
        let device = view.devices()?.named(name)?;
        Some((device.run.as_ref()?.epoch.to_string(), device.seq))
    }

    /// Takes one message of a device: an object of the wire protocol.
    /// `retained`: a broker had kept it, so it may be old.
    pub fn hear(&self, name: &str, text: &[u8], retained: bool) -> Heard {
        let now = self.0.hub.clock().boot();
        let read = Message::read(text);
        if matches!(&read, Ok(message) if message.kind == "hello" && message.fleet) {
            return Heard::Fleet;
        }
        let mut devices = self.lock();
        let heard = self.0.hub.update(|hub| {
            // Of one that is known by what was kept alone, nobody knows where it is.
            let status = if retained { DeviceStatus::Offline } else { DeviceStatus::Online };
            let Some(id) = self.declared(hub, name, status) else { return Heard::Nothing };
            let device = devices.entry(id).or_insert_with(|| {
                let mut device = Device::new(now, status, false);
                if retained {
                    device.fresh.leave(now, "nothing was heard so far");
                }
                device
            });
            let message = match read {
                Ok(message) => message,
                Err(error) => {
                    self.0.counts.bad.increment();
                    device.tell(now, name, &format!("a message cannot be read: {error}"));
                    return Heard::Nothing;
                }
            };
            self.0.counts.messages.increment();
            // What a broker had kept is no sign of life.
            if !retained {
                device.hear(now);
                if device.status != DeviceStatus::Online {
                    device.status = DeviceStatus::Online;
                    hub.set_status(id, DeviceStatus::Online, None);
                }
            }
            Take { hub, counts: &self.0.counts, device, id, now, retained }.take(message);
            Heard::Life
        });
        heard.unwrap_or(Heard::Nothing)
    }
}

/// One message on its way into the hub.
struct Take<'a, 'h> {
    hub: &'a mut FleetMut<'h>,
    counts: &'a Counts,
    device: &'a mut Device,
    id: DeviceId,
    now: BootTime,
    retained: bool,
}

impl Take<'_, '_> {
    fn take(&mut self, mut message: Message<'_>) {
        match &*message.kind {
            "hello" => {
                let anew = message.epoch != self.device.epoch;
                self.device.epoch = message.epoch.filter(|epoch| is_epoch(epoch));
                self.device.parts = None;
                self.describe(message.channels.unwrap_or_default(), anew);
            }
            "channels" => {
                let whole = message.device.is_some();
                self.describe(message.channels.unwrap_or_default(), whole);
            }
            "data" => {
                let named = message.epoch.take().or_else(|| self.device.epoch.clone());
                match named.filter(|epoch| is_epoch(epoch)) {
                    Some(epoch) => self.data(epoch, message),
                    None => self.tell("its data has no epoch"),
                }
            }
            "error" => {
                let why = message.message.unwrap_or_default();
                self.tell(&format!("it cannot do what was asked: {why}"));
            }
            // A gap is known by the numbers; a clock that was set by what comes after.
            _ => {}
        }
    }

    fn tell(&mut self, fault: &str) {
        let name = self.hub.get(self.id).map(|device| device.name.clone());
        self.device.tell(self.now, name.as_deref().unwrap_or_default(), fault);
    }

    /// The whole name of a channel; `None` when it cannot have one.
    fn whole_name(&mut self, name: &str) -> Option<String> {
        let device = self.hub.get(self.id)?.name.clone();
        let whole = format!("{device}/{name}");
        let Some(rule) = ChannelName::broken_rule(&whole) else { return Some(whole) };
        self.counts.names.increment();
        let start: String = whole.chars().take(80).collect();
        self.tell(&format!("channel {start} is left out: {rule}"));
        None
    }

    /// Takes descriptions; `whole`: there are no others any more.
    fn describe(&mut self, list: Vec<Description>, whole: bool) {
        let mut kept = Vec::new();
        for description in list.into_iter().take(MAX_VALUES) {
            let Some(name) = self.whole_name(&description.name) else { continue };
            let status = match &*description.status {
                "stale" => Status::Stale,
                "gone" => Status::Gone,
                "error" => Status::Error(cut(description.reason.unwrap_or_default()).into()),
                _ => Status::Ok,
            };
            let kind = match description.kind.as_deref() {
                Some("counter") => Kind::Counter,
                Some("state") => Kind::State,
                _ => Kind::Gauge,
            };
            let Ok(mut channel) = Channel::new(kind, &name) else { continue };
            channel.unit = description.unit.map(|unit| cut(unit).into());
            channel.label = description.label.map(|label| cut(label).into());
            (channel.min, channel.max) = (description.min, description.max);
            let time = description.stale_after.map(Duration::try_from_secs_f64);
            channel.stale_after = time.and_then(Result::ok);
            match self.hub.describe(self.id, channel, &cut(description.source), status) {
                Some(id) => kept.push(id),
                None => self.refuse_channel(&name),
            }
        }
        if whole {
            kept.sort_unstable();
            self.hub.keep_only(self.id, &kept);
        }
    }

    fn refuse_channel(&mut self, name: &str) {
        self.counts.channels.increment();
        self.tell(&format!("channel {name} is left out: there are too many channels"));
    }

    /// The number of a channel, which is declared when a reading comes before
    /// its description.
    fn channel(&mut self, name: &str, value: &Reading) -> Option<ChannelId> {
        let whole = self.whole_name(name)?;
        if let Some(id) = self.hub.channel(&whole) {
            return Some(id);
        }
        let state = matches!(value, Reading::One(Value::Bool(_) | Value::Text(_)));
        let kind = if state { Kind::State } else { Kind::Gauge };
        let channel = Channel::new(kind, &whole).ok()?;
        let id = self.hub.describe(self.id, channel, "", Status::Ok);
        if id.is_none() {
            self.refuse_channel(&whole);
        }
        id
    }

    fn data(&mut self, epoch: String, mut message: Message<'_>) {
        let times = message.t.abs() <= MAX_T && message.dt.iter().all(|dt| *dt <= MAX_DT);
        if !times || message.seq > MAX_SEQ {
            self.counts.bad.increment();
            return self.tell("a batch has a time or a number that cannot be");
        }
        let run = self.hub.get(self.id).and_then(|device| device.run.clone());
        let same = run.as_ref().is_some_and(|run| *run.epoch == *epoch);
        // A board that was started anew may not have replaced yet what the broker keeps.
        if self.retained && !same && run.is_some() {
            return self.counts.doubled.increment();
        }
        let known = self.hub.get(self.id).map_or(0, |device| device.seq);
        let is_old = same && message.seq <= known;
        if is_old && !message.snapshot {
            return self.counts.doubled.increment();
        }
        if message.values.0.len().max(1).saturating_mul(message.dt.len()) > MAX_CELLS {
            // As if it had not come: the next one tells of the gap.
            self.counts.bad.increment();
            return self.tell("a batch is too large");
        }
        let batch = self.batch(&mut message);
        if message.snapshot {
            return self.part(epoch, &message, &batch);
        }
        let (seq, t) = (message.seq, message.t);
        if !same {
            // Its first words, as far as they are known here.
            self.hub.begin(self.id, &epoch, seq.saturating_sub(1));
            (self.device.has_holes, self.device.parts) = (seq > 1, None);
            let batch = if batch.rows() > 1 { self.newest(&batch) } else { batch };
            return self.publish(seq, t, What::Snapshot, batch);
        }
        // Where a board leaves numbers out on purpose, it says which came before.
        let expected = message.after.map_or(seq - 1, |after| after.min(seq - 1));
        if expected > known {
            self.counts.lost.add(expected - known);
            self.device.has_holes = true;
            let last = self.hub.get(self.id).and_then(|device| device.t).unwrap_or(t);
            self.lose(known + 1, expected, last);
            let latest = self.hub.latest(self.id, self.hub.instant(last));
            self.publish(expected, last, What::Snapshot, latest);
        }
        self.publish(seq, t, What::Data, batch);
    }

    /// One part of a snapshot, and all of it when no more follow.
    fn part(&mut self, epoch: String, message: &Message<'_>, batch: &Batch) {
        let seq = message.seq;
        let parts = self.device.parts.take();
        let parts = parts.filter(|parts| parts.epoch == epoch && parts.seq == seq);
        let mut parts = parts.unwrap_or_else(|| {
            let batch = Batch::at(batch.start());
            Parts { epoch, seq, batch }
        });
        // More than there may be channels cannot be news.
        if parts.batch.len() + batch.len() <= MAX_VALUES {
            for (id, values) in batch.columns() {
                parts.batch.set(id, values.last().cloned().unwrap_or(Value::Null));
            }
        }
        if message.more {
            self.device.parts = Some(parts);
            return;
        }
        self.snapshot(parts, message.t);
    }

    fn snapshot(&mut self, parts: Parts, t: f64) {
        let Parts { epoch, seq, batch } = parts;
        let Some(device) = self.hub.get(self.id) else { return };
        let known = device.seq;
        if device.run.as_ref().is_none_or(|run| *run.epoch != *epoch) {
            self.hub.begin(self.id, &epoch, seq);
            self.device.has_holes = false;
            return self.publish(seq, t, What::Snapshot, batch);
        }
        if seq > known {
            self.counts.lost.add(seq - known);
            self.lose(known + 1, seq, t);
        } else if seq < known || !self.device.has_holes {
            // It has nothing new, but perhaps of channels that were never heard.
            let (news, at) = (self.unknown(&batch), self.now);
            if news.is_empty() {
                return self.counts.doubled.increment();
            }
            let t = device_t(self.hub, self.id).unwrap_or(t);
            let mut all = self.hub.latest(self.id, at);
            news.columns().for_each(|(id, values)| all.column(id, values.iter().cloned()));
            return self.publish(known, t, What::Snapshot, all);
        }
        self.device.has_holes = false;
        self.publish(seq, t, What::Snapshot, batch);
    }

    /// Of these, the channels that have no value here.
    fn unknown(&self, batch: &Batch) -> Batch {
        let mut news = batch.clone();
        let known = self.hub.latest(self.id, self.now);
        let known: Vec<_> = known.columns().map(|(id, _)| id).collect();
        news.retain(|id| known.binary_search(&id).is_err());
        news
    }

    /// The newest value of each channel.
    fn newest(&self, batch: &Batch) -> Batch {
        let mut newest = Batch::at(batch.end());
        for (id, values) in batch.columns() {
            let value = values.iter().rev().find(|value| !value.is_null());
            newest.set(id, value.cloned().unwrap_or(Value::Null));
        }
        newest
    }

    fn lose(&mut self, from: u64, to: u64, t: f64) {
        let nothing = Batch::at(self.now);
        self.publish(to, t, What::Gap(from), nothing);
    }

    fn publish(&mut self, seq: u64, t: f64, what: What, batch: Batch) {
        self.hub.publish(self.id, Told { seq, t, what, batch });
    }

    /// The values of a message, by the hub's numbers.
    fn batch(&mut self, message: &mut Message<'_>) -> Batch {
        let start = self.hub.instant(message.t);
        let later = |dt: &f64| Duration::try_from_secs_f64(*dt).unwrap_or_default();
        let rows = message.dt.iter().skip(1).map(later).collect();
        let mut batch = Batch::rows_at(start, rows);
        let values = std::mem::take(&mut message.values.0);
        for (name, reading) in values.into_iter().take(MAX_VALUES) {
            let Some(id) = self.channel(&name, &reading) else { continue };
            match reading {
                Reading::One(value) => batch.set(id, value),
                Reading::Rows(values) => batch.column(id, values),
            }
        }
        batch
    }
}

fn device_t(hub: &FleetMut<'_>, id: DeviceId) -> Option<f64> {
    hub.get(id).and_then(|device| device.t)
}

/// The start of a text that is longer than any needs to be.
fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let mut end = MAX_TEXT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests;
