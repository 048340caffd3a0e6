//! The system calls for which `nix` has no safe form. All `unsafe` of the
//! crate is here.
#![allow(unsafe_code)]

use std::{
    ffi::CStr,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc, request_code_read, request_code_readwrite,
    sys::{
        signal::{SigSet, Signal},
        socket::{ControlMessageOwned, MsgFlags, recvmsg},
    },
    unistd::{ForkResult, Pid, fork, getpid, getppid},
};

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
pub(crate) fn set_not_sent_low_water(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
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
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the pages of this thread's stack back to the kernel that earlier,
/// deeper calls touched and that no call uses now. A connection's handshake
/// goes deeper than all that follows it.
// Never a part of its caller, whose frame may be large: `here` must be close
// to where the stack ends.
#[inline(never)]
pub(crate) fn release_unused_stack() {
    let page = page_size();
    let here = 0_u8;
    // Room for this frame, the call below and the red zone of the ABI.
    let in_use = ((&raw const here).addr() - 1024) & !(page - 1);
    let Some(lowest) = stack_start() else { return };
    // The lowest page may be a guard.
    let start = lowest.next_multiple_of(page) + page;
    if start < in_use {
        // SAFETY: the range lies within this thread's own stack, below every
        // frame that exists; what is called later writes before it reads, and
        // finds zeroes (madvise(2), MADV_DONTNEED on private anonymous memory).
        unsafe {
            let range = std::ptr::with_exposed_provenance_mut(start);
            libc::madvise(range, in_use - start, libc::MADV_DONTNEED);
        }
    }
}

/// Keeps what is allocated in one heap, where the C library would make one for
/// each of many threads (mallopt(3), glibc; musl has one): what one thread
/// gives back serves the others, and nothing is set aside for each.
pub(crate) fn keep_memory_together() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of the allocator; no pointer is passed.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// The descriptors that the service manager opened for this process
/// (sd_listen_fds(3)): from 3 on, as many as `LISTEN_FDS` says, when
/// `LISTEN_PID` is this process. Whoever asks first gets them.
pub(crate) fn passed_descriptors() -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Relaxed) {
        return Ok(Vec::new());
    }
    // Sets FD_CLOEXEC on each, and so finds out that it is open.
    let numbers = sd_notify::listen_fds()?;
    // SAFETY: they are open, and were when this process began: that is what
    // the variables, which name this process, say. So nothing here has opened
    // them, and nothing else owns them: they are handed out once.
    Ok(numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect())
}

/// Columns and rows of a terminal (TIOCGWINSZ, ioctl_tty(2)); `None` when it
/// is none, or does not say.
pub(crate) fn terminal_size(terminal: BorrowedFd<'_>) -> Option<(u16, u16)> {
    // SAFETY: winsize is plain integers, for which all zeroes is a valid value;
    // the kernel fills it and keeps no pointer; the descriptor is open for as
    // long as it is borrowed.
    let (result, size) = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        let result = libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size);
        (result, size)
    };
    (result == 0 && size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Makes the children of a command begin as programs expect: no signal is
/// blocked, and SIGTERM comes when the thread that started them ends, however
/// it ends (PR_SET_PDEATHSIG(2const)).
pub(crate) fn begin_clean(command: &mut Command) {
    let parent = getpid();
    let prepare = move || {
        // Inherited across fork(2) and execve(2); a signalfd needs some blocked.
        SigSet::empty().thread_set_mask()?;
        // SAFETY: changes a number of this process; no pointer is passed.
        Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, Signal::SIGTERM as i32) })?;
        // It may have ended before it could be told of.
        if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: between fork(2) and execve(2) these are system calls alone: no
    // memory is taken, no lock (signal-safety(7)).
    unsafe { command.pre_exec(prepare) };
}

