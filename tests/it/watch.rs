//! The terminal client: the real binary, against the real binary and against
//! boards in this process; piped, and on a terminal of the test's own.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use boardcast::telemetry::{Batch, Channel};
use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::fixture::*;

/// The program, with the signals of a terminal as a terminal has them: what a
/// shell starts in the background ignores SIGINT, and so do its children.
fn client(arguments: &[&str]) -> Command {
    let program = command(env!("CARGO_BIN_EXE_boardcast"));
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,QUIT").arg(program.get_program());
    command.args(program.get_args()).args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    client(arguments).output().expect("started")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// A client whose output is a pipe; it is killed when the test is over.
struct Piped {
    child: Child,
    lines: Option<BufReader<std::process::ChildStdout>>,
}

impl Piped {
    fn start(arguments: &[&str]) -> Self {
        let mut command = client(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let lines = child.stdout.take().map(BufReader::new);
        Self { child, lines }
    }

    /// The next line, as JSON.
    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.as_mut().expect("open").read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line:?}"))
    }

    /// Waits for its end; how it ended, and what it wrote to standard error.
    fn wait(&mut self) -> (ExitStatus, String) {
        let status = wait_for("the client's end", || self.child.try_wait().expect("waited"));
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        stderr.read_to_string(&mut errors).expect("UTF-8");
        (status, errors)
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn piped_it_is_a_line_a_message_and_ends_quietly_with_its_reader() {
    let server = Binary::start(&["--interval", "100ms"]);
    let mut watch = Piped::start(&["watch", &server.address.to_string(), "load/+", "uptime"]);
    let snapshot = watch.next();
    assert_eq!(snapshot["snapshot"], true);
    let mut seq = snapshot["seq"].as_u64();
    for _ in 0..3 {
        let data = watch.next();
        assert_eq!(data["type"], "data");
        assert!(data["seq"].as_u64() > seq);
        seq = data["seq"].as_u64();
        let names: Vec<_> = data["values"].as_object().expect("values").keys().collect();
        assert!(names.iter().all(|name| *name == "uptime" || name.starts_with("load/")));
    }
    drop(watch.lines.take());
    let (status, errors) = watch.wait();
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
}

#[test]
fn a_reader_that_goes_while_nothing_comes_is_noticed() {
    let board = Board::start();
    let mut watch = Piped::start(&["watch", &board.engine.address.to_string()]);
    watch.next();
    drop(watch.lines.take());
    assert_eq!(watch.wait().0.code(), Some(0));
}

#[test]
fn it_says_so_when_no_channel_matches_and_waits_for_one() {
    let board = Board::start();
    let mut watch = Piped::start(&["watch", &board.engine.address.to_string(), "late/+"]);
    assert_eq!(watch.next()["values"], serde_json::json!({}));
    let late = Channel::gauge("late/one").expect("valid");
    let id = board.publisher().channel(late).expect("declared");
    let mut batch = Batch::at(board.hub.clock().boot());
    batch.set(id, 1.5);
    board.publisher().publish(batch);
    assert_eq!(watch.next()["values"], serde_json::json!({"late/one": 1.5}));
    watch.child.kill().expect("killed");
    assert_eq!(watch.wait().1, "boardcast: no channel matches, so far\n");
}

#[test]
fn a_signal_ends_it_as_signals_do() {
    let board = Board::start();
    let mut watch = Piped::start(&["watch", &board.engine.address.to_string()]);
    watch.next();
    kill(Pid::from_raw(watch.child.id() as i32), Signal::SIGINT).expect("signalled");
    let (status, errors) = watch.wait();
    assert_eq!((status.signal(), errors.as_str()), (Some(Signal::SIGINT as i32), ""));
}

#[test]
fn once_prints_what_there_is_and_ends() {
    let server = Binary::start(&[]);
    let address = server.address.to_string();
    let table = run(&["once", &address, "mem/+", "uptime"]);
    assert_eq!(table.status.code(), Some(0), "{}", text(&table.stderr));
    let lines: Vec<_> = text(&table.stdout).lines().collect();
    assert!(lines[0].starts_with("mem/available ") && lines[0].ends_with("iB"), "{lines:?}");
    assert!(lines.last().is_some_and(|line| line.starts_with("uptime ")), "{lines:?}");
    let json = run(&["once", "--json", &format!("http://{address}/")]);
    let whole: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(text(&json.stdout).lines().count(), 1);
    let total = whole["values"]["mem/total"].as_f64();
    assert!(total.is_some_and(|bytes| bytes > 1e6) && whole["values"]["uptime"].is_number());
}

#[test]
fn once_gathers_a_snapshot_of_many_parts() {
    let board = Board::start();
    let mut batch = Batch::at(board.hub.clock().boot());
    for number in 0..900 {
        let name = format!("many/{number}/{}", "x".repeat(60));
        let id =
            board.publisher().channel(Channel::gauge(&name).expect("valid")).expect("declared");
        batch.set(id, f64::from(number) + 0.25);
    }
    board.publisher().publish(batch);
    let once = run(&["once", "--json", &board.engine.address.to_string(), "many/#"]);
    let whole: Value = serde_json::from_slice(&once.stdout).expect("JSON");
    let values = whole["values"].as_object().expect("values");
    assert_eq!(values.len(), 900, "{}", text(&once.stderr));
    assert!(once.stdout.len() > 3 * 16 * 1024, "that was no snapshot of many parts");
}

/// Answers one request so, and ends.
fn answers(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut head = [0; 4096];
        let _ = stream.read(&mut head);
        send(&mut stream, answer);
    });
    address
}

