//! The program as a service: blocks signals, binds, gives up what it needs no
//! more, starts everything in order, says where to look, and waits.
//!
//! | file | what |
//! |---|---|
//! | `account` | the user that it becomes, when root started it |
//! | `helper` | the process that starts commands for it |
//! | `sandbox` | what it can still open from then on |
//! | `room`, `budget` | how much memory it may have, and who gives way |
//! | `greeting` | where to look, for people |
//! | `settings` | sources and what else is read anew |
//! | `hangup` | what SIGHUP means |
//! | `fleet` | the same for a server of many boards |

mod account;
mod budget;
mod fleet;
mod greeting;
mod hangup;
mod helper;
mod room;
mod sandbox;
mod settings;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

pub use self::fleet::fleet;
use self::{
    account::Account,
    greeting::{device_host, greet, host_name, pages, places},
    hangup::Terminal,
    helper::Helper,
    room::{Kind, Room},
    sandbox::Sandbox,
    settings::{InForce, Settings},
};
use crate::{
    app::App,
    config::{Config, PORT, Request, SocketPlace},
    error::{Error, Result},
    mdns::{Announced, Announcement},
    net::{self, Ended, Limits, Listeners, Tls},
    purse::Plan,
    service,
    sources::{
        Demo, Intake, Own, Sampler,
        configured::SourceSettings,
        found::{Found, MAX_THREADS, WallClock},
        inputs::{self, Input, UdpInput, UnixInput},
        vitals::Vitals,
    },
    telemetry::{Archive, Hub, HubSettings, Keeper},
    uplink::Uplink,
};

/// Rates need two looks at the board; the second one comes this soon, so that
/// all channels are there when the greeting counts them.
const SECOND_LOOK: Duration = Duration::from_millis(200);

/// For how long the end waits for the last write of history, after all
/// connections are closed (2.5 s at most): in all less than 5 s.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// For how long the helper is waited for, which has nothing left to end.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Serves with these settings until a signal stops it. SIGHUP reads anew what
/// was `asked` for.
///
/// It changes what the whole process may do, and forks: call it while there is
/// one thread, and for the rest of the process.
///
/// # Errors
/// What could not be set up, or which thread has died.
pub fn serve(mut config: Config, asked: Request) -> Result<Ended> {
    config.limits.validate()?;
    let terminal = Terminal::now();
    let account = Account::wanted(config.user.as_deref())?;
    // Before any thread starts: threads inherit the mask.
    let signals = block_signals()?;
    // Before anything is open that a command need not have.
    let helper = Helper::if_needed(&config, &asked, account.as_ref())?;
    // While it may be read: a key is often the administrator's alone; the
    // helper must not have it.
    let tls = config.tls()?.map(|(certificate, key)| Tls::load(certificate, key)).transpose()?;
    let listeners = listen(&config.listen)?;
    let listeners = match &tls {
        Some(tls) => listeners.secured(tls.clone()),
        None => listeners,
    };
    let udp = config.udp.map(UdpInput::bind).transpose()?;
    match account {
        Some(account) => account.become_theirs()?,
        None => account::tell_of_root(config.user.as_deref()),
    }
    // The user's own, who takes it away at the end.
    let socket = unix_socket(&config.socket)?;
    let sandbox = Sandbox::close(&config, &asked, socket.as_ref().map(UnixInput::path));

    let plan = fit_to_memory(&mut config);
    let device = config.name.clone().unwrap_or_else(host_name);
    let hub = Hub::new(HubSettings {
        device: device.clone(),
        max_channels: config.max_channels,
        ring_bytes: config.ring_bytes,
        history_bytes: config.history_bytes,
    });
    hub.set_rules(config.rules.clone());
    let app = App::new(hub.clone());
    app.plan(plan);
    app.at_stop(service::stopping);
    app.allow_frames(&config.gate.frames);
    let gate = config.gate.gate()?;
    let (inputs, ways_in) = take_readings(&config, udp, socket, &hub, &app)?;
    let taken = inputs.iter().map(Input::descriptors).sum::<usize>()
        + config.sources.iter().map(SourceSettings::descriptors).sum::<usize>()
        + config.uplink.descriptors();
    fit_to_process(&mut config.limits, taken);
    let engine = net::start(listeners, app.clone(), gate, config.limits.clone(), Some(signals))?;
    app.watch(&engine);

    // Before the first reading: what the file has goes before.
    let keeper = keep_history(&config, &hub)?;
    let mut sampler = Sampler::new(hub.clone(), config.interval);
    // First, so that slow sensors have answered by the second look.
    let found = Found::new(&config.root, &hub, config.interval);
    sampler.add(found.map_err(|error| Error::io("look for sensors", error))?);
    sampler.add(WallClock::new(hub.clone()));
    sampler.add(Vitals::new(&config.root));
    sampler.add(Own::new(&config.root, engine.stats().clone(), engine.occupancy()));
    sampler.tick(hub.clock().boot());
    thread::sleep(SECOND_LOOK.min(config.interval));
    sampler.tick(hub.clock().boot());
    let sampler = sampler.start().map_err(|error| Error::io("start the sampler", error))?;
    let mut pulses = engine.pulses();
    pulses.push(sampler.pulse());
    pulses.extend(inputs.iter().map(Input::pulse));
    let watchdog = service::watchdog(pulses)?;
    // No more signs of life are due once it stops.
    app.at_stop(move || drop(watchdog));
    app.at_stop(move || drop(inputs));
    app.keep(sampler);
    if config.demo {
        let demo = Demo::new(hub.clone())?.start();
        let demo = demo.map_err(|error| Error::io("start the simulated sensors", error))?;
        app.at_stop(move || drop(demo));
    }
    let hosts = places(device_host(), engine.addresses(), &net::own_addresses());
    let status = format!("the page is at {}", pages(&hosts, tls.is_some()).join(" "));
    let uplink = Arc::new(Uplink::new(&app, &hub));
    uplink.apply(&config.uplink)?;
    let settings = Settings::start(InForce {
        config: config.clone(),
        asked,
        hub: hub.clone(),
        app: app.clone(),
        gatekeeper: Box::new(engine.gatekeeper()),
        launcher: helper::launcher(&config, helper.as_ref()),
        uplink: uplink.clone(),
        sandbox,
        tls: tls.clone(),
        status: status.clone(),
    });
    let settings =
        settings.map_err(|error| Error::io("start the thread of the settings", error))?;
    app.at_stop(settings.stopper());
    if let Some(announcement) = announce(&config, &device, engine.addresses()) {
        app.at_stop(move || drop(announcement));
    }
    // Behind the last reading.
    app.at_stop(move || uplink.stop());
    app.at_hang_up(on_hang_up(terminal, settings.reloader(), engine.stopper()));
    if let Some(keeper) = &keeper {
        // Behind the last reading, and while the connections close.
        app.at_stop(keeper.stopper());
    }

    if log::log_enabled!(log::Level::Info) {
        let out = config.uplink.broker.as_ref().map(ToString::to_string);
        greet(&device, &hosts, tls.is_some(), &ways_in, out.as_deref(), &hub);
    }
    service::ready(&status);
    let ended = engine.join();
    let patience = if let Ok(Ended::Interrupted) = ended { Duration::ZERO } else { LAST_WRITE };
    let joined = Instant::now();
    if !settings.wait(patience) {
        log::warn!("a source does not stop; it is left behind");
    }
    let patience = patience.saturating_sub(joined.elapsed());
    if keeper.is_some_and(|keeper| !keeper.wait(patience)) {
        log::warn!(
            "the last minutes of history are not kept: the disk takes too long, or a fault came first"
        );
    }
    if let Some(helper) = helper {
        helper.end(patience.min(LAST_WORD));
    }
    ended
}

