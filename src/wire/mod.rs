//! The wire: functions between data and bytes, without a socket.
//!
//! [`json`] is what a browser gets over the WebSocket and from `/api`;
//! [`history`] what it gets of the past; [`prometheus`] is what a scraper gets from `/metrics`; [`query`] is what
//! stands behind the `?` of a request.

pub mod history;
pub mod json;
pub mod prometheus;
pub mod query;
