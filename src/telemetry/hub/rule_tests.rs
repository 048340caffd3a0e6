//! Rules and demand, as publishers and readers of a hub meet them.

use super::*;
use crate::telemetry::{Filters, Kind, Rule, rule};

/// A clock that stands where the test sets it, in seconds.
#[derive(Debug, Default)]
struct Hand(AtomicU32);

impl Clock for Hand {
    fn boot(&self) -> BootTime {
        at(self.0.load(Acquire).into())
    }
    fn wall(&self) -> f64 {
        self.0.load(Acquire).into()
    }
    fn synced(&self) -> bool {
        true
    }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(seconds: u64) -> BootTime {
    BootTime::new(secs(seconds))
}

fn gauge(name: &str) -> Channel {
    Channel::gauge(name).expect("a valid name")
}

fn filters(list: &str) -> Filters {
    Filters::parse_list(list).expect("valid")
}

/// A hub with one publisher and the channel `a` of it.
struct World {
    clock: Arc<Hand>,
    hub: Hub,
    publisher: Publisher,
    a: ChannelId,
}

impl World {
    fn new(rules: Vec<Rule>) -> Self {
        let clock = Arc::<Hand>::default();
        let hub = Hub::with_clock(HubSettings::default(), clock.clone());
        hub.set_rules(Rules(rules));
        let publisher = hub.publisher("test");
        let a = publisher.channel(gauge("a").stale_after(secs(3))).expect("declared");
        Self { clock, hub, publisher, a }
    }

    fn rules(&self, rules: Vec<Rule>) {
        self.hub.set_rules(Rules(rules));
    }

    fn state(&self, id: ChannelId) -> ChannelState {
        self.hub.view().channels()[id.0 as usize].clone()
    }

    /// Publishes the second as a reading of `a`; whether it was taken.
    fn read(&self, second: u64) -> bool {
        self.clock.0.store(second as u32, Release);
        let before = self.hub.view().seq();
        self.publisher.set(self.a, second) > before
    }

