//! The MQTT engine against brokers that misbehave: each is told in a clear
//! sentence, costs little, and is in nobody's way.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::Duration,
};

use boardcast::mqtt::{Options, Qos, Status, Version};

use crate::mqtt::{Party, options};

/// CONNACK of MQTT 5 without properties.
const WELCOME: [u8; 5] = [0x20, 3, 0, 0, 0];
/// PINGRESP, the shortest packet there is.
const PONG: [u8; 2] = [0xd0, 0];

/// A broker that does with each connection what it is told; its number is
/// handed in. It ends with the last connection that it is to serve.
fn broker(
    connections: usize,
    mut serve: impl FnMut(usize, TcpStream) + Send + 'static,
) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("mqtt://{}", listener.local_addr().expect("bound"));
    let thread = thread::spawn(move || {
        for number in 0..connections {
            let (stream, _) = listener.accept().expect("a connection");
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
            serve(number, stream);
        }
    });
    (url, thread)
}

/// The next packet: its first byte, and what is behind its length.
fn packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte).ok()?;
    let (first, mut length, mut shift) = (byte[0], 0, 0);
    loop {
        stream.read_exact(&mut byte).ok()?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((first, body))
}

/// The version that a CONNECT asks for.
fn level(connect: &(u8, Vec<u8>)) -> u8 {
    assert_eq!(connect.0, 0x10);
    connect.1[6]
}

/// A PUBLISH of MQTT 5; with QoS 1 when it has an identifier.
fn publish(topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    body.extend(id.iter().flat_map(|id| id.to_be_bytes()));
    body.push(0);
    body.extend(payload);
    let mut bytes = vec![if id.is_some() { 0x32 } else { 0x30 }];
    let mut rest = body.len();
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    bytes.push(rest as u8);
    bytes.extend(body);
    bytes
}

