//! The wire: functions between data and bytes, without a socket.
//!
//! [`json`] is what a browser gets over the WebSocket and from `/api`;
//! [`fleet`] is what it gets where a server speaks for many boards; [`history`] is what it gets of the past, [`binary`] what carries many numbers
//! in few bytes; [`prometheus`] is what a scraper gets from `/metrics`;
//! [`line`](mod@line) is what is pushed in; [`query`] is what stands behind the
//! `?` of a request, [`subscribe`] what a client asks to see; [`events`] is the
//! stream where WebSockets do not pass.

pub mod binary;
pub mod events;
pub mod fleet;
pub mod history;
pub mod json;
pub mod line;
#[cfg(feature = "mqtt")]
pub(crate) mod mqtt;
pub mod prometheus;
pub mod query;
pub mod subscribe;
