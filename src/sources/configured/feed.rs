//! What becomes of the bytes that a source reads: lines, readings, batches;
//! and what is told when there are none.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{errno::Errno, unistd::read};

use super::Format;
use crate::{
    sources::{
        Intake, Turn,
        inputs::{Bell, Lines, Pace, READ},
    },
    wire::line::{self, BadLine, MAX_DOCUMENT, Points},
};

/// After so many lines without a reading, or one after this time, it is told at
/// a source that has had none at all; a banner is shorter.
const BARREN: usize = 20;
const BARREN_TIME: Duration = Duration::from_secs(10);
/// The time from one line of the log to the next, of one source.
const QUIET: Duration = Duration::from_secs(60);

/// The way of one source's bytes into its intake.
#[derive(Debug)]
pub(super) struct Feed {
    intake: Intake,
    format: Format,
    lines: Lines,
    pace: Pace,
    /// What has come so far, where lines do not count.
    document: Option<Vec<u8>>,
    heard: Heard,
    /// There has been a reading since it was started.
    fruitful: bool,
    failing: bool,
    /// When the log was last told of a failure.
    told: Option<Instant>,
}

/// What came since it was last asked for.
#[derive(Debug, Default)]
struct Heard {
    /// There was a reading.
    fruitful: bool,
    /// And nobody has taken note of it yet.
    fresh: bool,
    /// Lines that are not blank.
    lines: usize,
    /// When the first of them came.
    since: Option<Instant>,
    /// Why one of them was no reading.
    why: Option<String>,
}

/// How a stream came to its end.
#[derive(Debug)]
pub(super) enum End {
    /// The source is to stop.
    Stopped,
    /// The other side has ended it.
    Over,
    /// It cannot be read.
    Broken(Errno),
}

impl Feed {
    pub(super) fn new(intake: Intake, format: Format) -> Self {
        Self {
            pace: Pace::new(intake.clone()),
            intake,
            format,
            lines: Lines::default(),
            document: None,
            heard: Heard::default(),
            fruitful: false,
            failing: false,
            told: None,
        }
    }

    /// Whether all that comes up to an end is read as one, and not line by line.
    pub(super) fn taken_whole(self, whole: bool) -> Self {
        Self { document: whole.then(Vec::new), ..self }
    }

    /// How it is read.
    pub(super) fn format(&self) -> &Format {
        &self.format
    }

    /// The source's name.
    pub(super) fn name(&self) -> &str {
        self.intake.name()
    }

