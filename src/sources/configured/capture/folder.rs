//! The folders of the IIO bus: attributes that are read and written, and put
//! back as they were.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use nix::{errno::Errno, libc};

use crate::sources::vitals::file::{TextFile, numbered, quoted};

/// The most devices that are looked at.
const MAX_DEVICES: usize = 256;
/// The most files of a folder that are looked at.
const MAX_FILES: usize = 2048;

/// A folder of attributes.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub path: PathBuf,
    pub name: String,
}

impl Folder {
    /// The first line of an attribute; `None` when there is none.
    pub(super) fn line(&self, attribute: &str) -> Result<Option<String>, String> {
        let line = |text: &str| {
            let line = text.lines().next().unwrap_or_default().trim();
            Ok::<_, String>(line.chars().filter(|c| !c.is_control()).take(256).collect())
        };
        TextFile::new(&self.path, attribute).parse(line).transpose()
    }

    /// A number; an attribute that is not there has none.
    pub(super) fn number(&self, attribute: &str) -> Result<Option<f64>, String> {
        let Some(line) = self.line(attribute)? else { return Ok(None) };
        let number = line.split(' ').next().and_then(|digits| digits.parse::<f64>().ok());
        let number = number.filter(|number| number.is_finite());
        number.map(Some).ok_or_else(|| format!("{}: not a number", self.path(attribute).display()))
    }

    pub(super) fn write(&self, attribute: &str, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).truncate(true).open(self.path(attribute))?;
        io::Write::write_all(&mut file, text.as_bytes())
    }

    pub(super) fn path(&self, attribute: &str) -> PathBuf {
        self.path.join(attribute)
    }

    pub(super) fn has(&self, attribute: &str) -> bool {
        self.path(attribute).exists()
    }

    /// The names in a folder of it, sorted.
    pub(super) fn list(&self, below: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(below)).into_iter().flatten().take(MAX_FILES);
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }
}

/// The folders of `prefix` and a number on the bus.
pub(super) fn on_bus(root: &Path, prefix: &str) -> impl Iterator<Item = Folder> {
    let bus = root.join("sys/bus/iio/devices");
    let numbers = numbered(&bus, prefix, MAX_DEVICES).into_iter();
    let name = move |number| format!("{prefix}{number}");
    numbers.map(name).collect::<Vec<_>>().into_iter().map(move |name| {
        let path = bus.join(&name);
        Folder { path, name }
    })
}

/// The first device of this name, label or folder; and what it is called.
pub(super) fn find(root: &Path, wanted: &str) -> Result<(Folder, String), String> {
    let mut there = Vec::new();
    for folder in on_bus(root, "iio:device") {
        let line =
            |attribute| folder.line(attribute).ok().flatten().filter(|line| !line.is_empty());
        let (name, label) = (line("name"), line("label"));
        let shown = label.clone().or(name.clone()).unwrap_or(folder.name.replace("iio:", ""));
        let names = [Some(folder.name.clone()), name, label];
        if names.iter().flatten().any(|name| name == wanted) {
            return Ok((folder, shown));
        }
        there.push(shown);
    }
    there.truncate(16);
    Err(match there.is_empty() {
        true => "there is no IIO device: its driver is not loaded, or it is not wired".into(),
        false => {
            format!("there is no IIO device {}; there are {}", quoted(wanted), there.join(", "))
        }
    })
}

/// Attributes with what was in them before; put back when it is dropped, the
/// last one first.
#[derive(Debug, Default)]
pub(super) struct Undo {
    folder: Option<Folder>,
    before: Vec<(String, String)>,
}

impl Undo {
    pub(super) fn of(folder: &Folder) -> Self {
        Self { folder: Some(folder.clone()), before: Vec::new() }
    }

    /// Writes an attribute, where it is not so already.
    pub(super) fn write(&mut self, attribute: &str, text: &str) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let before = folder.line(attribute).ok().flatten();
        if before.as_deref() == Some(text) {
            return Ok(());
        }
        folder.write(attribute, text)?;
        self.before.extend(before.map(|before| (attribute.to_owned(), before)));
        Ok(())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let Some(folder) = &self.folder else { return };
        for (attribute, text) in self.before.iter().rev() {
            // A device that was unplugged has nothing to put back.
            let _ = folder.write(attribute, text);
        }
    }
}

/// Whether the system does not let us.
pub(super) fn is_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

pub(super) fn cannot_write(path: &Path, error: &io::Error) -> String {
    let why = match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            "this program's user may not write it: set the buffer up before, or see the rule for \
             udev in the documentation"
        }
        Some(libc::EROFS) => "the service sees /sys read-only: its unit needs ReadWritePaths=",
        Some(libc::EBUSY) => "another program captures from this device",
        Some(libc::EINVAL) => "the driver refuses the value",
        _ => return format!("{}: {}", path.display(), text_of(error)),
    };
    format!("{}: {why} ({})", path.display(), text_of(error))
}

pub(super) fn cannot_open(path: &Path, error: &io::Error) -> String {
    let why = match error.raw_os_error() {
        Some(libc::EBUSY) => "another program reads this buffer: end that",
        Some(libc::EACCES) => {
            "this program's user may not read it: see the rule for udev in the documentation"
        }
        Some(libc::EPERM) => "the service may not use it; its unit needs DeviceAllow=char-iio r",
        Some(libc::ENOENT | libc::ENXIO) => "the kernel has no buffers (CONFIG_IIO_BUFFER)",
        _ => return format!("{}: {}", path.display(), text_of(error)),
    };
    format!("{}: {why} ({})", path.display(), text_of(error))
}

fn text_of(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |no| Errno::from_raw(no).desc().into())
}
