//! Any bytes at all as what a program prints that knows nothing of the grammar:
//! by a pattern, by pointers, in columns, as a bare value.

#![no_main]

use std::sync::OnceLock;

use boardcast::{
    telemetry::ChannelName,
    wire::line::{BadLine, Columns, Pattern, Pointers, Points, value},
};
use libfuzzer_sys::fuzz_target;

struct Forms {
    pattern: Pattern,
    pointers: Pointers,
    columns: [Columns; 2],
    name: ChannelName,
}

fn forms() -> &'static Forms {
    static FORMS: OnceLock<Forms> = OnceLock::new();
    FORMS.get_or_init(|| {
        let name = |text: &str| ChannelName::new(text).expect("a name");
        let places = [("a", "/a"), ("b", "/b/0/c"), ("all", "")];
        let places = places.map(|(channel, at)| (name(channel), at.to_owned()));
        let names = ["a", "-", "b"].map(String::from);
        Forms {
            pattern: Pattern::parse(r"(?<a>[-0-9.]+)[ ,;]+(?<b.c>\S+)").expect("fine"),
            pointers: Pointers::parse(&places).expect("fine"),
            columns: [',', ' '].map(|by| Columns::parse(&names, by).expect("fine")),
            name: name("value"),
        }
    })
}

fuzz_target!(|bytes: &[u8]| {
    let forms = forms();
    let mut points = Points::default();
    check(forms.pattern.read(bytes, &mut points), &points);
    check(forms.pointers.read(bytes, &mut points), &points);
    for columns in &forms.columns {
        check(columns.read(bytes, &mut points), &points);
    }
    check(value(&forms.name, bytes, &mut points), &points);
    // What an administrator may write.
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Pattern::parse(text);
        let _ = Pointers::parse(&[(forms.name.clone(), text.to_owned())]);
    }
});

fn check(outcome: Result<(), BadLine>, points: &Points) {
    if let Err(why) = outcome {
        let why = why.to_string();
        assert!(points.is_empty() && why.len() <= 200 && !why.chars().any(char::is_control));
    }
    for point in points.iter() {
        ChannelName::new(point.name).expect("a valid name");
        assert!(!point.value.is_null() && point.value.as_f64().is_none_or(f64::is_finite));
    }
}
