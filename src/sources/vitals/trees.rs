//! Trees of `/proc` and `/sys` for tests: those of `tests/data/boards`, and
//! small ones that a test writes itself.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::space::{Space, Statvfs};
use crate::{
    sources::{Reading, Readings},
    telemetry::{BootTime, Value},
};

/// A folder of its own that ends with the test.
pub(crate) struct Tree {
    folder: PathBuf,
    root: PathBuf,
}

impl Tree {
    /// An empty tree.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("boardcast-vitals-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let root = folder.join("root");
        fs::create_dir_all(&root).expect("a temporary folder can be made");
        Self { folder, root }
    }

    /// A board of `tests/data/boards` at its instant 0.
    pub(crate) fn board(name: &str) -> Self {
        let tree = Self::new();
        fs::remove_dir(&tree.root).expect("an empty folder can be removed");
        tree.turn(name, 0);
        tree
    }

    /// Lets the same root show a board at another instant.
    pub(crate) fn turn(&self, board: &str, instant: u32) {
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/boards");
        // The first turn finds no link.
        let _ = fs::remove_file(&self.root);
        let target = boards.join(board).join(instant.to_string());
        assert!(target.is_dir(), "{} is missing", target.display());
        std::os::unix::fs::symlink(target, &self.root).expect("a link can be made");
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).expect("a folder can be made");
        }
        fs::write(path, text).expect("a file can be written");
    }

    /// A folder in the place of a file: what cannot be read, even by root.
    pub(crate) fn folder(&self, path: &str) {
        fs::create_dir_all(self.root.join(path)).expect("a folder can be made");
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.root.join(path);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.expect("it can be removed");
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The room of the boards' file systems: a card of 30 GB, of which 2 GB are
/// kept for the administrator, and 500 MB to boot from.
pub(crate) fn rooms() -> Statvfs {
    Arc::new(|path: &Path| {
        const GB: u64 = 1_000_000_000;
        let (size, free, available) = match path.to_str() {
            Some("/") => (30 * GB, 18 * GB, 16 * GB),
            _ => (GB / 2, GB / 10 * 4, GB / 10 * 4),
        };
        Ok(Space { size, free, available })
    })
}

/// The instant `seconds` after boot.
pub(in crate::sources) fn at(seconds: f64) -> BootTime {
    BootTime::new(Duration::from_secs_f64(seconds))
}

/// The readings of one `sample`.
pub(in crate::sources) fn readings(sample: impl FnOnce(&mut Readings)) -> Readings {
    let mut readings = Readings::default();
    sample(&mut readings);
    readings
}

pub(in crate::sources) fn reading<'a>(readings: &'a Readings, name: &str) -> Option<&'a Reading> {
    readings.iter().find(|reading| reading.channel.name.as_str() == name)
}

/// Why a channel could not be read.
pub(in crate::sources) fn failure<'a>(readings: &'a Readings, name: &str) -> Option<&'a str> {
    reading(readings, name)?.value.as_ref().err().map(String::as_str)
}

/// Whether a channel is there without a value.
pub(in crate::sources) fn is_null(readings: &Readings, name: &str) -> bool {
    reading(readings, name).is_some_and(|reading| reading.value == Ok(Value::Null))
}

/// The names of all channels.
pub(in crate::sources) fn names(readings: &Readings) -> Vec<&str> {
    readings.iter().map(|reading| reading.channel.name.as_str()).collect()
}

/// Checks many numbers at once.
#[track_caller]
pub(in crate::sources) fn assert_numbers(readings: &Readings, expected: &[(&str, f64)]) {
    for (name, number) in expected {
        assert_eq!(readings.number(name), Some(*number), "{name}");
    }
}
