//! Temperatures, from `/sys/class/thermal`.
//!
//! ```text
//! /sys/class/thermal/thermal_zone0/type    cpu-thermal
//! /sys/class/thermal/thermal_zone0/temp    48312
//! /sys/class/thermal/thermal_zone0/trip_point_0_type    critical
//! /sys/class/thermal/thermal_zone0/trip_point_0_temp    110000
//! ```
//!
//! `type` is a name that the driver or the device tree gives, not always
//! unique; `temp` is in 1/1000 °C, and reading it asks the sensor: an error of
//! the driver (EINVAL, ENODATA, EAGAIN while it is off) is the error of the
//! read (Documentation/ABI/testing/sysfs-class-thermal,
//! Documentation/driver-api/thermal/sysfs-api.rst).

use std::path::{Path, PathBuf};

use super::{
    files::Files,
    sensor::{describe, tell},
};
use crate::{
    sources::{
        Readings,
        isolated::{Device, Round, Watch},
        vitals::file::quoted,
    },
    telemetry::Channel,
};

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

/// The most trip points of a zone (THERMAL_MAX_TRIPS of older kernels).
const MAX_TRIPS: u32 = 12;

/// One zone.
#[derive(Debug)]
pub(super) struct Zone {
    folder: PathBuf,
    /// Where its temperature stands.
    path: PathBuf,
    /// Its own channel, and `cpu/temperature` when it measures the processor.
    channels: Vec<Channel>,
    described: bool,
    files: Files,
}

impl Zone {
    /// The zone in `folder`; `level` is what the scan made of its type.
    pub(super) fn new(folder: &Path, level: &str, is_cpu: bool) -> Self {
        let own = Channel::gauge(&format!("thermal/{level}"))
            .map(|channel| channel.label(format!("Temperature of {level}")));
        let cpu = is_cpu.then(|| {
            Channel::gauge("cpu/temperature")
                .map(|channel| channel.label("CPU temperature").range(0.0, 100.0))
        });
        let channels = [Some(own), cpu].into_iter().flatten().flatten();
        Self {
            folder: folder.to_owned(),
            path: folder.join("temp"),
            channels: channels.map(|channel| channel.unit("Cel")).collect(),
            described: false,
            files: Files::default(),
        }
    }

    /// Where the kernel would switch the board off, in °C.
    fn critical(&mut self, watch: &Watch) -> Option<f64> {
        (0..MAX_TRIPS).find_map(|trip| {
            let file = |end: &str| self.folder.join(format!("trip_point_{trip}_{end}"));
            let (kind, limit) = (file("type"), file("temp"));
            let critical = self.files.line(watch, &kind)? == "critical";
            let limit = critical.then(|| self.files.read(watch, &limit, parse_temperature));
            limit?.ok().flatten()
        })
    }
}

impl Device for Zone {
    fn read(&mut self, watch: &Watch, readings: &mut Readings) -> Round {
        if !self.described {
            let critical = self.critical(watch);
            if let Some(own) = self.channels.first_mut() {
                own.max = critical;
            }
            describe(self.channels.iter_mut(), readings);
            self.described = true;
            return Round::More;
        }
        let found = self.files.read(watch, &self.path, parse_temperature);
        for channel in &self.channels {
            tell(channel, found.clone(), readings);
        }
        Round::Done
    }
}

/// Of the types of all zones, the one that is `cpu/temperature`.
pub(super) fn cpu_zone<'a>(types: &(impl Iterator<Item = &'a str> + Clone)) -> Option<usize> {
    CPU_ZONES.iter().find_map(|cpu| types.clone().position(|kind| kind == *cpu))
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
    use super::super::tests::World;
    use crate::{sources::vitals::trees::Tree, telemetry::Status};

    fn zone(tree: &Tree, number: u32, kind: &str, temperature: &str) {
        tree.write(&format!("sys/class/thermal/thermal_zone{number}/type"), format!("{kind}\n"));
        tree.write(&format!("sys/class/thermal/thermal_zone{number}/temp"), temperature);
    }

    fn failure(world: &World, name: &str) -> Option<String> {
        match world.status(name)? {
            Status::Error(why) => Some(why.to_string()),
            _ => None,
        }
    }

    #[test]
    fn the_zone_of_a_board_is_its_cpu_temperature() {
        for (board, expected) in [("pi-4", 48.312), ("pi-zero-w", 38.464), ("pi-5", 61.75)] {
            let world = World::of(Tree::board(board).root());
            for name in ["cpu/temperature", "thermal/cpu-thermal"] {
                assert_eq!(world.number(name), Some(expected), "{board}");
            }
        }
        assert_eq!(World::of(Tree::board("pc").root()).number("cpu/temperature"), None);
    }

    #[test]
    fn equal_types_are_told_apart_and_keep_their_names() {
        let tree = Tree::new();
        zone(&tree, 10, "acpitz", "30000\n");
        zone(&tree, 2, "acpitz", "20000\n");
        zone(&tree, 1, "soc-thermal", "-10500\n");
        zone(&tree, 3, "x86_pkg_temp", "55000\n");
        tree.write("sys/class/thermal/cooling_device0/type", "Fan\n");
        tree.write("sys/class/thermal/thermal_zonex/type", "x\n");
        let mut world = World::of(tree.root());
        let expected = [
            ("cpu/temperature", 55.0),
            ("thermal/acpitz", 20.0),
            ("thermal/acpitz_2", 30.0),
            ("thermal/soc-thermal", -10.5),
            ("thermal/x86_pkg_temp", 55.0),
        ];
        assert_eq!(world.names(), expected.map(|(name, _)| name));
        for (name, number) in expected {
            assert_eq!(world.number(name), Some(number), "{name}");
        }
        tree.remove("sys/class/thermal/thermal_zone2");
        world.turn_until("its end", |world| world.status("thermal/acpitz") == Some(Status::Gone));
        assert_eq!(world.number("thermal/acpitz_2"), Some(30.0));
    }

    #[test]
    fn no_zone_of_the_cpu_is_no_cpu_temperature() {
        let tree = Tree::new();
        zone(&tree, 0, "acpitz", "16800\n");
        zone(&tree, 1, "iwlwifi_1", "40000\n");
        assert_eq!(World::of(tree.root()).names(), ["thermal/acpitz", "thermal/iwlwifi_1"]);
    }

    #[test]
    fn a_sensor_that_cannot_be_read_fails_and_names_its_file() {
        for bad in ["", "\n", "x\n", "48.3\n", "-274000\n", "99999999999\n"] {
            let tree = Tree::new();
            zone(&tree, 0, "cpu-thermal", bad);
            let world = World::of(tree.root());
            for name in ["thermal/cpu-thermal", "cpu/temperature"] {
                let why = failure(&world, name).expect("it fails");
                assert!(why.contains("thermal_zone0/temp: "), "{why}");
            }
        }
        let tree = Tree::new();
        tree.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
        tree.folder("sys/class/thermal/thermal_zone0/temp");
        assert!(failure(&World::of(tree.root()), "cpu/temperature").is_some());
    }

    #[test]
    fn a_zone_without_a_type_has_its_number() {
        let tree = Tree::new();
        zone(&tree, 7, "", "48000\n");
        assert_eq!(World::of(tree.root()).number("thermal/zone7"), Some(48.0));
    }

    #[test]
    fn a_zone_without_a_temperature_has_none() {
        let tree = Tree::new();
        tree.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
        assert_eq!(World::of(tree.root()).names(), [""; 0]);
        let tree = Tree::new();
        tree.write("sys/class/thermal", "no folder");
        assert_eq!(World::of(tree.root()).names(), [""; 0]);
    }
}
