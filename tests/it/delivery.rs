//! What a client asks for and what it gets, over real sockets.

use boardcast::{
    telemetry::{Batch, Channel, ChannelId, HubSettings},
    wire::binary,
};
use tungstenite::Message;

use super::fixture::*;

/// Two more channels beside `count`.
fn two_more(board: &Board) -> [ChannelId; 2] {
    ["cpu/usage", "cpu/frequency"].map(|name| {
        board.publisher().channel(Channel::gauge(name).expect("valid")).expect("declared")
    })
}

fn publish(board: &Board, values: &[(ChannelId, f64)]) -> u64 {
    let mut batch = Batch::at(board.hub.clock().boot());
    values.iter().for_each(|&(id, value)| batch.set(id, value));
    board.publisher().publish(batch)
}

#[test]
fn a_query_selects_channels() {
    let board = Board::start();
    let [usage, frequency] = two_more(&board);
    let mut client = Client::connect(board.engine.address, "/ws?channels=cpu/%2B");
    let hello = client.json();
    assert_eq!(hello["channels"].as_array().map(Vec::len), Some(2), "{hello}");
    assert_eq!(client.json()["channels"], serde_json::json!(["cpu/+"]));
    assert_eq!(client.json()["snapshot"], true);
    board.publish();
    let seq = publish(&board, &[(usage, 7.0), (frequency, 8.0)]);
    let data = client.json();
    assert_eq!(data["seq"], seq);
    assert_eq!(data["values"], serde_json::json!({"cpu/usage": 7, "cpu/frequency": 8}));
}

