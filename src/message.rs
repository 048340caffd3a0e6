//! The plain types of WebSocket: a message, a close code, a ready state.
//!
//! They hold rules of RFC 6455 and of the browser's API, but no socket.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
pub use tungstenite::Utf8Bytes;

/// One whole data message (RFC 6455 section 5.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Valid UTF-8.
    Text(Utf8Bytes),
    /// Any bytes.
    Binary(Bytes),
}

impl Message {
    /// The payload's length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text, when it is a text message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }
}

/// Shows a text as it is, binary data by its length.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Binary(bytes) => write!(f, "[{} bytes]", bytes.len()),
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

/// Why a connection ended, as a number (RFC 6455 section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// Done; nothing is wrong.
    pub const NORMAL: Self = Self(1000);
    /// The server stops, or the page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// A rule of the protocol was broken.
    pub const PROTOCOL: Self = Self(1002);
    /// Data of a kind that is not accepted.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Never sent: the peer's Close held no code.
    pub const NO_STATUS: Self = Self(1005);
    /// Never sent: the connection ended without a Close.
    pub const ABNORMAL: Self = Self(1006);
    /// A text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// Not allowed, or too much of it.
    pub const POLICY: Self = Self(1008);
    /// A message that is too big.
    pub const TOO_BIG: Self = Self(1009);
    /// A fault of the server.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// Too slow, or the server is overloaded: come back later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// Whether a Close frame may carry this code (RFC 6455 section 7.4.2 and
    /// the IANA registry): 1005, 1006 and 1015 never travel.
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a connection ended: the `CloseEvent` of the browser's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseEvent {
    /// The peer's code, 1005 when its Close had none, 1006 when there was no Close.
    pub code: CloseCode,
    /// The peer's reason; often empty.
    pub reason: Cow<'static, str>,
    /// Whether both sides sent a Close.
    pub was_clean: bool,
}

/// How far a connection is, with the numbers of the browser's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ReadyState {
    /// The handshake is under way.
    Connecting = 0,
    /// Messages can be sent.
    Open = 1,
    /// A Close was sent or received.
    Closing = 2,
    /// It is over.
    Closed = 3,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_codes_of_the_registry_may_be_sent() {
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1013, 1014, 3000, 4401, 4999] {
            assert!(CloseCode(code).may_be_sent(), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            assert!(!CloseCode(code).may_be_sent(), "{code}");
        }
    }

    #[test]
    fn ready_states_have_the_numbers_of_the_article() {
        use ReadyState::{Closed, Closing, Connecting, Open};
        assert_eq!([Connecting, Open, Closing, Closed].map(|state| state as u8), [0, 1, 2, 3]);
    }
}
