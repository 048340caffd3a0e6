//! The bodies with their seeds, and with variations of them that are the same
//! in every run.

use std::{fs, path::Path};

/// What a variation may be made longer by at a time, in bytes.
const ADDED: usize = 40;

/// Every seed as it is, then so many variations.
fn run(name: &str, body: fn(&[u8]), variations: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz").join(name);
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("seeds").map(|entry| entry.expect("listed").path()).collect();
    files.sort();
    let seeds: Vec<_> = files.iter().map(|file| fs::read(file).expect("read")).collect();
    assert!(seeds.len() >= 8, "too few seeds to vary");
    for (file, seed) in files.iter().zip(&seeds) {
        try_one(&file.display().to_string(), body, seed);
    }
    let mut dice = Dice(0x5eed);
    for number in 0..variations {
        let mut bytes = seeds[dice.below(seeds.len())].clone();
        for _ in 0..=dice.below(4) {
            vary(&mut bytes, &seeds, &mut dice);
        }
        try_one(&format!("variation {number} of {name}"), body, &bytes);
    }
}

/// Names what was tried where it fails: the file to keep it in follows from that.
fn try_one(what: &str, body: fn(&[u8]), bytes: &[u8]) {
    struct Tell<'a>(&'a str, &'a [u8]);
    impl Drop for Tell<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}: {}", self.0, self.1.escape_ascii());
            }
        }
    }
    let _tell = Tell(what, bytes);
    body(bytes);
}

/// Numbers that are the same in every run (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`; 0 when there is none.
    fn below(&mut self, end: usize) -> usize {
        (self.roll() % (end as u64).max(1)) as usize
    }

    /// A stretch of something so long.
    fn stretch(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(ADDED) + 1)
    }
}

/// One change.
fn vary(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut Dice) {
    const ODD: [u8; 16] = *b"\x00\x01\x7f\x80\xff\r\n \"',/:#%{";
    let at = dice.below(bytes.len());
    let here = dice.stretch(bytes.len());
    match (dice.below(8), bytes.get_mut(at)) {
        (0, Some(byte)) => *byte ^= 1 << dice.below(8),
        (1, Some(byte)) => *byte = ODD[dice.below(ODD.len())],
        (2, Some(byte)) => *byte = dice.roll() as u8,
        (3, _) => drop(bytes.drain(here)),
        (4, _) => {
            let again = bytes[here.clone()].to_vec();
            bytes.splice(here.start..here.start, again);
        }
        (5, _) => bytes.truncate(at),
        (6, _) => {
            let byte = ODD[dice.below(ODD.len())];
            bytes.splice(here.start..here.start, vec![byte; here.len()]);
        }
        _ => {
            let other = &seeds[dice.below(seeds.len())];
            let part = other[dice.stretch(other.len())].to_vec();
            bytes.splice(here, part);
        }
    }
}

#[test]
fn any_head_and_any_chunks() {
    run("head", super::head, 3000);
}

#[test]
fn any_frames() {
    run("frames", super::frames, 3000);
}

#[test]
fn any_settings() {
    run("settings", super::settings, 700);
}

#[test]
fn any_file_of_history() {
    run("history", super::history, 1500);
}

#[test]
fn any_line() {
    run("line", super::line, 10_000);
}

#[test]
fn any_line_of_a_foreign_program() {
    run("foreign", super::foreign, 3000);
}

#[test]
fn any_message_and_any_query() {
    run("control", super::control, 10_000);
}

#[cfg(feature = "mqtt")]
#[test]
fn any_words_of_a_broker() {
    run("broker", super::broker, 10_000);
}

#[test]
fn any_words_of_a_fleets_boards() {
    run("boards", super::boards, 3000);
}

#[test]
fn any_filters() {
    run("filters", super::filters, 10_000);
}

#[test]
fn variations_are_many_and_the_same_in_every_run() {
    let seeds = [b"GET / HTTP/1.1".to_vec(), b"{}".to_vec(), Vec::new()];
    let all = || {
        let mut dice = Dice(1);
        let mut one = |_| {
            let mut bytes = seeds[0].clone();
            vary(&mut bytes, &seeds, &mut dice);
            bytes
        };
        (0..500).map(&mut one).collect::<Vec<_>>()
    };
    let mut once = all();
    assert_eq!(once, all());
    once.sort();
    once.dedup();
    assert!(once.len() > 250, "{} different ones", once.len());
}
