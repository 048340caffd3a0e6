//! All boards behind an MQTT broker: what they publish (`docs/mqtt.md`) goes
//! into the intake.
//!
//! ```text
//! boardcast/pi1/status    online, offline; retained       boardcast/pi1/data    each batch
//! boardcast/pi1/channels  descriptions; retained          boardcast/pi1/latest  the latest of all; retained
//! ```
//!
//! A server that loses its broker hears nothing, so its devices fall stale and
//! then offline; when it is back, the numbers tell what was lost.

use std::time::Instant;

use super::{Fleet, settings::level};
use crate::{
    error::Result,
    mqtt::{self, Client, Incoming, Link, Options, Qos, Running},
    uplink::UplinkSettings,
};

/// What is subscribed to, below each device.
const TOPICS: [&str; 4] = ["status", "channels", "latest", "data"];

/// The broker's end of a fleet.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) fleet: Fleet,
    pub(super) prefix: String,
    pub(super) qos: Qos,
}

impl Fleet {
    /// Hears the boards at the broker that these settings name; `None` when
    /// they name none. Dropping it is its end. `own` is this server's name.
    ///
    /// # Errors
    /// As of [`mqtt::start`], and when the password cannot be read.
    pub fn listen(&self, settings: &UplinkSettings, own: &str) -> Result<Option<Running>> {
        let Some(broker) = settings.broker.clone() else { return Ok(None) };
        // No two servers may have the same name there, and copies know nothing
        // of one another.
        let random = self.0.hub.epoch().get(..8).unwrap_or_default();
        let id = || format!("boardcast-fleet-{}-{random}", level(own));
        let options = Options {
            password: settings.password()?,
            authority: settings.authority.clone(),
            ..Options::new(broker, settings.client_id.clone().unwrap_or_else(id))
        };
        let (prefix, qos) = (settings.prefix.clone(), settings.qos);
        mqtt::start(options, "bc-mqtt", Ear { fleet: self.clone(), prefix, qos }).map(Some)
    }
}

impl Ear {
    /// Takes a message; topics that are none of ours are passed over.
    pub(super) fn hear(&self, topic: &str, payload: &[u8], retained: bool) {
        let below = topic.strip_prefix(&*self.prefix).and_then(|rest| rest.strip_prefix('/'));
        let Some((device, kind)) = below.and_then(|rest| rest.split_once('/')) else { return };
        match (kind, payload) {
            ("status", b"online") => self.fleet.said(device, true),
            ("status", b"offline") => self.fleet.said(device, false),
            // Cleared: somebody has taken the device out.
            ("status", b"") => self.fleet.forget(device),
            ("channels" | "latest" | "data", [_, ..]) => {
                self.fleet.hear(device, payload, retained);
            }
            _ => {}
        }
    }
}

impl Client for Ear {
    fn connected(&mut self, link: &mut Link<'_>) {
        for topic in TOPICS {
            link.subscribe(&format!("{}/+/{topic}", self.prefix), self.qos);
        }
    }

    fn ready(&mut self, _: &mut Link<'_>) -> Option<Instant> {
        None
    }

    fn message(&mut self, _: &mut Link<'_>, message: Incoming<'_>) {
        self.hear(message.topic, message.payload, message.retained);
    }

    fn subscribed(&mut self, filter: &str, outcome: std::result::Result<(), &str>) {
        if let Err(why) = outcome {
            log::error!("the broker refuses {filter}: {why}");
        }
    }

    fn lost(&mut self, _: &str) {}
}
