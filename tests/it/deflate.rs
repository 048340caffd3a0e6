//! Compressed messages between our ends, and from our server to others.

use std::{sync::mpsc, thread};

use boardcast::websocket::{Broadcast, Message, Server, WebSocket};

use crate::fixture::*;

const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn start(everyone: &Broadcast) -> (Engine, mpsc::Receiver<String>) {
    let (opened, extensions) = mpsc::channel();
    let server = Server::builder().listen("127.0.0.1:0").compress().broadcast(everyone);
    let server = server.limits(|limits| limits.message_bytes = 1 << 20);
    let start = server.bind().expect("a free port").start(move |ws, _| {
        // A test that is over no longer listens.
        let _ = opened.send(ws.extensions());
        let ws = ws.clone();
        move |message: Message| drop(ws.send(message))
    });
    (Engine::from(start.expect("started")), extensions)
}

fn url(engine: &Engine) -> String {
    format!("ws://{}/", engine.address)
}

#[test]
fn messages_arrive_as_they_went_and_both_ends_say_that_they_are_compressed() {
    let (engine, extensions) = start(&Broadcast::new());
    let mut ws = WebSocket::builder(&url(&engine)).compress().connect().expect("connected");
    assert!(ws.extensions().starts_with(AGREED), "{}", ws.extensions());
    assert_eq!(extensions.recv_timeout(PATIENCE).as_deref(), Ok(ws.extensions()));
    let noise: Vec<u8> =
        (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let text = "the same again ".repeat(20_000);
    for message in [Message::from(""), "short".into(), text.as_str().into(), noise.into()] {
        let (sender, sent) = (ws.connection(), message.clone());
        let sending = thread::spawn(move || sender.send(sent));
        let echo = ws.recv_timeout(PATIENCE).expect("in time").expect("open");
        assert!(echo == message, "{} bytes", message.len());
        sending.join().expect("no panic").expect("sent");
    }
}

#[test]
fn who_did_not_ask_for_it_gets_nothing_compressed() {
    let everyone = Broadcast::new();
    let (engine, extensions) = start(&everyone);
    let mut plain = Client::connect(engine.address, "/");
    assert_eq!(extensions.recv_timeout(PATIENCE).as_deref(), Ok(""));
    let mut squeezed = WebSocket::builder(&url(&engine)).compress().connect().expect("connected");
    extensions.recv_timeout(PATIENCE).expect("open");
    let text = "cpu/temperature ".repeat(500);
    let bytes = || engine.handle().stats().bytes_sent.get();
    everyone.send(text.as_str());
    // tungstenite would refuse RSV1.
    assert_eq!(plain.text(), text);
    let heard = squeezed.recv_timeout(PATIENCE).expect("in time").expect("open");
    assert_eq!(heard.as_text(), Some(text.as_str()));
    wait_for("both to be counted", || {
        (engine.handle().stats().frames_sent.get() == 2).then_some(())
    });
    let sent = bytes() as usize;
    assert!(sent > text.len() && sent < text.len() + text.len() / 10, "{sent} bytes in all");
}

#[test]
fn a_bomb_ends_at_the_limit_of_a_message() {
    let (engine, _extensions) = start(&Broadcast::new());
    let mut ws = WebSocket::builder(&url(&engine)).compress().connect().expect("connected");
    // 8 MiB of the same byte travel as 8 KiB; the server takes 1 MiB.
    ws.send(vec![b'x'; 8 << 20]).expect("sent");
    while ws.recv_timeout(PATIENCE).expect("in time").is_some() {}
    assert_eq!(ws.close_event().map(|event| event.code.0), Some(1009));
    let ended = || engine.handle().stats().ended_protocol.get();
    wait_for("it to be counted", || (ended() == 1).then_some(()));
}
