//! The sandbox around the running server, closed once all is bound and before
//! any thread starts: whoever takes the server over by a fault in it opens no
//! file but those that it needs anyway, starts nothing, listens nowhere else.
//!
//! | file | what |
//! |---|---|
//! | `needs` | which files and ports the settings need |
//! | `probe` | what a test tries from the inside, in debug builds |
//!
//! It is Landlock's (landlock(7), Linux 5.13), as far as the kernel has it, and
//! two rules that all kernels have: nothing that is executed gains rights, and
//! no memory is written to a core file. Threads inherit all of it; nothing
//! opens it again. docs/sandbox.md tells it from the outside.

mod needs;
#[cfg(debug_assertions)]
mod probe;

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    NetPort, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope,
};
use nix::sys::{
    prctl,
    resource::{Resource, setrlimit},
};

use self::needs::{Access, Need, Thing};
use crate::{
    config::{Config, Request},
    fault::{self, Place},
};

/// The newest Landlock whose rights are all thought through here: device
/// ioctls are of 5, signals and abstract sockets of 6.
const FILES: ABI = ABI::V5;

/// The sandbox that was closed, for settings that are read anew.
#[derive(Debug)]
pub(super) struct Sandbox {
    granted: Vec<Need>,
}

impl Sandbox {
    /// Closes it. `socket` is where readings are pushed in. `None` when there
    /// is none: the settings or the kernel have none, which is told.
    pub(super) fn close(config: &Config, asked: &Request, socket: Option<&Path>) -> Option<Self> {
        let closed = config.sandbox.then(|| Self::closed(config, asked, socket));
        #[cfg(debug_assertions)]
        probe::run();
        closed.flatten()
    }

    fn closed(config: &Config, asked: &Request, socket: Option<&Path>) -> Option<Self> {
        harden();
        let granted = needs::of(config, asked, socket);
        for need in &granted {
            log::debug!("sandbox: {need}");
        }
        let outcome = match fault::planted(Place::Landlock) {
            true => Ok(None),
            false => restrict(&granted).map(Some),
        };
        let closed = match outcome {
            Ok(Some(status)) => tell(&status),
            Ok(None) => tell_missing("has no Landlock"),
            Err(error) => tell_missing(&format!("refuses: {error}")),
        };
        closed.then_some(Self { granted })
    }

    /// Says which of these settings name what was not known when it closed.
    pub(super) fn tell_what_is_new(&self, config: &Config, asked: &Request) {
        for need in needs::of(config, asked, None) {
            if !need.is_within(&self.granted) {
                log::warn!(
                    "{need} is outside of the sandbox, which opens for it at the next start: \
                     systemctl restart boardcast"
                );
            }
        }
    }
}

/// What every kernel has: nothing that this process executes gains rights
/// (prctl(2), `PR_SET_NO_NEW_PRIVS`), and a fault leaves no file with keys and
/// readings behind.
pub(super) fn harden() {
    let _ = prctl::set_no_new_privs();
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
}

fn restrict(granted: &[Need]) -> Result<RestrictionStatus, RulesetError> {
    let mut scope = BitFlags::from(Scope::Signal);
    if !manager_is_abstract() {
        scope |= Scope::AbstractUnixSocket;
    }
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(FILES))?
        .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?
        .scope(scope)?
        .create()?;
    for need in granted {
        rules = match &need.thing {
            // What is not there need not be let through.
            Thing::Path(path, access) => match PathFd::new(path) {
                Ok(file) => rules.add_rule(PathBeneath::new(file, rights(path, *access)))?,
                Err(_) => rules,
            },
            Thing::Port(port) => rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?,
        };
    }
    rules.restrict_self()
}

/// What may be done at a path. A file has fewer rights than a folder.
fn rights(path: &Path, access: Access) -> BitFlags<AccessFs> {
    let parts = [
        (Access::READ, AccessFs::ReadFile | AccessFs::ReadDir),
        (Access::WRITE, AccessFs::WriteFile | AccessFs::Truncate),
        (Access::CONTROL, AccessFs::IoctlDev.into()),
        (Access::MAKE, AccessFs::MakeReg.into()),
        (Access::REMOVE, AccessFs::RemoveFile.into()),
    ];
    let parts = parts.into_iter().filter(|(part, _)| access.has(*part));
    let rights = parts.fold(BitFlags::EMPTY, |rights, (_, right)| rights | right);
    match path.is_dir() {
        true => rights,
        false => rights & AccessFs::from_file(FILES),
    }
}

/// The service manager's socket has no file (sd_notify(3)): then such sockets
/// stay reachable.
fn manager_is_abstract() -> bool {
    std::env::var_os("NOTIFY_SOCKET")
        .is_some_and(|name| name.as_encoded_bytes().first() == Some(&b'@'))
}

/// Whether anything holds; what does not is told once.
fn tell(status: &RestrictionStatus) -> bool {
    match (&status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => true,
        (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
            log::info!("{}", partial(effective_abi));
            true
        }
        (_, LandlockStatus::NotEnabled) => tell_missing("has its Landlock turned off"),
        _ => tell_missing("has no Landlock"),
    }
}

/// What a Landlock that is older than this program does not guard.
fn partial(abi: ABI) -> String {
    let missing = [
        (ABI::V2, "moves between folders"),
        (ABI::V3, "truncation"),
        (ABI::V4, "TCP"),
        (ABI::V5, "device controls"),
        (ABI::V6, "signals"),
    ];
    let missing: Vec<_> =
        missing.iter().filter(|(since, _)| abi < *since).map(|(_, what)| *what).collect();
    format!(
        "the sandbox is closed as far as this kernel can: its Landlock is of version {}, \
         which does not guard {}",
        abi as i32,
        missing.join(", ")
    )
}

fn tell_missing(why: &str) -> bool {
    log::info!("the sandbox stays open: the kernel {why}; the account's rights alone guard files");
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_landlock_is_told_with_what_it_does_not_guard() {
        let line = partial(ABI::V4);
        assert!(
            line.ends_with("of version 4, which does not guard device controls, signals"),
            "{line}"
        );
        assert!(partial(ABI::V1).contains("moves between folders, truncation, TCP"));
    }

    #[test]
    fn a_file_has_the_rights_of_a_file() {
        let all = Access::READ.and(Access::WRITE).and(Access::MAKE).and(Access::REMOVE);
        let folder = rights(Path::new("/"), all);
        assert!(folder.contains(AccessFs::ReadDir | AccessFs::MakeReg | AccessFs::RemoveFile));
        assert_eq!(
            rights(Path::new("/dev/null"), all),
            AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate
        );
        // Whatever is asked for, nothing is executed.
        assert!(!folder.contains(AccessFs::Execute));
    }
}
