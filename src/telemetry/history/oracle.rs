//! History against all readings ever made, summed up by hand.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    block::{NARROW, WIDE},
    series::full,
    *,
};
use crate::telemetry::{BootTime, Clock, Hub, HubSettings, Publisher, Value};

/// A clock that the test sets, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Hands {
    boot: AtomicI64,
    /// Wall time at boot time 0.
    offset: AtomicI64,
    synced: AtomicBool,
}

impl Hands {
    pub(super) fn set(&self, boot: i64) {
        self.boot.store(boot, Relaxed);
    }

    pub(super) fn sync(&self) {
        self.synced.store(true, Relaxed);
    }

    pub(super) fn step(&self, by: i64) {
        self.offset.fetch_add(by, Relaxed);
    }
}

impl Clock for Hands {
    fn boot(&self) -> BootTime {
        instant(self.boot.load(Relaxed))
    }

    fn wall(&self) -> f64 {
        (self.boot.load(Relaxed) + self.offset.load(Relaxed)) as f64 / 1000.0
    }

    fn synced(&self) -> bool {
        self.synced.load(Relaxed)
    }
}

pub(super) fn instant(millis: i64) -> BootTime {
    BootTime::new(Duration::from_millis(millis.try_into().expect("after boot")))
}

/// Numbers that look like chance and are the same each time.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn roll(&mut self) -> u64 {
        // xorshift64, G. Marsaglia, 2003.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below 1.
    fn share(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A hub, its source, and as many channels as wanted: gauges, but every fifth
/// is a counter.
pub(super) fn board(
    channels: usize,
    history_bytes: usize,
) -> (Arc<Hands>, Hub, Publisher, Vec<ChannelId>) {
    let hands = Arc::new(Hands::default());
    let settings = HubSettings { history_bytes, ..HubSettings::default() };
    let hub = Hub::with_clock(settings, hands.clone());
    let publisher = hub.publisher("test");
    let ids = (0..channels).map(|number| {
        let name = format!("group/channel{number}");
        let channel = if number % 5 == 4 { Channel::counter(&name) } else { Channel::gauge(&name) };
        publisher.channel(channel.expect("valid")).expect("declared")
    });
    let ids = ids.collect();
    (hands, hub, publisher, ids)
}

/// Every reading of one channel.
#[derive(Default)]
struct Readings(Vec<(i64, f64)>);

impl Readings {
    /// By the number of the bucket, from one on: least, sum, greatest, count.
    fn buckets(&self, step: i64, first: i64) -> BTreeMap<i64, (f64, f64, f64, u32)> {
        let mut buckets = BTreeMap::new();
        for &(at, value) in self.0.iter().filter(|(at, _)| *at >= first * step) {
            let bucket = buckets.entry(at.div_euclid(step)).or_insert((value, 0.0, value, 0));
            bucket.0 = value.min(bucket.0);
            bucket.1 += value;
            bucket.2 = value.max(bucket.2);
            bucket.3 += 1;
        }
        buckets
    }
}

/// Seven digits of the largest number that is in it; a mean may have been
/// rounded for each reading that came late.
fn close(left: f64, right: f64, largest: f64) -> bool {
    (left - right).abs() <= largest.abs() * 4e-7
}

/// Every point of the answer is what the oracle says, and every gap a gap.
/// Returns the plan.
fn check(hub: &Hub, id: ChannelId, all: &Readings, range: Range<i64>, points: usize) -> Plan {
    let history = hub.history();
    let plan = history.plan(&[id], range.clone(), points);
    assert!(plan.len() <= points.max(2), "{plan:?}");
    let buckets = all.buckets(plan.step(), plan.first);
    let answer = history.points(&plan, id);
    assert_eq!(answer.len(), plan.len());
    for (at, point) in plan.instants().zip(answer) {
        let expected = buckets.get(&(at / plan.step()));
        let Some(point) = point else {
            assert_eq!(expected, None, "a gap at {at} in {plan:?}");
            continue;
        };
        let &(min, sum, max, count) = expected.unwrap_or_else(|| panic!("nothing was at {at}"));
        let largest = max.abs().max(min.abs());
        let numbers = [(point.min, min), (point.max, max), (point.mean, sum / f64::from(count))];
        let fine = numbers.into_iter().all(|(kept, true_one)| close(kept, true_one, largest));
        assert!(fine && point.count == count, "{point:?} for {expected:?}");
    }
    plan
}

#[test]
fn any_readings_are_summed_up_as_by_hand() {
    for seed in 1..=60 {
        let mut dice = Dice::new(seed);
        let (hands, hub, publisher, ids) = board(2, 1 << 20);
        let mut all = [Readings::default(), Readings::default()];
        let mut now = (dice.roll() % 100_000) as i64;
        for _ in 0..dice.roll() % 2000 {
            // Mostly seconds; sometimes milliseconds, sometimes an hour of silence.
            now += match dice.roll() % 100 {
                0 => (dice.roll() % 3_600_000) as i64,
                1..20 => (dice.roll() % 50) as i64,
                _ => (dice.roll() % 3000) as i64,
            };
            // Every twentieth comes late.
            let late = if dice.roll() % 20 == 0 { dice.roll() % 20_000 } else { 0 };
            let at = (now - late as i64).max(0);
            let rows = (dice.roll() % 4) as usize;
            let later = (1..=rows).map(|row| Duration::from_millis(row as u64 * 7)).collect();
            let mut batch = Batch::rows_at(instant(at), later);
            for (channel, readings) in ids.iter().zip(&mut all) {
                let values: Vec<f64> = (0..=rows).map(|_| dice.share() * 1e3 - 500.0).collect();
                let stamped = values.iter().enumerate().map(|(row, v)| (at + row as i64 * 7, *v));
                readings.0.extend(stamped);
                batch.column(*channel, values.into_iter().map(Value::from));
            }
            hands.set(now);
            publisher.publish(batch);
        }
        for (id, all) in ids.iter().zip(&all) {
            for (back, points) in
                [(900_000, 900), (10_000_000, 600), (now + 1, 4320), (60_000, 7), (1, 1)]
            {
                check(&hub, *id, all, now - back..now + 1000, points);
            }
        }
    }
}

/// 48 hours at one reading a second; the clock is set 50 years ahead and an
/// hour back on the way.
#[test]
fn two_days_of_fifty_channels_fit_into_the_budget_and_are_right() {
    let budget = HubSettings::default().history_bytes;
    let (hands, hub, publisher, ids) = board(50, budget);
    let mut dice = Dice::new(7);
    let (hour, end) = (3_600_000, 48 * 3_600_000);
    let mut all: Vec<_> = ids.iter().map(|_| Readings::default()).collect();
    let mut total = 1e12;
    let mut most = 0;
    for now in (0..end).step_by(1000) {
        match now / 1000 {
            86_400 => hands.step(50 * 365 * 24 * hour),
            90_000 => hands.step(-hour),
            _ => {}
        }
        hands.set(now);
        let mut batch = Batch::at(instant(now));
        for (number, (id, readings)) in ids.iter().zip(&mut all).enumerate() {
            let value = if number % 5 == 4 {
                total += (dice.roll() % 10_000) as f64;
                total
            } else {
                (dice.share() * 10_000.0).round() / 100.0
            };
            readings.0.push((now, value));
            batch.set(*id, value);
        }
        publisher.publish(batch);
        most = most.max(hub.history().size().0);
    }
    assert!(most <= budget, "{most} bytes");
    assert_eq!(hub.history().size(), (hub.history().lock().counted(), 50));
    println!("at most {most} bytes of {budget}");

    for (number, (id, readings)) in ids.iter().zip(&all).enumerate() {
        let quarter = check(&hub, *id, readings, end - 900_000..end, 900);
        assert_eq!((quarter.step(), quarter.len()), (1000, 900));
        let hours = check(&hub, *id, readings, end - 3 * hour..end, 1080);
        assert_eq!((hours.step(), hours.len()), (10_000, 1080));
        if number % 7 != 0 {
            continue;
        }
        let days = check(&hub, *id, readings, 0..end, 600);
        // The second day of counters, which are kept in double precision, is shortened.
        assert_eq!((days.step(), number % 5 == 4 || days.len() == 576), (300_000, true));
    }
    // Over the whole time, across both steps: one reading a minute, in order,
    // every one there, and none of them twice.
    let days = check(&hub, ids[0], &all[0], 0..end, 2880);
    assert_eq!((days.step(), days.len()), (60_000, 2880));
    let wall: Vec<f64> = days
        .instants()
        .map(|at| hub.clock().wall_of(BootTime::default()) + at as f64 / 1e3)
        .collect();
    assert!(wall.windows(2).all(|pair| pair[1] - pair[0] == 60.0));
    let last = hub.clock().wall() - wall[wall.len() - 1];
    assert!((0.0..=60.0).contains(&last), "the newest is of now: {last}");
}

/// Publishes a spread of readings at the start of each of so many blocks of
/// the coarsest level, which begins a block in all three.
fn fill(publisher: &Publisher, ids: &[ChannelId], blocks: std::ops::Range<i64>, value: f64) {
    for block in blocks {
        for (second, value) in [(0, value), (0, value + 1.0), (70, value)] {
            let mut batch = Batch::at(instant(block * 1_800_000 + second * 1000));
            ids.iter().for_each(|id| batch.set(*id, value));
            publisher.publish(batch);
        }
    }
}

#[test]
fn the_formula_of_the_setting_holds() {
    // As `HubSettings::history_bytes` says.
    // A little less where pointers have four bytes.
    assert!((76 << 10..=81 << 10).contains(&full(NARROW)), "{}", full(NARROW));
    assert!((132 << 10..=138 << 10).contains(&full(WIDE)), "{}", full(WIDE));
    let budget = 4 << 20;
    for (channels, value) in
        [(10, 0.5), (10, 1e12), (50, 0.5), (100, 1e12), (400, 0.5), (1024, 1e12)]
    {
        let (_, hub, publisher, ids) = board(channels, budget);
        let most = if channels <= 50 { 160 } else { 3 + 8000 / channels as i64 };
        fill(&publisher, &ids, 0..most, value);
        let history = hub.history();
        assert!(history.size().0 <= budget, "{channels}: {}", history.size().0);
        assert_eq!(history.size(), (history.lock().counted(), channels));
        let each = budget / channels - 600;
        let (block, full) = if value > 1.0 { (WIDE, full(WIDE)) } else { (NARROW, full(NARROW)) };
        for id in ids {
            let held = history.with(id, Series::heap).expect("held");
            assert!(
                held <= full && held + 2 * block > each.min(full - 8 * block),
                "{channels}: {held} of {each}"
            );
        }
    }
}

#[test]
fn with_more_channels_the_second_day_goes_first_and_then_all_in_proportion() {
    let (_, hub, publisher, ids) = board(200, 4 << 20);
    // Two days of one channel, then all others begin.
    for now in 0..48 * 3600 {
        let mut batch = Batch::at(instant(now * 1000));
        batch.set(ids[0], 20.5 + (now % 2) as f64);
        publisher.publish(batch);
    }
    // How much of a level is held, in its own full times.
    let reach = |level: usize, all: f64| {
        let since = hub.history().with(ids[0], |series| series.complete_since(level));
        (48.0 - since.expect("held").max(0) as f64 / 3_600_000.0) / all
    };
    assert!(reach(0, 0.25) >= 1.0 && reach(1, 3.0) >= 1.0 && reach(2, 48.0) >= 1.0);
    // As many blocks as 80 channels would fill.
    for (others, expected) in [(79, [1.0, 1.0, 0.5]), (199, [0.38, 0.38, 0.19])] {
        let last = 96 + 80;
        fill(&publisher, &ids[1..=others], 96..last, 0.5);
        let held = [reach(0, 0.25), reach(1, 3.0), reach(2, 48.0)];
        println!("{others} others: {held:?}");
        for (held, expected) in held.into_iter().zip(expected) {
            assert!((expected * 0.85..expected * 1.25).contains(&held), "{held} of {expected}");
        }
        assert!(hub.history().size().0 <= 4 << 20);
    }
    // Where the fine ones do not reach, the coarse one answers.
    let day = hub.history().plan(&[ids[0]], 0..48 * 3_600_000, 4320);
    assert_eq!(day.step(), 60_000);
}

#[test]
fn what_some_do_not_need_serves_the_others() {
    let (_, hub, publisher, ids) = board(100, 4 << 20);
    // Half of them never change: they take less than half.
    for second in (0..48 * 3600).step_by(30) {
        let mut batch = Batch::at(instant(second * 1000));
        for (number, id) in ids.iter().enumerate() {
            batch.set(*id, if number < 50 { 20.0 } else { (second % 77) as f64 });
        }
        publisher.publish(batch);
    }
    let takes = |id| hub.history().with(id, Series::heap).expect("held");
    let share = (4 << 20) / 100;
    assert!(
        takes(ids[0]) < share && takes(ids[99]) > share,
        "{} {}",
        takes(ids[0]),
        takes(ids[99])
    );
    let since = hub.history().with(ids[0], |series| series.complete_since(2));
    assert_eq!(since, Some(i64::MIN), "nothing of the constant ones is lost");
}

#[test]
fn gaps_stay_gaps_and_what_is_no_number_leaves_no_trace() {
    let (_, hub, publisher, ids) = board(2, 1 << 20);
    for second in [0, 1, 2, 7, 8] {
        let mut batch = Batch::at(instant(second * 1000));
        batch.set(ids[0], 1.0);
        batch.set(ids[1], true);
        publisher.publish(batch);
    }
    let mut batch = Batch::at(instant(3000));
    batch.set(ids[0], Value::Null);
    batch.set(ids[1], "off");
    publisher.publish(batch);
    let history = hub.history();
    assert_eq!((history.has(ids[0]), history.has(ids[1]), history.size().1), (true, false, 1));
    let plan = history.plan(&ids, 0..10_000, 100);
    let points = history.points(&plan, ids[0]);
    let there: Vec<bool> = points.iter().map(Option::is_some).collect();
    assert_eq!(there, [true, true, true, false, false, false, false, true, true]);
    assert!(history.points(&plan, ids[1]).iter().all(Option::is_none));
}

#[test]
fn a_thousand_rows_a_second_are_summed_up_exactly() {
    let (_, hub, publisher, ids) = board(1, 1 << 20);
    for second in 0..3 {
        for tenth in 0..10 {
            let later = (1..100).map(Duration::from_millis).collect();
            let mut batch = Batch::rows_at(instant(second * 1000 + tenth * 100), later);
            batch.column(ids[0], (0..100).map(|row| Value::from(f64::from(row))));
            publisher.publish(batch);
        }
    }
    let history = hub.history();
    let plan = history.plan(&ids, 0..3000, 10);
    for point in history.points(&plan, ids[0]) {
        let point = point.expect("there");
        assert_eq!((point.min, point.mean, point.max, point.count), (0.0, 49.5, 99.0, 1000));
    }
    let one = history.plan(&ids, 0..60_000, 2);
    assert_eq!((one.step() >= 30_000, one.len()), (true, 1));
    assert_eq!(history.points(&one, ids[0])[0].expect("there").count, 3000);
}

#[test]
fn no_more_channels_are_begun_than_the_budget_has_room_for() {
    let (_, hub, publisher, ids) = board(100, 64 << 10);
    let mut batch = Batch::at(instant(0));
    ids.iter().for_each(|id| batch.set(*id, 1e300));
    publisher.publish(batch);
    let (bytes, channels) = hub.history().size();
    assert!(bytes <= 64 << 10 && (5..100).contains(&channels), "{bytes} bytes, {channels}");
    let (_, off, publisher, ids) = board(1, 0);
    let mut batch = Batch::at(instant(0));
    batch.set(ids[0], 1.0);
    publisher.publish(batch);
    assert_eq!(off.history().size().1, 0);
}
