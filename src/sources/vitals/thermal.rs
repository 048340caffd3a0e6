//! Temperatures, from `/sys/class/thermal`.
//!
//! ```text
//! /sys/class/thermal/thermal_zone0/type    cpu-thermal
//! /sys/class/thermal/thermal_zone0/temp    48312
//! ```
//!
//! `type` is a name that the driver or the device tree gives, not always
//! unique; `temp` is in 1/1000 °C, and reading it asks the sensor: an error of
//! the driver (EINVAL, ENODATA, EAGAIN while it is off) is the error of the
//! read (Documentation/ABI/testing/sysfs-class-thermal,
//! Documentation/driver-api/thermal/sysfs-api.rst).

use std::path::{Path, PathBuf};

use super::{
    file::{TextFile, numbered, quoted},
    names::Names,
};
use crate::{sources::Readings, telemetry::Channel};

/// The zones that measure the processor; the first of this list that a board
/// has is its `cpu/temperature`. `acpitz` is not among them: what an ACPI zone
/// measures is up to the firmware.
const CPU_ZONES: [&str; 10] = [
    "cpu-thermal",      // Raspberry Pi, and most boards with a current device tree
    "cpu_thermal",      // older device trees: Allwinner, MediaTek, TI OMAP
    "cpu0-thermal",     // a sensor per core: Odroid XU4, Qualcomm
    "CPU-therm",        // NVIDIA Jetson
    "bcm2835_thermal",  // Raspberry Pi, older kernels
    "imx_thermal_zone", // NXP i.MX 6
    "x86_pkg_temp",     // Intel
    "soc-thermal",      // Rockchip: one sensor amid the chip
    "soc_thermal",      // the same in older device trees
    "package-thermal",  // Rockchip RK3588
];

/// The most zones that are looked at; a board has one to ten.
const MAX_ZONES: usize = 256;

/// Reads the zones of `/sys/class/thermal`.
#[derive(Debug)]
pub(super) struct Thermal {
    folder: PathBuf,
    names: Names<Key>,
}

/// The number of a zone and its type. The number alone doesn't do: it is used
/// again when a driver is loaded anew.
type Key = (u32, String);

impl Thermal {
    pub(super) fn new(root: &Path) -> Self {
        Self { folder: root.join("sys/class/thermal"), names: Names::default() }
    }

    pub(super) fn sample(&mut self, readings: &mut Readings) {
        let zones = zones(&self.folder);
        self.names.update(zones.iter().map(|zone| (&zone.key, zone.key.1.as_str())));
        for zone in &zones {
            let Some(level) = self.names.level(&zone.key) else { continue };
            let channel = Channel::gauge(&format!("thermal/{level}"))
                .map(|channel| channel.label(format!("Temperature of {level}")));
            zone.tell(channel, readings);
        }
        let of_type = |kind: &&str| zones.iter().find(|zone| zone.key.1 == **kind);
        if let Some(zone) = CPU_ZONES.iter().find_map(of_type) {
            let channel = Channel::gauge("cpu/temperature")
                .map(|channel| channel.label("CPU temperature").range(0.0, 100.0));
            zone.tell(channel, readings);
        }
    }
}

#[derive(Debug)]
struct Zone {
    key: Key,
    /// In °C, or why it cannot be read.
    temperature: Result<f64, String>,
}

impl Zone {
    fn tell(&self, channel: crate::Result<Channel>, readings: &mut Readings) {
        let channel = channel.map(|channel| channel.unit("Cel"));
        match &self.temperature {
            Ok(celsius) => readings.push(channel, *celsius),
            Err(reason) => readings.fail(channel, reason),
        }
    }

    /// `None` when there is no such zone, or no longer.
    fn read(folder: &Path, number: u32) -> Option<Self> {
        let folder = folder.join(format!("thermal_zone{number}"));
        let kind = TextFile::new(&folder, "type").parse(parse_type)?;
        let temperature = TextFile::new(&folder, "temp").parse(parse_temperature)?;
        Some(match kind {
            Ok(kind) => Self { key: (number, kind), temperature },
            // Without its name it is told under its number.
            Err(reason) => {
                Self { key: (number, format!("zone{number}")), temperature: Err(reason) }
            }
        })
    }
}

/// The zones by number.
fn zones(folder: &Path) -> Vec<Zone> {
    let numbers = numbered(folder, "thermal_zone", MAX_ZONES).into_iter();
    numbers.filter_map(|number| Zone::read(folder, number)).collect()
}

fn parse_type(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("no type"),
        kind => Ok(kind.to_owned()),
    }
}

