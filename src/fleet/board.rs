//! Links to boards, without a broker: our own client, one thread a board.
//!
//! A link that ends is made anew, with "full jitter" from half a second to half
//! a minute, and goes on where the hub stands. What the board no longer has by
//! then comes as a snapshot, of which the intake makes a gap.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{BoardPlace, Fleet, intake::Heard};
use crate::{
    error::Result,
    message::Message,
    watch::{GOOD, Retry, chance, ended, printable},
    websocket::{Connection, WebSocket},
};

/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// A board's longest message is some hundred KiB.
const MAX_MESSAGE: usize = 4 << 20;

/// What is needed to reach one board.
#[derive(Clone, Debug)]
pub struct Link {
    /// Which board.
    pub place: BoardPlace,
    /// The token to show.
    pub token: Option<String>,
    /// Certificates to trust in place of the system's.
    pub authority: Option<PathBuf>,
}

/// Links that run; dropped, they end.
#[derive(Debug, Default)]
pub struct Links(Arc<Stop>);

#[derive(Debug, Default)]
struct Stop {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    /// Of the links that are up.
    open: Vec<(usize, Connection)>,
}

impl Links {
    /// Starts a thread for each board.
    ///
    /// # Errors
    /// What the system says when it refuses a thread.
    pub fn start(fleet: &Fleet, links: Vec<Link>) -> io::Result<Self> {
        let all = Self::default();
        for (number, link) in links.into_iter().enumerate() {
            fleet.expect(&link.place.name);
            let (fleet, stop) = (fleet.clone(), all.0.clone());
            let name = format!("bc-board-{}", link.place.name);
            thread::Builder::new()
                .name(name)
                .stack_size(256 * 1024)
                .spawn(move || link.run(number, &fleet, &stop))?;
        }
        Ok(all)
    }
}

impl Drop for Links {
    /// Does not wait: a thread may be looking up a name.
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.stopped = true;
        let open = std::mem::take(&mut state.open);
        drop(state);
        self.0.rung.notify_all();
        for (_, connection) in open {
            // One that has ended needs no end.
            let _ = connection.close(None, "");
        }
    }
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps for so long; whether it goes on then.
    fn rest(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while !state.stopped {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return true };
            let woken = self.rung.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

impl Link {
    fn run(&self, number: usize, fleet: &Fleet, stop: &Stop) {
        let BoardPlace { name, url } = &self.place;
        let mut retry = Retry::default();
        let mut told = String::new();
        loop {
            let began = Instant::now();
            let why = match self.connect(fleet) {
                Ok(ws) => {
                    log::info!("device {name}: connected to {url}");
                    told.clear();
                    self.listen(ws, number, fleet, stop)
                }
                Err(error) => error.to_string(),
            };
            let why = printable(&why);
            fleet.leave(name, &why);
            if began.elapsed() >= GOOD {
                retry = Retry::default();
            }
            if stop.lock().stopped {
                return;
            }
            if why != told {
                log::warn!("device {name}: {why}; trying again");
                told = why;
            }
            if !stop.rest(retry.next(chance())) {
                return;
            }
        }
    }

    fn connect(&self, fleet: &Fleet) -> Result<WebSocket> {
        let BoardPlace { name, url } = &self.place;
        let url = match fleet.place(name) {
            // An epoch is letters and digits.
            Some((epoch, seq)) => format!("{url}?since={epoch}:{seq}"),
            None => url.clone(),
        };
        let builder = WebSocket::builder(&url);
        let builder = match &self.token {
            Some(token) => builder.header("Authorization", format!("Bearer {token}")),
            None => builder,
        };
        #[cfg(feature = "tls")]
        let builder = match &self.authority {
            Some(file) => builder.authorities(file),
            None => builder,
        };
        builder.max_message(MAX_MESSAGE).connect_timeout(CONNECT_TIME).connect()
    }

    /// One connection, to its end; returns why it ended.
    fn listen(&self, mut ws: WebSocket, number: usize, fleet: &Fleet, stop: &Stop) -> String {
        let mut state = stop.lock();
        if state.stopped {
            return String::new();
        }
        state.open.push((number, ws.connection()));
        drop(state);
        let why = loop {
            match ws.recv() {
                Ok(Some(Message::Text(text))) => {
                    let heard = fleet.hear(&self.place.name, text.as_bytes(), false);
                    if heard == Heard::Fleet {
                        break "that is a fleet server, not a board".into();
                    }
                }
                Ok(Some(Message::Binary(_))) => {}
                Ok(None) => break ended(ws.close_event()),
                Err(error) => break error.to_string(),
            }
        };
        stop.lock().open.retain(|(other, _)| *other != number);
        why
    }
}
