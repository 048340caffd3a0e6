//! Whole boards: what is said of them, and how each advice appears and goes
//! away when a board is changed.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    sync::Arc,
    time::Duration,
};

use super::{
    machine::{Knock, User},
    *,
};
use crate::{
    sources::vitals::{
        space::Space,
        trees::{Tree, rooms},
    },
    telemetry::{BootTime, Clock, SystemClock},
};

const BOARDS: [&str; 7] = ["pi-zero-w", "pi-3", "pi-4", "pi-5", "beaglebone-black", "x86", "pc"];

/// The system's clock, on one morning in November, right or not.
#[derive(Debug)]
struct Morning(bool);

impl Clock for Morning {
    fn boot(&self) -> BootTime {
        SystemClock.boot()
    }
    fn wall(&self) -> f64 {
        1_763_796_000.0
    }
    fn synced(&self) -> bool {
        self.0
    }
}

fn nobody(_: SocketAddr) -> Knock {
    Knock::Nobody
}

/// A machine on which all is well that a tree does not tell, looked at by root.
fn machine(root: &Path) -> Machine {
    Machine {
        root: root.to_owned(),
        port: 8642,
        clock: Arc::new(Morning(true)),
        statvfs: rooms(),
        user: User { uid: 0, gids: vec![0] },
        descriptors: 1 << 20,
        knock: nobody,
        patience: Duration::from_secs(5),
    }
}

/// A board's tree that a test may change.
fn copy(board: &str) -> Tree {
    fn all(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("made");
        for entry in fs::read_dir(from).expect("listed").map(|entry| entry.expect("an entry")) {
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if from.is_dir() {
                all(&from, &to);
            } else {
                fs::copy(from, to).expect("copied");
            }
        }
    }
    let tree = Tree::new();
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/boards");
    all(&boards.join(board).join("0"), tree.root());
    tree
}

/// What is said of a theme that is no praise, mends included.
fn said(machine: Machine, theme: &str) -> String {
    let report: serde_json::Value = serde_json::from_str(&examine(machine).json()).expect("JSON");
    let findings = report["findings"].as_array().expect("a list").iter();
    let of_theme = findings.filter(|finding| finding["theme"] == theme && finding["level"] != "ok");
    let text = |finding: &serde_json::Value| {
        let text = |field: &str| finding[field].as_str().unwrap_or("-").to_owned();
        format!("{} {} → {}\n", text("level"), text("what"), text("mend"))
    };
    of_theme.map(text).collect()
}

/// Checks that a theme says so; nothing at all when that is empty.
#[track_caller]
fn says(tree: &Tree, theme: &str, expected: &str) {
    let said = said(machine(tree.root()), theme);
    let right = if expected.is_empty() { said.is_empty() } else { said.contains(expected) };
    assert!(right, "{theme}: {said:?} instead of {expected:?}");
}

#[test]
fn every_board_gets_the_right_advice() {
    for board in BOARDS {
        let tree = Tree::board(board);
        let text = examine(machine(tree.root())).text();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/boards").join(board);
        let path = path.join("doctor.txt");
        if std::env::var_os("UPDATE_TABLES").is_some() {
            fs::write(&path, &text).expect("written");
        }
        let expected = fs::read_to_string(&path).expect("doctor.txt");
        assert_eq!(text, expected, "{board}: look at it; UPDATE_TABLES=1 writes it anew");
    }
}

/// The folder of a board's `config.txt`, with this text in it.
fn config(tree: &Tree, text: &str) {
    tree.write("boot/firmware/config.txt", text);
}

