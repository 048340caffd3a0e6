//! One connection from CONNECT to its end, without a socket: bytes in, bytes
//! out, and the time is handed in.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};

use super::{
    Counts, Options, Publication, Qos, UNSENT, Version, WINDOW, is_topic,
    packet::{self, Packet, Refusal, Terms},
    reader::{Next, Reader},
};

/// A broker that does not answer a question for so long is dead.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// One that does not acknowledge for so long is of no use.
const ACKNOWLEDGE: Duration = Duration::from_secs(30);
/// With so much unsent beyond the usual, nothing more is read: acknowledgements
/// of what comes in cannot pile up.
const BACKLOG: usize = UNSENT * 4;

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    version: Version,
    welcome: bool,
    terms: Terms,
    keep_alive: Duration,
    reader: Reader,
    out: BytesMut,
    /// QoS 1 publications in their order; true: acknowledged, but not yet one
    /// before it.
    awaited: VecDeque<(u16, bool)>,
    subscriptions: VecDeque<(u16, String)>,
    last_id: u16,
    /// When a whole packet was last heard, when something was last sent.
    heard: Instant,
    said: Instant,
    ping: Option<Ping>,
    /// When an acknowledgement last came, or began to be waited for.
    waited: Instant,
    counts: Counts,
}

/// A question for a sign of life.
#[derive(Debug)]
struct Ping {
    /// So many bytes go before its end; until then it has not been asked.
    left: usize,
    since: Instant,
}

/// What has happened.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// The broker has let it in.
    Connected,
    /// A message; the identifier goes to [`Session::acknowledge`] afterwards.
    Message { topic: String, payload: Bytes, retained: bool, id: Option<u16> },
    /// So many more publications are done.
    Acknowledged(u64),
    /// An answer to a subscription.
    Subscribed { filter: String, refused: Option<String> },
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The broker does not speak this version, or says so by closing at once.
    Version(String),
    /// Another reason: a sentence.
    Other(String),
}

impl End {
    fn broken(why: impl std::fmt::Display) -> Self {
        Self::Other(format!("it broke the protocol: {why}; is an MQTT broker listening there?"))
    }
}

impl Session {
    /// A connection that begins: CONNECT is to be sent.
    pub(super) fn new(version: Version, options: &Options, now: Instant) -> Result<Self, End> {
        let mut out = BytesMut::new();
        packet::connect(&mut out, version, options)
            .map_err(|error| End::Other(format!("what is to be said at connecting: {error}")))?;
        Ok(Self {
            version,
            welcome: false,
            terms: Terms::default(),
            keep_alive: options.keep_alive,
            reader: Reader::new(options.max_message),
            out,
            awaited: VecDeque::new(),
            subscriptions: VecDeque::new(),
            last_id: 0,
            heard: now,
            said: now,
            ping: None,
            waited: now,
            counts: Counts::default(),
        })
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Whether the broker has let it in.
    pub(super) fn is_welcome(&self) -> bool {
        self.welcome
    }

    /// What was counted since this was last asked.
    pub(super) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    // What goes out.

    /// What is to be sent.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.out
    }

    /// So much of it was.
    pub(super) fn sent(&mut self, length: usize, now: Instant) {
        if length == 0 {
            return;
        }
        self.out.advance(length);
        if !self.out.is_empty() {
            // What is under way on a slow link cannot be acknowledged yet. A
            // ping goes out whole, so it puts off nothing.
            self.waited = now;
        }
        if self.out.is_empty() && self.out.capacity() > UNSENT {
            self.out = BytesMut::new();
        }
        self.said = now;
        self.counts.bytes_sent += length as u64;
        if let Some(ping) = self.ping.as_mut().filter(|ping| ping.left > 0) {
            ping.left = ping.left.saturating_sub(length);
            ping.since = now;
        }
    }

    /// Whether more is to be read: not while a broker takes nothing.
    pub(super) fn takes_more(&self) -> bool {
        self.out.len() <= BACKLOG
    }

    pub(super) fn has_room(&self) -> bool {
        let window = usize::from(self.terms.window.min(WINDOW));
        self.welcome && self.out.len() < UNSENT && self.awaited.len() < window
    }

    pub(super) fn publish(&mut self, publication: &Publication<'_>, now: Instant) -> Option<Qos> {
        let length: usize = publication.payload.iter().map(|part| part.len()).sum();
        // What goes before: type, length, topic, identifier, properties.
        let length = length + publication.topic.len() + 10;
        if !is_topic(publication.topic) || length > self.terms.longest {
            self.counts.refused += 1;
            return None;
        }
        let qos = publication.qos.min(self.terms.qos);
        let retain = publication.retain && self.terms.retain;
        let id = (qos == Qos::AtLeastOnce).then(|| self.next_id());
        let publication = Publication { retain, ..*publication };
        if packet::publish(&mut self.out, self.version, &publication, id).is_err() {
            self.counts.refused += 1;
            return None;
        }
        self.counts.sent += 1;
        if let Some(id) = id {
            self.wait_from(now);
            self.awaited.push_back((id, false));
        }
        Some(qos)
    }

    pub(super) fn subscribe(&mut self, filter: &str, qos: Qos, now: Instant) {
        let id = self.next_id();
        let qos = qos.min(self.terms.qos);
        // Whoever asks has had it checked.
        if packet::subscribe(&mut self.out, self.version, id, filter, qos).is_ok() {
            self.wait_from(now);
            self.subscriptions.push_back((id, filter.to_owned()));
        }
    }

