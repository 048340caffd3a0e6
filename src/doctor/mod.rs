//! `boardcast doctor`: what was found, what was not and why, with the mend.
//!
//! For a person at a board who plugged in a sensor and sees nothing.
//!
//! | file | what it looks at |
//! |---|---|
//! | `board`, `boot` | which board it is, and what its `config.txt` switches on |
//! | `sensors` | what the server would read, and what of it fails |
//! | `health` | power, heat, cards, file systems, memory, from the same readings |
//! | `w1`, `i2c` | the buses: switched on, and with drivers for who is there |
//! | `rights` | device files and the socket for readings: who may use them |
//! | `system` | the clock, and what the kernel lets a program have |
//! | `port` | who has the server's port |
//! | `settings` | the settings' files, and what the sources in them need |
//! | `machine` | the files below a root, and what files do not tell |
//! | `finding` | what a check says, and how it is printed |
//!
//! Each check is a function of what it looks at. All of them write nothing,
//! need no server, and no rights but to read. Each theme has a thread of its
//! own, and a file that does not answer is told instead of what it would have
//! said.

mod board;
mod boot;
mod finding;
mod health;
mod i2c;
mod machine;
mod port;
mod rights;
mod sensors;
mod settings;
mod system;
#[cfg(test)]
mod tests;
mod w1;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    thread,
    time::Duration,
};

pub use self::finding::{Finding, Level, Report};
use self::{
    board::Board,
    machine::{Look, Machine},
    sensors::AllSeen,
};
use crate::{
    error::{Error, Result},
    sources::vitals::board::model,
};

/// What a theme's thread needs: a few frames, a folder that is listed, JSON of
/// a few hundred bytes.
const STACK: usize = 256 * 1024;

/// What to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Doctor {
    /// Where `proc`, `sys`, `dev`, `etc` and `boot` are; `/` on a board.
    pub root: PathBuf,
    /// The server's port.
    pub port: u16,
    /// JSON instead of lines for people.
    pub json: bool,
}

impl Doctor {
    /// Looks at the board, and prints what was found; whether all is well.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be printed.
    pub fn run(&self) -> Result<bool> {
        let report = examine(Machine::this(&self.root, self.port));
        let text = if self.json { report.json() } else { report.text() };
        match io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::io("print", error))
            }
            _ => Ok(!report.needs_mending()),
        }
    }
}

/// What the checks of a theme know.
struct Patient {
    machine: Machine,
    board: Board,
    /// What the server would read.
    seen: AllSeen,
}

type Check = fn(&Look, &Patient) -> Vec<Finding>;

/// The themes, in the order in which they are told.
const THEMES: [(&str, Check); 14] = [
    ("board", |look, it| board::check(look, &it.board)),
    ("sensors", |_, it| sensors::check(&it.seen, &it.board)),
    ("i2c", |look, it| i2c::check(look, &it.board)),
    ("spi", |look, it| i2c::spi(look, &it.board)),
    ("1-wire", |look, it| w1::check(look, &it.board)),
    ("rights", |look, it| rights::devices(look, &it.machine.user, &it.board)),
    ("power", |_, it| health::power(&it.seen, &it.board)),
    ("clock", |look, it| system::clock(look, &it.machine, &it.seen)),
    ("storage", |look, it| health::storage(&it.seen, look)),
    ("memory", |look, it| health::memory(&it.seen, look)),
    ("kernel", |look, it| system::kernel(look, &it.machine, &it.board)),
    ("server", |look, it| port::check(look, &it.machine)),
    ("socket", |look, it| rights::socket(look, &it.machine.user)),
    ("settings", |look, _| settings::check(look)),
];

/// All that there is to say of a machine.
fn examine(machine: Machine) -> Report {
    let mut report = Report::default();
    let (root, patience) = (machine.root.clone(), machine.patience);
    let known = within(&root, patience, |look| Board::of(look, model(look.root())));
    let board = match known {
        Ok(board) => board,
        Err(hangs) => {
            report.add("board", vec![hangs]);
            Board { model: None, kind: board::Kind::Other }
        }
    };
    let reader = machine.clone();
    let seen = within(&root, sensors::PATIENCE + patience, move |_| sensors::read(&reader));
    let seen = match seen {
        Ok(Ok(seen)) => seen,
        Ok(Err(error)) => {
            let what = format!("the sensors cannot be read: no thread: {error}");
            report.add("sensors", vec![Finding::bad(what)]);
            AllSeen::default()
        }
        Err(hangs) => {
            report.add("sensors", vec![hangs]);
            AllSeen::default()
        }
    };
    let patient = Arc::new(Patient { machine, board, seen });
    for (theme, check) in THEMES {
        let patient = patient.clone();
        let findings = within(&root, patience, move |look| check(look, &patient));
        report.add(theme, findings.unwrap_or_else(|hangs| vec![hangs]));
    }
    report
}

/// What `work` gives, on a thread of its own; or that it hangs, and where.
fn within<T: Send + 'static>(
    root: &Path,
    patience: Duration,
    work: impl FnOnce(&Look) -> T + Send + 'static,
) -> std::result::Result<T, Finding> {
    let done = Arc::new(Mutex::new(None));
    let theirs = done.clone();
    let look = Arc::new(Look::new(root));
    let task = Box::new(move |look: &Look| {
        let found = work(look);
        *theirs.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    });
    wait_for(task, &look, patience)?;
    let found = done.lock().unwrap_or_else(PoisonError::into_inner).take();
    found.ok_or_else(|| Finding::bad(format!("{}: a fault of this program", look.at())))
}

/// Waits until a task has ended. A thread that hangs is left behind, and ends
/// with the program. (Apart from `within`, so that it is compiled once.)
fn wait_for(
    task: Box<dyn FnOnce(&Look) + Send>,
    look: &Arc<Look>,
    patience: Duration,
) -> std::result::Result<(), Finding> {
    // Nothing is sent: the end of the sender is the end of the task.
    let (sender, receiver) = sync_channel::<()>(1);
    let own = look.clone();
    let run = move || {
        task(&own);
        drop(sender);
    };
    let thread = thread::Builder::new().name("bc-doctor".into()).stack_size(STACK).spawn(run);
    if let Err(error) = thread {
        return Err(Finding::bad(format!("this was not looked at: no thread: {error}")));
    }
    if receiver.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
        let seconds = patience.as_secs_f64();
        let what = format!("{}: no answer for more than {seconds} s", look.at());
        let mend = "its driver or its bus hangs: check the wiring, and dmesg";
        return Err(Finding::bad(what).mend(mend));
    }
    Ok(())
}
