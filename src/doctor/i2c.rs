//! I2C and SPI: whether the bus is there, and whether its chips have drivers.
//!
//! ```text
//! /sys/bus/i2c/devices/i2c-1              a bus
//! /sys/bus/i2c/devices/1-0076/name        bme280, at 0x76
//! /sys/bus/i2c/devices/1-0076/driver      absent when no driver took it
//! ```
//!
//! A chip on I2C does not announce itself: someone says that it is there, in
//! the device tree (an overlay) or by `new_device`
//! (Documentation/i2c/instantiating-devices.rst, methods 1 and 4). Then its
//! module is loaded; a driver that finds no such chip at the address lets go of
//! it again. The bus of the header is `i2c-1` on every Raspberry Pi but the
//! first ones, and switched on by `dtparam=i2c_arm=on`, SPI by `dtparam=spi=on`
//! (boot/overlays/README of github.com/raspberrypi/firmware). The displays have
//! buses of their own, which are there without it.

use super::{
    board::{Board, Kind},
    boot::Boot,
    finding::Finding,
    machine::Look,
};

const DEVICES: &str = "sys/bus/i2c/devices";

/// A chip: its name in sysfs, its module as in `/sys/module`, and the overlay
/// of a Raspberry Pi that names it, as boot/overlays/README has it; empty where
/// there is none.
struct Chip(&'static str, &'static str, &'static str);

/// The usual sensors. Modules: drivers/iio, drivers/hwmon, drivers/rtc.
const CHIPS: [Chip; 30] = [
    Chip("bme280", "bmp280_i2c", "i2c-sensor"),
    Chip("bmp280", "bmp280_i2c", "i2c-sensor"),
    Chip("bmp180", "bmp280_i2c", "i2c-sensor"),
    Chip("bmp085", "bmp280_i2c", "i2c-sensor"),
    Chip("bmp380", "bmp280_i2c", "i2c-sensor"),
    Chip("bme680", "bme680_i2c", "i2c-sensor"),
    Chip("sht3x", "sht3x", "i2c-sensor"),
    Chip("sht4x", "sht4x", "i2c-sensor"),
    Chip("htu21", "htu21", "i2c-sensor"),
    Chip("si7020", "si7020", "i2c-sensor"),
    Chip("hts221", "hts221_i2c", "i2c-sensor"),
    Chip("aht10", "aht10", "i2c-sensor"),
    Chip("lm75", "lm75", "i2c-sensor"),
    Chip("tmp102", "tmp102", "i2c-sensor"),
    Chip("jc42", "jc42", "i2c-sensor"),
    Chip("bh1750", "bh1750", "i2c-sensor"),
    Chip("veml6070", "veml6070", "i2c-sensor"),
    Chip("ccs811", "ccs811", "i2c-sensor"),
    Chip("sgp30", "sgp30", "i2c-sensor"),
    Chip("sps30", "sps30_i2c", "i2c-sensor"),
    Chip("mpu6050", "inv_mpu6050_i2c", "i2c-sensor"),
    Chip("mpu9250", "inv_mpu6050_i2c", "i2c-sensor"),
    Chip("ads1015", "ti_ads1015", "ads1015"),
    Chip("ads1115", "ti_ads1015", "ads1115"),
    Chip("ina219", "ina2xx", ""),
    Chip("ina226", "ina2xx", ""),
    Chip("ina3221", "ina3221", ""),
    Chip("ds1307", "rtc_ds1307", "i2c-rtc"),
    Chip("ds3231", "rtc_ds1307", "i2c-rtc"),
    Chip("pcf8523", "rtc_pcf8523", "i2c-rtc"),
];

/// A chip on a bus.
#[derive(Debug)]
struct Client {
    /// `1-0076`
    id: String,
    name: String,
    driven: bool,
}

impl Client {
    /// Whether it is a sensor's place: on a bus of the header, and not the
    /// memory that says which extension board is plugged in.
    fn is_on(&self, buses: &[&str]) -> bool {
        buses.contains(&self.bus_and_address().0) && self.name != "24c256"
    }

    /// `bme280 at 0x76 of i2c-1`.
    fn place(&self) -> String {
        let (bus, address) = self.bus_and_address();
        format!("{} at {address} of i2c-{bus}", self.name)
    }

    fn bus_and_address(&self) -> (&str, String) {
        let (bus, address) = self.id.split_once('-').unwrap_or((&self.id, ""));
        match u16::from_str_radix(address, 16) {
            Ok(address) => (bus, format!("0x{address:02x}")),
            Err(_) => (bus, address.to_owned()),
        }
    }
}

pub(super) fn check(look: &Look, board: &Board) -> Vec<Finding> {
    let (buses, others): (Vec<_>, Vec<_>) = look.list(DEVICES).into_iter().partition(|id| {
        id.strip_prefix("i2c-").is_some_and(|number| number.parse::<u32>().is_ok())
    });
    let clients: Vec<_> = others
        .into_iter()
        .filter(|id| id.starts_with(|first: char| first.is_ascii_digit()))
        .map(|id| Client {
            name: look.line(&format!("{DEVICES}/{id}/name")).unwrap_or_default(),
            driven: look.exists(&format!("{DEVICES}/{id}/driver")),
            id,
        })
        // A second address of another chip.
        .filter(|client| client.name != "dummy")
        .collect();
    let mut findings = of_bus(look, board, &buses, &clients);
    let driven: Vec<_> = clients.iter().filter(|client| client.driven).map(Client::place).collect();
    if !driven.is_empty() {
        findings.push(Finding::ok(driven.join(", ")));
    }
    let idle = clients.iter().filter(|client| !client.driven);
    findings.extend(idle.filter_map(|client| without_driver(look, board, client)));
    findings
}

/// Whether the bus of the header is there, and something named on it.
fn of_bus(look: &Look, board: &Board, buses: &[String], clients: &[Client]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let header = |name: &String| name == "i2c-1" || name == "i2c-0";
    match &board.kind {
        Kind::RaspberryPi(boot) if !buses.iter().any(header) => {
            findings.push(if boot.is_on(&["i2c_arm", "i2c", "i2c1"]) {
                let what = format!("I2C is switched on in {}, but there is no bus", boot.path);
                Finding::warn(what).mend("reboot; if it stays so, dmesg | grep i2c says why")
            } else {
                Finding::note("I2C is switched off").mend(format!(
                    "for sensors on I2C: add dtparam=i2c_arm=on to {} \
                     (or: sudo raspi-config nonint do_i2c 0), then reboot",
                    boot.path
                ))
            });
            return findings;
        }
        Kind::RaspberryPi(boot) => findings.extend(unnamed(boot, clients)),
        // I2C2 is the one of the header, on unless an overlay takes its pins.
        Kind::BeagleBone
            if buses.iter().any(|bus| bus == "i2c-2")
                && !clients.iter().any(|client| client.is_on(&["2"])) =>
        {
            findings.push(Finding::note(NOBODY).mend(format!(
                "name it, as in: {}; sudo i2cdetect -y -r 2 shows who answers",
                new_device("bme280", "0x76", "2")
            )));
        }
        _ => {}
    }
    let tools = !look.list("dev").iter().any(|name| name.starts_with("i2c-"));
    if !buses.is_empty() && tools && !matches!(board.kind, Kind::Other) {
        let what = "there is no /dev/i2c-*, which i2cdetect and other tools need";
        findings.push(Finding::note(what).mend("sudo modprobe i2c-dev"));
    }
    findings
}

const NOBODY: &str = "no chip is named on I2C; chips do not announce themselves";

/// Chips that `config.txt` names and no bus has; or that it names none.
fn unnamed(boot: &Boot, clients: &[Client]) -> Vec<Finding> {
    let named = CHIPS.iter().filter(|Chip(name, _, overlay)| match *overlay {
        "" => false,
        "i2c-sensor" | "i2c-rtc" => boot.has(overlay, name),
        alone => boot.overlay(alone).is_some(),
    });
    let absent = named.filter(|Chip(name, ..)| clients.iter().all(|client| client.name != *name));
    let mut findings: Vec<_> = absent
        .map(|Chip(name, _, overlay)| {
            let line =
                if name == overlay { (*name).to_owned() } else { format!("{overlay},{name}") };
            let what = format!("dtoverlay={line} stands in {}, but no bus has a {name}", boot.path);
            Finding::warn(what).mend("reboot; if it stays so, sudo vclog --msg says why")
        })
        .collect();
    if findings.is_empty() && !clients.iter().any(|client| client.is_on(&["0", "1"])) {
        findings.push(Finding::note(NOBODY).mend(format!(
            "name yours in {}, as in dtoverlay=i2c-sensor,bme280 or dtoverlay=ads1115,cha_enable, \
             then reboot; sudo i2cdetect -y 1 shows who answers",
            boot.path
        )));
    }
    findings
}

/// Of chips that are no sensors, it is no fault: who knows what takes them.
fn without_driver(look: &Look, board: &Board, client: &Client) -> Option<Finding> {
    let Chip(name, module, overlay) = CHIPS.iter().find(|chip| chip.0 == client.name)?;
    let (bus, address) = client.bus_and_address();
    let what = format!("{} has no driver", client.place());
    let mend = if look.exists(&format!("sys/module/{module}")) {
        let mut mend = format!(
            "its driver did not find it: check the wiring and the address \
             (sudo i2cdetect -y {bus} shows who answers)"
        );
        if let Some(boot) = board.boot().filter(|_| *overlay == "i2c-sensor") {
            mend +=
                &format!("; another address: dtoverlay={overlay},{name},addr=… in {}", boot.path);
        }
        mend
    } else {
        format!(
            "sudo modprobe {module}; then dmesg | grep {name} says whether it answers at {address}"
        )
    };
    Some(Finding::warn(what).mend(mend))
}

fn new_device(name: &str, address: &str, bus: &str) -> String {
    format!("echo {name} {address} | sudo tee /{DEVICES}/i2c-{bus}/new_device")
}

/// SPI.
pub(super) fn spi(look: &Look, board: &Board) -> Vec<Finding> {
    let devices = look.list("sys/bus/spi/devices");
    let Some(boot) = board.boot() else { return Vec::new() };
    if !devices.is_empty() {
        return vec![Finding::ok(format!("SPI: {}", devices.join(", ")))];
    }
    vec![if boot.is_on(&["spi", "spi0"]) {
        let what = format!("SPI is switched on in {}, but has no device", boot.path);
        Finding::warn(what).mend("reboot; if it stays so, dmesg | grep spi says why")
    } else {
        Finding::note("SPI is switched off").mend(format!(
            "for converters on SPI: add dtparam=spi=on to {} \
             (or: sudo raspi-config nonint do_spi 0), then reboot",
            boot.path
        ))
    }]
}
