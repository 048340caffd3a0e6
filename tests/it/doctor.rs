//! `boardcast doctor`, the real binary: what it prints, its exit codes, a port
//! that is taken, and a sensor that hangs.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use nix::sys::stat::Mode;
use serde_json::Value;

use crate::fixture::*;

fn board(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/boards").join(name).join("0")
}

fn doctor(arguments: &[&str]) -> Output {
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    command.arg("doctor").args(arguments).output().expect("started")
}

fn printed(output: &Output) -> &str {
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

/// The findings of a theme, as `level: what`.
fn findings(json: &Value, theme: &str) -> Vec<String> {
    let findings = json["findings"].as_array().expect("a list").iter();
    let of_theme = findings.filter(|finding| finding["theme"] == theme);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    of_theme.map(|f| format!("{}: {}", text(&f["level"]), text(&f["what"]))).collect()
}

#[test]
fn it_says_what_it_found_and_ends_with_1_when_something_is_to_be_mended() {
    let root = board("pi-4");
    let output = doctor(&["--root", root.to_str().expect("UTF-8")]);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for line in [
        "ok    board    Raspberry Pi 4 Model B Rev 1.4, Linux 6.6.51+rpt-rpi-v8, up 1 d 3 h 26 min",
        "ok    sensors  Industrial I/O: ads1015, bme280, bme280_2, mpu6050",
        "               → check the cable, and the 4.7 kΩ from data to 3.3 V",
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line}: {text}");
    }
    let json = doctor(&["--json", "--root", root.to_str().expect("UTF-8")]);
    let value: Value = serde_json::from_str(printed(&json)).expect("JSON");
    assert_eq!((json.status.code(), &value["mend"]), (Some(1), &Value::Bool(true)));
    assert_eq!(findings(&value, "board").len(), 1);
    assert!(findings(&value, "spi")[0].starts_with("note: SPI is switched off"), "{value}");
}

#[test]
fn the_exit_code_is_what_the_findings_say_on_any_machine() {
    // Nothing but the clock of the machine that runs the tests can be wrong.
    let root = board("pc");
    let output = doctor(&["--json", "--root", root.to_str().expect("UTF-8")]);
    let value: Value = serde_json::from_str(printed(&output)).expect("JSON");
    let levels = value["findings"].as_array().expect("a list").iter().map(|f| f["level"].clone());
    let bad = levels.filter(|level| level == "warn" || level == "bad").count();
    assert_eq!(output.status.code(), Some(i32::from(bad > 0)), "{value}");
    let wrong = doctor(&["--port", "x"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_server_that_runs_is_found() {
    let server = Binary::start(&["--name", "kitchen"]);
    // The first readings make it well; it is a boardcast before them, too.
    let port = server.address.port().to_string();
    let root = board("pc");
    let root = root.to_str().expect("UTF-8");
    let output = doctor(&["--json", "--port", &port, "--root", root]);
    let value: Value = serde_json::from_str(printed(&output)).expect("JSON");
    let expected = format!("ok: the server of kitchen runs: http://127.0.0.1:{port}/");
    assert_eq!(findings(&value, "server"), [expected]);
}

#[test]
fn a_port_that_another_program_has_is_told_with_its_name() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let output = doctor(&["--json", "--port", &port.to_string()]);
    let value: Value = serde_json::from_str(printed(&output)).expect("JSON");
    let said = findings(&value, "server");
    let process = format!("(process {})", std::process::id());
    let named = said[0].starts_with(&format!("warn: port {port} is taken by "));
    assert!(named && said[0].ends_with(&process), "{said:?}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_sensor_that_hangs_is_named_and_the_others_are_told() {
    let folder = std::env::temp_dir().join(format!("boardcast-doctor-{}", std::process::id()));
    let chip = |name: &str| folder.join("sys/class/hwmon").join(name);
    for (number, name) in [("hwmon0", "lm75\n"), ("hwmon1", "tmp102\n")] {
        fs::create_dir_all(chip(number)).expect("made");
        fs::write(chip(number).join("name"), name).expect("written");
    }
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    nix::unistd::mkfifo(&chip("hwmon0").join("temp1_input"), mode).expect("a pipe");
    fs::write(chip("hwmon1").join("temp1_input"), "21500\n").expect("written");
    let started = std::time::Instant::now();
    let output = doctor(&["--json", "--root", folder.to_str().expect("UTF-8")]);
    let took = started.elapsed();
    fs::remove_dir_all(&folder).expect("removed");
    let value: Value = serde_json::from_str(printed(&output)).expect("JSON");
    let said = findings(&value, "sensors");
    assert_eq!(said[0], "ok: hwmon: tmp102");
    let hung = "(/sys/class/hwmon/hwmon0/temp1_input)";
    assert!(
        said[1].starts_with("warn: hwmon/lm75/temp1: no answer") && said[1].ends_with(hung),
        "{said:?}"
    );
    assert!(took < Duration::from_secs(60), "{took:?}");
}
