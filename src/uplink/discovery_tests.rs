//! What Home Assistant is told, by its own rules.
//!
//! The rules are written down here anew, apart from the table that is tested:
//! <https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload>
//! and its lists of abbreviations; `DEVICE_CLASS_UNITS` and
//! `DEVICE_CLASS_STATE_CLASSES` of `homeassistant/components/sensor/const.py`,
//! `DEVICE_DISCOVERY_SCHEMA` of `homeassistant/components/mqtt/schemas.py` and
//! `TOPIC_MATCHER` of `…/mqtt/discovery.py`, as they were in 2025. Classes that
//! no unit of ours leads to are left out, and count as unknown.

use super::*;
use crate::{
    app::App,
    telemetry::{Channel, ChannelId, Filters, Hub, HubSettings, Publisher},
};

/// A device class, the units that it takes, and its state classes: m for
/// measurement, t for total and total_increasing.
const CLASSES: &[(&str, &[&str], &str)] = &[
    ("apparent_power", &["VA"], "m"),
    ("battery", &["%"], "m"),
    ("current", &["A", "mA"], "m"),
    (
        "data_rate",
        &[
            "bit/s", "kbit/s", "Mbit/s", "Gbit/s", "B/s", "kB/s", "MB/s", "GB/s", "KiB/s", "MiB/s",
            "GiB/s",
        ],
        "m",
    ),
    (
        "data_size",
        &["bit", "kbit", "Mbit", "Gbit", "B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB"],
        "mt",
    ),
    ("distance", &["km", "m", "cm", "mm", "mi", "nmi", "yd", "in", "ft"], "mt"),
    ("duration", &["d", "h", "min", "s", "ms", "µs"], "mt"),
    ("energy", &["J", "kJ", "MJ", "GJ", "mWh", "Wh", "kWh", "MWh", "GWh", "TWh"], "t"),
    ("energy_storage", &["J", "kJ", "MJ", "GJ", "mWh", "Wh", "kWh", "MWh", "GWh", "TWh"], "m"),
    ("frequency", &["Hz", "kHz", "MHz", "GHz"], "m"),
    ("humidity", &["%"], "m"),
    ("illuminance", &["lx"], "m"),
    ("irradiance", &["W/m²", "BTU/(h⋅ft²)"], "m"),
    ("ph", &[""], "m"),
    ("power", &["mW", "W", "kW", "MW", "GW", "TW"], "m"),
    ("pressure", &["Pa", "hPa", "kPa", "bar", "cbar", "mbar", "mmHg", "inHg", "psi"], "m"),
    ("reactive_power", &["var", "kvar"], "m"),
    ("signal_strength", &["dB", "dBm"], "m"),
    ("speed", &["ft/s", "in/d", "in/h", "in/s", "km/h", "kn", "m/s", "mph", "mm/d", "mm/s"], "m"),
    ("temperature", &["°C", "°F", "K"], "m"),
    ("voltage", &["V", "mV", "µV", "kV", "MV"], "m"),
    ("volume", &["L", "mL", "gal", "fl. oz.", "m³", "ft³", "CCF"], "t"),
    ("volume_storage", &["L", "mL", "gal", "fl. oz.", "m³", "ft³", "CCF"], "m"),
    ("weight", &["kg", "g", "mg", "µg", "oz", "lb", "st"], "mt"),
];

/// The abbreviations that a component of these two platforms may have.
const KEYS: &[&str] = &[
    "p",
    "uniq_id",
    "name",
    "stat_t",
    "val_tpl",
    "dev_cla",
    "unit_of_meas",
    "stat_cla",
    "exp_aft",
    "pl_on",
    "pl_off",
    "ent_cat",
    "en",
    "ic",
    "frc_upd",
    "off_dly",
    "qos",
    "avty",
    "json_attr_t",
];

