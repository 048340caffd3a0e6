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

/// Takes the lines of datagrams that come from these networks. Returns where.
///
/// # Errors
/// [`Error::Io`] when the address cannot be had, or a thread.
pub fn udp(intake: Intake, address: SocketAddr, networks: Networks) -> Result<(Input, SocketAddr)> {
    let bound = UdpSocket::bind(address)
        .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
        .and_then(|socket| Ok((socket.local_addr()?, socket)));
    let (address, socket) =
        bound.map_err(|error| Error::io(format!("take readings at udp {address}"), error))?;
    let mut pace = Pace::new(intake.clone());
    let input = Input::start("bc-udp", 1, move |bell| {
        let (mut ready, mut buffer) = (Vec::new(), vec![0; DATAGRAM]);
        while bell.wait(&[socket.as_fd()], pace.settle(), &mut ready) {
            if ready[0] {
                take_waiting(&socket, &intake, &networks, &mut buffer);
                pace.note();
            }
        }
        pace.finish();
    });
    let input = input.map_err(|error| Error::io("start the UDP input", error))?;
    Ok((input, address))
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
