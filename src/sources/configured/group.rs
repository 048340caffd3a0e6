//! The processes of a command: the one that was started, and all that it
//! started itself. They are one process group, which ends with its leader.
//!
//! Only what makes a session of its own (a daemon) leaves the group; the
//! service manager ends that one.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::{
        signal::{Signal, killpg},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::sys;

/// What the service manager said to this program alone (sd_notify(3),
/// sd_listen_fds(3), sd_watchdog_enabled(3)).
const OWN_VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// For how many milliseconds one that was killed is waited for.
const REAP: u32 = 200;

/// A process group that we started. Dropping it kills what is left of it.
#[derive(Debug)]
pub(super) struct Group {
    child: Child,
    leader: Pid,
    /// Readable when the leader has ended.
    end: Option<OwnedFd>,
    status: Option<ExitStatus>,
}

/// What it prints, as it is read without waiting.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) output: OwnedFd,
    pub(super) errors: OwnedFd,
}

impl Group {
    /// Starts a program with its arguments. The thread that does so must live
    /// as long as the program: when it ends, so does that.
    pub(super) fn start(words: &[String]) -> io::Result<(Self, Streams)> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in OWN_VARIABLES {
            command.env_remove(name);
        }
        sys::begin_clean(&mut command);
        let mut child = command.spawn()?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let leader = Pid::from_raw(child.id() as i32);
        let end = sys::end_of(child.id());
        // From here on its end is ours, whatever goes wrong.
        let group = Self { child, leader, end, status: None };
        let (Some(output), Some(errors)) = (output, errors) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let streams = Streams { output: output.into(), errors: errors.into() };
        for stream in [&streams.output, &streams.errors] {
            // Our end alone: the child's is another open file.
            fcntl(stream, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok((group, streams))
    }

    /// How the leader ended, when it has; then it is reaped.
    pub(super) fn status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            // A program that was started with SIGCHLD ignored hears only that
            // there is no such child any more (wait(2), ECHILD).
            self.status = self.child.try_wait().unwrap_or(Some(ExitStatus::from_raw(0)));
            if self.status.is_some() {
                self.end = None;
            }
        }
        self.status
    }

    /// Whether [`status`](Self::status) has told its leader's end.
    pub(super) fn has_ended(&self) -> bool {
        self.status.is_some()
    }

    /// What is readable when the leader has ended; `None` when it has, or the
    /// kernel cannot tell.
    pub(super) fn end(&self) -> Option<BorrowedFd<'_>> {
        self.end.as_ref().map(AsFd::as_fd)
    }

    /// Whether nobody is left in it.
    ///
    /// As long as anybody is, the kernel gives its number to no other. Once it
    /// is empty, it could be another's only after all numbers have been used.
    pub(super) fn is_empty(&mut self) -> bool {
        if self.status().is_none() {
            return false;
        }
        let group = Pid::from_raw(-self.leader.as_raw());
        // Where this program is process 1, as in a container, it inherits them.
        while matches!(
            waitpid(group, Some(WaitPidFlag::WNOHANG)),
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))
        ) {}
        killpg(self.leader, None) == Err(Errno::ESRCH)
    }

    /// Sends a signal to all of it.
    pub(super) fn signal(&mut self, signal: Signal) {
        if !self.is_empty() {
            // One that runs as another user cannot be told.
            let _ = killpg(self.leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_empty() {
            let _ = killpg(self.leader, Signal::SIGKILL);
            // It ends at once, unless the kernel holds it; then it stays a zombie.
            for _ in 0..REAP {
                if self.status().is_some() {
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, time::Instant};

    use super::*;

    fn shell(line: &str) -> (Group, Streams) {
        let words = ["/bin/sh", "-c", line].map(String::from);
        Group::start(&words).expect("started")
    }

    #[track_caller]
    fn wait_for(mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(10), "in vain");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_end_of_a_leader_is_seen_with_and_without_a_descriptor_for_it() {
        for old_kernel in [false, true] {
            let (mut group, _streams) = shell("exit 3");
            if old_kernel {
                group.end = None;
            }
            wait_for(|| group.status().is_some_and(|status| status.code() == Some(3)));
            assert!(group.end().is_none());
            wait_for(|| group.is_empty());
        }
    }

    #[test]
    fn a_group_is_empty_when_all_of_it_have_ended() {
        let (mut group, _streams) = shell("sleep 1000 & exit 0");
        wait_for(|| group.status().is_some());
        assert!(!group.is_empty());
        group.signal(Signal::SIGTERM);
        wait_for(|| group.is_empty());
    }

    #[test]
    fn a_group_that_is_dropped_is_killed() {
        let (group, streams) = shell("trap '' TERM; sleep 1000 & sleep 1000");
        let leader = group.leader;
        drop(group);
        // All who had the other end are gone.
        let mut output = std::fs::File::from(streams.output);
        wait_for(|| output.read(&mut [0; 8]).is_ok_and(|length| length == 0));
        wait_for(|| killpg(leader, None).is_err());
    }

    #[test]
    fn when_the_thread_that_started_it_is_gone_the_leader_is_told() {
        let started = thread::spawn(|| {
            let (mut group, streams) =
                shell("trap 'echo told; exit' TERM; echo ready; while :; do sleep 0.01; done");
            let mut output = std::fs::File::from(streams.output);
            let mut said = [0; 6];
            wait_for(|| output.read_exact(&mut said).is_ok());
            assert_eq!((&said, group.status()), (b"ready\n", None));
            (group, output)
        });
        let (mut group, mut output) = started.join().expect("started");
        wait_for(|| group.status().is_some());
        let mut said = String::new();
        // Its last `sleep` has the pipe, too, for a moment longer.
        wait_for(|| output.read_to_string(&mut said).is_ok());
        assert_eq!(said, "told\n");
    }
}
