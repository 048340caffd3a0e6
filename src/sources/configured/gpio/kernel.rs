//! What is asked of the kernel for GPIO lines, as small as it can be, so that
//! all else can be tested without a chip.
//!
//! The character device in its second version, Linux 5.10 and newer
//! (include/uapi/linux/gpio.h): a chip is `/dev/gpiochipN`; requesting lines of
//! it gives a descriptor that has their edges. Its structures are written and
//! read here as bytes, at the places that the header gives them: they are the
//! same on all processors, but for the order of bytes.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    time::{ClockId, clock_gettime},
};

use super::super::Bias;
use crate::{
    sources::vitals::file::numbered,
    sys::{GpioCall, gpio_call, gpio_request},
};

/// Who holds the lines, as others are told.
const CONSUMER: &str = "boardcast";
/// The most lines of one request (GPIO_V2_LINES_MAX).
pub(super) const MAX_LINES: usize = 64;
/// The most chips that are looked at.
const MAX_CHIPS: usize = 64;
/// For how many edges a request has room: 12 KiB of the kernel's memory.
const ROOM: u32 = 256;
/// The most edges that are taken at once, and in one read.
const AT_ONCE: usize = 1024;
const A_READ: usize = 16;
/// The bytes of an edge, `struct gpio_v2_line_event`.
const EDGE: usize = 48;

/// GPIO_V2_LINE_FLAG_…
mod flag {
    pub(super) const USED: u64 = 1;
    pub(super) const ACTIVE_LOW: u64 = 1 << 1;
    pub(super) const INPUT: u64 = 1 << 2;
    pub(super) const EDGES: u64 = 1 << 4 | 1 << 5;
    pub(super) const BIAS_PULL_UP: u64 = 1 << 8;
    pub(super) const BIAS_PULL_DOWN: u64 = 1 << 9;
    pub(super) const BIAS_DISABLED: u64 = 1 << 10;
}

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
        // struct gpiochip_info: name, label, lines.
        let mut bytes = [0; 68];
        gpio_call(self.as_fd(), &GpioCall::ChipInfo, &mut bytes)?;
        Ok(u32_at(&bytes, 64))
    }

    fn line(&self, offset: u32) -> io::Result<Info> {
        // struct gpio_v2_line_info: name, consumer, offset, num_attrs, flags, …
        let mut bytes = [0; 256];
        put(&mut bytes, 64, &offset.to_ne_bytes());
        gpio_call(self.as_fd(), &GpioCall::LineInfo, &mut bytes)?;
        let used = u64_at(&bytes, 72) & flag::USED != 0;
        Ok(Info { name: text(&bytes[..32]), used, consumer: text(&bytes[32..64]) })
    }

    fn request(&self, offsets: &[u32], wish: &Wish) -> io::Result<Lines> {
        let (bytes, mask) = request(offsets, wish);
        let file = File::from(gpio_request(self.as_fd(), bytes)?);
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Lines { file, mask })
    }
}

/// A wish in the kernel's words, `struct gpio_v2_line_request`; and a bit for
/// each line.
fn request(offsets: &[u32], wish: &Wish) -> ([u8; 592], u64) {
    let offsets = &offsets[..offsets.len().min(MAX_LINES)];
    let mask = u64::MAX.checked_shr(64 - offsets.len() as u32).unwrap_or(0);
    let mut flags = flag::INPUT | flag::EDGES;
    flags |= match wish.bias {
        None => 0,
        Some(Bias::PullUp) => flag::BIAS_PULL_UP,
        Some(Bias::PullDown) => flag::BIAS_PULL_DOWN,
        Some(Bias::Disabled) => flag::BIAS_DISABLED,
    };
    flags |= if wish.active_low { flag::ACTIVE_LOW } else { 0 };
    let mut bytes = [0; 592];
    for (place, offset) in offsets.iter().enumerate() {
        put(&mut bytes, place * 4, &offset.to_ne_bytes());
    }
    put(&mut bytes, 256, CONSUMER.as_bytes());
    // The configuration: flags, and how many attributes follow at 320.
    put(&mut bytes, 288, &flags.to_ne_bytes());
    if !wish.debounce.is_zero() {
        let micros = u32::try_from(wish.debounce.as_micros()).unwrap_or(u32::MAX).max(1);
        put(&mut bytes, 296, &1_u32.to_ne_bytes());
        // GPIO_V2_LINE_ATTR_ID_DEBOUNCE, its value, and for which lines it is.
        put(&mut bytes, 320, &3_u32.to_ne_bytes());
        put(&mut bytes, 328, &micros.to_ne_bytes());
        put(&mut bytes, 336, &mask.to_ne_bytes());
    }
    put(&mut bytes, 560, &(offsets.len() as u32).to_ne_bytes());
    put(&mut bytes, 564, &ROOM.to_ne_bytes());
    (bytes, mask)
}

/// Lines that the kernel has given.
#[derive(Debug)]
pub(super) struct Lines {
    file: File,
    /// A bit for each line.
    mask: u64,
}

impl Request for Lines {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn values(&self) -> io::Result<u64> {
        // struct gpio_v2_line_values: bits, mask.
        let mut bytes = [0; 16];
        put(&mut bytes, 8, &self.mask.to_ne_bytes());
        gpio_call(self.file.as_fd(), &GpioCall::Values, &mut bytes)?;
        Ok(u64_at(&bytes, 0))
    }

