//! A publisher on a connection that writes down what it gets.

use std::time::Duration;

use serde_json::Value as Json;

use super::*;
use crate::{
    app::App,
    telemetry::{Batch, Channel, ChannelId, Filters, HubSettings, Publisher as Source},
    wire::subscribe::Pace,
};

/// A connection with room for so many messages.
#[derive(Default)]
struct Written {
    room: usize,
    list: Vec<(String, String, bool)>,
}

impl Out for Written {
    fn has_room(&self) -> bool {
        self.list.len() < self.room
    }

    fn publish(&mut self, publication: &Publication<'_>) -> Option<Qos> {
        let payload = String::from_utf8(publication.payload.concat()).expect("UTF-8");
        self.list.push((publication.topic.into(), payload, publication.retain));
        Some(publication.qos)
    }

    fn subscribe(&mut self, filter: &str, _: Qos) {
        self.list.push((filter.into(), "(subscribed)".into(), false));
    }
}

struct Bench {
    hub: Hub,
    source: Source,
    channel: ChannelId,
    publisher: Publisher,
    now: Instant,
}

impl Bench {
    fn new(ring_bytes: usize, qos: Qos, pace: Option<f64>, filters: &[&str]) -> Self {
        let hub = Hub::new(HubSettings { device: "pi".into(), ring_bytes, ..Default::default() });
        let source = hub.publisher("test");
        let channel = source.channel(Channel::gauge("count").expect("valid")).expect("declared");
        let app = App::new(hub.clone());
        let filters = Filters::parse(filters).expect("valid");
        let pace = pace.map(|hz| Pace::from_hz(hz).expect("a rate"));
        let publisher = Publisher {
            hub: hub.clone(),
            topics: Topics::new("boardcast", "homeassistant", "pi"),
            qos,
            tap: app.tap(filters.clone(), pace),
            sent: app.selection(filters),
            descriptions: Descriptions::default(),
            latest: Latest::default(),
            values: Values::new(Vec::new()),
            discovery: None,
            pending: VecDeque::new(),
            tally: Arc::default(),
            up: false,
            legacy: Arc::default(),
        };
        Self { hub, source, channel, publisher, now: Instant::now() }
    }

    fn publish(&self, times: u64) {
        for _ in 0..times {
            let next = self.hub.view().seq() + 1;
            self.source.set(self.channel, next);
        }
    }

    fn connect(&mut self) {
        self.publisher.greet(&mut Written::default(), self.now);
        self.publisher.done(1);
    }

    /// What is said with so much room: topics without their beginning, JSON
    /// where it is.
    fn said(&mut self, room: usize) -> Vec<(String, Json)> {
        let mut out = Written { room, ..Written::default() };
        self.publisher.fill(&mut out, self.now);
        let short = |topic: &str| topic.strip_prefix("boardcast/pi/").unwrap_or(topic).to_owned();
        let list = out.list.into_iter();
        list.map(|(topic, text, _)| {
            (short(&topic), serde_json::from_str(&text).unwrap_or(text.into()))
        })
        .collect()
    }

    /// The numbers of batches among it, gaps as their two ends, snapshots as 0.
    fn seqs(&mut self, room: usize) -> Vec<i64> {
        let number = |json: &Json, key: &str| json[key].as_i64().expect(key);
        let list = self.said(room).into_iter().filter(|(topic, _)| topic == "data");
        list.flat_map(|(_, json)| match json["type"].as_str() {
            Some("gap") => vec![-number(&json, "from"), -number(&json, "to")],
            _ if json["snapshot"] == true => vec![0, number(&json, "seq")],
            _ => vec![number(&json, "seq")],
        })
        .collect()
    }

    fn later(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }
}

const ROOMY: usize = 100_000;

