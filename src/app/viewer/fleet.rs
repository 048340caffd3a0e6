//! A client of a fleet: many devices behind one cursor.
//!
//! ```text
//! hello · devices · [subscribed] · of each device: channels, snapshot · heartbeat · data · data · …
//! ```
//!
//! What a newcomer gets is made device by device, as its socket takes it: a
//! thousand snapshots at once would be megabytes for each client. A device's
//! snapshot is of a later instant than the cursor's, so the client is not
//! shown again what the ring has of that device up to there: `had` says so,
//! until the cursor has passed. The same serves a client that comes with a
//! place for each device: it goes on from the oldest entry of the ring, and is
//! not shown what it had.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

use std::{collections::HashMap, time::Instant};

use bytes::Bytes;

use super::{Encoding, Key, Viewer};
use crate::{
    app::selection::{Mask, Share},
    message::Message,
    net::message_frame,
    telemetry::{
        Batch, BootTime, ChannelState, DeviceId, DeviceState, Devices, Origin, View, What,
    },
    wire::{
        binary, fleet, json,
        subscribe::{Places, Since},
    },
};

/// So much is made of descriptions and snapshots under one lock, in bytes,
const TURN_BYTES: usize = 32 * 1024;
/// and so many devices are looked at; most may have nothing for this client.
const TURNS: usize = 256;

/// What a client of a fleet's hub has beside its cursor.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Devices that the client is to be told of before the next batch; the
    /// last one comes first.
    turns: Vec<Turn>,
    /// What the client has of a device although its cursor stands before it.
    had: HashMap<DeviceId, Had>,
    /// Behind this one the cursor has passed all of that.
    passed: u64,
    /// What it has, from elsewhere, of devices that were never heard here.
    unheard: Places,
}

/// What a client has of a device.
#[derive(Clone, Copy, Debug)]
struct Had {
    /// The start, and the device's number.
    upto: (u32, u64),
    /// The hub has not got so far.
    ahead: bool,
}

/// What a client is to be told of a device.
#[derive(Debug)]
struct Turn {
    device: DeviceId,
    /// Its channels.
    describe: bool,
    /// Its latest values.
    show: bool,
    /// Before these, that it lost some: from this number on, if that is known.
    lost: Option<Option<u64>>,
    /// What the client has of a start that was not known here when it came; it
    /// may be by the device's turn.
    since: Option<Since>,
}

/// How a client may go on with a device.
enum Resume {
    /// With what the ring has behind this number of this start.
    Behind(u32, u64),
    /// With its latest values: it is new, or started anew, or a paced client
    /// misses nothing by it.
    Anew,
    /// With these, behind a gap from this number on.
    Lost(u64),
}

impl Standing {
    /// Whether devices wait for their turn.
    pub(super) fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Whether the client has this already.
    pub(super) fn has_had(&self, origin: &Origin) -> bool {
        let had = self.had.get(&origin.run.device);
        had.is_some_and(|had| (origin.run.number, origin.seq) <= had.upto)
    }

    fn note(&mut self, device: &DeviceState, upto: (u32, u64), head: u64) {
        self.had.insert(device.id, Had { upto, ahead: upto.1 > device.seq });
        self.passed = head;
    }

    /// Forgets what the cursor has passed; not what is still to come here, for
    /// a client that another server has told more.
    fn pass(&mut self, seq: u64, head: u64, devices: Devices<'_>) {
        if !self.unheard.is_empty() {
            self.hear(head, devices);
        }
        if self.had.is_empty() || seq < self.passed {
            return;
        }
        let mut passed = self.passed;
        self.had.retain(|&id, had| {
            let was_ahead = had.ahead;
            let device = devices.get(id).and_then(|d| Some((d.run.as_ref()?.number, d.seq)));
            had.ahead &= device.is_some_and(|newest| newest.0 == had.upto.0 && newest < had.upto);
            if was_ahead && !had.ahead {
                // What it had is all in the ring now, before this.
                passed = head;
            }
            was_ahead
        });
        self.passed = passed;
        self.had.shrink_to_fit();
    }

