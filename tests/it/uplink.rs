//! A board's readings on their way to a real broker: the real program, and
//! Mosquitto.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
};

use boardcast::mqtt::Options;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    broker::{Mosquitto, tool},
    fixture::*,
    mqtt::Party,
    settings::Folder,
};

/// A board that publishes at this address.
fn board(url: &str, more: &[&str]) -> Binary {
    let arguments = ["--name", "pi", "--socket", "none", "--mqtt", url];
    Binary::start(&[&arguments, more].concat())
}

/// One whose readings are written to its standard input.
fn fed(url: &str, more: &[&str]) -> (Binary, ChildStdin) {
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    command.args(["serve", "--stdin", "--listen", "127.0.0.1:0", "--socket", "none"]);
    command.args(["--name", "pi", "--mqtt", url]).args(more).stdin(Stdio::piped());
    let mut board = Binary::run(&mut command);
    let stdin = board.child.stdin.take().expect("piped");
    (board, stdin)
}

/// Somebody who hears what this broker has below a filter.
fn listener(broker: &Mosquitto, name: &str, filter: &str) -> Party {
    let url = broker.url().parse().expect("a broker");
    let party = Party::start(Options::new(url, name), filter);
    wait_for("a subscription", || {
        (!party.heard.lock().expect("no panic").subscribed.is_empty()).then_some(())
    });
    party
}

/// Everything that was heard on a topic below the board's, the newest last.
fn all(party: &Party, topic: &str) -> Vec<String> {
    let topic = match topic.starts_with("homeassistant") {
        true => topic.to_owned(),
        false => format!("boardcast/pi/{topic}"),
    };
    let heard = party.heard.lock().expect("no panic");
    let found = heard.messages.iter().filter(|(other, ..)| *other == topic);
    found.map(|(_, payload, _)| payload.clone()).collect()
}

fn await_newest(party: &Party, topic: &str, what: impl Fn(&str) -> bool) -> String {
    let seen = || all(party, topic).pop().filter(|payload| what(payload));
    wait_for_or(seen, || format!("{topic}: {:#?}", all(party, topic)))
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).expect(text)
}

fn await_connection(board: &Binary) {
    wait_for("a connection", || (board.metric("boardcast_mqtt_connected") == 1).then_some(()));
}

/// What was heard of the stream so far: batches that were lost and told so,
/// and the last number. Each batch comes once, in order, or is told as lost;
/// what comes a second time is dropped, as receivers do.
#[track_caller]
fn follow(party: &Party) -> (u64, u64) {
    let (mut last, mut lost, mut epoch) = (None, 0, Value::Null);
    for text in all(party, "data") {
        let message = read(&text);
        let known = std::mem::replace(&mut epoch, message["epoch"].clone());
        assert!(known.is_null() || known == epoch, "another epoch");
        let number = |name: &str| message[name].as_u64();
        if message["type"] == "gap" {
            let to = number("to").expect("an end");
            let from = last.map_or(number("from").expect("a beginning"), |last| last + 1);
            lost += (to + 1).saturating_sub(from);
            continue;
        }
        let seq = number("seq").expect("a number");
        match (last, number("after")) {
            (Some(last), _) if seq <= last => continue,
            (Some(last), Some(after)) => lost += after.saturating_sub(last),
            _ => {}
        }
        // Without filters every number is sent.
        assert!(number("after").is_none_or(|after| after + 1 == seq), "{text}");
        last = Some(seq);
    }
    (lost, last.unwrap_or(0))
}

/// A way to the broker that can be cut, and that can hang.
struct Way {
    address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    cut: bool,
    hangs: bool,
    streams: Vec<TcpStream>,
}

