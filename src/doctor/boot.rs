//! What `config.txt` of a Raspberry Pi switches on.
//!
//! ```text
//! dtparam=i2c_arm=on,spi=on
//! #dtoverlay=w1-gpio
//! [pi5]
//! dtoverlay=i2c-sensor,bme280
//! ```
//!
//! Later lines win; a line in brackets says on which models the following ones
//! count, until `[all]` (raspberrypi.com/documentation, "config_txt.html",
//! "Conditional filters"). Names and parameters of overlays: boot/overlays/README
//! of github.com/raspberrypi/firmware, where `i2c` is an alias for `i2c_arm`.
//! A parameter without a value is switched on.

use super::machine::Look;

/// Where it may be, the newer place first.
const PLACES: [&str; 2] = ["boot/firmware/config.txt", "boot/config.txt"];

/// On which models a filter lets its lines count. Filters that are not here
/// (a display, a pin, a serial number) are taken to let them.
const FILTERS: [(&str, &[&str]); 15] = [
    ("pi0", &["Zero"]),
    ("pi0w", &["Zero W", "Zero 2 W"]),
    ("pi02", &["Zero 2"]),
    ("pi2", &["Pi 2 "]),
    ("pi3", &["Pi 3 ", "Compute Module 3"]),
    ("pi3+", &["Pi 3 Model A Plus", "Pi 3 Model B Plus"]),
    ("pi4", &["Pi 4 ", "Pi 400", "Compute Module 4"]),
    ("pi400", &["Pi 400"]),
    ("pi5", &["Pi 5 ", "Pi 500", "Compute Module 5"]),
    ("pi500", &["Pi 500"]),
    ("cm3", &["Compute Module 3"]),
    ("cm4", &["Compute Module 4 "]),
    ("cm4s", &["Compute Module 4S"]),
    ("cm5", &["Compute Module 5"]),
    ("none", &[]),
];

/// The lines that count.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Boot {
    /// Where to write a line, for people.
    pub path: String,
    /// The overlays with their parameters: `i2c-sensor,bme280`.
    overlays: Vec<String>,
    /// `i2c_arm` and whether it is on.
    parameters: Vec<(String, bool)>,
}

impl Boot {
    pub(super) fn read(look: &Look, model: &str) -> Self {
        let found = PLACES.into_iter().find_map(|place| Some((place, look.text(place)?)));
        match found {
            Some((place, text)) => Self::parse(&format!("/{place}"), &text, model),
            None => Self::parse("config.txt of the boot partition", "", model),
        }
    }

    fn parse(place: &str, text: &str, model: &str) -> Self {
        let mut boot =
            Self { path: place.to_owned(), overlays: Vec::new(), parameters: Vec::new() };
        let mut counts = true;
        for line in text.lines().map(str::trim) {
            if let Some(filter) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                let known = FILTERS.iter().find(|(name, _)| *name == filter);
                counts = known.is_none_or(|(_, on)| on.iter().any(|name| model.contains(name)));
            } else if !counts {
            } else if let Some(overlay) = line.strip_prefix("dtoverlay=") {
                // "dtoverlay=" alone ends the parameters of the last one.
                boot.overlays.extend((!overlay.is_empty()).then(|| overlay.to_owned()));
            } else if let Some(list) = line.strip_prefix("dtparam=") {
                boot.parameters.extend(list.split(',').map(|parameter| {
                    let (name, value) = parameter.split_once('=').unwrap_or((parameter, "on"));
                    (name.to_owned(), matches!(value, "on" | "1" | "true" | "yes"))
                }));
            }
        }
        boot
    }

    /// The first line of an overlay whose name begins so, as it is written.
    pub(super) fn overlay(&self, name: &str) -> Option<&str> {
        let named = |line: &&String| line.split(',').next().is_some_and(|n| n.starts_with(name));
        self.overlays.iter().find(named).map(String::as_str)
    }

    /// Whether an overlay has a parameter: `i2c-sensor` has `bme280`.
    pub(super) fn has(&self, overlay: &str, parameter: &str) -> bool {
        self.overlays.iter().any(|line| {
            let mut parts = line.split(',');
            parts.next() == Some(overlay) && parts.any(|part| part == parameter)
        })
    }

    /// Whether one of these parameters is switched on.
    pub(super) fn is_on(&self, names: &[&str]) -> bool {
        let mut set = self.parameters.iter().rev();
        set.find(|(name, _)| names.contains(&name.as_str())).is_some_and(|(_, on)| *on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(text: &str) -> Boot {
        Boot::parse("/boot/config.txt", text, "Raspberry Pi 4 Model B Rev 1.4")
    }

    #[test]
    fn lines_that_count_are_known() {
        let boot = boot(
            "# dtparam=spi=on\ndtparam=i2c_arm=on,audio\r\n dtoverlay=w1-gpio,gpiopin=17\n\
             dtoverlay=i2c-sensor,bme280,addr=0x77\ndtoverlay=\n",
        );
        assert!(boot.is_on(&["i2c", "i2c_arm"]) && boot.is_on(&["audio"]) && !boot.is_on(&["spi"]));
        assert_eq!(boot.overlay("w1-gpio"), Some("w1-gpio,gpiopin=17"));
        assert!(boot.has("i2c-sensor", "bme280") && !boot.has("i2c-sensor", "bme680"));
        assert_eq!((boot.overlay("ads1115"), &*boot.path), (None, "/boot/config.txt"));
    }

    #[test]
    fn the_last_line_wins() {
        assert!(!boot("dtparam=i2c_arm=on\ndtparam=i2c=off\n").is_on(&["i2c", "i2c_arm"]));
        assert!(boot("dtparam=spi=off\ndtparam=spi=on\n").is_on(&["spi"]));
    }

    #[test]
    fn filters_let_lines_count_on_their_models_alone() {
        for (filter, counts) in [
            ("pi4", true),
            ("all", true),
            ("EDID=VSC-TD2220", true),
            ("pi5", false),
            ("cm4", false),
            ("none", false),
            ("pi400", false),
        ] {
            let boot = boot(&format!("[none]\n[{filter}]\ndtoverlay=w1-gpio\n"));
            assert_eq!(boot.overlay("w1-gpio").is_some(), counts, "{filter}");
        }
        let text = "[cm4]\n[all]\ndtoverlay=w1-gpio\n";
        let module = Boot::parse("x", text, "Raspberry Pi Compute Module 4 Rev 1.0");
        assert!(module.overlay("w1-gpio").is_some());
    }
}
