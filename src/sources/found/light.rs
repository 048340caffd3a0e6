//! Lamps: the LEDs of `/sys/class/leds` and the screens' backlights.
//!
//! ```text
//! leds/ACT/brightness                        0        to max_brightness
//! backlight/10-0045/actual_brightness        128      what the hardware shows
//! backlight/10-0045/max_brightness           255
//! backlight/10-0045/bl_power                 0        0 is on, 4 is off
//! ```
//!
//! Documentation/ABI/testing/sysfs-class-led, Documentation/ABI/stable/
//! sysfs-class-backlight. An LED is a state, on or off: `led/<name>`. A
//! backlight has two channels: `backlight/<name>/on` and
//! `backlight/<name>/brightness`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    files::Files,
    sensor::{Sensor, describe},
};
use crate::{
    sources::{
        Readings,
        isolated::{Device, Round, Watch},
        vitals::names::Names,
    },
    telemetry::Channel,
};

/// The most lamps of either kind. A keyboard's keys are lamps, too.
const MAX_LAMPS: usize = 64;

/// All lamps.
#[derive(Debug)]
pub(super) struct Lights {
    leds: PathBuf,
    backlights: PathBuf,
    files: Files,
    /// What was there when it was described, by name.
    listed: [Vec<String>; 2],
    /// Their levels.
    names: [Names<String>; 2],
    lamps: Vec<Sensor>,
    screens: Vec<Screen>,
}

#[derive(Debug)]
struct Screen {
    on: Sensor,
    brightness: Sensor,
    most: PathBuf,
}

impl Lights {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            leds: root.join("sys/class/leds"),
            backlights: root.join("sys/class/backlight"),
            files: Files::default(),
            listed: Default::default(),
            names: Default::default(),
            lamps: Vec::new(),
            screens: Vec::new(),
        }
    }

    /// Whether there is any lamp.
    pub(super) fn any(&self, watch: &Watch) -> bool {
        [&self.leds, &self.backlights].iter().any(|folder| !Files::list(watch, folder).is_empty())
    }

    /// Lists what is there; whether that has changed.
    fn list(&mut self, watch: &Watch) -> bool {
        let list = |folder: &Path| {
            let mut names = Files::list(watch, folder);
            names.truncate(MAX_LAMPS);
            names
        };
        let listed = [list(&self.leds), list(&self.backlights)];
        let changed = listed != self.listed;
        self.listed = listed;
        changed
    }

    fn describe(&mut self, watch: &Watch, readings: &mut Readings) {
        for (names, listed) in self.names.iter_mut().zip(&self.listed) {
            names.update(listed.iter().map(|name| (name, name.as_str())));
        }
        let [leds, screens] = &self.names;
        let lamp = |name: &String| led(&self.leds.join(name), name, leds.level(name)?).ok();
        self.lamps = self.listed[0].iter().filter_map(lamp).collect();
        let screen = |name: &String| {
            let folder = self.backlights.join(name);
            let files = Files::list(watch, &folder);
            let files = files.iter().map(String::as_str).collect();
            screen(&folder, &files, name, screens.level(name)?).ok()
        };
        self.screens = self.listed[1].iter().filter_map(screen).collect();
        describe(self.lamps.iter_mut().map(|lamp| &mut lamp.channel), readings);
        let screens = self.screens.iter_mut();
        describe(
            screens.flat_map(|one| [&mut one.on.channel, &mut one.brightness.channel]),
            readings,
        );
    }
}

fn led(folder: &Path, name: &str, level: &str) -> crate::Result<Sensor> {
    let channel = Channel::state(&format!("led/{level}"))?.label(format!("LED {name}"));
    Ok(Sensor { path: folder.join("brightness"), channel })
}

fn screen(folder: &Path, names: &BTreeSet<&str>, name: &str, level: &str) -> crate::Result<Screen> {
    let on = Channel::state(&format!("backlight/{level}/on"))?.label(format!("Backlight {name}"));
    let brightness = Channel::gauge(&format!("backlight/{level}/brightness"))?
        .unit("%")
        .range(0.0, 100.0)
        .label(format!("Brightness {name}"));
    // What was asked for, where the hardware does not tell.
    let shown =
        if names.contains("actual_brightness") { "actual_brightness" } else { "brightness" };
    Ok(Screen {
        on: Sensor { path: folder.join("bl_power"), channel: on },
        brightness: Sensor { path: folder.join(shown), channel: brightness },
        most: folder.join("max_brightness"),
    })
}

impl Device for Lights {
    fn read(&mut self, watch: &Watch, readings: &mut Readings) -> Round {
        if self.list(watch) {
            self.describe(watch, readings);
            return Round::More;
        }
        for lamp in &self.lamps {
            let found = self.files.number(watch, &lamp.path);
            lamp.tell(found.map(|found| found.map(|number| number > 0.0)), readings);
        }
        for screen in &self.screens {
            let power = self.files.number(watch, &screen.on.path);
            screen.on.tell(power.map(|found| found.map(|power| power == 0.0)), readings);
            let shown = self.files.number(watch, &screen.brightness.path);
            let most = self.files.number(watch, &screen.most).ok().flatten();
            let most = most.filter(|most| *most > 0.0).unwrap_or(255.0);
            let share = |shown: f64| (shown * 1000.0 / most).round() / 10.0;
            screen.brightness.tell(shown.map(|found| found.map(share)), readings);
        }
        Round::Done
    }
}
