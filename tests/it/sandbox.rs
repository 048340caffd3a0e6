//! What the real binary can still do once it serves, whom it runs as, who
//! starts its commands, and where it listens.
//!
//! `probe` in `src/daemon/sandbox` tries from the inside what is forbidden.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    net::TcpListener,
    process::{Command, Output},
};

use nix::{sys::signal::Signal, unistd::geteuid};
use serde_json::Value;

use crate::{
    feeds::{Place, members},
    fixture::*,
    settings::Folder,
};

const BINARY: &str = env!("CARGO_BIN_EXE_boardcast");
const ALONE: [&str; 4] = ["--socket", "none", "--config", "/dev/null"];

/// A debug build of the binary, with a fault planted; a release build has none.
#[cfg(debug_assertions)]
fn planted(fault: &str, arguments: &[&str]) -> Binary {
    let mut program = command(BINARY);
    program.args(["--listen", "127.0.0.1:0"]).args(ALONE).args(arguments);
    Binary::run(program.env("BOARDCAST_FAULT", fault))
}

/// What became of one thing that was tried.
#[cfg(debug_assertions)]
fn tried(log: &str, what: &str) -> String {
    let mark = format!("probe: {what}: ");
    let outcome = log.lines().find_map(|line| line.split_once(&mark));
    outcome.unwrap_or_else(|| panic!("{what} was not tried: {log}")).1.to_owned()
}

/// Whether this kernel can close a sandbox at all; it says so in the log.
fn kernel_has_landlock() -> bool {
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let list = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or("landlock".into());
    !emulated() && symbols.contains("sys_landlock_restrict_self") && list.contains("landlock")
}

#[cfg(debug_assertions)]
const FORBIDDEN_FILES: [&str; 6] = [
    "read /etc/shadow",
    "read /etc/passwd",
    "list /",
    "write into the temporary folder",
    "write /proc/self/comm",
    "execute /bin/true",
];

#[cfg(debug_assertions)]
#[test]
fn nothing_but_what_is_needed_can_be_opened_written_or_started() {
    if !kernel_has_landlock() {
        return eprintln!("passed over: this kernel has no Landlock");
    }
    let log = planted("sandbox", &[]).log();
    for what in FORBIDDEN_FILES {
        assert!(tried(&log, what).starts_with("Permission denied"), "{what}: {log}");
    }
    // An older Landlock guards files alone, and says so.
    if !log.contains("its Landlock is of version") {
        assert!(tried(&log, "listen on TCP").starts_with("Permission denied"), "{log}");
        assert!(tried(&log, "signal the parent").contains("not permitted"), "{log}");
    }
    for what in ["read /proc/stat", "list /sys/class"] {
        assert_eq!(tried(&log, what), "done", "{what}");
    }
}

/// The same without it: else the test above could not fail.
#[cfg(debug_assertions)]
#[test]
fn without_a_sandbox_all_that_can_be_done() {
    let log = planted("sandbox", &["--no-sandbox"]).log();
    for what in &FORBIDDEN_FILES[1..] {
        assert_eq!(tried(&log, what), "done", "{what}");
    }
    if geteuid().is_root() && std::path::Path::new("/etc/shadow").exists() {
        assert_eq!(tried(&log, "read /etc/shadow"), "done");
    }
    for what in ["listen on TCP", "signal the parent"] {
        assert_eq!(tried(&log, what), "done", "{what}");
    }
}

#[cfg(debug_assertions)]
#[test]
fn a_kernel_without_landlock_is_told_once_and_serves() {
    let board = planted("landlock", &[]);
    assert_eq!(get(board.address, "/healthz").status, 200);
    board.signal(Signal::SIGTERM);
    let (code, log) = board.wait();
    assert_eq!((code, log.matches("the sandbox stays open").count()), (Some(0), 1), "{log}");
}

