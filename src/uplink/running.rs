//! The way out of a program: one connection, which follows the settings.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{
    UplinkSettings,
    described::{Descriptions, Latest},
    discovery::Discovery,
    publisher::{Legacy, OFFLINE, Publisher},
    topics::Topics,
    values::Values,
};
use crate::{
    app::App,
    error::Result,
    mqtt::{self, Options, Running, Secret, Will},
    net::Counter,
    telemetry::{Filters, Hub},
    wire::prometheus::Page,
};

/// What the way out counts, over all of its connections.
#[derive(Debug, Default)]
pub(super) struct Tally {
    up: AtomicBool,
    /// Connections that the broker let in.
    pub(super) connects: Counter,
    /// Messages handed to a connection.
    pub(super) published: Counter,
    /// Batches that the ring no longer had.
    pub(super) lost: Counter,
}

impl Tally {
    /// A connection is there, or is not.
    pub(super) fn connected(&self, up: bool) {
        self.up.store(up, Relaxed);
    }

    fn describe(&self, page: &mut Page) {
        let up = u64::from(self.up.load(Relaxed));
        page.single("boardcast_mqtt_connected", "gauge", "1 while the MQTT broker is there.", up);
        let mut counter = |name, help, counter: &Counter| {
            page.single(name, "counter", help, counter.get());
        };
        let help = "Connections to the MQTT broker.";
        counter("boardcast_mqtt_connects_total", help, &self.connects);
        let help = "Messages published to the MQTT broker.";
        counter("boardcast_mqtt_published_total", help, &self.published);
        let help = "Batches that the MQTT broker was away too long for.";
        counter("boardcast_mqtt_lost_batches_total", help, &self.lost);
    }
}

/// The way out: at most one connection at a time, by the settings in force.
pub(crate) struct Uplink {
    app: Arc<App>,
    hub: Hub,
    tally: Arc<Tally>,
    legacy: Arc<Mutex<Legacy>>,
    current: Mutex<Option<Current>>,
}

/// The connection, and what it was made with.
struct Current {
    settings: UplinkSettings,
    /// As its file had it.
    password: Option<Secret>,
    running: Running,
}

impl Uplink {
    /// One that is nowhere yet.
    pub(crate) fn new(app: &Arc<App>, hub: &Hub) -> Self {
        let (tally, legacy) = Default::default();
        Self { app: app.clone(), hub: hub.clone(), tally, legacy, current: Mutex::new(None) }
    }

    /// Goes where these settings say, and stays when it is there already, with
    /// the password that its file has now.
    /// Waits for the end of an earlier connection, 2 s at most.
    ///
    /// # Errors
    /// As of [`UplinkSettings::password`] and [`mqtt::start`]; nothing has
    /// changed then.
    pub(crate) fn apply(&self, settings: &UplinkSettings) -> Result<()> {
        let password = settings.broker.as_ref().and(settings.password()?);
        let stays = match &*self.lock() {
            Some(now) => now.settings == *settings && now.password == password,
            None => settings.broker.is_none(),
        };
        if stays {
            return Ok(());
        }
        // Its end leaves a place to go on from.
        self.end();
        let Some(broker) = settings.broker.clone() else { return Ok(()) };
        let publisher = self.publisher(settings)?;
        let client_id = settings.client_id.clone();
        let client_id =
            client_id.unwrap_or_else(|| format!("boardcast-{}", publisher.topics.level));
        let will = Will {
            topic: publisher.topics.status.clone(),
            payload: OFFLINE.into(),
            qos: settings.qos,
            retain: true,
        };
        let options = Options {
            password: password.clone(),
            authority: settings.authority.clone(),
            will: Some(will),
            ..Options::new(broker, client_id)
        };
        let running = mqtt::start(options, "bc-mqtt", publisher)?;
        let bell = running.bell();
        self.app.at_change(move || bell.ring());
        let tally = self.tally.clone();
        self.app.measure(move |page| tally.describe(page));
        *self.lock() = Some(Current { settings: settings.clone(), password, running });
        Ok(())
    }

    fn publisher(&self, settings: &UplinkSettings) -> Result<Publisher> {
        let Self { app, hub, tally, legacy, .. } = self;
        let Legacy { place, topics: left, components } = std::mem::take(&mut *lock(legacy));
        let ha = &settings.home_assistant_prefix;
        let topics = Topics::new(&settings.prefix, ha, hub.device());
        let mut tap = app.tap(settings.published()?, settings.max_hz);
        if let Some(place) = place {
            tap.go_back(place);
        }
        let select = |filters: Filters| (!filters.is_empty()).then(|| app.selection(filters));
        let announced = select(settings.announced()?);
        let alone = [select(settings.alone()?), announced.clone()];
        let known = if left.contains(&topics.discovery) { components } else { Default::default() };
        let discovery = announced.map(|selection| Discovery::new(selection, known));
        let mut values = Values::new(alone.into_iter().flatten().collect());
        let taken = |topic: &String| discovery.is_some() && *topic == topics.discovery;
        let left = left.into_iter().filter(|topic| !taken(topic)).collect();
        values.take_over(left, &hub.view(), &topics);
        Ok(Publisher {
            hub: hub.clone(),
            qos: settings.qos,
            sent: app.selection(settings.published()?),
            tap,
            topics,
            descriptions: Descriptions::default(),
            latest: Latest::default(),
            values,
            discovery,
            pending: Default::default(),
            tally: tally.clone(),
            up: false,
            legacy: legacy.clone(),
        })
    }

    /// Tells the connection to end, and waits for nothing.
    pub(crate) fn stop(&self) {
        if let Some(current) = &*self.lock() {
            current.running.stop();
        }
    }

    /// Ends the connection, in 2 s at most.
    pub(crate) fn end(&self) {
        let current = self.lock().take();
        // Waited for outside of the lock.
        drop(current);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Current>> {
        lock(&self.current)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
