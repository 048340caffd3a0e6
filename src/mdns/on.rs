//! Announcing and asking, by the crate `mdns-sd`: a thread of its own
//! (`mDNS_daemon`), which joins the group of each interface on UDP port 5353,
//! beside an Avahi where there is one.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mdns_sd::{
    DaemonStatus, IfKind, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent,
    ServiceInfo,
};

use super::{Board, MOST, Notice, plain};
use crate::error::{Error, Result};

const BOARDS: &str = "_boardcast._tcp.local.";
/// The most addresses of one board.
const MOST_ADDRESSES: usize = 16;
/// A goodbye is sent at once; a thread that hangs is not waited for.
const GOODBYE: Duration = Duration::from_millis(300);

/// A board that is announced, until this is dropped.
pub(crate) struct Announced {
    daemon: ServiceDaemon,
    names: Vec<String>,
}

impl std::fmt::Debug for Announced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Announced").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Announced {
    pub(super) fn start(notice: &Notice<'_>) -> Result<Self> {
        let fail = |error: mdns_sd::Error| Error::io("announce by mDNS", io::Error::other(error));
        // A label of DNS has 63 bytes (RFC 6763 section 4.1.1).
        let mut name = notice.device.to_owned();
        while name.len() > 60 {
            name.pop();
        }
        let host = format!("{}.local.", notice.host.split('.').next().unwrap_or_default());
        let port = notice.listening.first().map_or(0, SocketAddr::port);
        let own: Vec<IpAddr> = notice
            .listening
            .iter()
            .filter(|address| address.port() == port)
            .map(SocketAddr::ip)
            .collect();
        let everywhere = own.iter().any(IpAddr::is_unspecified);
        let texts = [
            ("path", "/"),
            ("device", notice.device),
            ("version", env!("CARGO_PKG_VERSION")),
            ("tls", if notice.secure { "1" } else { "0" }),
        ];
        let web = if notice.secure { "_https._tcp.local." } else { "_http._tcp.local." };
        let daemon = ServiceDaemon::new().map_err(fail)?;
        if notice.reaches_out() {
            // Another machine's loopback is of no use to anyone.
            let own = vec![IfKind::LoopbackV4, IfKind::LoopbackV6];
            daemon.disable_interface(own).map_err(fail)?;
        }
        let mut announced = Self { daemon, names: Vec::new() };
        for kind in [web, BOARDS] {
            let addresses: &[IpAddr] = if everywhere { &[] } else { &own };
            let service = ServiceInfo::new(kind, &name, &host, addresses, port, &texts[..]);
            let service = service.map_err(fail)?;
            let service = if everywhere { service.enable_addr_auto() } else { service };
            announced.names.push(service.get_fullname().to_owned());
            // A name that another board has already gets a number behind it.
            announced.daemon.register(service).map_err(fail)?;
        }
        Ok(announced)
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let gone: Vec<_> =
            self.names.iter().filter_map(|name| self.daemon.unregister(name).ok()).collect();
        for receiver in gone {
            let _ = receiver.recv_timeout(GOODBYE);
        }
        end(&self.daemon);
    }
}

fn end(daemon: &ServiceDaemon) {
    let ended: Option<Receiver<DaemonStatus>> = daemon.shutdown().ok();
    if let Some(ended) = ended {
        let _ = ended.recv_timeout(GOODBYE);
    }
}

/// The boards that answer within this time.
pub(super) fn find(timeout: Duration) -> Result<Vec<Board>> {
    let fail = |error: mdns_sd::Error| Error::io("ask by mDNS", io::Error::other(error));
    let daemon = ServiceDaemon::new().map_err(fail)?;
    let answers = daemon.browse(BOARDS).map_err(fail)?;
    let deadline = Instant::now() + timeout;
    let mut boards = HashMap::new();
    while let Ok(event) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        match event {
            ServiceEvent::ServiceResolved(found) if boards.len() < MOST => {
                boards.insert(found.get_fullname().to_owned(), board(&found));
            }
            ServiceEvent::ServiceRemoved(_, name) => drop(boards.remove(&name)),
            _ => {}
        }
    }
    end(&daemon);
    Ok(boards.into_values().collect())
}

fn board(found: &ResolvedService) -> Board {
    let text = |key| plain(found.get_property_val_str(key).unwrap_or_default());
    let own = found.get_fullname().split("._boardcast.").next().unwrap_or_default();
    let name = Some(text("device")).filter(|name| !name.is_empty());
    let mut addresses: Vec<_> = found.get_addresses().iter().map(ScopedIp::to_ip_addr).collect();
    addresses.sort();
    addresses.dedup();
    addresses.truncate(MOST_ADDRESSES);
    Board {
        name: name.unwrap_or_else(|| plain(own)),
        host: plain(found.get_hostname().trim_end_matches('.')),
        addresses,
        port: found.get_port(),
        version: text("version"),
        secure: text("tls") == "1",
    }
}
