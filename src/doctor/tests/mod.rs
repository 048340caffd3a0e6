//! Whole boards: what is said of them; and below, how each advice appears and
//! goes away when a board is changed.

mod access;
mod buses;
mod state;

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use super::{
    machine::{Knock, User},
    *,
};
use crate::{
    sources::vitals::trees::{Tree, rooms},
    telemetry::{BootTime, Clock, SystemClock},
};

const BOARDS: [&str; 7] = ["pi-zero-w", "pi-3", "pi-4", "pi-5", "beaglebone-black", "x86", "pc"];

/// The system's clock, on one morning in November, right or not.
#[derive(Debug)]
struct Morning(bool);

impl Clock for Morning {
    fn boot(&self) -> BootTime {
        SystemClock.boot()
    }
    fn wall(&self) -> f64 {
        1_763_796_000.0
    }
    fn synced(&self) -> bool {
        self.0
    }
}

fn nobody(_: SocketAddr) -> Knock {
    Knock::Nobody
}

/// A machine on which all is well that a tree does not tell, looked at by root.
fn machine(root: &Path) -> Machine {
    Machine {
        root: root.to_owned(),
        port: 8642,
        clock: Arc::new(Morning(true)),
        statvfs: rooms(),
        user: User { uid: 0, gids: vec![0] },
        descriptors: 1 << 20,
        knock: nobody,
        patience: Duration::from_secs(5),
    }
}

/// A board's tree that a test may change.
fn copy(board: &str) -> Tree {
    fn all(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("made");
        for entry in fs::read_dir(from).expect("listed").map(|entry| entry.expect("an entry")) {
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if from.is_dir() {
                all(&from, &to);
            } else {
                fs::copy(from, to).expect("copied");
            }
        }
    }
    let tree = Tree::new();
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/boards");
    all(&boards.join(board).join("0"), tree.root());
    tree
}

/// What is said of a theme that is no praise, mends included.
fn said(machine: Machine, theme: &str) -> String {
    let report: serde_json::Value = serde_json::from_str(&examine(machine).json()).expect("JSON");
    let findings = report["findings"].as_array().expect("a list").iter();
    let of_theme = findings.filter(|finding| finding["theme"] == theme && finding["level"] != "ok");
    let text = |finding: &serde_json::Value| {
        let text = |field: &str| finding[field].as_str().unwrap_or("-").to_owned();
        format!("{} {} → {}\n", text("level"), text("what"), text("mend"))
    };
    of_theme.map(text).collect()
}

/// Checks that a theme says so; nothing at all when that is empty.
#[track_caller]
fn says(tree: &Tree, theme: &str, expected: &str) {
    let said = said(machine(tree.root()), theme);
    let right = if expected.is_empty() { said.is_empty() } else { said.contains(expected) };
    assert!(right, "{theme}: {said:?} instead of {expected:?}");
}

#[test]
fn every_board_gets_the_right_advice() {
    for board in BOARDS {
        let tree = Tree::board(board);
        let text = examine(machine(tree.root())).text();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/boards").join(board);
        let path = path.join("doctor.txt");
        if std::env::var_os("UPDATE_TABLES").is_some() {
            fs::write(&path, &text).expect("written");
        }
        let expected = fs::read_to_string(&path).expect("doctor.txt");
        assert_eq!(text, expected, "{board}: look at it; UPDATE_TABLES=1 writes it anew");
    }
}

#[test]
fn the_page_of_the_documents_shows_what_is_said() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(folder.join("docs/doctor.md")).expect("read");
    let text = examine(machine(Tree::board("pi-4").root())).text();
    assert!(page.contains(&text), "paste tests/data/boards/pi-4/doctor.txt into docs/doctor.md");
    for (theme, _) in THEMES {
        assert!(page.contains(&format!("| `{theme}` |")), "{theme} is not in docs/doctor.md");
    }
}

#[test]
fn a_file_that_hangs_is_named_and_holds_up_no_other_theme() {
    let tree = copy("pi-3");
    let path = "sys/bus/i2c/devices/1-0076/name";
    tree.remove(path);
    let mode = nix::sys::stat::Mode::S_IRWXU;
    nix::unistd::mkfifo(&tree.root().join(path), mode).expect("a pipe");
    // Short, for a file that will not answer however long one waits.
    let hasty = Machine { patience: Duration::from_secs(2), ..machine(tree.root()) };
    let text = examine(hasty).text();
    let hangs = format!("bad   i2c      /{path}: no answer for more than 2 s\n");
    assert!(text.contains(&hangs), "{text}");
    assert!(text.contains("\nok    1-wire   w1_bus_master1: 28-"), "{text}");
}
