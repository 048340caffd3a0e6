//! Topics of an MQTT broker: what Zigbee2MQTT, Tasmota, ESPHome, Shelly and
//! their kin publish.
//!
//! A message is read in one piece: as a JSON object or one value, or as the
//! settings say. Its topic says the channel's name, or what goes before the
//! names that it has itself. One that comes from the broker's memory is taken
//! like any other: it is the state of a device that says little.

use std::time::{Duration, Instant};

use super::{Format, SourceSettings, Template, Topics};
use crate::{
    error::{Error, Result},
    mqtt::{self, Client, Filter, Incoming, Link, Options, Qos, Secret},
    sources::{Intake, inputs::Pace},
    telemetry::{ChannelName, Hub},
    wire::line::{self, BadLine, MAX_DOCUMENT},
};

/// A topic may be so long that its name never is one; then it is refused.
const TOPIC: usize = 4 * 1024;

/// A source that reads topics; dropping it ends its connection and waits for
/// that, for 2 s at most. Its channels are gone then.
#[derive(Debug)]
pub struct Subscriber {
    running: mqtt::Running,
    intake: Intake,
}

impl Subscriber {
    /// Where its readings go in.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// How many descriptors it takes at most.
    pub fn descriptors(&self) -> usize {
        self.running.descriptors()
    }

    /// Tells it to stop, and waits for nothing.
    pub fn stop(&self) {
        self.running.stop();
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.running.stop();
        // What the engine still does, nobody hears of.
        self.intake.close();
    }
}

/// Connects, and subscribes. A broker that is not there, or does not let it in,
/// is no error: it is told at the source's channels.
///
/// # Errors
/// [`Error::Io`] when the system refuses a thread; [`Error::Setting`] for a
/// password file that cannot be read, and in a build without the feature
/// `mqtt`.
pub(super) fn start(hub: &Hub, settings: &SourceSettings, topics: &Topics) -> Result<Subscriber> {
    let intake = Intake::new(hub, &settings.name);
    intake.describe(None, settings.fresh_for());
    let password = topics.password_file.as_deref().map(Secret::read).transpose()?;
    let random = getrandom::u32().unwrap_or_else(|_| std::process::id());
    let made_up = || format!("boardcast-{}-{random:08x}", settings.name);
    let options = Options {
        password,
        authority: topics.authority.clone(),
        max_message: MAX_DOCUMENT + TOPIC,
        ..Options::new(topics.broker.clone(), topics.client_id.clone().unwrap_or_else(made_up))
    };
    let reader = Reader {
        pace: Pace::new(intake.clone()),
        intake: intake.clone(),
        broker: topics.broker.to_string(),
        filters: topics.filters.clone(),
        qos: topics.qos,
        template: topics.template.clone(),
        prefix: settings.prefix.clone(),
        format: settings.format.clone(),
    };
    let name = super::running::thread_name(&settings.name);
    let running = mqtt::start(options, &name, reader)
        .map_err(|error| Error::Setting(format!("source {}: {error}", settings.name)))?;
    Ok(Subscriber { running, intake })
}

/// What becomes of the messages.
struct Reader {
    intake: Intake,
    pace: Pace,
    broker: String,
    filters: Vec<Filter>,
    qos: Qos,
    template: Template,
    prefix: Option<ChannelName>,
    format: Format,
}

impl Reader {
    /// The channel that a topic names.
    fn name(&self, topic: &str) -> Result<ChannelName, BadLine> {
        let bad = |error: Error| BadLine::new(&format!("topic {topic:.60}: {error}"));
        let matched = self.filters.iter().find_map(|filter| filter.captures(topic));
        // Nothing else comes; a broker may rewrite topics.
        let matched = matched.ok_or_else(|| BadLine::new("a topic that was not asked for"))?;
        self.template.fill(self.prefix.as_ref(), topic, &matched).map_err(bad)
    }

    fn take(&mut self, topic: &str, payload: &[u8]) {
        let name = self.name(topic);
        let mut turn = self.intake.turn();
        let name = match name {
            Ok(name) => name,
            Err(why) => return turn.refuse(&why),
        };
        // What is refused has been counted and, once a minute, told.
        match &self.format {
            Format::Payload | Format::Value(_) => {
                let _ = turn.take(|points| {
                    points.set_root(None);
                    line::payload(&name, payload, points)
                });
            }
            // A document is one, whatever its lines.
            Format::Pointers(pointers) => {
                let _ = turn.take(|points| {
                    points.set_root(Some(name));
                    pointers.read(payload, points)
                });
            }
            format => {
                let lines = payload.split(|byte| *byte == b'\n');
                for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
                    let _ = turn.take(|points| {
                        points.set_root(Some(name.clone()));
                        format.read(line, points)
                    });
                }
            }
        }
        drop(turn);
        self.pace.note();
    }
}

impl Client for Reader {
    fn connected(&mut self, link: &mut Link<'_>) {
        for filter in &self.filters {
            link.subscribe(filter.as_str(), self.qos);
        }
    }

    fn ready(&mut self, _: &mut Link<'_>) -> Option<Instant> {
        let rest: Option<Duration> = self.pace.settle();
        rest.map(|rest| Instant::now() + rest)
    }

    fn message(&mut self, _: &mut Link<'_>, message: Incoming<'_>) {
        self.take(message.topic, message.payload);
    }

    fn subscribed(&mut self, filter: &str, outcome: Result<(), &str>) {
        if let Err(why) = outcome {
            let why = format!("{}: no subscription to {filter}: {why}", self.broker);
            self.intake.fail(BadLine::new(&why).as_str());
        }
    }

    fn lost(&mut self, why: &str) {
        let why = format!("{}: {why}", self.broker);
        self.intake.fail(BadLine::new(&why).as_str());
    }
}
