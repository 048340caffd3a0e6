//! The engine: many clients over blocking sockets in little memory.
//!
//! It knows nothing of telemetry. An [`Application`] answers requests; where
//! it answers with an [`Upgrade`], the connection becomes a WebSocket that a
//! [`Handler`] listens to and a [`Cursor`] feeds.
//!
//! ```text
//!  acceptor ──▶ slots: who has which place, in which phase, until when
//!     │
//!     ▼ one thread each
//!  connection ──▶ http ──▶ gate ──▶ Application ──▶ stream (tungstenite reads)
//!                                                     │ shares the Outlet
//!  pusher (1..4 workers) ◀── bell ── whoever publishes ┴──▶ socket
//! ```
//!
//! A file here uses only the ones above it: `limits`, `stats`, `tls`, `socket`,
//! `head`, `deflate`, `http`, `gate`, `handshake`, `feed`, `slots`, `outlet`,
//! `squeezed`, `link`, `client`, `pusher`, `stream`, `connection`, `acceptor`,
//! `server`; `reach`, `pipe`, `dialed` and `dial` are the client's side, `fuzzing` is for tests.

mod acceptor;
mod client;
mod connection;
#[cfg_attr(not(feature = "deflate"), path = "deflate/off.rs")]
mod deflate;
mod dial;
mod dialed;
mod feed;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod gate;
mod handshake;
#[cfg(feature = "deflate")]
mod head;
mod http;
mod limits;
mod link;
mod outlet;
#[cfg(feature = "mqtt")]
mod pipe;
mod pusher;
mod reach;
mod server;
mod slots;
mod socket;
mod squeezed;
mod stats;
mod stream;
#[cfg_attr(not(feature = "tls"), path = "tls/off.rs")]
mod tls;

/// What is said when a build without the feature `tls` is to speak TLS.
#[cfg(not(feature = "tls"))]
pub(crate) const NO_TLS: &str =
    "this build has no TLS: the one of the packages has, or one with --features tls";

pub(crate) use self::{
    connection::busy,
    dial::{Target, Wishes, dial},
    dialed::{Bounds, Dialed, Heard, Reader},
    gate::own_addresses,
    http::SEE_HTTPS,
    link::{Link, next_id},
};
pub use self::{
    connection::{Answer, Application, Body, Upgrade},
    feed::{Bell, Cursor, Feed, Frames, message_frame, text_frame},
    gate::{Gate, Hosts, Network, Networks, Origins, Proxies, Role, TokenEntry, Tokens},
    http::{Request, Response},
    limits::Limits,
    link::{Connection, Handler},
    server::{Ended, Handle, Listeners, start},
    stats::{Counter, Stats},
    tls::Tls,
};
#[cfg(feature = "mqtt")]
pub(crate) use self::{
    feed::payload_of,
    pipe::{Pipe, Place},
};
