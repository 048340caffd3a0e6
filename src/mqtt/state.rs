//! How a connection stands, in words, and what it has counted.

use std::fmt;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 5.
    V5,
    /// MQTT 3.1.1.
    V311,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V5 => "5",
            Self::V311 => "3.1.1",
        })
    }
}

/// How a connection stands; its text is a part of a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// The first try is under way.
    #[default]
    Connecting,
    /// The broker has let it in.
    Connected(Version),
    /// There is none, and why: the last try failed, or it was lost. It is
    /// tried again.
    Failed(String),
    /// It was told to stop.
    Stopped,
}

impl Status {
    /// Whether the broker has let it in.
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected(_))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Connected(version) => write!(f, "connected (MQTT {version})"),
            Self::Failed(why) => f.write_str(why),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// What a connection has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that the broker let in.
    pub connects: u64,
    /// Tries that failed, and connections that were lost.
    pub failures: u64,
    /// Messages published.
    pub sent: u64,
    /// Bytes handed to the kernel.
    pub bytes_sent: u64,
    /// Publications that the broker refused, or that were too long for it, or
    /// had no valid topic.
    pub refused: u64,
    /// Messages that came in.
    pub received: u64,
    /// Bytes that came in.
    pub bytes_received: u64,
    /// Packets that came in and were too long: read past, and lost.
    pub too_long: u64,
}

#[cfg(feature = "mqtt")]
impl Counts {
    /// Adds what was counted since.
    pub(super) fn add(&mut self, more: &Self) {
        let Self { connects, failures, sent, bytes_sent, refused, .. } = self;
        *connects += more.connects;
        *failures += more.failures;
        *sent += more.sent;
        *bytes_sent += more.bytes_sent;
        *refused += more.refused;
        self.received += more.received;
        self.bytes_received += more.bytes_received;
        self.too_long += more.too_long;
    }
}
