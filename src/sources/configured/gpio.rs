//! Lines of GPIO chips: switches, buttons, reed contacts, pulses.
//!
//! ```text
//! settings:  door/open = GPIO17, meter/pulse = gpiochip1:4
//!
//! door/open    true    at once, as it is
//! door/open    false   then at every edge, at the instant that the kernel noted
//! ```
//!
//! | file | what |
//! |---|---|
//! | `kernel` | what is asked of the kernel, behind traits; all that takes a chip |
//! | `place` | where a line is; what errors mean |
//!
//! Only lines that the settings name are touched. They are inputs from then
//! on, and are let go of when the source ends. Edges of one chip keep their
//! order; those that come together are the rows of one batch, and a line
//! without an edge at that instant is shown as it was.
//!
//! **Time.** The kernel stamps an edge in CLOCK_MONOTONIC, when its interrupt
//! comes. Its age by that clock is taken from the present boot time, so that a
//! clock that is set does not move it. The two clocks differ in the time spent
//! asleep: an edge that is read only after the board slept seems that much later.
//!
//! **What is lost.** The kernel keeps 256 edges of a request, and drops the
//! oldest when more come between two looks (at least 10 ms apart while they come).
//! A jump of their numbers shows it; it is logged, and the lines' states are
//! read anew.
//!
//! **What cannot be had** has its reason in its channel's status, and is tried
//! again after 5 s, later and later up to a minute.

mod kernel;
mod place;
#[cfg(test)]
mod tests;

use std::{cmp::Reverse, io, path::Path, time::Duration};

use self::{
    kernel::{Chip, Devices, Edge, Kernel, MAX_LINES, Request, Wish},
    place::{Board, Place, busy, trouble},
};
use super::{Kind, SourceSettings};
use crate::{
    error::{Error, Result},
    sources::inputs::{Bell, Input},
    telemetry::{Batch, BootTime, Channel, ChannelId, ChannelName, Hub, Publisher, Value},
};

/// The first pause before a line is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// The time from one look at the edges to the next, while they come.
const REST: Duration = Duration::from_millis(10);
/// How often it is said that edges are lost.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// The most values of one batch.
const MAX_VALUES: usize = 2048;

/// Starts to watch the lines of a [`Kind::Gpio`] source. The chips are those
/// below `root`, which is `/` on a board. That a line cannot be had is no
/// error: its channel says so.
///
/// # Errors
/// When a channel cannot be declared, the system refuses a thread, or the
/// source is of another kind.
pub(super) fn start(hub: &Hub, settings: &SourceSettings, root: &Path) -> Result<Input> {
    let watched = Watched::new(hub, settings, Devices::new(root))?;
    // One request a line, at worst, and one chip after the other while looking.
    let descriptors = watched.lines.len() + 64;
    let name: String = format!("bc-src-{}", settings.name).chars().take(15).collect();
    Input::start(name, descriptors, move |bell| watched.run(bell))
        .map_err(|error| Error::io("start a thread for GPIO lines", error))
}

/// The lines of one source, step by step.
struct Watched<K: Kernel> {
    hub: Hub,
    source: Publisher,
    kernel: K,
    wish: Wish,
    lines: Vec<Line>,
    held: Vec<Held<<K::Chip as Chip>::Request>>,
    /// When the lines that are not held are tried, and how long after that
    /// again. `None`: all are held.
    due: Option<BootTime>,
    pause: Duration,
    /// The instant of the last row.
    last: BootTime,
    /// Edges that the kernel dropped, and when that was last said.
    lost: u64,
    complained: Option<BootTime>,
    edges: Vec<Edge>,
}

/// A line and its channel.
struct Line {
    id: ChannelId,
    channel: Channel,
    place: Place,
    held: bool,
    on: bool,
    /// Why it is not held, as was said last.
    trouble: Option<String>,
}

/// Lines of a chip that were asked for together.
struct Held<R> {
    request: R,
    chip: String,
    /// The number of each on the chip, and among ours.
    lines: Vec<(u32, usize)>,
    /// When their states were read; what is older is in them.
    since: Duration,
    /// The number of the last edge.
    seqno: u32,
}

/// A row to be: which line was what, and when.
type Row = (BootTime, usize, bool);

