//! Integration tests: real bytes over real sockets, on free ports.
//!
//! `fixture` starts servers (in this process, with bounds that a test can wait
//! for, or the real binary) and plays clients that behave and that do not.

mod binary;
mod broadcast;
mod channels;
mod chaos;
mod client;
mod crowd;
#[cfg(feature = "deflate")]
mod deflate;
mod delivery;
mod doctor;
mod feeds;
mod fixture;
mod found;
mod halfopen;
mod history;
mod http;
mod injected;
mod inputs;
mod lines;
mod listing;
mod misbehaviour;
#[cfg(debug_assertions)]
mod planted;
mod platform;
mod rules;
mod service;
mod settings;
mod slow;
mod soak;
mod stop;
mod strain;
mod stream;
mod stress;
#[cfg(all(feature = "tls", not(target_env = "musl")))]
mod tls;
mod trouble;
mod watch;
mod websocket;
