//! A server of WebSockets alone: every path, every origin, as `ws` has it.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use super::{Connection, Handler, Request};
use crate::{
    error::{Error, Result},
    net::{self, Answer, Application, Ended, Gate, Handle, Limits, Listeners, Response, Upgrade},
};

/// A WebSocket server, bound and not yet running (the article's `WS.Server`).
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    limits: Limits,
}

impl Server {
    /// Binds an address, `"127.0.0.1:8888"`; port 0 lets the system choose.
    ///
    /// # Errors
    /// [`Error::Io`] when the address cannot be resolved or bound.
    pub fn bind(address: impl ToSocketAddrs) -> Result<Self> {
        let resolved = address.to_socket_addrs();
        let mut resolved = resolved.map_err(|error| Error::io("resolve the address", error))?;
        let first = resolved.next().ok_or_else(|| Error::Setting("no address to bind".into()))?;
        Ok(Self { listeners: Listeners::bind(&[first])?, limits: Limits::default() })
    }

    /// Sets the bounds; those of [`Limits::default`] fit a small board.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
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

    /// As [`serve`](Self::serve), but on threads of its own.
    ///
    /// # Errors
    /// [`Error::Setting`] when the limits cannot work together, [`Error::Io`]
    /// when the system refuses a thread.
    pub fn start<H: Handler + 'static>(
        self,
        on_connection: impl Fn(&Connection, &Request) -> H + Send + Sync + 'static,
    ) -> Result<Handle> {
        let application = Arc::new(Program { on_connection: Arc::new(on_connection) });
        net::start(self.listeners, application, Gate::open(), self.limits, None)
    }
}

struct Program<F> {
    on_connection: Arc<F>,
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
        let on_connection = self.on_connection.clone();
        Answer::Upgrade(Upgrade::new(move |connection, request| on_connection(connection, request)))
    }
}
