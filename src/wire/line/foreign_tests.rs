//! Tests of what is read as the settings say: bare values, patterns, pointers,
//! columns.

use super::{tests::show, *};
use crate::error;

type Reader<'a> = dyn Fn(&[u8], &mut Points) -> Result<()> + 'a;

/// Each line and its points; a text that begins with `!` is part of a refusal.
fn check(read: &Reader<'_>, table: &[(&str, &[&str])]) {
    let mut points = Points::default();
    for (line, expected) in table {
        match read(line.as_bytes(), &mut points) {
            Ok(()) => assert_eq!(points.iter().map(show).collect::<Vec<_>>(), *expected, "{line}"),
            Err(why) => {
                let hint = expected.first().and_then(|hint| hint.strip_prefix('!'));
                let hint = hint.unwrap_or_else(|| panic!("{line}: {why}"));
                assert!(why.as_str().contains(hint), "{line}: {why}");
                assert!(points.is_empty(), "{line}");
            }
        }
    }
}

fn name(text: &str) -> ChannelName {
    ChannelName::new(text).expect("a name")
}

fn pattern(text: &str) -> error::Result<Pattern> {
    Pattern::parse(text)
}

fn pointers(list: &[(&str, &str)]) -> error::Result<Pointers> {
    let list: Vec<_> = list.iter().map(|(channel, at)| (name(channel), (*at).into())).collect();
    Pointers::parse(&list)
}

fn columns(names: &[&str], separator: char) -> error::Result<Columns> {
    Columns::parse(&names.iter().map(|&name| name.into()).collect::<Vec<_>>(), separator)
}

fn sentence<T: fmt::Debug>(outcome: error::Result<T>) -> String {
    outcome.expect_err("refused").to_string()
}

