//! Memory that is held for a moment, as one sum for the whole process: bodies
//! and messages that are under way, answers that wait for slow readers.
//!
//! Everyone draws from the same [`Purse`] before it allocates, and gives back
//! by dropping. Whoever gets nothing is told to come again, while everything
//! else goes on: a failed allocation would end the program.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A sum of bytes. Clones are handles to the same sum.
#[derive(Clone, Debug)]
pub struct Purse(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    taken: AtomicUsize,
}

/// Bytes that are taken from a purse until this is dropped.
#[derive(Debug)]
pub struct Taken {
    purse: Purse,
    /// The most that all together may have taken when this takes more.
    ceiling: usize,
    bytes: usize,
}

impl Purse {
    /// A purse of so many bytes.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shared { most, taken: AtomicUsize::new(0) }))
    }

    /// Its size, in bytes.
    pub fn most(&self) -> usize {
        self.0.most
    }

    /// The bytes that are taken.
    pub fn in_use(&self) -> usize {
        self.0.taken.load(Relaxed)
    }

    /// Takes nothing yet: [`Taken::grow_to`] does.
    pub fn open(&self) -> Taken {
        self.open_below(self.0.most)
    }

    /// As [`open`](Self::open), for what takes no more once all together have
    /// taken so much: the rest is for others.
    pub fn open_below(&self, ceiling: usize) -> Taken {
        Taken { purse: self.clone(), ceiling: ceiling.min(self.0.most), bytes: 0 }
    }

    /// Takes so many bytes; `None` when there are not as many.
    pub fn take(&self, bytes: usize) -> Option<Taken> {
        let mut taken = self.open();
        taken.grow_to(bytes).then_some(taken)
    }

    fn draw(&self, more: usize, ceiling: usize) -> bool {
        let drawn = self.0.taken.fetch_update(Relaxed, Relaxed, |taken| {
            taken.checked_add(more).filter(|&sum| sum <= ceiling)
        });
        drawn.is_ok()
    }
}

impl Taken {
    /// Takes more, up to so many bytes in all; takes nothing, and is false,
    /// when the purse has not as many. What is taken already stays.
    #[must_use]
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let fits = more == 0 || self.purse.draw(more, self.ceiling);
        if fits {
            self.bytes += more;
        }
        fits
    }

    /// Gives back what is beyond so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.purse.0.taken.fetch_sub(less, Relaxed);
        self.bytes -= less;
    }

    /// Gives everything back.
    pub fn clear(&mut self) {
        self.shrink_to(0);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How the memory of the process was shared out at its start, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The budget, in bytes; `None`: nothing limits the memory.
    pub limit: Option<u64>,
    /// What the program takes for itself: without ring, history, connections.
    pub own: u64,
    /// What each connection takes, at most.
    pub connection: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_can_be_taken_and_not_one_more() {
        let purse = Purse::new(100);
        let mut first = purse.take(60).expect("room");
        assert!(purse.take(41).is_none());
        let second = purse.take(40).expect("the rest");
        assert_eq!(purse.in_use(), 100);
        assert!(!first.grow_to(61) && first.grow_to(60) && first.grow_to(10));
        drop(second);
        assert!(first.grow_to(100) && !first.grow_to(usize::MAX));
        first.clear();
        assert_eq!(purse.in_use(), 0);
        drop(first);
        assert_eq!((purse.in_use(), purse.most()), (0, 100));
    }
}
