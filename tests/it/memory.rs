//! Little memory: what is under way shares one sum, every bound holds at its
//! edge and is counted, and under a limit of the kernel a flood is refused
//! before memory runs out.

use std::{
    io::{self, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use boardcast::{
    net::Limits,
    telemetry::{Batch, BootTime, HubSettings},
};

use crate::{fixture::*, strain::Process};

fn board(change: impl FnOnce(&mut Limits)) -> Board {
    let mut limits = Limits::default();
    change(&mut limits);
    limits.validate().expect("possible");
    Board::with(HubSettings::default(), limits)
}

/// A number of `/metrics` of a board.
fn counted(board: &Board, name: &str) -> u64 {
    metric(board.engine.address, &format!("boardcast_{name}"))
}

/// A request that publishes a body of so many bytes, and its head alone.
fn publishing(length: usize) -> (String, String) {
    let head = format!(
        "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    let line = "pushed=1\n";
    let mut body = line.repeat(length / line.len());
    body += &" ".repeat(length - body.len());
    (head.clone() + &body, head)
}

#[test]
fn a_body_of_just_the_bound_is_taken_and_one_byte_more_is_refused_and_counted() {
    let board = board(|limits| limits.body_bytes = 1000);
    assert_eq!(ask(board.engine.address, &publishing(1000).0).status, 200);
    assert_eq!(counted(&board, "refused_body_total"), 0);
    assert_eq!(ask(board.engine.address, &publishing(1001).0).status, 413);
    assert_eq!(counted(&board, "refused_body_total"), 1);
}

#[test]
fn bodies_under_way_share_one_sum_and_who_finds_no_room_is_told_to_come_back() {
    let board = board(|limits| limits.transit_bytes = 128 * 1024);
    let address = board.engine.address;
    // One that is half here holds twice its length: a vector doubles.
    let (whole, head) = publishing(60_000);
    let mut half = tcp(address);
    send(&mut half, &whole[..head.len() + 30_000]);
    wait_for("half a body", || (counted(&board, "transit_bytes") == 60_000).then_some(()));
    let edge = (128 * 1024 - 60_000) / 2;
    assert_eq!(ask(address, &publishing(edge).0).status, 200);
    let refused = ask(address, &publishing(edge + 1).0);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("2")));
    assert!(refused.text().contains("too much is under way"), "{}", refused.text());
    assert_eq!(counted(&board, "refused_memory_total"), 1);
    // The one that was there first loses nothing.
    send(&mut half, &whole[head.len() + 30_000..]);
    assert_eq!(Answer::read(&mut BufReader::new(half)).status, 200);
    wait_for("all given back", || (counted(&board, "transit_bytes") == 0).then_some(()));
    assert_eq!(ask(address, &publishing(edge + 1).0).status, 200);
}

#[test]
fn an_answer_that_never_fits_is_told_so_and_one_that_has_to_wait_to_come_back() {
    let board = board(|limits| limits.transit_bytes = 128 * 1024);
    // A point a second.
    for second in 0..60 {
        let mut batch = Batch::at(BootTime::new(Duration::from_secs(second)));
        batch.set(board.channel(), second as f64);
        board.publisher().publish(batch);
    }
    let ask = |points: usize| {
        let path = format!("/api/history?channels=count&last=3650d&points={points}");
        get(board.engine.address, &path)
    };
    assert_eq!(ask(600).status, 200);
    let in_use = || board.engine.handle().purse().in_use();
    wait_for("all given back", || (in_use() == 0).then_some(()));
    let answer = ask(4320);
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("transit_size"), "{}", answer.text());
    let (whole, head) = publishing(60_000);
    let mut half = tcp(board.engine.address);
    send(&mut half, &whole[..head.len() + 59_000]);
    wait_for("half a body", || (in_use() == 118_000).then_some(()));
    assert_eq!((ask(600).status, ask(4320).status), (503, 503));
}

