//! What the push workers read: a place in a stream of frames.
//!
//! There is no queue per client and no second mechanism beside this one. A
//! client that is behind costs its cursor; what it gets next is made when its
//! socket has room, not before.

use std::{sync::Arc, time::Instant};

use bytes::{BufMut, Bytes, BytesMut};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

use crate::message::Message;

/// A stream of frames that any number of clients read, each from its own
/// place: a program's [`Broadcast`](crate::websocket::Broadcast) is one.
pub trait Feed: Send + Sync {
    /// A place for a new client: first comes what a newcomer gets, then all
    /// that is new from here on. `connection` is its
    /// [`Connection::id`](super::Connection::id).
    fn cursor(&self, connection: u64) -> Box<dyn Cursor>;

    /// The engine runs; `bell` is to be rung whenever there is something new.
    fn started(&self, bell: Bell);
}

/// One client's place in a feed. It belongs to the client's push worker and
/// works like [`BufRead`](std::io::BufRead): `fill` shows what comes next,
/// `consume` says how much of it was taken.
///
/// A [`Feed`] makes one for each client, and the application gives it to
/// [`Upgrade`](super::Upgrade). When the feed has something new, it rings its
/// [`Bell`], and the workers fill and send for all their clients.
pub trait Cursor: Send {
    /// Puts the frames that come next into `frames`, until there are no more
    /// or it is [full](Frames::is_full): a cursor that leaves it not full, and
    /// does not [expect more](Frames::expect_more), is not asked again before a
    /// bell rings or it is [due](Self::due). Does not move the cursor: asked
    /// again, it may answer anew. It must not block.
    ///
    /// A client that was overtaken gets here what puts it right (a gap and the
    /// latest values, say); no one else knows that it was behind. Where nothing
    /// can, [`Frames::overtaken`] ends the client.
    fn fill(&mut self, now: Instant, frames: &mut Frames);

    /// The first frames of the last `fill` are on their way: as many as there
    /// are `places`, which are what [`Frames::push_at`] said of each.
    fn consume(&mut self, places: &[u64], now: Instant);

    /// When to ask again even if no bell rings (a heartbeat, a paced rate); it
    /// is asked for after each fill, and kept to within some milliseconds.
    fn due(&self) -> Option<Instant> {
        None
    }
}

/// Whole WebSocket frames, shared by all who get them; at most 64, and about
/// 32 KiB, so that one system call takes them all.
#[derive(Debug, Default)]
pub struct Frames {
    list: Vec<Bytes>,
    /// For each frame, what its cursor wants to know of it.
    places: Vec<u64>,
    bytes: usize,
    more: bool,
    overtaken: bool,
}

impl Frames {
    pub(super) const MOST: usize = 64;
    const BYTES: usize = 32 * 1024;

    /// Appends one whole frame, header included, as
    /// [`text_frame`] makes it.
    pub fn push(&mut self, frame: Bytes) {
        self.push_at(frame, 0);
    }

    /// As [`push`](Self::push), with a number that [`Cursor::consume`] gets when
    /// the frame is on its way: where the cursor stands then, say.
    pub fn push_at(&mut self, frame: Bytes, place: u64) {
        self.bytes += frame.len();
        self.list.push(frame);
        self.places.push(place);
    }

    /// Whether the next frame should wait for the next turn.
    pub fn is_full(&self) -> bool {
        self.list.len() >= Self::MOST || self.bytes >= Self::BYTES
    }

    /// Says that more will come when these are on their way, although there is
    /// room left.
    pub fn expect_more(&mut self) {
        self.more = true;
    }

    /// Says that what comes next is lost to this client and cannot be made
    /// good: it is ended with 1013.
    pub fn overtaken(&mut self) {
        self.overtaken = true;
    }

    pub(crate) fn was_overtaken(&self) -> bool {
        self.overtaken
    }

    /// Whether another fill is worth it at once.
    pub(crate) fn more_follows(&self) -> bool {
        self.more || self.is_full()
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The number of frames.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn as_slice(&self) -> &[Bytes] {
        &self.list
    }

    /// What [`push_at`](Self::push_at) said of each frame, 0 without it.
    pub fn places(&self) -> &[u64] {
        &self.places
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Bytes> {
        self.list.iter_mut()
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.places.clear();
        (self.bytes, self.more, self.overtaken) = (0, false, false);
    }
}

/// Rung when a feed has something new; wakes the push workers that have
/// clients. Cheap to clone;
/// ringing it again before they woke costs one atomic operation a worker.
#[derive(Clone)]
pub struct Bell(Arc<dyn Fn() + Send + Sync>);

impl Bell {
    pub(crate) fn new(ring: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(ring))
    }

    /// Wakes the workers. Call it without holding a lock that a
    /// [`Cursor::fill`] needs: they ask at once.
    pub fn ring(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bell")
    }
}

/// A text as one whole frame of a server: header and payload in one piece
/// (RFC 6455 section 5.2), ready to be sent to any number of clients.
pub fn text_frame(text: &str) -> Bytes {
    frame(OpCode::Data(Data::Text), text.as_bytes())
}

/// A message as one whole frame of a server, as [`text_frame`] does it.
pub fn message_frame(message: &Message) -> Bytes {
    frame(message_opcode(message), message.as_bytes())
}

/// What a frame carries that [`text_frame`] has made; the bytes are shared.
#[cfg(feature = "mqtt")]
pub(crate) fn payload_of(frame: &Bytes) -> Bytes {
    // RFC 6455 section 5.2: a length of 126 or 127 stands for one of 2 or 8
    // bytes behind it.
    let header = match frame.get(1).map(|length| length & 0x7f) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.slice(header.min(frame.len())..)
}

pub(super) fn message_opcode(message: &Message) -> OpCode {
    match message {
        Message::Text(_) => OpCode::Data(Data::Text),
        Message::Binary(_) => OpCode::Data(Data::Binary),
    }
}

/// A payload as one whole, final, unmasked frame.
pub(super) fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let whole = FrameHeader { opcode, ..FrameHeader::default() };
    let mut bytes = header(&whole, payload.len(), payload.len());
    bytes.put_slice(payload);
    bytes.freeze()
}

/// The header of a frame of this length, with room for `spare` bytes behind it.
pub(super) fn header(header: &FrameHeader, length: usize, spare: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(header.len(length as u64) + spare).writer();
    // Writing to memory cannot fail.
    let _ = header.format(length as u64, &mut bytes);
    bytes.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_frame_has_the_header_of_rfc_6455() {
        assert_eq!(text_frame("Hi"), &[0x81, 2, b'H', b'i'][..]);
        let long = text_frame(&"x".repeat(300));
        assert_eq!((&long[..4], long.len()), (&[0x81, 126, 1, 44][..], 304));
    }

    #[test]
    fn frames_are_full_by_number_and_by_bytes() {
        let mut frames = Frames::default();
        for _ in 0..Frames::MOST {
            assert!(!frames.is_full());
            frames.push(Bytes::from_static(b"x"));
        }
        assert!(frames.is_full());
        frames.clear();
        frames.push(Bytes::from(vec![0; Frames::BYTES]));
        assert!(frames.is_full());
    }
}
