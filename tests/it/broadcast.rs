//! One message to many, through the push workers.

use std::{sync::mpsc, thread};

use boardcast::websocket::{Broadcast, Connection, Message, Server, WebSocket};

use crate::fixture::*;

fn start(everyone: &Broadcast) -> (Engine, mpsc::Receiver<Connection>) {
    let (opened, connections) = mpsc::channel();
    let server = Server::builder().listen("127.0.0.1:0").broadcast(everyone);
    let server = server.limits(|limits| limits.workers = 2).bind().expect("a free port");
    let start = server.start(move |ws, _| {
        // A test that is over no longer listens.
        let _ = opened.send(ws.clone());
        |_: Message| {}
    });
    (Engine::from(start.expect("started")), connections)
}

fn connect(engine: &Engine) -> WebSocket {
    WebSocket::connect(&format!("ws://{}/", engine.address)).expect("connected")
}

fn text(ws: &mut WebSocket) -> String {
    ws.recv_timeout(PATIENCE).expect("in time").expect("open").to_string()
}

#[test]
fn everyone_gets_every_message_once_and_in_order() {
    let everyone = Broadcast::new();
    let (engine, connections) = start(&everyone);
    everyone.send("before anyone came");
    let mut clients: Vec<_> = (0..20).map(|_| connect(&engine)).collect();
    for _ in &clients {
        connections.recv_timeout(PATIENCE).expect("open");
    }
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let everyone = everyone.clone();
            thread::spawn(move || (0..100).for_each(|n| everyone.send(format!("{sender} {n}"))))
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().expect("no panic"));
    everyone.send(vec![1_u8, 2, 3]);
    let mut first = Vec::new();
    for client in &mut clients {
        let heard: Vec<_> = (0..400).map(|_| text(client)).collect();
        for sender in 0..4 {
            let prefix = format!("{sender} ");
            let own: Vec<_> = heard.iter().filter_map(|line| line.strip_prefix(&prefix)).collect();
            assert_eq!(own, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
        }
        let last = client.recv_timeout(PATIENCE).expect("in time").expect("open");
        assert_eq!(last.into_vec(), [1, 2, 3]);
        if first.is_empty() {
            first = heard;
        } else {
            assert_eq!(first, heard, "all hear them in the same order");
        }
    }
}

#[test]
fn a_group_hears_its_own_from_when_it_joined_until_it_left() {
    let everyone = Broadcast::new();
    let (engine, connections) = start(&everyone);
    let (red, blue) = (everyone.group(), everyone.group());
    let mut anna = connect(&engine);
    let anna_there = connections.recv_timeout(PATIENCE).expect("open");
    let mut bela = connect(&engine);
    let bela_there = connections.recv_timeout(PATIENCE).expect("open");
    red.send("nobody is in yet");
    assert!(red.join(&anna_there) && blue.join(&bela_there));
    assert!(red.join(&anna_there), "twice is once");
    red.send("red 1");
    blue.send("blue 1");
    everyone.send("all 1");
    red.leave(&anna_there);
    // The leaving counts where the worker looks: wait until it has.
    assert_eq!([text(&mut bela), text(&mut bela)], ["blue 1", "all 1"]);
    red.send("red 2");
    everyone.send("all 2");
    let mut heard = vec![text(&mut anna)];
    while heard.last().is_some_and(|line| line != "all 2") {
        heard.push(text(&mut anna));
    }
    assert!(!heard.contains(&"red 2".into()), "{heard:?}");
    assert!(!heard.iter().any(|line| line.contains("blue") || line.contains("nobody")));
    assert_eq!(text(&mut bela), "all 2");

    // Who has gone is out by himself, and a stranger never gets in.
    drop(bela);
    wait_for("bela's end", || (!blue.join(&bela_there)).then_some(()));
    let (other, strangers) = start(&Broadcast::new());
    let _carl = connect(&other);
    assert!(!blue.join(&strangers.recv_timeout(PATIENCE).expect("open")));
}

#[test]
fn one_that_is_overtaken_is_ended_with_1013_and_the_others_lose_nothing() {
    let everyone = Broadcast::with_ring(64 * 1024);
    let (engine, connections) = start(&everyone);
    let mut slow = Client::connect(engine.address, "/");
    connections.recv_timeout(PATIENCE).expect("open");
    let mut well = connect(&engine);
    connections.recv_timeout(PATIENCE).expect("open");
    // It takes a message for each hundred that are sent, and the ring holds
    // sixty: sooner or later its socket is full and the ring goes round.
    let mut number = 0_u32;
    let code = wait_for("the end of the slow one", || {
        for _ in 0..100 {
            everyone.send(format!("{number:01000}"));
            assert_eq!(text(&mut well), format!("{number:01000}"));
            number += 1;
        }
        match slow.socket.read().expect("a message or a Close") {
            tungstenite::Message::Close(frame) => frame.map(|frame| u16::from(frame.code)),
            _ => None,
        }
    });
    assert_eq!(code, 1013);
    assert_eq!(engine.handle().stats().ended_slow.get(), 1);
}

#[test]
fn with_a_greeting_newcomers_and_overtaken_ones_get_the_present_state() {
    let everyone = Broadcast::with_ring(64 * 1024);
    everyone.greet_with(|| vec!["the valve is open".into()]);
    let (engine, connections) = start(&everyone);
    let mut slow = Client::connect(engine.address, "/");
    connections.recv_timeout(PATIENCE).expect("open");
    assert_eq!(slow.text(), "the valve is open");
    wait_for("the state once more", || {
        (0..100).for_each(|_| everyone.send("x".repeat(1000)));
        (slow.text() == "the valve is open").then_some(())
    });
    // The state may stand for one of these, too; the client catches up with them.
    wait_for("the end", || {
        everyone.send("the end");
        (slow.text() == "the end").then_some(())
    });
}

#[test]
fn a_broadcast_serves_one_server_after_the_other() {
    let everyone = Broadcast::new();
    let (first, connections) = start(&everyone);
    drop(connect(&first));
    connections.recv_timeout(PATIENCE).expect("open");
    first.stop().expect("no fault");
    let (second, connections) = start(&everyone);
    let mut client = connect(&second);
    connections.recv_timeout(PATIENCE).expect("open");
    everyone.send("still heard");
    assert_eq!(text(&mut client), "still heard");
}
