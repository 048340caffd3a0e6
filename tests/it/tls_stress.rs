//! What TLS costs a viewer, beside one without: `make stress` prints it.

use std::{
    io::{Read, Write},
    time::Duration,
};

use tungstenite::{WebSocket, client::IntoClientRequest};

use crate::{authority::Authority, fixture::*, strain::Process};

const VIEWERS: usize = 200;

/// Opens so many streams, each by its `dial`, and reads to the first batch;
/// then all read on for a moment. What they cost, in KiB each, and the CPU time
/// of opening one.
fn cost<S: Read + Write>(server: &Binary, dial: impl Fn() -> S) -> (f64, Duration) {
    let process = Process::of(server);
    let open = || {
        let request = format!("ws://{}/ws", server.address).into_client_request();
        let opened = tungstenite::client(request.expect("a request"), dial());
        let Ok((mut socket, _)) = opened else { panic!("not connected") };
        let next = |socket: &mut WebSocket<S>| socket.read().expect("a message").to_string();
        while !next(&mut socket).contains("\"snapshot\":true") {}
        socket
    };
    // What the first one touches is nobody's own.
    let warm = open();
    let (before, busy) = (process.resident(), process.cpu());
    let mut viewers: Vec<_> = (0..VIEWERS).map(|_| open()).collect();
    let opening = (process.cpu() - busy) / VIEWERS as u32;
    for viewer in &mut viewers {
        for _ in 0..3 {
            viewer.read().expect("a batch");
        }
    }
    let each = (process.resident() - before) as f64 / 1024.0 / VIEWERS as f64;
    drop(warm);
    (each, opening)
}

#[test]
#[ignore = "stress: 15 s"]
fn two_hundred_idle_viewers_with_tls_and_without() {
    let authority = Authority::new("stress");
    let (certificate, key) = authority.write(&authority.sign("localhost"));
    let always = ["--interval", "1s", "--max-connections", "300"];
    let plain = Binary::start(&always);
    let (without, opening_without) = cost(&plain, || tcp(plain.address));
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let secure = ["--tls-cert", &certificate, "--tls-key", &key];
    let secure = Binary::start(&[&always[..], &secure].concat());
    let (with, opening_with) = cost(&secure, || authority.connect(secure.address));
    println!("| viewers | KiB each | CPU time to open one |");
    println!("|---|---|---|");
    println!("| {VIEWERS} without TLS | {without:.1} | {opening_without:.2?} |");
    println!("| {VIEWERS} with TLS | {with:.1} | {opening_with:.2?} |");
    assert!(with < 2.0 * without + 16.0, "{with} KiB for one");
}

/// One request to a connection that is kept: how much of its stack was touched.
fn touched(server: &Binary, mut stream: impl Read + Write) -> usize {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: pi\r\n\r\n").expect("sent");
    assert!(stream.read(&mut [0; 4096]).expect("an answer") > 0);
    let maps = format!("/proc/{}/smaps", server.child.id());
    let maps = std::fs::read_to_string(maps).expect("a running process");
    // The one mapping of this size that is a stack: size, then what is resident.
    let number = |line: &str| line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok());
    let lines: Vec<&str> = maps.lines().collect();
    let stacks = lines.windows(4).filter(|lines| {
        lines[0].starts_with("Size:") && matches!(number(lines[0]), Some(128_usize..=136))
    });
    stacks.filter_map(|lines| number(lines[3])).max().expect("a stack")
}

#[test]
#[ignore = "stress: 2 s"]
fn the_stack_of_a_connection_is_deep_enough_for_a_handshake() {
    let authority = Authority::new("stack");
    let (certificate, key) = authority.write(&authority.sign("localhost"));
    let plain = Binary::start(&["--interval", "10s"]);
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let secure =
        Binary::start(&["--interval", "10s", "--tls-cert", &certificate, "--tls-key", &key]);
    println!("| one request | KiB of stack touched, of 128 |");
    println!("|---|---|");
    println!("| without TLS | {} |", touched(&plain, tcp(plain.address)));
    for version in rustls::ALL_VERSIONS {
        let stream = authority.over(tcp(secure.address), authority.client(&[version]));
        println!("| {:?} | {} |", version.version, touched(&secure, stream));
    }
}
