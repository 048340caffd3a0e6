//! Lines of any form, of which a regular expression names the parts.
//!
//! ```text
//! temp=48.3'C      temp=(?<temperature>[0-9.]+)      temperature=48.3
//! ```

use regex_lite::{Regex, RegexBuilder};

use super::{BadLine, Points, Result, Stamp, foreign, printed};
use crate::{
    error::{self, Error},
    telemetry::ChannelName,
};

/// The most bytes of a compiled expression. It takes as many steps as this and
/// the length of a line tell, whatever is in them: there is no backtracking.
const MAX_COMPILED: usize = 64 * 1024;

/// A regular expression; each of its named groups is a channel. A `.` in a
/// group's name divides levels: `(?<room.temp>[0-9.]+)` is `room/temp`.
///
/// The syntax is that of the crate `regex-lite`: Perl's, without looking
/// around and without references back.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    /// The groups that have a name: which they are, and their channels.
    groups: Vec<(usize, String)>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// [`Error::Setting`] when it cannot be read, or
    /// has no named group.
    pub fn parse(text: &str) -> error::Result<Self> {
        let refuse = |why: &str| Err(Error::Setting(format!("pattern {text:?}: {why}")));
        let regex = match RegexBuilder::new(text).size_limit(MAX_COMPILED).build() {
            Ok(regex) => regex,
            Err(why) => return refuse(&why.to_string()),
        };
        let mut groups = Vec::new();
        for (number, name) in regex.capture_names().enumerate() {
            let Some(name) = name else { continue };
            let channel = name.replace('.', "/");
            if let Some(rule) = ChannelName::broken_rule(&channel) {
                return refuse(&format!("group {name:?} names no channel: {rule}"));
            }
            groups.push((number, channel));
        }
        if groups.is_empty() {
            return refuse("it names no group; write it as in temp=(?<temperature>[0-9.]+)");
        }
        Ok(Self { regex, groups })
    }

    /// The expression.
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// Reads one line, without its end, into `points`, which are emptied
    /// first. A line that does not match says nothing, as programs print other
    /// things, too; and so does a group that took no part.
    ///
    /// # Errors
    /// [`BadLine`] when the line is longer than [`MAX_LINE`](super::MAX_LINE), or a value
    /// cannot be taken; then there are no points.
    pub fn read(&self, line: &[u8], points: &mut Points) -> Result<(), BadLine> {
        printed(line, points, |line, points| self.take(line, points))
    }

    fn take(&self, line: &str, points: &mut Points) -> Result<()> {
        let Some(captures) = self.regex.captures(line) else { return Ok(()) };
        for (number, name) in &self.groups {
            let Some(part) = captures.get(*number) else { continue };
            let Some(value) = foreign(part.as_str())? else { continue };
            points.name(name)?;
            points.push(value, Stamp::Arrival)?;
        }
        Ok(())
    }
}
