//! A thread that waits for descriptors and can be told to stop.

use std::{
    convert::Infallible,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use crate::{
    fault,
    pulse::{Mark, Pulse},
};

/// The parser goes deeper than a connection does, but not by much.
const STACK: usize = 128 * 1024;

/// How long the end of a thread is waited for. A device that does not answer
/// holds it up, and must not hold up the end of the program.
const PATIENCE: Duration = Duration::from_secs(1);

/// An input that takes readings on a thread of its own; dropping it ends it
/// and waits for the thread, for a second at most. What it had read is
/// published before.
#[derive(Debug)]
pub struct Input {
    name: String,
    descriptors: usize,
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
    /// Hears that the thread lets go of the other end.
    ended: mpsc::Receiver<Infallible>,
}

impl Input {
    /// Starts a thread of this name, which must end soon after
    /// [`Bell::wait`] has said so, and takes so many descriptors at most.
    pub(in crate::sources) fn start(
        name: impl Into<String>,
        descriptors: usize,
        run: impl FnOnce(&Bell) + Send + 'static,
    ) -> io::Result<Self> {
        let bell = Arc::new(Bell::new()?);
        let own = bell.clone();
        let name = name.into();
        let (end, ended) = mpsc::channel();
        let run = move || {
            run(&own);
            drop(end);
        };
        let builder = thread::Builder::new().name(name.clone()).stack_size(STACK);
        let thread = fault::spawn(builder, run)?;
        // Its bell is one more.
        Ok(Self { name, descriptors: descriptors + 1, bell, thread: Some(thread), ended })
    }

    /// How many descriptors it takes at most.
    pub fn descriptors(&self) -> usize {
        self.descriptors
    }

    /// Tells it to end, and waits for nothing.
    pub(in crate::sources) fn stop(&self) {
        self.bell.stop();
    }

    /// Its thread, to be asked whether it still turns.
    pub fn pulse(&self) -> Pulse {
        let bell = self.bell.clone();
        Pulse::new(&*self.name, self.bell.mark.clone(), move || bell.ring())
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.bell.stop();
        let hangs = self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
        if let Some(thread) = self.thread.take().filter(|_| !hangs) {
            // A panic of it has been printed.
            let _ = thread.join();
        }
    }
}

/// What wakes an input's thread beside its descriptors.
#[derive(Debug)]
pub(in crate::sources) struct Bell {
    event: EventFd,
    stop: AtomicBool,
    mark: Arc<Mark>,
}

impl Bell {
    pub(in crate::sources) fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { event, stop: AtomicBool::new(false), mark: Arc::default() })
    }

    /// Wakes the thread.
    pub(in crate::sources) fn ring(&self) {
        // Full, it is readable all the same.
        let _ = self.event.write(1);
    }

    /// Tells the thread to end.
    pub(in crate::sources) fn stop(&self) {
        self.stop.store(true, Release);
        self.ring();
    }

    /// Whether the thread is to end.
    pub(in crate::sources) fn stopped(&self) -> bool {
        self.stop.load(Acquire)
    }

    /// Waits until one of the descriptors has something, or the time is over;
    /// `ready` gets a flag for each. False when the thread is to end. An input
    /// that cannot even wait ends, too: it would turn without rest.
    pub(in crate::sources) fn wait(
        &self,
        descriptors: &[BorrowedFd<'_>],
        time: Option<Duration>,
        ready: &mut Vec<bool>,
    ) -> bool {
        let all = std::iter::once(self.event.as_fd()).chain(descriptors.iter().copied());
        let mut polled: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // Up, so that the time is really over afterwards.
        let millis = time.map(|time| time.as_millis() as u64 + 1);
        let timeout = millis.map_or(PollTimeout::NONE, |millis| {
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        });
        let outcome = poll(&mut polled, timeout);
        self.mark.turned();
        let failed = outcome.is_err();
        let _ = self.event.read();
        ready.clear();
        // An end and an error are something to be read, too.
        ready.extend(polled[1..].iter().map(|fd| !failed && fd.any().unwrap_or(true)));
        if let Err(errno) = outcome {
            if errno != Errno::EINTR {
                log::error!("an input cannot wait and ends: {errno}");
                self.stop.store(true, Release);
            }
        }
        !self.stopped()
    }
}
