//! The process that starts commands for the server: forked from it before it
//! has anything that is worth taking, and alone outside of the sandbox.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::{Pid, dup2_stdin, dup2_stdout, getpid},
};

use super::{account::Account, sandbox};
use crate::{
    config::{self, Config, Request},
    error::{Error, Result},
    sources::configured::{Launcher, attend},
    sys,
};

/// The helper, as the server has it. Dropping it ends it; nobody waits.
#[derive(Debug)]
pub(super) struct Helper {
    control: Arc<OwnedFd>,
    process: Pid,
}

impl Helper {
    /// Starts it when the settings have a command and the server itself will
    /// not be able to start that.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(super) fn if_needed(
        config: &Config,
        asked: &Request,
        account: Option<&Account>,
    ) -> Result<Option<Self>> {
        let needed = config.sandbox && !commands(config).is_empty();
        needed.then(|| Self::start(config, asked, account)).transpose()
    }

    /// Forks it, as the account if there is one. This process has one thread,
    /// and nothing is open yet; SIGTERM and its kin are blocked, and are so in
    /// the helper: it ends with the server, not with the terminal or before.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses.
    fn start(config: &Config, asked: &Request, account: Option<&Account>) -> Result<Self> {
        let start = || -> io::Result<Self> {
            let flags = SockFlag::SOCK_CLOEXEC;
            let (control, other) =
                socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
            let server = getpid();
            let process = sys::fork_off(|| match run(&other, config, asked, account, server) {
                Ok(()) => 0,
                Err(error) => {
                    log::error!("the helper that starts commands: {error}");
                    1
                }
            })?;
            Ok(Self { control: Arc::new(control), process })
        };
        start().map_err(|error| Error::io("start the helper for commands", error))
    }

    /// Ends it, and waits for that: it has to end what still runs.
    pub(super) fn end(self, patience: Duration) {
        self.hang_up();
        let wait = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        // Its end of the pair is closed when it has ended.
        let ended = PollFd::new(self.control.as_fd(), PollFlags::POLLIN);
        let _ = poll(&mut [ended], wait);
        let _ = waitpid(self.process, Some(WaitPidFlag::WNOHANG));
    }

    /// Whoever still holds this end, the helper sees that it is over.
    fn hang_up(&self) {
        let _ = shutdown(self.control.as_raw_fd(), Shutdown::Write);
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// Who starts commands.
pub(super) fn launcher(config: &Config, helper: Option<&Helper>) -> Launcher {
    match helper {
        Some(helper) => Launcher::helper(helper.control.clone()),
        None if config.sandbox => Launcher::nobody(),
        None => Launcher::here(),
    }
}

/// The helper's life.
fn run(
    control: &OwnedFd,
    config: &Config,
    asked: &Request,
    account: Option<&Account>,
    server: Pid,
) -> Result<()> {
    // Sockets of the service manager, signals, the server's end.
    sys::close_all_but(control.as_fd());
    let nothing = || -> io::Result<()> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        dup2_stdin(&null)?;
        Ok(dup2_stdout(&null)?)
    };
    nothing().map_err(|error| Error::io("open /dev/null", error))?;
    if let Some(account) = account {
        account.become_theirs()?;
    }
    sandbox::harden();
    let _ = prctl::set_name(c"bc-helper");
    if server == Pid::from_raw(1) {
        // In a container: what a command leaves behind comes here, where its
        // group is reaped, and not to the server, who knows nothing of it.
        let _ = prctl::set_child_subreaper(true);
    }
    let mut known = commands(config);
    attend(control, |words| {
        if !known.iter().any(|command| command == words) {
            // They may have been read anew. What is wrong there, the server says.
            if let Ok(loaded) = config::load(asked) {
                known = commands(&loaded.config);
            }
        }
        known.iter().any(|command| command == words)
    });
    Ok(())
}

/// The commands that the settings have.
fn commands(config: &Config) -> Vec<Vec<String>> {
    config.sources.iter().filter_map(|source| Some(source.command()?.to_vec())).collect()
}
