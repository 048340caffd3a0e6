//! The thread of a connection: sockets, deadlines, tries.

use std::{marker::PhantomData, sync::Arc};

use super::{Client, Counts, Options, Publication, Qos, Status, Version};
use crate::{
    error::{Error, Result},
    pulse::Pulse,
};

/// One connection, while it lasts.
#[derive(Debug)]
pub struct Link<'a>(PhantomData<&'a mut ()>);

impl Link<'_> {
    /// The version that is spoken.
    pub fn version(&self) -> Version {
        Version::V5
    }

    /// Subscribes; [`Client::subscribed`] tells what became of it. Ask again
    /// on each connection: nothing is kept from the one before.
    pub fn subscribe(&mut self, filter: &str, qos: Qos) {
        let _ = (filter, qos);
    }

    /// Publishes: as which it went out (a broker may have none but QoS 0); a
    /// QoS 1 one is told by [`Client::acknowledged`]. `None`: it did not, for
    /// it is longer than the broker takes, or has no valid topic; that is
    /// counted, and never will be otherwise.
    pub fn publish(&mut self, publication: &Publication<'_>) -> Option<Qos> {
        let _ = publication;
        None
    }

    /// Whether a further message would go out soon: neither too much waits to
    /// be sent, nor too many wait for their acknowledgement.
    pub fn has_room(&self) -> bool {
        false
    }
}

/// Wakes a connection's thread.
#[derive(Clone, Debug)]
pub struct Bell(Arc<()>);

impl Bell {
    /// Wakes it: [`Client::ready`] is asked soon, when there is room. From any
    /// thread; never blocks.
    pub fn ring(&self) {}
}

/// A connection that is kept up. Dropping it says farewell and ends it; that
/// takes 2 s at most.
#[derive(Debug)]
pub struct Running(Arc<()>);

impl Running {
    /// What wakes its thread.
    pub fn bell(&self) -> Bell {
        Bell(self.0.clone())
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        Status::Connecting
    }

    /// What it has counted.
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// How many descriptors it takes at most.
    pub fn descriptors(&self) -> usize {
        2
    }

    /// Its thread, to be asked whether it still turns.
    pub fn pulse(&self) -> Pulse {
        Pulse::new("", Arc::default(), || {})
    }

    /// Tells it to stop, and waits for nothing.
    pub fn stop(&self) {}
}

/// Connects, and stays connected. The thread has this name, of which the
/// kernel keeps 15 bytes. That nobody answers is no error: it is told by
/// [`Client::lost`] and [`Running::status`], and tried again.
///
/// # Errors
/// [`Error::Io`] when the system refuses a thread; [`Error::Setting`] in a
/// build without the feature `mqtt`.
pub fn start(options: Options, name: &str, client: impl Client + 'static) -> Result<Running> {
    let _ = (options, client);
    Err(Error::Setting(format!("{name}: it is not written yet")))
}
