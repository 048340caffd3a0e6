//! Telemetry as a feed: what a client gets, in which order, from its own place.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    net::{Bell, Counter, Cursor, Feed, Frames, text_frame},
    telemetry::{Hub, View},
    wire::json::{self, Hello},
};

/// A `heartbeat` comes when nothing else was sent for so long.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The hub as a feed: every client is told of every batch.
pub(super) struct Telemetry {
    hub: Hub,
    shared: Arc<Shared>,
}

impl Telemetry {
    pub(super) fn new(hub: Hub) -> Self {
        Self { hub, shared: Arc::default() }
    }

    /// How many clients were overtaken by the ring.
    pub(super) fn gaps(&self) -> u64 {
        self.shared.gaps.get()
    }
}

impl Feed for Telemetry {
    fn cursor(&self, _: u64) -> Box<dyn Cursor> {
        Box::new(Viewer::new(self.hub.clone(), self.shared.clone()))
    }

    fn started(&self, bell: Bell) {
        self.hub.on_change(move || bell.ring());
    }
}

/// What viewers share beside the hub. Locked after the hub, never before.
#[derive(Debug, Default)]
struct Shared {
    /// The frames of the last snapshot, and its number and version.
    snapshot: Mutex<Cache<(u64, u64)>>,
    /// The frames of the last change of descriptions, from one version to another.
    channels: Mutex<Cache<(u64, u64)>>,
    /// Clients that were overtaken by the ring.
    gaps: Counter,
}

#[derive(Debug, Default)]
struct Cache<K> {
    key: Option<K>,
    frames: Vec<Bytes>,
}

impl<K: PartialEq> Cache<K> {
    /// The frames for `key`: those of the last caller, or made now.
    fn get(&mut self, key: K, make: impl FnOnce() -> Vec<String>) -> &[Bytes] {
        if self.key.as_ref() != Some(&key) {
            self.frames = make().iter().map(|text| text_frame(text)).collect();
            self.key = Some(key);
        }
        &self.frames
    }
}

/// One client's place in the stream.
struct Viewer {
    hub: Hub,
    shared: Arc<Shared>,
    greeted: bool,
    /// The last batch that is on its way to the client.
    seq: u64,
    /// The version of the descriptions that it has.
    version: u64,
    /// What has to go out before the next batch: hello, descriptions, a gap
    /// and its snapshot. Shared bytes, of one instant.
    first: VecDeque<Bytes>,
    /// The last `fill` offered a heartbeat.
    heartbeat: bool,
    /// When something was last sent.
    sent_at: Instant,
}

impl Viewer {
    fn new(hub: Hub, shared: Arc<Shared>) -> Self {
        Self {
            hub,
            shared,
            greeted: false,
            seq: 0,
            version: 0,
            first: VecDeque::new(),
            heartbeat: false,
            sent_at: Instant::now(),
        }
    }

    /// Looks at the hub once, under one lock, and decides what comes next: what
    /// has to go out first, and the batches behind it.
    fn look(&mut self, frames: &mut Frames) {
        let hub = self.hub.clone();
        let mut view = hub.view();
        if !self.greeted {
            self.greeted = true;
            self.greet(&view);
        } else if self.seq + 1 < view.oldest() && self.first.is_empty() {
            self.shared.gaps.increment();
            self.describe_changes(&view);
            self.first.push_back(text_frame(&json::gap(self.seq + 1, view.seq())));
            self.restart(&view);
        } else if self.version < view.version() {
            self.describe_changes(&view);
        }
        for frame in &self.first {
            if frames.is_full() {
                return;
            }
            frames.push(frame.clone());
        }
        self.offer_batches(&mut view, frames);
    }

    fn greet(&mut self, view: &View<'_>) {
        let clock = self.hub.clock();
        let hello = Hello {
            version: 1,
            device: self.hub.device(),
            epoch: self.hub.epoch(),
            seq: view.seq(),
            time: (clock.wall() * 1000.0).round() / 1000.0,
            synced: clock.synced(),
            heartbeat: HEARTBEAT.as_secs(),
            may_publish: false,
        };
        let texts = json::hello(&hello, view.channels());
        self.first.extend(texts.iter().map(|text| text_frame(text)));
        self.version = view.version();
        self.restart(view);
    }

