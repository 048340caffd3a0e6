//! The clock, and what the kernel lets a program have.

use super::{
    board::Board,
    finding::Finding,
    machine::{Look, Machine},
    sensors::AllSeen,
};
use crate::net::Limits;

/// How far a clock with a battery may be from one that is right, in seconds.
const FAR: f64 = 5.0;

/// Whether the wall clock is right: adjtimex(2), which `timedatectl` shows as
/// "System clock synchronized".
pub(super) fn clock(look: &Look, machine: &Machine, seen: &AllSeen) -> Vec<Finding> {
    let batteries: Vec<_> =
        look.list("sys/class/rtc").into_iter().filter(|name| name.starts_with("rtc")).collect();
    if !machine.clock.synced() {
        let mut what = "the clock is not synchronised".to_owned();
        if batteries.is_empty() {
            what += ", and there is none with a battery: after a start the time is wrong";
        }
        let mend = "connect it to the network; sudo timedatectl set-ntp true, or start chrony";
        return vec![Finding::warn(what).mend(mend)];
    }
    let mut findings = vec![Finding::ok("the clock is synchronised")];
    findings.extend(batteries.iter().filter_map(|name| {
        let ahead = seen.number(&format!("clock/{name}/offset"))?;
        let what = format!("{name}, which has a battery, is {ahead:+.0} s off");
        (ahead.abs() >= FAR).then(|| Finding::note(what).mend("sudo hwclock --systohc"))
    }));
    findings
}

/// Descriptors, and what of the kernel is switched off.
pub(super) fn kernel(look: &Look, machine: &Machine, board: &Board) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A connection has one, and listeners, sources and files some more.
    let needed = Limits::default().connections as u64 + 64;
    if machine.descriptors < needed {
        let what = format!(
            "a program may open {} files; {needed} are needed for all connections",
            machine.descriptors
        );
        findings.push(Finding::warn(what).mend(
            "raise it: ulimit -Hn, or LimitNOFILE= of the service; or let fewer in: --max-connections",
        ));
    }
    // Raspberry Pi's kernels have it, and switched off (CONFIG_PSI_DEFAULT_DISABLED;
    // Documentation/admin-guide/kernel-parameters.txt, "psi=").
    if let Some(boot) = board.boot().filter(|_| !look.exists("proc/pressure")) {
        let file = boot.path.replace("config.txt", "cmdline.txt");
        let what = "pressure stall information is off, so there are no channels pressure/…";
        findings.push(
            Finding::note(what)
                .mend(format!("for them: add psi=1 to the one line of {file}, then reboot")),
        );
    }
    findings
}
