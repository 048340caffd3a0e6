//! The server's end of one command that the helper runs.

use std::{
    io::{self, IoSlice},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::ExitStatus,
};

use nix::{
    errno::Errno,
    sys::{
        signal::Signal,
        socket::{
            AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, send, sendmsg, socketpair,
        },
    },
};

use super::{ANSWER, Answer, MOST_WORDS, encode_words, signal_byte};
use crate::{sources::configured::group::Streams, sys};

const GONE: &str = "the helper that starts commands has ended; systemctl restart boardcast";
const UNKNOWN: &str = "it is not in the settings any more; systemctl reload boardcast";

/// A command that the helper runs. Dropping it has all of it ended: SIGTERM,
/// and SIGKILL 1.5 s later.
#[derive(Debug)]
pub(in crate::sources::configured) struct Errand {
    channel: OwnedFd,
    status: Option<ExitStatus>,
    empty: bool,
}

impl Errand {
    /// Has the helper at the other end of `control` start a program, and waits
    /// until it has.
    pub(in crate::sources::configured) fn start(
        control: &OwnedFd,
        words: &[String],
    ) -> io::Result<(Self, Streams)> {
        let message = encode_words(words);
        if message.len() > MOST_WORDS {
            return Err(Errno::E2BIG.into());
        }
        let flags = SockFlag::SOCK_CLOEXEC;
        let (channel, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        ask(control, &message, &other)?;
        drop(other);
        let mut answer = [0; ANSWER];
        let (length, descriptors) = loop {
            match sys::receive(channel.as_fd(), &mut answer, MsgFlags::empty()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => break received?,
            }
        };
        match Answer::decode(&answer[..length]) {
            Some(Answer::Started) => {}
            Some(Answer::Failed(errno)) => return Err(io::Error::from_raw_os_error(errno)),
            Some(Answer::Unknown) => return Err(io::Error::other(UNKNOWN)),
            _ => return Err(io::Error::other(GONE)),
        }
        let Ok([output, errors]) = <[OwnedFd; 2]>::try_from(descriptors) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let errand = Self { channel, status: None, empty: false };
        Ok((errand, Streams { output, errors }))
    }

    /// How the leader ended, when it has.
    pub(in crate::sources::configured) fn status(&mut self) -> Option<ExitStatus> {
        self.hear();
        self.status
    }

    /// What is readable when there is news; `None` when there will be none.
    pub(in crate::sources::configured) fn end(&self) -> Option<BorrowedFd<'_>> {
        (!self.empty).then(|| self.channel.as_fd())
    }

    /// Whether all of it have ended.
    pub(in crate::sources::configured) fn is_empty(&mut self) -> bool {
        self.hear();
        self.empty
    }

    /// Has this signal sent to all of it.
    pub(in crate::sources::configured) fn signal(&mut self, signal: Signal) {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        // A helper that is gone is found out by what it says no more.
        let _ = send(self.channel.as_raw_fd(), &[signal_byte(signal)], flags);
    }

    /// Takes what the helper has said.
    fn hear(&mut self) {
        while !self.empty {
            let mut answer = [0; ANSWER];
            let heard = sys::receive(self.channel.as_fd(), &mut answer, MsgFlags::MSG_DONTWAIT);
            match heard {
                Ok((length, _)) => match Answer::decode(&answer[..length]) {
                    Some(Answer::Ended(status, empty)) => {
                        self.status = Some(ExitStatus::from_raw(status));
                        self.empty = empty;
                    }
                    Some(Answer::Empty) => self.empty = true,
                    _ => self.lose(),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.lose(),
            }
        }
    }

    /// The helper is gone. Then its children are told to end (`begin_clean` in
    /// `sys.rs`).
    fn lose(&mut self) {
        self.status.get_or_insert(ExitStatus::from_raw(Signal::SIGTERM as i32));
        self.empty = true;
    }
}

/// Sends the words and one end of a channel.
pub(super) fn ask(control: &OwnedFd, message: &[u8], channel: &OwnedFd) -> io::Result<()> {
    let (parts, rights) = ([IoSlice::new(message)], [channel.as_raw_fd()]);
    let rights = [ControlMessage::ScmRights(&rights)];
    loop {
        let flags = MsgFlags::MSG_NOSIGNAL;
        match sendmsg::<()>(control.as_raw_fd(), &parts, &rights, flags, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(io::Error::other(GONE)),
            Err(errno) => return Err(errno.into()),
        }
    }
}
