//! Everything that can be wrong with a source, at once, in the real binary
//! with a settings file: the good ones beside it lose no reading, each trouble
//! is told, memory stays, and nothing is left when the program ends.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};
use serde_json::Value;

use crate::{
    feeds::{Device, Place},
    fixture::*,
    strain::Process,
};

/// What the good sources do: ten readings a second.
const PACE: Duration = Duration::from_millis(100);
const GOOD: [&str; 2] = ["good/command", "good/tcp"];
/// So many readings of each good source are looked at, before and during.
const ENOUGH: usize = 20;
/// In the environment of the program, and so in that of all it starts.
const MARK: &str = "BOARDCAST_TEST_OF_TROUBLE";

#[test]
fn sources_in_trouble_hold_nobody_up_and_leave_nothing_behind() {
    among_bad_sources(32 << 20).print();
}

/// What was measured.
pub(crate) struct Measured {
    printed: u64,
    /// Readings a second of each good source, before the bad ones came, and
    /// beside them.
    before: [f64; 2],
    during: [f64; 2],
    /// The longest that a good source's next reading let the viewer wait.
    longest: [Duration; 2],
    /// What the program has had resident at most: growth, in KiB.
    growth: i64,
    /// Processes of the bad sources when it was told to stop.
    processes: usize,
    stop: Duration,
}

impl Measured {
    pub(crate) fn print(&self) {
        let Self { printed, before, during, longest, growth, processes, stop } = self;
        println!(
            "| printed without a line break | good readings a second, before | during | longest wait | memory, KiB | processes | stop |"
        );
        println!("|---|---|---|---|---|---|---|");
        println!(
            "| {} MiB | {:.2}, {:.2} | {:.2}, {:.2} | {:.0?}, {:.0?} | {growth:+} | {processes} | {stop:.1?} |",
            printed >> 20,
            before[0],
            before[1],
            during[0],
            during[1],
            longest[0],
            longest[1],
        );
    }
}

/// Starts with two good sources, adds the bad ones, of which one prints so many
/// bytes without a line break, and ends.
pub(crate) fn among_bad_sources(bytes: u64) -> Measured {
    let places = Places::new();
    let good = good_sources(&count_on_tcp());
    places.settings.write(&good);
    let mark = format!("{MARK}={}", places.settings.show());
    let mut program = command(env!("CARGO_BIN_EXE_boardcast"));
    program.args(["--listen", "127.0.0.1:0", "--socket", "none", "--interval", "1s"]);
    program.arg("--config").arg(&places.settings.0).env(MARK, &places.settings.0);
    let board = Binary::run(&mut program);
    let process = Process::of(&board);
    let viewer = Viewer::join(board.address);
    viewer.await_more(ENOUGH);
    let (most, alone) = (process.most_resident(), viewer.readings());

    places.settings.write(&format!("{good}{}", bad_sources(&places, bytes)));
    board.signal(Signal::SIGHUP);
    unplug_in_mid_line(&board, &places.port);
    await_troubles(&board, &places, &viewer);
    viewer.await_more(ENOUGH);
    for name in GOOD.into_iter().chain(["forks/pid"]) {
        assert_eq!(channel(&board, name).expect("declared")["status"], "ok");
    }
    let growth = (process.most_resident() - most) / 1024;
    assert!(growth < 16 << 10 || emulated(), "it grew by {growth} KiB");

    let (processes, stop) = stop_amid_them(board, &mark);
    let together = viewer.end();
    let during: [Vec<_>; 2] =
        std::array::from_fn(|source| together[source][alone[source].len()..].to_vec());
    Measured {
        printed: bytes,
        before: alone.each_ref().map(|readings| pace(readings)),
        during: during.each_ref().map(|readings| pace(readings)),
        longest: during.map(|readings| {
            let waits = readings.windows(2).map(|pair| pair[1].1 - pair[0].1);
            waits.max().expect("several")
        }),
        growth,
        processes,
        stop,
    }
}

/// What of the sources has a path.
struct Places {
    settings: Place,
    /// A named pipe that nobody writes to.
    pipe: Place,
    port: Place,
    /// Once it is there, the endless line ends.
    flag: Place,
}

impl Places {
    fn new() -> Self {
        let pipe = Place::new();
        mkfifo(&pipe.0, Mode::S_IRWXU).expect("made");
        Self { settings: Place::new(), pipe, port: Place::new(), flag: Place::new() }
    }
}

