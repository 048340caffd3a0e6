//! Simulated sensors, for a first look without any: `--demo`.
//!
//! All are below `demo/`, and each label says that it is simulated: a made-up
//! number never passes for a reading. A slow temperature, a vibration at
//! 1 kHz, a walk with a GPS receiver, a switch, and a sensor that fails at
//! times.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    error::Result,
    fault,
    telemetry::{Batch, BootTime, Channel, ChannelId, Hub, Kind, Publisher, Value},
};

/// The vibration comes in batches of 20 ms,
const TICK: Duration = Duration::from_millis(20);
/// of a row each millisecond;
const ROWS: u32 = 20;
/// everything else once in so many.
const TICKS_A_SECOND: u64 = 50;

/// Simulated sensors; can be stepped by hand with [`tick`](Self::tick).
#[derive(Debug)]
pub struct Demo {
    hub: Hub,
    publisher: Publisher,
    channels: Channels,
    /// The rules by which they were declared.
    generation: u32,
    ticks: u64,
    noise: Noise,
    /// Where the walk is, in degrees.
    place: (f64, f64),
}

#[derive(Debug)]
struct Channels {
    vibration: [ChannelId; 3],
    temperature: ChannelId,
    latitude: ChannelId,
    longitude: ChannelId,
    switch: ChannelId,
    flaky: ChannelId,
}

impl Channels {
    fn declare(publisher: &Publisher) -> Result<Self> {
        let gauge = |name: &str, label: &str, unit: &'static str| {
            let channel = Channel::gauge(name)?.label(format!("{label} (simulated)")).unit(unit);
            publisher.channel(channel.stale_after(Duration::from_secs(3)))
        };
        let axis = |axis: &str| {
            let label = format!("Vibration {} (simulated)", axis.to_uppercase());
            let channel = Channel::gauge(&format!("demo/vibration/{axis}"))?;
            publisher.channel(channel.label(label).unit("m/s2").single_precision())
        };
        let switch = Channel::new(Kind::State, "demo/switch")?.label("Switch (simulated)");
        Ok(Self {
            vibration: [axis("x")?, axis("y")?, axis("z")?],
            temperature: gauge("demo/temperature", "Temperature", "Cel")?,
            latitude: gauge("demo/gps/latitude", "Latitude", "lat")?,
            longitude: gauge("demo/gps/longitude", "Longitude", "lon")?,
            flaky: gauge("demo/flaky", "A sensor that fails at times", "Cel")?,
            switch: publisher.channel(switch)?,
        })
    }
}

impl Demo {
    /// Declares the channels.
    ///
    /// # Errors
    /// When the table of channels has no room for them.
    pub fn new(hub: Hub) -> Result<Self> {
        let publisher = hub.publisher("demo");
        let generation = publisher.generation();
        let channels = Channels::declare(&publisher)?;
        let (noise, place) = (Noise(0x2545_f491_4f6c_dd1d), (52.5163, 13.3777));
        Ok(Self { hub, publisher, channels, generation, ticks: 0, noise, place })
    }

    /// Publishes the 20 ms that end now.
    pub fn tick(&mut self, now: BootTime) {
        self.renew();
        self.vibrate(now);
        if self.ticks % TICKS_A_SECOND == 0 {
            self.look(now, self.ticks / TICKS_A_SECOND);
        }
        self.ticks += 1;
    }

    /// Declares again what may have been hidden, when the rules have changed.
    fn renew(&mut self) {
        let generation = self.publisher.generation();
        if self.generation == generation {
            return;
        }
        self.generation = generation;
        match Channels::declare(&self.publisher) {
            Ok(channels) => self.channels = channels,
            Err(error) => log::warn!("demo: no channel is shown anew: {error}"),
        }
    }

    /// A motor at 50 Hz that runs a little out of true, with gravity along z.
    fn vibrate(&mut self, now: BootTime) {
        let later = (1..ROWS).map(|row| Duration::from_millis(row.into())).collect();
        let start = BootTime::new(now.since_boot().saturating_sub(TICK));
        let mut batch = Batch::rows_at(start, later);
        let first = self.ticks * u64::from(ROWS);
        for (axis, &id) in self.channels.vibration.iter().enumerate() {
            let rest = [0.0, 0.0, 9.81][axis];
            let noise = &mut self.noise;
            let values = (0..u64::from(ROWS)).map(|row| {
                let turn = (first + row) as f64 / 20.0 + axis as f64 / 3.0;
                let value = rest + 0.8 * (turn * std::f64::consts::TAU).sin() + 0.1 * noise.next();
                Value::from(f64::from(value as f32))
            });
            batch.column(id, values.collect::<Vec<_>>());
        }
        self.publisher.publish(batch);
    }