#[test]
fn one_wire_is_followed_from_the_line_to_the_sensor() {
    let tree = copy("pi-3");
    says(&tree, "1-wire", "");
    tree.remove("sys/bus/w1");
    config(&tree, "dtparam=audio=on\n#dtoverlay=w1-gpio\n");
    says(
        &tree,
        "1-wire",
        "note 1-Wire is switched off → for thermometers as the DS18B20: add dtoverlay=w1-gpio to /boot/firmware/config.txt, then reboot",
    );
    config(&tree, "dtoverlay=w1-gpio,gpiopin=17\n");
    says(
        &tree,
        "1-wire",
        "stands in /boot/firmware/config.txt, but there is no bus → reboot; if it stays so: sudo modprobe w1-gpio",
    );
    tree.folder("sys/module/w1_gpio");
    says(&tree, "1-wire", "dmesg | grep w1");
    tree.folder("sys/bus/w1/devices/w1_bus_master1");
    says(&tree, "1-wire", "w1_bus_master1: no sensor answers → check the wiring: data at GPIO 17,");
    tree.folder("sys/bus/w1/devices/w1_bus_master1/00-800000000000");
    says(&tree, "1-wire", "the resistor is missing");
    tree.remove("sys/bus/w1/devices/w1_bus_master1/00-800000000000");
    tree.write("sys/bus/w1/devices/w1_bus_master1/28-1/name", "28-1\n");
    says(&tree, "1-wire", "28-1 has no driver → sudo modprobe w1-therm");
    tree.write("sys/bus/w1/devices/w1_bus_master1/28-1/temperature", "20000\n");
    says(&tree, "1-wire", "");
}

#[test]
fn the_older_place_of_config_txt_is_named_where_it_is_the_one() {
    let tree = copy("pi-zero-w");
    tree.remove("boot/firmware");
    tree.remove("sys/bus/w1");
    tree.write("boot/config.txt", "dtparam=i2c_arm=on\n");
    says(&tree, "1-wire", "add dtoverlay=w1-gpio to /boot/config.txt,");
    tree.write("boot/config.txt", "dtoverlay=w1-gpio\n");
    says(&tree, "1-wire", "stands in /boot/config.txt, but there is no bus");
}

#[test]
fn other_boards_get_no_advice_of_the_raspberry_pi() {
    let tree = copy("beaglebone-black");
    tree.remove("sys/bus/w1");
    says(&tree, "1-wire", "BB-W1-P9.12-00A0.dtbo in /boot/uEnv.txt");
    let tree = copy("x86");
    tree.remove("sys/bus/w1");
    for theme in ["1-wire", "i2c", "spi", "kernel"] {
        says(&tree, theme, "");
    }
    tree.folder("sys/bus/w1/devices");
    says(&tree, "1-wire", "sudo modprobe ds2490");
    for board in ["beaglebone-black", "x86", "pc"] {
        let text = examine(machine(Tree::board(board).root())).text();
        for word in ["config.txt", "raspi-config", "dtoverlay", "vcgencmd"] {
            assert!(!text.contains(word), "{board}: {text}");
        }
    }
}

#[test]
fn i2c_is_followed_from_the_line_to_the_driver() {
    let tree = copy("pi-4");
    says(&tree, "i2c", "");
    tree.remove("sys/bus/i2c");
    says(
        &tree,
        "i2c",
        "warn I2C is switched on in /boot/firmware/config.txt, but there is no bus → reboot",
    );
    config(&tree, "[pi5]\ndtparam=i2c_arm=on\n");
    // A display's bus is not the one of the header.
    tree.write("sys/bus/i2c/devices/i2c-20/name", "fef04500.i2c\n");
    says(&tree, "i2c", "note I2C is switched off → for sensors on I2C: add dtparam=i2c_arm=on");
    config(&tree, "dtparam=i2c_arm=on\n");
    tree.write("sys/bus/i2c/devices/i2c-1/name", "bcm2835\n");
    says(&tree, "i2c", "note no chip is named on I2C");
    config(&tree, "dtparam=i2c_arm=on\ndtoverlay=i2c-sensor,bme280\ndtoverlay=ads1115\n");
    says(
        &tree,
        "i2c",
        "warn dtoverlay=i2c-sensor,bme280 stands in /boot/firmware/config.txt, but no bus has a bme280 → reboot",
    );
    tree.write("sys/bus/i2c/devices/1-0048/name", "ads1115\n");
    tree.write("sys/bus/i2c/devices/1-0048/driver/uevent", "");
    tree.write("sys/bus/i2c/devices/1-0076/name", "bme280\n");
    says(&tree, "i2c", "warn bme280 at 0x76 of i2c-1 has no driver → sudo modprobe bmp280_i2c;");
    tree.folder("sys/module/bmp280_i2c");
    says(
        &tree,
        "i2c",
        "its driver did not find it: check the wiring and the address (sudo i2cdetect -y 1",
    );
    tree.write("sys/bus/i2c/devices/1-0076/driver/uevent", "");
    says(&tree, "i2c", "");
    tree.remove("dev/i2c-1");
    says(
        &tree,
        "i2c",
        "note there is no /dev/i2c-*, which i2cdetect and other tools need → sudo modprobe i2c-dev",
    );
}

