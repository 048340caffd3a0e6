//! The grammar of pushed lines under mangled input: no panic, no growth, and
//! the good lines among the bad ones all arrive.

use boardcast::{
    telemetry::{ChannelName, MAX_TEXT, Value},
    wire::line::{MAX_POINTS, Points, parse},
};

/// One of each form; `@` stands for a number. Each says so many values.
const FORMS: [(&str, usize); 10] = [
    ("plain/a @", 1),
    ("plain/b=@ plain/c=true  plain/d=-@", 3),
    ("note=\"it is @ o'clock\" x=@", 2),
    ("gauge/of.statsd:@|g", 1),
    ("weather,site=roof,device=a\\ 1 temp=@,wind=@i,open=t 1763796000000000000", 3),
    ("m,a=b text=\"x, y=z\",value=@", 2),
    ("{\"room\":{\"temp\":@,\"deep\":{\"er\":@}},\"door\":true,\"none\":null}", 3),
    (
        "[{\"bn\":\"urn:dev:x/\",\"bt\":1.7e9,\"bu\":\"Cel\"},{\"n\":\"t\",\"v\":@},{\"n\":\"l\",\"vs\":\"@\"}]",
        2,
    ),
    ("[{\"n\":\"a\",\"u\":\"V\",\"t\":-5,\"v\":@,\"x\":[1,{}]}]", 1),
    ("# a comment of @", 0),
];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Puts the numbers into a form.
fn fill(line: &mut Vec<u8>, form: &str, number: usize) {
    use std::io::Write;
    line.clear();
    for (at, part) in form.split('@').enumerate() {
        if at > 0 {
            write!(line, "{number}").expect("written");
        }
        line.extend(part.as_bytes());
    }
}

/// What mangling puts in: what the forms are made of, and what they are not.
const BYTES: &[u8] = b"\"\"\\\\{}[]:,,==|| \t#+-.019eEgint/_\0\x1b\xff\xc3\xa9";

fn mangle(line: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(line.len() + 1);
        let byte = BYTES[random.below(BYTES.len())];
        match random.below(6) {
            0 => line.insert(at, byte),
            1 => line.truncate(at),
            2 => drop(line.drain(..at)),
            3 if at < line.len() => line[at] = byte,
            4 if at < line.len() => drop(line.remove(at)),
            _ => {
                let piece = line[at..].to_vec();
                line.extend(piece);
            }
        }
    }
}

/// Parses so many lines, half of them mangled.
pub(crate) fn mangled_lines(count: usize, seed: u64) {
    let (mut random, mut points, mut line) = (Random(seed), Points::default(), Vec::new());
    let (mut good, mut refused) = (0, 0);
    for number in 0..count {
        let (form, values) = FORMS[random.below(FORMS.len())];
        fill(&mut line, form, number);
        if random.below(2) == 0 {
            parse(&line, &mut points).unwrap_or_else(|why| panic!("{form}: {why}"));
            assert_eq!(points.len(), values, "{form}");
            let number = |value: &Value| value.as_f64().is_none_or(|n| n.abs() == number as f64);
            assert!(points.iter().all(|point| number(point.value)), "{form}");
            good += 1;
            continue;
        }
        mangle(&mut line, &mut random);
        match parse(&line, &mut points) {
            Ok(()) => points.iter().for_each(|point| {
                ChannelName::new(point.name).expect("a valid name");
                match point.value {
                    Value::Number(number) => assert!(number.is_finite()),
                    Value::Text(text) => assert!(text.len() <= MAX_TEXT),
                    Value::Bool(_) => {}
                    Value::Null => panic!("null"),
                }
            }),
            Err(why) => {
                refused += 1;
                let fine = why.as_str().len() <= 200 && !why.as_str().chars().any(char::is_control);
                assert!(fine && points.is_empty(), "{why:?}");
            }
        }
        assert!(points.len() <= MAX_POINTS && points.capacity() < 64 * 1024);
    }
    println!("{count} lines: {good} good ones, all read; of the mangled, {refused} refused");
    assert!(good > count / 3 && refused > count / 4);
}

#[test]
fn a_million_mangled_lines_do_no_harm_and_the_good_ones_arrive() {
    mangled_lines(1_000_000, 0x9e37_79b9_7f4a_7c15);
}