    /// Takes bytes as they come.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let Self { intake, format, lines, document, heard, .. } = self;
        if let Some(document) = document {
            // One byte more than it may have tells that it is too long.
            let room = MAX_DOCUMENT + 1 - document.len();
            document.extend_from_slice(&bytes[..bytes.len().min(room)]);
            return;
        }
        let mut turn = intake.turn();
        lines.feed(bytes, |line| match line {
            Ok(line) => heard.line(format, line, &mut turn),
            Err(why) => {
                turn.refuse(&why);
                // It is too long: no banner is, and there may be no second one.
                heard.lines += BARREN;
                heard.refused(&why);
            }
        });
        drop(turn);
        self.took();
        if !self.fruitful && self.heard.is_barren() {
            if let Some(why) = self.verdict() {
                self.fail(&why);
            }
        }
    }

    /// All has come, and is complete: a last line without an end counts, too.
    pub(super) fn finish(&mut self) {
        let Self { intake, format, lines, document, heard, .. } = self;
        let mut turn = intake.turn();
        if let Some(document) = document {
            heard.line(format, document, &mut turn);
            document.clear();
        }
        lines.end(|line| heard.line(format, line, &mut turn));
        drop(turn);
        self.took();
        self.pace.finish();
    }

    /// All has come that is wanted, and there is more: a last line without an
    /// end does not count, but a document is too long.
    pub(super) fn cut(&mut self) {
        self.lines = Lines::default();
        self.finish();
    }

    /// What has come of a line without its end is no reading: `21.` of `21.5`.
    pub(super) fn discard(&mut self) {
        self.lines = Lines::default();
        if let Some(document) = &mut self.document {
            document.clear();
        }
        self.pace.finish();
    }

    /// Nor is the rest of a line of which the beginning was not heard.
    pub(super) fn skip_line(&mut self) {
        self.lines.skip();
    }

    fn took(&mut self) {
        self.pace.note();
        if !std::mem::take(&mut self.heard.fresh) {
            return;
        }
        self.fruitful = true;
        if std::mem::take(&mut self.failing) {
            log::info!("{}: readings come again", self.name());
        }
    }

    /// Why there was no reading in all that has come since it was last asked
    /// for; `None` when there was one, or nothing came.
    pub(super) fn verdict(&mut self) -> Option<String> {
        let Heard { fruitful, why, .. } = std::mem::take(&mut self.heard);
        why.filter(|_| !fruitful)
    }

    /// Says at all channels of the source why there are no readings.
    pub(super) fn fail(&mut self, reason: &str) {
        // What a command said may be part of it.
        let reason = BadLine::new(reason);
        self.pace.finish();
        self.intake.fail(reason.as_str());
        self.failing = true;
        if self.told.is_none_or(|told| told.elapsed() >= QUIET) {
            self.told = Some(Instant::now());
            log::warn!("{}: {reason}", self.name());
        } else {
            log::debug!("{}: {reason}", self.name());
        }
    }

    /// Publishes when it is time; otherwise, for how long to wait at most.
    pub(super) fn settle(&mut self) -> Option<Duration> {
        self.pace.settle()
    }

    /// Waits; false when the source is to stop.
    pub(super) fn sleep(&mut self, until: Instant, bell: &Bell) -> bool {
        loop {
            let rest = self.settle();
            let left = until.saturating_duration_since(Instant::now());
            if bell.stopped() || left.is_zero() {
                return !bell.stopped();
            }
            let wait = rest.map_or(left, |rest| rest.min(left));
            bell.wait(&[], Some(wait), &mut Vec::new());
        }
    }

    /// Takes what a stream has, until it ends.
    pub(super) fn follow(&mut self, stream: impl AsFd, bell: &Bell) -> End {
        let (mut ready, mut buffer) = (Vec::new(), vec![0; READ]);
        loop {
            let rest = self.settle();
            if !bell.wait(&[stream.as_fd()], rest, &mut ready) {
                return End::Stopped;
            }
            if !ready[0] {
                continue;
            }
            match read(&stream, &mut buffer) {
                Ok(0) => return End::Over,
                Ok(length) => self.take(&buffer[..length]),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(errno) => return End::Broken(errno),
            }
        }
    }
}

impl Heard {
    /// Whether what comes should have been a reading by now.
    fn is_barren(&mut self) -> bool {
        if self.lines == 0 {
            return false;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        self.lines >= BARREN || since.elapsed() >= BARREN_TIME
    }

    fn line(&mut self, format: &Format, line: &[u8], turn: &mut Turn<'_>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        self.lines += 1;
        match turn.take(|points| format.read(line, points)) {
            Ok(0) => {
                let Format::Pattern(pattern) = format else { return };
                let start: String = String::from_utf8_lossy(line).trim().chars().take(60).collect();
                log::debug!("no match for {}: {start:?}", pattern.as_str());
                let say = || format!("its pattern matches nothing that comes, as in {start:?}");
                self.why.get_or_insert_with(say);
            }
            Ok(_) => (self.fresh, self.fruitful) = (true, true),
            // One of its channels is another source's; the others' values wait.
            Err(_) if turn.is_waiting() => (self.fresh, self.fruitful) = (true, true),
            Err(why) => self.refused(&why),
        }
    }

    fn refused(&mut self, why: &BadLine) {
        self.why.get_or_insert_with(|| format!("no reading in what comes: {why}"));
    }
}

impl Format {
    /// Reads one line, or what else is complete in itself.
    pub(super) fn read(&self, line: &[u8], points: &mut Points) -> Result<(), BadLine> {
        match self {
            // A payload has a topic, and comes another way.
            Self::Lines | Self::Payload => line::parse(line, points),
            Self::Value(name) => line::value(name, line, points),
            Self::Pattern(pattern) => pattern.read(line, points),
            Self::Pointers(pointers) => pointers.read(line, points),
            Self::Columns(columns) => columns.read(line, points),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lines_without_a_reading_may_be_a_banner_for_some_seconds() {
        let long_ago = Instant::now().checked_sub(BARREN_TIME);
        for (lines, since, barren) in
            [(0, long_ago, false), (1, None, false), (1, long_ago, true), (BARREN, None, true)]
        {
            let mut heard = Heard { lines, since, ..Heard::default() };
            assert_eq!(heard.is_barren(), barren, "{lines}, {since:?}");
        }
    }
}
