//! Rights: device files that are there and that the program may not read, and
//! the socket for readings that the user may not write to.
//!
//! An ordinary user is judged by their own groups; root by those of the
//! service's account, for root may do everything. The groups are those that
//! udev gives such files to (rules.d/50-udev-default.rules of systemd:
//! `dialout` for serial ports; 99-com.rules of Raspberry Pi OS: `gpio`, `i2c`,
//! `spi`).

use std::{fs::Metadata, os::unix::fs::MetadataExt};

use super::{
    finding::Finding,
    machine::{Look, User},
};

/// The account of the service (`cross/package/sysusers.conf`).
const ACCOUNT: &str = "boardcast";
const FOLDER: &str = "run/boardcast";

/// What such a file is called, the group that usually has it, and whether it is
/// there because someone plugged it in.
const KINDS: [(&str, &str, bool); 7] = [
    ("ttyUSB", "dialout", true),
    ("ttyACM", "dialout", true),
    ("ttyAMA", "dialout", false),
    ("serial", "dialout", false),
    ("gpiochip", "gpio", false),
    ("i2c-", "i2c", false),
    ("spidev", "spi", false),
];

/// Read and enter, in the lowest three bits of a mode.
const READ: u32 = 0o4;
const ENTER: u32 = 0o1;

/// Whose rights are looked at.
struct Who {
    user: User,
    name: String,
    /// The service's account, looked at by root.
    is_service: bool,
}

impl Who {
    fn of(look: &Look, user: &User) -> Option<Self> {
        let passwd = look.text("etc/passwd").unwrap_or_default();
        let mut accounts = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            Some((name, uid, gid))
        });
        if user.uid != 0 {
            let name = accounts.find(|(_, uid, _): &(_, u32, u32)| *uid == user.uid);
            let name = name.map_or_else(|| "$USER".into(), |(name, ..)| name.to_owned());
            return Some(Self { user: user.clone(), name, is_service: false });
        }
        let (_, uid, gid) = accounts.find(|(name, ..)| *name == ACCOUNT)?;
        let groups = groups(look);
        let mut gids: Vec<u32> = groups
            .iter()
            .filter(|(_, _, members)| members.split(',').any(|member| member == ACCOUNT))
            .map(|(_, gid, _)| *gid)
            .collect();
        gids.push(gid);
        Some(Self { user: User { uid, gids }, name: ACCOUNT.into(), is_service: true })
    }

    /// path_resolution(7), "Permissions": the first of owner, group and others
    /// that fits decides.
    fn may(&self, file: &Metadata, wanted: u32) -> bool {
        let shift = if file.uid() == self.user.uid {
            6
        } else if self.user.gids.contains(&file.gid()) {
            3
        } else {
            0
        };
        file.mode() >> shift & wanted == wanted
    }

    /// The command that gives them a group.
    fn join(&self, group: &str) -> String {
        let then =
            if self.is_service { "sudo systemctl restart boardcast" } else { "log in again" };
        format!("sudo usermod -aG {group} {}, then {then}", self.name)
    }
}

/// Name, number and members.
fn groups(look: &Look) -> Vec<(String, u32, String)> {
    let text = look.text("etc/group").unwrap_or_default();
    let group = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((name, fields.nth(1)?.parse().ok()?, fields.next().unwrap_or_default().to_owned()))
    };
    text.lines().filter_map(group).collect()
}

/// The device files.
pub(super) fn devices(look: &Look, user: &User) -> Vec<Finding> {
    let Some(who) = Who::of(look, user) else { return Vec::new() };
    let known = groups(look);
    let mut findings: Vec<Finding> = Vec::new();
    for (prefix, usual, plugged) in KINDS {
        let mut closed = look.list("dev");
        closed.retain(|name| name.starts_with(prefix));
        let mut files: Vec<_> = closed
            .into_iter()
            .filter_map(|name| Some((look.metadata(&format!("dev/{name}"))?, name)))
            .filter(|(file, _)| !who.may(file, READ))
            .collect();
        let Some((file, _)) = files.first() else { continue };
        let group = known.iter().find(|(_, gid, _)| *gid == file.gid());
        let group = group.map_or(usual, |(name, ..)| name.as_str());
        let mend = if file.mode() >> 3 & READ == 0 || group == "root" {
            // No group may read it: membership is of no help.
            format!(
                "let the group {usual} read it, by a line in /etc/udev/rules.d/60-{usual}.rules: \
                 KERNEL==\"{prefix}*\", GROUP=\"{usual}\", MODE=\"0660\""
            )
        } else {
            who.join(group)
        };
        let names: Vec<_> = files.drain(..).map(|(_, name)| format!("/dev/{name}")).collect();
        let what = format!("{} may not read {}", who.name, names.join(", "));
        findings.push(if plugged { Finding::warn(what) } else { Finding::note(what) }.mend(mend));
    }
    findings
}

/// The socket for readings.
pub(super) fn socket(look: &Look, user: &User) -> Vec<Finding> {
    let Some(folder) = look.metadata(FOLDER) else { return Vec::new() };
    let may = match Who::of(look, user) {
        Some(who) if !who.is_service && !who.may(&folder, ENTER) => Err(who.join(ACCOUNT)),
        _ => Ok(()),
    };
    let socket = format!("{FOLDER}/boardcast.sock");
    vec![match may {
        Err(mend) => Finding::note(format!("you may not push readings to /{socket}")).mend(mend),
        Ok(()) if look.exists(&socket) => {
            Finding::ok(format!("readings can be pushed to /{socket}"))
        }
        Ok(()) => Finding::note(format!("/{FOLDER} is there, but no socket in it")).mend(
            "sudo systemctl restart boardcast; journalctl -u boardcast says why there is none",
        ),
    }]
}
