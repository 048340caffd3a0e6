//! Rights: device files that are there and that the program may not read, and
//! the socket for readings that the user may not write to.
//!
//! An ordinary user is judged by their own groups; root by those of the
//! service's account, for root may do everything. The groups are those that
//! udev gives such files to (rules.d/50-udev-default.rules of systemd:
//! `dialout` for serial ports; 99-com.rules of Raspberry Pi OS: `gpio`, `i2c`,
//! `spi`).

use std::{collections::BTreeMap, fs::Metadata, os::unix::fs::MetadataExt};

use super::{
    board::Board,
    finding::Finding,
    machine::{Look, User},
};

/// The account of the service (`cross/package/sysusers.conf`).
const ACCOUNT: &str = "boardcast";
const FOLDER: &str = "run/boardcast";

/// A kind of device files.
struct Kind {
    /// What its files begin with, before a number.
    prefix: &'static str,
    /// The group that usually has them.
    group: &'static str,
    use_of: Use,
}

/// Who wants such a file.
#[derive(Clone, Copy, PartialEq)]
enum Use {
    /// It is there because someone plugged it in.
    Plugged,
    /// A source of readings, where the settings name it.
    Source,
    /// Tools alone: the sensors behind it are read through the kernel's drivers.
    Tools,
}

const fn kind(prefix: &'static str, group: &'static str, use_of: Use) -> Kind {
    Kind { prefix, group, use_of }
}

const KINDS: [Kind; 7] = [
    kind("ttyUSB", "dialout", Use::Plugged),
    kind("ttyACM", "dialout", Use::Plugged),
    kind("ttyAMA", "dialout", Use::Source),
    kind("serial", "dialout", Use::Source),
    kind("gpiochip", "gpio", Use::Source),
    kind("i2c-", "i2c", Use::Tools),
    kind("spidev", "spi", Use::Tools),
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
pub(super) fn devices(look: &Look, user: &User, board: &Board) -> Vec<Finding> {
    let Some(who) = Who::of(look, user) else { return Vec::new() };
    let groups = groups(look);
    let present = look.list("dev");
    let mut findings = Vec::new();
    for Kind { prefix, group, use_of } in KINDS {
        // The service needs no device file where the kernel's drivers read.
        if who.is_service && use_of == Use::Tools {
            continue;
        }
        let is_one = |name: &&String| {
            let number = name.strip_prefix(prefix);
            number.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        };
        // Those with the same mend are told together.
        let mut closed: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in present.iter().filter(is_one) {
            let Some(file) = look.metadata(&format!("dev/{name}")) else { continue };
            if !who.may(&file, READ) {
                let owner = groups.iter().find(|(_, gid, _)| *gid == file.gid());
                let owner = owner.map(|(name, ..)| name.as_str());
                let mend = mend(&who, &file, owner, (prefix, group), board);
                closed.entry(mend).or_default().push(format!("/dev/{name}"));
            }
        }
        findings.extend(closed.into_iter().map(|(mend, names)| {
            let what = format!("{} may not read {}", who.name, names.join(", "));
            let plugged = use_of == Use::Plugged;
            (if plugged { Finding::warn(what) } else { Finding::note(what) }).mend(mend)
        }));
    }
    findings
}

/// What lets someone read a file of the group `owner`, of a kind that usually
/// has the group `usual`.
fn mend(
    who: &Who,
    file: &Metadata,
    owner: Option<&str>,
    (prefix, usual): (&str, &str),
    board: &Board,
) -> String {
    if owner == Some("tty") {
        // agetty(8) gives a port on which one logs in to this group.
        let how = match board.boot() {
            Some(_) => ": sudo raspi-config, Interface Options, Serial Port",
            None => ", by systemctl disable of its serial-getty@.service",
        };
        return format!("the console has it; switch that off{how}");
    }
    if file.mode() >> 3 & READ == 0 || owner == Some("root") {
        // No group may read it: membership is of no help.
        return format!(
            "let the group {usual} read it, by a line in /etc/udev/rules.d/60-{usual}.rules: \
             KERNEL==\"{prefix}*\", GROUP=\"{usual}\", MODE=\"0660\""
        );
    }
    who.join(owner.unwrap_or(usual))
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
