//! Sources that the settings name: a command, a file, a serial port, a server
//! of lines, GPIO lines, a fast sensor's buffer.

pub mod capture;
pub mod gpio;

use std::{path::PathBuf, time::Duration};

use crate::{
    telemetry::ChannelName,
    wire::line::{Columns, Pattern, Pointers},
};

/// One source, as a `[[source]]` table of the settings has it, checked.
///
/// Two that are equal are the same source: when the settings are read anew, it
/// is left alone.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSettings {
    /// Its name, as in a channel's `source`: one level of a channel name. No
    /// two have the same.
    pub name: String,
    /// Where its readings come from.
    pub kind: Kind,
    /// How what it prints is read; unused for [`Kind::Gpio`] and [`Kind::Capture`].
    pub format: Format,
    /// Levels that go before the name of every channel that it prints.
    pub prefix: Option<ChannelName>,
    /// After how long without a reading its channels are stale; `None`: three
    /// times `every` where it has one, else never.
    pub stale_after: Option<Duration>,
}

/// Where the readings of a configured source come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// What a command prints: started every so often, or kept running.
    Command {
        /// The program and its arguments; not empty. A shell line is
        /// `["/bin/sh", "-c", line]` here.
        command: Vec<String>,
        /// How often it is started; `None`: it is kept running, and started
        /// anew, later and later, when it ends.
        every: Option<Duration>,
        /// How long one run may take when it has an `every`; then it is killed.
        timeout: Duration,
    },
    /// What a file holds: a sysfs attribute, a file that a script rewrites.
    File {
        /// Which file, below the injected root.
        path: PathBuf,
        /// How often it is read.
        every: Duration,
    },
    /// What comes in at a serial port.
    Serial {
        /// Its device file: `/dev/ttyUSB0`, `/dev/serial/by-id/…`.
        port: PathBuf,
        /// Bits a second.
        baud: u32,
        /// How a character is framed.
        framing: Framing,
    },
    /// What a TCP server sends, line by line.
    Tcp {
        /// `host:port`.
        address: String,
    },
    /// Lines of GPIO chips, by the character device.
    Gpio {
        /// Each channel and its line: a line's name (`GPIO17`), or a chip and a
        /// number on it (`gpiochip0:17`).
        lines: Vec<(ChannelName, String)>,
        /// What pulls an open line.
        bias: Option<Bias>,
        /// Low means true.
        active_low: bool,
        /// How long a line must be at rest before a change counts; zero: at once.
        debounce: Duration,
    },
    /// The buffer of an IIO device, for sensors that are too fast to be polled.
    Capture {
        /// The device's `name` (`adxl345`), or its folder (`iio:device0`).
        device: String,
        /// Which of its scan elements (`accel_x`); empty: all.
        elements: Vec<String>,
        /// Samples a second; `None`: as the device is set.
        rate: Option<f64>,
        /// The trigger's name; `None`: as the device is set.
        trigger: Option<String>,
    },
}

/// How a character is framed on a serial line: `8N1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Data bits, 5 to 8.
    pub data_bits: u8,
    /// The check bit.
    pub parity: Parity,
    /// Stop bits, 1 or 2.
    pub stop_bits: u8,
}

/// The check bit of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// None.
    None,
    /// It makes the number of ones odd.
    Odd,
    /// It makes the number of ones even.
    Even,
}

/// What pulls an open GPIO line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// To the supply.
    PullUp,
    /// To ground.
    PullDown,
    /// Nothing does.
    Disabled,
}

/// How what a source prints is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Each line says its names: [the one grammar](crate::wire::line).
    Lines,
    /// Each line, or the whole of a file, is one value of this channel.
    Value(ChannelName),
    /// The named groups of a regular expression, line by line.
    Pattern(Pattern),
    /// Places in a JSON document, one a line.
    Pointers(Pointers),
    /// Columns, line by line, with a separator between.
    Columns(Columns),
}

/// STUB.
#[derive(Debug)]
pub struct Running;
impl Running {
    /// STUB.
    pub fn stop(&self) {}
    /// STUB.
    pub fn intakes(&self, _: impl Fn(&super::Intake)) {}
}
/// STUB.
pub fn start(
    _: &crate::telemetry::Hub,
    _: &SourceSettings,
    _: &std::path::Path,
) -> crate::Result<Running> {
    Ok(Running)
}
