//! The write half of one WebSocket, the only thing that writes to its socket.
//!
//! Whole frames go in; the kernel may take half of one. What it did not take
//! of *that* frame is the tail; nothing else is kept of data, because a client
//! that is behind has a cursor. Behind the tail wait a few frames that nobody
//! can make again: the newest pong, replies, one Close.
//!
//! Its lock is held only across `MSG_DONTWAIT` sends, never across a call that
//! blocks, and no other lock is taken inside it.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    net::Shutdown,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, OpCode},
};

use super::{
    deflate::{Agreement, deflate},
    feed::{self, Frames},
    socket::Socket,
};
use crate::{
    error::{Error, Result},
    message::Message,
};

/// A payload of up to so many bytes is copied behind its header; a longer one
/// goes out beside it.
const COPIED: usize = 512;

/// Which end of a WebSocket we are: the client masks what it sends
/// (RFC 6455 section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
    /// The server of an event stream, which has no frames: what is pushed goes
    /// out as it is, and a Close is a comment.
    Events,
}

/// One frame to be sent: a piece that begins with the header, and the payload
/// where it was not worth copying.
#[derive(Debug)]
pub(super) struct Parts(Bytes, Bytes);

impl Parts {
    /// A whole message as one frame, compressed where that was agreed on and
    /// makes it smaller.
    pub(super) fn of_message(message: Message, side: Side, agreement: Option<Agreement>) -> Self {
        let opcode = feed::message_opcode(&message);
        let payload = message.into_bytes();
        let compressed = agreement.and_then(|agreed| deflate(&payload, agreed.window()));
        let rsv1 = compressed.is_some();
        let payload = compressed.map_or(payload, Bytes::from);
        Self::new(FrameHeader { opcode, rsv1, ..FrameHeader::default() }, payload, side)
    }

    /// One frame.
    pub(super) fn new(mut header: FrameHeader, payload: Bytes, side: Side) -> Self {
        let length = payload.len();
        header.mask = (side == Side::Client).then(random_mask);
        let spare = if length <= COPIED { length } else { 0 };
        let mut first = feed::header(&header, length, spare);
        let payload = match header.mask {
            Some(mask) => masked(payload, mask),
            None => payload,
        };
        if length <= COPIED {
            first.extend_from_slice(&payload);
            return Self(first.freeze(), Bytes::new());
        }
        Self(first.freeze(), payload)
    }

    fn len(&self) -> usize {
        self.0.len() + self.1.len()
    }

    fn joined(self) -> Bytes {
        if self.1.is_empty() { self.0 } else { [self.0, self.1].concat().into() }
    }
}

/// Masks in place where nobody else holds the bytes, else a copy.
fn masked(payload: Bytes, mask: [u8; 4]) -> Bytes {
    let mut payload = payload.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    // In chunks of a constant size, so that the compiler sees words.
    let mut chunks = payload.chunks_exact_mut(32);
    for chunk in &mut chunks {
        for (index, byte) in chunk.iter_mut().enumerate() {
            *byte ^= mask[index % 4];
        }
    }
    for (index, byte) in chunks.into_remainder().iter_mut().enumerate() {
        *byte ^= mask[index % 4];
    }
    payload.freeze()
}

/// From the kernel's random numbers, so that nobody can foresee what goes over
/// the wire (RFC 6455 section 10.3).
fn random_mask() -> [u8; 4] {
    let mut mask = [0; 4];
    // It fails only on kernels older than any that run this program; then
    // masking is as good as it can be.
    let _ = getrandom::fill(&mut mask);
    mask
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing waits.
    All,
    /// Something waits for room: someone has to [`drain`](Outlet::drain) when
    /// the socket is writable.
    Blocked,
    /// The connection is closing or broken; nothing more goes out.
    Closed,
}

/// What a push did, for counting and for moving the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pushed {
    /// Frames that are on their way, a partly sent one included.
    pub(super) taken: usize,
    /// Bytes that the kernel took.
    pub(super) bytes: usize,
    pub(super) sent: Sent,
}

#[derive(Debug)]
pub(super) struct Outlet {
    socket: Arc<Socket>,
    state: Mutex<State>,
    /// Signalled when there is room for data, or will never be again.
    room: Condvar,
    /// The bound of `State::replies`, in bytes.
    control_bytes: usize,
    side: Side,
}

