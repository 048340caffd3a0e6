//! Whether a Raspberry Pi gets the power and the cooling that it needs.
//!
//! ```text
//! /sys/devices/platform/soc/soc:firmware/get_throttled    50005
//! /sys/class/hwmon/hwmon1/name                            rpi_volt
//! /sys/class/hwmon/hwmon1/in0_lcrit_alarm                 1
//! ```
//!
//! The first is hexadecimal, made by Raspberry Pi's own kernel; its bits are
//! those of `vcgencmd get_throttled` (raspberrypi.com/documentation, "os.html#
//! get_throttled"). What it is below depends on the device tree (on a Pi 5,
//! `soc@107c000000`), so it is looked for below its driver, too. Elsewhere the
//! kernel's own sensor has one alarm (Documentation/hwmon/raspberrypi-hwmon.rst).
//!
//! **Since boot.** The firmware keeps bits 16 to 19 until someone clears them,
//! and `rpi_volt` does so every 2 s (drivers/hwmon/raspberrypi-hwmon.c, "Request
//! firmware to clear sticky bits"), so that they say "in the last 2 s" wherever
//! that driver is loaded. Therefore they are kept here from the first sample on.
//!
//! **A price.** Some of these kernels warn once in their log, with a backtrace,
//! when `get_throttled` is first read ("deprecated, use hwmon sysfs instead",
//! drivers/firmware/raspberrypi.c); the sensor has one of its four states.
//! Where a warning stops the board (`panic_on_warn`), the file is left alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    sources::{
        Readings,
        isolated::{Device, Round, Watch},
        vitals::file::{TextFile, numbered, quoted},
    },
    telemetry::Channel,
};

/// The states by their bit; 16 bits further is the same since boot.
const STATES: [(&str, &str); 4] = [
    ("undervoltage", "Voltage too low"),
    ("frequency_capped", "CPU frequency capped"),
    ("throttled", "CPU throttled"),
    ("soft_temperature_limit", "Soft temperature limit"),
];

/// The most sensors of any kind that are looked through for `rpi_volt`.
const MAX_SENSORS: usize = 64;

/// Samples between two looks for a file that was not there: drivers may be
/// loaded after this program.
const LOOK_AGAIN: u32 = 60;

/// Reads what the firmware says of power and cooling.
#[derive(Debug)]
pub(super) struct Power {
    root: PathBuf,
    file: Option<File>,
    samples: u32,
    /// All bits since the first sample.
    since_boot: u32,
}

#[derive(Debug)]
enum File {
    Throttled(TextFile),
    Alarm(TextFile),
}

impl Power {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), file: None, samples: 0, since_boot: 0 }
    }

    /// Whether this is a board that can tell.
    pub(super) fn any(root: &Path) -> bool {
        find(root).is_some()
    }

    fn sample(&mut self, readings: &mut Readings) {
        if self.file.is_none() && self.samples % LOOK_AGAIN == 0 {
            self.file = find(&self.root);
        }
        self.samples = self.samples.wrapping_add(1);
        let told = match &self.file {
            Some(File::Throttled(file)) => file.parse(parse_bits).map(|bits| {
                self.since_boot |= bits.as_ref().copied().unwrap_or_default();
                tell_bits(&bits, self.since_boot, readings);
            }),
            Some(File::Alarm(file)) => file.parse(parse_alarm).map(|alarm| {
                let (level, label) = STATES[0];
                tell(level, label.into(), alarm.as_ref().copied(), readings);
            }),
            None => return,
        };
        if told.is_none() {
            // Its driver was unloaded.
            self.file = None;
        }
    }
}

impl Device for Power {
    fn read(&mut self, watch: &Watch, readings: &mut Readings) -> Round {
        let path = match &self.file {
            Some(File::Throttled(file) | File::Alarm(file)) => file.path().to_owned(),
            None => self.root.clone(),
        };
        watch.over(&path, || self.sample(readings));
        Round::Done
    }
}

