//! A serial port: opened when it is there, and again when it comes back.
//!
//! A line of which the beginning or the end is missing is no reading: `1.5` of
//! `21.5` would be one. A port that was silent just after it was opened begins
//! with a whole line; else the first one is left out.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{errno::Errno, libc};

use super::{
    Framing, Parity,
    feed::{End, Feed},
};
use crate::{backoff::Backoff, sources::inputs::Bell, sys};

/// The longest time from one try to open it to the next: who plugs it in looks
/// at the page.
const MOST: Duration = Duration::from_secs(8);
/// Silence of this length stands between lines, not within one, at 300 Bd too.
const SILENCE: Duration = Duration::from_millis(100);

/// A port as the settings have it.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) path: PathBuf,
    pub(super) baud: u32,
    pub(super) framing: Framing,
}

/// Reads the lines of a port until it is told to stop.
pub(super) fn run(port: &Port, mut feed: Feed, bell: &Bell) {
    let mut backoff = Backoff::new(MOST);
    loop {
        let begun = Instant::now();
        let why = match port.open() {
            Ok(line) => {
                let end = listen(&line, &mut feed, bell);
                feed.discard();
                match end {
                    End::Stopped => return,
                    End::Over | End::Broken(Errno::EIO | Errno::ENXIO | Errno::ENODEV) => {
                        "it is gone: was it unplugged?".to_owned()
                    }
                    End::Broken(errno) => errno.desc().to_owned(),
                }
            }
            Err(error) => reason(&error),
        };
        feed.fail(&format!("{}: {why}", port.path.display()));
        if !feed.sleep(Instant::now() + backoff.after(begun.elapsed()), bell) {
            return;
        }
    }
}

/// Takes the lines of an open port until it ends.
fn listen(line: &File, feed: &mut Feed, bell: &Bell) -> End {
    let mut ready = Vec::new();
    if !bell.wait(&[line.as_fd()], Some(SILENCE), &mut ready) {
        return End::Stopped;
    }
    if ready[0] {
        feed.skip_line();
    }
    feed.follow(line, bell)
}

impl Port {
    /// Opens and sets the port. Nothing of that waits for a carrier.
    fn open(&self) -> io::Result<File> {
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
        let line =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(&self.path)?;
        sys::set_serial_line(line.as_fd(), self.baud, self.framing.flags())?;
        sys::take_terminal(line.as_fd())?;
        Ok(line)
    }
}

impl Framing {
    /// Its bits of `c_cflag` (termios(3)).
    fn flags(self) -> u32 {
        let size = match self.data_bits {
            5 => libc::CS5,
            6 => libc::CS6,
            7 => libc::CS7,
            _ => libc::CS8,
        };
        let parity = match self.parity {
            Parity::None => 0,
            Parity::Odd => libc::PARENB | libc::PARODD,
            Parity::Even => libc::PARENB,
        };
        size | parity | if self.stop_bits == 2 { libc::CSTOPB } else { 0 }
    }
}

fn reason(error: &io::Error) -> String {
    let what = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENXIO | Errno::ENODEV) => "no such device: is it plugged in?",
        Some(Errno::EACCES | Errno::EPERM) => {
            "permission denied: add the program's user to the group dialout"
        }
        Some(Errno::EBUSY) => "in use by another program: stop that one, or take another port",
        Some(Errno::ENOTTY) => "this is no serial port: write its device file, as in /dev/ttyUSB0",
        Some(Errno::EINVAL) => "the port cannot do this speed or framing",
        _ => return error.to_string(),
    };
    what.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framings_are_the_flags_of_termios() {
        let framing = |data_bits, parity, stop_bits| Framing { data_bits, parity, stop_bits };
        assert_eq!(framing(8, Parity::None, 1).flags(), libc::CS8);
        let odd = libc::CS7 | libc::PARENB | libc::PARODD | libc::CSTOPB;
        assert_eq!(framing(7, Parity::Odd, 2).flags(), odd);
        assert_eq!(framing(5, Parity::Even, 1).flags(), libc::CS5 | libc::PARENB);
    }

    #[test]
    fn what_is_no_port_is_told_with_what_to_do() {
        let framing = Framing { data_bits: 8, parity: Parity::None, stop_bits: 1 };
        let mut list = vec![("/none", "plugged in?")];
        // QEMU does not know TCGETS2.
        if std::env::var_os("TEST_RUNNER").is_none() {
            list.push(("/dev/null", "no serial port"));
        }
        for (path, hint) in list {
            let port = Port { path: path.into(), baud: 9600, framing };
            let why = reason(&port.open().expect_err("no port"));
            assert!(why.contains(hint), "{path}: {why}");
        }
        assert!(reason(&Errno::EACCES.into()).contains("dialout"));
    }
}