    /// Devices that are heard now may begin before what the client has.
    fn hear(&mut self, head: u64, devices: Devices<'_>) {
        let mut unheard = std::mem::take(&mut self.unheard);
        unheard.retain(|name, since| {
            let device = devices.named(name);
            let Some(device) = device.filter(|device| device.run.is_some()) else { return true };
            match can_resume(device, &since.epoch, since.seq, false) {
                Resume::Behind(run, seq) => self.note(device, (run, seq), head),
                Resume::Lost(from) => self.turns.push(Turn {
                    device: device.id,
                    describe: true,
                    show: true,
                    lost: Some(Some(from)),
                    since: None,
                }),
                Resume::Anew => {}
            }
            false
        });
        self.unheard = unheard;
    }
}

/// The channels of a device that a selection holds.
fn selected<'a>(
    view: &'a View<'_>,
    device: &'a DeviceState,
    mask: &'a Mask,
) -> impl Iterator<Item = &'a ChannelState> + Clone {
    let held = device.channels.iter().filter(|id| mask.has(**id));
    held.filter_map(|id| view.channel(*id))
}

impl Viewer {
    /// All devices, for a newcomer.
    pub(super) fn greet_with_devices(&mut self, devices: Devices<'_>) {
        let texts = fleet::devices(devices.list().iter(), std::iter::empty());
        self.first.extend(self.frames(&texts, None));
    }

    /// From here on the client gets what it selects of each device, from the
    /// latest values on.
    pub(super) fn restart_fleet(&mut self, view: &View<'_>, devices: Devices<'_>) {
        self.seq = view.seq();
        let Some(place) = &mut self.fleet else { return };
        **place = Standing::default();
        if self.selection.filters().is_empty() {
            return;
        }
        let all = devices.list().iter().rev();
        let turn = |id| Turn { device: id, describe: true, show: true, lost: None, since: None };
        place.turns.extend(all.map(|device| turn(device.id)));
    }

    /// As that, from the client's own places on, where that can be; whether it
    /// can be for all of them.
    pub(super) fn resume_fleet(
        &mut self,
        view: &View<'_>,
        devices: Devices<'_>,
        places: &Places,
    ) -> bool {
        self.restart_fleet(view, devices);
        let (paced, head) = (self.pacer.is_some(), view.seq());
        let Some(place) = &mut self.fleet else { return false };
        let heard = |name: &str| devices.named(name).is_some_and(|device| device.run.is_some());
        let unheard = places.iter().filter(|(name, _)| !heard(name));
        place.unheard.extend(unheard.map(|(name, since)| (name.clone(), since.clone())));
        let mut recovered = place.unheard.is_empty();
        let mut turns = std::mem::take(&mut place.turns);
        for turn in &mut turns {
            let Some(device) = devices.get(turn.device) else { continue };
            let Some(since) = places.get(&*device.name) else { continue };
            match can_resume(device, &since.epoch, since.seq, paced) {
                Resume::Behind(run, seq) => {
                    turn.show = false;
                    place.note(device, (run, seq), head);
                    if device.last > 0 && seq < device.seq {
                        self.seq = view.oldest().saturating_sub(1).min(head);
                    }
                }
                Resume::Anew => {
                    let same = device.run.as_ref().is_some_and(|run| *run.epoch == *since.epoch);
                    recovered &= same;
                    turn.since = Some(since.clone());
                }
                Resume::Lost(from) => {
                    turn.lost = Some(Some(from));
                    recovered = false;
                }
            }
        }
        place.turns = turns;
        recovered
    }

    /// Tells of the devices whose turn it is, as far as a socket takes at once.
    pub(super) fn take_turns(&mut self, view: &View<'_>, devices: Devices<'_>) {
        let mask = self.selection.mask(view.channels());
        let mut bytes = 0;
        for _ in 0..TURNS {
            if bytes >= TURN_BYTES {
                return;
            }
            let turn = self.fleet.as_mut().and_then(|place| place.turns.pop());
            let Some(turn) = turn else { return };
            if let Some(device) = devices.get(turn.device) {
                let before = self.first.len();
                self.take_turn(view, device, &turn, &mask);
                bytes += self.first.range(before..).map(Bytes::len).sum::<usize>();
            }
            if !self.has_turns() {
                let wall = self.shared.hub.clock().wall();
                return self.first.push_back(self.frame(&json::heartbeat(self.seq, wall), None));
            }
        }
    }

