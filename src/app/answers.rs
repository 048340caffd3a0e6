//! Answers that are large, counted for as long as they wait for their reader.
//!
//! They may fill one half of the [`Purse`]: the other one is for what comes in.

use std::io::{self, Write};

use bytes::Bytes;

use crate::purse::{Purse, Taken};

/// An answer of so many bytes is within what every connection may take.
const SHORT: usize = 16 * 1024;

/// An answer under way. Writing to it fails with [`io::ErrorKind::OutOfMemory`]
/// when there is no room for more.
#[derive(Debug)]
pub(super) struct Parcel {
    bytes: Vec<u8>,
    taken: Taken,
}

impl Parcel {
    /// An empty one.
    pub(super) fn new(purse: &Purse) -> Self {
        Self { bytes: Vec::new(), taken: purse.open_below(purse.most() / 2) }
    }

    /// What was made already; `None` when there is no room for it.
    pub(super) fn of(purse: &Purse, answer: String) -> Option<Bytes> {
        let mut parcel = Self { bytes: answer.into_bytes(), ..Self::new(purse) };
        let fits = parcel.bytes.len() <= SHORT || parcel.taken.grow_to(parcel.bytes.capacity());
        fits.then(|| Bytes::from_owner(parcel))
    }

    /// The answer; its reader gives back what it takes.
    pub(super) fn finish(mut self) -> Bytes {
        self.bytes.shrink_to_fit();
        self.taken.shrink_to(self.bytes.capacity());
        Bytes::from_owner(self)
    }
}

impl Write for Parcel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A vector grows by doubling.
        if !self.taken.grow_to(2 * (self.bytes.len() + bytes.len())) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsRef<[u8]> for Parcel {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_counted_until_it_is_sent_and_may_take_one_half() {
        let purse = Purse::new(200_000);
        let mut first = Parcel::new(&purse);
        first.write_all(&[0; 50_000]).expect("room");
        assert_eq!(purse.in_use(), 100_000);
        let full = first.write_all(&[0]).expect_err("the other half is not for answers");
        assert_eq!(full.kind(), io::ErrorKind::OutOfMemory);
        let body = first.finish();
        assert_eq!(purse.in_use(), 50_000);
        let clone = body.clone();
        drop(body);
        let made = |length| Parcel::of(&purse, "x".repeat(length));
        assert!(made(50_001).is_none());
        let second = made(50_000).expect("the rest");
        assert!(made(SHORT).is_some() && made(SHORT + 1).is_none());
        drop((clone, second));
        assert_eq!(purse.in_use(), 0);
    }
}
