//! The stream as a client sees it.

use std::time::Duration;

use boardcast::{
    net::Limits,
    telemetry::{Batch, Channel, HubSettings},
};

use crate::fixture::*;

#[test]
fn hello_comes_first_then_the_snapshot_then_every_batch_once() {
    let board = Board::start();
    for _ in 0..3 {
        board.publish();
    }
    let mut client = board.client();
    let hello = client.json();
    assert_eq!((&hello["type"], &hello["version"]), (&"hello".into(), &1.into()));
    assert_eq!(hello["epoch"], board.hub.epoch());
    assert_eq!(hello["channels"][0]["name"], "count");
    let snapshot = client.json();
    assert_eq!((&snapshot["type"], &snapshot["snapshot"]), (&"data".into(), &true.into()));
    assert_eq!((&snapshot["seq"], &snapshot["values"]["count"]), (&hello["seq"], &3.into()));
    for seq in 4..=200 {
        assert_eq!(board.publish(), seq);
    }
    for seq in 4..=200 {
        let data = client.json();
        assert_eq!((&data["seq"], &data["values"]["count"]), (&seq.into(), &seq.into()));
    }
}

#[test]
fn many_clients_get_the_very_same_batches_while_they_come_and_go() {
    let board = Board::with(
        HubSettings::default(),
        Limits { connections: 300, workers: 3, ..Limits::default() },
    );
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..60)
            .map(|_| {
                let mut client = board.client();
                scope.spawn(move || {
                    let first = client.next("data")["seq"].as_u64().expect("a number");
                    for seq in first + 1..=first + 100 {
                        assert_eq!(client.json()["seq"], seq, "after the snapshot {first}");
                    }
                })
            })
            .collect();
        while !readers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            board.publish();
            std::thread::sleep(Duration::from_millis(1));
        }
        for reader in readers {
            reader.join().expect("every batch, once and in order");
        }
    });
}

#[test]
fn a_new_channel_is_described_before_its_first_value() {
    let board = Board::start();
    let mut client = board.client();
    client.next("data");
    let door = Channel::state("door").expect("valid");
    let door = board.publisher().channel(door).expect("declared");
    let mut batch = Batch::at(board.hub.clock().boot());
    batch.set(door, true);
    board.publisher().publish(batch);
    let described = client.json();
    assert_eq!(described["type"], "channels");
    assert_eq!(described["channels"][0]["name"], "door");
    assert_eq!(client.json()["values"]["door"], true);
}

#[test]
fn a_changed_status_is_told_with_its_reason() {
    let board = Board::start();
    let mut client = board.client();
    client.next("data");
    let id = board.hub.view().channels()[0].id;
    board.publisher().fail(id, "the wire is cut");
    let told = client.next("channels");
    assert_eq!(told["channels"][0]["status"], "error");
    assert_eq!(told["channels"][0]["reason"], "the wire is cut");
}

#[test]
fn a_thousand_channels_arrive_whole_in_short_messages() {
    let board = Board::start();
    let mut batch = Batch::at(board.hub.clock().boot());
    for number in 0..1000 {
        let channel = Channel::gauge(&format!("many/{number}")).expect("valid");
        let id = board.publisher().channel(channel.label("a channel")).expect("declared");
        batch.set(id, f64::from(number));
    }
    board.publisher().publish(batch);
    let mut client = board.client();
    let mut described = client.json()["channels"].as_array().expect("a list").len();
    let mut valued = 0;
    while valued < 1000 {
        let text = client.text();
        assert!(text.len() < 20_000, "a message of {} bytes", text.len());
        let message: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        match message["type"].as_str() {
            Some("channels") => described += message["channels"].as_array().expect("a list").len(),
            Some("data") => {
                assert_eq!((&message["snapshot"], &message["seq"]), (&true.into(), &1.into()));
                valued += message["values"].as_object().expect("values").len();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(described, 1001);
}

#[test]
fn a_subprotocol_is_chosen_among_those_offered() {
    let board = Board::start();
    let connect = |offered: &str| {
        let headers = [("sec-websocket-protocol", offered)];
        Client::try_connect(board.engine.address, "/ws", &headers)
    };
    let client = connect("other, boardcast.v1.json").expect("connected");
    assert_eq!(client.response.headers()["sec-websocket-protocol"], "boardcast.v1.json");
    let refused = connect("other").err().expect("refused");
    assert!(refused.to_string().contains("400"), "{refused}");
}

#[test]
fn what_a_client_asks_is_answered_and_the_channel_of_another_stays() {
    let board = Board::start();
    let mut client = board.client();
    client.say(r#"{"type":"ping","id":7}"#);
    client.say(r#"{"type":"publish","id":8,"values":{"count":99}}"#);
    client.say(r#"{"type":"dance","id":9}"#);
    client.say("[[[[");
    assert_eq!(client.json()["type"], "hello", "hello comes before every answer");
    assert_eq!(client.next("pong")["id"], 7);
    let refused = client.next("error");
    assert_eq!((&refused["code"], &refused["id"]), (&"refused".into(), &8.into()));
    assert_eq!(client.next("error")["code"], "unknown_type");
    assert_eq!(client.next("error")["code"], "bad_message");
    assert_eq!(board.hub.view().seq(), 0);
    board.publish();
    assert_eq!(client.next("data")["seq"], 1, "the connection lives on");
}