    fn take_turn(&mut self, view: &View<'_>, device: &DeviceState, turn: &Turn, mask: &Mask) {
        let channels = selected(view, device, mask);
        if channels.clone().next().is_none() {
            return;
        }
        if turn.describe {
            self.first.extend(self.frames(&json::channels(channels.clone()), None));
        }
        let Some(run) = device.run.as_ref().filter(|_| turn.show) else { return };
        let since = turn.since.as_ref().filter(|since| *since.epoch == *run.epoch);
        let lost = match since {
            Some(since) if since.seq >= device.seq => {
                if let Some(place) = &mut self.fleet {
                    place.note(device, (run.number, since.seq), view.seq());
                }
                return;
            }
            Some(since) => Some(Some(since.seq + 1)),
            None => turn.lost,
        };
        if let Some(from) = lost.filter(|_| self.pacer.is_none()) {
            self.first.push_back(self.frame(&fleet::gap(run, from, device.seq), None));
        }
        let with_value = channels.filter(|state| !state.value.is_null());
        let texts = fleet::newest(run, device.seq, device.t.unwrap_or_default(), true, with_value);
        self.first.extend(self.frames(&texts, None));
        if let Some(place) = &mut self.fleet {
            place.note(device, (run.number, device.seq), view.seq());
        }
    }

    /// The cursor has passed what was noted, perhaps.
    pub(super) fn pass(&mut self, view: &View<'_>, devices: Devices<'_>) {
        if let Some(place) = &mut self.fleet {
            place.pass(self.seq, view.seq(), devices);
        }
    }

    /// The ring has lost what comes next: a gap and the latest values for each
    /// device of which the client misses something; it goes on with the others.
    pub(super) fn overtaken(&mut self, view: &View<'_>, devices: Devices<'_>) {
        let Some(place) = &mut self.fleet else { return };
        for device in devices.list().iter().rev() {
            let Some(run) = &device.run else { continue };
            let (entry, start) = device.evicted;
            let had = place.had.get(&device.id).map(|had| had.upto);
            let had = had.filter(|had| had.0 == run.number);
            if entry <= self.seq || had.is_some_and(|had| had.1 >= device.kept_after) {
                continue;
            }
            if start != run.number {
                // The ring has the newer start's snapshot; what it still has of
                // the older one follows on nothing.
                if had.is_none() {
                    place.note(device, (run.number - 1, u64::MAX), view.seq());
                }
                continue;
            }
            let from = had.map(|had| had.1 + 1);
            place.turns.push(Turn {
                device: device.id,
                describe: false,
                show: true,
                lost: Some(from),
                since: None,
            });
        }
        self.seq = view.oldest() - 1;
    }

    /// The devices and descriptions that are new since a version.
    pub(super) fn news(&self, view: &View<'_>, devices: Devices<'_>, from: u64) -> Vec<Bytes> {
        let list = devices.list();
        let changed = list.iter().filter(|device| device.version > from);
        let mut frames = self.frames(&fleet::devices(changed, devices.gone_since(from)), None);
        let mask = self.selection.mask(view.channels());
        for device in list.iter().filter(|device| device.channels_version > from) {
            let changed = selected(view, device, &mask).filter(|state| state.version > from);
            frames.extend(self.frames(&json::channels(changed), None));
        }
        frames
    }

