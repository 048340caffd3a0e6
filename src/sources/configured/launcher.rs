//! Who starts a command's processes: this process, or a helper that was forked
//! before a sandbox closed around this one.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    process::ExitStatus,
    sync::Arc,
};

use nix::sys::signal::Signal;

use super::{
    group::{Group, Streams},
    helper::Errand,
};

/// A cheap handle on whoever starts commands.
#[derive(Clone, Debug)]
pub(crate) struct Launcher(Way);

#[derive(Clone, Debug)]
enum Way {
    Here,
    /// By the helper at the other end of this socket.
    Helper(Arc<OwnedFd>),
    Nobody,
}

impl Launcher {
    /// This process starts them.
    pub(crate) fn here() -> Self {
        Self(Way::Here)
    }

    /// The helper does that [attends](super::attend) to the other end.
    pub(crate) fn helper(control: Arc<OwnedFd>) -> Self {
        Self(Way::Helper(control))
    }

    /// Nobody can: there is a sandbox and no helper.
    pub(crate) fn nobody() -> Self {
        Self(Way::Nobody)
    }

    /// Starts a program with its arguments. Whoever calls must live as long as
    /// it runs.
    pub(super) fn launch(&self, words: &[String]) -> io::Result<(Processes, Streams)> {
        match &self.0 {
            Way::Here => {
                let (group, streams) = Group::start(words)?;
                Ok((Processes::Own(group), streams))
            }
            Way::Helper(control) => {
                let (errand, streams) = Errand::start(control, words)?;
                Ok((Processes::Helped(errand), streams))
            }
            Way::Nobody => Err(io::Error::other(
                "the sandbox was closed when the settings had no command; \
                 systemctl restart boardcast opens it for this one",
            )),
        }
    }
}

/// The processes of a command. Dropping it ends what is left of them.
#[derive(Debug)]
pub(super) enum Processes {
    /// Children of this process.
    Own(Group),
    /// Children of the helper.
    Helped(Errand),
}

impl Processes {
    /// How the leader ended, when it has.
    pub(super) fn status(&mut self) -> Option<ExitStatus> {
        match self {
            Self::Own(group) => group.status(),
            Self::Helped(errand) => errand.status(),
        }
    }

    /// What is readable when there is news of its end; `None` when nothing is.
    pub(super) fn end(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Own(group) => group.end(),
            Self::Helped(errand) => errand.end(),
        }
    }

    /// Whether nobody is left of them.
    pub(super) fn is_empty(&mut self) -> bool {
        match self {
            Self::Own(group) => group.is_empty(),
            Self::Helped(errand) => errand.is_empty(),
        }
    }

    /// Sends SIGTERM or SIGKILL to all of them.
    pub(super) fn signal(&mut self, signal: Signal) {
        match self {
            Self::Own(group) => group.signal(signal),
            Self::Helped(errand) => errand.signal(signal),
        }
    }
}
