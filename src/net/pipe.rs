//! A stream of bytes of ours that has no protocol yet and never blocks: an
//! address, a socket, TLS on it where that is wanted.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    time::Instant,
};

use super::{
    reach::{connect, secure},
    socket::Socket,
};
use crate::error::{Error, Result};

/// What the kernel may hold of what was sent, in all and before it has gone
/// out: what is behind is to wait where it can be seen.
const HELD: (usize, u32) = (128 * 1024, 16 * 1024);

/// Where a [`Pipe`] leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// A name or an address.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// Whether TLS is spoken.
    pub(crate) secure: bool,
    /// A file of certificates to trust in place of the system's.
    pub(crate) authority: Option<&'a PathBuf>,
}

/// A stream of bytes that never blocks: whoever has it polls its descriptor.
#[derive(Debug)]
pub(crate) struct Pipe(Socket);

impl Pipe {
    /// Connects. TLS shakes hands with the first bytes that are sent and
    /// received.
    ///
    /// # Errors
    /// [`Error::Io`] when nobody is there; [`Error::Setting`] for an authority
    /// that cannot be read, or a build without TLS.
    pub(crate) fn open(to: Place<'_>, deadline: Instant) -> Result<Self> {
        let stream = connect(to.host, to.port, deadline)
            .map_err(|error| Error::io(format!("connect to {}", to.host), error))?;
        let socket = Socket::from(stream);
        socket.prepare_stream(HELD.0, HELD.1);
        Ok(Self(if to.secure { secure(socket, to.host, to.authority)? } else { socket }))
    }

    /// What is there; `None` when nothing is, 0 at the end.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.0.try_receive(buffer)
    }

    /// Takes what can be sent; how much that was, and whether all that was ever
    /// taken has gone to the kernel.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<(usize, bool)> {
        let taken = if bytes.is_empty() { 0 } else { self.0.try_send(&[IoSlice::new(bytes)])? };
        Ok((taken, self.0.flush()?.1))
    }

    /// Ends it, behind what was sent.
    pub(crate) fn close(&self) {
        self.0.shutdown(Shutdown::Both);
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
