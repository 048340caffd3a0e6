//! What a viewer sees of rules that change, and what the hub knows of viewers.

use std::collections::BTreeMap;

use super::*;
use crate::telemetry::{Rule, Rules, rule};

fn take_json(viewer: &mut Viewer) -> Vec<serde_json::Value> {
    take_all(viewer, Instant::now()).iter().map(|text| json_of(text)).collect()
}

#[test]
fn a_viewer_is_told_what_rules_change_and_nothing_else() {
    let board = Board::new(&["a", "b"]);
    let rules = |rules: Vec<Rule>| board.hub.set_rules(Rules(rules));
    let (mut viewer, _) = board.asking(Encoding::Json, "");
    board.publish(&[(0, 1.0), (1, 1.0)]);
    take_json(&mut viewer);

    rules(vec![Rule { unit: Some("Cel".into()), scale: Some(0.5), ..rule("a") }]);
    let told = take_json(&mut viewer);
    assert_eq!(told.len(), 1, "{told:?}");
    let channels = told[0]["channels"].as_array().expect("a list");
    assert_eq!((&channels[0]["name"], &channels[0]["unit"]), (&"a".into(), &"Cel".into()));
    assert_eq!(channels.len(), 1, "b is as it was");
    board.publish(&[(0, 3.0), (1, 3.0)]);
    assert_eq!(take_json(&mut viewer)[0]["values"], serde_json::json!({"a": 1.5, "b": 3}));

    rules(vec![Rule { hide: Some(true), ..rule("b") }]);
    let told = take_json(&mut viewer);
    assert_eq!(told[0]["channels"][1]["status"], "gone");
    assert_eq!(told[0]["channels"][0].get("unit"), None, "as its source has it");
    board.publish(&[(0, 4.0), (1, 4.0)]);
    assert_eq!(take_json(&mut viewer)[0]["values"], serde_json::json!({"a": 4}));
    board.publish(&[(1, 5.0)]);
    assert!(take_json(&mut viewer).is_empty());

    rules(vec![]);
    assert!(take_json(&mut viewer).is_empty(), "nothing has come so far");
    let seq = board.publish(&[(1, 6.0)]);
    let told = take_json(&mut viewer);
    let back = &told[0]["channels"][0];
    assert_eq!(
        (&back["name"], &back["id"], &back["status"]),
        (&"b".into(), &1.into(), &"ok".into())
    );
    assert_eq!((&told[1]["seq"], &told[1]["values"]), (&seq.into(), &serde_json::json!({"b": 6})));
}

#[test]
fn a_viewer_watches_what_it_selects_as_long_as_it_is_there() {
    let board = Board::new(&["a", "b"]);
    let hour = Some(Duration::from_secs(3600));
    board.hub.set_rules(Rules(vec![Rule { idle_every: hour, ..rule("#") }]));
    let all = &[(0, 1.0), (1, 1.0)];
    // Which of the channels are in the next batch.
    let taken = || {
        let before = board.hub.view().seq();
        let seq = board.publish(all);
        let view = board.hub.view();
        let batch = view.batch(seq).filter(|_| seq > before);
        batch.map(|batch| batch.columns().map(|(id, _)| id.get()).collect::<Vec<_>>())
    };
    assert_eq!((taken(), taken()), (Some(vec![0, 1]), None));
    let (mut one, wishes) = board.asking(Encoding::Json, "channels=a");
    assert_eq!(taken(), None, "it is not greeted");
    take_json(&mut one);
    assert_eq!((taken(), taken()), (Some(vec![0]), Some(vec![0])));
    let (mut two, _) = board.asking(Encoding::Binary, "channels=a&max_hz=1");
    take_json(&mut two);
    board.ask_again(&wishes, "channels=b");
    take_json(&mut one);
    assert_eq!(taken(), Some(vec![0, 1]));
    drop(two);
    assert_eq!(taken(), Some(vec![1]));
    drop(one);
    assert_eq!(taken(), None);
    let (mut waits, _) = board.asking(Encoding::Json, "channels=");
    take_json(&mut waits);
    assert_eq!(taken(), None, "it watches nothing");
    let mut everyone = [(); 2].map(|()| viewer(&board.telemetry));
    everyone.iter_mut().for_each(|viewer| drop(take_json(viewer)));
    assert_eq!(taken(), Some(vec![0, 1]));
    let [one, two] = everyone;
    drop(one);
    assert_eq!(taken(), Some(vec![0, 1]));
    drop(two);
    assert_eq!(taken(), None);
}

/// What a client knows: of each channel its description and its last value.
#[derive(Debug, Default)]
struct Known {
    descriptions: BTreeMap<String, serde_json::Value>,
    values: BTreeMap<String, serde_json::Value>,
    seq: u64,
}

