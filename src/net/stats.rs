//! What the engine counts about itself, for `/metrics`.
//!
//! Counters are relaxed atomics. 64 bits are slow on ARMv6 (the kernel helps),
//! so the hot path adds up in plain integers and counts once a turn.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `more` more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters of an engine, since its start.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections accepted.
    pub accepted: Counter,
    /// `accept(2)` failed for want of a descriptor or memory.
    pub accept_errors: Counter,
    /// Refused: all connections taken.
    pub refused_full: Counter,
    /// Refused: too many from one address.
    pub refused_address: Counter,
    /// Refused: the peer's network, the name it uses, or the page's origin is
    /// not allowed.
    pub refused_forbidden: Counter,
    /// Refused: a token is missing or wrong.
    pub refused_unauthorized: Counter,
    /// Refused: too many wrong tokens.
    pub refused_tries: Counter,
    /// Refused: no TLS came about.
    pub refused_tls: Counter,
    /// Refused: head too slow, too long or not HTTP.
    pub refused_head: Counter,
    /// Refused: a body too long, too slow or broken.
    pub refused_body: Counter,
    /// Refused: too many bytes of bodies and answers under way.
    pub refused_memory: Counter,
    /// Refused peers that were closed before they had read why.
    pub refused_early: Counter,
    /// Idle connections that gave way to a newcomer.
    pub gave_way: Counter,
    /// Times that accepting waited for unfinished heads.
    pub waited_heads: Counter,
    /// Answers that were not taken in time.
    pub late_answers: Counter,
    /// Ends that took too long.
    pub late_ends: Counter,
    /// HTTP requests answered, upgrades included.
    pub requests: Counter,
    /// WebSocket connections opened.
    pub streams: Counter,
    /// Frames handed to the kernel for streaming clients.
    pub frames_sent: Counter,
    /// Their bytes.
    pub bytes_sent: Counter,
    /// `send(2)` calls for them.
    pub sends: Counter,
    /// Sends that the kernel took only in part or not at all.
    pub blocked_sends: Counter,
    /// Messages from clients.
    pub messages_received: Counter,
    /// Clients ended for reason 1013: they did not take what was sent.
    pub ended_slow: Counter,
    /// Clients ended because nothing was heard of them.
    pub ended_silent: Counter,
    /// Clients ended for reason 1008: floods.
    pub ended_policy: Counter,
    /// Clients ended for reason 1002, 1007 or 1009.
    pub ended_protocol: Counter,
    /// WebSockets ended for reason 1013: too many bytes of messages under way.
    pub ended_memory: Counter,
    /// Connections whose thread panicked.
    pub panics: Counter,
}
