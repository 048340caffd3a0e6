//! Whom the program runs as: started as root, it becomes the user that the
//! settings name, for good, once nothing more needs root.

use std::ffi::CString;

use nix::{
    errno::Errno,
    unistd::{Uid, User, geteuid, initgroups, setgid, setuid},
};

use crate::{
    error::{Error, Result},
    sys,
};

/// A user to become.
#[derive(Debug)]
pub(super) struct Account(User);

impl Account {
    /// The one that the settings name, unless this process is theirs already.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no such user, or only root could
    /// become theirs.
    pub(super) fn wanted(name: Option<&str>) -> Result<Option<Self>> {
        let own = geteuid();
        let Some(name) = name else { return Ok(None) };
        let found = User::from_name(name)
            .map_err(|errno: Errno| Error::io(format!("look for the user {name}"), errno.into()))?;
        let Some(user) = found else {
            return Err(Error::Setting(format!(
                "there is no user {name}: make it with useradd --system {name}, or name another"
            )));
        };
        match user.uid == own {
            true => Ok(None),
            false if own.is_root() => Ok(Some(Self(user))),
            false => Err(Error::Setting(format!(
                "only root can become {name}: start boardcast with sudo, or take user out"
            ))),
        }
    }

    /// Becomes this user, in all that a process has: groups, user, capabilities.
    /// There is no way back.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses any of it.
    pub(super) fn become_theirs(&self) -> Result<()> {
        let User { name, uid, gid, .. } = &self.0;
        let change = || -> std::io::Result<()> {
            let whose = CString::new(name.as_str())?;
            // While there is the right to do so.
            sys::empty_capability_bounds();
            initgroups(&whose, *gid)?;
            setgid(*gid)?;
            setuid(*uid)?;
            sys::empty_capabilities()?;
            // capabilities(7): that was all; a kernel that thinks otherwise is not trusted.
            match setuid(Uid::from_raw(0)) {
                Ok(()) if !uid.is_root() => Err(Errno::ENOTRECOVERABLE.into()),
                _ => Ok(()),
            }
        };
        change().map_err(|error| Error::io(format!("become {name}"), error))?;
        log::debug!("running as {name}");
        Ok(())
    }
}

/// Says so, when root goes on as root and nobody has said that it should.
pub(super) fn tell_of_root(user: Option<&str>) {
    if geteuid().is_root() && user.is_none() {
        log::warn!("running as root; --user NAME gives that up once the ports are open");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_is_not_there_is_told_with_the_way_to_make_it() {
        let error = Account::wanted(Some("no-such-user")).expect_err("there is none");
        assert!(error.to_string().contains("useradd --system no-such-user"), "{error}");
        assert!(Account::wanted(None).expect("nobody is asked for").is_none());
    }

    #[test]
    fn whoever_it_is_already_it_need_not_become() {
        let own = User::from_uid(geteuid()).expect("asked");
        // In a container without an entry there is no name to ask with.
        if let Some(own) = own {
            assert!(Account::wanted(Some(&own.name)).expect("fine").is_none());
        }
    }
}
