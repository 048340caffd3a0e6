//! The terminal client: `boardcast watch`, `boardcast once` and `boardcast
//! channels`, on our own [`WebSocket`].
//!
//! | file | what |
//! |---|---|
//! | `address` | what people type for a board → the URL of its stream |
//! | `board` | messages → what is known of the board, and where to resume |
//! | `units` | a value and its SenML unit → what people read |
//! | `table` | rows → text of a given width and height |
//! | `lines` | a message → one line of JSON |
//! | `channels` | descriptions and readings → a table, lines with tabs, or JSON |
//! | `screen` | the terminal: drawn in place, and put right again at every end |
//!
//! All but `screen` and this file are functions of text. The loop here has one
//! thread: it waits for a message or for the time of its output, and begins
//! anew when the connection ends.

pub(crate) mod address;
mod board;
mod channels;
mod lines;
mod screen;
mod table;
pub(crate) mod units;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

use self::{
    board::{Board, Heard},
    channels::Channels,
    lines::{Lines, Merged},
    screen::Screen,
};
use crate::{
    error::{Error, Result},
    message::{CloseEvent, Message},
    telemetry::{Filter, Filters},
    websocket::WebSocket,
};

/// The table asks for no more than it shows.
const TABLE_HZ: f64 = 5.0;
/// How long the first connection may take, and each later one.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long `once` waits for its snapshot, in all.
const ONCE_TIME: Duration = Duration::from_secs(10);
/// A board's longest message is some hundred KiB.
const MAX_MESSAGE: usize = 4 << 20;
/// A connection that held for so long was a good one: the next attempt comes
/// soon.
pub(crate) const GOOD: Duration = Duration::from_secs(5);

/// What to watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// The URL of the stream, without a query.
    url: String,
    /// The address was a mere word, which could have been meant as a channel.
    word: Option<String>,
    filters: Filters,
    /// At most so many messages a second.
    max_hz: Option<f64>,
    /// JSON, even on a terminal.
    json: bool,
    /// The token to show.
    token: Option<String>,
    /// Certificates to trust in place of the system's.
    authority: Option<PathBuf>,
}

