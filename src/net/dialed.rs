//! Our own end of a WebSocket to somebody's server.
//!
//! A server's connections have push workers; here there is nobody else, so
//! whoever waits does the work. The reader polls for data and, while something
//! waits for room, for room; a sender that waits for room polls for it, too.

use std::{
    borrow::Cow,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr},
    os::fd::AsFd,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};
use tungstenite::{
    Message as WsMessage, WebSocket as Protocol,
    protocol::{
        Role, WebSocketConfig,
        frame::{
            FrameHeader,
            coding::{Data, OpCode},
        },
    },
};

use super::{
    client::Pinged,
    deflate::Inflater,
    handshake::Agreed,
    link::Link,
    outlet::{Outlet, Parts, Sent, Side},
    socket::Socket,
    stream::{Verdict, verdict},
};
use crate::{
    error::{Error, Result},
    message::{CloseCode, CloseEvent, Message, ReadyState, close_payload},
};

/// How much is read before deadlines are looked at again.
const TURN_BYTES: usize = 64 * 1024;
/// What may wait for room beside a message that is under way.
const CONTROL_BYTES: usize = 16 * 1024;
/// The size of a fragment of a message whose length is not known.
const FRAGMENT: usize = 16 * 1024;

/// The bounds of a connection of ours.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) message_bytes: usize,
    pub(crate) read_buffer: usize,
    /// How long the peer may take nothing of what is sent.
    pub(crate) stuck: Duration,
    pub(crate) close_time: Duration,
    /// How often the peer is pinged, and after how long without a byte it
    /// counts as dead.
    pub(crate) keep_alive: Option<(Duration, Duration)>,
}

/// What a handle and the reader of one connection share.
pub(crate) struct Dialed {
    outlet: Outlet,
    socket: Arc<Socket>,
    peer: SocketAddr,
    url: String,
    agreed: Agreed,
    bounds: Bounds,
    /// Wakes the reader: something waits for room, or a Close was begun.
    bell: EventFd,
    turn: Turn,
    pinged: Pinged,
    /// Until when the closing handshake may take.
    close_by: Mutex<Option<Instant>>,
    gone: AtomicBool,
}

impl std::fmt::Debug for Dialed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialed").field("url", &self.url).finish_non_exhaustive()
    }
}

/// One data message at a time: fragments of two never mix.
#[derive(Default)]
struct Turn {
    taken: Mutex<bool>,
    free: Condvar,
}

struct MyTurn<'a>(&'a Turn);

impl Turn {
    fn wait(&self) -> MyTurn<'_> {
        let mut taken = self.lock();
        while *taken {
            taken = self.free.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken = true;
        MyTurn(self)
    }

    fn try_take(&self) -> Option<MyTurn<'_>> {
        let mut taken = self.lock();
        (!std::mem::replace(&mut *taken, true)).then_some(MyTurn(self))
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MyTurn<'_> {
    fn drop(&mut self) {
        *self.0.lock() = false;
        self.0.free.notify_one();
    }
}

impl Dialed {
    /// Takes over a socket whose opening handshake is done; `read` came behind
    /// the answer.
    pub(super) fn start(
        socket: Socket,
        peer: SocketAddr,
        url: String,
        agreed: Agreed,
        bounds: Bounds,
        read: Vec<u8>,
    ) -> Result<(Arc<Self>, Reader)> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = EventFd::from_value_and_flags(0, flags)
            .map_err(|errno| Error::io("make an eventfd", errno.into()))?;
        let socket = Arc::new(socket);
        let config = WebSocketConfig::default()
            .read_buffer_size(bounds.read_buffer)
            .write_buffer_size(0)
            .max_message_size(Some(bounds.message_bytes))
            .max_frame_size(Some(bounds.message_bytes));
        let link = Arc::new(Self {
            outlet: Outlet::of_client(socket.clone(), CONTROL_BYTES),
            socket,
            peer,
            url,
            agreed,
            bounds,
            bell,
            turn: Turn::default(),
            pinged: Pinged::default(),
            close_by: Mutex::default(),
            gone: AtomicBool::new(false),
        });
        let now = Instant::now();
        let wire = Wire { link: link.clone(), until: None, left: 0, heard: now };
        let (inflater, read) = match link.agreed.compression {
            Some(agreed) => (Some(Box::new(Inflater::new(agreed, &read))), Vec::new()),
            None => (None, read),
        };
        let inlet = Inlet { inflater, wire };
        let protocol = Protocol::from_partially_read(inlet, read, Role::Client, Some(config));
        Ok((link.clone(), Reader { protocol, link, pinged_at: now, ended: None }))
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends one data frame and waits until the kernel has it.
    fn send_frame(&self, mut parts: Parts) -> Result<()> {
        loop {
            match self.outlet.offer(parts, Instant::now()) {
                Ok(Sent::All) => return Ok(()),
                Ok(Sent::Blocked) => return self.wait_for_room(),
                Ok(Sent::Closed) => return Err(Error::Closed),
                Err(given_back) => parts = given_back,
            }
            self.wait_for_room()?;
        }
    }

