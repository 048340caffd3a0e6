//! Settings: `boardcast check`, `boardcast config`, and reading them anew.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use boardcast::config::KEYS;
use nix::{
    fcntl::OFlag,
    pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
    sys::signal::Signal,
};

use crate::{feeds::members, fixture::*};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The program with these arguments, without settings of this machine.
fn run(arguments: &[&str]) -> Output {
    command(env!("CARGO_BIN_EXE_boardcast")).args(arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// Each wrong file has its complaints beside it; `UPDATE_TABLES=1` writes them.
#[test]
fn what_is_wrong_in_a_file_is_told_with_its_place_and_its_mend() {
    let mut files: Vec<_> = fs::read_dir(here("tests/data/settings/wrong"))
        .expect("the files")
        .map(|entry| entry.expect("one").path())
        .filter(|path| path.extension() == Some("toml".as_ref()))
        // A build without MQTT says that, and no more.
        .filter(|path| cfg!(feature = "mqtt") || !path.to_string_lossy().contains("/mqtt-"))
        .collect();
    files.sort();
    assert!(files.len() >= 20, "{}", files.len());
    for file in files {
        let path = file.to_str().expect("UTF-8");
        let output = run(&["check", path]);
        assert_eq!(output.status.code(), Some(1), "{path}");
        assert!(output.stdout.is_empty(), "{path}: {}", text(&output.stdout));
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        let told = text(&output.stderr).replace(path, name);
        // One line each: file, line, column, and how to mend it.
        for line in told.lines() {
            let mut parts = line.splitn(4, ':');
            assert_eq!(parts.next(), Some(name), "{line}");
            let place: Vec<usize> =
                parts.by_ref().take(2).map(|part| part.parse().expect(line)).collect();
            assert!(place.len() == 2 && place.iter().all(|&at| at > 0), "{line}");
        }
        let beside = file.with_extension("txt");
        if std::env::var_os("UPDATE_TABLES").is_some() {
            fs::write(&beside, &told).expect("written");
        }
        let expected = fs::read_to_string(&beside).expect("the complaints beside the file");
        assert_eq!(told, expected, "{path}");
        assert!(!told.is_empty(), "{path}");
    }
}

#[test]
fn serving_with_a_wrong_file_is_wrong_usage_and_one_line() {
    let file = here("tests/data/settings/wrong/misspelt.toml");
    let output = run(&["--config", file.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.ends_with(" (and 1 more; boardcast check tells all)\n"), "{told}");
    assert_eq!(told.lines().count(), 1);
    let output = run(&["check", "/nowhere/x.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("/nowhere/x.toml: cannot be read: "));
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_build_without_tls_says_which_one_has_it() {
    for (arguments, code) in [
        (&["--tls-cert", "/x", "--tls-key", "/y"][..], 2),
        (&["check", "--tls-cert", "/x"], 1),
        (&["once", "--authority", "/x"], 2),
        (&["cert"], 1),
    ] {
        let output = run(arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains("this build has no TLS") && told.lines().count() == 1, "{told}");
    }
}

#[cfg(not(feature = "mqtt"))]
#[test]
fn a_build_without_mqtt_says_which_one_has_it() {
    let source =
        "[[source]]\nname = \"x\"\nkind = \"mqtt\"\nurl = \"mqtt://host\"\ntopics = \"a\"\n";
    let folder = Folder::new("no-mqtt");
    let output = run(&["check", &folder.write("x.toml", source)]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("this build has no MQTT") && told.lines().count() == 1, "{told}");
}

/// The example in the package says of every setting what it is, all commented
/// out: taken as it is, it sets nothing.
#[test]
fn the_example_in_the_package_covers_every_setting() {
    let file = here("cross/package/boardcast.toml");
    let mut example = fs::read_to_string(&file).expect("the example");
    if !cfg!(feature = "mqtt") {
        // A build without MQTT refuses its source.
        let start = example.find("#[[source]]\n#name = \"zigbee\"").expect("it is there");
        let end = start + example[start..].find("\n\n").expect("an end");
        example.replace_range(start..end, "");
    }
    let output = run(&["check", file.to_str().expect("UTF-8")]);
    assert_eq!(
        text(&output.stdout),
        "settings are fine: 1 file, 0 settings, 0 sources, 0 channel tables\n"
    );
    let folder = Folder::new("example");
    // A build without TLS, or without MQTT, refuses what only one with it can do.
    let known = |line: &&str| {
        (cfg!(feature = "tls") || !line.starts_with("#tls_"))
            && (cfg!(feature = "mqtt") || !line.starts_with("#mqtt =") && *line != "#mqtt")
    };
    let uncommented = example.lines().filter(known).map(|line| match line.strip_prefix('#') {
        // A sentence begins with a blank.
        Some(setting) if !setting.starts_with([' ', '#']) => setting,
        _ => line,
    });
    let uncommented: Vec<&str> = uncommented.collect();
    let open = folder.write("open.toml", &uncommented.join("\n"));
    let output = run(&["config", "--config", &open]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for key in KEYS.iter().filter(|key| known(&format!("#{}", key.name).as_str())) {
        let line = shown.lines().find(|line| line.starts_with(&format!("{} = ", key.name)));
        let line = line.unwrap_or_else(|| panic!("{} is not in the example", key.name));
        assert!(line.contains("open.toml:"), "{line}");
    }
    let kinds = ["command", "file", "serial", "tcp", "gpio", "iio", "mqtt"];
    for kind in kinds.iter().filter(|kind| cfg!(feature = "mqtt") || **kind != "mqtt") {
        assert!(shown.contains(&format!("kind = \"{kind}\"")), "{kind}");
    }
    for format in ["lines", "value", "pattern", "json", "columns"] {
        assert!(shown.contains(&format!("format = \"{format}\"")), "{format}");
    }
    let rule = "label unit scale offset min max stale_after every idle_every hide";
    for name in rule.split(' ') {
        assert!(shown.lines().any(|line| line.starts_with(&format!("{name} = "))), "{name}");
    }
    // What stands there where there is a default is the default.
    let plain = run(&["config", "--config", "/dev/null"]);
    for line in text(&plain.stdout).lines().filter(|line| !line.starts_with('#')) {
        let default = line.rsplit_once(" # ").expect("an origin").0.trim_end();
        let cores = ["workers", "history_size"].iter().any(|name| default.starts_with(name));
        assert!(cores || uncommented.iter().any(|line| line.starts_with(default)), "{default}");
    }
}

#[test]
fn a_folder_of_files_is_read_in_order_below_the_root() {
    let root = Folder::new("root");
    root.write("etc/boardcast/boardcast.toml", "name = \"first\"\nworkers = 1\n");
    root.write("etc/boardcast/conf.d/20-b.toml", "name = \"third\"\n");
    root.write("etc/boardcast/conf.d/10-a.toml", "name = \"second\"\nworkers = 3\n");
    root.write("etc/boardcast/conf.d/30-c.toml.old", "name = \"none\"\n");
    let below = root.0.to_str().expect("UTF-8");
    let output = run(&["config", "--root", below]);
    let shown = text(&output.stdout);
    let line = |name: &str| shown.lines().find(|line| line.starts_with(name)).expect(name);
    assert!(line("name").starts_with("name = \"third\""), "{shown}");
    assert!(line("name").ends_with("20-b.toml:1"), "{shown}");
    assert!(line("workers").ends_with("10-a.toml:2"), "{shown}");
    let output = command(env!("CARGO_BIN_EXE_boardcast"))
        .args(["config", "--root", below])
        .env("BOARDCAST_WORKERS", "2")
        .env("BOARDCAST_NAME", "")
        .output()
        .expect("it runs");
    let shown = text(&output.stdout);
    assert!(shown.contains("workers = 2") && shown.contains("# BOARDCAST_WORKERS"), "{shown}");
    assert!(shown.contains("name = \"third\""), "{shown}");
}

/// A folder that goes when the test is over.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bc-settings-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// Writes a file; its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        // By renaming, so that nobody reads half of it.
        let fresh = self.0.join("fresh");
        fs::write(&fresh, text).expect("written");
        fs::rename(&fresh, &path).expect("renamed");
        path.to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a page of that origin may read the board.
fn is_let_in(address: std::net::SocketAddr, origin: &str) -> bool {
    let request = format!(
        "GET /api/latest HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"
    );
    ask(address, &request).status == 200
}

#[test]
fn sighup_reads_anew_and_viewers_stay() {
    let folder = Folder::new("sighup");
    let value = folder.write("value", "21.5\n");
    let source = |name: &str| {
        format!(
            "[[source]]\nname = \"{name}\"\nkind = \"file\"\npath = \"{value}\"\n\
             every = \"50ms\"\nchannel = \"{name}/value\"\n"
        )
    };
    let settings = folder.write("x.toml", &format!("interval = \"100ms\"\n{}", source("one")));
    let board = Binary::start(&["--config", &settings]);
    let mut viewer = Client::connect(board.address, "/ws?channels=one/%23,two/%23");
    let hears = |viewer: &mut Client, name: &str| loop {
        if viewer.next("data")["values"][name] == 21.5 {
            return;
        }
    };
    hears(&mut viewer, "one/value");
    assert!(!is_let_in(board.address, "https://panel.example"));

    // What is wrong changes nothing, and is told.
    folder.write("x.toml", "interval = \"fast\"\n");
    board.signal(Signal::SIGHUP);
    wait_for("the complaint", || board.log().contains("x.toml:1:12: interval: ").then_some(()));
    wait_for("its end", || board.log().contains("stay as they were").then_some(()));
    hears(&mut viewer, "one/value");

    // A source goes, one comes, one page is let in; the interval has to wait.
    let text = format!(
        "interval = \"1s\"\nallow_origin = \"https://panel.example\"\n{}\
         [[channel]]\nname = \"two/value\"\nlabel = \"The other\"\nscale = 2\n",
        source("two")
    );
    folder.write("x.toml", &text);
    board.signal(Signal::SIGHUP);
    wait_for("the news", || board.log().contains("1 sources started, 1 stopped").then_some(()));
    assert!(board.log().contains("interval counts from the next start on"));
    assert!(is_let_in(board.address, "https://panel.example"));
    loop {
        let message = viewer.json();
        if message["values"]["two/value"] == 43.0 {
            break;
        }
    }
    let channels = get(board.address, "/api/channels");
    let channels: serde_json::Value = serde_json::from_str(channels.text()).expect("JSON");
    let of = |name: &str| {
        let list = channels["channels"].as_array().expect("a list");
        list.iter().find(|channel| channel["name"] == name).expect(name).clone()
    };
    assert_eq!(of("one/value")["status"], "gone");
    assert_eq!(of("two/value")["label"], "The other");
    board.signal(Signal::SIGTERM);
    assert_eq!(viewer.close_code(), Some(1001));
    assert_eq!(board.wait().0, Some(0));
}

/// SIGTERM comes while the sources that have changed are still being stopped:
/// those that stay are told at once, too, and none is started any more.
#[test]
fn a_stop_amid_a_reload_leaves_no_process_behind() {
    let folder = Folder::new("both");
    let source = |name: &str, trap: &str| {
        format!(
            "[[source]]\nname = \"{name}\"\nkind = \"command\"\ncommand = \"trap '{trap}' TERM; \
             echo {name}=$$; while :; do sleep 1000; done\"\n"
        )
    };
    let stays = source("stays", "");
    let goes = source("goes", "echo told=1");
    let settings = folder.write("x.toml", &format!("{stays}{goes}"));
    let board = Binary::start(&["--config", &settings]);
    let latest = |name: &str| {
        wait_for(name, || {
            let answer = get(board.address, "/api/latest");
            let latest: serde_json::Value = serde_json::from_str(answer.text()).expect("JSON");
            latest["values"][name].as_f64()
        }) as i32
    };
    let groups = ["stays", "goes"].map(latest);
    assert!(groups.iter().all(|&group| !members(group).is_empty()));
    folder.write("x.toml", &format!("{stays}{}", source("comes", "")));
    board.signal(Signal::SIGHUP);
    assert_eq!(latest("told"), 1);
    board.signal(Signal::SIGTERM);
    let (code, log) = board.wait();
    assert_eq!(code, Some(0), "{log}");
    // On a machine that is busy the last of it is the helper's, which ends after the server.
    wait_for("the commands to end", || {
        groups.iter().all(|&group| members(group).is_empty()).then_some(())
    });
    assert!(!log.contains("1 sources started"), "{log}");
}

/// SIGTERM comes before all is started: what is started later ends, too.
#[test]
fn a_stop_amid_the_start_leaves_no_process_behind() {
    let folder = Folder::new("early");
    let note = folder.0.join("pids");
    let line = format!("trap '' TERM; echo $$ >>{}; while :; do sleep 1000; done", note.display());
    let source = format!("[[source]]\nname = \"a\"\nkind = \"command\"\ncommand = \"{line}\"\n");
    let settings = folder.write("x.toml", &source);
    let socket = folder.0.join("early.sock");
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    command.args(["--config", &settings, "--listen", "127.0.0.1:0", "--socket"]).arg(&socket);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
    // It is there before the sources are, and after signals are blocked.
    wait_for("its socket", || socket.exists().then_some(()));
    let id = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(id, Signal::SIGTERM).expect("sent");
    let status = child.wait().expect("waited");
    let mut log = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut log).expect("read");
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!socket.exists(), "{log}");
    // On a machine that is busy the last of it is the helper's, which ends after the server.
    wait_for("the commands to end", || {
        let groups = fs::read_to_string(&note).unwrap_or_default();
        let mut groups = groups.lines().map(|group| group.parse().expect("a number"));
        groups.all(|group| members(group).is_empty()).then_some(())
    });
}

/// A program in the foreground ends with its terminal, as programs do.
#[test]
fn it_ends_when_its_terminal_is_closed() {
    // Close-on-exec from the first: a master that a child inherits stays open.
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let mut terminal = posix_openpt(flags).expect("a terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("a terminal");
    let slave = ptsname_r(&terminal).expect("a name");
    let slave = fs::File::options().read(true).write(true).open(slave).expect("its other side");
    let end = || Stdio::from(slave.try_clone().expect("cloned"));
    let program = command(env!("CARGO_BIN_EXE_boardcast"));
    let mut command = Command::new("setsid");
    // By hand, since the fixture wants the greeting from a pipe.
    // Whoever runs the tests may have been started with nohup.
    command.args(["--ctty", "env", "--default-signal=HUP"]);
    command.arg(program.get_program()).args(program.get_args());
    command.args(["--listen", "127.0.0.1:0", "--config", "/dev/null"]);
    command.stdin(end()).stdout(end()).stderr(end());
    let mut child = command.spawn().expect("setsid (util-linux) starts");
    drop((command, slave));
    let mut seen = String::new();
    while !seen.contains("channels") {
        let mut buffer = [0; 1024];
        let length = terminal.read(&mut buffer).expect("a greeting");
        seen += &String::from_utf8_lossy(&buffer[..length]);
    }
    drop(terminal);
    let status = wait_for("its end", || child.try_wait().expect("waited"));
    assert_eq!(status.code(), Some(0), "{status:?}");
}