    fn look(&mut self, now: BootTime, second: u64) {
        let hour = second as f64 / 3600.0;
        let temperature =
            21.0 + 3.0 * (hour * std::f64::consts::TAU).sin() + 0.1 * self.noise.next();
        let rounded = |value: f64, digits: i32| {
            let scale = 10_f64.powi(digits);
            (value * scale).round() / scale
        };
        self.place.0 += 0.000_01 * self.noise.next();
        self.place.1 += 0.000_01 * self.noise.next();
        let mut batch = Batch::at(now);
        batch.set(self.channels.temperature, rounded(temperature, 2));
        batch.set(self.channels.latitude, rounded(self.place.0, 6));
        batch.set(self.channels.longitude, rounded(self.place.1, 6));
        batch.set(self.channels.switch, second / 10 % 2 == 1);
        // Ten seconds of each minute.
        let fails = second % 60 >= 50;
        batch.set(
            self.channels.flaky,
            if fails { Value::Null } else { rounded(temperature - 2.0, 1).into() },
        );
        self.publisher.publish(batch);
        if fails {
            self.publisher.fail(self.channels.flaky, "simulated: the cable is loose");
        }
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(mut self) -> io::Result<RunningDemo> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let run = move || {
            let start = Instant::now();
            for tick in 1_u32.. {
                if told.load(Relaxed) {
                    return;
                }
                self.tick(self.hub.clock().boot());
                let next = start + TICK * tick;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        };
        let builder = thread::Builder::new().name("bc-demo".into()).stack_size(128 * 1024);
        let thread = fault::spawn(builder, run)?;
        Ok(RunningDemo { stop, thread: Some(thread) })
    }
}

/// Simulated sensors that run; dropping it stops them.
#[derive(Debug)]
pub struct RunningDemo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for RunningDemo {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It looks every 20 ms; its panic, if any, has been printed.
            let _ = thread.join();
        }
    }
}

/// Numbers between -1 and 1, the same at each start (xorshift).
#[derive(Debug)]
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{HubSettings, Rule, Rules, Status, rule};

    #[test]
    fn a_minute_has_rows_each_millisecond_a_switch_and_a_fault() {
        let hub = Hub::new(HubSettings { ring_bytes: 64 << 20, ..HubSettings::default() });
        let mut demo = Demo::new(hub.clone()).expect("there is room");
        let start = BootTime::new(Duration::from_secs(1000));
        let mut statuses = Vec::new();
        for tick in 0..60 * 50 {
            demo.tick(start + TICK * tick);
            let view = hub.view();
            let flaky = &view.channels()[demo.channels.flaky.get() as usize];
            if tick % 50 == 0 {
                statuses.push(flaky.status == Status::Ok);
            }
        }
        assert_eq!(statuses.iter().filter(|&&ok| ok).count(), 50);
        let view = hub.view();
        let mut instants = Vec::new();
        for seq in 1..=view.seq() {
            let batch = view.batch(seq).expect("the ring is large");
            if batch.rows() == 20 {
                instants.extend(batch.offsets().map(|offset| batch.start() + offset));
            }
        }
        assert_eq!(instants.len(), 60_000);
        assert!(instants.windows(2).all(|two| two[1].since(two[0]) == Duration::from_millis(1)));
        for state in view.channels() {
            assert!(state.channel.name.as_str().starts_with("demo/"));
            let label = state.channel.label.as_deref().expect("a label");
            assert!(label.contains("(simulated)"), "{label}");
        }
    }

    #[test]
    fn what_is_hidden_comes_when_it_no_longer_is() {
        let hub = Hub::new(HubSettings::default());
        hub.set_rules(Rules(vec![Rule { hide: Some(true), ..rule("demo/gps/#") }]));
        let mut demo = Demo::new(hub.clone()).expect("there is room");
        let start = BootTime::new(Duration::from_secs(1000));
        demo.tick(start);
        let gps = |hub: &Hub| {
            let view = hub.view();
            let read = view.channels().iter().filter(|state| !state.value.is_null());
            let of_gps = read.filter(|state| state.channel.name.as_str().starts_with("demo/gps"));
            (view.channels().len(), of_gps.count())
        };
        assert_eq!(gps(&hub), (6, 0));
        hub.set_rules(Rules::default());
        for tick in 1..=50 {
            demo.tick(start + TICK * tick);
        }
        assert_eq!(gps(&hub), (8, 2));
    }
}
