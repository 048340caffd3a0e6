//! Who may use what: device files, the socket, the port.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

/// The machine as it is for someone who owns nothing there.
fn stranger(tree: &Tree, gids: &[u32]) -> Machine {
    Machine { user: User { uid: 54_321, gids: gids.to_vec() }, ..machine(tree.root()) }
}

fn device(tree: &Tree, name: &str, mode: u32) -> u32 {
    tree.write(&format!("dev/{name}"), "");
    let path = tree.root().join("dev").join(name);
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
    fs::metadata(path).expect("there").gid()
}

#[test]
fn a_missing_group_is_named_with_the_command() {
    let tree = Tree::new();
    let gid = device(&tree, "ttyUSB0", 0o660);
    tree.write("etc/passwd", "root:x:0:0::/:/bin/sh\npi:x:54321:1000::/home/pi:/bin/bash\n");
    let text = said(stranger(&tree, &[]), "rights");
    // The group that the file has, by the name that it has here.
    if gid != 0 {
        tree.write("etc/group", format!("serials:x:{gid}:\n"));
        let text = said(stranger(&tree, &[]), "rights");
        assert!(text.contains("usermod -aG serials pi"), "{text}");
    }
    assert_eq!(
        text,
        "warn pi may not read /dev/ttyUSB0 → sudo usermod -aG dialout pi, then log in again\n"
    );
    assert_eq!(said(stranger(&tree, &[gid]), "rights"), "");
    device(&tree, "ttyUSB0", 0o600);
    let text = said(stranger(&tree, &[gid]), "rights");
    assert!(text.contains("KERNEL==\"ttyUSB*\", GROUP=\"dialout\", MODE=\"0660\""), "{text}");
    device(&tree, "ttyUSB0", 0o644);
    assert_eq!(said(stranger(&tree, &[]), "rights"), "");
    tree.folder("dev/serial/by-id");
    device(&tree, "gpiochip0", 0o640);
    device(&tree, "gpiochip1", 0o640);
    let text = said(stranger(&tree, &[]), "rights");
    assert!(text.starts_with("note pi may not read /dev/gpiochip0, /dev/gpiochip1 →"), "{text}");
}

#[test]
fn a_port_that_the_console_has_is_no_matter_of_groups() {
    let tree = Tree::new();
    let gid = device(&tree, "ttyAMA0", 0o620);
    tree.write("etc/group", format!("tty:x:{gid}:\n"));
    let text = said(stranger(&tree, &[]), "rights");
    assert!(text.contains("systemctl disable of its serial-getty@.service"), "{text}");
    tree.write("sys/firmware/devicetree/base/model", "Raspberry Pi 5 Model B Rev 1.0\0");
    let text = said(stranger(&tree, &[]), "rights");
    assert!(text.contains("raspi-config, Interface Options, Serial Port"), "{text}");
}

#[test]
fn root_is_told_of_the_rights_of_the_service() {
    let tree = Tree::new();
    let gid = device(&tree, "ttyACM0", 0o660);
    device(&tree, "i2c-1", 0o600);
    says(&tree, "rights", "");
    tree.write("etc/passwd", "boardcast:x:54321:54321::/:/usr/sbin/nologin\n");
    says(
        &tree,
        "rights",
        "warn boardcast may not read /dev/ttyACM0 → sudo usermod -aG dialout boardcast, then sudo systemctl restart boardcast",
    );
    tree.write("etc/group", format!("dialout:x:{gid}:pi,boardcast\n"));
    says(&tree, "rights", "");
}

#[test]
fn who_may_not_push_is_told_which_group_may() {
    let tree = Tree::new();
    says(&tree, "socket", "");
    tree.folder("run/boardcast");
    says(&tree, "socket", "but no socket in it");
    tree.write("run/boardcast/boardcast.sock", "");
    says(&tree, "socket", "");
    let folder = tree.root().join("run/boardcast");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).expect("set");
    let text = said(stranger(&tree, &[]), "socket");
    assert!(text.contains("sudo usermod -aG boardcast $USER, then log in again"), "{text}");
    let gid = fs::metadata(&folder).expect("there").gid();
    assert_eq!(said(stranger(&tree, &[gid]), "socket"), "");
}

#[test]
fn whoever_has_the_port_is_named() {
    let tree = Tree::new();
    says(&tree, "server", "note no server runs at port 8642, which is free → boardcast\n");
    tree.write("usr/lib/systemd/system/boardcast.service", "");
    says(&tree, "server", "→ sudo systemctl enable --now boardcast\n");
    tree.write("etc/systemd/system/multi-user.target.wants/boardcast.service", "");
    says(&tree, "server", "warn the service is to run, but nobody listens");
    let ours = |address: SocketAddr| {
        assert_eq!(address.port(), 8642);
        Knock::Boardcast("pi".into())
    };
    let ours = Machine { knock: ours, ..machine(tree.root()) };
    assert_eq!(said(ours.clone(), "server"), "");
    assert!(examine(ours).text().contains("the server of pi runs: http://127.0.0.1:8642/\n"));
    let other = Machine { knock: |_| Knock::Other, ..machine(tree.root()) };
    assert!(said(other, "server").contains("port 8642 is taken by another program"));
    // One that listens on another address, and is a program of ours.
    let ip = u32::from_ne_bytes([10, 0, 0, 7]);
    let socket = format!("0: {ip:08X}:21C2 00000000:0000 0A 0:0 0:0 0 0 0 31337 1");
    tree.write("proc/net/tcp", format!("  sl …\n   {socket}\n"));
    says(&tree, "server", "taken by another program");
    tree.write("proc/812/comm", "python3\n");
    tree.folder("proc/812/fd");
    symlink("socket:[31337]", tree.root().join("proc/812/fd/7")).expect("a link");
    says(
        &tree,
        "server",
        "warn port 8642 is taken by python3 (process 812) → end it, or let boardcast listen elsewhere: --listen 0.0.0.0:8643",
    );
}