#[test]
fn what_a_board_has_is_described_then_sent_then_summed_up() {
    let mut bench = Bench::new(1 << 20, Qos::AtMostOnce, None, &["#"]);
    bench.publish(2);
    let mut out = Written::default();
    bench.publisher.greet(&mut out, bench.now);
    assert_eq!(out.list, [("boardcast/pi/status".into(), "online".into(), true)]);
    let said = bench.said(ROOMY);
    let topics: Vec<_> = said.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(topics, ["channels", "data", "data", "latest"]);
    let epoch = bench.hub.epoch();
    assert!(said.iter().all(|(_, json)| json["epoch"] == epoch), "{said:?}");
    assert_eq!(
        (&said[0].1["device"], &said[0].1["channels"][0]["name"]),
        (&"pi".into(), &"count".into())
    );
    let place = |n: usize| (said[n].1["after"].as_u64(), said[n].1["seq"].as_u64());
    assert_eq!(
        [place(1), place(2), place(3)],
        [(Some(0), Some(1)), (Some(1), Some(2)), (None, Some(2))]
    );
    assert_eq!((&said[3].1["snapshot"], &said[3].1["values"]["count"]), (&true.into(), &2.into()));
    // Nothing new is nothing said; one batch is one message.
    assert!(bench.said(ROOMY).is_empty());
    bench.publish(1);
    assert_eq!(bench.said(ROOMY).len(), 1);
    // The latest again after a while, if there was something.
    bench.later(60_000);
    assert_eq!(bench.said(ROOMY)[0].0, "latest");
    bench.later(60_000);
    assert!(bench.said(ROOMY).is_empty());
}

#[test]
fn a_new_channel_is_described_before_its_readings_at_most_once_a_second() {
    let mut bench = Bench::new(1 << 20, Qos::AtMostOnce, None, &["#"]);
    bench.publish(1);
    bench.connect();
    bench.said(ROOMY);
    let new = bench.source.channel(Channel::gauge("new").expect("valid")).expect("declared");
    bench.source.set(new, 1.0);
    let mut out = Written { room: ROOMY, ..Written::default() };
    let due = bench.publisher.fill(&mut out, bench.now);
    assert_eq!((due, out.list.len()), (Some(bench.now + Duration::from_secs(1)), 0));
    bench.later(1000);
    let said = bench.said(ROOMY);
    let topics: Vec<_> = said.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(topics, ["channels", "data"]);
    assert_eq!(said[0].1["channels"].as_array().map(Vec::len), Some(2));
    // A status that changes holds nothing up.
    bench.source.fail(new, "unplugged");
    bench.publish(1);
    assert_eq!(bench.seqs(ROOMY), [3]);
}

#[test]
fn with_qos_0_the_stream_goes_on_where_it_was() {
    let mut bench = Bench::new(1 << 20, Qos::AtMostOnce, None, &["#"]);
    bench.publish(10);
    bench.connect();
    assert_eq!(bench.seqs(5), [1, 2, 3, 4], "beside the descriptions");
    bench.publisher.forget();
    bench.publish(2);
    bench.connect();
    assert_eq!(bench.seqs(ROOMY), (5..=12).collect::<Vec<_>>());
}

#[test]
fn with_qos_1_what_is_not_acknowledged_is_said_again() {
    let mut bench = Bench::new(1 << 20, Qos::AtLeastOnce, None, &["#"]);
    bench.publish(10);
    bench.connect();
    // The descriptions, then batches; two of them arrive.
    assert_eq!(bench.seqs(6).len(), 5);
    bench.publisher.done(3);
    bench.publisher.forget();
    bench.connect();
    let again = bench.said(ROOMY);
    let first = again.iter().find(|(topic, _)| topic == "data").expect("data");
    assert_eq!((&first.1["seq"], &first.1["after"]), (&3.into(), &2.into()));
    let messages = bench.publisher.pending.len() as u64;
    bench.publisher.done(messages);
    bench.publisher.forget();
    bench.connect();
    assert_eq!(bench.seqs(ROOMY), [0_i64; 0], "all of it has arrived");
}

