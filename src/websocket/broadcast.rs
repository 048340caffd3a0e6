//! One message to many connections, encoded once.
//!
//! Messages go into a ring, and every connection has a cursor into it: the
//! push workers send from there, each client at its own pace. A client costs a
//! number, not a queue.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use bytes::Bytes;

use super::Connection;
use crate::{
    message::Message,
    net::{Bell, Cursor, Feed, Frames, message_frame},
};

/// What a message in the ring takes beside its bytes.
const OVERHEAD: usize = 64;

/// Sends to all connections of a [`Server`](super::Server), or to the members
/// of a [`Group`]. Cheap to clone, usable from any thread; never waits.
///
/// The last messages are kept in a ring of bounded size (1 MiB unless told
/// otherwise). A client that is so slow that the ring overtakes it has lost
/// messages: it gets the [greeting](Self::greet_with) anew where there is one,
/// else it is ended with 1013.
///
/// ```no_run
/// use boardcast::websocket::{Broadcast, Message, Server};
///
/// # fn main() -> boardcast::Result<()> {
/// let everyone = Broadcast::new();
/// let server = Server::builder().listen("0.0.0.0:8888").broadcast(&everyone).bind()?;
/// let running = server.start(|_, _| |_: Message| {})?;
/// everyone.send("the pump is on");
/// # running.join()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Broadcast(Arc<Shared>);

struct Shared {
    ring: Mutex<Ring>,
    greeting: OnceLock<Box<dyn Fn() -> Vec<Message> + Send + Sync>>,
    bell: Mutex<Option<Bell>>,
    /// The memberships of each open connection, by its number.
    members: Mutex<HashMap<u64, Memberships>>,
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast").field("sent", &self.lock().next).finish_non_exhaustive()
    }
}

/// Who gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    All,
    Group(u64),
}

#[derive(Debug)]
struct Ring {
    entries: VecDeque<(Audience, Bytes)>,
    /// The number of the next message.
    next: u64,
    bytes: usize,
    budget: usize,
    groups: u64,
}

impl Ring {
    fn first(&self) -> u64 {
        self.next - self.entries.len() as u64
    }

    fn push(&mut self, audience: Audience, frame: Bytes) {
        self.bytes += frame.len() + OVERHEAD;
        self.entries.push_back((audience, frame));
        self.next += 1;
        // The newest stays whatever its size.
        while self.bytes > self.budget && self.entries.len() > 1 {
            let Some((_, oldest)) = self.entries.pop_front() else { break };
            self.bytes -= oldest.len() + OVERHEAD;
        }
    }
}

impl Default for Broadcast {
    fn default() -> Self {
        Self::new()
    }
}

impl Broadcast {
    /// A broadcast with a ring of 1 MiB.
    pub fn new() -> Self {
        Self::with_ring(1 << 20)
    }

    /// A broadcast that keeps so many bytes for those who are behind.
    pub fn with_ring(bytes: usize) -> Self {
        let ring = Ring { entries: VecDeque::new(), next: 0, bytes: 0, budget: bytes, groups: 0 };
        Self(Arc::new(Shared {
            ring: Mutex::new(ring),
            greeting: OnceLock::new(),
            bell: Mutex::default(),
            members: Mutex::default(),
        }))
    }

    /// Sets what a newcomer gets first, and a client that was overtaken gets
    /// in place of what it missed; the first call counts. It is called on a
    /// push worker and must not block.
    pub fn greet_with(&self, greeting: impl Fn() -> Vec<Message> + Send + Sync + 'static) -> &Self {
        let _ = self.0.greeting.set(Box::new(greeting));
        self
    }

    /// Sends to every connection that is open now. The frame is encoded here,
    /// once; the push workers send it. Never waits.
    pub fn send(&self, message: impl Into<Message>) {
        self.send_to(Audience::All, &message.into());
    }

    /// A group of connections, empty at first.
    pub fn group(&self) -> Group {
        let mut ring = self.lock();
        ring.groups += 1;
        Group { broadcast: self.clone(), id: ring.groups }
    }

