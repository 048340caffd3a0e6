//! 1-Wire: whether there is a bus, and who answers on it.
//!
//! ```text
//! /sys/bus/w1/devices/w1_bus_master1/28-0316a2794bff/w1_slave
//! ```
//!
//! A bus on a pin is switched on by the overlay `w1-gpio` (boot/overlays/README
//! of github.com/raspberrypi/firmware: GPIO 4 unless `gpiopin` says otherwise);
//! `BB-W1-P9.12` is that of the BeagleBone. Its master searches the bus every
//! 10 s (Documentation/w1/w1-generic.rst). Without the resistor that pulls the
//! data line up it finds sensors that are not there, of the family 00.

use super::{
    board::{Board, Kind},
    finding::Finding,
    machine::Look,
};

const DEVICES: &str = "sys/bus/w1/devices";
/// The families of thermometers (drivers/w1/slaves/w1_therm.c).
const THERMOMETERS: [&str; 5] = ["10-", "22-", "28-", "3b-", "42-"];

pub(super) fn check(look: &Look, board: &Board) -> Vec<Finding> {
    let mut masters = look.list(DEVICES);
    masters.retain(|name| name.starts_with("w1_bus_master"));
    if masters.is_empty() {
        return no_bus(look, board).into_iter().collect();
    }
    masters.iter().flat_map(|master| bus(look, board, master)).collect()
}

fn no_bus(look: &Look, board: &Board) -> Option<Finding> {
    match &board.kind {
        Kind::RaspberryPi(boot) => Some(match boot.overlay("w1-gpio") {
            None => Finding::note("1-Wire is switched off").mend(format!(
                "for thermometers as the DS18B20: add dtoverlay=w1-gpio to {}, then reboot",
                boot.path
            )),
            Some(line) => {
                let mend = if look.exists("sys/module/w1_gpio") {
                    "reboot; if it stays so, dmesg | grep w1 says why"
                } else {
                    "reboot; if it stays so: sudo modprobe w1-gpio"
                };
                let what = format!("dtoverlay={line} stands in {}, but there is no bus", boot.path);
                Finding::warn(what).mend(mend)
            }
        }),
        Kind::BeagleBone => Some(Finding::note("1-Wire is switched off").mend(
            "for thermometers as the DS18B20 at P9.12: write \
             uboot_overlay_addr4=BB-W1-P9.12-00A0.dtbo in /boot/uEnv.txt, then reboot",
        )),
        // The bus is known to the kernel, and no adapter has one.
        Kind::Other if look.exists("sys/bus/w1") => Some(
            Finding::note("1-Wire has no adapter")
                .mend("load the module of yours, as in sudo modprobe ds2490 for a DS9490 at USB"),
        ),
        Kind::Other => None,
    }
}

fn bus(look: &Look, board: &Board, master: &str) -> Vec<Finding> {
    let mut sensors = look.list(&format!("{DEVICES}/{master}"));
    sensors.retain(|name| {
        let mut parts = name.splitn(2, '-');
        parts.next().is_some_and(|family| {
            family.len() == 2 && family.bytes().all(|byte| byte.is_ascii_hexdigit())
        }) && parts.next().is_some()
    });
    let (phantoms, sensors): (Vec<_>, Vec<_>) =
        sensors.into_iter().partition(|name| name.starts_with("00-"));
    let mut findings = Vec::new();
    if !phantoms.is_empty() {
        let what = format!("{master}: it finds {}, which no sensor is called", phantoms.join(", "));
        findings.push(
            Finding::warn(what)
                .mend("the resistor is missing that pulls data up: 4.7 kΩ between data and 3.3 V"),
        );
    } else if sensors.is_empty() {
        let what = format!("{master}: no sensor answers");
        findings.push(Finding::warn(what).mend(wiring(board)));
    }
    let driven = |name: &String| {
        let has = |file| look.exists(&format!("{DEVICES}/{master}/{name}/{file}"));
        !THERMOMETERS.iter().any(|family| name.starts_with(family))
            || has("w1_slave")
            || has("temperature")
    };
    let (driven, idle): (Vec<_>, Vec<_>) = sensors.into_iter().partition(driven);
    if !idle.is_empty() {
        let what = format!("{master}: {} has no driver", idle.join(", "));
        findings.push(Finding::warn(what).mend("sudo modprobe w1-therm"));
    }
    if !driven.is_empty() {
        findings.push(Finding::ok(format!("{master}: {}", driven.join(", "))));
    }
    findings
}

fn wiring(board: &Board) -> String {
    let data = match board.boot() {
        Some(boot) => {
            let line = boot.overlay("w1-gpio").unwrap_or_default();
            let pin = line.split(',').find_map(|part| part.strip_prefix("gpiopin="));
            match pin {
                Some(pin) => format!("data at GPIO {pin}"),
                None => "data at GPIO 4 (pin 7)".into(),
            }
        }
        None => "data".into(),
    };
    format!(
        "check the wiring: {data}, ground, 3.3 V, and 4.7 kΩ between data and 3.3 V; \
         a sensor that is plugged in is found within 10 s"
    )
}
