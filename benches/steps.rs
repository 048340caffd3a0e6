//! The way of one reading, step by step, and how fast connections come.
//!
//! `cargo bench --bench steps`. Times are of this process alone; the accept
//! rate has its clients in the same process, so it is a lower bound.

use std::{
    hint::black_box,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use boardcast::{
    App,
    net::{self, Feed, Frames, Gate, Limits, Listeners, text_frame},
    sources::{Readings, Source, vitals::Vitals},
    telemetry::{Batch, BootTime, Channel, Hub, HubSettings},
    websocket::Broadcast,
    wire::{
        json,
        line::{self, Points},
    },
};

fn main() {
    println!("| step | time |");
    println!("|---|---|");
    one_reading();
    pushed_lines();
    broadcasts();
    connections();
}

fn row(step: &str, time: Duration) {
    println!("| {step} | {:.1} µs |", time.as_secs_f64() * 1e6);
}

/// The time of one round, as the median of many.
fn median(rounds: u32, mut round: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn one_reading() {
    let hub = Hub::new(HubSettings::default());
    let mut vitals = Vitals::new(Path::new("/"));
    let mut readings = Readings::default();
    let sample = median(500, || {
        readings.clear();
        vitals.sample(hub.clock().boot(), &mut readings);
    });
    let channels = readings.iter().count();
    row(&format!("read all vitals of this machine ({channels} channels)"), sample);

    let publisher = hub.publisher("bench");
    let ids: Vec<_> = (0..channels)
        .map(|number| {
            let channel = Channel::gauge(&format!("group/channel{number}")).expect("valid");
            publisher.channel(channel).expect("declared")
        })
        .collect();
    let publish = median(2000, || {
        let mut batch = Batch::at(hub.clock().boot());
        for (number, &id) in ids.iter().enumerate() {
            batch.set(id, number as f64 * 1.37);
        }
        publisher.publish(batch);
    });
    row(&format!("publish a batch of {channels} values"), publish);
    looking_back(channels);

    let encode = median(200, || {
        let mut batch = Batch::at(hub.clock().boot());
        for (number, &id) in ids.iter().enumerate() {
            batch.set(id, number as f64 * 1.37);
        }
        let seq = publisher.publish(batch);
        let view = hub.view();
        let batch = view.batch(seq).expect("in the ring");
        let json = json::data(seq, 1_763_796_001.118, batch, view.channels(), |_| true);
        let frame = text_frame(&json);
        black_box(frame);
    });
    row("encode it as a frame, once for all clients", encode.saturating_sub(publish));
}

/// What the grammar takes for a line that is pushed in.
fn pushed_lines() {
    let forms = [
        ("name=value", "greenhouse/bed3/moisture=41.53"),
        ("InfluxDB's, 3 fields", "weather,site=roof temp=21.5,hum=40i,dew=7.3 1763796000000000000"),
        ("JSON, 3 values", r#"{"room":{"temp":21.5,"hum":40},"door":true}"#),
        ("SenML, 1 value", r#"[{"bn":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#),
        ("refused", "greenhouse/bed3/moisture=wet"),
    ];
    let mut points = Points::default();
    for (form, text) in forms {
        let thousand = median(200, || {
            for _ in 0..1000 {
                let _ = black_box(line::parse(black_box(text.as_bytes()), &mut points));
            }
        });
        row(&format!("parse 1,000 pushed lines: {form}"), thousand);
    }
}

/// What history adds to a reading, and what it costs to look back.
fn looking_back(channels: usize) {
    let seconds: u64 = 50_000;
    let run = |history_bytes| {
        let hub = Hub::new(HubSettings { history_bytes, ..HubSettings::default() });
        let publisher = hub.publisher("bench");
        let ids: Vec<_> = (0..channels)
            .map(|number| {
                let channel = Channel::gauge(&format!("group/channel{number}")).expect("valid");
                publisher.channel(channel).expect("declared")
            })
            .collect();
        let start = Instant::now();
        for second in 0..seconds {
            let mut batch = Batch::at(BootTime::new(Duration::from_secs(second)));
            for (number, &id) in ids.iter().enumerate() {
                batch.set(id, (number as u64 * second % 1009) as f64 * 0.37);
            }
            publisher.publish(batch);
        }
        (hub, ids, start.elapsed().as_secs_f64())
    };
    let (_, _, without) = run(0);
    let (hub, ids, with) = run(HubSettings::default().history_bytes);
    let readings = (channels as u64 * seconds) as f64;
    let nanos = (with - without).max(0.0) / readings * 1e9;
    println!("| history, per reading (it is in the line above) | {nanos:.0} ns |");
    let history = hub.history();
    let end = seconds as i64 * 1000;
    let look = median(200, || {
        let plan = history.plan(&ids[..1], end - 900_000..end, 600);
        black_box(history.points(&plan, ids[0]));
    });
    row("look back 15 minutes on one channel: the lock is held no longer", look);
}

/// What a broadcast costs its sender: the frame is encoded once, so the number
/// of those who hear it does not matter.
fn broadcasts() {
    for listeners in [0, 1, 1000] {
        let everyone = Broadcast::new();
        let mut places: Vec<_> = (0..listeners).map(|number| everyone.cursor(number)).collect();
        let text = "x".repeat(1000);
        let send = median(2000, || everyone.send(text.as_str()));
        row(&format!("broadcast 1,000 bytes, {listeners} connections: the sender"), send);
        // They are at the end of the ring before each round.
        let mut frames = Frames::default();
        let share = median(20, || {
            everyone.send(text.as_str());
            for place in &mut places {
                frames = Frames::default();
                place.fill(Instant::now(), &mut frames);
                place.consume(frames.places(), Instant::now());
            }
        });
        if listeners == 1000 {
            row("and what 1,000 cursors take to find the shared frame", share);
        }
    }
}

fn connections() {
    let hub = Hub::new(HubSettings::default());
    let listeners = Listeners::bind(&[([127, 0, 0, 1], 0).into()]).expect("a free port");
    let app = App::new(hub);
    let engine =
        net::start(listeners, app, Gate::open(), Limits::default(), None).expect("started");
    let address = engine.addresses()[0];
    let http = median(1000, || {
        ask(
            address,
            "GET /api/latest HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            b"}",
        );
    });
    row("connect, ask /api/latest, hear the answer", http);
    let upgrade = median(1000, || {
        let request = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        ask(address, request, b"\"values\":{}}");
    });
    row("connect, upgrade, hear hello and snapshot", upgrade);
    (engine.stopper())();
    engine.join().expect("stopped");
}

/// Sends a request and reads until the answer ends with this.
fn ask(address: SocketAddr, request: &str, end: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(end) {
        let length = stream.read(&mut buffer).expect("an answer");
        assert!(length > 0, "it ended after {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..length]);
    }
}
