//! A client of an MQTT broker: one thread, one connection that is made again
//! and again, MQTT 5 or 3.1.1.
//!
//! | file | what |
//! |---|---|
//! | `broker` | [`Broker`]: where one is, and a [`Secret`] that nobody prints |
//! | `topic` | topics, and filters with wildcards |
//! | `state` | how a connection stands, in words, and what it has counted |
//! | `packet` | packets of both versions, as functions of bytes |
//! | `reader` | packets out of a stream, in bounded memory |
//! | `session` | one connection from CONNECT to its end, without a socket |
//! | `engine` | the thread: sockets, deadlines, tries |
//! | `fuzzing` | anything at all as what a broker says |
//! | `off` | the engine of a build without the feature `mqtt`: there is none |
//!
//! The engine knows nothing of telemetry. A program hands it a [`Client`],
//! which is asked on the connection's own thread for what there is to publish
//! and told what comes in; [`start`] gives back a [`Running`], whose drop is
//! the end. Nothing is queued: what waits for the broker waits where the
//! [`Client`] keeps it (a place in a ring), and costs the engine nothing.
//!
//! Bounds: so much unsent output that a message more would only wait
//! ([`UNSENT`]), so many unacknowledged publications ([`WINDOW`]), packets up
//! to [`Options::max_message`]; a longer one is read past and counted.

mod broker;
#[cfg_attr(not(feature = "mqtt"), path = "off.rs")]
mod engine;
#[cfg(all(feature = "mqtt", any(test, fuzzing)))]
pub(crate) mod fuzzing;
#[cfg(feature = "mqtt")]
mod packet;
#[cfg(feature = "mqtt")]
mod reader;
#[cfg(feature = "mqtt")]
mod session;
mod state;
mod topic;

use std::{path::PathBuf, time::Duration, time::Instant};

pub use self::{
    broker::{Broker, Secret},
    engine::{Bell, Link, Running, start},
    state::{Counts, Status, Version},
    topic::{Captures, Filter, is_topic},
};

/// What is said when a build without the feature `mqtt` is to speak MQTT.
pub(crate) const NO_MQTT: &str =
    "this build has no MQTT: the one of the packages has, or one with --features mqtt";

/// With so many bytes unsent there is no room for a further message: 64 KiB.
pub const UNSENT: usize = 64 * 1024;

/// So many publications may wait for an acknowledgement, or fewer when the
/// broker says so (MQTT 5 section 3.2.2.3.3, Receive Maximum).
pub const WINDOW: u16 = 32;

/// A connection: with whom, as whom, within which bounds.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the broker is, and the name that is used there.
    pub broker: Broker,
    /// The password; `None`: that of the address, when it has one.
    pub password: Option<Secret>,
    /// A file of certificates (PEM) that are trusted in place of the system's.
    pub authority: Option<PathBuf>,
    /// Whom the broker knows this connection as. It ends an older one of the
    /// same name, so no two programs may have the same.
    pub client_id: String,
    /// How often at least something is said; a broker that does not answer for
    /// 10 s more is dead.
    pub keep_alive: Duration,
    /// What the broker publishes when the connection is lost.
    pub will: Option<Will>,
    /// The longest packet that is taken in, in bytes. A longer one is read
    /// past; a broker with MQTT 5 is told, and sends none.
    pub max_message: usize,
    /// How long connecting, TLS and the broker's first word may take together.
    pub patience: Duration,
    /// The one version that is spoken; `None`: MQTT 5, and 3.1.1 with a broker
    /// that refuses it.
    pub version: Option<Version>,
}

impl Options {
    /// The usual ones: 30 s of keep-alive, messages of up to 1 MiB, 10 s to
    /// begin, no will.
    pub fn new(broker: Broker, client_id: impl Into<String>) -> Self {
        Self {
            broker,
            password: None,
            authority: None,
            client_id: client_id.into(),
            keep_alive: Duration::from_secs(30),
            will: None,
            max_message: 1024 * 1024,
            patience: Duration::from_secs(10),
            version: None,
        }
    }
}

/// How surely a message arrives (MQTT 5 section 4.3). There is no third one
/// here: readings are known by their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// At most once: it is sent, and that is all.
    #[default]
    AtMostOnce,
    /// At least once: it is acknowledged.
    AtLeastOnce,
}

/// A message that goes out.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// Its topic; no wildcards.
    pub topic: &'a str,
    /// Its payload, in parts that are joined: nothing has to be copied before.
    pub payload: &'a [&'a [u8]],
    /// How surely.
    pub qos: Qos,
    /// Whether the broker keeps it for those who come later. An empty payload
    /// clears what it has kept.
    pub retain: bool,
}

/// What the broker publishes for a connection that is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// How surely.
    pub qos: Qos,
    /// Whether the broker keeps it.
    pub retain: bool,
}

/// A message that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its payload, up to [`Options::max_message`].
    pub payload: &'a [u8],
    /// It is what the broker had kept, from before the subscription.
    pub retained: bool,
}

/// What a program does with a broker. All of it is called on the connection's
/// own thread, which may block for none of it.
pub trait Client: Send {
    /// A connection is there (after each CONNACK): subscribe, say hello. What
    /// is published here may go beyond [`Link::has_room`], by a few messages.
    fn connected(&mut self, link: &mut Link<'_>);

    /// There is room: publish while [`Link::has_room`] says so. Returns when
    /// to ask again; `None`: when the bell is rung. It is also asked whenever
    /// room has come, and after each bell.
    fn ready(&mut self, link: &mut Link<'_>) -> Option<Instant>;

    /// A message has come. With QoS 1 it is acknowledged when this returns.
    fn message(&mut self, link: &mut Link<'_>, message: Incoming<'_>);

    /// The broker has granted a subscription, or refused it and said why.
    fn subscribed(&mut self, filter: &str, outcome: Result<(), &str>) {
        let _ = (filter, outcome);
    }

    /// So many more of the publications that went out with QoS 1 are done, in
    /// their order. One that the broker refused is done, too, and counted.
    fn acknowledged(&mut self, count: u64) {
        let _ = count;
    }

    /// The connection is over, or a try of one failed, and why. What is not
    /// acknowledged is forgotten: publish it again when there is a new one.
    fn lost(&mut self, why: &str);

    /// The end, which was asked for: the last thing to be said on a connection.
    fn farewell(&mut self, link: &mut Link<'_>) {
        let _ = link;
    }
}
