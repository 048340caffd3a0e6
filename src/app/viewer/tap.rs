//! A place in the stream for one who is no client of ours: what the uplink
//! sends to a broker.
//!
//! A [`Tap`] moves through the ring as a [`Viewer`] does, by the same
//! selections and with the same bytes, so that a batch which viewers get, too,
//! is encoded once. It differs in what comes around the batches: nobody greets
//! it, descriptions are looked up by its owner, and it can be set back to a
//! place where it has been.

use super::*;
use crate::{net::payload_of, wire::subscribe::Pace};

/// What comes next from a [`Tap`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    /// These batches are lost: the ring no longer had them. The latest of all
    /// follows, up to the last of these.
    Gap {
        /// The first one.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// A `data` object.
    Data {
        /// Its text, shared with whoever gets the same.
        json: Bytes,
        /// The one before it reached so far; `None`: it is the latest of all
        /// and follows on nothing.
        after: Option<u64>,
        /// Whoever has it has all up to there; `None`: more parts follow.
        up_to: Option<u64>,
    },
}

/// Where a [`Tap`] stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The last batch that was handed out, or that holds nothing for it.
    seq: u64,
    /// The last one that was handed out.
    told: u64,
}

/// A place in the stream, from which pieces are taken one by one.
pub(crate) struct Tap {
    viewer: Viewer,
    /// The last batch that was handed out.
    told: u64,
    gap: Option<(u64, u64)>,
    /// What the parts that wait follow on.
    after: Option<u64>,
    /// Where it stood before those.
    before: Place,
    /// Batches that it has lost.
    lost: u64,
}

impl Telemetry {
    /// A place at the beginning: what the ring has comes first.
    pub(in crate::app) fn tap(&self, filters: Filters, pace: Option<Pace>) -> Tap {
        let selection = self.selection(filters);
        let mut viewer = self.viewer(Encoding::Json, Arc::default());
        viewer.greeted = true;
        viewer.pacer = pace.map(|pace| Pacer::new(pace, self.0.start));
        viewer.selection = selection;
        viewer.attend();
        let before = Place::default();
        Tap { viewer, told: 0, gap: None, after: None, before, lost: 0 }
    }

    /// The channels that these filters select, as they come and go.
    pub(in crate::app) fn selection(&self, filters: Filters) -> Arc<Selection> {
        self.0.selections.get(filters, &self.0.hub)
    }
}

/// What one look at the hub gives.
enum Looked {
    Piece(Piece),
    /// Parts wait.
    Parts,
    /// What was looked at holds nothing for it; more is there.
    More,
    Nothing,
}

impl Tap {
    /// What comes next; `None` when there is nothing new, or not yet.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Piece> {
        loop {
            if let Some(waiting) = self.waiting() {
                return Some(waiting);
            }
            match self.look(now) {
                Looked::Piece(piece) => return Some(piece),
                Looked::Parts | Looked::More => {}
                Looked::Nothing => return None,
            }
        }
    }

    /// When to ask again without having heard that something is new.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.viewer.pacer.as_ref().and_then(Pacer::due)
    }

    /// Whether it stands behind the newest batch of this view.
    pub(crate) fn is_at(&self, view: &View<'_>) -> bool {
        let idle = self.gap.is_none() && self.viewer.first.is_empty();
        idle && (self.viewer.pacer.is_some() || self.viewer.seq == view.seq())
    }

    /// Where it stands: before what was begun and is not out yet.
    pub(crate) fn place(&self) -> Place {
        match self.gap.is_none() && self.viewer.first.is_empty() {
            true => Place { seq: self.viewer.seq, told: self.told },
            false => self.before,
        }
    }

    /// Where it stood before the piece that it gave last.
    pub(crate) fn place_before(&self) -> Place {
        self.before
    }

    /// Goes back to a place where it has been. What the ring no longer has by
    /// now is told as a gap.
    pub(crate) fn go_back(&mut self, place: Place) {
        (self.viewer.seq, self.told) = (place.seq, place.told);
        (self.gap, self.after) = (None, None);
        self.viewer.first.clear();
    }

    /// How many batches it has lost to the ring.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    fn waiting(&mut self) -> Option<Piece> {
        if let Some((from, to)) = self.gap.take() {
            return Some(Piece::Gap { from, to });
        }
        let frame = self.viewer.first.pop_front()?;
        let up_to = self.viewer.first.is_empty().then_some(self.viewer.seq);
        self.told = up_to.unwrap_or(self.told);
        Some(Piece::Data { json: payload_of(&frame), after: self.after, up_to })
    }

    fn look(&mut self, now: Instant) -> Looked {
        let shared = self.viewer.shared.clone();
        let mut view = shared.hub.view();
        self.before = Place { seq: self.viewer.seq, told: self.told };
        if self.viewer.selection.filters().is_empty() {
            self.viewer.seq = view.seq();
            return Looked::Nothing;
        }
        if let Some(pacer) = &mut self.viewer.pacer {
            if self.viewer.seq < view.seq() {
                pacer.note(now);
            }
            if !pacer.is_due(now) {
                return Looked::Nothing;
            }
            self.after = Some(self.told);
            self.viewer.conflate(&view, now);
            // It had readings of other channels alone.
            return if self.viewer.first.is_empty() { Looked::More } else { Looked::Parts };
        }
        if self.viewer.seq + 1 < view.oldest() {
            let (from, to) = (self.viewer.seq + 1, view.seq());
            self.lost += to + 1 - from;
            (self.gap, self.after) = (Some((from, to)), None);
            self.viewer.restart(&view);
            return Looked::Parts;
        }
        self.batch(&mut view)
    }

    /// The next batch that holds something for it.
    fn batch(&mut self, view: &mut View<'_>) -> Looked {
        let end = view.seq().min(self.viewer.seq + LOOKS);
        for seq in self.viewer.seq + 1..=end {
            let Some(form) = self.viewer.form(view, seq) else { return Looked::Nothing };
            let before = Place { seq: self.viewer.seq, told: self.told };
            self.viewer.seq = seq;
            if let Some(frame) = form {
                self.before = before;
                let after = Some(std::mem::replace(&mut self.told, seq));
                let json = payload_of(&frame);
                return Looked::Piece(Piece::Data { json, after, up_to: Some(seq) });
            }
        }
        if end < view.seq() { Looked::More } else { Looked::Nothing }
    }
}
