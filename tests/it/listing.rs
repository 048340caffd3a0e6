//! `boardcast channels`, the real binary against the real binary: piped, as
//! JSON, and on a terminal.

use std::{
    fs::File,
    io::Read,
    net::TcpListener,
    path::Path,
    process::{Output, Stdio},
};

use nix::pty::openpty;
use serde_json::Value;

use crate::fixture::*;

fn board() -> Binary {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/boards/pi-4/0");
    let server = Binary::start(&["--root", root.to_str().expect("UTF-8")]);
    // The thermometers are read one after the other.
    wait_for("the last thermometer", || {
        let answer = get(server.address, "/api/latest");
        answer.text().contains("w1/28-0316a2794bff/temperature\":-10.125").then_some(())
    });
    server
}

fn channels(arguments: &[&str]) -> Output {
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    command.arg("channels").args(arguments).output().expect("started")
}

fn printed(output: &Output) -> &str {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

#[test]
fn piped_it_is_a_line_for_each_channel_with_tabs() {
    let server = board();
    let output = channels(&[&server.address.to_string(), "w1/#", "board/model"]);
    let lines: Vec<Vec<_>> = printed(&output).lines().map(|l| l.split('\t').collect()).collect();
    let model =
        ["board/model", "Raspberry Pi 4 Model B Rev 1.4", "", "ok", "state", "vitals", "Model", ""];
    assert_eq!(lines[0], model);
    let name = "w1/28-0000deadbeef/temperature";
    assert_eq!((lines[1][0], lines[1][1], lines[1][3]), (name, "", "error"));
    assert!(lines[1][7].contains("the checksum is wrong"), "{lines:?}");
    let name = "w1/28-0316a2794bff/temperature";
    let label = "Temperature 28-0316a2794bff";
    assert_eq!(lines[2], [name, "-10.125", "Cel", "ok", "gauge", "w1", label, ""]);
    assert_eq!(lines.len(), 3);
}

#[test]
fn json_is_that_of_the_api_with_values() {
    let server = board();
    let output = channels(&[&server.address.to_string(), "--json"]);
    let listed: Value = serde_json::from_str(printed(&output)).expect("JSON");
    let answer = get(server.address, "/api/channels");
    let api: Value = serde_json::from_str(answer.text()).expect("JSON");
    assert_eq!((&listed["device"], &listed["epoch"]), (&api["device"], &api["epoch"]));
    let names = |list: &Value| -> Vec<Value> {
        list["channels"].as_array().expect("a list").iter().map(|c| c["name"].clone()).collect()
    };
    assert_eq!(names(&listed), names(&api));
    let find = |list: &Value, name: &str| {
        let channels = list["channels"].as_array().expect("a list");
        channels.iter().find(|channel| channel["name"] == name).cloned().expect(name)
    };
    let mut one = find(&listed, "hwmon/ina219/in1");
    assert_eq!(one["value"], 5.112);
    one.as_object_mut().expect("an object").remove("value");
    assert_eq!(one, find(&api, "hwmon/ina219/in1"));
}

#[test]
fn on_a_terminal_it_is_a_table() {
    let server = board();
    let terminal = openpty(None, None).expect("a terminal");
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    command.args(["channels", &server.address.to_string(), "hwmon/#", "iio/bme280/#"]);
    let mut child = command.stdout(Stdio::from(terminal.slave)).spawn().expect("started");
    // Else the terminal would stay open at this end.
    drop(command);
    let mut text = String::new();
    // A terminal whose other end is closed answers with an error.
    let _ = File::from(terminal.master).read_to_string(&mut text);
    assert!(child.wait().expect("waited").success());
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("CHANNEL ") && lines[0].ends_with("LABEL"), "{text}");
    let line = lines.iter().find(|line| line.starts_with("iio/bme280/temp ")).expect("there");
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[1..6], ["23.5", "°C", "ok", "gauge", "iio"], "{text}");
    assert_eq!(lines.len(), 1 + 4 + 3, "{text}");
}

#[test]
fn a_board_that_is_not_there_and_a_filter_for_nothing_are_one_line_and_1() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let nowhere = free.local_addr().expect("bound").to_string();
    drop(free);
    let server = board();
    for (arguments, why) in [
        (vec![nowhere.as_str()], "is boardcast running there?"),
        (vec![&server.address.to_string(), "no/such"], "no channel matches no/such"),
    ] {
        let output = channels(&arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), errors.lines().count()), (Some(1), 1), "{errors}");
        assert!(errors.contains(why) && output.stdout.is_empty(), "{errors}");
    }
}
