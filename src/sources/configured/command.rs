//! A command: started every so often, or kept running.
//!
//! One run of it is a [`Run`], which ends one way: the leader of the group has
//! ended or is told to, what is left of the group is told to after a moment,
//! and killed after another one. Nothing waits for a pipe that someone keeps
//! open.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::ExitStatus,
    time::{Duration, Instant},
};

use nix::{errno::Errno, sys::signal::Signal, unistd::read};

use super::{
    feed::Feed,
    group::Streams,
    launcher::{Launcher, Processes},
};
use crate::{
    backoff::Backoff,
    sources::{
        inputs::{Bell, READ},
        sampler::next_deadline,
    },
};

/// How long what a command has left running may go on after its end.
const LINGER: Duration = Duration::from_millis(500);
/// From SIGTERM to SIGKILL.
pub(super) const GRACE: Duration = Duration::from_millis(1500);
/// From SIGKILL to the end; a process that the kernel holds is left to it.
const LEAVE: Duration = Duration::from_millis(500);
/// How long the thread of a source takes to end, at most.
pub(super) const PATIENCE: Duration = Duration::from_millis(2500);
/// How often one looks for what no descriptor tells: whether a group is empty.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// The same for its leader, where the kernel has no pidfd (before Linux 5.3).
pub(super) const LOOK_OLD: Duration = Duration::from_millis(200);
/// The longest time from one start to the next of one that is kept running.
const MOST: Duration = Duration::from_secs(60);

const ENDED: &str = "it has ended, and is started again; give it an every if it is to end";

/// A command as the settings have it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) command: Vec<String>,
    pub(super) every: Option<Duration>,
    pub(super) timeout: Duration,
    pub(super) launcher: Launcher,
}

/// Runs a command until it is told to stop.
pub(super) fn run(job: &Job, mut feed: Feed, bell: &Bell) {
    let mut backoff = Backoff::new(MOST);
    let mut due = Instant::now();
    loop {
        let begun = Instant::now();
        let outcome = once(job, &mut feed, bell);
        if bell.stopped() {
            return;
        }
        let why = outcome.err().or(feed.verdict());
        due = match job.every {
            Some(every) => {
                if let Some(why) = why {
                    feed.fail(&why);
                }
                next_deadline(due, every, Instant::now())
            }
            None => {
                feed.fail(why.as_deref().unwrap_or(ENDED));
                Instant::now() + backoff.after(begun.elapsed())
            }
        };
        if !feed.sleep(due, bell) {
            return;
        }
    }
}

/// Runs it once, up to its end; why it did not end well.
fn once(job: &Job, feed: &mut Feed, bell: &Bell) -> Result<(), String> {
    let (group, streams) =
        job.launcher.launch(&job.command).map_err(|error| not_started(&job.command, &error))?;
    let mut run = Run::new(group, streams, feed);
    if job.every.is_some() {
        run.limit(job.timeout);
    }
    run.follow(bell);
    run.outcome(job.timeout)
}

fn not_started(command: &[String], error: &io::Error) -> String {
    let program = command.first().map_or("", String::as_str);
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("no such program: {program}; install it, or write its whole path")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{program} may not be run: make it executable with chmod a+x")
        }
        _ => format!("{program} cannot be started: {error}"),
    }
}

/// One run of a command.
struct Run<'a> {
    feed: &'a mut Feed,
    group: Processes,
    output: Option<OwnedFd>,
    errors: Option<OwnedFd>,
    tail: Tail,
    buffer: Vec<u8>,
    /// Until when it may run.
    limit: Option<Instant>,
    timed_out: bool,
    ending: Ending,
}

/// How far a group is on its way to its end.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// It runs.
    No,
    /// Its leader has ended; the others may go on until then.
    Lingers(Instant),
    /// It was told to; it is killed then.
    Told(Instant),
    /// It was killed; it is left alone then.
    Killed(Instant),
    /// There is no more to be done.
    Over,
}

impl<'a> Run<'a> {
    fn new(group: Processes, streams: Streams, feed: &'a mut Feed) -> Self {
        Self {
            feed,
            group,
            output: Some(streams.output),
            errors: Some(streams.errors),
            tail: Tail::default(),
            buffer: vec![0; READ],
            limit: None,
            timed_out: false,
            ending: Ending::No,
        }
    }

    fn limit(&mut self, time: Duration) {
        self.limit = Some(Instant::now() + time);
    }

    /// Takes what it prints until all of it has ended.
    fn follow(&mut self, bell: &Bell) {
        let mut ready = Vec::new();
        loop {
            let now = Instant::now();
            self.advance(now, bell.stopped());
            if let Ending::Over = self.ending {
                break;
            }
            let wait = self.wait(now);
            let streams = self.output.iter().chain(&self.errors).map(AsFd::as_fd);
            let all: Vec<_> = streams.chain(self.group.end()).collect();
            bell.wait(&all, wait, &mut ready);
            self.read();
        }
        // What is in the pipes, and no more: someone may keep them open. A
        // pipe holds 1 MiB at most (pipe(7)).
        for _ in 0..(1 << 20) / READ {
            if !self.read() {
                break;
            }
        }
    }