/// A descriptor that is readable when this child has ended (pidfd_open(2),
/// Linux 5.3); `None` where the kernel has none.
pub(crate) fn end_of(child: u32) -> Option<OwnedFd> {
    // SAFETY: takes two numbers and returns a descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child as libc::pid_t, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just made it, with FD_CLOEXEC, for nobody else.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Starts a process that is a copy of this one, runs a function there and ends
/// it with what that returns, or with 101 when it panics.
///
/// This process must have one thread: of others the copy has the locks, but
/// nobody who opens them (fork(2)).
pub(crate) fn fork_off(run: impl FnOnce() -> u8) -> io::Result<Pid> {
    // SAFETY: there is no other thread that could hold a lock (said above), so
    // that the copy may go on as the original does.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = catch_unwind(AssertUnwindSafe(run)).unwrap_or(101);
            // SAFETY: ends this process. What the original wants to be done at
            // its own end (atexit(3)) is not done here.
            unsafe { libc::_exit(code.into()) }
        }
    }
}

/// Closes all descriptors but those of the terminal (0 to 2) and this one, in
/// a process that has just been forked.
pub(crate) fn close_all_but(kept: BorrowedFd<'_>) {
    let kept = kept.as_raw_fd();
    let close = |first: RawFd, last: RawFd| {
        // SAFETY: takes three numbers. What this process has inherited and
        // closes here belongs to values that it never drops: it leaves by
        // `_exit` (`fork_off`).
        let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        if result != 0 {
            // Before Linux 5.9. A program has just begun: its numbers are low.
            for fd in first..=last.min(1023) {
                // SAFETY: as above; what is not open stays so.
                unsafe { libc::close(fd) };
            }
        }
    };
    if kept > 3 {
        close(3, kept - 1);
    }
    close(kept.max(2) + 1, RawFd::MAX);
}

/// Receives one message and the descriptors that come with it (at most two);
/// 0 bytes are the end. What is longer than the buffer is an error
/// (`EMSGSIZE`), and so are descriptors for which there is no room (`EMFILE`).
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = cmsg_space!([RawFd; 2]);
    let mut parts = [io::IoSliceMut::new(buffer)];
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just made them for this call, and nothing
            // else owns them.
            descriptors.extend(numbers.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }));
        }
    }
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(Errno::EMFILE.into());
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(Errno::EMSGSIZE.into());
    }
    Ok((message.bytes, descriptors))
}

/// Nothing that this process starts can have a capability any more
/// (capabilities(7), "capability bounding set"). Where that is not allowed,
/// nothing changes.
pub(crate) fn empty_capability_bounds() {
    for capability in 0..64 {
        // SAFETY: takes two numbers; one that there is not is an error.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        if result != 0 {
            break;
        }
    }
}

