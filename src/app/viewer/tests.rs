//! A viewer, stepped by hand.

mod rules;

use super::*;
use crate::{
    telemetry::{BootTime, Channel, ChannelId, Clock, HubSettings, Publisher, Value},
    wire::subscribe,
};

fn hub(ring_bytes: usize) -> (Hub, Publisher) {
    let hub = Hub::new(HubSettings { ring_bytes, ..HubSettings::default() });
    let publisher = hub.publisher("test");
    publisher.channel(Channel::gauge("count").expect("valid")).expect("declared");
    (hub, publisher)
}

fn publish(hub: &Hub, publisher: &Publisher) -> u64 {
    let id = hub.view().channels()[0].id;
    let mut batch = Batch::at(hub.clock().boot());
    batch.set(id, 1.0);
    publisher.publish(batch)
}

fn fill(viewer: &mut Viewer, now: Instant) -> Vec<Bytes> {
    let mut frames = Frames::default();
    viewer.fill(now, &mut frames);
    frames.as_slice().to_vec()
}

/// Takes the first `count` frames of a fill.
fn take(viewer: &mut Viewer, count: usize, now: Instant) {
    let mut frames = Frames::default();
    viewer.fill(now, &mut frames);
    viewer.consume(&frames.places()[..count], now);
}

fn viewer(telemetry: &Telemetry) -> Viewer {
    telemetry.viewer(Encoding::Json, Arc::default())
}

/// Takes everything that there is; the texts.
fn take_all(viewer: &mut Viewer, now: Instant) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let mut frames = Frames::default();
        viewer.fill(now, &mut frames);
        if frames.is_empty() {
            return texts;
        }
        viewer.consume(frames.places(), now);
        let text = |frame: &Bytes| String::from_utf8_lossy(frame).into_owned();
        texts.extend(frames.as_slice().iter().map(text));
    }
}

#[test]
fn viewers_at_the_same_place_get_the_same_bytes() {
    let (hub, publisher) = hub(1 << 20);
    let telemetry = Telemetry::new(hub.clone());
    let now = Instant::now();
    let mut viewers = [(); 2].map(|()| viewer(&telemetry));
    publish(&hub, &publisher);
    let snapshots: Vec<_> = viewers.iter_mut().map(|v| fill(v, now).pop()).collect();
    assert_eq!(
        snapshots[0].as_ref().map(|f| f.as_ptr()),
        snapshots[1].as_ref().map(|f| f.as_ptr())
    );
    for viewer in &mut viewers {
        take_all(viewer, now);
    }
    publish(&hub, &publisher);
    let batches: Vec<_> = viewers.iter_mut().map(|v| fill(v, now)).collect();
    assert_eq!((batches[0].len(), batches[1].len()), (1, 1));
    assert_eq!(batches[0][0].as_ptr(), batches[1][0].as_ptr(), "encoded twice");
}

