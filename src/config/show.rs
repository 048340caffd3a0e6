//! The settings in force, as a settings file that says where each came from.

use super::{KEYS, Loaded, Origin};
use crate::mqtt::Broker;

/// The column at which the places begin, where there is room.
const COLUMN: usize = 40;

/// All settings, as a file that would make them so; behind each, where it came
/// from.
pub fn text(loaded: &Loaded) -> String {
    let mut text = String::new();
    for (key, origin) in KEYS.iter().zip(&loaded.origins) {
        let line = match key.write(&key.show(&loaded.config)) {
            Some(value) => format!("{} = {value}", key.name),
            None => format!("# {} is not set", key.name),
        };
        text += &format!("{line:<COLUMN$} # {origin}\n");
    }
    for table in &loaded.tables {
        let header = format!("[[{}]]", table.kind);
        text += &format!("\n{header:<COLUMN$} # {}\n", Origin::Set(table.place.clone()));
        for (name, value) in &table.entries {
            // An address may have a password in it.
            let value = if name == "url" { &Broker::redacted(value) } else { value };
            text += &format!("{name} = {value}\n");
        }
    }
    text
}

/// One line: that nothing is wrong, and how much there is.
pub fn summary(loaded: &Loaded) -> String {
    let count = |number: usize, one: &str, more: &str| match number {
        1 => format!("1 {one}"),
        number => format!("{number} {more}"),
    };
    let set = loaded.origins.iter().filter(|origin| **origin != Origin::Default).count();
    format!(
        "settings are fine: {}, {}, {}, {}",
        count(loaded.files.len(), "file", "files"),
        count(set, "setting", "settings"),
        count(loaded.config.sources.len(), "source", "sources"),
        count(loaded.config.rules.0.len(), "channel table", "channel tables"),
    )
}
