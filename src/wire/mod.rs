//! The wire: functions between data and bytes, without a socket.
//!
//! [`json`] is what a browser gets over the WebSocket and from `/api`;
//! [`binary`] is what carries many numbers in few bytes; [`prometheus`] is what a scraper gets from `/metrics`.

pub mod binary;
pub mod json;
pub mod prometheus;