impl Way {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::<(Mutex<State>, Condvar)>::default();
        let shared = state.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let mut state = shared.0.lock().expect("no panic");
                if state.cut {
                    continue;
                }
                let far = TcpStream::connect(("127.0.0.1", port)).expect("the broker");
                let pairs = [(&near, &far), (&far, &near)];
                for (from, to) in pairs {
                    let (from, to) = (from.try_clone().expect("one"), to.try_clone().expect("one"));
                    let shared = shared.clone();
                    std::thread::spawn(move || Self::copy(from, to, &shared));
                }
                state.streams.extend([near, far]);
            }
        });
        Self { address, state }
    }

    fn copy(mut from: TcpStream, mut to: TcpStream, shared: &(Mutex<State>, Condvar)) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let state = shared.0.lock().expect("no panic");
            drop(shared.1.wait_while(state, |state| state.hangs).expect("no panic"));
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }

    fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    fn cut(&self) {
        let mut state = self.state.0.lock().expect("no panic");
        state.cut = true;
        for stream in state.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.state.0.lock().expect("no panic").cut = false;
    }

    fn hang(&self, hangs: bool) {
        self.state.0.lock().expect("no panic").hangs = hangs;
        self.state.1.notify_all();
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.hang(false);
        self.cut();
    }
}

/// Waits until the board has published so many more batches.
fn await_batches(board: &Binary, more: u64) {
    let goal = board.metric("boardcast_batches_total") + more;
    wait_for("batches", || (board.metric("boardcast_batches_total") >= goal).then_some(()));
}

#[test]
fn who_comes_late_finds_what_is_kept() {
    let broker = Mosquitto::start("");
    let board = board(&broker.url(), &["--mqtt-per-channel", "load/#"]);
    assert!(board.greeting.contains(&format!("mqtt      {}", broker.url())), "{}", board.greeting);
    await_connection(&board);
    await_batches(&board, 1);
    // By another's program.
    let mut command = Command::new(tool("bin", "mosquitto_sub"));
    let port = broker.port().to_string();
    command.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-W",
        "10",
        "-C",
        "1",
        "-t",
        "boardcast/pi/status",
    ]);
    let output = command.output().expect("mosquitto_sub");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "online\n", "{output:?}");
    let party = listener(&broker, "late", "boardcast/pi/#");
    let channels = read(&await_newest(&party, "channels", |_| true));
    let latest = read(&await_newest(&party, "latest", |_| true));
    let value = await_newest(&party, "value/load/1m", |_| true);
    assert!(value.parse::<f64>().is_ok(), "{value}");
    let own = read(get(board.address, "/api/channels").text());
    assert_eq!((&channels["epoch"], &channels["device"]), (&own["epoch"], &own["device"]));
    assert_eq!((&channels["type"], &latest["snapshot"]), (&json!("channels"), &json!(true)));
    assert_eq!(latest["epoch"], own["epoch"]);
    assert!(latest["values"]["cpu/usage"].is_number(), "{latest}");
    assert!(channels["channels"].as_array().expect("a list").len() > 10);
    let heard = party.heard.lock().expect("no panic");
    let kept = |message: &&(String, String, bool)| message.2;
    assert!(heard.messages.iter().filter(kept).count() >= 4, "they were kept");
    assert!(!heard.messages.iter().filter(kept).any(|(topic, ..)| topic.ends_with("/data")));
}

/// The broker is there for its listener all the time; it is the board that
/// loses it, in the midst of twenty batches a second.
#[test]
fn each_batch_comes_once_and_in_order_over_lost_connections() {
    for qos in ["0", "1"] {
        let broker = Mosquitto::start("");
        let way = Way::to(broker.port());
        let party = listener(&broker, "ear", "boardcast/pi/data");
        let board = board(&way.url(), &["--demo", "--interval", "50ms", "--mqtt-qos", qos]);
        await_connection(&board);
        for _ in 0..2 {
            await_batches(&board, 20);
            way.cut();
            wait_for("a loss", || (board.metric("boardcast_mqtt_connected") == 0).then_some(()));
            await_batches(&board, 20);
            way.mend();
            await_connection(&board);
        }
        let goal = board.metric("boardcast_batches_total");
        wait_for("all of it", || (follow(&party).1 >= goal).then_some(()));
        let (lost, _) = follow(&party);
        // Lost on the way, with nobody to ask for it: told, and not more than
        // what was on its way.
        assert!(if qos == "1" { lost == 0 } else { lost < 20 }, "QoS {qos}: {lost} lost");
        let first = read(&all(&party, "data")[0]);
        assert_eq!(first["after"], 0, "from the first one on");
        assert_eq!(board.metric("boardcast_mqtt_lost_batches_total"), 0);
    }
}

