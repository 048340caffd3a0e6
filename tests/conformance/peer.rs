//! What the Autobahn testsuite talks to: an echo server, or a client that
//! echoes what the suite's fuzzing server sends. Started by `run.sh` beside it.
//!
//! `peer serve ADDRESS`: prints the address and echoes until it is ended.
//! `peer connect URL AGENT`: runs every case of the fuzzing server.

use std::{process::ExitCode, time::Duration};

use boardcast::websocket::{Connection, Handler, Message, Server, WebSocket};

const MESSAGE: usize = 64 << 20;

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, ws: &Connection, message: Message) {
        // A peer that has closed needs no echo.
        let _ = ws.send(message);
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address] => serve(address),
        ["connect", url, agent] => connect(url, agent),
        _ => {
            eprintln!("usage: peer serve ADDRESS | peer connect URL AGENT");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str) -> boardcast::Result<()> {
    let server = Server::builder().listen(address).limits(|limits| {
        limits.message_bytes = MESSAGE;
        limits.message_time = Duration::from_secs(120);
        limits.message_rate = u32::MAX;
        limits.message_burst = u32::MAX;
        limits.control_rate = u32::MAX;
        limits.read_buffer = 16 * 1024;
    });
    #[cfg(feature = "deflate")]
    let server = server.compress();
    let server = server.bind()?;
    println!("{}", server.addresses()[0]);
    server.serve(|_, _| Echo)
}

fn connect(url: &str, agent: &str) -> boardcast::Result<()> {
    let url = url.trim_end_matches('/');
    let open =
        |path: &str| WebSocket::builder(&format!("{url}{path}")).max_message(MESSAGE).connect();
    let count = open("/getCaseCount")?.recv()?.map(|count| count.to_string());
    let count: u32 = count.and_then(|count| count.parse().ok()).unwrap_or_default();
    for case in 1..=count {
        // Whatever comes of it: the suite judges, not we.
        open(&format!("/runCase?case={case}&agent={agent}"))?.run(Echo);
    }
    open(&format!("/updateReports?agent={agent}"))?.recv()?;
    println!("{count} cases");
    Ok(())
}
