use std::time::Duration;

use super::*;

/// Settings of a file with this text, and of nothing else.
fn loaded(text: &str) -> Result<Loaded, Vec<String>> {
    with(text, &[], Vec::new())
}

fn with(text: &str, environment: &[(&str, &str)], flags: Flags) -> Result<Loaded, Vec<String>> {
    let folder = std::env::temp_dir().join(format!("bc-settings-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let name = format!("{:?}.toml", std::thread::current().id());
    let path = folder.join(name.replace(['(', ')'], ""));
    std::fs::write(&path, text).expect("a file");
    let environment =
        environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let request = Request { files: vec![path.clone()], environment, flags, root: "/".into() };
    let outcome = load(&request);
    std::fs::remove_file(&path).expect("it was there");
    // Where the folder is differs; what stands in it does not.
    outcome.map_err(|complaints| {
        let told = complaints.iter().map(ToString::to_string);
        told.map(|told| told.replace(&path.display().to_string(), "x.toml")).collect()
    })
}

#[test]
fn the_command_line_goes_before_the_environment_and_that_before_files() {
    let text = "name = \"file\"\ninterval = \"2s\"\nworkers = 3\n";
    let environment = [("BOARDCAST_NAME", "variable"), ("BOARDCAST_INTERVAL", "3s")];
    let flags = vec![(Key::find("name").expect("there"), vec!["flag".to_owned()])];
    let loaded = with(text, &environment, flags).expect("fine");
    assert_eq!(loaded.config.name.as_deref(), Some("flag"));
    assert_eq!(loaded.config.interval, Duration::from_secs(3));
    assert_eq!(loaded.config.limits.workers, 3);
    let origin = |name| {
        let at = KEYS.iter().position(|key| key.name == name).expect(name);
        loaded.origins[at].to_string()
    };
    assert_eq!(
        [origin("name"), origin("interval"), origin("demo")],
        ["--name", "BOARDCAST_INTERVAL", "default"]
    );
    assert!(origin("workers").ends_with(".toml:3"));
}

#[test]
fn a_list_in_the_environment_has_blanks_or_commas_between() {
    let environment = [("BOARDCAST_ALLOW", "203.0.113.0/24, 2001:db8::/32 198.51.100.1")];
    assert_eq!(with("", &environment, Vec::new()).expect("fine").config.gate.allow.len(), 3);
    let loaded = with("", &[("BOARDCAST_NAMES", "x")], Vec::new()).expect("no reason to stop");
    assert!(loaded.warnings[0].to_string().starts_with("BOARDCAST_NAMES: no setting"));
}

#[test]
fn what_is_shown_makes_the_same_settings() {
    let text = r#"
name = "a \"board\""
listen = "127.0.0.1:9"
ring_size = 65536

[[source]]
name = "gps"
kind = "serial"
port = "/dev/ttyACM0"
baud = 4_800
pointers = { "lat" = "/TPV/lat", "speed over/ground" = "/s" }

[[source]]
name = "core"
kind = "command"
command = ["vcgencmd", "measure_temp"]
every = "10s"
pattern = 'temp=(?<core>[0-9.]+)'

[[channel]]
name = "room/#"
scale = 1e-3
hide = false
"#;
    // A name with a blank is none: take it out of what is compared.
    let text = text.replace("speed over/ground", "speed/ground");
    let first = loaded(&text).expect("fine");
    let shown = super::super::text(&first);
    let second = loaded(&shown).expect("fine");
    assert_eq!(first.config.sources, second.config.sources);
    assert_eq!(first.config.rules, second.config.rules);
    for key in KEYS {
        assert_eq!(key.show(&first.config), key.show(&second.config), "{}", key.name);
    }
}

#[test]
fn all_that_is_wrong_is_told_with_its_place() {
    let complaints = loaded("interval = 5\nnam = \"x\"\n[[channel]]\nlabel = \"x\"\n");
    assert_eq!(
        complaints.expect_err("three things are wrong"),
        [
            "x.toml:1:12: interval is a number: write interval = \"1s\"",
            "x.toml:2:1: nam is no setting: did you mean name?",
            "x.toml:3:1: a channel needs name: write name = \"room/temp\", or \"room/#\"",
        ]
    );
    let complaints = loaded("ping_every = \"60s\"\n").expect_err("they do not go together");
    assert_eq!(complaints.len(), 1);
    assert!(complaints[0].starts_with("x.toml:1:14: a client must"), "{complaints:?}");
}

#[test]
fn a_file_that_is_all_wrong_is_told_of_in_bounded_time() {
    for text in ["=\n", "k=1\n", "[[source]]\n"] {
        let told = loaded(&text.repeat(MAX_FILE / text.len())).expect_err("wrong");
        assert_eq!(told.len(), 101, "{text:?}");
        assert!(told[99].starts_with("x.toml:"), "{}", told[99]);
        assert!(told[100].ends_with(" more faults: mend these first"), "{}", told[100]);
    }
    let told = loaded(&"a = 1\n".repeat(101)).expect_err("wrong");
    assert_eq!(told.len(), 100, "one of them is right, if only it were a setting");
}

const MAX_FILE: usize = 256 * 1024;

#[test]
fn a_pipe_is_no_settings_file_and_holds_nobody_up() {
    let path = std::env::temp_dir().join(format!("bc-settings-pipe-{}", std::process::id()));
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let told = load(&Request { files: vec![path.clone()], ..Request::default() });
    let _ = std::fs::remove_file(&path);
    let told = told.expect_err("a pipe")[0].to_string();
    assert!(told.contains("it is a pipe"), "{told}");
}

#[test]
fn names_and_values_reach_a_terminal_without_control_characters() {
    let path = std::env::temp_dir().join(format!("bc-\u{1b}[31m\n-{}", std::process::id()));
    let text = "name = \"x\"\n[[channel]]\nname = \"a\"\nlabel = \"\u{9b}31m\"\n";
    std::fs::write(&path, text).expect("written");
    let environment = vec![("BOARDCAST_\u{1b}[31m".to_owned(), "1".to_owned())];
    let request = Request { files: vec![path.clone()], environment, ..Request::default() };
    let loaded = load(&request).expect("fine");
    let _ = std::fs::remove_file(&path);
    let shown = super::super::text(&loaded);
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
    assert!(shown.contains("\"\\u009B31m\""), "{shown}");
    assert!(shown.lines().all(|line| line.is_empty() || line.contains([' ', '='])), "{shown}");
    let warned = loaded.warnings[0].to_string();
    assert!(!warned.contains(char::is_control), "{warned:?}");
}
