//! The browser's `WebSocket`, blocking: connect, then read in a loop or let a
//! [`Handler`] be called.

use std::{
    fmt,
    io::Read,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Connection, Handler};
use crate::{
    error::{Error, Result},
    message::{CloseCode, CloseEvent, Message, ReadyState},
    net::{Bounds, Dialed, Heard, Link, Reader, Target, Wishes, dial, next_id},
};

/// A WebSocket to a server, open (`new WebSocket(url, protocols)`).
///
/// ```no_run
/// use boardcast::websocket::WebSocket;
///
/// # fn main() -> boardcast::Result<()> {
/// let mut ws = WebSocket::connect("ws://raspberrypi.local:8642/ws")?;
/// ws.send(r#"{"type":"ping"}"#)?;
/// while let Some(message) = ws.recv()? {
///     println!("{message}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// Pings are answered, and a Close is, while somebody reads: call
/// [`recv`](Self::recv) or [`run`](Self::run). Other threads send through a
/// [`connection`](Self::connection). Dropping it closes it with 1001.
pub struct WebSocket {
    link: Arc<Dialed>,
    id: u64,
    reader: Reader,
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (url, state) = (self.url(), self.ready_state());
        f.debug_struct("WebSocket").field("url", &url).field("state", &state).finish()
    }
}

/// What a connection is to be like, before there is one.
#[derive(Clone, Debug)]
pub struct Builder {
    url: String,
    wishes: Wishes,
    connect_time: Duration,
    bounds: Bounds,
}

impl WebSocket {
    /// Connects to `ws://host[:port][/path][?query]`, and waits until the
    /// connection is open: at most 10 s. `wss://` needs the feature `tls`.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub fn connect(url: &str) -> Result<Self> {
        Self::builder(url).connect()
    }

    /// Begins to describe a connection.
    pub fn builder(url: &str) -> Builder {
        Builder {
            url: url.into(),
            wishes: Wishes::default(),
            connect_time: Duration::from_secs(10),
            bounds: Bounds {
                message_bytes: 16 << 20,
                read_buffer: 4096,
                stuck: Duration::from_secs(30),
                close_time: Duration::from_secs(2),
                keep_alive: Some((Duration::from_secs(20), Duration::from_secs(45))),
            },
        }
    }

    /// A handle for other threads, and for what a callback keeps.
    pub fn connection(&self) -> Connection {
        Connection::new(&self.link, self.id, self.link.peer())
    }

    /// Waits for the next message; `None` when the connection has ended, and
    /// [`close_event`](Self::close_event) tells how.
    ///
    /// # Errors
    /// [`Error::Protocol`] when the server broke a rule; the connection ends.
    pub fn recv(&mut self) -> Result<Option<Message>> {
        self.recv_until(None)
    }

    /// As [`recv`](Self::recv), but gives up after `time`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); and [`Error::Io`] of the kind
    /// [`TimedOut`](std::io::ErrorKind::TimedOut) when nothing came in time:
    /// the connection goes on then.
    pub fn recv_timeout(&mut self, time: Duration) -> Result<Option<Message>> {
        self.recv_until(Some(Instant::now() + time))
    }

    fn recv_until(&mut self, until: Option<Instant>) -> Result<Option<Message>> {
        loop {
            match self.reader.next(until) {
                Heard::Message(message) => return Ok(Some(message)),
                Heard::Closed(_) => return Ok(None),
                Heard::Wrong(error) => return Err(error),
                Heard::Pong(_) => {}
                Heard::Nothing => {
                    let kind = std::io::ErrorKind::TimedOut;
                    return Err(Error::io("receive: nothing came in time", kind.into()));
                }
            }
        }
    }

    /// Calls the handler until the connection has ended, on this thread:
    /// [`on_open`](Handler::on_open) first, [`on_close`](Handler::on_close)
    /// last. Returns how it ended.
    pub fn run(mut self, mut handler: impl Handler) -> CloseEvent {
        let connection = self.connection();
        handler.on_open(&connection);
        loop {
            match self.reader.next(None) {
                Heard::Message(message) => handler.on_message(&connection, message),
                Heard::Pong(took) => handler.on_pong(&connection, took),
                Heard::Wrong(error) => handler.on_error(&connection, &error),
                Heard::Nothing => {}
                Heard::Closed(event) => {
                    handler.on_close(&connection, &event);
                    return event;
                }
            }
        }
    }

    /// As [`run`](Self::run), on a thread of its own.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses a thread.
    pub fn spawn(self, handler: impl Handler + 'static) -> Result<JoinHandle<CloseEvent>> {
        let builder = thread::Builder::new().name("bc-client".into()).stack_size(256 * 1024);
        builder.spawn(move || self.run(handler)).map_err(|error| Error::io("start a thread", error))
    }

    /// As [`Connection::send`]; waits until the kernel has it all, at most 30 s
    /// without progress.
    ///
    /// # Errors
    /// [`Error::Closed`] when the connection is not open; [`Error::Io`] of the
    /// kind `TimedOut` when the server takes nothing: the connection has ended
    /// then.
    pub fn send(&self, message: impl Into<Message>) -> Result<()> {
        self.link.clone().send(message.into())
    }

    /// Sends a binary message whose length is not known yet, a `Blob`'s place:
    /// what `reader` gives, in fragments of 16 KiB (RFC 6455 section 5.4).
    /// Other messages wait meanwhile.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`Error::Io`] when the reader fails: if part of
    /// the message was sent already, the connection is closed with 1011.
    pub fn send_from(&self, reader: impl Read) -> Result<()> {
        self.link.send_from(reader)
    }

    /// As [`Connection::close`]. Read on until [`recv`](Self::recv) gives
    /// `None`, so that the closing handshake takes place.
    ///
    /// # Errors
    /// As [`Connection::close`].
    pub fn close(&self, code: impl Into<Option<CloseCode>>, reason: &str) -> Result<()> {
        self.connection().close(code, reason)
    }

    /// As [`Connection::ping`].
    ///
    /// # Errors
    /// As [`Connection::ping`].
    pub fn ping(&self) -> Result<()> {
        self.link.clone().ping()
    }

    /// As [`Connection::round_trip`].
    pub fn round_trip(&self) -> Option<Duration> {
        self.link.round_trip()
    }

    /// `WebSocket.readyState`.
    pub fn ready_state(&self) -> ReadyState {
        self.link.ready_state()
    }

    /// `WebSocket.bufferedAmount`: bytes that
    /// [`try_send`](Connection::try_send) accepted and the kernel does not have.
    pub fn buffered_amount(&self) -> usize {
        self.link.buffered_amount()
    }

    /// `WebSocket.protocol`: the subprotocol that the server chose.
    pub fn protocol(&self) -> &str {
        self.link.protocol()
    }

    /// `WebSocket.extensions`: those that the server agreed to.
    pub fn extensions(&self) -> &str {
        self.link.extensions()
    }

    /// `WebSocket.url`, absolute.
    pub fn url(&self) -> &str {
        self.link.url()
    }

    /// How the connection ended, once it has (the browser's `CloseEvent`).
    pub fn close_event(&self) -> Option<&CloseEvent> {
        self.reader.ended()
    }
}

