//! A TCP server that sends lines: a serial port server, a GPS daemon, a meter.
//!
//! When the server ends the connection, or is not there, it is tried again. A
//! line that it was cut short in is no reading: half a number is a number, too.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt};

use super::feed::{End, Feed};
use crate::{
    backoff::{Backoff, jittered},
    sources::inputs::Bell,
};

/// How long each address of a name may take to answer.
const CONNECT: Duration = Duration::from_secs(10);
/// More addresses of a name than these are not tried.
const ADDRESSES: usize = 8;
/// The longest time from one try to the next.
const MOST: Duration = Duration::from_secs(60);
/// A peer that is gone without a word is noticed after a minute: 30 s of
/// silence, then three questions, 10 s apart (tcp(7)).
const IDLE: u32 = 30;

/// Reads the lines of a server until it is told to stop.
pub(super) fn run(address: &str, mut feed: Feed, bell: &Bell) {
    let mut backoff = Backoff::new(MOST);
    loop {
        let begun = Instant::now();
        let why = match connect(address, bell) {
            Ok(stream) => {
                let end = feed.follow(&stream, bell);
                feed.discard();
                match end {
                    End::Stopped => return,
                    End::Over => "the server has ended the connection; it is tried again".into(),
                    End::Broken(errno) => {
                        format!("the connection broke ({}); it is tried again", errno.desc())
                    }
                }
            }
            Err(error) => reason(&error),
        };
        if bell.stopped() {
            return;
        }
        feed.fail(&format!("{address}: {why}"));
        let wait = jittered(backoff.after(begun.elapsed()));
        if !feed.sleep(Instant::now() + wait, bell) {
            return;
        }
    }
}

/// Connects to the first address of the name that answers.
fn connect(address: &str, bell: &Bell) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()?.take(ADDRESSES) {
        if bell.stopped() {
            break;
        }
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stay_alive(&stream)?;
                stream.set_nonblocking(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn stay_alive(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &IDLE)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &10)?;
    setsockopt(stream, sockopt::TcpKeepCount, &3)
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there; is its server running?".into(),
        io::ErrorKind::TimedOut => "no answer; is the host on, and the address right?".into(),
        _ => format!("cannot connect: {error}"),
    }
}
