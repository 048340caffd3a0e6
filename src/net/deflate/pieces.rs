//! A compressed message that is under way: payload goes in, plain fragments of
//! at most 4 KiB come out (RFC 7692 section 7.2.2).

use std::{error, fmt, io, ops::Range};

use zlib_rs::{Inflate, InflateFlush, Status};

use super::{compress, spares::Spares};
use crate::net::head::Frame;

/// zlib's state, and one piece of what it gave.
pub(super) struct Pieces {
    inflate: Inflate,
    /// What the next piece's header begins with: the opcode, then 0.
    opcode: u8,
    /// The mask of the present frame,
    mask: Option<[u8; 4]>,
    /// how much of its payload was taken, modulo 4,
    position: usize,
    /// and whether it is the message's last.
    last: bool,
    /// How much of [`ENDING`] was taken.
    ended: usize,
    /// Whether nothing was taken since the beginning of a deflate stream.
    fresh: bool,
    finished: bool,
    /// Room for a header, and then inflated bytes.
    piece: Box<[u8]>,
    length: usize,
    /// Whether the piece had no room for more.
    full: bool,
    /// The whole piece, less what was handed over.
    ready: Range<usize>,
}

/// The longest header of a piece: an extended length and a mask.
const HEADER: usize = 8;
const PIECE: usize = 4096;

/// Two, since messages seldom come in at the same moment.
static SPARES: Spares<Box<Pieces>, 2> = Spares::new();

/// What the sender left out (section 7.2.2); behind it an empty last block
/// (RFC 1951 section 3.2.4), which zlib takes for the end only when the
/// message is whole.
const ENDING: [u8; 9] = {
    let [a, b, c, d] = compress::TAIL;
    [a, b, c, d, 0x01, 0x00, 0x00, 0xff, 0xff]
};

impl Pieces {
    /// For a message whose first frame begins with this byte.
    pub(super) fn new(first: u8) -> Box<Self> {
        let mut pieces = SPARES.take().unwrap_or_else(Self::allocate);
        pieces.opcode = first & 0x0f;
        pieces
    }

    fn allocate() -> Box<Self> {
        Box::new(Self {
            // Room for any window: zlib-rs takes as much for a smaller one.
            inflate: Inflate::new(false, 15),
            opcode: 0,
            mask: None,
            position: 0,
            last: false,
            ended: 0,
            fresh: true,
            finished: false,
            piece: vec![0; PIECE].into(),
            length: 0,
            full: false,
            ready: 0..0,
        })
    }

    /// The message is over: what was allocated for it can serve another.
    pub(super) fn recycle(mut self: Box<Self>) {
        // It knows nothing of the old message then: a distance that reaches
        // back into that is an error.
        self.inflate.reset(false);
        (self.mask, self.last, self.finished) = (None, false, false);
        (self.ended, self.fresh) = (0, true);
        (self.length, self.full, self.ready) = (0, false, 0..0);
        SPARES.give(self);
    }

    pub(super) fn begin_frame(&mut self, frame: Frame) {
        self.mask = frame.mask;
        self.last = frame.is_last();
        self.position = 0;
    }

    /// Takes payload as it came; says how much of it.
    pub(super) fn feed(&mut self, payload: &[u8]) -> io::Result<usize> {
        let Some(mask) = self.mask else { return self.expand(payload) };
        let mut plain = [0; 512];
        let most = payload.len().min(plain.len());
        for (at, (plain, byte)) in plain.iter_mut().zip(payload).enumerate() {
            *plain = byte ^ mask[(self.position + at) % 4];
        }
        let ate = self.expand(&plain[..most])?;
        self.position = (self.position + ate) % 4;
        Ok(ate)
    }

    /// Whether zlib may hold more than the piece had room for.
    pub(super) fn holds_more(&self) -> bool {
        self.full
    }

