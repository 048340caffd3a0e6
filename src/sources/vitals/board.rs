//! What the board is, and what runs on it.
//!
//! ```text
//! /sys/firmware/devicetree/base/model     Raspberry Pi 4 Model B Rev 1.4\0
//! /sys/class/dmi/id/sys_vendor            LENOVO
//! /sys/class/dmi/id/product_name          20KHCTO1WW
//! /etc/os-release                         PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
//! /proc/sys/kernel/osrelease              6.6.51+rpt-rpi-v8
//! ```
//!
//! A board with a device tree has its name there, ending in NUL (Devicetree
//! Specification 2.3.2 "model"; Documentation/ABI/testing/sysfs-firmware-ofw).
//! A PC has what its maker wrote into the firmware's tables
//! (Documentation/ABI/testing/sysfs-class-dmi), which may be a placeholder.
//! os-release(5); Documentation/admin-guide/sysctl/kernel.rst, "osrelease".
//!
//! None of this changes while the board runs, so it is read once.

use std::path::{Path, PathBuf};

use super::file::TextFile;
use crate::{
    sources::Readings,
    telemetry::{Channel, Value},
};

/// Reads what the board is, at the first sample.
#[derive(Debug)]
pub(super) struct Board {
    root: PathBuf,
    known: Option<Vec<(&'static str, &'static str, Value)>>,
}

impl Board {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), known: None }
    }

    pub(super) fn sample(&mut self, readings: &mut Readings) {
        let root = &self.root;
        for (name, label, value) in self.known.get_or_insert_with(|| read(root)) {
            let channel = Channel::state(name).map(|channel| channel.label(*label));
            readings.push(channel, value.clone());
        }
    }
}

fn read(root: &Path) -> Vec<(&'static str, &'static str, Value)> {
    let known = [
        ("board/model", "Model", model(root)),
        ("board/os", "Operating system", system(root)),
        ("board/kernel", "Kernel", text(root, "proc/sys/kernel/osrelease")),
    ];
    let there = |(name, label, text): (_, _, Option<String>)| {
        Some((name, label, Value::from(text?.as_str())))
    };
    known.into_iter().filter_map(there).collect()
}

/// What the board calls itself; `None` when it doesn't.
pub(crate) fn model(root: &Path) -> Option<String> {
    text(root, "sys/firmware/devicetree/base/model")
        .or_else(|| text(root, "proc/device-tree/model"))
        .or_else(|| from_dmi(root))
}

fn from_dmi(root: &Path) -> Option<String> {
    let field = |name| text(&root.join("sys/class/dmi/id"), name).filter(|text| is_name(text));
    let product = field("product_name")?;
    match field("sys_vendor") {
        Some(vendor) if !product.starts_with(&vendor) => Some(format!("{vendor} {product}")),
        _ => Some(product),
    }
}

/// Boards that are sold without a case often keep what the firmware's author
/// wrote there for the maker to replace.
fn is_name(text: &str) -> bool {
    let placeholders =
        ["to be filled by o.e.m.", "default string", "not specified", "not applicable", "none"];
    let text = text.to_ascii_lowercase();
    !placeholders.contains(&text.as_str()) && !text.starts_with("system ")
}

fn system(root: &Path) -> Option<String> {
    // The second is where the first one links to, and alone on some images.
    ["etc/os-release", "usr/lib/os-release"].into_iter().find_map(|path| {
        let name = TextFile::new(root, path).parse(|text| pretty_name(text).ok_or("no name"));
        name?.ok()
    })
}

/// `PRETTY_NAME` of os-release(5), which is written as for a shell.
fn pretty_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?.trim();
    let quoted = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(plain) = quoted('\'') {
        return clean(plain);
    }
    let mut name = String::new();
    let mut characters = quoted('"').unwrap_or(value).chars();
    while let Some(character) = characters.next() {
        name.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    clean(&name)
}

/// A file of one short text. Whatever is wrong with it: it is not there.
fn text(folder: &Path, name: &str) -> Option<String> {
    TextFile::new(folder, name).parse(|text| clean(text).ok_or("empty"))?.ok()
}

