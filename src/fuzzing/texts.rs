//! Anything at all as a text that somebody wrote: lines, messages, filters,
//! settings.

use std::{fs::File, io::Write as _, os::fd::AsRawFd, sync::OnceLock};

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::de::IgnoredAny;

use crate::{
    config::{self, Complaint, Config, Loaded, Request},
    telemetry::{ChannelName, Filter, Filters, MAX_FILTERS},
    wire::{
        json::{self, Ask},
        line::{
            BadLine, Columns, MAX_POINTS, Pattern, Pointers, Points, parse, payload,
            publish_message, value,
        },
        query, subscribe,
    },
};

fn name(text: &str) -> ChannelName {
    ChannelName::new(text).expect("a name")
}

/// A pushed line, and a `publish` message.
pub fn line(bytes: &[u8]) {
    let mut points = Points::default();
    check(parse(bytes, &mut points), &points);
    if let Ok(text) = std::str::from_utf8(bytes) {
        check(publish_message(text, &mut points), &points);
    }
}

/// A line is taken whole or not at all; what is refused is told in one short
/// sentence.
fn check(outcome: Result<(), BadLine>, points: &Points) {
    if let Err(why) = outcome {
        let why = why.to_string();
        assert!(points.is_empty() && why.len() <= 200 && !why.chars().any(char::is_control));
    }
    assert!(points.len() <= MAX_POINTS);
    for point in points.iter() {
        name(point.name);
        assert!(!point.value.is_null() && point.value.as_f64().is_none_or(f64::is_finite));
    }
}

struct Forms {
    pattern: Pattern,
    pointers: Pointers,
    columns: [Columns; 2],
    name: ChannelName,
}

impl Forms {
    fn new() -> Self {
        let places = [("a", "/a"), ("b", "/b/0/c"), ("all", "")];
        let places = places.map(|(channel, at)| (name(channel), at.to_owned()));
        let names = ["a", "-", "b"].map(String::from);
        Self {
            pattern: Pattern::parse(r"(?<a>[-0-9.]+)[ ,;]+(?<b.c>\S+)").expect("fine"),
            pointers: Pointers::parse(&places).expect("fine"),
            columns: [',', ' '].map(|by| Columns::parse(&names, by).expect("fine")),
            name: name("value"),
        }
    }
}

/// What a program prints that knows nothing of the grammar: by a pattern, by
/// pointers, in columns, as a bare value; and patterns and pointers themselves.
pub fn foreign(bytes: &[u8]) {
    static FORMS: OnceLock<Forms> = OnceLock::new();
    let forms = FORMS.get_or_init(Forms::new);
    let mut points = Points::default();
    check(forms.pattern.read(bytes, &mut points), &points);
    check(forms.pointers.read(bytes, &mut points), &points);
    for columns in &forms.columns {
        check(columns.read(bytes, &mut points), &points);
    }
    check(value(&forms.name, bytes, &mut points), &points);
    check(payload(&forms.name, bytes, &mut points), &points);
    // What an administrator may write.
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Pattern::parse(text);
        let _ = Pointers::parse(&[(forms.name.clone(), text.to_owned())]);
    }
}

/// A client's message, and the query of `/ws`.
pub fn control(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match json::ask(text) {
        Ask::Unknown(answer) => check_answer(&answer),
        Ask::Ping { id } => {
            check_taken(text, "ping", id.as_ref());
            check_answer(&json::pong(id.as_ref(), 1.5));
        }
        Ask::Publish { id } => {
            check_taken(text, "publish", id.as_ref());
            check_answer(&json::published(id.as_ref()));
        }
        Ask::Subscribe { subscription, id } => {
            check_taken(text, "subscribe", id.as_ref());
            check_subscription(&subscription);
        }
    }
    match subscribe::from_query(text) {
        Ok(Some(subscription)) => check_subscription(&subscription),
        Ok(None) => assert!(query::pairs(text).all(|(name, _)| name == "token")),
        Err(why) => check_sentence(&why.to_string()),
    }
}

/// What is taken is an object of that type, to any other reader of JSON, too;
/// its id, where it has one that comes back, is the one that was sent.
fn check_taken(text: &str, kind: &str, id: Option<&serde_json::Value>) {
    serde_json::from_str::<IgnoredAny>(text).expect("JSON");
    // No tree is built of great depth or of numbers beyond f64; ours skips what it does not need.
    let Ok(tree) = serde_json::from_str::<serde_json::Value>(text) else { return };
    assert_eq!(tree["type"], kind);
    let short =
        |id: &&serde_json::Value| id.is_number() || id.as_str().is_some_and(|id| id.len() <= 64);
    assert_eq!(tree.get("id").filter(short), id);
}

/// An answer is JSON on one line, and not much longer than a sentence.
fn check_answer(answer: &str) {
    let tree: serde_json::Value = serde_json::from_str(answer).expect("JSON");
    assert!(tree["type"].is_string() && answer.len() <= 1024, "{answer}");
    if let Some(message) = tree["message"].as_str() {
        check_sentence(message);
    }
}

