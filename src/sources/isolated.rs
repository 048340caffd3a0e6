//! Readers that may hang, each on a thread of its own.
//!
//! A sensor on a bus that is stuck holds `read(2)` for seconds or for ever. So
//! each [`Device`] has a [`Lane`]: a thread that reads it, round by round, and
//! hands over what it read by itself. The sampler only says when a round is
//! due, waits for nothing, and notices when a file does not answer: then the
//! lane's channels get an error that names the file. When the file answers
//! after all, the next readings make them well again.
//!
//! A round costs a bus its time and a sensor its warmth, so there is none while
//! no reading of it would be taken: as the channels' rules have it, and who
//! watches. Whoever begins to watch is waited for by no more than a tick.
//!
//! A lane that is retired lets go of its channels at once; its thread ends
//! when it is next awake. Nobody joins it, so that a hung read holds up no end
//! of the program.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::{Readings, publication::Publication, sampler::FAULT};
use crate::telemetry::{BootTime, Hub};

/// How long a file may take. The slowest honest ones are gas sensors that wait
/// for their next measurement: 5 s (drivers/iio/chemical/scd4x.c).
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// What a lane's thread needs: a few frames, a directory that is listed.
const STACK: usize = 64 * 1024;

/// Something that is read by a lane.
pub(super) trait Device: Send {
    /// Reads what it has now, or the next part of it: what it puts into
    /// `readings` is published before it is asked for the rest. What a whole
    /// round does not mention is gone. All reads go through `watch`.
    fn read(&mut self, watch: &Watch, readings: &mut Readings) -> Round;
}

/// How far a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// There is more to read in this round.
    More,
    /// All was read.
    Done,
}

/// Which file is being read, and since when; looked at from outside.
#[derive(Debug)]
pub(super) struct Watch {
    hub: Hub,
    doing: Mutex<Doing>,
}

#[derive(Debug, Default)]
struct Doing {
    since: Option<BootTime>,
    path: PathBuf,
}

impl Watch {
    pub(super) fn new(hub: Hub) -> Self {
        Self { hub, doing: Mutex::default() }
    }

    /// The hub, for its clock.
    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Does something with a file that may hang.
    pub(super) fn over<T>(&self, path: &Path, work: impl FnOnce() -> T) -> T {
        let mut doing = self.lock();
        doing.since = Some(self.hub.clock().boot());
        // The room of the last path serves again.
        doing.path.clear();
        doing.path.push(path);
        drop(doing);
        let done = work();
        self.lock().since = None;
        done
    }

    /// Why a lane is late, when a file holds it up.
    fn overdue(&self, at: BootTime) -> Option<String> {
        let doing = self.lock();
        doing.since.filter(|since| at.since(*since) >= ANSWER_WITHIN)?;
        let (path, limit) = (doing.path.display(), ANSWER_WITHIN.as_secs());
        Some(format!(
            "{path}: no answer for more than {limit} s; its bus may be stuck: \
             check the wiring, switch the sensor off and on"
        ))
    }

    fn lock(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sampler's end of a thread that reads devices, one after the other.
#[derive(Debug)]
pub(super) struct Lane {
    shared: Arc<Shared>,
    every: Duration,
    /// When the last round was due.
    last: BootTime,
}

#[derive(Debug)]
struct Shared {
    name: String,
    state: Mutex<State>,
    bell: Condvar,
    watch: Watch,
}

#[derive(Debug)]
struct State {
    /// A round is due.
    asked: bool,
    /// A round is under way.
    busy: bool,
    retired: bool,
    /// A round was read to its end.
    settled: bool,
    /// How long the last round took: that much later come the readings of the
    /// next.
    took: Duration,
    /// It was said that it hangs.
    hung: bool,
    /// Of each device.
    publications: Vec<Publication>,
}

/// A device and what is published of it.
pub(super) type Member = (Box<dyn Device>, Publication);

impl Lane {
    /// Starts the thread; its first round begins at once, the further ones
    /// when [`tick`](Self::tick) finds that `every` has passed. `name` is what
    /// the thread is called; the kernel keeps 15 bytes of it.
    pub(super) fn start(
        name: &str,
        every: Duration,
        hub: &Hub,
        members: Vec<Member>,
        alive: Arc<()>,
    ) -> io::Result<Self> {
        let (mut devices, publications): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        let state = State {
            asked: true,
            busy: false,
            retired: false,
            settled: false,
            took: Duration::ZERO,
            hung: false,
            publications,
        };
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            state: Mutex::new(state),
            bell: Condvar::new(),
            watch: Watch::new(hub.clone()),
        });
        let own = shared.clone();
        let run = move || {
            own.run(&mut devices);
            drop(alive);
        };
        let short: String =
            format!("bc-src-{name}").chars().filter(char::is_ascii).take(15).collect();
        thread::Builder::new().name(short).stack_size(STACK).spawn(run)?;
        Ok(Self { shared, every, last: hub.clock().boot() })
    }