    /// The latest values, and the cursor behind them, of one instant: nothing
    /// is missed between them and nothing comes twice.
    fn restart(&mut self, view: &View<'_>) {
        let mut cache = self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (view.seq(), view.version());
        let frames = cache.get(key, || {
            json::snapshot(view.seq(), view.channels(), |at| self.hub.clock().wall_of(at))
        });
        self.first.extend(frames.iter().cloned());
        self.seq = view.seq();
    }

    fn describe_changes(&mut self, view: &View<'_>) {
        let mut cache = self.shared.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (self.version, view.version());
        let frames = cache.get(key, || json::channels_since(view.channels(), self.version));
        self.first.extend(frames.iter().cloned());
        self.version = view.version();
    }

    fn offer_batches(&self, view: &mut View<'_>, frames: &mut Frames) {
        let clock = self.hub.clock();
        for seq in self.seq + 1..=view.seq() {
            if frames.is_full() {
                break;
            }
            let frame = view.encoded(seq, |channels, batch| {
                text_frame(&json::data(seq, clock.wall_of(batch.start()), batch, channels))
            });
            let Some(frame) = frame else {
                // Overtaken while an earlier snapshot is still under way: its
                // gap comes when that is out.
                return frames.expect_more();
            };
            frames.push(frame);
        }
    }
}

impl Cursor for Viewer {
    fn fill(&mut self, now: Instant, frames: &mut Frames) {
        self.look(frames);
        self.heartbeat = frames.is_empty() && self.due().is_some_and(|due| due <= now);
        if self.heartbeat {
            frames.push(text_frame(&json::heartbeat(self.seq, self.hub.clock().wall())));
        }
    }

    fn consume(&mut self, count: usize, now: Instant) {
        if count == 0 {
            return;
        }
        self.sent_at = now;
        if self.heartbeat {
            return;
        }
        let first = count.min(self.first.len());
        self.first.drain(..first);
        self.seq += (count - first) as u64;
    }

