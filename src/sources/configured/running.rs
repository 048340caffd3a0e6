//! A source's thread: started and stopped at any time, and never waited for
//! longer than it may take.

use std::{
    convert::Infallible,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use crate::{
    fault,
    sources::{Intake, inputs::Bell, sampler::FAULT},
};

/// Resolving a name goes deepest, in the C library's modules.
const STACK: usize = 256 * 1024;

/// How long the end of a thread is waited for that waits for nothing but its
/// bell. One that the system holds (a name that cannot be resolved, a dead
/// device) ends later, by itself.
const SOON: Duration = Duration::from_millis(250);

/// A source that runs. Dropping it stops it and waits until it has let go of
/// what it holds: 2.5 s at most for a command that will not end, else 0.25 s.
/// Its channels are gone then.
///
/// To stop many, [`stop`](Self::stop) all of them first.
pub struct RunningSource {
    intake: Intake,
    bell: Arc<Bell>,
    /// Nothing is ever sent: its other end goes with the thread.
    end: Receiver<Infallible>,
    patience: Duration,
    descriptors: usize,
}

impl fmt::Debug for RunningSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningSource").field("name", &self.intake.name()).finish_non_exhaustive()
    }
}

impl RunningSource {
    /// Starts a thread that publishes into `intake`, takes so many descriptors
    /// at most, and ends within `patience` after its bell has said so.
    pub(super) fn start(
        intake: Intake,
        descriptors: usize,
        patience: Duration,
        run: impl FnOnce(&Arc<Bell>) + Send + 'static,
    ) -> io::Result<Self> {
        let bell = Arc::new(Bell::new()?);
        let (own, its_bell) = (intake.clone(), bell.clone());
        let (held, end) = mpsc::channel();
        let run = move || {
            if catch_unwind(AssertUnwindSafe(|| run(&its_bell))).is_err() {
                log::error!("{}: {FAULT}", own.name());
                own.fail(FAULT);
            }
            drop(held);
        };
        let builder = thread::Builder::new().name(thread_name(intake.name())).stack_size(STACK);
        fault::spawn(builder, run)?;
        // Its bell is one more.
        Ok(Self { intake, bell, end, patience, descriptors: descriptors + 1 })
    }

    /// As [`start`](Self::start), for one that waits for nothing but its bell.
    pub(super) fn quick(
        intake: Intake,
        descriptors: usize,
        run: impl FnOnce(&Arc<Bell>) + Send + 'static,
    ) -> io::Result<Self> {
        Self::start(intake, descriptors, SOON, run)
    }

    /// Where its readings go in, for its name and its counts.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// How many descriptors it takes at most.
    pub fn descriptors(&self) -> usize {
        self.descriptors
    }

    /// Tells it to stop, and waits for nothing.
    pub fn stop(&self) {
        self.bell.stop();
    }
}

impl Drop for RunningSource {
    fn drop(&mut self) {
        self.stop();
        let _ = self.end.recv_timeout(self.patience);
        // Whatever its thread still does, nobody hears of it.
        self.intake.close();
    }
}

/// What a source's threads are called; the kernel keeps 15 bytes of a name.
pub(super) fn thread_name(source: &str) -> String {
    format!("bc-src-{source}").chars().filter(char::is_ascii).take(15).collect()
}
