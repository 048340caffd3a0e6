use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::*;
use crate::telemetry::{Clock, HubSettings, Rule, Rules, Status, rule};

/// A clock that stands where the test sets it, 1,000,000 s ahead of boot time.
#[derive(Debug, Default)]
struct Fixed {
    boot: AtomicU64,
    unsynced: AtomicBool,
}

impl Clock for Fixed {
    fn boot(&self) -> BootTime {
        BootTime::new(Duration::from_secs(self.boot.load(Relaxed)))
    }
    fn wall(&self) -> f64 {
        self.boot.load(Relaxed) as f64 + 1e6
    }
    fn synced(&self) -> bool {
        !self.unsynced.load(Relaxed)
    }
}

fn hub(settings: HubSettings) -> (Hub, Arc<Fixed>) {
    let clock = Arc::new(Fixed { boot: AtomicU64::new(1000), ..Fixed::default() });
    (Hub::with_clock(settings, clock.clone()), clock)
}

fn push(intake: &Intake, lines: &str) -> Vec<String> {
    let mut turn = intake.turn();
    let refused = lines.lines().filter_map(|line| turn.line(line.as_bytes()).err());
    let refused = refused.map(|why| why.to_string()).collect();
    turn.publish();
    refused
}

/// Name, value and the age of each channel.
fn latest(hub: &Hub) -> Vec<(String, Value, u64)> {
    let view = hub.view();
    let states = view.channels().iter();
    let now = hub.clock().boot();
    let one = |state: &crate::telemetry::ChannelState| {
        (state.channel.name.to_string(), state.value.clone(), now.since(state.at).as_secs())
    };
    states.map(one).collect()
}

#[test]
fn channels_are_declared_on_first_mention_and_described_by_their_first_value() {
    let (hub, _) = hub(HubSettings::default());
    let intake = Intake::new(&hub, "stdin");
    let lines = "a=1 door=true\n\n# nothing\nnote=\"x\"\n[{\"n\":\"t\",\"u\":\"Cel\",\"v\":20}]";
    assert_eq!(push(&intake, lines), [""; 0]);
    let view = hub.view();
    let described: Vec<_> = view
        .channels()
        .iter()
        .map(|state| (state.channel.kind.as_str(), state.channel.unit.as_deref(), &*state.source))
        .collect();
    assert_eq!(
        described,
        [
            ("gauge", None, "stdin"),
            ("state", None, "stdin"),
            ("state", None, "stdin"),
            ("gauge", Some("Cel"), "stdin")
        ]
    );
    assert_eq!(view.seq(), 1, "what arrives together is one batch");
    drop(view);
    let counts = intake.counts();
    assert_eq!([&counts.lines, &counts.bad_lines, &counts.values].map(Counter::get), [5, 0, 4]);
    assert_eq!(push(&intake, "[{\"n\":\"t\",\"u\":\"K\",\"v\":293}]"), [""; 0]);
    assert_eq!(hub.view().channels()[3].channel.unit.as_deref(), Some("K"));
    drop(intake);
    assert!(hub.view().channels().iter().all(|state| state.status == Status::Gone));
}

#[test]
fn a_channel_of_another_source_and_one_too_many_are_told_and_the_rest_is_taken() {
    let (hub, _) = hub(HubSettings { max_channels: 2, ..HubSettings::default() });
    let (first, second) = (Intake::new(&hub, "socket"), Intake::new(&hub, "udp"));
    assert_eq!(push(&first, "a=1"), [""; 0]);
    let refused = push(&second, "a=2 b=3\nc=4 b=5\nb=6");
    assert_eq!(refused.len(), 2);
    assert!(refused[0].contains("channel a belongs to source socket"), "{refused:?}");
    assert!(refused[1].contains("2 channels already"), "{refused:?}");
    let latest = latest(&hub);
    assert_eq!((&latest[0].1, &latest[1].1), (&Value::Number(1.0), &Value::Number(6.0)));
    assert_eq!(second.counts().bad_lines.get(), 2);
}

