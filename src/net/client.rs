//! One streaming client, as its connection thread and its push worker share it.
//!
//! The end goes one way: the thread shuts the socket down, marks the client
//! gone and wakes the worker, which deregisters it from its poll and lets go;
//! the last `Arc` closes the descriptor and gives the slot back.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    deflate::Agreement,
    link::Link,
    outlet::{Outlet, Parts, Sent, Side},
    pusher::WorkerHandle,
    slots::{Phase, Slot},
    socket::Socket,
};
use crate::{
    error::{Error, Result},
    message::{CloseCode, Message, ReadyState, close_payload},
};

/// The key of a client that its worker has not met yet.
pub(super) const NO_KEY: usize = usize::MAX;

/// One streaming client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) outlet: Outlet,
    pub(super) socket: Arc<Socket>,
    pub(super) peer: SocketAddr,
    pub(super) id: u64,
    pub(super) protocol: Option<String>,
    pub(super) url: Box<str>,
    /// What was agreed on compression, and how the handshake said it.
    pub(super) agreement: Option<Agreement>,
    extensions: Box<str>,
    pub(super) worker: WorkerHandle,
    /// Where its worker keeps it.
    pub(super) key: AtomicUsize,
    /// It is on its worker's list of clients to look at.
    pub(super) attended: AtomicBool,
    /// Its thread is through with it.
    pub(super) gone: AtomicBool,
    /// The handler hears of the end: to the program it is over, although a
    /// Close may still be on its way.
    pub(super) over: AtomicBool,
    /// Its thread waits for what it has to say; a handler at work hears nothing.
    pub(super) reading: AtomicBool,
    pub(super) pinged: Pinged,
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
    pub(super) id: u64,
    pub(super) protocol: Option<String>,
    pub(super) url: Box<str>,
    pub(super) agreement: Option<Agreement>,
    pub(super) worker: WorkerHandle,
    /// The head of the answer, which goes out first.
    pub(super) head: Bytes,
    /// Replies wait for the feed's first frame.
    pub(super) held: bool,
    /// It is an event stream.
    pub(super) events: bool,
    pub(super) control_bytes: usize,
    pub(super) close_time: Duration,
}

impl Client {
    pub(super) fn new(new: NewClient) -> Self {
        let (socket, bytes) = (new.socket.clone(), new.control_bytes);
        let outlet = match new.events {
            true => Outlet::of_events(socket, new.head, bytes),
            false => Outlet::new(socket, new.head, new.held, bytes),
        };
        Self {
            outlet,
            socket: new.socket,
            peer: new.peer,
            id: new.id,
            protocol: new.protocol,
            url: new.url,
            agreement: new.agreement,
            extensions: new.agreement.map(|agreed| agreed.to_string().into()).unwrap_or_default(),
            worker: new.worker,
            key: AtomicUsize::new(NO_KEY),
            attended: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            over: AtomicBool::new(false),
            reading: AtomicBool::new(false),
            pinged: Pinged::default(),
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

    /// Begins the closing handshake with a code and a reason of ours.
    pub(super) fn end(self: &Arc<Self>, code: CloseCode, reason: &'static str) {
        if let Ok(payload) = close_payload(Some(code), reason) {
            self.close_with(&payload);
        }
    }

    /// Begins the closing handshake; the accept loop ends it in time.
    fn close_with(self: &Arc<Self>, payload: &[u8]) {
        if self.outlet.is_closing() {
            return;
        }
        let now = Instant::now();
        let sent = self.outlet.close(payload, now);
        self.await_end(now);
        self.settle(sent);
    }

    /// A Close was said, by whichever side: the rest may not take long.
    pub(super) fn await_end(&self, now: Instant) {
        // A connection that lost its place is being ended already.
        let _ = self.slot.enter(Phase::Closing, Some(now + self.close_time));
    }
}

impl Link for Client {
    fn send(self: Arc<Self>, message: Message) -> Result<()> {
        let parts = Parts::of_message(message, Side::Server, self.agreement);
        let sent = self.outlet.send_wait(parts)?;
        self.settle(sent);
        Ok(())
    }

    fn try_send(self: Arc<Self>, message: Message) -> Result<()> {
        let parts = Parts::of_message(message, Side::Server, self.agreement);
        let sent = self.outlet.try_send(parts, Instant::now())?;
        self.settle(sent);
        Ok(())
    }

    fn ping(self: Arc<Self>) -> Result<()> {
        let now = Instant::now();
        self.pinged.sent(now);
        match self.outlet.ping(now) {
            Sent::Closed => Err(Error::Closed),
            sent => {
                self.settle(sent);
                Ok(())
            }
        }
    }

    fn close(self: Arc<Self>, code: Option<CloseCode>, reason: &str) -> Result<()> {
        self.close_with(&close_payload(code, reason)?);
        Ok(())
    }

    fn refresh(self: Arc<Self>) {
        self.worker.attend(&self);
    }

    fn ready_state(&self) -> ReadyState {
        match self.over.load(Relaxed) || self.gone.load(Relaxed) {
            true => ReadyState::Closed,
            false if self.outlet.is_closing() => ReadyState::Closing,
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
        self.protocol.as_deref().unwrap_or_default()
    }

    fn extensions(&self) -> &str {
        &self.extensions
    }

    fn url(&self) -> &str {
        &self.url
    }
}

/// Our last Ping: whether its Pong is missing, and how long the last Pong took.
/// Touched a few times a minute, so a lock costs nothing.
#[derive(Debug, Default)]
pub(super) struct Pinged(Mutex<(Option<Instant>, Option<u32>)>);

impl Pinged {
    /// A Ping leaves.
    pub(super) fn sent(&self, now: Instant) {
        self.lock().0 = Some(now);
    }

    /// A Pong came; how long it took, when one of our Pings was on its way.
    pub(super) fn answered(&self, now: Instant) -> Option<Duration> {
        let mut pinged = self.lock();
        let took = now.saturating_duration_since(pinged.0.take()?);
        pinged.1 = Some(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        Some(took)
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.lock().1.map(|micros| Duration::from_micros(micros.into()))
    }

    fn lock(&self) -> MutexGuard<'_, (Option<Instant>, Option<u32>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