#[test]
fn chips_elsewhere_are_named_by_hand_and_strangers_are_left_alone() {
    let tree = copy("beaglebone-black");
    for id in ["0-0024", "2-0076", "2-0048", "2-0040"] {
        tree.remove(&format!("sys/bus/i2c/devices/{id}"));
    }
    says(&tree, "i2c", "echo bme280 0x76 | sudo tee /sys/bus/i2c/devices/i2c-2/new_device");
    tree.write("sys/bus/i2c/devices/2-0050/name", "24c256\n");
    says(&tree, "i2c", "");
    tree.write("sys/bus/i2c/devices/2-0040/name", "ina219\n");
    says(&tree, "i2c", "sudo modprobe ina2xx;");
}

#[test]
fn spi_is_switched_on_in_config_txt() {
    let tree = copy("pi-5");
    says(&tree, "spi", "");
    tree.remove("sys/bus/spi");
    says(&tree, "spi", "warn SPI is switched on in /boot/firmware/config.txt, but has no device");
    config(&tree, "#dtparam=spi=on\n");
    says(&tree, "spi", "note SPI is switched off");
}

/// The machine as it is for someone who owns nothing there.
fn stranger(tree: &Tree, gids: &[u32]) -> Machine {
    Machine { user: User { uid: 54_321, gids: gids.to_vec() }, ..machine(tree.root()) }
}

fn device(tree: &Tree, name: &str, mode: u32) -> u32 {
    tree.write(&format!("dev/{name}"), "");
    let path = tree.root().join("dev").join(name);
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
    fs::metadata(path).expect("there").gid()
}

#[test]
fn a_missing_group_is_named_with_the_command() {
    let tree = Tree::new();
    let gid = device(&tree, "ttyUSB0", 0o660);
    tree.write("etc/passwd", "root:x:0:0::/:/bin/sh\npi:x:54321:1000::/home/pi:/bin/bash\n");
    let text = said(stranger(&tree, &[]), "rights");
    // The group that the file has, by the name that it has here.
    if gid != 0 {
        tree.write("etc/group", format!("serials:x:{gid}:\n"));
        let text = said(stranger(&tree, &[]), "rights");
        assert!(text.contains("usermod -aG serials pi"), "{text}");
    }
    assert_eq!(
        text,
        "warn pi may not read /dev/ttyUSB0 → sudo usermod -aG dialout pi, then log in again\n"
    );
    assert_eq!(said(stranger(&tree, &[gid]), "rights"), "");
    device(&tree, "ttyUSB0", 0o600);
    let text = said(stranger(&tree, &[gid]), "rights");
    assert!(text.contains("KERNEL==\"ttyUSB*\", GROUP=\"dialout\", MODE=\"0660\""), "{text}");
    device(&tree, "ttyUSB0", 0o644);
    assert_eq!(said(stranger(&tree, &[]), "rights"), "");
    device(&tree, "gpiochip0", 0o640);
    device(&tree, "gpiochip1", 0o640);
    let text = said(stranger(&tree, &[]), "rights");
    assert!(text.starts_with("note pi may not read /dev/gpiochip0, /dev/gpiochip1 →"), "{text}");
}

