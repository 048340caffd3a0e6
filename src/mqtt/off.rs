//! The engine of a build without the feature `mqtt`: the same names, of which
//! nothing can be made, so that nothing else has to ask.

use std::{convert::Infallible, marker::PhantomData};

use super::{Client, Counts, Options, Publication, Qos, Status, Version};
use crate::error::{Error, Result};

/// One connection, while it lasts; there is none without the feature `mqtt`.
#[derive(Debug)]
pub struct Link<'a>(Infallible, PhantomData<&'a ()>);

impl Link<'_> {
    /// The version that is spoken.
    pub fn version(&self) -> Version {
        match self.0 {}
    }

    /// Subscribes.
    pub fn subscribe(&mut self, _: &str, _: Qos) {
        match self.0 {}
    }

    /// Publishes.
    pub fn publish(&mut self, _: &Publication<'_>) -> Option<Qos> {
        match self.0 {}
    }

    /// Whether there is room.
    pub fn has_room(&self) -> bool {
        match self.0 {}
    }
}

/// Wakes a connection's thread.
#[derive(Clone, Debug)]
pub struct Bell(Infallible);

impl Bell {
    /// Wakes it.
    pub fn ring(&self) {
        match self.0 {}
    }
}

/// A connection that is kept up.
#[derive(Debug)]
pub struct Running(Infallible);

impl Running {
    /// What wakes its thread.
    pub fn bell(&self) -> Bell {
        match self.0 {}
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        match self.0 {}
    }

    /// What it has counted.
    pub fn counts(&self) -> Counts {
        match self.0 {}
    }

    /// How many descriptors it takes at most.
    pub fn descriptors(&self) -> usize {
        match self.0 {}
    }

    /// Tells it to stop.
    pub fn stop(&self) {
        match self.0 {}
    }
}

/// Refuses.
///
/// # Errors
/// [`Error::Setting`] says which build has MQTT.
pub fn start(_: Options, _: &str, _: impl Client + 'static) -> Result<Running> {
    Err(Error::Setting(super::NO_MQTT.into()))
}