fn unplug_in_mid_line(board: &Binary, port: &Place) {
    if emulated() {
        return; // QEMU does not know TCGETS2.
    }
    let mut device = Device::plug_in(port);
    // Said again and again, as sensors do: the first may be before it listens.
    wait_for("a reading of the serial port", || {
        device.say("soil=41.5\n");
        (latest(board, "soil")? == 41.5).then_some(())
    });
    device.say("soil=2");
    drop(device);
    // It is tried again.
    await_reason(board, "soil", "no such device: is it plugged in?");
    assert_eq!(latest(board, "soil"), Some(41.5.into()), "half a line is no reading");
}

/// Waits until each trouble was told, and the line of so many bytes is over.
fn await_troubles(board: &Binary, places: &Places, viewer: &Viewer) {
    await_reason(board, "pipe", "it is a pipe, which never is complete");
    await_reason(board, "stuck/pid", "killed after 500ms without an end");
    await_reason(board, "flood", "no reading in what comes: a line is longer than 16384 bytes");
    places.flag.write("");
    // Longer than the patience of `wait_for`, when it is a gigabyte.
    let deadline = Instant::now() + Duration::from_secs(300);
    while latest(board, "flood/after").is_none() && Instant::now() < deadline {
        viewer.await_more(1);
    }
    assert_eq!(latest(board, "flood/after"), Some(1.into()));
    // A run leaves children behind, and the next comes all the same.
    let first = wait_for("one that forks", || latest(board, "forks/pid"));
    wait_for("its next run", || (latest(board, "forks/pid")? != first).then_some(()));
}

/// Ends the program, which leaves nobody behind: how many processes its sources
/// had, and how long it took.
fn stop_amid_them(board: Binary, mark: &str) -> (usize, Duration) {
    let processes = wait_for("a run of the one that hangs", || {
        let list = marked(mark);
        // Beside the server and its helper.
        list.iter().any(|command| command.contains("stuck/pid")).then_some(list.len() - 2)
    });
    let told = Instant::now();
    board.signal(Signal::SIGTERM);
    let (code, log) = board.wait();
    let stop = told.elapsed();
    assert_eq!(code, Some(0), "{log}");
    assert!(stop < Duration::from_secs(5) || emulated(), "it took {stop:?}");
    assert_eq!(marked(mark), [""; 0], "left behind");
    (processes, stop)
}

/// Counts from 1 on, as a server of lines, for the first that comes; its address.
fn count_on_tcp() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("connected");
        let start = Instant::now();
        for number in 1.. {
            if writeln!(stream, "good/tcp={number}").is_err() {
                return;
            }
            thread::sleep((start + PACE * number).saturating_duration_since(Instant::now()));
        }
    });
    address
}

fn good_sources(address: &str) -> String {
    format!(
        r#"
[[source]]
name = "count"
kind = "command"
command = "i=0; while :; do i=$((i+1)); echo good/command=$i; sleep 0.1; done"

[[source]]
name = "meter"
kind = "tcp"
address = "{address}"

# Never there: with it the sandbox is open for devices, and so for a port that
# the settings name later.
[[source]]
name = "spare"
kind = "serial"
port = "/nowhere/ttyUSB0"
"#
    )
}

/// None outlives a test that fails by more than a minute.
fn bad_sources(places: &Places, bytes: u64) -> String {
    let (pipe, port, flag) = (places.pipe.show(), places.port.show(), places.flag.show());
    format!(
        r#"
[[source]]
name = "pipe"
kind = "file"
path = "{pipe}"
every = "100ms"

[[source]]
name = "stuck"
kind = "command"
command = "trap '' TERM; echo stuck/pid=$$; sleep 60 & sleep 60"
every = "1s"
timeout = "500ms"

[[source]]
name = "flood"
kind = "command"
command = '''
head -c {bytes} /dev/zero | tr '\0' x
until [ -e {flag} ]; do printf x; sleep 0.05; done
echo; echo flood/after=1
while :; do printf x; sleep 0.05; done
'''

[[source]]
name = "forks"
kind = "command"
command = "echo forks/pid=$$; sleep 60 & sleep 60 >/dev/null 2>&1 & exit 0"
every = "500ms"

[[source]]
name = "uart"
kind = "serial"
port = "{port}"
baud = 115200
"#
    )
}

