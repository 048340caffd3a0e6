//! Who occupies which place, in which phase, until when.
//!
//! One table behind one lock serves three purposes: it bounds connections, it
//! holds the deadlines that the accept loop keeps for them (connection threads
//! keep no timers), and it tells a stopping server what is left. A connection
//! holds a [`Slot`]; dropping it frees the place.

use std::{
    collections::HashMap,
    net::{IpAddr, Shutdown, SocketAddr},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{limits::Limits, socket::Socket, stats::Stats};

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its first request is being read.
    Head,
    /// A later one is: newcomers do not wait for it, or one address could hold
    /// them up for ever, with answers in between.
    NextHead,
    /// It waits for a next request, and gives way when room is short.
    Idle,
    /// The body of its request is being read.
    Body,
    /// Its response is being written.
    Answer,
    /// It is a WebSocket; the push workers watch it.
    Stream,
    /// Our last word is said; we wait for the peer's.
    Closing,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// All places are taken.
    Full,
    /// The address has as many as it may have.
    PerAddress,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    address: IpAddr,
    phase: Phase,
    since: Instant,
    deadline: Option<Instant>,
    expired: bool,
    socket: Arc<Socket>,
}

#[derive(Debug, Default)]
struct Table {
    places: Vec<Option<Place>>,
    free: Vec<usize>,
    generations: u32,
    taken: usize,
    heads: usize,
    streams: usize,
    per_address: HashMap<IpAddr, usize>,
    /// What the accept loop sleeps until.
    alarm: Option<Instant>,
    /// The accept loop waits for an unfinished head to finish.
    paused: bool,
}

/// All places. Clones are handles to the same table.
#[derive(Clone, Debug)]
pub(super) struct Slots(Arc<Shared>);

struct Shared {
    table: Mutex<Table>,
    /// Signalled when a place becomes free.
    freed: Condvar,
    connections: usize,
    streams: usize,
    heads: usize,
    per_address: usize,
    stats: Arc<Stats>,
    /// Wakes the accept loop.
    wake: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slots").field("connections", &self.connections).finish()
    }
}

/// A place that is taken; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    index: usize,
    generation: u32,
}

/// How many connections there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Occupancy {
    pub(super) connections: usize,
    pub(super) streams: usize,
}

impl Slots {
    /// An empty table; `wake` wakes the accept loop.
    pub(super) fn new(
        limits: &Limits,
        stats: &Arc<Stats>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            table: Mutex::default(),
            freed: Condvar::new(),
            connections: limits.connections,
            streams: limits.streams(),
            heads: limits.unfinished_heads,
            per_address: limits.per_address,
            stats: stats.clone(),
            wake: Box::new(wake),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another unfinished head may come. If not, the accept loop is
    /// woken when one has finished.
    pub(super) fn room_for_head(&self) -> bool {
        let mut table = self.lock();
        let paused = table.heads >= self.0.heads;
        if paused && !table.paused {
            self.0.stats.waited_heads.increment();
        }
        table.paused = paused;
        !paused
    }

    /// Takes a place for a new connection, whose head must be there by
    /// `deadline`. When all are taken, the connection that has been idle for
    /// longest gives way. Loopback and a trusted `proxy` may have all.
    pub(super) fn enter(
        &self,
        peer: SocketAddr,
        proxy: bool,
        socket: Arc<Socket>,
        now: Instant,
        deadline: Instant,
    ) -> Result<Slot, Refusal> {
        let address = peer.ip().to_canonical();
        let mut table = self.lock();
        let theirs = table.per_address.get(&address).copied().unwrap_or(0);
        let many = theirs >= self.0.per_address || table.heads_of(address) > self.0.heads / 2;
        if !proxy && !address.is_loopback() && many {
            return Err(Refusal::PerAddress);
        }
        if table.taken >= self.0.connections {
            if !table.evict_idle() {
                return Err(Refusal::Full);
            }
            self.0.stats.gave_way.increment();
        }
        table.generations = table.generations.wrapping_add(1);
        let generation = table.generations;
        let place = Place {
            generation,
            address,
            phase: Phase::Head,
            since: now,
            deadline: Some(deadline),
            expired: false,
            socket,
        };
        table.taken += 1;
        table.heads += 1;
        *table.per_address.entry(address).or_insert(0) += 1;
        let index = match table.free.pop() {
            Some(index) => index,
            None => {
                table.places.push(None);
                table.places.len() - 1
            }
        };
        table.places[index] = Some(place);
        Ok(Slot { slots: self.clone(), index, generation })
    }

    /// Acts on the deadlines that have passed; returns the next one. A head, a
    /// body or a message that is late gets its reading side shut, so that its thread
    /// can still answer; everything else is ended.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut table = self.lock();
        let mut next: Option<Instant> = None;
        for place in table.places.iter_mut().flatten() {
            let Some(deadline) = place.deadline else { continue };
            if deadline > now {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
                continue;
            }
            place.deadline = None;
            place.expired = true;
            match place.phase {
                Phase::Answer => self.0.stats.late_answers.increment(),
                Phase::Closing => self.0.stats.late_ends.increment(),
                // Counted by its thread, which says so; or no fault.
                Phase::Head | Phase::NextHead | Phase::Body | Phase::Stream | Phase::Idle => {}
            }
            // Its thread still has something to say: 408, or a Close with 1008.
            let speaks =
                matches!(place.phase, Phase::Head | Phase::NextHead | Phase::Body | Phase::Stream);
            place.socket.shutdown(if speaks { Shutdown::Read } else { Shutdown::Both });
        }
        // Not more often than this, however the deadlines are strewn.
        let next = next.map(|next| next.max(now + Duration::from_millis(50)));
        table.alarm = next;
        next
    }

