//! A lane, ticked by hand, with a device that answers when it is told to.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Instant,
};

use super::*;
use crate::telemetry::{Channel, Clock, Filters, HubSettings, Rule, Rules, Status, rule};

/// The board's clock, set by the test.
#[derive(Debug, Default)]
struct Hand(Mutex<Duration>);

impl Clock for Hand {
    fn boot(&self) -> BootTime {
        BootTime::new(*self.0.lock().expect("no panic"))
    }
    fn wall(&self) -> f64 {
        0.0
    }
    fn synced(&self) -> bool {
        false
    }
}

/// A device that says what the test hands it, and hangs as long as that is
/// nothing.
struct Told(Receiver<f64>);

impl Device for Told {
    fn read(&mut self, watch: &Watch, readings: &mut Readings) -> Round {
        let told = watch.over(Path::new("/sys/told"), || self.0.recv()).unwrap_or(-1.0);
        assert!(told < 99.0, "planted");
        readings.push(Channel::gauge("told"), told);
        Round::Done
    }
}

struct World {
    clock: Arc<Hand>,
    hub: Hub,
    alive: Arc<()>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::<Hand>::default();
        let hub = Hub::with_clock(HubSettings::default(), clock.clone());
        Self { clock, hub, alive: Arc::new(()) }
    }

    fn lane(&self) -> (Lane, Sender<f64>) {
        let (tell, told) = channel();
        let second = Duration::from_secs(1);
        let publication = Publication::new(Arc::new(self.hub.publisher("test")), second);
        let members: Vec<Member> = vec![(Box::new(Told(told)), publication)];
        let lane = Lane::start("told", second, &self.hub, members, self.alive.clone());
        (lane.expect("a thread"), tell)
    }

    fn at(&self, seconds: u64) -> BootTime {
        *self.clock.0.lock().expect("no panic") = Duration::from_secs(seconds);
        self.clock.boot()
    }

    fn status(&self) -> Option<(Status, Option<f64>)> {
        let view = self.hub.view();
        view.channels().first().map(|state| (state.status.clone(), state.value.as_f64()))
    }

    #[track_caller]
    fn wait_for(&self, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < Duration::from_secs(10), "in vain: {:?}", self.status());
            thread::yield_now();
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_read_that_hangs_is_stale_then_an_error_then_well_again() {
    let world = World::new();
    let (mut lane, tell) = world.lane();
    tell.send(1.0).expect("it reads");
    world.wait_for(|world| world.status() == Some((Status::Ok, Some(1.0))));
    world.wait_for(|_| lane.settled());
    lane.tick(world.at(1), SECOND);
    world.wait_for(|_| lane.shared.watch.lock().since.is_some());
    let now = world.at(5);
    lane.tick(now, SECOND);
    world.hub.expire(now);
    assert_eq!(world.status(), Some((Status::Stale, Some(1.0))));
    lane.tick(world.at(9), SECOND);
    let (status, value) = world.status().expect("it is there");
    assert!(matches!(&status, Status::Error(why) if why.starts_with("/sys/told: no answer")));
    assert_eq!(value, Some(1.0));
    tell.send(2.0).expect("it reads");
    world.wait_for(|world| world.status() == Some((Status::Ok, Some(2.0))));
    world.wait_for(|_| !lane.shared.lock().hung);
}

#[test]
fn a_device_that_never_answered_is_one_channel_until_it_does() {
    let world = World::new();
    let (mut lane, tell) = world.lane();
    world.wait_for(|_| lane.shared.watch.lock().since.is_some());
    assert_eq!(world.status(), None);
    for second in [9, 10] {
        lane.tick(world.at(second), SECOND);
        let view = world.hub.view();
        let [state] = view.channels() else { panic!("one channel") };
        assert_eq!(state.channel.name.as_str(), "test/told");
        assert!(matches!(&state.status, Status::Error(why) if why.contains("no answer")));
    }
    tell.send(1.0).expect("it reads");
    world.wait_for(|_| lane.settled());
    let view = world.hub.view();
    let statuses: Vec<_> = view.channels().iter().map(|state| state.status.clone()).collect();
    assert_eq!(statuses, [Status::Gone, Status::Ok]);
}

