//! `/api/history`, and the file that keeps it: over real sockets, with the
//! real binary, through `kill -9` and a full disk.

use std::{
    fs,
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
#[cfg(debug_assertions)]
use std::{process::Command, time::Instant};

use boardcast::telemetry::{Archive, Batch, Channel, Hub, HubSettings};
use flate2::read::GzDecoder;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fixture::*;

fn history(address: SocketAddr, query: &str) -> Value {
    let answer = get(address, &format!("/api/history?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(answer.text()).expect("JSON")
}

fn numbers(list: &Value) -> Vec<Option<f64>> {
    list.as_array().expect("a list").iter().map(Value::as_f64).collect()
}

/// A board that has had a reading of 1, 2 and 4 in the same second, a minute of
/// nothing, and a 9.
fn board() -> Board {
    let board = Board::start();
    let publisher = board.publisher();
    let id = publisher.channel(Channel::gauge("room/temp").expect("valid")).expect("declared");
    let now = board.hub.clock().boot().since_boot().as_secs();
    for (second, value) in [(now - 100, 1.0), (now - 100, 2.0), (now - 100, 4.5), (now - 40, 9.25)]
    {
        let mut batch = Batch::at(boardcast::telemetry::BootTime::new(Duration::from_secs(second)));
        batch.set(id, value);
        publisher.publish(batch);
    }
    board
}

#[test]
fn it_is_least_mean_and_greatest_with_null_for_a_gap() {
    let board = board();
    let answer = history(board.engine.address, "channels=room/%23,nothing&last=2m&points=120");
    assert_eq!(answer["step"], 1);
    let t = numbers(&answer["t"]);
    assert_eq!(t.len(), 61, "from the first reading to the last");
    let (first, last) = (t[0].expect("a time"), t[60].expect("a time"));
    assert!((last - first - 60.0).abs() < 0.01);
    let from = answer["from"].as_f64().expect("a time");
    let to = answer["to"].as_f64().expect("a time");
    assert!((to - from - 120.0).abs() < 0.01 && first >= from - 1.0 && last <= to);
    let channels = answer["channels"].as_object().expect("an object");
    assert_eq!(channels.keys().collect::<Vec<_>>(), ["room/temp"]);
    for (part, values) in [("min", [1.0, 9.25]), ("mean", [2.5, 9.25]), ("max", [4.5, 9.25])] {
        let numbers = numbers(&channels["room/temp"][part]);
        assert_eq!([numbers[0], numbers[60]], values.map(Some), "{part}");
        assert!(numbers[1..60].iter().all(Option::is_none), "a gap stays a gap");
    }
    // The same in fewer points.
    let few = history(board.engine.address, "channels=room/temp&last=2m&points=2");
    let maxima = numbers(&few["channels"]["room/temp"]["max"]);
    assert!(maxima.len() <= 2 && maxima.contains(&Some(9.25)), "{few}");
    // What was is left out by `to`.
    let (from, to) = (first - 10.0, first + 10.0);
    let past = history(board.engine.address, &format!("channels=room/temp&from={from}&to={to}"));
    assert_eq!(numbers(&past["channels"]["room/temp"]["max"]), [Some(4.5)]);
}

#[test]
fn it_comes_as_csv_and_compressed_when_asked_for() {
    let board = board();
    let ask = |headers: &str| {
        ask(
            board.engine.address,
            &format!(
                "GET /api/history?channels=room/temp&last=2m HTTP/1.1\r\nHost: localhost\r\n\
                 Connection: close\r\n{headers}\r\n"
            ),
        )
    };
    let csv = ask("Accept: text/csv\r\n");
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(csv.header("vary").is_some_and(|vary| vary.contains("Accept-Encoding")));
    let lines: Vec<_> = csv.text().split("\r\n").collect();
    assert_eq!(lines[0], "time,room/temp.min,room/temp.mean,room/temp.max");
    assert!(lines[1].ends_with(",1,2.5,4.5") && lines[2].ends_with(",,,"), "{lines:?}");
    assert_eq!((lines.len(), lines[62]), (63, ""));

    let gzip = ask("Accept: text/csv\r\nAccept-Encoding: br, gzip\r\n");
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    let mut plain = String::new();
    GzDecoder::new(&gzip.body[..]).read_to_string(&mut plain).expect("gzip");
    assert!(plain.len() > gzip.body.len());
    // The wall clock is read anew: the times may differ by a millisecond.
    assert_eq!(plain.lines().count(), 62);
    assert_eq!(ask("Accept-Encoding: gzip;q=0\r\n").header("content-encoding"), None);
}

#[test]
fn what_cannot_be_answered_is_said_in_a_sentence() {
    let board = Board::with(HubSettings::default(), Default::default());
    let address = board.engine.address;
    let publisher = board.publisher();
    let mut batch = Batch::at(board.hub.clock().boot());
    for number in 0..400 {
        let channel = Channel::gauge(&format!("many/{number}")).expect("valid");
        batch.set(publisher.channel(channel).expect("declared"), 1.0);
    }
    publisher.publish(batch);
    for (path, word) in [
        ("/api/history", "channels=cpu/usage"),
        ("/api/history?channels=%23&points=600", "points=166"),
        ("/api/history?channels=a&last=soon", "last=15m"),
        ("/api/history?channels=a&nonsense=1", "points are"),
    ] {
        let answer = get(address, path);
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.text().contains(word), "{path}: {}", answer.text());
    }
    assert_eq!(history(address, "channels=nobody")["channels"], serde_json::json!({}));
    let all = history(address, "channels=%23&points=166");
    assert_eq!(all["channels"].as_object().map(serde_json::Map::len), Some(400));
    assert!(metric(address, "boardcast_history_bytes") > 400 * 200);
    let posted =
        ask(address, "POST /api/history HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(posted.status, 405);
}

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("boardcast-history-{test}-{}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&folder.0).expect("made");
        folder
    }

    fn file(&self) -> PathBuf {
        self.0.join("history")
    }

    /// The file's path, as an argument.
    fn argument(&self) -> String {
        self.file().to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How many channels a copy of this file holds; none, when it is damaged.
fn channels_in(file: &Path) -> usize {
    let folder = Folder::new(&format!("copy-{:?}", std::thread::current().id()));
    fs::copy(file, folder.file()).expect("copied");
    let hub = Hub::new(HubSettings::default());
    Archive::new(hub.clone(), folder.file(), Path::new("/")).expect("a file").load();
    hub.history().size().1
}

#[test]
fn the_binary_keeps_it_over_a_restart() {
    let folder = Folder::new("restart");
    let arguments = ["--interval", "100ms", "--history-file", &folder.argument()];
    let first = Binary::start(&arguments);
    let before = wait_for("two seconds of history", || {
        let answer = history(first.address, "channels=uptime");
        let t = numbers(&answer["t"]);
        (t.len() >= 2).then(|| t[0].expect("a time"))
    });
    assert!(!folder.file().exists(), "nothing is written before its time");
    first.signal(Signal::SIGTERM);
    let (code, log) = first.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(channels_in(&folder.file()) > 20);
    assert!(!folder.0.join("history.new").exists());

    let second = Binary::start(&arguments);
    let after = numbers(&history(second.address, "channels=uptime")["t"])[0].expect("a time");
    // By the wall clock, which may be slewed meanwhile.
    assert!((after - before).abs() < 1.0, "{after} for {before}");
    assert!(second.log().contains("history of"), "{}", second.log());
}

#[test]
fn a_damaged_file_is_set_aside_and_the_binary_serves() {
    let folder = Folder::new("damaged");
    fs::write(folder.file(), b"no history at all").expect("written");
    let board = Binary::start(&["--history-file", &folder.argument()]);
    let log = wait_for("a warning", || Some(board.log()).filter(|log| !log.is_empty()));
    assert!(log.contains("history.damaged"), "{log}");
    assert_eq!(get(board.address, "/healthz").status, 200);
    assert!(folder.0.join("history.damaged").exists() && !folder.file().exists());
}

/// Writes as fast as it can, which only a debug build does.
#[cfg(debug_assertions)]
fn eager(command: &mut Command, file: &str) -> Binary {
    command.env("BOARDCAST_FAULT", "history").env("RUST_LOG", "info");
    let listen = ["--listen", "127.0.0.1:0", "--interval", "50ms"];
    Binary::run(command.args(listen).args(["--history-file", file]))
}

#[cfg(debug_assertions)]
#[test]
fn killed_at_any_moment_it_leaves_a_whole_file() {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::new("killed");
    let rounds = if emulated() { 3 } else { 15 };
    let mut cut = 0;
    for round in 0..rounds {
        let mut board = eager(&mut command(env!("CARGO_BIN_EXE_boardcast")), &folder.argument());
        let inode = || fs::metadata(folder.file()).map(|data| data.ino()).ok();
        let before = inode();
        wait_for("a new file", || inode().filter(|now| Some(*now) != before));
        // Not a wait for something: a moment that differs from round to round.
        let moment = Instant::now() + Duration::from_micros(977 * round * round % 20_011);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        board.child.kill().expect("killed");
        board.child.wait().expect("ended");
        cut += usize::from(folder.0.join("history.new").exists());
        assert!(channels_in(&folder.file()) > 20, "round {round}");
        assert!(!board.log().contains("damaged"), "{}", board.log());
    }
    println!("{cut} of {rounds} kills met it while it wrote");
}

/// A small disk in a mount namespace of its own; `None` where that is not allowed.
#[cfg(debug_assertions)]
#[test]
fn on_a_full_disk_the_old_file_stays_and_the_binary_serves() {
    let folder = Folder::new("full");
    let mount = folder.0.to_str().expect("UTF-8").to_owned();
    let small = |then: &str| {
        let script = format!("mount -t tmpfs -o size=256k none {mount} && {then}");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]);
        command
    };
    let allowed = small("true").output().is_ok_and(|output| output.status.success());
    if !allowed || emulated() {
        eprintln!("skipped: only root may mount a small disk");
        return;
    }
    let mut shell = small(&format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_boardcast")));
    let board = eager(&mut shell, &folder.argument());
    // Its own view of the disk.
    let inside = PathBuf::from(format!("/proc/{}/root{mount}", board.child.id()));
    let file = inside.join("history");
    wait_for("a file", || file.exists().then_some(()));

    let filler = inside.join("filler");
    wait_for("a warning", || {
        // It frees what it wrote in vain: fill again.
        let room = fs::read(&filler).map_or(0, |bytes| bytes.len());
        let _ = fs::write(&filler, vec![1; room + (256 << 10)]);
        board.log().contains("cannot keep the history").then_some(())
    });
    assert!(board.log().contains("No space left"), "{}", board.log());
    assert!(channels_in(&file) > 20);
    assert_eq!(get(board.address, "/healthz").status, 200);

    fs::remove_file(&filler).expect("removed");
    let inode =
        |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).expect("there"));
    let old = inode(&file);
    wait_for("a new file, now that there is room", || (inode(&file) != old).then_some(()));
    assert!(channels_in(&file) > 20);
}
