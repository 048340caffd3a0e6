//! Sources that the settings name: a command, a file, a serial port, a server
//! of lines, an MQTT broker, GPIO lines, a fast sensor's buffer.
//!
//! | file | what |
//! |---|---|
//! | `running` | a source's thread: started and stopped at any time |
//! | `feed` | what becomes of the bytes that it reads; its good and bad times |
//! | `command` | a command, run every so often or kept running |
//! | `group` | its process and all that it started: their end |
//! | `launcher` | who starts it: this process, or a helper |
//! | `helper` | that helper, for a server that may start nothing itself |
//! | `file` | a file, read every so often |
//! | `serial`, `tcp` | streams of lines that are opened again and again |
//! | `mqtt` | topics of a broker |
//! | `template` | how a topic becomes the name of a channel |
//!
//! Each source is one [`Intake`] and one thread, which sleeps in `poll(2)`; one
//! that has trouble says so at its own channels, and is in nobody's way.

mod capture;
mod command;
mod feed;
mod file;
mod gpio;
mod group;
mod helper;
mod launcher;
mod mqtt;
mod running;
mod serial;
mod tcp;
mod template;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use self::{command::Job, feed::Feed};
pub(crate) use self::{helper::attend, launcher::Launcher};
pub use self::{mqtt::Subscriber, running::RunningSource, template::Template};
use super::{Intake, inputs::Input};
use crate::{
    error::{Error, Result},
    mqtt::{Broker, Filter, Qos},
    telemetry::{ChannelName, Hub},
    wire::line::{Columns, Pattern, Pointers},
};

/// A source that runs; dropping it stops it and waits for it, a little. To stop
/// many, [`stop`](Self::stop) all of them first.
#[derive(Debug)]
pub enum Running {
    /// One that reads text.
    Feed(RunningSource),
    /// One that publishes what a device says.
    Lines(Input),
    /// One that reads what comes from a broker.
    Mqtt(Subscriber),
}

impl Running {
    /// Where its readings go in, when it reads text.
    pub fn intake(&self) -> Option<&Intake> {
        match self {
            Self::Feed(source) => Some(source.intake()),
            Self::Mqtt(source) => Some(source.intake()),
            Self::Lines(_) => None,
        }
    }

    /// How many descriptors it takes at most.
    pub fn descriptors(&self) -> usize {
        match self {
            Self::Feed(source) => source.descriptors(),
            Self::Lines(input) => input.descriptors(),
            Self::Mqtt(source) => source.descriptors(),
        }
    }

    /// Tells it to stop, and waits for nothing.
    pub fn stop(&self) {
        match self {
            Self::Feed(source) => source.stop(),
            Self::Lines(input) => input.stop(),
            Self::Mqtt(source) => source.stop(),
        }
    }
}

/// Starts a source. Files and ports are those below `root`, which is `/` but
/// in tests. What it cannot do (a program that is not installed, a port that is
/// not plugged in) is no error here: it is told at its channels, and tried
/// again.
///
/// Its successor of the same name is started when this one is dropped.
///
/// # Errors
/// [`Error::Io`] when the system refuses a thread; [`Error::Setting`] for a
/// kind that this program does not have.
pub fn start(hub: &Hub, settings: &SourceSettings, root: &Path) -> Result<Running> {
    start_by(&Launcher::here(), hub, settings, root)
}

/// As [`start`]; the launcher starts what is a command.
pub(crate) fn start_by(
    launcher: &Launcher,
    hub: &Hub,
    settings: &SourceSettings,
    root: &Path,
) -> Result<Running> {
    match settings.kind {
        Kind::Gpio { .. } => gpio::start(hub, settings, root).map(Running::Lines),
        Kind::Capture { .. } => capture::start(hub, settings, root).map(Running::Lines),
        Kind::Mqtt(ref topics) => mqtt::start(hub, settings, topics).map(Running::Mqtt),
        _ => start_feed(launcher, hub, settings, root).map(Running::Feed),
    }
}