/// Checks a message by these rules; its components.
fn check(topic: &str, text: &str) -> Map<String, Json> {
    let id =
        topic.strip_prefix("homeassistant/device/").and_then(|rest| rest.strip_suffix("/config"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    assert!(id.is_some_and(|id| !id.is_empty() && id.bytes().all(plain)), "{topic}");
    let message: Json = serde_json::from_str(text).expect("JSON");
    let keys: Vec<_> = message.as_object().expect("an object").keys().collect();
    assert!(
        keys.iter()
            .all(|key| ["dev", "o", "avty", "cmps", "qos", "stat_t"].contains(&key.as_str())),
        "{keys:?}"
    );
    let device = message["dev"].as_object().expect("a device");
    assert!(
        device["ids"]
            .as_array()
            .is_some_and(|ids| ids.iter().all(Json::is_string) && !ids.is_empty())
    );
    let of_device = ["ids", "cns", "name", "mf", "mdl", "hw", "sw", "sa", "cu", "sn"];
    assert!(device.keys().all(|key| of_device.contains(&key.as_str())), "{device:?}");
    assert!(message["o"]["name"].is_string(), "an origin needs a name");
    let ways = message["avty"].as_array().expect("a list");
    assert!(ways.iter().all(|way| way["t"].is_string()));
    let components = message["cmps"].as_object().expect("components").clone();
    let mut ids = BTreeSet::new();
    for (name, component) in &components {
        let text = |key: &str| component.get(key).map(|value| value.as_str().expect(key));
        let platform = text("p").expect("a platform");
        assert!(["sensor", "binary_sensor"].contains(&platform), "{platform}");
        let component = component.as_object().expect("an object");
        if component.len() == 1 {
            continue; // It is removed.
        }
        assert!(component.keys().all(|key| KEYS.contains(&key.as_str())), "{component:?}");
        assert!(ids.insert(text("uniq_id").expect("an id")), "{name} has another's id");
        assert!(text("stat_t").is_some_and(|topic| !topic.contains(['+', '#'])));
        assert!(
            component.get("exp_aft").is_none_or(|time| time.as_u64().is_some_and(|time| time > 0))
        );
        if platform == "binary_sensor" {
            assert!(["stat_cla", "unit_of_meas"].iter().all(|key| !component.contains_key(*key)));
            assert!(text("pl_on").is_some() && text("pl_off").is_some());
            continue;
        }
        let states = text("stat_cla");
        assert!(states.is_none_or(|c| ["measurement", "total", "total_increasing"].contains(&c)));
        if let Some(class) = text("dev_cla") {
            let rule = CLASSES.iter().find(|rule| rule.0 == class);
            let (_, units, allowed) = rule.unwrap_or_else(|| panic!("{class} is no class"));
            assert!(
                units.contains(&text("unit_of_meas").unwrap_or_default()),
                "{name}: {component:?}"
            );
            let letter = if states == Some("measurement") { 'm' } else { 't' };
            assert!(states.is_none() || allowed.contains(letter), "{name}: {component:?}");
        }
    }
    components
}

struct Bench {
    hub: Hub,
    source: Publisher,
    discovery: Discovery,
    topics: Topics,
    now: Instant,
}

impl Bench {
    fn new(filter: &str) -> Self {
        let hub = Hub::new(HubSettings { device: "my pi".into(), ..Default::default() });
        let app = App::new(hub.clone());
        let discovery = Discovery::new(
            app.selection(Filters::parse([filter]).expect("valid")),
            BTreeSet::new(),
        );
        let topics = Topics::new("boardcast", "homeassistant", "my pi");
        Self { source: hub.publisher("test"), hub, discovery, topics, now: Instant::now() }
    }

    fn channel(&self, channel: Channel, value: impl Into<Value>) -> ChannelId {
        let id = self.source.channel(channel).expect("declared");
        self.source.set(id, value);
        id
    }

    /// What is told by now, checked; `None`: nothing.
    fn told(&mut self) -> Option<Map<String, Json>> {
        match self.discovery.next(&self.hub.view(), &self.topics, "my pi", self.now) {
            Due::Now(text) if text.is_empty() => Some(Map::new()),
            Due::Now(text) => Some(check(&self.topics.discovery, &text)),
            Due::At(at) => {
                assert!(at > self.now, "asked for now, and then nothing");
                None
            }
            Due::Nothing => None,
        }
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

fn gauge(name: &str) -> Channel {
    Channel::gauge(name).expect("valid")
}

fn names(components: &Map<String, Json>) -> Vec<&str> {
    components.keys().map(String::as_str).collect()
}

#[test]
fn every_unit_makes_a_component_that_home_assistant_takes() {
    // All of RFC 8428 section 12.1 and RFC 8798 section 3, and one of nobody's.
    let units = "m kg g s A K cd mol Hz rad sr N Pa J W C V F Ohm S Wb T H Cel lm lx Bq Gy Sv kat m2 m3 l m/s \
                 m/s2 m3/s l/s W/m2 cd/m2 bit bit/s lat lon pH dB dBW Bspl count / % %RH %EL EL 1/s 1/min \
                 beat/min beats S/m B VA VAs var vars J/m kg/m3 deg NTU ms min h MHz kW kVA kvar Ah Wh kWh varh \
                 kvarh kVAh Wh/km KiB GB Mbit/s B/s MB/s mV mA dBm ug/m3 mm/h m/h ppm /100 /1000 hPa mm cm km \
                 km/h bananas";
    let mut bench = Bench::new("#");
    let count = units.split_whitespace().count();
    for (number, unit) in units.split_whitespace().enumerate() {
        bench.channel(gauge(&format!("gauge/{number}")).unit(unit), 1.0);
        let counter = Channel::counter(&format!("sum/{number}")).expect("valid");
        bench.channel(counter.unit(unit), 1.0);
    }
    let told = bench.told().expect("told");
    assert_eq!(told.len(), 2 * count);
    let unit = |name: &str| units.split_whitespace().position(|unit| unit == name).expect(name);
    let temperature = &told[&format!("sensor_gauge_{}", unit("Cel"))];
    assert_eq!(temperature["unit_of_meas"], "°C");
    assert_eq!(temperature["dev_cla"], "temperature");
    let bytes = &told[&format!("sensor_sum_{}", unit("B"))];
    assert_eq!(
        (&bytes["dev_cla"], &bytes["stat_cla"]),
        (&"data_size".into(), &"total_increasing".into())
    );
}

#[test]
fn a_channel_becomes_what_its_values_are() {
    let mut bench = Bench::new("room/#");
    let state = |name: &str| Channel::state(name).expect("valid");
    let label =
        gauge("room/temp").unit("Cel").label("Room").stale_after(Duration::from_millis(2500));
    bench.channel(label, 21.5);
    bench.channel(state("room/door"), true);
    bench.channel(state("room/mode"), "eco");
    bench.channel(gauge("other"), 1.0);
    let later = bench.source.channel(state("room/later")).expect("declared");
    let told = bench.told().expect("told");
    assert_eq!(names(&told), ["binary_sensor_room_door", "sensor_room_mode", "sensor_room_temp"]);
    let room = &told["sensor_room_temp"];
    assert_eq!((&room["name"], &room["exp_aft"]), (&"Room".into(), &68.into()));
    assert_eq!(room["stat_t"], "boardcast/my_pi/value/room/temp");
    assert!(told["sensor_room_mode"].get("stat_cla").is_none());
    // What a state is, its first value says.
    bench.source.set(later, false);
    assert_eq!(bench.told(), None, "not so soon");
    bench.later(2);
    assert!(bench.told().expect("told").contains_key("binary_sensor_room_later"));
    bench.later(60);
    assert_eq!(bench.told(), None, "nothing is new");
    bench.discovery.start_over(bench.now);
    assert_eq!(bench.told().map(|told| told.len()), Some(4), "Home Assistant has started");
}

#[test]
fn what_is_gone_is_removed_once_and_then_left_out() {
    let mut bench = Bench::new("#");
    let gone = bench.channel(gauge("usb/temp"), 1.0);
    bench.channel(gauge("cpu"), 1.0);
    assert_eq!(names(&bench.told().expect("told")), ["sensor_cpu", "sensor_usb_temp"]);
    bench.source.gone(gone);
    bench.later(2);
    let told = bench.told().expect("told");
    assert_eq!(told["sensor_usb_temp"], json!({ "p": "sensor" }));
    bench.later(2);
    assert_eq!(names(&bench.told().expect("told")), ["sensor_cpu"]);
    bench.later(60);
    assert_eq!(bench.told(), None);
    // Home Assistant was away meanwhile: it hears it again.
    bench.discovery.start_over(bench.now);
    assert_eq!(bench.told().expect("told")["sensor_usb_temp"], json!({ "p": "sensor" }));
    // And it comes back.
    bench.source.set(gone, 2.0);
    bench.later(2);
    assert!(bench.told().expect("told")["sensor_usb_temp"].get("uniq_id").is_some());
}

#[test]
fn what_an_earlier_run_has_told_is_removed_unless_it_comes_back_in_time() {
    let mut bench = Bench::new("#");
    bench.channel(gauge("cpu"), 1.0);
    bench.told().expect("told");
    let kept = r#"{"cmps":{"sensor_cpu":{"p":"sensor"},"sensor_slow":{"p":"sensor","name":"x"},
                   "binary_sensor_old":{"p":"binary_sensor","name":"y"},"light_x":{"p":"light"}}}"#;
    bench.discovery.recall(kept.as_bytes(), bench.now);
    bench.discovery.recall(b"no JSON", bench.now);
    bench.later(30);
    assert_eq!(bench.told(), None);
    bench.channel(gauge("slow"), 1.0);
    assert_eq!(names(&bench.told().expect("told")), ["sensor_cpu", "sensor_slow"]);
    bench.later(30);
    let told = bench.told().expect("told");
    assert_eq!(names(&told), ["binary_sensor_old", "sensor_cpu", "sensor_slow"]);
    assert_eq!(told["binary_sensor_old"], json!({ "p": "binary_sensor" }));
    bench.later(2);
    assert_eq!(bench.told().expect("told").len(), 2);
}

#[test]
fn names_that_would_be_the_same_are_told_apart_and_the_last_one_ends_the_device() {
    let mut bench = Bench::new("#");
    let ids = ["a/b", "a_b", "a.b"].map(|name| bench.channel(gauge(name), 1.0));
    assert_eq!(names(&bench.told().expect("told")), ["sensor_a_b", "sensor_a_b_2", "sensor_a_b_3"]);
    ids.iter().for_each(|&id| bench.source.gone(id));
    bench.later(2);
    assert!(
        bench.told().expect("told").values().all(|component| component.get("uniq_id").is_none())
    );
    bench.later(2);
    assert_eq!(bench.told(), Some(Map::new()), "an empty message");
}
