//! Converters, weather and motion sensors: the devices of Industrial I/O.
//!
//! ```text
//! iio:device0/name                    bme280
//! iio:device0/in_temp_input           23480          1/1000 °C, ready to use
//! iio:device0/in_pressure_input       100.153250000  kPa
//! iio:device1/name                    ads1015
//! iio:device1/in_voltage0_raw         1105           a count
//! iio:device1/in_voltage0_scale       3.000000000    mV = (raw + offset) × scale
//! iio:device1/in_voltage0-voltage1_raw  -17          the difference of two inputs
//! iio:device2/in_accel_x_raw          -12            its scale is in_accel_scale
//! ```
//!
//! Documentation/ABI/testing/sysfs-bus-iio has the types with their units; a
//! value that all channels of a type share stands under the type alone. What
//! has no scale is a count without a unit. Scales are read every time: they are
//! settings, which other programs may change.
//!
//! Names: `iio/<device>/<channel>` with the channel's name in the document:
//! `iio/bme280/pressure`, `iio/ads1015/voltage0`, `iio/mcp4725/out_voltage`.

use std::{collections::BTreeSet, path::PathBuf};

use super::{
    files::{Files, Found, number},
    sensor::{Sensor, describe},
};
use crate::{
    sources::{
        Readings,
        isolated::{Device, Round, Watch},
    },
    telemetry::{Channel, Kind, Levels, Value},
};

/// The most channels of one device.
const MAX_CHANNELS: usize = 64;

/// What a type of channel measures.
#[derive(Debug, PartialEq)]
struct Quantity {
    /// The type's name in the document.
    name: &'static str,
    /// A SenML unit; empty where there is none.
    unit: &'static str,
    /// Its word for people, where the type's name is none.
    word: &'static str,
    /// What a value in the document's unit is multiplied and divided by: one
    /// of both is 1, so that thousandths come out exact.
    times: f64,
    over: f64,
}

const fn of(name: &'static str, unit: &'static str) -> Quantity {
    Quantity { name, unit, word: name, times: 1.0, over: 1.0 }
}

const fn thousandths(name: &'static str, unit: &'static str) -> Quantity {
    Quantity { over: 1000.0, ..of(name, unit) }
}

impl Quantity {
    const fn called(self, word: &'static str) -> Self {
        Self { word, ..self }
    }
}

/// Every type of the document, with the unit that it gives in the comment
/// where ours is another. Of two that begin alike the longer one comes first.
const QUANTITIES: [Quantity; 39] = [
    thousandths("altvoltage", "V").called("AC voltage"),
    thousandths("voltage", "V"),                                   // mV
    thousandths("current", "A"),                                   // mA
    thousandths("power", "W"),                                     // mW
    thousandths("temp", "Cel").called("temperature"),              // 1/1000 °C
    thousandths("humidityrelative", "%RH").called("humidity"),     // 1/1000 %
    Quantity { times: 1000.0, over: 1.0, ..of("pressure", "Pa") }, // kPa
    of("illuminance", "lx"),
    of("intensity", ""),
    of("uvindex", "").called("UV index"),
    of("colortemp", "K").called("color temperature"),
    of("cct", "K").called("color temperature"),
    of("chromaticity", ""),
    of("proximity", "m"),
    of("distance", "m"),
    of("accel", "m/s2").called("acceleration"),
    of("gravity", "m/s2"),
    of("anglvel", "rad/s").called("angular velocity"),
    of("angl", "rad").called("angle"),
    of("deltaangl", "rad").called("angle since"),
    of("deltavelocity", "m/s").called("velocity since"),
    of("velocity", "m/s"),
    of("incli", "deg").called("inclination"),
    of("rot", "deg").called("rotation"),
    of("phase", "rad"),
    Quantity { times: 1.0, over: 1e4, ..of("magn", "T").called("magnetic field") }, // gauss
    of("resistance", "Ohm"),
    Quantity { times: 1.0, over: 1e9, ..of("capacitance", "F") }, // nF
    of("electricalconductivity", "S/m").called("conductivity"),
    of("ph", "pH").called("pH"),
    Quantity { times: 1e4, over: 1.0, ..of("concentration", "ppm") }, // %
    of("massconcentration", "ug/m3").called("concentration"),
    of("energy", "J"),
    of("activity", "%"),
    of("attention", "%"),
    of("steps", "count"),
    of("count", "count"),
    of("index", ""),
    thousandths("positionrelative", "%").called("position"),
];