fn clean(text: &str) -> Option<String> {
    let text: String = text.trim_end_matches('\0').trim().chars().take(200).collect();
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::{super::trees::*, *};

    fn states(tree: &Tree) -> Vec<(String, Value)> {
        let seen = readings(|r| Board::new(tree.root()).sample(r));
        let state = |r: &crate::sources::Reading| {
            (r.channel.name.to_string(), r.value.clone().expect("it is read"))
        };
        seen.iter().map(state).collect()
    }

    #[test]
    fn a_board_says_what_it_is_and_what_runs_on_it() {
        assert_eq!(
            states(&Tree::board("pi-4")),
            [
                ("board/model".into(), "Raspberry Pi 4 Model B Rev 1.4".into()),
                ("board/os".into(), "Debian GNU/Linux 12 (bookworm)".into()),
                ("board/kernel".into(), "6.6.51+rpt-rpi-v8".into()),
            ]
        );
        // A recorded machine, whose firmware has no name for it.
        let pc = states(&Tree::board("pc"));
        assert_eq!(pc[0], ("board/os".into(), "Debian GNU/Linux 12 (bookworm)".into()));
        assert_eq!(pc.len(), 2);
    }

    #[test]
    fn it_is_read_once() {
        let tree = Tree::new();
        tree.write("proc/device-tree/model", "Radxa ZERO 3\0");
        let mut board = Board::new(tree.root());
        assert_eq!(names(&readings(|r| board.sample(r))), ["board/model"]);
        tree.remove("proc/device-tree/model");
        assert_eq!(names(&readings(|r| board.sample(r))), ["board/model"]);
    }

    #[test]
    fn a_pc_is_its_maker_and_product() {
        let dmi = |vendor: &str, product: &str| {
            let tree = Tree::new();
            tree.write("sys/class/dmi/id/sys_vendor", vendor.to_owned() + "\n");
            tree.write("sys/class/dmi/id/product_name", product.to_owned() + "\n");
            model(tree.root())
        };
        assert_eq!(dmi("LENOVO", "20KHCTO1WW").as_deref(), Some("LENOVO 20KHCTO1WW"));
        assert_eq!(dmi("HP", "HP EliteDesk 800").as_deref(), Some("HP EliteDesk 800"));
        assert_eq!(dmi("Default string", "UP-CHT01").as_deref(), Some("UP-CHT01"));
        assert_eq!(dmi("To Be Filled By O.E.M.", "To Be Filled By O.E.M."), None);
        assert_eq!(dmi("System manufacturer", "System Product Name"), None);
        assert_eq!(dmi("", ""), None);
    }

    #[test]
    fn the_name_of_a_system_is_quoted_as_for_a_shell() {
        for (line, name) in [
            ("PRETTY_NAME=\"Alpine Linux v3.20\"", Some("Alpine Linux v3.20")),
            ("NAME=x\nPRETTY_NAME='A \\ B'\nID=x", Some("A \\ B")),
            ("PRETTY_NAME=Buildroot", Some("Buildroot")),
            (r#"PRETTY_NAME="the \"best\" \$OS \\""#, Some(r#"the "best" $OS \"#)),
            ("PRETTY_NAME=\"\"", None),
            ("PRETTY_NAME=\"a\u{7}b\"", None),
            ("PRETTY_NAME=\\", None),
            ("NAME=x", None),
        ] {
            assert_eq!(pretty_name(line).as_deref(), name, "{line}");
        }
    }

    #[test]
    fn what_is_missing_or_garbled_is_not_there() {
        let tree = Tree::new();
        assert_eq!(states(&tree), []);
        tree.write("sys/firmware/devicetree/base/model", "\0");
        tree.write("proc/sys/kernel/osrelease", "\n");
        tree.folder("etc/os-release");
        assert_eq!(states(&tree), []);
        tree.write("usr/lib/os-release", "PRETTY_NAME=\"Yocto\"\n");
        assert_eq!(states(&tree), [("board/os".into(), "Yocto".into())]);
        tree.write("proc/sys/kernel/osrelease", "x".repeat(5000));
        let Value::Text(kernel) = &states(&tree)[1].1 else { panic!("not a text") };
        assert_eq!(kernel.len(), 200);
    }
}
