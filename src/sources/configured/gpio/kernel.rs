//! What is asked of the kernel for GPIO lines, as small as it can be, so that
//! all else can be tested without a chip.
//!
//! The character device in its second version, Linux 5.10 and newer
//! (include/uapi/linux/gpio.h): a chip is `/dev/gpiochipN`; requesting lines of
//! it gives a descriptor that has their edges.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use gpiocdev_uapi::{
    Error, Name,
    v2::{self, LineConfig, LineEdgeEvent, LineFlags, LineInfo, LineRequest, LineValues, Offsets},
};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    time::{ClockId, clock_gettime},
};

use super::super::Bias;
use crate::sources::vitals::file::numbered;

/// Who holds the lines, as others are told.
pub(super) const CONSUMER: &str = "boardcast";
/// The most lines of one request (GPIO_V2_LINES_MAX).
pub(super) const MAX_LINES: usize = gpiocdev_uapi::NUM_LINES_MAX;
/// The most chips that are looked at.
const MAX_CHIPS: usize = 64;
/// For how many edges a request has room: 12 KiB of the kernel's memory.
const ROOM: u32 = 256;
/// The most edges that are taken at once.
const AT_ONCE: usize = 1024;

/// How lines are asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wish {
    pub bias: Option<Bias>,
    pub active_low: bool,
    pub debounce: Duration,
}

/// A line, as the kernel tells of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Info {
    /// Its name; empty where the board gives it none.
    pub name: String,
    /// Whether somebody holds it.
    pub used: bool,
    /// Who, if it says so.
    pub consumer: String,
}

/// A line has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edge {
    /// When, in CLOCK_MONOTONIC.
    pub at: Duration,
    /// Which line of the chip.
    pub offset: u32,
    /// Whether it has become active.
    pub on: bool,
    /// Counts the edges of a request.
    pub seqno: u32,
}

/// The chips of a board.
pub(super) trait Kernel {
    type Chip: Chip;

    /// The names of their device files, in the order of their numbers.
    fn chips(&self) -> Vec<String>;
    fn open(&self, chip: &str) -> io::Result<Self::Chip>;
    /// CLOCK_MONOTONIC, as the edges' instants.
    fn now(&self) -> Duration;
}

/// One chip.
pub(super) trait Chip {
    type Request: Request;

    /// How many lines it has.
    fn lines(&self) -> io::Result<u32>;
    fn line(&self, offset: u32) -> io::Result<Info>;
    /// Takes lines as inputs and reports their edges.
    fn request(&self, offsets: &[u32], wish: &Wish) -> io::Result<Self::Request>;
}

/// Lines that are held; dropping it lets go of them.
pub(super) trait Request {
    /// It is readable when there are edges, and when the chip is gone.
    fn descriptor(&self) -> BorrowedFd<'_>;
    /// The lines' states, a bit each, in the order in which they were asked for.
    fn values(&self) -> io::Result<u64>;
    /// Takes the edges that wait, 1,024 at most.
    fn edges(&mut self, edges: &mut Vec<Edge>) -> io::Result<()>;
}

/// The chips whose device files are below a root.
#[derive(Debug)]
pub(super) struct Devices {
    folder: PathBuf,
}

impl Devices {
    pub(super) fn new(root: &Path) -> Self {
        Self { folder: root.join("dev") }
    }
}

impl Kernel for Devices {
    type Chip = File;

    fn chips(&self) -> Vec<String> {
        let numbers = numbered(&self.folder, "gpiochip", MAX_CHIPS);
        numbers.into_iter().map(|number| format!("gpiochip{number}")).collect()
    }

    fn open(&self, chip: &str) -> io::Result<File> {
        // To read does, as for the kernel's own tools (tools/gpio/lsgpio.c).
        File::open(self.folder.join(chip))
    }

    fn now(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
    }
}

impl Chip for File {
    type Request = Lines;

    fn lines(&self) -> io::Result<u32> {
        Ok(v2::get_chip_info(self).map_err(system)?.num_lines)
    }

    fn line(&self, offset: u32) -> io::Result<Info> {
        let LineInfo { name, consumer, flags, .. } =
            v2::get_line_info(self, offset).map_err(system)?;
        let used = flags.contains(LineFlags::USED);
        Ok(Info { name: text(&name), used, consumer: text(&consumer) })
    }

    fn request(&self, offsets: &[u32], wish: &Wish) -> io::Result<Lines> {
        let count = offsets.len().min(MAX_LINES);
        let mask = if count == MAX_LINES { u64::MAX } else { (1 << count) - 1 };
        let request = LineRequest {
            offsets: Offsets::from_slice(&offsets[..count]),
            consumer: CONSUMER.into(),
            config: config(wish, mask),
            num_lines: count as u32,
            event_buffer_size: ROOM,
            ..LineRequest::default()
        };
        let file = v2::get_line(self, request).map_err(system)?;
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let buffer = vec![0; LineEdgeEvent::u64_size() * 16];
        Ok(Lines { file, mask, buffer })
    }
}

