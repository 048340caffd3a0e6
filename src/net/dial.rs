//! How a connection of ours begins: an address, a socket, the opening
//! handshake; all of it before one absolute deadline.

use std::{
    io::{self, IoSlice},
    os::fd::AsFd,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use http::Uri;
use nix::poll::{PollFd, PollFlags};
use tungstenite::handshake::client::generate_key;

use super::{
    dialed::{Bounds, Dialed, Reader, wait},
    handshake::{Agreed, Ask},
    reach::{connect, secure},
    socket::Socket,
};
use crate::error::{Error, Result};

/// The longest head of an answer, in bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// Where a URL leads (RFC 6455 section 3).
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The URL as it is shown: absolute, with a path.
    pub(crate) url: String,
    /// The `Host` header: the port is there when it is not the usual one.
    host: String,
    pub(crate) name: String,
    pub(crate) port: u16,
    path: String,
    pub(crate) secure: bool,
}

/// What the program wants of the handshake.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// Subprotocols, the dearest first.
    pub(crate) protocols: Vec<String>,
    /// Further header lines.
    pub(crate) headers: Vec<(String, String)>,
    /// Whether compressed messages are offered.
    pub(crate) deflate: bool,
    /// A file of certificates to trust in place of the system's.
    pub(crate) authorities: Option<PathBuf>,
}

impl Target {
    /// Reads `ws://host[:port][/path][?query]`.
    ///
    /// # Errors
    /// [`Error::Url`] says what to write instead.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refuse =
            |why: &str| Err(Error::Url(format!("{text:?} is no address of a WebSocket: {why}")));
        if text.contains('#') {
            return refuse("leave out the part behind #");
        }
        let Ok(uri) = text.trim().parse::<Uri>() else {
            return refuse("write it as in ws://raspberrypi.local:8642/ws");
        };
        let secure = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("ws" | "http") => false,
            Some("wss" | "https") if cfg!(feature = "tls") => true,
            Some("wss" | "https") => {
                return refuse("this build has no TLS (the feature `tls`); use ws://");
            }
            Some(_) => return refuse("it begins with ws://"),
            None => return refuse("it begins with ws://, as in ws://raspberrypi.local:8642/ws"),
        };
        let (scheme, usual) = if secure { ("wss", 443) } else { ("ws", 80) };
        let Some(authority) = uri.authority().filter(|part| !part.host().is_empty()) else {
            return refuse("it names no host");
        };
        if authority.as_str().contains('@') {
            return refuse("a name and a password go into a header, not into the address");
        }
        let port = match authority.port() {
            None if authority.as_str().ends_with(':') => usual,
            None if authority.as_str().len() > authority.host().len() => {
                return refuse("its port is no number from 1 to 65535");
            }
            None => usual,
            Some(port) => port.as_u16(),
        };
        let name = authority.host().to_ascii_lowercase();
        let host = if port == usual { name.clone() } else { format!("{name}:{port}") };
        let path = uri.path_and_query().map_or_else(|| "/".into(), ToString::to_string);
        let url = format!("{scheme}://{host}{path}");
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { url, host, name, port, path, secure })
    }
}

/// Opens a WebSocket, or fails within `time`.
///
/// # Errors
/// [`Error::Io`] when there is nobody, or nobody answers in time (its kind is
/// `TimedOut` then); [`Error::Handshake`] when the answer is no agreement.
pub(crate) fn dial(
    target: &Target,
    wishes: &Wishes,
    time: Duration,
    bounds: Bounds,
) -> Result<(Arc<Dialed>, Reader)> {
    let deadline = Instant::now() + time;
    let failed = |error| Error::io(format!("connect to {}", target.url), error);
    let stream = connect(&target.name, target.port, deadline).map_err(failed)?;
    let peer = stream.peer_addr().map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let mut socket = Socket::from(stream);
    if target.secure {
        socket = secure(socket, &target.name, wishes.authorities.as_ref())?;
    }
    let Wishes { protocols, headers, deflate, .. } = wishes;
    let (host, path) = (&target.host, &target.path);
    let ask = Ask { host, path, protocols, deflate: *deflate, headers };
    let key = generate_key();
    // An empty socket takes a head at once, and TLS keeps it until it may go.
    let head = ask.head(&key);
    let sent = socket.try_send(&[IoSlice::new(head.as_bytes())]).map_err(failed)?;
    if sent < head.len() {
        return Err(Error::Setting("the headers of the handshake are too long".into()));
    }
    let (agreed, rest) =
        read_answer(&socket, &ask, &key, deadline).map_err(|error| match error {
            Error::Io { source, .. } => failed(source),
            error => error,
        })?;
    Dialed::start(socket, peer, target.url.clone(), agreed, bounds, rest)
}

