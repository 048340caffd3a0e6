//! The receiving end of what is pushed in: lines become batches.
//!
//! An [`Intake`] is one source of pushed readings: all that come over one kind
//! of input. It declares a channel when a line names it first; a channel
//! belongs to the source that named it first, and the others are told so.
//! Lines that arrive together share batches ([`Table`]), so that 50,000 lines a
//! second are a few hundred batches.

mod table;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use self::table::Table;
use crate::{
    error::Error,
    net::Counter,
    telemetry::{BootTime, Channel, ChannelId, ChannelName, Hub, Publisher, Value},
    wire::line::{self, BadLine, Point, Points, Stamp},
};

/// What an intake has counted since its start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Lines, blank ones and comments included.
    pub lines: Counter,
    /// Lines that were refused, wholly or in part.
    pub bad_lines: Counter,
    /// Clients that were refused: there were too many.
    pub refused_clients: Counter,
    /// Values taken.
    pub values: Counter,
}

/// One source of pushed readings. Clones are handles to the same one; when the
/// last is dropped, its channels are gone.
#[derive(Clone)]
pub struct Intake(Arc<Shared>);

struct Shared {
    hub: Hub,
    name: Box<str>,
    counts: Arc<Counts>,
    state: Mutex<State>,
}

struct State {
    /// `None`: it is closed.
    publisher: Option<Publisher>,
    /// How long its channels stay fresh.
    stale_after: Option<Duration>,
    /// Stands for its channels while none is known and it cannot read any.
    failure: Option<ChannelId>,
    known: HashMap<Box<str>, Known>,
    /// As the hub counts changes of rules and owners: then these were its own.
    generation: u32,
    points: Points,
    /// Values that are taken and not yet published.
    table: Table,
    /// Of one instant, until they have their place in the table.
    row: Vec<(ChannelId, Value)>,
    /// When it was last said that a line was refused.
    complained: Option<BootTime>,
}

struct Known {
    id: ChannelId,
    unit: Option<Box<str>>,
    /// The last number, to which a change is added.
    last: f64,
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl Intake {
    /// A source of this name. No two of a hub should have the same.
    pub fn new(hub: &Hub, name: &str) -> Self {
        let state = State {
            publisher: Some(hub.publisher(name)),
            stale_after: None,
            failure: None,
            known: HashMap::new(),
            generation: 0,
            points: Points::default(),
            table: Table::default(),
            row: Vec::new(),
            complained: None,
        };
        let (hub, counts, state) = (hub.clone(), Arc::default(), Mutex::new(state));
        Self(Arc::new(Shared { hub, name: name.into(), counts, state }))
    }

    /// The source's name, as in a channel's `source`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it has counted.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.0.counts
    }

    /// Says how it names and describes the channels that it declares from now
    /// on: the levels that go before each name, and after how long without a
    /// reading they are stale.
    pub fn describe(&self, prefix: Option<ChannelName>, stale_after: Option<Duration>) {
        let mut state = self.lock();
        state.points.set_root(prefix);
        state.stale_after = stale_after;
    }

    /// Says of all its channels why there are no readings; what was taken
    /// before is published first. Each is well again with its next reading.
    /// While no channel is known, one of the source's own name says it, which
    /// is gone when there are others.
    pub fn fail(&self, reason: &str) {
        self.lock().fail(self.name(), reason);
    }

    /// Its channels are gone, and what comes later is not taken: for who
    /// cannot wait until all handles are dropped.
    pub fn close(&self) {
        // Marking them locks the hub, which is done without the intake's lock.
        let publisher = self.lock().publisher.take();
        drop(publisher);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to take lines that arrive now, together. Others who push into
    /// this intake wait until the turn is dropped: never keep one while
    /// waiting for anything.
    pub fn turn(&self) -> Turn<'_> {
        let mut state = self.lock();
        state.look_at_rules();
        let wall = self.0.hub.view().wall();
        let now = self.0.hub.clock().boot();
        let arrival = Arrival { now, offset: wall.offset, synced: wall.synced };
        Turn { shared: &self.0, state, arrival }
    }
}

