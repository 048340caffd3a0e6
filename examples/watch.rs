//! A client: prints what a server says, until it ends.
//!
//! `cargo run --example watch ws://raspberrypi.local:8642/ws`

use boardcast::websocket::WebSocket;

fn main() -> boardcast::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:8642/ws".into());
    let mut ws = WebSocket::connect(&url)?;
    eprintln!("Connected to {}", ws.url());
    while let Some(message) = ws.recv()? {
        println!("{message}");
    }
    if let Some(event) = ws.close_event() {
        eprintln!("Disconnected: {} {}", event.code, event.reason);
    }
    Ok(())
}
