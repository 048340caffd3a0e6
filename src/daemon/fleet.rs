//! The server of many boards as a service: as [`serve`](super::serve), without
//! sensors, inputs and sources.

use std::{io, sync::Arc, time::Duration};

use super::{
    Account, InForce, Sandbox, Settings, Terminal, account, block_signals, fit_to_memory,
    fit_to_process, greeting, helper, listen, on_hang_up,
};
use crate::{
    app::App,
    config::{Config, Request, SocketPlace},
    error::{Error, Result},
    fleet::{BoardPlace, Fleet, Link, Links},
    net::{self, Ended, Tls},
    service,
    telemetry::{Hub, HubSettings, Rules},
    token,
    uplink::Uplink,
};

/// Serves a fleet with these settings until a signal stops it.
///
/// It changes what the whole process may do: call it while there is one thread,
/// and for the rest of the process.
///
/// # Errors
/// What could not be set up, or which thread has died.
pub fn fleet(mut config: Config, asked: Request) -> Result<Ended> {
    settle(&mut config)?;
    config.limits.validate()?;
    let bounds = config.fleet.bounds()?;
    let terminal = Terminal::now();
    let account = Account::wanted(config.user.as_deref())?;
    // Before any thread starts: threads inherit the mask.
    let signals = block_signals()?;
    // While they may be read.
    let tls = config.tls()?.map(|(certificate, key)| Tls::load(certificate, key)).transpose()?;
    let links = links(&config)?;
    let listeners = listen(&config.listen)?;
    let listeners = match &tls {
        Some(tls) => listeners.secured(tls.clone()),
        None => listeners,
    };
    match account {
        Some(account) => account.become_theirs()?,
        None => account::tell_of_root(config.user.as_deref()),
    }
    let sandbox = Sandbox::close(&config, &asked, None);

    let plan = fit_to_memory(&mut config);
    let device = config.name.clone().unwrap_or_else(greeting::host_name);
    let settings = HubSettings {
        device: device.clone(),
        max_channels: config.max_channels,
        ring_bytes: config.ring_bytes,
        history_bytes: config.history_bytes,
    };
    let hub = Hub::fleet(settings, bounds);
    let fleet = Fleet::new(hub.clone(), &config.fleet);
    let app = App::new(hub.clone());
    app.plan(plan);
    app.measure({
        let fleet = fleet.clone();
        move |page| fleet.describe(page)
    });
    app.at_stop(service::stopping);
    app.allow_frames(&config.gate.frames);
    let gate = config.gate.gate()?;
    // A link has a socket and a bell.
    let taken = 2 * links.len() + config.uplink.descriptors();
    fit_to_process(&mut config.limits, taken);
    let engine = net::start(listeners, app.clone(), gate, config.limits.clone(), Some(signals))?;
    app.watch(&engine);

    let started = |what: &str, error: io::Error| Error::io(format!("start {what}"), error);
    let ways_in: Vec<_> = links.iter().map(|link| link.place.to_string()).collect();
    let watch = fleet.start().map_err(|error| started("the thread of the fleet", error))?;
    let links = Links::start(&fleet, links).map_err(|error| started("a board's thread", error))?;
    let from = std::mem::take(&mut config.uplink);
    let ear = fleet.listen(&from, &device)?;
    let watchdog = service::watchdog(engine.pulses())?;
    // No more signs of life are due once it stops.
    app.at_stop(move || drop(watchdog));
    app.at_stop(move || drop(links));
    app.at_stop(move || drop(ear));
    app.at_stop(move || drop(watch));
    let own = net::own_addresses();
    let hosts = greeting::places(greeting::device_host(), engine.addresses(), &own);
    let status = format!("the page is at {}", greeting::pages(&hosts, tls.is_some()).join(" "));
    let settings = Settings::start(InForce {
        config: config.clone(),
        asked,
        hub: hub.clone(),
        app: app.clone(),
        gatekeeper: Box::new(engine.gatekeeper()),
        launcher: helper::launcher(&config, None),
        uplink: Arc::new(Uplink::new(&app, &hub)),
        sandbox,
        tls: tls.clone(),
        status: status.clone(),
    });
    let settings = settings.map_err(|error| started("the thread of the settings", error))?;
    app.at_stop(settings.stopper());
    app.at_hang_up(on_hang_up(terminal, settings.reloader(), engine.stopper()));
    if log::log_enabled!(log::Level::Info) {
        let broker = from.broker.as_ref().map(ToString::to_string);
        greeting::greet(&device, &hosts, tls.is_some(), &ways_in, broker.as_deref(), &hub);
    }
    service::ready(&status);
    let ended = engine.join();
    settings.wait(Duration::from_millis(500));
    ended
}

/// A fleet's defaults in place of a board's, and nothing of what only a board
/// has.
fn settle(config: &mut Config) -> Result<()> {
    if config.fleet.boards.is_empty() && config.uplink.broker.is_none() {
        let why = "a fleet server needs to know its boards: name them, as in \
                   --board pi1=ws://pi1:8642/ws, or the broker where they are, as in \
                   --mqtt mqtt://broker.lan";
        return Err(Error::Setting(why.into()));
    }
    if !config.sources.is_empty() || !config.rules.0.is_empty() {
        log::warn!("[[source]] and [[channel]] tables are a board's: a fleet server uses none");
    }
    (config.sources, config.rules) = (Vec::new(), Rules::default());
    (config.socket, config.udp, config.stdin) = (SocketPlace::None, None, false);
    (config.history_file, config.demo) = (None, false);
    let is_default = |config: &Config, name: &str| !config.chosen.contains(&name);
    if is_default(config, "ring_size") {
        config.ring_bytes = 16 << 20;
    }
    if config.fleet.history.is_empty() {
        config.history_bytes = 0;
    } else if is_default(config, "history_size") {
        config.history_bytes = 64 << 20;
    }
    if is_default(config, "max_channels") {
        config.max_channels = 131_072;
    }
    if is_default(config, "message_size") {
        // A place for each of 2,048 devices.
        config.limits.message_bytes = 256 << 10;
    }
    Ok(())
}

fn links(config: &Config) -> Result<Vec<Link>> {
    let token = match &config.fleet.token_file {
        Some(path) => token::secret(Some(path))?,
        None => None,
    };
    let authority = &config.fleet.authority;
    let link = |place: &BoardPlace| Link {
        place: place.clone(),
        token: token.clone(),
        authority: authority.clone(),
    };
    Ok(config.fleet.boards.iter().map(link).collect())
}