/// Lines that arrive at the same moment. What they say is not published before
/// [`publish`](Self::publish), or before it is much.
pub struct Turn<'a> {
    shared: &'a Shared,
    state: MutexGuard<'a, State>,
    arrival: Arrival,
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("source", &self.shared.name).finish_non_exhaustive()
    }
}

impl Turn<'_> {
    /// Takes one line, without its end; how many values it had.
    ///
    /// # Errors
    /// [`BadLine`] when it cannot be read, or when a channel is refused: then
    /// the values of the others were taken.
    pub fn line(&mut self, line: &[u8]) -> Result<usize, BadLine> {
        self.take(|points| line::parse(line, points))
    }

    /// As [`line`](Self::line), for what is read in another way.
    ///
    /// # Errors
    /// As there.
    pub fn take(
        &mut self,
        read: impl FnOnce(&mut Points) -> Result<(), BadLine>,
    ) -> Result<usize, BadLine> {
        let mut points = std::mem::take(&mut self.state.points);
        let outcome = read(&mut points).and_then(|()| self.state.note(&points, &self.arrival));
        self.state.points = points;
        let counts = &self.shared.counts;
        counts.lines.increment();
        match &outcome {
            Ok(values) => counts.values.add(*values as u64),
            Err(why) => self.refused(why),
        }
        outcome
    }

    /// Counts a line that was refused before it could be read: one that is too
    /// long, say.
    pub fn refuse(&mut self, why: &BadLine) {
        self.shared.counts.lines.increment();
        self.refused(why);
    }

    /// Says at most once a minute that lines are refused: a sensor that writes
    /// nonsense does so for as long as the board runs.
    fn refused(&mut self, why: &BadLine) {
        let counts = &self.shared.counts;
        counts.bad_lines.increment();
        let now = self.arrival.now;
        let quiet = self.state.complained.is_some_and(|at| now.since(at) < Duration::from_secs(60));
        if !quiet {
            self.state.complained = Some(now);
            let so_far = counts.bad_lines.get();
            log::warn!("{}: a line is refused: {why} ({so_far} so far)", self.shared.name);
        }
    }

    /// Whether values wait to be published.
    pub fn is_waiting(&self) -> bool {
        !self.state.table.is_empty()
    }

    /// Publishes what was taken.
    pub fn publish(&mut self) {
        self.state.publish();
    }
}

/// When the lines of a turn arrived, in both clocks.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    now: BootTime,
    /// Wall time minus boot time, in seconds.
    offset: f64,
    synced: bool,
}

impl Arrival {
    /// The instant that a stamp means. One that lies ahead means now: it would
    /// hide the readings that come until then. Without a clock that is known
    /// to be right, only distances from now mean something.
    fn instant(&self, stamp: Stamp) -> Result<BootTime, BadLine> {
        let now = self.now.since_boot().as_secs_f64();
        let seconds = match stamp {
            Stamp::At(time) if self.synced => time - self.offset,
            Stamp::Offset(distance) => now + distance,
            Stamp::At(_) | Stamp::Arrival => return Ok(self.now),
        };
        if seconds >= now {
            return Ok(self.now);
        }
        Duration::try_from_secs_f64(seconds).map(BootTime::new).map_err(|_| {
            BadLine::new(
                "the time stamp is from before this board was started; \
                 Influx counts nanoseconds, SenML seconds since 1970",
            )
        })
    }
}

impl State {
    /// Forgets channels that are another's by now: one that was hidden, and is
    /// no longer, belongs to who names it first.
    fn look_at_rules(&mut self) {
        let Self { publisher: Some(publisher), known, generation, .. } = self else { return };
        let now = publisher.generation();
        if std::mem::replace(generation, now) != now {
            known.retain(|_, known| publisher.owns(known.id));
        }
    }

