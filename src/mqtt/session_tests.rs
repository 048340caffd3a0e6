//! Sessions without sockets and without waiting.

use super::*;

fn session(version: Version, now: Instant) -> Session {
    let broker = "mqtt://me:pass@host".parse().expect("a broker");
    let mut session = Session::new(version, &Options::new(broker, "id"), now).expect("valid");
    let length = session.unsent().len();
    session.sent(length, now);
    session
}

/// One that was let in, with these properties of CONNACK.
fn welcome(properties: &[u8], now: Instant) -> Session {
    let mut session = session(Version::V5, now);
    let mut bytes = vec![0x20, 3 + properties.len() as u8, 0, 0, properties.len() as u8];
    bytes.extend(properties);
    session.feed(&bytes);
    assert_eq!(session.event(now), Ok(Some(Event::Connected)));
    session
}

fn events(session: &mut Session, now: Instant) -> Vec<Event> {
    std::iter::from_fn(|| session.event(now).expect("well-formed")).collect()
}

fn publication<'a>(topic: &'a str, payload: &'a [&'a [u8]]) -> Publication<'a> {
    Publication { topic, payload, qos: Qos::AtLeastOnce, retain: true }
}

fn sent(session: &mut Session, now: Instant) -> Vec<u8> {
    let bytes = session.unsent().to_vec();
    session.sent(bytes.len(), now);
    bytes
}

#[test]
fn a_broker_that_says_nothing_is_asked_and_then_dead() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut session = welcome(&[], start);
    assert!(session.tick(start).is_ok_and(|time| time <= Duration::from_secs(30)));
    assert!(session.unsent().is_empty());
    session.tick(after(30)).expect("alive");
    assert_eq!(sent(&mut session, after(30)), [0xc0, 0]);
    session.feed(&[0xd0, 0]);
    assert_eq!(events(&mut session, after(31)), []);
    // It has answered; the next question goes unanswered.
    session.tick(after(61)).expect("alive");
    assert_eq!(sent(&mut session, after(61)), [0xc0, 0]);
    assert!(session.tick(after(70)).is_ok());
    let end = session.tick(after(71)).expect_err("dead");
    assert_eq!(end, End::Other("it does not answer any more".into()));
}

#[test]
fn a_question_that_has_not_gone_out_has_time() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut session = welcome(&[], start);
    session.tick(after(30)).expect("alive");
    session.publish(&publication("a", &[b"x"]), after(30));
    session.sent(1, after(39));
    assert!(session.tick(after(48)).is_ok());
    assert!(session.tick(after(49)).is_err());
}

#[test]
fn one_that_answers_but_never_acknowledges_is_of_no_use() {
    let start = Instant::now();
    let mut session = welcome(&[], start);
    session.publish(&publication("a", &[b"x"]), start);
    session.sent(session.unsent().len(), start);
    for seconds in [10, 20, 29] {
        let now = start + Duration::from_secs(seconds);
        session.feed(&[0xd0, 0]);
        assert_eq!(events(&mut session, now), []);
        assert!(session.tick(now).is_ok());
    }
    let end = session.tick(start + ACKNOWLEDGE).expect_err("given up");
    assert!(matches!(end, End::Other(why) if why.contains("acknowledged nothing")));
}

#[test]
fn what_the_broker_grants_is_kept_to() {
    let now = Instant::now();
    // Receive Maximum 2, Maximum QoS 0, no retained messages, packets of 64
    // bytes, 5 s of keep-alive.
    let properties = [0x21, 0, 2, 0x24, 0, 0x25, 0, 0x27, 0, 0, 0, 64, 0x13, 0, 5];
    let mut strict = welcome(&properties, now);
    assert_eq!(strict.publish(&publication("a", &[b"x"]), now), Some(Qos::AtMostOnce));
    assert_eq!(sent(&mut strict, now), [0x30, 5, 0, 1, b'a', 0, b'x']);
    assert_eq!(strict.publish(&publication("a", &[&[b'x'; 64]]), now), None);
    assert_eq!(strict.take_counts().refused, 1);
    assert!(strict.tick(now).is_ok_and(|time| time <= Duration::from_secs(5)));

    let mut two = welcome(&[0x21, 0, 2], now);
    for room in [true, true, false] {
        assert_eq!(two.has_room(), room);
        two.publish(&publication("a", &[b"x"]), now);
    }
}

