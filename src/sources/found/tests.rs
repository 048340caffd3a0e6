//! Whole boards: what is found on them, and what happens when it comes and goes.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    sources::vitals::trees::Tree,
    telemetry::{ChannelState, Clock, HubSettings, Status, SystemClock, Value},
};

const BOARDS: [&str; 6] = ["pi-zero-w", "pi-3", "pi-4", "pi-5", "beaglebone-black", "x86"];
const SECOND: Duration = Duration::from_secs(1);

/// The system's clock, on one morning in November.
#[derive(Debug)]
struct Morning;

impl Clock for Morning {
    fn boot(&self) -> BootTime {
        SystemClock.boot()
    }
    fn wall(&self) -> f64 {
        1_763_796_000.0
    }
    fn synced(&self) -> bool {
        true
    }
}

pub(super) struct World {
    hub: Hub,
    found: Found,
}

impl World {
    pub(super) fn of(root: &Path) -> Self {
        let hub = Hub::with_clock(HubSettings::default(), Arc::new(Morning));
        let found = Found::new(root, &hub, SECOND).expect("a thread");
        let mut world = Self { hub, found };
        world.wait_for("the first round", |world| world.found.settled());
        world
    }

    /// Waits for a condition; nothing is read meanwhile that was not due.
    #[track_caller]
    fn wait_for(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "in vain for {what}: {}",
                self.table()
            );
            thread::yield_now();
        }
    }

    /// Lets everything be due until there is what the test wants.
    #[track_caller]
    pub(super) fn turn_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "in vain for {what}: {}",
                self.table()
            );
            let lanes = &mut lock(&self.found.lanes).list;
            for lane in lanes.iter_mut().map(|(_, lane)| lane).chain([&mut self.found.scan]) {
                lane.make_due();
            }
            thread::yield_now();
        }
    }

    fn state(&self, name: &str) -> Option<ChannelState> {
        let view = self.hub.view();
        view.channels().iter().find(|state| state.channel.name.as_str() == name).cloned()
    }

    /// The number of a channel that is well.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        let state = self.state(name).filter(|state| state.status == Status::Ok)?;
        state.value.as_f64()
    }

    pub(super) fn status(&self, name: &str) -> Option<Status> {
        self.state(name).map(|state| state.status)
    }

    pub(super) fn names(&self) -> Vec<String> {
        let view = self.hub.view();
        let there = view.channels().iter().filter(|state| state.status != Status::Gone);
        let mut names: Vec<_> = there.map(|state| state.channel.name.to_string()).collect();
        names.sort();
        names
    }

    /// Every channel with all that is known of it, a line each.
    fn table(&self) -> String {
        let view = self.hub.view();
        let mut lines: Vec<_> = view.channels().iter().map(line).collect();
        lines.sort();
        lines.concat()
    }
}

fn line(state: &ChannelState) -> String {
    let channel = &state.channel;
    let bound = |bound: Option<f64>| bound.map_or("-".to_owned(), |bound| bound.to_string());
    let value = match (&state.status, &state.value) {
        (Status::Ok, Value::Number(number)) => match channel.as_single(*number) {
            Some(single) => single.to_string(),
            None => number.to_string(),
        },
        (Status::Ok, Value::Bool(on)) => on.to_string(),
        (Status::Ok, Value::Text(text)) => format!("{text:?}"),
        // Wherever the tree stands.
        (Status::Error(why), _) => format!("error {}", &why[why.find("/sys/").unwrap_or(0)..]),
        other => format!("{other:?}"),
    };
    format!(
        "{} {} {} [{} {}] {:?} = {value}\n",
        channel.name,
        channel.kind.as_str(),
        channel.unit.as_deref().unwrap_or("–"),
        bound(channel.min),
        bound(channel.max),
        channel.label.as_deref().unwrap_or_default(),
    )
}