    /// The newest values of each device that had readings since the last tick.
    pub(super) fn conflate_fleet(&mut self, view: &View<'_>, devices: Devices<'_>, now: Instant) {
        let Some(pacer) = &mut self.pacer else { return };
        pacer.rest();
        let (period, tick, from) = (pacer.period(), pacer.tick(now), self.seq);
        let (form, wall) = (self.form_of(&self.selection), view.wall().version);
        let had = self.fleet.as_ref().filter(|place| !place.had.is_empty());
        if had.is_some() {
            // Its own, for as long as another server has told it more.
            let frames = self.changed_devices(view, devices, from);
            self.first.extend(frames);
            self.seq = view.seq();
        } else {
            let key = Key::Tick { form, from, period, tick, wall };
            let make = || (view.seq(), self.changed_devices(view, devices, from));
            let (seq, frames) = self.recent(key, make);
            self.first.extend(frames.iter().cloned());
            self.seq = seq;
        }
        if let Some(pacer) = self.pacer.as_mut().filter(|_| self.seq < view.seq()) {
            pacer.note(now);
        }
    }

    fn changed_devices(&self, view: &View<'_>, devices: Devices<'_>, from: u64) -> Vec<Bytes> {
        let mask = self.selection.mask(view.channels());
        let mut frames = Vec::new();
        for device in devices.list().iter().filter(|device| device.last > from) {
            let Some(run) = &device.run else { continue };
            let had = self.fleet.as_ref().and_then(|place| place.had.get(&device.id));
            if had.is_some_and(|had| (run.number, device.seq) <= had.upto) {
                continue;
            }
            let changed = selected(view, device, &mask);
            let mut changed =
                changed.filter(|state| state.seq > from && !state.value.is_null()).peekable();
            if changed.peek().is_none() {
                continue;
            }
            let (seq, t) = (device.seq, device.t.unwrap_or_default());
            if self.encoding == Encoding::Binary {
                let mut batch = Batch::at(BootTime::default());
                changed.clone().for_each(|state| batch.set(state.id, state.value.clone()));
                if let Some(bytes) = binary::data(seq, t, &batch, view.channels(), |_| true) {
                    frames.push(message_frame(&Message::from(bytes)));
                    continue;
                }
            }
            frames.extend(self.frames(&fleet::newest(run, seq, t, false, changed), None));
        }
        frames
    }

    /// How much of an entry concerns this client.
    pub(super) fn share_of(&self, view: &View<'_>, seq: u64, mask: &Mask) -> Option<Share> {
        let batch = view.batch(seq)?;
        let Some(origin) = view.origin(seq) else { return Some(mask.share_of(batch)) };
        let device = view.devices().and_then(|devices| devices.get(origin.run.device));
        // Forgotten meanwhile.
        let Some(device) = device else { return Some(Share::Nothing) };
        let any = || selected(view, device, mask).next().is_some();
        Some(match origin.what {
            What::Gap(_) if any() => Share::Whole,
            // Even an empty one: it ends the gap.
            What::Snapshot if any() => mask.share_of(batch).max(Share::Part),
            What::Data => mask.share_of(batch),
            _ => Share::Nothing,
        })
    }

    /// An entry of a fleet's ring as this client gets it.
    pub(super) fn encode_of(&self, view: &View<'_>, seq: u64, mask: &Mask) -> Option<Bytes> {
        let (batch, origin, channels) = (view.batch(seq)?, view.origin(seq)?, view.channels());
        let select = |id| mask.has(id);
        let text = match origin.what {
            What::Gap(from) => fleet::gap(&origin.run, Some(from), origin.seq),
            What::Data if self.encoding == Encoding::Binary => {
                match binary::data(origin.seq, origin.t, batch, channels, select) {
                    Some(bytes) => return Some(message_frame(&Message::from(bytes))),
                    None => fleet::data(origin, batch, channels, &select),
                }
            }
            _ => fleet::data(origin, batch, channels, &select),
        };
        Some(self.frame(&text, None))
    }
}

fn can_resume(device: &DeviceState, epoch: &str, seq: u64, paced: bool) -> Resume {
    let Some(run) = device.run.as_ref().filter(|run| *run.epoch == *epoch) else {
        return Resume::Anew;
    };
    if seq >= device.seq || !paced && seq >= device.kept_after {
        Resume::Behind(run.number, seq)
    } else if paced {
        Resume::Anew
    } else {
        Resume::Lost(seq + 1)
    }
}

#[cfg(test)]
mod tests;