#[test]
fn a_broker_that_was_killed_is_told_all_again() {
    let mut broker = Mosquitto::start("");
    let board =
        board(&broker.url(), &["--demo", "--mqtt-qos", "1", "--mqtt-per-channel", "mem/total"]);
    await_connection(&board);
    broker.kill();
    wait_for("a loss", || (board.metric("boardcast_mqtt_connected") == 0).then_some(()));
    assert_eq!(get(board.address, "/healthz").status, 200);
    await_batches(&board, 5);
    broker.start_again();
    let party = listener(&broker, "ear", "boardcast/pi/#");
    await_newest(&party, "status", |status| status == "online");
    for topic in ["channels", "latest", "value/mem/total"] {
        await_newest(&party, topic, |_| true);
    }
    let goal = board.metric("boardcast_batches_total");
    wait_for("what is new", || (follow(&party).1 >= goal).then_some(()));
}

#[test]
fn its_status_tells_of_its_end_whatever_that_is() {
    let broker = Mosquitto::start("");
    let party = listener(&broker, "ear", "boardcast/pi/status");
    let mut killed = board(&broker.url(), &[]);
    await_newest(&party, "status", |status| status == "online");
    killed.child.kill().expect("killed");
    await_newest(&party, "status", |status| status == "offline");
    let stopped = board(&broker.url(), &[]);
    await_newest(&party, "status", |status| status == "online");
    stopped.signal(Signal::SIGTERM);
    await_newest(&party, "status", |status| status == "offline");
    assert_eq!(stopped.wait().0, Some(0));
    assert_eq!(all(&party, "status"), ["online", "offline", "online", "offline"]);
}

#[test]
fn values_stand_alone_home_assistant_is_told_and_what_is_gone_is_cleared() {
    let broker = Mosquitto::start("");
    let folder = Folder::new("uplink");
    let settings = "mqtt_home_assistant = [\"room/#\"]\nmqtt_per_channel = [\"garage/#\"]\n";
    let file = folder.write("x.toml", settings);
    let (board, mut stdin) = fed(&broker.url(), &["--config", &file]);
    stdin.write_all(b"room/temp 21.5\nroom/attic/temp 3\ngarage/open=true\n").expect("written");
    let party = listener(&broker, "ear", "#");
    await_newest(&party, "value/room/temp", |value| value == "21.5");
    await_newest(&party, "value/garage/open", |_| true);
    stdin.write_all(b"room/temp 22\n").expect("written");
    await_newest(&party, "value/room/temp", |value| value == "22");
    let config = "homeassistant/device/boardcast_pi/config";
    let has = |text: &str, name: &str| !text.is_empty() && !read(text)["cmps"][name].is_null();
    let told = read(&await_newest(&party, config, |text| has(text, "sensor_room_attic_temp")));
    assert_eq!(told["cmps"]["sensor_room_temp"]["stat_t"], "boardcast/pi/value/room/temp");
    assert_eq!(told["avty"][0]["t"], "boardcast/pi/status");
    // Home Assistant starts.
    let before = all(&party, config).len();
    broker.publish(&["-t", "homeassistant/status", "-m", "online"]);
    wait_for("another", || (all(&party, config).len() > before).then_some(()));
    // A channel is hidden, another loses its topic.
    let settings = "mqtt_home_assistant = [\"room/#\"]\n\
                    [[channel]]\nname = \"room/attic/#\"\nhide = true\n";
    folder.write("x.toml", settings);
    board.signal(Signal::SIGHUP);
    let removed = || {
        let removed = json!({ "p": "sensor" });
        let mut list = all(&party, config).into_iter().filter(|text| !text.is_empty());
        list.any(|text| read(&text)["cmps"]["sensor_room_attic_temp"] == removed).then_some(())
    };
    wait_for_or(removed, || format!("its removal: {:#?}", all(&party, config)));
    await_newest(&party, config, |text| {
        !has(text, "sensor_room_attic_temp") && has(text, "sensor_room_temp")
    });
    await_newest(&party, "value/room/attic/temp", str::is_empty);
    await_newest(&party, "value/garage/open", str::is_empty);
    await_newest(&party, "value/room/temp", |value| value == "22");
    // Nothing else is told of any more, and nobody is published to.
    folder.write("x.toml", "");
    board.signal(Signal::SIGHUP);
    await_newest(&party, config, str::is_empty);
    await_newest(&party, "value/room/temp", str::is_empty);
    await_newest(&party, "status", |status| status == "online");
}

