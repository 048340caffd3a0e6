//! A server of many boards: the real binary, in front of real boards.

use std::{collections::BTreeMap, net::SocketAddr, process::Command};

use boardcast::{
    net::Limits,
    telemetry::{Channel, HubSettings},
};
use serde_json::{Value, json};

use crate::fixture::*;

/// A fleet server with links to these boards.
pub(crate) fn fleet(boards: &[(&str, SocketAddr)], more: &[&str]) -> Binary {
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    command.args(["fleet", "--config", "/dev/null", "--listen", "127.0.0.1:0"]);
    for (name, address) in boards {
        command.args(["--board", &format!("{name}=ws://{address}/ws")]);
    }
    Binary::run(command.args(more))
}

fn simulated(address: &str) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    command.args(["--config", "/dev/null", "--listen", address, "--socket", "none", "--demo"]);
    command
}

/// Waits until the client was told that a device is so.
fn await_status(client: &mut Client, name: &str, status: &str) -> Value {
    loop {
        let message = client.next("devices");
        let devices = message["devices"].as_array().expect("a list");
        let found = devices.iter().find(|d| d["name"] == name && d["status"] == status);
        if let Some(device) = found {
            return device.clone();
        }
    }
}

/// Waits until a server has all these devices online.
pub(crate) fn await_online(server: &Binary, names: &[&str]) {
    wait_for("devices that are online", || {
        let answer = get(server.address, "/api/devices");
        let list: Value = serde_json::from_str(answer.text()).expect("JSON");
        let devices = list["devices"].as_array().expect("a list").clone();
        let online = |name: &&str| {
            devices.iter().any(|d| d["name"] == **name && d["status"] == "online" && d["seq"] != 0)
        };
        names.iter().all(online).then_some(())
    });
}

/// A batch as its board says it: its values under the fleet's names.
fn named(device: &str, data: &Value) -> Value {
    let values = data["values"].as_object().expect("values").iter();
    let values: serde_json::Map<_, _> =
        values.map(|(name, value)| (format!("{device}/{name}"), value.clone())).collect();
    json!({ "t": data["t"], "dt": data["dt"], "values": values })
}

#[test]
fn a_viewer_sees_each_boards_own_stream_and_is_told_when_one_goes_and_comes_anew() {
    let names = ["pi1", "pi2", "pi3"];
    let mut boards = names.map(|_| Some(Binary::run(&mut simulated("127.0.0.1:0"))));
    let addresses = boards.each_ref().map(|board| board.as_ref().expect("there").address);
    let places: Vec<_> = names.into_iter().zip(addresses).collect();
    let server = fleet(&places, &[]);
    await_online(&server, &names);
    let filter = "demo/vibration/%23";
    let mut viewer = Client::connect(server.address, &format!("/ws?channels=%2B/{filter}"));
    let hello = viewer.next("hello");
    assert_eq!((&hello["fleet"], &hello["channels"]), (&json!(true), &json!([])));
    viewer.next("heartbeat");
    // Batches of each, until there are some of all.
    let mut own: BTreeMap<(usize, u64), Value> = BTreeMap::new();
    for (number, (name, address)) in places.iter().enumerate() {
        let mut client = Client::connect(*address, &format!("/ws?channels={filter}"));
        client.next("data");
        for _ in 0..10 {
            let data = client.next("data");
            let seq = data["seq"].as_u64().expect("a number");
            own.insert((number, seq), named(name, &data));
        }
    }
    let mut last = [0; 3];
    while !own.is_empty() {
        let data = viewer.next("data");
        let device = data["device"].as_str().expect("a device");
        let number = names.iter().position(|name| *name == device).expect("one of ours");
        let seq = data["seq"].as_u64().expect("a number");
        assert!(seq > last[number], "{data}");
        last[number] = seq;
        if let Some(expected) = own.remove(&(number, seq)) {
            let told = json!({ "t": data["t"], "dt": data["dt"], "values": data["values"] });
            assert_eq!(told, expected, "{device} {seq}");
        }
        assert!(own.keys().all(|key| key.1 > last[key.0]), "{data}: one was left out");
    }
    // One is killed: it is offline as soon as its link is down.
    boards[1] = None;
    let gone = await_status(&mut viewer, "pi2", "offline");
    assert!(gone["reason"].is_string(), "{gone}");
    let epoch = gone["epoch"].clone();
    // And comes back as another start.
    let again = addresses[1].to_string();
    let started = || Binary::try_run(&mut simulated(&again)).ok();
    let _again = wait_for("its port", started);
    let mut back = await_status(&mut viewer, "pi2", "online");
    while back["epoch"] == epoch {
        back = await_status(&mut viewer, "pi2", "online");
    }
    loop {
        let data = viewer.next("data");
        if data["device"] == "pi2" {
            assert_ne!(data["epoch"], epoch);
            assert_eq!(data["snapshot"], true, "its first batch: {data}");
            break;
        }
    }
}

