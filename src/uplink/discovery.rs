//! What Home Assistant is told: one retained message that describes the board
//! as a device and each chosen channel as one of its components
//! (<https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload>).
//!
//! ```text
//! homeassistant/device/boardcast_pi/config
//! {"dev":{"ids":["boardcast_pi"],"name":"pi","sw":"0.1.0"},"o":{"name":"boardcast","sw":"0.1.0"},
//!  "avty":[{"t":"boardcast/pi/status"}],"cmps":{
//!  "sensor_cpu_temperature":{"p":"sensor","uniq_id":"boardcast_pi_sensor_cpu_temperature","name":"CPU temperature",
//!   "stat_t":"boardcast/pi/value/cpu/temperature","dev_cla":"temperature","unit_of_meas":"°C","stat_cla":"measurement","exp_aft":68}}}
//! ```
//!
//! A component is removed by a message in which it has its platform alone, and
//! that is followed by one without it. What the broker has kept from an earlier
//! run is read, so that what is gone since then is removed, too; but only after
//! a while: a sensor may be slow to be found.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::{topics::Topics, units, values::SAME};
use crate::{
    app::Selection,
    telemetry::{ChannelState, Kind, Status, Value, View},
};

/// All of it is looked at, and told, at most so often.
const EVERY: Duration = Duration::from_secs(2);
/// What an earlier run has told of has so long to be found again.
const GRACE: Duration = Duration::from_secs(60);
/// How much later than it should a value may come: it is told anew so often,
/// and on its way for a while.
const LATE: Duration = Duration::from_secs(SAME.as_secs() + 5);
/// The most components of an earlier run that are remembered.
const MOST: usize = 4096;

/// What Home Assistant knows of this board.
pub(super) struct Discovery {
    selection: Arc<Selection>,
    /// The names of the components that it was told of.
    told: BTreeSet<String>,
    /// Those that are no more, and when that is to be told; `None`: it was.
    gone: BTreeMap<String, Option<Instant>>,
    /// What was sent last on this connection.
    hash: Option<u64>,
    looked: Option<Look>,
}

/// The last look at the channels.
struct Look {
    at: Instant,
    version: u64,
    /// Another one is due, whether something was heard of or not.
    again: bool,
}

/// A message of an earlier run, as far as it matters.
#[derive(Deserialize)]
struct Kept {
    #[serde(default)]
    cmps: BTreeMap<String, serde::de::IgnoredAny>,
}

/// What is to be done.
pub(super) enum Due {
    /// Publish this; empty: there is no such device.
    Now(String),
    /// Nothing before then.
    At(Instant),
    Nothing,
}

impl Discovery {
    /// One that goes on where another has told of these.
    pub(super) fn new(selection: Arc<Selection>, told: BTreeSet<String>) -> Self {
        Self { selection, told, gone: BTreeMap::new(), hash: None, looked: None }
    }

    /// What was told of, and what was to be removed, for the next one.
    pub(super) fn take_told(&mut self) -> BTreeSet<String> {
        let waiting = self.gone.iter().filter(|(_, due)| due.is_some());
        let mut told: BTreeSet<_> = waiting.map(|(name, _)| name.clone()).collect();
        told.append(&mut self.told);
        told
    }

    /// A new connection, or Home Assistant has started: all is told again.
    pub(super) fn start_over(&mut self, now: Instant) {
        (self.hash, self.looked) = (None, None);
        self.gone.values_mut().for_each(|due| *due = due.or(Some(now)));
    }

    /// What the broker had kept, from an earlier run.
    pub(super) fn recall(&mut self, payload: &[u8], now: Instant) {
        let Ok(kept) = serde_json::from_slice::<Kept>(payload) else { return };
        for name in kept.cmps.into_keys().filter(|name| platform_of(name).is_some()) {
            if !self.told.contains(&name) && self.gone.len() < MOST {
                self.gone.entry(name).or_insert(Some(now + GRACE));
            }
        }
    }

    /// What is due.
    pub(super) fn next(
        &mut self,
        view: &View<'_>,
        topics: &Topics,
        device: &str,
        now: Instant,
    ) -> Due {
        match self.due(view) {
            Some(at) if now < at => Due::At(at),
            None if self.looked.is_some() => Due::Nothing,
            _ => self.look(view, topics, device, now),
        }
    }

