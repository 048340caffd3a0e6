//! One connection, on its own thread: requests and answers, until it ends or
//! becomes a WebSocket.
//!
//! The thread sleeps in a blocking `read(2)` and keeps no timer: the accept
//! loop shuts the socket down when a deadline in [`slots`](super::slots)
//! passes, and the read returns.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, atomic::Ordering::Release},
    time::Instant,
};

use bytes::Bytes;

use super::{
    client::{Client, NewClient},
    deflate::Agreement,
    feed::{Bell, Cursor, Feed},
    gate::{Gate, LOGIN, Login, Refused, Tries},
    handshake,
    http::{BadHead, Chunks, Framing, Parsed, Request, Response},
    limits::Limits,
    link::{self, Connection, Handler},
    pusher::Pool,
    slots::{Phase, Refusal, Slot},
    socket::Socket,
    stats::Stats,
    stream,
    tls::{Greeting, Tls},
};
use crate::{
    message::{CloseCode, Message},
    purse::{Purse, Taken},
};

/// What a server serves. One value serves all connections at the same time.
pub trait Application: Send + Sync + 'static {
    /// Answers one request. Its body is read only for an [`Answer::Body`].
    fn respond(&self, request: &Request) -> Answer;

    /// Whether no token is asked of this request, although looking needs one:
    /// its answer is the same for everyone, and has nothing to do with what is
    /// served.
    fn is_open(&self, request: &Request) -> bool {
        let _ = request;
        false
    }

    /// The engine runs; ring `bell` whenever cursors have something new.
    fn started(&self, bell: Bell) {
        let _ = bell;
    }

    /// No new connection comes any more: stop what feeds the cursors. What it
    /// published until this returns is still sent.
    fn stopping(&self) {}

    /// SIGHUP came, where it is among the signals of [`start`](super::start).
    /// The accept loop waits meanwhile.
    fn hung_up(&self) {}
}

/// What becomes of a request.
pub enum Answer {
    /// It is answered.
    Response(Response),
    /// Its body is read, and then it is answered.
    Body(Body),
    /// It becomes a WebSocket, if it asked for one in the right way, or an event
    /// stream.
    Upgrade(Upgrade),
}

type Open = Box<dyn FnOnce(&Connection, &Request) -> Box<dyn Handler> + Send>;

type Then = Box<dyn FnOnce(&Request, &[u8]) -> Response + Send>;

/// A request whose body is wanted: at most `body_bytes`, within `body_time` of
/// the [`Limits`]; otherwise the engine answers 413 or 408 itself.
pub struct Body(Then);

impl Body {
    /// `then` is called with the whole body, on the connection's thread.
    pub fn then(then: impl FnOnce(&Request, &[u8]) -> Response + Send + 'static) -> Self {
        Self(Box::new(then))
    }
}

/// A request that becomes a WebSocket, or an event stream.
pub struct Upgrade {
    id: u64,
    protocol: Option<String>,
    cursor: Option<Box<dyn Cursor>>,
    publisher: bool,
    /// It becomes an event stream instead.
    events: bool,
    open: Open,
}

/// What a client may send that may publish.
fn publishers(limits: &Limits) -> Limits {
    Limits {
        message_bytes: limits.message_bytes.max(limits.publisher_bytes),
        message_rate: limits.message_rate.max(limits.publisher_rate),
        message_burst: limits.message_burst.max(limits.publisher_rate.saturating_mul(2)),
        ..limits.clone()
    }
}

impl Upgrade {
    /// `open` is called on the connection's thread once the handshake is
    /// over, and makes the handler.
    pub fn new<H: Handler + 'static>(
        open: impl FnOnce(&Connection, &Request) -> H + Send + 'static,
    ) -> Self {
        let open: Open = Box::new(move |connection, request| Box::new(open(connection, request)));
        Self {
            id: link::next_id(),
            protocol: None,
            cursor: None,
            publisher: false,
            events: false,
            open,
        }
    }

    /// A request that becomes an event stream (`text/event-stream`): what the
    /// cursor gives goes out as it is, and what the client says is not heard.
    pub fn events(cursor: Box<dyn Cursor>) -> Self {
        Self { events: true, ..Self::new(|_, _| Silent).cursor(cursor) }
    }

    /// Names the subprotocol that was chosen among those offered.
    pub fn protocol(mut self, name: impl Into<String>) -> Self {
        self.protocol = Some(name.into());
        self
    }

    /// Lets this client say more than others: what the [`Limits`] allow one
    /// that may publish.
    pub fn publisher(mut self) -> Self {
        self.publisher = true;
        self
    }

    /// Lets a push worker send the client what comes from a feed.
    pub fn feed(mut self, feed: &dyn Feed) -> Self {
        self.cursor = Some(feed.cursor(self.id));
        self
    }

    /// As [`feed`](Self::feed), with a cursor that was made for this client.
    pub fn cursor(mut self, cursor: Box<dyn Cursor>) -> Self {
        self.cursor = Some(cursor);
        self
    }
}

