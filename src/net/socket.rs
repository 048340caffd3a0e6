//! One connected socket, and the few system calls that the engine makes on it.
//!
//! The descriptor lives in one `Arc<Socket>` and is never duplicated: a
//! duplicate would keep an epoll entry alive after the close.

use std::{
    io::{self, IoSlice},
    net::{Shutdown, TcpStream},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::OnceLock,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv, send, sendmsg, setsockopt, shutdown, sockopt},
};

use super::tls::Session;
use crate::fault::{self, Place};

/// A connected stream socket in blocking mode, with TLS on it or without.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    tls: OnceLock<Box<Session>>,
}

impl Socket {
    /// Reads; blocks until there is something, the end, or a shutdown.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.tls.get() {
            Some(session) => session.receive(self.as_fd(), buffer),
            None => receive_waiting(self.as_raw_fd(), buffer),
        }
    }

    /// As [`receive`](Self::receive), for bytes that are thrown away: as they
    /// travel, whatever TLS would make of them.
    pub(super) fn receive_raw(&self, buffer: &mut [u8]) -> io::Result<usize> {
        receive_waiting(self.as_raw_fd(), buffer)
    }

    /// Reads what is there; `None` when nothing is.
    pub(super) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.tls.get() {
            Some(session) => session.try_receive(self.as_raw_fd(), buffer),
            None => receive_some(self.as_raw_fd(), buffer),
        }
    }

    /// Puts TLS on it, before anything was sent or received.
    #[cfg(feature = "tls")]
    pub(super) fn secured(self, session: Session) -> Self {
        Self { tls: OnceLock::from(Box::new(session)), ..self }
    }

    /// The first byte that is to be read, left where it is; `None` at the end.
    /// Blocks.
    #[cfg(feature = "tls")]
    pub(super) fn peek(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        let length = retry(|| recv(self.as_raw_fd(), &mut first, MsgFlags::MSG_PEEK))?;
        Ok((length > 0).then_some(first[0]))
    }

    /// Puts a server's TLS on it, before anything was sent or received, and
    /// shakes hands. Blocks.
    #[cfg(feature = "tls")]
    pub(super) fn secure(&self, session: Session) -> io::Result<()> {
        // It is set by the connection's own thread, once.
        self.tls.get_or_init(|| Box::new(session)).shake_hands(self.as_fd())
    }

    /// Whether there is TLS on it.
    pub(super) fn is_secure(&self) -> bool {
        self.tls.get().is_some()
    }

    /// Sends what TLS still holds of what [`try_send`](Self::try_send) took:
    /// how many bytes, and whether the kernel has all now.
    pub(super) fn flush(&self) -> io::Result<(usize, bool)> {
        self.tls.get().map_or(Ok((0, true)), |session| session.flush(self.as_raw_fd()))
    }

    /// Writes a head and a body, neither copied; blocks. Only for a
    /// connection's own thread while it holds no lock and nobody else writes:
    /// before the upgrade.
    pub(super) fn send_all(&self, mut head: &[u8], mut body: &[u8]) -> io::Result<()> {
        if let Some(session) = self.tls.get() {
            return session.send_all(self.as_fd(), head, body);
        }
        while !(head.is_empty() && body.is_empty()) {
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            let flags = MsgFlags::MSG_NOSIGNAL;
            let sent = retry(|| send_some_parts(self.as_raw_fd(), &parts, flags))?;
            let of_head = sent.min(head.len());
            head = &head[of_head..];
            body = &body[sent - of_head..];
        }
        Ok(())
    }

    /// Writes what the kernel takes at once; 0 when it takes nothing.
    pub(super) fn try_send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(session) = self.tls.get() {
            return session.try_send(self.as_raw_fd(), parts);
        }
        let sent = match parts {
            // The usual case, and the cheaper call.
            [part] => send_some(self.as_raw_fd(), part),
            parts => send_parts(self.as_raw_fd(), parts),
        };
        Ok(sent?.unwrap_or(0))
    }

    /// Ends the sending direction behind an answer that is the last; what the
    /// peer still says is of no interest.
    pub(super) fn finish(&self) {
        if let Some(session) = self.tls.get() {
            session.farewell(self.as_raw_fd());
        }
        // The peer may have gone first: then there is nothing left to end.
        let _ = shutdown(self.as_raw_fd(), nix::sys::socket::Shutdown::Write);
    }

    /// Ends one or both directions. Wakes a thread that is blocked in them.
    pub(super) fn shutdown(&self, how: Shutdown) {
        if let Some(session) = self.tls.get() {
            match how {
                Shutdown::Both => session.farewell(self.as_raw_fd()),
                // A farewell that the peer has not read when it closes makes its
                // kernel reset the connection, and what it said last is lost; our
                // Close, which goes before, tells it enough.
                Shutdown::Write => return,
                Shutdown::Read => {}
            }
        }
        let how = match how {
            Shutdown::Read => nix::sys::socket::Shutdown::Read,
            Shutdown::Write => nix::sys::socket::Shutdown::Write,
            Shutdown::Both => nix::sys::socket::Shutdown::Both,
        };
        // As above.
        let _ = shutdown(self.as_raw_fd(), how);
    }

    /// Gives the descriptor back.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Sets a socket up for streaming: little hidden in the kernel, nothing
    /// held back. A socket that has no such option (not TCP) streams without.
    pub(super) fn prepare_stream(&self, send_buffer: usize, not_sent: u32) {
        let _ = setsockopt(&self.fd, sockopt::TcpNoDelay, &true);
        // The kernel doubles the value for its own bookkeeping (socket(7)).
        let _ = setsockopt(&self.fd, sockopt::SndBuf, &(send_buffer / 2));
        let _ = crate::sys::set_not_sent_low_water(self.fd.as_fd(), not_sent);
    }

    /// Has the kernel end the connection when what was sent is not acknowledged
    /// for so long: of a peer that has no pongs nothing else is heard.
    pub(super) fn end_when_unheard(&self, time: Duration) {
        let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let _ = setsockopt(&self.fd, sockopt::TcpUserTimeout, &millis);
    }
}

