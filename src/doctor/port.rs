//! The server's port: whether a boardcast answers there, or who else has it.
//!
//! ```text
//! /proc/net/tcp      0: 0100007F:21C2 00000000:0000 0A … 0 0 31337 1 …
//! /proc/812/fd/7     socket:[31337]
//! /proc/812/comm     python3
//! ```
//!
//! Documentation/networking/proc_net_tcp.rst: 0A is a socket that listens, and
//! an address is as wide as its numbers are in memory (proc_pid_net(5)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    finding::Finding,
    machine::{Knock, Look, Machine},
};

const UNIT: &str = "usr/lib/systemd/system/boardcast.service";
const ENABLED: &str = "etc/systemd/system/multi-user.target.wants/boardcast.service";

pub(super) fn check(look: &Look, machine: &Machine) -> Vec<Finding> {
    let port = machine.port;
    let listeners: Vec<_> = ["proc/net/tcp", "proc/net/tcp6"]
        .into_iter()
        .flat_map(|table| parse(&look.text(table).unwrap_or_default(), port))
        .collect();
    // One that listens everywhere answers on loopback.
    let reached = |ip: IpAddr| match ip {
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    let mut places = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
    places.extend(listeners.iter().map(|(ip, _)| reached(*ip)));
    places.dedup();
    let answers = places.into_iter().map(|ip| SocketAddr::new(ip, port));
    let answer = answers
        .map(|place| (place, (machine.knock)(place)))
        .find(|(_, answer)| *answer != Knock::Nobody);
    vec![match answer {
        Some((place, Knock::Boardcast(device))) => {
            Finding::ok(format!("the server of {device} runs: http://{place}/"))
        }
        Some((place, Knock::Secure)) => {
            Finding::ok(format!("a server runs, with TLS: https://{place}/"))
        }
        None if listeners.is_empty() => nobody(look, port),
        _ => {
            let inodes: Vec<_> = listeners.into_iter().map(|(_, inode)| inode).collect();
            let who = owner(look, &inodes).unwrap_or_else(|| "another program".into());
            Finding::warn(format!("port {port} is taken by {who}")).mend(format!(
                "end it, or let boardcast listen elsewhere: --listen 0.0.0.0:{}",
                port.checked_add(1).unwrap_or(8642)
            ))
        }
    }]
}

fn nobody(look: &Look, port: u16) -> Finding {
    if look.exists(ENABLED) {
        return Finding::warn(format!("the service is to run, but nobody listens at port {port}"))
            .mend("sudo systemctl restart boardcast; journalctl -u boardcast says why it ended");
    }
    let start =
        if look.exists(UNIT) { "sudo systemctl enable --now boardcast" } else { "boardcast" };
    Finding::note(format!("no server runs at port {port}, which is free")).mend(start)
}

/// Address and inode of all sockets that listen at a port.
fn parse(table: &str, port: u16) -> Vec<(IpAddr, String)> {
    let listener = |line: &str| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let (ip, at) = fields.get(1)?.split_once(':')?;
        let listens = *fields.get(3)? == "0A" && u16::from_str_radix(at, 16).ok()? == port;
        let inode = (*fields.get(9)?).to_owned();
        Some((address(ip)?, inode)).filter(|_| listens)
    };
    table.lines().skip(1).filter_map(listener).collect()
}

fn address(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for word in hex.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

/// The program that has one of these sockets, where its descriptors may be
/// seen: those of one's own programs, and all as root.
fn owner(look: &Look, inodes: &[String]) -> Option<String> {
    let sockets: Vec<_> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let mut processes = look.list("proc");
    processes.retain(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let owner = processes.into_iter().find(|pid| {
        look.list(&format!("proc/{pid}/fd")).iter().any(|fd| {
            look.link(&format!("proc/{pid}/fd/{fd}")).is_some_and(|to| sockets.contains(&to))
        })
    })?;
    let name = look.line(&format!("proc/{owner}/comm")).unwrap_or_else(|| "a program".into());
    Some(format!("{name} (process {owner})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_listen_are_found_with_their_address() {
        let one = u32::from_ne_bytes([127, 0, 0, 1]);
        let table = format!(
            "  sl  local_address rem_address   st …\n   \
             0: {one:08X}:21C2 00000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 31337 1 0\n   \
             1: 00000000:21C2 00000000:0000 01 00000000:00000000 00:00000000 00000000 1000 0 4 1 0\n   \
             2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 5 1 0\n   \
             3: 00000000000000000000000000000000:21C2 0:0 0A 0:0 0:0 0 1000 0 6 1 0\n   \
             x\n   4: zz:21C2 0 0A 0 0 0 0 0 7\n"
        );
        let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        let local = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(parse(&table, 8642), [(local, "31337".into()), (any, "6".into())]);
        assert_eq!(parse("", 8642), []);
    }
}