    /// Begins a round when one is due, to within half the sampler's `interval`,
    /// and its readings would be taken; says why when the last one does not end.
    pub(super) fn tick(&mut self, at: BootTime, interval: Duration) {
        let due = at.since(self.last) + interval / 2 >= self.every;
        let mut state = self.shared.lock();
        if !state.busy {
            let taken = at + state.took;
            if due && !state.asked && state.publications.iter().any(|of| of.wants(taken)) {
                state.asked = true;
                self.last = at;
                self.shared.bell.notify_one();
            }
            return;
        }
        let Some(reason) = self.shared.watch.overdue(at) else { return };
        if !state.hung {
            state.hung = true;
            log::warn!("{}: {reason}", self.shared.name);
        }
        for publication in &mut state.publications {
            publication.fail_unknown(&self.shared.name, &reason);
            publication.fail_all(&reason);
        }
    }

    /// Begins a round, whenever the next one is due.
    #[cfg(test)]
    pub(super) fn make_due(&mut self) {
        let mut state = self.shared.lock();
        if !state.busy {
            state.asked = true;
            self.shared.bell.notify_one();
        }
    }

    /// Whether it has read all of its devices at least once.
    pub(super) fn settled(&self) -> bool {
        self.shared.lock().settled
    }
}

impl Drop for Lane {
    /// Its channels are gone at once, whatever its thread hangs in.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.retired = true;
        for publication in &mut state.publications {
            publication.gone();
        }
        self.shared.bell.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads round after round until the lane is retired.
    fn run(&self, devices: &mut Vec<Box<dyn Device>>) {
        let mut readings = Readings::default();
        let clock = self.watch.hub().clock();
        while self.wait() {
            let begun = clock.boot();
            for (number, device) in devices.iter_mut().enumerate() {
                if !self.read(number, device.as_mut(), &mut readings) {
                    return;
                }
            }
            let mut state = self.lock();
            (state.busy, state.settled) = (false, true);
            state.took = clock.boot().since(begun);
            if std::mem::take(&mut state.hung) {
                log::info!("{}: it answers again", self.name);
            }
        }
    }

    /// Waits until a round is due; false when there are to be no more.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        while !state.asked && !state.retired {
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (state.asked, state.busy) = (false, true);
        !state.retired
    }

    /// One round of one device; false when there are to be no more.
    fn read(&self, number: usize, device: &mut dyn Device, readings: &mut Readings) -> bool {
        let clock = self.watch.hub().clock();
        let begun = clock.boot();
        loop {
            readings.clear();
            let read = AssertUnwindSafe(|| device.read(&self.watch, readings));
            let round = catch_unwind(read);
            let mut state = self.lock();
            if state.retired {
                return false;
            }
            let at = clock.boot();
            let publication = &mut state.publications[number];
            let Ok(round) = round else {
                log::error!("{}: {FAULT}", self.name);
                publication.fail_all(FAULT);
                self.watch.lock().since = None;
                // As if it hung for ever: it is asked no more.
                state.settled = true;
                return false;
            };
            publication.publish(at, readings);
            if round == Round::Done {
                publication.end_round();
                publication.took(at.since(begun));
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
        let rule =
            Rule { every: Some(SECOND * 10), idle_every: Some(SECOND * 100), ..rule("told") };
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
}
