//! I2C, SPI and 1-Wire, from the line of settings to the sensor.

use super::*;

/// The folder of a board's `config.txt`, with this text in it.
fn config(tree: &Tree, text: &str) {
    tree.write("boot/firmware/config.txt", text);
}

#[test]
fn one_wire_is_followed_from_the_line_to_the_sensor() {
    let tree = copy("pi-3");
    says(&tree, "1-wire", "");
    tree.remove("sys/bus/w1");
    config(&tree, "dtparam=audio=on\n#dtoverlay=w1-gpio\n");
    says(
        &tree,
        "1-wire",
        "note 1-Wire is switched off → for thermometers as the DS18B20: add dtoverlay=w1-gpio to /boot/firmware/config.txt, then reboot",
    );
    config(&tree, "dtoverlay=w1-gpio,gpiopin=17\n");
    says(
        &tree,
        "1-wire",
        "stands in /boot/firmware/config.txt, but there is no bus → reboot; if it stays so: sudo modprobe w1-gpio",
    );
    tree.folder("sys/module/w1_gpio");
    says(&tree, "1-wire", "dmesg | grep w1");
    tree.folder("sys/bus/w1/devices/w1_bus_master1");
    says(&tree, "1-wire", "w1_bus_master1: no sensor answers → check the wiring: data at GPIO 17,");
    tree.folder("sys/bus/w1/devices/w1_bus_master1/00-800000000000");
    says(&tree, "1-wire", "the resistor is missing");
    tree.remove("sys/bus/w1/devices/w1_bus_master1/00-800000000000");
    tree.write("sys/bus/w1/devices/w1_bus_master1/28-1/name", "28-1\n");
    says(&tree, "1-wire", "28-1 has no driver → sudo modprobe w1-therm");
    tree.write("sys/bus/w1/devices/w1_bus_master1/28-1/temperature", "20000\n");
    says(&tree, "1-wire", "");
}

#[test]
fn the_older_place_of_config_txt_is_named_where_it_is_the_one() {
    let tree = copy("pi-zero-w");
    tree.remove("boot/firmware");
    tree.remove("sys/bus/w1");
    tree.write("boot/config.txt", "dtparam=i2c_arm=on\n");
    says(&tree, "1-wire", "add dtoverlay=w1-gpio to /boot/config.txt,");
    tree.write("boot/config.txt", "dtoverlay=w1-gpio\n");
    says(&tree, "1-wire", "stands in /boot/config.txt, but there is no bus");
    tree.remove("boot");
    says(&tree, "1-wire", "add dtoverlay=w1-gpio to config.txt of the boot partition, then reboot");
}

#[test]
fn other_boards_get_no_advice_of_the_raspberry_pi() {
    let tree = copy("beaglebone-black");
    tree.remove("sys/bus/w1");
    says(&tree, "1-wire", "BB-W1-P9.12-00A0.dtbo in /boot/uEnv.txt");
    let tree = copy("x86");
    tree.remove("sys/bus/w1");
    for theme in ["1-wire", "i2c", "spi", "kernel"] {
        says(&tree, theme, "");
    }
    tree.folder("sys/bus/w1/devices");
    says(&tree, "1-wire", "sudo modprobe ds2490");
    for board in ["beaglebone-black", "x86", "pc"] {
        let text = examine(machine(Tree::board(board).root())).text();
        for word in ["config.txt", "raspi-config", "dtoverlay", "vcgencmd"] {
            assert!(!text.contains(word), "{board}: {text}");
        }
    }
}

#[test]
fn i2c_is_followed_from_the_line_to_the_driver() {
    let tree = copy("pi-4");
    says(&tree, "i2c", "");
    tree.remove("sys/bus/i2c");
    says(
        &tree,
        "i2c",
        "warn I2C is switched on in /boot/firmware/config.txt, but there is no bus → reboot",
    );
    config(&tree, "[pi5]\ndtparam=i2c_arm=on\n");
    // A display's bus is not the one of the header.
    tree.write("sys/bus/i2c/devices/i2c-20/name", "fef04500.i2c\n");
    says(&tree, "i2c", "note I2C is switched off → for sensors on I2C: add dtparam=i2c_arm=on");
    config(&tree, "dtparam=i2c_arm=on\n");
    tree.write("sys/bus/i2c/devices/i2c-1/name", "bcm2835\n");
    says(&tree, "i2c", "note no chip is named on I2C");
    config(&tree, "dtparam=i2c_arm=on\ndtoverlay=i2c-sensor,bme280\ndtoverlay=ads1115\n");
    says(
        &tree,
        "i2c",
        "warn dtoverlay=i2c-sensor,bme280 stands in /boot/firmware/config.txt, but no bus has a bme280 → reboot",
    );
    tree.write("sys/bus/i2c/devices/1-0048/name", "ads1115\n");
    tree.write("sys/bus/i2c/devices/1-0048/driver/uevent", "");
    tree.write("sys/bus/i2c/devices/1-0076/name", "bme280\n");
    says(&tree, "i2c", "warn bme280 at 0x76 of i2c-1 has no driver → sudo modprobe bmp280_i2c;");
    tree.folder("sys/module/bmp280_i2c");
    says(
        &tree,
        "i2c",
        "its driver did not find it: check the wiring and the address (sudo i2cdetect -y 1",
    );
    tree.write("sys/bus/i2c/devices/1-0076/driver/uevent", "");
    says(&tree, "i2c", "");
    tree.remove("dev/i2c-1");
    says(
        &tree,
        "i2c",
        "note there is no /dev/i2c-*, which i2cdetect and other tools need → sudo modprobe i2c-dev",
    );
}

#[test]
fn chips_elsewhere_are_named_by_hand_and_strangers_are_left_alone() {
    let tree = copy("beaglebone-black");
    for id in ["0-0024", "2-0076", "2-0048", "2-0040"] {
        tree.remove(&format!("sys/bus/i2c/devices/{id}"));
    }
    says(&tree, "i2c", "echo bme280 0x76 | sudo tee /sys/bus/i2c/devices/i2c-2/new_device");
    // It says which extension board is plugged in.
    tree.write("sys/bus/i2c/devices/2-0054/name", "24c256\n");
    says(&tree, "i2c", "note no chip is named on I2C");
    tree.write("sys/bus/i2c/devices/2-0020/name", "unheard-of\n");
    says(&tree, "i2c", "");
    tree.write("sys/bus/i2c/devices/2-0040/name", "ina219\n");
    says(&tree, "i2c", "sudo modprobe ina2xx;");
}

#[test]
fn spi_is_switched_on_in_config_txt() {
    let tree = copy("pi-5");
    says(&tree, "spi", "");
    tree.remove("sys/bus/spi");
    says(&tree, "spi", "warn SPI is switched on in /boot/firmware/config.txt, but has no device");
    config(&tree, "#dtparam=spi=on\n");
    says(&tree, "spi", "note SPI is switched off");
}
