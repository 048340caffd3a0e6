//! Lines of any form, of which a regular expression names the parts.

use crate::error::Result;

/// A regular expression; each of its named groups is a channel. A `.` in a
/// group's name divides levels: `(?<room.temp>[0-9.]+)` is `room/temp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
}

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) when it cannot be read, or
    /// has no named group.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self { text: text.to_owned() })
    }
}