/// What all connections share.
pub(super) struct Engine {
    pub(super) application: Arc<dyn Application>,
    pub(super) gate: Arc<RwLock<Gate>>,
    pub(super) tries: Arc<Tries>,
    pub(super) limits: Limits,
    /// For what is under way.
    pub(super) purse: Purse,
    pub(super) stats: Arc<Stats>,
    pub(super) pool: Pool,
    /// What all listeners speak, when they do.
    pub(super) tls: Option<Tls>,
}

impl Engine {
    /// Who may come in, for as long as it takes to ask.
    pub(super) fn gate(&self) -> RwLockReadGuard<'_, Gate> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The whole life of a connection. A panic ends this connection only.
pub(super) fn run(engine: &Engine, socket: &Arc<Socket>, slot: Slot, peer: SocketAddr) {
    let life = AssertUnwindSafe(|| {
        let conversation =
            Conversation { engine, socket: socket.clone(), peer, read: Vec::new(), misled: false };
        let Some(opening) = conversation.begin(slot) else { return };
        let Opened { leave, mut handler, read, limits, events } = opening.open(engine);
        // The handshake went deeper than all that follows, and a stream may
        // stay for months.
        crate::sys::release_unused_stack();
        let limits = limits.as_deref().unwrap_or(&engine.limits);
        if events {
            return stream::run_events(&leave.0);
        }
        stream::run(&leave.0, &mut *handler, read, limits, (&engine.stats, &engine.purse));
    });
    if catch_unwind(life).is_err() {
        engine.stats.panics.increment();
        log::error!("{peer}: its thread panicked; the connection is ended");
    }
    socket.shutdown(Shutdown::Both);
}

struct Conversation<'a> {
    engine: &'a Engine,
    socket: Arc<Socket>,
    peer: SocketAddr,
    /// Bytes that were read and not yet understood.
    read: Vec<u8>,
    /// It speaks plain HTTP where TLS is spoken: it is told so, once.
    misled: bool,
}

/// A conversation that becomes a stream.
struct Opening {
    socket: Arc<Socket>,
    slot: Slot,
    peer: SocketAddr,
    read: Vec<u8>,
    request: Box<Request>,
    upgrade: Upgrade,
    agreement: Option<Agreement>,
    head: String,
}