/// The messages until the connection ends; what the server did wrong ends
/// them, too.
impl Iterator for WebSocket {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        self.recv().ok().flatten()
    }
}

impl Builder {
    /// Offers subprotocols, the dearest first (RFC 6455 section 1.9).
    pub fn protocols(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.wishes.protocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a header line to the handshake, as in
    /// `.header("Authorization", "Bearer …")`.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.wishes.headers.push((name.into(), value.into()));
        self
    }

    /// Offers compressed messages (permessage-deflate, RFC 7692).
    #[cfg(feature = "deflate")]
    pub fn compress(mut self) -> Self {
        self.wishes.deflate = true;
        self
    }

    /// For `wss://`: trusts the certificates in this file (PEM) in place of
    /// those that the system trusts, as for a board with a certificate of its
    /// own.
    #[cfg(feature = "tls")]
    pub fn authorities(mut self, file: impl Into<std::path::PathBuf>) -> Self {
        self.wishes.authorities = Some(file.into());
        self
    }

    /// How long connecting may take, handshake included. Default 10 s.
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect_time = time;
        self
    }

    /// How long a send may wait for a server that takes nothing. Default 30 s.
    pub fn send_timeout(mut self, time: Duration) -> Self {
        self.bounds.stuck = time;
        self
    }

    /// How long the closing handshake may take. Default 2 s.
    pub fn close_timeout(mut self, time: Duration) -> Self {
        self.bounds.close_time = time;
        self
    }

    /// The longest message that is taken, in bytes; a longer one ends the
    /// connection with 1009. Default 16 MiB.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.bounds.message_bytes = bytes;
        self
    }

    /// How often a silent server is pinged, and after how long without a byte
    /// the connection counts as dead (1006). Default 20 s and 45 s.
    pub fn keep_alive(mut self, ping_every: Duration, silence: Duration) -> Self {
        self.bounds.keep_alive = Some((ping_every, silence));
        self
    }

    /// Lets a silent connection be, as a browser does.
    pub fn no_keep_alive(mut self) -> Self {
        self.bounds.keep_alive = None;
        self
    }

    /// Connects, and waits until the connection is open.
    ///
    /// # Errors
    /// [`Error::Url`] when the address cannot be read; [`Error::Setting`] when
    /// a subprotocol or a header cannot be sent; [`Error::Io`] when there is
    /// no server, or no answer in time (kind `TimedOut`); [`Error::Handshake`]
    /// when the answer opens no WebSocket.
    pub fn connect(self) -> Result<WebSocket> {
        let target = Target::parse(&self.url)?;
        self.check()?;
        let (link, reader) = dial(&target, &self.wishes, self.connect_time, self.bounds)?;
        Ok(WebSocket { link, id: next_id(), reader })
    }

    fn check(&self) -> Result<()> {
        for (number, name) in self.wishes.protocols.iter().enumerate() {
            if !is_token(name) || self.wishes.protocols[..number].contains(name) {
                let why = "offer each once, of letters, digits and any of !#$%&'*+-.^_`|~";
                return Err(Error::Setting(format!("subprotocol {name:?}: {why}")));
            }
        }
        for (name, value) in &self.wishes.headers {
            let fine = value.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte));
            if !is_token(name) || !fine {
                let why = "a header line is a name, and a value of visible ASCII";
                return Err(Error::Setting(format!("header {name:?}: {why}")));
            }
        }
        Ok(())
    }
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fine)
}
