//! Datagrams of lines. There is nobody to answer: a datagram's sender is only
//! what it says.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
    time::Instant,
};

use super::{DATAGRAM, Pace, bell::Input};
use crate::{
    error::{Error, Result},
    net::Networks,
    sources::Intake,
    wire::line::BadLine,
};

/// Datagrams that are read before what they say may be published.
const AT_ONCE: usize = 256;

/// The socket, bound; [`start`](Self::start) takes readings.
#[derive(Debug)]
pub struct UdpInput {
    socket: UdpSocket,
    address: SocketAddr,
}

impl UdpInput {
    /// Binds it.
    ///
    /// # Errors
    /// [`Error::Io`] when the address cannot be had.
    pub fn bind(address: SocketAddr) -> Result<Self> {
        let bound = UdpSocket::bind(address)
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
            .and_then(|socket| Ok(Self { address: socket.local_addr()?, socket }));
        bound.map_err(|error| Error::io(format!("take readings at udp {address}"), error))
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes the lines of datagrams that come from these networks.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(self, intake: Intake, networks: Networks) -> io::Result<Input> {
        let socket = self.socket;
        let mut pace = Pace::new(intake.clone());
        Input::start("bc-udp", 1, move |bell| {
            let (mut ready, mut buffer) = (Vec::new(), vec![0; DATAGRAM]);
            while bell.wait(&[socket.as_fd()], pace.settle(), &mut ready) {
                if ready[0] {
                    take_waiting(&socket, &intake, &networks, &mut buffer);
                    pace.note();
                }
            }
            pace.finish();
        })
    }
}

fn take_waiting(socket: &UdpSocket, intake: &Intake, networks: &Networks, buffer: &mut [u8]) {
    let now = Instant::now();
    let mut turn = intake.turn();
    for _ in 0..AT_ONCE {
        match socket.recv_from(buffer) {
            Ok((_, peer)) if !networks.contains(peer.ip(), now) => {
                turn.refuse(&BadLine::new(&format!(
                    "{} is not in a network that this board serves; see --allow",
                    peer.ip()
                )));
            }
            Ok((length, _)) => {
                for line in buffer[..length].split(|&byte| byte == b'\n') {
                    if !line.is_empty() {
                        let _ = turn.line(line);
                    }
                }
            }
            // Whatever else it is (an ICMP message, say): poll(2) asks again.
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
            Err(_) => {}
        }
    }
}
