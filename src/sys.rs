//! The system calls for which `nix` has no safe form. All `unsafe` of the
//! crate is here.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// Whether the kernel counts the wall clock as synchronised: adjtimex(2)
/// returns `TIME_ERROR` while it is not (`STA_UNSYNC`). chrony, ntpd and
/// systemd-timesyncd all set and clear that bit.
pub(crate) fn clock_is_synchronised() -> bool {
    // SAFETY: timex is plain integers, for which all zeroes is a valid value;
    // modes = 0 makes the call read only.
    let state = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut timex)
    };
    state >= 0 && state != libc::TIME_ERROR
}

/// Sets `TCP_NOTSENT_LOWAT` (tcp(7)): how much the kernel may hold that it has
/// not sent yet.
pub(crate) fn set_not_sent_low_water(socket: BorrowedFd<'_>, bytes: u32) -> std::io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed, and the
    // kernel reads exactly the four bytes that the pointer and length name.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of_val(&bytes) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
