//! Anything at all as what a broker says: the first byte chooses the version
//! and how the rest is cut.

use std::time::Instant;

use super::{
    Options, Publication, Qos, Version, is_topic,
    session::{End, Event, Session},
};

/// The longest message that is taken.
const LONGEST: usize = 1024;
/// What the reader may hold: a packet of 16 KiB, and what came with it.
const HELD: usize = 100 * 1024;

/// A session that subscribes and publishes hears these bytes. It ends in one
/// sentence, or goes on; messages are within their bounds; how the bytes are
/// cut changes nothing.
pub fn broker(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let version = if first & 1 == 0 { Version::V5 } else { Version::V311 };
    let piece = usize::from(first >> 1).max(1);
    let whole = hear(version, rest.chunks(rest.len().max(1)));
    assert_eq!(hear(version, rest.chunks(piece)), whole);
}

/// What was heard, as text, and how it ended.
fn hear<'a>(version: Version, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let now = Instant::now();
    let broker = "mqtt://host".parse().expect("a broker");
    let options = Options { max_message: LONGEST, ..Options::new(broker, "id") };
    let mut session = Session::new(version, &options, now).expect("valid");
    let mut heard = Vec::new();
    for piece in pieces {
        session.feed(piece);
        loop {
            match session.event(now) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    take(&mut session, &event, now);
                    heard.push(format!("{event:?}"));
                }
                Err(End::Version(why) | End::Other(why)) => {
                    assert!(why.len() <= 700 && !why.chars().any(char::is_control), "{why}");
                    heard.push(why);
                    return heard;
                }
            }
        }
        assert!(session.held() <= HELD, "{}", session.held());
    }
    heard
}

fn take(session: &mut Session, event: &Event, now: Instant) {
    match event {
        Event::Connected => {
            session.subscribe("a/#", Qos::AtLeastOnce, now);
            let payload = [&b"x"[..]];
            let (qos, retain) = (Qos::AtLeastOnce, true);
            session.publish(&Publication { topic: "a", payload: &payload, qos, retain }, now);
        }
        Event::Message { topic, id, .. } => {
            assert!(is_topic(topic));
            if let Some(id) = id {
                session.acknowledge(*id);
            }
        }
        Event::Acknowledged(count) => assert_eq!(*count, 1),
        Event::Subscribed { filter, .. } => assert_eq!(filter, "a/#"),
    }
}