impl Conversation<'_> {
    /// TLS first, where that is spoken. Its handshake counts as a part of the
    /// first request's head: both must be there by the same deadline.
    #[inline(never)]
    fn begin(mut self, slot: Slot) -> Option<Box<Opening>> {
        match self.engine.tls.as_ref().map(|tls| tls.greet(&self.socket)) {
            None | Some(Ok(Greeting::Tls)) => {}
            Some(Ok(Greeting::Plain)) => self.misled = true,
            Some(Err(error)) => {
                // A peer that has gone without a word has not asked for TLS.
                if self.socket.is_secure() {
                    self.engine.stats.refused_tls.increment();
                    log::debug!("{}: refused, no TLS: {error}", self.peer);
                    self.linger(&slot);
                }
                return None;
            }
        }
        self.run(slot)
    }

    // Its frame holds the buffers of all that is inlined into it.
    #[inline(never)]
    fn run(mut self, slot: Slot) -> Option<Box<Opening>> {
        loop {
            let mut request = match self.read_head(&slot) {
                Ok(Some(mut request)) => {
                    request.set_secure(self.socket.is_secure());
                    request
                }
                Ok(None) => return None,
                Err(refusal) => {
                    self.engine.stats.refused_head.increment();
                    self.say_last(&slot, &refusal, false);
                    return None;
                }
            };
            self.engine.stats.requests.increment();
            let head_only = request.method() == "HEAD";
            let response = match self.answer(&mut request, &slot) {
                Answer::Response(response) => response,
                Answer::Body(body) => match self.read_body(&request, &slot) {
                    Ok(Some((bytes, _taken))) => (body.0)(&request, &bytes),
                    Ok(None) => return None,
                    Err(refusal) => refusal,
                },
                Answer::Upgrade(upgrade) => match self.accept_key(&request, &upgrade, &slot) {
                    Ok((head, agreement)) => {
                        let Self { socket, peer, read, .. } = self;
                        return Some(Box::new(Opening {
                            socket,
                            slot,
                            peer,
                            read,
                            request,
                            upgrade,
                            agreement,
                            head,
                        }));
                    }
                    Err(response) => response,
                },
            };
            let response = self.with_cross_origin(&request, response);
            if !request.keeps_alive() || self.misled {
                self.say_last(&slot, &response, head_only);
                return None;
            }
            if self.say(&slot, &response, true, head_only).is_err() {
                return None;
            }
        }
    }

    /// Reads until a head is whole. `None`: the peer has gone, or the time for
    /// a next request is over.
    fn read_head(&mut self, slot: &Slot) -> Result<Option<Box<Request>>, Response> {
        let limits = &self.engine.limits;
        let mut begun = !self.read.is_empty();
        let mut buffer = [0; 1024];
        loop {
            match Request::parse(&self.read, self.peer) {
                Ok(Parsed::Whole(request, length)) if length <= limits.head_bytes => {
                    self.read.drain(..length);
                    return Ok(Some(request));
                }
                Err(bad) => return Err(Response::text(bad.status, bad.why)),
                Ok(Parsed::Partial) if self.read.len() <= limits.head_bytes => {}
                Ok(_) => {
                    let most = limits.head_bytes;
                    let sentence = format!("the request's head is longer than {most} bytes");
                    return Err(Response::text(431, sentence));
                }
            }
            let length = self.socket.receive(&mut buffer).unwrap_or(0);
            if length == 0 {
                let late = slot.expired() && begun;
                let sentence = "the request's head took too long";
                return if late { Err(Response::text(408, sentence)) } else { Ok(None) };
            }
            let idle_before = !begun && slot.is_idle();
            begun = true;
            let deadline = Instant::now() + limits.head_time;
            if idle_before && slot.enter(Phase::NextHead, Some(deadline)).is_err() {
                return Ok(None);
            }
            self.read.extend_from_slice(&buffer[..length]);
        }
    }

    /// Reads the body, which is counted for as long as what was taken for it
    /// is kept. `None`: the peer has gone.
    #[inline(never)]
    fn read_body(
        &mut self,
        request: &Request,
        slot: &Slot,
    ) -> Result<Option<(Vec<u8>, Taken)>, Response> {
        let most = self.engine.limits.body_bytes;
        let stats = self.engine.stats.clone();
        let refuse = |response: Response| {
            stats.refused_body.increment();
            response
        };
        let too_long = || {
            let sentence = format!("the body is longer than {most} bytes; send several requests");
            refuse(Response::text(413, sentence))
        };
        let bad = |bad: BadHead| refuse(Response::text(bad.status, bad.why));
        let framing = request.framing().map_err(bad)?;
        let (length, mut chunks) = match framing {
            Framing::Length(length) if length > most => return Err(too_long()),
            Framing::Length(length) => (length, None),
            Framing::Chunked => (0, Some(Chunks::default())),
        };
        let deadline = Instant::now() + self.engine.limits.body_time;
        if slot.enter(Phase::Body, Some(deadline)).is_err() {
            return Ok(None);
        }
        if request.expects_continue() && self.read.is_empty() {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            if self.socket.send_all(go_on, b"").is_err() {
                return Ok(None);
            }
        }
        let mut body = Vec::new();
        let mut buffer = [0; 1024];
        let mut taken = self.engine.purse.open();
        loop {
            let whole = match &mut chunks {
                Some(chunks) => chunks.take(&mut self.read, &mut body, most).map_err(bad)?,
                None => {
                    let part = self.read.len().min(length - body.len());
                    body.extend(self.read.drain(..part));
                    body.len() == length
                }
            };
            if body.len() > most {
                return Err(too_long());
            }
            // A vector grows by doubling.
            if !taken.grow_to(2 * body.len()) {
                self.engine.stats.refused_memory.increment();
                return Err(busy());
            }
            if whole {
                return Ok(Some((body, taken)));
            }
            let received = self.socket.receive(&mut buffer).unwrap_or(0);
            if received == 0 {
                let sentence = "the request's body took too long";
                let late = || refuse(Response::text(408, sentence));
                return if slot.expired() { Err(late()) } else { Ok(None) };
            }
            self.read.extend_from_slice(&buffer[..received]);
        }
    }

    /// What becomes of a request: first the gate is asked, then the application.
    fn answer(&self, request: &mut Request, slot: &Slot) -> Answer {
        if self.misled {
            return Answer::Response(request.see_https());
        }
        let stats = &self.engine.stats;
        let gate = self.engine.gate();
        if let Some(elsewhere) = gate.moved(request) {
            return Answer::Response(elsewhere);
        }
        let open = |request: &Request| self.engine.application.is_open(request);
        if let Err(refused) = gate.judge(request, &self.engine.tries, Instant::now(), &open) {
            let counter = match refused {
                Refused::Forbidden(_) => &stats.refused_forbidden,
                Refused::Unauthorized(_) | Refused::StaleCookie => &stats.refused_unauthorized,
                Refused::TooManyTries(_) => &stats.refused_tries,
            };
            counter.increment();
            return refusal(request, &refused);
        }
        drop(gate);
        if slot.speaks_for(request.client()).is_err() {
            stats.refused_address.increment();
            return Answer::Response(too_many());
        }
        if request.path() == LOGIN {
            return self.login(request);
        }
        if request.is_preflight() {
            return Answer::Response(preflight());
        }
        self.engine.application.respond(request)
    }

    fn login(&self, request: &Request) -> Answer {
        let (gate, tries) = (self.engine.gate.clone(), self.engine.tries.clone());
        match Login::of(request) {
            Login::Answer(response) => Answer::Response(response),
            Login::Form => Answer::Body(Body::then(move |request, form| {
                let gate = gate.read().unwrap_or_else(PoisonError::into_inner);
                Login::enter(&gate, &tries, request, form)
            })),
        }
    }

    fn with_cross_origin(&self, request: &Request, response: Response) -> Response {
        let response = response.header("Vary", "Origin");
        let origin = self.engine.gate().cross_origin(request);
        match origin {
            Some(origin) => response.header("Access-Control-Allow-Origin", origin),
            None => response,
        }
    }

    /// The head of the answer to an upgrade; takes a place among the streams.
    fn accept_key(
        &self,
        request: &Request,
        upgrade: &Upgrade,
        slot: &Slot,
    ) -> Result<(String, Option<Agreement>), Response> {
        let shaken = if upgrade.events { None } else { Some(handshake::accept(request)?) };
        if slot.enter(Phase::Stream, None) == Err(Refusal::Full) {
            self.engine.stats.refused_full.increment();
            return Err(full());
        }
        let Some(mut head) = shaken else {
            let response = self.with_cross_origin(request, Response::event_stream());
            return Ok((response.endless_head(), None));
        };
        if let Some(protocol) = &upgrade.protocol {
            head += &format!("Sec-WebSocket-Protocol: {protocol}\r\n");
        }
        let offers = request.header_lines("sec-websocket-extensions");
        let agreement = if self.engine.limits.deflate { Agreement::choose(offers) } else { None };
        if let Some(agreement) = &agreement {
            head += &format!("Sec-WebSocket-Extensions: {agreement}\r\n");
        }
        head += "\r\n";
        Ok((head, agreement))
    }

    fn say(&self, slot: &Slot, response: &Response, keep: bool, head_only: bool) -> io::Result<()> {
        let limits = &self.engine.limits;
        let now = Instant::now();
        let gave_way = |_| io::Error::from(io::ErrorKind::ConnectionAborted);
        slot.enter(Phase::Answer, Some(now + limits.response_time)).map_err(gave_way)?;
        let body = if head_only { &[] } else { response.body() };
        self.socket.send_all(response.head(keep).as_bytes(), body)?;
        let pipelined = keep && !self.read.is_empty();
        let (phase, time) = match pipelined {
            true => (Phase::NextHead, limits.head_time),
            false => (Phase::Idle, limits.keep_alive),
        };
        slot.enter(phase, Some(Instant::now() + time)).map_err(gave_way)
    }

    /// Answers, and then reads on until the peer's end, so that what it still
    /// sends does not make the kernel reset what we said.
    fn say_last(&self, slot: &Slot, response: &Response, head_only: bool) {
        if self.say(slot, response, false, head_only).is_ok() {
            self.linger(slot);
        }
    }

    /// Ends our direction, and reads the other one empty for a moment.
    #[inline(never)]
    fn linger(&self, slot: &Slot) {
        self.socket.finish();
        let deadline = Instant::now() + self.engine.limits.close_time;
        if slot.enter(Phase::Closing, Some(deadline)).is_err() {
            return;
        }
        let mut left = Limits::LINGER_BYTES;
        let mut buffer = [0; 1024];
        while left > 0 {
            match self.socket.receive_raw(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(length) => left = left.saturating_sub(length),
            }
        }
    }
}