/// At once or not at all, and no SIGPIPE.
const AT_ONCE: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

/// Receives; blocks until there is something, the end, or a shutdown.
pub(super) fn receive_waiting(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    retry(|| {
        let most = fault::allow(Place::Read, buffer.len())?;
        recv(fd, &mut buffer[..most], MsgFlags::empty())
    })
}

/// Receives what is there; `None` when nothing is.
pub(super) fn receive_some(fd: RawFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    unless_blocked(retry(|| {
        let most = fault::allow(Place::Read, buffer.len())?;
        recv(fd, &mut buffer[..most], MsgFlags::MSG_DONTWAIT)
    }))
}

/// Sends what the kernel takes at once; `None` when it takes nothing.
pub(super) fn send_some(fd: RawFd, bytes: &[u8]) -> io::Result<Option<usize>> {
    unless_blocked(retry(|| {
        let most = fault::allow(Place::Write, bytes.len())?;
        send(fd, &bytes[..most], AT_ONCE)
    }))
}

/// Sends of several parts what the kernel takes at once; `None` when it takes
/// nothing.
pub(super) fn send_parts(fd: RawFd, parts: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
    unless_blocked(retry(|| send_some_parts(fd, parts, AT_ONCE)))
}

fn send_some_parts(fd: RawFd, parts: &[IoSlice<'_>], flags: MsgFlags) -> nix::Result<usize> {
    // Where a test wants it short, of the first part that has something one byte.
    match parts.iter().find(|part| !part.is_empty()) {
        Some(part) if fault::allow(Place::Write, usize::MAX)? == 1 => send(fd, &part[..1], flags),
        _ => sendmsg::<()>(fd, parts, &[], flags, None),
    }
}

fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}

/// Repeats a call that a signal interrupted.
fn retry(mut call: impl FnMut() -> nix::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self { fd: stream.into(), tls: OnceLock::new() }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
