//! SenML units (RFC 8428 section 12.1, RFC 8798) as Home Assistant knows them:
//! its word for the unit, and the device class of what is measured in it
//! (<https://www.home-assistant.io/integrations/sensor/#device-class>).
//!
//! A class says what a unit can be, so where one unit serves many things (`%`,
//! `dB`) there is none.

use crate::telemetry::Kind;

/// How Home Assistant shows a quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown<'a> {
    pub(super) unit: Option<&'a str>,
    pub(super) class: Option<&'static str>,
}

/// A unit; Home Assistant's word for it; the class of a gauge, and of a
/// counter, where it takes sums of that class.
type Row = (&'static str, &'static str, &'static str, &'static str);

const TABLE: &[Row] = &[
    ("%RH", "%", "humidity", ""),
    ("%EL", "%", "battery", ""),
    ("A", "A", "current", ""),
    ("B", "B", "data_size", "data_size"),
    ("B/s", "B/s", "data_rate", ""),
    ("Cel", "°C", "temperature", ""),
    ("GB", "GB", "data_size", "data_size"),
    ("Hz", "Hz", "frequency", ""),
    ("J", "J", "energy_storage", "energy"),
    ("K", "K", "temperature", ""),
    ("KiB", "KiB", "data_size", "data_size"),
    ("MB/s", "MB/s", "data_rate", ""),
    ("MHz", "MHz", "frequency", ""),
    ("Mbit/s", "Mbit/s", "data_rate", ""),
    ("Ohm", "Ω", "", ""),
    ("Pa", "Pa", "pressure", ""),
    ("V", "V", "voltage", ""),
    ("VA", "VA", "apparent_power", ""),
    ("W", "W", "power", ""),
    ("W/m2", "W/m²", "irradiance", ""),
    ("Wh", "Wh", "energy_storage", "energy"),
    ("bit", "bit", "data_size", "data_size"),
    ("bit/s", "bit/s", "data_rate", ""),
    ("cm", "cm", "distance", "distance"),
    ("dBm", "dBm", "signal_strength", ""),
    ("deg", "°", "", ""),
    ("g", "g", "weight", "weight"),
    ("h", "h", "duration", "duration"),
    ("hPa", "hPa", "pressure", ""),
    ("kW", "kW", "power", ""),
    ("kWh", "kWh", "energy_storage", "energy"),
    ("kg", "kg", "weight", "weight"),
    ("km", "km", "distance", "distance"),
    ("km/h", "km/h", "speed", ""),
    ("l", "L", "volume_storage", "volume"),
    ("lx", "lx", "illuminance", ""),
    ("m", "m", "distance", "distance"),
    ("m/s", "m/s", "speed", ""),
    ("m/s2", "m/s²", "", ""),
    ("m2", "m²", "", ""),
    ("m3", "m³", "volume_storage", "volume"),
    ("mA", "mA", "current", ""),
    ("mV", "mV", "voltage", ""),
    ("min", "min", "duration", "duration"),
    ("mm", "mm", "distance", "distance"),
    ("ms", "ms", "duration", "duration"),
    ("pH", "", "ph", ""),
    ("s", "s", "duration", "duration"),
    ("ug/m3", "μg/m³", "", ""),
    ("var", "var", "reactive_power", ""),
    // Numbers of things and ratios have no unit there.
    ("/", "", "", ""),
    ("EL", "", "", ""),
    ("count", "", "", ""),
];

/// How a quantity in this unit is shown; a unit that is not in the table stays
/// as it is.
pub(super) fn shown(unit: Option<&str>, kind: Kind) -> Shown<'_> {
    let some = |text: &'static str| Some(text).filter(|text| !text.is_empty());
    let row = unit.and_then(|unit| TABLE.iter().find(|row| row.0 == unit));
    match row {
        Some(&(_, unit, _, class)) if kind == Kind::Counter => {
            Shown { unit: some(unit), class: some(class) }
        }
        Some(&(_, unit, class, _)) => Shown { unit: some(unit), class: some(class) },
        None => Shown { unit, class: None },
    }
}
