//! What can go wrong, said so that the reader knows what to do next.
//!
//! The enum is small: a variant exists only where a caller branches on it.
//! A peer that leaves is not an error; it is a [`CloseEvent`](crate::message::CloseEvent).

use std::{fmt, io};

/// The result of the calls of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this library. Its `Display` is one line that says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed; `doing` completes "cannot …".
    Io {
        /// What was tried, as in "listen on 0.0.0.0:8642".
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// The connection is closing or closed: nothing can be sent any more.
    /// Stop sending; the handler's `on_close` tells why it ended.
    Closed,
    /// So much waits for room already that this message may not wait, too.
    /// It was not sent; the connection is as it was.
    Busy,
    /// A Close may not carry this code; see [`CloseCode`](crate::message::CloseCode)
    /// (the browser's `InvalidAccessError`).
    CloseCode(u16),
    /// The reason of a Close has this many bytes, and more than 123 do not fit
    /// (the browser's `SyntaxError`).
    CloseReason(usize),
    /// The address of a WebSocket cannot be read; the text says why (the
    /// browser's `SyntaxError`).
    Url(String),
    /// The other side answered the opening handshake, but opened no WebSocket.
    Handshake {
        /// The status of its answer, as in 200, 404 or 503.
        status: u16,
        /// What is wrong with the answer.
        why: String,
    },
    /// The peer broke a rule, and the connection was ended with this code.
    Protocol {
        /// What the Close told the peer.
        code: u16,
        /// Which rule it was.
        why: String,
    },
    /// A message is not what the protocol says; the text says how. Whoever
    /// sent it speaks another language: end the connection.
    Malformed(String),
    /// A channel's name or description is not acceptable; the text says why.
    Channel(String),
    /// A filter of channels is not acceptable; the text says why.
    Filter(String),
    /// The table of channels is full; the number is the bound.
    TooManyChannels(usize),
    /// The channel belongs to another source, the one named here.
    ChannelTaken {
        /// The channel that was asked for.
        channel: String,
        /// The source that named it first.
        owner: String,
    },
    /// A reading was refused by the board that it was pushed to, or the board
    /// was not there; the text says why. Send it again when that is mended.
    Refused(String),
    /// A setting has a value that cannot work; the text says which and why.
    Setting(String),
    /// A thread without which the server is of no use has died.
    /// End the program, so that its service manager starts it anew.
    Fatal(String),
}

impl Error {
    /// Wraps an `io::Error` with what was being done: "listen on …".
    pub fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io { doing: doing.into(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, source } => write!(f, "cannot {doing}: {source}"),
            Self::Closed => write!(f, "the connection is closed; nothing more can be sent on it"),
            Self::Busy => write!(f, "the peer is slow and too much waits; send it again later"),
            Self::CloseCode(code) => {
                write!(f, "close code {code} may not be sent; use 1000, or 3000 to 4999")
            }
            Self::CloseReason(length) => {
                write!(f, "a close reason of {length} bytes is too long; at most 123 fit")
            }
            Self::Url(why) => write!(f, "{why}"),
            Self::Handshake { status, why } => {
                write!(f, "the server opened no WebSocket (status {status}): {why}")
            }
            Self::Protocol { code, why } => write!(f, "the peer was ended with {code}: {why}"),
            Self::Malformed(why) => write!(f, "a message that cannot be read: {why}"),
            Self::Channel(why) | Self::Filter(why) => write!(f, "{why}"),
            Self::TooManyChannels(limit) => {
                write!(f, "there are {limit} channels already; raise the limit or name fewer")
            }
            Self::ChannelTaken { channel, owner } => {
                write!(f, "channel {channel} belongs to source {owner}; choose another name")
            }
            Self::Refused(why) | Self::Setting(why) => write!(f, "{why}"),
            Self::Fatal(what) => write!(f, "{what}; the program must be started anew"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