impl<K: Kernel> Watched<K> {
    fn new(hub: &Hub, settings: &SourceSettings, kernel: K) -> Result<Self> {
        let Kind::Gpio { lines, bias, active_low, debounce } = &settings.kind else {
            return Err(Error::Setting(format!("source {}: has no GPIO lines", settings.name)));
        };
        let source = hub.publisher(&settings.name);
        let declare = |(name, text): &(ChannelName, String)| {
            let name = match &settings.prefix {
                Some(prefix) => format!("{prefix}/{name}"),
                None => name.to_string(),
            };
            let mut channel = Channel::state(&name)?.label(text.clone());
            channel.stale_after = settings.stale_after;
            let id = source.channel(channel.clone())?;
            let place = Place::new(text);
            Ok(Line { id, channel, place, held: false, on: false, trouble: None })
        };
        let lines = lines.iter().map(declare).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            hub: hub.clone(),
            source,
            kernel,
            wish: Wish { bias: *bias, active_low: *active_low, debounce: *debounce },
            lines,
            held: Vec::new(),
            due: Some(BootTime::default()),
            pause: PAUSES.0,
            last: BootTime::default(),
            lost: 0,
            complained: None,
            edges: Vec::new(),
        })
    }

    fn run(mut self, bell: &Bell) {
        let mut ready = Vec::new();
        loop {
            // While edges come, they gather for a moment.
            if self.look(&ready) && !bell.wait(&[], Some(REST), &mut ready) {
                return;
            }
            let time = self.settle();
            let descriptors: Vec<_> =
                self.held.iter().map(|held| held.request.descriptor()).collect();
            if !bell.wait(&descriptors, time, &mut ready) {
                return;
            }
        }
    }

    /// Tries to get the lines that are not held, when it is time; for how long
    /// to wait at most.
    fn settle(&mut self) -> Option<Duration> {
        let now = self.hub.clock().boot();
        if self.due? <= now {
            let before = self.held.len();
            self.seize();
            // As long as there is progress, there may soon be more.
            self.pause = if self.held.len() > before { PAUSES.0 } else { self.pause };
            let all = self.lines.iter().all(|line| line.held);
            self.due = (!all).then(|| now + self.pause);
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
        Some(self.due?.since(now))
    }

    fn seize(&mut self) {
        let board = Board::open(&self.kernel);
        let mut of_chips: Vec<Vec<(u32, usize)>> = Vec::new();
        for number in 0..self.lines.len() {
            if self.lines[number].held {
                continue;
            }
            match board.find(&self.lines[number].place) {
                Ok(found) if found.info.used => self.refuse(number, busy(&found.info.consumer)),
                Ok(found) => {
                    if !found.info.name.is_empty() {
                        self.describe(number, found.info.name);
                    }
                    of_chips.resize_with(of_chips.len().max(found.chip + 1), Vec::new);
                    of_chips[found.chip].push((found.offset, number));
                }
                Err(why) => self.refuse(number, why),
            }
        }
        for (chip, lines) in of_chips.iter().enumerate() {
            let Some((name, chip)) = board.chip(chip) else { continue };
            for together in lines.chunks(MAX_LINES) {
                if self.request(name, chip, together).is_err() {
                    // One that cannot be had must not cost the others.
                    for one in together {
                        let Err(why) = self.request(name, chip, &[*one]) else { continue };
                        // Somebody was quicker; or the settings name it twice.
                        let info = chip.line(one.0).ok().filter(|info| info.used);
                        self.refuse(one.1, info.map_or(why, |info| busy(&info.consumer)));
                    }
                }
            }
        }
    }

    fn request(
        &mut self,
        name: &str,
        chip: &K::Chip,
        lines: &[(u32, usize)],
    ) -> Result<(), String> {
        let offsets: Vec<u32> = lines.iter().map(|(offset, _)| *offset).collect();
        let request = chip.request(&offsets, &self.wish).map_err(|error| trouble(name, &error))?;
        let (chip, lines) = (name.to_owned(), lines.to_vec());
        self.held.push(Held { request, chip, lines, since: Duration::ZERO, seqno: 0 });
        if let Err(error) = self.read_states(self.held.len() - 1) {
            self.held.pop();
            return Err(trouble(name, &error));
        }
        Ok(())
    }

    /// Publishes the states of a request's lines as they are now.
    fn read_states(&mut self, number: usize) -> io::Result<()> {
        let held = &mut self.held[number];
        held.since = self.kernel.now();
        let bits = held.request.values()?;
        self.last = self.last.max(self.hub.clock().boot());
        let mut batch = Batch::at(self.last);
        for (bit, (_, number)) in held.lines.iter().enumerate() {
            let line = &mut self.lines[*number];
            (line.held, line.trouble) = (true, None);
            line.on = bits >> bit & 1 == 1;
            batch.set(line.id, line.on);
        }
        self.source.publish(batch);
        Ok(())
    }

    /// Takes the edges of all requests that are ready; whether there were any.
    fn look(&mut self, ready: &[bool]) -> bool {
        let mut rows: Vec<Row> = Vec::new();
        let mut jumped = Vec::new();
        let mut gone = Vec::new();
        let mut edges = std::mem::take(&mut self.edges);
        for number in (0..self.held.len()).filter(|&number| ready.get(number) == Some(&true)) {
            let held = &mut self.held[number];
            if let Err(error) = held.request.edges(&mut edges) {
                gone.push((number, error));
            }
            let (clock, now) = (self.kernel.now(), self.hub.clock().boot().since_boot());
            for edge in edges.drain(..) {
                let lost = edge.seqno.wrapping_sub(held.seqno.wrapping_add(1));
                held.seqno = edge.seqno;
                if lost > 0 {
                    self.lost += u64::from(lost);
                    jumped.push(number);
                }
                let line = held.lines.iter().find(|(offset, _)| *offset == edge.offset);
                // What is older than the states was read with them.
                if let Some((_, line)) = line.filter(|_| edge.at >= held.since) {
                    let age = clock.saturating_sub(edge.at);
                    rows.push((BootTime::new(now.saturating_sub(age)), *line, edge.on));
                }
            }
        }
        self.edges = edges;
        // Stable: edges of one line keep their order, whatever their stamps are.
        rows.sort_by_key(|(at, ..)| *at);
        self.publish(&mut rows);
        jumped.dedup();
        self.mend(&jumped, &mut gone);
        self.let_go(gone);
        !rows.is_empty()
    }

    fn publish(&mut self, rows: &mut [Row]) {
        for (at, ..) in &mut *rows {
            *at = self.last.max(*at);
            self.last = *at;
        }
        let mut columns: Vec<usize> = rows.iter().map(|(_, line, _)| *line).collect();
        columns.sort_unstable();
        columns.dedup();
        let most = MAX_VALUES / columns.len().max(1);
        for part in rows.chunks(most.max(1)) {
            let start = part[0].0;
            let later = part[1..].iter().map(|(at, ..)| at.since(start)).collect();
            let mut batch = Batch::rows_at(start, later);
            for &number in &columns {
                let line = &mut self.lines[number];
                let states = part.iter().map(|(_, changed, on)| {
                    line.on = if *changed == number { *on } else { line.on };
                    Value::from(line.on)
                });
                batch.column(line.id, states);
            }
            self.source.publish(batch);
        }
    }

    /// Reads the states anew where edges were lost.
    fn mend(&mut self, jumped: &[usize], gone: &mut Vec<(usize, io::Error)>) {
        let now = self.hub.clock().boot();
        let quiet = self.complained.is_some_and(|at| now.since(at) < COMPLAIN_EVERY);
        if !jumped.is_empty() && !quiet {
            self.complained = Some(now);
            let (source, lost) = (self.source.name(), self.lost);
            log::warn!(
                "{source}: edges come faster than they are read: {lost} lost so far; \
                 set a debounce, or count them by other means"
            );
        }
        for &number in jumped {
            if gone.iter().all(|(other, _)| *other != number) {
                if let Err(error) = self.read_states(number) {
                    gone.push((number, error));
                }
            }
        }
    }

    /// Lets go of requests whose chip is gone; their lines are tried again.
    fn let_go(&mut self, mut gone: Vec<(usize, io::Error)>) {
        // From the last one on, so that the numbers of the others stay right.
        gone.sort_by_key(|(number, _)| Reverse(*number));
        for (number, error) in gone {
            let held = self.held.remove(number);
            let why = trouble(&held.chip, &error);
            for (_, line) in held.lines {
                self.lines[line].held = false;
                self.refuse(line, why.clone());
            }
            self.pause = PAUSES.0;
            self.due = Some(self.hub.clock().boot() + self.pause);
        }
    }

    /// Says why a line is not held, once.
    fn refuse(&mut self, number: usize, why: String) {
        let line = &mut self.lines[number];
        self.source.fail(line.id, &why);
        if line.trouble.as_ref() != Some(&why) {
            log::warn!("{}: {}: {why}", self.source.name(), line.channel.name);
            line.trouble = Some(why);
        }
    }

    /// The board's own name of the line is its label.
    fn describe(&mut self, number: usize, name: String) {
        let line = &mut self.lines[number];
        if line.channel.label.as_deref() != Some(&name) {
            line.channel.label = Some(name.into());
            // It is ours already, so there is room for it.
            let _ = self.source.channel(line.channel.clone());
        }
    }
}