/// The agreement, and what came behind it.
fn read_answer(
    socket: &Socket,
    ask: &Ask<'_>,
    key: &str,
    deadline: Instant,
) -> Result<(Agreed, Vec<u8>)> {
    let mut read = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        if let Some((agreed, length)) = ask.take(key, &read)? {
            read.drain(..length);
            return Ok((agreed, read));
        }
        if read.len() > HEAD_BYTES {
            let why = "the head of its answer is longer than 16 KiB".into();
            return Err(Error::Handshake { status: 0, why });
        }
        match socket.try_receive(&mut buffer) {
            Ok(Some(0)) => {
                let why = "it ended the connection before it had answered";
                return Err(Error::io("", io::Error::new(io::ErrorKind::UnexpectedEof, why)));
            }
            Ok(Some(length)) => read.extend_from_slice(&buffer[..length]),
            Ok(None) if deadline <= Instant::now() => {
                let why = "no answer in time; is a WebSocket server listening there?";
                return Err(Error::io("", io::Error::new(io::ErrorKind::TimedOut, why)));
            }
            Ok(None) => {
                let (_, all) = socket.flush().map_err(|error| Error::io("", error))?;
                let room = if all { PollFlags::empty() } else { PollFlags::POLLOUT };
                let mut wanted = [PollFd::new(socket.as_fd(), PollFlags::POLLIN | room)];
                wait(&mut wanted, Some(deadline)).map_err(|error| Error::io("", error))?;
            }
            Err(error) => return Err(Error::io("", error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_a_host_a_port_and_a_path() {
        let target = |text| Target::parse(text).expect(text);
        let plain = target("ws://Pi.local");
        assert_eq!((plain.url.as_str(), plain.port), ("ws://pi.local/", 80));
        let whole = target("ws://10.0.0.7:8642/ws?channels=cpu/%23");
        assert_eq!(whole.host, "10.0.0.7:8642");
        assert_eq!((whole.port, whole.path.as_str()), (8642, "/ws?channels=cpu/%23"));
        assert_eq!(target("http://pi:80/").url, "ws://pi/");
        #[cfg(feature = "tls")]
        assert_eq!(target("https://pi").url, "wss://pi/");
        assert_eq!(target("ws://pi:8642?channels=cpu").url, "ws://pi:8642/?channels=cpu");
        assert_eq!(target("ws://[::1]:9/").name, "::1");
        assert_eq!(target("ws://[::1]:9/").host, "[::1]:9");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_mend() {
        for (text, mend) in [
            ("", "as in"),
            ("raspberrypi.local", "ws://"),
            ("/ws", "ws://"),
            ("ftp://pi/", "begins with ws://"),
            #[cfg(not(feature = "tls"))]
            ("wss://pi/", "TLS"),
            ("ws://", "as in"),
            ("ws://pi/#top", "behind #"),
            ("ws://me:secret@pi/", "header"),
            ("ws://pi:99999/", "port"),
            ("ws://a b/", "as in"),
        ] {
            let error = Target::parse(text).expect_err(text);
            assert!(matches!(error, Error::Url(_)));
            assert!(error.to_string().contains(mend), "{text}: {error}");
        }
    }
}
