//! Where a connection of ours begins: the addresses of a name, TLS on a socket.

use std::{
    io,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    path::PathBuf,
    time::{Duration, Instant},
};

use super::socket::Socket;
#[cfg(not(feature = "tls"))]
use crate::error::Error;
use crate::error::Result;

/// More addresses of a name than these are not tried.
const ADDRESSES: usize = 8;

/// Connects to the first address of a name that answers.
pub(super) fn connect(name: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let addresses: Vec<SocketAddr> = (name, port).to_socket_addrs()?.take(ADDRESSES).collect();
    for (number, address) in addresses.iter().enumerate() {
        // Each gets its share of what is left, the last all of it.
        let shares = u32::try_from(addresses.len() - number).unwrap_or(1);
        let time = deadline.saturating_duration_since(Instant::now()) / shares;
        match TcpStream::connect_timeout(address, time.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Puts a client's TLS on a socket; the handshake is part of what is sent and
/// received.
#[cfg(feature = "tls")]
pub(super) fn secure(socket: Socket, name: &str, authority: Option<&PathBuf>) -> Result<Socket> {
    Ok(socket.secured(super::tls::Session::to_server(name, authority)?))
}

/// Refuses; nobody who has read an address asks for it.
#[cfg(not(feature = "tls"))]
pub(super) fn secure(_: Socket, _: &str, _: Option<&PathBuf>) -> Result<Socket> {
    Err(Error::Setting(super::NO_TLS.into()))
}
