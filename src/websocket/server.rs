//! A server of WebSockets alone: every path, every origin, as `ws` has it.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use super::{Broadcast, Connection, Handler, Request, client::is_token};
use crate::{
    error::{Error, Result},
    net::{
        self, Answer, Application, Bell, Ended, Feed, Gate, Handle, Limits, Listeners, Origins,
        Response, Tls, Upgrade,
    },
};

/// A WebSocket server, bound and not yet running (the article's `WS.Server`).
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    limits: Limits,
    gate: Gate,
    protocols: Vec<String>,
    broadcast: Option<Broadcast>,
}

/// What a server is to be like, before its sockets are bound.
///
/// ```no_run
/// use boardcast::websocket::{Message, Server};
///
/// # fn main() -> boardcast::Result<()> {
/// Server::builder()
///     .listen("0.0.0.0:8888")
///     .listen("[::]:8888")
///     .protocols(["chat.v2", "chat.v1"])
///     .origins(["https://example.org"])
///     .bind()?
///     .serve(|ws, _| {
///         let _ = ws.send(format!("we speak {}", ws.protocol()));
///         |_: Message| {}
///     })
/// # }
/// ```
pub struct Builder {
    addresses: Vec<Result<Vec<SocketAddr>>>,
    limits: Limits,
    gate: Gate,
    origins: Vec<String>,
    protocols: Vec<String>,
    broadcast: Option<Broadcast>,
    tls: Option<Tls>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addresses, protocols, origins, .. } = self;
        let mut shown = f.debug_struct("Builder");
        shown.field("addresses", addresses).field("protocols", protocols);
        shown.field("origins", origins).finish_non_exhaustive()
    }
}

impl Server {
    /// Binds one address, `"127.0.0.1:8888"`; port 0 lets the system choose.
    ///
    /// # Errors
    /// As [`Builder::bind`].
    pub fn bind(address: impl ToSocketAddrs) -> Result<Self> {
        Self::builder().listen(address).bind()
    }

    /// Begins to describe a server.
    pub fn builder() -> Builder {
        Builder {
            addresses: Vec::new(),
            limits: program_limits(),
            gate: Gate::open(),
            origins: Vec::new(),
            protocols: Vec::new(),
            broadcast: None,
            tls: None,
        }
    }

    /// The addresses it is bound to.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.addresses()
    }

    /// Serves until the process ends. `on_connection` is called for each
    /// client when its handshake is over, and makes its handler.
    ///
    /// # Errors
    /// As [`start`](Self::start); and [`Error::Fatal`] when a thread died that
    /// must live.
    pub fn serve<H: Handler + 'static>(
        self,
        on_connection: impl Fn(&Connection, &Request) -> H + Send + Sync + 'static,
    ) -> Result<()> {
        self.start(on_connection)?.join().map(|_: Ended| ())
    }

    /// As [`serve`](Self::serve), but on threads of its own; what it gives
    /// stops the server gently: every client gets a Close with 1001.
    ///
    /// # Errors
    /// [`Error::Setting`] when the limits cannot work together, [`Error::Io`]
    /// when the system refuses a thread.
    pub fn start<H: Handler + 'static>(
        self,
        on_connection: impl Fn(&Connection, &Request) -> H + Send + Sync + 'static,
    ) -> Result<Handle> {
        let Self { listeners, limits, gate, protocols, broadcast } = self;
        let on_connection = Arc::new(on_connection);
        let application = Arc::new(Program { on_connection, protocols, broadcast });
        net::start(listeners, application, gate, limits, None)
    }
}

/// The bounds of a server that a program makes: those of a small board, but
/// its clients may say more than a viewer of readings does.
fn program_limits() -> Limits {
    Limits {
        reserved_for_http: 0,
        message_bytes: 1 << 20,
        message_time: Duration::from_secs(30),
        message_rate: 1_000,
        message_burst: 2_000,
        control_rate: 100,
        read_buffer: 4096,
        // Loopback takes segments of 64 KiB. With a buffer below two of them,
        // every one waits 40 ms for a delayed acknowledgement: 16 MiB took 10 s.
        send_buffer: 128 * 1024,
        ..Limits::default()
    }
}

impl Builder {
    /// Listens on an address, too. A name may stand for several; the first is
    /// taken.
    pub fn listen(mut self, address: impl ToSocketAddrs) -> Self {
        let resolved = address.to_socket_addrs().map(|addresses| addresses.take(1).collect());
        self.addresses.push(resolved.map_err(|error| Error::io("resolve the address", error)));
        self
    }

