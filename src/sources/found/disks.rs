//! What the kernel knows of the health of disks and cards.
//!
//! ```text
//! /sys/block/mmcblk0/device/life_time       0x02 0x01    used tenths of either memory
//! /sys/block/mmcblk0/device/pre_eol_info    0x01         normal
//! /sys/block/mmcblk0/ro                     0            1: the card can no longer be written
//! /sys/fs/ext4/mmcblk0p2/errors_count       0            of the file system, since it was checked
//! ```
//!
//! `life_time` and `pre_eol_info` are of eMMC (JEDEC JESD84-B50, EXT_CSD 267 to
//! 269; Documentation/driver-api/mmc/mmc-dev-attrs.rst); 0x00 is "not told".
//! They are read from the chip when it is found, so they are as old as that.
//! SD cards tell nothing in sysfs but whether they can be written; what shows
//! that one is failing are the errors that the file system counts
//! (Documentation/ABI/testing/sysfs-fs-ext4).

use std::path::{Path, PathBuf};

use super::{files::Files, sensor::tell};
use crate::{
    sources::{
        Readings,
        isolated::{Device, Round, Watch},
        vitals::file::quoted,
    },
    telemetry::{Channel, Levels},
};

/// The most disks, and the most file systems.
const MAX_DISKS: usize = 32;

/// All disks.
#[derive(Debug)]
pub(super) struct Disks {
    block: PathBuf,
    ext4: PathBuf,
    files: Files,
}

impl Disks {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            block: root.join("sys/block"),
            ext4: root.join("sys/fs/ext4"),
            files: Files::default(),
        }
    }

    /// Whether there is anything to tell of.
    pub(super) fn any(&self, watch: &Watch) -> bool {
        !Files::list(watch, &self.ext4).is_empty()
            || Files::list(watch, &self.block).iter().any(|disk| is_card(disk))
    }

    fn card(&mut self, watch: &Watch, disk: &str, level: &str, readings: &mut Readings) {
        let folder = self.block.join(disk);
        let life = self.files.read(watch, &folder.join("device/life_time"), parse_life);
        for (number, (end, memory)) in
            [("life_used_a", "memory A"), ("life_used_b", "memory B")].into_iter().enumerate()
        {
            let Ok(channel) = Channel::gauge(&format!("disk/{level}/{end}")) else { continue };
            let label = format!("{disk} used life, {memory}");
            let used = life.clone().map(|life| life.and_then(|life| life[number]));
            tell(&channel.unit("%").range(0.0, 100.0).label(label), used, readings);
        }
        let worn = self.files.read(watch, &folder.join("device/pre_eol_info"), parse_end);
        if let Ok(channel) = Channel::state(&format!("disk/{level}/health")) {
            tell(&channel.label(format!("{disk} health")), worn.map(Option::flatten), readings);
        }
        let locked = self.files.number(watch, &folder.join("ro"));
        if let Ok(channel) = Channel::state(&format!("disk/{level}/read_only")) {
            let locked = locked.map(|found| found.map(|number| number != 0.0));
            tell(&channel.label(format!("{disk} read-only")), locked, readings);
        }
    }
}

impl Device for Disks {
    fn read(&mut self, watch: &Watch, readings: &mut Readings) -> Round {
        let mut levels = Levels::default();
        let cards = Files::list(watch, &self.block);
        for disk in cards.iter().filter(|disk| is_card(disk)).take(MAX_DISKS) {
            self.card(watch, disk, &levels.level(disk), readings);
        }
        // A disk without partitions is both, under one level.
        let mut levels = Levels::default();
        for device in Files::list(watch, &self.ext4).iter().take(MAX_DISKS) {
            // `features` stands beside the devices, and has no such file.
            let path = self.ext4.join(device).join("errors_count");
            let errors = self.files.number(watch, &path);
            let name = format!("disk/{}/ext4_errors", levels.level(device));
            let Ok(channel) = Channel::counter(&name) else { continue };
            let label = format!("{device} ext4 errors");
            tell(&channel.unit("count").label(label), errors, readings);
        }
        Round::Done
    }
}

/// `mmcblk0`, not its boot areas (`mmcblk0boot0`) or partitions.
fn is_card(disk: &str) -> bool {
    let number = disk.strip_prefix("mmcblk");
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Of each kind of memory, the most that is used of its life, in %. 1 is up to
/// 10 %, and so on; 11 is more than it was made for.
fn parse_life(text: &str) -> Result<[Option<f64>; 2], String> {
    let odd = || format!("not the used life of an eMMC: {}", quoted(text));
    let mut parts = text.split_ascii_whitespace().map(|part| match hex(part) {
        Some(0) => Ok(None),
        Some(tenths @ 1..=11) => Ok(Some(f64::from(tenths) * 10.0)),
        _ => Err(odd()),
    });
    match (parts.next(), parts.next()) {
        (Some(a), Some(b)) => Ok([a?, b?]),
        _ => Err(odd()),
    }
}

/// How many spare blocks are used up.
fn parse_end(text: &str) -> Result<Option<&'static str>, String> {
    match hex(text.trim()) {
        Some(0) => Ok(None),
        Some(1) => Ok(Some("normal")),
        Some(2) => Ok(Some("warning: 80 % of the spare blocks are used")),
        Some(3) => Ok(Some("urgent: 90 % of the spare blocks are used")),
        _ => Err(format!("not the state of an eMMC: {}", quoted(text))),
    }
}

fn hex(text: &str) -> Option<u8> {
    u8::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_life_is_in_tenths_of_which_there_are_eleven() {
        assert_eq!(parse_life("0x02 0x0b\n"), Ok([Some(20.0), Some(110.0)]));
        assert_eq!(parse_life("0x00 0x01\n"), Ok([None, Some(10.0)]));
        for bad in ["", "\n", "0x01", "0x0c 0x01", "x y", "-1 1", "0x101 0x01"] {
            assert!(parse_life(bad).is_err(), "{bad:?}");
        }
        assert_eq!(parse_end("0x01\n"), Ok(Some("normal")));
        assert_eq!(parse_end("0x00\n"), Ok(None));
        for bad in ["", "0x04", "normal"] {
            assert!(parse_end(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_card_is_no_partition_and_no_boot_area() {
        assert!(is_card("mmcblk0") && is_card("mmcblk10"));
        for other in ["mmcblk0p1", "mmcblk0boot0", "mmcblk", "sda", "loop0"] {
            assert!(!is_card(other), "{other}");
        }
    }
}