/// Reads the settings anew; or stops, when the program's terminal has gone.
fn on_hang_up(
    terminal: Terminal,
    reload: impl Fn() + Send + Sync,
    stop: impl Fn() + Send + Sync,
) -> impl Fn() + Send + Sync {
    move || {
        if terminal.has_gone() {
            log::info!("the terminal has gone: stopping");
            stop();
        } else {
            reload();
        }
    }
}

/// Takes what is pushed in; and says, for people, where that is.
fn take_readings(
    config: &Config,
    udp: Option<UdpInput>,
    socket: Option<UnixInput>,
    hub: &Hub,
    app: &App,
) -> Result<(Vec<Input>, Vec<String>)> {
    let (mut inputs, mut places) = (Vec::new(), Vec::new());
    let intake = |name: &str| {
        let intake = Intake::new(hub, name);
        app.count(&intake);
        intake
    };
    let started = |input: io::Result<Input>| {
        input.map_err(|error| Error::io("start the thread of an input", error))
    };
    if config.stdin {
        places.push("standard input".into());
        inputs.push(started(inputs::stdin(intake("stdin"), io::stdin()))?);
    }
    if let Some(socket) = socket {
        places.push(socket.path().display().to_string());
        let clients = config.socket_clients;
        inputs.push(started(socket.start(intake("socket"), clients))?);
    }
    if let Some(udp) = udp {
        places.push(format!("udp {}", udp.address()));
        inputs.push(started(udp.start(intake("udp"), config.gate.networks()))?);
    }
    // They are started later, and tell their troubles at their channels.
    let sources: Vec<_> = config.sources.iter().map(|source| source.name.as_str()).collect();
    if !sources.is_empty() {
        places.push(format!("sources {}", sources.join(", ")));
    }
    Ok((inputs, places))
}

/// The socket at its place; at a usual one it may be missing: who has not
/// asked for it can do without.
fn unix_socket(place: &SocketPlace) -> Result<Option<UnixInput>> {
    let places = match place {
        SocketPlace::None => return Ok(None),
        SocketPlace::At(path) => return UnixInput::bind(path).map(Some),
        SocketPlace::Usual => inputs::socket_places(std::env::var_os("XDG_RUNTIME_DIR").as_deref()),
    };
    for path in places {
        match UnixInput::bind(&path) {
            Ok(socket) => return Ok(Some(socket)),
            Err(error) => log::debug!("{error}"),
        }
    }
    log::debug!("readings are taken at no Unix socket; --socket PATH makes one");
    Ok(None)
}

