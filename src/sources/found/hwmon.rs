//! The sensors of `/sys/class/hwmon`: temperatures, fans, voltages, currents.
//!
//! ```text
//! hwmon2/name           ina219
//! hwmon2/in1_input      5112       mV
//! hwmon2/curr1_input    -330       mA
//! hwmon0/name           coretemp
//! hwmon0/temp2_label    Core 0
//! hwmon0/temp2_input    47000      1/1000 °C
//! hwmon0/temp2_crit     100000     the same: what must not be passed
//! hwmon0/temp2_fault    1          the sensor is broken or not there
//! ```
//!
//! Documentation/hwmon/sysfs-interface.rst has all kinds with their units.
//! `pwmN` is what a fan is driven with, 0 to 255.
//!
//! Names: `hwmon/<chip>/<label>`, without a label `hwmon/<chip>/temp2`. Chips
//! that measure voltage and current of the same rail label both alike; then
//! both have the file's name behind the label: `VDD_in1`, `VDD_curr1`.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
};

use super::{
    files::Files,
    sensor::{Sensor, describe},
};
use crate::{
    sources::{
        Readings,
        isolated::{Device, Round, Watch},
    },
    telemetry::{Channel, Kind, Levels},
};

/// The most sensors of one chip.
const MAX_SENSORS: usize = 64;

/// What temperatures are limits, in °C. Disks that have none say -273.15 and
/// 65,261 °C (0 and 65,535 K: NVMe base specification, "Temperature Threshold").
const LIMITS: std::ops::Range<f64> = -273.0..1000.0;

/// A kind of sensor.
#[derive(Debug)]
struct Quantity {
    /// What its files begin with.
    prefix: &'static str,
    unit: &'static str,
    /// What the file's number is divided by to get the unit.
    divisor: f64,
    kind: Kind,
    /// Its word for people.
    word: &'static str,
}

const fn gauge(
    prefix: &'static str,
    unit: &'static str,
    divisor: f64,
    word: &'static str,
) -> Quantity {
    Quantity { prefix, unit, divisor, kind: Kind::Gauge, word }
}

/// In the order in which they are shown.
const QUANTITIES: [Quantity; 9] = [
    gauge("temp", "Cel", 1e3, "temperature"),
    gauge("humidity", "%RH", 1e3, "humidity"),
    gauge("fan", "1/min", 1.0, "fan"),
    gauge("pwm", "%", 2.55, "fan drive"),
    gauge("in", "V", 1e3, "voltage"),
    gauge("curr", "A", 1e3, "current"),
    gauge("power", "W", 1e6, "power"),
    Quantity { prefix: "energy", unit: "J", divisor: 1e6, kind: Kind::Counter, word: "energy" },
    gauge("freq", "Hz", 1.0, "frequency"),
];

/// One chip.
#[derive(Debug)]
pub(super) struct Hwmon {
    folder: PathBuf,
    /// Its level, which the scan has made of `chip`.
    level: String,
    chip: String,
    files: Files,
    sensors: Option<Vec<Probe>>,
}

#[derive(Debug)]
struct Probe {
    sensor: Sensor,
    divisor: f64,
    /// Says that the sensor is broken, where the chip can tell.
    fault: Option<PathBuf>,
}

impl Hwmon {
    /// Whether a chip with these files measures anything.
    pub(super) fn measures(names: &[String]) -> bool {
        !inputs(&names.iter().map(String::as_str).collect()).is_empty()
    }

    pub(super) fn new(folder: PathBuf, level: String, chip: String) -> Self {
        Self { folder, level, chip, files: Files::default(), sensors: None }
    }

    fn open(&mut self, watch: &Watch) -> Vec<Probe> {
        let names = Files::list(watch, &self.folder);
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let inputs = inputs(&names);
        let labels: Vec<_> =
            inputs.iter().map(|input| self.line(watch, &names, input.name(), "label")).collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for label in labels.iter().flatten() {
            *counts.entry(label).or_default() += 1;
        }
        let mut levels = Levels::default();
        let mut probes = Vec::with_capacity(inputs.len());
        for (input, label) in inputs.iter().zip(&labels) {
            let name = input.name();
            let level = levels.level(&match label {
                Some(label) if counts[label.as_str()] > 1 => format!("{label}_{name}"),
                Some(label) => label.clone(),
                None => name.clone(),
            });
            let shown = match label {
                Some(label) => format!("{} {label}", self.chip),
                None => format!("{} {} {}", self.chip, input.quantity.word, input.number),
            };
            let Quantity { unit, divisor, kind, .. } = *input.quantity;
            let name_of = format!("hwmon/{}/{level}", self.level);
            let Ok(channel) = Channel::new(kind, &name_of) else { continue };
            let mut channel = channel.unit(unit).label(shown).single_precision();
            (channel.min, channel.max) = self.limits(watch, &names, input);
            let fault = Some(format!("{name}_fault")).filter(|file| names.contains(file.as_str()));
            probes.push(Probe {
                sensor: Sensor { path: self.folder.join(input.file), channel },
                divisor,
                fault: fault.map(|file| self.folder.join(file)),
            });
        }
        probes
    }

