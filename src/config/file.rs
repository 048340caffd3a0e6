//! A settings file: TOML in which everything has its place.
//!
//! A reader takes the keys that it knows from a [`Table`]; what is wrong with
//! them, and what is left over, becomes [`Complaint`]s with a line, a column
//! and what to write instead.

use std::{
    borrow::Cow,
    cell::RefCell,
    fmt,
    io::{self, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use nix::libc;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{KEYS, Key, Shape};
use crate::error::Result;

/// The longest file, in bytes.
const MAX_FILE: u64 = 256 * 1024;
/// So many complaints are told of one file: each costs a look at all that
/// stands before it, and a file that is no settings file has one in each line.
const MAX_COMPLAINTS: usize = 100;

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

/// What is wrong with a setting, where, and what to write instead: one line.
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
        Self { place, message }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

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
        let mut table = Table {
            file: self,
            table: document.get_ref(),
            place: 0,
            what: String::new(),
            known: Vec::new(),
            rest_is_fine: false,
            complaints: &complaints,
        };
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
struct Complaints {
    list: Vec<Complaint>,
    count: usize,
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

/// A value and the byte at which it begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: usize,
}

/// A table of a file, from which keys are taken one by one.
pub(super) struct Table<'t> {
    file: &'t File,
    table: &'t DeTable<'t>,
    /// The byte at which it begins.
    place: usize,
    /// What it describes, in a sentence; empty: the board.
    what: String,
    known: Vec<&'static str>,
    rest_is_fine: bool,
    complaints: &'t RefCell<Complaints>,
}

impl<'t> Table<'t> {
    /// Notes what is wrong at a byte.
    pub(super) fn complain(&self, place: usize, message: impl Into<String>) {
        let Complaints { list, count } = &mut *self.complaints.borrow_mut();
        *count += 1;
        if list.len() < MAX_COMPLAINTS {
            list.push(Complaint::new(self.file.place(place), message));
        }
    }

    /// Notes that a value is of another kind than its example. Out of line,
    /// since its callers are many.
    #[inline(never)]
    fn wrong_kind(&self, key: &str, place: usize, value: &DeValue<'_>, example: &str) {
        self.complain(place, format!("{key} is {}: write {key} = {example}", kind(value)));
    }

    /// What there is, or nothing and a complaint at a byte.
    pub(super) fn noted<T>(&self, place: usize, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.complain(place, error.to_string())).ok()
    }

    /// The byte at which the table begins.
    pub(super) fn start(&self) -> usize {
        self.place
    }

    /// Its place, for people.
    pub(super) fn place(&self) -> Place {
        self.file.place(self.place)
    }

    /// Everything in it, as it would be written anew.
    pub(super) fn entries(&self) -> Vec<(String, String)> {
        let table = self.table.iter();
        table.map(|(name, value)| (write_key(name.get_ref()), self.write(value))).collect()
    }

    fn write(&self, value: &Spanned<DeValue<'_>>) -> String {
        match value.get_ref() {
            DeValue::Table(table) => {
                let pair = |(name, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
                    format!("{} = {}", write_key(name.get_ref()), self.write(value))
                };
                format!("{{ {} }}", table.iter().map(pair).collect::<Vec<_>>().join(", "))
            }
            DeValue::Array(list) => {
                let values: Vec<_> = list.iter().map(|value| self.write(value)).collect();
                format!("[{}]", values.join(", "))
            }
            // A terminal would take its control characters for commands.
            DeValue::String(text) if text.contains(|c: char| c > '\x7f' && c.is_control()) => {
                quote(text)
            }
            // As it stands there.
            _ => self.file.text.get(value.span()).unwrap_or_default().to_owned(),
        }
    }

    /// Says what the table describes: "a serial source".
    pub(super) fn is(&mut self, what: impl Into<String>) {
        self.what = what.into();
    }

    fn take(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// Takes a value of which `read` makes something; `example` is how it
    /// should be written.
    fn read<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<At<T>> {
        let value = self.take(key)?;
        let place = value.span().start;
        let Some(read) = read(value.get_ref()) else {
            self.wrong_kind(key, place, value.get_ref(), example);
            return None;
        };
        Some(At { value: read, place })
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str, example: &str) -> Option<At<&'t str>> {
        self.read(key, example, as_text)
    }

    /// A text of which `parse` makes something.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T>,
    ) -> Option<T> {
        let text = self.text(key, example)?;
        let parsed = parse(text.value);
        parsed.map_err(|error| self.complain(text.place, format!("{key}: {error}"))).ok()
    }

    /// A finite number, whole or not.
    pub(super) fn number(&mut self, key: &'static str, example: &str) -> Option<f64> {
        self.read(key, example, as_number).map(|at| at.value)
    }

    /// A whole number that is not negative.
    pub(super) fn count(&mut self, key: &'static str, example: &str) -> Option<At<u64>> {
        self.read(key, example, as_count)
    }

    /// True or false.
    pub(super) fn truth(&mut self, key: &'static str) -> Option<bool> {
        let truth = |value: &DeValue<'_>| match value {
            DeValue::Boolean(truth) => Some(*truth),
            _ => None,
        };
        self.read(key, "true, or false", truth).map(|at| at.value)
    }

    /// A list of texts, or one text for a list of one.
    pub(super) fn texts(&mut self, key: &'static str, example: &str) -> Option<Vec<At<&'t str>>> {
        let value = self.take(key)?;
        let of = |value: &'t Spanned<DeValue<'t>>| {
            let place = value.span().start;
            let text = as_text(value.get_ref());
            if text.is_none() {
                let what = kind(value.get_ref());
                self.complain(place, format!("{key} holds {what}: write {key} = {example}"));
            }
            text.map(|value| At { value, place })
        };
        match value.get_ref() {
            DeValue::Array(list) => list.iter().map(of).collect(),
            _ => of(value).map(|text| vec![text]),
        }
    }

    /// Whether a key holds a list.
    pub(super) fn is_list(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| matches!(value.get_ref(), DeValue::Array(_)))
    }

    /// A table of texts: names and what each stands for.
    pub(super) fn pairs(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Option<Vec<(At<&'t str>, At<&'t str>)>> {
        let table = self.read(key, example, |value| match value {
            DeValue::Table(table) => Some(table),
            _ => None,
        })?;
        let pair = |(name, value): (&'t Spanned<Cow<'t, str>>, &'t Spanned<DeValue<'t>>)| {
            let Some(text) = as_text(value.get_ref()) else {
                let message = format!("{} is no text: write {key} = {example}", name.get_ref());
                self.complain(value.span().start, message);
                return None;
            };
            let name = At { value: &**name.get_ref(), place: name.span().start };
            Some((name, At { value: text, place: value.span().start }))
        };
        table.value.iter().map(pair).collect()
    }

    /// The tables of a list, `[[key]]`, each handed to `read`.
    pub(super) fn tables(&mut self, key: &'static str, mut read: impl FnMut(&mut Table<'t>)) {
        let Some(value) = self.take(key) else { return };
        let list = match value.get_ref() {
            DeValue::Array(list) => list,
            _ => {
                self.complain(value.span().start, format!("write [[{key}]], with two brackets"));
                return;
            }
        };
        for entry in list {
            let DeValue::Table(table) = entry.get_ref() else {
                self.complain(
                    entry.span().start,
                    format!("write [[{key}]] and its settings below"),
                );
                continue;
            };
            let mut inner = Table {
                file: self.file,
                table,
                place: entry.span().start,
                what: format!("a {key}"),
                known: Vec::new(),
                rest_is_fine: false,
                complaints: self.complaints,
            };
            read(&mut inner);
            inner.finish();
        }
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Says nothing of what is left.
    pub(super) fn ignore_rest(&mut self) {
        self.rest_is_fine = true;
    }

    /// Complains when a key is not there.
    pub(super) fn need(&mut self, key: &'static str, example: &str) {
        if !self.has(key) {
            self.complain(
                self.place,
                format!("{} needs {key}: write {key} = {example}", self.what),
            );
        }
    }

    /// Takes a setting of the board, as the texts that set it, with its place.
    pub(super) fn setting(&mut self, key: &'static Key) -> Option<At<Vec<String>>> {
        let example = key.example();
        let one = |at: At<String>| At { value: vec![at.value], place: at.place };
        let bare = self.table.get(key.name).map(|value| value.span().start);
        match key.shape {
            Shape::Text => {
                self.read(key.name, &example, |value| as_text(value).map(str::to_owned)).map(one)
            }
            Shape::Size => {
                let size = |value: &DeValue<'_>| {
                    let count = || as_count(value).map(|count| count.to_string());
                    as_text(value).map(str::to_owned).or_else(count)
                };
                self.read(key.name, &example, size).map(one)
            }
            Shape::Count => {
                let count = |value: &DeValue<'_>| as_count(value).map(|count| count.to_string());
                self.read(key.name, &example, count).map(one)
            }
            Shape::Truth => {
                let truth = self.truth(key.name)?.to_string();
                Some(At { value: vec![truth], place: bare? })
            }
            Shape::Texts => {
                let texts = self.texts(key.name, &example)?;
                let value = texts.iter().map(|text| text.value.to_owned()).collect();
                Some(At { value, place: bare? })
            }
        }
    }

    /// Complains about keys that nobody has taken.
    fn finish(&mut self) {
        for (name, value) in self.table.iter().filter(|_| !self.rest_is_fine) {
            if !self.known.contains(&&**name.get_ref()) {
                let table = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
                // What is meant is sought only where it is told.
                let told = self.complaints.borrow().list.len() < MAX_COMPLAINTS;
                let why = if told { self.unknown(name.get_ref(), table) } else { String::new() };
                self.complain(name.span().start, why);
            }
        }
    }

    fn unknown(&self, name: &str, is_table: bool) -> String {
        if !self.what.is_empty() && Key::find(name).is_some() {
            return format!(
                "{name} is a setting of the board, not of {}: it stands above the first [[…]]",
                self.what
            );
        }
        let group = format!("{name}_");
        if let (true, Some(key)) = (is_table, KEYS.iter().find(|key| key.name.starts_with(&group)))
        {
            return format!(
                "there is no table {name}: write {} = … at the top of the file",
                key.name
            );
        }
        let of = if self.what.is_empty() {
            "setting".into()
        } else {
            format!("setting of {}", self.what)
        };
        let plain = name.replace('-', "_").to_ascii_lowercase();
        let near = self.known.iter().map(|known| (strsim::osa_distance(&plain, known), known));
        match near.min().filter(|(distance, _)| *distance <= 1 + name.len() / 5) {
            Some((_, known)) => format!("{name} is no {of}: did you mean {known}?"),
            None if self.what.is_empty() => {
                format!("{name} is no {of}: boardcast config shows all of them")
            }
            None => format!("{name} is no {of}; it has {}", self.known.join(", ")),
        }
    }
}

/// A key; in quotes where it needs them.
fn write_key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match !name.is_empty() && name.bytes().all(bare) {
        true => name.to_owned(),
        false => quote(name),
    }
}

/// A text as TOML has it.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

fn as_text<'t>(value: &'t DeValue<'t>) -> Option<&'t str> {
    match value {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}

fn as_number(value: &DeValue<'_>) -> Option<f64> {
    let number = match value {
        DeValue::Integer(whole) => i64::from_str_radix(whole.as_str(), whole.radix()).ok()? as f64,
        DeValue::Float(number) => number.as_str().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

fn as_count(value: &DeValue<'_>) -> Option<u64> {
    match value {
        DeValue::Integer(whole) => u64::from_str_radix(whole.as_str(), whole.radix()).ok(),
        _ => None,
    }
}

/// What a value is, in a sentence.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
