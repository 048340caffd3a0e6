//! The helper as a thread of the test: what it does is the same as in a
//! process of its own.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair},
    },
    unistd::Pid,
};

use super::*;
use crate::{sources::configured::group::Streams, sys::receive};

/// A helper that starts shells, and nothing that says `forbidden`.
struct Helper {
    control: OwnedFd,
    thread: JoinHandle<()>,
}

impl Helper {
    fn new() -> Self {
        let (control, other) = pair();
        let allowed = |words: &[String]| !words.concat().contains("forbidden");
        let thread = thread::spawn(move || attend(&other, allowed));
        Self { control, thread }
    }

    fn shell(&self, line: &str) -> io::Result<(Errand, Streams)> {
        Errand::start(&self.control, &["/bin/sh", "-c", line].map(String::from))
    }

    /// The server is gone.
    fn hang_up(self) {
        drop(self.control);
        self.thread.join().expect("no panic");
    }
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .expect("a pair")
}

#[track_caller]
fn wait_for(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "in vain");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The first line that comes.
fn line(stream: &OwnedFd) -> String {
    let mut stream = File::from(stream.try_clone().expect("cloned"));
    let (mut text, mut byte) = (String::new(), [0]);
    wait_for(|| {
        if stream.read(&mut byte).is_ok_and(|length| length == 1) {
            text.push(byte[0] as char);
        }
        text.ends_with('\n')
    });
    text.trim().to_owned()
}

/// The group of a shell that has printed its number.
fn group(streams: &Streams) -> Pid {
    Pid::from_raw(line(&streams.output).parse().expect("a number"))
}

#[test]
fn answers_signals_and_words_are_read_as_they_were_said() {
    for answer in [
        Answer::Started,
        Answer::Failed(-7),
        Answer::Unknown,
        Answer::Ended(0x7f00, true),
        Answer::Ended(9, false),
        Answer::Empty,
    ] {
        assert_eq!(Answer::decode(&answer.encode()), Some(answer));
    }
    assert_eq!(Answer::decode(&[]), None);
    assert_eq!(Answer::decode(&[9; ANSWER]), None);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        assert_eq!(signal_of(signal_byte(signal)), Some(signal));
    }
    assert_eq!(signal_of(19), None);
    let words = ["/bin/sh", "-c", "", "a b"].map(String::from);
    assert_eq!(decode_words(&encode_words(&words)), Some(words.to_vec()));
    assert_eq!(decode_words(&[0xff]), None);
}

#[test]
fn output_errors_and_the_end_come_back() {
    let helper = Helper::new();
    let (mut errand, streams) = helper.shell("echo out; echo err >&2; exit 3").expect("started");
    assert_eq!((line(&streams.output), line(&streams.errors)), ("out".into(), "err".into()));
    wait_for(|| errand.is_empty());
    assert_eq!(errand.status().and_then(|status| status.code()), Some(3));
    assert!(errand.end().is_none(), "there is no more news");
    helper.hang_up();
}

#[test]
fn what_cannot_be_started_is_told_as_the_system_tells_it() {
    let helper = Helper::new();
    let start = |word: &str| Errand::start(&helper.control, &[word.to_owned()]);
    let error = start("/nowhere/program").expect_err("there is none");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let error = start("/etc").expect_err("a folder");
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    let error = start(&"x".repeat(MOST_WORDS + 1)).expect_err("too long");
    assert_eq!(error.raw_os_error(), Some(Errno::E2BIG as i32));
    helper.hang_up();
}

#[test]
fn what_the_settings_do_not_have_is_not_started() {
    let helper = Helper::new();
    let error = helper.shell("echo forbidden").expect_err("refused");
    assert!(error.to_string().contains("not in the settings"), "{error}");
    // Nonsense is no order either, and the next one is heard.
    let (channel, other) = pair();
    client::ask(&helper.control, &[0xff, 0xfe], &other).expect("sent");
    drop(other);
    let mut answer = [0; ANSWER];
    let heard = receive(channel.as_fd(), &mut answer, MsgFlags::empty());
    let (length, _) = heard.expect("an answer");
    assert_eq!(Answer::decode(&answer[..length]), Some(Answer::Unknown));
    assert!(helper.shell("exit 0").is_ok());
    helper.hang_up();
}

#[test]
fn a_group_is_told_and_is_empty_when_all_of_it_have_ended() {
    let helper = Helper::new();
    let (mut errand, streams) = helper.shell("sleep 1000 & echo $$; exit 0").expect("started");
    let group = group(&streams);
    wait_for(|| errand.status().is_some());
    assert!(!errand.is_empty() && killpg(group, None).is_ok());
    errand.signal(Signal::SIGTERM);
    wait_for(|| errand.is_empty());
    assert_eq!(killpg(group, None), Err(Errno::ESRCH));
    helper.hang_up();
}

#[test]
fn one_that_nobody_waits_for_any_more_is_told_first_and_then_killed() {
    let helper = Helper::new();
    let stubborn = "trap 'echo told' TERM; echo $$; while :; do sleep 0.01; done";
    let (errand, streams) = helper.shell(stubborn).expect("started");
    let group = group(&streams);
    drop(errand);
    assert_eq!(line(&streams.output), "told");
    wait_for(|| killpg(group, None).is_err());
    helper.hang_up();
}

#[test]
fn when_the_server_is_gone_all_of_them_end_and_then_the_helper_does() {
    let helper = Helper::new();
    let started: Vec<_> = (0..5)
        .map(|_| helper.shell("trap '' TERM; echo $$; sleep 1000 & sleep 1000").expect("started"))
        .collect();
    let groups: Vec<_> = started.iter().map(|(_, streams)| group(streams)).collect();
    assert!(groups.iter().all(|group| killpg(*group, None).is_ok()));
    // As the end of a process closes them, all at once.
    drop(started);
    let told = Instant::now();
    helper.hang_up();
    assert!(told.elapsed() < Duration::from_secs(10), "together, not one after the other");
    for group in groups {
        wait_for(|| killpg(group, None).is_err());
    }
}

#[test]
fn a_helper_that_is_gone_is_told_and_holds_nobody_up() {
    let (control, other) = pair();
    drop(other);
    let error = Errand::start(&control, &["/bin/true".into()]).expect_err("nobody is there");
    assert!(error.to_string().contains("the helper that starts commands has ended"), "{error}");
    // Gone in mid order: what it was asked with is closed.
    let (control, other) = pair();
    let asked = thread::spawn(move || Errand::start(&control, &["/bin/true".into()]));
    let mut message = [0; 64];
    drop(receive(other.as_fd(), &mut message, MsgFlags::empty()).expect("an order"));
    drop(other);
    let error = asked.join().expect("no panic").expect_err("no answer");
    assert!(error.to_string().contains("has ended"), "{error}");
}
