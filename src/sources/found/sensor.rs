//! One file of a device that is one channel.

use std::path::PathBuf;

use super::files::Found;
use crate::{
    sources::Readings,
    telemetry::{Channel, Value},
};

/// A channel, and where it is read.
#[derive(Debug)]
pub(super) struct Sensor {
    pub path: PathBuf,
    pub channel: Channel,
}

impl Sensor {
    /// One whose channel was described to the hub already.
    pub(super) fn tell<T: Into<Value>>(&self, found: Found<T>, readings: &mut Readings) {
        tell(&self.channel, found, readings);
    }
}

/// Tells what was found of a channel. What is not there is not mentioned.
pub(super) fn tell<T: Into<Value>>(channel: &Channel, found: Found<T>, readings: &mut Readings) {
    match found {
        Ok(Some(value)) => readings.push(Ok(channel.clone()), value),
        Ok(None) => {}
        Err(reason) => readings.fail(Ok(channel.clone()), reason),
    }
}

/// Describes channels before anything is read, which may take long: they are
/// there, without a value. From then on they need no label, so that telling
/// them allocates nothing.
pub(super) fn describe<'a>(
    channels: impl Iterator<Item = &'a mut Channel>,
    readings: &mut Readings,
) {
    for channel in channels {
        let described = channel.clone();
        channel.label = None;
        readings.push(Ok(described), Value::Null);
    }
}
