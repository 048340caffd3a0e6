//! What the readings tell of the board's health: power, heat, card, room,
//! memory. The readings are those of the server; where they come from is said
//! in `sources/found/power.rs`, `disks.rs` and their kin.

use super::{board::Board, finding::Finding, machine::Look, sensors::AllSeen};
use crate::telemetry::Value;

/// From so much on a file system is told as nearly full, in %.
const FULL: f64 = 95.0;
/// From so much on a memory's life is told as nearly used up, in %.
const WORN: f64 = 90.0;

/// Power and cooling of a Raspberry Pi (`power/…`).
///
/// "Undervoltage" is below 4.63 V (raspberrypi.com/documentation,
/// "raspberry-pi.html", "Power supply warnings"), and the supplies are those of
/// "Typical power requirements" there. A CPU that is short of voltage is slowed
/// down, too, so that this alone is no matter of heat.
pub(super) fn power(seen: &AllSeen, board: &Board) -> Vec<Finding> {
    let now = |state: &str| seen.is_on(&format!("power/{state}"));
    let ever = |state: &str| seen.is_on(&format!("power/{state}_since_boot"));
    let mut findings = Vec::new();
    let low = now("undervoltage") || ever("undervoltage");
    let mend = format!(
        "the power supply is too weak, or its cable too thin or too long: \
         use the official one ({}), and its own cable",
        supply(board)
    );
    if now("undervoltage") {
        findings.push(Finding::bad("the supply voltage is too low, now").mend(mend));
    } else if low {
        findings.push(Finding::warn("the supply voltage was too low since boot").mend(mend));
    }
    let cool = "give it a heat sink or a fan, and air; vcgencmd measure_temp shows how hot it is";
    if now("soft_temperature_limit") {
        findings.push(Finding::warn("the CPU is slowed down: it is too hot, now").mend(cool));
    } else if !low && (now("throttled") || now("frequency_capped")) {
        findings.push(Finding::bad("the CPU is throttled, now: it is much too hot").mend(cool));
    } else if ever("soft_temperature_limit")
        || !low && (ever("throttled") || ever("frequency_capped"))
    {
        findings.push(Finding::warn("the CPU was throttled since boot: it was too hot").mend(cool));
    }
    let tells = |state: &str| seen.value(state).is_some();
    if findings.is_empty() && tells("power/undervoltage") {
        let heat = if tells("power/throttled") { ", and the CPU is not slowed down" } else { "" };
        findings.push(Finding::ok(format!("the supply voltage is right{heat}")));
    }
    findings
}

fn supply(board: &Board) -> &'static str {
    let model = board.model.as_deref().unwrap_or_default();
    let is = |names: &[&str]| names.iter().any(|name| model.contains(name));
    if is(&["Pi 5", "Compute Module 5"]) {
        "5.1 V, 5 A"
    } else if is(&["Pi 4", "Compute Module 4"]) {
        "5.1 V, 3 A"
    } else {
        "5.1 V, 2.5 A"
    }
}

/// Cards and disks (`disk/…`), and the room on them (`fs/…`).
pub(super) fn storage(seen: &AllSeen, look: &Look) -> Vec<Finding> {
    let mut findings = Vec::new();
    for seen in &seen.0 {
        let Some((disk, what)) = seen.name.strip_prefix("disk/").and_then(|n| n.split_once('/'))
        else {
            continue;
        };
        findings.extend(match (what, &seen.value) {
            ("health", Ok(Value::Text(health))) if &**health != "normal" => {
                let what = format!("{disk} wears out: {health}");
                Some(Finding::warn(what).mend("copy what matters, and replace it"))
            }
            ("life_used_a" | "life_used_b", Ok(used))
                if used.as_f64().is_some_and(|used| used >= WORN) =>
            {
                let used = used.as_f64().unwrap_or_default();
                let what = format!("{disk} has used {used} % of the life it was made for");
                Some(Finding::warn(what).mend("copy what matters, and replace it"))
            }
            ("read_only", Ok(Value::Bool(true))) => {
                let what = format!("{disk} can no longer be written");
                let mend = "a card does so when it is worn out, or by its switch: replace it";
                Some(Finding::bad(what).mend(mend))
            }
            ("ext4_errors", Ok(count)) if count.as_f64().is_some_and(|count| count > 0.0) => {
                let count = count.as_f64().unwrap_or_default();
                let what = format!("the file system on {disk} has counted {count} errors");
                Some(Finding::warn(what).mend(
                    "copy what matters, then have it checked: e2fsck -f from another system; \
                     if they come again, replace the card",
                ))
            }
            _ => None,
        });
    }
    findings.extend(seen.0.iter().filter_map(|seen| {
        let use_of = seen.name.strip_prefix("fs/")?.strip_suffix("/use")?;
        // "/boot/firmware use"
        let point = seen.label.strip_suffix(" use").unwrap_or(use_of);
        match &seen.value {
            Ok(share) => {
                let share = share.as_f64().filter(|share| *share >= FULL)?;
                let what = format!("{point} is full to {share:.0} %");
                Some(Finding::warn(what).mend(
                    "delete something, as in sudo apt clean; sudo journalctl --vacuum-size=50M",
                ))
            }
            Err(reason) if reason.ends_with("does not answer") => Some(
                Finding::warn(reason.clone())
                    .mend(format!("its server may be gone; sudo umount -l {point} lets go of it")),
            ),
            Err(reason) => Some(Finding::warn(reason.clone())),
        }
    }));
    if is_root_read_only(look) {
        let mend = "on purpose, all is well; else look at dmesg: the kernel does so after an error";
        findings.push(Finding::note("the root file system is read-only").mend(mend));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("cards, disks and file systems are well"));
    }
    findings
}

/// Documentation/filesystems/proc.rst 3.5: the sixth field has the options.
fn is_root_read_only(look: &Look) -> bool {
    let mounts = look.text("proc/self/mountinfo").unwrap_or_default();
    let mut fields = mounts.lines().map(|line| line.split(' ').skip(4));
    // What is mounted last hides what was mounted before.
    let root = fields.rfind(|line| line.clone().next() == Some("/"));
    root.and_then(|mut line| line.nth(1))
        .is_some_and(|options| options.split(',').any(|o| o == "ro"))
}

/// Memory (`mem/…`), and where it is swapped to.
pub(super) fn memory(seen: &AllSeen, look: &Look) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let (Some(available), Some(total)) = (seen.number("mem/available"), seen.number("mem/total"))
    {
        const MIB: f64 = 1024.0 * 1024.0;
        let what =
            format!("{:.0} of {:.0} MiB of memory are available", available / MIB, total / MIB);
        findings.push(if available < (total / 50.0).max(24.0 * MIB) {
            Finding::warn(what).mend("end what takes most: ps aux --sort=-rss | head")
        } else {
            Finding::ok(what)
        });
    }
    let swaps = look.text("proc/swaps").unwrap_or_default();
    let on_card = swaps.lines().skip(1).find(|line| line.starts_with("/dev/mmcblk"));
    if let Some(device) = on_card.and_then(|line| line.split_ascii_whitespace().next()) {
        findings.push(
            Finding::note(format!("{device} is swapped to, which wears out the card"))
                .mend("swap to compressed memory instead: sudo apt install zram-tools"),
        );
    }
    findings
}
