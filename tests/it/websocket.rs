//! The WebSocket API for programs.

use std::{sync::mpsc, time::Duration};

use boardcast::{
    message::{CloseCode, CloseEvent, Message, ReadyState},
    websocket::{Connection, Handler, Server},
};

use crate::fixture::*;

#[test]
fn a_server_greets_and_hears_text_and_binary() {
    let (heard, messages) = mpsc::channel();
    let server = Server::bind("127.0.0.1:0").expect("a free port");
    let engine = Engine::from(
        server
            .start(move |ws, request| {
                ws.send("Welcome!").expect("open");
                let (peer, heard) = (request.peer(), heard.clone());
                move |message: Message| heard.send((peer, message)).expect("the test listens")
            })
            .expect("started"),
    );
    let mut client = Client::connect(engine.address, "/any/path");
    let own = client.socket.get_ref().local_addr().expect("connected");
    assert_eq!(client.text(), "Welcome!");
    client.say("hello");
    client.socket.send(tungstenite::Message::binary(vec![1, 2])).expect("sent");
    assert_eq!(messages.recv_timeout(PATIENCE), Ok((own, "hello".into())));
    assert_eq!(messages.recv_timeout(PATIENCE), Ok((own, vec![1, 2].into())));
    assert_eq!(get(engine.address, "/").status, 426);
}

struct Watcher {
    closed: mpsc::Sender<(CloseEvent, ReadyState)>,
}

impl Handler for Watcher {
    fn on_message(&mut self, connection: &Connection, message: Message) {
        match message.as_text() {
            Some("panic") => panic!("planted"),
            Some("close") => connection.close(CloseCode(4000), "as you wish").expect("valid"),
            _ => connection.send(message).expect("open"),
        }
    }
    fn on_close(&mut self, connection: &Connection, event: &CloseEvent) {
        // A test that is over no longer listens.
        let _ = self.closed.send((event.clone(), connection.ready_state()));
    }
}

fn watched() -> (Engine, mpsc::Receiver<(CloseEvent, ReadyState)>) {
    let (closed, events) = mpsc::channel();
    let server = Server::bind("127.0.0.1:0").expect("a free port");
    let start = server.start(move |_, _| Watcher { closed: closed.clone() });
    (Engine::from(start.expect("started")), events)
}

#[test]
fn either_side_may_close_with_a_code_and_a_reason() {
    let (engine, events) = watched();
    let mut client = Client::connect(engine.address, "/");
    client.say("close");
    assert_eq!(client.close_code(), Some(4000));
    let _ = client.socket.flush();
    let (event, state) = events.recv_timeout(PATIENCE).expect("an event");
    assert_eq!((event.code, event.was_clean), (CloseCode(4000), true));
    assert_eq!(state, ReadyState::Closed);

    let mut client = Client::connect(engine.address, "/");
    let frame = tungstenite::protocol::CloseFrame { code: 4001.into(), reason: "bye".into() };
    client.socket.close(Some(frame)).expect("sent");
    assert_eq!(client.close_code(), Some(4001), "the server answers with the same code");
    let (event, _) = events.recv_timeout(PATIENCE).expect("an event");
    assert_eq!((event.code, &*event.reason, event.was_clean), (CloseCode(4001), "bye", true));

    let mut client = Client::connect(engine.address, "/");
    client.socket.close(None).expect("sent");
    let (event, _) = events.recv_timeout(PATIENCE).expect("an event");
    assert_eq!(event.code, CloseCode::NO_STATUS);

    drop(Client::connect(engine.address, "/"));
    let (event, _) = events.recv_timeout(PATIENCE).expect("an event");
    assert_eq!((event.code, event.was_clean), (CloseCode::ABNORMAL, false));
}

#[test]
fn a_connection_that_panics_ends_alone() {
    let (engine, _events) = watched();
    let mut other = Client::connect(engine.address, "/");
    let mut client = Client::connect(engine.address, "/");
    client.say("panic");
    assert_eq!(client.close_code(), Some(1011));
    wait_for("its place", || (engine.connections() == 1).then_some(()));
    let panics = || engine.handle().stats().panics.get();
    wait_for("the panic to be counted", || (panics() == 1).then_some(()));
    other.say("still here?");
    assert_eq!(other.text(), "still here?");
}

#[test]
fn a_handle_that_is_kept_keeps_nothing_alive() {
    let (kept, handles) = mpsc::channel();
    let server = Server::bind("127.0.0.1:0").expect("a free port");
    let start = server.start(move |ws, _| {
        kept.send(ws.clone()).expect("the test listens");
        |_: Message| {}
    });
    let engine = Engine::from(start.expect("started"));
    let client = Client::connect(engine.address, "/");
    let handle = handles.recv_timeout(PATIENCE).expect("a connection");
    assert_eq!(handle.ready_state(), ReadyState::Open);
    handle.send("from another thread").expect("open");
    drop(client);
    wait_for("its place", || (engine.connections() == 0).then_some(()));
    wait_for("its end", || (handle.ready_state() == ReadyState::Closed).then_some(()));
    assert!(handle.send("too late").is_err());
    assert!(handle.close(CloseCode(999), "").is_err());
    assert!(handle.close(CloseCode::NORMAL, &"x".repeat(124)).is_err());
}

#[test]
fn a_large_message_can_be_tried_and_a_busy_handler_loses_no_client() {
    let server = Server::builder().listen("127.0.0.1:0").limits(|limits| {
        limits.ping_every = Duration::from_millis(100);
        limits.silence = Duration::from_millis(300);
    });
    let start = server.bind().expect("a free port").start(|ws, _| {
        let ws = ws.clone();
        move |_: Message| {
            // Longer than anyone may be silent.
            std::thread::sleep(Duration::from_millis(700));
            ws.try_send("x".repeat(20_000)).expect("room");
        }
    });
    let engine = Engine::from(start.expect("started"));
    let mut client = Client::connect(engine.address, "/");
    client.say("work");
    assert_eq!(client.text().len(), 20_000);
}

#[test]
fn a_send_waits_for_room_and_loses_nothing() {
    let server = Server::bind("127.0.0.1:0").expect("a free port");
    let start = server.start(|ws, _| {
        let ws = ws.clone();
        std::thread::spawn(move || {
            for number in 0..3000 {
                ws.send(format!("{number:01000}")).expect("open");
            }
        });
        |_: Message| {}
    });
    let engine = Engine::from(start.expect("started"));
    let mut client = Client::connect(engine.address, "/");
    for number in 0..3000 {
        assert_eq!(client.text(), format!("{number:01000}"));
    }
}