/// How a request is refused. A browser's WebSocket cannot see a status: it
/// gets a Close that says why.
fn refusal(request: &Request, refused: &Refused) -> Answer {
    if !request.wants_websocket() || request.header_count("origin") == 0 {
        return Answer::Response(refused.response(request));
    }
    let (code, reason) = refused.close();
    let upgrade = Upgrade::new(move |connection, _| {
        // Nothing else was said before.
        let _ = connection.close(Some(code), reason);
        Silent
    });
    // A browser gives up without an answer to what it has offered.
    let offered = request.subprotocols().next();
    Answer::Upgrade(match offered {
        Some(protocol) => upgrade.protocol(protocol),
        None => upgrade,
    })
}

/// What a page of another origin may ask, if that origin may at all (Fetch,
/// "CORS preflight request").
fn preflight() -> Response {
    Response::empty(204)
        .header("Access-Control-Allow-Methods", "GET, POST")
        .header("Access-Control-Allow-Headers", "Authorization, Content-Type")
        .header("Access-Control-Max-Age", "600")
}

/// Who is shown out says nothing any more.
struct Silent;

impl Handler for Silent {
    fn on_message(&mut self, _: &Connection, _: Message) {}
}

/// The answer to one connection too many of an address.
pub(super) fn too_many() -> Response {
    Response::text(
        429,
        "too many connections from your address; close some, or raise --max-per-address",
    )
}