fn tell_bits(bits: &Result<u32, String>, since_boot: u32, readings: &mut Readings) {
    for (bit, (level, label)) in STATES.into_iter().enumerate() {
        let now = bits.as_ref().map(|bits| bits >> bit & 1 == 1);
        tell(level, label.into(), now, readings);
        // What is so now has been so since boot.
        let ever = (since_boot | since_boot >> 16) >> bit & 1 == 1;
        let (level, label) = (format!("{level}_since_boot"), format!("{label}, since boot"));
        tell(&level, label, now.map(|_| ever), readings);
    }
}

fn tell(level: &str, label: String, on: Result<bool, &String>, readings: &mut Readings) {
    let channel = Channel::state(&format!("power/{level}")).map(|channel| channel.label(label));
    match on {
        Ok(on) => readings.push(channel, on),
        Err(reason) => readings.fail(channel, reason),
    }
}

fn find(root: &Path) -> Option<File> {
    let throttled = throttled(root).filter(|_| !panics_on_warning(root)).map(File::Throttled);
    throttled.or_else(|| alarm(root).map(File::Alarm))
}

fn throttled(root: &Path) -> Option<TextFile> {
    let usual = root.join("sys/devices/platform/soc/soc:firmware");
    let driver = root.join("sys/bus/platform/drivers/raspberrypi-firmware");
    let devices = fs::read_dir(driver).into_iter().flatten().take(MAX_SENSORS);
    let devices = devices.filter_map(|entry| Some(entry.ok()?.path()));
    let mut folders = std::iter::once(usual).chain(devices);
    let folder = folders.find(|folder| folder.join("get_throttled").exists())?;
    Some(TextFile::new(&folder, "get_throttled"))
}

/// Documentation/admin-guide/sysctl/kernel.rst, "panic_on_warn". What cannot
/// be read is not set: it is 0 unless someone wants it.
fn panics_on_warning(root: &Path) -> bool {
    let file = TextFile::new(root, "proc/sys/kernel/panic_on_warn");
    file.parse(|text| Ok::<_, String>(text.trim() != "0")) == Some(Ok(true))
}

fn alarm(root: &Path) -> Option<TextFile> {
    let folder = root.join("sys/class/hwmon");
    let sensors = numbered(&folder, "hwmon", MAX_SENSORS).into_iter();
    let mut sensors = sensors.map(|number| folder.join(format!("hwmon{number}")));
    let is_volt = |text: &str| Ok::<_, String>(text.trim() == "rpi_volt");
    let sensor =
        sensors.find(|sensor| TextFile::new(sensor, "name").parse(is_volt) == Some(Ok(true)))?;
    Some(TextFile::new(&sensor, "in0_lcrit_alarm"))
}

fn parse_bits(text: &str) -> Result<u32, String> {
    let digits = text.trim();
    let bits = u32::from_str_radix(digits.strip_prefix("0x").unwrap_or(digits), 16);
    bits.map_err(|_| format!("not a hexadecimal number: {}", quoted(text)))
}

