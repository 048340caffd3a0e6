//! Faults that a test plants.
//!
//! A debug build panics at the place that `BOARDCAST_FAULT` names, so that the
//! tests see what the real binary does when one of its threads dies. A release
//! build has none of it.

/// A place where a test may plant a panic.
#[cfg(debug_assertions)]
pub(crate) fn may_strike(place: &str) {
    use std::sync::OnceLock;
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| std::env::var("BOARDCAST_FAULT").ok());
    if planted.as_deref() == Some(place) {
        panic!("planted at {place}");
    }
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn may_strike(_: &str) {}
