//! The wire: functions between data and bytes, without a socket.
//!
//! [`json`] is what a browser gets over the WebSocket and from `/api`;
//! [`prometheus`] is what a scraper gets from `/metrics`.

pub mod json;
pub mod prometheus;