    /// Begins the stop: idle connections end now, all others that are not
    /// streams get `deadline` at the latest.
    pub(super) fn stop(&self, deadline: Instant) {
        let mut table = self.lock();
        for place in table.places.iter_mut().flatten() {
            match place.phase {
                Phase::Idle => place.socket.shutdown(Shutdown::Both),
                Phase::Stream => {}
                _ => place.deadline = Some(place.deadline.map_or(deadline, |d| d.min(deadline))),
            }
        }
        drop(table);
        (self.0.wake)();
    }

    /// Ends every connection that is left.
    pub(super) fn abort_all(&self) {
        for place in self.lock().places.iter().flatten() {
            place.socket.shutdown(Shutdown::Both);
        }
    }

    /// Waits until all places are free, at most until `deadline`; returns how
    /// many are not.
    pub(super) fn wait_empty(&self, deadline: Instant) -> usize {
        let mut table = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if table.taken == 0 || left.is_zero() {
                return table.taken;
            }
            let waited = self.0.freed.wait_timeout(table, left);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many connections there are.
    pub(super) fn occupancy(&self) -> Occupancy {
        let table = self.lock();
        Occupancy { connections: table.taken, streams: table.streams }
    }
}

impl Table {
    fn place(&mut self, slot: &Slot) -> Option<&mut Place> {
        let place = self.places.get_mut(slot.index)?.as_mut()?;
        (place.generation == slot.generation).then_some(place)
    }

    /// How many connections of an address have not asked for anything yet.
    /// One address alone must not have all others wait for room.
    fn heads_of(&self, address: IpAddr) -> usize {
        let places = self.places.iter().flatten();
        places.filter(|place| place.address == address && place.phase == Phase::Head).count()
    }

    /// Takes the place of the longest idle connection from it.
    fn evict_idle(&mut self) -> bool {
        let idle = self.places.iter().enumerate().filter_map(|(index, place)| {
            let place = place.as_ref().filter(|place| place.phase == Phase::Idle)?;
            Some((place.since, index))
        });
        let Some((_, index)) = idle.min() else { return false };
        if let Some(place) = &self.places[index] {
            place.socket.shutdown(Shutdown::Both);
        }
        self.free_place(index);
        true
    }

    fn free_place(&mut self, index: usize) {
        let Some(place) = self.places[index].take() else { return };
        self.free.push(index);
        self.taken -= 1;
        self.count(place.phase, -1);
        self.forget_address(place.address);
    }

    fn forget_address(&mut self, address: IpAddr) {
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }

    /// Whether the accept loop sleeps for too long for this deadline.
    fn is_earlier(&self, deadline: Option<Instant>) -> bool {
        deadline.is_some_and(|deadline| self.alarm.is_none_or(|alarm| deadline < alarm))
    }

