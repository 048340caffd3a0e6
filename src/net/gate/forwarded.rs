//! Who asks when a reverse proxy speaks for them: `X-Forwarded-For`,
//! `X-Forwarded-Host`, `X-Forwarded-Proto`, from a proxy that is trusted. From
//! anybody else they count for nothing, but that whoever sends them is not
//! taken for a program on the board.

use std::net::{IpAddr, SocketAddr};

use super::network::{Network, any};
use crate::net::http::Request;

/// Header lines by which proxies say that they speak for someone.
const SIGNS: [&str; 6] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"];

/// The proxies that are believed.
#[derive(Clone, Debug, Default)]
pub struct Proxies(pub Vec<Network>);

/// Who asks, and how they reached the proxy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asker<'a> {
    pub(super) address: IpAddr,
    /// What they call the board.
    pub(super) host: Option<&'a str>,
    pub(super) secure: bool,
    /// Somebody speaks for them, or may.
    pub(super) proxied: bool,
}

impl Proxies {
    /// Whether what this peer says of others is believed.
    pub(in crate::net) fn trust(&self, address: IpAddr) -> bool {
        any(&self.0, address.to_canonical())
    }

    /// Who asks; `None` when a trusted proxy says it in a way that cannot be
    /// understood.
    pub(super) fn asker<'a>(&self, request: &'a Request) -> Option<Asker<'a>> {
        let peer = request.peer().ip().to_canonical();
        let host = request.header("host");
        let secure = request.is_secure();
        if !self.trust(peer) {
            let proxied = SIGNS.iter().any(|name| request.header_count(name) > 0);
            return Some(Asker { address: peer, host, secure, proxied });
        }
        let last = |name| request.header_list(name).last();
        Some(Asker {
            address: self.client(request, peer)?,
            host: last("x-forwarded-host").or(host),
            secure: last("x-forwarded-proto").map_or(secure, |it| it.eq_ignore_ascii_case("https")),
            proxied: true,
        })
    }

    /// Each proxy adds whom it heard: the last one that is no trusted proxy is
    /// the client, and what stands before may be anything.
    fn client(&self, request: &Request, peer: IpAddr) -> Option<IpAddr> {
        let list: Vec<_> = request.header_list("x-forwarded-for").collect();
        let mut client = peer;
        for entry in list.into_iter().rev() {
            client = address(entry)?;
            if !self.trust(client) {
                break;
            }
        }
        Some(client)
    }
}

/// `203.0.113.7`, `203.0.113.7:5678`, `2001:db8::7`, `[2001:db8::7]:5678`.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let socket = || entry.parse::<SocketAddr>().map(|address| address.ip());
    bare.parse().or_else(|_| socket()).ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::http::Parsed;

    fn asks(peer: &str, lines: &str) -> Option<(String, String, bool, bool)> {
        let proxies = Proxies(vec![
            "127.0.0.1".parse().expect("a network"),
            "10.9.0.0/16".parse().expect("a network"),
        ]);
        let head = format!("GET / HTTP/1.1\r\nHost: upstream\r\n{lines}\r\n");
        let peer = SocketAddr::new(peer.parse().expect("an address"), 9);
        let Ok(Parsed::Whole(request, _)) = Request::parse(head.as_bytes(), peer) else {
            panic!("{head}")
        };
        let asker = proxies.asker(&request)?;
        let host = asker.host.unwrap_or_default().to_owned();
        Some((asker.address.to_string(), host, asker.secure, asker.proxied))
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_nobody_else() {
        let said = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Host: pi.example\r\n\
                    X-Forwarded-Proto: https\r\n";
        let of = |address: &str, host: &str, secure, proxied| {
            Some((address.to_owned(), host.to_owned(), secure, proxied))
        };
        assert_eq!(asks("127.0.0.1", said), of("203.0.113.7", "pi.example", true, true));
        assert_eq!(asks("::ffff:10.9.1.1", said), of("203.0.113.7", "pi.example", true, true));
        assert_eq!(asks("192.168.1.9", said), of("192.168.1.9", "upstream", false, true));
        assert_eq!(asks("192.168.1.9", ""), of("192.168.1.9", "upstream", false, false));
        // A proxy that forgets to say whom it speaks for is not a program of the board.
        assert_eq!(asks("127.0.0.1", ""), of("127.0.0.1", "upstream", false, true));
    }

    #[test]
    fn what_the_client_itself_has_put_in_front_does_not_count() {
        for (said, client) in [
            ("X-Forwarded-For: 127.0.0.1, 203.0.113.7\r\n", Some("203.0.113.7")),
            ("X-Forwarded-For: evil, 203.0.113.7, 10.9.0.5\r\n", Some("203.0.113.7")),
            ("X-Forwarded-For: evil\r\nX-Forwarded-For: 203.0.113.7\r\n", Some("203.0.113.7")),
            ("X-Forwarded-For: [2001:db8::7]:5678\r\n", Some("2001:db8::7")),
            ("X-Forwarded-For: 203.0.113.7:5678\r\n", Some("203.0.113.7")),
            ("X-Forwarded-For: 10.9.0.5\r\n", Some("10.9.0.5")),
            ("X-Forwarded-For: 203.0.113.7, unknown\r\n", None),
        ] {
            let asked = asks("127.0.0.1", said).map(|(address, ..)| address);
            assert_eq!(asked.as_deref(), client, "{said}");
        }
    }
}
