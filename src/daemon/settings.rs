//! The settings in force, and reading them anew.
//!
//! They are read whole and checked before anything changes: a file that is
//! wrong changes nothing. Then rules, gate and sources are swapped, each
//! source that is as it was left alone; viewers stay connected. What else has
//! changed counts from the next start on, and the log says so.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use super::sandbox::Sandbox;
use crate::{
    app::App,
    config::{self, Config, KEYS, Request},
    fault,
    net::{Gate, Tls},
    service,
    sources::configured::{self, Launcher, Running, SourceSettings},
    telemetry::Hub,
    uplink::Uplink,
};

/// The thread that runs the configured sources and reads settings anew:
/// starting and stopping takes its time.
#[derive(Debug)]
pub(super) struct Settings {
    shared: Arc<Shared>,
    ended: Receiver<()>,
}

/// What the thread shares with who tells it something.
struct Shared {
    /// Rings, until it is taken away: then the thread stops its sources and ends.
    bell: Mutex<Option<SyncSender<()>>>,
    /// The configured sources that run. Nothing is waited for under the lock:
    /// whoever stops the program tells all of them, whatever the thread does.
    running: Mutex<Vec<(SourceSettings, Running)>>,
}

impl Shared {
    fn ends(&self) -> bool {
        lock(&self.bell).is_none()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Settings {
    /// Starts the thread.
    pub(super) fn start(force: InForce) -> io::Result<Self> {
        let (bell, rung) = sync_channel(1);
        let (alive, ended) = sync_channel(0);
        let (bell, running) = (Mutex::new(Some(bell)), Mutex::default());
        let shared = Arc::new(Shared { bell, running });
        let feeds = Feeds { shared: shared.clone() };
        let run = move || {
            force.run(&rung, &feeds);
            // Waits for all of them.
            drop(feeds);
            drop(alive);
        };
        // The parser of a file goes deeper than anything else here.
        fault::spawn(
            thread::Builder::new().name("bc-settings".into()).stack_size(512 * 1024),
            run,
        )?;
        Ok(Self { shared, ended })
    }

    /// A function that has the settings read anew, and does not wait.
    pub(super) fn reloader(&self) -> impl Fn() + Send + Sync + use<> {
        let shared = self.shared.clone();
        move || {
            if let Some(bell) = &*lock(&shared.bell) {
                // Full: they will be read, and what is there by then counts.
                let _ = bell.try_send(());
            }
        }
    }

    /// A function that stops the sources, and does not wait.
    pub(super) fn stopper(&self) -> impl FnOnce() + Send + use<> {
        let shared = self.shared.clone();
        move || {
            drop(lock(&shared.bell).take());
            // At once: the thread may be waiting for others.
            lock(&shared.running).iter().for_each(|(_, running)| running.stop());
        }
    }

    /// Waits for the sources to be stopped; whether they are.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        self.ended.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What counts now, and what it acts on.
pub(super) struct InForce {
    pub(super) config: Config,
    pub(super) asked: Request,
    pub(super) hub: Hub,
    pub(super) app: Arc<App>,
    pub(super) gatekeeper: Box<dyn Fn(Gate) + Send>,
    /// Who starts commands.
    pub(super) launcher: Launcher,
    pub(super) uplink: Arc<Uplink>,
    pub(super) sandbox: Option<Sandbox>,
    /// Certificate and key, when TLS is spoken.
    pub(super) tls: Option<Tls>,
    /// What the service manager is told when all is done.
    pub(super) status: String,
}

impl InForce {
    fn run(mut self, rung: &Receiver<()>, feeds: &Feeds) {
        feeds.apply(&self.config.sources, &self);
        while rung.recv().is_ok() && !feeds.shared.ends() {
            service::reloading();
            self.reload(feeds);
            if !feeds.shared.ends() {
                service::ready(&self.status);
            }
        }
        self.uplink.end();
    }

    fn reload(&mut self, feeds: &Feeds) {
        if let Some(tls) = &self.tls {
            tls.refresh();
        }
        let new = match config::load(&self.asked) {
            Ok(loaded) => loaded,
            Err(complaints) => {
                for complaint in &complaints {
                    log::error!("{complaint}");
                }
                self.tell_what_is_new();
                return log::error!(
                    "the settings stay as they were; boardcast check tells the same"
                );
            }
        };
        for warning in &new.warnings {
            log::warn!("{warning}");
        }
        for key in KEYS.iter().filter(|key| !key.live) {
            if key.show(&self.config) != key.show(&new.config) {
                log::warn!(
                    "{} counts from the next start on: systemctl restart boardcast",
                    key.name
                );
            }
        }
        let Config { gate, rules, sources, uplink, .. } = new.config;
        // A fleet server's readings are its boards', and it has no way out.
        let (rules, sources, uplink) = match self.hub.is_fleet() {
            true => Default::default(),
            false => (rules, sources, uplink),
        };
        match gate.gate() {
            Ok(new) => {
                (self.gatekeeper)(new);
                self.app.allow_frames(&gate.frames);
            }
            Err(error) => {
                return log::error!("{error}; the settings stay as they were");
            }
        }
        let ruled = rules != self.config.rules;
        self.config = Config { gate, rules, sources, uplink, ..self.config.clone() };
        self.tell_what_is_new();
        if let Err(error) = self.uplink.apply(&self.config.uplink) {
            log::error!("mqtt: {error}; it stays as it was");
        }
        if ruled {
            self.hub.set_rules(self.config.rules.clone());
            feeds.stop(self, SourceSettings::declares_once);
        }
        let (started, stopped) = feeds.apply(&self.config.sources, self);
        log::info!("the settings are read anew: {started} sources started, {stopped} stopped");
    }
}

impl InForce {
    /// What the sandbox keeps from them is no fault of theirs.
    fn tell_what_is_new(&self) {
        if let Some(sandbox) = &self.sandbox {
            sandbox.tell_what_is_new(&self.config, &self.asked);
        }
    }
}

/// The configured sources, as the thread has them. Dropped, it stops all.
struct Feeds {
    shared: Arc<Shared>,
}

impl Feeds {
    /// Stops those, and waits for them: a name or a device may serve the next
    /// one. How many they were.
    fn stop(&self, force: &InForce, which: impl Fn(&SourceSettings) -> bool) -> usize {
        let go = self.take(which);
        for (settings, _) in &go {
            force.app.forget(&settings.name);
        }
        go.len()
    }

    /// Takes those out, told to stop: all are told before one is waited for.
    fn take(&self, which: impl Fn(&SourceSettings) -> bool) -> Vec<(SourceSettings, Running)> {
        let mut running = lock(&self.shared.running);
        let all = std::mem::take(&mut *running);
        let (go, stay): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(settings, _)| which(settings));
        *running = stay;
        go.iter().for_each(|(_, running)| running.stop());
        go
    }

    /// Stops what is no longer wanted as it is, starts what is new, unless all
    /// is to end; how many of each.
    fn apply(&self, wanted: &[SourceSettings], force: &InForce) -> (usize, usize) {
        let stopped = self.stop(force, |settings| !wanted.contains(settings));
        let mut started = 0;
        for settings in wanted {
            if self.shared.ends() {
                break;
            }
            if lock(&self.shared.running).iter().any(|(other, _)| other == settings) {
                continue;
            }
            match configured::start_by(&force.launcher, &force.hub, settings, &force.config.root) {
                Ok(running) => {
                    if let Some(intake) = running.intake() {
                        force.app.count(intake);
                    }
                    lock(&self.shared.running).push((settings.clone(), running));
                    started += 1;
                }
                Err(error) => log::error!("source {}: {error}", settings.name),
            }
        }
        (started, stopped)
    }
}

impl Drop for Feeds {
    /// All at once, so that the slowest is the time it takes.
    fn drop(&mut self) {
        drop(self.take(|_| true));
    }
}
