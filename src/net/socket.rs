//! One connected socket, and the few system calls that the engine makes on it.
//!
//! The descriptor lives in one `Arc<Socket>` and is never duplicated: a
//! duplicate would keep an epoll entry alive after the close.

use std::{
    io::{self, IoSlice},
    net::{Shutdown, TcpStream},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv, send, sendmsg, setsockopt, shutdown, sockopt},
};

use crate::fault::{self, Place};

/// A connected stream socket in blocking mode, with TLS on it or without.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    #[cfg(feature = "tls")]
    tls: Option<Box<super::tls::Session>>,
}

impl Socket {
    /// Reads; blocks until there is something, the end, or a shutdown.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| {
            let most = fault::allow(Place::Read, buffer.len())?;
            recv(self.as_raw_fd(), &mut buffer[..most], MsgFlags::empty())
        })
    }

    /// Reads what is there; `None` when nothing is.
    pub(super) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.tls {
            return session.try_receive(self.as_raw_fd(), buffer);
        }
        receive_some(self.as_raw_fd(), buffer)
    }

    /// Puts TLS on it, before anything was sent or received.
    #[cfg(feature = "tls")]
    pub(super) fn secured(self, session: super::tls::Session) -> Self {
        Self { tls: Some(Box::new(session)), ..self }
    }

    /// Sends what TLS still holds of what [`try_send`](Self::try_send) took:
    /// how many bytes, and whether the kernel has all now.
    pub(super) fn flush(&self) -> io::Result<(usize, bool)> {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.tls {
            return session.flush(self.as_raw_fd());
        }
        Ok((0, true))
    }

    /// Writes a head and a body, neither copied; blocks. Only for a
    /// connection's own thread while it holds no lock and nobody else writes:
    /// before the upgrade.
    pub(super) fn send_all(&self, mut head: &[u8], mut body: &[u8]) -> io::Result<()> {
        while !(head.is_empty() && body.is_empty()) {
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            let flags = MsgFlags::MSG_NOSIGNAL;
            let sent = retry(|| send_parts(self.as_raw_fd(), &parts, flags))?;
            let of_head = sent.min(head.len());
            head = &head[of_head..];
            body = &body[sent - of_head..];
        }
        Ok(())
    }

    /// Writes what the kernel takes at once; 0 when it takes nothing.
    pub(super) fn try_send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.tls {
            return session.try_send(self.as_raw_fd(), parts);
        }
        let sent = match parts {
            // The usual case, and the cheaper call.
            [part] => return Ok(send_some(self.as_raw_fd(), part)?.unwrap_or(0)),
            parts => retry(|| send_parts(self.as_raw_fd(), parts, AT_ONCE)),
        };
        Ok(unless_blocked(sent)?.unwrap_or(0))
    }

    /// Ends one or both directions. Wakes a thread that is blocked in them.
    pub(super) fn shutdown(&self, how: Shutdown) {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.tls {
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
        // The peer may have gone first: then there is nothing left to end.
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
}

/// At once or not at all, and no SIGPIPE.
const AT_ONCE: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

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

fn send_parts(fd: RawFd, parts: &[IoSlice<'_>], flags: MsgFlags) -> nix::Result<usize> {
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
        Self {
            fd: stream.into(),
            #[cfg(feature = "tls")]
            tls: None,
        }
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
