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
        iio::{Factor, Input, shared},
        isolated::{Device, Round, Watch},
    },
    telemetry::{Levels, Value},
};

/// The most channels of one device.
const MAX_CHANNELS: usize = 64;

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
    factor: Factor,
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
        let name = format!("iio/{}/{level}", self.level);
        let (channel, factor) = input.describe(&name, &self.device, label, scale.is_some())?;
        let sensor = Sensor { path: self.folder.join(input.file), channel };
        Some(Converter { sensor, offset, scale, factor, text: input.is_text() })
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
        Ok(Some(Value::from(self.factor.apply(measured))))
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
