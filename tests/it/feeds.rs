//! Sources that the settings name, through the library: commands, files,
//! serial ports and servers that behave, and that do not.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use boardcast::{
    sources::configured::{self, Format, Framing, Kind, Parity, Running, SourceSettings},
    telemetry::{ChannelName, Hub, HubSettings, Status, Value},
    wire::line::{Columns, Pattern, Pointers},
};
use nix::{
    fcntl::OFlag,
    pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt},
    sys::{
        signal::{SigSet, Signal},
        stat::Mode,
    },
    unistd::mkfifo,
};

use crate::fixture::*;

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(50);
/// By then a stopped source is gone, whatever it does.
const STOP: Duration = Duration::from_secs(5);

fn hub() -> Hub {
    Hub::new(HubSettings::default())
}

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).expect("a name")
}

fn settings(name: &str, kind: Kind) -> SourceSettings {
    SourceSettings {
        name: name.into(),
        kind,
        format: Format::Lines,
        prefix: None,
        stale_after: None,
    }
}

fn start(hub: &Hub, settings: &SourceSettings) -> Running {
    configured::start(hub, settings, Path::new("/")).expect("started")
}

fn shell(line: &str, every: Option<Duration>, timeout: Duration) -> Kind {
    let command = ["/bin/sh", "-c", line].map(String::from).to_vec();
    Kind::Command { command, every, timeout }
}

/// A shell line that is run every 50 ms and may take long.
fn often(line: &str) -> Kind {
    shell(line, Some(SOON), PATIENCE)
}

/// What is said of a channel: its value when it is well, its trouble otherwise.
fn said(hub: &Hub, name: &str) -> Option<Result<Value, String>> {
    let view = hub.view();
    let state = view.channels().iter().find(|state| state.channel.name.as_str() == name)?;
    Some(match &state.status {
        Status::Ok => Ok(state.value.clone()),
        Status::Error(why) => Err(why.to_string()),
        other => Err(other.as_str().to_owned()),
    })
}

#[track_caller]
fn await_value(hub: &Hub, name: &str, value: impl Into<Value>) {
    let value = Ok(value.into());
    wait_for(&format!("{name} = {value:?}"), || (said(hub, name)? == value).then_some(()));
}

/// Waits for a trouble of a channel that these words are part of.
#[track_caller]
fn await_trouble(hub: &Hub, name: &str, words: &str) {
    wait_for(&format!("{name}: {words}; now {:?}", said(hub, name)), || {
        said(hub, name)?.err()?.contains(words).then_some(())
    });
}

/// The process that a source says as its reading.
fn pid(hub: &Hub, name: &str) -> i32 {
    let number = wait_for(name, || {
        let view = hub.view();
        let state = view.channels().iter().find(|state| state.channel.name.as_str() == name)?;
        state.value.as_f64()
    });
    number as i32
}

/// Who is left of a process group, as `/proc` has them; what has ended counts
/// only while it waits for us.
pub(crate) fn members(group: i32) -> Vec<String> {
    let list = fs::read_dir("/proc").expect("listed").flatten();
    let stats = list.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let is_member = |stat: &String| {
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let [state, parent, own, ..] = fields[..] else { return false };
        own == group.to_string() && (state != "Z" || parent == std::process::id().to_string())
    };
    stats.filter(is_member).collect()
}

#[track_caller]
fn await_end(group: i32) {
    wait_for(&format!("the end of {group}"), || members(group).is_empty().then_some(()));
}

/// A path of its own for a test, which ends with it.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let path = format!("bc-feeds-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(path))
    }

    /// Never half: a reader finds the old text or the new one.
    pub(crate) fn write(&self, text: &str) {
        let beside = self.0.with_extension("new");
        fs::write(&beside, text).expect("written");
        fs::rename(beside, &self.0).expect("renamed");
    }

    pub(crate) fn show(&self) -> std::path::Display<'_> {
        self.0.display()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A source that is in nobody's way, to see that nobody is in its.
struct Beat {
    _running: Running,
    hub: Hub,
}

