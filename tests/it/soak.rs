//! Everything at once, for as long as one likes: clients come, go and
//! misbehave, readings are pushed in by every way, settings are read anew, the
//! wall clock jumps. Those that behave lose nothing meanwhile, and at the end
//! descriptors, threads and memory are what they were.
//!
//! `make soak MINUTES=30` prints a table and draws a plot (docs/soak.md).

mod actors;
mod record;

use std::{
    process::Stdio,
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use self::{
    actors::*,
    record::{Record, Sample},
};
use crate::{feeds::Place, fixture::*, strain::Process};

#[test]
fn a_moment_of_everything_at_once_leaves_nothing_behind() {
    let record = soak(Duration::from_secs(4), Duration::from_millis(500));
    assert!(record.counted("viewers' batches") > 0 && record.counted("settings read anew") > 0);
}

#[test]
#[ignore = "soak: MINUTES, 30 of them where none are said"]
fn everything_at_once_for_many_minutes() {
    let minutes = std::env::var("MINUTES").ok().and_then(|text| text.parse::<f64>().ok());
    let time = Duration::from_secs_f64(minutes.unwrap_or(30.0) * 60.0);
    let record = soak(time, (time / 400).max(Duration::from_secs(1)));
    record.print();
    if let Some(path) = std::env::var_os("PLOT") {
        std::fs::write(&path, record.plot()).expect("written");
        println!("\nplot: {}", path.display());
    }
    record.assert_flat();
}

/// What the actors share.
struct World {
    server: Binary,
    socket: Place,
    settings: Place,
    over: AtomicBool,
    tally: Tally,
}

/// What they have done.
#[derive(Default)]
struct Tally {
    batches: AtomicU64,
    gaps: AtomicU64,
    visits: AtomicU64,
    flooded: AtomicU64,
    dripped: AtomicU64,
    silent: AtomicU64,
    still: AtomicU64,
    requests: AtomicU64,
    pushed: AtomicU64,
    reloads: AtomicU64,
    /// The largest difference of the server's wall clock to ours, in seconds.
    jump: AtomicU64,
}

impl World {
    fn start() -> Self {
        let (socket, settings) = (Place::new(), Place::new());
        settings.write(&settings_text(0));
        let mut program = command(env!("CARGO_BIN_EXE_boardcast"));
        program
            .args(["--listen", "127.0.0.1:0", "--interval", "100ms", "--stdin", "--udp", "0"])
            .args(["--max-connections", "200"])
            // The greeting, and nothing of those who break the rules.
            .env("RUST_LOG", "warn,boardcast::daemon=info")
            .arg("--socket")
            .arg(&socket.0)
            .arg("--config")
            .arg(&settings.0)
            .stdin(Stdio::piped());
        // Short times, so that all of it happens often; a small history, so that it is full soon.
        for (name, value) in [
            ("HEAD_TIME", "2s"),
            ("PING_EVERY", "2s"),
            ("SILENCE", "5s"),
            ("STUCK", "2s"),
            ("HISTORY_SIZE", "512KiB"),
        ] {
            program.env(format!("BOARDCAST_{name}"), value);
        }
        if cfg!(debug_assertions) {
            // An hour ahead, and back; a step ahead for good.
            let jumps = "clock:3000+9000:+3600,clock:6000+9000:-3600,clock:9000+9000:+30";
            program.env("BOARDCAST_FAULT", jumps);
        }
        let server = Binary::run(&mut program);
        Self { server, socket, settings, over: AtomicBool::new(false), tally: Tally::default() }
    }

    fn over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Again and again until it is over, with a pause.
    fn repeat(&self, pause: Duration, mut act: impl FnMut()) {
        while !self.over() {
            act();
            thread::sleep(pause);
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// The settings, of which every second one is another.
fn settings_text(round: u64) -> String {
    let odd = round % 2;
    format!(
        r#"
allow_origin = ["https://{odd}.example"]

[[channel]]
name = "soak/stdin"
scale = {scale}

[[source]]
name = "always"
kind = "command"
command = "i=0; while :; do i=$((i+1)); echo soak/always=$i; sleep 0.2; done"

[[source]]
name = "turns"
kind = "command"
command = "echo soak/turns={odd}"
every = "{every}ms"

[[source]]
name = "file-{odd}"
kind = "file"
path = "/proc/sys/kernel/pid_max"
every = "300ms"
format = "value"
channel = "soak/file-{odd}"
"#,
        scale = 1 + odd,
        every = 200 + 100 * odd,
    )
}

/// All of it for so long, with a look at the program every so often.
fn soak(time: Duration, every: Duration) -> Record {
    let mut world = World::start();
    let stdin = world.server.child.stdin.take().expect("piped");
    let world = world;
    let process = Process::of(&world.server);
    let look = || Sample {
        resident: process.resident() / 1024,
        threads: process.threads(),
        descriptors: process.descriptors(),
        clients: world.server.metric("boardcast_clients") as usize,
        history: world.server.metric("boardcast_history_bytes") / 1024,
    };
    // All sources are there, and no connection but the one that asks.
    wait_for("all sources", || {
        let latest = get(world.server.address, "/api/latest");
        let all = ["soak/always", "soak/turns", "soak/file-0"];
        all.iter().all(|name| latest.text().contains(name)).then_some(())
    });
    let settled = |wanted: Option<&Sample>| settle(&process, wanted);
    let before = settled(None);
    let mut record = Record::new(every);
    thread::scope(|scope| {
        let world = &world;
        // Whatever fails ends all of it.
        let _over = OverWhenItPanics(world);
        let actor = |act: Box<dyn FnOnce(&World) + Send>| {
            scope.spawn(move || {
                let _over = OverWhenItPanics(world);
                act(world);
            })
        };
        for number in 0..3 {
            actor(Box::new(move |world| come_and_go(world, number)));
        }
        for actor_of in [viewer, viewer, binary_viewer, binary_viewer] {
            actor(Box::new(actor_of));
        }
        for actor_of in [flood, drip, stay_silent, stand_in_the_way, request, post, reload] {
            actor(Box::new(actor_of));
        }
        for actor_of in [push_to_socket, push_datagrams] {
            actor(Box::new(actor_of));
        }
        actor(Box::new(move |world| push_to_stdin(world, stdin)));
        let start = Instant::now();
        while start.elapsed() < time && !world.over() {
            thread::sleep(every.min(time.saturating_sub(start.elapsed())));
            record.note(look());
        }
        world.over.store(true, SeqCst);
    });
    // The settings of the start, and its clients: none.
    world.settings.write(&settings_text(0));
    world.server.signal(Signal::SIGHUP);
    let after = settled(Some(&before));
    record.end(before, after);
    assert_eq!(world.server.metric("boardcast_panics_total"), 0);
    record.counts = world.tally.told(&world.server);
    world.server.signal(Signal::SIGTERM);
    let (code, log) = world.server.wait();
    assert_eq!(code, Some(0), "{log}");
    record
}

/// Waits until no threads come and go any more, or until there are as many of
/// everything as `wanted`.
fn settle(process: &Process, wanted: Option<&Sample>) -> Sample {
    let look = || Sample {
        resident: process.resident() / 1024,
        threads: process.threads(),
        // A source opens a file now and then.
        descriptors: (0..100).map(|_| process.descriptors()).min().expect("a hundred"),
        ..Sample::default()
    };
    let deadline = Instant::now() + 3 * PATIENCE;
    let (mut last, mut same) = (look(), 0);
    loop {
        let done = match wanted {
            None => same >= 10,
            Some(wanted) => {
                last.threads <= wanted.threads && last.descriptors <= wanted.descriptors
            }
        };
        if done {
            return last;
        }
        assert!(
            Instant::now() < deadline,
            "{last:?} instead of {wanted:?}: {:?}",
            process.sleeps().into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        );
        thread::sleep(Duration::from_millis(50));
        let now = look();
        let unchanged = (now.threads, now.descriptors) == (last.threads, last.descriptors);
        same = if unchanged { same + 1 } else { 0 };
        last = now;
    }
}

struct OverWhenItPanics<'a>(&'a World);

impl Drop for OverWhenItPanics<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.over.store(true, SeqCst);
        }
    }
}

impl Tally {
    /// What was done, and what the server counted of it.
    fn told(&self, server: &Binary) -> Vec<(&'static str, u64)> {
        let own = |counter: &AtomicU64| counter.load(Relaxed);
        let its = |name: &str| server.metric(&format!("boardcast_{name}_total"));
        vec![
            ("viewers' batches", own(&self.batches)),
            ("gaps that they were told of", own(&self.gaps)),
            ("connections of every kind", own(&self.visits)),
            ("that flooded", own(&self.flooded)),
            ("that dripped", own(&self.dripped)),
            ("that were silent until they were ended", own(&self.silent)),
            ("that took nothing", own(&self.still)),
            ("requests", own(&self.requests)),
            ("readings pushed in", own(&self.pushed)),
            ("settings read anew", own(&self.reloads)),
            ("the clock was wrong by, at most, s", own(&self.jump)),
            ("ended for breaking a limit (1008)", its("ended_policy")),
            ("ended for silence", its("ended_silent")),
            ("ended for taking nothing (1013)", its("ended_slow")),
        ]
    }
}
