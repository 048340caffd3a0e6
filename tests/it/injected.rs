//! The real binary under strace(1), which makes one of its system calls fail:
//! at random, by a seed, with the errors that the call may have.
//!
//! It goes on, or ends with one clear line. Never: a hang, a panic, a busy
//! loop, or the end of a good client whose own socket had no fault.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};
use tungstenite::{Error, Message, WebSocket};

use crate::{fixture::*, strain::*};

/// Calls, and the errors that they may have.
const CALLS: [(&str, &[&str]); 11] = [
    ("accept4", &["EMFILE", "ENFILE", "ENOMEM", "ECONNABORTED", "EINTR", "EPERM"]),
    ("recvfrom", &["ECONNRESET", "ETIMEDOUT", "ENOMEM", "EINTR"]),
    ("sendto", &["EPIPE", "ECONNRESET", "ENOBUFS", "EAGAIN", "EINTR"]),
    ("sendmsg", &["EPIPE", "ECONNRESET", "ENOBUFS", "EINTR"]),
    ("clone3", &["EAGAIN", "ENOMEM"]),
    ("mmap", &["ENOMEM"]),
    ("mprotect", &["ENOMEM"]),
    ("epoll_ctl", &["ENOMEM", "ENOSPC"]),
    ("epoll_wait", &["EINTR", "EBADF"]),
    ("openat", &["EMFILE", "EACCES", "ENOMEM"]),
    ("read", &["EIO", "EINTR"]),
];
/// For so long each program is watched.
const WATCH: Duration = Duration::from_millis(800);
/// Whatever has not happened by then does not happen.
const AT_MOST: Duration = Duration::from_secs(30);

#[test]
fn eight_runs_in_which_a_system_call_fails() {
    runs(8, 0x5eed);
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    NotStruck,
    WentOn,
    /// The good client's own socket had the fault.
    EndedTheStruck,
    EndedWithOneLine,
    Forbidden,
}

/// So many runs, four at a time; a table of what became of them.
pub(crate) fn runs(count: u64, seed: u64) {
    if let Some(why) = not_permitted() {
        println!("skipped: {why}");
        return;
    }
    let (next, results) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Relaxed)).filter(|&n| n < count) {
                    let run = Run::random(number as usize, &mut Random::new(seed + number));
                    let result = run.make(number);
                    results.lock().expect("no panic").push((run, result));
                }
            });
        }
    });
    let results = results.into_inner().expect("no panic");
    print(&results);
    let forbidden: Vec<_> = results
        .iter()
        .filter(|(_, (class, _))| *class == Class::Forbidden)
        .map(|(run, (_, why))| format!("{run:?}: {why}"))
        .collect();
    assert!(forbidden.is_empty(), "{}", forbidden.join("\n"));
}

fn print(results: &[(Run, (Class, String))]) {
    let mut table = BTreeMap::<&str, [usize; 5]>::new();
    for (run, (class, _)) in results {
        table.entry(run.call).or_default()[*class as usize] += 1;
        table.entry("~ in all").or_default()[*class as usize] += 1;
    }
    println!(
        "| call | no call failed | went on | ended the struck client | ended with one line | forbidden |"
    );
    println!("|---|---|---|---|---|---|");
    for (call, counts) in table {
        let counts = counts.map(|count| count.to_string()).join(" | ");
        println!("| {} | {counts} |", call.trim_start_matches("~ "));
    }
}

/// Why there can be no run here.
fn not_permitted() -> Option<&'static str> {
    if emulated() {
        return Some("strace sees the emulator's system calls, not the program's");
    }
    let mut tried = Command::new("strace");
    tried.args(["-qq", "-o", "/dev/null", "-e", "inject=getpid:error=EPERM", "true"]);
    match tried.output() {
        Err(_) => Some("there is no strace"),
        Ok(output) if !output.status.success() => Some("strace may not trace here"),
        Ok(_) => None,
    }
}

/// One program, and the fault that it meets.
#[derive(Debug)]
struct Run {
    call: &'static str,
    error: &'static str,
    /// As strace has it: of each thread the Nth call, or every Mth from there on.
    when: String,
    /// From its start on, or once a client is there.
    from_start: bool,
}

impl Run {
    fn random(number: usize, random: &mut Random) -> Self {
        let (call, errors) = CALLS[number % CALLS.len()];
        let error = errors[random.below(errors.len())];
        let from_start = match call {
            // At first they are the loader's, not the program's.
            "mmap" | "mprotect" | "openat" | "read" => false,
            // Later nobody is registered, unless a socket is full.
            "epoll_ctl" => true,
            _ => random.below(2) == 0,
        };
        let first = 1 + random.below(match call {
            // A thread makes few of them.
            "mmap" | "mprotect" | "recvfrom" | "epoll_ctl" => 3,
            _ if from_start => 20,
            _ => 4,
        });
        let when = match random.below(3) {
            0 => format!("{first}+{}", 2 + random.below(6)),
            _ => first.to_string(),
        };
        Self { call, error, when, from_start }
    }

