//! History on disk: read at the start, written now and then.
//!
//! **When is a file from before?** Within the same start of the board (the
//! kernel's boot id tells) instants mean the same, and nothing is guessed.
//! After a reboot only the wall clock connects then and now, and a board
//! without a battery starts with a wrong one. So such a file waits until the
//! clock is known to be right, for two minutes at most: a board that has no
//! network must trust the clock that it has. Its readings are placed by wall
//! time, to the second, ten seconds or minute of their resolution however many
//! reboots there were (what is left over is kept), and never after the start of the board: where the clock claims that, or was in 1970
//! when the file was written, it is wrong, and they are placed as if the board
//! had been off for no time.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    super::Hub,
    file::{self, Head},
    levels,
};
use crate::error::{Error, Result};

/// For how long a file of an earlier start waits for the clock.
const PATIENCE: Duration = Duration::from_secs(120);

/// 2025, in milliseconds since 1970: a clock that said less was wrong, and what
/// it says of a file would place that decades ago.
const EARLIEST: i64 = 1_735_689_600_000;

/// A hub's history and the file that keeps it. Can be stepped by hand; a
/// [`Keeper`](super::Keeper) does so on a thread.
#[derive(Debug)]
pub struct Archive {
    hub: Hub,
    path: PathBuf,
    /// The kernel's boot id; empty where it cannot be read.
    boot: String,
    /// What is left over of all moves so far: see [`Head`].
    phase: i64,
    /// There may be a file that was not read so far.
    pending: bool,
}

/// What reading the file came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It was read, long ago or just now, or there is none.
    Done,
    /// It is of an earlier start of the board, and the clock is not known to
    /// be right: it waits.
    Waiting,
}

impl Archive {
    /// Keeps the history of `hub` in the file `path`. The boot id is read
    /// below `root` (`/`). Where nothing can be written, a warning says so now.
    ///
    /// # Errors
    /// [`Error::Setting`] when `path` is something else than a file.
    pub fn new(hub: Hub, path: impl Into<PathBuf>, root: &Path) -> Result<Self> {
        let path = path.into();
        if fs::metadata(&path).is_ok_and(|data| !data.is_file()) {
            // It must not be put aside as damaged.
            let sentence = format!("{} is no file: history needs one of its own", path.display());
            return Err(Error::Setting(sentence));
        }
        let new = beside(&path, "new");
        match File::create(&new) {
            Ok(_) => drop(fs::remove_file(&new)),
            Err(error) => log::warn!(
                "cannot keep the history in {}: {error}; until that is mended it is lost at the end",
                path.display()
            ),
        }
        let boot = fs::read_to_string(root.join("proc/sys/kernel/random/boot_id"));
        let boot = boot.map(|id| id.trim().chars().take(64).collect()).unwrap_or_default();
        Ok(Self { hub, path, boot, phase: 0, pending: true })
    }

    /// Reads the file, once. A file that cannot be used is put aside, as
    /// `PATH.damaged`, and a warning says so: the program serves on without it.
    pub fn load(&mut self) -> Loaded {
        let hub = self.hub.clone();
        self.load_if(|same_boot| {
            let late = hub.clock().boot().since_boot() >= PATIENCE;
            same_boot || late || hub.clock().synced()
        })
    }

    fn load_if(&mut self, sure: impl FnOnce(bool) -> bool) -> Loaded {
        if !self.pending {
            return Loaded::Done;
        }
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.pending = false;
                return Loaded::Done;
            }
            Err(error) => {
                self.set_aside(&error);
                return Loaded::Done;
            }
        };
        match self.read(file, sure) {
            Ok(Some(channels)) => {
                log::info!("history of {channels} channels taken from {}", self.path.display());
                self.pending = false;
                Loaded::Done
            }
            Ok(None) => Loaded::Waiting,
            Err(error) => {
                self.set_aside(&error);
                Loaded::Done
            }
        }
    }

    /// The number of channels, or `None` when it has to wait.
    fn read(&mut self, file: File, sure: impl FnOnce(bool) -> bool) -> io::Result<Option<usize>> {
        let budget = self.hub.history().budget();
        if file.metadata()?.len() > (budget as u64) * 2 + (1 << 20) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
        }
        let now = self.now();
        let mut phase = 0;
        let place = |then: &Head| {
            let same_boot = then.boot == now.boot && !now.boot.is_empty();
            let shift = sure(same_boot).then(|| shift(then, &now))?;
            phase = then.moved(shift);
            Some(shift)
        };
        let Some(entries) = file::read(file, budget, place)? else { return Ok(None) };
        self.phase = phase;
        let count = entries.len();
        entries.into_iter().for_each(|entry| self.hub.history().adopt(entry));
        Ok(Some(count))
    }

    fn set_aside(&mut self, why: &io::Error) {
        self.pending = false;
        let aside = beside(&self.path, "damaged");
        let path = self.path.display();
        match fs::rename(&self.path, &aside) {
            Ok(()) => log::warn!(
                "the history in {path} cannot be used ({why}): it is now {}, and a new one begins",
                aside.display()
            ),
            Err(error) => log::warn!(
                "the history in {path} cannot be used ({why}) and not be put aside ({error})"
            ),
        }
    }

    /// Writes the file: a temporary one first (`PATH.new`), which takes its place
    /// when it is safely on the disk. So there is always a whole file, whenever
    /// the power fails. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk does not take it; the old file is as it was.
    pub fn write(&mut self) -> Result<()> {
        // What still waits would be lost.
        self.load_if(|_| true);
        let new = beside(&self.path, "new");
        self.write_new(&new).map_err(|error| {
            let _ = fs::remove_file(&new);
            Error::io(format!("keep the history in {}", self.path.display()), error)
        })
    }

    fn write_new(&self, new: &Path) -> io::Result<()> {
        let now = self.now();
        let oldest = now.uptime - levels::LONGEST;
        let out = OpenOptions::new().write(true).create(true).truncate(true).open(new)?;
        let file = file::write(out, &now, self.hub.history(), oldest)?;
        file.sync_all()?;
        fs::rename(new, &self.path)?;
        // The new name, too, has to be on the disk.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn now(&self) -> Head {
        let clock = self.hub.clock();
        let boot = clock.boot();
        let wall = (clock.wall_of(boot) * 1000.0) as i64;
        Head { boot: self.boot.clone(), uptime: boot.millis(), wall, phase: self.phase }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// What has to be added to an instant of the file's, in milliseconds since
/// boot, to make it one of ours.
pub(super) fn shift(then: &Head, now: &Head) -> i64 {
    if then.boot == now.boot && !now.boot.is_empty() {
        return 0;
    }
    if then.wall < EARLIEST {
        return -then.uptime;
    }
    let by_wall = (then.wall - then.uptime) - (now.wall - now.uptime);
    by_wall.min(-then.uptime)
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
