//! Pages of metrics: what is said, and that nothing is there twice.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::telemetry::{Batch, BootTime, Channel, Hub, HubSettings, Publisher};

/// A hub with these channels, and who has published them.
fn hub(channels: Vec<(Channel, Value)>) -> (Hub, Publisher) {
    let hub = Hub::new(HubSettings::default());
    let publisher = hub.publisher("my \"source\"");
    let mut batch = Batch::at(BootTime::default());
    for (channel, value) in channels {
        batch.set(publisher.channel(channel).expect("declared"), value);
    }
    publisher.publish(batch);
    (hub, publisher)
}

fn page_of(hub: &Hub, format: Format, fleet: bool) -> String {
    let mut page = Page::new(format, fleet);
    page.single("boardcast_panics_total", "counter", "Panics.", 0);
    page.readings(hub.view().channels());
    page.finish()
}

fn gauge(name: &str, unit: &'static str) -> Channel {
    Channel::gauge(name).expect("valid").unit(unit)
}

fn counter(name: &str, unit: &'static str) -> Channel {
    Channel::counter(name).expect("valid").unit(unit)
}

/// The series of one channel, without what is said of the rest.
fn series(channel: Channel, fleet: bool) -> String {
    let (hub, _publisher) = hub(vec![(channel, 50.0.into())]);
    let page = page_of(&hub, Format::Text, fleet);
    let own = ["boardcast_channel_up", "boardcast_panics", "#"];
    let mut lines = page.lines().filter(|line| !own.iter().any(|own| line.starts_with(own)));
    let line = lines.next().expect("one series").to_string();
    assert_eq!(lines.next(), None);
    line
}

#[test]
fn a_name_follows_from_the_description() {
    let of = |channel| series(channel, false);
    assert_eq!(of(gauge("cpu/usage", "%")), "boardcast_cpu_usage_ratio 0.5");
    let core = r#"boardcast_cpu_core_usage_ratio{core="12"} 0.5"#;
    assert_eq!(of(gauge("cpu/core12/usage", "%")), core);
    assert_eq!(of(gauge("cpu/cores/usage", "%")), "boardcast_cpu_cores_usage_ratio 0.5");
    let received = r#"boardcast_net_rx_bytes_total{interface="eth0.1"} 50"#;
    assert_eq!(of(counter("net/eth0.1/rx_bytes", "B")), received);
    let rate = r#"boardcast_net_rx_bytes_per_second{interface="eth0"} 50"#;
    assert_eq!(of(gauge("net/eth0/rx", "B/s")), rate);
    assert_eq!(of(counter("rain", "mm")), "boardcast_rain_meters_total 0.05");
    assert_eq!(of(counter("http/requests_total", "count")), "boardcast_http_requests_total 50");
    let chip = r#"boardcast_hwmon_volts{chip="ina219",sensor="in0"} 50"#;
    assert_eq!(of(gauge("hwmon/ina219/in0", "V")), chip);
    assert_eq!(of(gauge("processes/total", "count")), "boardcast_processes 50");
    assert_eq!(of(gauge("boardcast/memory", "B")), "boardcast_server_memory_bytes 50");
    assert_eq!(of(gauge("Room-2/Temp.in", "Cel")), "boardcast_room_2_temp_in_celsius 50");
    let odd = "boardcast_speed{unit=\"furlong/\\\"fn\\\"\"} 50";
    assert_eq!(of(gauge("speed", "furlong/\"fn\"")), odd);
}

