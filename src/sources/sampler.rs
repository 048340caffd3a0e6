//! The clock of the polled sources: one thread, absolute deadlines.
//!
//! A tick asks every source what it sees and publishes it as one batch each. A
//! source of which nothing is due, by the rules of its channels, rests.
//! A source that panics is marked and asked no more; the others go on.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Readings, Source, publication::Publication};
use crate::{
    fault,
    pulse::{Mark, Pulse},
    telemetry::{BootTime, Hub},
};

/// Why the channels of a source that panicked have no more readings.
pub(super) const FAULT: &str = "its source has a fault and is no longer read";

/// Polls sources; can be stepped by hand with [`tick`](Self::tick).
pub struct Sampler {
    hub: Hub,
    interval: Duration,
    sources: Vec<Entry>,
    readings: Readings,
}

struct Entry {
    source: Box<dyn Source>,
    publication: Publication,
    broken: bool,
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler").field("interval", &self.interval).finish_non_exhaustive()
    }
}

impl Sampler {
    /// A sampler without sources.
    pub fn new(hub: Hub, interval: Duration) -> Self {
        Self { hub, interval, sources: Vec::new(), readings: Readings::default() }
    }

    /// Adds a source.
    pub fn add(&mut self, source: impl Source + 'static) {
        let publisher = Arc::new(self.hub.publisher(source.name()));
        let publication = Publication::new(publisher, self.interval);
        self.sources.push(Entry { source: Box::new(source), publication, broken: false });
    }

    /// Asks every source once, but one of whose channels none would be taken:
    /// by the hub's rules, and because nobody watches. `now` is the instant of
    /// the readings.
    pub fn tick(&mut self, now: BootTime) {
        for entry in self.sources.iter_mut().filter(|entry| !entry.broken) {
            if !entry.publication.wants(now) {
                continue;
            }
            self.readings.clear();
            let sample = AssertUnwindSafe(|| entry.source.sample(now, &mut self.readings));
            if catch_unwind(sample).is_err() {
                entry.broken = true;
                log::error!("{}: {FAULT}", entry.publication.name());
                entry.publication.fail_all(FAULT);
                continue;
            }
            entry.publication.publish(now, &self.readings);
            entry.publication.end_round();
        }
        self.hub.expire(now);
    }

    /// Starts the thread. The first tick comes one interval from now.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(mut self) -> io::Result<Running> {
        let bell = Arc::<Doorbell>::default();
        let mark = Arc::<Mark>::default();
        let (told, own) = (bell.clone(), mark.clone());
        let run = move || {
            let mut deadline = Instant::now();
            loop {
                deadline = next_deadline(deadline, self.interval, Instant::now());
                if wait_until(deadline, &told, &own) {
                    return;
                }
                self.tick(self.hub.clock().boot());
            }
        };
        let builder = thread::Builder::new().name("bc-sampler".into()).stack_size(256 * 1024);
        let thread = fault::spawn(builder, run)?;
        Ok(Running { bell, mark, thread: Some(thread) })
    }
}

/// The next multiple of the interval; ticks that were missed are left out.
pub(super) fn next_deadline(last: Instant, interval: Duration, now: Instant) -> Instant {
    let next = last + interval;
    if next >= now {
        return next;
    }
    let missed = (now - next).as_nanos() / interval.as_nanos().max(1);
    next + interval * u32::try_from(missed + 1).unwrap_or(u32::MAX)
}

/// Interrupts the sampler's sleep.
#[derive(Debug, Default)]
struct Doorbell {
    stop: Mutex<bool>,
    bell: Condvar,
}

impl Doorbell {
    fn ring(&self, stop: bool) {
        // Under the lock: the sampler must not look and then sleep in between.
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) |= stop;
        self.bell.notify_all();
    }
}