fn keep_history(config: &Config, hub: &Hub) -> Result<Option<Keeper>> {
    let Some(path) = &config.history_file else { return Ok(None) };
    let archive = Archive::new(hub.clone(), path, &config.root)?;
    let keeper = Keeper::start(archive, config.history_every);
    keeper.map(Some).map_err(|error| Error::io("start the keeper of history", error))
}

/// The service manager's sockets, when it passed some, or our own.
fn listen(addresses: &[SocketAddr]) -> Result<Listeners> {
    let Some(passed) = service::listeners()? else { return bind(addresses) };
    if !addresses.is_empty() {
        log::warn!("--listen is not used: the service manager passed sockets that listen already");
    }
    Ok(passed)
}

fn bind(listen: &[SocketAddr]) -> Result<Listeners> {
    let bound = match listen {
        [] => Listeners::bind_all(PORT),
        addresses => Listeners::bind(addresses),
    };
    bound.map_err(|error| match error {
        Error::Io { doing, source } if source.kind() == io::ErrorKind::AddrInUse => {
            Error::Setting(format!(
                "cannot {doing}: another program has that port, perhaps another boardcast; \
                 stop it, or choose a port with --listen 0.0.0.0:{}",
                PORT + 1
            ))
        }
        Error::Io { doing, source } if source.kind() == io::ErrorKind::PermissionDenied => {
            Error::Setting(format!(
                "cannot {doing}: ports below 1024 are the administrator's; \
                 choose another with --listen 0.0.0.0:{PORT}"
            ))
        }
        error => error,
    })
}

/// SIGTERM, SIGINT and SIGHUP arrive through the descriptor alone.
fn block_signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask.add(Signal::SIGHUP);
    let descriptor = || {
        mask.thread_block()?;
        SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
    };
    descriptor().map_err(|errno: nix::Error| Error::io("wait for signals", errno.into()))
}

/// Raises the soft limit on descriptors, and serves no more connections than
/// the process may have descriptors for: clients must not take what the
/// readings need.
fn fit_to_process(limits: &mut Limits, inputs: usize) {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let own = own_descriptors(limits) + inputs as libc::rlim_t;
        // Each sensor's thread has a file open for a moment; where there are not
        // even enough for connections, few of them do so at once.
        let sensors = MAX_THREADS as libc::rlim_t;
        let wanted = (limits.connections as libc::rlim_t + own + sensors).min(hard);
        let raised = soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok();
        let open = if raised { wanted } else { soft };
        let affordable = usize::try_from(open.saturating_sub(own)).unwrap_or(usize::MAX);
        serve_fewer(limits, affordable, &format!("{open} descriptors"));
    }
}

/// Descriptors beside the connections': two a worker; standard streams,
/// listeners, the accept loop's own, refused peers, files that are being read.
fn own_descriptors(limits: &Limits) -> libc::rlim_t {
    2 * limits.workers as libc::rlim_t + 30
}

fn serve_fewer(limits: &mut Limits, affordable: usize, because: &str) {
    let affordable = affordable.max(2);
    if affordable >= limits.connections {
        return;
    }
    log::warn!(
        "the process may have {because}: serving {affordable} connections instead of {}",
        limits.connections
    );
    limits.reserved_for_http = limits.reserved_for_http.min(affordable / 8);
    limits.connections = affordable;
}

/// Tells the network of this board. Without that it is only harder to find.
fn announce(config: &Config, device: &str, listening: &[SocketAddr]) -> Option<Announcement> {
    let host = device_host()?;
    let announced = Announced {
        device,
        host: host.split('.').next().unwrap_or(&host),
        listening,
        secure: config.tls_cert.is_some(),
        base_path: &config.gate.base_path,
    };
    let started = if config.mdns { Announcement::start(&announced) } else { Ok(None) };
    started.unwrap_or_else(|error| {
        log::warn!("the network is not told of this board: {error}");
        None
    })
}

/// Makes everything fit into the memory that there is, before any of it is
/// taken: a failed allocation would end the program.
fn fit_to_memory(config: &mut Config) -> Plan {
    let mut rooms = room::find(&config.root);
    let by_hand = config.memory.map(|bytes| bytes as u64);
    rooms.extend(by_hand.map(|bytes| Room { kind: Kind::Used, bytes, by: "memory".into() }));
    if !rooms.is_empty() {
        crate::sys::keep_memory_together();
    }
    let (plan, lines) = budget::fit(config, &rooms, room::taken());
    for line in lines {
        log::warn!("{line}");
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_as_many_as_there_are_descriptors() {
        let mut fitted = Limits::default();
        serve_fewer(&mut fitted, 30, "70 descriptors");
        assert_eq!((fitted.connections, fitted.validate().is_ok()), (30, true));
        serve_fewer(&mut fitted, 0, "nothing");
        assert_eq!((fitted.connections, fitted.streams()), (2, 2));
    }
}
