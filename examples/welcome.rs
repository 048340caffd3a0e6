//! The article's server: greets each client and logs what it says.
//!
//! `cargo run --example welcome`, then in a browser's console:
//! `ws = new WebSocket("ws://127.0.0.1:8888"); ws.onmessage = (message) => console.log(message.data)`

use boardcast::websocket::{Message, Server};

fn main() -> boardcast::Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8888".into());
    let server = Server::bind(address)?;
    log::info!("Listening on {}", server.addresses()[0]);
    server.serve(|ws, request| {
        let _ = ws.send("Welcome!");
        let (ip, port) = (request.peer().ip(), request.peer().port());
        move |message: Message| log::info!("Received message from {ip}:{port} ==> {message}")
    })
}
