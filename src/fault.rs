//! Faults that a test plants.
//!
//! The places where the engine meets the kernel ask here, before each call,
//! whether it is to fail. In a debug build a test says which: `BOARDCAST_FAULT`
//! for the real binary, a `Plan` for an engine in this process. A
//! release build has none of it: all of this is nothing there.
//!
//! `BOARDCAST_FAULT` is a list of `PLACE:WHEN:HOW` (docs/faults.md):
//!
//! ```text
//! accept:3:EMFILE,write:7+10:short,clock:100+:+3600,worker
//! ```

use std::{ffi::CStr, io, thread};

#[cfg(debug_assertions)]
mod plan;
#[cfg(all(test, debug_assertions))]
mod sweep;

/// Where something can go wrong.
// A release build asks of none of them.
#[cfg_attr(not(debug_assertions), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// accept(2) of the engine.
    Accept,
    /// recv(2) on a connection.
    Read,
    /// send(2) and sendmsg(2) on a connection.
    Write,
    /// epoll_wait(2) of the accept loop and of the push workers.
    Poll,
    /// epoll_ctl(2) for a listener, a refused peer, a client whose socket is full.
    Register,
    /// Starting a thread.
    Spawn,
    /// A look at the wall clock.
    Clock,
    /// A push worker takes a new client in: it may panic.
    Worker,
    /// A message of a client has come: its connection may panic.
    Message,
    /// History is written without a pause.
    History,
    /// Landlock is looked for: there is none.
    Landlock,
    /// The sandbox is closed: the program tries to get out of it.
    Sandbox,
}

/// Whether a call is to fail, and with which error.
///
/// # Errors
/// What the test has planted.
#[inline(always)]
pub(crate) fn check(place: Place) -> nix::Result<()> {
    allow(place, 1).map(drop)
}

/// How many of `length` bytes a call may take: all, or 1 where a test wants it
/// short.
///
/// # Errors
/// What the test has planted.
#[cfg(debug_assertions)]
pub(crate) fn allow(place: Place, length: usize) -> nix::Result<usize> {
    match plan::strike(place) {
        None => Ok(length),
        Some(plan::How::Short) => Ok(length.min(1)),
        Some(plan::How::Fail(errno)) => Err(errno),
        Some(plan::How::Plain | plan::How::Jump(_)) => panic!("planted at {place:?}"),
    }
}

/// All, in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn allow(_: Place, length: usize) -> nix::Result<usize> {
    Ok(length)
}

/// A place where a test may plant a panic.
#[inline(always)]
pub(crate) fn may_strike(place: Place) {
    if planted(place) {
        panic!("planted at {place:?}");
    }
}

/// Whether a test wants the program to misbehave here.
#[cfg(debug_assertions)]
pub(crate) fn planted(place: Place) -> bool {
    plan::strike(place).is_some()
}

/// Never, in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn planted(_: Place) -> bool {
    false
}

/// By how many seconds the wall clock is wrong by now; asking is a look at it.
#[cfg(debug_assertions)]
pub(crate) fn wall_offset() -> f64 {
    plan::wall_offset()
}

/// It is right, in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn wall_offset() -> f64 {
    0.0
}

/// Starts a thread that nobody joins, as [`sys::spawn_detached`](crate::sys) does.
///
/// # Errors
/// When the system refuses it, or a test has planted that.
#[inline(always)]
pub(crate) fn spawn_detached(
    name: &'static CStr,
    stack_bytes: usize,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    check(Place::Spawn)?;
    #[cfg(debug_assertions)]
    let run = plan::handed_on(run);
    crate::sys::spawn_detached(name, stack_bytes, run)
}

/// Starts a thread. What is planted for this one is planted for it, too.
///
/// # Errors
/// When the system refuses it, or a test has planted that.
#[inline(always)]
pub(crate) fn spawn<T: Send + 'static>(
    builder: thread::Builder,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    check(Place::Spawn)?;
    #[cfg(debug_assertions)]
    let run = plan::handed_on(run);
    builder.spawn(run)
}
