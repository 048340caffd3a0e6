//! One stream of lines: `sensor | boardcast serve --stdin`.

use std::{io, os::fd::AsFd};

use nix::{errno::Errno, unistd::read};

use super::{
    Pace, READ,
    bell::{Bell, Input},
    lines::Lines,
};
use crate::sources::{Intake, Turn};

/// Takes the lines of a stream until its end. Then its channels are gone, and
/// nothing else happens.
///
/// The stream is not made non-blocking: that would be so for every process
/// that shares it.
///
/// # Errors
/// When the system refuses a thread.
pub fn stdin(intake: Intake, stream: impl AsFd + Send + 'static) -> io::Result<Input> {
    Input::start("bc-stdin", 0, move |bell| {
        let ended = take_all(&intake, stream, bell);
        // Its channels are gone with the last handle.
        drop(intake);
        if ended {
            // The thread stays, so that it can be asked whether it turns.
            while bell.wait(&[], None, &mut Vec::new()) {}
        }
    })
}

/// Whether the stream ended, and not the server.
fn take_all(intake: &Intake, stream: impl AsFd, bell: &Bell) -> bool {
    let mut pace = Pace::new(intake.clone());
    let (mut lines, mut ready, mut buffer) = (Lines::default(), Vec::new(), vec![0; READ]);
    let take = |turn: &mut Turn<'_>, line: &[u8]| drop(turn.line(line));
    loop {
        let rest = pace.settle();
        if !bell.wait(&[stream.as_fd()], rest, &mut ready) {
            pace.finish();
            return false;
        }
        if !ready[0] {
            continue;
        }
        let outcome = read(&stream, &mut buffer);
        let mut turn = intake.turn();
        match outcome {
            Ok(0) => lines.end(|line| take(&mut turn, line)),
            Ok(length) => {
                lines.feed(&buffer[..length], |line| match line {
                    Ok(line) => take(&mut turn, line),
                    Err(why) => turn.refuse(&why),
                });
                pace.note();
                continue;
            }
            Err(Errno::EINTR | Errno::EAGAIN) => continue,
            Err(errno) => log::warn!("{}: cannot be read: {errno}", intake.name()),
        }
        turn.publish();
        log::info!("{}: it has ended; its channels are gone, the server goes on", intake.name());
        return true;
    }
}