/// Starts one that reads text.
fn start_feed(
    launcher: &Launcher,
    hub: &Hub,
    settings: &SourceSettings,
    root: &Path,
) -> Result<RunningSource> {
    let intake = Intake::new(hub, &settings.name);
    intake.describe(settings.prefix.clone(), settings.fresh_for());
    let mut feed = Feed::new(intake.clone(), settings.format.clone());
    let started = match settings.kind.clone() {
        Kind::Command { command, every, timeout } => {
            let is_document = matches!(feed.format(), Format::Pointers(_));
            feed = feed.taken_whole(every.is_some() && is_document);
            let job = Job { command, every, timeout, launcher: launcher.clone() };
            let patience = command::PATIENCE;
            // Its two streams, and its end.
            RunningSource::start(intake, 3, patience, move |bell| command::run(&job, feed, bell))
        }
        Kind::File { path, every } => {
            let is_whole = matches!(feed.format(), Format::Pointers(_) | Format::Value(_));
            file::start(intake, feed.taken_whole(is_whole), below(root, &path), every)
        }
        Kind::Serial { port, baud, framing } => {
            let port = serial::Port { path: below(root, &port), baud, framing };
            RunningSource::quick(intake, 1, move |bell| serial::run(&port, feed, bell))
        }
        Kind::Tcp { address } => {
            RunningSource::quick(intake, 1, move |bell| tcp::run(&address, feed, bell))
        }
        Kind::Gpio { .. } | Kind::Capture { .. } | Kind::Mqtt(_) => {
            return Err(Error::Setting("it reads no text".into()));
        }
    };
    started.map_err(|error| Error::io(format!("start source {}", settings.name), error))
}

/// A path as the settings have it, below the root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

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
    /// times `every` where it has one (but 3 s at least, and as long as a
    /// command may take), else never.
    pub stale_after: Option<Duration>,
}

impl SourceSettings {
    /// Whether it declares its channels at its start and never again, so that
    /// a change of the rules, which may show some that were hidden, takes a new
    /// start.
    pub(crate) fn declares_once(&self) -> bool {
        matches!(self.kind, Kind::Gpio { .. } | Kind::Capture { .. })
    }

    /// The words of its command, when it is one.
    pub(crate) fn command(&self) -> Option<&[String]> {
        match &self.kind {
            Kind::Command { command, .. } => Some(command),
            _ => None,
        }
    }

    /// How many descriptors it takes at most.
    pub(crate) fn descriptors(&self) -> usize {
        match &self.kind {
            // A request each, at worst, and one chip after the other.
            Kind::Gpio { lines, .. } => lines.len() + 64,
            // Two pipes, the end of a process, a bell; a file's are fewer.
            _ => 6,
        }
    }

    /// How long a reading is fresh.
    fn fresh_for(&self) -> Option<Duration> {
        let every = match self.kind {
            Kind::Command { every: Some(every), timeout, .. } => {
                Some((every * 3).max(every + timeout))
            }
            Kind::File { every, .. } => Some(every * 3),
            _ => None,
        };
        self.stale_after.or(every.map(|time| time.max(Duration::from_secs(3))))
    }
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
    /// Topics of an MQTT broker.
    Mqtt(Topics),
}

/// Which topics of which broker are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Topics {
    /// Where the broker is.
    pub broker: Broker,
    /// A file with the password, read at the start.
    pub password_file: Option<PathBuf>,
    /// A file of certificates that are trusted in place of the system's.
    pub authority: Option<PathBuf>,
    /// Whom the broker knows it as; `None`: one that is made up.
    pub client_id: Option<String>,
    /// What is subscribed to; not empty. Of those that mean a topic, the first
    /// says what its wildcards are.
    pub filters: Vec<Filter>,
    /// How surely.
    pub qos: Qos,
    /// How a topic becomes a channel, or what goes before channels.
    pub template: Template,
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
    /// [A JSON object, or one value](crate::wire::line::payload), of a device
    /// that knows nothing of that grammar: for [`Kind::Mqtt`] alone.
    Payload,
    /// Each line, or the whole of a file, is one value of this channel.
    Value(ChannelName),
    /// The named groups of a regular expression, line by line.
    Pattern(Pattern),
    /// Places in a JSON document, one a line.
    Pointers(Pointers),
    /// Columns, line by line, with a separator between.
    Columns(Columns),
}
