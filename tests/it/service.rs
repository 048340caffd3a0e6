//! Under a service manager: readiness, the watchdog, sockets that are passed.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use boardcast::{
    net::{
        Answer as Reply, Application, Bell, Cursor, Feed, Frames, Gate, Limits, Request, Upgrade,
    },
    pulse::{Pulse, Watch},
    sources::{Readings, Sampler, Source},
    telemetry::{BootTime, Hub, HubSettings},
};
use nix::sys::signal::Signal;

use crate::fixture::*;

const BINARY: &str = env!("CARGO_BIN_EXE_boardcast");

/// What the service manager listens on.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn listen(test: &str) -> Self {
        // Such a path has 108 bytes at most: not below the target folder.
        let name = format!("boardcast-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Self { socket, path }
    }

    /// The next thing it is told.
    fn told(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("told in time");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// The next thing it is told that is no sign of life.
    fn told_but_life(&self) -> String {
        std::iter::repeat_with(|| self.told()).find(|told| told != "WATCHDOG=1\n").expect("endless")
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn has_thread(server: &Binary, named: &str) -> bool {
    let mut tasks = std::fs::read_dir(format!("/proc/{}/task", server.child.id())).expect("alive");
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
    tasks.any(|task| task.and_then(name).is_ok_and(|name| name.trim() == named))
}

#[test]
fn the_manager_is_told_when_it_is_ready_that_it_lives_and_that_it_stops() {
    let manager = Manager::listen("life");
    let mut command = command(BINARY);
    command.args(["--listen", "127.0.0.1:0", "--interval", "60m"]);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "100000");
    let server = Binary::run(&mut command);
    let ready = manager.told();
    let status = format!("STATUS=the page is at http://{}/", server.address);
    assert_eq!(ready.lines().collect::<Vec<_>>(), ["READY=1", &status]);
    assert_eq!(get(server.address, "/healthz").status, 200);
    for _ in 0..3 {
        assert_eq!(manager.told(), "WATCHDOG=1\n", "although the sampler sleeps for an hour");
    }
    assert!(has_thread(&server, "bc-watchdog"));
    server.signal(Signal::SIGTERM);
    assert!(manager.told_but_life().starts_with("STOPPING=1\n"));
    assert_eq!(server.wait().0, Some(0));
}

#[test]
fn without_a_watchdog_nobody_is_asked() {
    let manager = Manager::listen("quiet");
    let mut command = command(BINARY);
    command.args(["--listen", "127.0.0.1:0"]).env("NOTIFY_SOCKET", &manager.path);
    let server = Binary::run(&mut command);
    assert!(manager.told().starts_with("READY=1\n"));
    wait_for("the sampler", || has_thread(&server, "bc-sampler").then_some(()));
    assert!(!has_thread(&server, "bc-watchdog"));
}

#[test]
fn a_manager_that_does_not_listen_is_no_reason_to_end() {
    let mut command = command(BINARY);
    command.args(["--listen", "127.0.0.1:0"]).env("NOTIFY_SOCKET", "/nowhere/notify");
    let server = Binary::run(&mut command);
    assert_eq!(get(server.address, "/healthz").status, 200);
    server.signal(Signal::SIGTERM);
    let (code, errors) = server.wait();
    assert_eq!(code, Some(0));
    assert!(errors.contains("cannot tell the service manager READY=1"), "{errors}");
}

/// A command that finds this as descriptor 3, passed as sd_listen_fds(3) has it.
fn activated(socket: impl Into<OwnedFd>) -> Command {
    let program = command(BINARY);
    let mut shell = Command::new("sh");
    // The process that execs keeps its number, which LISTEN_PID must name.
    let script = r#"exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@""#;
    shell.args(["-c", script, "sh"]).arg(program.get_program()).args(program.get_args());
    shell.stdin(Stdio::from(socket.into()));
    shell
}

#[test]
fn a_passed_socket_is_served_and_outlives_the_program() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let passed = || listener.try_clone().expect("cloned");
    let server = Binary::run(&mut activated(passed()));
    assert_eq!(server.address, address);
    assert!(Client::connect(address, "/ws").next("data")["snapshot"].is_boolean());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().0, Some(0));

    // Who comes between two programs waits instead of being refused.
    let mut early = tcp(address);
    send(&mut early, "GET /api/channels HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let server = Binary::run(activated(passed()).args(["--listen", "127.0.0.1:1"]));
    assert_eq!(server.address, address);
    assert_eq!(Answer::read(&mut std::io::BufReader::new(early)).status, 200);
    server.signal(Signal::SIGTERM);
    let (_, errors) = server.wait();
    assert!(errors.contains("--listen is not used"), "{errors}");
}

