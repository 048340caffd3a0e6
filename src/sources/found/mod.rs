//! The sensors that a board has, found by themselves.
//!
//! | file | where it looks | channels |
//! |---|---|---|
//! | `scan` | which devices there are | |
//! | `thermal` | `/sys/class/thermal` | `thermal/<zone>`, `cpu/temperature` |
//! | `power` | the firmware of a Raspberry Pi | `power/undervoltage` and its kin |
//! | `hwmon` | `/sys/class/hwmon` | `hwmon/<chip>/<sensor>` |
//! | `iio` | `/sys/bus/iio/devices` | `iio/<device>/<channel>` |
//! | `w1` | `/sys/bus/w1/devices` | `w1/<sensor>/temperature` |
//! | `supply` | `/sys/class/power_supply` | `supply/<supply>/<property>` |
//! | `light` | `/sys/class/leds`, `/sys/class/backlight` | `led/<name>`, `backlight/<name>/…` |
//! | `wifi` | `/proc/net/wireless` | `net/<interface>/signal` and its kin |
//! | `disks` | `/sys/block`, `/sys/fs/ext4` | `disk/<disk>/health` and its kin |
//! | `clock` | `/sys/class/rtc`, adjtimex(2) | `clock/…` |
//!
//! All of them, with their units and kinds, are in `docs/channels.md`.
//!
//! Each device has a lane (`sources/isolated.rs`), so that one that hangs delays
//! no other; the scan has one, too. A board with more devices than lanes reads
//! the rest one after the other in the last lane.

mod clock;
mod disks;
pub(super) mod files;
mod hwmon;
mod iio;
mod light;
mod power;
mod scan;
mod sensor;
mod supply;
#[cfg(test)]
mod tests;
mod thermal;
mod w1;
mod wifi;

use std::{
    cmp::Reverse,
    collections::HashMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use self::clock::WallClock;
use self::scan::{Scan, Spec};
use super::{
    Readings, Source,
    isolated::{Device, Lane, Member, Round, Watch},
    publication::Publication,
};
use crate::telemetry::{BootTime, Hub, Publisher};

/// How often it is looked which devices there are.
const SCAN_EVERY: Duration = Duration::from_secs(5);
/// The most devices that have a thread of their own, and one thread for the
/// others.
const MAX_LANES: usize = 32;
/// The most threads, with those that hang in a device that is gone.
pub(crate) const MAX_THREADS: usize = MAX_LANES + 16;

/// The sensors of a board.
#[derive(Debug)]
pub struct Found {
    interval: Duration,
    scan: Lane,
    lanes: Arc<Mutex<Lanes>>,
}

impl Found {
    /// Looks for sensors below `root`, which is `/` on a board, and publishes
    /// their readings in `hub`, every `interval` or as often as they can. The
    /// first look begins at once.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new(root: &Path, hub: &Hub, interval: Duration) -> io::Result<Self> {
        let lanes = Lanes {
            hub: hub.clone(),
            interval,
            publishers: HashMap::new(),
            list: Vec::new(),
            alive: Arc::new(()),
            stopped: false,
            complained: false,
        };
        let lanes = Arc::new(Mutex::new(lanes));
        let scanner = Scanner { scan: Scan::new(root), lanes: lanes.clone() };
        let nothing = Publication::new(Arc::new(hub.publisher("found")), interval);
        let members: Vec<Member> = vec![(Box::new(scanner), nothing)];
        let scan = Lane::start("scan", SCAN_EVERY, hub, members, Arc::new(()))?;
        Ok(Self { interval, scan, lanes })
    }

    /// Whether all that was found was read at least once.
    pub fn settled(&self) -> bool {
        self.scan.settled() && lock(&self.lanes).list.iter().all(|(_, lane)| lane.settled())
    }
}

impl Found {
    /// Whether something is still to come: a first round that is neither over
    /// nor known to hang.
    pub(crate) fn pending(&self) -> bool {
        self.scan.is_new() || lock(&self.lanes).list.iter().any(|(_, lane)| lane.is_new())
    }
}