    /// Waits until nothing waits any more.
    fn wait_for_room(&self) -> Result<()> {
        loop {
            match self.outlet.drain(Instant::now()) {
                Sent::All => return Ok(()),
                Sent::Closed => return Err(Error::Closed),
                Sent::Blocked => {}
            }
            let since = self.outlet.blocked_since().unwrap_or_else(Instant::now);
            let until = since + self.bounds.stuck;
            if until <= Instant::now() {
                self.outlet.abort();
                let doing = format!("send to {}: it takes nothing", self.url);
                return Err(Error::io(doing, io::ErrorKind::TimedOut.into()));
            }
            let mut wanted = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
            wait(&mut wanted, Some(until)).map_err(|error| Error::io("poll", error))?;
        }
    }

    /// Sends a binary message that is read from somewhere, in fragments.
    pub(crate) fn send_from(&self, mut reader: impl Read) -> Result<()> {
        let _turn = self.turn.wait();
        let mut data = Data::Binary;
        let mut chunk = read_chunk(&mut reader)?;
        loop {
            let next =
                if chunk.len() < FRAGMENT { Ok(Vec::new()) } else { read_chunk(&mut reader) };
            let next = match next {
                Ok(next) => next,
                Err(error) => {
                    // Half a message cannot be taken back.
                    self.fail(CloseCode::INTERNAL_ERROR, "the sender could not read on");
                    return Err(error);
                }
            };
            let is_last = next.is_empty();
            let opcode = OpCode::Data(data);
            let header = FrameHeader { opcode, is_final: is_last, ..FrameHeader::default() };
            self.send_frame(Parts::new(header, Bytes::from(chunk), Side::Client))?;
            if is_last {
                return Ok(());
            }
            (data, chunk) = (Data::Continue, next);
        }
    }

    fn close_with(&self, payload: &[u8]) {
        if self.outlet.is_closing() {
            return;
        }
        let now = Instant::now();
        self.outlet.close(payload, now);
        self.await_end(now);
    }

    fn fail(&self, code: CloseCode, reason: &str) {
        if let Ok(payload) = close_payload(Some(code), reason) {
            self.close_with(&payload);
        }
    }

    /// A Close was said, by whichever side: the rest may not take long.
    fn await_end(&self, now: Instant) {
        let mut close_by = self.close_by.lock().unwrap_or_else(PoisonError::into_inner);
        close_by.get_or_insert(now + self.bounds.close_time);
        drop(close_by);
        self.ring();
    }

    fn close_by(&self) -> Option<Instant> {
        *self.close_by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the reader look around. It fails only when it rang already.
    fn ring(&self) {
        let _ = self.bell.write(1);
    }

    fn settle(&self, sent: Sent) -> Result<()> {
        match sent {
            Sent::Closed => return Err(Error::Closed),
            Sent::Blocked => self.ring(),
            Sent::All => {}
        }
        Ok(())
    }
}

fn read_chunk(reader: &mut impl Read) -> Result<Vec<u8>> {
    let mut chunk = Vec::new();
    let mut limited = reader.take(FRAGMENT as u64);
    limited.read_to_end(&mut chunk).map_err(|error| Error::io("read what is to be sent", error))?;
    Ok(chunk)
}

impl Link for Dialed {
    fn send(self: Arc<Self>, message: Message) -> Result<()> {
        let _turn = self.turn.wait();
        self.send_frame(Parts::of_message(message, Side::Client, self.agreed.compression))
    }