    fn due(&self) -> Option<Instant> {
        Some(self.sent_at + HEARTBEAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Batch, Channel, HubSettings, Source};

    fn hub(ring_bytes: usize) -> (Hub, Source) {
        let hub = Hub::new(HubSettings { ring_bytes, ..HubSettings::default() });
        let source = hub.source("test");
        source.channel(Channel::gauge("count").expect("valid")).expect("declared");
        (hub, source)
    }

    fn publish(hub: &Hub, source: &Source) -> u64 {
        let id = hub.view().channels()[0].id;
        let mut batch = Batch::at(hub.clock().boot());
        batch.set(id, 1.0);
        source.publish(batch)
    }

    fn fill(viewer: &mut Viewer, now: Instant) -> Vec<Bytes> {
        let mut frames = Frames::default();
        viewer.fill(now, &mut frames);
        frames.as_slice().to_vec()
    }

    /// Takes everything that there is; the texts.
    fn take_all(viewer: &mut Viewer, now: Instant) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            let frames = fill(viewer, now);
            if frames.is_empty() {
                return texts;
            }
            viewer.consume(frames.len(), now);
            texts.extend(frames.iter().map(|frame| String::from_utf8_lossy(frame).into_owned()));
        }
    }

    #[test]
    fn viewers_at_the_same_place_get_the_same_bytes() {
        let (hub, source) = hub(1 << 20);
        let shared = Arc::<Shared>::default();
        let now = Instant::now();
        let mut viewers = [(); 2].map(|()| Viewer::new(hub.clone(), shared.clone()));
        publish(&hub, &source);
        let snapshots: Vec<_> = viewers.iter_mut().map(|v| fill(v, now).pop()).collect();
        assert_eq!(
            snapshots[0].as_ref().map(|f| f.as_ptr()),
            snapshots[1].as_ref().map(|f| f.as_ptr())
        );
        for viewer in &mut viewers {
            take_all(viewer, now);
        }
        publish(&hub, &source);
        let batches: Vec<_> = viewers.iter_mut().map(|v| fill(v, now)).collect();
        assert_eq!((batches[0].len(), batches[1].len()), (1, 1));
        assert_eq!(batches[0][0].as_ptr(), batches[1][0].as_ptr(), "encoded twice");
    }

    #[test]
    fn what_was_not_taken_is_offered_again() {
        let (hub, source) = hub(1 << 20);
        let mut viewer = Viewer::new(hub.clone(), Arc::default());
        let now = Instant::now();
        let first = fill(&mut viewer, now);
        assert_eq!(first.len(), 2, "hello and snapshot");
        viewer.consume(1, now);
        assert_eq!(fill(&mut viewer, now), first[1..]);
        viewer.consume(1, now);
        for _ in 0..5 {
            publish(&hub, &source);
        }
        assert_eq!(fill(&mut viewer, now).len(), 5);
        viewer.consume(2, now);
        let rest = take_all(&mut viewer, now);
        assert_eq!(rest.len(), 3);
        assert!(rest[0].contains(r#""seq":3"#), "{rest:?}");
    }

    #[test]
    fn an_overtaken_viewer_gets_one_gap_and_the_snapshot_that_it_names() {
        let (hub, source) = hub(10_000);
        let mut viewer = Viewer::new(hub.clone(), Arc::default());
        let now = Instant::now();
        take_all(&mut viewer, now);
        let mut last = 0;
        for _ in 0..1000 {
            last = publish(&hub, &source);
        }
        let texts = take_all(&mut viewer, now);
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].contains(&format!(r#"{{"type":"gap","from":1,"to":{last}}}"#)));
        assert!(texts[1].contains(&format!(r#""seq":{last},"#)) && texts[1].contains("snapshot"));
        assert_eq!(viewer.shared.gaps.get(), 1);
    }

    #[test]
    fn one_that_is_overtaken_while_its_snapshot_is_under_way_gets_the_gap_afterwards() {
        let (hub, source) = hub(10_000);
        let mut viewer = Viewer::new(hub.clone(), Arc::default());
        let now = Instant::now();
        fill(&mut viewer, now);
        viewer.consume(1, now);
        for _ in 0..1000 {
            publish(&hub, &source);
        }
        let mut frames = Frames::default();
        viewer.fill(now, &mut frames);
        assert!(frames.len() == 1 && frames.more_follows(), "the snapshot alone, and more");
        viewer.consume(1, now);
        let texts = take_all(&mut viewer, now);
        assert!(texts[0].contains(r#"{"type":"gap","from":1,"to":1000}"#), "{texts:?}");
        assert_eq!(texts.len(), 2);
    }

    #[test]
    fn a_heartbeat_comes_after_silence_only_and_names_the_cursor() {
        let (hub, source) = hub(1 << 20);
        let mut viewer = Viewer::new(hub.clone(), Arc::default());
        let start = Instant::now();
        take_all(&mut viewer, start);
        let seq = publish(&hub, &source);
        let later = start + Duration::from_secs(10);
        assert_eq!(take_all(&mut viewer, later).len(), 1);
        assert_eq!(take_all(&mut viewer, start + HEARTBEAT), [""; 0], "a batch came meanwhile");
        assert_eq!(viewer.due(), Some(later + HEARTBEAT));
        let beat = take_all(&mut viewer, later + HEARTBEAT);
        assert_eq!(beat.len(), 1);
        assert!(beat[0].contains(&format!(r#"{{"type":"heartbeat","seq":{seq},"#)), "{beat:?}");
    }

    #[test]
    fn a_status_that_changes_is_described_before_the_next_batch() {
        let (hub, source) = hub(1 << 20);
        let mut viewer = Viewer::new(hub.clone(), Arc::default());
        let now = Instant::now();
        take_all(&mut viewer, now);
        let id = hub.view().channels()[0].id;
        source.fail(id, "broken");
        publish(&hub, &source);
        let texts = take_all(&mut viewer, now);
        assert!(texts[0].contains(r#"{"type":"channels","#), "{texts:?}");
        assert!(texts[1].contains(r#"{"type":"data","#), "{texts:?}");
    }
}