#[test]
fn what_the_ring_has_lost_is_told_and_followed_by_the_latest() {
    let mut bench = Bench::new(65_536, Qos::AtLeastOnce, None, &["#"]);
    bench.publish(3);
    bench.connect();
    assert_eq!(bench.seqs(ROOMY), [1, 2, 3]);
    let messages = bench.publisher.pending.len() as u64;
    bench.publisher.done(messages);
    bench.publisher.forget();
    bench.publish(5000);
    bench.connect();
    assert_eq!(bench.seqs(ROOMY), [-4, -5003, 0, 5003]);
    assert_eq!(bench.publisher.tally.lost.get(), 5000);
    // Lost on the way, it is told again as a whole.
    bench.publisher.forget();
    bench.publish(1);
    bench.connect();
    assert_eq!(bench.seqs(ROOMY), [-4, -5004, 0, 5004]);
}

#[test]
fn filters_leave_out_and_each_message_says_what_it_follows_on() {
    let mut bench = Bench::new(1 << 20, Qos::AtLeastOnce, None, &["rare"]);
    let rare = bench.source.channel(Channel::gauge("rare").expect("valid")).expect("declared");
    bench.publish(5);
    bench.source.set(rare, 1.0);
    bench.publish(700);
    bench.source.set(rare, 2.0);
    bench.publish(5);
    bench.connect();
    let said = bench.said(ROOMY);
    let places: Vec<_> = said
        .iter()
        .filter(|(topic, _)| topic == "data")
        .map(|(_, json)| (json["after"].as_u64(), json["seq"].as_u64()))
        .collect();
    assert_eq!(places, [(Some(0), Some(6)), (Some(6), Some(707))]);
    assert_eq!(said[0].1["channels"].as_array().map(Vec::len), Some(1));
    // Acknowledged: what held nothing for it is no loss.
    let messages = bench.publisher.pending.len() as u64;
    bench.publisher.done(messages);
    bench.publish(50_000);
    bench.publisher.forget();
    bench.connect();
    let lost = bench.seqs(ROOMY);
    assert!(lost.is_empty() || lost[0] < 0, "{lost:?}");
}

#[test]
fn a_paced_one_sends_the_newest_of_each_tick() {
    let mut bench = Bench::new(1 << 20, Qos::AtMostOnce, Some(1.0), &["#"]);
    bench.publish(5);
    bench.connect();
    bench.said(ROOMY);
    bench.later(1000);
    let said = bench.said(ROOMY);
    let data: Vec<_> = said.iter().filter(|(topic, _)| topic == "data").collect();
    assert_eq!(data.len(), 1, "{said:?}");
    assert_eq!((&data[0].1["seq"], &data[0].1["after"]), (&5.into(), &0.into()));
    assert_eq!(
        bench.publisher.fill(&mut Written { room: ROOMY, ..Written::default() }, bench.now),
        None
    );
    bench.publish(3);
    assert!(bench.seqs(ROOMY).is_empty());
    bench.later(1000);
    assert_eq!(bench.seqs(ROOMY), [8]);
}

#[test]
fn a_batch_that_a_client_gets_too_is_encoded_once() {
    let mut bench = Bench::new(1 << 20, Qos::AtMostOnce, None, &["#"]);
    let app = App::new(bench.hub.clone());
    let mut other = app.tap(Filters::all(), None);
    let mut batch = Batch::at(bench.hub.clock().boot());
    batch.set(bench.channel, 1.0);
    bench.source.publish(batch);
    let mut bytes = || match bench.publisher.tap.next(bench.now) {
        Some(Piece::Data { json, .. }) => json,
        other => panic!("{other:?}"),
    };
    let ours = bytes();
    let Some(Piece::Data { json: theirs, .. }) = other.next(bench.now) else { panic!("nothing") };
    assert_eq!(ours.as_ptr(), theirs.as_ptr());
}
