//! The two retained messages that speak of many channels: their descriptions,
//! and the latest of all. When each is due; the publisher says them.

use std::time::{Duration, Instant};

use crate::{app::Mask, telemetry::View};

/// Descriptions are told at most so often.
const DESCRIBE: Duration = Duration::from_secs(1);
/// The latest of all is told so often, when there is something new in it.
const LATEST: Duration = Duration::from_secs(60);

/// What was described on this connection.
#[derive(Debug, Default)]
pub(super) struct Descriptions(Option<Told>);

#[derive(Debug)]
struct Told {
    at: Instant,
    version: u64,
    wall: u64,
    /// So many channels were there.
    known: usize,
}

impl Descriptions {
    /// When to tell them; `None` while those that were told hold.
    pub(super) fn due(&self, view: &View<'_>, mask: &Mask, now: Instant) -> Option<Instant> {
        let Some(told) = &self.0 else { return Some(now) };
        let changed = told.wall != view.wall().version
            || told.version != view.version()
                && view.channels().iter().any(|s| s.version > told.version && mask.has(s.id));
        changed.then(|| told.at + DESCRIBE)
    }

    /// Whether there are channels that nobody has been told of: their readings
    /// wait.
    pub(super) fn lacks_some(&self, view: &View<'_>, mask: &Mask) -> bool {
        let known = self.0.as_ref().map_or(0, |told| told.known);
        view.channels().iter().skip(known).any(|state| mask.has(state.id))
    }

    /// They have been told.
    pub(super) fn told(&mut self, view: &View<'_>, now: Instant) {
        let (version, wall) = (view.version(), view.wall().version);
        self.0 = Some(Told { at: now, version, wall, known: view.channels().len() });
    }
}

/// Which latest values of all were told on this connection.
#[derive(Debug, Default)]
pub(super) struct Latest(Option<(Instant, u64)>);

impl Latest {
    /// When to tell them; `None` while there is nothing new.
    pub(super) fn due(&self, view: &View<'_>, mask: &Mask, now: Instant) -> Option<Instant> {
        let Some((at, seq)) = self.0 else { return Some(now) };
        let new = seq < view.seq()
            && view.channels().iter().any(|state| state.seq > seq && mask.has(state.id));
        new.then(|| at + LATEST)
    }

    /// They have been told.
    pub(super) fn told(&mut self, seq: u64, now: Instant) {
        self.0 = Some((now, seq));
    }
}
