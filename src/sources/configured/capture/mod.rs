//! The buffer of an IIO device: sensors that are too fast to be polled.
//!
//! ```text
//! settings:  device lis3dh, elements accel_x accel_y, rate 400
//!
//! iio/lis3dh/accel_x   m/s2   400 samples a second, in batches of 8 rows
//! iio/lis3dh/accel_y   m/s2
//! ```
//!
//! | file | what |
//! |---|---|
//! | `element` | bytes → frames → numbers |
//! | `stamps` | when a sample was taken |
//! | `folder` | attributes below `/sys/bus/iio/devices` |
//! | `device` | finding a device, setting it up, putting it back |
//!
//! Channels are called as those of the polled reader (`found/iio.rs`), which
//! leaves a device alone while its buffer is on: then its `_raw` files only say
//! that it is busy. Scales are read once: while a buffer is on, drivers do not
//! let them be changed.
//!
//! What is in the way is said in the channels' status, or in that of a channel
//! `iio/<device>` before there are any, and tried again after 5 s, later and
//! later up to a minute.

mod device;
mod element;
mod folder;
mod stamps;
#[cfg(test)]
mod tests;

use std::{
    io::Read,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use self::{
    device::{Buffer, GONE, Wanted},
    element::Frames,
    stamps::Stamps,
};
use super::{Kind, SourceSettings};
use crate::{
    error::{Error, Result},
    sources::inputs::{Bell, Input},
    telemetry::{Batch, BootTime, Channel, ChannelId, Hub, Levels, Publisher, Value},
};

/// The first pause before a device is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// The time from one batch to the next.
const REST: Duration = Duration::from_millis(20);
/// After how long without a sample it is looked whether the buffer is on, and
/// channels that another source has are asked for again.
const IDLE: Duration = Duration::from_secs(1);
/// What one read takes, about, in bytes; and how many there are of a turn.
const READ: usize = 16 * 1024;
const AT_ONCE: usize = 8;
/// The most values of one batch.
const MAX_VALUES: usize = 2048;

/// Starts to capture from the device of a [`Kind::Capture`] source, whose
/// files are below `root`, which is `/` on a board. That it is not there, or
/// cannot be set up, is no error: a channel says so.
///
/// # Errors
/// When the system refuses a thread, or the source is of another kind.
pub(super) fn start(hub: &Hub, settings: &SourceSettings, root: &Path) -> Result<Input> {
    let Kind::Capture { device, elements, rate, trigger } = &settings.kind else {
        return Err(Error::Setting(format!("source {}: captures nothing", settings.name)));
    };
    let wanted = Wanted {
        device: device.clone(),
        elements: elements.clone(),
        rate: *rate,
        trigger: trigger.clone(),
        prefix: settings.prefix.as_ref().map(ToString::to_string),
    };
    let capture = Capture {
        hub: hub.clone(),
        source: hub.publisher(&settings.name),
        root: root.to_owned(),
        wanted,
        stale_after: settings.stale_after,
        channels: Vec::new(),
        stand_in: None,
        said: None,
    };
    let name: String = format!("bc-src-{}", settings.name).chars().take(15).collect();
    // The buffer's, and a file or folder while it is set up.
    Input::start(name, 3, move |bell| capture.run(bell))
        .map_err(|error| Error::io("start a thread for a capture", error))
}

/// One device, captured from again and again.
struct Capture {
    hub: Hub,
    source: Publisher,
    root: PathBuf,
    wanted: Wanted,
    stale_after: Option<Duration>,
    /// A column each; without an id while another source has the channel.
    channels: Vec<(Channel, Option<ChannelId>)>,
    /// Says what is in the way while there are no channels.
    stand_in: Option<ChannelId>,
    /// What was logged last.
    said: Option<String>,
}

/// Why capturing ended.
enum End {
    Stopped,
    Failed(String),
}

impl Capture {
    fn run(mut self, bell: &Bell) {
        let mut pause = PAUSES.0;
        loop {
            let why = match Buffer::open(&self.root, &self.wanted) {
                Ok(buffer) => {
                    pause = PAUSES.0;
                    match self.capture(buffer, bell) {
                        End::Stopped => return,
                        End::Failed(why) => why,
                    }
                }
                Err(why) => why,
            };
            self.fail(&why);
            if !sleep(bell, pause) {
                return;
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Reads until it cannot; the buffer is off afterwards.
    fn capture(&mut self, mut buffer: Buffer, bell: &Bell) -> End {
        self.adopt(&buffer);
        let mut reader = Reader::new(&buffer, self.hub.clock().boot());
        let mut ready = Vec::new();
        loop {
            if !bell.wait(&[buffer.file.as_fd()], Some(IDLE), &mut ready) {
                return End::Stopped;
            }
            if ready.first() != Some(&true) {
                if let Some(why) = buffer.ended() {
                    return End::Failed(why.into());
                }
                self.declare();
                continue;
            }
            let ended = reader.read(&mut buffer);
            reader.place(self.hub.clock().boot());
            let due = Instant::now() + REST;
            reader.publish(&self.source, &self.channels);
            if let Some(why) = ended {
                return End::Failed(why);
            }
            if self.channels.iter().any(|(_, id)| id.is_none()) {
                self.declare();
            }
            // So that samples come together even where there is no watermark.
            if !sleep(bell, due.saturating_duration_since(Instant::now())) {
                return End::Stopped;
            }
        }
    }

    /// Takes the channels of a buffer for those of this source.
    fn adopt(&mut self, buffer: &Buffer) {
        // Three samples missed, and a little.
        let fresh = |rate: f64| Duration::try_from_secs_f64((3.0 / rate).max(3.0)).ok();
        let stale_after = self.stale_after.or_else(|| buffer.rate.and_then(fresh));
        let new = buffer.columns.iter().map(|column| {
            let mut channel = column.channel.clone();
            channel.stale_after = stale_after;
            (channel, None)
        });
        let old = std::mem::replace(&mut self.channels, new.collect());
        self.declare();
        let gone = old.iter().filter_map(|(_, id)| *id);
        for id in gone.filter(|id| self.channels.iter().all(|(_, new)| new.as_ref() != Some(id))) {
            self.source.gone(id);
        }
        if let Some(id) = self.stand_in.take() {
            self.source.gone(id);
        }
        self.said = None;
    }

    /// Declares the channels that are not yet.
    fn declare(&mut self) {
        for (channel, id) in self.channels.iter_mut().filter(|(_, id)| id.is_none()) {
            match self.source.channel(channel.clone()) {
                Ok(number) => *id = Some(number),
                Err(why) => {
                    // The polled reader's are free some seconds after the buffer is on.
                    let why = why.to_string();
                    if self.said.as_ref() != Some(&why) {
                        log::info!("{}: a channel waits: {why}", self.source.name());
                        self.said = Some(why);
                    }
                    return;
                }
            }
        }
    }

    /// Says what is in the way.
    fn fail(&mut self, why: &str) {
        if self.said.as_deref() != Some(why) {
            log::warn!("{}: {}: {why}", self.source.name(), self.wanted.device);
            self.said = Some(why.to_owned());
        }
        for id in self.channels.iter().filter_map(|(_, id)| *id) {
            self.source.fail(id, why);
        }
        if self.channels.iter().all(|(_, id)| id.is_none()) {
            if self.stand_in.is_none() {
                let level = Levels::default().level(&self.wanted.device);
                let name = self.wanted.prefix.clone().unwrap_or_else(|| format!("iio/{level}"));
                let channel = Channel::state(&name);
                let declare = |channel: Channel| {
                    self.source.channel(channel.label(self.wanted.device.clone()))
                };
                self.stand_in = channel.and_then(declare).ok();
            }
            if let Some(id) = self.stand_in {
                self.source.fail(id, why);
            }
        }
    }
}

/// Waits; false when the thread is to end.
fn sleep(bell: &Bell, time: Duration) -> bool {
    let (until, mut ready) = (Instant::now() + time, Vec::new());
    loop {
        // Woken early, it is asked for a sign of life.
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        if !bell.wait(&[], Some(left), &mut ready) {
            return false;
        }
    }
}

/// What was read and is not yet published.
struct Reader {
    frames: Frames,
    stamps: Stamps,
    bytes: Vec<u8>,
    /// Values, row after row.
    values: Vec<f64>,
    /// The rows' time stamps, where they have any, and the clock's time after
    /// they were read.
    raw: Vec<i64>,
    clock: Duration,
    rows: usize,
    instants: Vec<BootTime>,
}

impl Reader {
    fn new(buffer: &Buffer, now: BootTime) -> Self {
        let frames = (READ / buffer.frame).max(1);
        Self {
            frames: Frames::new(buffer.frame),
            stamps: Stamps::new(buffer.rate, now),
            bytes: vec![0; frames * buffer.frame],
            values: Vec::new(),
            raw: Vec::new(),
            clock: Duration::ZERO,
            rows: 0,
            instants: Vec::new(),
        }
    }

    /// Takes the samples that wait, 128 KiB at most; why there will be no more.
    fn read(&mut self, buffer: &mut Buffer) -> Option<String> {
        let Self { frames, bytes, values, raw, rows, .. } = self;
        let (columns, stamp) = (&buffer.columns, &buffer.stamp);
        let mut ended = None;
        for _ in 0..AT_ONCE {
            let length = match (&buffer.file).read(bytes) {
                Ok(0) => {
                    ended = Some(GONE.into());
                    break;
                }
                Ok(length) => length,
                Err(error) => {
                    ended = ending(&error);
                    break;
                }
            };
            frames.feed(&bytes[..length], |frame| {
                values.extend(columns.iter().map(|column| column.value(frame)));
                raw.extend(stamp.iter().map(|(start, element, _)| element.whole(&frame[*start..])));
                *rows += 1;
            });
            if length < bytes.len() {
                break;
            }
        }
        self.clock = stamp.as_ref().map_or(Duration::ZERO, |(.., clock)| stamps::now(*clock));
        ended
    }

    /// Finds the instants of the rows that were read before `now`.
    fn place(&mut self, now: BootTime) {
        self.instants = self.stamps.place(now, self.clock, &self.raw, self.rows);
        self.raw.clear();
    }

    /// Publishes the rows in batches.
    fn publish(&mut self, source: &Publisher, channels: &[(Channel, Option<ChannelId>)]) {
        let width = channels.len();
        let most = (MAX_VALUES / width.max(1)).max(1);
        for (part, instants) in self.instants.chunks(most).enumerate() {
            let start = instants[0];
            let later = instants[1..].iter().map(|at| at.since(start)).collect();
            let mut batch = Batch::rows_at(start, later);
            let rows = &self.values[part * most * width..];
            for (column, (_, id)) in channels.iter().enumerate() {
                if let Some(id) = id {
                    let values = rows.iter().skip(column).step_by(width);
                    batch.column(*id, values.map(|value| Value::from(*value)));
                }
            }
            if !batch.is_empty() {
                source.publish(batch);
            }
        }
        self.values.clear();
        self.rows = 0;
    }
}

/// What an error of a read means; `None` when there is just nothing yet.
fn ending(error: &std::io::Error) -> Option<String> {
    use std::io::ErrorKind::{Interrupted, WouldBlock};
    if matches!(error.kind(), WouldBlock | Interrupted) {
        return None;
    }
    Some(match error.raw_os_error() {
        Some(nix::libc::ENODEV | nix::libc::ENXIO) => GONE.into(),
        _ => format!("its buffer cannot be read: {error}"),
    })
}