    fn count(&mut self, phase: Phase, change: isize) {
        let counter = match phase {
            Phase::Head => &mut self.heads,
            Phase::Stream => &mut self.streams,
            _ => return,
        };
        *counter = counter.wrapping_add_signed(change);
    }
}

impl Slot {
    /// Goes on to `phase`, which must be over by `deadline`.
    ///
    /// # Errors
    /// [`Refusal::Full`] when it is [`Phase::Stream`] and there are as many
    /// streams as there may be, or when this connection has lost its place to
    /// a newer one; it should end.
    pub(super) fn enter(&self, phase: Phase, deadline: Option<Instant>) -> Result<(), Refusal> {
        let mut table = self.slots.lock();
        let streams = table.streams;
        let Some(place) = table.place(self) else { return Err(Refusal::Full) };
        if phase == Phase::Closing && place.phase == Phase::Closing {
            // Whoever said the last word first has set the deadline.
            return Ok(());
        }
        if phase == Phase::Stream && streams >= self.slots.0.streams {
            return Err(Refusal::Full);
        }
        let before = std::mem::replace(&mut place.phase, phase);
        place.deadline = deadline;
        place.since = Instant::now();
        table.count(before, -1);
        table.count(phase, 1);
        let earlier = table.is_earlier(deadline);
        let resume = before == Phase::Head && phase != Phase::Head && table.paused;
        drop(table);
        if earlier || resume {
            (self.slots.0.wake)();
        }
        Ok(())
    }

    /// Sets until when the message that is under way must be whole.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        let mut table = self.slots.lock();
        let Some(place) = table.place(self) else { return };
        if place.phase != Phase::Stream {
            return;
        }
        place.deadline = deadline;
        let earlier = table.is_earlier(deadline);
        drop(table);
        if earlier {
            (self.slots.0.wake)();
        }
    }

    /// Counts this connection as one of `client`, whom its peer speaks for.
    ///
    /// # Errors
    /// [`Refusal::PerAddress`] when there are as many of it as there may be.
    pub(super) fn speaks_for(&self, client: IpAddr) -> Result<(), Refusal> {
        let mut table = self.slots.lock();
        let theirs = table.per_address.get(&client).copied().unwrap_or(0);
        let Some(place) = table.place(self) else { return Ok(()) };
        if place.address == client {
            return Ok(());
        }
        if theirs >= self.slots.0.per_address && !client.is_loopback() {
            return Err(Refusal::PerAddress);
        }
        let before = std::mem::replace(&mut place.address, client);
        table.forget_address(before);
        *table.per_address.entry(client).or_insert(0) += 1;
        Ok(())
    }

