//! Integration tests: real bytes over real sockets, on free ports.
//!
//! `fixture` starts servers (in this process, with bounds that a test can wait
//! for, or the real binary) and plays clients that behave and that do not.

// `tunnel` runs some of the tests once more, over TLS.
#![cfg_attr(feature = "tls", allow(clippy::duplicate_mod))]

mod access;
mod attacks;
#[cfg(feature = "tls")]
mod authority;
mod binary;
mod broadcast;
#[cfg(feature = "mqtt")]
mod broker;
mod channels;
mod chaos;
mod client;
mod crowd;
#[cfg(feature = "mqtt")]
mod crowds;
#[cfg(feature = "deflate")]
mod deflate;
mod delivery;
mod doctor;
mod events;
mod feeds;
mod fixture;
mod fleet;
mod found;
mod halfopen;
mod history;
mod http;
mod injected;
mod inputs;
mod lines;
mod listing;
mod mdns;
mod memory;
mod misbehaviour;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "mqtt")]
mod mqtt_hostile;
#[cfg(feature = "mqtt")]
mod mqtt_source;
#[cfg(debug_assertions)]
mod planted;
mod platform;
mod prometheus;
mod rules;
mod sandbox;
#[cfg(feature = "tls")]
mod secure;
mod service;
mod settings;
mod sick;
mod slow;
mod soak;
mod stop;
mod strain;
mod stream;
mod stress;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_stress;
mod trouble;
#[cfg(feature = "tls")]
mod tunnel;
#[cfg(feature = "mqtt")]
mod uplink;
mod watch;
mod websocket;
