//! Without the feature `mdns`: the same names, of which nothing can be made.

use std::{convert::Infallible, time::Duration};

use super::{Board, NO_MDNS, Notice};
use crate::error::{Error, Result};

/// A board that is announced: there is none.
#[derive(Debug)]
pub(crate) struct Announced(Infallible);

impl Drop for Announced {
    fn drop(&mut self) {
        match self.0 {}
    }
}

impl Announced {
    pub(super) fn start(_: &Notice<'_>) -> Result<Self> {
        Err(Error::Setting(NO_MDNS.into()))
    }
}

pub(super) fn find(_: Duration) -> Result<Vec<Board>> {
    Err(Error::Setting(NO_MDNS.into()))
}