    /// Whether this connection waits for a next request.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.lock().place(self).is_none_or(|place| place.phase == Phase::Idle)
    }

    /// Whether this connection's deadline has passed, or its place is lost.
    pub(super) fn expired(&self) -> bool {
        self.slots.lock().place(self).is_none_or(|place| place.expired)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.slots.lock();
        if table.place(self).is_some() {
            table.free_place(self.index);
        }
        let resume = table.paused;
        drop(table);
        self.slots.0.freed.notify_all();
        if resume {
            (self.slots.0.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, TcpListener, TcpStream},
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    fn socket() -> (Arc<Socket>, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        (Arc::new(Socket::from(listener.accept().expect("accepted").0)), peer)
    }

    fn limits() -> Limits {
        Limits {
            connections: 3,
            reserved_for_http: 1,
            unfinished_heads: 2,
            per_address: 2,
            ..Limits::default()
        }
    }

    fn peer(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 1000))
    }

    #[test]
    fn places_are_bounded_in_all_and_per_address_and_come_back() {
        let slots = Slots::new(&limits(), &Arc::default(), || {});
        let (socket, _peer) = socket();
        let now = Instant::now();
        let enter = |last| slots.enter(peer(last), false, socket.clone(), now, now);
        let first = enter(1).expect("room");
        let _second = enter(1).expect("room");
        assert_eq!(enter(1).expect_err("two of that address"), Refusal::PerAddress);
        let _third = enter(2).expect("room");
        assert_eq!(enter(3).expect_err("three in all"), Refusal::Full);
        drop(first);
        enter(1).expect("a place came back");
    }

    #[test]
    fn whom_a_proxy_speaks_for_counts_and_not_the_proxy() {
        let slots = Slots::new(&limits(), &Arc::default(), || {});
        let (socket, _peer) = socket();
        let now = Instant::now();
        let taken: Vec<_> = (0..3)
            .map(|_| slots.enter(peer(1), true, socket.clone(), now, now).expect("a proxy"))
            .collect();
        let client = |last| peer(last).ip();
        assert_eq!(taken[0].speaks_for(client(7)), Ok(()));
        assert_eq!(taken[1].speaks_for(client(7)), Ok(()));
        assert_eq!(taken[1].speaks_for(client(7)), Ok(()), "the same once more");
        assert_eq!(taken[2].speaks_for(client(7)), Err(Refusal::PerAddress));
        assert_eq!(taken[1].speaks_for(client(8)), Ok(()));
        assert_eq!(taken[2].speaks_for(client(7)), Ok(()));
        drop(taken);
        assert!(slots.lock().per_address.is_empty());
    }

    #[test]
    fn the_longest_idle_connection_gives_way() {
        let slots = Slots::new(&limits(), &Arc::default(), || {});
        let (socket, _peer) = socket();
        let now = Instant::now();
        let enter = |last| slots.enter(peer(last), false, socket.clone(), now, now);
        let taken: Vec<_> = (1..=3).map(|last| enter(last).expect("room")).collect();
        taken[1].enter(Phase::Idle, None).expect("idle");
        taken[0].enter(Phase::Idle, None).expect("idle later");
        let fourth = enter(4).expect("an idle one gave way");
        assert!(taken[1].expired() && !taken[0].expired());
        assert_eq!(taken[1].enter(Phase::Head, None), Err(Refusal::Full));
        assert_eq!(slots.occupancy().connections, 3);
        drop(taken);
        assert_eq!(slots.occupancy().connections, 1);
        drop(fourth);
        assert_eq!(slots.wait_empty(now), 0);
    }

    #[test]
    fn some_places_are_kept_for_http() {
        let slots = Slots::new(&limits(), &Arc::default(), || {});
        let (socket, _peer) = socket();
        let now = Instant::now();
        let taken: Vec<_> = (1..=3)
            .map(|last| slots.enter(peer(last), false, socket.clone(), now, now).expect("room"))
            .collect();
        taken[0].enter(Phase::Stream, None).expect("first stream");
        taken[1].enter(Phase::Stream, None).expect("second stream");
        assert_eq!(taken[2].enter(Phase::Stream, None), Err(Refusal::Full));
        assert_eq!(slots.occupancy(), Occupancy { connections: 3, streams: 2 });
    }

    #[test]
    fn the_accept_loop_pauses_at_unfinished_heads_and_is_woken() {
        let woken = Arc::new(AtomicUsize::new(0));
        let seen = woken.clone();
        let slots = Slots::new(&limits(), &Arc::default(), move || {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        let (socket, _peer) = socket();
        let now = Instant::now();
        slots.expire(now);
        let first = slots.enter(peer(1), false, socket.clone(), now, now).expect("room");
        let _second = slots.enter(peer(2), false, socket, now, now).expect("room");
        assert!(!slots.room_for_head());
        let before = woken.load(Ordering::Relaxed);
        // A next request on a connection holds nobody up.
        first.enter(Phase::NextHead, None).expect("its next request");
        assert!(slots.room_for_head());
        first.enter(Phase::Head, None).expect("as it was");
        assert!(!slots.room_for_head());
        let before = woken.load(Ordering::Relaxed).max(before);
        first.enter(Phase::Stream, None).expect("a stream");
        assert_eq!(woken.load(Ordering::Relaxed), before + 1);
        assert!(slots.room_for_head());
    }

    #[test]
    fn one_address_has_few_unfinished_heads_so_that_others_need_not_wait() {
        let limits = Limits { unfinished_heads: 4, per_address: 9, connections: 9, ..limits() };
        let slots = Slots::new(&limits, &Arc::default(), || {});
        let (socket, _peer) = socket();
        let now = Instant::now();
        let enter = |last| slots.enter(peer(last), false, socket.clone(), now, now);
        let theirs: Vec<_> = (0..3).map(|_| enter(1).expect("room")).collect();
        assert_eq!(enter(1).err(), Some(Refusal::PerAddress));
        assert!(slots.room_for_head());
        let _other = enter(2).expect("another address has room");
        theirs[0].enter(Phase::Answer, None).expect("it has asked");
        enter(1).expect("one of them has asked");
    }

    #[test]
    fn a_late_head_keeps_its_writing_side() {
        let slots = Slots::new(&limits(), &Arc::default(), || {});
        let (socket, mut client) = socket();
        let now = Instant::now();
        let deadline = now + Duration::from_secs(5);
        let slot = slots.enter(peer(1), false, socket.clone(), now, deadline).expect("room");
        assert_eq!(slots.expire(now), Some(deadline));
        assert!(!slot.expired());
        assert_eq!(slots.expire(deadline), None);
        assert!(slot.expired());
        assert_eq!(socket.receive(&mut [0; 8]).expect("the end"), 0);
        socket.send_all(b"408", b"").expect("still writable");
        let mut got = [0; 3];
        std::io::Read::read_exact(&mut client, &mut got).expect("received");
        assert_eq!(&got, b"408");
    }
}