impl Beat {
    fn start(hub: &Hub) -> Self {
        let path = PathBuf::from("/proc/uptime");
        let mut settings = settings("beat", Kind::File { path, every: Duration::from_millis(10) });
        settings.format = Format::Pattern(Pattern::parse("(?<beat>[0-9.]+)").expect("fine"));
        Self { _running: start(hub, &settings), hub: hub.clone() }
    }

    /// Waits for ten more readings.
    fn goes_on(&self) {
        let count = || {
            self.hub
                .view()
                .channels()
                .iter()
                .find_map(|state| (state.channel.name.as_str() == "beat").then_some(state.seq))
        };
        for _ in 0..10 {
            let before = wait_for("a beat", count);
            wait_for("the next beat", || count().filter(|now| *now > before));
        }
    }
}

#[test]
fn a_command_is_run_every_so_often_and_fails_and_recovers_with_a_reason() {
    let (hub, flag) = (hub(), Place::new());
    let line = format!(
        "cat; if [ -e {} ]; then echo x=5; echo one >&2; echo the bus is stuck >&2; exit 3; fi; echo a=1.5",
        flag.show()
    );
    let source = start(&hub, &settings("gpu", often(&line)));
    await_value(&hub, "a", 1.5);
    flag.write("");
    await_trouble(&hub, "a", "exited with code 3: the bus is stuck");
    await_trouble(&hub, "x", "exited with code 3");
    fs::remove_file(&flag.0).expect("removed");
    await_value(&hub, "a", 1.5);
    let seq = hub.view().seq();
    wait_for("three more runs", || (hub.view().seq() >= seq + 3).then_some(()));
    assert!(source.intake().expect("it reads text").counts().values.get() >= 4);
    drop(source);
    assert_eq!(said(&hub, "a"), Some(Err("gone".into())));
}

#[test]
fn what_cannot_be_run_or_says_nothing_is_told_before_there_is_any_channel() {
    let hub = hub();
    let words = |list: &[&str]| list.iter().map(|&word| word.into()).collect::<Vec<String>>();
    let run = |command| Kind::Command { command, every: Some(SOON), timeout: SECOND };
    let mut unmatched = settings("unmatched", often("echo hello"));
    unmatched.format = Format::Pattern(Pattern::parse("temp=(?<temp>.*)").expect("fine"));
    let list = [
        settings("none", run(words(&["no-such-program-here"]))),
        settings("data", run(words(&["/etc/passwd"]))),
        settings("silent", run(words(&["/bin/sh", "-c", "kill -9 $$"]))),
        settings("shell", often("no-such-program-here")),
        settings("wrong", often("echo temp 21,5; echo 1")),
        unmatched,
    ];
    let running: Vec<_> = list.iter().map(|settings| start(&hub, settings)).collect();
    await_trouble(&hub, "none", "no such program: no-such-program-here; install it");
    await_trouble(&hub, "data", "/etc/passwd may not be run");
    await_trouble(&hub, "silent", "ended by signal 9 (SIGKILL)");
    await_trouble(&hub, "shell", "exited with code 127: ");
    await_trouble(&hub, "shell", "not found");
    await_trouble(&hub, "wrong", "\"21,5\" is no number");
    await_trouble(&hub, "unmatched", "its pattern matches nothing that comes, as in \"hello\"");
    running.iter().for_each(Running::stop);
}

#[test]
fn a_command_that_hangs_is_killed_with_all_its_children_and_run_again() {
    let hub = hub();
    let beat = Beat::start(&hub);
    let line = "trap '' TERM; echo pid=$$; sleep 1000 & sleep 1000";
    let timeout = Duration::from_millis(200);
    let source = start(&hub, &settings("hung", shell(line, Some(SOON), timeout)));
    let first = pid(&hub, "pid");
    assert!(!members(first).is_empty());
    await_trouble(&hub, "pid", "killed after 200ms without an end");
    await_end(first);
    wait_for("the next run", || (pid(&hub, "pid") != first).then_some(()));
    let second = pid(&hub, "pid");
    beat.goes_on();
    let stop = Instant::now();
    drop(source);
    assert!(stop.elapsed() < STOP, "{:?}", stop.elapsed());
    await_end(second);
}

