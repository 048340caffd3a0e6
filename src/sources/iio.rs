//! The channels of Industrial I/O: what they are called, what they measure, and
//! which files of a device's folder are theirs.
//!
//! Documentation/ABI/testing/sysfs-bus-iio has the types with their units; a
//! value that all channels of a type share stands under the type alone. Shared
//! by those who poll a device (`found/iio.rs`) and those who capture from it
//! (`configured/capture`), so that both say the same.

use std::collections::BTreeSet;

use crate::telemetry::{Channel, Kind};

/// What a type of channel measures.
#[derive(Debug, PartialEq)]
pub(super) struct Quantity {
    /// The type's name in the document.
    name: &'static str,
    /// A SenML unit; empty where there is none.
    pub unit: &'static str,
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

/// What turns a number in the document's unit into one of ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Factor {
    times: f64,
    over: f64,
}

impl Factor {
    pub(super) fn apply(self, number: f64) -> f64 {
        number * self.times / self.over
    }
}

/// A channel among the files of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Input<'a> {
    /// The file with the number: `in_voltage0_raw`.
    pub file: &'a str,
    /// Its part that the channel's other files share: `in_voltage0`.
    pub base: &'a str,
    /// Its type, when it is one that we know.
    kind: Option<&'static str>,
    /// Whether scale and offset apply.
    pub raw: bool,
}

impl<'a> Input<'a> {
    /// The channel whose value is in this file.
    pub(super) fn parse(file: &'a str) -> Option<Self> {
        let (base, raw) = match file.strip_suffix("_input") {
            Some(base) => (base, false),
            None => (file.strip_suffix("_raw")?, true),
        };
        Self::of(file, base, raw)
    }

    /// The channel that this file switches on in a buffer: `in_accel_x_en`.
    pub(super) fn element(file: &'a str) -> Option<Self> {
        Self::of(file, file.strip_suffix("_en")?, true)
    }

    fn of(file: &'a str, base: &'a str, raw: bool) -> Option<Self> {
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

    /// How it is described: under this name, as a channel of this device, with
    /// the label that firmware gives it; and how its number, times its scale
    /// where it is raw, becomes a value of that unit.
    pub(super) fn describe(
        &self,
        name: &str,
        device: &str,
        label: Option<&str>,
        scaled: bool,
    ) -> Option<(Channel, Factor)> {
        let kind = match self.kind {
            _ if self.is_text() => Kind::State,
            Some("steps") => Kind::Counter,
            _ => Kind::Gauge,
        };
        // A number of unknown size has no unit, and is not converted; unless it is
        // a count of things.
        let known = |quantity: &&Quantity| !self.raw || scaled || quantity.unit == "count";
        let quantity = self.quantity().filter(known);
        let shown = label.map_or_else(|| self.words(), str::to_owned);
        let shown: String = shown.chars().take(32).collect();
        let mut channel = Channel::new(kind, name).ok()?;
        channel = channel.label(format!("{device} {shown}")).single_precision();
        if let Some(quantity) =
            quantity.filter(|quantity| !quantity.unit.is_empty() && !self.is_text())
        {
            channel = channel.unit(quantity.unit);
            // Of air; the rest of what they can measure is the sensor's own.
            if quantity.unit == "%RH" {
                channel = channel.range(0.0, 100.0);
            }
        }
        let (times, over) = quantity.map_or((1.0, 1.0), |quantity| (quantity.times, quantity.over));
        Some((channel, Factor { times, over }))
    }

    /// Several numbers at once, which are told as they stand.
    pub(super) fn is_text(&self) -> bool {
        self.base.contains("quaternion")
    }

    pub(super) fn quantity(&self) -> Option<&'static Quantity> {
        let quantity = QUANTITIES.iter().find(|quantity| Some(quantity.name) == self.kind)?;
        // Of air, oxygen is percents; all other gases are a few in a million.
        const OXYGEN: Quantity = of("concentration", "%");
        let oxygen = self.kind == Some("concentration") && self.base.ends_with("_o2");
        Some(if oxygen { const { &OXYGEN } } else { quantity })
    }

    /// For people: `acceleration x`, `voltage 0-1`, `humidity`.
    pub(super) fn words(&self) -> String {
        let Some(quantity) = self.quantity() else { return self.shown().to_owned() };
        let (direction, channel) = self.base.split_once('_').unwrap_or_default();
        let rest = channel.strip_prefix(quantity.name).unwrap_or_default();
        let rest = rest.replace(&format!("-{}", quantity.name), "-").replace('_', " ");
        let output = if direction == "out" { "output " } else { "" };
        format!("{output}{} {}", quantity.word, rest.trim()).trim_end().to_owned()
    }

    /// `voltage0` of `in_voltage0`; an output keeps its direction.
    pub(super) fn shown(&self) -> &'a str {
        self.base.strip_prefix("in_").unwrap_or(self.base)
    }
}

/// The file with an attribute of a channel: its own, or one that several
/// channels share. `in_voltage0-voltage1` shares `in_voltage-voltage`,
/// `in_accel_x` shares `in_accel`, and `in_voltage3_supply` `in_voltage`.
pub(super) fn shared(names: &BTreeSet<&str>, input: &Input<'_>, attribute: &str) -> Option<String> {
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
        let text = include_str!("../../docs/channels.md");
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
