//! See what a small board is doing, live, in a browser.
//!
//! Boardcast reads a Linux board's vitals and pushes them over WebSocket to
//! every browser that looks, from one thread per connection and a small pool
//! of push workers, in a few megabytes of memory. It is a program and this
//! library: embed the same server in your own, or use its WebSocket server
//! alone.
//!
//! # A WebSocket server
//!
//! ```no_run
//! use boardcast::websocket::{Message, Server};
//!
//! # fn main() -> boardcast::Result<()> {
//! Server::bind("127.0.0.1:8888")?.serve(|ws, _request| {
//!     let _ = ws.send("Welcome!");
//!     |message: Message| println!("Received {message}")
//! })
//! # }
//! ```
//!
//! # The board's own page, with a channel of your own
//!
//! ```no_run
//! use boardcast::{App, net, telemetry::{Channel, Hub, HubSettings}};
//!
//! # fn main() -> boardcast::Result<()> {
//! let hub = Hub::new(HubSettings { device: "greenhouse".into(), ..Default::default() });
//! let listeners = net::Listeners::bind_all(8642)?;
//! let server =
//!     net::start(listeners, App::new(hub.clone()), net::Gate::local(), Default::default(), None)?;
//!
//! let publisher = hub.publisher("sensor");
//! let soil = publisher.channel(Channel::gauge("soil/moisture")?.unit("%").range(0.0, 100.0))?;
//! publisher.set(soil, 41.5);
//! # server.join().map(|_| ())
//! # }
//! ```
//!
//! # Layout
//!
//! A room uses only the ones above it.
//!
//! | room | what |
//! |---|---|
//! | [`error`], [`message`] | plain types |
//! | [`pulse`] | whether the threads that matter still turn |
//! | [`purse`] | memory that is held for a moment |
//! | [`net`] | the engine: accept loop, connection threads, push workers |
//! | [`mqtt`] | a client of MQTT brokers, on the engine's sockets |
//! | [`websocket`] | the WebSocket API for programs, on the engine |
//! | [`telemetry`] | channels, values, batches; the hub, its ring and its history |
//! | [`wire`] | JSON, Prometheus, pushed lines, as functions of bytes |
//! | [`sources`] | where readings come from: the sampler, and what is pushed in |
//! | `web` | the page, embedded |
//! | [`App`] | joins hub, page and engine: routes and the stream |
//! | [`uplink`] | a board's readings, out to an MQTT broker |
//! | [`config`], [`token`], [`watch`], [`put`], [`cert`], [`mdns`], [`doctor`], [`fleet`], [`cli`], `service`, [`daemon`] | the program: settings, tokens, the terminal client, what pushes readings, what makes a certificate, what tells the network, what looks after the board, what many devices say, the command line, the server as a service |
//!
//! The invariants are in ARCHITECTURE.md, beside the source.

mod app;
mod backoff;
pub mod cert;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod error;
mod fault;
pub mod fleet;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod mdns;
pub mod message;
pub mod mqtt;
pub mod net;
pub mod pulse;
pub mod purse;
pub mod put;
mod service;
pub mod sources;
mod sys;
pub mod telemetry;
pub mod token;
pub mod uplink;
pub mod watch;
mod web;
pub mod websocket;
pub mod wire;

pub use self::{
    app::App,
    error::{Error, Result},
};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