#[test]
fn every_value_of_many_lines_is_in_a_batch_in_its_order() {
    let (hub, _) = hub(HubSettings::default());
    let intake = Intake::new(&hub, "socket");
    let lines: String = (0..10_000).map(|n| format!("c{}={n}\n", n % 100)).collect();
    assert_eq!(push(&intake, &lines), [""; 0]);
    let view = hub.view();
    let mut next: Vec<f64> = (0..100).map(f64::from).collect();
    for seq in 1..=view.seq() {
        for (id, values) in view.batch(seq).expect("in the ring").columns() {
            for value in values {
                let expected = &mut next[id.get() as usize];
                assert_eq!(*value, Value::Number(*expected));
                *expected += 100.0;
            }
        }
    }
    assert!(next.iter().all(|&next| next >= 10_000.0));
    assert!(view.seq() <= 20, "{} batches", view.seq());
}

#[test]
fn stamps_are_kept_when_the_clock_is_right_and_never_hide_what_is_newer() {
    let (hub, clock) = hub(HubSettings::default());
    let intake = Intake::new(&hub, "http");
    let stamped = |name: &str, value: u32, at: u64| format!("{name} value={value} {at}000000000");
    let lines = [
        stamped("late", 1, 1_000_940),
        stamped("late", 2, 1_000_990),
        stamped("late", 3, 1_000_950),
        stamped("ahead", 4, 1_009_999),
        "[{\"n\":\"ago\",\"t\":-30,\"v\":5}]".into(),
    ];
    assert_eq!(push(&intake, &lines.join("\n")), [""; 0]);
    let expected = [("late", 2.0, 10), ("ahead", 4.0, 0), ("ago", 5.0, 30)];
    let expected = expected.map(|(name, value, age)| (name.to_owned(), Value::from(value), age));
    assert_eq!(latest(&hub), expected);
    let refused = push(&intake, "seconds value=1 1000990");
    assert!(refused[0].contains("nanoseconds"), "{refused:?}");

    clock.unsynced.store(true, Relaxed);
    clock.boot.store(1100, Relaxed);
    hub.expire(hub.clock().boot());
    assert_eq!(push(&intake, &stamped("late", 6, 1_000_991)), [""; 0]);
    assert_eq!(latest(&hub)[0], ("late".into(), Value::Number(6.0), 0));
}

#[test]
fn a_statsd_gauge_with_a_sign_changes_what_it_was() {
    let (hub, _) = hub(HubSettings::default());
    let intake = Intake::new(&hub, "udp");
    assert_eq!(push(&intake, "g:10|g\ng:+4|g\ng:-2.5|g\nh:-1|g"), [""; 0]);
    let latest = latest(&hub);
    assert_eq!((&latest[0].1, &latest[1].1), (&Value::Number(11.5), &Value::Number(-1.0)));
}

#[test]
fn refused_lines_are_logged_once_a_minute() {
    let (hub, clock) = hub(HubSettings::default());
    let intake = Intake::new(&hub, "udp");
    for (now, told) in [(1000, 1000), (1059, 1000), (1061, 1061)] {
        clock.boot.store(now, Relaxed);
        assert_eq!(push(&intake, "nonsense").len(), 1);
        let complained = intake.turn().state.complained.expect("told");
        assert_eq!(complained.since_boot().as_secs(), told);
    }
}

/// Each channel: its name and its status.
fn statuses(hub: &Hub) -> Vec<(String, String)> {
    let view = hub.view();
    let status = |status: &Status| match status {
        Status::Error(why) => why.to_string(),
        status => status.as_str().to_owned(),
    };
    let channels = view.channels().iter();
    channels.map(|state| (state.channel.name.to_string(), status(&state.status))).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, status)| ((*name).into(), (*status).into())).collect()
}

#[test]
fn a_failure_is_told_at_every_channel_until_its_next_reading() {
    let hub = Hub::new(HubSettings::default());
    let intake = Intake::new(&hub, "gpu");
    let second = Duration::from_secs(1);
    intake.describe(Some(ChannelName::new("pi").expect("a name")), Some(second));
    intake.fail("no such program");
    intake.fail("still none");
    assert_eq!(statuses(&hub), pairs(&[("gpu", "still none")]));
    let mut turn = intake.turn();
    turn.line(b"a=1 b=2").expect("fine");
    drop(turn);
    intake.fail("killed");
    assert_eq!(statuses(&hub), pairs(&[("gpu", "gone"), ("pi/a", "killed"), ("pi/b", "killed")]));
    assert_eq!(hub.view().channels()[1].value, Value::Number(1.0), "it was published before");
    assert_eq!(hub.view().channels()[1].channel.stale_after, Some(second));
    let mut turn = intake.turn();
    turn.line(b"a=3").expect("fine");
    turn.publish();
    drop(turn);
    assert_eq!(statuses(&hub), pairs(&[("gpu", "gone"), ("pi/a", "ok"), ("pi/b", "killed")]));
}

