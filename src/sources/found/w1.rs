//! Thermometers on a 1-Wire bus: DS18B20 and its kin.
//!
//! ```text
//! $ cat /sys/bus/w1/devices/28-0316a2794bff/w1_slave
//! 72 01 55 05 7f a5 a5 66 b9 : crc=b9 YES
//! 72 01 55 05 7f a5 a5 66 b9 t=23125
//! ```
//!
//! The nine bytes of the sensor's memory, whether its checksum was right, and
//! 1/1000 °C (Documentation/w1/slaves/w1_therm.rst). Reading it lets the sensor
//! measure, which takes 750 ms; so all sensors of a bus are read one after the
//! other, each 5 s. Where the sensor did not answer, the driver gives an empty
//! file (drivers/w1/slaves/w1_therm.c, `w1_slave_show`).
//!
//! **85 °C** is what stands in a sensor's memory when it was just switched on
//! (DS18B20 data sheet, "Operation: measuring temperature"): after a voltage
//! drop, or when it gets too little of it to measure. Byte 6 tells it from a
//! measurement of 85 °C: 0x0c after power-on, else 0x10 (w1_therm.rst, feature
//! bit 0, which also knows 127.94 °C, "insufficient power"). On DS18S20 and on
//! copies byte 6 tells nothing; so such a value counts when the sensor measured
//! nearly as much just before, and otherwise is an error that says what it may
//! be.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::files::Files;
use crate::{
    sources::{
        Readings,
        isolated::{Device, Round, Watch},
        vitals::file::quoted,
    },
    telemetry::{Channel, Value},
};

/// The families of thermometers (drivers/w1/slaves/w1_therm.c,
/// `w1_therm_families`): DS18S20, DS1822, DS18B20, DS1825, DS28EA00.
const FAMILIES: [&str; 5] = ["10-", "22-", "28-", "3b-", "42-"];

/// The most sensors of one bus that are read; with 750 ms each, they take 48 s.
const MAX_SENSORS: usize = 64;

/// How near a measurement must be to the last one to be believed although it
/// looks like no measurement, in °C.
const NEAR: f64 = 5.0;

/// The sensors of one bus.
#[derive(Debug)]
pub(super) struct Bus {
    folder: PathBuf,
    files: Files,
    /// By the sensor's number on the bus.
    sensors: BTreeMap<String, Thermometer>,
    /// Those that are still to be read in this round.
    left: Vec<String>,
}

#[derive(Debug)]
struct Thermometer {
    channel: Channel,
    /// The last temperature that counted, in °C.
    last: Option<f64>,
}

impl Bus {
    /// The bus whose sensors are listed in `folder`.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, files: Files::default(), sensors: BTreeMap::new(), left: Vec::new() }
    }

    /// Begins a round: looks which sensors there are. The driver searches the
    /// bus by itself, every 10 s.
    fn list(&mut self, watch: &Watch, readings: &mut Readings) {
        let mut present = Files::list(watch, &self.folder);
        present.retain(|id| FAMILIES.iter().any(|family| id.starts_with(family)));
        present.truncate(MAX_SENSORS);
        self.sensors.retain(|id, _| present.contains(id));
        for id in &present {
            if self.sensors.contains_key(id) {
                continue;
            }
            let name = format!("w1/{}/temperature", crate::telemetry::Levels::default().level(id));
            let Ok(channel) = Channel::gauge(&name) else { continue };
            let channel = channel.unit("Cel").single_precision();
            let described = channel.clone().label(format!("Temperature {id}")).range(-55.0, 125.0);
            readings.push(Ok(described), Value::Null);
            self.sensors.insert(id.clone(), Thermometer { channel, last: None });
        }
        present.reverse();
        self.left = present;
    }
}

impl Device for Bus {
    /// The list, and then a sensor at a time, each of its own instant.
    fn read(&mut self, watch: &Watch, readings: &mut Readings) -> Round {
        let Some(id) = self.left.pop() else {
            self.list(watch, readings);
            return if self.left.is_empty() { Round::Done } else { Round::More };
        };
        if let Some(sensor) = self.sensors.get_mut(&id) {
            sensor.read(watch, &mut self.files, &self.folder.join(&id), readings);
        }
        if self.left.is_empty() { Round::Done } else { Round::More }
    }
}

impl Thermometer {
    fn read(&mut self, watch: &Watch, files: &mut Files, folder: &Path, readings: &mut Readings) {
        let slave = folder.join("w1_slave");
        let mut found = files.read(watch, &slave, |text| parse(text, self.last));
        if found == Ok(None) {
            let plain =
                |text: &str| believed(super::files::number(text)? / 1000.0, true, self.last);
            found = files.read(watch, &folder.join("temperature"), plain);
        }
        if let Ok(Some(celsius)) = found {
            self.last = Some(celsius);
        }
        super::sensor::tell(&self.channel, found, readings);
    }
}

