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
use crate::{
    fault,
    telemetry::{BootTime, Hub},
};

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
        fault::spawn(thread::Builder::new().name(short).stack_size(STACK), run)?;
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

    /// Whether its first round is still under way, and not known to hang.
    pub(super) fn is_new(&self) -> bool {
        let state = self.shared.lock();
        !state.settled && !state.hung
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
mod tests;