#[test]
fn children_that_a_command_leaves_behind_are_ended_and_hold_nothing_up() {
    let hub = hub();
    // One holds the pipe open, one does not.
    let line = "echo pid=$$; sleep 1000 & sleep 1000 >/dev/null 2>&1 & exit 0";
    let source = start(&hub, &settings("forks", shell(line, Some(SOON), PATIENCE)));
    let first = pid(&hub, "pid");
    wait_for("the next run", || (pid(&hub, "pid") != first).then_some(()));
    await_end(first);
    let last = pid(&hub, "pid");
    drop(source);
    await_end(last);
    assert_ne!(first, last);
}

#[test]
fn many_that_will_not_end_end_together() {
    let hub = hub();
    let sources: Vec<_> = (0..4)
        .map(|number| {
            let line =
                format!("trap '' TERM INT HUP; echo pid{number}=$$; while :; do sleep 1000; done");
            start(&hub, &settings(&format!("s{number}"), shell(&line, None, SECOND)))
        })
        .collect();
    let groups: Vec<_> = (0..4).map(|number| pid(&hub, &format!("pid{number}"))).collect();
    let stop = Instant::now();
    sources.iter().for_each(Running::stop);
    drop(sources);
    assert!(stop.elapsed() < STOP, "{:?}", stop.elapsed());
    for group in groups {
        assert_eq!(members(group), [""; 0]);
    }
}

#[test]
fn a_command_that_is_kept_running_is_started_again_when_it_ends() {
    let hub = hub();
    let line = "echo pid=$$; printf 'half=2'; echo no bus >&2; exit 1";
    let _bad = start(&hub, &settings("bad", shell(line, None, SECOND)));
    let _good = start(&hub, &settings("good", shell("printf 'whole=2'", None, SECOND)));
    let first = pid(&hub, "pid");
    await_trouble(&hub, "pid", "exited with code 1: no bus");
    await_trouble(&hub, "whole", "it has ended, and is started again; give it an every");
    wait_for("the next run", || (pid(&hub, "pid") != first).then_some(()));
    assert_eq!(said(&hub, "half"), None, "it may have been cut");
}

#[test]
fn a_command_begins_with_no_signal_blocked() {
    let hub = hub();
    // As the program has it for its signalfd; the source's thread inherits it.
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTERM);
    blocked.add(Signal::SIGINT);
    blocked.thread_block().expect("blocked");
    // Without a shell: some of them unblock signals themselves.
    let command = ["grep", "SigBlk", "/proc/self/status"].map(String::from).to_vec();
    let kind = Kind::Command { command, every: Some(SOON), timeout: PATIENCE };
    let mut settings = settings("mask", kind);
    settings.format = Format::Pattern(Pattern::parse(r"SigBlk:\s*(?<mask>\S+)").expect("fine"));
    let _source = start(&hub, &settings);
    await_value(&hub, "mask", 0.0);
    blocked.thread_unblock().expect("unblocked");
}

/// A command prints so many bytes without a line break, and then a reading.
pub(crate) fn flood(bytes: u64) {
    let hub = hub();
    let beat = Beat::start(&hub);
    let line = format!(
        "echo before=1; head -c {bytes} /dev/zero | tr '\\0' x; echo; echo after=1; sleep 1000"
    );
    let source = start(&hub, &settings("flood", shell(&line, None, SECOND)));
    await_value(&hub, "before", 1.0);
    beat.goes_on();
    // Longer than the patience of `wait_for`, when it is a gigabyte.
    let deadline = Instant::now() + Duration::from_secs(300);
    while said(&hub, "after").is_none() && Instant::now() < deadline {
        beat.goes_on();
    }
    await_value(&hub, "after", 1.0);
    let counts = source.intake().expect("it reads text").counts();
    assert_eq!((counts.lines.get(), counts.bad_lines.get(), counts.values.get()), (3, 1, 2));
}

#[test]
fn a_flood_without_a_line_break_costs_no_memory_and_no_other_line() {
    flood(64 << 20);
}