#[derive(Debug, Default)]
struct State {
    /// The unsent rest of a frame.
    tail: Bytes,
    /// The payload whose header is in the tail.
    behind_tail: Bytes,
    pong: Bytes,
    ping: Bytes,
    replies: VecDeque<Bytes>,
    reply_bytes: usize,
    close: Bytes,
    /// A Close was taken in: what comes after it is swallowed.
    closing: bool,
    /// The Close left: our direction is shut.
    closed: bool,
    broken: bool,
    /// Replies wait until the feed's first frame is out: `hello` comes first.
    held: bool,
    /// Since when the kernel has taken nothing although something waits.
    blocked_since: Option<Instant>,
    /// Threads that wait for room.
    senders: usize,
}

impl Outlet {
    /// An outlet onto `socket`, whose first bytes are `head`. With `held`,
    /// replies wait for the first [`push`](Self::push) or the
    /// [`release`](Self::release).
    pub(super) fn new(socket: Arc<Socket>, head: Bytes, held: bool, control_bytes: usize) -> Self {
        let state = Mutex::new(State { tail: head, held, ..State::default() });
        Self { socket, state, room: Condvar::new(), control_bytes, side: Side::Server }
    }

    /// An outlet of an event stream.
    pub(super) fn of_events(socket: Arc<Socket>, head: Bytes, control_bytes: usize) -> Self {
        Self { side: Side::Events, ..Self::new(socket, head, false, control_bytes) }
    }

