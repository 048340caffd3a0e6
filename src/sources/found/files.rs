//! Reading the files of a device: small, watched, with reasons that say what
//! to do.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use nix::errno::Errno;

use crate::sources::{isolated::Watch, vitals::file::quoted};

/// The most that is read of one file. The kernel gives a page at most
/// (Documentation/filesystems/sysfs.rst, "Reading/Writing Attribute Data");
/// `/proc/net/wireless` has a line for each interface.
const LIMIT: u64 = 16 * 1024;

/// The most entries of a folder that are looked at. The widest converters and
/// boards' controllers have some hundred files.
const MAX_ENTRIES: usize = 2048;

/// What was read of a file: `None` when it is not there, or its device no
/// longer. The error is a sentence for people, which names the file.
pub(super) type Found<T> = Result<Option<T>, String>;

/// Reads files into a buffer that is used again.
#[derive(Debug, Default)]
pub(super) struct Files {
    buffer: Vec<u8>,
}

impl Files {
    /// What `parse` makes of a file's text.
    pub(super) fn read<T>(
        &mut self,
        watch: &Watch,
        path: &Path,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Found<T> {
        self.buffer.clear();
        let read = watch.over(path, || File::open(path)?.take(LIMIT).read_to_end(&mut self.buffer));
        let named = |why: &str| format!("{}: {why}", path.display());
        match read {
            Ok(_) => parse(&String::from_utf8_lossy(&self.buffer)).map(Some).map_err(|e| named(&e)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(named(&advice(&error))),
        }
    }

    /// A number.
    pub(super) fn number(&mut self, watch: &Watch, path: &Path) -> Found<f64> {
        self.read(watch, path, number)
    }

    /// A line of text; one that cannot be read, or is empty, is none.
    pub(super) fn line(&mut self, watch: &Watch, path: &Path) -> Option<String> {
        let line = self.read(watch, path, |text| {
            let line = text.lines().next().unwrap_or_default().trim();
            // Firmware fills labels with whatever it has.
            Ok(line.chars().filter(|c| !c.is_control()).collect::<String>())
        });
        line.ok().flatten().filter(|line| !line.is_empty())
    }

    /// The names in a folder, sorted; one that cannot be listed has none.
    pub(super) fn list(watch: &Watch, folder: &Path) -> Vec<String> {
        let names = watch.over(folder, || {
            let entries = fs::read_dir(folder).into_iter().flatten().take(MAX_ENTRIES);
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
        });
        let mut names: Vec<String> = names;
        names.sort_unstable();
        names
    }
}

/// A file's number, as the kernel prints it: `-1250`, `0.125000000`, and with
/// a unit behind it `1.500000 dB` (drivers/iio/industrialio-core.c,
/// `__iio_format_value`).
pub(super) fn number(text: &str) -> Result<f64, String> {
    let first = text.split_ascii_whitespace().next().unwrap_or_default();
    // Rust also reads "inf" and "nan", which the kernel never prints.
    let digits = first.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.'));
    let number = first.parse().ok().filter(|number: &f64| digits && number.is_finite());
    number.ok_or_else(|| format!("not a number: {}", quoted(text)))
}

/// Whether an error says that there is nothing, or no longer.
fn is_absent(error: &io::Error) -> bool {
    matches!(errno(error), Some(Errno::ENOENT | Errno::ENODEV | Errno::ENOTDIR))
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

/// What to do about an error of a read.
pub(in crate::sources) fn advice(error: &io::Error) -> String {
    let Some(errno) = errno(error) else { return error.to_string() };
    let what = match errno {
        Errno::EACCES | Errno::EPERM => "this program's user may not read it",
        Errno::EIO | Errno::ENXIO | Errno::EREMOTEIO => {
            "the device does not answer on its bus: check its wiring, address and supply"
        }
        Errno::ETIMEDOUT => "the bus timed out: check the wiring, and that nothing holds it low",
        Errno::ENODATA | Errno::EAGAIN => "no reading yet, or the sensor is switched off",
        Errno::EBUSY => "in use: another program captures from this device",
        Errno::EINVAL => "the driver has no reading: the sensor is off, or not set up",
        _ => return errno.desc().to_owned(),
    };
    format!("{what} ({})", errno.desc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sources::vitals::trees::Tree,
        telemetry::{Hub, HubSettings},
    };

    #[test]
    fn numbers_are_those_that_the_kernel_prints() {
        for (text, expected) in [
            ("23125\n", 23125.0),
            ("-1250\n", -1250.0),
            ("0.125000000\n", 0.125),
            ("1.500000 dB\n", 1.5),
            ("18446744073709551615\n", 1.844_674_407_370_955_2e19),
        ] {
            assert_eq!(number(text), Ok(expected), "{text}");
        }
        for bad in ["", "\n", "x", "1e3", "inf", "nan", "-", "--1", "1,5", "0x10", "\0\0"] {
            assert!(number(bad).is_err(), "{bad:?}");
        }
        assert!(number(&"9".repeat(10_000)).is_err_and(|why| why.len() < 200));
    }

    #[test]
    fn an_error_says_what_to_do_and_a_missing_file_is_none() {
        let tree = Tree::new();
        let watch = Watch::new(Hub::new(HubSettings::default()));
        let mut files = Files::default();
        assert_eq!(files.number(&watch, &tree.root().join("none")), Ok(None));
        tree.write("file", "5\n");
        assert_eq!(files.number(&watch, &tree.root().join("file")), Ok(Some(5.0)));
        assert_eq!(files.number(&watch, &tree.root().join("file/below")), Ok(None));
        tree.folder("folder");
        let why = files.number(&watch, &tree.root().join("folder")).expect_err("a folder");
        assert!(why.contains("/folder: "), "{why}");
        tree.write("huge", "1".repeat(1 << 20));
        assert!(files.number(&watch, &tree.root().join("huge")).is_err());
        tree.write("bytes", [0xff, 0xfe]);
        assert!(files.number(&watch, &tree.root().join("bytes")).is_err());
        for errno in [Errno::EIO, Errno::ETIMEDOUT, Errno::EACCES, Errno::EINVAL, Errno::EBUSY] {
            let advice = advice(&errno.into());
            assert!(advice.ends_with(&format!("({})", errno.desc())), "{advice}");
        }
        assert!(is_absent(&Errno::ENODEV.into()));
    }
}