    /// Puts points into the table; how many. A channel that is refused is left
    /// out, and the first reason told.
    fn note(&mut self, points: &Points, arrival: &Arrival) -> Result<usize, BadLine> {
        let mut refused = None;
        let mut last = None;
        for point in points.iter() {
            let found = arrival
                .instant(point.stamp)
                .and_then(|at| Ok((at, self.know(&point).map_err(|why| say(&why))?)));
            let (at, (id, value)) = match found {
                Ok(found) => found,
                Err(why) => {
                    refused.get_or_insert(why);
                    continue;
                }
            };
            if id == ChannelId::HIDDEN {
                continue;
            }
            if last.is_some_and(|last| last != at) {
                self.seat(last.unwrap_or_default());
            }
            last = Some(at);
            self.row.push((id, value));
        }
        if let Some(at) = last {
            self.seat(at);
        }
        refused.map_or(Ok(points.len()), Err)
    }

    /// The channel of a point, declared when it is named for the first time,
    /// and its value.
    fn know(&mut self, point: &Point<'_>) -> Result<(ChannelId, Value), Error> {
        let known = self.known.get(point.name);
        let unit_is_old =
            |known: &Known| point.unit.is_none() || point.unit == known.unit.as_deref();
        if !known.is_some_and(unit_is_old) {
            let id = self.declare(point)?;
            if id == ChannelId::HIDDEN {
                // Not remembered: anyone may think of as many names as he likes.
                return Ok((id, Value::Null));
            }
            let unit = point.unit.map(Into::into);
            let last = known.map_or(0.0, |known| known.last);
            self.known.insert(point.name.into(), Known { id, unit, last });
        }
        let Some(known) = self.known.get_mut(point.name) else {
            return Err(Error::Channel("a channel was lost".into()));
        };
        let value = match *point.value {
            Value::Number(by) if point.is_change => Value::from(known.last + by),
            ref value => value.clone(),
        };
        known.last = value.as_f64().unwrap_or(known.last);
        Ok((known.id, value))
    }

    /// Declares or describes anew the channel of a point.
    fn declare(&self, point: &Point<'_>) -> Result<ChannelId, Error> {
        let mut channel = describe(point, point.unit)?;
        channel.stale_after = self.stale_after;
        self.publisher.as_ref().ok_or(Error::Closed)?.channel(channel)
    }

    fn fail(&mut self, name: &str, reason: &str) {
        self.publish();
        let Some(publisher) = &self.publisher else { return };
        if self.known.is_empty() && self.failure.is_none() {
            // Where there is no room for it, its channels have none either.
            self.failure = Channel::state(name).and_then(|channel| publisher.channel(channel)).ok();
        }
        for id in self.known.values().map(|known| known.id).chain(self.failure) {
            publisher.fail(id, reason);
        }
    }

    /// Seats the row in the table.
    fn seat(&mut self, at: BootTime) {
        if self.table.is_full(self.row.len()) {
            self.publish();
        }
        let mut row = std::mem::take(&mut self.row);
        if !self.table.seat(at, &mut row) {
            self.publish();
            // An empty table has room for whatever one line may hold.
            self.table.seat(at, &mut row);
        }
        row.clear();
        self.row = row;
    }

    fn publish(&mut self) {
        let Self { publisher, table, known, failure, .. } = self;
        if table.is_empty() {
            return;
        }
        table.empty_into(|batch| {
            if let Some(publisher) = publisher {
                publisher.publish(batch);
            }
        });
        let stand_in = failure.take().filter(|id| !known.values().any(|known| known.id == *id));
        if let (Some(publisher), Some(id)) = (publisher, stand_in) {
            publisher.gone(id);
        }
    }
}

fn describe(point: &Point<'_>, unit: Option<&str>) -> Result<Channel, Error> {
    let channel = match point.value {
        Value::Number(_) => Channel::gauge(point.name)?,
        _ => Channel::state(point.name)?,
    };
    Ok(match unit {
        Some(unit) => channel.unit(unit.to_owned()),
        None => channel,
    })
}

fn say(why: &Error) -> BadLine {
    BadLine::new(&why.to_string())
}

#[cfg(test)]
mod tests;