/// One device.
#[derive(Debug)]
pub(super) struct Iio {
    folder: PathBuf,
    /// Its level, which the scan has made of `device`.
    level: String,
    device: String,
    files: Files,
    channels: Option<Vec<Converter>>,
}

/// A channel and how its number becomes a value.
#[derive(Debug)]
struct Converter {
    sensor: Sensor,
    offset: Option<PathBuf>,
    scale: Option<PathBuf>,
    times: f64,
    over: f64,
    /// Several numbers at once, which are told as they stand.
    text: bool,
}

impl Iio {
    /// Whether a device with these files has a channel.
    pub(super) fn measures(names: &[String]) -> bool {
        names.iter().any(|name| Input::parse(name).is_some())
    }

    pub(super) fn new(folder: PathBuf, level: String, device: String) -> Self {
        Self { folder, level, device, files: Files::default(), channels: None }
    }

    fn open(&mut self, watch: &Watch) -> Vec<Converter> {
        let names = Files::list(watch, &self.folder);
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let mut levels = Levels::default();
        let mut converters = Vec::new();
        for input in inputs(&names) {
            let level = levels.level(input.shown());
            let label = self.files.line(watch, &self.folder.join(format!("{}_label", input.base)));
            let converter = self.converter(&names, &input, &level, label.as_deref());
            converters.extend(converter);
        }
        converters
    }

    fn converter(
        &self,
        names: &BTreeSet<&str>,
        input: &Input<'_>,
        level: &str,
        label: Option<&str>,
    ) -> Option<Converter> {
        let file = |attribute| shared(names, input, attribute).map(|name| self.folder.join(name));
        let (scale, offset) =
            if input.raw { (file("scale"), file("offset")) } else { (None, None) };
        let text = input.base.contains("quaternion");
        let kind = match input.kind {
            _ if text => Kind::State,
            Some("steps") => Kind::Counter,
            _ => Kind::Gauge,
        };
        // A number of unknown size has no unit, and is not converted; unless it is
        // a count of things.
        let known =
            |quantity: &&Quantity| !input.raw || scale.is_some() || quantity.unit == "count";
        let quantity = input.quantity().filter(known);
        let shown = label.map_or_else(|| input.words(), str::to_owned);
        let shown: String = shown.chars().take(32).collect();
        let mut channel = Channel::new(kind, &format!("iio/{}/{level}", self.level)).ok()?;
        channel = channel.label(format!("{} {shown}", self.device)).single_precision();
        if let Some(quantity) = quantity.filter(|quantity| !quantity.unit.is_empty() && !text) {
            channel = channel.unit(quantity.unit);
            // Of air; the rest of what they can measure is the sensor's own.
            if quantity.unit == "%RH" {
                channel = channel.range(0.0, 100.0);
            }
        }
        let (times, over) = quantity.map_or((1.0, 1.0), |quantity| (quantity.times, quantity.over));
        let sensor = Sensor { path: self.folder.join(input.file), channel };
        Some(Converter { sensor, offset, scale, times, over, text })
    }
}

impl Device for Iio {
    fn read(&mut self, watch: &Watch, readings: &mut Readings) -> Round {
        let Some(converters) = &self.channels else {
            let mut converters = self.open(watch);
            describe(converters.iter_mut().map(|one| &mut one.sensor.channel), readings);
            self.channels = Some(converters);
            return Round::More;
        };
        for converter in converters {
            let found = converter.read(watch, &mut self.files);
            converter.sensor.tell(found, readings);
        }
        Round::Done
    }
}

impl Converter {
    fn read(&self, watch: &Watch, files: &mut Files) -> Found<Value> {
        let path = &self.sensor.path;
        if self.text {
            let text = |text: &str| Ok(Value::from(text.trim()));
            return files.read(watch, path, text);
        }
        let Some(raw) = files.read(watch, path, number)? else { return Ok(None) };
        let mut setting = |path: &Option<PathBuf>, without: f64| match path {
            Some(path) => Ok(files.number(watch, path)?.unwrap_or(without)),
            None => Ok::<f64, String>(without),
        };
        let measured = (raw + setting(&self.offset, 0.0)?) * setting(&self.scale, 1.0)?;
        Ok(Some(Value::from(measured * self.times / self.over)))
    }
}

