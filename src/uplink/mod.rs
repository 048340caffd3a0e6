//! A board's readings, out to an MQTT broker.
//!
//! | file | what |
//! |---|---|
//! | `settings` | [`UplinkSettings`]: which broker, which channels, as what |
//! | `topics` | the topics of one board |
//! | `publisher` | what is said on a connection, and in which order: a [`Client`](crate::mqtt::Client) |
//! | `described` | the retained descriptions and the latest of all: when they are due |
//! | `values` | one retained value a channel: which are due |
//! | `discovery` | what Home Assistant is told |
//! | `units` | SenML units as Home Assistant knows them |
//!
//! Nothing is queued here. The publisher is a [`Tap`](crate::app::Tap), a
//! place in the hub's ring as every viewer has one: while the broker is away
//! the ring is the buffer, and what it loses is told as a gap. A publication
//! with QoS 1 that is not acknowledged is not kept, either: the place goes back.

#[cfg(feature = "mqtt")]
mod described;
#[cfg(feature = "mqtt")]
mod discovery;
#[cfg(feature = "mqtt")]
mod publisher;
mod settings;
#[cfg(feature = "mqtt")]
mod topics;
#[cfg(feature = "mqtt")]
mod units;
#[cfg(feature = "mqtt")]
mod values;

#[cfg(feature = "mqtt")]
mod running;
#[cfg(not(feature = "mqtt"))]
#[path = "off.rs"]
mod running;

pub(crate) use self::running::Uplink;
pub use self::settings::UplinkSettings;