#[test]
fn a_file_is_read_every_so_often_and_says_why_when_it_cannot_be() {
    let (hub, place) = (hub(), Place::new());
    let file = Kind::File { path: place.0.clone(), every: Duration::from_millis(10) };
    let mut settings = settings("light", file);
    settings.format = Format::Value(channel("room/light"));
    settings.prefix = Some(channel("hall"));
    let source = start(&hub, &settings);
    await_trouble(&hub, "light", &format!("{}: No such file", place.show()));
    place.write("41.5\n");
    await_value(&hub, "hall/room/light", 41.5);
    // It lets go a moment after its readings came.
    await_trouble(&hub, "light", "gone");
    let declared = hub.view().channels()[1].channel.stale_after;
    assert_eq!(declared, Some(3 * SECOND));
    place.write("on\n");
    await_value(&hub, "hall/room/light", "on");
    fs::remove_file(&place.0).expect("removed");
    await_trouble(&hub, "hall/room/light", "No such file");
    place.write("7");
    await_value(&hub, "hall/room/light", 7.0);
    drop(source);
    assert_eq!(said(&hub, "hall/room/light"), Some(Err("gone".into())));
}

#[test]
fn a_pipe_that_never_answers_is_told_and_holds_nobody_up() {
    let (hub, pipe) = (hub(), Place::new());
    mkfifo(&pipe.0, Mode::S_IRWXU).expect("made");
    let beat = Beat::start(&hub);
    let kind = Kind::File { path: pipe.0.clone(), every: Duration::from_millis(10) };
    let source = start(&hub, &settings("pipe", kind));
    await_trouble(&hub, "pipe", "it is a pipe, which never is complete; write kind");
    beat.goes_on();
    let stop = Instant::now();
    drop(source);
    assert!(stop.elapsed() < STOP);
}

#[test]
fn documents_have_lines_where_places_in_them_are_named() {
    let (hub, place) = (hub(), Place::new());
    let text = "{\n \"lat\": 48.1,\n \"sat\": [\n  {\"snr\": 31}\n ]\n}\n";
    place.write(text);
    let list = [(channel("lat"), "/lat".into()), (channel("snr"), "/sat/0/snr".into())];
    let format = Format::Pointers(Pointers::parse(&list).expect("fine"));
    let kinds = [
        ("file", Kind::File { path: place.0.clone(), every: Duration::from_millis(10) }),
        ("command", often(&format!("cat {}", place.show()))),
    ];
    let sources: Vec<_> = kinds
        .into_iter()
        .map(|(name, kind)| {
            let prefix = Some(channel(name));
            let settings =
                SourceSettings { format: format.clone(), prefix, ..settings(name, kind) };
            start(&hub, &settings)
        })
        .collect();
    for name in ["file", "command"] {
        await_value(&hub, &format!("{name}/lat"), 48.1);
        await_value(&hub, &format!("{name}/snr"), 31.0);
    }
    place.write("{\n \"lat\": ");
    for name in ["file", "command"] {
        await_trouble(&hub, &format!("{name}/lat"), "not JSON");
    }
    drop(sources);
}

#[test]
fn a_server_of_lines_is_connected_to_again_and_half_a_line_is_no_reading() {
    let hub = hub();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address").to_string();
    let mut settings = settings("meter", Kind::Tcp { address: address.clone() });
    let names = ["-", "power", "note"].map(String::from);
    settings.format = Format::Columns(Columns::parse(&names, ';').expect("fine"));
    let source = start(&hub, &settings);
    let (mut peer, _) = listener.accept().expect("connected");
    peer.write_all(b"time;power;note\n10:00;21").expect("sent");
    peer.write_all(b".5;fine\n10:01;3").expect("sent");
    await_value(&hub, "power", 21.5);
    await_value(&hub, "note", "fine");
    drop(peer);
    await_trouble(&hub, "power", &format!("{address}: the server has ended the connection"));
    let (mut peer, _) = listener.accept().expect("connected again");
    peer.write_all(b".7;x\n10:02;4;y\n").expect("sent");
    // The end of a line whose beginning another connection had.
    await_value(&hub, "power", 4.0);
    assert_eq!(source.intake().expect("it reads text").counts().bad_lines.get(), 1);
    drop(listener);
    drop(peer);
    await_trouble(&hub, "power", "nobody listens there; is its server running?");
}