#[test]
fn what_does_not_work_is_one_line_and_exit_code_1() {
    let board = Board::start();
    let there = board.engine.address.to_string();
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("free");
    let refuses = answers("HTTP/1.1 403 Forbidden\r\n\r\nonly neighbours are served; see --allow");
    let other = answers("HTTP/1.1 404 Not Found\r\n\r\n");
    let mute = answers("");
    for (arguments, why) in [
        (["once", &there, "no/such"], "no channel matches no/such"),
        (["once", &nobody.to_string(), "#"], "is boardcast running there?"),
        (["watch", &nobody.to_string(), "#"], "is boardcast running there?"),
        (["watch", &refuses.to_string(), "#"], "only neighbours are served; see --allow"),
        (["once", &other.to_string(), "#"], "is that a boardcast?"),
        (["watch", &mute.to_string(), "#"], "is boardcast running there?"),
    ] {
        let output = run(&arguments);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(errors.contains(why) && errors.lines().count() == 1, "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty());
    }
    let usage = run(&["watch", "pi", "a//b"]);
    assert_eq!(usage.status.code(), Some(2), "{}", text(&usage.stderr));
}

/// A way to a server that can be cut and closed for a while.
struct Bridge {
    address: SocketAddr,
    server: Arc<Mutex<SocketAddr>>,
    open: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Bridge {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (open, streams) = (Arc::new(AtomicBool::new(true)), Arc::<Mutex<Vec<_>>>::default());
        let server = Arc::new(Mutex::new(server));
        let bridge =
            Self { address, server: server.clone(), open: open.clone(), streams: streams.clone() };
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if !open.load(SeqCst) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(*server.lock().expect("no panic")) else {
                    continue;
                };
                let copy = |stream: &TcpStream| stream.try_clone().expect("cloned");
                streams.lock().expect("no panic").extend([copy(&near), copy(&far)]);
                for (mut from, mut to) in [(copy(&near), copy(&far)), (far, near)] {
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        bridge
    }

    fn cut(&self) {
        self.open.store(false, SeqCst);
        for stream in self.streams.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn lead_to(&self, server: SocketAddr) {
        *self.server.lock().expect("no panic") = server;
    }

    fn mend(&self) {
        self.open.store(true, SeqCst);
    }
}

#[test]
fn it_goes_on_where_it_was_after_a_cut() {
    let board = Board::start();
    let bridge = Bridge::to(board.engine.address);
    board.publish();
    let mut watch = Piped::start(&["watch", &bridge.address.to_string()]);
    let snapshot = watch.next();
    assert_eq!((snapshot["snapshot"].as_bool(), snapshot["seq"].as_u64()), (Some(true), Some(1)));
    let mut seq = 1;
    for _ in 0..3 {
        let last = board.publish();
        while seq < last {
            seq += 1;
            let data = watch.next();
            assert_eq!((data["seq"].as_u64(), &data["snapshot"]), (Some(seq), &Value::Null));
            assert_eq!(data["values"]["count"].as_u64(), Some(seq));
        }
        bridge.cut();
        wait_for("the board to notice", || (board.engine.streams() == 0).then_some(()));
        for _ in 0..20 {
            board.publish();
        }
        bridge.mend();
    }
    while seq < board.hub.view().seq() {
        seq += 1;
        assert_eq!(watch.next()["seq"].as_u64(), Some(seq));
    }
    watch.child.kill().expect("killed");
    let (_, errors) = watch.wait();
    assert!(errors.contains("reconnecting…") && errors.contains("connected again"), "{errors}");
}

#[test]
fn a_board_that_was_started_anew_gives_a_snapshot() {
    let board = Board::start();
    let bridge = Bridge::to(board.engine.address);
    for _ in 0..10 {
        board.publish();
    }
    let mut watch = Piped::start(&["watch", &bridge.address.to_string()]);
    assert_eq!(watch.next()["seq"], 10);
    let again = Board::start();
    again.publish();
    bridge.lead_to(again.engine.address);
    board.engine.stop().expect("stopped");
    let subscribed = watch.next();
    assert_eq!(subscribed["type"], "subscribed", "what is lost is told: {subscribed}");
    assert_eq!(subscribed["recovered"], false);
    let snapshot = watch.next();
    assert_eq!((snapshot["seq"].as_u64(), snapshot["snapshot"].as_bool()), (Some(1), Some(true)));
}

/// A client on a terminal of its own, which sees what it draws.
struct Terminal {
    child: Child,
    master: File,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    const WIDTH: u16 = 70;

    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let size = Winsize { ws_row: 10, ws_col: Self::WIDTH, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("a terminal");
        let end = || Stdio::from(pty.slave.try_clone().expect("cloned"));
        // The client's own session, so that Ctrl-C reaches it and nobody else.
        let program = client(arguments);
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(program.get_program()).args(program.get_args());
        command.env("TERM", "xterm").env_remove("NO_COLOR").envs(environment.iter().copied());
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("setsid (util-linux) starts");
        drop((command, pty.slave));
        let seen = Arc::<Mutex<String>>::default();
        let (mut reader, written) = (File::from(copy(&pty.master)), seen.clone());
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let mut buffer = [0; 4096];
            // Until the last descriptor of the other side is closed.
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                bytes.extend_from_slice(&buffer[..length]);
                *written.lock().expect("no panic") = String::from_utf8_lossy(&bytes).into_owned();
            }
        });
        Self { child, master: File::from(pty.master), seen }
    }

    fn seen(&self) -> String {
        self.seen.lock().expect("no panic").clone()
    }

    fn wait_to_see(&self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen().contains(what) {
            assert!(Instant::now() < deadline, "waited for {what:?}: {:?}", self.seen());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn key(&mut self, byte: u8) {
        self.master.write_all(&[byte]).expect("typed");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn copy(descriptor: &OwnedFd) -> OwnedFd {
    descriptor.try_clone().expect("cloned")
}

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

fn with_text(value: &str) -> Board {
    let board = Board::start();
    let channel = Channel::state("door").expect("valid").label("\x1b]0;label\x07");
    let id = board.publisher().channel(channel).expect("declared");
    let mut batch = Batch::at(board.hub.clock().boot());
    batch.set(id, value);
    board.publisher().publish(batch);
    board
}

#[test]
fn on_a_terminal_it_is_a_table_and_ctrl_c_puts_the_terminal_right() {
    let board = with_text("\x1b[2Jevil\u{9b}");
    let mut terminal = Terminal::start(&["watch", &board.engine.address.to_string()], &[]);
    terminal.wait_to_see("door");
    board.publish();
    terminal.wait_to_see("·[2Jevil·");
    terminal.key(0x03);
    let status = wait_for("its end", || terminal.child.try_wait().expect("waited"));
    assert_eq!(status.signal(), Some(Signal::SIGINT as i32));
    terminal.wait_to_see(LEAVE);
    let seen = terminal.seen();
    assert!(seen.contains(ENTER) && seen.contains("·[2Jevil·"), "{seen:?}");
    assert!(!seen.contains("\x1b[2J") && !seen.contains('\u{9b}') && !seen.contains("label"));
    assert!(seen.contains("\x1b[1m"), "no colours: {seen:?}");
}

#[test]
fn sigterm_and_a_stop_put_the_terminal_right_too() {
    let board = Board::start();
    let terminal = Terminal::start(&["watch", &board.engine.address.to_string()], &[]);
    let pid = Pid::from_raw(terminal.child.id() as i32);
    terminal.wait_to_see("count");
    kill(pid, Signal::SIGTSTP).expect("signalled");
    terminal.wait_to_see(LEAVE);
    kill(pid, Signal::SIGCONT).expect("signalled");
    wait_for("it to draw again", || (terminal.seen().matches(ENTER).count() == 2).then_some(()));
    kill(pid, Signal::SIGTERM).expect("signalled");
    wait_for("the end", || (terminal.seen().matches(LEAVE).count() == 2).then_some(()));
    let mut terminal = terminal;
    let status = wait_for("its end", || terminal.child.try_wait().expect("waited"));
    assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
}

#[test]
fn a_fast_board_is_drawn_a_few_times_a_second_and_no_color_is_honoured() {
    let board = Board::start();
    let address = board.engine.address.to_string();
    let terminal = Terminal::start(&["watch", &address, "--max-hz", "100"], &[("NO_COLOR", "1")]);
    terminal.wait_to_see("count");
    let (start, before) = (Instant::now(), terminal.seen().matches("\x1b[H").count());
    let mut last = 0;
    while start.elapsed() < Duration::from_secs(1) {
        last = board.publish();
        thread::sleep(Duration::from_millis(10));
    }
    terminal.wait_to_see(&format!(" {last}"));
    let drawn = terminal.seen().matches("\x1b[H").count() - before;
    let most = start.elapsed().as_millis() as usize / 200 + 2;
    assert!((2..=most).contains(&drawn), "{drawn} drawings for {last} batches");
    assert!(!terminal.seen().contains("\x1b[1m"));
}

#[test]
fn the_table_stays_and_says_so_while_the_connection_is_lost() {
    let board = Board::start();
    board.publish();
    let bridge = Bridge::to(board.engine.address);
    let terminal = Terminal::start(&["watch", &bridge.address.to_string()], &[]);
    let frame_with = |what: &str| {
        let what = what.to_owned();
        wait_for(&what, || {
            let seen = terminal.seen();
            let frame = seen.rsplit("\x1b[H").next().unwrap_or_default();
            (frame.contains(&what) && frame.contains("count")).then_some(())
        });
    };
    frame_with("live");
    bridge.cut();
    frame_with("reconnecting…");
    bridge.mend();
    frame_with("live");
    board.publish();
    frame_with(" 2");
}

#[test]
fn a_dumb_terminal_gets_lines() {
    let board = Board::start();
    board.publish();
    let terminal =
        Terminal::start(&["watch", &board.engine.address.to_string()], &[("TERM", "dumb")]);
    terminal.wait_to_see("\"snapshot\":true");
    assert!(!terminal.seen().contains('\x1b'));
}
