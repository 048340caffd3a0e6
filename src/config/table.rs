//! A table of a settings file, from which keys are taken one by one.
//!
//! A reader takes the keys that it knows; what is wrong with them, and what is
//! left over, becomes a [`Complaint`] with a line, a column and what to write
//! instead.

use std::{borrow::Cow, cell::RefCell};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    KEYS, Key, Shape,
    complaint::{Complaint, Place},
    file::{Complaints, File},
};
use crate::error::Result;

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
    /// The whole of a file.
    pub(super) fn new(
        file: &'t File,
        table: &'t DeTable<'t>,
        complaints: &'t RefCell<Complaints>,
    ) -> Self {
        let (place, what, known) = (0, String::new(), Vec::new());
        Self { file, table, place, what, known, rest_is_fine: false, complaints }
    }

    /// Notes what is wrong at a byte.
    pub(super) fn complain(&self, place: usize, message: impl Into<String>) {
        let complaint = || Complaint::new(self.file.place(place), message);
        self.complaints.borrow_mut().add(complaint);
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
            _ => self.file.text(value.span()).to_owned(),
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
                place: entry.span().start,
                what: format!("a {key}"),
                ..Table::new(self.file, table, self.complaints)
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
    pub(super) fn finish(&mut self) {
        for (name, value) in self.table.iter().filter(|_| !self.rest_is_fine) {
            if !self.known.contains(&&**name.get_ref()) {
                let table = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
                // What is meant is sought only where it is told.
                let told = self.complaints.borrow().have_room();
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