/// Of 1/1000 °C, °C. A driver without a reading may give -274000
/// (`THERMAL_TEMP_INVALID`, include/linux/thermal.h), colder than can be.
fn parse_temperature(text: &str) -> Result<f64, String> {
    match text.trim().parse::<i32>() {
        Ok(millidegrees) if millidegrees >= -273_150 => Ok(f64::from(millidegrees) / 1000.0),
        _ => Err(format!("not a temperature: {}", quoted(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::trees::*, *};

    fn zone(tree: &Tree, number: u32, kind: &str, temperature: &str) {
        tree.write(&format!("sys/class/thermal/thermal_zone{number}/type"), format!("{kind}\n"));
        tree.write(&format!("sys/class/thermal/thermal_zone{number}/temp"), temperature);
    }

    fn sample(tree: &Tree) -> Readings {
        readings(|r| Thermal::new(tree.root()).sample(r))
    }

    #[test]
    fn the_zone_of_a_board_is_its_cpu_temperature() {
        let tree = Tree::board("pi-4");
        assert_numbers(
            &sample(&tree),
            &[("thermal/cpu-thermal", 48.312), ("cpu/temperature", 48.312)],
        );
        tree.turn("pi-4", 1);
        assert_numbers(&sample(&tree), &[("cpu/temperature", 48.799)]);
        let seen = sample(&Tree::board("pi-zero-w"));
        assert_numbers(&seen, &[("cpu/temperature", 38.464)]);
        assert_numbers(&sample(&Tree::board("pi-5")), &[("cpu/temperature", 61.75)]);
        assert_eq!(names(&sample(&Tree::board("pc"))), [""; 0]);
    }

    #[test]
    fn zones_are_sorted_by_number_and_equal_types_are_told_apart() {
        let tree = Tree::new();
        zone(&tree, 10, "acpitz", "30000\n");
        zone(&tree, 2, "acpitz", "20000\n");
        zone(&tree, 1, "soc-thermal", "-10500\n");
        zone(&tree, 3, "x86_pkg_temp", "55000\n");
        tree.write("sys/class/thermal/cooling_device0/type", "Fan\n");
        tree.write("sys/class/thermal/thermal_zonex/type", "x\n");
        let mut thermal = Thermal::new(tree.root());
        let seen = readings(|r| thermal.sample(r));
        assert_eq!(
            names(&seen),
            [
                "thermal/soc-thermal",
                "thermal/acpitz",
                "thermal/x86_pkg_temp",
                "thermal/acpitz_2",
                "cpu/temperature"
            ]
        );
        assert_numbers(
            &seen,
            &[
                ("thermal/soc-thermal", -10.5),
                ("thermal/acpitz", 20.0),
                ("thermal/acpitz_2", 30.0),
                ("cpu/temperature", 55.0),
            ],
        );
        tree.remove("sys/class/thermal/thermal_zone2");
        let seen = readings(|r| thermal.sample(r));
        assert_eq!(seen.number("thermal/acpitz"), None);
        assert_eq!(seen.number("thermal/acpitz_2"), Some(30.0));
    }

    #[test]
    fn no_zone_of_the_cpu_is_no_cpu_temperature() {
        let tree = Tree::new();
        zone(&tree, 0, "acpitz", "16800\n");
        zone(&tree, 1, "iwlwifi_1", "40000\n");
        assert_eq!(names(&sample(&tree)), ["thermal/acpitz", "thermal/iwlwifi_1"]);
    }

    #[test]
    fn a_sensor_that_cannot_be_read_fails_and_names_its_file() {
        for bad in ["", "\n", "x\n", "48.3\n", "-274000\n", "99999999999\n"] {
            let tree = Tree::new();
            zone(&tree, 0, "cpu-thermal", bad);
            let seen = sample(&tree);
            for name in ["thermal/cpu-thermal", "cpu/temperature"] {
                let why = failure(&seen, name).expect("it fails");
                assert!(why.contains("thermal_zone0/temp: "), "{why}");
            }
        }
        let tree = Tree::new();
        tree.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
        tree.folder("sys/class/thermal/thermal_zone0/temp");
        assert!(failure(&sample(&tree), "cpu/temperature").is_some());
    }

    #[test]
    fn a_zone_without_a_type_fails_under_its_number() {
        let tree = Tree::new();
        zone(&tree, 7, "", "48000\n");
        let seen = sample(&tree);
        assert_eq!(names(&seen), ["thermal/zone7"]);
        assert!(failure(&seen, "thermal/zone7").is_some_and(|w| w.contains("zone7/type: ")));
    }

    #[test]
    fn a_zone_that_is_half_there_is_not_there() {
        let tree = Tree::new();
        tree.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
        tree.write("sys/class/thermal/thermal_zone1/temp", "48000\n");
        assert_eq!(names(&sample(&tree)), [""; 0]);
        assert_eq!(names(&sample(&Tree::new())), [""; 0]);
        let tree = Tree::new();
        tree.write("sys/class/thermal", "no folder");
        assert_eq!(names(&sample(&tree)), [""; 0]);
    }
}
