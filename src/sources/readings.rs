//! What a polled source sees at one tick, as plain data.

use crate::{
    error::{Error, Result},
    telemetry::{Channel, Value},
};

/// One channel and what was read of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The channel's description; only its first one counts.
    pub channel: Channel,
    /// The value, or why it could not be read.
    pub value: Result<Value, String>,
}

/// The readings of one tick.
#[derive(Debug, Default)]
pub struct Readings {
    list: Vec<Reading>,
    /// The first channel that was left out, and why.
    refused: Option<Error>,
}

impl Readings {
    /// Adds a value. A channel whose name is not valid is left out, and the
    /// sampler says so: a source makes levels of foreign names with
    /// [`Levels`](crate::telemetry::Levels).
    #[inline(never)]
    pub fn push(&mut self, channel: Result<Channel>, value: impl Into<Value>) {
        self.add(channel, Ok(value.into()));
    }

    /// Adds a channel that is there but could not be read, with the reason.
    #[inline(never)]
    pub fn fail(&mut self, channel: Result<Channel>, reason: impl Into<String>) {
        self.add(channel, Err(reason.into()));
    }

    #[inline(never)]
    fn add(&mut self, channel: Result<Channel>, value: Result<Value, String>) {
        match channel {
            Ok(channel) => self.list.push(Reading { channel, value }),
            Err(error) => drop(self.refused.get_or_insert(error)),
        }
    }

    /// Why a channel was left out, if one was.
    pub(super) fn refused(&self) -> Option<&Error> {
        self.refused.as_ref()
    }

    /// The number that was read of a channel, for tests and sums.
    pub fn number(&self, name: &str) -> Option<f64> {
        let reading = self.list.iter().find(|reading| reading.channel.name.as_str() == name)?;
        reading.value.as_ref().ok()?.as_f64()
    }

    /// All readings, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Reading> {
        self.list.iter()
    }

    /// Forgets the readings, keeps the room.
    pub fn clear(&mut self) {
        self.list.clear();
        self.refused = None;
    }
}

impl<'a> IntoIterator for &'a Readings {
    type Item = &'a Reading;
    type IntoIter = std::slice::Iter<'a, Reading>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}