/// Gives up all capabilities of this thread (capset(2)).
pub(crate) fn empty_capabilities() -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3` (linux/capability.h).
    const VERSION: u32 = 0x2008_0522;
    // `struct __user_cap_header_struct`, this thread; then two of
    // `struct __user_cap_data_struct`: effective, permitted, inheritable.
    let (header, data) = ([VERSION, 0], [0_u32; 6]);
    // SAFETY: the kernel reads the two structures, which are as long as the
    // version says, and keeps no pointer.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Nobody but the administrator can open this terminal from now on
/// (`TIOCEXCL`, ioctl_tty(2)).
pub(crate) fn take_terminal(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the request has no argument; the descriptor is open for as long
    // as it is borrowed.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCEXCL) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets a serial port to raw bytes at this speed, with these flags of
/// `c_cflag` (size, stop bits, parity); forgets what it has received before.
///
/// nix and the C library know the speeds of `B9600` and the like; any other one
/// needs `BOTHER` (TCSETS2, ioctl_tty(2)). The modem's carrier is not looked
/// at: a sensor has no modem.
pub(crate) fn set_serial_line(port: BorrowedFd<'_>, baud: u32, flags: u32) -> io::Result<()> {
    const SET_HERE: u32 = libc::CBAUD | libc::CSIZE | libc::CSTOPB | libc::PARENB | libc::PARODD;
    let check =
        |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    let fd = port.as_raw_fd();
    // SAFETY: termios2 is plain integers, for which all zeroes is a valid
    // value; the kernel fills and reads it and keeps no pointer; the
    // descriptor is open for as long as it is borrowed.
    unsafe {
        let mut line: libc::termios2 = std::mem::zeroed();
        check(libc::ioctl(fd, libc::TCGETS2 as _, &raw mut line))?;
        (line.c_iflag, line.c_oflag, line.c_lflag) = (libc::IGNBRK | libc::IGNPAR, 0, 0);
        line.c_cflag &= !(SET_HERE | libc::CRTSCTS);
        line.c_cflag |= libc::BOTHER | libc::CREAD | libc::CLOCAL | flags;
        (line.c_ispeed, line.c_ospeed) = (baud, baud);
        (line.c_cc[libc::VMIN], line.c_cc[libc::VTIME]) = (1, 0);
        check(libc::ioctl(fd, libc::TCSETS2 as _, &raw const line))?;
        check(libc::ioctl(fd, libc::TCFLSH as _, libc::TCIFLUSH))
    }
}

/// What a GPIO chip, or a request of its lines, is asked and answers in place
/// (include/uapi/linux/gpio.h); the bytes are one of its structures.
pub(crate) enum GpioCall {
    /// `GPIO_GET_CHIPINFO_IOCTL`, 68 bytes.
    ChipInfo,
    /// `GPIO_V2_GET_LINEINFO_IOCTL`, 256 bytes.
    LineInfo,
    /// `GPIO_V2_LINE_GET_VALUES_IOCTL`, 16 bytes.
    Values,
}

/// Asks a GPIO chip.
pub(crate) fn gpio_call(file: BorrowedFd<'_>, call: &GpioCall, bytes: &mut [u8]) -> io::Result<()> {
    let (code, size) = match call {
        GpioCall::ChipInfo => (request_code_read!(0xB4, 0x01, 68), 68),
        GpioCall::LineInfo => (request_code_readwrite!(0xB4, 0x05, 256), 256),
        GpioCall::Values => (request_code_readwrite!(0xB4, 0x0E, 16), 16),
    };
    if bytes.len() != size {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the descriptor is open for as long as it is borrowed. The code has
    // the size of what the kernel reads and writes, which is that of the bytes;
    // it keeps no pointer, and a file that is no chip does not know the code.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), code, bytes.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Asks a GPIO chip for lines, with a `struct gpio_v2_line_request`, whose last
/// member is then the descriptor that has them.
pub(crate) fn gpio_request(chip: BorrowedFd<'_>, mut bytes: [u8; 592]) -> io::Result<OwnedFd> {
    let code = request_code_readwrite!(0xB4, 0x07, 592);
    // SAFETY: as above.
    let result = unsafe { libc::ioctl(chip.as_raw_fd(), code, bytes.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let number = i32::from_ne_bytes([bytes[588], bytes[589], bytes[590], bytes[591]]);
    if number <= 2 {
        // A chip that succeeds has made one; those of the terminal are not it.
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the kernel has just made it for this call, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Starts a thread that nobody joins, with at least so many bytes of stack.
///
/// std gives each of its threads a second stack, for the message that the first
/// one is full, and aborts the whole program when the system has no memory for
/// that. This thread has none: it is refused when memory is short, and nothing
/// else happens.
pub(crate) fn spawn_detached(
    name: &'static CStr,
    stack_bytes: usize,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    type Run = Box<dyn FnOnce() + Send>;

    extern "C" fn start(run: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: it came from `Box::into_raw` below, and is handed over once.
        let run = unsafe { Box::from_raw(run.cast::<Run>()) };
        // A panic has been told by the hook, and must not unwind into C.
        let _ = catch_unwind(AssertUnwindSafe(run));
        std::ptr::null_mut()
    }

    let named = move || {
        // SAFETY: the name ends with a zero; the kernel copies 15 bytes of it at most.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
        run();
    };
    let run: Box<Run> = Box::new(Box::new(named));
    let run = Box::into_raw(run);
    // aarch64's glibc refuses less than 128 KiB.
    let stack_bytes = stack_bytes.max(libc::PTHREAD_STACK_MIN).next_multiple_of(page_size());
    // SAFETY: the attributes are filled before they are used, and destroyed once;
    // `start` takes what it is given, once, and only if the thread was made.
    let result = unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        let mut thread: libc::pthread_t = std::mem::zeroed();
        let mut result = libc::pthread_attr_init(&raw mut attributes);
        if result == 0 {
            // Of these only a size that is too small is refused.
            libc::pthread_attr_setdetachstate(&raw mut attributes, libc::PTHREAD_CREATE_DETACHED);
            result = libc::pthread_attr_setstacksize(&raw mut attributes, stack_bytes);
            if result == 0 {
                let attributes = &raw const attributes;
                result = libc::pthread_create(&raw mut thread, attributes, start, run.cast());
            }
            libc::pthread_attr_destroy(&raw mut attributes);
        }
        if result != 0 {
            drop(Box::from_raw(run));
        }
        result
    };
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

pub(crate) fn page_size() -> usize {
    // SAFETY: a plain query.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// The lowest address of this thread's stack.
fn stack_start() -> Option<usize> {
    let mut start = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: pthread_getattr_np(3) fills the attributes of the calling
    // thread, which are read and then destroyed.
    let result = unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
            return None;
        }
        let result =
            libc::pthread_attr_getstack(&raw const attributes, &raw mut start, &raw mut size);
        libc::pthread_attr_destroy(&raw mut attributes);
        result
    };
    (result == 0 && !start.is_null()).then(|| start.addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident KiB of the mapping that holds this address.
    fn resident_around(address: usize) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("read");
        let mut inside = false;
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            if let Some((from, to)) = first.split_once('-') {
                let bounds = [from, to].map(|hex| usize::from_str_radix(hex, 16).unwrap_or(0));
                inside = (bounds[0]..bounds[1]).contains(&address);
            } else if inside && first == "Rss:" {
                return words.next().and_then(|kib| kib.parse().ok()).expect("a number");
            }
        }
        panic!("no mapping holds {address:x}");
    }

    #[inline(never)]
    fn deep() -> u8 {
        let room = [1_u8; 64 * 1024];
        std::hint::black_box(&room)[9]
    }

    #[test]
    fn a_detached_thread_has_its_name_and_a_panic_ends_it_alone() {
        let (say, said) = std::sync::mpsc::channel();
        let run = move || {
            let name = std::fs::read_to_string("/proc/thread-self/comm").expect("read");
            say.send((name, deep())).expect("heard");
            let _held = say;
            std::panic::resume_unwind(Box::new("on purpose"));
        };
        spawn_detached(c"bc-test", 128 * 1024, run).expect("a thread");
        assert_eq!(said.recv(), Ok(("bc-test\n".to_owned(), 1)));
        // What it held is let go of.
        assert!(said.recv().is_err());
        // Where addresses have 32 bits, any size may happen to be there.
        if cfg!(target_pointer_width = "64") {
            assert!(spawn_detached(c"bc-test", usize::MAX / 4, || ()).is_err(), "no such memory");
        }
    }

    #[test]
    fn what_deep_calls_touched_is_given_back_and_the_thread_goes_on() {
        let thread = std::thread::Builder::new().stack_size(256 * 1024).spawn(|| {
            let kept = std::hint::black_box([7_u8; 100]);
            let here = kept.as_ptr().addr();
            assert_eq!(deep(), 1);
            let before = resident_around(here);
            release_unused_stack();
            let after = resident_around(here);
            assert!(before >= 64 && after + 48 <= before, "{before} KiB, then {after}");
            assert_eq!((deep(), kept), (1, [7; 100]));
        });
        thread.expect("a thread").join().expect("unharmed");
    }
}
