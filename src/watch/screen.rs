//! The terminal: a table that is drawn in place.
//!
//! It uses the alternate screen, as `top` and `watch` do: at the end the
//! terminal looks as it did before. However the program ends, the cursor and
//! the screen are put right: signals that end or stop it come to one thread,
//! which does that first and then lets the signal do its work, so that a shell
//! sees what it expects (130 after Ctrl-C).

use std::{
    io::{self, Write},
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{SigSet, Signal, raise};

use super::{
    View,
    board::{Board, Heard},
    table::{Head, Size, screen},
};
use crate::{
    error::{Error, Result},
    sys::terminal_size,
};

/// The shortest time between two drawings.
const PERIOD: Duration = Duration::from_millis(200);
/// Ages are counted in seconds, and a window may change its size.
const IDLE: Duration = Duration::from_millis(500);
/// The alternate screen, no cursor, long lines cut.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// What ends the program or, the last, stops it for a while.
const SIGNALS: [Signal; 5] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP];

/// Whether the terminal understands what a drawing needs.
pub(super) fn is_able() -> bool {
    std::env::var("TERM").is_ok_and(|term| !term.is_empty() && term != "dumb")
}

/// A table on a terminal; leaves it when it is dropped.
pub(super) struct Screen {
    shared: Arc<Mutex<Drawn>>,
    url: String,
    state: String,
    live: bool,
    colours: bool,
    /// Something was heard since the last drawing.
    news: bool,
    at: Option<Instant>,
}

/// What the terminal shows; shared with the thread that takes the signals.
#[derive(Debug, Default)]
struct Drawn {
    /// The alternate screen is on.
    entered: bool,
    frame: String,
}

impl Drawn {
    fn draw(&mut self, frame: String) -> io::Result<()> {
        if self.entered && frame == self.frame {
            return Ok(());
        }
        let enter = if self.entered { "" } else { ENTER };
        self.entered = true;
        let mut out = io::stdout().lock();
        out.write_all(format!("{enter}{frame}").as_bytes())?;
        out.flush()?;
        self.frame = frame;
        Ok(())
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.entered) {
            let mut out = io::stdout().lock();
            // A terminal that is gone needs no putting right.
            let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
        }
    }
}

impl Screen {
    /// # Errors
    /// [`Error::Io`] when there is no thread for the signals.
    pub(super) fn open(url: &str) -> Result<Self> {
        let shared = Arc::<Mutex<Drawn>>::default();
        let failed = |error| Error::io("take care of the terminal", error);
        take_signals(shared.clone()).map_err(failed)?;
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let url = url.to_owned();
        Ok(Self { shared, url, state: String::new(), live: false, colours, news: true, at: None })
    }

    fn lock(&self) -> MutexGuard<'_, Drawn> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View for Screen {
    fn heard(&mut self, _: &str, heard: &Heard, _: &Board) -> io::Result<()> {
        self.news = true;
        if let Heard::Error(sentence) = heard {
            self.state = sentence.clone();
        }
        Ok(())
    }

    fn state(&mut self, sentence: &str, live: bool) -> io::Result<()> {
        (self.state, self.live, self.news) = (sentence.into(), live, true);
        Ok(())
    }

    fn tick(&mut self, board: &Board, now: Instant) -> io::Result<()> {
        if self.rest(now) > Duration::ZERO {
            return Ok(());
        }
        (self.at, self.news) = (Some(now), false);
        let (width, height) = terminal_size(io::stdout().as_fd()).unwrap_or((80, 24));
        let size = Size { width: width.into(), height: height.into() };
        let head = Head { url: &self.url, state: &self.state, live: self.live };
        let lines = screen(board, &head, size, self.colours, now);
        // Home, each line to its end, then nothing below: no flicker.
        let frame = format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"));
        self.lock().draw(frame)
    }

    fn rest(&self, now: Instant) -> Duration {
        let wait = if self.news { PERIOD } else { IDLE };
        self.at.map_or(Duration::ZERO, |at| (at + wait).saturating_duration_since(now))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.lock().leave();
    }
}

/// Threads that start later inherit the mask, so the signals come to the one
/// that waits for them, and to nobody else.
fn take_signals(shared: Arc<Mutex<Drawn>>) -> io::Result<()> {
    let mask: SigSet = SIGNALS.into_iter().collect();
    mask.thread_block()?;
    let taking = move || {
        loop {
            // It fails for a set that is no set, and when interrupted.
            let Ok(signal) = mask.wait() else { continue };
            let drawn = patiently(&shared).map(|mut drawn| {
                drawn.leave();
                drawn
            });
            // Its default action, now that this thread lets it through. It
            // comes back after a stop, or when the signal is ignored (nohup);
            // then the next drawing enters the screen anew.
            let one = SigSet::from(signal);
            let _ = one.thread_unblock().and_then(|()| raise(signal));
            let _ = one.thread_block();
            drop(drawn);
        }
    };
    thread::Builder::new().name("bc-signals".into()).spawn(taking).map(drop)
}

/// The lock, unless whoever has it is stuck: a terminal that was stopped
/// (Ctrl-S) must not keep Ctrl-C from working.
fn patiently(shared: &Mutex<Drawn>) -> Option<MutexGuard<'_, Drawn>> {
    for _ in 0..20 {
        match shared.try_lock() {
            Ok(drawn) => return Some(drawn),
            Err(TryLockError::Poisoned(drawn)) => return Some(drawn.into_inner()),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
        }
    }
    None
}
