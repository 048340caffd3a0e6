//! The real binary, as a user starts and stops it.

use std::{net::TcpListener, time::Instant};

use nix::sys::signal::Signal;

use crate::fixture::*;

#[test]
fn it_says_once_where_to_look_and_what_it_reads() {
    let server = Binary::start(&["--name", "pi-kitchen"]);
    let page = format!("http://{}/", server.address);
    let stream = format!("ws://{}/ws", server.address);
    let lines: Vec<_> = server.greeting.lines().map(str::trim).collect();
    assert_eq!(lines.len(), 4, "{}", server.greeting);
    assert!(lines[0].ends_with("on pi-kitchen"));
    assert!(lines[1].ends_with(&page) && lines[2].ends_with(&stream));
    assert!(lines[3].contains("vitals (") && lines[3].contains("boardcast ("));
}

#[test]
fn it_reads_this_machine_and_the_values_change() {
    let server = Binary::start(&["--interval", "100ms"]);
    let mut client = Client::connect(server.address, "/ws");
    let hello = client.json();
    let snapshot = client.json();
    let total = snapshot["values"]["mem/total"].as_f64().expect("memory");
    let meminfo = std::fs::read_to_string("/proc/meminfo").expect("read");
    let kib = meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok());
    assert_eq!(Some(total), kib.map(|kib| kib * 1024.0));
    assert!(snapshot["values"]["cpu/usage"].is_number());
    let mut seq = hello["seq"].as_u64().expect("a number");
    let mut uptimes = Vec::new();
    while uptimes.len() < 5 {
        let data = client.next("data");
        seq += 1;
        assert_eq!(data["seq"], seq);
        uptimes.extend(data["values"]["uptime"].as_f64());
    }
    assert!(uptimes.windows(2).all(|pair| pair[0] < pair[1]), "{uptimes:?}");
}

#[test]
fn sigterm_closes_with_1001_and_exits_with_0_in_time() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = Binary::start(&[]);
        let mut client = Client::connect(server.address, "/ws");
        client.next("data");
        let started = Instant::now();
        server.signal(signal);
        assert_eq!(client.close_code(), Some(1001));
        let _ = client.socket.flush();
        let (code, _) = server.wait();
        assert_eq!(code, Some(0));
        assert!(started.elapsed().as_secs() < 5);
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let server = Binary::start(&[]);
    // It never answers the Close, so the first signal waits for it.
    let mut silent = raw_websocket(server.address, "/ws");
    server.signal(Signal::SIGTERM);
    assert_eq!(raw_close_code(&mut silent), Some(1001));
    server.signal(Signal::SIGTERM);
    let (code, errors) = server.wait();
    assert_eq!(code, Some(1));
    assert!(errors.contains("stopped at once"), "{errors}");
}

#[test]
fn a_port_in_use_is_one_clear_line_with_a_way_out() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = other.local_addr().expect("bound").to_string();
    let output = command(env!("CARGO_BIN_EXE_boardcast"))
        .args(["--listen", &address])
        .output()
        .expect("started");
    let line = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
    assert!(line.contains(&address) && line.contains("--listen 0.0.0.0:"), "{line}");
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_to_write() {
    let output = command(env!("CARGO_BIN_EXE_boardcast"))
        .args(["--interval", "soon"])
        .output()
        .expect("started");
    let line = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!((output.status.code(), line.lines().count()), (Some(2), 1), "{line}");
    assert!(line.contains("1s, 100ms"), "{line}");
}

#[test]
fn bounds_are_flags() {
    let server = Binary::start(&["--max-connections", "3", "--workers", "1"]);
    let _taken: Vec<_> = (0..3).map(|_| Client::connect(server.address, "/ws")).collect();
    let refused = get(server.address, "/");
    assert_eq!(refused.status, 503);
    let output = command(env!("CARGO_BIN_EXE_boardcast"))
        .args(["--max-connections", "0", "--listen", "127.0.0.1:0"])
        .output()
        .expect("started");
    assert_eq!(output.status.code(), Some(2));
}

/// A debug build of the program can be told to panic; a release build cannot.
#[cfg(debug_assertions)]
fn with_planted_panic(place: &str) -> Binary {
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    Binary::run(command.args(["--listen", "127.0.0.1:0"]).env("BOARDCAST_FAULT", place))
}

#[cfg(debug_assertions)]
#[test]
fn a_worker_that_dies_ends_the_program_with_one_clear_line() {
    let server = with_planted_panic("worker");
    // The worker meets its first client and dies; nobody else keeps it going.
    let _ = Client::try_connect(server.address, "/ws", &[]);
    let (code, log) = server.wait();
    assert_eq!(code, Some(1));
    let last: Vec<_> = log.lines().filter(|line| line.starts_with("boardcast: ")).collect();
    assert_eq!(last, ["boardcast: bc-push-0 panicked; the program must be started anew"], "{log}");
    assert!(!log.contains("backtrace"), "{log}");
}

#[cfg(debug_assertions)]
#[test]
fn a_connection_that_panics_ends_alone() {
    let server = with_planted_panic("message");
    let mut others: Vec<_> = (0..3).map(|_| Client::connect(server.address, "/ws")).collect();
    let mut unlucky = Client::connect(server.address, "/ws");
    unlucky.next("data");
    unlucky.say(r#"{"type":"ping"}"#);
    assert_eq!(unlucky.close_code(), Some(1011));
    let counted = || (server.metric("boardcast_panics_total") == 1).then_some(());
    wait_for("the panic to be counted", counted);
    for client in &mut others {
        let first = client.next("data")["seq"].as_u64();
        assert!(first < client.next("data")["seq"].as_u64());
    }
    let log = server.log();
    assert_eq!(log.matches("planted at Message").count(), 1, "{log}");
}