    /// Takes what zlib holds.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        if self.full {
            self.expand(&[])?;
        }
        Ok(())
    }

    /// All payload of the frame was taken. Of a message's last frame, gets the
    /// rest out of zlib; to be called again while it holds more.
    pub(super) fn end_frame(&mut self) -> io::Result<()> {
        // A stream that was ended by its sender, or none at all, needs no end.
        if self.last && !(self.fresh && self.ended == 0) {
            self.ended += self.expand(&ENDING[self.ended..])?;
            if self.full && !self.fresh {
                return Ok(());
            }
            if !self.fresh || self.ended < ENDING.len() {
                return Err(Corrupt.into());
            }
        }
        self.full = false;
        self.finished = self.last;
        Ok(())
    }

    /// Inflates into the piece, until that is full.
    fn expand(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (ate, gave) = (self.inflate.total_in(), self.inflate.total_out());
        let room = &mut self.piece[HEADER + self.length..];
        let status = self.inflate.decompress(bytes, room, InflateFlush::SyncFlush);
        let status = status.map_err(|_| Corrupt)?;
        let ate = (self.inflate.total_in() - ate) as usize;
        let gave = (self.inflate.total_out() - gave) as usize;
        self.length += gave;
        self.full = HEADER + self.length == PIECE;
        if ate == 0 && gave == 0 && !bytes.is_empty() && !self.full {
            return Err(Corrupt.into());
        }
        // A sender may end a stream anywhere (section 7.2.3.4).
        let stream_ended = status == Status::StreamEnd;
        if stream_ended {
            self.inflate.reset(false);
        }
        self.fresh = stream_ended || (self.fresh && ate == 0);
        Ok(ate)
    }

    /// Makes a fragment of what the piece holds. The message's first is made
    /// even of nothing when its frame is over: what comes next may be a mistake
    /// that only one who knows of the message can see.
    pub(super) fn cut(&mut self, frame_is_over: bool) {
        let needed = self.finished || (frame_is_over && self.opcode != 0);
        if self.length == 0 && !needed {
            return;
        }
        let fin = if self.finished { Frame::FIN } else { 0 };
        let masked = if self.mask.is_some() { Frame::MASKED } else { 0 };
        // At most PIECE, which fits into 16 bits.
        let [high, low] = (self.length as u16).to_be_bytes();
        let header = match self.length {
            ..126 => &[fin | self.opcode, masked | low, 0, 0, 0, 0][..],
            _ => &[fin | self.opcode, masked | 126, high, low, 0, 0, 0, 0],
        };
        let header = if masked == 0 { &header[..header.len() - 4] } else { header };
        let start = HEADER - header.len();
        self.piece[start..HEADER].copy_from_slice(header);
        self.ready = start..HEADER + self.length;
        (self.opcode, self.length) = (0, 0);
    }

    /// Hands over what is ready.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if self.ready.is_empty() {
            return None;
        }
        let length = self.ready.len().min(buffer.len());
        let end = self.ready.start + length;
        buffer[..length].copy_from_slice(&self.piece[self.ready.start..end]);
        self.ready.start = end;
        Some(length)
    }

    /// Whether the last fragment was handed over.
    pub(super) fn is_over(&self) -> bool {
        self.finished && self.ready.is_empty()
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("ready", &self.ready).finish_non_exhaustive()
    }
}

/// A compressed message that cannot be inflated. The connection ends with 1007:
/// "data within a message that was not consistent with the type of the message"
/// (RFC 6455 section 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

impl Corrupt {
    /// Whether this is what an error of [`Inflater::read`](super::Inflater::read) means.
    pub(crate) fn caused(error: &io::Error) -> bool {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()).is_some()
    }
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a compressed message is corrupt")
    }
}

impl error::Error for Corrupt {}

impl From<Corrupt> for io::Error {
    fn from(corrupt: Corrupt) -> Self {
        Self::new(io::ErrorKind::InvalidData, corrupt)
    }
}