fn parse_alarm(text: &str) -> Result<bool, String> {
    match text.trim() {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(format!("not an alarm: {}", quoted(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sources::vitals::trees::*, telemetry::Value};

    const THROTTLED: &str = "sys/devices/platform/soc/soc:firmware/get_throttled";

    fn on(seen: &Readings) -> Vec<&str> {
        let on = seen.iter().filter(|reading| reading.value == Ok(Value::Bool(true)));
        on.map(|reading| reading.channel.name.as_str()).collect()
    }

    fn sensor(tree: &Tree, number: u32, name: &str, alarm: &str) {
        tree.write(&format!("sys/class/hwmon/hwmon{number}/name"), name.to_owned() + "\n");
        tree.write(&format!("sys/class/hwmon/hwmon{number}/in0_lcrit_alarm"), alarm);
    }

    #[test]
    fn the_bits_of_a_board_are_its_states_now_and_since_boot() {
        let tree = Tree::board("pi-4");
        let mut power = Power::new(tree.root());
        let first = readings(|r| power.sample(r));
        assert_eq!((first.iter().count(), on(&first).len()), (8, 0));
        // 50005: bits 0 and 2, 16 and 18.
        tree.turn("pi-4", 1);
        let second = readings(|r| power.sample(r));
        assert_eq!(
            on(&second),
            [
                "power/undervoltage",
                "power/undervoltage_since_boot",
                "power/throttled",
                "power/throttled_since_boot"
            ]
        );
        // The kernel has cleared the bits meanwhile.
        tree.turn("pi-4", 0);
        let third = readings(|r| power.sample(r));
        assert_eq!(on(&third), ["power/undervoltage_since_boot", "power/throttled_since_boot"]);
    }

    #[test]
    fn the_file_is_found_below_its_driver() {
        // 80008: bits 3 and 19.
        let seen = readings(|r| Power::new(Tree::board("pi-5").root()).sample(r));
        assert_eq!(
            on(&seen),
            ["power/soft_temperature_limit", "power/soft_temperature_limit_since_boot"]
        );
    }

    #[test]
    fn without_that_file_the_sensor_of_the_kernel_tells_one_state() {
        let tree = Tree::board("pi-zero-w");
        let mut power = Power::new(tree.root());
        let first = readings(|r| power.sample(r));
        assert_eq!((names(&first), on(&first).len()), (vec!["power/undervoltage"], 0));
        tree.turn("pi-zero-w", 1);
        assert_eq!(on(&readings(|r| power.sample(r))), ["power/undervoltage"]);
    }

    #[test]
    fn where_a_warning_stops_the_board_it_is_not_provoked() {
        let tree = Tree::new();
        tree.write(THROTTLED, "1\n");
        tree.write("proc/sys/kernel/panic_on_warn", "1\n");
        sensor(&tree, 0, "cpu_thermal", "0\n");
        sensor(&tree, 1, "rpi_volt", "1\n");
        let seen = readings(|r| Power::new(tree.root()).sample(r));
        assert_eq!(names(&seen), ["power/undervoltage"]);
        tree.write("proc/sys/kernel/panic_on_warn", "0\n");
        assert_eq!(readings(|r| Power::new(tree.root()).sample(r)).iter().count(), 8);
    }

    #[test]
    fn a_driver_may_go_and_come() {
        let tree = Tree::new();
        let mut power = Power::new(tree.root());
        assert_eq!(names(&readings(|r| power.sample(r))), [""; 0]);
        sensor(&tree, 3, "rpi_volt", "1\n");
        let looks = (0..LOOK_AGAIN).map(|_| readings(|r| power.sample(r)).iter().count());
        assert_eq!(looks.sum::<usize>(), 1, "it was found at the last of them");
        tree.remove("sys/class/hwmon/hwmon3");
        assert_eq!(names(&readings(|r| power.sample(r))), [""; 0]);
    }

    #[test]
    fn what_cannot_be_read_fails_and_names_its_file() {
        for bad in ["", "\n", "x\n", "-1\n", "123456789\n"] {
            let tree = Tree::new();
            tree.write(THROTTLED, bad);
            let seen = readings(|r| Power::new(tree.root()).sample(r));
            assert_eq!(seen.iter().count(), 8);
            let why = failure(&seen, "power/throttled_since_boot").expect("it fails");
            assert!(why.contains("get_throttled: "), "{why}");
        }
        let tree = Tree::new();
        sensor(&tree, 0, "rpi_volt", "2\n");
        let seen = readings(|r| Power::new(tree.root()).sample(r));
        assert!(failure(&seen, "power/undervoltage").is_some_and(|w| w.contains("_alarm: ")));
    }

    #[test]
    fn another_machine_has_no_such_channel() {
        assert_eq!(names(&readings(|r| Power::new(Tree::board("pc").root()).sample(r))), [""; 0]);
    }
}
