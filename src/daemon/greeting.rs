//! Where to point the browser: what the program says at its start.

use std::{
    io::{self, Write},
    net::{IpAddr, SocketAddr},
};

use nix::unistd::gethostname;

use crate::telemetry::Hub;

/// The host's name, or the program's where it has none.
pub(super) fn host_name() -> String {
    let name = gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "boardcast".into())
}

/// Where to point the browser. A reader that has gone is no fault of ours.
pub(super) fn greet(
    device: &str,
    hosts: &[String],
    secure: bool,
    ways_in: &[String],
    out: Option<&str>,
    hub: &Hub,
) {
    let view = hub.view();
    let mut sources: Vec<(&str, usize)> = Vec::new();
    for state in view.channels() {
        match sources.iter_mut().find(|(name, _)| *name == &*state.source) {
            Some((_, count)) => *count += 1,
            None => sources.push((&state.source, 1)),
        }
    }
    let sources: Vec<String> = sources.iter().map(|(name, n)| format!("{name} ({n})")).collect();
    let mut text = format!("boardcast {} on {device}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |label: &str, value: &str| text += &format!("  {label:<9} {value}\n");
    for (number, page) in pages(hosts, secure).iter().enumerate() {
        line(if number == 0 { "page" } else { "" }, page);
    }
    if let Some(host) = hosts.first() {
        let scheme = if secure { "wss" } else { "ws" };
        line("stream", &format!("{scheme}://{host}/ws"));
    }
    for (number, way) in ways_in.iter().enumerate() {
        line(if number == 0 { "readings" } else { "" }, way);
    }
    if let Some(broker) = out {
        // Whether it is there, the log tells.
        line("mqtt", broker);
    }
    // The last line, always: whoever starts the program may wait for it.
    let known = match view.channels().len() {
        0 => "none yet".into(),
        count => format!("{count} from {}", sources.join(", ")),
    };
    line("channels", &known);
    drop(view);
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The page's address at each of these hosts.
pub(super) fn pages(hosts: &[String], secure: bool) -> Vec<String> {
    let scheme = if secure { "https" } else { "http" };
    hosts.iter().map(|host| format!("{scheme}://{host}/")).collect()
}

/// The host's own name, when it has one that others may know it by.
pub(super) fn device_host() -> Option<String> {
    let name = host_name();
    (name != "localhost" && name != "boardcast").then_some(name)
}

/// `host:port` of every place where the page is, the best first.
pub(super) fn places(
    name: Option<String>,
    listening: &[SocketAddr],
    own: &[IpAddr],
) -> Vec<String> {
    /// More than that is noise (containers have dozens).
    const MOST: usize = 5;
    let mut places = Vec::new();
    let mut add = |place: String| {
        if !places.contains(&place) && places.len() < MOST {
            places.push(place);
        }
    };
    for address in listening.iter().filter(|address| !address.ip().is_unspecified()) {
        add(address.to_string());
    }
    let open: Vec<_> = listening.iter().filter(|address| address.ip().is_unspecified()).collect();
    if let (Some(name), Some(address)) = (name, open.first()) {
        add(format!("{name}:{}", address.port()));
    }
    for address in &open {
        for ip in own.iter().filter(|ip| ip.is_ipv4() == address.is_ipv4()) {
            add(SocketAddr::new(*ip, address.port()).to_string());
        }
    }
    if let Some(address) = open.first() {
        add(format!("127.0.0.1:{}", address.port()));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn the_greeting_names_places_that_a_browser_can_open() {
        let own = ["192.168.1.20", "fd00::20"].map(|text| text.parse().expect("an address"));
        assert_eq!(
            places(Some("pi".into()), &addresses(&["0.0.0.0:8642", "[::]:8642"]), &own),
            ["pi:8642", "192.168.1.20:8642", "[fd00::20]:8642", "127.0.0.1:8642"]
        );
        assert_eq!(places(Some("pi".into()), &addresses(&["127.0.0.1:9"]), &own), ["127.0.0.1:9"]);
    }
}
