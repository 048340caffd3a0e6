//! Peers that break the rules, and the close codes that they get.

use std::time::Duration;

use boardcast::{net::Limits, telemetry::HubSettings};

use crate::fixture::*;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const PING: u8 = 0x89;

/// Sends these bytes after the handshake; the code of the Close that comes.
fn code_for(bytes: &[u8]) -> Option<u16> {
    let board = Board::start();
    // One that looks on: a program on the board may publish, and so say more.
    let handshake = handshake("/ws").replace("\r\n\r\n", "\r\nVia: 1.1 proxy\r\n\r\n");
    let mut stream = tcp(board.engine.address);
    send(&mut stream, handshake);
    let mut stream = read_upgrade(stream);
    send(&mut stream, bytes);
    let code = raw_close_code(&mut stream);
    drop(stream);
    wait_for("its place", || (board.engine.connections() == 0).then_some(()));
    assert_eq!(get(board.engine.address, "/api/latest").status, 200, "the server serves on");
    code
}

#[test]
fn broken_frames_get_1002() {
    let unmasked = [TEXT, 2, b'h', b'i'];
    assert_eq!(code_for(&unmasked), Some(1002));
    let reserved_bit = client_frame(TEXT | 0x40, b"hi");
    assert_eq!(code_for(&reserved_bit), Some(1002));
    let reserved_opcode = client_frame(0x83, b"hi");
    assert_eq!(code_for(&reserved_opcode), Some(1002));
    let lone_continuation = client_frame(0x80, b"hi");
    assert_eq!(code_for(&lone_continuation), Some(1002));
    let long_ping = client_frame(PING, &[0; 126]);
    assert_eq!(code_for(&long_ping), Some(1002));
    let bad_close_code = client_frame(0x88, &999_u16.to_be_bytes());
    assert_eq!(code_for(&bad_close_code), Some(1002));
}

#[test]
fn what_is_no_text_gets_1007_too_much_gets_1009_binary_gets_1003() {
    assert_eq!(code_for(&client_frame(TEXT, b"\xff\xfe")), Some(1007));
    assert_eq!(code_for(&client_frame(TEXT, &[b' '; 16 * 1024 + 1])), Some(1009));
    let fragments =
        [client_frame(0x01, &[b' '; 10_000]), client_frame(0x80, &[b' '; 10_000])].concat();
    assert_eq!(code_for(&fragments), Some(1009));
    // Only the length is announced.
    let mut huge = vec![TEXT, 0xff];
    huge.extend((u64::MAX >> 1).to_be_bytes());
    huge.extend([0; 4]);
    assert_eq!(code_for(&huge), Some(1009));
    assert_eq!(code_for(&client_frame(BINARY, b"x")), Some(1003));
}

#[test]
fn floods_get_1008() {
    assert_eq!(code_for(&client_frame(PING, b"").repeat(100)), Some(1008));
    assert_eq!(code_for(&client_frame(0x8a, b"").repeat(100)), Some(1008), "unasked pongs");
    let message = client_frame(TEXT, br#"{"type":"ping"}"#);
    assert_eq!(code_for(&message.repeat(100)), Some(1008));
}

#[test]
fn a_message_without_end_gets_1008() {
    let limits = Limits { message_time: Duration::from_millis(300), ..Limits::default() };
    for piece in [client_frame(0x00, b""), client_frame(0x00, b"x")] {
        let board = Board::with(HubSettings::default(), limits.clone());
        let mut stream = raw_websocket(board.engine.address, "/ws");
        send(&mut stream, client_frame(0x01, b"x"));
        let mut writer = stream.try_clone().expect("cloned");
        let endless = std::thread::spawn(move || {
            use std::io::Write;
            while writer.write_all(&piece).is_ok() {
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        assert_eq!(raw_close_code(&mut stream), Some(1008));
        drop(stream);
        endless.join().expect("joined");
    }
}

#[test]
fn a_message_that_stalls_gets_1008() {
    let limits = Limits { message_time: Duration::from_millis(300), ..Limits::default() };
    let board = Board::with(HubSettings::default(), limits);
    let mut stream = raw_websocket(board.engine.address, "/ws");
    send(&mut stream, &client_frame(0x81, b"half of this")[..9]);
    assert_eq!(raw_close_code(&mut stream), Some(1008));
}

#[test]
fn messages_that_overlap_on_the_wire_are_not_late() {
    let limits = Limits { message_time: Duration::from_millis(400), ..Limits::default() };
    let board = Board::with(HubSettings::default(), limits);
    let mut client = board.client();
    let message = client_frame(0x81, br#"{"type":"ping","id":1}"#);
    let (start, end) = message.split_at(9);
    send(client.socket.get_mut(), start);
    for _ in 0..8 {
        send(client.socket.get_mut(), [end, start].concat());
        assert_eq!(client.next("pong")["id"], 1);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn pings_between_fragments_do_not_make_a_message_late() {
    let limits = Limits { message_time: Duration::from_millis(400), ..Limits::default() };
    let board = Board::with(HubSettings::default(), limits);
    let mut client = board.client();
    for _ in 0..8 {
        client.socket.send(tungstenite::Message::Ping("x".into())).expect("sent");
        while !matches!(client.socket.read(), Ok(tungstenite::Message::Pong(_))) {}
        std::thread::sleep(Duration::from_millis(110));
    }
    client.say(r#"{"type":"ping","id":1}"#);
    assert_eq!(client.next("pong")["id"], 1);
}

#[test]
fn an_abrupt_end_frees_the_place() {
    let board = Board::start();
    for bytes in [&b""[..], b"GET / HT", handshake("/ws").as_bytes()] {
        let mut stream = tcp(board.engine.address);
        send(&mut stream, bytes);
        drop(stream);
    }
    wait_for("free places", || {
        let accepted = board.engine.handle().stats().accepted.get();
        (accepted == 3 && board.engine.connections() == 0).then_some(())
    });
}

#[test]
fn frames_that_come_right_behind_the_handshake_are_not_lost() {
    let board = Board::start();
    let mut stream = tcp(board.engine.address);
    let ping = client_frame(TEXT, br#"{"type":"ping","id":5}"#);
    send(&mut stream, [handshake("/ws").as_bytes(), &ping].concat());
    let mut got = Vec::new();
    wait_for("the answer", || {
        let mut buffer = [0; 512];
        let length = std::io::Read::read(&mut stream, &mut buffer).expect("read");
        got.extend_from_slice(&buffer[..length]);
        String::from_utf8_lossy(&got).contains(r#""id":5"#).then_some(())
    });
}