#[test]
fn a_name_that_means_something_to_prometheus_is_a_label() {
    let of = |channel| series(channel, false);
    assert_eq!(of(gauge("imu/m", "")), r#"boardcast_reading{channel="imu/m"} 50"#);
    assert_eq!(of(counter("a/minutes", "")), r#"boardcast_counted_total{channel="a/minutes"} 50"#);
    let kept = [
        "a/kilometers",
        "door/gauge",
        "a/count",
        "-.-",
        "reading/x",
        "counted",
        "panics",
        "channel/up",
        "channel",
    ];
    for name in kept {
        let line = format!("boardcast_reading_celsius{{channel=\"{name}\"}} 50");
        let unit = if matches!(name, "panics" | "channel/up" | "channel") { "" } else { "Cel" };
        let line = if unit.is_empty() { line.replace("_celsius", "") } else { line };
        if name == "a/count" {
            assert_eq!(of(gauge(name, "Cel")), "boardcast_a_count_celsius 50");
        } else {
            assert_eq!(of(gauge(name, unit)), line);
        }
    }
}

#[test]
fn a_fleets_first_level_is_the_device() {
    let core = r#"boardcast_cpu_core_usage_ratio{device="pi1",core="0"} 0.5"#;
    assert_eq!(series(gauge("pi1/cpu/core0/usage", "%"), true), core);
    let apart = r#"boardcast_reading{device="pi1",channel="imu/m"} 50"#;
    assert_eq!(series(gauge("pi1/imu/m", ""), true), apart);
}

#[test]
fn only_good_numbers_appear_and_the_status_of_all() {
    let (hub, _publisher) = hub(vec![
        (gauge("door/open", ""), true.into()),
        (Channel::state("mode").expect("valid"), "eco".into()),
        (Channel::state("board/os").expect("valid"), "a \"b\"\n\\".into()),
        (gauge("small", "%RH").single_precision(), f64::from(48.3_f32).into()),
    ]);
    let publisher = hub.publisher("other");
    let broken = publisher.channel(gauge("broken", "Cel")).expect("declared");
    let mut batch = Batch::at(BootTime::default());
    batch.set(broken, Value::from(1.0));
    publisher.publish(batch);
    publisher.fail(broken, "unplugged");
    assert_eq!(
        page_of(&hub, Format::OpenMetrics, false),
        r##"# HELP boardcast_panics Panics.
# TYPE boardcast_panics counter
boardcast_panics_total 0
# HELP boardcast_channel_up Whether a channel has a reading that is not stale.
# TYPE boardcast_channel_up gauge
boardcast_channel_up{channel="door/open",source="my \"source\""} 1
boardcast_channel_up{channel="mode",source="my \"source\""} 1
boardcast_channel_up{channel="board/os",source="my \"source\""} 1
boardcast_channel_up{channel="small",source="my \"source\""} 1
boardcast_channel_up{channel="broken",source="other"} 0
# HELP boardcast_board_os The latest reading of board/os.
# TYPE boardcast_board_os info
boardcast_board_os_info{value="a \"b\"\n\\"} 1
# HELP boardcast_door_open The latest reading of door/open.
# TYPE boardcast_door_open gauge
boardcast_door_open 1
# HELP boardcast_small_ratio The latest reading of small.
# TYPE boardcast_small_ratio gauge
# UNIT boardcast_small_ratio ratio
boardcast_small_ratio 0.483
# EOF
"##
    );
}

#[test]
fn the_format_is_what_was_asked_for() {
    let of = |accept: &str| Format::from_accept(accept.split(',').map(str::trim));
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                      version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for accept in
        [prometheus, "application/openmetrics-text", "Application/OpenMetrics-Text, text/*"]
    {
        assert_eq!(of(accept), Format::OpenMetrics, "{accept}");
    }
    let text = [
        "",
        "*/*",
        "text/html, */*;q=0.8",
        "application/openmetrics-text;q=0.3, text/plain;q=0.4",
        "application/openmetrics-text; q=0",
        "application/openmetrics-text;version=0.0.1",
        "application/openmetrics-text;q=x",
        "application/openmetrics-text;q=0.2,*/*",
    ];
    for accept in text {
        assert_eq!(of(accept), Format::Text, "{accept}");
    }
}

/// Reads a page as strictly as a scraper may: each family once and in one
/// piece, each series once, names as they may be.
fn check(page: &str) {
    let mut families: HashMap<String, String> = HashMap::new();
    let mut seen = HashSet::new();
    let mut now = String::new();
    for line in page.lines() {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "TYPE", family, of] => {
                now = family.into();
                assert_eq!(families.insert(now.clone(), of.into()), None, "twice: {line}");
            }
            ["#", ..] => {}
            _ => {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(seen.insert(series.to_string()), "twice: {line}");
                let name = series.split('{').next().expect("a name");
                let end = name.strip_prefix(&now).expect("of the family above");
                let ends: &[_] = match families[&now].as_str() {
                    "counter" => &["", "_total"],
                    "info" => &["_info"],
                    _ => &[""],
                };
                assert!(ends.contains(&end), "{line}");
                let rest = name.strip_prefix("boardcast_").expect("ours");
                let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
                assert!(rest.bytes().all(good) && !rest.contains("__"), "{line}");
            }
        }
    }
}

#[test]
fn nothing_is_there_twice_whatever_the_channels_are_called() {
    let words = [
        "a",
        "b",
        "A",
        "a_b",
        "total",
        "count",
        "info",
        "bytes",
        "rx_bytes",
        "net",
        "eth0",
        "cpu",
        "core0",
        "core",
        "usage",
        "ms",
        "-",
        "_",
        ".",
        "a.b",
        "a-b",
        "celsius",
        "boardcast",
        "reading",
        "channel",
        "up",
        "panics",
        "board",
        "os",
        "disk",
        "health",
        "ratio",
        "hwmon",
        "per_second",
        "server",
        "counted",
        "gauge",
        "build",
    ];
    let units = ["", "B", "Cel", "%", "B/s", "count", "x y", "\"", "s"];
    for seed in 1..=12_u32 {
        let mut state = seed.wrapping_mul(0x9e37_79b9);
        let mut draw = |most: usize| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as usize % most
        };
        let mut names = HashSet::new();
        let mut channels = Vec::new();
        while channels.len() < 200 {
            let levels: Vec<_> = (0..=draw(4)).map(|_| words[draw(words.len())]).collect();
            let name = levels.join("/");
            let Ok(channel) =
                Channel::new([Kind::Gauge, Kind::Counter, Kind::State][draw(3)], &name)
            else {
                continue;
            };
            if names.insert(name) {
                let value =
                    if draw(5) == 0 { Value::from("text") } else { Value::from(draw(9) as f64) };
                channels.push((channel.unit(units[draw(units.len())]), value));
            }
        }
        let (hub, _publisher) = hub(channels);
        for (format, fleet) in
            [(Format::Text, false), (Format::OpenMetrics, false), (Format::OpenMetrics, true)]
        {
            check(&page_of(&hub, format, fleet));
        }
    }
}

#[test]
fn a_series_stays_where_it_is_when_the_one_before_it_fails() {
    let (hub, publisher) =
        hub(vec![(gauge("a/b", ""), 1.0.into()), (gauge("a_b", ""), 2.0.into())]);
    let later = r#"boardcast_reading{channel="a_b"} 2"#;
    assert!(page_of(&hub, Format::Text, false).contains(later));
    let first = hub.view().channels()[0].id;
    publisher.fail(first, "gone");
    let page = page_of(&hub, Format::Text, false);
    assert!(page.contains(later) && !page.contains("\nboardcast_a_b "), "{page}");
}