#[test]
fn every_board_has_its_sensors_with_their_units_values_and_limits() {
    for board in BOARDS {
        let tree = Tree::board(board);
        let world = World::of(tree.root());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/boards").join(board);
        let path = path.join("sensors.txt");
        let table = world.table();
        if std::env::var_os("UPDATE_TABLES").is_some() {
            fs::write(&path, &table).expect("written");
        }
        let expected = fs::read_to_string(&path).expect("sensors.txt");
        assert_eq!(table, expected, "{board}: look at it; UPDATE_TABLES=1 writes it anew");
    }
}

#[test]
fn every_channel_has_a_label_and_belongs_to_its_kind() {
    for board in BOARDS {
        let tree = Tree::board(board);
        let world = World::of(tree.root());
        for state in world.hub.view().channels() {
            assert!(state.channel.label.is_some(), "{board}: {state:?}");
            let kind = state.channel.name.as_str().split('/').next().expect("a level");
            let source = match kind {
                "cpu" => "thermal",
                "led" | "backlight" => "light",
                "net" => "wifi",
                "disk" => "disks",
                other => other,
            };
            assert_eq!(&*state.source, source, "{board}");
        }
    }
}

fn chip(tree: &Tree, number: u32, name: &str, input: &str, value: &str) {
    tree.write(&format!("sys/class/hwmon/hwmon{number}/name"), name);
    tree.write(&format!("sys/class/hwmon/hwmon{number}/{input}"), value);
}

#[test]
fn devices_come_and_go() {
    let tree = Tree::new();
    chip(&tree, 0, "ina219\n", "in1_input", "5000\n");
    let mut world = World::of(tree.root());
    assert_eq!(world.names(), ["hwmon/ina219/in1"]);
    chip(&tree, 1, "ina219\n", "in1_input", "12000\n");
    let second = |world: &World| {
        world.state("hwmon/ina219_2/in1").is_some_and(|s| s.value == Value::Number(12.0))
    };
    world.turn_until("the second one", second);
    tree.remove("sys/class/hwmon/hwmon0");
    world.turn_until("the first one to go", |w| w.status("hwmon/ina219/in1") == Some(Status::Gone));
    // The other one keeps its name.
    assert_eq!(world.status("hwmon/ina219_2/in1"), Some(Status::Ok));
    chip(&tree, 0, "ina219\n", "in1_input", "5100\n");
    let back = |world: &World| {
        let state = world.state("hwmon/ina219/in1").expect("known");
        state.status == Status::Ok && state.value == Value::Number(5.1)
    };
    world.turn_until("the first one to be back", back);
    // Another device where the first one was.
    tree.write("sys/class/hwmon/hwmon0/name", "sht3x\n");
    world.turn_until("the other one", |world| {
        world.names() == ["hwmon/ina219_2/in1", "hwmon/sht3x/in1"]
    });
}

#[test]
fn a_converter_is_left_alone_while_its_buffer_is_on() {
    let tree = Tree::new();
    let device = "sys/bus/iio/devices/iio:device0";
    tree.write(&format!("{device}/name"), "lis3dh\n");
    tree.write(&format!("{device}/in_accel_x_raw"), "1\n");
    let name = "iio/lis3dh/accel_x";
    for buffer in ["buffer", "buffer0"] {
        tree.write(&format!("{device}/{buffer}/enable"), "0\n");
        let mut world = World::of(tree.root());
        assert_eq!(world.status(name), Some(Status::Ok));
        tree.write(&format!("{device}/{buffer}/enable"), "1\n");
        world.turn_until("it to be let go", |world| world.status(name) == Some(Status::Gone));
        tree.write(&format!("{device}/{buffer}/enable"), "0\n");
        world.turn_until("it to be back", |world| world.status(name) == Some(Status::Ok));
        tree.remove(&format!("{device}/{buffer}"));
    }
}