impl Watch {
    /// Understands `[ADDRESS] [FILTER]…`: the first argument is a filter when it
    /// holds `/`, `+` or `#` and no `:`, otherwise an address, the others are
    /// filters. No host has a `/` in its name, and no channel a `:`.
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::Filter`] or [`Error::Setting`] say what to
    /// write instead.
    pub fn parse(arguments: &[String], max_hz: Option<f64>, json: bool) -> Result<Self> {
        if max_hz.is_some_and(|hz| !(0.001..=100.0).contains(&hz)) {
            return Err(Error::Setting("--max-hz goes from 0.001 to 100 messages a second".into()));
        }
        let (address, filters) = match arguments.split_first() {
            Some((first, rest)) if !address::is_filter(first) => (Some(first), rest),
            _ => (None, arguments),
        };
        if let Some(late) = filters.iter().find(|text| text.contains(':')) {
            return Err(Error::Setting(format!("{late:?} is no filter; the address comes first")));
        }
        let filters = if filters.is_empty() { Filters::all() } else { Filters::parse(filters)? };
        let word = address.filter(|text| address::is_word(text)).cloned();
        let url = address::stream(address.map_or("127.0.0.1", |text| text))?;
        Ok(Self { url, word, filters, max_hz, json, token: None, authority: None })
    }

    /// Shows the board this token.
    pub fn showing(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// Trusts the certificates in this file in place of the system's.
    ///
    /// # Errors
    /// [`Error::Setting`] when this build has no TLS.
    pub fn trusting(self, authority: Option<PathBuf>) -> Result<Self> {
        #[cfg(not(feature = "tls"))]
        if authority.is_some() {
            return Err(Error::Setting(crate::net::NO_TLS.into()));
        }
        Ok(Self { authority, ..self })
    }

    /// The URL with what is asked of the server.
    fn request(&self, max_hz: Option<f64>, since: Option<&str>) -> String {
        let mut query = Vec::new();
        if self.filters != Filters::all() {
            // The one character of a filter that ends a query.
            query.push(format!("channels={}", self.names(",").replace('#', "%23")));
        }
        query.extend(max_hz.map(|hz| format!("max_hz={hz}")));
        query.extend(since.map(|since| format!("since={since}")));
        if query.is_empty() {
            self.url.clone()
        } else {
            format!("{}?{}", self.url, query.join("&"))
        }
    }

    fn connect(
        &self,
        max_hz: Option<f64>,
        since: Option<&str>,
        time: Duration,
    ) -> Result<WebSocket> {
        let builder = WebSocket::builder(&self.request(max_hz, since));
        let builder = match &self.token {
            Some(token) => builder.header("Authorization", format!("Bearer {token}")),
            None => builder,
        };
        #[cfg(feature = "tls")]
        let builder = match &self.authority {
            Some(file) => builder.authorities(file),
            None => builder,
        };
        builder.max_message(MAX_MESSAGE).connect_timeout(time).connect()
    }

    /// Why there is no connection, and what may mend it.
    fn unreachable(&self, error: Error) -> Error {
        // The system gives a number to every failure but that of a name.
        let unknown = |source: &io::Error| {
            let ours =
                matches!(source.kind(), io::ErrorKind::TimedOut | io::ErrorKind::UnexpectedEof);
            source.raw_os_error().is_none() && !ours
        };
        let mend = match (&error, &self.word) {
            (Error::Io { source, .. }, Some(word)) if unknown(source) => format!(
                "is that its name? For the channel {word:?} of this machine: \
                 boardcast watch localhost {word}"
            ),
            (Error::Io { source, .. }, _) if unknown(source) => "is that its name?".into(),
            (Error::Io { .. }, _) => "is boardcast running there?".into(),
            (Error::Handshake { status: 404, .. }, _) => "is that a boardcast?".into(),
            (Error::Handshake { status: 308, .. }, _) => {
                format!("it speaks TLS: write {}", self.url.replacen("ws://", "https://", 1))
            }
            _ => return error,
        };
        Error::Setting(format!("{error}; {mend}"))
    }

    fn nothing_selected(&self) -> Error {
        Error::Setting(format!(
            "no channel matches {}; without a filter, all are shown",
            self.names(" ")
        ))
    }

    fn names(&self, between: &str) -> String {
        self.filters.iter().map(Filter::as_str).collect::<Vec<_>>().join(between)
    }
}

/// Prints the newest reading of every channel, and ends.
///
/// # Errors
/// [`Error::Setting`], one line, when the board is not reached within some
/// seconds, or no channel matches.
pub fn once(asked: &Watch) -> Result<()> {
    let mut merged = Merged::default();
    let board = snapshot(asked, |text, heard| match heard {
        Heard::Snapshot { .. } => merged.add(text),
        _ => Ok(()),
    })?;
    print(&if asked.json { merged.finish() } else { table::plain(&board) })
}

/// Prints every channel with its description and its newest reading, and ends:
/// a table on a terminal, otherwise lines with tabs, or JSON.
///
/// # Errors
/// As those of [`once`].
pub fn channels(asked: &Watch) -> Result<()> {
    let mut channels = Channels::default();
    let board = snapshot(asked, |text, _| channels.hear(text))?;
    print(&match (asked.json, io::stdout().is_terminal()) {
        (true, _) => channels.json(),
        (false, true) => channels.table(&board),
        (false, false) => channels.lines(&board),
    })
}

/// Listens until the snapshot is complete; `hear` is told each message before.
fn snapshot(asked: &Watch, mut hear: impl FnMut(&str, &Heard) -> Result<()>) -> Result<Board> {
    let deadline = Instant::now() + ONCE_TIME;
    let mut ws = asked.connect(None, None, ONCE_TIME).map_err(|error| asked.unreachable(error))?;
    let mut board = Board::default();
    loop {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            return Err(late());
        };
        let message = ws.recv_timeout(left).map_err(|error| match error {
            Error::Io { .. } => late(),
            error => error,
        })?;
        let Some(message) = message else { return Err(ended_early(ws.close_event())) };
        let Some(text) = message.as_text() else { continue };
        let heard = board.hear(text, Instant::now())?;
        hear(text, &heard)?;
        match heard {
            Heard::Snapshot { complete: true } if !board.is_fleet => break,
            Heard::Whole => break,
            Heard::Error(sentence) => return Err(Error::Setting(sentence)),
            _ => {}
        }
    }
    if board.is_empty() { Err(asked.nothing_selected()) } else { Ok(board) }
}

fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("print", error)),
        _ => Ok(()),
    }
}

fn late() -> Error {
    let seconds = ONCE_TIME.as_secs();
    Error::Setting(format!("no readings came within {seconds} s; is that a boardcast?"))
}

fn ended_early(event: Option<&CloseEvent>) -> Error {
    Error::Setting(format!("{} before its readings came; try again", ended(event)))
}

/// How a connection ended, for people.
pub(crate) fn ended(event: Option<&CloseEvent>) -> String {
    match event {
        Some(event) if event.reason.is_empty() => format!("the board ended it ({})", event.code),
        Some(event) => {
            format!("the board ended it ({}, {})", event.code, printable(&event.reason))
        }
        None => "the connection ended".into(),
    }
}

/// Where a watch shows what it hears.
trait View {
    /// A message came, and the board knows of it.
    fn heard(&mut self, text: &str, heard: &Heard, board: &Board) -> io::Result<()>;
    /// The connection is there, or is not; `sentence` says which, for people.
    fn state(&mut self, sentence: &str, live: bool) -> io::Result<()>;
    /// Time has passed.
    fn tick(&mut self, board: &Board, now: Instant) -> io::Result<()>;
    /// How long the next tick can wait.
    fn rest(&self, now: Instant) -> Duration;
}

/// Shows what the board says until the reader of the output goes away.
///
/// On a terminal a table, drawn in place, until a signal ends it; otherwise,
/// and with `--json`, one message a line. A connection that ends is opened
/// anew, after the last batch that was seen.
///
/// # Errors
/// [`Error::Setting`] and its kin, one line, when the first connection fails;
/// [`Error::Io`] when the output does.
pub fn watch(asked: &Watch) -> Result<()> {
    let table = !asked.json && io::stdout().is_terminal() && screen::is_able();
    let max_hz = if table { asked.max_hz.or(Some(TABLE_HZ)) } else { asked.max_hz };
    let connect = |board: &Board| asked.connect(max_hz, board.since().as_deref(), CONNECT_TIME);
    let mut board = Board::default();
    let first = connect(&board).map_err(|error| asked.unreachable(error))?;
    let mut view: Box<dyn View> =
        if table { Box::new(Screen::open(&asked.url)?) } else { Box::new(Lines::default()) };
    match follow(first, connect, &mut board, &mut *view) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Error::io("print", error)),
        Ok(never) => match never {},
    }
}

/// Follows the board through one connection after another, until the output
/// fails.
fn follow(
    first: WebSocket,
    connect: impl Fn(&Board) -> Result<WebSocket>,
    board: &mut Board,
    view: &mut dyn View,
) -> io::Result<std::convert::Infallible> {
    let mut retry = Retry::default();
    let mut connected: Result<WebSocket> = Ok(first);
    loop {
        let why = match connected {
            Ok(ws) => {
                let began = Instant::now();
                let why = listen(ws, board, view)?;
                if began.elapsed() >= GOOD {
                    retry = Retry::default();
                }
                why
            }
            Err(error) => error.to_string(),
        };
        let until = Instant::now() + retry.next(chance());
        view.state(&format!("reconnecting… ({})", printable(&why)), false)?;
        loop {
            let now = Instant::now();
            view.tick(board, now)?;
            let Some(left) = until.checked_duration_since(now) else { break };
            std::thread::sleep(left.min(view.rest(now)).max(Duration::from_millis(1)));
        }
        connected = connect(board);
    }
}

/// One connection, to its end; returns why it ended.
fn listen(mut ws: WebSocket, board: &mut Board, view: &mut dyn View) -> io::Result<String> {
    view.state("live", true)?;
    loop {
        let now = Instant::now();
        view.tick(board, now)?;
        let text = match ws.recv_timeout(view.rest(now)) {
            Ok(Some(Message::Text(text))) => text,
            Ok(Some(Message::Binary(_))) => continue,
            Ok(None) => return Ok(ended(ws.close_event())),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::TimedOut => continue,
            Err(error) => return Ok(error.to_string()),
        };
        match board.hear(&text, Instant::now()) {
            Ok(heard) => view.heard(&text, &heard, board)?,
            // Not our language: try again later, it may be a proxy's mood.
            Err(error) => return Ok(error.to_string()),
        }
    }
}

/// When to try again: "full jitter", so that the clients of a board that comes
/// back do not come all at once.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    failures: u32,
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);

    /// How long to wait now; `chance` is from 0 to 1.
    pub(crate) fn next(&mut self, chance: f64) -> Duration {
        let ceiling = Self::FIRST.saturating_mul(1 << self.failures.min(16)).min(Self::LONGEST);
        self.failures += 1;
        ceiling.mul_f64(chance.clamp(0.0, 1.0))
    }
}

/// A random number from 0 to 1.
pub(crate) fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without random numbers everyone waits half the time, which does, too.
    if getrandom::fill(&mut bytes).is_err() {
        return 0.5;
    }
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// What comes from the server must not steer the terminal: control characters,
/// and those that turn the direction of writing, become `·`.
pub(crate) fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if steers(c) { '·' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(line: &str) -> Result<Watch> {
        let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
        Watch::parse(&words, None, false)
    }

    #[test]
    fn the_first_argument_is_an_address_unless_it_can_only_be_a_filter() {
        for (line, url) in [
            ("", "ws://127.0.0.1:8642/ws"),
            ("pi", "ws://pi:8642/ws"),
            ("pi cpu/usage uptime", "ws://pi:8642/ws?channels=cpu/usage,uptime"),
            ("cpu/#", "ws://127.0.0.1:8642/ws?channels=cpu/%23"),
            ("# pi", "ws://127.0.0.1:8642/ws?channels=%23,pi"),
            ("+ b", "ws://127.0.0.1:8642/ws?channels=+,b"),
            ("pi.local:9 +/temperature", "ws://pi.local:9/ws?channels=+/temperature"),
            ("http://pi:8642/ cpu/#", "ws://pi:8642/ws?channels=cpu/%23"),
        ] {
            let asked = watch(line).expect(line);
            assert_eq!(asked.request(None, None), url, "{line}");
        }
        for (line, why) in [
            ("cpu/# pi:8642", "address comes first"),
            ("pi cpu//usage", "empty level"),
            ("pi http://pi/", "address comes first"),
            ("pi:port", "port"),
        ] {
            let error = watch(line).expect_err(line).to_string();
            assert!(error.contains(why) && !error.contains('\n'), "{line}: {error}");
        }
    }

    #[test]
    fn the_query_says_what_is_wanted() {
        let asked = watch("pi a/#").expect("fine");
        let url = asked.request(Some(0.5), Some("9f:12"));
        assert_eq!(url, "ws://pi:8642/ws?channels=a/%23&max_hz=0.5&since=9f:12");
        assert!(Watch::parse(&[], Some(0.0), false).is_err());
        assert!(Watch::parse(&[], Some(f64::NAN), false).is_err());
        assert!(Watch::parse(&[], Some(100.0), false).is_ok());
    }

    #[test]
    fn attempts_come_further_and_further_apart_up_to_a_bound() {
        let mut retry = Retry::default();
        let ceilings: Vec<_> = (0..9).map(|_| retry.next(1.0).as_secs_f64()).collect();
        assert_eq!(ceilings, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(retry.next(0.0), Duration::ZERO);
        assert!((0.0..=1.0).contains(&chance()));
    }

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        assert_eq!(printable("a\x1b[2Jb\u{9b}c\u{202e}d\n é"), "a·[2Jb·c·d· é");
    }
}
