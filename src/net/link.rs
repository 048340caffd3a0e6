//! A WebSocket as a program sees it, whichever end of it it is: the handle
//! [`Connection`] and the callbacks of [`Handler`].
//!
//! The handle is weak: keeping one keeps nothing alive.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    error::{Error, Result},
    message::{CloseCode, CloseEvent, Message, ReadyState},
};

/// What stands behind a [`Connection`]: a client of our server, or our own
/// connection to somebody's.
pub(crate) trait Link: Send + Sync {
    /// Sends a data message; waits for room.
    fn send(self: Arc<Self>, message: Message) -> Result<()>;
    /// Sends a data message, or lets it wait for room; never waits itself.
    fn try_send(self: Arc<Self>, message: Message) -> Result<()>;
    /// Sends a Ping; the Pong tells the round trip.
    fn ping(self: Arc<Self>) -> Result<()>;
    /// Begins the closing handshake, once; `None` sends no code.
    fn close(self: Arc<Self>, code: Option<CloseCode>, reason: &str) -> Result<()>;
    /// Lets what feeds the connection look at it; a connection that the program
    /// made itself has no feed.
    fn refresh(self: Arc<Self>) {}
    fn ready_state(&self) -> ReadyState;
    fn buffered_amount(&self) -> usize;
    fn round_trip(&self) -> Option<Duration>;
    fn protocol(&self) -> &str;
    fn extensions(&self) -> &str;
    fn url(&self) -> &str;
}

/// One WebSocket: cheap to clone, usable from any thread. The same for a
/// server's clients and for a connection that the program made itself.
#[derive(Clone)]
pub struct Connection {
    link: Weak<dyn Link>,
    id: u64,
    peer: SocketAddr,
}

/// The number of the next connection; no two of a process are alike.
pub(crate) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (peer, state) = (self.peer, self.ready_state());
        f.debug_struct("Connection").field("peer", &peer).field("state", &state).finish()
    }
}

impl Connection {
    pub(crate) fn new<L: Link + 'static>(link: &Arc<L>, id: u64, peer: SocketAddr) -> Self {
        let link: Weak<L> = Arc::downgrade(link);
        Self { link, id, peer }
    }

    fn link(&self) -> Result<Arc<dyn Link>> {
        self.link.upgrade().ok_or(Error::Closed)
    }

    /// Its number: every connection of the process has another one.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The address and port of the peer.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// How far the connection is (`WebSocket.readyState`).
    pub fn ready_state(&self) -> ReadyState {
        self.link.upgrade().map_or(ReadyState::Closed, |link| link.ready_state())
    }

    /// The subprotocol that the server chose among those offered; empty when
    /// there is none (`WebSocket.protocol`, RFC 6455 section 1.9).
    pub fn protocol(&self) -> String {
        self.link.upgrade().map(|link| link.protocol().to_owned()).unwrap_or_default()
    }

    /// The extensions that both ends agreed on; empty when there are none
    /// (`WebSocket.extensions`, RFC 6455 section 9.1).
    pub fn extensions(&self) -> String {
        self.link.upgrade().map(|link| link.extensions().to_owned()).unwrap_or_default()
    }

    /// The address that the client asked for, absolute: `ws://pi:8888/path`
    /// (`WebSocket.url`).
    pub fn url(&self) -> String {
        self.link.upgrade().map(|link| link.url().to_owned()).unwrap_or_default()
    }

    /// Bytes that were accepted but not yet handed to the kernel
    /// (`WebSocket.bufferedAmount`).
    pub fn buffered_amount(&self) -> usize {
        self.link.upgrade().map_or(0, |link| link.buffered_amount())
    }

    /// Sends a text or binary message (`WebSocket.send`); what the caller owns
    /// is not copied. When the peer is slow, waits until what was sent before
    /// has been handed to the kernel, or the connection ends: a server ends it
    /// when it takes nothing for 10 s.
    ///
    /// # Errors
    /// [`Error::Closed`] when the connection is not open.
    pub fn send(&self, message: impl Into<Message>) -> Result<()> {
        self.link()?.send(message.into())
    }

    /// As [`send`](Self::send), but never waits: what the kernel does not take
    /// at once waits for room. While something waits, up to 16 KiB more may.
    ///
    /// # Errors
    /// [`Error::Closed`] when the connection is not open; [`Error::Busy`] when
    /// more than that would wait: this message was not sent, and the connection
    /// is as it was.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<()> {
        self.link()?.try_send(message.into())
    }

    /// Sends a Ping (RFC 6455 section 5.5.2). Its Pong calls
    /// [`Handler::on_pong`] and sets [`round_trip`](Self::round_trip).
    ///
    /// # Errors
    /// [`Error::Closed`] when the connection is not open.
    pub fn ping(&self) -> Result<()> {
        self.link()?.ping()
    }

    /// How long the last Ping took to come back, in steps of a microsecond;
    /// `None` before the first Pong. The engine pings on its own, too.
    pub fn round_trip(&self) -> Option<Duration> {
        self.link.upgrade()?.round_trip()
    }

    /// Has this client's [`Cursor`](crate::net::Cursor) asked anew, as a bell
    /// does for all: something that it looks at has changed.
    pub fn refresh(&self) {
        if let Some(link) = self.link.upgrade() {
            link.refresh();
        }
    }

    /// Begins the closing handshake (`WebSocket.close`); without a code the
    /// other end sees 1005. Does nothing when it has begun already.
    ///
    /// ```no_run
    /// # use boardcast::websocket::{CloseCode, Connection};
    /// # fn example(ws: Connection) -> boardcast::Result<()> {
    /// ws.close(None, "")?;
    /// ws.close(CloseCode(4000), "the sensor was unplugged")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::CloseCode`] unless the code is 1000 or from 3000 to 4999,
    /// [`Error::CloseReason`] when the reason has more than 123 bytes. The
    /// connection stays open then.
    pub fn close(&self, code: impl Into<Option<CloseCode>>, reason: &str) -> Result<()> {
        let code = code.into();
        if let Some(code) = code.filter(|code| !code.is_for_programs()) {
            return Err(Error::CloseCode(code.0));
        }
        self.end(code, reason)
    }

    /// Ends the connection for what the peer did or for what happens here, with
    /// any code that may travel: 1003, 1008, 1011, … ("_Fail the WebSocket
    /// Connection_", RFC 6455 section 7.1.7).
    ///
    /// # Errors
    /// [`Error::CloseCode`] for a code that never travels (1005, 1006, 1015) or
    /// that nobody has defined, [`Error::CloseReason`] as in
    /// [`close`](Self::close).
    pub fn fail(&self, code: CloseCode, reason: &str) -> Result<()> {
        if !code.may_be_sent() {
            return Err(Error::CloseCode(code.0));
        }
        self.end(Some(code), reason)
    }

    fn end(&self, code: Option<CloseCode>, reason: &str) -> Result<()> {
        // Bad arguments are told also when it is over already, as in a browser.
        if reason.len() > 123 {
            return Err(Error::CloseReason(reason.len()));
        }
        self.link.upgrade().map_or(Ok(()), |link| link.close(code, reason))
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

    /// The Pong to one of our Pings arrived, so long after it.
    fn on_pong(&mut self, connection: &Connection, round_trip: Duration) {
        let _ = (connection, round_trip);
    }

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