#[test]
fn acknowledgements_count_in_the_order_of_what_was_sent() {
    let now = Instant::now();
    let mut session = welcome(&[], now);
    for _ in 0..3 {
        session.publish(&publication("a", &[b"x"]), now);
    }
    // The second, the first with a refusal, the third.
    session.feed(&[0x40, 2, 0, 2]);
    assert_eq!(events(&mut session, now), []);
    session.feed(&[0x40, 3, 0, 1, 0x97]);
    assert_eq!(events(&mut session, now), [Event::Acknowledged(2)]);
    session.feed(&[0x40, 2, 0, 3]);
    assert_eq!(events(&mut session, now), [Event::Acknowledged(1)]);
    assert_eq!(session.take_counts().refused, 1);
}

#[test]
fn output_has_a_bound_and_a_broker_that_takes_nothing_is_not_read() {
    let now = Instant::now();
    let mut session = welcome(&[], now);
    let payload = [0; 8192];
    let publication =
        Publication { topic: "a", payload: &[&payload], qos: Qos::AtMostOnce, retain: false };
    let mut count = 0;
    while session.has_room() {
        session.publish(&publication, now);
        count += 1;
    }
    assert_eq!(count, UNSENT / 8192);
    assert!(session.takes_more());
    while session.takes_more() {
        session.acknowledge(1);
    }
    assert!(session.unsent().len() <= BACKLOG + 4);
}

#[test]
fn both_versions_say_hello_with_all_that_is_set() {
    let now = Instant::now();
    for (version, level) in [(Version::V5, 5), (Version::V311, 4)] {
        let broker = "mqtt://me:pass@host".parse().expect("a broker");
        let session = Session::new(version, &Options::new(broker, "id"), now).expect("valid");
        let bytes = session.unsent();
        assert_eq!(bytes[2..9], [0, 4, b'M', b'Q', b'T', b'T', level]);
        // User, password, clean; 30 s.
        assert_eq!(bytes[9..12], [0xc2, 0, 30]);
        assert!(bytes.ends_with(b"\0\x02id\0\x02me\0\x04pass"));
    }
}

#[test]
fn how_a_broker_refuses_says_whether_another_version_is_worth_a_try() {
    let now = Instant::now();
    for (version, answer, is_version, why) in [
        (Version::V5, &[0x20, 3, 0, 0x84, 0][..], true, "MQTT 5"),
        (Version::V5, &[0x20, 2, 0, 1][..], true, "MQTT 5"),
        (Version::V5, &[0x20, 3, 0, 0x86, 0][..], false, "user or password"),
        (Version::V5, &[0x20, 2, 0, 5][..], false, "not authorised"),
        (Version::V5, &[0x20, 3, 0, 0x8a, 0][..], false, "banned"),
        (Version::V311, &[0x20, 2, 0, 1][..], true, "MQTT 3.1.1"),
        (Version::V311, &[0x20, 2, 0, 2][..], false, "client id"),
        (Version::V311, &[0x20, 2, 0, 4][..], false, "user or password"),
    ] {
        let mut session = session(version, now);
        session.feed(answer);
        let end = session.event(now).expect_err("refused");
        assert_eq!(matches!(end, End::Version(_)), is_version, "{end:?}");
        let (End::Version(text) | End::Other(text)) = end;
        assert!(text.contains(why), "{text}");
    }
    assert!(matches!(session(Version::V5, now).closed(), End::Version(_)));
    assert!(matches!(welcome(&[], now).closed(), End::Other(_)));
}

#[test]
fn what_a_broker_says_itself_is_shown_without_control_characters() {
    let now = Instant::now();
    let mut session = session(Version::V5, now);
    session.feed(&[0x20, 10, 0, 0x87, 7, 0x1f, 0, 4, b'a', 0x1b, b'[', b'm']);
    let Err(End::Other(text)) = session.event(now) else { panic!("refused") };
    assert!(text.ends_with("(\"a[m\")"), "{text}");
}

#[test]
fn a_long_message_on_a_slow_link_has_the_time_that_it_takes() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut session = welcome(&[], start);
    session.publish(&publication("a", &[&[b'x'; 200_000]]), start);
    for step in 1..=9 {
        session.sent(20_000, after(step * 9));
        assert!(session.tick(after(step * 9)).is_ok(), "{step}");
    }
    session.sent(session.unsent().len(), after(82));
    session.feed(&[0xd0, 0]);
    assert_eq!(events(&mut session, after(85)), []);
    // From there on it is waited for as ever.
    assert!(session.tick(after(81) + ACKNOWLEDGE).is_err());
}