    /// Does what is due.
    fn advance(&mut self, now: Instant, stop: bool) {
        let ended = self.group.status().is_some();
        if ended && self.group.is_empty() {
            self.ending = Ending::Over;
        }
        let late = self.limit.is_some_and(|limit| now >= limit);
        // Without an output it can say nothing more.
        let mute = self.limit.is_none() && self.output.is_none();
        match self.ending {
            Ending::No if ended || mute => self.ending = Ending::Lingers(now + LINGER),
            Ending::No if late => {
                self.timed_out = true;
                self.tell(now);
            }
            Ending::No | Ending::Lingers(_) if stop => self.tell(now),
            Ending::Lingers(until) if now >= until => self.tell(now),
            Ending::Told(until) if now >= until => {
                self.group.signal(Signal::SIGKILL);
                self.ending = Ending::Killed(now + LEAVE);
            }
            Ending::Killed(until) if now >= until => {
                log::warn!("{}: a process cannot be killed, and is left alone", self.feed.name());
                self.ending = Ending::Over;
            }
            _ => {}
        }
    }

    fn tell(&mut self, now: Instant) {
        self.group.signal(Signal::SIGTERM);
        self.ending = Ending::Told(now + GRACE);
    }

    /// For how long there is nothing to be done.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        let (until, look) = match self.ending {
            Ending::No => (self.limit, self.group.end().is_none().then_some(LOOK_OLD)),
            Ending::Lingers(until) | Ending::Told(until) | Ending::Killed(until) => {
                (Some(until), Some(LOOK))
            }
            Ending::Over => (None, None),
        };
        let left = until.map(|until| until.saturating_duration_since(now));
        [self.feed.settle(), left, look].into_iter().flatten().min()
    }

    /// Reads once what is there of each stream; whether there was anything.
    fn read(&mut self) -> bool {
        let Self { feed, output, errors, tail, buffer, .. } = self;
        let said = read_once(output, buffer, |bytes| feed.take(bytes));
        let complained = read_once(errors, buffer, |bytes| tail.take(bytes));
        said || complained
    }

    /// How it went, once it is over. A last line without an end counts when it
    /// went well; else it may have been cut.
    fn outcome(mut self, timeout: Duration) -> Result<(), String> {
        let status = self.group.status();
        if status.is_some_and(|status| status.success()) && !self.timed_out {
            self.feed.finish();
            return Ok(());
        }
        self.feed.discard();
        let how = match status {
            _ if self.timed_out => format!("killed after {timeout:?} without an end"),
            Some(status) => how_it_ended(status),
            None => "it cannot be killed".into(),
        };
        Err(match self.tail.text() {
            last if last.is_empty() => how,
            last => format!("{how}: {last}"),
        })
    }
}

fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(number)) => {
            let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
            format!("ended by signal {number} ({name})")
        }
        (None, None) => "ended".into(),
    }
}

/// Reads what is there, without waiting; lets go of a stream that has ended.
fn read_once(stream: &mut Option<OwnedFd>, buffer: &mut [u8], take: impl FnOnce(&[u8])) -> bool {
    let Some(fd) = stream else { return false };
    match read(fd, buffer) {
        Ok(length) if length > 0 => {
            take(&buffer[..length]);
            true
        }
        Err(Errno::EAGAIN | Errno::EINTR) => false,
        _ => {
            *stream = None;
            false
        }
    }
}

/// The last line of what a command complains about, or its beginning.
#[derive(Debug, Default)]
struct Tail {
    line: Vec<u8>,
    /// The line has ended; the next byte begins another.
    ended: bool,
}

impl Tail {
    /// As much as is kept of a line, in bytes.
    const MOST: usize = 160;

    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if matches!(byte, b'\n' | b'\r') {
                self.ended = true;
                continue;
            }
            // A blank line hides none that says something.
            if self.ended && !byte.is_ascii_whitespace() {
                self.line.clear();
                self.ended = false;
            }
            if !self.ended && self.line.len() < Self::MOST {
                self.line.push(byte);
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.line).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_command_complains_about_the_last_line_is_kept() {
        for (pieces, expected) in [
            (&["one\ntwo\n"][..], "two"),
            (&["one\nt", "wo"], "two"),
            (&["one\r\n", "\n  \n"], "one"),
            (&["10%\r20%\r"], "20%"),
            (&[""], ""),
        ] {
            let mut tail = Tail::default();
            pieces.iter().for_each(|piece| tail.take(piece.as_bytes()));
            assert_eq!(tail.text(), expected, "{pieces:?}");
        }
        let mut tail = Tail::default();
        (0..1000).for_each(|_| tail.take(&[b'x'; 1000]));
        assert_eq!(tail.text().len(), Tail::MOST);
        assert!(tail.line.capacity() <= 2 * Tail::MOST);
    }

    #[test]
    fn ends_are_told_in_words() {
        assert_eq!(how_it_ended(ExitStatus::from_raw(3 << 8)), "exited with code 3");
        assert_eq!(how_it_ended(ExitStatus::from_raw(9)), "ended by signal 9 (SIGKILL)");
    }
}
