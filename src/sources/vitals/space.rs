//! How much room there is on a file system, asked where the answer may be late.
//!
//! statvfs(3) waits for ever on a network file system whose server is gone,
//! and on one in user space whose program hangs. So each mount point has a
//! thread of its own that asks; the sampler leaves a question there and takes
//! an answer, and waits for neither.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread,
    time::Duration,
};

use crate::{fault, telemetry::BootTime};

/// How old a question may grow until its mount point counts as one that does
/// not answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most threads; the ones that hang count.
pub(super) const MAX_THREADS: usize = 32;

/// The room of one file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Space {
    pub size: u64,
    pub free: u64,
    /// Of `free`, what is not kept for the administrator.
    pub available: u64,
}

/// Asks the kernel for the room at a path; a test hands in its own.
pub(crate) type Statvfs = Arc<dyn Fn(&Path) -> io::Result<Space> + Send + Sync>;

/// statvfs(3).
pub(crate) fn statvfs(path: &Path) -> io::Result<Space> {
    // 32 bits wide on some boards, 64 on others.
    fn bytes(unit: u64, count: impl Into<u64>) -> u64 {
        unit.saturating_mul(count.into())
    }
    let seen = nix::sys::statvfs::statvfs(path)?;
    let unit = bytes(1, seen.fragment_size());
    Ok(Space {
        size: bytes(unit, seen.blocks()),
        free: bytes(unit, seen.blocks_free()),
        available: bytes(unit, seen.blocks_available()),
    })
}

/// Starts the threads that ask, and bounds their number.
pub(super) struct Askers {
    statvfs: Statvfs,
    /// Each thread holds one more of it, until it ends.
    alive: Arc<()>,
}

impl fmt::Debug for Askers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Askers").field("alive", &self.alive()).finish_non_exhaustive()
    }
}

impl Askers {
    pub(super) fn new(statvfs: Statvfs) -> Self {
        Self { statvfs, alive: Arc::new(()) }
    }

    fn alive(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }

    /// Starts the thread for one mount point; it ends with the `Asker`, or
    /// when the question that it hangs in returns.
    pub(super) fn start(&self, path: PathBuf) -> Result<Asker, String> {
        if self.alive() >= MAX_THREADS {
            return Err(format!("{MAX_THREADS} file systems are asked already"));
        }
        // Room for one, so that neither side ever waits to hand over.
        let (ask, questions) = sync_channel::<()>(1);
        let (answer, answers) = sync_channel(1);
        let (statvfs, alive) = (self.statvfs.clone(), self.alive.clone());
        let run = move || {
            while questions.recv().is_ok() && answer.send(statvfs(&path)).is_ok() {}
            drop(alive);
        };
        let thread = thread::Builder::new().name("bc-fs".into()).stack_size(64 * 1024);
        fault::spawn(thread, run).map_err(|error| format!("no thread to ask with: {error}"))?;
        Ok(Asker { ask, answers, open: None, last: None })
    }
}

/// What asks one mount point. At most one question is open at a time.
#[derive(Debug)]
pub(super) struct Asker {
    ask: SyncSender<()>,
    answers: Receiver<io::Result<Space>>,
    /// Since when a question is open.
    open: Option<BootTime>,
    last: Option<Result<Space, String>>,
}

impl Asker {
    /// Asks, unless a question is open.
    pub(super) fn ask(&mut self, at: BootTime) {
        self.listen();
        if self.open.is_none() && self.ask.try_send(()).is_ok() {
            self.open = Some(at);
        }
    }

    /// The last answer, or why there is none; `None` as long as the first one
    /// may still come.
    pub(super) fn answer(&mut self, at: BootTime) -> Option<Result<Space, String>> {
        self.listen();
        if self.open.is_some_and(|asked| at.since(asked) >= PATIENCE) {
            return Some(Err("does not answer".into()));
        }
        self.last.clone()
    }

    fn listen(&mut self) {
        match self.answers.try_recv() {
            Ok(answer) => {
                self.open = None;
                self.last = Some(answer.map_err(|error| error.to_string()));
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                self.open = None;
                self.last = Some(Err("its thread has ended".into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Instant};

    use super::{super::trees::at, *};

    const ROOM: Space = Space { size: 100, free: 60, available: 50 };

    /// Waits for something that another thread does.
    fn wait_until(mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(10), "waited in vain");
            thread::yield_now();
        }
    }

    /// A file system that answers when it is told to.
    fn slow() -> (SyncSender<()>, Askers) {
        let (release, gate) = sync_channel(0);
        let gate = Mutex::new(gate);
        let ask = move |_: &Path| {
            // An error is a test that has ended.
            let _ = gate.lock().expect("no panic").recv();
            Ok(ROOM)
        };
        (release, Askers::new(Arc::new(ask)))
    }

    #[test]
    fn a_question_hangs_and_nothing_waits_for_it() {
        let (release, askers) = slow();
        let mut asker = askers.start("/mnt/nas".into()).expect("started");
        asker.ask(at(1.0));
        assert_eq!(asker.answer(at(1.0)), None);
        // Further ticks ask nothing further.
        for second in [2.0, 2.9] {
            asker.ask(at(second));
            assert_eq!(asker.answer(at(second)), None);
        }
        assert_eq!(asker.answer(at(3.0)), Some(Err("does not answer".into())));
        release.send(()).expect("it was asked");
        wait_until(|| asker.answer(at(3.0)) == Some(Ok(ROOM)));
        // It is asked again only now; meanwhile its last answer counts.
        asker.ask(at(4.0));
        assert_eq!(asker.answer(at(5.0)), Some(Ok(ROOM)));
        assert_eq!(asker.answer(at(6.0)), Some(Err("does not answer".into())));
    }

    #[test]
    fn threads_that_hang_are_bounded_and_end_when_their_question_returns() {
        let (release, askers) = slow();
        for _ in 0..MAX_THREADS {
            let mut asker = askers.start("/".into()).expect("started");
            asker.ask(at(0.0));
        }
        // The mount points are gone, their threads are not.
        let refused = askers.start("/".into()).expect_err("one too many");
        assert!(refused.contains("32"), "{refused}");
        drop(release);
        wait_until(|| askers.alive() == 0);
        assert!(askers.start("/".into()).is_ok());
    }

    #[test]
    fn an_error_is_an_answer() {
        let askers = Askers::new(Arc::new(|_: &Path| Err(io::Error::from_raw_os_error(13))));
        let mut asker = askers.start("/".into()).expect("started");
        asker.ask(at(0.0));
        wait_until(|| asker.answer(at(0.0)).is_some());
        let error = asker.answer(at(0.0)).and_then(Result::err).expect("an error");
        assert!(error.contains("denied"), "{error}");
    }

    #[test]
    fn a_thread_that_ended_is_said_so() {
        let askers = Askers::new(Arc::new(|_: &Path| panic!("a fault, on purpose")));
        let mut asker = askers.start("/".into()).expect("started");
        asker.ask(at(0.0));
        wait_until(|| matches!(asker.answer(at(0.0)), Some(Err(_))));
        asker.ask(at(1.0));
        assert_eq!(asker.answer(at(9.0)), Some(Err("its thread has ended".into())));
    }

    #[test]
    fn the_root_of_this_machine_has_room() {
        let space = statvfs(Path::new("/")).expect("it is there");
        assert!(space.size > 0 && space.free <= space.size && space.available <= space.free);
        assert!(statvfs(Path::new("/no/such/place")).is_err());
    }
}
