//! What a board says to its network, until it stops.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};

use super::{Announced, BOARDCAST, HTTP};
use crate::error::{Error, Result};

/// The library's events are many, and none of them is ours to mend.
const GOODBYE: Duration = Duration::from_millis(500);

/// What is said to the network; dropping it says that the board goes.
pub struct Announcement {
    daemon: ServiceDaemon,
    names: Vec<String>,
}

impl std::fmt::Debug for Announcement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Announcement").field(&self.names).finish()
    }
}

impl Announcement {
    /// The stack of its thread, in bytes: the library takes the standard one.
    pub const STACK: u64 = 2 << 20;

    /// Says it, from a thread of the library, from now on; nothing to a
    /// loopback alone.
    ///
    /// # Errors
    /// [`Error::Io`] when there are no descriptors or threads left.
    pub fn start(announced: &Announced<'_>) -> Result<Option<Self>> {
        let Some(port) = announced.port() else { return Ok(None) };
        let daemon = ServiceDaemon::new().map_err(failed)?;
        // Nobody is there to hear of it.
        let loopback = vec![IfKind::LoopbackV4, IfKind::LoopbackV6];
        daemon.disable_interface(loopback).map_err(failed)?;
        let mut names = Vec::new();
        for service in [BOARDCAST, HTTP] {
            let info = announced.service(service, port).map_err(failed)?;
            names.push(info.get_fullname().to_owned());
            daemon.register(info).map_err(failed)?;
        }
        Ok(Some(Self { daemon, names }))
    }
}

impl Announced<'_> {
    fn service(&self, service: &str, port: u16) -> mdns_sd::Result<ServiceInfo> {
        let path = format!("{}/", self.base_path);
        let properties = [
            ("path", path.as_str()),
            ("device", self.device),
            ("version", env!("CARGO_PKG_VERSION")),
            ("tls", if self.secure { "1" } else { "0" }),
        ];
        let host = format!("{}.local.", self.host);
        // A label has 63 bytes (RFC 6763 section 4.1.1).
        let end = (0..=63).rev().find(|&end| self.device.is_char_boundary(end));
        let name = self.device.get(..end.unwrap_or_default()).unwrap_or(self.device);
        let new = |addresses: &[IpAddr]| {
            ServiceInfo::new(service, name, &host, addresses, port, &properties[..])
        };
        let named: Vec<_> = self.listening.iter().map(SocketAddr::ip).collect();
        if named.iter().any(IpAddr::is_unspecified) {
            return Ok(new(&[])?.enable_addr_auto());
        }
        let reachable: Vec<_> = named.into_iter().filter(|ip| !ip.is_loopback()).collect();
        let mut info = new(&reachable)?;
        info.set_interfaces(reachable.into_iter().map(IfKind::Addr).collect());
        Ok(info)
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        let until = Instant::now() + GOODBYE;
        let asked: Vec<_> =
            self.names.iter().filter_map(|name| self.daemon.unregister(name).ok()).collect();
        for answer in asked {
            let _ = answer.recv_deadline(until);
        }
        if let Ok(ended) = self.daemon.shutdown() {
            let _ = ended.recv_deadline(until);
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn failed(error: mdns_sd::Error) -> Error {
    Error::io("speak multicast DNS", std::io::Error::other(error.to_string()))
}