    /// An outlet of a connection that we made ourselves.
    pub(super) fn of_client(socket: Arc<Socket>, control_bytes: usize) -> Self {
        Self { side: Side::Client, ..Self::new(socket, Bytes::new(), false, control_bytes) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what waits, then as much of `frames` as the kernel takes.
    pub(super) fn push(&self, frames: &[Bytes], now: Instant) -> Pushed {
        let mut state = self.lock();
        let sent = self.drain_locked(&mut state, now);
        if sent != Sent::All {
            return Pushed { taken: 0, bytes: 0, sent };
        }
        // A held outlet waits for these very frames: its replies stay behind them.
        state.held = false;
        let (taken, bytes) = self.send_frames(&mut state, frames, now);
        let short = taken < frames.len() || !state.tail.is_empty();
        let sent =
            if short && !state.broken { Sent::Blocked } else { self.drain_locked(&mut state, now) };
        Pushed { taken, bytes, sent }
    }

    /// One `sendmsg(2)` of shared bytes. Returns frames on their way and bytes.
    fn send_frames(&self, state: &mut State, frames: &[Bytes], now: Instant) -> (usize, usize) {
        let tried = match frames {
            [frame] => self.socket.try_send(&[IoSlice::new(frame)]),
            frames => {
                let mut parts = [IoSlice::new(&[]); Frames::MOST];
                for (part, frame) in parts.iter_mut().zip(frames) {
                    *part = IoSlice::new(frame);
                }
                self.socket.try_send(&parts[..frames.len().min(Frames::MOST)])
            }
        };
        let sent = match tried {
            Ok(sent) => sent,
            Err(error) => {
                self.break_down(state, &error);
                return (0, 0);
            }
        };
        let mut left = sent;
        let mut taken = 0;
        for frame in frames {
            if left >= frame.len() {
                left -= frame.len();
                taken += 1;
                continue;
            }
            if left > 0 {
                state.tail = frame.slice(left..);
                taken += 1;
            }
            break;
        }
        state.note_progress(sent, taken < frames.len() || !state.tail.is_empty(), now);
        (taken, sent)
    }

    /// The feed has nothing to say yet: replies need not wait for it.
    pub(super) fn release(&self, now: Instant) -> Sent {
        let mut state = self.lock();
        state.held = false;
        self.drain_locked(&mut state, now)
    }

    /// Takes one control frame, made for this side. It goes out at once when
    /// nothing waits.
    pub(super) fn control(&self, frame: Bytes, now: Instant) -> Sent {
        let mut state = self.lock();
        if state.closing || state.broken {
            return Sent::Closed;
        }
        match frame.first().map(|byte| OpCode::from(byte & 0x0f)) {
            Some(OpCode::Control(Control::Close)) => self.last_words(&mut state, frame),
            // Only the newest pong is of use (RFC 6455 section 5.5.3).
            Some(OpCode::Control(Control::Pong)) => state.pong = frame,
            _ => state.ping = frame,
        }
        self.drain_locked(&mut state, now)
    }

    /// What goes out last.
    fn last_words(&self, state: &mut State, words: Bytes) {
        state.closing = true;
        state.close = words;
        self.tell_senders(state);
    }

    /// Sends an empty Ping; an event stream has none.
    pub(super) fn ping(&self, now: Instant) -> Sent {
        if self.side == Side::Events {
            return self.drain(now);
        }
        self.control(self.whole(OpCode::Control(Control::Ping), &[]), now)
    }

    /// Ends the sending direction with a Close behind what waits. The first
    /// Close counts.
    pub(super) fn close(&self, payload: &[u8], now: Instant) -> Sent {
        if self.side == Side::Events {
            let mut state = self.lock();
            if !state.closing && !state.broken {
                // Behind the code stands the reason (RFC 6455 section 5.5.1).
                let reason = payload.get(2..).unwrap_or_default();
                let comment = [b": ", reason, b"\n\n"].concat();
                self.last_words(&mut state, comment.into());
            }
            return self.drain_locked(&mut state, now);
        }
        self.control(self.whole(OpCode::Control(Control::Close), payload), now)
    }

    fn whole(&self, opcode: OpCode, payload: &[u8]) -> Bytes {
        let header = FrameHeader { opcode, ..FrameHeader::default() };
        Parts::new(header, Bytes::copy_from_slice(payload), self.side).joined()
    }

    /// Sends a message, or lets it wait for room.
    ///
    /// # Errors
    /// [`Error::Busy`] when more would wait than the bound allows,
    /// [`Error::Closed`] when the connection is not open.
    pub(super) fn try_send(&self, parts: Parts, now: Instant) -> Result<Sent> {
        let mut state = self.lock();
        if state.closing || state.broken {
            return Err(Error::Closed);
        }
        let sent = if !state.held && self.drain_locked(&mut state, now) == Sent::All {
            self.send_one(&mut state, parts, now)
        } else if state.reply_bytes + parts.len() > self.control_bytes {
            return Err(Error::Busy);
        } else {
            state.reply_bytes += parts.len();
            state.replies.push_back(parts.joined());
            self.drain_locked(&mut state, now)
        };
        if sent == Sent::Closed { Err(Error::Closed) } else { Ok(sent) }
    }

    /// Sends a data frame, unless something waits: then it is given back.
    pub(super) fn offer(&self, parts: Parts, now: Instant) -> Result<Sent, Parts> {
        let mut state = self.lock();
        match self.drain_locked(&mut state, now) {
            Sent::All => Ok(self.send_one(&mut state, parts, now)),
            Sent::Blocked => Err(parts),
            Sent::Closed => Ok(Sent::Closed),
        }
    }

    /// Sends a data frame; waits for room as long as the connection lives. The
    /// lock is not held while waiting.
    pub(super) fn send_wait(&self, parts: Parts) -> Result<Sent> {
        let mut state = self.lock();
        loop {
            if state.closing || state.broken {
                return Err(Error::Closed);
            }
            if state.waiting() == 0 && !state.held {
                break;
            }
            state.senders += 1;
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.senders -= 1;
        }
        match self.send_one(&mut state, parts, Instant::now()) {
            Sent::Closed => Err(Error::Closed),
            sent => Ok(sent),
        }
    }

    /// Sends a frame while nothing waits; its rest becomes the tail.
    fn send_one(&self, state: &mut State, Parts(first, rest): Parts, now: Instant) -> Sent {
        let tried = if rest.is_empty() {
            self.socket.try_send(&[IoSlice::new(&first)])
        } else {
            self.socket.try_send(&[IoSlice::new(&first), IoSlice::new(&rest)])
        };
        let sent = match tried {
            Ok(sent) => sent,
            Err(error) => {
                self.break_down(state, &error);
                return Sent::Closed;
            }
        };
        let of_first = sent.min(first.len());
        state.tail = first.slice(of_first..);
        state.behind_tail = rest.slice(sent - of_first..);
        state.fill_tail();
        let blocked = !state.tail.is_empty();
        state.note_progress(sent, blocked, now);
        match blocked || !self.flushed(state, now) {
            true => Sent::Blocked,
            false if state.broken => Sent::Closed,
            false => Sent::All,
        }
    }

    /// Sends what waits, when the socket has become writable.
    pub(super) fn drain(&self, now: Instant) -> Sent {
        let mut state = self.lock();
        self.drain_locked(&mut state, now)
    }

    fn drain_locked(&self, state: &mut State, now: Instant) -> Sent {
        while let Some(next) = state.next() {
            match self.socket.try_send(&[IoSlice::new(next)]) {
                Ok(sent) => {
                    let short = sent < next.len();
                    state.advance(sent);
                    state.note_progress(sent, short, now);
                    if short {
                        return Sent::Blocked;
                    }
                }
                Err(error) => self.break_down(state, &error),
            }
        }
        if !state.broken && !self.flushed(state, now) {
            return Sent::Blocked;
        }
        if state.closing && !state.closed && !state.broken {
            state.closed = true;
            self.socket.shutdown(Shutdown::Write);
        }
        if state.closing || state.broken {
            return Sent::Closed;
        }
        if state.waiting() == 0 {
            state.blocked_since = None;
            self.tell_senders(state);
        }
        Sent::All
    }

    /// Whether the kernel has all that the socket took: TLS may hold a rest.
    fn flushed(&self, state: &mut State, now: Instant) -> bool {
        match self.socket.flush() {
            Ok((_, true)) => true,
            Ok((sent, false)) => {
                state.note_progress(sent, true, now);
                false
            }
            Err(error) => {
                self.break_down(state, &error);
                true
            }
        }
    }

    /// The peer is gone, or must go: wake its thread, let go of what waits.
    fn break_down(&self, state: &mut State, error: &io::Error) {
        log::debug!("a connection broke: {error}");
        let senders = state.senders;
        *state = State { broken: true, closed: true, closing: true, senders, ..State::default() };
        self.socket.shutdown(Shutdown::Both);
        self.tell_senders(state);
    }

    /// There is room, or never will be again. Waking nobody costs a system call
    /// all the same, and mostly there is nobody.
    fn tell_senders(&self, state: &State) {
        if state.senders > 0 {
            self.room.notify_all();
        }
    }

    /// Ends both directions without a Close.
    pub(super) fn abort(&self) {
        let mut state = self.lock();
        if !state.broken {
            self.break_down(&mut state, &io::Error::other("ended"));
        }
    }

    /// Whether a Close was taken in.
    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Whether our Close has left.
    pub(super) fn close_left(&self) -> bool {
        let state = self.lock();
        state.closed && !state.broken
    }

    /// Since when the kernel has taken nothing although something waits.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        self.lock().blocked_since
    }

    /// Whether somebody has to [`drain`](Self::drain) when there is room.
    pub(super) fn is_blocked(&self) -> bool {
        let state = self.lock();
        state.blocked_since.is_some() || state.waiting() > 0
    }

    /// Bytes that were accepted and not yet handed to the kernel.
    pub(super) fn buffered(&self) -> usize {
        self.lock().waiting()
    }
}

impl State {
    /// The piece that goes out next: the rest of a frame first, a Close last.
    fn next(&self) -> Option<&Bytes> {
        if !self.tail.is_empty() {
            return Some(&self.tail);
        }
        let held = self.held && !self.closing;
        let replies = self.replies.front().filter(|_| !held);
        let close = Some(&self.close).filter(|_| !held);
        let pieces = [Some(&self.pong), Some(&self.ping), replies, close];
        pieces.into_iter().flatten().find(|piece| !piece.is_empty())
    }

