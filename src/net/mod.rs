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
//! A file here uses only the ones above it: `limits`, `stats`, `socket`,
//! `http`, `gate`, `handshake`, `head`, `deflate`, `feed`, `slots`, `outlet`,
//! `client`, `pusher`, `stream`, `connection`, `acceptor`, `server`.

mod acceptor;
mod client;
mod connection;
#[cfg_attr(not(feature = "deflate"), path = "deflate/off.rs")]
#[allow(dead_code, unused_imports, reason = "not wired in yet")]
mod deflate;
mod feed;
mod gate;
mod handshake;
#[allow(dead_code, reason = "not wired in yet")]
mod head;
mod http;
mod limits;
mod outlet;
mod pusher;
mod server;
mod slots;
mod socket;
mod stats;
mod stream;

pub(crate) use self::gate::own_addresses;
pub use self::{
    client::{Connection, Handler},
    connection::{Answer, Application, Upgrade},
    feed::{Bell, Cursor, Frames, text_frame},
    gate::{Gate, Network, Networks, OnLink, Origins},
    http::{Request, Response},
    limits::Limits,
    server::{Ended, Handle, Listeners, start},
    stats::{Counter, Stats},
};
