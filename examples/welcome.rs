//! The article's server: greets each client, and logs what it says and when it
//! goes.
//!
//! `cargo run --example welcome`, then in a browser's console:
//! `ws = new WebSocket("ws://127.0.0.1:8888"); ws.onmessage = (message) => console.log(message.data)`

use std::net::SocketAddr;

use boardcast::websocket::{CloseEvent, Connection, Handler, Message, Server};

struct Guest {
    address: SocketAddr,
}

impl Handler for Guest {
    fn on_open(&mut self, ws: &Connection) {
        // It may have gone already; then `on_close` follows.
        let _ = ws.send("Welcome!");
    }

    fn on_message(&mut self, _: &Connection, message: Message) {
        log::info!("Received message from {} ==> {message}", self.address);
    }

    fn on_close(&mut self, _: &Connection, event: &CloseEvent) {
        log::info!("{} has gone: {} {}", self.address, event.code, event.reason);
    }
}

fn main() -> boardcast::Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8888".into());
    let server = Server::bind(address)?;
    log::info!("Listening on {}", server.addresses()[0]);
    server.serve(|_, request| Guest { address: request.peer() })
}