/// A wish in the kernel's words, for the lines of a mask.
fn config(wish: &Wish, mask: u64) -> LineConfig {
    let mut flags = LineFlags::INPUT | LineFlags::EDGE_RISING | LineFlags::EDGE_FALLING;
    flags |= match wish.bias {
        None => LineFlags::empty(),
        Some(Bias::PullUp) => LineFlags::BIAS_PULL_UP,
        Some(Bias::PullDown) => LineFlags::BIAS_PULL_DOWN,
        Some(Bias::Disabled) => LineFlags::BIAS_DISABLED,
    };
    flags.set(LineFlags::ACTIVE_LOW, wish.active_low);
    let mut config = LineConfig { flags, ..LineConfig::default() };
    if !wish.debounce.is_zero() {
        let micros = u32::try_from(wish.debounce.as_micros()).unwrap_or(u32::MAX);
        config.add_debounce(micros.max(1), mask);
    }
    config
}

/// Lines that the kernel has given.
#[derive(Debug)]
pub(super) struct Lines {
    file: File,
    /// A bit for each line.
    mask: u64,
    buffer: Vec<u64>,
}

impl Request for Lines {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn values(&self) -> io::Result<u64> {
        let mut values = LineValues { bits: 0, mask: self.mask };
        v2::get_line_values(&self.file, &mut values).map_err(system)?;
        Ok(values.bits)
    }

    fn edges(&mut self, edges: &mut Vec<Edge>) -> io::Result<()> {
        let size = LineEdgeEvent::u64_size();
        for _ in 0..AT_ONCE / 16 {
            let length = match gpiocdev_uapi::read_event(&self.file, &mut self.buffer) {
                Ok(length) => length,
                Err(error) => {
                    let error = system(error);
                    let none = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
                    return if none.contains(&error.kind()) { Ok(()) } else { Err(error) };
                }
            };
            for event in self.buffer[..length].chunks_exact(size) {
                let event = LineEdgeEvent::from_slice(event).map_err(system)?;
                edges.push(Edge {
                    at: Duration::from_nanos(event.timestamp_ns),
                    offset: event.offset,
                    on: event.kind == v2::LineEdgeEventKind::RisingEdge as u32,
                    seqno: event.seqno,
                });
            }
            if length < self.buffer.len() {
                break;
            }
        }
        Ok(())
    }
}

fn text(name: &Name) -> String {
    String::from(name).chars().filter(|c| !c.is_control()).collect()
}

fn system(error: Error) -> io::Error {
    match error {
        Error::Os(errno) => io::Error::from_raw_os_error(errno.0),
        Error::UnderRead(_) => io::ErrorKind::UnexpectedEof.into(),
    }
}

#[cfg(test)]
mod tests {
    use gpiocdev_uapi::v2::LineAttributeValue;

    use super::*;

    #[test]
    fn a_wish_asks_for_both_edges_the_bias_and_the_time_at_rest() {
        let plain = Wish { bias: None, active_low: false, debounce: Duration::ZERO };
        let inputs = LineFlags::INPUT | LineFlags::EDGE_RISING | LineFlags::EDGE_FALLING;
        let config_of_plain = config(&plain, 7);
        assert_eq!((config_of_plain.flags, config_of_plain.num_attrs), (inputs, 0));
        let debounce = Duration::from_millis(5);
        let button = Wish { bias: Some(Bias::PullUp), active_low: true, debounce };
        let config_of_button = config(&button, 7);
        let flags = inputs | LineFlags::BIAS_PULL_UP | LineFlags::ACTIVE_LOW;
        assert_eq!((config_of_button.flags, config_of_button.num_attrs), (flags, 1));
        let attribute = config_of_button.attr(0);
        assert_eq!(attribute.attr.to_value(), Some(LineAttributeValue::DebouncePeriod(5000)));
        assert_eq!(attribute.mask, 7);
        for (bias, flag) in [
            (Bias::PullDown, LineFlags::BIAS_PULL_DOWN),
            (Bias::Disabled, LineFlags::BIAS_DISABLED),
        ] {
            let wish = Wish { bias: Some(bias), ..plain.clone() };
            assert_eq!(config(&wish, 7).flags, inputs | flag);
        }
        let ages = Wish { debounce: Duration::from_secs(100_000), ..plain };
        let value = config(&ages, 7).attr(0).attr.to_value();
        assert_eq!(value, Some(LineAttributeValue::DebouncePeriod(u32::MAX)));
    }

    #[test]
    fn a_root_without_chips_has_none_and_a_file_is_no_chip() {
        let tree = crate::sources::vitals::trees::Tree::new();
        let devices = Devices::new(tree.root());
        assert_eq!(devices.chips(), [""; 0]);
        tree.write("dev/gpiochip10", "");
        tree.write("dev/gpiochip9", "");
        tree.write("dev/gpiochips", "");
        assert_eq!(devices.chips(), ["gpiochip9", "gpiochip10"]);
        let file = devices.open("gpiochip9").expect("it can be opened");
        let why = file.lines().expect_err("a file has no lines");
        assert_eq!(why.raw_os_error(), Some(nix::libc::ENOTTY));
        assert!(devices.open("gpiochip1").is_err());
    }
}
