//! The way out in a build without the feature `mqtt`: there is none, and no
//! setting can ask for one.

use std::sync::Arc;

use super::UplinkSettings;
use crate::{app::App, error::Result, telemetry::Hub};

/// The way out.
pub(crate) struct Uplink;

impl Uplink {
    /// One that is nowhere.
    pub(crate) fn new(_: &Arc<App>, _: &Hub) -> Self {
        Self
    }

    /// Does nothing: a broker's address is refused before.
    ///
    /// # Errors
    /// None.
    pub(crate) fn apply(&self, _: &UplinkSettings) -> Result<()> {
        Ok(())
    }

    /// Does nothing.
    pub(crate) fn stop(&self) {}

    /// Does nothing.
    pub(crate) fn end(&self) {}
}