#[test]
fn a_bare_value_is_a_number_a_truth_or_a_text() {
    let channel = name("room/light");
    check(
        &|line, points| value(&channel, line, points),
        &[
            ("21.5\n", &["room/light=21.5"]),
            (" -3 \r", &["room/light=-3"]),
            ("+.5e1", &["room/light=5"]),
            ("True", &["room/light=true"]),
            ("false", &["room/light=false"]),
            ("Raspberry Pi 3\0", &[r#"room/light="Raspberry Pi 3""#]),
            ("48.3'C", &[r#"room/light="48.3'C""#]),
            ("", &[]),
            (" \n", &[]),
            ("nan", &[]),
            ("-inf", &[]),
            ("1e999", &["!too large"]),
            (&"x".repeat(1025), &["!1024 bytes"]),
        ],
    );
    let mut points = Points::default();
    value(&channel, b"caf\xe9", &mut points).expect("a text");
    assert_eq!(points.iter().map(show).collect::<Vec<_>>(), ["room/light=\"caf\u{fffd}\""]);
}

#[test]
fn the_named_groups_of_a_pattern_are_channels() {
    let one = pattern(r"temp=(?<temperature>[0-9.]+)'C( (?<state>\w+))?").expect("fine");
    check(
        &|line, points| one.read(line, points),
        &[
            ("temp=48.3'C", &["temperature=48.3"]),
            ("temp=48.3'C hot", &["temperature=48.3", r#"state="hot""#]),
            ("x temp=1'C true", &["temperature=1", "state=true"]),
            ("temp=1.2.3'C", &[r#"temperature="1.2.3""#]),
            ("VCGencmd, a banner", &[]),
            ("", &[]),
            (&"x".repeat(MAX_LINE + 1), &["!longer than 16384"]),
        ],
    );
    let levels = pattern("(?P<room.temp>.*);(?<room.hum>.*)").expect("fine");
    check(
        &|line, points| levels.read(line, points),
        &[
            ("1;2", &["room/temp=1", "room/hum=2"]),
            (";2", &["room/hum=2"]),
            ("nan;x", &[r#"room/hum="x""#]),
        ],
    );
    assert_eq!(one, pattern(one.as_str()).expect("the same"));
    assert_ne!(one, levels);
}

#[test]
fn a_pattern_that_is_wrong_says_what_to_write() {
    for (text, hint) in [
        ("temp=([0-9.]+)", "it names no group; write it as in"),
        ("(?<a", "pattern \"(?<a\""),
        ("(?<a..b>x)", "group \"a..b\" names no channel: an empty level"),
        ("(?<a[0]>x)", "a level may hold A-Z"),
        ("(?<a>x{1000}{1000})", "size"),
        ("(?=x)(?<a>x)", "pattern"),
    ] {
        let why = sentence(pattern(text));
        assert!(why.contains(hint), "{text}: {why}");
    }
}

#[test]
fn a_pattern_never_goes_back_over_a_line() {
    // 2^30 steps for one that does.
    let evil = pattern("(?<a>(x+x+)+y)").expect("fine");
    let mut points = Points::default();
    evil.read("x".repeat(30_000 / 2).as_bytes(), &mut points).expect("no match");
    assert!(points.is_empty());
}

#[test]
fn json_pointers_lead_to_channels() {
    let list = [
        ("lat", "/lat"),
        ("snr", "/sat/1/snr"),
        ("fix", "/gps/fix"),
        ("odd", "/a~1b/m~0n"),
        ("empty", "/"),
        ("again", "/lat"),
    ];
    let some = pointers(&list).expect("fine");
    check(
        &|line, points| some.read(line, points),
        &[
            (
                r#"{"lat":48.1,"x":{"lat":1},"sat":[{"snr":1},{"snr":31}]}"#,
                &["lat=48.1", "snr=31", "again=48.1"],
            ),
            (r#"{"gps":{"fix":true,"lat":[1,{"a":2}]}}"#, &["fix=true"]),
            (r#"{"a/b":{"m~n":-7},"":"text"}"#, &["odd=-7", r#"empty="text""#]),
            (r#"{"lat":null}"#, &[]),
            (r#"{"lat":1,"lat":2}"#, &["lat=2", "again=2"]),
            ("{\"lat\":1}\n{\"gps\":{\"fix\":false}}\n", &["lat=1", "fix=false", "again=1"]),
            ("{\n \"lat\":\n 5 }", &["lat=5", "again=5"]),
            ("", &[]),
            ("21.5", &[]),
            (r#"{"sat":[{"snr":1}]}"#, &[]),
            (r#"{"sat":{"1":{"snr":3}}}"#, &["snr=3"]),
            (r#"{"lat":[1]}"#, &["!lat is a list; let its pointer"]),
            (r#"{"gps":{"fix":{}}}"#, &["!fix is an object"]),
            (r#"{"lat":1}{"#, &["!not JSON"]),
            (r#"{"lat":1} x"#, &["!not JSON"]),
            (r#"{"lat":1e999}"#, &["!not JSON"]),
            (&format!(r#"{{"":"{}"}}"#, "x".repeat(1025)), &["!1024 bytes"]),
            (&format!(r#"{{"b":"{}"}}"#, "x".repeat(1025)), &[]),
            (&" ".repeat(MAX_DOCUMENT + 1), &["!longer than 65536"]),
            (&"[".repeat(MAX_DOCUMENT), &["!not JSON"]),
        ],
    );
    let whole = pointers(&[("all", "")]).expect("fine");
    check(
        &|line, points| whole.read(line, points),
        &[("21.5", &["all=21.5"]), (r#""x""#, &[r#"all="x""#]), ("{}", &["!all is an object"])],
    );
    for (at, hint) in [("lat", "no JSON pointer"), ("/a~2", "no JSON pointer"), ("/~", "as in /")] {
        let why = sentence(pointers(&[("a", at)]));
        assert!(why.contains(hint), "{at}: {why}");
    }
    assert!(sentence(pointers(&[])).contains("are needed"));
    assert!(sentence(pointers(&[("a", &"/a".repeat(17))])).contains("more than 16 levels"));
    let deep = pointers(&[("a", &"/a".repeat(16))]).expect("fine");
    let document = format!("{}7{}", r#"{"a":"#.repeat(16), "}".repeat(16));
    let small = std::thread::Builder::new().stack_size(128 * 1024).spawn(move || {
        check(&|line, points| deep.read(line, points), &[(&document, &["a=7"])]);
    });
    small.expect("a thread").join().expect("no overflow");
}

#[test]
fn columns_have_names_and_may_be_quoted() {
    let csv = columns(&["-", "room/temp", "note"], ',').expect("fine");
    check(
        &|line, points| csv.read(line, points),
        &[
            ("12:00,21.5,fine\r", &["room/temp=21.5", r#"note="fine""#]),
            ("12:00 , 21.5 , \"a \"\"b\"\", c\" ", &["room/temp=21.5", r#"note="a \"b\", c""#]),
            ("\"1,2\",\"3\",\"\"", &["room/temp=3"]),
            (",,", &[]),
            ("x,nan,true", &["note=true"]),
            ("", &[]),
            ("# a comment", &[]),
            ("time,room/temp,note", &[]),
            ("\"Time\",\"Temp\",\"Note\"", &[]),
            ("time,temp,other", &[r#"room/temp="temp""#, r#"note="other""#]),
            ("1,2", &["!2 columns are too few, the settings have 3"]),
            ("1,2,3,", &["!4 columns are too many, the settings have 3"]),
            ("1,\"2,3", &["!no closing quote"]),
            ("1,\"2\"3,4", &["!a separator must follow"]),
            ("1,1e999,3", &["!too large"]),
            (&",".repeat(MAX_LINE + 1), &["!longer than"]),
        ],
    );
    let blanks = columns(&["a", "-", "b"], ' ').expect("fine");
    check(
        &|line, points| blanks.read(line, points),
        &[
            ("1 2 3", &["a=1", "b=3"]),
            ("  1\t 2   3  ", &["a=1", "b=3"]),
            ("\t1 \"2 x\" \"3 4\"", &["a=1", r#"b="3 4""#]),
            ("1 2 3\t", &["a=1", "b=3"]),
        ],
    );
    let tabs = columns(&["a", "b"], '\t').expect("fine");
    check(
        &|line, points| tabs.read(line, points),
        &[("1\t2", &["a=1", "b=2"]), ("\t2", &["b=2"]), ("x y\t", &[r#"a="x y""#])],
    );
    for (names, separator, hint) in [
        (&["-"][..], ',', "none has a name"),
        (&[], ',', "none has a name"),
        (&["a b"], ',', "A-Z a-z"),
        (&["a"], 'x', "no separator"),
        (&["a"], '"', "no separator"),
    ] {
        let why = sentence(columns(names, separator));
        assert!(why.contains(hint), "{names:?}: {why}");
    }
}

#[test]
fn levels_go_before_the_names_of_every_form() {
    let mut points = Points::default();
    points.set_root(Some(name("hall/one")));
    for (line, expected) in [
        ("a/b=1 c=2", &["hall/one/a/b=1", "hall/one/c=2"][..]),
        ("g:1|g", &["hall/one/g=1"]),
        ("m,t=x value=1,o=2", &["hall/one/m/x=1", "hall/one/m/x/o=2"]),
        (r#"{"a":{"b":1}}"#, &["hall/one/a/b=1"]),
        (r#"[{"bn":"a/","n":"b","v":1}]"#, &["hall/one/a/b=1"]),
    ] {
        parse(line.as_bytes(), &mut points).expect(line);
        assert_eq!(points.iter().map(show).collect::<Vec<_>>(), expected, "{line}");
    }
    for line in [":1|g", "=1", "/a=1", "a/b/c/d/e/f/g=1"] {
        parse(line.as_bytes(), &mut points).expect_err(line);
    }
    columns(&["x"], ';').expect("fine").read(b"7", &mut points).expect("fine");
    assert_eq!(points.iter().map(show).collect::<Vec<_>>(), ["hall/one/x=7"]);
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    /// The line with up to three changes.
    fn mangle(&mut self, good: &[u8]) -> Vec<u8> {
        const BYTES: &[u8] = b"\"\"\\{}[]:,;; \t\n#+-.019eEnatrufl/_\0\x1b\xff\xc3\xa9";
        let mut line = good.to_vec();
        for _ in 0..self.below(4) {
            let (at, byte) = (self.below(line.len() + 1), BYTES[self.below(BYTES.len())]);
            match self.below(4) {
                0 => line.insert(at, byte),
                1 if at < line.len() => line[at] = byte,
                2 => line.extend(line[at..].to_vec()),
                _ => line.truncate(at),
            }
        }
        line
    }
}

/// A hundred thousand good lines with a few bytes changed, cut or doubled,
/// through each form: the bounds hold, whatever comes.
#[test]
fn mangled_lines_cost_nothing_and_keep_the_rules() {
    let pattern = pattern(r"(?<a>[-0-9.]+)[ ,;]+(?<b.c>\S+)").expect("fine");
    let pointers = pointers(&[("a", "/a"), ("b/c", "/b/0/c"), ("d", "/d~1e")]).expect("fine");
    let columns = columns(&["a", "-", "b/c"], ';').expect("fine");
    let channel = name("v");
    let readers: [(&Reader<'_>, &[u8]); 4] = [
        (&|line, points| pattern.read(line, points), b"T -21.5, cold x"),
        (&|line, points| pointers.read(line, points), br#"{"a":-1.5,"b":[{"c":"x"}],"d/e":true}"#),
        (&|line, points| columns.read(line, points), br#"21.5;"a;""b";  true"#),
        (&|line, points| value(&channel, line, points), b"-21.5e3"),
    ];
    let (mut points, mut taken, mut refused) = (Points::default(), 0, 0);
    let mut random = Random(20_261_122);
    for round in 0..100_000 {
        let (read, good) = readers[round % readers.len()];
        let line = random.mangle(good);
        match read(&line, &mut points) {
            Ok(()) => taken += points.len(),
            Err(why) => {
                refused += 1;
                assert!(points.is_empty() && why.as_str().len() <= 200, "{why}");
                assert!(!why.as_str().chars().any(char::is_control), "{why:?}");
            }
        }
        for point in points.iter() {
            assert_eq!(ChannelName::broken_rule(point.name), None);
            assert!(!point.value.is_null() && point.value.as_f64().is_none_or(f64::is_finite));
        }
        assert!(points.capacity() < 4096);
    }
    assert!(taken > 50_000 && refused > 10_000, "{taken} taken, {refused} refused");
}
