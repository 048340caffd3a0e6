//! Any bytes at all as a pushed line, and as a `publish` message.

#![no_main]

use boardcast::{
    telemetry::ChannelName,
    wire::line::{MAX_POINTS, Points, parse, publish_message},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut points = Points::default();
    let outcome = parse(bytes, &mut points);
    check(outcome.err().map(|why| why.to_string()), &points);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let outcome = publish_message(text, &mut points);
        check(outcome.err().map(|why| why.to_string()), &points);
    }
});

fn check(refused: Option<String>, points: &Points) {
    if let Some(why) = refused {
        assert!(points.is_empty() && why.len() <= 200 && !why.chars().any(char::is_control));
    }
    assert!(points.len() <= MAX_POINTS);
    for point in points.iter() {
        ChannelName::new(point.name).expect("a valid name");
        assert!(!point.value.is_null() && point.value.as_f64().is_none_or(f64::is_finite));
    }
}
