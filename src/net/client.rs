//! One streaming client, as its connection thread and its push worker share
//! it, and the handle and the trait through which a program sees it.
//!
//! The end goes one way: the thread shuts the socket down, marks the client
//! gone and wakes the worker, which deregisters it from its poll and lets go;
//! the last `Arc` closes the descriptor and gives the slot back. A program's
//! [`Connection`] is a weak handle, so that keeping one keeps nothing alive.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{
    feed,
    outlet::{Outlet, Sent},
    pusher::WorkerHandle,
    slots::{Phase, Slot},
    socket::Socket,
};
use crate::{
    error::{Error, Result},
    message::{CloseCode, CloseEvent, Message, ReadyState},
};

/// The key of a client that its worker has not met yet.
pub(super) const NO_KEY: usize = usize::MAX;

/// One streaming client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) outlet: Outlet,
    pub(super) socket: Arc<Socket>,
    pub(super) peer: SocketAddr,
    pub(super) protocol: Option<String>,
    pub(super) worker: WorkerHandle,
    /// Where its worker keeps it.
    pub(super) key: AtomicUsize,
    /// It is on its worker's list of clients to look at.
    pub(super) attended: AtomicBool,
    /// Its thread is through with it.
    pub(super) gone: AtomicBool,
    /// Its thread waits for what it has to say; a handler at work hears nothing.
    pub(super) reading: AtomicBool,
    /// A ping of ours is unanswered.
    pub(super) ping_sent: AtomicBool,
    /// When something was last heard of it, in tenths of a second since `start`.
    heard: AtomicU32,
    start: Instant,
    close_time: Duration,
    /// Last: everything else is let go of before the place is free.
    pub(super) slot: Slot,
}

/// What a new client is made of.
pub(super) struct NewClient {
    pub(super) socket: Arc<Socket>,
    pub(super) slot: Slot,
    pub(super) peer: SocketAddr,
    pub(super) protocol: Option<String>,
    pub(super) worker: WorkerHandle,
    /// The 101 answer, which goes out first.
    pub(super) head: Bytes,
    /// Replies wait for the feed's first frame.
    pub(super) held: bool,
    pub(super) control_bytes: usize,
    pub(super) close_time: Duration,
}

impl Client {
    pub(super) fn new(new: NewClient) -> Self {
        Self {
            outlet: Outlet::new(new.socket.clone(), new.head, new.held, new.control_bytes),
            socket: new.socket,
            peer: new.peer,
            protocol: new.protocol,
            worker: new.worker,
            key: AtomicUsize::new(NO_KEY),
            attended: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            reading: AtomicBool::new(false),
            ping_sent: AtomicBool::new(false),
            heard: AtomicU32::new(0),
            start: Instant::now(),
            close_time: new.close_time,
            slot: new.slot,
        }
    }

    /// Notes that something was heard.
    pub(super) fn hear(&self, now: Instant) {
        let tenths = now.duration_since(self.start).as_millis() / 100;
        self.heard.store(u32::try_from(tenths).unwrap_or(u32::MAX), Relaxed);
    }

    /// When something was last heard, to a tenth of a second.
    pub(super) fn heard_at(&self) -> Instant {
        self.start + Duration::from_millis(100) * self.heard.load(Relaxed)
    }

    /// Asks the worker to look at this client when something waits for room.
    pub(super) fn settle(self: &Arc<Self>, sent: Sent) {
        if sent == Sent::Blocked {
            self.worker.attend(self);
        }
    }

    /// Begins the closing handshake; the accept loop ends it in time.
    pub(super) fn close(self: &Arc<Self>, code: CloseCode, reason: &str) {
        if self.outlet.is_closing() {
            return;
        }
        let now = Instant::now();
        let sent = self.outlet.close(code, reason, now);
        self.await_end(now);
        self.settle(sent);
    }

    /// A Close was said, by whichever side: the rest may not take long.
    pub(super) fn await_end(&self, now: Instant) {
        // A connection that lost its place is being ended already.
        let _ = self.slot.enter(Phase::Closing, Some(now + self.close_time));
    }
}

/// A WebSocket of the server: cheap to clone, usable from any thread, and
/// nothing is kept alive by keeping it.
#[derive(Clone, Debug)]
pub struct Connection {
    client: Weak<Client>,
    peer: SocketAddr,
}