impl Known {
    fn hear(&mut self, message: &serde_json::Value) {
        for channel in message["channels"].as_array().into_iter().flatten() {
            // `subscribed` has a list of filters.
            if let Some(name) = channel["name"].as_str() {
                self.descriptions.insert(name.into(), channel.clone());
            }
        }
        if message["type"] != "data" {
            return;
        }
        self.seq = message["seq"].as_u64().expect("a number");
        for (name, value) in message["values"].as_object().expect("one row") {
            if !value.is_null() {
                self.values.insert(name.clone(), value.clone());
            }
        }
    }

    /// What a client learns that comes only now.
    fn of_newcomer(telemetry: &Telemetry) -> Self {
        let mut known = Self::default();
        take_json(&mut viewer(telemetry)).iter().for_each(|message| known.hear(message));
        known
    }
}

/// The same numbers at each run (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn rule(&mut self) -> Rule {
        let filter = ["#", "a/#", "+/0", "b/1", "c"][self.roll(5) as usize];
        let seconds = Some(Duration::from_secs(1 + self.roll(9)));
        match self.roll(9) {
            0 => Rule { label: Some(format!("label {}", self.roll(3))), ..rule(filter) },
            1 => Rule { unit: Some("V".into()), ..rule(filter) },
            2 => Rule { scale: Some(self.roll(5) as f64 - 2.0), ..rule(filter) },
            3 => Rule { offset: Some(self.roll(5) as f64), ..rule(filter) },
            4 => Rule { min: Some(-1.0), max: Some(1.0), ..rule(filter) },
            5 => Rule { hide: Some(self.roll(2) == 0), ..rule(filter) },
            6 => Rule { stale_after: seconds, ..rule(filter) },
            7 => Rule { every: seconds, ..rule(filter) },
            _ => Rule { idle_every: seconds, ..rule(filter) },
        }
    }
}

#[test]
fn whatever_the_rules_a_client_that_resumes_knows_what_the_hub_has() {
    let names = ["a/0", "a/1", "b/0", "b/1", "c"];
    let (mut resumed, mut hidden, mut shown) = (0, 0, 0);
    for seed in 1..=20 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let hub = Hub::new(HubSettings::default());
        hub.set_rules(Rules(vec![Rule { hide: Some(true), ..rule("+/0") }]));
        let publisher = hub.publisher("test");
        let telemetry = Telemetry::new(hub.clone());
        let mut now = hub.clock().boot();
        let (mut known, mut there) = (Known::default(), None);
        for _ in 0..150 {
            now = now + Duration::from_millis(500 + dice.roll(2000));
            if dice.roll(8) == 0 {
                let rules = (0..dice.roll(5)).map(|_| dice.rule()).collect();
                hub.set_rules(Rules(rules));
            }
            let mut batch = Batch::at(now);
            for name in names {
                let channel = Channel::gauge(name).expect("valid").range(0.0, 9.0);
                let id = publisher.channel(channel.stale_after(Duration::from_secs(3)));
                let id = id.expect("declared");
                match dice.roll(12) {
                    0 => publisher.fail(id, "broken"),
                    1 => publisher.gone(id),
                    2 => batch.set(id, Value::Null),
                    3..6 => {}
                    _ => batch.set(id, dice.roll(100)),
                }
            }
            publisher.publish(batch);
            hub.expire(now);
            match (dice.roll(5), &mut there) {
                (0, there @ Some(_)) => *there = None,
                (1 | 2, there @ None) => {
                    let query = format!("channels=%23&since={}:{}", hub.epoch(), known.seq);
                    let wishes = Arc::<Wishes>::default();
                    let asked = subscribe::from_query(&query).expect("valid").expect("asked");
                    wishes.leave(telemetry.first_wish(asked));
                    *there = Some(telemetry.viewer(Encoding::Json, wishes));
                }
                _ => {}
            }
            let Some(viewer) = &mut there else { continue };
            for message in take_json(viewer) {
                resumed += u32::from(message["recovered"] == true);
                known.hear(&message);
            }
            let fresh = Known::of_newcomer(&telemetry);
            assert_eq!(known.descriptions, fresh.descriptions, "seed {seed}");
            assert_eq!(known.values, fresh.values, "seed {seed}");
            let view = hub.view();
            assert_eq!(known.seq, view.seq());
            for state in view.channels() {
                let name = state.channel.name.as_str();
                let value = known.values.get(name).and_then(serde_json::Value::as_f64);
                assert_eq!(value, state.value.as_f64(), "{name}, seed {seed}");
                assert_eq!(known.descriptions[name]["status"], state.status.as_str());
                assert_eq!(
                    known.descriptions[name]["unit"].as_str(),
                    state.channel.unit.as_deref()
                );
                assert_eq!(known.descriptions[name]["max"].as_f64(), state.channel.max);
            }
            hidden += names.len() - view.channels().len();
            shown += view.channels().len();
        }
    }
    assert!(resumed > 150 && hidden > 30 && shown > 3000, "{resumed} {hidden} {shown}");
}
