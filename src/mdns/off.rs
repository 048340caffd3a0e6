//! Without the feature `mdns`: the same names, of which nothing can be made.

use std::{convert::Infallible, time::Duration};

use super::{Board, NO_MDNS, Notice};
use crate::error::{Error, Result};

/// A board that is announced: there is none.
#[derive(Debug)]
pub(crate) struct Announced(
    #[expect(dead_code, reason = "there is nobody to make one")] Infallible,
);

impl Announced {
    pub(super) fn start(_: &Notice<'_>) -> Result<Self> {
        Err(Error::Setting(NO_MDNS.into()))
    }
}

pub(super) fn find(_: Duration) -> Result<Vec<Board>> {
    Err(Error::Setting(NO_MDNS.into()))
}
