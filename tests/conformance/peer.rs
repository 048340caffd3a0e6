//! Both ends of ours, for other people's programs to talk to.
//!
//! For the Autobahn testsuite (`run.py` beside it starts them):
//! - `peer serve ADDRESS`: prints the address and echoes until it is ended.
//! - `peer connect URL AGENT`: echoes in every case of its fuzzing server.
//!
//! For the tests in `tests/peers`, which read what happens as lines of JSON:
//! - `peer listen ADDRESS [NAME=VALUE…]`: `protocols`, `origins`, `connections`.
//! - `peer dial URL [NAME=VALUE…]`: `protocols`, `patience` in milliseconds,
//!   and `stream`, the length of a message of unknown length to begin with.
//!
//! Both echo messages, except texts that are orders: `do ping`, `do close`,
//! `do close 4000 a reason`, `do fail 1011 a reason`.

use std::{collections::HashMap, io::Read, process::ExitCode, time::Duration};

use boardcast::{
    Error, Result,
    websocket::{
        CloseCode, CloseEvent, Connection, Handler, Limits, Message, Server, ServerBuilder,
        WebSocket,
    },
};
use serde_json::{Value, json};

const MESSAGE: usize = 64 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address] => serve(address),
        ["connect", url, agent] => connect(url, agent),
        ["listen", address, options @ ..] => listen(address, &Options::of(options)),
        ["dial", url, options @ ..] => dial(url, &Options::of(options)),
        _ => {
            eprintln!("usage: peer serve | connect | listen | dial; see the head of peer.rs");
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

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, ws: &Connection, message: Message) {
        // A peer that has closed needs no echo.
        let _ = ws.send(message);
    }
}

fn roomy(limits: &mut Limits) {
    limits.message_bytes = MESSAGE;
    limits.message_time = Duration::from_secs(120);
    limits.message_rate = u32::MAX;
    limits.message_burst = u32::MAX;
    limits.control_rate = u32::MAX;
    limits.read_buffer = 16 * 1024;
}

fn bind(server: ServerBuilder) -> Result<Server> {
    let server = server.limits(roomy).bind()?;
    println!("{}", server.addresses()[0]);
    Ok(server)
}

fn serve(address: &str) -> Result<()> {
    let server = Server::builder().listen(address);
    #[cfg(feature = "deflate")]
    let server = server.compress();
    bind(server)?.serve(|_, _| Echo)
}

fn connect(url: &str, agent: &str) -> Result<()> {
    let url = url.trim_end_matches('/');
    let open = |path: &str| {
        let builder = WebSocket::builder(&format!("{url}{path}")).max_message(MESSAGE);
        #[cfg(feature = "deflate")]
        let builder = builder.compress();
        builder.connect()
    };
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

/// `protocols=a,b stream=100000`
struct Options<'a>(HashMap<&'a str, &'a str>);

impl<'a> Options<'a> {
    fn of(options: &[&'a str]) -> Self {
        Self(options.iter().filter_map(|option| option.split_once('=')).collect())
    }

    fn list(&self, name: &str) -> Vec<&'a str> {
        self.0.get(name).map_or_else(Vec::new, |names| names.split(',').collect())
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.0.get(name)?.parse().ok()
    }
}

fn listen(address: &str, options: &Options<'_>) -> Result<()> {
    let connections = options.number("connections");
    let server = Server::builder().listen(address).limits(|limits| {
        limits.connections = connections.unwrap_or(limits.connections);
    });
    let server = server.protocols(options.list("protocols")).origins(options.list("origins"));
    bind(server)?.serve(|_, _| Obedient)
}

fn dial(url: &str, options: &Options<'_>) -> Result<()> {
    let mut builder = WebSocket::builder(url).protocols(options.list("protocols"));
    if let Some(patience) = options.number("patience") {
        builder = builder.connect_timeout(Duration::from_millis(patience as u64));
    }
    match builder.max_message(MESSAGE).connect() {
        Ok(ws) => {
            if let Some(length) = options.number("stream") {
                ws.send_from(std::io::repeat(b'x').take(length as u64))?;
            }
            ws.run(Obedient);
        }
        Err(error) => tell("error", &wrong(&error)),
    }
    Ok(())
}

/// Prints what happens, echoes, and does what it is told.
struct Obedient;

fn tell(event: &str, what: &Value) {
    println!("{}", json!([event, what]));
}

fn wrong(error: &Error) -> Value {
    let kind = match error {
        Error::Handshake { status, .. } => format!("handshake {status}"),
        Error::Io { source, .. } => format!("io {:?}", source.kind()),
        Error::Protocol { code, .. } => format!("protocol {code}"),
        Error::CloseCode(_) => "close code".into(),
        Error::CloseReason(_) => "close reason".into(),
        Error::Closed => "closed".into(),
        other => format!("{other:?}"),
    };
    json!({ "kind": kind, "says": error.to_string() })
}

fn obey(ws: &Connection, order: &str) -> Result<()> {
    let mut words = order.splitn(3, ' ');
    let verb = words.next().unwrap_or_default();
    let code = words.next().and_then(|code| code.parse().ok()).map(CloseCode);
    let reason = words.next().unwrap_or_default();
    match (verb, code) {
        ("ping", _) => ws.ping(),
        ("fail", Some(code)) => ws.fail(code, reason),
        ("close", code) => ws.close(code, reason),
        _ => Err(Error::Setting(format!("no such order: {order}"))),
    }
}

impl Handler for Obedient {
    fn on_open(&mut self, ws: &Connection) {
        let (protocol, extensions, url) = (ws.protocol(), ws.extensions(), ws.url());
        let state = ws.ready_state() as u8;
        let peer = ws.peer().to_string();
        let open = json!({ "protocol": protocol, "extensions": extensions, "url": url, "state": state, "peer": peer });
        tell("open", &open);
    }

    fn on_message(&mut self, ws: &Connection, message: Message) {
        if let Some(order) = message.as_text().and_then(|text| text.strip_prefix("do ")) {
            if let Err(error) = obey(ws, order) {
                tell("error", &wrong(&error));
            }
            return;
        }
        let binary = message.as_text().is_none();
        tell("message", &json!({ "binary": binary, "length": message.len() }));
        let _ = ws.send(message);
    }

    fn on_pong(&mut self, ws: &Connection, took: Duration) {
        let last = ws.round_trip().unwrap_or_default();
        tell("pong", &json!({ "took": took.as_secs_f64(), "roundTrip": last.as_secs_f64() }));
    }

    fn on_error(&mut self, _: &Connection, error: &Error) {
        tell("error", &wrong(error));
    }

    fn on_close(&mut self, ws: &Connection, event: &CloseEvent) {
        let CloseEvent { code, reason, was_clean } = event;
        let state = ws.ready_state() as u8;
        tell(
            "close",
            &json!({ "code": code.0, "reason": reason, "clean": was_clean, "state": state }),
        );
    }
}
