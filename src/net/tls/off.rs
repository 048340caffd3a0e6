//! TLS in a build without the feature `tls`: the same names, of which nothing
//! can be made, so that nothing else has to ask.

use std::{
    convert::Infallible,
    io::{self, IoSlice},
    os::fd::{BorrowedFd, RawFd},
    path::Path,
};

use super::socket::Socket;
use crate::error::{Error, Result};

/// What a server shows to prove that it is the one that is meant; there is
/// none without the feature `tls`.
#[derive(Clone, Debug)]
pub struct Tls(Infallible);

/// How a connection begins.
#[expect(dead_code, reason = "there is nobody to make one")]
pub(super) enum Greeting {
    Tls,
    Plain,
}

/// One TLS session.
#[derive(Debug)]
pub(super) struct Session(Infallible);

impl Tls {
    /// Refuses.
    ///
    /// # Errors
    /// [`Error::Setting`] says which build has TLS.
    pub fn load(_: &Path, _: &Path) -> Result<Self> {
        Err(Error::Setting(super::NO_TLS.into()))
    }

    /// Looks at the files now.
    pub fn refresh(&self) {
        match self.0 {}
    }

    pub(super) fn greet(&self, _: &Socket) -> io::Result<Greeting> {
        match self.0 {}
    }
}

impl Session {
    pub(super) fn try_receive(&self, _: RawFd, _: &mut [u8]) -> io::Result<Option<usize>> {
        match self.0 {}
    }

    pub(super) fn receive(&self, _: BorrowedFd<'_>, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }

    pub(super) fn try_send(&self, _: RawFd, _: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.0 {}
    }

    pub(super) fn send_all(&self, _: BorrowedFd<'_>, _: &[u8], _: &[u8]) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) fn flush(&self, _: RawFd) -> io::Result<(usize, bool)> {
        match self.0 {}
    }

    pub(super) fn farewell(&self, _: RawFd) {
        match self.0 {}
    }
}
