//! Rules for channels and demand, as clients of the stream meet them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use boardcast::{
    sources::{Readings, Sampler, Source},
    telemetry::{BootTime, Channel, Filter, Rule, Rules},
};

use crate::fixture::*;

/// A rule that says nothing so far.
fn rule(filter: &str) -> Rule {
    Rule::new(Filter::parse(filter).expect("valid"))
}

/// Counts how often it is asked.
struct Asked(Arc<AtomicU64>);

impl Source for Asked {
    fn name(&self) -> &str {
        "asked"
    }

    fn sample(&mut self, _: BootTime, readings: &mut Readings) {
        readings.push(Channel::gauge("slow"), self.0.fetch_add(1, Relaxed) + 1);
    }
}

#[test]
fn a_viewer_that_connects_makes_an_idle_channel_come_at_its_full_rate() {
    let board = Board::start();
    let hour = Duration::from_secs(3600);
    board.hub.set_rules(Rules(vec![Rule { idle_every: Some(hour), ..rule("slow") }]));
    let asked = Arc::<AtomicU64>::default();
    let mut sampler = Sampler::new(board.hub.clone(), Duration::from_secs(1));
    sampler.add(Asked(asked.clone()));
    // Ticks are made by hand: an instant is what the test says, not the machine.
    let start = board.hub.clock().boot();
    let mut second = 0;
    let mut tick = || {
        second += 1;
        sampler.tick(start + Duration::from_secs(second));
    };
    (0..5).for_each(|_| tick());
    assert_eq!(asked.load(Relaxed), 2, "rates would need two looks");
    // A look at the latest values does not wake it, nor does another channel.
    assert_eq!(get(board.engine.address, "/api/latest").status, 200);
    let mut other = Client::connect(board.engine.address, "/ws?channels=count");
    other.next("subscribed");
    tick();
    assert_eq!(asked.load(Relaxed), 2);

    let mut client = Client::connect(board.engine.address, "/ws?channels=slow");
    assert_eq!(client.next("data")["values"]["slow"], 1, "the latest, however old");
    for value in 3..=20 {
        tick();
        assert_eq!(client.next("data")["values"]["slow"], value);
    }
    assert_eq!(asked.load(Relaxed), 20);
    client.say(r#"{"type":"subscribe","channels":["count"]}"#);
    client.next("subscribed");
    tick();
    assert_eq!(asked.load(Relaxed), 20, "nobody watches it any more");

    let mut client = Client::connect(board.engine.address, "/ws");
    client.next("data");
    tick();
    assert_eq!(asked.load(Relaxed), 21);
    drop(client);
    // The server notices in its own time.
    wait_for("an idle channel", || {
        let before = asked.load(Relaxed);
        tick();
        (asked.load(Relaxed) == before).then_some(())
    });
}

#[test]
fn new_rules_reach_those_who_are_connected() {
    let board = Board::start();
    board.publish();
    let mut client = board.client();
    client.next("data");
    let doubled = Rule { scale: Some(2.0), label: Some("Doubled".into()), ..rule("count") };
    board.hub.set_rules(Rules(vec![doubled]));
    assert_eq!(client.next("channels")["channels"][0]["label"], "Doubled");
    let seq = board.publish();
    assert_eq!(client.next("data")["values"]["count"], 2 * seq);
    board.hub.set_rules(Rules(vec![Rule { hide: Some(true), ..rule("#") }]));
    let told = client.next("channels");
    assert_eq!(told["channels"][0]["status"], "gone");
    assert_eq!(board.publish(), seq, "nothing is taken");
    board.hub.set_rules(Rules::default());
    let seq = board.publish();
    assert_eq!(client.next("channels")["channels"][0]["status"], "ok");
    assert_eq!(client.next("data")["values"]["count"], seq);
}