impl Source for Found {
    fn name(&self) -> &str {
        "found"
    }

    /// Says to the lanes that are due that they are. They publish by
    /// themselves, so there is nothing to put into `readings`.
    fn sample(&mut self, at: BootTime, _: &mut Readings) {
        self.scan.tick(at, self.interval);
        for (_, lane) in &mut lock(&self.lanes).list {
            lane.tick(at, self.interval);
        }
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        let mut lanes = lock(&self.lanes);
        lanes.stopped = true;
        lanes.list.clear();
    }
}

/// Order of locks: the lanes, then one lane's state, then the hub.
fn lock(lanes: &Mutex<Lanes>) -> MutexGuard<'_, Lanes> {
    lanes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device that looks which devices there are.
#[derive(Debug)]
struct Scanner {
    scan: Scan,
    lanes: Arc<Mutex<Lanes>>,
}

impl Device for Scanner {
    fn read(&mut self, watch: &Watch, _: &mut Readings) -> Round {
        let found = self.scan.look(watch);
        lock(&self.lanes).update(found);
        Round::Done
    }
}

/// The lanes, and what each of them reads.
#[derive(Debug)]
struct Lanes {
    hub: Hub,
    interval: Duration,
    /// One of each kind: the hub marks the channels of a source as gone when
    /// it is dropped.
    publishers: HashMap<&'static str, Arc<Publisher>>,
    list: Vec<(Vec<Spec>, Lane)>,
    /// Each thread holds one more of it, until it ends.
    alive: Arc<()>,
    stopped: bool,
    /// It was said that devices are not read, and nothing has changed since.
    complained: bool,
}

impl Lanes {
    /// Lets go of what is no longer there, and begins to read what is new.
    fn update(&mut self, found: Vec<Spec>) {
        if self.stopped {
            return;
        }
        self.list.retain(|(specs, _)| specs.iter().all(|spec| found.contains(spec)));
        let read = |spec: &Spec| self.list.iter().any(|(specs, _)| specs.contains(spec));
        let mut new: Vec<_> = found.into_iter().filter(|spec| !read(spec)).collect();
        // A lane that is shared is as slow as the slowest that it reads.
        new.sort_by_key(|spec| Reverse(spec.every));
        let mut new = new.into_iter();
        let own = MAX_LANES - 1 - self.list.len().min(MAX_LANES - 1);
        for spec in new.by_ref().take(own) {
            self.start(vec![spec]);
        }
        let mut rest: Vec<Spec> = new.collect();
        if !rest.is_empty() {
            // The last lane begins anew, with what it had.
            let shared = if self.list.len() >= MAX_LANES { self.list.pop() } else { None };
            rest.extend(shared.into_iter().flat_map(|(specs, _)| specs));
            self.start(rest);
        }
    }

    fn start(&mut self, specs: Vec<Spec>) {
        if Arc::strong_count(&self.alive) > MAX_THREADS {
            self.complain(&specs[0].level, &format!("{MAX_THREADS} threads read or hang already"));
            return;
        }
        let every = specs.iter().map(|spec| spec.every).max().unwrap_or_default();
        let every = every.max(self.interval);
        let members = specs.iter().map(|spec| {
            let publisher = self.publishers.entry(spec.source);
            let publisher = publisher.or_insert_with(|| Arc::new(self.hub.publisher(spec.source)));
            (spec.device(), Publication::new(publisher.clone(), every))
        });
        let members: Vec<Member> = members.collect();
        let name = if specs.len() == 1 { &specs[0].level } else { "others" };
        match Lane::start(name, every, &self.hub, members, self.alive.clone()) {
            Ok(lane) => {
                self.complained = false;
                self.list.push((specs, lane));
            }
            Err(error) => {
                let name = name.to_owned();
                self.complain(&name, &format!("no thread: {error}"));
            }
        }
    }

    /// Says once that a device is not read: it is tried again at every look.
    fn complain(&mut self, device: &str, why: &str) {
        if !std::mem::replace(&mut self.complained, true) {
            log::warn!("{device} is not read: {why}");
        }
    }
}