#[test]
fn subscribe_takes_effect_and_bad_ones_leave_everything_as_it_was() {
    let board = Board::start();
    let [usage, _] = two_more(&board);
    let mut client = Client::connect(board.engine.address, "/ws?channels=");
    assert_eq!(client.json()["channels"], serde_json::json!([]));
    client.say(r#"{"type":"subscribe","channels":["cpu/usage"],"id":"one"}"#);
    let subscribed = client.json();
    assert_eq!((&subscribed["type"], &subscribed["id"]), (&"subscribed".into(), &"one".into()));
    assert_eq!(subscribed["recovered"], false);
    assert_eq!(client.json()["channels"][0]["name"], "cpu/usage");
    assert_eq!(client.json()["snapshot"], true);
    for (message, code) in [
        (r##"{"type":"subscribe","channels":["#/x"],"id":1}"##, "bad_filter"),
        (r#"{"type":"subscribe","channels":["a b"],"id":2}"#, "bad_filter"),
        (r#"{"type":"subscribe","channels":"cpu","id":3}"#, "bad_message"),
        (r#"{"type":"subscribe","channels":[],"max_hz":-1,"id":4}"#, "bad_message"),
        (r#"{"type":"subscribe","channels":[],"since":{"epoch":"x","seq":1},"id":5}"#, "bad_since"),
    ] {
        client.say(message);
        let error = client.json();
        assert_eq!((&error["type"], &error["code"]), (&"error".into(), &code.into()), "{error}");
        assert!(error["id"].is_number(), "{error}");
    }
    board.publish();
    let seq = publish(&board, &[(usage, 1.0)]);
    assert_eq!(client.json()["seq"], seq, "the old subscription goes on");
}

#[test]
fn a_bad_query_is_answered_with_400_and_what_to_write() {
    let board = Board::start();
    for (query, hint) in [
        ("channels=%23/x", "# may only be the last level"),
        ("max_hz=often", "max_hz is a number above 0"),
        ("since=5", "since is EPOCH:SEQ"),
        ("chanels=cpu", "it takes channels, max_hz and since"),
    ] {
        let answer = ask(board.engine.address, &handshake(&format!("/ws?{query}")));
        assert_eq!(answer.status, 400, "{query}");
        let body = String::from_utf8_lossy(&answer.body);
        assert!(body.contains(hint), "{query}: {body}");
    }
}

#[test]
fn whoever_says_where_it_was_goes_on_from_there() {
    let board = Board::start();
    let mut client = board.client();
    let epoch = client.json()["epoch"].as_str().expect("an epoch").to_owned();
    client.next("data");
    for _ in 0..3 {
        board.publish();
        client.next("data");
    }
    drop(client);
    for _ in 0..5 {
        board.publish();
    }
    let address = board.engine.address;
    let mut resumed = Client::connect(address, &format!("/ws?since={epoch}:3"));
    resumed.next("hello");
    assert_eq!(resumed.json()["recovered"], true);
    for seq in 4..=8 {
        assert_eq!(resumed.json()["seq"], seq);
    }
    // The same by a message.
    let mut resumed = Client::connect(address, "/ws?channels=");
    resumed.next("hello");
    resumed.say(&format!(
        r##"{{"type":"subscribe","channels":["#"],"since":{{"epoch":"{epoch}","seq":7}}}}"##
    ));
    assert_eq!(resumed.json()["recovered"], true);
    assert_eq!(resumed.json()["type"], "channels");
    assert_eq!(resumed.json()["seq"], 8);
    let mut fresh = Client::connect(address, "/ws?since=0000000000000000:3");
    fresh.next("hello");
    assert_eq!(fresh.json()["recovered"], false);
    let snapshot = fresh.json();
    assert_eq!((&snapshot["snapshot"], &snapshot["seq"]), (&true.into(), &8.into()));
}

#[test]
fn a_paced_client_gets_few_messages_with_the_newest_values() {
    let board = Board::start();
    let mut every = board.client();
    every.next("data");
    let mut paced = Client::connect(board.engine.address, "/ws?max_hz=20");
    paced.next("hello");
    assert_eq!(paced.json()["max_hz"], 20);
    assert_eq!(paced.json()["snapshot"], true);
    let (mut messages, mut last) = (0, 0);
    for _ in 0..1000 {
        last = board.publish();
        assert_eq!(every.json()["seq"], last);
    }
    let mut seq = 0;
    while seq < last {
        let data = paced.json();
        let now = data["seq"].as_u64().expect("a number");
        assert!(now > seq && data["values"]["count"] == now, "{data}");
        seq = now;
        messages += 1;
    }
    assert!(messages < 500, "{messages} messages of {last} batches");
}

#[test]
fn numbers_come_in_binary_to_those_who_want_it() {
    let board = Board::start();
    let address = board.engine.address;
    let offer = [("sec-websocket-protocol", "boardcast.v2, boardcast.v1.bin, boardcast.v1.json")];
    let mut client = Client::try_connect(address, "/ws", &offer).expect("connected");
    assert_eq!(client.response.headers()["sec-websocket-protocol"], "boardcast.v1.bin");
    client.next("data");
    let seq = board.publish();
    let Message::Binary(message) = client.socket.read().expect("a message") else {
        panic!("not binary")
    };
    let data = binary::decode(&message).expect("valid").expect("data");
    assert_eq!(data.seq, seq);
    let columns: Vec<_> = data.columns().map(|(id, values)| (id, values.to_vec())).collect();
    assert_eq!(columns, [(0, vec![seq as f64])]);
    board.publish_text(3);
    assert_eq!(client.json()["values"]["count"], "xxx", "a text goes as JSON");
}

#[test]
fn many_rows_arrive_as_one_batch() {
    let board = Board::start();
    let [x, y] = two_more(&board);
    let mut client = board.client();
    client.next("data");
    let step = std::time::Duration::from_millis(1);
    let mut batch = Batch::rows_at(board.hub.clock().boot(), vec![step, 2 * step]);
    batch.column(x, [1.0, 2.0, 3.0].map(Into::into));
    batch.column(y, [4.0, 5.0, 6.0].map(Into::into));
    board.publisher().publish(batch);
    let data = client.next("data");
    assert_eq!(data["dt"], serde_json::json!([0, 0.001, 0.002]));
    assert_eq!(data["values"]["cpu/usage"], serde_json::json!([1, 2, 3]));
}

#[test]
fn a_client_that_is_overtaken_hears_only_of_what_it_selects() {
    let settings = HubSettings { ring_bytes: 32 * 1024, ..HubSettings::default() };
    let board = Board::with(settings, Default::default());
    let [usage, _] = two_more(&board);
    let stream = upgrade(narrow_tcp(board.engine.address), "/ws?channels=count");
    let stats = board.engine.handle().stats().clone();
    wait_for("the full socket", || {
        board.publish_text(1000);
        (stats.blocked_sends.get() > 0).then_some(())
    });
    for _ in 0..200 {
        publish(&board, &[(usage, 1.0)]);
        board.publish_text(1000);
    }
    let last = board.publish();
    let mut client = Client::over(stream);
    let mut seq = 0;
    while seq < last {
        let message = client.json();
        assert!(!message.to_string().contains("cpu/"), "{message}");
        if message["type"] == "gap" {
            assert!(message["from"].as_u64() > Some(seq), "{message} after {seq}");
            seq = message["to"].as_u64().expect("a number");
            let snapshot = client.json();
            assert_eq!((&snapshot["snapshot"], &snapshot["seq"]), (&true.into(), &seq.into()));
        } else if message["type"] == "data" {
            seq = message["seq"].as_u64().expect("a number");
        }
    }
}

#[test]
fn simulated_sensors_are_fast_and_say_that_they_are_simulated() {
    let server = Binary::start(&["--demo", "--interval", "1s"]);
    assert!(server.greeting.contains("demo (8)"), "{}", server.greeting);
    let offer = [("sec-websocket-protocol", "boardcast.v1.bin")];
    let path = "/ws?channels=demo/%23";
    let mut client = Client::try_connect(server.address, path, &offer).expect("connected");
    let hello = client.next("hello");
    for channel in hello["channels"].as_array().expect("a list") {
        let label = channel["label"].as_str().expect("a label");
        assert!(label.contains("(simulated)"), "{channel}");
    }
    let mut rows = 0;
    while rows < 500 {
        if let Message::Binary(message) = client.socket.read().expect("a message") {
            let data = binary::decode(&message).expect("valid").expect("data");
            assert_eq!((data.offsets.len(), data.columns().count()), (20, 3));
            rows += data.offsets.len();
        }
    }
}
