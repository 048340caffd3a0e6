//! What a line says: names, values, instants; in room that is used again.

use std::ops::Range;

use super::{BadLine, Result, quote, refuse};
use crate::telemetry::{ChannelName, Value, allowed};

/// The most values of one line.
pub const MAX_POINTS: usize = 512;
/// The longest unit, in bytes; SenML's own have at most a dozen.
const MAX_UNIT: usize = 32;

/// When a value was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stamp {
    /// It does not say: when the line arrived.
    Arrival,
    /// So many seconds after 1970-01-01T00:00:00Z, by the clock of its sender.
    At(f64),
    /// So many seconds after the line arrived; before, when negative
    /// (RFC 8428 section 4.5.3).
    Offset(f64),
}

/// One value of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point<'a> {
    /// A valid channel name.
    pub name: &'a str,
    /// A SenML unit, when the line says one.
    pub unit: Option<&'a str>,
    /// The value; never null.
    pub value: &'a Value,
    /// The value is to be added to the channel's last one.
    pub is_change: bool,
    /// When it was read.
    pub stamp: Stamp,
}

/// The values of a line. One is used for many lines: it keeps its room, which
/// the bounds of a line bound.
#[derive(Debug, Default)]
pub struct Points {
    /// Names and units, one behind the other.
    text: String,
    list: Vec<Entry>,
    /// The name of the next value.
    name: Range<usize>,
    /// What the names of a line have in common.
    pub(super) prefix: String,
    /// Levels that go before every name, of whatever line.
    root: Option<ChannelName>,
}

#[derive(Debug)]
struct Entry {
    name: Range<usize>,
    unit: Range<usize>,
    value: Value,
    is_change: bool,
    stamp: Stamp,
}

impl Points {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them, in the order of the line.
    pub fn iter(&self) -> impl Iterator<Item = Point<'_>> {
        self.list.iter().map(|entry| Point {
            name: &self.text[entry.name.clone()],
            unit: Some(&self.text[entry.unit.clone()]).filter(|unit| !unit.is_empty()),
            value: &entry.value,
            is_change: entry.is_change,
            stamp: entry.stamp,
        })
    }

    /// Puts these levels before every name from now on.
    pub fn set_root(&mut self, root: Option<ChannelName>) {
        self.root = root;
    }

    /// Forgets them, keeps the room.
    pub fn clear(&mut self) {
        self.text.clear();
        self.list.clear();
        self.prefix.clear();
    }

    /// The room that is kept, in bytes.
    pub fn capacity(&self) -> usize {
        let text = self.text.capacity() + self.prefix.capacity();
        text + self.list.capacity() * size_of::<Entry>()
    }

    /// Names the next value; a bad name is an error.
    pub(super) fn name(&mut self, name: &str) -> Result<()> {
        let start = self.begin();
        self.text.push_str(name);
        self.named(start)
    }

    /// Names the next value by the prefix alone, whose levels are made already.
    pub(super) fn name_of_prefix(&mut self) -> Result<()> {
        let start = self.begin();
        self.text.push_str(&self.prefix);
        self.named(start)
    }

    /// Names the next value by the prefix and one foreign level behind it.
    pub(super) fn name_behind_prefix(&mut self, foreign: &str) -> Result<()> {
        let start = self.begin();
        let own = self.text.len();
        self.text.push_str(&self.prefix);
        push_level(&mut self.text, own, foreign);
        self.named(start)
    }

    /// Names the next value by a foreign name, in which slashes divide levels.
    pub(super) fn foreign_path(&mut self, name: &str) -> Result<()> {
        let start = self.begin();
        let own = self.text.len();
        for level in name.split('/').filter(|level| !level.is_empty()) {
            push_level(&mut self.text, own, level);
        }
        self.named(start)
    }

    /// Begins a name: with the levels that go before every one. Without a
    /// level behind them, it will be refused.
    fn begin(&mut self) -> usize {
        let start = self.text.len();
        if let Some(root) = &self.root {
            self.text.push_str(root.as_str());
            self.text.push('/');
        }
        start
    }

    /// Puts a foreign level behind the prefix.
    pub(super) fn extend_prefix(&mut self, foreign: &str) {
        push_level(&mut self.prefix, 0, foreign);
    }

    fn named(&mut self, start: usize) -> Result<()> {
        self.name = start..self.text.len();
        let name = &self.text[start..];
        match ChannelName::broken_rule(name) {
            Some(rule) => refuse(format!("channel name {}: {rule}", quote(name))),
            None => Ok(()),
        }
    }

    /// Adds a value under the name that was given last.
    pub(super) fn push(&mut self, value: Value, stamp: Stamp) -> Result<()> {
        self.push_entry(value, stamp, false, "")
    }

    /// Adds a change of what the name had before.
    pub(super) fn push_change(&mut self, by: f64) -> Result<()> {
        self.push_entry(Value::Number(by), Stamp::Arrival, true, "")
    }

    /// Adds a value with a unit.
    pub(super) fn push_with_unit(&mut self, value: Value, stamp: Stamp, unit: &str) -> Result<()> {
        let fine = unit.len() <= MAX_UNIT && unit.bytes().all(|byte| byte.is_ascii_graphic());
        if !fine {
            return refuse(format!("unit {} is none; write it as in Cel or m/s", quote(unit)));
        }
        self.push_entry(value, stamp, false, unit)
    }

    fn push_entry(
        &mut self,
        value: Value,
        stamp: Stamp,
        is_change: bool,
        unit: &str,
    ) -> Result<()> {
        if self.list.len() == MAX_POINTS {
            return Err(BadLine::new("more than 512 values a line; send several lines"));
        }
        let start = self.text.len();
        self.text.push_str(unit);
        let (name, unit) = (self.name.clone(), start..self.text.len());
        self.list.push(Entry { name, unit, value, is_change, stamp });
        Ok(())
    }
}

/// Makes a level of a foreign name behind what began at `start`: what is not
/// allowed in a level becomes `_`.
fn push_level(text: &mut String, start: usize, foreign: &str) {
    if text.len() > start {
        text.push('/');
    }
    if foreign.is_empty() {
        text.push('_');
    }
    text.extend(foreign.chars().map(|c| if c.is_ascii() && allowed(c as u8) { c } else { '_' }));
}