    /// `sent` bytes of [`next`](Self::next) are gone; what it left of a frame
    /// becomes the tail.
    fn advance(&mut self, sent: usize) {
        if sent == 0 {
            return;
        }
        let piece = if !self.tail.is_empty() {
            &mut self.tail
        } else if !self.pong.is_empty() {
            &mut self.pong
        } else if !self.ping.is_empty() {
            &mut self.ping
        } else if let Some(reply) = self.replies.front_mut() {
            self.reply_bytes -= reply.len();
            reply
        } else {
            &mut self.close
        };
        let mut rest = std::mem::take(piece);
        if self.replies.front().is_some_and(Bytes::is_empty) {
            self.replies.pop_front();
        }
        // An empty rest must not keep the shared frame alive.
        self.tail = rest.split_off(sent);
        self.fill_tail();
    }

    /// Behind the rest of a header comes its payload.
    fn fill_tail(&mut self) {
        if self.tail.is_empty() {
            self.tail = std::mem::take(&mut self.behind_tail);
        }
    }

    fn note_progress(&mut self, sent: usize, blocked: bool, now: Instant) {
        if sent > 0 || !blocked {
            self.blocked_since = None;
        }
        if blocked && self.blocked_since.is_none() {
            self.blocked_since = Some(now);
        }
    }

    fn waiting(&self) -> usize {
        let Self { tail, behind_tail, pong, ping, close, .. } = self;
        let data = tail.len() + behind_tail.len() + self.reply_bytes;
        data + pong.len() + ping.len() + close.len()
    }
}
