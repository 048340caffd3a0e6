//! The service manager's side of the program: sd_notify(3), the watchdog of
//! sd_watchdog_enabled(3), and sockets that were opened for us,
//! sd_listen_fds(3). Without a manager that asks for it, nothing happens here.

use sd_notify::NotifyState;

use crate::{
    error::{Error, Result},
    net::Listeners,
    pulse::{Pulse, Watch},
    sys,
};

/// The listeners that the manager has opened, when it has (socket activation).
///
/// # Errors
/// [`Error::Setting`] when one of them is of no use here.
pub(crate) fn listeners() -> Result<Option<Listeners>> {
    let passed = sys::passed_descriptors()
        .map_err(|error| Error::io("take the service manager's sockets", error))?;
    if passed.is_empty() { Ok(None) } else { Listeners::adopt(passed).map(Some) }
}

/// Everything runs; `status` is one line for people.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The settings are read anew; [`ready`] says when that is done.
pub(crate) fn reloading() {
    let mut state = vec![NotifyState::Reloading];
    state.extend(NotifyState::monotonic_usec_now().ok());
    tell(&state);
}

/// The program has been told to end.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("closing connections")]);
}

/// Signs of life as often as the manager asks for them, for as long as these
/// threads turn. `None` when it asks for none.
///
/// # Errors
/// [`Error::Io`] when the system refuses a thread.
pub(crate) fn watchdog(pulses: Vec<Pulse>) -> Result<Option<Watch>> {
    let Some(limit) = sd_notify::watchdog_enabled() else { return Ok(None) };
    // sd_watchdog_enabled(3) recommends half of what is allowed.
    let watch = Watch::start(limit / 2, pulses, || tell(&[NotifyState::Watchdog]));
    watch.map(Some).map_err(|error| Error::io("start the watchdog", error))
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("cannot tell the service manager {}: {error}", state[0]);
    }
}
