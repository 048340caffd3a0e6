//! The long forms of `strain`, and what takes its time: `make stress` runs
//! them one after the other and shows what they measured.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use crate::{
    chaos, crowd, feeds, fixture::*, halfopen::Namespace, injected, sick, strain::*, trouble,
};

/// As [`wait_for`], for what takes longer; looks a hundred times a second.
fn wait_long<T>(what: &str, seconds: u64, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
#[ignore = "stress: 20 s"]
fn ten_seconds_without_descriptors() {
    println!("| limit of 40 | served | refused | waiting | CPU, % | lines | newcomer served in |");
    println!("|---|---|---|---|---|---|---|");
    let servers =
        [("at start", with_40_descriptors(&[])), ("later", without_further_descriptors())];
    for (limit, server) in servers {
        let Exhausted { served, refused, waiting, cpu, lines, recovery } =
            exhaust(&server, Duration::from_secs(10));
        let cpu = cpu * 100.0;
        println!(
            "| {limit} | {served} | {refused} | {waiting} | {cpu:.1} | {lines} | {recovery:.0?} |"
        );
    }
}

#[test]
#[ignore = "stress: 10 s"]
fn one_that_stands_still_until_the_ring_overtakes_it_gets_one_gap() {
    let stood = stand_still(Duration::from_millis(8500));
    println!("| batches | gaps of the one that stood still | memory, KiB |");
    println!("|---|---|---|");
    println!("| {} | {} | {:+} |", stood.batches, stood.gaps, stood.growth / 1024);
    assert_eq!(stood.gaps, 1, "told once of all that it missed");
}

#[test]
#[ignore = "stress: 15 s"]
fn one_that_stands_still_for_too_long_is_ended_with_1013() {
    let server = Binary::start(&["--interval", "10ms"]);
    let still = upgrade(narrow_tcp(server.address), "/ws");
    wait_long("the first refused send", 10, || {
        (server.metric("boardcast_blocked_sends_total") > 0).then_some(())
    });
    let blocked = Instant::now();
    let mut readers: Vec<_> = (0..20).map(|_| Reader::new(tcp(server.address))).collect();
    let mut last = readers[0].seq;
    let deadline = blocked + Duration::from_secs(20);
    while !server.log().contains("1013") {
        assert!(Instant::now() < deadline, "it is not ended: {}", server.log());
        last += 1;
        for reader in &mut readers {
            reader.read_to(last);
        }
    }
    let took = blocked.elapsed();
    println!("| ended after |\n|---|\n| {took:.1?} |");
    // The refusal was a moment old when we noticed it.
    assert!((9.5..15.0).contains(&took.as_secs_f64()), "ended after {took:?}");
    assert!(readers.iter().all(|reader| reader.gaps == 0), "a reader was overtaken");
    assert_eq!(server.metric("boardcast_ended_slow_total"), 1);
    wait_long("its place", 5, || (server.metric("boardcast_clients") == 20).then_some(()));
    drop(still);
}

/// The issue's figure: the eight lose nothing, and what the others do not take
/// costs next to nothing.
#[test]
#[ignore = "stress: 1 min"]
fn thirty_two_that_do_not_read_beside_eight_that_do() {
    let seen = sick::watch(32, 8, Duration::from_secs(60), "10s");
    let (first, last) = seen.ended.expect("ended");
    let (p50, p99, worst) = (seen.delay(0.5), seen.delay(0.99), seen.delay(1.0));
    println!("| batches read | delay p50 | p99 | worst, ms | memory, KiB | the sick ended after |");
    println!("|---|---|---|---|---|---|");
    println!(
        "| {} | {p50:.1} | {p99:.1} | {worst:.1} | {:+} | {first:.1?} to {last:.1?} |",
        seen.delays.len(),
        seen.growth / 1024
    );
    // A refusal is seen, and the next look at the clock comes, a moment later.
    assert!(first.as_secs_f64() > 9.5 && last.as_secs_f64() < 15.0, "{first:?} to {last:?}");
}

#[test]
#[ignore = "stress: 10 s"]
fn sigterm_with_500_clients() {
    let took = stop_amid(500, 50);
    println!("| clients | stuck | stop |\n|---|---|---|\n| 500 | 50 | {took:.2?} |");
}

#[test]
#[ignore = "stress: 3 min"]
fn a_link_that_is_cut_200_times() {
    let told = chaos::cut(200, 20_261_122);
    println!("| cuts | batches, each once | resumed | not resumed | gaps | told as missing |");
    println!("|---|---|---|---|---|---|");
    let chaos::Told { cuts, batches, resumed, restarted, gaps, missing } = told;
    println!("| {cuts} | {batches} | {resumed} | {restarted} | {gaps} | {missing} |");
    assert!(resumed > 50 && restarted > 5, "the link was too good, or too bad, to tell anything");
}

#[test]
#[ignore = "stress: 2 min"]
fn five_hundred_viewers_for_a_minute() {
    println!(
        "| viewers | stuck | messages | gaps | ended | median, µs | p99 | worst | memory, KiB | grew by |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (seconds, with_sick) in [(30, false), (60, true)] {
        let seen = crowd::watch(100, Duration::from_secs(seconds), with_sick);
        let crowd::Seen { viewers, stuck, messages, gaps, ended, median, p99, worst, .. } = seen;
        let (resident, growth) = (seen.resident / 1024, seen.growth / 1024);
        println!(
            "| {viewers} | {stuck} | {messages} | {gaps} | {ended} | {median} | {p99} | {worst} | {resident} | {growth:+} |"
        );
        assert!(growth < 4096, "it grew by {growth} KiB");
    }
}

#[test]
#[ignore = "stress: 1 min"]
fn twenty_thousand_connections_that_come_and_go() {
    let seen = churn(20_000, 5000, 20_260_000);
    println!("| connections | took | threads | descriptors | memory, KiB | grew by |");
    println!("|---|---|---|---|---|---|");
    println!(
        "| 20000 | {:.1?} | {} | {} | {} | {:+} |",
        seen.took,
        seen.threads,
        seen.descriptors,
        seen.resident / 1024,
        seen.growth / 1024
    );
}

#[test]
#[ignore = "stress: 15 s"]
fn cpu_use_over_many_windows() {
    println!("| told, % | seen, % |\n|---|---|");
    for (told, seen) in compare_cpu(15, 9) {
        println!("| {told:.1} | {seen:.1} |");
    }
}

#[test]
#[ignore = "stress: 10 s"]
fn an_idle_server_sleeps_between_its_ticks() {
    let server = Binary::start(&["--interval", "1s"]);
    let process = Process::of(&server);
    // Nobody has come yet: no deadline is left over from anyone.
    let ticks = || process.sleeps().iter().find(|(name, _)| name == "bc-sampler").map(|s| s.1);
    // A thread bears its name only once it runs.
    let first = wait_for("the sampler", ticks);
    wait_long("two ticks", 10, || (ticks()? >= first + 2).then_some(()));
    let before = process.sleeps();
    thread::sleep(Duration::from_secs(5));
    let after = process.sleeps();
    println!("| thread | wake-ups in 5 s |\n|---|---|");
    let mut wakes = Vec::new();
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        println!("| {name} | {} |", after - before);
        wakes.push((name.as_str(), after - before));
    }
    for (name, wakes) in wakes {
        let most = match name {
            "boardcast" | "bc-accept" => 0,
            name if name.starts_with("bc-push") => 3,
            // The sampler, and sources that it asks and that answer.
            _ => 12,
        };
        assert!(wakes <= most, "{name} woke {wakes} times");
    }
}

