//! `/api/history`: what was asked for, and the answer.
//!
//! An answer has at most 200,000 numbers, so some megabytes. Answers are made
//! one at a time, and those that wait for slow readers draw from the
//! [`Purse`]: whoever finds it empty is told to come again.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use super::answers::Parcel;
use crate::{
    net::{Request, Response},
    purse::Purse,
    telemetry::{ChannelId, ChannelName, Filters, Hub, Summary},
    wire::{
        history::{self, Times},
        query,
    },
};

/// The most points that may be asked for, and how many it is when nothing is said.
const MOST_POINTS: usize = 4320;
const POINTS: usize = 600;
/// The most numbers in one answer.
const MOST_NUMBERS: usize = 200_000;
/// What compressing takes, whatever is compressed: the library's window and tables.
const GZIP: usize = 300 * 1024;
/// What is shown when nothing is said, in seconds.
const LAST: f64 = 900.0;
/// Ten years: nothing is older.
const LONGEST: f64 = 3650.0 * 86_400.0;

/// Makes the answers.
#[derive(Debug, Default)]
pub(super) struct Histories {
    making: Mutex<()>,
}

/// What a client wants to see.
#[derive(Debug, PartialEq)]
struct Wanted {
    channels: Filters,
    time: Time,
    points: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Time {
    /// So many seconds up to now.
    Last(f64),
    /// Seconds since 1970.
    From(f64, Option<f64>),
}

impl Wanted {
    /// Reads a query; the sentence of the error is for whoever wrote it.
    fn parse(query: &str) -> Result<Self, String> {
        let mut channels = None;
        let (mut last, mut from, mut to) = (None, None, None);
        let mut points = POINTS;
        for (name, value) in query::pairs(query) {
            match &*name {
                "channels" => {
                    let filters = Filters::parse_list(&value).map_err(|error| error.to_string())?;
                    channels = Some(filters).filter(|filters| !filters.is_empty());
                }
                "last" => last = Some(parse_span(&value)?),
                "from" => from = Some(parse_instant("from", &value)?),
                "to" => to = Some(parse_instant("to", &value)?),
                "points" => points = parse_points(&value)?,
                // For boards that ask for one; this one does not.
                "token" => {}
                _ => {
                    return Err("this is not understood in a query for history: channels, last, \
                                from, to, points are"
                        .into());
                }
            }
        }
        let channels = channels.ok_or(
            "say which channels: /api/history?channels=cpu/usage, several as cpu/usage,mem/used, \
             all of a kind as cpu/%23",
        )?;
        let time = match (last, from, to) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                return Err("say either last, or from and to".into());
            }
            (None, None, Some(_)) => return Err("to needs a from".into()),
            (None, Some(from), to) => Time::From(from, to),
            (last, None, None) => Time::Last(last.unwrap_or(LAST)),
        };
        Ok(Self { channels, time, points })
    }
}

fn parse_span(text: &str) -> Result<f64, String> {
    let refuse = || format!("last={text:.40} is no time: write it as in last=15m, 90s, 3h or 2d");
    let unit = match text.chars().last() {
        Some('s') => 1.0,
        Some('m') => 60.0,
        Some('h') => 3600.0,
        Some('d') => 86_400.0,
        _ => return Err(refuse()),
    };
    let number: f64 = text[..text.len() - 1].parse().map_err(|_| refuse())?;
    let seconds = number * unit;
    if seconds > 0.0 && seconds <= LONGEST { Ok(seconds) } else { Err(refuse()) }
}

fn parse_instant(name: &str, text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..1e11).contains(number));
    number.ok_or_else(|| {
        format!(
            "{name}={text:.40} is no instant: write seconds since 1970, as in {name}=1763796000"
        )
    })
}

fn parse_points(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (2..=MOST_POINTS).contains(number));
    number.ok_or_else(|| {
        format!("points={text:.40} is none of 2 to {MOST_POINTS}: write it as in points={POINTS}")
    })
}

/// Why there is no answer.
enum Refusal {
    /// It would be larger than any may be; what to ask for instead.
    TooMuch(String),
    /// There is no room for it now.
    Busy,
}

impl Histories {
    /// The answer to a request; `None` when there is no room for it now.
    pub(super) fn respond(&self, hub: &Hub, request: &Request, purse: &Purse) -> Option<Response> {
        let wanted = match Wanted::parse(request.query().unwrap_or_default()) {
            Ok(wanted) => wanted,
            Err(sentence) => return Some(Response::text(400, sentence)),
        };
        // Compressing needs more than there is, where memory is little.
        let gzip = request.accepts_gzip() && purse.most() >= 4 * GZIP;
        let csv = wants_csv(request);
        let body = {
            // Copies of a board's memory, at most one at a time.
            let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            let alone = purse.in_use() == 0;
            match make(hub, &wanted, csv, gzip, purse) {
                Ok(body) => body,
                Err(Refusal::TooMuch(sentence)) => return Some(Response::text(400, sentence)),
                Err(Refusal::Busy) if alone => {
                    let sentence = "this is more than fits into the memory for answers: \
                                    ask for fewer channels or points, or raise transit_size";
                    return Some(Response::text(400, sentence));
                }
                Err(Refusal::Busy) => return None,
            }
        };
        let media_type = if csv { "text/csv; charset=utf-8" } else { "application/json" };
        let response = Response::new(200, media_type, body)
            .header("Cache-Control", "no-store")
            .header("Vary", "Accept, Accept-Encoding");
        Some(if gzip { response.header("Content-Encoding", "gzip") } else { response })
    }
}

