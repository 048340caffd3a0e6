//! How the board is: sensors, power, clock, cards, memory, kernel.

use super::*;
use crate::sources::vitals::space::{Space, Statvfs};

#[test]
fn voltage_and_heat_are_told_apart() {
    const FILE: &str = "sys/devices/platform/soc/soc:firmware/get_throttled";
    let tree = copy("pi-4");
    for (bits, expected) in [
        ("0", ""),
        ("50005", "bad the supply voltage is too low, now → the power supply is too weak"),
        (
            "50000",
            "warn the supply voltage was too low since boot → the power supply is too weak, or its cable too thin or too long: use the official one (5.1 V, 3 A)",
        ),
        ("40004", "bad the CPU is throttled, now: it is much too hot → give it a heat sink"),
        ("40000", "warn the CPU was throttled since boot: it was too hot"),
        ("80008", "warn the CPU is slowed down: it is too hot, now"),
    ] {
        tree.write(FILE, format!("{bits}\n"));
        says(&tree, "power", expected);
    }
    tree.write(FILE, "50005\n");
    assert!(!said(machine(tree.root()), "power").contains("heat"), "it is the voltage");
}

#[test]
fn a_clock_that_is_not_right_is_told() {
    let tree = copy("pi-3");
    says(&tree, "clock", "");
    let wrong = |tree: &Tree| Machine { clock: Arc::new(Morning(false)), ..machine(tree.root()) };
    let text = said(wrong(&tree), "clock");
    assert!(
        text.contains("none with a battery") && text.contains("timedatectl set-ntp true"),
        "{text}"
    );
    let tree = copy("pi-4");
    let text = said(wrong(&tree), "clock");
    assert!(text.contains("not synchronised →"), "{text}");
    says(&tree, "clock", "");
    tree.write("sys/class/rtc/rtc0/since_epoch", "1763795900\n");
    says(&tree, "clock", "note rtc0, which has a battery, is -100 s off → sudo hwclock --systohc");
}

#[test]
fn cards_that_fail_and_file_systems_that_are_full_are_told() {
    let tree = copy("beaglebone-black");
    let disk = "sys/block/mmcblk1";
    tree.write(&format!("{disk}/device/pre_eol_info"), "0x01\n");
    tree.write(&format!("{disk}/device/life_time"), "0x02 0x01\n");
    says(&tree, "storage", "");
    tree.write(&format!("{disk}/device/pre_eol_info"), "0x03\n");
    says(&tree, "storage", "warn mmcblk1 wears out: urgent");
    tree.write(&format!("{disk}/device/pre_eol_info"), "0x01\n");
    tree.write(&format!("{disk}/device/life_time"), "0x09 0x01\n");
    says(&tree, "storage", "has used 90 % of the life");
    tree.write(&format!("{disk}/device/life_time"), "0x01 0x01\n");
    tree.write(&format!("{disk}/ro"), "1\n");
    says(&tree, "storage", "bad mmcblk1 can no longer be written");
    tree.write(&format!("{disk}/ro"), "0\n");
    tree.write("sys/fs/ext4/mmcblk1p1/errors_count", "3\n");
    says(&tree, "storage", "has counted 3 errors");
    tree.write("sys/fs/ext4/mmcblk1p1/errors_count", "0\n");
    says(&tree, "storage", "");
    tree.write("proc/self/mountinfo", "24 1 179:1 / / ro,noatime - ext4 /dev/mmcblk1p1 ro\n");
    says(&tree, "storage", "note the root file system is read-only");
    let space = |available| Space { size: 1000, free: available, available };
    let full = |available| {
        let statvfs: Statvfs = Arc::new(move |_: &Path| Ok(space(available)));
        said(Machine { statvfs, ..machine(Tree::board("pi-3").root()) }, "storage")
    };
    assert!(full(50).contains("warn / is full to 95 % → delete something"), "{}", full(50));
    assert_eq!(full(51), "");
}

#[test]
fn little_memory_and_swap_on_a_card_are_told() {
    let tree = copy("pi-3");
    says(&tree, "memory", "");
    tree.write("proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 100\n");
    says(&tree, "memory", "");
    tree.write("proc/swaps", "Filename Type Size Used Priority\n/dev/mmcblk0p3 partition 1 0 -2\n");
    says(&tree, "memory", "note /dev/mmcblk0p3 is swapped to");
    tree.write("proc/meminfo", "MemTotal: 900000 kB\nMemFree: 100 kB\nMemAvailable: 20000 kB\n");
    says(&tree, "memory", "warn 20 of 879 MiB of memory are available");
}

#[test]
fn limits_and_what_is_switched_off_in_the_kernel_are_told() {
    let tree = copy("pi-5");
    says(&tree, "kernel", "");
    let few = Machine { descriptors: 100, ..machine(tree.root()) };
    assert!(said(few, "kernel").contains("LimitNOFILE="));
    tree.remove("proc/pressure");
    says(&tree, "kernel", "add psi=1 to the one line of /boot/firmware/cmdline.txt");
}

#[test]
fn sensors_that_fail_are_told_with_the_mend_and_an_empty_board_with_the_way_in() {
    let tree = copy("pi-3");
    says(&tree, "sensors", "");
    let sensor = "sys/bus/w1/devices/w1_bus_master1/28-2";
    tree.write(&format!("{sensor}/w1_slave"), "");
    says(
        &tree,
        "sensors",
        &format!(
            "warn w1/28-2/temperature: the sensor does not answer (/{sensor}/w1_slave) → check the cable, and the 4.7 kΩ"
        ),
    );
    tree.remove(sensor);
    tree.folder("sys/class/hwmon/hwmon9");
    tree.write("sys/class/hwmon/hwmon9/name", "lm75\n");
    tree.write("sys/class/hwmon/hwmon9/temp1_input", "much\n");
    says(
        &tree,
        "sensors",
        "warn hwmon/lm75/temp1: not a number: \"much\\n\" (/sys/class/hwmon/hwmon9/temp1_input) → -",
    );
    let empty = Tree::new();
    says(&empty, "sensors", "boardcast put room/temp=21.5");
}

#[test]
fn settings_are_checked_and_what_their_sources_need() {
    let tree = copy("pi-3");
    says(&tree, "settings", "");
    tree.write("etc/boardcast/boardcast.toml", "intervall = \"1s\"\n");
    says(
        &tree,
        "settings",
        "bad /etc/boardcast/boardcast.toml:1:1: intervall is no setting: did you mean interval? → write",
    );
    let sources = [
        ("a", "command", "command = [\"gpspipe\", \"-w\"]"),
        ("b", "serial", "port = \"/dev/ttyUSB7\""),
        ("c", "file", "path = \"/sys/nowhere\""),
    ];
    let table = |(name, kind, rest): &(&str, &str, &str)| {
        format!("[[source]]\nname = \"{name}\"\nkind = \"{kind}\"\n{rest}\n")
    };
    let text: String = sources.iter().map(table).collect();
    tree.write("etc/boardcast/boardcast.toml", &text);
    says(&tree, "settings", "warn source a: there is no program gpspipe → install it");
    says(&tree, "settings", "warn source b: there is no /dev/ttyUSB7 → plug it in");
    says(&tree, "settings", "warn source c: there is no /sys/nowhere → load its driver");
    tree.write("usr/bin/gpspipe", "");
    tree.write("dev/ttyUSB7", "");
    tree.write("sys/nowhere", "");
    says(&tree, "settings", "");
}
