//! Which devices there are.
//!
//! Folders are listed and names are read, which the kernel answers from its
//! memory; what asks a chip is left to the device's own thread.
//!
//! **Shown once.** Some chips of hwmon are another subsystem's, which has them
//! again; they are told there:
//!
//! | chip | how it is known | where it is told |
//! |---|---|---|
//! | a thermal zone | `device` is one (drivers/thermal/thermal_hwmon.c); in older kernels there is no `device`, and the name is that of a zone with `_` for `-` | `thermal/<zone>` |
//! | a power supply | `device` is of that class (drivers/power/supply/power_supply_hwmon.c) | `supply/…` |
//! | a 1-Wire sensor | `device` is on that bus (drivers/w1/slaves/w1_therm.c) | `w1/…` |
//! | converters of IIO | its driver is `iio_hwmon` (drivers/hwmon/iio_hwmon.c) | `iio/…` |
//! | `rpi_volt` | by its name | `power/undervoltage` |

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    clock::{self, Rtc},
    disks::Disks,
    files::Files,
    hwmon::Hwmon,
    iio::Iio,
    light::Lights,
    power::Power,
    supply::Supply,
    thermal::{Zone, cpu_zone},
    w1::Bus,
    wifi::Wifi,
};
use crate::{
    sources::{
        isolated::{Device, Watch},
        vitals::{file::numbered, names::Names},
    },
    telemetry::Levels,
};

/// The most devices of each kind.
const MAX_DEVICES: usize = 256;

/// Chips that should not be asked each second, and how many it should be: a
/// disk that is asked may never spin down (Documentation/hwmon/drivetemp.rst,
/// "Limitations"), an SSD not sleep.
const SLOW_CHIPS: [(&str, u64); 2] = [("drivetemp", 60), ("nvme", 10)];

/// A device that was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spec {
    /// The name of its source.
    pub source: &'static str,
    /// Its level in the names of its channels; also what its thread is called.
    pub level: String,
    /// How often it is read at most.
    pub every: Duration,
    what: What,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    /// Whether it is that of the processor.
    Zone(Key, bool),
    Power(PathBuf),
    Hwmon(Key),
    Iio(Key),
    Bus(PathBuf),
    Supply(Key),
    Rtc(Key),
    Lights(PathBuf),
    Wifi(PathBuf),
    Disks(PathBuf),
}

/// A device's folder below `sys/devices`, and its name. The folder alone
/// doesn't do: its number is used again when another device comes.
type Key = (PathBuf, String);

impl Spec {
    /// Its reader.
    pub(super) fn device(&self) -> Box<dyn Device> {
        let level = || self.level.clone();
        match self.what.clone() {
            What::Zone((folder, _), is_cpu) => Box::new(Zone::new(&folder, &self.level, is_cpu)),
            What::Power(root) => Box::new(Power::new(&root)),
            What::Hwmon((folder, chip)) => Box::new(Hwmon::new(folder, level(), chip)),
            What::Iio((folder, device)) => Box::new(Iio::new(folder, level(), device)),
            What::Bus(folder) => Box::new(Bus::new(folder)),
            What::Supply((folder, name)) => Box::new(Supply::new(&folder, level(), name)),
            What::Rtc((folder, name)) => Box::new(Rtc::new(&folder, name)),
            What::Lights(root) => Box::new(Lights::new(&root)),
            What::Wifi(root) => Box::new(Wifi::new(&root)),
            What::Disks(root) => Box::new(Disks::new(&root)),
        }
    }
}

/// Looks for devices, and gives them levels that they keep while they are
/// there.
#[derive(Debug)]
pub(super) struct Scan {
    root: PathBuf,
    files: Files,
    zones: Names<Key>,
    chips: Names<Key>,
    converters: Names<Key>,
    supplies: Names<Key>,
}

