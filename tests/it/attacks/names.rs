//! What is made of names and texts that strangers choose: metrics, tables,
//! logs, pages.

use regex_lite::Regex;

use super::*;

/// Pushes this in as a program on the board; the status and the answer.
fn push(address: SocketAddr, body: &str) -> (u16, String) {
    let length = body.len();
    let answer = ask(
        address,
        &format!(
            "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    );
    (answer.status, answer.text().to_owned())
}

/// Each line of `/metrics` is one of ours, by the grammar of its format.
fn metrics_are_whole(address: SocketAddr) -> String {
    let page = get(address, "/metrics").text().to_owned();
    let label = r#"[a-z_]+="([^"\\\n]|\\["\\n])*""#;
    let line = format!(r"^boardcast_[a-z0-9_]+(\{{{label}(,{label})*\}})? -?[0-9.e+-]+$");
    let line = Regex::new(&line).expect("a pattern");
    for text in page.lines().filter(|text| !text.starts_with("# ")) {
        assert!(line.is_match(text), "{text:?}");
    }
    page
}

/// A name that is none is refused whole, and the answer cannot be mistaken for
/// anything else.
fn no_channel(line: &str, status: u16) {
    let siege = Siege::start();
    let (answered, text) = push(siege.address(), line);
    assert_eq!(answered, status, "{text}");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(answer["bad"], 1, "{text}");
    assert!(!text.trim_end().contains(|c: char| c.is_control()), "{text:?}");
    assert_eq!(channels(siege.address()), ["count"]);
    metrics_are_whole(siege.address());
    siege.stands();
}

attacks! { no_channel:
    fn a_name_that_would_be_a_metric() => "{\"a\\\"} 1\\nboardcast_evil 1\\n#\":1}", 400;
    fn a_name_that_would_be_markup() => r#"{"<img src=x onerror=alert(1)>":1}"#, 400;
    fn a_name_that_would_be_a_formula() => r#"{"=cmd|'/c calc'!A1":1}"#, 400;
    fn a_name_that_would_be_a_formula_with_at() => r#"{"@SUM(1+1)":1}"#, 400;
    fn a_name_that_would_be_a_line_of_the_log() => "{\"a\\nboardcast: all is well\":1}", 400;
    fn a_name_that_would_steer_a_terminal() => "\x1b]0;evil\x07=1", 400;
    fn a_name_that_would_turn_the_writing() => "a\u{202e}b=1", 400;
    fn a_name_in_letters_that_look_like_others() => "\u{0440}\u{0440}u/usage=1", 400;
    fn a_name_with_a_wildcard() => "cpu/#=1", 400;
    fn a_name_of_129_bytes() => LONG_NAME, 400;
}

const LONG_NAME: &str = concat!(
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx=1"
);

#[test]
fn a_unit_that_would_be_a_metric_is_a_label() {
    let siege = Siege::start();
    let senml = r#"[{"n":"evil/a","u":"\"} 1\nboardcast_evil 1\n\\","v":1}]"#;
    let (status, text) = push(siege.address(), senml);
    let page = metrics_are_whole(siege.address());
    // Taken or refused: it is never a line of its own.
    assert!(matches!(status, 200 | 400), "{text}");
    assert!(!page.lines().any(|line| line.starts_with("boardcast_evil")), "{page}");
    siege.stands();
}

#[test]
fn a_text_that_would_be_markup_is_a_text_in_json() {
    let siege = Siege::start();
    let text = "</script><script>alert(1)</script>\u{2028}";
    assert_eq!(push(siege.address(), &format!("note=\"{text}\"")).0, 200);
    for path in ["/api/latest", "/api/channels", "/metrics", "/api/history?channels=note"] {
        let answer = get(siege.address(), path);
        let media_type = answer.header("content-type").expect("a type");
        assert!(!media_type.contains("html"), "{path}: {media_type}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
    let latest: Value =
        serde_json::from_str(get(siege.address(), "/api/latest").text()).expect("JSON");
    assert_eq!(latest["values"]["note"], text);
    metrics_are_whole(siege.address());
    siege.stands();
}

#[test]
fn names_that_every_object_or_folder_has_are_names_like_others() {
    let siege = Siege::start();
    let values = r#"{"__proto__":1,"constructor":{"prototype":2},"../../etc/passwd":3}"#;
    assert_eq!(push(siege.address(), values).0, 200);
    let latest: Value =
        serde_json::from_str(get(siege.address(), "/api/latest").text()).expect("JSON");
    for (name, value) in [("__proto__", 1), ("constructor/prototype", 2), ("../../etc/passwd", 3)] {
        assert_eq!(latest["values"][name], value);
    }
    metrics_are_whole(siege.address());
    siege.stands();
}

#[test]
fn a_path_is_not_repeated_as_markup() {
    let siege = Siege::start();
    for path in ["/<script>alert(1)</script>", "/ws?<script>=1", "/api/history?<script>=1"] {
        let answer = get(siege.address(), path);
        assert!((400..500).contains(&answer.status), "{path}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
    siege.stands();
}

#[test]
fn no_cell_of_csv_is_a_formula() {
    let siege = Siege::start();
    // The one sign that begins a formula, and that a name may have.
    let (status, text) = push(siege.address(), "{\"-2-3/a\":-5,\"note\":\"=1+1\"}");
    assert_eq!(status, 200, "{text}");
    let answer = siege.ask(&get_with("/api/history?channels=%23", "Accept: text/csv\r\n"));
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(text.starts_with("time,count.min") && text.contains(",'-2-3/a.min,"), "{text}");
    for cell in text.lines().flat_map(|line| line.split(',')) {
        let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '"']);
        assert!(!formula || cell.parse::<f64>().is_ok(), "{cell}");
    }
    siege.stands();
}

#[test]
fn ten_thousand_new_names_are_a_thousand_channels_and_a_sentence() {
    let mut siege = Siege::start();
    let mut refused = 0;
    for thousand in 0..10 {
        let lines: String = (0..1000).map(|n| format!("evil/n{thousand}x{n}=1\n")).collect();
        let (_, text) = push(siege.address(), &lines);
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        refused += answer["bad"].as_u64().expect("a number");
        siege.goes_on();
    }
    assert_eq!((channels(siege.address()).len(), refused), (1024, 10_000 - 1023));
    let (_, text) = push(siege.address(), "evil/more=1");
    assert!(text.contains("1024"), "{text}");
    metrics_are_whole(siege.address());
    siege.stands();
}

#[test]
fn what_others_send_is_in_the_log_without_line_breaks_and_colours() {
    let server = Binary::start(&["-vv", "--interval", "10s"]);
    let address = server.address;
    let evil = "\x1b[31mred\x1b[0m\u{9b}2J";
    push(address, &format!("{evil}=1\n"));
    push(address, &format!("{{\"a\\nERROR boardcast: evil\":\"{evil}\"}}"));
    push(address, &format!("a={evil}"));
    let mut viewer = Client::connect(address, "/ws");
    viewer.say(&format!(r#"{{"type":"{}\nERROR evil"}}"#, "\\u001b[31m"));
    viewer.next("error");
    viewer.say(&format!("{evil}\n[2026-11-22T23:55:28Z INFO  boardcast] all is well"));
    viewer.next("error");
    let lines = format!("User-Agent: {evil}\r\nX-Forwarded-For: {evil}\r\nOrigin: {evil}\r\n");
    for request in [get_with("/api/latest", &lines), format!("GET /{evil} HTTP/1.1\r\n\r\n")] {
        let mut stream = tcp(address);
        send(&mut stream, request);
        assert!(Answer::read(&mut BufReader::new(stream)).status >= 400);
    }
    drop(viewer);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let (code, log) = server.wait();
    assert_eq!(code, Some(0));
    assert!(log.contains("a line is refused"), "nothing was logged: {log}");
    for line in log.lines() {
        assert!(!line.contains(char::is_control), "{line:?}");
        // The second line of an entry is indented, so that none can pass for one.
        assert!(line.starts_with('[') || line.starts_with("    "), "{line:?}");
    }
}