    /// Says that a message was taken.
    pub(super) fn acknowledge(&mut self, id: u16) {
        // It cannot fail: it is four bytes.
        let _ = packet::acknowledge(&mut self.out, id);
    }

    /// Says the last word.
    pub(super) fn disconnect(&mut self) {
        let _ = packet::disconnect(&mut self.out);
    }

    /// One that nothing waits for.
    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let id = self.last_id;
            let taken = self.awaited.iter().any(|(other, _)| *other == id)
                || self.subscriptions.iter().any(|(other, _)| *other == id);
            // More than a few hundred are never under way.
            if !taken {
                return id;
            }
        }
    }

    fn wait_from(&mut self, now: Instant) {
        if self.awaited.is_empty() && self.subscriptions.is_empty() {
            self.waited = now;
        }
    }

    // What comes in.

    /// Takes what has come; ask for all [events](Self::event) then.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.counts.bytes_received += bytes.len() as u64;
        self.reader.feed(bytes);
    }

    /// What the reader holds, in bytes.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> usize {
        self.reader.held()
    }

    /// The next thing that has happened.
    pub(super) fn event(&mut self, now: Instant) -> Result<Option<Event>, End> {
        loop {
            match self.reader.next().map_err(End::broken)? {
                Next::Nothing => return Ok(None),
                Next::TooLong(id) => {
                    self.heard = now;
                    self.counts.too_long += 1;
                    if let Some(id) = id {
                        self.acknowledge(id);
                    }
                }
                Next::Packet(mut bytes) => {
                    self.heard = now;
                    let packet = packet::read(self.version, &mut bytes).map_err(End::broken)?;
                    if let Some(event) = self.take(packet, now)? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    fn take(&mut self, packet: Packet, now: Instant) -> Result<Option<Event>, End> {
        match packet {
            Packet::Welcome(terms) if !self.welcome => {
                self.welcome = true;
                if let Some(seconds) = terms.keep_alive.filter(|seconds| *seconds > 0) {
                    self.keep_alive = Duration::from_secs(seconds.into());
                }
                self.terms = terms;
                self.counts.connects += 1;
                Ok(Some(Event::Connected))
            }
            Packet::Refused(refusal) if !self.welcome => Err(match refusal {
                Refusal::Version => {
                    End::Version(format!("it does not speak MQTT {}", self.version))
                }
                Refusal::Other(why) => End::Other(format!("it refuses the connection: {why}")),
            }),
            Packet::Farewell(why) => Err(End::Other(format!("it ends the connection: {why}"))),
            _ if !self.welcome => Err(End::broken("it began without a CONNACK")),
            Packet::Welcome(_) | Packet::Refused(_) => Err(End::broken("a second CONNACK")),
            Packet::Message { topic, payload, retained, id } => {
                self.counts.received += 1;
                Ok(Some(Event::Message { topic, payload, retained, id }))
            }
            Packet::Acknowledged { id, refused } => {
                self.waited = now;
                if refused.is_some() {
                    self.counts.refused += 1;
                }
                match self.awaited.iter_mut().find(|(awaited, _)| *awaited == id) {
                    Some(one) => one.1 = true,
                    None => return Err(End::broken("it acknowledges what was not sent")),
                }
                let done = self.awaited.iter().take_while(|(_, done)| *done).count();
                self.awaited.drain(..done);
                Ok((done > 0).then_some(Event::Acknowledged(done as u64)))
            }
            Packet::Subscribed { id, refused } => {
                self.waited = now;
                let place = self.subscriptions.iter().position(|(asked, _)| *asked == id);
                match place.and_then(|place| self.subscriptions.remove(place)) {
                    Some((_, filter)) => Ok(Some(Event::Subscribed { filter, refused })),
                    None => Err(End::broken("a SUBACK that nobody asked for")),
                }
            }
            Packet::Pong => {
                self.ping = None;
                Ok(None)
            }
        }
    }

    /// What an end of the stream means.
    pub(super) fn closed(&self) -> End {
        if self.welcome {
            return End::Other("it closed the connection".into());
        }
        // Some that know no MQTT 5 say so in this way.
        End::Version(
            "it closed the connection without an answer; is that an MQTT port, and does \
                      it take this client?"
                .into(),
        )
    }

    // Time.

    /// Says what is to be said by now; for how long nothing has to be done.
    /// An error when the broker is dead. Before it is welcome, somebody else
    /// keeps the deadline.
    pub(super) fn tick(&mut self, now: Instant) -> Result<Duration, End> {
        if !self.welcome {
            return Ok(ANSWER);
        }
        let mut until = now + ACKNOWLEDGE;
        if !self.awaited.is_empty() || !self.subscriptions.is_empty() {
            until = self.waited + ACKNOWLEDGE;
            if until <= now {
                let seconds = ACKNOWLEDGE.as_secs();
                let why = format!("it has acknowledged nothing for {seconds} s");
                return Err(End::Other(why));
            }
        }
        if !self.keep_alive.is_zero() {
            if self.ping.is_none() && self.quiet_until() <= now {
                let _ = packet::ping(&mut self.out);
                self.ping = Some(Ping { left: self.out.len(), since: now });
            }
            let next = match &self.ping {
                None => self.quiet_until(),
                // A long message may be under way: whatever is whole counts.
                Some(ping) => ping.since.max(self.heard) + ANSWER,
            };
            if next <= now {
                return Err(End::Other("it does not answer any more".into()));
            }
            until = until.min(next);
        }
        Ok(until.saturating_duration_since(now))
    }

    /// Until when neither side has been silent for too long.
    fn quiet_until(&self) -> Instant {
        self.heard.min(self.said) + self.keep_alive
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
