//! The helper that starts commands for a server that may not: nothing can be
//! executed in the server's sandbox, so it forks this process before.
//!
//! ```text
//!  server                                      helper
//!    Launcher ─────── words + a channel ──────▶ control thread: do the settings say so?
//!    Errand ◀── started + output, errors ────── a thread for each command that runs
//!           ─── signal ──────────────────────▶    it has started its Group
//!           ◀── ended, status ─────────────────
//!           ◀── empty ─────────────────────────
//!           ─── (closed) ────────────────────▶    SIGTERM, and 1.5 s later SIGKILL
//! ```
//!
//! The control socket and each channel are pairs of Unix sockets that keep
//! messages apart (`SOCK_SEQPACKET`). An errand has a channel of its own, so
//! nobody waits for another's, and a server that dies, however it does, has
//! closed them all.
//!
//! Whoever has taken the server over must not get out of the sandbox by asking
//! the helper: it starts what is in the settings, which it reads itself, and
//! knows two signals.

mod client;
mod server;
#[cfg(test)]
mod tests;

use nix::sys::signal::Signal;

pub(super) use self::client::Errand;
pub(crate) use self::server::attend;

/// The longest command with all its words, in bytes. The kernel takes no longer
/// word (`MAX_ARG_STRLEN`, execve(2)), and a message must fit into a socket's
/// buffer.
const MOST_WORDS: usize = 128 * 1024;
/// The longest answer, in bytes.
const ANSWER: usize = 6;

/// What the helper says on an errand's channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It runs; two pipes come along: its output, its errors.
    Started,
    /// The system refuses: an errno.
    Failed(i32),
    /// The settings do not have this command.
    Unknown,
    /// Its leader has ended with this status (wait(2)); and whether all have.
    Ended(i32, bool),
    /// All have ended.
    Empty,
}

impl Answer {
    fn encode(self) -> [u8; ANSWER] {
        let (tag, number, flag) = match self {
            Self::Started => (0, 0, 0),
            Self::Failed(errno) => (1, errno, 0),
            Self::Unknown => (2, 0, 0),
            Self::Ended(status, empty) => (3, status, empty.into()),
            Self::Empty => (4, 0, 0),
        };
        let [a, b, c, d] = number.to_ne_bytes();
        [tag, flag, a, b, c, d]
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let &[tag, flag, a, b, c, d] = bytes else { return None };
        let number = i32::from_ne_bytes([a, b, c, d]);
        Some(match tag {
            0 => Self::Started,
            1 => Self::Failed(number),
            2 => Self::Unknown,
            3 => Self::Ended(number, flag != 0),
            4 => Self::Empty,
            _ => return None,
        })
    }
}

/// A signal as one byte, of those that the helper sends.
fn signal_byte(signal: Signal) -> u8 {
    if signal == Signal::SIGKILL { b'k' } else { b't' }
}

fn signal_of(byte: u8) -> Option<Signal> {
    match byte {
        b'k' => Some(Signal::SIGKILL),
        b't' => Some(Signal::SIGTERM),
        _ => None,
    }
}

/// A command's words as one message: none of them holds a NUL.
fn encode_words(words: &[String]) -> Vec<u8> {
    words.join("\0").into_bytes()
}

fn decode_words(message: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(message).ok()?;
    Some(text.split('\0').map(str::to_owned).collect())
}