/// A channel among the files of a device.
#[derive(Debug, PartialEq)]
struct Input<'a> {
    /// The file with the number: `in_voltage0_raw`.
    file: &'a str,
    /// Its part that the channel's other files share: `in_voltage0`.
    base: &'a str,
    /// Its type, when it is one that we know.
    kind: Option<&'static str>,
    /// Whether scale and offset apply.
    raw: bool,
}

impl<'a> Input<'a> {
    fn parse(file: &'a str) -> Option<Self> {
        let (base, raw) = match file.strip_suffix("_input") {
            Some(base) => (base, false),
            None => (file.strip_suffix("_raw")?, true),
        };
        let (direction, channel) = base.split_once('_')?;
        // Means, extremes since some reset, calibration: not what is measured now.
        let other = ["_mean", "_peak", "_trough", "_correction", "_zeropoint"];
        if !matches!(direction, "in" | "out") || other.iter().any(|end| base.ends_with(end)) {
            return None;
        }
        let kind = QUANTITIES.iter().map(|quantity| quantity.name).find(|name| {
            let rest = channel.strip_prefix(name);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic()))
        });
        Some(Self { file, base, kind, raw })
    }

    fn quantity(&self) -> Option<&'static Quantity> {
        let quantity = QUANTITIES.iter().find(|quantity| Some(quantity.name) == self.kind)?;
        // Of air, oxygen is percents; all other gases are a few in a million.
        const OXYGEN: Quantity = of("concentration", "%");
        let oxygen = self.kind == Some("concentration") && self.base.ends_with("_o2");
        Some(if oxygen { const { &OXYGEN } } else { quantity })
    }

    /// For people: `acceleration x`, `voltage 0-1`, `humidity`.
    fn words(&self) -> String {
        let Some(quantity) = self.quantity() else { return self.shown().to_owned() };
        let (direction, channel) = self.base.split_once('_').unwrap_or_default();
        let rest = channel.strip_prefix(quantity.name).unwrap_or_default();
        let rest = rest.replace(&format!("-{}", quantity.name), "-").replace('_', " ");
        let output = if direction == "out" { "output " } else { "" };
        format!("{output}{} {}", quantity.word, rest.trim()).trim_end().to_owned()
    }

    /// `voltage0` of `in_voltage0`; an output keeps its direction.
    fn shown(&self) -> &'a str {
        self.base.strip_prefix("in_").unwrap_or(self.base)
    }
}

/// The channels among the names of a device's folder.
fn inputs<'a>(names: &BTreeSet<&'a str>) -> Vec<Input<'a>> {
    let inputs = names.iter().filter_map(|name| Input::parse(name));
    let ready = |base: &str| names.contains(format!("{base}_input").as_str());
    let mut inputs: Vec<_> = inputs.filter(|input| !input.raw || !ready(input.base)).collect();
    // voltage10 comes after voltage9.
    let order = |input: &Input<'a>| (digits_apart(input.base), input.base);
    inputs.sort_by_cached_key(order);
    inputs.truncate(MAX_CHANNELS);
    inputs
}

/// A name by which numbered ones sort: the letters before the first number,
/// and the number.
fn digits_apart(name: &str) -> (&str, u64) {
    let start = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
    let digits = &name[start..];
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    (&name[..start], digits[..end].parse().unwrap_or(0))
}

