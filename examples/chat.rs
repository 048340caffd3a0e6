//! A chat: the path is the room, and a room hears only its own.
//!
//! `cargo run --example chat`, then in two browsers' consoles:
//! `ws = new WebSocket("ws://127.0.0.1:8888/kitchen"); ws.onmessage = (message) => console.log(message.data)`
//! and `ws.send("tea is ready")`

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use boardcast::websocket::{Broadcast, Group, Message, Server};

fn main() -> boardcast::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8888".into());
    let everyone = Broadcast::new();
    let server = Server::builder().listen(address).broadcast(&everyone).bind()?;
    println!("Listening on {}", server.addresses()[0]);

    let rooms: Mutex<HashMap<String, Group>> = Mutex::default();
    server.serve(move |ws, request| {
        let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.entry(request.path().into()).or_insert_with(|| everyone.group()).clone();
        let name = request.peer().port();
        room.send(format!("{name} comes in"));
        room.join(ws);
        move |message: Message| room.send(format!("{name}: {message}"))
    })
}