#[test]
#[ignore = "stress: 1 min, root"]
fn a_peer_whose_cable_is_pulled_is_ended_after_45_seconds() {
    let Some(far) = Namespace::make() else {
        println!("skipped: making a network namespace takes root and `ip`");
        return;
    };
    let mut inside = far.inside(&command(env!("CARGO_BIN_EXE_boardcast")));
    // So seldom that the socket never fills up: silence alone must tell.
    let server =
        Binary::run(inside.args(["--listen", &format!("{}:0", far.address), "--interval", "30s"]));
    let process = Process::of(&server);
    let mut client = Client::connect(server.address, "/ws");
    client.next("data");
    let threads = process.threads();
    client.say(r#"{"type":"ping","id":1}"#);
    client.next("pong");
    let heard = Instant::now();
    far.pull();
    wait_long("the end", 60, || server.log().contains("nothing heard").then_some(()));
    let told = heard.elapsed();
    wait_long("the end of its thread", 5, || (process.threads() < threads).then_some(()));
    let ended = heard.elapsed();
    println!("| told after | thread gone after |\n|---|---|\n| {told:.1?} | {ended:.1?} |");
    assert!((44.8..50.0).contains(&ended.as_secs_f64()), "ended after {ended:?}");
    far.plug();
    assert_eq!(server.metric("boardcast_ended_silent_total"), 1);
    wait_long("a place for all but the one that asks", 5, || {
        (server.metric("boardcast_connections") == 1).then_some(())
    });
    drop(client);
}

/// The issue's figure: 50,000 lines a second on the Unix socket, into 100
/// channels, for 10 s; every value reaches the viewer, in its order.
#[test]
#[ignore = "stress: 15 s"]
fn fifty_thousand_lines_a_second_arrive_whole() {
    const SECOND: u32 = 50_000;
    let path = std::env::temp_dir().join(format!("bc-50k-{}", std::process::id()));
    let server = Binary::start(&["--socket", path.to_str().expect("UTF-8")]);
    let process = Process::of(&server);
    let mut viewer = Client::connect(server.address, "/ws?channels=flood/%23");
    viewer.next("hello");
    let (cpu, rest, started) = (process.cpu(), process.resident(), Instant::now());
    let writer = thread::spawn(move || {
        let mut stream = UnixStream::connect(path).expect("connected");
        let mut text = Vec::new();
        // A hundred bursts a second, each when it is due.
        for burst in 0..1000 {
            let due = started + Duration::from_millis(10) * burst;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            text.clear();
            for line in burst * SECOND / 100..(burst + 1) * SECOND / 100 {
                writeln!(text, "flood/c{}={line}", line % 100).expect("in memory");
            }
            stream.write_all(&text).expect("taken");
        }
    });
    let (mut next, mut messages): (Vec<u64>, u32) = ((0..100).collect(), 0);
    while next.iter().any(|&next| next < u64::from(10 * SECOND)) {
        let message = viewer.json();
        assert_ne!(message["type"], "gap", "{message}");
        if message["type"] != "data" || message["snapshot"] == true {
            continue;
        }
        messages += 1;
        for (name, values) in message["values"].as_object().expect("values") {
            let channel: usize = name["flood/c".len()..].parse().expect("a number");
            let values = values.as_array().cloned().unwrap_or_else(|| vec![values.clone()]);
            for value in values {
                assert_eq!(value.as_u64(), Some(next[channel]), "{name}");
                next[channel] += 100;
            }
        }
    }
    writer.join().expect("written");
    let taken = started.elapsed().as_secs_f64();
    let cpu = (process.cpu() - cpu).as_secs_f64() / taken * 100.0;
    let (before, after) = (rest / 1024, process.resident() / 1024);
    println!("| lines | in | messages to the viewer | CPU, % of a core | memory, KiB |");
    println!("|---|---|---|---|---|");
    println!("| {} | {taken:.2} s | {messages} | {cpu:.1} | {before} to {after} |", 10 * SECOND);
}

#[test]
#[ignore = "stress: 1 min"]
fn ten_million_mangled_lines_do_no_harm() {
    crate::lines::mangled_lines(10_000_000, 0x2545_f491_4f6c_dd1d);
}

#[test]
#[ignore = "stress: 10 s"]
fn a_command_that_prints_a_gigabyte_without_a_line_break() {
    let (memory, start) = (own_memory(), Instant::now());
    feeds::flood(1 << 30);
    println!("| printed | took | memory, KiB |\n|---|---|---|");
    let growth = (own_memory() as i64 - memory as i64) / 1024;
    println!("| 1 GiB | {:.1?} | {growth:+} |", start.elapsed());
}

#[test]
#[ignore = "stress: 20 s"]
fn a_gigabyte_without_a_line_break_amid_other_troubles() {
    trouble::among_bad_sources(1 << 30).print();
}

#[test]
#[ignore = "stress: 5 min, strace"]
fn two_hundred_runs_in_which_a_system_call_fails() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    injected::runs(200, seed.unwrap_or(20_261_122));
}

/// What this process has had resident at most, in bytes.
fn own_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
}
