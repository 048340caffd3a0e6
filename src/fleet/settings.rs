//! What a fleet server is told.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use crate::{
    error::{Error, Result},
    telemetry::{Filter, Filters, FleetBounds, MAX_NAME},
    watch::address,
};

/// The most boards that a server has links of its own to.
const MAX_BOARDS: usize = 64;

/// Where a board is, and what it is called here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardPlace {
    /// Its name: the first level of its channels.
    pub name: String,
    /// Its stream.
    pub url: String,
}

/// A fleet server's own settings.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// Boards to which it has a link of its own; at most 64.
    pub boards: Vec<BoardPlace>,
    /// The most devices. Default 2,048.
    pub max_devices: usize,
    /// The most channels of one device. Default 1,024.
    pub channels_each: usize,
    /// After how long without a word a device is offline. Default 60 s.
    pub offline_after: Duration,
    /// After how long without a word it is forgotten. Default a day.
    pub forget_after: Duration,
    /// The channels that have a history. Default: none.
    pub history: Vec<Filter>,
    /// The file with the token that is shown to boards.
    pub token_file: Option<PathBuf>,
    /// Certificates to trust at boards, in place of the system's.
    pub authority: Option<PathBuf>,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            boards: Vec::new(),
            max_devices: 2048,
            channels_each: 1024,
            offline_after: Duration::from_secs(60),
            forget_after: Duration::from_secs(86_400),
            history: Vec::new(),
            token_file: None,
            authority: None,
        }
    }
}

impl FleetSettings {
    /// The bounds of the hub.
    ///
    /// # Errors
    /// [`Error::Setting`] when there are too many filters.
    pub fn bounds(&self) -> Result<FleetBounds> {
        let history = Filters::parse(self.history.iter().map(Filter::as_str));
        let history = history.map_err(|why| Error::Setting(format!("history_channels: {why}")))?;
        Ok(FleetBounds { devices: self.max_devices, channels_each: self.channels_each, history })
    }
}

/// Reads what `--board` says, each time.
///
/// # Errors
/// [`Error::Setting`] or [`Error::Url`] when one is none, two have the same
/// name, or there are more than 64.
pub(crate) fn boards(list: &[String]) -> Result<Vec<BoardPlace>> {
    let mut boards: Vec<BoardPlace> = Vec::new();
    for text in list {
        let board: BoardPlace = text.parse()?;
        if boards.iter().any(|other| other.name == board.name) {
            let name = &board.name;
            return Err(Error::Setting(format!(
                "{text:?}: there is a board {name} already; name it, as in {name}-2={text}"
            )));
        }
        boards.push(board);
    }
    if boards.len() > MAX_BOARDS {
        return Err(Error::Setting(format!(
            "more than {MAX_BOARDS} boards: let them publish to a broker, and use --mqtt"
        )));
    }
    Ok(boards)
}

/// A foreign name as one level.
pub(super) fn level(name: &str) -> String {
    let fine = |c: char| c.is_ascii() && crate::telemetry::allowed(c as u8);
    name.chars().map(|c| if fine(c) { c } else { '_' }).collect()
}

/// Whether a device can have this level as its name: something has to be left
/// for its channels.
pub(super) fn is_device(level: &str) -> bool {
    (1..=MAX_NAME / 2).contains(&level.len())
}

/// `NAME=URL`, or a URL alone: then the host is the name. The URL is whatever
/// names a board for `boardcast watch`.
impl FromStr for BoardPlace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = text.split_once('=').filter(|(name, _)| !name.contains([':', '/']));
        let (name, place) = match named {
            Some((name, place)) => (Some(name), place),
            None => (None, text),
        };
        let url = address::stream(place)?;
        let host = || {
            let host = url.split("://").nth(1).unwrap_or_default();
            let host = host.split('/').next().unwrap_or_default();
            let end = host.rfind(':').filter(|_| !host.ends_with(']')).unwrap_or(host.len());
            host[..end].trim_matches(['[', ']']).to_owned()
        };
        let name = level(&name.map_or_else(host, str::to_owned));
        if !is_device(&name) {
            return Err(Error::Setting(format!(
                "{text:?}: a board's name has 1 to 64 characters, as in pi1=ws://pi1:8642/ws"
            )));
        }
        Ok(Self { name, url })
    }
}

impl fmt::Display for BoardPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_is_a_name_and_where_it_is() {
        for (text, expected) in [
            ("ws://pi1:8642/ws", "pi1=ws://pi1:8642/ws"),
            ("pi1", "pi1=ws://pi1:8642/ws"),
            ("pi.local:9", "pi.local=ws://pi.local:9/ws"),
            ("shed=10.0.0.7", "shed=ws://10.0.0.7:8642/ws"),
            ("the shed=http://pi:8642/", "the_shed=ws://pi:8642/ws"),
            ("[::1]:9", "__1=ws://[::1]:9/ws"),
        ] {
            let board: BoardPlace = text.parse().expect(text);
            assert_eq!(board.to_string(), expected);
            assert_eq!(board.to_string().parse::<BoardPlace>().expect(expected), board);
        }
        for bad in ["", "=ws://pi/ws", "x=", "ws://pi:8642/ws?channels=a", "x=ftp://pi/"] {
            bad.parse::<BoardPlace>().expect_err(bad);
        }
        format!("{}=pi", "x".repeat(65)).parse::<BoardPlace>().expect_err("too long");
    }
}