#[test]
fn a_viewer_goes_from_one_server_to_another_and_nothing_is_lost_or_doubled() {
    let boards: [Board; 2] = std::array::from_fn(|_| Board::start());
    let places = [("a", boards[0].engine.address), ("b", boards[1].engine.address)];
    for board in &boards {
        board.publish();
    }
    let servers = [fleet(&places, &[]), fleet(&places, &[])];
    servers.iter().for_each(|server| await_online(server, &["a", "b"]));
    let mut had = BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 0)]);
    let mut places = json!({});
    for round in 0..6 {
        let mut viewer = Client::connect(servers[round % 2].address, "/ws?channels=");
        let since = if round == 0 { String::new() } else { format!(r#","since":{places}"#) };
        viewer.say(&format!(r##"{{"type":"subscribe","channels":["#"]{since}}}"##));
        let subscribed = viewer.next("subscribed");
        assert_eq!(subscribed["recovered"], round > 0);
        let until = boards.each_ref().map(|board| {
            for _ in 0..4 {
                board.publish();
            }
            board.publish()
        });
        while had["a"] < until[0] || had["b"] < until[1] {
            let data = viewer.next("data");
            let (device, seq) = (data["device"].as_str().expect("one"), &data["seq"]);
            let seq = seq.as_u64().expect("a number");
            let known = had.insert(device.to_owned(), seq).expect("known");
            let fresh = data["snapshot"] == true && known == 0;
            assert!(fresh || seq == known + 1, "round {round}, after {known}: {data}");
            assert_eq!(data["values"], json!({ format!("{device}/count"): seq }));
            places[device] = json!({ "epoch": data["epoch"], "seq": seq });
        }
    }
    // A place in the query is one board's, and is none here.
    let mut viewer = Client::connect(servers[0].address, "/ws?since=9f:1");
    assert_eq!(viewer.next("subscribed")["recovered"], false);
}

#[test]
fn what_a_slow_link_lost_is_a_gap_and_the_latest_of_all() {
    let settings = HubSettings { ring_bytes: 20_000, ..HubSettings::default() };
    let board = Board::with(settings, Limits::default());
    board.publish();
    let server = fleet(&[("pi", board.engine.address)], &[]);
    await_online(&server, &["pi"]);
    let mut viewer = Client::connect(server.address, "/ws");
    viewer.next("heartbeat");
    // Faster than anyone takes them, until the ring has overtaken the link.
    let gap = wait_for("a gap", || {
        for _ in 0..2000 {
            board.publish();
        }
        let lost = server.metric("boardcast_fleet_lost_total") > 0;
        lost.then(|| viewer.next("gap"))
    });
    assert_eq!(gap["device"], "pi");
    let (from, to) = (gap["from"].as_u64().expect("known"), gap["to"].as_u64().expect("known"));
    assert!(from <= to);
    let snapshot = viewer.next("data");
    assert_eq!((&snapshot["snapshot"], snapshot["seq"].as_u64()), (&json!(true), Some(to)));
    assert_eq!(snapshot["values"], json!({ "pi/count": to }));
}

#[test]
fn a_fleet_is_asked_and_watched_as_a_board_is() {
    let board = Board::start();
    let publisher = board.publisher();
    let channel = Channel::gauge("room/temperature").and_then(|c| publisher.channel(c.unit("Cel")));
    publisher.set(channel.expect("declared"), 21.5);
    board.publish();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let server = fleet(&[("pi", board.engine.address), ("away", nowhere)], &["--name", "hall"]);
    await_online(&server, &["pi"]);
    let read = |path: &str| -> Value {
        serde_json::from_str(get(server.address, path).text()).expect("JSON")
    };
    let devices = read("/api/devices");
    assert_eq!(
        (&devices["device"], &devices["devices"][1]["status"]),
        (&json!("hall"), &json!("offline"))
    );
    let latest = read("/api/latest");
    assert_eq!(latest["values"]["pi/room/temperature"], 21.5);
    assert_eq!(read("/api/channels")["channels"][1]["unit"], "Cel");
    assert_eq!(get(server.address, "/healthz").status, 200);
    assert_eq!(server.metric("boardcast_devices_online"), 1);
    let body = "a=1";
    let post = format!(
        "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(ask(server.address, &post).status, 403);
    let once = |arguments: &[&str]| {
        let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
        let address = server.address.to_string();
        command.args(["once", &address]).args(arguments).output().expect("it runs")
    };
    let output = once(&["+/room/#"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success() && text.contains("pi/room/temperature"), "{text}");
    assert!(text.contains("21.5"), "{text}");
    assert!(!once(&["away/#"]).status.success(), "nothing matches");
    let mut paced = Client::connect(server.address, "/ws?channels=%2B/count&max_hz=20");
    paced.next("heartbeat");
    let seq = board.publish();
    let data = paced.next("data");
    assert_eq!((&data["seq"], &data["values"]), (&json!(seq), &json!({ "pi/count": seq })));
}

#[test]
fn a_fleet_without_boards_says_how_they_are_named() {
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    let output = command.args(["fleet", "--config", "/dev/null"]).output().expect("it runs");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("--board pi1=ws://") && told.lines().count() == 1, "{told}");
}

#[cfg(feature = "mqtt")]
mod behind_a_broker {
    use std::{io::Write, process::Stdio};

    use nix::sys::signal::Signal;

    use super::*;
    use crate::broker::Mosquitto;

    fn server(broker: &Mosquitto) -> Binary {
        let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
        command.args(["fleet", "--config", "/dev/null", "--listen", "127.0.0.1:0"]);
        Binary::run(command.args(["--mqtt", &broker.url()]))
    }

    /// A board that is fed on its standard input, and publishes.
    fn board(broker: &Mosquitto, name: &str) -> Binary {
        let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
        command.args(["--config", "/dev/null", "--listen", "127.0.0.1:0", "--socket", "none"]);
        command.args(["--name", name, "--stdin", "--mqtt", &broker.url(), "--interval", "1h"]);
        Binary::run(command.stdin(Stdio::piped()))
    }

    fn feed(board: &mut Binary, line: &str) {
        let stdin = board.child.stdin.as_mut().expect("piped");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("written");
    }

    /// Until a device's channel has this value; the last message of it.
    fn await_value(viewer: &mut Client, name: &str, value: f64) -> Value {
        loop {
            let data = viewer.next("data");
            if data["values"][name] == value {
                return data;
            }
        }
    }

    #[test]
    fn two_servers_hear_the_same_and_the_broker_may_go_and_come_back() {
        let mut broker = Mosquitto::start("");
        let mut boards = ["pi1", "the shed"].map(|name| board(&broker, name));
        for board in &mut boards {
            feed(board, "room/temp=20");
        }
        let servers = [server(&broker), server(&broker)];
        let filter = r##"{"type":"subscribe","channels":["+/room/temp"]"##;
        let mut viewers = servers.each_ref().map(|server| {
            await_online(server, &["pi1", "the_shed"]);
            let mut viewer = Client::connect(server.address, "/ws?channels=");
            viewer.say(&format!("{filter}}}"));
            viewer
        });
        let mut last = Value::Null;
        for number in 21..26 {
            feed(&mut boards[0], &format!("room/temp={number}"));
            let [one, other] = viewers
                .each_mut()
                .map(|viewer| await_value(viewer, "pi1/room/temp", f64::from(number)));
            assert_eq!((&one["epoch"], &one["seq"]), (&other["epoch"], &other["seq"]));
            assert_eq!(one["t"], other["t"]);
            last = one;
        }
        // What the first one told counts at the second.
        let place = json!({ "pi1": { "epoch": last["epoch"], "seq": last["seq"] } });
        let mut viewer = Client::connect(servers[1].address, "/ws?channels=");
        viewer.say(&format!(r#"{filter},"since":{place}}}"#));
        assert_eq!(viewer.next("subscribed")["recovered"], true);
        // The broker goes; what was made meanwhile comes when it is back, and when
        // all have tried again.
        viewer.be_patient();
        broker.kill();
        feed(&mut boards[1], "room/temp=30");
        broker.start_again();
        await_value(&mut viewer, "the_shed/room/temp", 30.0);
        for server in &servers {
            await_online(server, &["pi1", "the_shed"]);
            assert_eq!(server.metric("boardcast_fleet_bad_messages_total"), 0);
        }
        // One says that it goes; the other is killed, and its will says so.
        let [pi, mut shed] = boards;
        pi.signal(Signal::SIGTERM);
        await_status(&mut viewer, "pi1", "offline");
        shed.child.kill().expect("killed");
        await_status(&mut viewer, "the_shed", "offline");
        // Somebody takes one out.
        broker.publish(&["-r", "-n", "-t", "boardcast/pi1/status"]);
        await_status(&mut viewer, "pi1", "gone");
    }
}