    fn try_send(self: Arc<Self>, message: Message) -> Result<()> {
        let _turn = self.turn.try_take().ok_or(Error::Busy)?;
        let parts = Parts::of_message(message, Side::Client, self.agreed.compression);
        let sent = self.outlet.try_send(parts, Instant::now())?;
        self.settle(sent)
    }

    fn ping(self: Arc<Self>) -> Result<()> {
        let now = Instant::now();
        self.pinged.sent(now);
        self.settle(self.outlet.ping(now))
    }

    fn close(self: Arc<Self>, code: Option<CloseCode>, reason: &str) -> Result<()> {
        self.close_with(&close_payload(code, reason)?);
        Ok(())
    }

    fn ready_state(&self) -> ReadyState {
        match self.gone.load(Relaxed) {
            true => ReadyState::Closed,
            false if self.outlet.is_closing() || self.close_by().is_some() => ReadyState::Closing,
            false => ReadyState::Open,
        }
    }

    fn buffered_amount(&self) -> usize {
        self.outlet.buffered()
    }

    fn round_trip(&self) -> Option<Duration> {
        self.pinged.round_trip()
    }

    fn protocol(&self) -> &str {
        &self.agreed.protocol
    }

    fn extensions(&self) -> &str {
        &self.agreed.extensions
    }

    fn url(&self) -> &str {
        &self.url
    }
}

/// The reading half: one thread's own.
pub(crate) struct Reader {
    protocol: Protocol<Inlet>,
    link: Arc<Dialed>,
    /// When the last Ping of the keep-alive left.
    pinged_at: Instant,
    ended: Option<CloseEvent>,
}

/// What a reader hears.
#[derive(Debug)]
pub(crate) enum Heard {
    Message(Message),
    /// The Pong to a Ping of ours, so long after it.
    Pong(Duration),
    /// What the peer did wrong; `Closed` follows.
    Wrong(Error),
    /// It is over; said again whenever asked.
    Closed(CloseEvent),
    /// The time that was given is over.
    Nothing,
}

impl Reader {
    /// Waits for what comes next, at most `until`.
    pub(crate) fn next(&mut self, until: Option<Instant>) -> Heard {
        loop {
            if let Some(event) = &self.ended {
                return Heard::Closed(event.clone());
            }
            let alarm = self.alarm();
            let wire = &mut self.protocol.get_mut().wire;
            wire.left = TURN_BYTES;
            wire.until = until.into_iter().chain(alarm).min();
            match self.protocol.read() {
                Ok(WsMessage::Text(text)) => return Heard::Message(Message::Text(text)),
                Ok(WsMessage::Binary(bytes)) => return Heard::Message(Message::Binary(bytes)),
                Ok(WsMessage::Ping(_)) => drop(self.protocol.flush()),
                Ok(WsMessage::Pong(_)) => {
                    if let Some(took) = self.link.pinged.answered(Instant::now()) {
                        return Heard::Pong(took);
                    }
                }
                Ok(WsMessage::Close(frame)) => {
                    let (code, reason) = match frame {
                        Some(frame) => (CloseCode(frame.code.into()), frame.reason.to_string()),
                        None => (CloseCode::NO_STATUS, String::new()),
                    };
                    self.end(CloseEvent { code, reason: Cow::Owned(reason), was_clean: true });
                }
                Ok(WsMessage::Frame(_)) => {}
                Err(error) => match verdict(&error) {
                    Verdict::GoOn => {
                        self.look_at_the_clock();
                        if until.is_some_and(|until| until <= Instant::now())
                            && self.ended.is_none()
                        {
                            return Heard::Nothing;
                        }
                    }
                    Verdict::Gone => self.end(lost()),
                    Verdict::Fail(code, reason) => {
                        self.link.fail(code, reason);
                        let why = format!("{reason} ({error})");
                        let reason = Cow::Borrowed(reason);
                        self.end(CloseEvent { code, reason, was_clean: false });
                        return Heard::Wrong(Error::Protocol { code: code.0, why });
                    }
                },
            }
        }
    }

    /// When something is to be done even if nothing is heard.
    fn alarm(&self) -> Option<Instant> {
        let heard = self.protocol.get_ref().wire.heard;
        let keep_alive = self
            .link
            .bounds
            .keep_alive
            .map(|(every, silence)| (self.pinged_at.max(heard) + every).min(heard + silence));
        self.link.close_by().into_iter().chain(keep_alive).min()
    }

    fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        let heard = self.protocol.get_ref().wire.heard;
        if self.link.close_by().is_some_and(|by| by <= now) {
            return self.end(lost());
        }
        let Some((every, silence)) = self.link.bounds.keep_alive else { return };
        if heard + silence <= now {
            self.end(lost());
        } else if self.pinged_at.max(heard) + every <= now {
            self.pinged_at = now;
            let _ = self.link.clone().ping();
        }
    }

    /// The last event; what is left of the closing handshake is done here. A
    /// client waits for the server to end the connection (RFC 6455 section
    /// 7.1.1), but not for long.
    fn end(&mut self, event: CloseEvent) {
        if event.code != CloseCode::ABNORMAL {
            // tungstenite's reply; the outlet swallows it if ours went first.
            let _ = self.protocol.flush();
            self.link.await_end(Instant::now());
            self.protocol.get_mut().wire.linger(self.link.close_by());
        }
        self.ended = Some(event);
        self.link.gone.store(true, Relaxed);
        self.link.outlet.abort();
    }

    pub(crate) fn ended(&self) -> Option<&CloseEvent> {
        self.ended.as_ref()
    }
}

/// A program that lets go of its reader says that it goes away.
impl Drop for Reader {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.link.fail(CloseCode::GOING_AWAY, "");
            self.link.gone.store(true, Relaxed);
            self.link.socket.shutdown(Shutdown::Read);
        }
    }
}

/// It ended without a Close.
fn lost() -> CloseEvent {
    CloseEvent { code: CloseCode::ABNORMAL, reason: Cow::Borrowed(""), was_clean: false }
}

/// tungstenite's view of the connection: plain frames in, whole frames out.
struct Inlet {
    /// Where compression was agreed on.
    inflater: Option<Box<Inflater>>,
    wire: Wire,
}

impl Read for Inlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.inflater {
            Some(inflater) => inflater.read(&mut self.wire, buffer),
            None => self.wire.read(buffer),
        }
    }
}

/// What the server sends.
struct Wire {
    link: Arc<Dialed>,
    /// When a read gives up.
    until: Option<Instant>,
    /// How much may be read before it gives up all the same.
    left: usize,
    /// When something was last heard.
    heard: Instant,
}

impl Wire {
    /// Reads what the peer still sends, until its end or the given instant.
    fn linger(&mut self, until: Option<Instant>) {
        self.until = until;
        let mut rest = [0; 1024];
        loop {
            self.left = TURN_BYTES;
            match self.read(&mut rest) {
                Ok(0) => return,
                Ok(_) => {}
                // The bell rang.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return;
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.left);
        if most == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let link = &self.link;
        loop {
            if let Some(length) = link.socket.try_receive(&mut buffer[..most])? {
                self.heard = Instant::now();
                self.left -= length;
                return Ok(length);
            }
            if self.until.is_some_and(|until| until <= Instant::now()) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let waits = link.outlet.is_blocked();
            let room = if waits { PollFlags::POLLOUT } else { PollFlags::empty() };
            let mut wanted = [
                PollFd::new(link.socket.as_fd(), PollFlags::POLLIN | room),
                PollFd::new(link.bell.as_fd(), PollFlags::POLLIN),
            ];
            wait(&mut wanted, self.until)?;
            let [socket, bell] = wanted.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
            if socket.contains(PollFlags::POLLOUT) {
                link.outlet.drain(Instant::now());
            }
            if bell.contains(PollFlags::POLLIN) {
                let _ = link.bell.read();
                // A Close may have been begun: its deadline counts from now on.
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }
}

/// tungstenite hands over one whole frame a call: a pong or a Close.
impl Write for Inlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What does not go out now waits; this reader polls for room.
        self.wire.link.outlet.control(Bytes::copy_from_slice(bytes), Instant::now());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `poll(2)` until an instant; a signal ends it early.
pub(super) fn wait(wanted: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<()> {
    let timeout = match until {
        None => PollTimeout::NONE,
        Some(until) => {
            // Rounded up: a poll that ends early would spin.
            let left = until.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
            PollTimeout::from(u16::try_from(left).unwrap_or(u16::MAX))
        }
    };
    match poll(wanted, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
