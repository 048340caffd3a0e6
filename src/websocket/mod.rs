//! The WebSocket API for programs: the article's server, in Rust.
//!
//! ```no_run
//! use boardcast::websocket::{Connection, Message, Server};
//!
//! # fn main() -> boardcast::Result<()> {
//! Server::bind("127.0.0.1:8888")?.serve(|ws, _request| {
//!     let _ = ws.send("Welcome!");
//!     |message: Message| println!("Received {message}")
//! })
//! # }
//! ```
//!
//! | in the article | here |
//! |---|---|
//! | `new WS.Server({ port })` | [`Server::bind`] |
//! | `on("connection", (ws, request) => …)` | the closure given to [`Server::serve`] |
//! | `ws.send(data)` | [`Connection::send`] |
//! | `ws.on("message", …)` | [`Handler::on_message`], or a closure |
//! | `request.connection.remoteAddress` | [`Request::peer`] |

mod server;

pub use self::server::Server;
pub use crate::{
    message::{CloseCode, CloseEvent, Message, ReadyState, Utf8Bytes},
    net::{Connection, Handler, Request},
};