    fn send_to(&self, audience: Audience, message: &Message) {
        let frame = message_frame(message);
        self.lock().push(audience, frame);
        // Unlocked: whoever is woken wants the lock at once.
        let bell = self.0.bell.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(bell) = bell {
            bell.ring();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn members(&self) -> MutexGuard<'_, HashMap<u64, Memberships>> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed for Broadcast {
    fn cursor(&self, connection: u64) -> Box<dyn Cursor> {
        let memberships = Memberships::default();
        self.members().insert(connection, memberships.clone());
        Box::new(Place {
            broadcast: self.clone(),
            connection,
            memberships,
            next: self.lock().next,
            first: None,
        })
    }

    fn started(&self, bell: Bell) {
        // Of one server after the other; two at a time would be a mistake.
        *self.0.bell.lock().unwrap_or_else(PoisonError::into_inner) = Some(bell);
    }
}

/// Some of the connections: a room of a chat, the subscribers of a topic.
#[derive(Clone, Debug)]
pub struct Group {
    broadcast: Broadcast,
    id: u64,
}

impl Group {
    /// Sends to every member, as [`Broadcast::send`] does to all.
    pub fn send(&self, message: impl Into<Message>) {
        self.broadcast.send_to(Audience::Group(self.id), &message.into());
    }

    /// Takes a connection in: it gets what is sent from now on. Whether it
    /// is one of the broadcast's, and open; when it ends, it is out by itself.
    pub fn join(&self, connection: &Connection) -> bool {
        let since = self.broadcast.lock().next;
        let members = self.broadcast.members();
        let Some(memberships) = members.get(&connection.id()) else { return false };
        let mut groups = memberships.lock();
        if !groups.iter().any(|&(id, _)| id == self.id) {
            groups.push((self.id, since));
        }
        true
    }

    /// Lets a connection go.
    pub fn leave(&self, connection: &Connection) {
        if let Some(memberships) = self.broadcast.members().get(&connection.id()) {
            memberships.lock().retain(|&(id, _)| id != self.id);
        }
    }
}

/// The groups that a connection is in, and since which message.
#[derive(Clone, Debug, Default)]
struct Memberships(Arc<Mutex<Vec<(u64, u64)>>>);

impl Memberships {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, audience: Audience, number: u64) -> bool {
        match audience {
            Audience::All => true,
            Audience::Group(id) => {
                self.lock().iter().any(|&(group, since)| group == id && since <= number)
            }
        }
    }
}

/// One client's place in the ring.
struct Place {
    broadcast: Broadcast,
    connection: u64,
    memberships: Memberships,
    /// The number of the message that comes next.
    next: u64,
    /// What goes out before it; `None` until the first fill.
    first: Option<VecDeque<Bytes>>,
}

impl Place {
    fn greeting(&self) -> Option<VecDeque<Bytes>> {
        let greeting = self.broadcast.0.greeting.get()?;
        Some(greeting().iter().map(message_frame).collect())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.broadcast.members().remove(&self.connection);
    }
}

impl Cursor for Place {
    fn fill(&mut self, _: Instant, frames: &mut Frames) {
        if self.first.is_none() {
            self.first = Some(self.greeting().unwrap_or_default());
        }
        let broadcast = self.broadcast.clone();
        let mut ring = broadcast.lock();
        while self.next < ring.first() {
            // What is sent while the greeting is made comes behind it.
            self.next = ring.next;
            drop(ring);
            let Some(greeting) = self.greeting() else { return frames.overtaken() };
            self.first = Some(greeting);
            ring = broadcast.lock();
        }
        for frame in self.first.iter().flatten() {
            if frames.is_full() {
                return;
            }
            frames.push(frame.clone());
        }
        let from = (self.next - ring.first()) as usize;
        for (index, (audience, frame)) in ring.entries.iter().enumerate().skip(from) {
            if frames.is_full() {
                return;
            }
            let number = ring.first() + index as u64;
            if self.memberships.hear(*audience, number) {
                frames.push_at(frame.clone(), number + 1);
            }
        }
        // Nothing of the rest is for this client.
        if frames.is_empty() {
            self.next = ring.next;
        }
    }

    fn consume(&mut self, places: &[u64], _: Instant) {
        let first = self.first.get_or_insert_default();
        let of_first = places.len().min(first.len());
        first.drain(..of_first);
        if let Some(&next) = places[of_first..].last() {
            self.next = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_message_to_a_thousand_is_encoded_once() {
        let everyone = Broadcast::new();
        let mut places: Vec<_> = (0..1000).map(|number| everyone.cursor(number)).collect();
        everyone.send("the pump is on");
        everyone.send(vec![1_u8; 1000]);
        let mut encodings = HashSet::new();
        for place in &mut places {
            let mut frames = Frames::default();
            place.fill(Instant::now(), &mut frames);
            assert_eq!(frames.len(), 2);
            encodings.extend(frames.as_slice().iter().map(|frame| (frame.as_ptr(), frame.len())));
            place.consume(frames.places(), Instant::now());
        }
        assert_eq!(encodings.len(), 2, "all share the bytes of two frames");
        assert!(encodings.iter().any(|&(_, length)| length == 2 + 14));
    }

    #[test]
    fn a_partly_taken_fill_goes_on_where_it_stopped() {
        let everyone = Broadcast::new();
        everyone.greet_with(|| vec!["one".into(), "two".into()]);
        let mut place = everyone.cursor(1);
        let mut stranger = everyone.cursor(2);
        for text in ["three", "four", "five"] {
            everyone.send(text);
        }
        everyone.group().send("not for these");
        let mut heard = Vec::new();
        for _ in 0..5 {
            let mut frames = Frames::default();
            place.fill(Instant::now(), &mut frames);
            heard.push(frames.as_slice()[0].clone());
            place.consume(&frames.places()[..1], Instant::now());
        }
        let texts: Vec<_> = heard.iter().map(|frame| &frame[2..]).collect();
        assert_eq!(texts, [&b"one"[..], b"two", b"three", b"four", b"five"]);
        let mut frames = Frames::default();
        place.fill(Instant::now(), &mut frames);
        assert!(frames.is_empty());
        stranger.fill(Instant::now(), &mut frames);
        assert_eq!(frames.len(), 5);
    }

    #[test]
    fn the_ring_keeps_its_budget_and_members_leave_with_their_place() {
        let everyone = Broadcast::with_ring(10_000);
        let mut place = everyone.cursor(7);
        (0..100).for_each(|_| everyone.send("x".repeat(1000)));
        assert!(everyone.lock().bytes <= 10_000);
        let mut frames = Frames::default();
        place.fill(Instant::now(), &mut frames);
        assert!(frames.was_overtaken());
        assert_eq!(everyone.members().len(), 1);
        drop(place);
        assert!(everyone.members().is_empty());
    }
}
