//! Memory of zlib's that nobody uses at the moment, kept for the next who does.
//!
//! These are blocks of 52 and 160 KiB, used for some microseconds by any of
//! hundreds of threads. Allocated and freed each time, they left holes that
//! glibc did not reuse: 200 threads that had answered one message each held
//! 30 MB (measured).

use std::sync::{Mutex, PoisonError};

/// At most `MOST` of them are kept.
pub(super) struct Spares<T, const MOST: usize>(Mutex<Vec<T>>);

impl<T, const MOST: usize> Spares<T, MOST> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    pub(super) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(super) fn give(&self, spare: T) {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < MOST {
            spares.push(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_kept_as_may_be() {
        let spares = Spares::<_, 2>::new();
        assert_eq!(spares.take(), None);
        (1..=3).for_each(|number| spares.give(number));
        assert_eq!([(); 3].map(|()| spares.take()), [Some(2), Some(1), None]);
    }
}