/// Whatever it still says, until it goes.
fn until_gone(mut stream: TcpStream) {
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

fn five(url: &str) -> Options {
    Options { version: Some(Version::V5), ..options(url, "victim") }
}

#[test]
fn one_that_never_answers_is_given_up() {
    let (url, thread) = broker(1, |_, stream| until_gone(stream));
    let patience = Duration::from_millis(100);
    let party = Party::start(Options { patience, ..five(&url) }, "");
    let status = party.status().to_string();
    assert!(status.starts_with("no answer to CONNECT"), "{status}");
    thread.join().expect("it goes");
}

#[test]
fn garbage_is_told_at_once() {
    let refusal = "is an MQTT broker listening there?";
    for (garbage, why) in [
        (b"\0\x01\x02\x03".to_vec(), refusal),
        (b"HTTP/1.1 400 Bad Request\r\n".repeat(10), refusal),
        (vec![0xff; 4096], refusal),
        // Whole packets, but none that may come first, or from a broker.
        (PONG.to_vec(), refusal),
        (vec![0xc0, 0], refusal),
        ([&WELCOME[..], &WELCOME[..]].concat(), "second CONNACK"),
        ([&WELCOME[..], &[0x40, 2, 0, 9]].concat(), "not sent"),
        ([&WELCOME[..], &[0x90, 4, 0, 9, 0, 0]].concat(), "nobody asked for"),
        // QoS 2, which was not asked for; a topic with a wildcard.
        ([&WELCOME[..], &[0x34, 7, 0, 1, b'a', 0, 1, 0, b'x']].concat(), "QoS 2"),
        ([&WELCOME[..], &[0x30, 4, 0, 1, b'#', 0]].concat(), "valid topic"),
        // A topic that is longer than its packet; 16 KiB of CONNACK.
        ([&WELCOME[..], &[0x30, 4, 0, 9, b'a', 0]].concat(), refusal),
        (vec![0x20, 0xff, 0xff, 0x7f], refusal),
    ] {
        let text = format!("{garbage:?}");
        let (url, thread) = broker(1, move |_, mut stream| {
            packet(&mut stream);
            stream.write_all(&garbage).expect("sent");
            until_gone(stream);
        });
        let party = Party::start(five(&url), "");
        let lost = party.until("the end", |heard| heard.lost.first().cloned());
        assert!(lost.contains(why), "{lost}: {text:.60}");
        drop(party);
        thread.join().expect("it goes");
    }
}

#[test]
fn what_is_too_long_is_read_past_and_acknowledged_and_deep_topics_are_topics() {
    let deep = ["level"; 200].join("/");
    let topic = deep.clone();
    let (url, thread) = broker(1, move |_, mut stream| {
        packet(&mut stream);
        stream.write_all(&WELCOME).expect("sent");
        stream.write_all(&publish("long", Some(7), &vec![b'x'; 10_000_000])).expect("sent");
        assert_eq!(packet(&mut stream), Some((0x40, vec![0, 7])));
        stream.write_all(&publish(&topic, Some(8), b"deep")).expect("sent");
        assert_eq!(packet(&mut stream), Some((0x40, vec![0, 8])));
        until_gone(stream);
    });
    let party = Party::start(Options { max_message: 64 * 1024, ..five(&url) }, "");
    let message = party.until("the second", |heard| heard.messages.first().cloned());
    assert_eq!(message, (deep, "deep".into(), false));
    crate::fixture::wait_for("the counts", || {
        let counts = party.running.counts();
        (counts.too_long == 1 && counts.received == 1).then_some(())
    });
    drop(party);
    thread.join().expect("it goes");
}

#[test]
fn bytes_may_come_one_by_one_and_end_amid_a_packet() {
    let (url, thread) = broker(1, |_, mut stream| {
        stream.set_nodelay(true).expect("set");
        packet(&mut stream);
        let message = publish("a", None, b"whole");
        let cut = &publish("a", None, b"never whole")[..9];
        for byte in [&WELCOME[..], &message, cut].concat() {
            stream.write_all(&[byte]).expect("sent");
        }
    });
    let party = Party::start(five(&url), "");
    let why = party.until("the end", |heard| heard.lost.first().cloned());
    assert!(why.contains("closed the connection"), "{why}");
    let heard = party.heard.lock().expect("no panic");
    assert_eq!(heard.messages, [("a".into(), "whole".into(), false)]);
    drop(heard);
    thread.join().expect("it goes");
}

#[test]
fn a_subscription_that_is_refused_is_told_with_the_reason() {
    let (url, thread) = broker(1, |_, mut stream| {
        packet(&mut stream);
        stream.write_all(&WELCOME).expect("sent");
        let (first, body) = packet(&mut stream).expect("a SUBSCRIBE");
        assert_eq!(first, 0x82);
        stream.write_all(&[0x90, 4, body[0], body[1], 0, 0x87]).expect("sent");
        until_gone(stream);
    });
    let party = Party::start(five(&url), "secret/#");
    let (filter, outcome) = party.until("an answer", |heard| heard.subscribed.first().cloned());
    assert_eq!(filter, "secret/#");
    assert!(outcome.is_some_and(|why| why.starts_with("not authorised")));
    assert!(party.running.status().is_connected());
    drop(party);
    thread.join().expect("it goes");
}

#[test]
fn a_broker_that_takes_one_at_a_time_gets_one_at_a_time() {
    const MESSAGES: u64 = 20;
    let (url, thread) = broker(1, |_, mut stream| {
        packet(&mut stream);
        // Receive Maximum 1.
        stream.write_all(&[0x20, 6, 0, 0, 3, 0x21, 0, 1]).expect("sent");
        for _ in 0..MESSAGES {
            let (first, body) = packet(&mut stream).expect("a PUBLISH");
            assert_eq!(first, 0x32);
            stream.set_nonblocking(true).expect("set");
            // There is no second one before the first is acknowledged.
            assert!(stream.read(&mut [0]).is_err());
            stream.set_nonblocking(false).expect("set");
            stream.write_all(&[0x40, 2, body[3], body[4]]).expect("sent");
        }
        until_gone(stream);
    });
    let party = Party::start(five(&url), "");
    for number in 0..MESSAGES {
        let message = ("a".to_owned(), number.to_string(), Qos::AtLeastOnce);
        party.heard.lock().expect("no panic").to_say.push_back(message);
    }
    party.running.bell().ring();
    let most = party.until("all acknowledgements", |heard| {
        (heard.acknowledged == MESSAGES).then_some(heard.most_awaited)
    });
    assert_eq!(most, 1);
    drop(party);
    thread.join().expect("it goes");
}

#[test]
fn one_that_knows_no_mqtt_5_is_spoken_to_in_3_1_1_and_that_is_remembered() {
    for answer in [&[0x20, 2, 0, 1][..], &[]] {
        let answer = answer.to_vec();
        let (url, thread) = broker(3, move |number, mut stream| {
            let connect = packet(&mut stream).expect("a CONNECT");
            assert_eq!(level(&connect), if number == 0 { 5 } else { 4 }, "{number}");
            if number == 0 {
                // Some say so, some close at once.
                stream.write_all(&answer).expect("sent");
                return;
            }
            stream.write_all(&[0x20, 2, 0, 0]).expect("sent");
            if number == 2 {
                until_gone(stream);
            }
        });
        let party = Party::start(options(&url, "old"), "");
        party.until("a second connection", |heard| (heard.connected == 2).then_some(()));
        assert_eq!(party.running.status(), Status::Connected(Version::V311));
        drop(party);
        thread.join().expect("it goes");
    }
}

#[test]
fn a_port_that_always_closes_is_no_broker_and_said_so() {
    let (url, thread) = broker(2, |_, mut stream| drop(packet(&mut stream)));
    let party = Party::start(options(&url, "x"), "");
    let status = party.status().to_string();
    assert!(status.contains("is that an MQTT port"), "{status}");
    drop(party);
    thread.join().expect("it goes");
}
