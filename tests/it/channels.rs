//! docs/channels.md is what is published, and all of it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use boardcast::{
    sources::{Readings, Source, found::Found, vitals::Vitals},
    telemetry::{BootTime, Channel, Hub, HubSettings},
};

use crate::fixture::*;

/// A row of the tables.
#[derive(Debug)]
struct Row {
    /// A name in which `<…>` stands for a part of a level.
    pattern: String,
    unit: Unit,
    kind: String,
}

#[derive(Debug)]
enum Unit {
    One(Option<String>),
    /// It depends on the sensor; a table of its own says how.
    Below,
}

/// What is published.
#[derive(Debug)]
struct Published {
    name: String,
    unit: Option<String>,
    kind: String,
}

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn table() -> Vec<Row> {
    let text = fs::read_to_string(folder("docs/channels.md")).expect("docs/channels.md");
    let row = |line: &str| {
        let cells: Vec<_> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let code = |cell: &str| Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned());
        let pattern = code(cells[0])?;
        // Channel, unit, kind, meaning, source, document; and behind the last bar.
        assert_eq!(cells.len(), 7, "{line}");
        let unit = match (code(cells[1]), cells[1]) {
            (unit @ Some(_), _) => Unit::One(unit),
            (None, "–") => Unit::One(None),
            (None, "below") => Unit::Below,
            _ => panic!("{line}"),
        };
        Some(Row { pattern, unit, kind: cells[2].to_owned() })
    };
    text.lines().filter_map(row).collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    let (patterns, levels) = (pattern.split('/'), name.split('/'));
    patterns.clone().count() == levels.clone().count()
        && patterns.zip(levels).all(|(pattern, level)| match pattern.split_once('<') {
            Some((before, _)) => level.len() > before.len() && level.starts_with(before),
            None => pattern == level,
        })
}

#[test]
fn a_pattern_stands_for_part_of_a_level() {
    assert!(matches("cpu/core<N>/usage", "cpu/core12/usage"));
    assert!(matches("net/<interface>/rx", "net/eth0.100/rx"));
    for other in ["cpu/core/usage", "cpu/usage", "cpu/core1", "cpu/core1/usage/x", "x/core1/usage"]
    {
        assert!(!matches("cpu/core<N>/usage", other), "{other}");
    }
}

/// What `Vitals` publishes of a board in two instants.
fn published_by_board(board: &Path) -> Vec<Published> {
    let by = board.file_name().expect("a name").to_string_lossy().into_owned();
    let root = std::env::temp_dir().join(format!("boardcast-channels-{}-{by}", std::process::id()));
    let turn = |instant: &str| {
        let _ = fs::remove_file(&root);
        std::os::unix::fs::symlink(board.join(instant), &root).expect("a link");
    };
    turn("0");
    let mut vitals = Vitals::new(&root);
    vitals.sample(BootTime::new(Duration::from_secs(1)), &mut Readings::default());
    turn("1");
    // A helper asks for the room of the file systems.
    let readings = wait_for("file systems", || {
        let mut readings = Readings::default();
        vitals.sample(BootTime::new(Duration::from_secs(2)), &mut readings);
        readings.number("fs/root/use").is_some().then_some(readings)
    });
    let _ = fs::remove_file(&root);
    readings.iter().map(|reading| published(&reading.channel)).collect()
}

/// The sensors that are found on a board.
fn found_on_board(board: &Path) -> Vec<Published> {
    let hub = Hub::new(HubSettings::default());
    let found = Found::new(&board.join("0"), &hub, Duration::from_secs(1)).expect("a thread");
    wait_for("every sensor", || found.settled().then_some(()));
    let view = hub.view();
    view.channels().iter().map(|state| published(&state.channel)).collect()
}

fn published(channel: &Channel) -> Published {
    Published {
        name: channel.name.to_string(),
        unit: channel.unit.as_deref().map(str::to_owned),
        kind: channel.kind.as_str().to_owned(),
    }
}

/// What the program publishes of this machine and of itself.
fn published_here() -> Vec<Published> {
    let server = Binary::start(&["--interval", "100ms"]);
    wait_for("every reading of its own", || {
        let answer = get(server.address, "/api/channels");
        let body: serde_json::Value = serde_json::from_str(answer.text()).expect("JSON");
        let channels = body["channels"].as_array().expect("a list");
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let published = channels.iter().map(|channel| Published {
            name: text(&channel["name"]).expect("a name"),
            unit: text(&channel["unit"]),
            kind: text(&channel["kind"]).expect("a kind"),
        });
        let published: Vec<_> = published.collect();
        let there = |name: &str| published.iter().any(|channel| channel.name == name);
        // The last ones of both sources.
        (there("boardcast/cpu") && there("boardcast/sent")).then_some(published)
    })
}

#[test]
fn the_table_of_channels_is_what_is_published() {
    let rows = table();
    let patterns: BTreeSet<_> = rows.iter().map(|row| row.pattern.as_str()).collect();
    assert_eq!(patterns.len(), rows.len(), "a row is there twice");

    let boards = fs::read_dir(folder("tests/data/boards")).expect("the boards");
    let boards = boards.map(|entry| entry.expect("a board").path());
    let boards: Vec<_> = boards.collect();
    let mut published: Vec<_> = boards.iter().flat_map(|board| published_by_board(board)).collect();
    published.extend(boards.iter().flat_map(|board| found_on_board(board)));
    published.extend(published_here());

    let mut met = BTreeSet::new();
    for channel in &published {
        let mut of_name = rows.iter().filter(|row| matches(&row.pattern, &channel.name));
        let row = of_name.next().unwrap_or_else(|| panic!("not in docs/channels.md: {channel:?}"));
        assert!(of_name.next().is_none(), "two rows for {channel:?}");
        if let Unit::One(unit) = &row.unit {
            assert_eq!(unit, &channel.unit, "{channel:?}");
        }
        assert!(row.kind.split(", ").any(|kind| kind == channel.kind), "{channel:?}");
        met.insert(row.pattern.as_str());
    }
    let unmet: Vec<_> = patterns.difference(&met).collect();
    assert!(unmet.is_empty(), "in the table, but nobody publishes them: {unmet:?}");
}
