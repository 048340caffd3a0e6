//! Batteries, chargers and other supplies of `/sys/class/power_supply`.
//!
//! ```text
//! $ cat /sys/class/power_supply/BAT0/uevent
//! POWER_SUPPLY_NAME=BAT0
//! POWER_SUPPLY_TYPE=Battery
//! POWER_SUPPLY_STATUS=Discharging
//! POWER_SUPPLY_CAPACITY=87
//! POWER_SUPPLY_VOLTAGE_NOW=12345000
//! ```
//!
//! Its `uevent` has all properties at once that the driver can read, in the
//! units of Documentation/ABI/testing/sysfs-class-power: µV, µA, µW, µWh, µAh,
//! tenths of a degree, seconds (Documentation/power/power_supply_class.rst,
//! "Units"). Names: `supply/<supply>/<property>`.

use std::path::PathBuf;

use super::files::{Files, number};
use crate::{
    sources::{
        Readings,
        isolated::{Device, Round, Watch},
    },
    telemetry::{Channel, Kind, Value},
};

/// What becomes a channel, in the order in which it is shown.
const PROPERTIES: [Property; 18] = [
    state("STATUS", "status", "status", Form::Text),
    state("ONLINE", "online", "connected", Form::Truth),
    state("PRESENT", "present", "present", Form::Truth),
    state("HEALTH", "health", "health", Form::Text),
    gauge("CAPACITY", "capacity", "charge level", "%EL", 1.0),
    gauge("VOLTAGE_NOW", "voltage", "voltage", "V", 1e6),
    gauge("CURRENT_NOW", "current", "current", "A", 1e6),
    gauge("POWER_NOW", "power", "power", "W", 1e6),
    gauge("TEMP", "temperature", "temperature", "Cel", 10.0),
    gauge("ENERGY_NOW", "energy", "energy", "Wh", 1e6),
    gauge("ENERGY_FULL", "energy_full", "energy when full", "Wh", 1e6),
    gauge("ENERGY_FULL_DESIGN", "energy_design", "energy when new", "Wh", 1e6),
    gauge("CHARGE_NOW", "charge", "charge", "Ah", 1e6),
    gauge("CHARGE_FULL", "charge_full", "charge when full", "Ah", 1e6),
    gauge("CHARGE_FULL_DESIGN", "charge_design", "charge when new", "Ah", 1e6),
    gauge("TIME_TO_EMPTY_NOW", "time_to_empty", "time to empty", "s", 1.0),
    gauge("TIME_TO_FULL_NOW", "time_to_full", "time to full", "s", 1.0),
    Property {
        key: "CYCLE_COUNT",
        level: "cycles",
        label: "cycles",
        form: Form::Number { kind: Kind::Counter, unit: "count", divisor: 1.0 },
    },
];

/// A property and the channel that it becomes.
#[derive(Clone, Copy, Debug)]
struct Property {
    /// Behind `POWER_SUPPLY_`.
    key: &'static str,
    level: &'static str,
    label: &'static str,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Text,
    /// 0 or 1; a charger that says 2 is programmable, and on.
    Truth,
    Number {
        kind: Kind,
        unit: &'static str,
        divisor: f64,
    },
}

const fn state(
    key: &'static str,
    level: &'static str,
    label: &'static str,
    form: Form,
) -> Property {
    Property { key, level, label, form }
}

const fn gauge(
    key: &'static str,
    level: &'static str,
    label: &'static str,
    unit: &'static str,
    divisor: f64,
) -> Property {
    Property { key, level, label, form: Form::Number { kind: Kind::Gauge, unit, divisor } }
}

/// One supply.
#[derive(Debug)]
pub(super) struct Supply {
    path: PathBuf,
    level: String,
    name: String,
    files: Files,
}

impl Supply {
    pub(super) fn new(folder: &std::path::Path, level: String, name: String) -> Self {
        Self { path: folder.join("uevent"), level, name, files: Files::default() }
    }

    fn channel(&self, property: &Property) -> crate::Result<Channel> {
        let name = format!("supply/{}/{}", self.level, property.level);
        let label = format!("{} {}", self.name, property.label);
        let channel = match property.form {
            Form::Number { kind, unit, .. } => {
                Channel::new(kind, &name)?.unit(unit).single_precision()
            }
            Form::Text | Form::Truth => Channel::state(&name)?,
        };
        let percents = property.key == "CAPACITY";
        let channel = channel.label(label);
        Ok(if percents { channel.range(0.0, 100.0) } else { channel })
    }
}

impl Device for Supply {
    fn read(&mut self, watch: &Watch, readings: &mut Readings) -> Round {
        let properties = self.files.read(watch, &self.path, |text| Ok(parse(text)));
        match properties {
            Ok(Some(properties)) => {
                for (property, value) in properties {
                    match value {
                        Ok(value) => readings.push(self.channel(property), value),
                        Err(why) => readings.fail(
                            self.channel(property),
                            format!("{}: {why}", self.path.display()),
                        ),
                    }
                }
            }
            Ok(None) => {}
            Err(reason) => readings.fail(self.channel(&PROPERTIES[0]), reason),
        }
        Round::Done
    }
}

/// The properties that a supply has.
fn parse(text: &str) -> Vec<(&'static Property, Result<Value, String>)> {
    let value = |property: &'static Property| {
        let value = text.lines().find_map(|line| {
            line.strip_prefix("POWER_SUPPLY_")?.strip_prefix(property.key)?.strip_prefix('=')
        })?;
        let value = match property.form {
            Form::Text => Ok(Value::from(value.trim())),
            Form::Truth => number(value).map(|number| Value::from(number != 0.0)),
            Form::Number { divisor, .. } => {
                number(value).map(|number| Value::from(number / divisor))
            }
        };
        Some((property, value))
    };
    PROPERTIES.iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(&'static str, Result<Value, String>)> {
        parse(text).into_iter().map(|(property, value)| (property.level, value)).collect()
    }

    #[test]
    fn a_supply_has_the_properties_that_its_driver_reads() {
        let text = "DEVTYPE=power_supply\nPOWER_SUPPLY_NAME=BAT0\nPOWER_SUPPLY_STATUS=Not charging\n\
                    POWER_SUPPLY_TEMP=-15\nPOWER_SUPPLY_VOLTAGE_NOW=12345000\nPOWER_SUPPLY_ONLINE=2\n\
                    POWER_SUPPLY_VOLTAGE_NOW_X=1\n";
        assert_eq!(
            parsed(text),
            [
                ("status", Ok(Value::from("Not charging"))),
                ("online", Ok(Value::from(true))),
                ("voltage", Ok(Value::from(12.345))),
                ("temperature", Ok(Value::from(-1.5))),
            ]
        );
    }

    #[test]
    fn what_is_no_number_fails_alone() {
        assert_eq!(parsed(""), []);
        assert_eq!(parsed("\0\n=\nPOWER_SUPPLY_\nPOWER_SUPPLY_CAPACITY"), []);
        let parsed = parsed("POWER_SUPPLY_CAPACITY=\nPOWER_SUPPLY_PRESENT=1\n");
        assert!(parsed[1].1.as_ref().is_err_and(|why| why.starts_with("not a number")));
        assert_eq!(parsed[0], ("present", Ok(Value::from(true))));
    }
}
