//! Where a line is: by its name on any chip, or by its number on one; and why
//! it cannot be had, in sentences that say what to do.

use std::io;

use nix::errno::Errno;

use super::kernel::{Chip, Info, Kernel};

/// A line, as the settings name it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    /// `GPIO17`.
    Named(String),
    /// `gpiochip0:17`.
    On {
        /// The chip's device file.
        chip: String,
        /// The line's number on it.
        offset: u32,
    },
}

impl Place {
    pub(super) fn new(text: &str) -> Self {
        let numbered = text.split_once(':').and_then(|(chip, offset)| {
            chip.strip_prefix("gpiochip")?.parse::<u32>().ok()?;
            Some(Self::On { chip: chip.to_owned(), offset: offset.parse().ok()? })
        });
        // A line's name may have a colon, too.
        numbered.unwrap_or_else(|| Self::Named(text.to_owned()))
    }
}

/// The chips that are there, opened, or why they were not.
pub(super) struct Board<C> {
    chips: Vec<(String, io::Result<C>)>,
}

/// A line that was found.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    /// The number of its chip on the board.
    pub chip: usize,
    pub offset: u32,
    pub info: Info,
}

impl<C: Chip> Board<C> {
    pub(super) fn open(kernel: &impl Kernel<Chip = C>) -> Self {
        let names = kernel.chips().into_iter();
        let chips = names.map(|name| {
            let chip = kernel.open(&name);
            (name, chip)
        });
        Self { chips: chips.collect() }
    }

    /// A chip that was opened, and its name.
    pub(super) fn chip(&self, number: usize) -> Option<(&str, &C)> {
        let (name, chip) = self.chips.get(number)?;
        Some((name, chip.as_ref().ok()?))
    }

    /// Where a line is. Of two with the same name it is the one on the first
    /// chip. The error says what to do.
    pub(super) fn find(&self, place: &Place) -> Result<Found, String> {
        match place {
            Place::Named(name) => self.named(name),
            Place::On { chip, offset } => self.on(chip, *offset),
        }
    }

    fn named(&self, wanted: &str) -> Result<Found, String> {
        let mut why = None;
        for (number, (name, chip)) in self.chips.iter().enumerate() {
            let found = match chip {
                Ok(chip) => search(chip, wanted).map_err(|error| trouble(name, &error)),
                Err(error) => Err(trouble(name, error)),
            };
            match found {
                Ok(None) => {}
                Ok(Some((offset, info))) => return Ok(Found { chip: number, offset, info }),
                Err(reason) => drop(why.get_or_insert(reason)),
            }
        }
        Err(match why {
            // It may be on the chip that could not be searched.
            Some(why) => why,
            None if self.chips.is_empty() => NO_CHIPS.into(),
            None => format!(
                "no chip has a line {wanted:?}: `gpioinfo` lists their names; one without a \
                 name is written as gpiochip0:17"
            ),
        })
    }

    fn on(&self, wanted: &str, offset: u32) -> Result<Found, String> {
        if self.chips.is_empty() {
            return Err(NO_CHIPS.into());
        }
        let number = self.chips.iter().position(|(name, _)| name == wanted);
        let number = number.ok_or_else(|| {
            let names: Vec<_> = self.chips.iter().map(|(name, _)| name.as_str()).collect();
            format!("there is no {wanted}; there are {}", names.join(", "))
        })?;
        let (name, chip) = &self.chips[number];
        let chip = chip.as_ref().map_err(|error| trouble(name, error))?;
        let lines = chip.lines().map_err(|error| trouble(name, &error))?;
        if offset >= lines {
            return Err(format!("{name} has lines 0 to {}, no line {offset}", lines.max(1) - 1));
        }
        let info = chip.line(offset).map_err(|error| trouble(name, &error))?;
        Ok(Found { chip: number, offset, info })
    }
}

fn search(chip: &impl Chip, wanted: &str) -> io::Result<Option<(u32, Info)>> {
    for offset in 0..chip.lines()? {
        let info = chip.line(offset)?;
        if info.name == wanted {
            return Ok(Some((offset, info)));
        }
    }
    Ok(None)
}

const NO_CHIPS: &str = "there is no GPIO chip (/dev/gpiochip0): \
     the kernel has no driver for one, or no CONFIG_GPIO_CDEV";

/// Somebody has the line.
pub(super) fn busy(consumer: &str) -> String {
    match consumer {
        "" => "the kernel or another program has this line: end that, or name another".into(),
        who => format!("{who:?} has this line: end that, or name another"),
    }
}

/// What an error of a chip or of its lines means, and what to do.
pub(super) fn trouble(chip: &str, error: &io::Error) -> String {
    let Some(errno) = error.raw_os_error().map(Errno::from_raw) else {
        return format!("/dev/{chip}: {error}");
    };
    let what = match errno {
        Errno::EACCES => "this program's user must be in the device's group, most often `gpio`",
        Errno::EPERM => "the service may not use it; its unit needs DeviceAllow=char-gpiochip r",
        Errno::ENODEV | Errno::ENXIO | Errno::ENOENT => "the chip is gone: plug it in again",
        Errno::EBUSY => return busy(""),
        Errno::ENOTTY => "this is no GPIO chip",
        Errno::EINVAL => {
            "the kernel refuses: it is older than 5.10, or the line cannot do what the settings \
             want of it (bias, debounce)"
        }
        Errno::EIO | Errno::EREMOTEIO | Errno::ETIMEDOUT => "the chip does not answer on its bus",
        _ => return format!("/dev/{chip}: {}", errno.desc()),
    };
    format!("/dev/{chip}: {what} ({})", errno.desc())
}
