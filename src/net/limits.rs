//! Every bound of the engine, in one place.

use std::time::Duration;

use crate::error::{Error, Result};

/// The bounds of the engine. Each has a default that fits a board with 512 MB
/// of memory; [`validate`](Self::validate) says which combinations cannot work.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Connections of every kind. Default 128. Each costs a thread, a
    /// descriptor and about 15 KiB; with TLS about 31.
    pub connections: usize,
    /// Of `connections`, how many are kept for plain HTTP, so that the page
    /// can still be opened when streams are many. Default 16.
    pub reserved_for_http: usize,
    /// Connections whose request head is not complete. Default 32. When there
    /// are that many, new ones wait in the kernel's queue.
    pub unfinished_heads: usize,
    /// Connections of one address. Default 32. Loopback is exempt.
    pub per_address: usize,
    /// Bytes of a request head. Default 8 KiB; more is answered with 431.
    pub head_bytes: usize,
    /// Time from the first byte (or the accept) to the end of a request head.
    /// Default 5 s; longer is answered with 408.
    pub head_time: Duration,
    /// Bytes of a request's body, where one is read at all. Default 64 KiB;
    /// more is answered with 413.
    pub body_bytes: usize,
    /// Time from the head to the end of a body. Default 10 s; longer is
    /// answered with 408.
    pub body_time: Duration,
    /// Time for a response to be taken by the peer. Default 30 s.
    pub response_time: Duration,
    /// How long an idle connection is kept for a next request. Default 5 s.
    pub keep_alive: Duration,
    /// Bytes of one message, and of one frame, from a client. Default 16 KiB;
    /// more ends the connection with 1009.
    pub message_bytes: usize,
    /// Time from the first byte of a message to its last. Default 10 s; longer
    /// ends the connection with 1008.
    pub message_time: Duration,
    /// Messages a second from a client. Default 20; more ends the connection
    /// with 1008.
    pub message_rate: u32,
    /// Messages at once from a client that was quiet before. Default 40.
    pub message_burst: u32,
    /// Control frames a second from a client; a pong that answers our ping
    /// does not count. Default 10; more ends the connection with 1008.
    pub control_rate: u32,
    /// Bytes of pongs, replies and other unasked frames that wait for a slow
    /// client. Default 16 KiB; more ends the connection.
    pub control_bytes: usize,
    /// tungstenite's read buffer, in bytes. Default 512 bytes: viewers say little,
    /// and a larger message makes room for itself. It is resident as a whole.
    pub read_buffer: usize,
    /// Whether messages may travel compressed (permessage-deflate, RFC 7692)
    /// with a client that offers it. Default no; without the feature `deflate`
    /// of this crate they never do. A compressed message that comes in takes
    /// 51 KiB while it does.
    pub deflate: bool,
    /// Bytes of one message of a client that may publish, where that is more
    /// than `message_bytes`. Default 64 KiB.
    pub publisher_bytes: usize,
    /// Messages a second from such a client, and twice as many at once, where
    /// that is more than `message_rate`. Default 200.
    pub publisher_rate: u32,
    /// Bytes that bodies, long messages and large answers take together while
    /// they are under way. Default 16 MiB, and room for the largest of them
    /// alone; whoever would take more is answered with 503, a WebSocket ended
    /// with 1013.
    pub transit_bytes: usize,
    /// Refused peers that are read empty at a time, so that they get to know
    /// why. Default 16; beyond, the one that was first is closed.
    pub refused_peers: usize,
    /// Stack of a connection's thread, in bytes. Default 128 KiB, of which
    /// only the touched pages cost memory.
    pub stack_bytes: usize,
    /// `SO_SNDBUF` of a streaming client, in bytes. Default 64 KiB: what is in
    /// there is already old when it is read.
    pub send_buffer: usize,
    /// `TCP_NOTSENT_LOWAT` of a streaming client, in bytes. Default 16 KiB.
    pub not_sent: u32,
    /// Push workers. Default: one a core, at most 4.
    pub workers: usize,
    /// How often a client is pinged. Default 20 s.
    pub ping_every: Duration,
    /// After how long without a byte a client counts as dead. Default 45 s.
    pub silence: Duration,
    /// How long a client may refuse to take what is sent. Default 10 s; then
    /// it is ended with 1013.
    pub stuck: Duration,
    /// How long a closing handshake may take. Default 2 s.
    pub close_time: Duration,
    /// How long the whole stop may take. Default 5 s.
    pub stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            connections: 128,
            reserved_for_http: 16,
            unfinished_heads: 32,
            per_address: 32,
            head_bytes: 8 * 1024,
            head_time: Duration::from_secs(5),
            body_bytes: 64 * 1024,
            body_time: Duration::from_secs(10),
            response_time: Duration::from_secs(30),
            keep_alive: Duration::from_secs(5),
            message_bytes: 16 * 1024,
            message_time: Duration::from_secs(10),
            message_rate: 20,
            message_burst: 40,
            control_rate: 10,
            control_bytes: 16 * 1024,
            publisher_bytes: 64 * 1024,
            publisher_rate: 200,
            transit_bytes: 16 << 20,
            refused_peers: 16,
            read_buffer: 512,
            deflate: false,
            stack_bytes: 128 * 1024,
            send_buffer: 64 * 1024,
            not_sent: 16 * 1024,
            workers: cores.min(4),
            ping_every: Duration::from_secs(20),
            silence: Duration::from_secs(45),
            stuck: Duration::from_secs(10),
            close_time: Duration::from_secs(2),
            stop_time: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// Request header lines; a fixed table on the stack.
    pub const HEAD_LINES: usize = 64;
    /// The longest time that a bound may be.
    pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);
    /// What is read and thrown away after our last word, in bytes.
    pub const LINGER_BYTES: usize = 64 * 1024;

    /// The most WebSockets at a time.
    pub fn streams(&self) -> usize {
        self.connections - self.reserved_for_http
    }

    /// What may be under way: the largest alone must find room, twice, since
    /// what grows doubles.
    pub(super) fn under_way(&self) -> usize {
        let largest = self.body_bytes.max(self.message_bytes).max(self.publisher_bytes);
        self.transit_bytes.max(largest.saturating_mul(2))
    }

    /// Checks that the bounds can work together.
    ///
    /// # Errors
    /// [`Error::Setting`] names the bound and what would do.
    pub fn validate(&self) -> Result<()> {
        let refuse = |why: &str| Err(Error::Setting(why.into()));
        if self.connections < 2 || self.connections > 60_000 {
            return refuse("the number of connections must be from 2 to 60000");
        }
        if self.reserved_for_http >= self.connections {
            return refuse(
                "connections reserved for HTTP must be fewer than connections in all: reserved_for_http < max_connections",
            );
        }
        if self.unfinished_heads == 0 || self.per_address == 0 {
            return refuse("a bound of 0 lets no one in: use at least 1 connection per address");
        }
        if self.workers == 0 || self.workers > 64 {
            return refuse("the number of push workers must be from 1 to 64");
        }
        if self.refused_peers == 0 || self.publisher_rate == 0 {
            return refuse("a bound of 0 tells nobody why: use at least 1");
        }
        if self.message_rate == 0 || self.control_rate == 0 {
            return refuse("message and control rates must be at least 1 a second");
        }
        if self.stack_bytes < 64 * 1024 {
            return refuse("a connection's stack needs at least 64 KiB");
        }
        let times = [self.head_time, self.response_time, self.keep_alive, self.message_time];
        let more = [
            self.body_time,
            self.ping_every,
            self.silence,
            self.stuck,
            self.close_time,
            self.stop_time,
        ];
        if times.into_iter().chain(more).any(|time| time > Self::LONGEST) {
            return refuse("a time is at most a year: use that for no limit");
        }
        if self.silence <= self.ping_every {
            return refuse(
                "a client must get a ping before it counts as dead: silence > ping_every",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_bad_ones_are_named() {
        Limits::default().validate().expect("the defaults");
        let bad = Limits { workers: 0, ..Limits::default() };
        assert!(bad.validate().expect_err("no workers").to_string().contains("push workers"));
        let bad = Limits { reserved_for_http: 128, ..Limits::default() };
        assert!(bad.validate().is_err());
        let long = Limits { message_bytes: 32 << 20, ..Limits::default() };
        assert_eq!((long.validate().is_ok(), long.under_way()), (true, 64 << 20));
        let bad = Limits { silence: Duration::from_secs(5), ..Limits::default() };
        assert!(bad.validate().is_err());
    }
}