#[test]
fn lamps_and_thermometers_come_and_go_without_a_new_scan() {
    let tree = Tree::new();
    let slave = "72 01 55 05 7f a5 a5 66 b9 : crc=b9 YES\n72 01 55 05 7f a5 a5 66 b9 t=23125\n";
    tree.write("sys/bus/w1/devices/w1_bus_master1/28-1/w1_slave", slave);
    tree.write("sys/class/leds/a/brightness", "1\n");
    let mut world = World::of(tree.root());
    assert_eq!(world.names(), ["led/a", "w1/28-1/temperature"]);
    tree.write("sys/bus/w1/devices/w1_bus_master1/10-2/temperature", "20000\n");
    tree.remove("sys/class/leds/a");
    tree.write("sys/class/leds/b/brightness", "0\n");
    let names = ["led/b", "w1/10-2/temperature", "w1/28-1/temperature"];
    world.turn_until("the new ones", |world| world.names() == names);
    let value = |world: &World, name| world.state(name).expect("there").value;
    world.turn_until("values", |world| value(world, "w1/10-2/temperature") == Value::Number(20.0));
    tree.remove("sys/bus/w1/devices/w1_bus_master1/28-1");
    world.turn_until("fewer", |world| world.names() == ["led/b", "w1/10-2/temperature"]);
}

#[test]
fn what_another_subsystem_tells_is_not_told_twice() {
    let tree = Tree::new();
    let links = [
        ("BAT0", "device", "../../power_supply/BAT0"),
        ("iwlwifi_1", "device", "../../thermal/thermal_zone3"),
        ("any_name", "device/driver", "../../bus/platform/drivers/iio_hwmon"),
        ("other", "device/subsystem", "../../bus/w1"),
        ("BAT1", "device/subsystem", "../../class/power_supply"),
        ("kept", "device/subsystem", "../../bus/i2c"),
    ];
    for (number, (name, link, target)) in (0..).zip(links) {
        chip(&tree, number, name, "temp1_input", "1000\n");
        let link = tree.root().join(format!("sys/class/hwmon/hwmon{number}")).join(link);
        fs::create_dir_all(link.parent().expect("a folder")).expect("made");
        symlink(target, link).expect("a link");
    }
    // What `device` points at is of the class.
    let supply = tree.root().join("sys/class/power_supply/BAT0");
    fs::create_dir_all(&supply).expect("made");
    symlink("../../power_supply", supply.join("subsystem")).expect("a link");
    chip(&tree, 10, "cpu_thermal", "temp1_input", "1000\n");
    tree.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
    tree.write("sys/class/thermal/thermal_zone0/temp", "1000\n");
    chip(&tree, 11, "rpi_volt", "in0_input", "1000\n");
    // A driver of old, with its files one folder further.
    tree.write("sys/class/hwmon/hwmon12/device/name", "lm75\n");
    tree.write("sys/class/hwmon/hwmon12/device/temp1_input", "21500\n");
    let world = World::of(tree.root());
    let chips: Vec<_> =
        world.names().into_iter().filter(|name| name.starts_with("hwmon")).collect();
    assert_eq!(chips, ["hwmon/kept/temp1", "hwmon/lm75/temp1"]);
}

#[test]
fn hundreds_of_chips_are_read_by_few_threads() {
    let tree = Tree::new();
    for number in 0..200 {
        chip(&tree, number, "lm75\n", "temp1_input", "20000\n");
    }
    let mut world = World::of(tree.root());
    assert_eq!(world.names().len(), 200);
    let lanes = lock(&world.found.lanes);
    assert_eq!(lanes.list.len(), MAX_LANES);
    assert!(Arc::strong_count(&lanes.alive) <= MAX_THREADS + 1);
    drop(lanes);
    tree.remove("sys/class/hwmon/hwmon0");
    world.turn_until("one less", |world| world.names().len() == 199);
}