impl Opening {
    /// From here on the connection is a WebSocket, or an event stream.
    #[inline(never)]
    fn open(self, engine: &Engine) -> Opened {
        let Self { socket, slot, peer, read, request, upgrade, agreement, head } = self;
        let Upgrade { id, protocol, cursor, publisher, events, open } = upgrade;
        let limits = &engine.limits;
        socket.prepare_stream(limits.send_buffer, limits.not_sent);
        if events {
            socket.end_when_unheard(limits.silence);
        }
        engine.stats.streams.increment();
        let worker = engine.pool.for_new_client();
        let client = Arc::new(Client::new(NewClient {
            socket,
            slot,
            peer,
            id,
            protocol,
            url: request.url().into(),
            agreement,
            worker: worker.clone(),
            head: Bytes::from(head),
            held: cursor.is_some(),
            events,
            control_bytes: limits.control_bytes,
            close_time: limits.close_time,
        }));
        let leave = Leave(client.clone());
        // The peer may have left answers unread: its head waits like a frame does.
        client.outlet.drain(Instant::now());
        worker.join(client.clone(), cursor);
        let what = if events { "an event stream" } else { "a WebSocket" };
        log::debug!("{peer}: {what}");
        let handler = open(&Connection::new(&client, client.id, peer), &request);
        let limits = publisher.then(|| Box::new(publishers(&engine.limits)));
        Opened { leave, handler, read, limits, events }
    }
}

/// A stream whose other end can be heard.
struct Opened {
    leave: Leave,
    handler: Box<dyn Handler>,
    read: Vec<u8>,
    /// Its own bounds, where they are wider than everyone's.
    limits: Option<Box<Limits>>,
    events: bool,
}

/// The answer when all places are taken.
pub(super) fn full() -> Response {
    Response::text(503, "all connections are taken; try again in a few seconds")
        .header("Retry-After", "5")
}

/// The answer when there is no memory for this request.
pub(crate) fn busy() -> Response {
    Response::text(503, "too much is under way; try again in a few seconds")
        .header("Retry-After", "2")
}

/// Tells the worker that the client is gone, whichever way its thread ends.
struct Leave(Arc<Client>);

impl Drop for Leave {
    fn drop(&mut self) {
        let client = &self.0;
        if std::thread::panicking() {
            client.end(CloseCode::INTERNAL_ERROR, "a fault of the server");
        }
        client.outlet.abort();
        client.gone.store(true, Release);
        client.worker.attend(client);
    }
}
