//! `[[source]] kind = "mqtt"`: devices' messages through a real broker and the
//! real program, as settings files in `tests/data/mqtt` describe them.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;

use crate::{
    broker::Mosquitto,
    fixture::{Binary, command, get, wait_for},
};

/// A message to be published, and what is to come of it: channel, value, unit.
#[derive(Default)]
struct Case {
    file: String,
    messages: Vec<(String, String)>,
    channels: Vec<(String, Value, Option<String>)>,
}

impl Case {
    fn read(file: &str, text: &str) -> Self {
        let mut case = Self { file: file.to_owned(), ..Self::default() };
        for line in text.lines() {
            if let Some(line) = line.strip_prefix("#< ") {
                // A topic may have spaces; what it says begins with the last one
                // before a brace, or with the first one.
                let at = line.find(" {").or(line.find(' ')).expect(line);
                case.messages.push((line[..at].to_owned(), line[at + 1..].to_owned()));
            } else if let Some(line) = line.strip_prefix("#> ") {
                let (channel, rest) = line.split_once(' ').expect(line);
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
                let value = values.next().expect(line).expect(line);
                let unit = rest[values.byte_offset()..].trim();
                let unit = Some(unit.to_owned()).filter(|unit| !unit.is_empty());
                case.channels.push((channel.to_owned(), value, unit));
            }
        }
        assert!(!case.messages.is_empty() && !case.channels.is_empty(), "{file}");
        case
    }
}

fn json(board: &Binary, path: &str) -> Value {
    serde_json::from_str(get(board.address, path).text()).expect("JSON")
}

#[test]
fn devices_messages_become_channels_with_their_values_and_units() {
    let mut broker = Mosquitto::start("");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mqtt");
    let mut settings = String::new();
    let mut cases = Vec::new();
    for entry in fs::read_dir(data).expect("the files") {
        let path = entry.expect("one").path();
        let text = fs::read_to_string(&path).expect("text");
        cases.push(Case::read(&path.display().to_string(), &text));
        settings += &text.replace("\"URL\"", &format!("\"{}\"", broker.url()));
    }
    assert_eq!(cases.len(), 5);
    let file = broker.folder().join("settings.toml");
    fs::write(&file, settings).expect("written");
    let board = Binary::run(
        command(env!("CARGO_BIN_EXE_boardcast"))
            .args(["--listen", "127.0.0.1:0", "--config"])
            .arg(&file),
    );
    for (topic, payload) in cases.iter().flat_map(|case| &case.messages) {
        // Kept by the broker: it does not matter who is there first.
        broker.publish(&["-r", "-t", topic, "-m", payload]);
    }
    let values = wait_for("all channels", || {
        std::thread::sleep(Duration::from_millis(10));
        let latest = json(&board, "/api/latest");
        let has = |name: &String| latest["values"].get(name).is_some();
        let all = cases.iter().flat_map(|case| &case.channels).all(|(name, ..)| has(name));
        all.then(|| latest["values"].clone())
    });
    let channels = json(&board, "/api/channels");
    let list = channels["channels"].as_array().expect("a list");
    for case in &cases {
        for (name, value, unit) in &case.channels {
            let file = &case.file;
            let same = match (values[name].as_f64(), value.as_f64()) {
                (Some(is), Some(should)) => (is - should).abs() < 1e-9,
                _ => values[name] == *value,
            };
            assert!(same, "{file}: {name} is {}, not {value}", values[name]);
            let channel = list.iter().find(|channel| channel["name"] == **name).expect(name);
            assert_eq!(channel["unit"].as_str(), unit.as_deref(), "{file}: {name}");
        }
    }
    assert!(!values.to_string().contains("no_reading_yet"));

    // The broker dies: that is told at every channel, and mended when it is back.
    let status = |name: &str| {
        let channels = json(&board, "/api/channels");
        let list = channels["channels"].as_array()?.clone();
        let channel = list.into_iter().find(|channel| channel["name"] == *name)?;
        Some((channel["status"].as_str()?.to_owned(), channel["reason"].to_string()))
    };
    let name = "zigbee/kitchen/temperature";
    broker.kill();
    let reason = wait_for("the trouble", || {
        std::thread::sleep(Duration::from_millis(10));
        status(name).filter(|(status, _)| status == "error").map(|(_, reason)| reason)
    });
    assert!(reason.contains(&broker.url()), "{reason}");
    broker.start_again();
    let publish = || broker.publish(&["-t", "zigbee2mqtt/kitchen", "-m", "{\"temperature\":22.5}"]);
    wait_for("a new reading", || {
        publish();
        (json(&board, "/api/latest")["values"][name] == 22.5).then_some(())
    });
    wait_for("a channel that is well", || status(name).filter(|(status, _)| status == "ok"));
}

#[test]
fn a_password_in_the_address_is_shown_by_nothing() {
    let folder = std::env::temp_dir().join(format!("bc-mqtt-shown-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("boardcast.toml");
    let source = |url: &str| {
        format!("[[source]]\nname = \"x\"\nkind = \"mqtt\"\nurl = \"{url}\"\ntopics = \"a\"\n")
    };
    for (url, code) in [("mqtt://me:hunter2@host", 0), ("mqtt://me:hunter2@host:x", 1)] {
        fs::write(&file, source(url)).expect("written");
        for subcommand in ["check", "config"] {
            let mut told = command(env!("CARGO_BIN_EXE_boardcast"));
            told.arg(subcommand);
            if subcommand == "config" {
                told.arg("--config");
            }
            let output = told.arg(&file).output().expect("it runs");
            let text = format!("{output:?}");
            assert!(!text.contains("hunter2"), "{text}");
            assert_eq!(output.status.code(), Some(code), "{text}");
        }
    }
    let _ = fs::remove_dir_all(folder);
}