    /// The seconds of these at which a reading is taken.
    fn taken(&self, seconds: std::ops::Range<u64>) -> Vec<u64> {
        seconds.filter(|&second| self.read(second)).collect()
    }
}

#[test]
fn a_rule_describes_and_what_the_source_said_comes_back_with_its_end() {
    let labelled = |text: &str| Rule { label: Some(text.into()), ..rule("a") };
    let world = World::new(vec![labelled("by rule")]);
    let of_a = || world.state(world.a).channel;
    assert_eq!(of_a().label.as_deref(), Some("by rule"));
    assert_eq!(of_a().stale_after, Some(secs(3)));
    world.publisher.channel(gauge("a").label("own").unit("V")).expect("its own");
    world.publisher.set_stale_after(world.a, secs(9));
    assert_eq!(of_a(), gauge("a").label("by rule").unit("V").stale_after(secs(9)));
    world.rules(vec![labelled("by another")]);
    assert_eq!(of_a().label.as_deref(), Some("by another"));
    world.rules(
        vec![labelled("of b")]
            .into_iter()
            .map(|r| Rule { filter: rule("b").filter, ..r })
            .collect(),
    );
    assert_eq!(of_a(), gauge("a").label("own").unit("V").stale_after(secs(9)));
    world.rules(vec![]);
    assert_eq!(of_a(), gauge("a").label("own").unit("V").stale_after(secs(9)));
}

#[test]
fn only_descriptions_that_change_get_a_new_version() {
    let world = World::new(vec![]);
    let b = world.publisher.channel(gauge("b").label("B")).expect("declared");
    let versions = || [world.a, b].map(|id| world.state(id).version);
    let before = versions();
    let rules = vec![
        Rule { label: Some("B".into()), unit: Some("V".into()), ..rule("a") },
        Rule { label: Some("B".into()), every: Some(secs(1)), ..rule("b") },
    ];
    world.rules(rules.clone());
    let after = versions();
    assert!(after[0] > before[0] && after[1] == before[1], "{before:?} {after:?}");
    let generation = world.publisher.generation();
    world.rules(rules);
    assert_eq!((versions(), world.publisher.generation()), (after, generation), "the same again");
}

#[test]
fn numbers_are_scaled_before_anyone_sees_them() {
    let fahrenheit = Rule { scale: Some(1.8), offset: Some(32.0), ..rule("#") };
    let world = World::new(vec![fahrenheit]);
    let total = Channel::counter("total").expect("valid");
    let total = world.publisher.channel(total).expect("declared");
    let door = world.publisher.channel(Channel::state("door").expect("valid")).expect("declared");
    let mut batch = Batch::rows_at(at(1), vec![secs(1)]);
    batch.column(world.a, [100.0, 1.7e308].map(Value::Number));
    batch.column(total, [0.0, 10.0].map(Value::Number));
    batch.column(door, [Value::from(true), Value::from("open")]);
    let seq = world.publisher.publish(batch);
    let view = world.hub.view();
    let in_ring: Vec<_> =
        view.batch(seq).expect("there").columns().map(|(_, v)| v.to_vec()).collect();
    assert_eq!(in_ring[0], [Value::Number(212.0), Value::Null], "no number: no reading");
    assert_eq!(in_ring[1], [Value::Number(32.0), Value::Number(50.0)]);
    assert_eq!(in_ring[2], [Value::from(true), Value::from("open")]);
    let latest: Vec<_> = view.channels().iter().map(|state| state.value.clone()).collect();
    assert_eq!(latest, [Value::Number(212.0), Value::Number(50.0), Value::from("open")]);
    assert_eq!(view.channels()[total.0 as usize].channel.kind, Kind::Counter);
    drop(view);
    let history = world.hub.history();
    let plan = history.plan(&[world.a], 0..10_000, 100);
    let means: Vec<_> = history.points(&plan, world.a).iter().flatten().map(|p| p.mean).collect();
    assert_eq!(means, [212.0]);
}

#[test]
fn a_hidden_channel_costs_nothing_and_comes_when_it_is_declared_again() {
    let hide = Rule { hide: Some(true), ..rule("b/#") };
    let world = World::new(vec![hide]);
    let hidden = world.publisher.channel(gauge("b/1")).expect("no fault");
    assert_eq!(hidden.get(), u32::MAX);
    let seq = world.hub.view().seq();
    assert_eq!(world.publisher.set(hidden, 1.0), seq);
    world.publisher.fail(hidden, "broken");
    world.publisher.gone(hidden);
    assert_eq!(world.hub.view().channels().len(), 1);
    assert_eq!(world.hub.history().size().1, 0);
    let generation = world.publisher.generation();
    world.rules(vec![]);
    assert_ne!(world.publisher.generation(), generation);
    let shown = world.publisher.channel(gauge("b/1")).expect("declared");
    world.publisher.set(shown, 2.0);
    assert_eq!((shown.get(), world.state(shown).value), (1, Value::Number(2.0)));
}

#[test]
fn a_channel_that_is_hidden_later_is_gone_and_comes_back_under_its_number() {
    let world = World::new(vec![]);
    assert!(world.read(1));
    world.rules(vec![Rule { hide: Some(true), ..rule("a") }]);
    let gone = |value: f64| (Status::Gone, Value::Number(value));
    let of_a = || (world.state(world.a).status, world.state(world.a).value);
    assert_eq!(of_a(), gone(1.0));
    assert!(!world.read(2));
    world.publisher.fail(world.a, "broken");
    assert_eq!(of_a(), gone(1.0), "nothing is heard of it");
    let again = world.publisher.channel(gauge("a").label("new")).expect("its own");
    assert_eq!((again, of_a()), (world.a, gone(1.0)));
    assert!(world.hub.publisher("other").channel(gauge("a")).is_err(), "it stays its own");
    world.rules(vec![]);
    assert_eq!(of_a(), gone(1.0), "until there is a reading");
    assert!(world.read(3));
    assert_eq!(of_a(), (Status::Ok, Value::Number(3.0)));
    assert_eq!(world.state(world.a).channel.label.as_deref(), Some("new"));
}

#[test]
fn at_most_one_reading_is_taken_in_every_so_long() {
    let world = World::new(vec![Rule { every: Some(secs(10)), ..rule("a") }]);
    assert_eq!(world.taken(0..35), [0, 10, 20, 30]);
    assert_eq!(world.state(world.a).channel.stale_after, Some(secs(30)));
    world.rules(vec![Rule { every: Some(secs(20)), ..rule("a") }]);
    assert_eq!(world.taken(35..60), [49], "a twentieth early, counted from the last");
    world.rules(vec![]);
    assert_eq!(world.taken(60..63), [60, 61, 62]);
}

#[test]
fn a_failure_is_told_at_once_and_so_is_its_end() {
    let world = World::new(vec![Rule { every: Some(secs(10)), ..rule("a") }]);
    assert_eq!(world.taken(0..3), [0]);
    let null = |second: u64| {
        let mut batch = Batch::at(at(second));
        batch.set(world.a, Value::Null);
        world.publisher.publish(batch);
        world.publisher.fail(world.a, "broken");
    };
    (3..=12).for_each(null);
    assert!(matches!(world.state(world.a).status, Status::Error(_)));
    assert_eq!(world.hub.view().seq(), 2, "nulls are thinned as readings are");
    assert_eq!(world.taken(13..30), [13, 23]);
    assert_eq!(world.state(world.a).status, Status::Ok);
}

#[test]
fn rows_are_thinned_where_they_lie_and_in_the_order_of_time() {
    let world = World::new(vec![
        Rule { every: Some(secs(4)), ..rule("a") },
        Rule { every: Some(secs(3)), ..rule("c") },
    ]);
    let [b, c] = ["b", "c"].map(|name| world.publisher.channel(gauge(name)).expect("declared"));
    for start in [0, 10] {
        let mut batch = Batch::rows_at(at(start), (1..10).map(secs).collect());
        for id in [world.a, b, c] {
            batch.column(id, (start..start + 10).map(Value::from));
        }
        world.publisher.publish(batch);
    }
    let view = world.hub.view();
    let mut seen: Vec<(u32, f64)> = Vec::new();
    for seq in 1..=view.seq() {
        let batch = view.batch(seq).expect("there");
        for (id, values) in batch.columns() {
            for (offset, value) in batch.offsets().zip(values) {
                assert_eq!(*value, Value::from((batch.start() + offset).since_boot().as_secs()));
                seen.push((id.0, value.as_f64().expect("a number")));
            }
        }
    }
    let of = |id: ChannelId| -> Vec<f64> {
        seen.iter().filter(|(seen, _)| *seen == id.0).map(|(_, value)| *value).collect()
    };
    assert_eq!(of(world.a), [0.0, 4.0, 8.0, 12.0, 16.0]);
    assert_eq!(of(b), (0..20).map(f64::from).collect::<Vec<_>>());
    assert_eq!(of(c), [0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0]);
}

#[test]
fn while_nobody_watches_idle_every_counts() {
    let idle = Rule { every: Some(secs(2)), idle_every: Some(secs(10)), ..rule("a") };
    let world = World::new(vec![idle.clone()]);
    assert_eq!(world.taken(0..15), [0, 10]);
    let one = world.hub.watch(&filters("b,a"));
    let two = world.hub.watch(&filters("#"));
    let three = world.hub.watch(&filters("#"));
    assert_eq!(world.taken(15..20), [15, 17, 19]);
    drop((one, two));
    assert_eq!(world.taken(20..24), [21, 23], "one still watches");
    // By rules that come while somebody watches, too.
    world.rules(vec![idle.clone(), Rule { every: Some(secs(1)), ..rule("a") }]);
    assert_eq!(world.taken(24..26), [24, 25]);
    drop(three);
    let other = world.hub.watch(&filters("b"));
    assert_eq!(world.taken(26..50), [35, 45]);
    assert_eq!(world.hub.lock().demand.watchers(&gauge("b").name), 1);
    drop(other);
    assert_eq!(world.hub.lock().demand.watchers(&gauge("b").name), 0);
    world.rules(vec![Rule { idle_every: Some(secs(1)), ..idle }]);
    assert_eq!(world.taken(50..55), [50, 52, 54], "never more often than every");
}

#[test]
fn a_channel_that_comes_while_it_is_watched_is_not_idle() {
    let world = World::new(vec![Rule { idle_every: Some(secs(10)), ..rule("late/#") }]);
    let _watched = world.hub.watch(&filters("late/+"));
    let late = world.publisher.channel(gauge("late/a")).expect("declared");
    for value in [1.0, 2.0] {
        let before = world.hub.view().seq();
        assert_eq!(world.publisher.set(late, value), before + 1);
    }
}

#[test]
fn an_idle_channel_is_stale_later_and_whoever_comes_waits_for_the_next_reading() {
    let world = World::new(vec![Rule { idle_every: Some(secs(60)), ..rule("a") }]);
    let stale = |second: u64| {
        world.clock.0.store(second as u32, Release);
        world.hub.expire(at(second));
        world.state(world.a).status == Status::Stale
    };
    assert!(world.read(0));
    assert_eq!(world.state(world.a).channel.stale_after, Some(secs(3)), "as its source says");
    assert!(!stale(170));
    let watched = world.hub.watch(&Filters::all());
    assert!(!stale(173));
    assert!(stale(174));
    drop(watched);
    assert!(world.read(200));
    assert!(!stale(380));
    assert!(stale(381));
    world.rules(vec![Rule { idle_every: Some(secs(60)), stale_after: Some(secs(5)), ..rule("a") }]);
    assert!(world.read(400));
    assert!(!stale(405));
    assert!(stale(406), "what a rule says counts");
}
