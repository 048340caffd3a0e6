//! The helper's own side: a thread that takes orders, and one for each command
//! that runs.

use std::{
    convert::Infallible,
    io::{self, IoSlice},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    sync::mpsc::{self, Sender},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::Signal,
        socket::{ControlMessage, MsgFlags, recv, send, sendmsg},
    },
};

use super::{Answer, MOST_WORDS, decode_words, signal_of};
use crate::{
    sources::configured::{
        command::{GRACE, LOOK, LOOK_OLD},
        group::{Group, Streams},
    },
    sys,
};

/// The most commands at a time. The settings have at most 64 sources, and each
/// may have a predecessor that is being ended.
const MOST: usize = 128;
/// Starting a program needs little.
const STACK: usize = 128 * 1024;
/// How long what runs may take to end when the server has.
const PATIENCE: Duration = Duration::from_millis(2500);

/// Starts the commands that the server at the other end of `control` asks for
/// and that are `allowed`, until it is gone; then ends all of them.
pub(crate) fn attend(control: &OwnedFd, mut allowed: impl FnMut(&[String]) -> bool) {
    let mut message = vec![0; MOST_WORDS];
    let (running, all_ended) = mpsc::channel::<Infallible>();
    let mut threads = Vec::new();
    loop {
        let (length, mut descriptors) =
            match sys::receive(control.as_fd(), &mut message, MsgFlags::empty()) {
                Ok((0, _)) => break,
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                // Whoever asked sees that its channel is closed, or asks again
                // when there is memory again.
                Err(_) => {
                    thread::sleep(LOOK);
                    continue;
                }
            };
        let Some(channel) = descriptors.pop() else { continue };
        threads.retain(|thread: &thread::JoinHandle<()>| !thread.is_finished());
        match decode_words(&message[..length]).filter(|words| allowed(words)) {
            None => answer(&channel, Answer::Unknown),
            Some(_) if threads.len() >= MOST => {
                answer(&channel, Answer::Failed(Errno::EAGAIN as i32));
            }
            Some(words) => threads.extend(start(&words, channel, &running)),
        }
    }
    drop(running);
    // Until all threads have let go of the other end.
    let _ = all_ended.recv_timeout(PATIENCE);
}

/// Runs a command on a thread of its own: it starts the command and must live
/// as long (`Group::start`), and an order may wait for a disk that does not
/// answer.
fn start(
    words: &[String],
    channel: OwnedFd,
    running: &Sender<Infallible>,
) -> Option<thread::JoinHandle<()>> {
    let (words, running) = (words.to_owned(), running.clone());
    let thread = thread::Builder::new().name("bc-command".into()).stack_size(STACK);
    let run = move || {
        match Group::start(&words) {
            Ok((group, streams)) => follow(group, streams, &channel),
            Err(error) => answer(&channel, Answer::Failed(errno_of(&error))),
        }
        drop(running);
    };
    // The channel is closed with what is not run.
    thread.spawn(run).ok()
}

/// Does what the server says of a command, and tells it how that ends.
fn follow(mut group: Group, streams: Streams, channel: &OwnedFd) {
    // When nobody hears it any more: first SIGTERM, and SIGKILL at that time.
    let mut deadline = None;
    let mut told = false;
    if !hand_over(channel, &streams) {
        group.signal(Signal::SIGTERM);
        deadline = Some(Instant::now() + GRACE);
    }
    // The server's alone now: it must see their end.
    drop(streams);
    loop {
        if let Some(status) = group.status() {
            let empty = group.is_empty();
            if !told {
                answer(channel, Answer::Ended(status.into_raw(), empty));
            } else if empty {
                answer(channel, Answer::Empty);
            }
            if empty {
                return;
            }
            told = true;
        }
        match deadline {
            // Dropping the group kills it, and waits for its leader a little.
            Some(at) if Instant::now() >= at => return,
            Some(_) => thread::sleep(LOOK),
            None => match order(&group, channel) {
                Order::Signal(signal) => group.signal(signal),
                Order::Nothing => {}
                Order::End => {
                    group.signal(Signal::SIGTERM);
                    deadline = Some(Instant::now() + GRACE);
                }
            },
        }
    }
}

/// What the server wants.
enum Order {
    Nothing,
    Signal(Signal),
    /// It is gone, or does not care any more.
    End,
}

/// Waits for the server's word or the end of the group's leader, or for a
/// moment.
fn order(group: &Group, channel: &OwnedFd) -> Order {
    let end = group.end();
    let mut list = vec![PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
    list.extend(end.map(|end| PollFd::new(end, PollFlags::POLLIN)));
    let wait = match (end, group.has_ended()) {
        (Some(_), _) => PollTimeout::NONE,
        (None, true) => PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::MAX),
        (None, false) => PollTimeout::try_from(LOOK_OLD).unwrap_or(PollTimeout::MAX),
    };
    // Without a word it looks what there is.
    let _ = poll(&mut list, wait);
    let mut byte = [0];
    match recv(channel.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT) {
        Ok(1) => signal_of(byte[0]).map_or(Order::Nothing, Order::Signal),
        Err(Errno::EAGAIN | Errno::EINTR) => Order::Nothing,
        _ => Order::End,
    }
}

/// Says that it runs, and gives the server the pipes; whether that is there.
fn hand_over(channel: &OwnedFd, streams: &Streams) -> bool {
    let bytes = Answer::Started.encode();
    let (parts, pipes) =
        ([IoSlice::new(&bytes)], [streams.output.as_raw_fd(), streams.errors.as_raw_fd()]);
    let rights = [ControlMessage::ScmRights(&pipes)];
    sendmsg::<()>(channel.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None).is_ok()
}

/// What the standard library says by itself (a NUL in a word) has none.
fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(Errno::EINVAL as i32)
}

/// A server that is gone needs none.
fn answer(channel: &OwnedFd, answer: Answer) {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let _ = send(channel.as_raw_fd(), &answer.encode(), flags);
}
