//! Faults that a debug build plants in itself (docs/faults.md), in the real
//! binary: a sample of what `src/fault/sweep.rs` does with the engine.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::fixture::*;

fn with(faults: &str, command: &mut Command) -> Result<Binary, (Option<i32>, String)> {
    command.args(["--listen", "127.0.0.1:0", "--socket", "none", "--interval", "100ms"]);
    command.args(["--demo", "--stdin", "--udp", "0"]);
    Binary::try_run(command.env("BOARDCAST_FAULT", faults))
}

/// It serves, and ends as it should.
fn goes_on(faults: &str, server: Binary) {
    let mut served = (0..3).filter_map(|_| Client::try_connect(server.address, "/ws", &[]).ok());
    let mut client = served.next().expect(faults);
    let first = client.next("data")["seq"].as_u64();
    assert!(client.next("data")["seq"].as_u64() > first, "{faults}");
    server.signal(Signal::SIGTERM);
    let (code, log) = server.wait();
    assert_eq!(code, Some(0), "{faults}: {log}");
    assert!(!log.contains("panic"), "{faults}: {log}");
}

#[test]
fn each_thread_that_is_refused_leaves_it_running_or_ends_it_with_one_line() {
    let (mut ended, mut went_on) = (0, 0);
    for number in 1..40 {
        let faults = format!("spawn:{number}");
        match with(&faults, &mut command(env!("CARGO_BIN_EXE_boardcast"))) {
            Ok(server) => {
                went_on += 1;
                goes_on(&faults, server);
                // Behind the greeting there are only connections.
                if went_on > 4 && number > 12 {
                    break;
                }
            }
            Err((code, log)) => {
                ended += 1;
                let lines: Vec<_> = log.lines().filter(|line| !line.starts_with('[')).collect();
                assert_eq!((code, lines.len()), (Some(1), 1), "{faults}: {log}");
                assert!(lines[0].starts_with("boardcast: cannot "), "{log}");
            }
        }
    }
    assert!(ended >= 5 && went_on >= 3, "{ended} ended, {went_on} went on");
}

#[test]
fn passing_faults_of_every_kind_at_once_are_nobody_s_end() {
    let faults = "accept:2+5:EMFILE,read:1+3:EINTR,write:2+4:short,poll:3+7:EINTR,\
                  spawn:30+40,clock:5+9:+3600,clock:8+9:-3600";
    let server = with(faults, &mut command(env!("CARGO_BIN_EXE_boardcast")));
    goes_on(faults, server.unwrap_or_else(|(code, log)| panic!("{code:?}: {log}")));
}

#[test]
fn a_plan_that_is_none_is_refused() {
    let (code, log) =
        with("acept:3", &mut command(env!("CARGO_BIN_EXE_boardcast"))).err().expect("no start");
    assert_eq!(code, Some(2));
    let last = log.lines().last();
    let why = "boardcast: BOARDCAST_FAULT: \"acept\" in \"acept:3\" is no place";
    assert_eq!(last, Some(why), "{log}");
}
