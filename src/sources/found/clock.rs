//! The clocks: whether the wall clock is right, and how far the battery-backed
//! ones are from it.
//!
//! ```text
//! /sys/class/rtc/rtc0/name           rtc-ds1307 1-0068
//! /sys/class/rtc/rtc0/since_epoch    1763796001
//! ```
//!
//! `since_epoch` is in whole seconds (Documentation/ABI/testing/sysfs-class-rtc);
//! on most boards, reading it asks a chip on the I2C bus. That the wall clock
//! is right is what adjtimex(2) says, which chrony, ntpd and systemd-timesyncd
//! all keep.

use std::path::{Path, PathBuf};

use super::files::{Files, number};
use crate::{
    sources::{
        Readings, Source,
        isolated::{Device, Round, Watch},
    },
    telemetry::{BootTime, Channel, Hub},
};

/// What sources of clocks are called.
pub(super) const SOURCE: &str = "clock";

/// The wall clock. Asking for it never waits, so the sampler does it.
#[derive(Debug)]
pub struct WallClock(Hub);

impl WallClock {
    /// The clock of a hub.
    pub fn new(hub: Hub) -> Self {
        Self(hub)
    }
}

impl Source for WallClock {
    fn name(&self) -> &str {
        SOURCE
    }

    fn sample(&mut self, _: BootTime, readings: &mut Readings) {
        let channel = Channel::state("clock/synced").map(|c| c.label("Clock synchronised"));
        readings.push(channel, self.0.clock().synced());
    }
}

/// A clock with a battery, or at least with its own quartz.
#[derive(Debug)]
pub(super) struct Rtc {
    path: PathBuf,
    /// `rtc0`.
    name: String,
    files: Files,
}

impl Rtc {
    pub(super) fn new(folder: &Path, name: String) -> Self {
        Self { path: folder.join("since_epoch"), name, files: Files::default() }
    }
}

impl Device for Rtc {
    fn read(&mut self, watch: &Watch, readings: &mut Readings) -> Round {
        let found = self.files.read(watch, &self.path, number);
        // In the middle of the second that it shows; so right to half of one.
        let wall = watch.hub().clock().wall();
        let offset = |seconds: f64| ((seconds + 0.5 - wall) * 10.0).round() / 10.0;
        if let Ok(channel) = Channel::gauge(&format!("clock/{}/offset", self.name)) {
            let label = format!("{} ahead of the system's clock", self.name);
            let found = found.map(|found| found.map(offset));
            super::sensor::tell(&channel.unit("s").label(label), found, readings);
        }
        Round::Done
    }
}
