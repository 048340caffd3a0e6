//! The plain types of WebSocket: a message, a close code, a ready state.
//!
//! They hold rules of RFC 6455 and of the browser's API, but no socket.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
pub use tungstenite::Utf8Bytes;

use crate::error::{Error, Result};

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

    /// The payload; a text's is its UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The payload as shared bytes, not copied; a text's is its UTF-8. With
    /// [`into_vec`](Self::into_vec) it takes the place of the browser's
    /// `binaryType`: chosen where a message is taken, not before.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The payload as the caller's own bytes; copied only where somebody else
    /// holds it, too.
    pub fn into_vec(self) -> Vec<u8> {
        self.into_bytes().into()
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

impl From<Utf8Bytes> for Message {
    fn from(text: Utf8Bytes) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
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
    /// 4401, of the private range: a token is missing or wrong.
    pub const UNAUTHORIZED: Self = Self(4401);
    /// 4403, of the private range: it is not allowed, whoever asks.
    pub const FORBIDDEN: Self = Self(4403);

    /// Whether a program may close with this code, as in a browser: 1000, and
    /// 3000 to 4999, which are for libraries and applications.
    pub fn is_for_programs(self) -> bool {
        matches!(self.0, 1000 | 3000..=4999)
    }

    /// Whether a Close frame may carry this code (RFC 6455 section 7.4.2 and
    /// the IANA registry): 1005, 1006 and 1015 never travel.
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

/// The payload of a Close frame (RFC 6455 section 5.5.1): nothing, or a code
/// and a reason. A reason alone stands behind 1000, as in a browser.
///
/// # Errors
/// [`Error::CloseReason`] when the reason has more than 123 bytes.
pub(crate) fn close_payload(code: Option<CloseCode>, reason: &str) -> Result<Vec<u8>> {
    if reason.len() > 123 {
        return Err(Error::CloseReason(reason.len()));
    }
    let code = code.or((!reason.is_empty()).then_some(CloseCode::NORMAL));
    let mut payload = Vec::new();
    if let Some(code) = code {
        payload.reserve_exact(2 + reason.len());
        payload.extend_from_slice(&code.0.to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
    }
    Ok(payload)
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
    fn a_close_has_nothing_or_a_code_and_a_reason_that_fits() {
        assert_eq!(close_payload(None, "").expect("fine"), b"");
        assert_eq!(close_payload(Some(CloseCode(4000)), "é").expect("fine"), b"\x0f\xa0\xc3\xa9");
        assert_eq!(close_payload(None, "bye").expect("fine"), b"\x03\xe8bye");
        assert_eq!(close_payload(None, &"é".repeat(61)).expect("122 bytes").len(), 124);
        let long = close_payload(None, &"é".repeat(62)).expect_err("124 bytes");
        assert!(matches!(long, Error::CloseReason(124)));
    }

    #[test]
    fn ready_states_have_the_numbers_of_the_article() {
        use ReadyState::{Closed, Closing, Connecting, Open};
        assert_eq!([Connecting, Open, Closing, Closed].map(|state| state as u8), [0, 1, 2, 3]);
    }
}
