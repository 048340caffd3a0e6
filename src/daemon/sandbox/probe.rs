//! What a test has the real binary try from inside its sandbox. Debug builds
//! alone have it, and only when `BOARDCAST_FAULT` says `sandbox`.

use std::{fs, net::TcpListener, process::Command, thread};

use crate::fault::{self, Place};

/// Tries what is forbidden, and what is not, on a thread as all others are,
/// and logs the outcome of each: `probe: read /etc/shadow: …`.
pub(super) fn run() {
    if !fault::planted(Place::Sandbox) {
        return;
    }
    // It waits here, so that the outcome stands before the greeting.
    let tries = thread::spawn(|| {
        tell("read /etc/shadow", fs::read("/etc/shadow"));
        tell("read /etc/passwd", fs::read("/etc/passwd"));
        tell("list /", fs::read_dir("/"));
        let file = std::env::temp_dir().join(format!("boardcast-probe-{}", std::process::id()));
        tell("write into the temporary folder", fs::write(&file, "x"));
        let _ = fs::remove_file(file);
        tell("write /proc/self/comm", fs::write("/proc/self/comm", "x"));
        tell("execute /bin/true", Command::new("/bin/true").status());
        tell("listen on TCP", TcpListener::bind("127.0.0.1:0"));
        let parent = nix::unistd::getppid();
        let kill = nix::sys::signal::kill(parent, None);
        tell("signal the parent", kill.map_err(std::io::Error::from));
        tell("read /proc/stat", fs::read("/proc/stat"));
        tell("list /sys/class", fs::read_dir("/sys/class"));
    });
    let _ = tries.join();
}

fn tell<T>(what: &str, outcome: std::io::Result<T>) {
    match outcome {
        Ok(_) => log::warn!("probe: {what}: done"),
        Err(error) => log::warn!("probe: {what}: {error}"),
    }
}