/// A channel as `/api/channels` describes it.
fn channel(board: &Binary, name: &str) -> Option<Value> {
    let list: Value =
        serde_json::from_str(get(board.address, "/api/channels").text()).expect("JSON");
    let list = list["channels"].as_array().expect("a list");
    list.iter().find(|channel| channel["name"] == name).cloned()
}

/// The latest good value of a channel.
fn latest(board: &Binary, name: &str) -> Option<Value> {
    let latest: Value =
        serde_json::from_str(get(board.address, "/api/latest").text()).expect("JSON");
    latest["values"].get(name).cloned()
}

fn await_reason(board: &Binary, name: &str, words: &str) {
    wait_for(&format!("{name}: {words}; now {:?}", channel(board, name)), || {
        let channel = channel(board, name)?;
        let told = channel["reason"].as_str()?.contains(words);
        (channel["status"] == "error" && told).then_some(())
    });
}

/// The command lines of all processes that have this in their environment.
fn marked(mark: &str) -> Vec<String> {
    let list = fs::read_dir("/proc").expect("listed").flatten().map(|entry| entry.path());
    let has_mark = |path: &PathBuf| match fs::read(path.join("environ")) {
        Ok(environment) => environment.split(|&byte| byte == 0).any(|one| one == mark.as_bytes()),
        Err(_) => false,
    };
    list.filter(has_mark)
        .map(|path| {
            let words = fs::read(path.join("cmdline")).unwrap_or_default();
            format!("{}: {}", path.display(), String::from_utf8_lossy(&words).replace('\0', " "))
        })
        .collect()
}

/// The readings of each good source, in order: a number, and when it came.
type Readings = [Vec<(u64, Instant)>; 2];

fn pace(readings: &[(u64, Instant)]) -> f64 {
    let (first, last) = (readings[0].1, readings[readings.len() - 1].1);
    (readings.len() - 1) as f64 / (last - first).as_secs_f64()
}

/// One who watches the good sources, and misses nothing.
struct Viewer {
    readings: Arc<Mutex<Readings>>,
    thread: JoinHandle<()>,
}

impl Viewer {
    fn join(address: SocketAddr) -> Self {
        let readings = Arc::<Mutex<Readings>>::default();
        let seen = readings.clone();
        let mut client = Client::connect(address, "/ws?channels=good/%23");
        let thread = thread::spawn(move || {
            loop {
                let message = match client.socket.read() {
                    Ok(tungstenite::Message::Text(text)) => text,
                    Ok(tungstenite::Message::Close(frame)) => {
                        return assert_eq!(frame.map(|frame| frame.code.into()), Some(1001_u16));
                    }
                    Ok(_) => continue,
                    Err(error) => panic!("{error}"),
                };
                let message: Value = serde_json::from_str(&message).expect("JSON");
                assert_ne!(message["type"], "gap", "{message}");
                if message["type"] != "data" || message["snapshot"] == true {
                    continue;
                }
                for (name, values) in message["values"].as_object().expect("values") {
                    let source = GOOD.iter().position(|good| good == name).expect("a good one");
                    let rows =
                        values.as_array().map_or(std::slice::from_ref(values), Vec::as_slice);
                    for number in rows.iter().filter_map(Value::as_u64) {
                        let list = &mut seen.lock().expect("no panic")[source];
                        if let Some((last, _)) = list.last() {
                            assert_eq!(number, last + 1, "of {name} a reading is missing");
                        }
                        list.push((number, Instant::now()));
                    }
                }
            }
        });
        Self { readings, thread }
    }

    fn readings(&self) -> Readings {
        self.readings.lock().expect("no panic").clone()
    }

    /// Waits for so many further readings of each.
    fn await_more(&self, count: usize) {
        let before = self.readings().map(|list| list.len());
        for source in 0..GOOD.len() {
            wait_for(&format!("{count} more of {}", GOOD[source]), || {
                let now = self.readings.lock().expect("no panic")[source].len();
                (now >= before[source] + count).then_some(())
            });
        }
    }

    /// All readings, once the server has said that it ends.
    fn end(self) -> Readings {
        self.thread.join().expect("it missed nothing, and was told the end");
        std::mem::take(&mut *self.readings.lock().expect("no panic"))
    }
}
