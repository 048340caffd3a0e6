//! docs/grafana-dashboard.json asks for nothing that a board's `/metrics` does
//! not have; the page comes in the format that was asked for.

use std::{collections::BTreeSet, fs, path::Path};

use boardcast::{
    telemetry::{Batch, BootTime, Channel, Hub, HubSettings, Kind},
    wire::prometheus::{Format, Page},
};
use serde_json::Value;

use crate::fixture::*;

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    fs::read_to_string(&path).expect(name)
}

/// The names in a page: of lines that hold a value.
fn names(page: &str) -> impl Iterator<Item = String> + '_ {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next().map(str::to_owned))
}

/// A page with every channel of docs/channels.md; `<…>` becomes a 0.
fn documented_channels() -> String {
    let hub = Hub::new(HubSettings::default());
    let publisher = hub.publisher("test");
    let mut batch = Batch::at(BootTime::default());
    let text = document("channels.md");
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let mut name = cells[1].to_string();
        while let (Some(from), Some(to)) = (name.find('<'), name.find('>')) {
            name.replace_range(from..=to, "0");
        }
        let (kind, units) = match (cells.get(3).copied(), cells[2]) {
            (Some("gauge"), unit) => (Kind::Gauge, vec![unit]),
            (Some("counter"), unit) => (Kind::Counter, vec![unit]),
            (Some("gauge, counter"), _) => (Kind::Gauge, vec!["Cel"]),
            _ => continue,
        };
        for unit in units {
            let channel = Channel::new(kind, &name).expect("a good name").unit(unit.to_owned());
            batch.set(publisher.channel(channel).expect("declared"), 1.0);
        }
    }
    publisher.publish(batch);
    let mut page = Page::new(Format::Text, false);
    page.readings(hub.view().channels());
    page.finish()
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let server = Binary::start(&[]);
    let own = get(server.address, "/metrics");
    let there: BTreeSet<_> = names(own.text()).chain(names(&documented_channels())).collect();
    let dashboard: Value = serde_json::from_str(&document("grafana-dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let queries: Vec<_> = queries.map(|target| target["expr"].as_str().expect("a query")).collect();
    assert!(queries.len() > 20, "{queries:?}");
    let variable = dashboard["templating"]["list"][1]["query"].as_str().expect("a query");
    for query in queries.into_iter().chain([variable]) {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: Vec<_> = words.filter(|word| word.starts_with("boardcast_")).collect();
        assert!(!asked.is_empty(), "{query}");
        for name in asked {
            assert!(there.contains(name), "{name} is not in /metrics, but in: {query}");
        }
    }
}

#[test]
fn the_format_is_the_one_that_was_asked_for() {
    let board = Board::start();
    board.publish();
    let page = |accept: &str| {
        let head = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
        ask(board.engine.address, &head)
    };
    let text = page("*/*");
    assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(!text.text().contains("# EOF"));
    let open = page("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5");
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), Some(media_type));
    assert!(open.text().ends_with("# EOF\n"));
    assert!(open.text().contains("boardcast_channel_up{channel=\"count\""));
}
