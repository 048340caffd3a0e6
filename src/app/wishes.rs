//! Where a client's thread leaves what the client wishes, for its worker.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
};

use super::selection::Selection;
use crate::wire::subscribe::{Pace, Places, Since};

/// What a client wishes to see from now on.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) selection: Arc<Selection>,
    pub(super) pace: Option<Pace>,
    pub(super) since: Option<Since>,
    /// The same, of each device of a fleet.
    pub(super) places: Option<Places>,
    /// Comes back in the answer.
    pub(super) id: Option<serde_json::Value>,
    /// It has no answer.
    pub(super) quiet: bool,
}

/// One place: a newer wish takes that of an older one, so that a client which
/// asks faster than its worker looks costs nothing more.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    newest: Mutex<Option<Wish>>,
    /// Whether there is one, for a look without the lock.
    waiting: AtomicBool,
}

impl Wishes {
    /// Leaves a wish; the one whose place it takes.
    pub(super) fn leave(&self, wish: Wish) -> Option<Wish> {
        let older = self.lock().replace(wish);
        self.waiting.store(true, Release);
        older
    }

    /// Whether there is one.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Acquire)
    }

    /// Takes the newest wish.
    pub(super) fn take(&self) -> Option<Wish> {
        if !self.waiting.swap(false, Acquire) {
            return None;
        }
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Wish>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