/// RFC 9110 section 12.5.1, as far as there is a choice.
fn wants_csv(request: &Request) -> bool {
    request.header_list("accept").any(|range| {
        let media_type = range.split(';').next().unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case("text/csv")
    })
}

fn make(
    hub: &Hub,
    wanted: &Wanted,
    csv: bool,
    gzip: bool,
    purse: &Purse,
) -> Result<Bytes, Refusal> {
    let channels = select(hub, &wanted.channels);
    let numbers = channels.len() * wanted.points * 3;
    if numbers > MOST_NUMBERS {
        let fit = MOST_NUMBERS / 3 / channels.len();
        return Err(Refusal::TooMuch(format!(
            "{} channels with {} points are too much for one answer: \
             ask for fewer channels, or for points={fit}",
            channels.len(),
            wanted.points
        )));
    }
    // JSON is written channel by channel, CSV point by point.
    let copied = if csv { channels.len() } else { 1 } * wanted.points;
    let work = copied * size_of::<Option<Summary>>() + if gzip { GZIP } else { 0 };
    let _work = purse.take(work).ok_or(Refusal::Busy)?;
    let out = Parcel::new(purse);
    let written = if gzip {
        let mut out = GzEncoder::new(out, Compression::fast());
        write(&mut out, hub, wanted, &channels, csv).and_then(|()| out.finish())
    } else {
        let mut out = out;
        write(&mut out, hub, wanted, &channels, csv).map(|()| out)
    };
    // Writing to memory fails for want of it alone.
    written.map(Parcel::finish).map_err(|_| Refusal::Busy)
}

/// The channels that are wanted and have a history.
fn select(hub: &Hub, filters: &Filters) -> Vec<(ChannelId, ChannelName)> {
    let view = hub.view();
    let states = view.channels().iter().filter(|state| filters.matches(&state.channel.name));
    let mut channels: Vec<_> = states.map(|state| (state.id, state.channel.name.clone())).collect();
    drop(view);
    channels.retain(|(id, _)| hub.history().has(*id));
    channels
}

fn write(
    out: &mut dyn Write,
    hub: &Hub,
    wanted: &Wanted,
    channels: &[(ChannelId, ChannelName)],
    csv: bool,
) -> io::Result<()> {
    // The stream tells the same instants by the same offset.
    let start = hub.view().wall().offset;
    let boot = hub.clock().boot();
    let now = start + boot.since_boot().as_secs_f64();
    let (from, to) = match wanted.time {
        Time::Last(seconds) => (now - seconds, now),
        Time::From(from, to) => (from, to.unwrap_or(now)),
    };
    let millis_of = |wall: f64| ((wall - start) * 1000.0).floor() as i64;
    let end = if to == now { boot.millis() + 1 } else { millis_of(to) };
    let range = millis_of(from)..end.max(millis_of(from));
    let history = hub.history();
    let ids: Vec<_> = channels.iter().map(|(id, _)| *id).collect();
    let plan = history.plan(&ids, range, wanted.points);
    let t = plan.instants().map(|at| start + at as f64 / 1000.0).collect();
    let times = Times { from, to, step: plan.step() as f64 / 1000.0, t };
    let columns = channels.iter().map(|(id, name)| (name.as_str(), history.points(&plan, *id)));
    if csv {
        history::csv(out, &times, &columns.collect::<Vec<_>>())
    } else {
        history::json(out, &times, columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_for_when_and_how_many() {
        let wanted = Wanted::parse("channels=cpu/%23,+/temp&last=1.5h&points=100").expect("fine");
        assert_eq!(wanted.channels, Filters::parse(["cpu/#", "+/temp"]).expect("fine"));
        assert_eq!((wanted.time, wanted.points), (Time::Last(5400.0), 100));
        let wanted = Wanted::parse("channels=a&from=1763790000&to=1763796000.5").expect("fine");
        assert_eq!(wanted.time, Time::From(1_763_790_000.0, Some(1_763_796_000.5)));
        assert_eq!(wanted.points, 600);
        assert_eq!(Wanted::parse("channels=a").expect("fine").time, Time::Last(900.0));
        assert_eq!(Wanted::parse("channels=a&from=5").expect("fine").time, Time::From(5.0, None));
        // The JavaScript client's option goes with every request.
        assert_eq!(Wanted::parse("channels=a&token=x"), Wanted::parse("channels=a"));
    }

    #[test]
    fn what_cannot_be_read_is_answered_with_what_to_write_instead() {
        for (query, instead) in [
            ("", "channels=cpu/usage"),
            ("channels=", "channels=cpu/usage"),
            ("channels=a/%23/b", "# may only be the last level"),
            ("channels=a&last=15", "last=15m"),
            ("channels=a&last=m", "last=15m"),
            ("channels=a&last=-1m", "last=15m"),
            ("channels=a&last=NaNs", "last=15m"),
            ("channels=a&last=1e9d", "last=15m"),
            ("channels=a&last=5%C3%A9", "last=15m"),
            ("channels=a&points=0", "points=600"),
            ("channels=a&points=5000", "points=600"),
            ("channels=a&from=yesterday", "from=1763796000"),
            ("channels=a&from=5&to=inf", "to=1763796000"),
            ("channels=a&from=5&last=1m", "either last"),
            ("channels=a&to=5", "to needs a from"),
            ("channels=a&step=5", "points are"),
        ] {
            let sentence = Wanted::parse(query).expect_err(query);
            assert!(sentence.contains(instead), "{query}: {sentence}");
        }
    }
}
