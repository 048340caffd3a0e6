//! The thread that keeps history on disk.

use std::{
    io,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use super::{Archive, archive::Loaded};
use crate::fault::{self, Place};

/// How often it is asked whether the clock is right, while a file waits for that.
const LOOK: Duration = Duration::from_secs(1);

/// An [`Archive`] on a thread of its own: an SD card may take seconds, for
/// which nobody else has to wait.
#[derive(Debug)]
pub struct Keeper {
    /// A word, or its end, has the thread write for the last time.
    stop: Sender<()>,
    /// A word says that all is done; an end without one, that the thread has panicked.
    ended: Receiver<()>,
}

impl Keeper {
    /// Reads the file, now, if it can be placed; then writes it `every` so often.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(mut archive: Archive, every: Duration) -> io::Result<Self> {
        let loaded = archive.load();
        Self::spawn(move |told| keep(archive, every, loaded, told))
    }

    fn spawn(work: impl FnOnce(&Receiver<()>) + Send + 'static) -> io::Result<Self> {
        let (stop, told) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let run = move || {
            work(&told);
            // Nobody may wait for it any more.
            let _ = end.send(());
        };
        fault::spawn(thread::Builder::new().name("bc-history".into()).stack_size(256 * 1024), run)?;
        Ok(Self { stop, ended })
    }

    /// Has the file written for the last time, and does not wait for that.
    pub fn stopper(&self) -> impl FnOnce() + Send + use<> {
        let stop = self.stop.clone();
        move || {
            // A thread that is no more needs no telling.
            let _ = stop.send(());
        }
    }

    /// Has it written, if that was not asked for yet, and waits for at most
    /// `patience`; false when that was not enough, or the thread has panicked. The
    /// file is whole in every case.
    pub fn wait(self, patience: Duration) -> bool {
        self.stopper()();
        self.ended.recv_timeout(patience).is_ok()
    }
}

fn keep(mut archive: Archive, every: Duration, mut loaded: Loaded, told: &Receiver<()>) {
    let mut due = Instant::now() + every;
    loop {
        let left = due.saturating_duration_since(Instant::now());
        let sleep = if loaded == Loaded::Waiting { left.min(LOOK) } else { left };
        // A test wants to meet it in the middle of writing.
        let sleep = if fault::planted(Place::History) { Duration::ZERO } else { sleep };
        let told = told.recv_timeout(sleep) != Err(RecvTimeoutError::Timeout);
        loaded = archive.load();
        if told || Instant::now() >= due || sleep.is_zero() {
            if let Err(error) = archive.write() {
                log::warn!("{error}");
            }
            due = Instant::now() + every;
        }
        if told {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn only_a_thread_that_came_to_its_end_has_kept_everything() {
        let keeper = |work: fn(&Receiver<()>)| Keeper::spawn(work).expect("a thread");
        assert!(keeper(|told| told.recv().expect("a word")).wait(LONG));
        assert!(!keeper(|_| panic!("planted")).wait(LONG), "a panic");
        assert!(!keeper(|_| thread::sleep(LONG)).wait(Duration::ZERO), "a slow disk");
    }
}