    fn edges(&mut self, edges: &mut Vec<Edge>) -> io::Result<()> {
        let mut bytes = [0; EDGE * A_READ];
        for _ in 0..AT_ONCE / A_READ {
            let length = match self.file.read(&mut bytes) {
                Ok(length) => length,
                Err(error) => {
                    let none = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
                    return if none.contains(&error.kind()) { Ok(()) } else { Err(error) };
                }
            };
            // Whole ones, says the kernel.
            edges.extend(bytes[..length].chunks_exact(EDGE).map(edge));
            if length < bytes.len() {
                break;
            }
        }
        Ok(())
    }
}

/// `struct gpio_v2_line_event`: timestamp_ns, id, offset, seqno, …
fn edge(bytes: &[u8]) -> Edge {
    Edge {
        at: Duration::from_nanos(u64_at(bytes, 0)),
        // GPIO_V2_LINE_EVENT_RISING_EDGE
        on: u32_at(bytes, 8) == 1,
        offset: u32_at(bytes, 12),
        seqno: u32_at(bytes, 16),
    }
}

fn put(bytes: &mut [u8], place: usize, what: &[u8]) {
    bytes[place..place + what.len()].copy_from_slice(what);
}

fn u32_at(bytes: &[u8], place: usize) -> u32 {
    bytes[place..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn u64_at(bytes: &[u8], place: usize) -> u64 {
    bytes[place..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// A name, up to its zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_at_the_places_of_the_header() {
        let plain = Wish { bias: None, active_low: false, debounce: Duration::ZERO };
        let (bytes, mask) = request(&[17, 4, 0x0102_0304], &plain);
        assert_eq!(mask, 0b111);
        assert_eq!([0, 4, 8, 12].map(|at| u32_at(&bytes, at)), [17, 4, 0x0102_0304, 0]);
        assert_eq!(text(&bytes[256..288]), "boardcast");
        // Input, rising, falling; no attribute; three lines; the room.
        assert_eq!(u64_at(&bytes, 288), 0x34);
        assert!(bytes[296..560].iter().all(|&byte| byte == 0));
        assert_eq!([560, 564].map(|at| u32_at(&bytes, at)), [3, 256]);
        assert!(bytes[568..].iter().all(|&byte| byte == 0));
        let debounce = Duration::from_millis(5);
        let button = Wish { bias: Some(Bias::PullUp), active_low: true, debounce };
        let (bytes, _) = request(&[1, 2], &button);
        assert_eq!(u64_at(&bytes, 288), 0x34 | 0x2 | 0x100);
        assert_eq!([296, 320, 328].map(|at| u32_at(&bytes, at)), [1, 3, 5000]);
        assert_eq!(u64_at(&bytes, 336), 0b11);
        for (bias, bit) in [(Bias::PullDown, 0x200), (Bias::Disabled, 0x400)] {
            let wish = Wish { bias: Some(bias), ..plain.clone() };
            assert_eq!(u64_at(&request(&[1], &wish).0, 288), 0x34 | bit);
        }
        let ages = Wish { debounce: Duration::from_secs(100_000), ..plain };
        let (bytes, mask) = request(&[7; 100], &ages);
        assert_eq!((u32_at(&bytes, 328), u32_at(&bytes, 560), mask), (u32::MAX, 64, u64::MAX));
        assert_eq!(request(&[], &ages).1, 0);
    }

    #[test]
    fn edges_are_read_whole_and_what_is_no_chip_gives_none() {
        let tree = crate::sources::vitals::trees::Tree::new();
        let mut bytes = vec![0; EDGE * 20 + 7];
        for (number, edge) in bytes.chunks_exact_mut(EDGE).enumerate() {
            put(edge, 0, &(1_000_000_000 + number as u64).to_ne_bytes());
            put(edge, 8, &(1 + number as u32 % 2).to_ne_bytes());
            put(edge, 12, &17_u32.to_ne_bytes());
            put(edge, 16, &(number as u32 + 1).to_ne_bytes());
        }
        tree.write("edges", bytes);
        let file = File::open(tree.root().join("edges")).expect("opened");
        let mut lines = Lines { file, mask: 1 };
        let mut edges = Vec::new();
        lines.edges(&mut edges).expect("read");
        let at = |nanos: u64| Duration::from_nanos(1_000_000_000 + nanos);
        assert_eq!(edges.len(), 20);
        assert_eq!(edges[0], Edge { at: at(0), offset: 17, on: true, seqno: 1 });
        assert_eq!(edges[19], Edge { at: at(19), offset: 17, on: false, seqno: 20 });
        assert!(lines.values().is_err());
    }

    #[test]
    fn names_end_at_their_zero() {
        assert_eq!(text(b"GPIO17\0\0junk"), "GPIO17");
        assert_eq!(text(&[b'x'; 32]), "x".repeat(32));
        assert_eq!(text(b"a\x1b\xffb"), "a\u{fffd}b");
        assert_eq!(text(b""), "");
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
        // QEMU's user mode does not know these calls at all.
        let emulated = std::env::var_os("TEST_RUNNER").is_some();
        let expected = if emulated { nix::libc::ENOSYS } else { nix::libc::ENOTTY };
        assert_eq!(why.raw_os_error(), Some(expected));
        assert!(devices.open("gpiochip1").is_err());
    }
}
