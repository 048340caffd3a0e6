//! Faults that a test plants.
//!
//! A debug build fails at the place that `BOARDCAST_FAULT` names, so that the
//! tests see what the real binary does when one of its threads dies, or does too much. A release
//! build has none of it.

/// A place where a test may plant a panic.
pub(crate) fn may_strike(place: &str) {
    if planted(place) {
        panic!("planted at {place}");
    }
}

/// Whether a test wants the program to misbehave here.
#[cfg(debug_assertions)]
pub(crate) fn planted(place: &str) -> bool {
    use std::sync::OnceLock;
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| std::env::var("BOARDCAST_FAULT").ok());
    planted.as_deref() == Some(place)
}

/// Never, in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn planted(_: &str) -> bool {
    false
}
