//! Boards find each other in a network of their own: a namespace, so that
//! nothing leaves this machine.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{fixture::*, halfopen::Namespace};

struct Network(Namespace);

impl Network {
    /// `None` where this user may not make one.
    fn make() -> Option<Self> {
        let network = Namespace::make().map(Self);
        if network.is_none() {
            eprintln!("not tested: no network namespace can be made here");
        }
        network
    }

    fn run(&self, arguments: &[&str]) -> Command {
        let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
        command.args(arguments);
        self.0.inside(&command)
    }

    /// A board that is announced, for it listens beyond the loopback.
    fn board(&self, arguments: &[&str]) -> Binary {
        let address = format!("{}:0", self.0.address);
        let own = ["--listen", &address, "--socket", "none", "--name", "pi"];
        Binary::run(self.run(&[&own, arguments].concat()).env_remove("BOARDCAST_MDNS"))
    }

    /// The ports of the boards that answer within a second.
    fn ports(&self) -> Vec<u64> {
        let asked = self.run(&["discover", "--json", "--timeout", "1s"]).output().expect("run");
        assert!(asked.status.success(), "{asked:?}");
        let found: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
        let boards = found["boards"].as_array().expect("a list");
        for board in boards {
            assert_eq!((&board["name"], &board["tls"]), (&"pi".into(), &false.into()));
            assert_eq!(board["version"], env!("CARGO_PKG_VERSION"));
            assert_eq!(board["addresses"][0], self.0.address.as_str());
            let url = format!("http://{}:{}/", self.0.address, board["port"]);
            assert_eq!(board["url"], url.as_str());
        }
        let mut ports: Vec<_> = boards.iter().filter_map(|board| board["port"].as_u64()).collect();
        ports.sort_unstable();
        ports
    }
}

#[test]
fn boards_of_the_same_name_are_found_until_they_stop() {
    let Some(network) = Network::make() else { return };
    let boards = [network.board(&[]), network.board(&[])];
    let _silent = network.board(&["--no-mdns"]);
    let mut ports: Vec<_> = boards.iter().map(|board| u64::from(board.address.port())).collect();
    ports.sort_unstable();
    // Asking whether a name is free takes a board most of a second.
    wait_for("both", || (network.ports() == ports).then_some(()));
    for board in boards {
        board.signal(Signal::SIGTERM);
        assert_eq!(board.wait().0, Some(0));
    }
    let nobody = network.run(&["discover", "--timeout", "300ms"]).output().expect("run");
    let said = String::from_utf8_lossy(&nobody.stderr);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(said.contains("no board answered within 300ms"), "{said}");
}