impl Connection {
    pub(super) fn new(client: &Arc<Client>) -> Self {
        Self { client: Arc::downgrade(client), peer: client.peer }
    }

    /// The address and port of the peer.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The subprotocol that the server chose; empty when there is none
    /// (`WebSocket.protocol`).
    pub fn protocol(&self) -> String {
        self.client.upgrade().and_then(|client| client.protocol.clone()).unwrap_or_default()
    }

    /// How far the connection is (`WebSocket.readyState`).
    pub fn ready_state(&self) -> ReadyState {
        match self.client.upgrade() {
            None => ReadyState::Closed,
            Some(client) if client.gone.load(Relaxed) => ReadyState::Closed,
            Some(client) if client.outlet.is_closing() => ReadyState::Closing,
            Some(_) => ReadyState::Open,
        }
    }

    /// Sends a text or binary message. When the peer is slow, waits until what
    /// was sent before has been handed to the kernel, or the connection ends:
    /// the server ends it when it takes nothing for 10 s.
    ///
    /// # Errors
    /// [`Error::Closed`] when the connection is not open.
    pub fn send(&self, message: impl Into<Message>) -> Result<()> {
        let client = self.client.upgrade().ok_or(Error::Closed)?;
        let sent = client.outlet.send_wait(&message_frame(&message.into()))?;
        client.settle(sent);
        Ok(())
    }

    /// As [`send`](Self::send), but never waits: what the kernel does not take
    /// at once waits for room. While something waits, up to 16 KiB more may.
    ///
    /// # Errors
    /// [`Error::Closed`] when the connection is not open, or when more than
    /// that would wait: then it is broken off.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<()> {
        let client = self.client.upgrade().ok_or(Error::Closed)?;
        let frame = message_frame(&message.into());
        match client.outlet.control(frame, Instant::now())? {
            Sent::Closed => Err(Error::Closed),
            sent => {
                client.settle(sent);
                Ok(())
            }
        }
    }

    /// Begins the closing handshake with a code and a reason
    /// (`WebSocket.close`). Does nothing when it has begun already.
    ///
    /// # Errors
    /// [`Error::Setting`] when the code may not be sent (RFC 6455 section
    /// 7.4.2) or the reason is longer than 123 bytes.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<()> {
        if !code.may_be_sent() {
            let why = format!("close code {code} may not be sent; use 1000 or 3000 to 4999");
            return Err(Error::Setting(why));
        }
        if reason.len() > 123 {
            return Err(Error::Setting("a close reason has at most 123 bytes".into()));
        }
        if let Some(client) = self.client.upgrade() {
            client.close(code, reason);
        }
        Ok(())
    }

    /// Bytes that were accepted but not yet handed to the kernel
    /// (`WebSocket.bufferedAmount`).
    pub fn buffered_amount(&self) -> usize {
        self.client.upgrade().map_or(0, |client| client.outlet.buffered())
    }
}

fn message_frame(message: &Message) -> Bytes {
    match message {
        Message::Text(text) => feed::frame(OpCode::Data(Data::Text), text.as_bytes()),
        Message::Binary(bytes) => feed::frame(OpCode::Data(Data::Binary), bytes),
    }
}

/// What a program does with one connection: the article's `onopen`,
/// `onmessage`, `onclose` and `onerror`. Called on the connection's own
/// thread, one after the other. A closure that takes a [`Message`] is a
/// handler that does nothing else.
pub trait Handler: Send {
    /// The connection is open.
    fn on_open(&mut self, connection: &Connection) {
        let _ = connection;
    }

    /// A message arrived.
    fn on_message(&mut self, connection: &Connection, message: Message);

    /// Something went wrong; `on_close` follows.
    fn on_error(&mut self, connection: &Connection, error: &Error) {
        let _ = (connection, error);
    }

    /// The connection has ended.
    fn on_close(&mut self, connection: &Connection, event: &CloseEvent) {
        let _ = (connection, event);
    }
}

impl<F: FnMut(Message) + Send> Handler for F {
    fn on_message(&mut self, _: &Connection, message: Message) {
        self(message);
    }
}
