//! TLS on one socket, for both threads that use it.
//!
//! | file | what |
//! |---|---|
//! | `mod` | a [`Session`]: plaintext on one side, ciphertext on the other |
//! | `server` | [`Tls`]: certificate and key, read anew when they change; how a connection begins |
//! | `client` | whom a client of ours trusts |
//! | `off` | the same without the feature `tls`: nothing can be made of it |
//!
//! Whoever receives takes ciphertext from the socket outside the lock and
//! feeds it in; whoever sends writes plaintext under the lock, and only when
//! no ciphertext is left from before. So a slow peer costs at most one buffer
//! of ciphertext, and no lock is held across a call that blocks. Nothing else
//! is locked while a session is, so it may be locked below anything.

mod client;
mod server;

use std::{
    io::{self, IoSlice, Read, Write},
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::Connection;

pub(super) use self::server::Greeting;
pub use self::server::Tls;
use super::{
    feed::Frames,
    socket::{receive_some, receive_waiting, send_parts, send_some},
};

/// What a session may hold of ciphertext that the kernel has not taken: about
/// one record of the largest size.
const BUFFER: usize = 16 * 1024;

/// So much ciphertext without a byte of content is no record but a nuisance:
/// the largest one has little more than 16 KiB.
const BARREN: usize = 64 * 1024;

/// One TLS session.
pub(super) struct Session(Mutex<Connection>);

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl From<Connection> for Session {
    fn from(mut connection: Connection) -> Self {
        connection.set_buffer_limit(Some(BUFFER));
        Self(Mutex::new(connection))
    }
}

impl Session {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plaintext that has come; `None` when there is none now, 0 at the end.
    pub(super) fn try_receive(&self, fd: RawFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut left = BARREN;
        loop {
            if let Some(length) = self.take_plaintext(buffer)? {
                return Ok(Some(length));
            }
            let mut ciphertext = [0; CHUNK];
            let Some(length) = receive_some(fd, &mut ciphertext)? else { return Ok(None) };
            self.feed(fd, &ciphertext[..length], &mut left)?;
        }
    }

    /// The same, but waits for it: for a thread that holds no lock.
    #[inline(never)]
    pub(super) fn receive(&self, fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        let mut left = BARREN;
        loop {
            if let Some(length) = self.take_plaintext(buffer)? {
                return Ok(length);
            }
            self.receive_more(fd, &mut left)?;
        }
    }

    /// Goes on with the handshake until it is over: for a connection's own
    /// thread, before anything else is received or sent.
    #[inline(never)]
    pub(super) fn shake_hands(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let mut left = BARREN;
        while self.lock().is_handshaking() {
            if self.receive_more(fd, &mut left)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Waits for ciphertext and takes it in; how much it was. What the session
    /// has to say itself, in a handshake or when keys change, goes out
    /// meanwhile: nobody else may be there to send it.
    fn receive_more(&self, fd: BorrowedFd<'_>, left: &mut usize) -> io::Result<usize> {
        while !self.flush(fd.as_raw_fd())?.1 {
            let ready = wait(fd, PollFlags::POLLIN | PollFlags::POLLOUT)?;
            if !(ready - PollFlags::POLLOUT).is_empty() {
                break;
            }
        }
        let mut ciphertext = [0; CHUNK];
        let length = receive_waiting(fd.as_raw_fd(), &mut ciphertext)?;
        self.feed(fd.as_raw_fd(), &ciphertext[..length], left)?;
        Ok(length)
    }

    /// Plaintext that is there; `None` when there is none, 0 at the end.
    fn take_plaintext(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.lock().reader().read(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // An end without a farewell; whether a Close was said, the
            // WebSocket knows.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }

    fn feed(&self, fd: RawFd, mut ciphertext: &[u8], left: &mut usize) -> io::Result<()> {
        let broken = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why));
        let Some(rest) = left.checked_sub(ciphertext.len()) else {
            return broken("TLS records without content, one after the other".into());
        };
        *left = rest;
        let mut session = self.lock();
        loop {
            let at_end = session.read_tls(&mut ciphertext)? == 0;
            if let Err(error) = session.process_new_packets() {
                // The peer is to hear why.
                let _ = flush(&mut session, fd);
                return broken(format!("{error}{}", mend(&session, &error)));
            }
            if at_end || ciphertext.is_empty() {
                break;
            }
        }
        // A handshake, or a new key, has something to answer; what does not go
        // out now goes before the next frame.
        flush(&mut session, fd).map(drop)
    }

    /// Takes plaintext as long as the kernel takes the ciphertext, and one
    /// buffer more; nothing when some is left. Returns how much it took.
    pub(super) fn try_send(&self, fd: RawFd, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut room = [IoSlice::new(&[]); Frames::MOST];
        let count = parts.len().min(Frames::MOST);
        room[..count].copy_from_slice(&parts[..count]);
        let mut rest = &mut room[..count];
        let mut session = self.lock();
        let mut taken = 0;
        loop {
            let (_, all) = flush(&mut session, fd)?;
            if !all || rest.is_empty() {
                return Ok(taken);
            }
            // Small parts share a record.
            let length = session.writer().write_vectored(rest)?;
            taken += length;
            IoSlice::advance_slices(&mut rest, length);
            if length == 0 {
                return Ok(taken);
            }
        }
    }

    /// Sends a head and a body; waits for room: for a connection's own thread
    /// while it holds no lock and nobody else sends.
    pub(super) fn send_all(&self, fd: BorrowedFd<'_>, head: &[u8], body: &[u8]) -> io::Result<()> {
        let raw = fd.as_raw_fd();
        let mut parts = [IoSlice::new(head), IoSlice::new(body)];
        let mut rest = &mut parts[..];
        // Empty ones are behind us.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let length = self.try_send(raw, rest)?;
            IoSlice::advance_slices(&mut rest, length);
            if length == 0 {
                wait(fd, PollFlags::POLLOUT)?;
            }
        }
        while !self.flush(raw)?.1 {
            wait(fd, PollFlags::POLLOUT)?;
        }
        Ok(())
    }

    /// Sends ciphertext that is left: how many bytes, and whether that was all.
    pub(super) fn flush(&self, fd: RawFd) -> io::Result<(usize, bool)> {
        flush(&mut self.lock(), fd)
    }

    /// Says that nothing more will be sent. Whoever ends a connection may hold
    /// locks of its own, so it does not wait for a thread that is amid its
    /// mathematics; then the peer sees the end alone.
    pub(super) fn farewell(&self, fd: RawFd) {
        let mut session = match self.0.try_lock() {
            Ok(session) => session,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        session.send_close_notify();
        // A peer that takes nothing misses it, as it misses all else.
        let _ = flush(&mut session, fd);
    }
}

/// So little that rustls takes it all: beside one whole record, the largest
/// there is, its buffer has room for so much more.
const CHUNK: usize = 1024;

/// What a program's user can do about a failure of ours with a server.
fn mend(session: &Connection, error: &rustls::Error) -> &'static str {
    match (session, error) {
        (Connection::Server(_), _) => "",
        (_, rustls::Error::InvalidCertificate(_)) => {
            "; a certificate of its own? name it or its authority (--authority FILE, \
             Builder::authorities)"
        }
        _ => "; does it speak TLS?",
    }
}

fn flush(session: &mut Connection, fd: RawFd) -> io::Result<(usize, bool)> {
    let mut sent = 0;
    while session.wants_write() {
        match session.write_tls(&mut Raw(fd)) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((sent, false)),
            Err(error) => return Err(error),
        }
    }
    Ok((sent, true))
}

/// Waits until one of these is true, or the connection has ended.
fn wait(fd: BorrowedFd<'_>, wanted: PollFlags) -> io::Result<PollFlags> {
    let mut polled = [PollFd::new(fd, wanted)];
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {
            Ok(polled[0].revents().unwrap_or(PollFlags::empty()))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// The socket as rustls writes to it.
struct Raw(RawFd);

impl Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        send_some(self.0, bytes)?.ok_or(io::ErrorKind::WouldBlock.into())
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        send_parts(self.0, parts)?.ok_or(io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
