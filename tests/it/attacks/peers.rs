//! Time and room: peers that are many, that are slow, that come and go. More
//! of these are in `slow`, `strain`, `misbehaviour` and `http`.

use std::{net::Ipv4Addr, time::Duration};

use boardcast::net::{Hosts, Proxies};
use nix::{
    libc,
    sys::socket::{setsockopt, sockopt},
};

use super::*;

/// Ends a connection with a reset.
fn reset(stream: &TcpStream) {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(stream, sockopt::Linger, &at_once).expect("set");
}

#[test]
fn a_flood_from_many_addresses_takes_no_place_that_is_taken() {
    let limits = Limits { connections: 16, reserved_for_http: 4, ..Limits::default() };
    let mut siege = Siege::with(limits);
    let mut flood: Vec<_> = (2..202)
        .map(|host| {
            let mut stream = tcp_from(Ipv4Addr::new(127, 0, 1, host).into(), siege.address());
            send(&mut stream, handshake("/ws"));
            BufReader::new(stream)
        })
        .collect();
    let mut served = 0;
    for stream in &mut flood {
        let answer = Answer::read_head(stream);
        match answer.status {
            101 => served += 1,
            503 => assert_eq!(answer.header("retry-after"), Some("5")),
            other => panic!("{other} instead of a refusal"),
        }
    }
    assert_eq!(served, 11, "twelve streams, of which the bystander is one");
    siege.goes_on();
    assert_eq!(siege.stats().refused_full.get(), 189);
    drop(flood);
    siege.stands();
}

#[test]
fn one_address_takes_no_more_than_its_share() {
    let gate = Gate {
        proxies: Proxies(vec!["127.0.0.1".parse().expect("fine")]),
        hosts: Hosts::Any,
        ..Gate::local()
    };
    let mut siege = Siege::behind(gate, Limits { per_address: 4, ..Limits::default() });
    let from = |client: &str| {
        let lines = [("x-forwarded-for", client)];
        Client::try_connect(siege.board.engine.address, "/ws", &lines)
    };
    let hoard: Vec<_> = (0..4).map(|_| from("10.0.0.9").expect("let in")).collect();
    let refused = from("10.0.0.9").err().expect("refused").to_string();
    assert!(refused.contains("429"), "{refused}");
    let other = from("10.0.0.10").expect("another is let in");
    assert_eq!(siege.stats().refused_address.get(), 1);
    siege.goes_on();
    drop((hoard, other));
    siege.stands();
}

#[test]
fn a_thousand_connections_that_end_in_a_reset_leave_nothing() {
    let mut siege = Siege::start();
    for number in 0..1000 {
        let mut stream = siege.tcp();
        let whole = handshake("/ws");
        let part = &whole[..number % whole.len()];
        // Some are refused meanwhile, and gone before they have said it all.
        let _ = std::io::Write::write_all(&mut stream, part.as_bytes());
        reset(&stream);
    }
    siege.goes_on();
    siege.stands();
}

#[test]
fn streams_that_end_in_a_reset_leave_nothing() {
    let mut siege = Siege::start();
    for _ in 0..100 {
        let stream = raw_websocket(siege.address(), "/ws");
        reset(&stream);
    }
    siege.goes_on();
    siege.stands();
}

#[test]
fn heads_that_drip_hold_no_stream_up() {
    let mut siege =
        Siege::with(Limits { head_time: Duration::from_millis(300), ..Limits::default() });
    let mut dripping: Vec<_> = (0..64).map(|_| siege.tcp()).collect();
    for stream in &mut dripping {
        send(stream, "GET / HTTP/1.1\r\nX-Drip: ");
    }
    siege.goes_on();
    // All are told when their time is over.
    for stream in dripping {
        assert_eq!(Answer::read(&mut BufReader::new(stream)).status, 408);
    }
    assert_eq!(siege.stats().refused_head.get(), 64);
    siege.stands();
}

#[test]
fn peers_that_never_say_a_word_are_let_go() {
    let mut siege =
        Siege::with(Limits { head_time: Duration::from_millis(300), ..Limits::default() });
    let silent: Vec<_> = (0..64).map(|_| siege.tcp()).collect();
    siege.goes_on();
    for mut stream in silent {
        assert_eq!(std::io::Read::read(&mut stream, &mut [0]).expect("closed"), 0);
    }
    siege.stands();
}

#[test]
fn a_handshake_that_stays_alone_is_pinged_and_let_go() {
    let limits = Limits {
        ping_every: Duration::from_millis(200),
        silence: Duration::from_millis(600),
        ..Limits::default()
    };
    let mut siege = Siege::with(limits);
    let silent = raw_websocket(siege.address(), "/ws?channels=none");
    wait_for("its end", || {
        // The bystander answers its pings by reading.
        siege.bystander.hears_all(&siege.board);
        (siege.stats().ended_silent.get() == 1).then_some(())
    });
    drop(silent);
    siege.stands();
}

#[test]
fn publishing_without_end_gets_1008_and_what_was_said_before_counts() {
    let mut siege = Siege::start();
    let mut client = Client::connect(siege.address(), "/ws?channels=none");
    let publish = client_frame(0x81, br#"{"type":"publish","values":{"flood":1}}"#);
    let mut writer = client.socket.get_ref().try_clone().expect("cloned");
    let writing = std::thread::spawn(move || {
        // It is ended amid them; what is left is less than the server reads on for.
        let _ = std::io::Write::write_all(&mut writer, &publish.repeat(800));
    });
    assert_eq!(client.close_code(), Some(1008));
    drop(client);
    writing.join().expect("joined");
    siege.goes_on();
    assert_eq!(channels(siege.address()), ["count", "flood"]);
    siege.stands();
}

#[test]
fn requests_on_one_connection_do_not_hold_others_up() {
    let mut siege = Siege::start();
    let hoards: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = siege.tcp();
            send(&mut stream, "GET /api/latest HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100));
            stream
        })
        .collect();
    siege.goes_on();
    for stream in hoards {
        let mut reader = BufReader::new(stream);
        for _ in 0..100 {
            assert_eq!(Answer::read(&mut reader).status, 200);
        }
    }
    siege.stands();
}
