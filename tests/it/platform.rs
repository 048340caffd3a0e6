//! What the program needs from the C library that is linked into it, and that
//! differs from one to the next.

use std::net::{IpAddr, ToSocketAddrs};

/// The addresses of a name, as std finds them.
fn resolve(name: &str) -> Vec<IpAddr> {
    let found = (name, 80).to_socket_addrs().unwrap_or_else(|error| panic!("{name}: {error}"));
    found.map(|address| address.ip()).collect()
}

/// There no library of the system can be loaded that would do it.
#[test]
fn names_are_resolved_in_a_static_program_too() {
    assert!(resolve("localhost").iter().any(IpAddr::is_loopback));
    let hosts = std::fs::read_to_string("/etc/hosts").expect("read");
    for line in hosts.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(IpAddr::V4(address))) = words.next().map(str::parse) else { continue };
        for name in words {
            let found = resolve(name);
            assert!(found.contains(&IpAddr::V4(address)), "{name} is {address}, found {found:?}");
        }
    }
}
