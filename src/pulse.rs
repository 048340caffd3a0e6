//! Whether the threads that matter still turn.
//!
//! A service manager's watchdog wants a sign of life at intervals. The threads
//! that matter sleep for as long as there is nothing to do, so none of them
//! gives one by itself. They are asked: a [`Watch`] hands each a ticket and
//! wakes it; the thread lets go of the ticket when it has turned; when all
//! tickets are gone, all have turned. A thread that hangs keeps its ticket, and
//! no sign is given until it goes on.
//!
//! Who is never asked pays one look at a flag a turn.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Relaxed, Release},
        },
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use crate::fault;

/// Nothing is ever sent: that the last one is dropped is the answer.
type Ticket = mpsc::Sender<Infallible>;

/// The thread's side of a [`Pulse`].
#[derive(Debug, Default)]
pub(crate) struct Mark {
    asked: AtomicBool,
    tickets: Mutex<Vec<Ticket>>,
}

impl Mark {
    /// Called by the thread in every turn.
    pub(crate) fn turned(&self) {
        if self.asked.load(Acquire) {
            let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
            self.asked.store(false, Relaxed);
            tickets.clear();
        }
    }

    fn ask(&self, ticket: Ticket) {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.push(ticket);
        self.asked.store(true, Release);
    }
}

/// A thread that can be asked whether it still turns.
#[derive(Clone)]
pub struct Pulse {
    name: String,
    mark: Arc<Mark>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pulse").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Pulse {
    /// `wake` makes the thread turn soon, and does not wait.
    pub(crate) fn new(
        name: impl Into<String>,
        mark: Arc<Mark>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), mark, wake: Arc::new(wake) }
    }

    fn ask(&self, ticket: Ticket) {
        // First the ticket: the thread may turn before `wake` returns.
        self.mark.ask(ticket);
        (self.wake)();
    }

    fn has_not_turned(&self) -> bool {
        self.mark.asked.load(Relaxed)
    }
}

/// Asks threads at intervals; dropping it ends that.
#[derive(Debug)]
pub struct Watch {
    _end: mpsc::Sender<Infallible>,
}

impl Watch {
    /// Asks all threads every `period`, and calls `alive` when all have turned
    /// since they were asked. It is not called while one of them hangs, which
    /// is logged, with its name, after another period.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        period: Duration,
        pulses: Vec<Pulse>,
        mut alive: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let (_end, end) = mpsc::channel();
        let run = move || {
            let mut due = Instant::now() + period;
            let until = |due: Instant| due.saturating_duration_since(Instant::now());
            while end.recv_timeout(until(due)) == Err(RecvTimeoutError::Timeout) {
                wait_for_all(&pulses, period);
                alive();
                // Late answers do not put the next question off.
                due = Instant::now().max(due + period);
            }
        };
        fault::spawn(
            thread::Builder::new().name("bc-watchdog".into()).stack_size(128 * 1024),
            run,
        )?;
        Ok(Self { _end })
    }
}

fn wait_for_all(pulses: &[Pulse], period: Duration) {
    let (ticket, all_gone) = mpsc::channel();
    for pulse in pulses {
        pulse.ask(ticket.clone());
    }
    drop(ticket);
    if all_gone.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
        let hung: Vec<_> = pulses.iter().filter(|pulse| pulse.has_not_turned()).collect();
        let names: Vec<_> = hung.iter().map(|pulse| pulse.name.as_str()).collect();
        log::error!("has not turned for {period:?}: {}", names.join(", "));
        // Ends when they go on; else the service manager ends the program.
        let _ = all_gone.recv();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A thread that turns when it is woken, until its waker is gone.
    fn turning(name: &str) -> Pulse {
        let mark = Arc::<Mark>::default();
        let (wake, woken) = mpsc::channel::<()>();
        let own = mark.clone();
        thread::spawn(move || woken.iter().for_each(|()| own.turned()));
        Pulse::new(name, mark, move || _ = wake.send(()))
    }

    #[test]
    fn a_sign_is_given_when_all_have_turned_and_again_at_the_next_period() {
        let (sign, signs) = mpsc::channel();
        let pulses = vec![turning("a"), turning("b")];
        let watch = Watch::start(Duration::from_millis(1), pulses, move || _ = sign.send(()))
            .expect("a thread");
        for _ in 0..3 {
            signs.recv_timeout(PATIENCE).expect("a sign");
        }
        drop(watch);
        while signs.recv_timeout(PATIENCE).is_ok() {}
        assert_eq!(signs.try_recv(), Err(mpsc::TryRecvError::Disconnected), "it ended");
    }

    #[test]
    fn no_sign_is_given_until_the_last_one_has_turned() {
        let slow = Arc::<Mark>::default();
        let (wake, woken) = mpsc::channel();
        let pulses =
            vec![turning("a"), Pulse::new("slow", slow.clone(), move || _ = wake.send(()))];
        let (sign, signs) = mpsc::channel();
        let _watch = Watch::start(Duration::from_millis(1), pulses, move || _ = sign.send(()))
            .expect("a thread");
        for _ in 0..3 {
            woken.recv_timeout(PATIENCE).expect("asked");
            assert_eq!(signs.try_recv(), Err(mpsc::TryRecvError::Empty), "it has not turned");
            slow.turned();
            signs.recv_timeout(PATIENCE).expect("a sign");
        }
    }
}
