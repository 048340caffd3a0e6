//! The WebSocket API for programs, both ends of it, blocking: the article's
//! server and the browser's client, in Rust.
//!
//! ```no_run
//! use boardcast::websocket::{Message, Server};
//!
//! # fn main() -> boardcast::Result<()> {
//! Server::bind("127.0.0.1:8888")?.serve(|ws, request| {
//!     let _ = ws.send("Welcome!");
//!     let peer = request.peer();
//!     move |message: Message| println!("Received message from {peer} ==> {message}")
//! })
//! # }
//! ```
//!
//! | in the article | a server's side | a client's side |
//! |---|---|---|
//! | `new WS.Server({ port })` | [`Server::bind`], [`Server::builder`] | |
//! | `on("connection", (ws, request) => …)` | the closure given to [`Server::serve`] | |
//! | `request.connection.remoteAddress`, `remotePort` | [`Request::peer`] | |
//! | `new WebSocket(url, protocols)` | | [`WebSocket::connect`], [`WebSocket::builder`] |
//! | `onopen`, `onmessage`, `onclose`, `onerror` | [`Handler`], or a closure | [`WebSocket::run`] with the same; [`WebSocket::recv`] for a loop |
//! | `send(data)` | [`Connection::send`], [`Connection::try_send`] | the same, and [`WebSocket::send`] |
//! | a string, an `ArrayBuffer` or a view of it | `&str`, `String`; `&[u8]`, `Vec<u8>`, `Bytes` | the same |
//! | a `Blob` | | [`WebSocket::send_from`] |
//! | `close([code[, reason]])` | [`Connection::close`] | [`WebSocket::close`] |
//! | `CONNECTING` 0, `OPEN` 1, `CLOSING` 2, `CLOSED` 3 | [`ReadyState`] | the same |
//! | `readyState`, `bufferedAmount`, `protocol`, `extensions`, `url` | methods of [`Connection`] | the same, and of [`WebSocket`] |
//! | `binaryType` | | [`Message::into_bytes`] or [`Message::into_vec`] |
//! | the close event's `code`, `reason`, `wasClean` | [`CloseEvent`] | the same |
//! | – (RFC 6455 section 5.5.2) | [`Connection::ping`], [`Connection::round_trip`] | the same |
//! | – | [`Broadcast`], [`Group`] | |

mod broadcast;
mod client;
mod server;

pub use self::{
    broadcast::{Broadcast, Group},
    client::{Builder as ClientBuilder, WebSocket},
    server::{Builder as ServerBuilder, Server},
};
pub use crate::{
    message::{CloseCode, CloseEvent, Message, ReadyState, Utf8Bytes},
    net::{Connection, Handle, Handler, Limits, Request},
};
