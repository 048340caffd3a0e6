//! Frames that the next client is about to need, too: snapshots, changed
//! descriptions, what a tick brings. A few of them, in bounded memory.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;

/// What frames were made for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Key {
    /// The latest values, as of a batch, a version of the descriptions and one
    /// of the wall clock.
    Snapshot { form: u64, seq: u64, version: u64, wall: u64 },
    /// The descriptions that changed from one version to another.
    Channels { form: u64, from: u64, to: u64 },
    /// What changed since a batch, at a tick, by a version of the wall clock.
    Tick { form: u64, from: u64, period: Duration, tick: u64, wall: u64 },
}

/// Frames, and up to which batch they go.
#[derive(Debug)]
pub(super) struct Made {
    key: Key,
    pub(super) seq: u64,
    pub(super) frames: Arc<[Bytes]>,
}

impl Made {
    fn size(&self) -> usize {
        self.frames.iter().map(Bytes::len).sum::<usize>()
    }
}

/// The frames that were made last.
#[derive(Debug, Default)]
pub(super) struct Recent {
    list: VecDeque<Made>,
    bytes: usize,
}

impl Recent {
    const MOST: usize = 16;
    const BYTES: usize = 256 * 1024;

    /// What was made for `key`, or is made now.
    pub(super) fn get(&mut self, key: Key, make: impl FnOnce() -> (u64, Vec<Bytes>)) -> &Made {
        let place = self.list.iter().position(|made| made.key == key);
        let place = place.unwrap_or_else(|| {
            let (seq, frames) = make();
            self.push(Made { key, seq, frames: frames.into() });
            self.list.len() - 1
        });
        &self.list[place]
    }

    /// The newest stays, whatever its size.
    fn push(&mut self, made: Made) {
        self.bytes += made.size();
        self.list.push_back(made);
        while self.list.len() > 1 && (self.list.len() > Self::MOST || self.bytes > Self::BYTES) {
            let oldest = self.list.pop_front();
            self.bytes -= oldest.map_or(0, |made| made.size());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tick: u64) -> Key {
        Key::Tick { form: 0, from: 0, period: Duration::from_secs(1), tick, wall: 0 }
    }

    fn frames(length: usize) -> (u64, Vec<Bytes>) {
        (7, vec![Bytes::from(vec![0; length])])
    }

    #[test]
    fn what_one_has_made_others_get() {
        let mut recent = Recent::default();
        let first = recent.get(key(1), || frames(3)).frames[0].as_ptr();
        let made = recent.get(key(1), || panic!("made a second time"));
        assert_eq!((made.seq, made.frames[0].as_ptr()), (7, first));
        assert_ne!(recent.get(key(2), || frames(3)).frames[0].as_ptr(), first);
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let mut recent = Recent::default();
        for tick in 0..100 {
            recent.get(key(tick), || frames(1000));
            assert!(recent.list.len() <= Recent::MOST);
        }
        recent.get(key(100), || frames(Recent::BYTES));
        assert_eq!(recent.list.len(), 1, "the newest stays");
        recent.get(key(101), || frames(10));
        assert_eq!((recent.list.len(), recent.bytes), (1, 10));
    }
}
