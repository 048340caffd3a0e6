//! Where pushed readings come in: standard input, a Unix socket, UDP.
//!
//! | file | what |
//! |---|---|
//! | `lines` | bytes that come cut anywhere → lines, bounded |
//! | `bell` | a thread that waits for descriptors, and can be told to stop |
//! | `stdin` | one stream, until its end |
//! | `unix` | a stream socket and a datagram socket beside it |
//! | `place` | where these are |
//! | `udp` | datagrams |
//!
//! Each input is one thread with one `poll(2)`; what a turn of it reads goes
//! into an [`Intake`]. The first line after a quiet time is
//! published at once, and then a batch at most every 10 ms.

mod bell;
mod lines;
mod place;
mod stdin;
mod udp;
mod unix;

use std::time::{Duration, Instant};

pub(super) use self::{bell::Bell, lines::Lines};
pub use self::{
    bell::Input,
    place::{SOCKET_FOLDER, connect, socket_places},
    stdin::stdin,
    udp::UdpInput,
    unix::UnixInput,
};
use super::Intake;

/// The time from one batch to the next, while lines keep coming.
const REST: Duration = Duration::from_millis(10);
/// What one read takes at most, in bytes.
pub(super) const READ: usize = 16 * 1024;
/// The largest datagram, in bytes: UDP knows no larger ones.
const DATAGRAM: usize = 64 * 1024;

/// When the lines that were taken are published.
#[derive(Debug)]
pub(super) struct Pace {
    intake: Intake,
    next: Instant,
    waiting: bool,
}

impl Pace {
    pub(super) fn new(intake: Intake) -> Self {
        Self { intake, next: Instant::now(), waiting: false }
    }

    /// Lines were taken.
    pub(super) fn note(&mut self) {
        self.waiting = true;
    }

    /// Publishes when it is time; otherwise, for how long to wait at most.
    pub(super) fn settle(&mut self) -> Option<Duration> {
        if !self.waiting {
            return None;
        }
        let now = Instant::now();
        if now < self.next {
            return Some(self.next - now);
        }
        self.finish();
        self.next = now + REST;
        None
    }

    /// Publishes now.
    pub(super) fn finish(&mut self) {
        self.waiting = false;
        self.intake.turn().publish();
    }
}
