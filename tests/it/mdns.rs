//! A board tells its network that it is there, and says good-bye. In a network
//! namespace of its own: nothing leaves this machine.

use std::process::Output;

use crate::{fixture::*, halfopen::Namespace};

fn discover(far: &Namespace, seconds: &str) -> Output {
    let mut asked = command(env!("CARGO_BIN_EXE_boardcast"));
    asked.args(["discover", "--json", "--timeout", seconds]);
    far.inside(&asked).output().expect("boardcast discover")
}

#[test]
fn a_board_is_found_on_its_network_until_it_stops() {
    if !cfg!(feature = "mdns") {
        return;
    }
    if emulated() {
        println!("skipped: the emulator knows no multicast options");
        return;
    }
    let Some(far) = Namespace::make() else {
        println!("skipped: a network of its own takes root and `ip`");
        return;
    };
    let mut program = far.inside(&command(env!("CARGO_BIN_EXE_boardcast")));
    program.args(["--listen", &format!("{}:0", far.address), "--socket", "none"]);
    program.args(["--name", "Küche.oben", "--base-path", "/pi"]);
    let server = Binary::run(&mut program);

    // It asks at first whether the name is taken, which lasts most of a second
    // (RFC 6762 section 8.1).
    let found = wait_for("an answer", || {
        let output = discover(&far, "1");
        output.status.success().then(|| String::from_utf8(output.stdout).expect("text"))
    });
    let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(found[0]["device"], "Küche.oben", "{found}");
    assert_eq!(found[0]["url"], format!("http://{}/pi/", server.address), "{found}");
    assert_eq!(found[0]["version"], env!("CARGO_PKG_VERSION"), "{found}");
    assert!(found[0]["host"].as_str().is_some_and(|host| host.ends_with(".local")), "{found}");

    drop(server);
    let output = discover(&far, "1");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.starts_with("boardcast: no board answered"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
