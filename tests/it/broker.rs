//! A real broker, Mosquitto, for tests: Debian's, unpacked by `make setup`.

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::fixture::wait_for;

/// A broker on a free port of the loopback interface; dropping it ends it.
pub(crate) struct Mosquitto {
    port: u16,
    lines: String,
    folder: PathBuf,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts one with these lines of mosquitto.conf(5) behind its listener;
    /// anybody may connect unless they say otherwise.
    pub(crate) fn start(lines: &str) -> Self {
        loop {
            // It cannot choose a port itself; one that was free just now may
            // be taken: then another is tried.
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let port = free.local_addr().expect("bound").port();
            drop(free);
            let folder = std::env::temp_dir().join(format!("bc-mosquitto-{port}"));
            fs::create_dir_all(&folder).expect("a folder");
            let mut broker = Self { port, lines: lines.to_owned(), folder, child: None };
            if broker.run() {
                return broker;
            }
        }
    }

    /// Where it is: `mqtt://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its settings, which goes with it.
    pub(crate) fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// Ends it at once, as a power cut does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again, on the same port, with nothing left of what it knew.
    pub(crate) fn start_again(&mut self) {
        self.kill();
        assert!(self.run(), "the port {} is taken", self.port);
    }

    /// Publishes one message with `mosquitto_pub`.
    pub(crate) fn publish(&self, arguments: &[&str]) {
        let port = self.port.to_string();
        let mut command = Command::new(tool("bin", "mosquitto_pub"));
        command.args(["-h", "127.0.0.1", "-p", &port]).args(arguments);
        let output = command.output().expect("mosquitto_pub starts");
        assert!(output.status.success(), "{output:?}");
    }

    fn run(&mut self) -> bool {
        let path = self.folder.join("mosquitto.conf");
        let mut config = fs::File::create(&path).expect("a file");
        let anonymous =
            if self.lines.contains("allow_anonymous") { "" } else { "allow_anonymous true" };
        writeln!(config, "listener {} 127.0.0.1\n{anonymous}\n{}", self.port, self.lines)
            .and_then(|()| writeln!(config, "persistence false\nlog_dest stderr"))
            .expect("written");
        if nix::unistd::geteuid().is_root() {
            writeln!(config, "user root").expect("written");
        }
        drop(config);
        let mut command = Command::new(tool("sbin", "mosquitto"));
        command.arg("-c").arg(&path).stdin(Stdio::null()).stdout(Stdio::null());
        let log = fs::File::create(self.folder.join("log")).expect("a file");
        let mut child = command.stderr(log).spawn().expect("mosquitto starts");
        let runs = wait_for("mosquitto", || {
            if child.try_wait().expect("waited").is_some() {
                return Some(false);
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok().then_some(true)
        });
        if !runs {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(log.contains("in use"), "mosquitto does not start: {log}");
            return false;
        }
        self.child = Some(child);
        true
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A program of Mosquitto's: that of the system, or the unpacked one.
pub(crate) fn tool(place: &str, name: &str) -> PathBuf {
    let unpacked = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/.mosquitto/usr");
    let places = [unpacked.join(place), "/usr/sbin".into(), "/usr/bin".into()];
    let found = places.iter().map(|place| place.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not here; `make setup` unpacks it"))
}