#[test]
fn a_password_that_is_changed_in_its_file_is_taken_at_a_reload() {
    let folder = Folder::new("password");
    let users = folder.0.join("users");
    let mut made = Command::new(tool("bin", "mosquitto_passwd"));
    let made = made.args(["-b", "-c"]).arg(&users).args(["me", "s3cret"]).output();
    assert!(made.expect("mosquitto_passwd starts").status.success());
    let lines = format!("allow_anonymous false\npassword_file {}", users.display());
    let broker = Mosquitto::start(&lines);
    let own = folder.write("own", "old\n");
    let at = broker.url().replace("//", "//me@");
    let board = board(&at, &["--mqtt-password-file", &own]);
    wait_for("a refusal", || board.log().contains("refuses").then_some(()));
    assert_eq!(board.metric("boardcast_mqtt_connected"), 0);
    folder.write("own", "s3cret\n");
    board.signal(Signal::SIGHUP);
    await_connection(&board);
    // What has not changed is left as it is.
    board.signal(Signal::SIGHUP);
    let taken = || (board.log().matches("read anew").count() == 2).then_some(());
    wait_for_or(taken, || board.log());
    assert_eq!(board.metric("boardcast_mqtt_connects_total"), 1);
}

#[test]
fn viewers_do_not_feel_a_broker_that_hangs() {
    let broker = Mosquitto::start("");
    let way = Way::to(broker.port());
    let board = board(&way.url(), &["--demo", "--interval", "50ms"]);
    let party = listener(&broker, "ear", "boardcast/pi/data");
    await_connection(&board);
    way.hang(true);
    let mut client = Client::connect(board.address, "/ws");
    let mut last = client.next("data")["seq"].as_u64().expect("a number");
    for _ in 0..50 {
        let message = client.json();
        assert_ne!(message["type"], "gap");
        if message["type"] == "data" {
            let seq = message["seq"].as_u64().expect("a number");
            assert_eq!(seq, last + 1);
            last = seq;
        }
    }
    assert_eq!(get(board.address, "/healthz").status, 200);
    way.hang(false);
    wait_for("what waited", || (follow(&party).1 >= last).then_some(()));
    assert_eq!(follow(&party).0, 0);
}

#[test]
fn settings_that_cannot_be_are_told_before_anything_starts() {
    let fails = |arguments: &[&str], word: &str| {
        let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
        let started = Binary::try_run(
            command.args(["--listen", "127.0.0.1:0", "--socket", "none"]).args(arguments),
        );
        let (code, log) = started.err().expect("it does not start");
        assert!(code.is_some_and(|code| code != 0) && log.contains(word), "{code:?} {log}");
        // Root is warned of itself.
        let lines = log.lines().filter(|line| line.starts_with("boardcast: "));
        assert!(!log.contains("hunter2") && lines.count() == 1, "{log}");
    };
    fails(&["--mqtt", "http://me:hunter2@host"], "mqtt://user@host");
    fails(&["--mqtt", "mqtt://host", "--mqtt-qos", "2"], "from 0 to 1");
    fails(&["--mqtt", "mqtt://host", "--mqtt-prefix", "a/#"], "a/#");
    fails(&["--mqtt", "mqtt://host", "--mqtt-password-file", "/no/such/file"], "/no/such/file");
}
