//! A server for many boards: what they say, from a broker or over links of its
//! own, goes into one [fleet's hub](Hub::fleet), which [`App`](crate::App) serves.
//!
//! ```text
//!  --mqtt   bc-mqtt-fleet ───┐                           hub of all devices
//!  --board  bc-board-pi1 ────┼─ Fleet::hear(device, JSON) ──▶ ring, latest values ──▶ viewers
//!           bc-board-pi2 ────┘        bc-fleet: freshness
//! ```
//!
//! | file | what |
//! |---|---|
//! | `message` | a board's JSON → plain data |
//! | `intake` | plain data → the hub: what is new, doubled, lost |
//! | `fresh` | online, stale, offline: a function of instants |
//! | `board` | one board over our own client |
//! | `mqtt` | all boards behind a broker |
//!
//! Servers need nothing from one another: each knows what it has heard, and a
//! viewer's place is the boards' own numbers, which are the same everywhere.

mod board;
mod fresh;
mod intake;
mod message;
mod mqtt;
mod settings;

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use self::intake::Device;
pub(crate) use self::settings::boards;
pub use self::{
    board::{Link, Links},
    settings::{BoardPlace, FleetSettings},
};
use crate::{
    net::Counter,
    telemetry::{BootTime, DeviceId, DeviceStatus, Hub},
    wire::prometheus::Page,
};

/// How often it is looked who has fallen silent.
const LOOK: Duration = Duration::from_secs(1);

/// The devices of one hub, and what is known of each. Clones are handles.
#[derive(Clone, Debug)]
pub struct Fleet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    hub: Hub,
    offline_after: Duration,
    forget_after: Duration,
    /// Locked before the hub, never after.
    devices: Mutex<HashMap<DeviceId, Device>>,
    counts: Counts,
}

/// What is counted, for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Messages that were understood.
    messages: Counter,
    /// Messages that were not.
    bad: Counter,
    /// Batches that were there already.
    doubled: Counter,
    /// Batches that boards made and that did not come.
    lost: Counter,
    /// Channels that were left out for their names.
    names: Counter,
    /// Channels that were left out because there are too many.
    channels: Counter,
    /// Messages of devices for which there is no room, or that have no name of
    /// 1 to 64 characters.
    devices: Counter,
    /// Devices that were forgotten.
    forgotten: Counter,
}

impl Fleet {
    /// Fills a [fleet's hub](Hub::fleet).
    pub fn new(hub: Hub, settings: &FleetSettings) -> Self {
        let FleetSettings { offline_after, forget_after, .. } = *settings;
        let (devices, counts) = (Mutex::default(), Counts::default());
        Self(Arc::new(Shared { hub, offline_after, forget_after, devices, counts }))
    }

    /// Looks who has fallen silent, and forgets who has been away for long.
    pub fn look(&self, now: BootTime) {
        self.0.hub.expire(now);
        let mut devices = self.lock();
        let mut forgotten = Vec::new();
        self.0.hub.update(|hub| {
            for (&id, device) in devices.iter_mut() {
                let fresh = &device.fresh;
                if !device.fixed && fresh.silence(now) > self.0.forget_after {
                    hub.forget(id);
                    forgotten.push(id);
                    continue;
                }
                let (status, why) = fresh.status(now, self.0.offline_after);
                device.status = status;
                hub.set_status(id, status, why.as_deref());
            }
        });
        for id in forgotten {
            devices.remove(&id);
            self.0.counts.forgotten.increment();
        }
        devices.shrink_to_fit();
    }

    /// Describes the devices, and what was counted of them, in `/metrics`.
    pub fn describe(&self, page: &mut Page) {
        let all = [DeviceStatus::Online, DeviceStatus::Stale, DeviceStatus::Offline];
        let mut numbers = [0; 3];
        if let Some(devices) = self.0.hub.view().devices() {
            for device in devices.list() {
                let place = all.iter().position(|status| *status == device.status);
                numbers[place.unwrap_or_default()] += 1;
            }
        }
        for (status, number) in all.iter().zip(numbers) {
            let name = format!("boardcast_devices_{}", status.as_str());
            page.single(&name, "gauge", "Devices of the fleet that are so.", number);
        }
        let counts = &self.0.counts;
        for (name, help, counter) in [
            ("boardcast_fleet_messages_total", "Messages of devices.", &counts.messages),
            (
                "boardcast_fleet_bad_messages_total",
                "Messages of devices that could not be read.",
                &counts.bad,
            ),
            (
                "boardcast_fleet_doubled_total",
                "Batches of devices that were there already.",
                &counts.doubled,
            ),
            ("boardcast_fleet_lost_total", "Batches of devices that did not come.", &counts.lost),
            (
                "boardcast_fleet_refused_names_total",
                "Channels left out: name too long or deep.",
                &counts.names,
            ),
            (
                "boardcast_fleet_refused_channels_total",
                "Channels left out: too many.",
                &counts.channels,
            ),
            (
                "boardcast_fleet_refused_devices_total",
                "Messages left out: too many devices, or a name too long.",
                &counts.devices,
            ),
            (
                "boardcast_fleet_forgotten_total",
                "Devices that were away for long.",
                &counts.forgotten,
            ),
        ] {
            page.single(name, "counter", help, counter.get());
        }
    }

    /// Starts the thread that looks who has fallen silent.
    ///
    /// # Errors
    /// What the system says when it refuses a thread.
    pub fn start(&self) -> io::Result<Watch> {
        let (bell, rung) = sync_channel::<()>(0);
        let fleet = self.clone();
        let run = move || {
            while rung.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                fleet.look(fleet.0.hub.clock().boot());
            }
        };
        let builder = thread::Builder::new().name("bc-fleet".into()).stack_size(128 * 1024);
        Ok(Watch { bell: Some(bell), thread: Some(builder.spawn(run)?) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Device>> {
        // A panic in between leaves at worst one message half taken.
        self.0.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that looks after freshness; dropped, it ends.
#[derive(Debug)]
pub struct Watch {
    bell: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.bell = None;
        if let Some(thread) = self.thread.take() {
            // It panicked: there is nothing left to end.
            let _ = thread.join();
        }
    }
}