#[test]
fn what_was_not_taken_is_offered_again() {
    let (hub, publisher) = hub(1 << 20);
    let mut viewer = viewer(&Telemetry::new(hub.clone()));
    let now = Instant::now();
    let first = fill(&mut viewer, now);
    assert_eq!(first.len(), 2, "hello and snapshot");
    take(&mut viewer, 1, now);
    assert_eq!(fill(&mut viewer, now), first[1..]);
    take(&mut viewer, 1, now);
    for _ in 0..5 {
        publish(&hub, &publisher);
    }
    assert_eq!(fill(&mut viewer, now).len(), 5);
    take(&mut viewer, 2, now);
    let rest = take_all(&mut viewer, now);
    assert_eq!(rest.len(), 3);
    assert!(rest[0].contains(r#""seq":3"#), "{rest:?}");
}

#[test]
fn an_overtaken_viewer_gets_one_gap_and_the_snapshot_that_it_names() {
    let (hub, publisher) = hub(10_000);
    let mut viewer = viewer(&Telemetry::new(hub.clone()));
    let now = Instant::now();
    take_all(&mut viewer, now);
    let mut last = 0;
    for _ in 0..1000 {
        last = publish(&hub, &publisher);
    }
    let texts = take_all(&mut viewer, now);
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].contains(&format!(r#"{{"type":"gap","from":1,"to":{last}}}"#)));
    assert!(texts[1].contains(&format!(r#""seq":{last},"#)) && texts[1].contains("snapshot"));
    assert_eq!(viewer.shared.gaps.get(), 1);
}

#[test]
fn one_that_is_overtaken_while_its_snapshot_is_under_way_gets_the_gap_afterwards() {
    let (hub, publisher) = hub(10_000);
    let mut viewer = viewer(&Telemetry::new(hub.clone()));
    let now = Instant::now();
    fill(&mut viewer, now);
    take(&mut viewer, 1, now);
    for _ in 0..1000 {
        publish(&hub, &publisher);
    }
    let mut frames = Frames::default();
    viewer.fill(now, &mut frames);
    assert!(frames.len() == 1 && frames.more_follows(), "the snapshot alone, and more");
    take(&mut viewer, 1, now);
    let texts = take_all(&mut viewer, now);
    assert!(texts[0].contains(r#"{"type":"gap","from":1,"to":1000}"#), "{texts:?}");
    assert_eq!(texts.len(), 2);
}

#[test]
fn a_heartbeat_comes_after_silence_only_and_names_the_cursor() {
    let (hub, publisher) = hub(1 << 20);
    let mut viewer = viewer(&Telemetry::new(hub.clone()));
    let start = Instant::now();
    take_all(&mut viewer, start);
    let seq = publish(&hub, &publisher);
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
    let (hub, publisher) = hub(1 << 20);
    let mut viewer = viewer(&Telemetry::new(hub.clone()));
    let now = Instant::now();
    take_all(&mut viewer, now);
    let id = hub.view().channels()[0].id;
    publisher.fail(id, "broken");
    publish(&hub, &publisher);
    let texts = take_all(&mut viewer, now);
    assert!(texts[0].contains(r#"{"type":"channels","#), "{texts:?}");
    assert!(texts[1].contains(r#"{"type":"data","#), "{texts:?}");
}

/// A board with these channels of one source, and what its viewers share.
struct Board {
    hub: Hub,
    publisher: Publisher,
    ids: Vec<ChannelId>,
    telemetry: Telemetry,
}

impl Board {
    fn new(names: &[&str]) -> Self {
        let hub = Hub::new(HubSettings::default());
        let publisher = hub.publisher("test");
        let declare = |name: &&str| publisher.channel(Channel::gauge(name).expect("valid"));
        let ids = names.iter().map(|name| declare(name).expect("declared")).collect();
        let telemetry = Telemetry::new(hub.clone());
        Self { hub, publisher, ids, telemetry }
    }

    /// One batch with these values of the channels with these indices.
    fn publish(&self, values: &[(usize, f64)]) -> u64 {
        let mut batch = Batch::at(self.hub.clock().boot());
        values.iter().for_each(|&(index, value)| batch.set(self.ids[index], value));
        self.publisher.publish(batch)
    }

    fn asking(&self, encoding: Encoding, query: &str) -> (Viewer, Arc<Wishes>) {
        let wishes = Arc::<Wishes>::default();
        if let Some(asked) = subscribe::from_query(query).expect("valid") {
            wishes.leave(self.telemetry.first_wish(asked));
        }
        (self.telemetry.viewer(encoding, wishes.clone()), wishes)
    }

    fn since(&self, seq: u64) -> String {
        format!("{}:{seq}", self.hub.epoch())
    }

    fn ask_again(&self, wishes: &Wishes, query: &str) {
        let asked = subscribe::from_query(query).expect("valid").expect("asked");
        wishes.leave(self.telemetry.wish(asked, Some(7.into())));
    }
}

/// The JSON of a frame that fits one.
fn json_of(text: &str) -> serde_json::Value {
    // The length before it may be the same byte as a brace.
    let start = text.find("{\"").expect("an object");
    serde_json::from_str(&text[start..]).expect("JSON")
}

/// `type`, or for data its number and values, shortly.
fn short(texts: &[String]) -> Vec<String> {
    let one = |text: &String| {
        let json = json_of(text);
        match json["type"].as_str().expect("a type") {
            "data" if json["snapshot"] == true => {
                format!("snapshot {} {}", json["seq"], json["values"])
            }
            "data" => format!("{} {}", json["seq"], json["values"]),
            "subscribed" => format!("subscribed {} {}", json["channels"], json["recovered"]),
            "channels" => {
                format!("channels {}", json["channels"].as_array().expect("a list").len())
            }
            kind => kind.to_owned(),
        }
    };
    texts.iter().map(one).collect()
}

#[test]
fn a_client_gets_what_it_selects_and_nothing_else() {
    let board = Board::new(&["cpu/usage", "cpu/frequency", "mem/used"]);
    board.publish(&[(0, 1.0), (1, 2.0), (2, 3.0)]);
    let (mut viewer, _) = board.asking(Encoding::Json, "channels=cpu/%23");
    let now = Instant::now();
    let texts = take_all(&mut viewer, now);
    assert_eq!(json_of(&texts[0])["channels"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        short(&texts),
        [
            "hello",
            r##"subscribed ["cpu/#"] false"##,
            r#"snapshot 1 {"cpu/frequency":2,"cpu/usage":1}"#
        ]
    );
    board.publish(&[(2, 4.0)]);
    board.publish(&[(0, 5.0), (2, 5.0)]);
    board.publish(&[(2, 6.0)]);
    board.publish(&[(0, 7.0), (1, 7.0)]);
    board.publish(&[(2, 8.0)]);
    assert_eq!(
        short(&take_all(&mut viewer, now)),
        [r#"3 {"cpu/usage":5}"#, r#"5 {"cpu/frequency":7,"cpu/usage":7}"#]
    );
    let beat = take_all(&mut viewer, now + HEARTBEAT);
    assert!(beat[0].contains(r#""seq":6"#), "the last one held nothing for it: {beat:?}");
}

#[test]
fn clients_share_bytes_where_they_get_the_same() {
    let board = Board::new(&["a", "b"]);
    let now = Instant::now();
    let queries = ["", "channels=%2B", "channels=a", "channels=a", "channels=a,c"];
    let mut viewers = queries.map(|query| board.asking(Encoding::Json, query).0);
    for viewer in &mut viewers {
        take_all(viewer, now);
    }
    let bytes = |viewers: &mut [Viewer]| -> Vec<_> {
        viewers.iter_mut().map(|v| fill(v, now).pop().expect("a frame").as_ptr()).collect()
    };
    board.publish(&[(0, 1.0), (1, 1.0)]);
    let partly = bytes(&mut viewers);
    assert_eq!(partly[0], partly[1], "both hold all of it");
    assert_eq!(partly[2], partly[3], "the same filter");
    assert_ne!(partly[0], partly[2]);
    assert_ne!(partly[2], partly[4], "once per distinct filter");
    for viewer in &mut viewers {
        take_all(viewer, now);
    }
    board.publish(&[(0, 2.0)]);
    let wholly = bytes(&mut viewers);
    assert!(wholly.iter().all(|&frame| frame == wholly[0]), "all hold all of it");
}

#[test]
fn event_streams_share_theirs_and_never_those_of_websockets() {
    let board = Board::new(&["a", "b"]);
    let now = Instant::now();
    let asked = [(Encoding::Events, ""), (Encoding::Events, "channels=%2B"), (Encoding::Json, "")];
    let mut viewers = asked.map(|(encoding, query)| board.asking(encoding, query).0);
    let last = |viewers: &mut [Viewer]| -> Vec<_> {
        viewers.iter_mut().map(|v| fill(v, now).pop().expect("a frame")).collect()
    };
    board.publish(&[(0, 1.0)]);
    let snapshots = last(&mut viewers);
    assert!(snapshots[0].starts_with(b"id: ") && !snapshots[2].starts_with(b"id: "));
    for viewer in &mut viewers {
        take_all(viewer, now);
    }
    board.publish(&[(0, 1.0), (1, 1.0)]);
    let batches = last(&mut viewers);
    assert_eq!(batches[0].as_ptr(), batches[1].as_ptr(), "encoded twice");
    assert!(batches[0].starts_with(b"id: ") && batches[2].starts_with(&[0x81]));
    let later = now + HEARTBEAT + Duration::from_secs(1);
    viewers.iter_mut().for_each(|viewer| drop(take_all(viewer, now)));
    let beat = fill(&mut viewers[0], later).pop().expect("a heartbeat");
    assert!(beat.starts_with(b": heartbeat\nid: ") && beat.ends_with(b":2\n\n"), "{beat:?}");
}

#[test]
fn a_new_subscription_replaces_the_old_one() {
    let board = Board::new(&["a", "b"]);
    board.publish(&[(0, 1.0), (1, 2.0)]);
    let (mut viewer, wishes) = board.asking(Encoding::Json, "channels=");
    let now = Instant::now();
    assert_eq!(short(&take_all(&mut viewer, now)), ["hello"]);
    board.publish(&[(0, 3.0)]);
    assert!(fill(&mut viewer, now).is_empty());
    board.ask_again(&wishes, "channels=b");
    let texts = take_all(&mut viewer, now);
    assert_eq!(short(&texts), [r#"subscribed ["b"] false"#, "channels 1", r#"snapshot 2 {"b":2}"#]);
    assert_eq!(json_of(&texts[0])["id"], 7);
    board.ask_again(&wishes, "channels=b&max_hz=2");
    let texts = take_all(&mut viewer, now);
    assert_eq!(json_of(&texts[0])["max_hz"], 2);
    assert_eq!(short(&texts)[1..], [r#"snapshot 2 {"b":2}"#], "described already");
    board.ask_again(&wishes, "channels=");
    assert_eq!(short(&take_all(&mut viewer, now)), ["subscribed [] false"]);
    assert_eq!(viewer.seq, 2);
}

#[test]
fn resuming_is_exact_or_not_at_all() {
    let board = Board::new(&["a", "b"]);
    for number in 1..=10 {
        board.publish(&[(number % 2, number as f64)]);
    }
    let now = Instant::now();
    let since = |seq| board.since(seq);
    let resumed =
        |query: String| short(&take_all(&mut board.asking(Encoding::Json, &query).0, now));
    assert_eq!(
        resumed(format!("channels=a&since={}", since(5))),
        ["hello", r#"subscribed ["a"] true"#, r#"6 {"a":6}"#, r#"8 {"a":8}"#, r#"10 {"a":10}"#]
    );
    assert_eq!(resumed(format!("since={}", since(10))), ["hello", r##"subscribed ["#"] true"##]);
    assert_eq!(resumed(format!("since={}", since(0))).len(), 12, "from the very first");
    let fresh = ["hello", r##"subscribed ["#"] false"##, r#"snapshot 10 {"a":10,"b":9}"#];
    assert_eq!(resumed(format!("since={}", since(11))), fresh, "nobody has the future");
    assert_eq!(resumed("since=0123456789abcdef:5".into()), fresh, "another start");
}

#[test]
fn what_the_ring_no_longer_holds_cannot_be_resumed() {
    let (hub, publisher) = hub(10_000);
    let telemetry = Telemetry::new(hub.clone());
    for _ in 0..1000 {
        publish(&hub, &publisher);
    }
    let now = Instant::now();
    let oldest = hub.view().oldest();
    for (seq, recovered) in [(oldest - 2, false), (oldest - 1, true)] {
        let asked = subscribe::from_query(&format!("since={}:{seq}", hub.epoch())).expect("valid");
        let wishes = Arc::<Wishes>::default();
        wishes.leave(telemetry.wish(asked.expect("asked"), None));
        let texts = take_all(&mut telemetry.viewer(Encoding::Json, wishes), now);
        assert_eq!(json_of(&texts[1])["recovered"], recovered);
        let next = if recovered { oldest } else { 1000 };
        assert_eq!(json_of(&texts[2])["seq"], next);
    }
}

#[test]
fn a_paced_client_gets_the_newest_at_each_tick() {
    let board = Board::new(&["a", "b", "c"]);
    board.publish(&[(0, 0.0), (1, 0.0), (2, 0.0)]);
    let start = board.telemetry.0.start;
    let at = |millis| start + Duration::from_millis(millis);
    let asking = |query| board.asking(Encoding::Json, query).0;
    let mut viewers = [(); 2].map(|()| asking("channels=a,b&max_hz=2"));
    for viewer in &mut viewers {
        assert_eq!(take_all(viewer, at(100)).len(), 3, "the snapshot comes at once");
        assert_eq!(viewer.due(), Some(at(500)));
    }
    for number in 1..=5 {
        board.publish(&[(0, f64::from(number))]);
        board.publish(&[(2, f64::from(number))]);
        assert!(viewers.iter_mut().all(|viewer| fill(viewer, at(400)).is_empty()));
    }
    let first = fill(&mut viewers[0], at(500));
    // What comes between two of the same tick belongs to the next.
    board.publish(&[(1, 9.0)]);
    let second = fill(&mut viewers[1], at(501));
    assert_eq!(first[0].as_ptr(), second[0].as_ptr(), "shared");
    for viewer in &mut viewers {
        assert_eq!(short(&take_all(viewer, at(502))), [r#"11 {"a":5}"#]);
        fill(viewer, at(502));
        assert_eq!(viewer.due(), Some(at(1000)));
        assert_eq!(short(&take_all(viewer, at(1000))), [r#"12 {"b":9}"#]);
    }
    board.publish(&[(2, 1.0)]);
    let [viewer, _] = &mut viewers;
    assert!(take_all(viewer, at(1200)).is_empty() && take_all(viewer, at(1500)).is_empty());
    assert_eq!(viewer.seq, 13, "it has all that concerns it");
    assert_eq!(viewer.due(), Some(at(1000) + HEARTBEAT), "and rests");
}

#[test]
fn a_paced_client_resumes_with_what_changed() {
    let board = Board::new(&["a", "b", "c"]);
    board.publish(&[(0, 1.0), (1, 1.0), (2, 1.0)]);
    board.publish(&[(0, 2.0)]);
    board.publish(&[(1, 3.0)]);
    let query = format!("max_hz=10&since={}", board.since(1));
    let (mut viewer, _) = board.asking(Encoding::Json, &query);
    let at = |millis| board.telemetry.0.start + Duration::from_millis(millis);
    take(&mut viewer, 2, at(50));
    assert_eq!(viewer.due(), Some(at(100)), "no bell rings for it");
    assert_eq!(short(&take_all(&mut viewer, at(100))), [r#"3 {"a":2,"b":3}"#]);
}

#[test]
fn a_binary_client_gets_numbers_in_columns_and_the_rest_as_json() {
    let board = Board::new(&["a", "b"]);
    board.publish(&[(0, 1.0)]);
    let (mut viewer, _) = board.asking(Encoding::Binary, "");
    let (mut json, _) = board.asking(Encoding::Json, "");
    let now = Instant::now();
    assert_eq!(short(&take_all(&mut viewer, now)), ["hello", r#"snapshot 1 {"a":1}"#]);
    take_all(&mut json, now);
    board.publish(&[(0, 2.5), (1, f64::NAN)]);
    let mut batch = Batch::at(board.hub.clock().boot());
    batch.set(board.ids[0], "a text");
    board.publisher.publish(batch);
    let frames = fill(&mut viewer, now);
    assert_eq!((frames[0][0], frames[1][0]), (0x82, 0x81), "opcodes");
    let data = binary::decode(&frames[0][2..]).expect("valid").expect("data");
    assert_eq!((data.seq, data.columns().count()), (2, 2));
    assert_eq!(
        short(&take_all(&mut json, now)),
        [r#"2 {"a":2.5,"b":null}"#, r#"3 {"a":"a text"}"#]
    );
}

#[test]
fn a_long_run_of_batches_for_others_is_passed_in_steps() {
    let board = Board::new(&["a", "b"]);
    board.publish(&[(0, 1.0)]);
    for number in 0..3000 {
        board.publish(&[(1, f64::from(number))]);
    }
    board.publish(&[(0, 2.0)]);
    let query = format!("channels=a&since={}", board.since(1));
    let (mut viewer, _) = board.asking(Encoding::Json, &query);
    let now = Instant::now();
    take(&mut viewer, 2, now);
    let mut frames = Frames::default();
    let mut steps = 0;
    while frames.is_empty() {
        steps += 1;
        viewer.fill(now, &mut frames);
        assert!(!frames.is_empty() || frames.more_follows());
    }
    assert_eq!((steps, frames.places()), (3002_u64.div_ceil(LOOKS), &[3002][..]));
}

/// A clock that a test sets.
#[derive(Debug, Default)]
struct Set(Mutex<f64>);

impl Clock for Set {
    fn boot(&self) -> BootTime {
        BootTime::new(Duration::from_secs(1000))
    }
    fn wall(&self) -> f64 {
        *self.0.lock().expect("no panic")
    }
    fn synced(&self) -> bool {
        self.wall() > 1e9
    }
}

#[test]
fn a_step_of_the_clock_is_told_before_the_first_reading_by_the_new_one() {
    let clock = Arc::<Set>::default();
    let hub = Hub::with_clock(HubSettings::default(), clock.clone());
    let publisher = hub.publisher("test");
    publisher.channel(Channel::gauge("count").expect("valid")).expect("declared");
    let telemetry = Telemetry::new(hub.clone());
    let mut viewers = [(); 2].map(|()| viewer(&telemetry));
    let now = Instant::now();
    viewers.iter_mut().for_each(|viewer| drop(take_all(viewer, now)));
    publish(&hub, &publisher);
    let by_the_old = take_all(&mut viewers[0], now);
    assert_eq!(json_of(&by_the_old[0])["t"], 0.0);
    *clock.0.lock().expect("no panic") = 1.7e9;
    publish(&hub, &publisher);
    let texts = take_all(&mut viewers[0], now);
    assert!(
        texts[0].contains(r#"{"type":"clock","step":1700000000,"time":1700000000,"synced":true}"#)
    );
    assert_eq!(json_of(&texts[1])["t"], 1.7e9);
    let texts = take_all(&mut viewers[1], now);
    assert!(texts[0].contains(r#""type":"clock""#));
    assert_eq!(json_of(&texts[1])["t"], 1.7e9, "no form of the time before");
    assert_eq!(take_all(&mut viewers[0], now), [""; 0], "told once");
}

#[test]
fn a_channel_that_comes_while_the_first_frames_wait_is_described_before_its_value() {
    let (hub, publisher) = hub(1 << 20);
    let mut viewer = viewer(&Telemetry::new(hub.clone()));
    let now = Instant::now();
    // The socket took the hello; the snapshot waits for room.
    take(&mut viewer, 1, now);
    let id = publisher.channel(Channel::gauge("late").expect("valid")).expect("declared");
    let mut batch = Batch::at(hub.clock().boot());
    batch.set(id, 1.0);
    publisher.publish(batch);
    let texts = take_all(&mut viewer, now);
    let place = |what: &str| texts.iter().position(|text| text.contains(what));
    let (described, read) = (place(r#""name":"late""#), place(r#""values":{"late":1}"#));
    assert!(described.is_some() && read.is_some(), "{texts:?}");
    assert!(described < read, "{texts:?}");
}

#[test]
fn a_clock_that_is_set_while_the_first_frames_wait_is_told_before_the_first_reading_by_it() {
    let clock = Arc::<Set>::default();
    let hub = Hub::with_clock(HubSettings::default(), clock.clone());
    let publisher = hub.publisher("test");
    publisher.channel(Channel::gauge("count").expect("valid")).expect("declared");
    let mut viewer = viewer(&Telemetry::new(hub.clone()));
    let now = Instant::now();
    publish(&hub, &publisher);
    take(&mut viewer, 1, now);
    *clock.0.lock().expect("no panic") = 1.7e9;
    publish(&hub, &publisher);
    let texts = take_all(&mut viewer, now);
    let place = |what: &str| texts.iter().position(|text| text.contains(what));
    let (told, by_the_new) = (place(r#""type":"clock""#), place(r#""seq":2,"t":1700000000"#));
    assert!(told.is_some() && by_the_new.is_some(), "{texts:?}");
    assert!(told < by_the_new, "{texts:?}");
}

#[test]
fn a_place_at_the_end_of_numbers_is_no_place() {
    let board = Board::new(&["a"]);
    let (mut viewer, _) = board.asking(Encoding::Json, &format!("since={}", board.since(u64::MAX)));
    let texts = take_all(&mut viewer, Instant::now());
    assert!(texts.iter().any(|text| text.contains(r#""recovered":false"#)), "{texts:?}");
}

#[test]
fn what_a_tick_brings_is_by_the_clock_that_the_client_was_told() {
    let clock = Arc::<Set>::default();
    let hub = Hub::with_clock(HubSettings::default(), clock.clone());
    let publisher = hub.publisher("test");
    publisher.channel(Channel::gauge("count").expect("valid")).expect("declared");
    let telemetry = Telemetry::new(hub.clone());
    let paced = || {
        let wishes = Arc::<Wishes>::default();
        let asked = subscribe::from_query("max_hz=1").expect("valid").expect("asked");
        wishes.leave(telemetry.wish(asked, None));
        telemetry.viewer(Encoding::Json, wishes)
    };
    let mut viewers = [paced(), paced()];
    let start = Instant::now();
    viewers.iter_mut().for_each(|viewer| drop(take_all(viewer, start)));
    publish(&hub, &publisher);
    viewers.iter_mut().for_each(|viewer| drop(take_all(viewer, start)));
    let tick = start + Duration::from_millis(1100);
    assert_eq!(json_of(&take_all(&mut viewers[0], tick)[0])["t"], 0.0);
    *clock.0.lock().expect("no panic") = 1.7e9;
    hub.expire(hub.clock().boot());
    let texts = take_all(&mut viewers[1], tick + Duration::from_millis(100));
    assert!(texts[0].contains(r#""type":"clock""#), "{texts:?}");
    assert_eq!(json_of(&texts[1])["t"], 1.7e9, "{texts:?}");
}

#[test]
fn a_subscribe_for_nothing_that_comes_before_the_greeting_is_answered() {
    let (hub, _source) = hub(1 << 20);
    let telemetry = Telemetry::new(hub.clone());
    let wishes = Arc::<Wishes>::default();
    let mut viewer = telemetry.viewer(Encoding::Json, wishes.clone());
    let asked = subscribe::from_message(r#"{"type":"subscribe","channels":[],"id":7}"#);
    wishes.leave(telemetry.wish(asked.expect("valid"), Some(7.into())));
    let texts = take_all(&mut viewer, Instant::now());
    assert!(texts.iter().any(|text| text.contains(r#""type":"subscribed""#)), "{texts:?}");
}

#[test]
fn bytes_are_shared_when_the_ring_is_full() {
    let mut bad = Vec::new();
    for columns in [1_u32, 2, 5, 10, 20, 40, 60, 80, 100, 150, 200, 300] {
        let (hub, publisher) = hub(1 << 20);
        let telemetry = Telemetry::new(hub.clone());
        let mut ids = Vec::new();
        for number in 0..columns {
            let channel = Channel::gauge(&format!("some/channel/{number}")).expect("valid");
            ids.push(publisher.channel(channel).expect("declared"));
        }
        let publish = |base: f64| {
            let mut batch = Batch::at(hub.clock().boot());
            for &id in &ids {
                batch.set(id, base + f64::from(id.get()) * 0.37);
            }
            publisher.publish(batch);
        };
        let now = Instant::now();
        let mut viewers = [(); 2].map(|()| viewer(&telemetry));
        viewers.iter_mut().for_each(|viewer| drop(take_all(viewer, now)));
        while hub.view().oldest() < 3 {
            publish(1.0);
        }
        viewers.iter_mut().for_each(|viewer| drop(take_all(viewer, now)));
        let mut twice = 0;
        for round in 0..100 {
            publish(f64::from(round));
            let frames = [0, 1].map(|which| fill(&mut viewers[which], now));
            assert_eq!((frames[0].len(), frames[1].len()), (1, 1));
            twice += u32::from(frames[0][0].as_ptr() != frames[1][0].as_ptr());
            viewers.iter_mut().for_each(|viewer| drop(take_all(viewer, now)));
        }
        if twice > 0 {
            bad.push((columns, twice));
        }
    }
    assert!(bad.is_empty(), "columns, and how many of 100 were encoded twice: {bad:?}");
}

#[test]
fn a_client_that_changes_its_mind_all_the_time_is_heard_twice_a_second() {
    let board = Board::new(&["a", "b"]);
    board.publish(&[(0, 1.0), (1, 2.0)]);
    let (mut viewer, wishes) = board.asking(Encoding::Json, "");
    let start = Instant::now();
    take_all(&mut viewer, start);
    let mut answers = 0;
    for hundredth in 0..1000 {
        let now = start + Duration::from_millis(10) * hundredth;
        board.ask_again(&wishes, ["channels=a", "channels=b"][hundredth as usize % 2]);
        answers += take_all(&mut viewer, now).iter().filter(|t| t.contains("subscribed")).count();
        let soon = viewer.due().is_some_and(|due| due <= now + CHANGE);
        assert!(soon || !wishes.is_waiting(), "what waits is not forgotten");
    }
    assert_eq!(answers, 4 + 19, "four at once, and then two a second");
    let texts = take_all(&mut viewer, start + Duration::from_secs(11));
    assert!(texts[0].contains(r#""channels":["b"]"#), "the newest counts: {texts:?}");
}