/// Names of channels, and what is wrong with each.
fn channels(board: &Binary) -> BTreeSet<(String, String)> {
    let answer = get(board.address, "/api/channels");
    let answer: Value = serde_json::from_str(answer.text()).expect("JSON");
    let list = answer["channels"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.iter().map(|one| (text(&one["name"]), text(&one["reason"]))).collect()
}

#[test]
fn the_board_is_read_as_without_a_sandbox() {
    let inside = Binary::start(&ALONE);
    let outside = Binary::start(&[&ALONE[..], &["--no-sandbox"]].concat());
    wait_for("the same channels, with the same troubles", || {
        let (inside, outside) = (channels(&inside), channels(&outside));
        (inside == outside && inside.len() > 5).then_some(())
    });
}

/// The latest good value of a channel.
fn latest(board: &Binary, name: &str) -> Option<Value> {
    let answer = get(board.address, "/api/latest");
    let latest: Value = serde_json::from_str(answer.text()).expect("JSON");
    latest["values"].get(name).cloned()
}

fn file_source(name: &str, path: &str) -> String {
    format!(
        "[[source]]\nname = \"{name}\"\nkind = \"file\"\npath = \"{path}\"\nevery = \"50ms\"\n\
         channel = \"{name}\"\n"
    )
}

fn command_source(name: &str, line: &str) -> String {
    format!("[[source]]\nname = \"{name}\"\nkind = \"command\"\ncommand = \"{line}\"\n")
}

#[test]
fn what_the_settings_name_is_reached_even_if_it_comes_later_or_is_replaced() {
    let (settings, other) = (Folder::new("sandbox-reached"), Folder::new("sandbox-later"));
    let server = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = server.local_addr().expect("an address").port();
    let history = other.0.join("history");
    let value = other.0.join("not-yet/value");
    let text = format!(
        "history_file = \"{}\"\n{}{}[[source]]\nname = \"meter\"\nkind = \"tcp\"\n\
         address = \"localhost:{port}\"\n",
        history.display(),
        file_source("late", value.to_str().expect("UTF-8")),
        command_source("shell", "cat /etc/passwd >/dev/null && echo shell=1; sleep 1000"),
    );
    let path = settings.write("x.toml", &text);
    let board = Binary::start(&["--socket", "none", "--config", &path]);
    let (mut stream, _) = server.accept().expect("a connection, by a name");
    writeln!(stream, "metered=5").expect("sent");
    other.write("not-yet/value", "1\n");
    wait_for("the late file", || (latest(&board, "late")? == 1.0).then_some(()));
    other.write("not-yet/value", "2\n");
    wait_for("the one in its place", || (latest(&board, "late")? == 2.0).then_some(()));
    for (name, number) in [("metered", 5.0), ("shell", 1.0)] {
        wait_for(name, || (latest(&board, name)? == number).then_some(()));
    }
    board.signal(Signal::SIGTERM);
    let (code, log) = board.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(history.exists(), "{log}");
}

#[test]
fn sighup_names_what_is_outside_and_takes_all_the_rest() {
    if !kernel_has_landlock() {
        return eprintln!("passed over: this kernel has no Landlock");
    }
    let (settings, other) = (Folder::new("sandbox-sighup"), Folder::new("sandbox-outside"));
    let inside = settings.write("value", "1\n");
    let outside = other.write("value", "2\n");
    let path = settings.write("x.toml", "");
    let board = Binary::start(&["--socket", "none", "--config", &path]);
    settings.write(
        "x.toml",
        &format!(
            "{}{}[[source]]\nname = \"meter\"\nkind = \"tcp\"\naddress = \"127.0.0.1:9\"\n",
            file_source("inside", &inside),
            file_source("outside", &outside)
        ),
    );
    board.signal(Signal::SIGHUP);
    wait_for("what is inside", || (latest(&board, "inside")? == 1.0).then_some(()));
    let mut log = board.log();
    let folder = other.0.canonicalize().expect("there");
    for need in [format!("source outside: {}", folder.display()), "source meter: TCP port 9".into()]
    {
        let line = format!("{need} is outside of the sandbox");
        wait_for(&line, || {
            log = board.log();
            log.contains(&line).then_some(())
        });
        assert_eq!(log.matches(&line).count(), 1, "{line}: {log}");
    }
    assert_eq!(latest(&board, "outside"), None);

    // A first command: nobody is there who could start it.
    settings.write(
        "x.toml",
        &format!("{}{}", file_source("inside", &inside), command_source("first", "echo first=1")),
    );
    board.signal(Signal::SIGHUP);
    wait_for("the trouble", || {
        log = board.log();
        log.contains("closed when the settings had no command; systemctl restart").then_some(())
    });
    assert_eq!(latest(&board, "inside"), Some(1.into()));
}

/// The values of a line of `/proc/PID/status`.
fn status(pid: i32, key: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
    line.expect(key).split_whitespace().map(str::to_owned).collect()
}

/// The processes that this one has started and that live.
fn children(pid: i32) -> Vec<i32> {
    let numbers = fs::read_dir("/proc").expect("listed").flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |number: &i32| {
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        matches!(fields[..], [state, parent, ..] if state != "Z" && parent == pid.to_string())
    };
    numbers.filter(is_child).collect()
}

/// The process that starts commands for a server.
fn helper(board: &Binary) -> i32 {
    let children = children(board.child.id() as i32);
    let [helper] = children[..] else { panic!("{children:?} instead of one") };
    helper
}

/// A board with a command that will not end; its group.
fn with_a_stubborn_command(settings: &Folder, arguments: &[&str]) -> (Binary, i32) {
    let line = "trap '' TERM; echo group=$$; sleep 1000 & while :; do sleep 1000; done";
    let path = settings.write("x.toml", &command_source("stubborn", line));
    let board = Binary::start(&[&["--socket", "none", "--config", &path], arguments].concat());
    let group = wait_for("its group", || latest(&board, "group")?.as_f64()) as i32;
    assert!(!members(group).is_empty());
    (board, group)
}

#[test]
fn the_user_that_the_settings_name_has_no_rights_of_root_and_no_way_back() {
    if !geteuid().is_root() {
        return eprintln!("passed over: only root can become another user");
    }
    let settings = Folder::new("sandbox-user");
    let (board, group) = with_a_stubborn_command(&settings, &["--user", "nobody"]);
    let server = board.child.id() as i32;
    let nobody = nix::unistd::User::from_name("nobody").expect("asked").expect("it is there");
    for pid in [server, helper(&board), group] {
        assert_eq!(status(pid, "Uid"), vec![nobody.uid.to_string(); 4], "{pid}");
        assert_eq!(status(pid, "Gid"), vec![nobody.gid.to_string(); 4], "{pid}");
        assert!(!status(pid, "Groups").contains(&"0".to_owned()), "{pid}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(pid, set), ["0000000000000000"], "{set} of {pid}");
        }
        assert_eq!(status(pid, "NoNewPrivs"), ["1"], "{pid}");
    }
    assert!(!board.log().contains("running as root"), "{}", board.log());
    // It reads its settings as before.
    settings.write("x.toml", &command_source("other", "echo other=1; sleep 1000"));
    board.signal(Signal::SIGHUP);
    wait_for("the other command", || (latest(&board, "other")? == 1.0).then_some(()));
    board.signal(Signal::SIGTERM);
    assert_eq!(board.wait().0, Some(0));
    assert_eq!(members(group), [""; 0]);
}

fn refused(arguments: &[&str]) -> Output {
    let mut program = command(BINARY);
    program.args(["--listen", "127.0.0.1:0"]).args(ALONE).args(arguments);
    program.output().expect("it runs")
}

#[test]
fn a_user_that_cannot_be_is_one_line_that_says_what_to_do() {
    let output = refused(&["--user", "no-such-user"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("there is no user no-such-user: make it with useradd"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    if !geteuid().is_root() {
        let output = refused(&["--user", "root"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("only root can become root: start boardcast with sudo"), "{told}");
    }
}

#[test]
fn root_is_told_once_how_to_be_less() {
    if !geteuid().is_root() {
        return eprintln!("passed over: this is not root");
    }
    let log = Binary::start(&ALONE).log();
    assert_eq!(log.matches("running as root; --user NAME").count(), 1, "{log}");
    let log = Binary::start(&[&ALONE[..], &["--user", "root"]].concat()).log();
    assert!(!log.contains("running as root"), "{log}");
}

#[test]
fn a_server_that_is_killed_leaves_no_command_and_no_helper_behind() {
    let settings = Folder::new("sandbox-killed");
    let (mut board, group) = with_a_stubborn_command(&settings, &[]);
    let helper = helper(&board);
    board.child.kill().expect("killed");
    board.child.wait().expect("waited");
    wait_for("the end of its command", || members(group).is_empty().then_some(()));
    wait_for("the end of the helper", || {
        let stat = fs::read_to_string(format!("/proc/{helper}/stat")).unwrap_or(") Z".into());
        stat.contains(") Z").then_some(())
    });
}

/// Numbers of the sockets that a process has.
fn sockets(pid: i32) -> BTreeSet<u64> {
    let list = fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process").flatten();
    let links = list.filter_map(|entry| fs::read_link(entry.path()).ok());
    let number = |link: std::path::PathBuf| {
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    links.filter_map(number).collect()
}

#[test]
fn the_helper_has_no_listener_and_no_client_and_can_be_missed() {
    let settings = Folder::new("sandbox-helper");
    let (board, group) = with_a_stubborn_command(&settings, &[]);
    let _viewer = Client::connect(board.address, "/ws");
    let helper = helper(&board);
    let both: Vec<_> =
        sockets(helper).intersection(&sockets(board.child.id() as i32)).copied().collect();
    assert_eq!(both, [0; 0], "of the server's sockets it has none");
    if !emulated() {
        assert_eq!(
            fs::read_to_string(format!("/proc/{helper}/comm")).expect("read"),
            "bc-helper\n"
        );
        let open = fs::read_dir(format!("/proc/{helper}/fd")).expect("listed").count();
        // Standard streams and the server; of the command a channel and its end.
        assert!(open <= 4 + 2, "{open} descriptors");
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(helper), Signal::SIGKILL).expect("killed");
    wait_for("the trouble", || {
        let told = "the helper that starts commands has ended; systemctl restart boardcast";
        channels(&board).iter().any(|(_, why)| why.contains(told)).then_some(())
    });
    assert_eq!(get(board.address, "/healthz").status, 200);
    // Nobody is there to end what would not.
    for stat in members(group) {
        let pid = stat.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a number");
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
    }
    board.signal(Signal::SIGTERM);
    assert_eq!(board.wait().0, Some(0));
}

/// Local ports of a list of the kernel (proc_net(5)) that these sockets have.
fn ports(list: &str, state: &str, sockets: &BTreeSet<u64>) -> Vec<u16> {
    let text = fs::read_to_string(format!("/proc/net/{list}")).unwrap_or_default();
    let port = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let ours = sockets.contains(&fields.get(9)?.parse().ok()?);
        let (_, port) = fields[1].split_once(':')?;
        (ours && fields[3] == state).then(|| u16::from_str_radix(port, 16).ok()).flatten()
    };
    text.lines().skip(1).filter_map(port).collect()
}

#[test]
fn nothing_else_listens_than_what_was_asked_for() {
    let settings = Folder::new("sandbox-listens");
    let socket = Place::new();
    let path = settings.write("x.toml", &command_source("shell", "echo up=1; sleep 1000"));
    let name = socket.0.to_str().expect("UTF-8");
    let board = Binary::start(&["--socket", name, "--config", &path]);
    let _viewer = Client::connect(board.address, "/ws");
    wait_for("the command", || latest(&board, "up"));
    let server = board.child.id() as i32;
    let mut all = sockets(server);
    all.extend(sockets(helper(&board)));
    let tcp: Vec<_> = ["tcp", "tcp6"].iter().flat_map(|list| ports(list, "0A", &all)).collect();
    assert_eq!(tcp, [board.address.port()]);
    let udp: Vec<_> = ["udp", "udp6"].iter().flat_map(|list| ports(list, "07", &all)).collect();
    assert_eq!(udp, [0; 0]);
    let unix = fs::read_to_string("/proc/net/unix").expect("read");
    let bound: BTreeSet<_> = unix
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let ours = all.contains(&fields.get(6)?.parse().ok()?);
            ours.then(|| fields.get(7).map(|name| (*name).to_owned())).flatten()
        })
        .collect();
    assert_eq!(bound, BTreeSet::from([name.to_owned(), format!("{name}.dgram")]));

    // As an administrator would look (iproute2).
    let Ok(output) = Command::new("ss").args(["-ltnpH"]).output() else {
        return eprintln!("passed over in part: there is no ss");
    };
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let own: Vec<_> =
        told.lines().filter(|line| line.contains(&format!("pid={server},"))).collect();
    assert_eq!(own.len(), 1, "{told}");
    assert!(own[0].contains(&board.address.to_string()), "{told}");
}