#[test]
fn long_messages_share_the_same_sum_and_who_finds_no_room_is_ended_with_1013() {
    let board = board(|limits| limits.transit_bytes = 128 * 1024);
    let first_bytes = |stream: &mut TcpStream| {
        let message = client_frame(0x81, &[b' '; 60_000]);
        send(stream, &message[..10_000]);
    };
    let (mut first, mut second) =
        (raw_websocket(board.engine.address, "/ws"), raw_websocket(board.engine.address, "/ws"));
    // tungstenite makes room for a frame as soon as it knows its length.
    first_bytes(&mut first);
    wait_for("one message", || (counted(&board, "transit_bytes") >= 120_000).then_some(()));
    first_bytes(&mut second);
    assert_eq!(raw_close_code(&mut second), Some(1013));
    assert_eq!(counted(&board, "ended_memory_total"), 1);
    assert_eq!(counted(&board, "ended_protocol_total"), 0);
    send(&mut first, vec![b' '; 50_000 + 8]);
    wait_for("what it took", || (counted(&board, "transit_bytes") == 0).then_some(()));
    assert_eq!(counted(&board, "messages_received_total"), 1);
}

#[test]
fn a_publisher_may_say_more_than_a_viewer_up_to_its_own_bound() {
    let board = board(|limits| {
        limits.message_bytes = 1000;
        limits.publisher_bytes = 2000;
        (limits.message_rate, limits.message_burst, limits.publisher_rate) = (1, 1, 2);
    });
    let message = |length: usize| {
        let start = r#"{"type":"publish","values":{"count":1}"#;
        client_frame(0x81, format!("{start}{}}}", " ".repeat(length - start.len() - 1)).as_bytes())
    };
    let mut publisher = raw_websocket(board.engine.address, "/ws");
    // Twice as many at once as a second.
    send(&mut publisher, message(2000).repeat(4));
    wait_for("four messages", || (counted(&board, "messages_received_total") == 4).then_some(()));
    assert_eq!(counted(&board, "ended_policy_total"), 0);
    let mut quick = raw_websocket(board.engine.address, "/ws");
    send(&mut quick, message(2000).repeat(12));
    assert_eq!(raw_close_code(&mut quick), Some(1008));
    assert_eq!(counted(&board, "ended_policy_total"), 1);
    let mut long = raw_websocket(board.engine.address, "/ws");
    send(&mut long, message(2001));
    assert_eq!(raw_close_code(&mut long), Some(1009));
    assert_eq!(counted(&board, "ended_protocol_total"), 1);
}