fn check_sentence(sentence: &str) {
    assert!(!sentence.is_empty() && sentence.len() <= 700, "{} bytes: {sentence}", sentence.len());
    assert!(!sentence.contains(char::is_control), "{sentence}");
}

/// What was understood says the same when it is written anew.
fn check_subscription(subscription: &subscribe::Subscription) {
    let hz = subscription.pace.map(subscribe::Pace::hz);
    assert!(hz.is_none_or(|hz| (0.000_999..=100.001).contains(&hz)));
    let filters: Vec<_> = subscription.filters.iter().map(Filter::as_str).collect();
    assert!(filters.len() <= MAX_FILTERS && filters.is_sorted());
    let mut message = serde_json::json!({ "type": "subscribe", "channels": filters });
    if let Some(hz) = hz {
        message["max_hz"] = hz.into();
    }
    if let Some(since) = &subscription.since {
        message["since"] = serde_json::json!({ "epoch": since.epoch, "seq": since.seq });
    }
    let again = subscribe::from_message(&message.to_string()).expect("what was understood");
    assert_eq!(again, *subscription);
}

/// Filters in the first line, names of channels in the others: against a
/// second way to say what a filter means.
pub fn filters(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (list, names) = text.split_once('\n').unwrap_or((text, text));
    let parts: Vec<_> = list.split(',').filter(|part| !part.is_empty()).collect();
    let fine = parts.len() <= MAX_FILTERS && parts.iter().all(|part| is_filter(part));
    let parsed = Filters::parse_list(list);
    assert_eq!(parsed.is_ok(), fine, "{list:?}");
    let filters = match parsed {
        Ok(filters) => filters,
        Err(why) => return check_sentence(&why.to_string()),
    };
    assert!(filters.iter().all(|filter| parts.contains(&filter.as_str())));
    assert!(parts.iter().all(|part| filters.iter().any(|filter| filter.as_str() == *part)));
    for text in names.split('\n') {
        let named = ChannelName::new(text);
        assert_eq!(named.is_ok(), is_name(text), "{text:?}");
        let Ok(named) = named else { continue };
        let levels: Vec<_> = text.split('/').collect();
        let selected = parts.iter().any(|part| {
            let filter: Vec<_> = part.split('/').collect();
            selects(&filter, &levels)
        });
        assert_eq!(filters.matches(&named), selected, "{list} {text}");
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let level = |level: &str| !level.is_empty() && level.chars().all(allowed);
    text.len() <= 128 && text.split('/').count() <= 8 && text.split('/').all(level)
}

/// A name once each `+`, and a `#` at the end, has become a letter.
fn is_filter(text: &str) -> bool {
    let levels: Vec<_> = text.split('/').collect();
    let (last, before) = levels.split_last().expect("one at least");
    let letters = before.iter().map(|level| if *level == "+" { "x" } else { level });
    let end = if matches!(*last, "+" | "#") { "x" } else { last };
    is_name(&letters.chain([end]).collect::<Vec<_>>().join("/"))
}

fn selects(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, name @ ..]) => selects(filter, name),
        ([level, filter @ ..], [first, name @ ..]) => level == first && selects(filter, name),
        _ => false,
    }
}

/// A settings file; behind a NUL, lines `NAME=VALUE` of the environment. What
/// is accepted says the same when it is written anew.
pub fn settings(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let file = parts.next().unwrap_or_default();
    let lines = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let variables = lines.lines().filter_map(|line| line.split_once('='));
    let environment: Vec<_> =
        variables.map(|(name, value)| (format!("BOARDCAST_{name}"), value.to_owned())).collect();
    match load(file, environment) {
        Ok(loaded) => {
            let _ = config::summary(&loaded);
            let text = config::text(&loaded);
            let again = load(text.as_bytes(), Vec::new());
            let again = again.unwrap_or_else(|why| panic!("{text}\n{}", told(&why)));
            // The places are others, and now somebody has made all of them.
            let made = |config: Config| format!("{:?}", Config { chosen: Vec::new(), ..config });
            assert_eq!(made(again.config), made(loaded.config.clone()), "{text}");
            check_complaints(&loaded.warnings);
        }
        Err(complaints) => {
            assert!(!complaints.is_empty());
            check_complaints(&complaints);
        }
    }
}

fn load(file: &[u8], environment: Vec<(String, String)>) -> Result<Loaded, Vec<Complaint>> {
    let memory = memfd_create(c"settings", MFdFlags::MFD_CLOEXEC).expect("memory");
    let mut memory = File::from(memory);
    memory.write_all(file).expect("written");
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd()).into();
    config::load(&Request {
        files: vec![path],
        environment,
        flags: Vec::new(),
        root: "/nonexistent".into(),
    })
}

fn check_complaints(complaints: &[Complaint]) {
    for complaint in complaints {
        let line = complaint.to_string();
        assert!((1..500).contains(&complaint.message.chars().count()), "{line}");
        assert!(!line.contains(char::is_control), "{line}");
    }
}

fn told(complaints: &[Complaint]) -> String {
    complaints.iter().map(|complaint| format!("{complaint}\n")).collect()
}
