//! Which board this is, and how its hardware is switched on.
//!
//! | kind | known by | overlays are named in |
//! |---|---|---|
//! | Raspberry Pi | the model begins with its name | `config.txt` of the boot partition |
//! | BeagleBone | the model names it | `/boot/uEnv.txt` |
//! | other | | nowhere that we know: no such advice |
//!
//! The boot partition of a Raspberry Pi is at `/boot/firmware` since Raspberry
//! Pi OS 12 (Bookworm), and was at `/boot` (raspberrypi.com/documentation,
//! "config_txt.html"). BeagleBoard.org's images name overlays as
//! `uboot_overlay_addr4=BB-W1-P9.12-00A0.dtbo` (docs.beagleboard.org,
//! "Device Tree Overlays").

use super::{boot::Boot, finding::Finding, machine::Look};
use crate::watch::units::duration;

/// What is known of the board.
#[derive(Clone, Debug)]
pub(super) struct Board {
    pub model: Option<String>,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    RaspberryPi(Boot),
    BeagleBone,
    Other,
}

impl Board {
    /// Looks which board it is.
    pub(super) fn of(look: &Look, model: Option<String>) -> Self {
        let name = model.as_deref().unwrap_or_default();
        let kind = if name.starts_with("Raspberry Pi") {
            Kind::RaspberryPi(Boot::read(look, name))
        } else if name.contains("BeagleBone") || name.contains("PocketBeagle") {
            Kind::BeagleBone
        } else {
            Kind::Other
        };
        Self { model, kind }
    }

    /// The settings of the firmware, on a Raspberry Pi.
    pub(super) fn boot(&self) -> Option<&Boot> {
        match &self.kind {
            Kind::RaspberryPi(boot) => Some(boot),
            _ => None,
        }
    }
}

/// What it is and what runs on it.
pub(super) fn check(look: &Look, board: &Board) -> Vec<Finding> {
    let mut parts = vec![board.model.clone().unwrap_or_else(|| "a board without a name".into())];
    parts.extend(look.line("proc/sys/kernel/osrelease").map(|kernel| format!("Linux {kernel}")));
    let uptime = look.line("proc/uptime");
    let uptime = uptime.and_then(|line| line.split(' ').next()?.parse::<f64>().ok());
    parts.extend(uptime.map(|seconds| format!("up {}", duration(seconds))));
    vec![Finding::ok(parts.join(", "))]
}
