//! A server that speaks first: another thread sends the load of this machine
//! to everyone, once a second. The frame is encoded once, however many watch.
//!
//! `cargo run --example push`, then `cargo run --example watch ws://127.0.0.1:8888`

use std::{fs, thread, time::Duration};

use boardcast::websocket::{Broadcast, Message, Server};

fn main() -> boardcast::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8888".into());
    let everyone = Broadcast::new();
    let server = Server::builder().listen(address).broadcast(&everyone).bind()?;
    println!("Listening on {}", server.addresses()[0]);

    let pusher = everyone.clone();
    thread::spawn(move || {
        loop {
            // "0.20 0.18 0.12 1/80 11206" (proc_loadavg(5))
            let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
            pusher.send(load.trim_end());
            thread::sleep(Duration::from_secs(1));
        }
    });
    server.serve(|_, _| |_: Message| {})
}
