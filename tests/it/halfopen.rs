//! Peers that are gone without a word: killed behind a network that loses
//! everything, so that neither FIN nor RST comes. Their places come back, and
//! nobody else notices.

use std::{
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Instant,
};

use crate::{fixture::*, strain::*};

#[test]
fn peers_that_die_without_a_word_are_ended_after_silence_and_the_others_lose_nothing() {
    if emulated() {
        println!("skipped: seconds of silence are the emulator's own");
        return;
    }
    let Some(far) = Namespace::make().filter(Namespace::has_filter) else {
        println!("skipped: dropping packets takes root, `ip` and `nft`");
        return;
    };
    let mut program = far.inside(&command(env!("CARGO_BIN_EXE_boardcast")));
    program.args(["--listen", &format!("{}:0", far.address), "--socket", "none"]);
    program.args(["--interval", "100ms"]);
    program.env("BOARDCAST_PING_EVERY", "1s").env("BOARDCAST_SILENCE", "3s");
    let server = Binary::run(program.env("BOARDCAST_HEAD_TIME", "3s"));
    let process = Process::of(&server);
    let mut good: Vec<_> = (0..3).map(|_| Reader::new(tcp(server.address))).collect();
    let (threads, clients) = (process.threads(), server.metric("boardcast_clients"));
    assert_eq!(clients, 3);

    let doomed: Vec<_> = (0..3).map(|_| upgrade(tcp(server.address), "/ws")).collect();
    let mut half = tcp(server.address);
    send(&mut half, "GET / HTTP/1.1\r\nHo");
    wait_for("all", || (server.metric("boardcast_connections") == 8).then_some(()));
    for stream in doomed.iter().chain([&half]) {
        far.lose_all_of(stream.local_addr().expect("connected").port());
    }
    drop((doomed, half));

    let deadline = Instant::now() + 3 * PATIENCE;
    while server.metric("boardcast_ended_silent_total") < 3 {
        assert!(Instant::now() < deadline, "nobody is ended for silence");
        // They answer pings meanwhile, and get every batch.
        for reader in &mut good {
            reader.read_to(reader.seq + 1);
        }
    }
    wait_for("their places", || {
        let left = (server.metric("boardcast_connections"), process.threads());
        // The one that asks, whose thread may be there or not.
        (left.0 == 4 && left.1 <= threads + 1).then_some(())
    });
    assert_eq!(server.metric("boardcast_clients"), 3);
    for reader in &mut good {
        reader.read_to(reader.seq + 10);
        assert_eq!(reader.gaps, 0);
    }
}

/// A network namespace at the far end of a virtual cable.
pub(crate) struct Namespace {
    name: String,
    near: String,
    /// Where a server in it can listen.
    pub(crate) address: String,
}

impl Namespace {
    /// `None` when this user may not, or there is no `ip`.
    pub(crate) fn make() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = std::process::id().wrapping_mul(8) + NUMBER.fetch_add(1, Relaxed) % 8;
        let (name, near, far) = (format!("bc-{id}"), format!("bcn{id}"), format!("bcf{id}"));
        // Of the block for benchmarks (RFC 2544): no real network uses it, and each cable has its own four.
        let net = format!("198.18.{}.", id / 64 % 256);
        let [address, here] = [1, 2].map(|last| format!("{net}{}", id % 64 * 4 + last));
        ip(&["netns", "add", &name])?;
        // From here on it is removed whatever happens.
        let made = Self { name, near, address };
        let Self { name, near, address } = &made;
        ip(&["link", "add", near, "type", "veth", "peer", "name", &far])?;
        ip(&["link", "set", &far, "netns", name])?;
        ip(&["addr", "add", &format!("{here}/30"), "dev", near])?;
        ip(&["-n", name, "addr", "add", &format!("{address}/30"), "dev", &far])?;
        ip(&["-n", name, "link", "set", &far, "up"])?;
        ip(&["link", "set", near, "up"])?;
        Some(made)
    }

    /// The same command, run at the far end.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.name]);
        inside.arg(command.get_program()).args(command.get_args());
        inside
    }

    /// From now on nothing gets through, and no one is told.
    pub(crate) fn pull(&self) {
        ip(&["link", "set", &self.near, "down"]).expect("pulled");
    }

    /// The cable is in again.
    pub(crate) fn plug(&self) {
        ip(&["link", "set", &self.near, "up"]).expect("plugged in");
    }

    /// Makes the chains of a packet filter; whether that can be done.
    fn has_filter(&self) -> bool {
        self.nft("add table inet lost")
            && ["input", "output"].iter().all(|hook| {
                self.nft(&format!(
                    "add chain inet lost {hook} {{ type filter hook {hook} priority 0; }}"
                ))
            })
    }

    /// From now on each packet from and to this port at our end is lost.
    fn lose_all_of(&self, port: u16) {
        assert!(self.nft(&format!("add rule inet lost input tcp sport {port} drop")));
        assert!(self.nft(&format!("add rule inet lost output tcp dport {port} drop")));
    }

    fn nft(&self, rule: &str) -> bool {
        let mut nft = Command::new("nft");
        nft.arg(rule);
        self.inside(&nft).output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // One end of the cable takes the other along.
        let _ = ip(&["link", "del", &self.near]);
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Option<Output> {
    let output = Command::new("ip").args(arguments).output().ok()?;
    output.status.success().then_some(output)
}