/// The file with an attribute of a channel: its own, or one that several
/// channels share. `in_voltage0-voltage1` shares `in_voltage-voltage`,
/// `in_accel_x` shares `in_accel`, and `in_voltage3_supply` `in_voltage`.
fn shared(names: &BTreeSet<&str>, input: &Input<'_>, attribute: &str) -> Option<String> {
    let plain: String = input.base.chars().filter(|c| !c.is_ascii_digit()).collect();
    let (direction, _) = input.base.split_once('_')?;
    let of_type = input.kind.map(|kind| format!("{direction}_{kind}"));
    let candidates =
        [Some(input.base.to_owned()), Some(plain), of_type, Some(direction.to_owned())];
    let mut files = candidates.into_iter().flatten().map(|base| format!("{base}_{attribute}"));
    // Shared by all channels, it has no more than the attribute's name.
    let own = files.find(|file| names.contains(file.as_str()));
    own.or_else(|| names.contains(attribute).then(|| attribute.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_types_is_in_the_documentation() {
        let text = include_str!("../../../docs/channels.md");
        for Quantity { name, unit, .. } in &QUANTITIES {
            let unit = if unit.is_empty() { "–".to_owned() } else { format!("`{unit}`") };
            assert!(text.contains(&format!("\n| {name} | {unit} |")), "{name}");
        }
    }

    #[test]
    fn channels_are_what_is_measured_now() {
        let kind = |file| Input::parse(file).map(|input| (input.kind, input.raw));
        assert_eq!(kind("in_voltage0-voltage1_raw"), Some((Some("voltage"), true)));
        assert_eq!(kind("in_anglvel_x_raw"), Some((Some("anglvel"), true)));
        assert_eq!(kind("in_angl_raw"), Some((Some("angl"), true)));
        assert_eq!(kind("in_temp_input"), Some((Some("temp"), false)));
        assert_eq!(kind("out_altvoltage0_raw"), Some((Some("altvoltage"), true)));
        assert_eq!(kind("in_novelty0_raw"), Some((None, true)));
        for other in [
            "in_voltage0_mean_raw",
            "in_accel_x_peak_raw",
            "in_temp_trough_raw",
            "in_voltage0_scale",
            "sampling_frequency",
            "_raw",
            "in_raw",
            "raw",
            "",
            "events_in_voltage0_raw",
            "in_accel_calibbias",
        ] {
            assert_eq!(kind(other), None, "{other}");
        }
    }

    #[test]
    fn ready_values_go_before_raw_ones_and_numbers_sort_as_such() {
        let names = [
            "in_voltage10_raw",
            "in_voltage9_raw",
            "in_temp_raw",
            "in_temp_input",
            "in_accel_x_raw",
        ];
        let names = names.into_iter().collect();
        let files: Vec<_> = inputs(&names).into_iter().map(|input| input.file).collect();
        assert_eq!(
            files,
            ["in_accel_x_raw", "in_temp_input", "in_voltage9_raw", "in_voltage10_raw"]
        );
    }

    #[test]
    fn a_scale_is_the_channels_own_or_one_that_it_shares() {
        let scale = |names: &[&'static str], file| {
            let names = names.iter().copied().collect();
            shared(&names, &Input::parse(file).expect("a channel"), "scale")
        };
        let all = ["in_voltage0_scale", "in_voltage_scale", "in_scale", "scale"];
        for (number, expected) in all.into_iter().enumerate() {
            assert_eq!(scale(&all[number..], "in_voltage0_raw").as_deref(), Some(expected));
        }
        assert_eq!(scale(&[], "in_voltage0_raw"), None);
        let difference = ["in_voltage-voltage_scale", "in_voltage_scale"];
        assert_eq!(scale(&difference, "in_voltage0-voltage1_raw").as_deref(), Some(difference[0]));
        assert_eq!(scale(&["in_accel_scale"], "in_accel_x_raw").as_deref(), Some("in_accel_scale"));
        assert_eq!(
            scale(&["in_voltage_scale"], "in_voltage3_supply_raw").as_deref(),
            Some("in_voltage_scale")
        );
        assert_eq!(scale(&["in_voltage_scale"], "in_current0_raw"), None);
    }

    #[test]
    fn words_for_people() {
        let words = |file| Input::parse(file).expect("a channel").words();
        assert_eq!(words("in_humidityrelative_input"), "humidity");
        assert_eq!(words("in_voltage0-voltage1_raw"), "voltage 0-1");
        assert_eq!(words("in_accel_x_raw"), "acceleration x");
        assert_eq!(words("out_voltage2_raw"), "output voltage 2");
        assert_eq!(words("in_novelty0_raw"), "novelty0");
        assert_eq!(
            Input::parse("in_concentration_o2_raw").and_then(|i| i.quantity()).map(|q| q.unit),
            Some("%")
        );
    }
}