    fn strace(&self, log: &PathBuf) -> Command {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-yy", "-e"]).arg(format!("trace={}", self.call)).arg("-e");
        strace.arg(format!("inject={}:error={}:when={}", self.call, self.error, self.when));
        strace.arg("-o").arg(log);
        strace
    }

    fn make(&self, number: u64) -> (Class, String) {
        let log = std::env::temp_dir().join(format!("bc-strace-{}-{number}", std::process::id()));
        let seen = self.watch(&log);
        let calls = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(&log);
        let verdict = seen.and_then(|seen| seen.judge(&calls));
        verdict.map_or_else(|why| (Class::Forbidden, why), |class| (class, String::new()))
    }

    /// Runs the program, with a client that is there before, and clients that come.
    fn watch(&self, log: &PathBuf) -> Result<Seen, String> {
        let mut program = match self.from_start {
            true => {
                let mut strace = self.strace(log);
                // The program is our child, strace its tracer.
                strace.args(["-D", "-qq", env!("CARGO_BIN_EXE_boardcast")]);
                strace
            }
            false => command(env!("CARGO_BIN_EXE_boardcast")),
        };
        program.args(["--listen", "127.0.0.1:0", "--socket", "none", "--interval", "100ms"]);
        program.env("RUST_LOG", "warn,boardcast::daemon=info");
        let mut seen = Seen { from_start: self.from_start, ..Seen::default() };
        let server = match Binary::try_run(&mut program) {
            Ok(server) => server,
            Err((code, log)) => {
                (seen.code, seen.log) = (code, log);
                return Ok(seen);
            }
        };
        let _late = Deadline::start(server.child.id());
        let process = Process::of(&server);
        let mut good = (0..10).find_map(|_| Good::join(&server).ok());
        let tracer = match self.from_start {
            true => None,
            false => Some(Tracer::attach(self.strace(log), server.child.id())?),
        };
        let (start, cpu) = (Instant::now(), process.try_cpu());
        while start.elapsed() < WATCH {
            if let Some(reading) = good.as_mut().filter(|good| good.lost.is_none()) {
                reading.read_one()?;
            } else {
                thread::sleep(Duration::from_millis(50));
            }
            match newcomer(&server) {
                Ok(()) => seen.served += 1,
                Err(why) => seen.refused.push(why),
            }
        }
        if let (Some(before), Some(after)) = (cpu, process.try_cpu()) {
            seen.busy = (after - before).as_secs_f64() / start.elapsed().as_secs_f64();
        }
        if let Some(tracer) = tracer {
            drop(tracer);
            seen.served_again = (0..20).any(|_| newcomer(&server).is_ok());
        }
        let pid = nix::unistd::Pid::from_raw(server.child.id() as i32);
        seen.alive = process.try_cpu().is_some();
        let _ = kill(pid, Signal::SIGTERM);
        if let Some(good) = &mut good {
            good.read_to_the_end()?;
            seen.port = good.port;
            seen.lost = good.lost.take();
        }
        (seen.code, seen.log) = server.wait();
        Ok(seen)
    }
}

/// What was seen of one run.
#[derive(Debug, Default)]
struct Seen {
    code: Option<i32>,
    log: String,
    /// It had not ended by itself.
    alive: bool,
    /// The good client: its port, and how it was lost.
    port: u16,
    lost: Option<String>,
    /// Clients that came and were served, and what the others were told.
    served: usize,
    refused: Vec<String>,
    /// Whether one is served when no call fails any more.
    served_again: bool,
    from_start: bool,
    /// CPU time for each second.
    busy: f64,
}