    /// When to look again; `None`: when something is new, or now if there was
    /// no look yet.
    fn due(&self, view: &View<'_>) -> Option<Instant> {
        let look = self.looked.as_ref()?;
        let next = look.at + EVERY;
        if look.again || look.version != view.version() {
            return Some(next);
        }
        self.gone.values().flatten().min().map(|&at| at.max(next))
    }

    fn look(&mut self, view: &View<'_>, topics: &Topics, device: &str, now: Instant) -> Due {
        let mask = self.selection.mask(view.channels());
        let mut components = Map::new();
        let mut again = false;
        let chosen = view.channels().iter().filter(|state| mask.has(state.id));
        for state in chosen.filter(|state| state.status != Status::Gone) {
            // A state is a truth or a word: its first value says which.
            let Some(platform) = platform(state) else {
                again = true;
                continue;
            };
            let name = free_name(&components, platform, state);
            let component = describe(&name, platform, state, topics);
            components.insert(name, component);
        }
        let lost = self.told.iter().filter(|name| !components.contains_key(*name));
        self.gone.extend(lost.map(|name| (name.clone(), Some(now))));
        self.gone.retain(|name, _| !components.contains_key(name));
        self.told = components.keys().cloned().collect();
        for (name, due) in &mut self.gone {
            if due.is_some_and(|at| at <= now) {
                *due = None;
                // The message that follows is without it.
                again = true;
                components.insert(name.clone(), json!({ "p": platform_of(name) }));
            }
        }
        self.looked = Some(Look { at: now, version: view.version(), again });
        let known = self.hash.is_some() || !self.gone.is_empty();
        let text = match components.is_empty() {
            true if !known => return Due::Nothing,
            true => String::new(),
            false => message(&components, topics, device).to_string(),
        };
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = hasher.finish();
        if self.hash.replace(hash) == Some(hash) { Due::Nothing } else { Due::Now(text) }
    }
}

/// What a channel is there; `None`: its first value will say.
fn platform(state: &ChannelState) -> Option<&'static str> {
    match (&state.value, state.channel.kind) {
        (Value::Bool(_), _) => Some("binary_sensor"),
        (Value::Null, Kind::State) => None,
        _ => Some("sensor"),
    }
}

/// The platform that a component's name begins with.
fn platform_of(name: &str) -> Option<&'static str> {
    let mut platforms = ["sensor", "binary_sensor"].into_iter();
    platforms.find(|platform| name.strip_prefix(platform).is_some_and(|rest| rest.starts_with('_')))
}

/// A component's name: its platform, so that one that becomes something else is
/// another, and the channel's levels.
fn free_name(taken: &Map<String, Json>, platform: &str, state: &ChannelState) -> String {
    let plain = state.channel.name.as_str().replace(['/', '.'], "_");
    let base = format!("{platform}_{plain}");
    let mut name = base.clone();
    let mut count = 1;
    // a/b and a_b; in the order of their numbers.
    while taken.contains_key(&name) {
        count += 1;
        name = format!("{base}_{count}");
    }
    name
}

fn describe(name: &str, platform: &str, state: &ChannelState, topics: &Topics) -> Json {
    let channel = &state.channel;
    let mut component = json!({
        "p": platform,
        "uniq_id": format!("{}_{name}", topics.id),
        "name": channel.label.as_deref().unwrap_or(channel.name.as_str()),
        "stat_t": topics.value(&channel.name),
    });
    let mut set = |key: &str, value: Json| component[key] = value;
    if let Some(time) = channel.stale_after {
        // Whole seconds, rounded up.
        let seconds = time.saturating_add(LATE).as_secs_f64().ceil();
        set("exp_aft", json!(seconds as u64));
    }
    if platform == "binary_sensor" {
        set("pl_on", json!("true"));
        set("pl_off", json!("false"));
    } else if !matches!(state.value, Value::Text(_)) && channel.kind != Kind::State {
        let shown = units::shown(channel.unit.as_deref(), channel.kind);
        let sum = channel.kind == Kind::Counter;
        set("stat_cla", json!(if sum { "total_increasing" } else { "measurement" }));
        if let Some(unit) = shown.unit {
            set("unit_of_meas", json!(unit));
        }
        if let Some(class) = shown.class {
            set("dev_cla", json!(class));
        }
    }
    component
}

fn message(components: &Map<String, Json>, topics: &Topics, device: &str) -> Json {
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "dev": { "ids": [topics.id], "name": device, "mf": "Boardcast", "sw": version },
        "o": { "name": "boardcast", "sw": version },
        "avty": [{ "t": topics.status }],
        "cmps": components,
    })
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