    /// The subprotocols that are spoken, the dearest first: of those that a
    /// client offers, the first of these is chosen. A client that offers only
    /// others is refused with 400; one that offers none is let in. Without
    /// this, the first that a client offers is taken, as `ws` does.
    pub fn protocols(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.protocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Which pages of browsers may connect, as in `https://example.org`: those
    /// of these origins, and those of this very host. Other clients send no
    /// `Origin`. Without this, every page may.
    pub fn origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.origins = origins.into_iter().map(Into::into).collect();
        self
    }

    /// Changes bounds. What stands there before fits a small board: 128
    /// connections, messages of up to 1 MiB, 1,000 messages a second from a
    /// client.
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Lets messages travel compressed with clients that offer it
    /// (permessage-deflate, RFC 7692). A broadcast is compressed once for all
    /// who agreed on the same.
    #[cfg(feature = "deflate")]
    pub fn compress(mut self) -> Self {
        self.limits.deflate = true;
        self
    }

    /// Speaks TLS, `wss://`, with this certificate and its key.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Lets every connection hear a broadcast.
    pub fn broadcast(mut self, broadcast: &Broadcast) -> Self {
        self.broadcast = Some(broadcast.clone());
        self
    }

    /// Binds the addresses, all or none.
    ///
    /// # Errors
    /// [`Error::Io`] when an address cannot be resolved or bound;
    /// [`Error::Setting`] when there is none, when a subprotocol's name or an
    /// origin cannot be one, or when the limits cannot work together.
    pub fn bind(self) -> Result<Server> {
        let Self { addresses, limits, mut gate, origins, protocols, broadcast, tls } = self;
        let addresses: Vec<_> = addresses.into_iter().collect::<Result<Vec<_>>>()?.concat();
        if addresses.is_empty() {
            return Err(Error::Setting("name an address to listen on, as in 0.0.0.0:8888".into()));
        }
        if let Some(bad) = protocols.iter().find(|name| !is_token(name)) {
            let why = "a subprotocol is of letters, digits and any of !#$%&'*+-.^_`|~";
            return Err(Error::Setting(format!("{bad:?}: {why}")));
        }
        if let Some(bad) = origins.iter().find(|origin| !origin.contains("://")) {
            let why = "an origin has a scheme and a host, as in https://example.org";
            return Err(Error::Setting(format!("{bad:?}: {why}")));
        }
        if !origins.is_empty() {
            gate.origins = Origins::Own(origins);
        }
        limits.validate()?;
        let listeners = Listeners::bind(&addresses)?;
        let listeners = match tls {
            Some(tls) => listeners.secured(tls),
            None => listeners,
        };
        Ok(Server { listeners, limits, gate, protocols, broadcast })
    }
}

struct Program<F> {
    on_connection: Arc<F>,
    protocols: Vec<String>,
    broadcast: Option<Broadcast>,
}

impl<F> Program<F> {
    /// The subprotocol, if any (RFC 6455 section 4.2.2, `/subprotocol/`).
    fn choose(&self, request: &Request) -> Result<Option<String>, Response> {
        let mut offered = request.subprotocols().peekable();
        if offered.peek().is_none() || self.protocols.is_empty() {
            return Ok(offered.next().filter(|name| is_token(name)).map(str::to_owned));
        }
        let offered: Vec<_> = offered.collect();
        match self.protocols.iter().find(|name| offered.contains(&name.as_str())) {
            Some(chosen) => Ok(Some(chosen.clone())),
            None => {
                let spoken = self.protocols.join(", ");
                let sentence = format!("none of these subprotocols is spoken here; offer {spoken}");
                Err(Response::text(400, sentence))
            }
        }
    }
}

impl<F, H> Application for Program<F>
where
    F: Fn(&Connection, &Request) -> H + Send + Sync + 'static,
    H: Handler + 'static,
{
    fn respond(&self, request: &Request) -> Answer {
        if !request.wants_websocket() {
            let sentence = "this server speaks WebSocket (RFC 6455); connect with ws://";
            return Answer::Response(Response::upgrade_required(sentence));
        }
        let chosen = match self.choose(request) {
            Ok(chosen) => chosen,
            Err(refusal) => return Answer::Response(refusal),
        };
        let on_connection = self.on_connection.clone();
        let open =
            move |connection: &Connection, request: &Request| on_connection(connection, request);
        let mut upgrade = Upgrade::new(open);
        if let Some(name) = chosen {
            upgrade = upgrade.protocol(name);
        }
        if let Some(broadcast) = &self.broadcast {
            upgrade = upgrade.feed(broadcast);
        }
        Answer::Upgrade(upgrade)
    }

    fn started(&self, bell: Bell) {
        if let Some(broadcast) = &self.broadcast {
            broadcast.started(bell);
        }
    }
}
