//! What the program says of itself: `boardcast/…`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{Readings, Source, vitals::process::Process};
use crate::{
    net::Stats,
    telemetry::{BootTime, Channel},
};

/// The self readings.
pub struct Own {
    root: PathBuf,
    stats: Arc<Stats>,
    occupancy: Box<dyn Fn() -> (usize, usize) + Send>,
    last: Option<Last>,
}

struct Last {
    at: BootTime,
    cpu: Option<Duration>,
    sent: u64,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own")
    }
}

impl Own {
    /// Reads the own process below `root` (`/`), and the engine's counters.
    /// `occupancy` tells connections and streams.
    pub fn new(
        root: impl Into<PathBuf>,
        stats: Arc<Stats>,
        occupancy: impl Fn() -> (usize, usize) + Send + 'static,
    ) -> Self {
        Self { root: root.into(), stats, occupancy: Box::new(occupancy), last: None }
    }
}

impl Source for Own {
    fn name(&self) -> &str {
        "boardcast"
    }

    fn sample(&mut self, at: BootTime, readings: &mut Readings) {
        let mut gauge = |name: &str, unit: &'static str, label: &'static str, value: f64| {
            let channel = Channel::gauge(&format!("boardcast/{name}"));
            readings.push(channel.map(|channel| channel.unit(unit).label(label)), value);
        };
        let (connections, streams) = (self.occupancy)();
        gauge("clients", "count", "Viewers", streams as f64);
        gauge("connections", "count", "Connections", connections as f64);
        let process = Process::read(&self.root);
        if let Some(process) = &process {
            gauge("memory", "B", "Memory", process.resident as f64);
            gauge("threads", "count", "Threads", process.threads as f64);
        }
        let sent = self.stats.bytes_sent.get();
        let cpu = process.map(|process| process.cpu);
        if let Some(last) = &self.last {
            let seconds = at.since(last.at).as_secs_f64();
            if seconds > 0.0 {
                let rate = sent.saturating_sub(last.sent) as f64 / seconds;
                gauge("sent", "B/s", "Sent to viewers", (rate * 10.0).round() / 10.0);
                if let (Some(cpu), Some(before)) = (cpu, last.cpu) {
                    let share = cpu.saturating_sub(before).as_secs_f64() / seconds * 100.0;
                    gauge("cpu", "%", "CPU use (of one core)", (share * 100.0).round() / 100.0);
                }
            }
        }
        self.last = Some(Last { at, cpu, sent });
        let channel = Channel::counter("boardcast/sent_bytes");
        readings.push(channel.map(|channel| channel.unit("B").label("Sent in all")), sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_its_clients_and_reads_its_own_process() {
        let stats = Arc::new(Stats::default());
        let mut own = Own::new("/", stats.clone(), || (3, 2));
        let start = BootTime::new(Duration::from_secs(10));
        let mut readings = Readings::default();
        own.sample(start, &mut readings);
        assert_eq!(readings.number("boardcast/clients"), Some(2.0));
        assert_eq!(readings.number("boardcast/connections"), Some(3.0));
        assert!(readings.number("boardcast/memory").expect("read") > 100_000.0);
        assert_eq!(readings.number("boardcast/sent"), None);
        stats.bytes_sent.add(5000);
        readings.clear();
        own.sample(start + Duration::from_secs(2), &mut readings);
        assert_eq!(readings.number("boardcast/sent"), Some(2500.0));
        assert_eq!(readings.number("boardcast/sent_bytes"), Some(5000.0));
        assert!(readings.number("boardcast/cpu").is_some());
    }
}