#[test]
fn a_lane_that_hangs_can_be_given_up_and_says_nothing_afterwards() {
    let world = World::new();
    let (lane, tell) = world.lane();
    tell.send(1.0).expect("it reads");
    world.wait_for(|world| world.status().is_some());
    let mut lane = lane;
    world.wait_for(|_| lane.settled());
    lane.tick(world.at(1), SECOND);
    world.wait_for(|_| lane.shared.watch.lock().since.is_some());
    drop(lane);
    assert_eq!(world.status(), Some((Status::Gone, Some(1.0))));
    tell.send(2.0).expect("it still hangs");
    world.wait_for(|world| Arc::strong_count(&world.alive) == 1);
    assert_eq!(world.status(), Some((Status::Gone, Some(1.0))));
}

#[test]
fn a_device_that_panics_fails_and_is_asked_no_more() {
    let world = World::new();
    let (mut lane, tell) = world.lane();
    tell.send(1.0).expect("it reads");
    world.wait_for(|_| lane.settled());
    lane.tick(world.at(1), SECOND);
    tell.send(100.0).expect("it reads");
    world.wait_for(|world| Arc::strong_count(&world.alive) == 1);
    lane.tick(world.at(60), SECOND);
    let (status, value) = world.status().expect("it is there");
    assert_eq!((status, value), (Status::Error(FAULT.into()), Some(1.0)));
}

#[test]
fn a_slow_device_is_not_called_stale_for_being_slow() {
    let world = World::new();
    let (mut lane, tell) = world.lane();
    tell.send(1.0).expect("it reads");
    world.wait_for(|_| lane.settled());
    lane.tick(world.at(1), SECOND);
    world.wait_for(|_| lane.shared.watch.lock().since.is_some());
    world.at(6);
    tell.send(2.0).expect("it reads");
    world.wait_for(|_| !lane.shared.lock().busy);
    let stale_after = world.hub.view().channels()[0].channel.stale_after;
    assert_eq!(stale_after, Some(Duration::from_secs(15)));
}

/// The seconds at which a round begins, which then takes `takes` seconds.
fn rounds(
    world: &World,
    (lane, tell): &mut (Lane, Sender<f64>),
    seconds: std::ops::RangeInclusive<u64>,
    takes: u64,
) -> Vec<u64> {
    let mut rounds = Vec::new();
    for second in seconds {
        lane.tick(world.at(second), SECOND);
        if lane.shared.lock().asked || lane.shared.lock().busy {
            rounds.push(second);
            world.wait_for(|_| lane.shared.watch.lock().since.is_some());
            world.at(second + takes);
            tell.send(-(second as f64)).expect("it reads");
            world.wait_for(|_| !lane.shared.lock().asked && !lane.shared.lock().busy);
        }
    }
    rounds
}

#[test]
fn rounds_come_at_their_own_pace() {
    let world = World::new();
    let mut lane = world.lane();
    lane.0.every = Duration::from_secs(5);
    lane.1.send(0.0).expect("it reads");
    world.wait_for(|_| lane.0.settled());
    assert_eq!(rounds(&world, &mut lane, 1..=12, 0), [5, 10]);
}

#[test]
fn no_round_is_read_of_which_nothing_would_be_taken() {
    let world = World::new();
    let rule = Rule { every: Some(SECOND * 10), idle_every: Some(SECOND * 100), ..rule("told") };
    world.hub.set_rules(Rules(vec![rule]));
    let mut lane = world.lane();
    lane.1.send(0.0).expect("it reads");
    world.wait_for(|_| lane.0.settled());
    assert_eq!(rounds(&world, &mut lane, 1..=120, 0), [1, 95], "two, for rates");
    assert_eq!(world.status(), Some((Status::Ok, Some(-95.0))));
    let interest = world.hub.watch(&Filters::all());
    // At the next tick; then ten seconds apart, however long a round takes.
    assert_eq!(rounds(&world, &mut lane, 121..=142, 0), [121, 131, 141]);
    assert_eq!(rounds(&world, &mut lane, 143..=172, 2), [151, 161, 171]);
    assert_eq!(world.status(), Some((Status::Ok, Some(-171.0))));
    drop(interest);
    assert_eq!(rounds(&world, &mut lane, 175..=265, 0), [0; 0]);
    world.hub.set_rules(Rules(vec![]));
    assert_eq!(rounds(&world, &mut lane, 267..=269, 0), [267, 268, 269]);
}