/// Of the two lines, °C. `last` is the last one that counted.
fn parse(text: &str, last: Option<f64>) -> Result<f64, String> {
    if text.trim().is_empty() {
        return Err(
            "the sensor does not answer: check the cable, and the 4.7 kΩ from data to 3.3 V".into(),
        );
    }
    let odd = || format!("not a reading of 1-Wire: {}", quoted(text));
    let (first, second) = text.split_once('\n').ok_or_else(odd)?;
    let (bytes, verdict) = first.split_once(':').ok_or_else(odd)?;
    let bytes: Vec<u8> = bytes
        .split_ascii_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()
        .map_err(|_| odd())?;
    let bytes: [u8; 9] = bytes.try_into().map_err(|_| odd())?;
    // Nine zeroes have the right checksum.
    if bytes == [0; 9] {
        return Err(
            "only zeroes arrive: the data line is shorted to ground, or the sensor has no supply"
                .into(),
        );
    }
    if bytes == [0xff; 9] {
        return Err("only ones arrive: the sensor does not answer; check the cable".into());
    }
    if !verdict.trim_end().ends_with("YES") {
        return Err(
            "the checksum is wrong: check the cable, and the 4.7 kΩ from data to 3.3 V".into()
        );
    }
    let (_, millidegrees) = second.rsplit_once("t=").ok_or_else(odd)?;
    let celsius = super::files::number(millidegrees)? / 1000.0;
    believed(celsius, bytes[6] == 0x0c, last)
}

/// A temperature, unless it is what a sensor says that has not measured.
/// `suspect`: nothing else tells both apart.
fn believed(celsius: f64, suspect: bool, last: Option<f64>) -> Result<f64, String> {
    let near = last.is_some_and(|last| (last - celsius).abs() <= NEAR);
    if !suspect || near {
        return in_range(celsius);
    }
    // 0x0550 and 0x07ff sixteenths.
    if celsius == 85.0 {
        return Err("85 °C, which a sensor says that was just switched on and has not measured: \
             check its supply, and the 4.7 kΩ from data to 3.3 V"
            .into());
    }
    if (127.9..128.0).contains(&celsius) {
        return Err("127.94 °C, which a sensor says that gets too little power to measure: \
             check its supply"
            .into());
    }
    in_range(celsius)
}

/// What the data sheets promise, and a little.
fn in_range(celsius: f64) -> Result<f64, String> {
    if (-60.0..=130.0).contains(&celsius) {
        Ok(celsius)
    } else {
        Err(format!("{celsius} °C is no temperature that such a sensor can measure"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slave(bytes: &str, verdict: &str, t: i32) -> String {
        format!("{bytes} : crc=b9 {verdict}\n{bytes} t={t}\n")
    }

    const GOOD: &str = "72 01 55 05 7f a5 a5 66 b9";
    /// DS18B20 data sheet, "Memory": the state after power-on.
    const POWER_ON: &str = "50 05 4b 46 7f ff 0c 10 1c";

    #[test]
    fn a_reading_is_its_temperature() {
        assert_eq!(parse(&slave(GOOD, "YES", 23125), None), Ok(23.125));
        assert_eq!(parse(&slave("5e ff 55 05 7f a5 81 66 b9", "YES", -10125), None), Ok(-10.125));
    }

    #[test]
    fn what_is_wrong_with_the_bus_is_told_apart() {
        for (text, word) in [
            (slave(GOOD, "NO", 23125), "checksum"),
            (slave("00 00 00 00 00 00 00 00 00", "YES", 0), "shorted"),
            (slave("ff ff ff ff ff ff ff ff ff", "NO", -62), "does not answer"),
            (String::new(), "does not answer"),
            (slave("ff 07 4b 46 7f ff 0c 10 1c", "YES", 127_937), "too little power"),
            (slave(GOOD, "YES", 999_999), "no temperature"),
        ] {
            let why = parse(&text, None).expect_err("no reading");
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn the_value_of_power_on_is_no_reading_unless_the_sensor_was_that_hot() {
        let power_on = slave(POWER_ON, "YES", 85000);
        for last in [None, Some(23.0), Some(79.9)] {
            let why = parse(&power_on, last).expect_err("no reading");
            assert!(why.starts_with("85 °C") && why.contains("supply"), "{why}");
        }
        // A copy whose byte 6 never changes, in hot water.
        assert_eq!(parse(&power_on, Some(84.5)), Ok(85.0));
        // A measurement.
        assert_eq!(parse(&slave("50 05 4b 46 7f ff 10 10 1c", "YES", 85000), None), Ok(85.0));
        // Byte 6 alone is no fault.
        assert_eq!(parse(&slave("91 01 4b 46 7f ff 0c 10 25", "YES", 25062), None), Ok(25.062));
    }

    #[test]
    fn garbage_is_no_reading() {
        let huge = "72 ".repeat(5000);
        for text in [
            "\n",
            "x",
            "x\ny",
            ": YES\nt=1",
            "72 : YES\nt=1",
            &huge,
            "72 01 55 05 7f a5 a5 66 b9 : YES\n",
        ] {
            assert!(parse(text, None).is_err(), "{text:?}");
        }
        assert!(parse(&slave("zz 01 55 05 7f a5 a5 66 b9", "YES", 1), None).is_err());
        assert!(parse(&slave(GOOD, "YES", 1).replace("t=1", "t="), None).is_err());
    }
}