#[test]
fn answers_that_wait_are_bounded_and_their_client_is_ended_and_counted() {
    let board = board(|limits| {
        limits.control_bytes = 1024;
        limits.message_rate = 100_000;
        limits.message_burst = 100_000;
    });
    let mut deaf = upgrade(narrow_tcp(board.engine.address), "/ws");
    deaf.set_nonblocking(true).expect("set");
    let ping =
        client_frame(0x81, br#"{"type":"ping","id":"0123456789012345678901234567890123456789"}"#);
    wait_for("too many answers", || {
        let _ = deaf.write_all(&ping.repeat(20));
        (counted(&board, "ended_control_total") == 1).then_some(())
    });
}

#[test]
fn refused_peers_that_read_nothing_make_room_for_others_and_that_is_counted() {
    let board = board(|limits| {
        (limits.connections, limits.reserved_for_http, limits.refused_peers) = (2, 0, 2);
        limits.close_time = Duration::from_secs(60);
    });
    let taken: Vec<_> = (0..2).map(|_| tcp(board.engine.address)).collect();
    wait_for("both places", || (board.engine.connections() == 2).then_some(()));
    let stats = board.engine.handle().stats().clone();
    let mut refused = Vec::new();
    for number in 1..=3 {
        refused.push(tcp(board.engine.address));
        wait_for("a refusal", || (stats.refused_full.get() == number).then_some(()));
        wait_for("the list", || (stats.refused_early.get() == number.max(2) - 2).then_some(()));
    }
    drop(taken);
}

#[test]
fn who_gives_way_who_waits_and_who_is_late_is_counted() {
    let board = board(|limits| {
        (limits.connections, limits.reserved_for_http) = (2, 0);
        limits.unfinished_heads = 1;
        limits.close_time = Duration::from_millis(100);
        limits.keep_alive = Duration::from_secs(60);
    });
    let address = board.engine.address;
    let stats = board.engine.handle().stats().clone();
    let mut idle = tcp(address);
    send(&mut idle, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut idle = BufReader::new(idle);
    Answer::read(&mut idle);
    let before = stats.waited_heads.get();
    let mut half = tcp(address);
    wait_for("both places", || (board.engine.connections() == 2).then_some(()));
    // While its head is unfinished, nobody else is accepted.
    wait_for("one wait", || (stats.waited_heads.get() == before + 1).then_some(()));
    assert_eq!(stats.gave_way.get(), 0);
    // The next one waits for that head; and then the idle one gives way.
    let mut next = tcp(address);
    send(&mut next, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n");
    send(&mut half, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    wait_for("room", || (stats.gave_way.get() == 1).then_some(()));
    assert_eq!(idle.read(&mut [0]).expect("the end"), 0);
    // And the one that was answered does not close: it is late.
    wait_for("a late end", || (stats.late_ends.get() == 1).then_some(()));
    drop(next);
}

#[test]
fn an_answer_that_is_not_taken_in_time_is_counted() {
    let board = board(|limits| limits.response_time = Duration::from_millis(200));
    let mut deaf = narrow_tcp(board.engine.address);
    deaf.set_nonblocking(true).expect("set");
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20);
    let stats = board.engine.handle().stats().clone();
    wait_for("a late answer", || {
        let _ = deaf.write_all(request.as_bytes());
        (stats.late_answers.get() == 1).then_some(())
    });
}

/// The program under a limit of its data, as a service manager sets it.
fn under(data: u64, arguments: &[&str]) -> Binary {
    let program = command(env!("CARGO_BIN_EXE_boardcast"));
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--data={data}")).arg("--").arg(program.get_program());
    Binary::run(limited.args(program.get_args()).args(["--listen", "127.0.0.1:0"]).args(arguments))
}

/// Bytes of data that the program may write to, as RLIMIT_DATA counts them.
fn data(server: &Binary) -> u64 {
    let data = Process::of(server).status("VmData");
    data.trim_end_matches("kB").trim().parse::<u64>().expect("KiB") * 1024
}

#[test]
fn under_twice_its_resting_size_a_flood_is_refused_and_the_program_goes_on() {
    // An emulator maps memory of its own, which the limit would count.
    if emulated() {
        return;
    }
    let usual = ["--interval", "100ms", "--socket", "none"];
    let resting = data(&Binary::start(&usual));
    let server = under(2 * resting, &usual);
    let log = server.log();
    assert!(log.contains("of memory (RLIMIT_DATA)") && !log.contains("too little"), "{log}");
    let mut viewer = Client::connect(server.address, "/ws");
    for _ in 0..3 {
        let flood = flood(server.address);
        wait_for("refusals", || {
            let refused = flood.iter().filter(|peer| status(peer) == Some(503)).count();
            (refused > 100).then_some(())
        });
        let mut seq = viewer.next("data")["seq"].as_u64().expect("a number");
        for _ in 0..10 {
            seq += 1;
            assert_eq!(viewer.next("data")["seq"], seq, "the viewer loses nothing");
        }
        drop(flood);
    }
    let most = data(&server);
    assert!(most < 2 * resting, "{most} of {}", 2 * resting);
    let mut newcomer = wait_for("a place", || Client::try_connect(server.address, "/ws", &[]).ok());
    assert_eq!(newcomer.json()["type"], "hello");
    let metric = |name: &str| {
        wait_for("an answer", || (get(server.address, "/healthz").status != 503).then_some(()));
        server.metric(name)
    };
    assert!(metric("boardcast_refused_full_total") >= 100);
    assert_eq!(metric("boardcast_memory_limit_bytes"), 2 * resting);
    assert!(metric("boardcast_memory_bytes") <= 2 * resting);
    assert_eq!(metric("boardcast_panics_total"), 0);
    let log = server.log();
    assert!(!log.contains("gives no thread"), "threads are counted beforehand: {log}");
}

/// Three hundred that want all at the same time, and take nothing: streams
/// with half of a long message, half bodies, slow pages, slow histories, heads
/// without an end.
fn flood(address: SocketAddr) -> Vec<TcpStream> {
    let (body, _) = publishing(65_536);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut message = handshake("/ws").into_bytes();
    message.extend(&client_frame(0x81, &[b' '; 60_000])[..50_000]);
    let histories = "/api/history?channels=%23&last=1h&points=600";
    let kinds: [Vec<u8>; 6] = [
        handshake("/ws").into(),
        message,
        body[..65_000].into(),
        get("/").repeat(10).into(),
        get(histories).repeat(10).into(),
        format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(7000)).into(),
    ];
    let peers = (0..300).map(|number| {
        let mut peer = tcp(address);
        peer.set_nonblocking(true).expect("set");
        let _ = peer.write(&kinds[number % kinds.len()]);
        peer
    });
    peers.collect()
}

/// The status that a peer has been told, if any.
fn status(peer: &TcpStream) -> Option<u16> {
    let mut head = [0; 12];
    match peer.peek(&mut head) {
        Ok(12) => std::str::from_utf8(&head[9..]).ok()?.parse().ok(),
        Ok(_) => None,
        Err(error) => {
            let reset = io::ErrorKind::ConnectionReset;
            assert!(matches!(error.kind(), io::ErrorKind::WouldBlock) || error.kind() == reset);
            None
        }
    }
}

#[test]
fn a_budget_that_is_set_by_hand_is_kept_and_shown() {
    let server = Binary::start(&["--memory", "64MiB"]);
    assert!(!server.log().contains("of memory"), "everything fits: {}", server.log());
    assert_eq!(server.metric("boardcast_memory_limit_bytes"), 64 << 20);
    let small = Binary::start(&["--memory", "8MiB", "--max-connections", "10000"]);
    assert!(small.log().contains("8MiB of memory (memory)"), "{}", small.log());
    assert_eq!(small.metric("boardcast_memory_limit_bytes"), 8 << 20);
}

#[test]
fn the_table_of_bounds_names_settings_counters_and_tests_that_exist() {
    let here = |path: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let read = |path: &str| std::fs::read_to_string(here(path)).expect("read");
    let page = read("docs/limits.md");
    let (_, table) = page.split_once("| bound |").expect("the table");
    let board = Board::start();
    let metrics = get(board.engine.address, "/metrics");
    let mut seen = (0, 0, 0);
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let columns: Vec<_> = row.split('|').map(str::trim).collect();
        let names = |column: usize| columns[column].split('`').skip(1).step_by(2);
        for name in names(2).filter(|name| !name.contains("RLIMIT")) {
            assert!(
                boardcast::config::KEYS.iter().any(|key| key.name == name),
                "no setting {name}"
            );
            seen.0 += 1;
        }
        for name in names(5) {
            let line = format!("# TYPE boardcast_{name} ");
            assert!(metrics.text().contains(&line), "nothing counts {name}");
            seen.1 += 1;
        }
        for (file, name) in names(6).filter_map(|name| name.split_once("::")) {
            let tests = read(&format!("tests/it/{file}.rs"));
            assert!(tests.contains(&format!("fn {name}()")), "no test {file}::{name}");
            seen.2 += 1;
        }
    }
    assert!(seen.0 > 25 && seen.1 > 20 && seen.2 > 15, "{seen:?}");
}