impl Seen {
    fn judge(self, calls: &str) -> Result<Class, String> {
        let struck: Vec<_> = calls.lines().filter(|line| line.contains("(INJECTED)")).collect();
        let told = format!("{self:?}, of {} calls {struck:?}", calls.lines().count());
        let lines = self.log.lines().filter(|line| line.starts_with("boardcast: ")).count();
        if self.log.contains("panic") || self.log.contains("memory allocation") {
            return Err(format!("a panic: {told}"));
        }
        if self.busy > 0.7 || calls.lines().count() > 20_000 {
            return Err(format!("a busy loop: {told}"));
        }
        match self.code {
            // Ended by itself, or while it was being ended.
            Some(1) if lines == 1 => return Ok(Class::EndedWithOneLine),
            Some(0) if self.alive && lines == 0 => {}
            _ => return Err(format!("no proper end: {told}")),
        }
        // strace counts for each thread: the fault may meet every client that comes.
        if self.served == 0 && struck.len() < self.refused.len() {
            return Err(format!("nobody was served: {told}"));
        }
        if self.lost.is_some() {
            let own = format!("127.0.0.1:{}]", self.port);
            return match struck.iter().any(|line| line.contains(&own)) {
                true => Ok(Class::EndedTheStruck),
                false => Err(format!("a good client was lost: {told}")),
            };
        }
        if !self.served_again && !self.from_start {
            return Err(format!("nobody is served afterwards: {told}"));
        }
        Ok(if struck.is_empty() { Class::NotStruck } else { Class::WentOn })
    }
}

/// strace, attached to a program that runs; dropping it lets the program go on
/// without.
struct Tracer(Child);

impl Tracer {
    fn attach(mut strace: Command, pid: u32) -> Result<Self, String> {
        strace.args(["-p", &pid.to_string()]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = strace.spawn().map_err(|error| error.to_string())?;
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let tracer = Self(child);
        let attached = lines.any(|line| line.is_ok_and(|line| line.contains("attached")));
        // It says more when threads come: nobody may wait for room.
        thread::spawn(move || lines.for_each(drop));
        if attached { Ok(tracer) } else { Err("strace could not attach".into()) }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        // It detaches then.
        let _ = kill(pid, Signal::SIGINT);
        let _ = self.0.wait();
    }
}

/// Ends a program that hangs.
struct Deadline(Option<mpsc::Sender<()>>, Option<thread::JoinHandle<()>>);

impl Deadline {
    fn start(pid: u32) -> Self {
        let (over, waits) = mpsc::channel::<()>();
        let kill_it = move || {
            if waits.recv_timeout(AT_MOST) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = kill(nix::unistd::Pid::from_raw(pid as i32), Signal::SIGKILL);
            }
        };
        Self(Some(over), Some(thread::spawn(kill_it)))
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.0.take();
        let _ = self.1.take().map(thread::JoinHandle::join);
    }
}

/// Comes, asks for a page or joins the stream, and goes.
fn newcomer(server: &Binary) -> Result<(), String> {
    let mut socket = connect(server)?;
    loop {
        match socket.read() {
            Ok(Message::Text(text)) if text.contains(r#""type":"hello""#) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn connect(server: &Binary) -> Result<WebSocket<TcpStream>, String> {
    let stream = TcpStream::connect(server.address).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let connecting = tungstenite::client(format!("ws://{}/ws", server.address), stream);
    connecting.map(|(socket, _)| socket).map_err(|error| error.to_string())
}

/// A client that was there before, and misses nothing.
struct Good {
    socket: WebSocket<TcpStream>,
    port: u16,
    seq: Option<u64>,
    lost: Option<String>,
}

impl Good {
    fn join(server: &Binary) -> Result<Self, String> {
        let socket = connect(server)?;
        let port = socket.get_ref().local_addr().map_err(|error| error.to_string())?.port();
        let mut good = Self { socket, port, seq: None, lost: None };
        while good.seq.is_none() && good.lost.is_none() {
            good.read_one()?;
        }
        good.lost.take().map_or(Ok(good), Err)
    }

    /// One message.
    fn read_one(&mut self) -> Result<(), String> {
        match self.socket.read() {
            Ok(Message::Text(text)) => self.hear(&text),
            Ok(Message::Close(close)) => {
                self.lost = Some(format!("{close:?}"));
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Err(format!("a hang: the good client heard nothing for {PATIENCE:?}"))
            }
            Err(error) => {
                self.lost = Some(error.to_string());
                Ok(())
            }
        }
    }

    fn hear(&mut self, text: &str) -> Result<(), String> {
        if text.contains(r#""type":"gap""#) {
            self.seq = None;
        } else if let Some(seq) = seq_of(text, "data") {
            // A snapshot repeats the newest.
            if self.seq.is_some_and(|before| seq != before + 1) {
                return Err(format!("a batch is missing: {:?}, then {seq}", self.seq));
            }
            self.seq = Some(seq);
        }
        Ok(())
    }

    /// Until the server says that it stops.
    fn read_to_the_end(&mut self) -> Result<(), String> {
        while self.lost.is_none() {
            self.read_one()?;
        }
        if self.lost.as_ref().is_some_and(|lost| lost.contains("Away")) {
            self.lost = None;
            while self.socket.read().is_ok() {}
        }
        Ok(())
    }
}