#[test]
fn what_is_odd_fails_alone_and_says_why() {
    let tree = Tree::new();
    for (number, bad) in (0..).zip(["", "\n", "x\n", "1 2\n", "99999999999999999999\n", "-\n"]) {
        chip(&tree, number, "odd\n", "temp1_input", bad);
    }
    tree.write("sys/class/hwmon/hwmon7/name", "half\n");
    tree.write("sys/class/hwmon/hwmon7/temp1_input", "20000\n");
    tree.write("sys/class/hwmon/hwmon7/temp+1_input", "20000\n");
    tree.write("sys/class/hwmon/hwmon7/temp99999999999_input", "20000\n");
    tree.write("sys/class/hwmon/hwmon7/temp2_input", "x".repeat(1 << 20));
    tree.folder("sys/class/hwmon/hwmon7/temp3_input");
    tree.write("sys/class/hwmon/hwmon7/temp1_crit", "nonsense\n");
    tree.write("sys/class/hwmon/hwmon7/temp1_label", "\u{0}\u{1}é/#+\n");
    tree.folder("sys/class/hwmon/hwmon8");
    tree.write("sys/bus/iio/devices/iio:device0/in__raw", "1\n");
    tree.write("sys/bus/iio/devices/iio:device0/in_voltage0_raw", "1\n");
    tree.write("sys/bus/iio/devices/iio:device0/in_voltage0_scale", "much\n");
    tree.write("sys/class/power_supply/none/type", "Battery\n");
    let world = World::of(tree.root());
    let failed = |name: &str| matches!(world.status(name), Some(Status::Error(why)) if why.contains("not a number"));
    assert!(failed("hwmon/odd/temp1") && failed("hwmon/odd_3/temp1") && failed("hwmon/half/temp2"));
    assert!(failed("iio/device0/voltage0"));
    assert!(matches!(world.status("hwmon/half/temp3"), Some(Status::Error(_))));
    let good = world.state("hwmon/half/____").expect("its label is a level");
    assert_eq!((good.value, good.channel.max), (Value::Number(20.0), None));
}

#[test]
fn an_empty_root_has_no_sensor_and_no_thread_but_the_scan() {
    let tree = Tree::new();
    let world = World::of(tree.root());
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(lock(&world.found.lanes).list.len(), 0);
}

#[test]
fn dropping_it_marks_all_as_gone() {
    let tree = Tree::board("pi-3");
    let World { hub, found } = World::of(tree.root());
    drop(found);
    assert!(hub.view().channels().iter().all(|state| state.status == Status::Gone));
}

/// Copies a board's sensors, with bytes of their files changed.
fn mangle(from: &Path, tree: &Tree, path: &str, random: &mut impl FnMut() -> usize) {
    for entry in fs::read_dir(from).expect("listed").map(|entry| entry.expect("an entry")) {
        let name = entry.file_name().into_string().expect("UTF-8");
        let path = format!("{path}/{name}");
        if entry.path().is_dir() {
            mangle(&entry.path(), tree, &path, random);
            continue;
        }
        let mut bytes = fs::read(entry.path()).expect("read");
        // Names stay, so that there is something to read.
        let changes = if matches!(name.as_str(), "name" | "type") { 0 } else { random() % 4 };
        for _ in 0..changes {
            let at = random() % (bytes.len() + 1);
            match random() % 4 {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, b"-.:= \n9x"[random() % 8]),
                2 => bytes.extend(std::iter::repeat_n(b'9', random() % 400)),
                _ => bytes.insert(at, random() as u8),
            }
        }
        tree.write(&path, bytes);
    }
}

#[test]
fn mangled_files_are_no_fault_of_the_reader() {
    // Marsaglia's xorshift, so that a failure can be repeated.
    let mut seed = 0x2545_f491_u32;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as usize
    };
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/boards");
    for board in BOARDS.iter().cycle().take(60) {
        let tree = Tree::new();
        mangle(&boards.join(board).join("0"), &tree, ".", &mut random);
        let world = World::of(tree.root());
        let view = world.hub.view();
        assert!(view.channels().len() > 10, "{board}");
        for state in view.channels() {
            let fault = Status::Error(crate::sources::sampler::FAULT.into());
            assert!(state.status != fault, "{state:?}");
            assert!(state.value.as_f64().is_none_or(f64::is_finite), "{state:?}");
        }
    }
}
