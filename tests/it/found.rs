//! Sensors that hang, in the real binary.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::{signal::Signal, stat::Mode};
use serde_json::Value;

use crate::fixture::*;

/// A board of `tests/data/boards` that a test may change; it ends with it.
struct Copy(PathBuf);

impl Copy {
    fn of(board: &str) -> Self {
        let name = format!("boardcast-found-{}-{board}", std::process::id());
        let copy = Self(std::env::temp_dir().join(name));
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/boards");
        copy_folder(&boards.join(board).join("0"), &copy.0);
        copy
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("listed").map(|entry| entry.expect("an entry")) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(from, to).expect("copied");
        }
    }
}

/// What is said of a channel.
fn channel(server: &Binary, name: &str) -> Option<Value> {
    let answer = get(server.address, "/api/channels");
    let body: Value = serde_json::from_str(answer.text()).expect("JSON");
    let channels = body["channels"].as_array().expect("a list");
    channels.iter().find(|channel| channel["name"] == name).cloned()
}

fn latest(server: &Binary, name: &str) -> Value {
    let answer = get(server.address, "/api/latest");
    let body: Value = serde_json::from_str(answer.text()).expect("JSON");
    body["values"][name].clone()
}

/// Waits longer than usual: a sensor has 8 s to answer.
fn wait_long(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_sensor_that_never_answers_holds_nobody_up_and_is_told_of() {
    let board = Copy::of("pi-3");
    let chip = "sys/class/hwmon/hwmon9";
    board.write(&format!("{chip}/name"), "lm75\n");
    let fifo = board.0.join(chip).join("temp1_input");
    nix::unistd::mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
    // Nor does a thermal zone.
    board.write("sys/class/thermal/thermal_zone1/type", "battery\n");
    let zone = board.0.join("sys/class/thermal/thermal_zone1/temp");
    nix::unistd::mkfifo(&zone, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");

    let root = board.0.to_str().expect("UTF-8");
    let server = Binary::start(&["--interval", "100ms", "--root", root]);
    let name = "hwmon/lm75/temp1";
    let mut seen = BTreeSet::new();
    let mut client = Client::connect(server.address, "/ws?channels=mem/total,hwmon/ina219/in1");
    let started = Instant::now();
    let mut ticks: [Vec<Instant>; 2] = Default::default();
    // The others are watched until the sensor was given up, and then a little.
    let mut failed = None;
    wait_long("the error", || {
        let data = client.next("data");
        for (ticks, name) in ticks.iter_mut().zip(["mem/total", "hwmon/ina219/in1"]) {
            ticks.extend(data["values"].get(name).map(|_| Instant::now()));
        }
        let status = channel(&server, name).expect("it is described")["status"].clone();
        seen.insert(status.as_str().expect("a word").to_owned());
        if status == "error" {
            failed.get_or_insert_with(Instant::now);
        }
        failed.is_some_and(|failed| failed.elapsed() > Duration::from_secs(1))
    });
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["error", "ok", "stale"]);
    for (ticks, name) in ticks.iter().zip(["vitals", "another sensor"]) {
        let gaps = ticks.windows(2).map(|pair| pair[1] - pair[0]);
        let (longest, mean) = (gaps.max().expect("ticks"), started.elapsed() / ticks.len() as u32);
        println!("{name}: {} ticks of 100 ms, mean {mean:?}, longest {longest:?}", ticks.len());
        // Wide, for machines that do other things; a hung read takes seconds.
        let (mean_limit, limit) = (Duration::from_millis(200), Duration::from_secs(2));
        assert!(emulated() || (mean < mean_limit && longest < limit), "{name}");
    }
    let reason = channel(&server, name).expect("described")["reason"].to_string();
    assert!(reason.contains("temp1_input: no answer"), "{reason}");
    wait_for("the zone's error", || {
        (channel(&server, "thermal/battery")?["status"] == "error").then_some(())
    });
    assert!(server.log().contains("no answer"), "{}", server.log());

    // It answers once, and hangs again.
    let answer = std::thread::spawn(move || {
        let mut pipe = fs::OpenOptions::new().write(true).open(fifo).expect("it reads");
        pipe.write_all(b"21500\n").expect("it reads");
    });
    wait_for("the reading", || (latest(&server, name) == 21.5).then_some(()));
    wait_for("ok", || {
        let status = channel(&server, name).expect("described")["status"].clone();
        (status == "ok").then_some(())
    });
    answer.join().expect("answered");

    let started = Instant::now();
    server.signal(Signal::SIGTERM);
    let (code, log) = server.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_sensor_that_is_plugged_in_is_found() {
    let board = Copy::of("beaglebone-black");
    let root = board.0.to_str().expect("UTF-8");
    let server = Binary::start(&["--interval", "100ms", "--root", root]);
    let greeting = &server.greeting;
    assert!(greeting.contains("iio (") && greeting.contains("w1 ("), "{greeting}");
    board.write("sys/class/hwmon/hwmon7/temp1_input", "19500\n");
    board.write("sys/class/hwmon/hwmon7/name", "tmp102\n");
    wait_for("the new one", || (latest(&server, "hwmon/tmp102/temp1") == 19.5).then_some(()));
    fs::remove_dir_all(board.0.join("sys/class/hwmon/hwmon7")).expect("removed");
    wait_for("its end", || {
        let status = channel(&server, "hwmon/tmp102/temp1").expect("known")["status"].clone();
        (status == "gone").then_some(())
    });
}
