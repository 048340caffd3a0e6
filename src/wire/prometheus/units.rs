//! From SenML's units (RFC 8428 section 12.1, RFC 8798) to those that
//! Prometheus wants in names: base units, written out.
//!
//! <https://prometheus.io/docs/practices/naming/#base-units>

/// What a unit is in Prometheus.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Base {
    /// The end of a metric's name, without `_`; empty: none.
    pub name: &'static str,
    times: f64,
    over: f64,
}

impl Base {
    /// A number without a unit.
    pub(super) const NONE: Self = Self { name: "", times: 1.0, over: 1.0 };

    /// A reading in the base unit. Divided by whole powers of ten, so that
    /// 48.3 % is 0.483 to the last digit.
    pub(super) fn scale(self, reading: f64) -> f64 {
        reading * self.times / self.over
    }
}

/// The base unit; `None` where it is none that we know.
pub(super) fn base_of(unit: &str) -> Option<Base> {
    let (_, name, times, over) = *UNITS.iter().find(|(known, ..)| *known == unit)?;
    Some(Base { name, times, over })
}

/// Unit, base unit, and the base units in one unit: times, divided by.
const UNITS: [(&str, &str, f64, f64); 105] = [
    ("", "", 1.0, 1.0),
    ("count", "", 1.0, 1.0),
    // Shares.
    ("/", "ratio", 1.0, 1.0),
    ("%", "ratio", 1.0, 100.0),
    ("%RH", "ratio", 1.0, 100.0),
    ("%EL", "ratio", 1.0, 100.0),
    ("/100", "ratio", 1.0, 100.0),
    ("/1000", "ratio", 1.0, 1e3),
    ("ppm", "ratio", 1.0, 1e6),
    // Time.
    ("s", "seconds", 1.0, 1.0),
    ("ms", "seconds", 1.0, 1e3),
    ("us", "seconds", 1.0, 1e6),
    ("ns", "seconds", 1.0, 1e9),
    ("min", "seconds", 60.0, 1.0),
    ("h", "seconds", 3600.0, 1.0),
    ("d", "seconds", 86_400.0, 1.0),
    ("EL", "seconds", 1.0, 1.0),
    ("Hz", "hertz", 1.0, 1.0),
    ("kHz", "hertz", 1e3, 1.0),
    ("MHz", "hertz", 1e6, 1.0),
    ("GHz", "hertz", 1e9, 1.0),
    ("1/s", "per_second", 1.0, 1.0),
    ("1/min", "per_second", 1.0, 60.0),
    ("beat/min", "per_second", 1.0, 60.0),
    ("beats", "", 1.0, 1.0),
    // Bytes.
    ("B", "bytes", 1.0, 1.0),
    ("kB", "bytes", 1e3, 1.0),
    ("KiB", "bytes", 1024.0, 1.0),
    ("MB", "bytes", 1e6, 1.0),
    ("MiB", "bytes", 1_048_576.0, 1.0),
    ("GB", "bytes", 1e9, 1.0),
    ("GiB", "bytes", 1_073_741_824.0, 1.0),
    ("bit", "bytes", 1.0, 8.0),
    ("B/s", "bytes_per_second", 1.0, 1.0),
    ("MB/s", "bytes_per_second", 1e6, 1.0),
    ("bit/s", "bytes_per_second", 1.0, 8.0),
    ("Mbit/s", "bytes_per_second", 125_000.0, 1.0),
    // Heat, weather, light, sound.
    ("Cel", "celsius", 1.0, 1.0),
    ("K", "kelvin", 1.0, 1.0),
    ("Pa", "pascals", 1.0, 1.0),
    ("hPa", "pascals", 100.0, 1.0),
    ("kPa", "pascals", 1e3, 1.0),
    ("mm/h", "meters_per_second", 1.0, 3.6e6),
    ("W/m2", "watts_per_square_meter", 1.0, 1.0),
    ("lx", "lux", 1.0, 1.0),
    ("lm", "lumens", 1.0, 1.0),
    ("cd", "candelas", 1.0, 1.0),
    ("cd/m2", "candelas_per_square_meter", 1.0, 1.0),
    ("dB", "decibels", 1.0, 1.0),
    ("dBW", "decibel_watts", 1.0, 1.0),
    ("dBm", "decibel_milliwatts", 1.0, 1.0),
    ("Bspl", "bels_spl", 1.0, 1.0),
    // Electricity.
    ("V", "volts", 1.0, 1.0),
    ("mV", "volts", 1.0, 1e3),
    ("A", "amperes", 1.0, 1.0),
    ("mA", "amperes", 1.0, 1e3),
    ("W", "watts", 1.0, 1.0),
    ("mW", "watts", 1.0, 1e3),
    ("kW", "watts", 1e3, 1.0),
    ("J", "joules", 1.0, 1.0),
    ("Wh", "joules", 3600.0, 1.0),
    ("kWh", "joules", 3.6e6, 1.0),
    ("C", "coulombs", 1.0, 1.0),
    ("Ah", "coulombs", 3600.0, 1.0),
    ("VA", "voltamperes", 1.0, 1.0),
    ("kVA", "voltamperes", 1e3, 1.0),
    ("var", "vars", 1.0, 1.0),
    ("kvar", "vars", 1e3, 1.0),
    ("F", "farads", 1.0, 1.0),
    ("H", "henries", 1.0, 1.0),
    ("Ohm", "ohms", 1.0, 1.0),
    ("S", "siemens", 1.0, 1.0),
    ("S/m", "siemens_per_meter", 1.0, 1.0),
    ("T", "teslas", 1.0, 1.0),
    ("Wb", "webers", 1.0, 1.0),
    // Length, motion, angles.
    ("m", "meters", 1.0, 1.0),
    ("mm", "meters", 1.0, 1e3),
    ("cm", "meters", 1.0, 100.0),
    ("km", "meters", 1e3, 1.0),
    ("m/s", "meters_per_second", 1.0, 1.0),
    ("km/h", "meters_per_second", 1.0, 3.6),
    ("m/h", "meters_per_second", 1.0, 3600.0),
    ("m/s2", "meters_per_second_squared", 1.0, 1.0),
    ("m2", "square_meters", 1.0, 1.0),
    ("rad", "radians", 1.0, 1.0),
    ("rad/s", "radians_per_second", 1.0, 1.0),
    ("deg", "degrees", 1.0, 1.0),
    ("lat", "degrees_latitude", 1.0, 1.0),
    ("lon", "degrees_longitude", 1.0, 1.0),
    ("sr", "steradians", 1.0, 1.0),
    // Volume, mass, substances.
    ("m3", "cubic_meters", 1.0, 1.0),
    ("l", "cubic_meters", 1.0, 1e3),
    ("m3/s", "cubic_meters_per_second", 1.0, 1.0),
    ("l/s", "cubic_meters_per_second", 1.0, 1e3),
    ("kg", "grams", 1e3, 1.0),
    ("g", "grams", 1.0, 1.0),
    ("kg/m3", "grams_per_cubic_meter", 1e3, 1.0),
    ("ug/m3", "grams_per_cubic_meter", 1.0, 1e6),
    ("mol", "moles", 1.0, 1.0),
    ("N", "newtons", 1.0, 1.0),
    ("pH", "ph", 1.0, 1.0),
    ("NTU", "ntu", 1.0, 1.0),
    ("Bq", "becquerels", 1.0, 1.0),
    ("Gy", "grays", 1.0, 1.0),
    ("Sv", "sieverts", 1.0, 1.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_unit_is_there_twice_and_decimal_shares_stay_exact() {
        for (place, (unit, ..)) in UNITS.iter().enumerate() {
            assert!(UNITS[..place].iter().all(|(other, ..)| other != unit), "{unit} twice");
        }
        assert_eq!(base_of("%").map(|base| base.scale(48.3)), Some(0.483));
        assert_eq!(base_of("ms").map(|base| base.scale(1.5)), Some(0.0015));
        assert_eq!(base_of("kWh").map(|base| base.scale(2.0)), Some(7.2e6));
        assert_eq!(base_of("furlong"), None);
    }
}
