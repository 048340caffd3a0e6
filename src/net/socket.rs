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

/// A connected stream socket in blocking mode.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    /// Reads; blocks until there is something, the end, or a shutdown.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| recv(self.0.as_raw_fd(), buffer, MsgFlags::empty()))
    }

    /// Reads what is there; `None` when nothing is.
    pub(super) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match retry(|| recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            result => result.map(Some),
        }
    }

    /// Writes a head and a body, neither copied; blocks. Only for a
    /// connection's own thread while it holds no lock and nobody else writes:
    /// before the upgrade.
    pub(super) fn send_all(&self, mut head: &[u8], mut body: &[u8]) -> io::Result<()> {
        while !(head.is_empty() && body.is_empty()) {
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            let flags = MsgFlags::MSG_NOSIGNAL;
            let sent = retry(|| sendmsg::<()>(self.0.as_raw_fd(), &parts, &[], flags, None))?;
            let of_head = sent.min(head.len());
            head = &head[of_head..];
            body = &body[sent - of_head..];
        }
        Ok(())
    }

    /// Writes what the kernel takes at once; 0 when it takes nothing.
    pub(super) fn try_send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let sent = match parts {
            // The usual case, and the cheaper call.
            [part] => retry(|| send(self.0.as_raw_fd(), part, flags)),
            parts => retry(|| sendmsg::<()>(self.0.as_raw_fd(), parts, &[], flags, None)),
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    /// Ends one or both directions. Wakes a thread that is blocked in them.
    pub(super) fn shutdown(&self, how: Shutdown) {
        let how = match how {
            Shutdown::Read => nix::sys::socket::Shutdown::Read,
            Shutdown::Write => nix::sys::socket::Shutdown::Write,
            Shutdown::Both => nix::sys::socket::Shutdown::Both,
        };
        // The peer may have gone first: then there is nothing left to end.
        let _ = shutdown(self.0.as_raw_fd(), how);
    }

    /// Gives the descriptor back.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sets a socket up for streaming: little hidden in the kernel, nothing
    /// held back. A socket that has no such option (not TCP) streams without.
    pub(super) fn prepare_stream(&self, send_buffer: usize, not_sent: u32) {
        let _ = setsockopt(&self.0, sockopt::TcpNoDelay, &true);
        // The kernel doubles the value for its own bookkeeping (socket(7)).
        let _ = setsockopt(&self.0, sockopt::SndBuf, &(send_buffer / 2));
        let _ = crate::sys::set_not_sent_low_water(self.0.as_fd(), not_sent);
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
        Self(stream.into())
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