#[test]
fn a_channel_of_the_source_s_own_name_tells_the_failure_and_then_the_readings() {
    let hub = Hub::new(HubSettings::default());
    let intake = Intake::new(&hub, "gpu");
    intake.fail("not there");
    let mut turn = intake.turn();
    turn.line(b"gpu=48.5").expect("fine");
    turn.publish();
    drop(turn);
    assert_eq!(statuses(&hub), pairs(&[("gpu", "ok")]));
    assert_eq!(hub.view().channels()[0].channel.kind, crate::telemetry::Kind::Gauge);
}

#[test]
fn one_that_is_closed_takes_nothing_and_its_end_harms_no_successor() {
    let hub = Hub::new(HubSettings::default());
    let old = Intake::new(&hub, "gpu");
    let mut turn = old.turn();
    turn.line(b"a=1").expect("fine");
    turn.publish();
    drop(turn);
    old.close();
    assert_eq!(statuses(&hub), pairs(&[("a", "gone")]));
    let new = Intake::new(&hub, "gpu");
    let mut turn = new.turn();
    turn.line(b"a=2").expect("fine");
    turn.publish();
    drop(turn);
    let mut turn = old.turn();
    turn.line(b"b=1").expect_err("closed");
    let _ = turn.line(b"a=9");
    turn.publish();
    drop(turn);
    old.fail("late");
    drop(old);
    assert_eq!(statuses(&hub), pairs(&[("a", "ok")]));
    assert_eq!(hub.view().channels()[0].value, Value::Number(2.0));
}

#[test]
fn hidden_channels_take_no_room_and_come_when_they_are_hidden_no_more() {
    let (hub, _) = hub(HubSettings { max_channels: 3, ..HubSettings::default() });
    let intake = Intake::new(&hub, "socket");
    hub.set_rules(Rules(vec![Rule { hide: Some(true), ..rule("junk/#") }]));
    let lines: String =
        (0..10_000).map(|n| format!("junk/{n}={n} junk/again={n} a={n}\n")).collect();
    assert_eq!(push(&intake, &lines), [""; 0]);
    assert_eq!(latest(&hub), [("a".into(), Value::from(9999.0), 0)]);
    assert_eq!(intake.turn().state.known.len(), 1, "nobody fills memory with names");
    assert!(!intake.turn().is_waiting());
    assert_eq!(push(&intake, &"junk/again=1\n".repeat(3000)), [""; 0]);
    assert_eq!(hub.view().channels().len(), 1);
    hub.set_rules(Rules::default());
    assert_eq!(push(&intake, "junk/again=5"), [""; 0]);
    assert_eq!(latest(&hub)[1], ("junk/again".into(), Value::from(5.0), 0));
}

#[test]
fn who_loses_a_channel_while_it_is_hidden_is_told_and_has_it_again_when_it_is_free() {
    let (hub, _) = hub(HubSettings::default());
    let (first, second) = (Intake::new(&hub, "gps"), Intake::new(&hub, "socket"));
    assert_eq!(push(&first, "a=1"), [""; 0]);
    hub.set_rules(Rules(vec![Rule { hide: Some(true), ..rule("a") }]));
    assert_eq!(push(&first, "a=2"), [""; 0]);
    hub.set_rules(Rules::default());
    assert_eq!(push(&first, "b=3"), [""; 0], "it lives, and says nothing of a");
    assert_eq!(push(&second, "a=3"), [""; 0]);
    let refused = push(&first, "a=4 b=5");
    assert!(refused[0].contains("channel a belongs to source socket"), "{refused:?}");
    drop(second);
    assert_eq!(push(&first, "a=6"), [""; 0]);
    assert_eq!(latest(&hub)[0].1, Value::Number(6.0));
}