impl Scan {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            files: Files::default(),
            zones: Names::default(),
            chips: Names::default(),
            converters: Names::default(),
            supplies: Names::default(),
        }
    }

    /// All devices that are there now.
    pub(super) fn look(&mut self, watch: &Watch) -> Vec<Spec> {
        let mut found = Vec::new();
        let zones = self.zones(watch);
        let types: BTreeSet<_> = zones.iter().map(|(_, kind)| kind.replace('-', "_")).collect();
        let cpu = cpu_zone(&zones.iter().map(|(_, kind)| kind.as_str()));
        let cpu = cpu.map(|number| zones[number].clone());
        named(&mut self.zones, zones, |level, key| {
            let is_cpu = Some(&key) == cpu.as_ref();
            found.push(spec("thermal", level, What::Zone(key, is_cpu)));
        });
        if Power::any(&self.root) {
            found.push(spec("power", "power", What::Power(self.root.clone())).every(1));
        }
        let chips = self.chips(watch, &types);
        named(&mut self.chips, chips, |level, key| {
            let every = SLOW_CHIPS.iter().find(|(chip, _)| *chip == key.1);
            let every = every.map_or(0, |(_, seconds)| *seconds);
            found.push(spec("hwmon", level, What::Hwmon(key)).every(every));
        });
        let converters = self.converters(watch);
        named(&mut self.converters, converters, |level, key| {
            found.push(spec("iio", level, What::Iio(key)));
        });
        let supplies = self.folders(watch, "sys/class/power_supply", "");
        named(&mut self.supplies, supplies, |level, key| {
            // Asking a notebook's battery costs its controller some milliseconds.
            found.push(spec("supply", level, What::Supply(key)).every(5));
        });
        for (folder, name) in self.folders(watch, "sys/bus/w1/devices", "w1_bus_master") {
            found.push(spec("w1", &name, What::Bus(folder)).every(5));
        }
        for (folder, name) in self.folders(watch, "sys/class/rtc", "rtc") {
            let level = Levels::default().level(&name);
            found.push(spec(clock::SOURCE, &level, What::Rtc((folder, name))).every(10));
        }
        if Lights::new(&self.root).any(watch) {
            found.push(spec("light", "light", What::Lights(self.root.clone())).every(1));
        }
        if Wifi::new(&self.root).any() {
            found.push(spec("wifi", "wifi", What::Wifi(self.root.clone())).every(1));
        }
        if Disks::new(&self.root).any(watch) {
            found.push(spec("disks", "disks", What::Disks(self.root.clone())).every(60));
        }
        found
    }

    /// The chips of hwmon that are told nowhere else.
    fn chips(&mut self, watch: &Watch, zones: &BTreeSet<String>) -> Vec<Key> {
        let class = self.root.join("sys/class/hwmon");
        let mut chips = Vec::new();
        for number in numbered(&class, "hwmon", MAX_DEVICES) {
            let mut folder = class.join(format!("hwmon{number}"));
            let mut name = self.files.line(watch, &folder.join("name"));
            if name.is_none() {
                // Drivers of old have all their files one folder further.
                folder.push("device");
                name = self.files.line(watch, &folder.join("name"));
            }
            let Some(name) = name else { continue };
            let told = told_elsewhere(&class.join(format!("hwmon{number}")), &name, zones);
            if !told && Hwmon::measures(&Files::list(watch, &folder)) {
                chips.push(key(&folder, name));
            }
        }
        in_place(chips)
    }

    /// The zones, in the order of their numbers.
    fn zones(&mut self, watch: &Watch) -> Vec<Key> {
        let class = self.root.join("sys/class/thermal");
        let zones = numbered(&class, "thermal_zone", MAX_DEVICES).into_iter();
        let zone = |number| {
            let folder = class.join(format!("thermal_zone{number}"));
            let kind = self.files.line(watch, &folder.join("type"));
            // Half of a zone that comes or goes is none.
            let there = folder.join("temp").exists();
            there.then(|| key(&folder, kind.unwrap_or(format!("zone{number}"))))
        };
        zones.filter_map(zone).collect()
    }

    fn converters(&mut self, watch: &Watch) -> Vec<Key> {
        let bus = self.root.join("sys/bus/iio/devices");
        let mut converters = Vec::new();
        for number in numbered(&bus, "iio:device", MAX_DEVICES) {
            let folder = bus.join(format!("iio:device{number}"));
            if !Iio::measures(&Files::list(watch, &folder)) {
                continue;
            }
            let mut line = |file: &str| self.files.line(watch, &folder.join(file));
            // Somebody captures from it (`configured/capture`, or another program):
            // until that ends, its files only say that it is busy.
            if line("buffer/enable").or_else(|| line("buffer0/enable")).is_some_and(|on| on == "1")
            {
                continue;
            }
            let name = line("label").or_else(|| line("name"));
            converters.push(key(&folder, name.unwrap_or(format!("device{number}"))));
        }
        in_place(converters)
    }

    /// The folders of a class whose names begin with `prefix`.
    fn folders(&self, watch: &Watch, class: &str, prefix: &str) -> Vec<Key> {
        let class = self.root.join(class);
        let names = Files::list(watch, &class).into_iter().filter(|name| {
            let digits = name.strip_prefix(prefix);
            // `w1_bus_master1`, but all supplies.
            digits.is_some_and(|rest| prefix.is_empty() || rest.parse::<u32>().is_ok())
        });
        in_place(names.take(MAX_DEVICES).map(|name| key(&class.join(&name), name)).collect())
    }
}

fn spec(source: &'static str, level: &str, what: What) -> Spec {
    Spec { source, level: level.to_owned(), every: Duration::ZERO, what }
}

impl Spec {
    fn every(self, seconds: u64) -> Self {
        Self { every: Duration::from_secs(seconds), ..self }
    }
}

/// A device by where it really is, which stays the same when numbers change.
fn key(folder: &Path, name: String) -> Key {
    (fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned()), name)
}

/// In the order of the places: numbers are given in the order in which drivers
/// are loaded, which is not the same at each start.
fn in_place(mut keys: Vec<Key>) -> Vec<Key> {
    keys.sort();
    keys
}

/// Gives each device its level: by its name; of two equal ones the first keeps
/// it plain.
fn named(names: &mut Names<Key>, keys: Vec<Key>, mut tell: impl FnMut(&str, Key)) {
    // Names made of labels may be long: no longer than `Names` wants them.
    let short: Vec<String> = keys.iter().map(|(_, name)| name.chars().take(32).collect()).collect();
    names.update(keys.iter().zip(&short).map(|(key, name)| (key, name.as_str())));
    for key in keys {
        if let Some(level) = names.level(&key) {
            tell(level, key);
        }
    }
}

/// Whether a chip of hwmon is another subsystem's.
fn told_elsewhere(chip: &Path, name: &str, zones: &BTreeSet<String>) -> bool {
    let target = |link: &str| {
        let target = fs::read_link(chip.join(link)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    };
    let device = target("device");
    let is_zone = match &device {
        Some(device) => device.starts_with("thermal_zone"),
        None => zones.contains(name),
    };
    let subsystem = target("device/subsystem");
    let other =
        subsystem.is_some_and(|of| ["power_supply", "w1", "thermal"].contains(&of.as_str()));
    let converters = target("device/driver").is_some_and(|driver| driver == "iio_hwmon");
    is_zone || other || converters || ["rpi_volt", "w1_slave_temp"].contains(&name)
}
