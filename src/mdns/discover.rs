//! `boardcast discover`: who answers on this network.

use std::{net::IpAddr, time::Instant};

use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent};

use super::{
    BOARDCAST, Discover,
    announce::failed,
    boards::{Found, show},
};
use crate::error::{Error, Result};

/// More would be no list for people; a flood of names costs no more than this.
const MOST: usize = 1024;

impl Discover {
    /// Asks, waits for as long as it may, and gives the list as text.
    ///
    /// # Errors
    /// [`Error::Io`] when multicast DNS cannot be spoken; [`Error::Setting`]
    /// when nobody has answered.
    pub fn run(&self) -> Result<String> {
        let until = Instant::now() + self.time;
        let daemon = ServiceDaemon::new().map_err(failed)?;
        let events = daemon.browse(BOARDCAST).map_err(failed)?;
        let mut boards: Vec<(String, Found)> = Vec::new();
        while let Ok(event) = events.recv_deadline(until) {
            let ServiceEvent::ServiceResolved(service) = event else { continue };
            let Some(found) = board(&service) else { continue };
            // What is known of one grows by its networks.
            boards.retain(|(name, _)| *name != service.fullname);
            if boards.len() < MOST {
                boards.push((service.fullname, found));
            }
        }
        if let Ok(ended) = daemon.shutdown() {
            let _ = ended.recv_timeout(std::time::Duration::from_millis(500));
        }
        if boards.is_empty() {
            return Err(Error::Setting(
                "no board answered; they announce themselves when they were built with mDNS \
                 (the packages are) and may be heard here: same network, UDP port 5353 open"
                    .into(),
            ));
        }
        Ok(show(boards.into_iter().map(|(_, found)| found).collect(), self.json))
    }
}

fn board(service: &ResolvedService) -> Option<Found> {
    let entry = |name: &str| service.get_property_val_str(name).unwrap_or_default();
    let addresses: Vec<IpAddr> =
        service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr).collect();
    let path = match entry("path") {
        "" => "/",
        path => path,
    };
    let url = Found::page(&addresses, service.port, entry("tls") == "1", path)?;
    let device = match entry("device") {
        "" => service.fullname.split('.').next().unwrap_or_default(),
        device => device,
    };
    Some(Found {
        device: device.into(),
        url,
        host: service.host.trim_end_matches('.').into(),
        version: entry("version").into(),
    })
}