    fn line(
        &mut self,
        watch: &Watch,
        names: &BTreeSet<&str>,
        name: String,
        attribute: &str,
    ) -> Option<String> {
        let file = name + "_" + attribute;
        if !names.contains(file.as_str()) {
            return None;
        }
        // As long as a level may be, and not one that fills the page.
        let line = self.files.line(watch, &self.folder.join(file))?;
        Some(line.chars().take(32).collect())
    }

    /// The least and the greatest value: what is critical, else what is
    /// normal.
    fn limits(
        &mut self,
        watch: &Watch,
        names: &BTreeSet<&str>,
        input: &Input<'_>,
    ) -> (Option<f64>, Option<f64>) {
        if input.quantity.prefix == "pwm" {
            return (Some(0.0), Some(100.0));
        }
        let mut limit = |attributes: [&str; 2]| {
            attributes.iter().find_map(|attribute| {
                let text = self.line(watch, names, input.name(), attribute)?;
                let limit = super::files::number(&text).ok()? / input.quantity.divisor;
                let sane = input.quantity.unit != "Cel" || LIMITS.contains(&limit);
                sane.then_some(limit)
            })
        };
        match (limit(["lcrit", "min"]), limit(["crit", "max"])) {
            (Some(min), Some(max)) if min >= max => (None, None),
            // Never set.
            (None, Some(0.0)) => (None, None),
            limits => limits,
        }
    }
}

impl Device for Hwmon {
    fn read(&mut self, watch: &Watch, readings: &mut Readings) -> Round {
        let Some(probes) = &self.sensors else {
            let mut probes = self.open(watch);
            describe(probes.iter_mut().map(|probe| &mut probe.sensor.channel), readings);
            self.sensors = Some(probes);
            return Round::More;
        };
        for Probe { sensor, divisor, fault } in probes {
            let broken = fault.as_ref().and_then(|file| {
                let fault = self.files.number(watch, file).ok().flatten()? != 0.0;
                fault.then(|| {
                    format!(
                        "{}: the chip says that the sensor is broken or not connected",
                        file.display()
                    )
                })
            });
            let found = match broken {
                Some(reason) => Err(reason),
                None => self.files.number(watch, &sensor.path),
            };
            let pwm = sensor.channel.unit.as_deref() == Some("%");
            let scaled = |number: f64| {
                let scaled = number / divisor;
                if pwm { (scaled * 10.0).round() / 10.0 } else { scaled }
            };
            sensor.tell(found.map(|number| number.map(scaled)), readings);
        }
        Round::Done
    }
}

/// A sensor's file: `temp2_input`.
#[derive(Debug)]
struct Input<'a> {
    quantity: &'static Quantity,
    number: u32,
    file: &'a str,
}

impl Input<'_> {
    /// `temp2`.
    fn name(&self) -> String {
        format!("{}{}", self.quantity.prefix, self.number)
    }
}

/// The sensors among the names of a chip's folder, in the order of kinds and
/// numbers.
fn inputs<'a>(names: &BTreeSet<&'a str>) -> Vec<Input<'a>> {
    let input = |file: &&'a str| {
        let (name, attribute) = file.split_once('_').unwrap_or((file, ""));
        let (order, quantity, number) =
            QUANTITIES.iter().enumerate().find_map(|(order, quantity)| {
                let digits = name.strip_prefix(quantity.prefix)?;
                // Also no "+1", which Rust takes for a number.
                let number =
                    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
                Some((order, quantity, number))
            })?;
        let is_input = match (quantity.prefix, attribute) {
            ("pwm", "") => true,
            ("pwm", _) => false,
            (_, "input") => true,
            // Chips that only average have no input (sysfs-interface.rst, "Power").
            ("power", "average") => !names.contains(format!("{name}_input").as_str()),
            _ => false,
        };
        is_input.then_some((order, Input { quantity, number, file }))
    };
    let mut inputs: Vec<_> = names.iter().filter_map(input).collect();
    inputs.sort_by_key(|(order, input)| (*order, input.number));
    inputs.into_iter().map(|(_, input)| input).take(MAX_SENSORS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_kinds_is_in_the_documentation() {
        let text = include_str!("../../../docs/channels.md");
        for Quantity { prefix, unit, .. } in &QUANTITIES {
            assert!(text.contains(&format!("\n| {prefix} | `{unit}` |")), "{prefix}");
        }
    }

    fn files(names: &[&'static str]) -> Vec<&'static str> {
        let names = names.iter().copied().collect();
        inputs(&names).into_iter().map(|input| input.file).collect()
    }

    #[test]
    fn sensors_are_told_by_kind_and_number_and_limits_are_none() {
        assert_eq!(
            files(&[
                "in10_input",
                "in2_input",
                "in2_max",
                "temp1_input",
                "temp1_crit",
                "intrusion0_alarm",
                "name",
                "pwm1",
                "pwm1_enable",
                "fan1_input",
                "fan1_div",
                "device",
                "power",
                "in0_min",
            ]),
            ["temp1_input", "fan1_input", "pwm1", "in2_input", "in10_input"]
        );
        assert_eq!(
            files(&["power1_average", "power2_average", "power2_input"]),
            ["power1_average", "power2_input"]
        );
        let odd = [
            "_input",
            "temp_input",
            "temp+1_input",
            "temp-1_input",
            "temp99999999999_input",
            "tempx_input",
            "in",
        ];
        assert_eq!(files(&odd), [""; 0]);
    }
}