#[test]
fn root_is_told_of_the_rights_of_the_service() {
    let tree = Tree::new();
    let gid = device(&tree, "ttyACM0", 0o660);
    says(&tree, "rights", "");
    tree.write("etc/passwd", "boardcast:x:54321:54321::/:/usr/sbin/nologin\n");
    says(
        &tree,
        "rights",
        "warn boardcast may not read /dev/ttyACM0 → sudo usermod -aG dialout boardcast, then sudo systemctl restart boardcast",
    );
    tree.write("etc/group", format!("dialout:x:{gid}:pi,boardcast\n"));
    says(&tree, "rights", "");
}

#[test]
fn who_may_not_push_is_told_which_group_may() {
    let tree = Tree::new();
    says(&tree, "socket", "");
    tree.folder("run/boardcast");
    says(&tree, "socket", "but no socket in it");
    tree.write("run/boardcast/boardcast.sock", "");
    says(&tree, "socket", "");
    let folder = tree.root().join("run/boardcast");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).expect("set");
    let text = said(stranger(&tree, &[]), "socket");
    assert!(text.contains("sudo usermod -aG boardcast $USER, then log in again"), "{text}");
    let gid = fs::metadata(&folder).expect("there").gid();
    assert_eq!(said(stranger(&tree, &[gid]), "socket"), "");
}

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
        let statvfs: crate::sources::vitals::space::Statvfs =
            Arc::new(move |_: &Path| Ok(space(available)));
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
fn whoever_has_the_port_is_named() {
    let tree = Tree::new();
    says(&tree, "server", "note no server runs at port 8642, which is free → boardcast\n");
    tree.write("usr/lib/systemd/system/boardcast.service", "");
    says(&tree, "server", "→ sudo systemctl enable --now boardcast\n");
    tree.write("etc/systemd/system/multi-user.target.wants/boardcast.service", "");
    says(&tree, "server", "warn the service is to run, but nobody listens");
    let ours = |address: SocketAddr| {
        assert_eq!(address.port(), 8642);
        Knock::Boardcast("pi".into())
    };
    let ours = Machine { knock: ours, ..machine(tree.root()) };
    assert_eq!(said(ours.clone(), "server"), "");
    assert!(examine(ours).text().contains("the server of pi runs: http://127.0.0.1:8642/\n"));
    let other = Machine { knock: |_| Knock::Other, ..machine(tree.root()) };
    assert!(said(other, "server").contains("port 8642 is taken by another program"));
    // One that listens on another address, and is a program of ours.
    let ip = u32::from_ne_bytes([10, 0, 0, 7]);
    let socket = format!("0: {ip:08X}:21C2 00000000:0000 0A 0:0 0:0 0 0 0 31337 1");
    tree.write("proc/net/tcp", format!("  sl …\n   {socket}\n"));
    says(&tree, "server", "taken by another program");
    tree.write("proc/812/comm", "python3\n");
    tree.folder("proc/812/fd");
    symlink("socket:[31337]", tree.root().join("proc/812/fd/7")).expect("a link");
    says(
        &tree,
        "server",
        "warn port 8642 is taken by python3 (process 812) → end it, or let boardcast listen elsewhere: --listen 0.0.0.0:8643",
    );
}

#[test]
fn a_file_that_hangs_is_named_and_holds_up_no_other_theme() {
    let tree = copy("pi-3");
    let path = "sys/bus/i2c/devices/1-0076/name";
    tree.remove(path);
    let mode = nix::sys::stat::Mode::S_IRWXU;
    nix::unistd::mkfifo(&tree.root().join(path), mode).expect("a pipe");
    // Short, for a file that will not answer however long one waits.
    let hasty = Machine { patience: Duration::from_secs(2), ..machine(tree.root()) };
    let text = examine(hasty).text();
    let hangs = format!("bad   i2c      /{path}: no answer for more than 2 s\n");
    assert!(text.contains(&hangs), "{text}");
    assert!(text.contains("\nok    1-wire   w1_bus_master1: 28-"), "{text}");
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
