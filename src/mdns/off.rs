//! Without the feature `mdns`: nothing is said, and nobody is found.

use super::{Announced, Discover};
use crate::error::{Error, Result};

/// What is said to the network; there is none without the feature `mdns`.
#[derive(Debug)]
pub struct Announcement(std::convert::Infallible);

impl Drop for Announcement {
    fn drop(&mut self) {}
}

impl Announcement {
    /// The stack of its thread, in bytes.
    pub const STACK: u64 = 0;

    /// Says nothing.
    ///
    /// # Errors
    /// None.
    pub fn start(_: &Announced<'_>) -> Result<Option<Self>> {
        Ok(None)
    }
}

impl Discover {
    /// Refuses.
    ///
    /// # Errors
    /// [`Error::Setting`] says which build can.
    pub fn run(&self) -> Result<String> {
        Err(Error::Setting(
            "this boardcast knows no mDNS: it was built without --features mdns; \
             the packages of Boardcast have it"
                .into(),
        ))
    }
}