#[test]
fn a_server_that_says_nothing_is_left_at_once() {
    let hub = hub();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address").to_string();
    let source = start(&hub, &settings("silent", Kind::Tcp { address }));
    let (mut peer, _) = listener.accept().expect("connected");
    peer.write_all(b"a=1\nb=").expect("sent");
    await_value(&hub, "a", 1.0);
    drop(source);
    assert_eq!(said(&hub, "a"), Some(Err("gone".into())));
}

/// A serial device: a terminal's other end, below a name that can be moved.
pub(crate) struct Device {
    master: PtyMaster,
}

impl Device {
    pub(crate) fn plug_in(place: &Place) -> Self {
        let master =
            posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("a pty");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let _ = fs::remove_file(&place.0);
        std::os::unix::fs::symlink(ptsname_r(&master).expect("a name"), &place.0).expect("linked");
        Self { master }
    }

    pub(crate) fn say(&mut self, text: &str) {
        assert!(self.master.as_raw_fd() >= 0);
        self.master.write_all(text.as_bytes()).expect("written");
    }
}

/// A port with these settings at this place.
fn port(name: &str, place: &Place) -> SourceSettings {
    let framing = Framing { data_bits: 8, parity: Parity::None, stop_bits: 1 };
    settings(name, Kind::Serial { port: place.0.clone(), baud: 250_000, framing })
}

#[test]
fn a_serial_port_comes_and_goes_in_mid_line() {
    if emulated() {
        return; // QEMU does not know TCGETS2.
    }
    let (hub, place) = (hub(), Place::new());
    let beat = Beat::start(&hub);
    let source = start(&hub, &port("uart", &place));
    await_trouble(&hub, "uart", "no such device: is it plugged in?");
    let mut device = Device::plug_in(&place);
    // Said again and again, as sensors do: the first may be before it listens.
    wait_for("a reading", || {
        device.say("soil=41.5\n");
        (said(&hub, "soil")? == Ok(Value::from(41.5))).then_some(())
    });
    device.say("soil=2");
    beat.goes_on();
    drop(device);
    await_trouble(&hub, "soil", "it is gone: was it unplugged?");
    let last = hub
        .view()
        .channels()
        .iter()
        .find(|s| s.channel.name.as_str() == "soil")
        .map(|s| s.value.clone());
    assert_eq!(last, Some(Value::from(41.5)), "half a line is no reading");
    let mut device = Device::plug_in(&place);
    wait_for("a reading", || {
        device.say("soil=3\n");
        (said(&hub, "soil")? == Ok(Value::from(3.0))).then_some(())
    });
    assert_eq!(source.intake().expect("it reads text").counts().bad_lines.get(), 0);
    drop(source);
    assert_eq!(said(&hub, "soil"), Some(Err("gone".into())));
}

#[test]
fn a_line_that_began_before_a_port_was_opened_is_left_out() {
    if emulated() {
        return; // QEMU does not know TCGETS2.
    }
    let (hub, place) = (hub(), Place::new());
    let mut device = Device::plug_in(&place);
    let talking = thread::scope(|scope| {
        let (done, over) = std::sync::mpsc::channel::<()>();
        // Without rest, in lines of which every end is a good line, too.
        scope.spawn(move || {
            while over.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                for piece in ["value ", "12", "345", "\n"] {
                    device.say(piece);
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let source = start(&hub, &port("uart", &place));
        await_value(&hub, "value", 12_345.0);
        let counts = source.intake().expect("it reads text").counts();
        let talking = (counts.bad_lines.get(), counts.lines.get() > 0);
        drop(source);
        done.send(()).expect("it listens");
        talking
    });
    assert_eq!(talking, (0, true));
}

#[test]
fn a_channel_that_another_source_has_costs_the_others_nothing() {
    let hub = hub();
    let _first = start(&hub, &settings("first", often("echo a=1")));
    await_value(&hub, "a", 1.0);
    let _second = start(&hub, &settings("second", often("echo a=2 b=2")));
    await_value(&hub, "b", 2.0);
    let seq = hub.view().seq();
    wait_for("more runs", || (hub.view().seq() >= seq + 8).then_some(()));
    let values = ["a", "b"].map(|name| said(&hub, name));
    assert_eq!(values, [1.0, 2.0].map(|value| Some(Ok(Value::from(value)))));
}