/// Waits; true when it was told to stop meanwhile.
fn wait_until(deadline: Instant, told: &Doorbell, mark: &Mark) -> bool {
    let mut stop = told.stop.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        mark.turned();
        let left = deadline.saturating_duration_since(Instant::now());
        if *stop || left.is_zero() {
            return *stop;
        }
        stop = told.bell.wait_timeout(stop, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// A sampler that runs; dropping it stops it and waits for its tick to end.
#[derive(Debug)]
pub struct Running {
    bell: Arc<Doorbell>,
    mark: Arc<Mark>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// The sampler's thread, to be asked whether it still turns. It does not
    /// while a source holds it.
    pub fn pulse(&self) -> Pulse {
        let bell = self.bell.clone();
        Pulse::new("bc-sampler", self.mark.clone(), move || bell.ring(false))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.bell.ring(true);
        if let Some(thread) = self.thread.take() {
            // Its sources' panics were caught; one of its own has been printed.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Channel, Filters, HubSettings, Rule, Rules, Status, Value, rule};

    /// A source whose ticks are scripted.
    struct Script(std::vec::IntoIter<fn(&mut Readings)>);

    impl Source for Script {
        fn name(&self) -> &str {
            "script"
        }

        fn sample(&mut self, _: BootTime, readings: &mut Readings) {
            (self.0.next().expect("a further tick"))(readings);
        }
    }

    fn script(ticks: Vec<fn(&mut Readings)>) -> (Hub, Sampler) {
        let hub = Hub::new(HubSettings::default());
        let mut sampler = Sampler::new(hub.clone(), Duration::from_secs(1));
        sampler.add(Script(ticks.into_iter()));
        (hub, sampler)
    }

    fn statuses(hub: &Hub) -> Vec<(String, Status)> {
        let view = hub.view();
        let channels = view.channels().iter();
        channels.map(|state| (state.channel.name.to_string(), state.status.clone())).collect()
    }

    #[test]
    fn what_a_source_no_longer_mentions_is_gone_and_may_come_back() {
        let (hub, mut sampler) = script(vec![
            |readings| {
                readings.push(Channel::gauge("a"), 1.0);
                readings.push(Channel::gauge("b"), 2.0);
            },
            |readings| readings.push(Channel::gauge("a"), 1.5),
            |readings| readings.push(Channel::gauge("b"), 2.5),
        ]);
        let now = hub.clock().boot();
        sampler.tick(now);
        sampler.tick(now);
        assert_eq!(statuses(&hub), [("a".into(), Status::Ok), ("b".into(), Status::Gone)]);
        sampler.tick(now);
        assert_eq!(statuses(&hub), [("a".into(), Status::Gone), ("b".into(), Status::Ok)]);
        assert_eq!(hub.view().seq(), 3);
    }

    #[test]
    fn a_failed_reading_marks_its_channel_and_keeps_the_last_good_value() {
        let (hub, mut sampler) =
            script(vec![|readings| readings.push(Channel::gauge("a"), 1.0), |readings| {
                readings.fail(Channel::gauge("a"), "no such file");
            }]);
        let now = hub.clock().boot();
        sampler.tick(now);
        sampler.tick(now);
        assert_eq!(statuses(&hub), [("a".into(), Status::Error("no such file".into()))]);
        assert_eq!(hub.view().channels()[0].value, Value::Number(1.0));
    }

    #[test]
    fn a_source_that_panics_is_marked_and_the_others_go_on() {
        let (hub, mut sampler) =
            script(vec![|readings| readings.push(Channel::gauge("a"), 1.0), |_| panic!("planted")]);
        let good: Vec<fn(&mut Readings)> =
            vec![|readings| readings.push(Channel::gauge("good"), 1.0); 3];
        sampler.add(Script(good.into_iter()));
        let now = hub.clock().boot();
        for _ in 0..3 {
            sampler.tick(now);
        }
        let statuses = statuses(&hub);
        assert!(matches!(&statuses[0].1, Status::Error(why) if why.contains("fault")));
        assert_eq!(statuses[1], ("good".into(), Status::Ok));
    }

    #[test]
    fn channels_that_are_left_out_are_told_of_once_a_minute_and_the_others_go_on() {
        let hub = Hub::new(HubSettings { max_channels: 1, ..HubSettings::default() });
        let mut sampler = Sampler::new(hub.clone(), Duration::from_secs(1));
        let ticks: Vec<fn(&mut Readings)> = vec![
            |readings| {
                readings.push(Channel::gauge("a"), 1.0);
                readings.push(Channel::gauge("one too many"), 2.0);
                readings.push(Channel::gauge("b"), 3.0);
            };
            3
        ];
        sampler.add(Script(ticks.into_iter()));
        let start = hub.clock().boot();
        for (later, told) in [(0, 0), (59, 0), (61, 61)] {
            sampler.tick(start + Duration::from_secs(later));
            let told = start + Duration::from_secs(told);
            assert_eq!(sampler.sources[0].publication.complained(), Some(told), "after {later} s");
        }
        assert_eq!(hub.view().channels().len(), 1);
        assert_eq!(hub.view().seq(), 3);
    }

    /// Says how often it was asked.
    struct Counting(f64);

    impl Source for Counting {
        fn name(&self) -> &str {
            "counting"
        }

        fn sample(&mut self, _: BootTime, readings: &mut Readings) {
            self.0 += 1.0;
            readings.push(Channel::gauge("slow/a"), self.0);
            readings.push(Channel::gauge("slow/b"), self.0);
        }
    }

    fn counting(rules: Vec<Rule>) -> (Hub, impl FnMut(std::ops::Range<u64>) -> Vec<u64>) {
        let hub = Hub::new(HubSettings::default());
        hub.set_rules(Rules(rules));
        let mut sampler = Sampler::new(hub.clone(), Duration::from_secs(1));
        sampler.add(Counting(0.0));
        let (start, own) = (hub.clock().boot(), hub.clone());
        // The seconds at which a reading of `slow/a` was taken.
        let ticks = move |seconds: std::ops::Range<u64>| {
            let before = |hub: &Hub| hub.view().channels().first().map(|state| state.seq);
            let tick = |second: &u64| {
                let seq = before(&own);
                sampler.tick(start + Duration::from_secs(*second));
                seq != before(&own)
            };
            seconds.filter(tick).collect()
        };
        (hub, ticks)
    }

    #[test]
    fn a_source_rests_until_something_of_it_is_due_or_watched() {
        let minute = Some(Duration::from_secs(60));
        let (hub, mut ticks) = counting(vec![Rule { idle_every: minute, ..rule("slow/#") }]);
        let count = || hub.view().channels()[0].value.as_f64();
        assert_eq!(ticks(0..130), [0, 57, 114]);
        assert_eq!(count(), Some(4.0), "after the second it was not asked in between");
        let interest = hub.watch(&Filters::parse(["slow/b"]).expect("valid"));
        assert_eq!(ticks(130..135), [0; 0], "slow/a is not watched");
        assert_eq!(count(), Some(4.0));
        assert_eq!(hub.view().channels()[1].value, Value::Number(9.0), "but slow/b is");
        drop(interest);
        let interest = hub.watch(&Filters::all());
        assert_eq!(ticks(135..139), [135, 136, 137, 138]);
        drop(interest);
        assert_eq!(ticks(139..200), [195]);
        assert!(hub.view().channels().iter().all(|state| state.status == Status::Ok));
    }

    #[test]
    fn what_a_rule_thins_is_still_there() {
        let every = Some(Duration::from_secs(10));
        let (hub, mut ticks) = counting(vec![Rule { every, ..rule("slow/a") }]);
        assert_eq!(ticks(0..25), [0, 10, 20]);
        let view = hub.view();
        let [a, b] = view.channels() else { panic!("two channels") };
        assert_eq!((&a.status, &b.status), (&Status::Ok, &Status::Ok));
        assert_eq!((a.value.as_f64(), b.value.as_f64()), (Some(21.0), Some(25.0)));
        assert_eq!(a.channel.stale_after, Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_source_whose_channels_are_hidden_is_looked_at_once_a_minute() {
        let (hub, mut ticks) = counting(vec![Rule { hide: Some(true), ..rule("slow/#") }]);
        assert_eq!(ticks(0..130), [0; 0]);
        assert_eq!(hub.view().channels().len(), 0);
        hub.set_rules(Rules::default());
        assert_eq!(ticks(130..132), [130, 131]);
        assert_eq!(hub.view().channels()[0].value.as_f64(), Some(6.0), "0, 1, 61, 121, 130, 131");
    }

    #[test]
    fn deadlines_are_absolute_and_missed_ticks_are_left_out() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(next_deadline(start, second, start + second / 2), start + second);
        assert_eq!(next_deadline(start, second, start + second * 5 / 2), start + second * 3);
    }
}
