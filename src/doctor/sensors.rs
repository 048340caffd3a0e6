//! The sensors: read once by the very code that the server reads them with,
//! and told by kind; what fails is told with its reason.

use std::{
    collections::BTreeSet,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{board::Board, finding::Finding, machine::Machine};
use crate::{
    sources::{Readings, Source, found::Found, vitals::Vitals},
    telemetry::{Hub, HubSettings, Status, Value},
};

/// How long all of them may take: 64 thermometers on one wire take 48 s.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether they are ready.
const STEP: Duration = Duration::from_millis(10);
/// At most so many failures are told one by one.
const MAX_FAILURES: usize = 20;

/// One channel and what was read of it.
pub(super) struct Seen {
    pub name: String,
    pub source: String,
    pub label: String,
    pub value: Result<Value, String>,
}

/// What was read.
#[derive(Default)]
pub(super) struct AllSeen(pub Vec<Seen>);

impl AllSeen {
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.value(name)?.as_f64()
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.value(name) == Some(&Value::Bool(true))
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|seen| seen.name == name)?.value.as_ref().ok()
    }
}

/// Reads the board once. What hangs is an error that names its file.
///
/// # Errors
/// When the system refuses a thread.
pub(super) fn read(machine: &Machine) -> std::io::Result<AllSeen> {
    // Nobody asks this hub for what was.
    let settings = HubSettings { history_bytes: 0, ring_bytes: 16 << 10, ..Default::default() };
    let hub = Hub::with_clock(settings, machine.clock.clone());
    let second = Duration::from_secs(1);
    let mut found = Found::new(&machine.root, &hub, second)?;
    let mut vitals = Vitals::with(&machine.root, machine.statvfs.clone());
    let mut readings = Readings::default();
    vitals.sample(machine.clock.boot(), &mut readings);
    let start = Instant::now();
    loop {
        let now = machine.clock.boot();
        // Notices what hangs.
        found.sample(now, &mut Readings::default());
        if (!found.pending() && vitals.settled(now)) || start.elapsed() >= PATIENCE {
            break;
        }
        thread::sleep(STEP);
    }
    readings.clear();
    vitals.sample(machine.clock.boot(), &mut readings);
    let bare = |reason: &str| without_root(reason, &machine.root);
    let mut all: Vec<_> = readings
        .iter()
        .map(|reading| Seen {
            name: reading.channel.name.to_string(),
            source: vitals.name().to_owned(),
            label: reading.channel.label.as_deref().unwrap_or_default().to_owned(),
            value: reading.value.clone().map_err(|reason| bare(&reason)),
        })
        .collect();
    let view = hub.view();
    all.extend(view.channels().iter().filter(|state| state.status != Status::Gone).map(|state| {
        Seen {
            name: state.channel.name.to_string(),
            source: state.source.to_string(),
            label: state.channel.label.as_deref().unwrap_or_default().to_owned(),
            value: match &state.status {
                Status::Error(reason) => Err(bare(reason)),
                _ => Ok(state.value.clone()),
            },
        }
    }));
    Ok(AllSeen(all))
}

/// A reason with its files as they are called on the board.
fn without_root(reason: &str, root: &Path) -> String {
    let real = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let mut reason = reason.to_owned();
    for root in [real.as_path(), root] {
        if let Some(root) = root.to_str().filter(|root| *root != "/") {
            reason = reason.replace(root.trim_end_matches('/'), "");
        }
    }
    reason
}

/// A kind of sensor: its source, and its word for people.
const KINDS: [(&str, &str); 8] = [
    ("iio", "Industrial I/O"),
    ("hwmon", "hwmon"),
    ("w1", "1-Wire"),
    ("supply", "power supply"),
    ("thermal", "thermal zone"),
    ("clock", "clock with a battery"),
    ("wifi", "Wi-Fi"),
    ("light", "light"),
];

/// Which there are, by kind, and which fail.
pub(super) fn check(seen: &AllSeen, board: &Board) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (source, kind) in KINDS {
        let well = seen.0.iter().filter(|seen| seen.source == source && seen.value.is_ok());
        let devices: BTreeSet<_> = well.filter_map(|seen| device(&seen.name)).collect();
        if !devices.is_empty() {
            let names: Vec<_> = devices.into_iter().collect();
            findings.push(Finding::ok(format!("{kind}: {}", names.join(", "))));
        }
    }
    let of_wires = |seen: &Seen| ["iio", "hwmon", "w1", "supply"].contains(&seen.source.as_str());
    if !seen.0.iter().any(of_wires) {
        let mend = match board.boot() {
            Some(_) => {
                "plug one in, and see i2c and 1-wire below; or push readings: \
                        boardcast put room/temp=21.5"
            }
            None => "readings of programs and scripts can be pushed: boardcast put room/temp=21.5",
        };
        findings.push(Finding::note("no sensors but those of the board itself").mend(mend));
    }
    // A device that fails has all its channels fail, for the same reason.
    let mut told = BTreeSet::new();
    let sensors =
        seen.0.iter().filter(|seen| seen.source != "vitals" || !seen.name.starts_with("fs/"));
    for (seen, reason) in sensors.filter_map(|seen| Some((seen, seen.value.as_ref().err()?))) {
        if told.len() < MAX_FAILURES && told.insert(reason) {
            findings.push(failure(&seen.name, reason));
        }
    }
    let late = seen.0.iter().filter(|seen| seen.source == "w1" && seen.value == Ok(Value::Null));
    let late: Vec<_> = late.map(|seen| seen.name.as_str()).collect();
    if !late.is_empty() {
        let seconds = PATIENCE.as_secs();
        let what = format!("still not read after {seconds} s: {}", late.join(", "));
        findings.push(Finding::warn(what));
    }
    findings
}

/// The readers' reasons are `<file>: <what>`, often with `: check <what may mend
/// it>` behind.
fn failure(name: &str, reason: &str) -> Finding {
    let named = reason.split_once(": ").filter(|(file, _)| file.starts_with('/'));
    let (place, rest) = match named {
        Some((file, rest)) => (format!(" ({file})"), rest),
        None => (String::new(), reason),
    };
    match rest.split_once(": check ") {
        Some((what, mend)) => {
            Finding::warn(format!("{name}: {what}{place}")).mend(format!("check {mend}"))
        }
        None => Finding::warn(format!("{name}: {rest}{place}")),
    }
}

/// The device of a channel: the second level of its name.
fn device(name: &str) -> Option<&str> {
    let mut levels = name.split('/');
    // The processor's zone has its own as well.
    (levels.next() != Some("cpu")).then(|| levels.next())?
}