#[test]
fn a_passed_socket_of_another_kind_is_one_clear_line() {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let unix = UnixDatagram::unbound().expect("a socket");
    let file = std::fs::File::open("/dev/null").expect("opened");
    let sockets: [OwnedFd; 3] = [udp.into(), unix.into(), file.into()];
    for socket in sockets {
        let output = activated(socket).output().expect("started");
        let line = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
        assert!(line.contains("passed socket 3") && line.contains("ListenStream="), "{line}");
    }
}

/// Signs of life at short intervals, for as long as these turn.
fn signs(pulses: Vec<Pulse>) -> (Watch, mpsc::Receiver<()>) {
    let (sign, signs) = mpsc::channel();
    let watch = Watch::start(PERIOD, pulses, move || _ = sign.send(()));
    (watch.expect("a thread"), signs)
}

const PERIOD: Duration = Duration::from_millis(10);

/// Signs come, end when the thread hangs, and come again when it goes on.
fn assert_follows(signs: &mpsc::Receiver<()>, hang: impl FnOnce() -> mpsc::Sender<()>) {
    signs.recv_timeout(PATIENCE).expect("a sign");
    let release = hang();
    // All may have turned just before: that is one more, at most.
    while signs.try_recv().is_ok() {}
    let more = std::iter::from_fn(|| signs.recv_timeout(PERIOD * 20).ok()).count();
    assert!(more <= 1, "{more} signs while a thread hung");
    drop(release);
    signs.recv_timeout(PATIENCE).expect("a sign, since it goes on");
}

/// A source that a test can hold.
struct Held(mpsc::Receiver<(mpsc::Sender<()>, mpsc::Receiver<()>)>);

impl Source for Held {
    fn name(&self) -> &str {
        "held"
    }

    fn sample(&mut self, _: BootTime, _: &mut Readings) {
        if let Ok((inside, released)) = self.0.try_recv() {
            inside.send(()).expect("the test waits");
            let _ = released.recv();
        }
    }
}

#[test]
fn a_sampler_that_hangs_stops_the_signs_of_life() {
    let board = Board::start();
    let hub = Hub::new(HubSettings::default());
    let mut sampler = Sampler::new(hub, Duration::from_millis(1));
    let (hold, held) = mpsc::channel();
    sampler.add(Held(held));
    let sampler = sampler.start().expect("a thread");
    let mut pulses = board.engine.handle().pulses();
    pulses.push(sampler.pulse());
    let (_watch, signs) = signs(pulses);
    assert_follows(&signs, || {
        let (inside, is_inside) = mpsc::channel();
        let (release, released) = mpsc::channel();
        hold.send((inside, released)).expect("it samples");
        is_inside.recv_timeout(PATIENCE).expect("held");
        release
    });
}

/// Serves a feed that holds the push worker until the sender is dropped.
struct Holds(std::sync::Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>);

struct Holding(Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>);

impl Application for Holds {
    fn respond(&self, _: &Request) -> Reply {
        Reply::Upgrade(Upgrade::new(|_, _| |_: boardcast::message::Message| {}).feed(self))
    }
}

impl Feed for Holds {
    fn cursor(&self, _: u64) -> Box<dyn Cursor> {
        Box::new(Holding(self.0.lock().expect("no panic").take()))
    }
    fn started(&self, _: Bell) {}
}

impl Cursor for Holding {
    fn fill(&mut self, _: Instant, _: &mut Frames) {
        if let Some((inside, released)) = self.0.take() {
            inside.send(()).expect("the test waits");
            let _ = released.recv();
        }
    }
    fn consume(&mut self, _: &[u64], _: Instant) {}
}

#[test]
fn a_push_worker_that_hangs_stops_the_signs_of_life() {
    let (inside, is_inside) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let holds = Arc::new(Holds(Some((inside, released)).into()));
    let limits = Limits { workers: 3, ..Limits::default() };
    let engine = Engine::start(holds, Gate::open(), limits);
    let pulses = engine.handle().pulses();
    assert_eq!(pulses.len(), 4, "the accept loop and three workers");
    let (_watch, signs) = signs(pulses);
    let address: SocketAddr = engine.address;
    assert_follows(&signs, move || {
        let _client = Client::connect(address, "/");
        is_inside.recv_timeout(PATIENCE).expect("held");
        release
    });
}
