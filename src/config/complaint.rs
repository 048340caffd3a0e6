//! What is wrong with settings: where, and what to write instead.

use std::{fmt, path::Path, sync::Arc};

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file; line and column count from 1, the column in characters.
    File {
        /// Which one.
        path: Arc<Path>,
        /// The line; 0: the file as a whole.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In a variable of the environment.
    Variable(String),
    /// In an option of the command line.
    Option(String),
    /// In how several settings go together.
    Together,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: 0, .. } => write!(f, "{}", plain(path)),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", plain(path)),
            Self::Variable(name) => write!(f, "{}", plain(name.as_ref())),
            Self::Option(name) => write!(f, "--{name}"),
            Self::Together => write!(f, "settings"),
        }
    }
}

/// A name for a terminal: one line, whatever it is called.
pub(super) fn plain(name: &Path) -> String {
    name.to_string_lossy().replace(char::is_control, "\u{fffd}")
}

/// What is wrong with a setting, where, and what to write instead: one line, the
/// message of less than 500 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Where it stands.
    pub place: Place,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl Complaint {
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        // What a stranger wrote may be quoted in it.
        let message = message.into().replace(char::is_control, " ");
        Self { place, message: shortened(message) }
    }
}

/// Leaves the middle of a long sentence out: what is wrong stands at the
/// beginning, what to write at the end.
fn shortened(sentence: String) -> String {
    const PART: usize = 249;
    let length = sentence.chars().count();
    if length <= 2 * PART + 1 {
        return sentence;
    }
    let start = sentence.chars().take(PART);
    let end = sentence.chars().skip(length - PART);
    start.chain(['…']).chain(end).collect()
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
