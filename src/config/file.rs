//! A settings file: TOML in which everything has its place.

use std::{
    cell::RefCell,
    io::{self, Read},
    ops::Range,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use nix::libc;
use toml::de::DeTable;

use super::{
    complaint::{Complaint, Place},
    table::Table,
};

/// The longest file, in bytes.
const MAX_FILE: u64 = 256 * 1024;
/// So many complaints are told of one file: each costs a look at all that
/// stands before it, and a file that is no settings file has one in each line.
const MAX_COMPLAINTS: usize = 100;

/// A file's name and text.
#[derive(Debug)]
pub(super) struct File {
    path: Arc<Path>,
    text: String,
}

impl File {
    /// Reads a file of at most 256 KiB of UTF-8.
    pub(super) fn read(path: &Path) -> Result<Self, Complaint> {
        let place = |line| Place::File { path: path.into(), line, column: 1 };
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            // A pipe that nobody writes to would hold up a plain open.
            let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
            let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
            if file.metadata()?.file_type().is_fifo() {
                return Err(io::Error::other("it is a pipe, which holds nothing on SIGHUP"));
            }
            file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| {
            Complaint::new(
                place(0),
                format!("cannot be read: {error}; see that it is there and readable"),
            )
        })?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(Complaint::new(place(0), "longer than 256 KiB: is this a settings file?"));
        }
        String::from_utf8(bytes).map(|text| Self { path: path.into(), text }).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
            Complaint::new(place(line), "not UTF-8: save the file as UTF-8")
        })
    }

    /// What stands between two bytes.
    pub(super) fn text(&self, span: Range<usize>) -> &str {
        self.text.get(span).unwrap_or_default()
    }

    /// The place of a byte.
    pub(super) fn place(&self, at: usize) -> Place {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.rfind('\n').map_or(before, |end| &before[end + 1..]);
        Place::File {
            path: self.path.clone(),
            line: 1 + before.matches('\n').count(),
            column: 1 + line.chars().count(),
        }
    }

    /// Parses it and lets `read` take what it knows; what is wrong.
    pub(super) fn parse(&self, read: impl FnOnce(&mut Table<'_>)) -> Vec<Complaint> {
        let (document, errors) = DeTable::parse_recoverable(&self.text);
        // What stands behind a place that cannot be read may be misread, too.
        if !errors.is_empty() {
            let complain = |error: &toml::de::Error| {
                let place = self.place(error.span().map_or(0, |span| span.start));
                Complaint::new(place, explain(error.message()))
            };
            let complaints = errors.iter().take(MAX_COMPLAINTS).map(complain).collect();
            return self.with_more(complaints, errors.len());
        }
        let complaints = RefCell::<Complaints>::default();
        let mut table = Table::new(self, document.get_ref(), &complaints);
        read(&mut table);
        table.finish();
        let Complaints { mut list, count } = complaints.into_inner();
        list.sort_by_key(|complaint| match complaint.place {
            Place::File { line, column, .. } => (line, column),
            _ => (0, 0),
        });
        self.with_more(list, count)
    }

    /// The complaints that are told, and how many there are beside them.
    fn with_more(&self, mut told: Vec<Complaint>, count: usize) -> Vec<Complaint> {
        if count > told.len() {
            let place = Place::File { path: self.path.clone(), line: 0, column: 0 };
            let more = count - told.len();
            told.push(Complaint::new(place, format!("{more} more faults: mend these first")));
        }
        told
    }
}

/// What is wrong with a file: the first of it, and how much there is.
#[derive(Default)]
pub(super) struct Complaints {
    list: Vec<Complaint>,
    count: usize,
}

impl Complaints {
    /// Counts one, and keeps it while there is room.
    pub(super) fn add(&mut self, complaint: impl FnOnce() -> Complaint) {
        self.count += 1;
        if self.list.len() < MAX_COMPLAINTS {
            self.list.push(complaint());
        }
    }

    /// Whether one more would be told.
    pub(super) fn have_room(&self) -> bool {
        self.list.len() < MAX_COMPLAINTS
    }
}

/// The parser's words, with what to do.
fn explain(message: &str) -> String {
    match message {
        "duplicate key" => "this setting stands above already: keep one of them".into(),
        message if message.starts_with("string values must be quoted") => {
            "a text needs quotes: name = \"value\"".into()
        }
        message if message.starts_with("invalid basic string") => {
            "a text has no closing quote: name = \"value\"".into()
        }
        message if message.contains("expected") => message.to_owned(),
        message => format!("{message}: a line is name = value, texts in quotes"),
    }
}
