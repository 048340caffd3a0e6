//! The settings of the program: what can be set, and where it comes from.
//!
//! | file | what |
//! |---|---|
//! | `values` | single values: text → value, and back |
//! | `keys` | the table of all settings that have one value: name, flag, bounds |
//! | `file`, `table` | a TOML file, with the line and column of everything in it |
//! | `complaint` | what is wrong, and where |
//! | `sources`, `channels` | its `[[source]]` and `[[channel]]` tables |
//! | `load` | files, environment, command line: which of them counts |
//! | `show` | the settings in force, as text |
//!
//! A setting on the command line goes before one in the environment, and that
//! before one in a file. Everything that is wrong is found at once, each with
//! its place ([`Complaint`]).

mod channels;
mod complaint;
mod file;
mod keys;
mod load;
mod show;
mod sources;
mod table;
mod values;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use log::LevelFilter;

pub(crate) use self::values::show_size;
pub use self::{
    complaint::{Complaint, Place},
    keys::{KEYS, Key, Scope, Shape},
    load::{Flags, Loaded, Origin, Request, load},
    show::{summary, text},
    values::{parse_every, parse_interval, parse_listen, parse_origin, parse_socket, parse_udp},
};
use crate::{
    error::{Error, Result},
    fleet::FleetSettings,
    net::{Gate, Hosts, Limits, Network, Networks, Origins, Proxies, Tokens},
    sources::configured::SourceSettings,
    telemetry::Rules,
    uplink::UplinkSettings,
};

/// The port when none is named.
pub const PORT: u16 = 8642;

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; empty: the port [`PORT`] on all addresses.
    pub listen: Vec<SocketAddr>,
    /// How often the polled sources are read.
    pub interval: Duration,
    /// The device's name; the host's when none is given.
    pub name: Option<String>,
    /// How much to log.
    pub level: LevelFilter,
    /// Who may come in.
    pub gate: GateSettings,
    /// The certificate that is shown to clients, and its key; with both, TLS is
    /// spoken.
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key.
    pub tls_key: Option<PathBuf>,
    /// Whether there are simulated sensors, too.
    pub demo: bool,
    /// The file that keeps history over a restart; `None`: none does.
    pub history_file: Option<PathBuf>,
    /// How often that file is written; once more at the end.
    pub history_every: Duration,
    /// The budget of history in memory, in bytes.
    pub history_bytes: usize,
    /// The budget of the ring of last batches, in bytes.
    pub ring_bytes: usize,
    /// The most channels.
    pub max_channels: usize,
    /// The memory that the program may take, in bytes; `None`: what the system
    /// lets it.
    pub memory: Option<usize>,
    /// Whether readings come on standard input.
    pub stdin: bool,
    /// Where readings come in over a Unix socket.
    pub socket: SocketPlace,
    /// Clients of that socket at a time.
    pub socket_clients: usize,
    /// Where readings come in over UDP; `None`: nowhere.
    pub udp: Option<SocketAddr>,
    /// Whom to become once all is bound, when started as root; `None`: nobody else.
    pub user: Option<String>,
    /// Whether a sandbox is closed around the server.
    pub sandbox: bool,
    /// Whether the network is told of this board.
    pub mdns: bool,
    /// The engine's bounds.
    pub limits: Limits,
    /// What a fleet server is told.
    pub fleet: FleetSettings,
    /// The way out, to an MQTT broker.
    pub uplink: UplinkSettings,
    /// The sources that the settings name.
    pub sources: Vec<SourceSettings>,
    /// What they say of channels.
    pub rules: Rules,
    /// Where `proc` and `sys` are; `/` on a board.
    pub root: PathBuf,
    /// The names of the settings that somebody has made.
    pub chosen: Vec<&'static str>,
}

/// Who may come in; each as its setting says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateSettings {
    /// Networks that are served beside the close ones.
    pub allow: Vec<Network>,
    /// Networks that are not.
    pub deny: Vec<Network>,
    /// Names that the board answers to beside its own; `*`: every one.
    pub hosts: Vec<String>,
    /// Origins whose pages may read the board, beside its own.
    pub origins: Vec<String>,
    /// Origins whose pages may show ours in a frame; `*`: every one.
    pub frames: Vec<String>,
    /// The file of tokens; `None`: the service manager's, if it passed one.
    pub tokens: Option<PathBuf>,
    /// Whether looking needs a token, too.
    pub view_needs_token: bool,
    /// Whether a token may stand in the URL.
    pub token_in_url: bool,
    /// The reverse proxies that are believed.
    pub proxies: Vec<Network>,
    /// What they put in front of every path; empty: nothing.
    pub base_path: String,
}

impl GateSettings {
    /// Which peers are served.
    pub fn networks(&self) -> Networks {
        Networks::local(self.allow.clone()).except(self.deny.clone())
    }

    /// The file of tokens: the one that is named, or the one that the service
    /// manager has passed by `LoadCredential=boardcast.tokens:PATH`
    /// (systemd.exec(5), "Credentials").
    pub fn token_file(&self) -> Option<PathBuf> {
        let passed = || {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY")?;
            Some(PathBuf::from(folder).join("boardcast.tokens")).filter(|path| path.exists())
        };
        self.tokens.clone().or_else(passed)
    }

    /// The gate that they ask for.
    ///
    /// # Errors
    /// As of [`Tokens::read`], and when tokens are needed and there are none.
    pub fn gate(&self) -> Result<Gate> {
        let tokens = match self.token_file() {
            Some(path) => Tokens::read(&path)?,
            None if self.view_needs_token => {
                let why = "view_needs_token is set, and there is no file of tokens: name one with \
                           --tokens; boardcast token new NAME makes what is in it";
                return Err(Error::Setting(why.into()));
            }
            None => Tokens::default(),
        };
        let any = self.hosts.iter().any(|host| host == "*");
        Ok(Gate {
            networks: self.networks(),
            proxies: Proxies(self.proxies.clone()),
            hosts: if any { Hosts::Any } else { Hosts::own(self.hosts.clone()) },
            origins: Origins::Own(self.origins.clone()),
            tokens,
            view_needs_token: self.view_needs_token,
            token_in_url: self.token_in_url,
            base_path: self.base_path.clone(),
        })
    }
}

/// Where the Unix socket for pushed readings is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SocketPlace {
    /// At the first of the usual places that can be had.
    #[default]
    Usual,
    /// Nowhere.
    None,
    /// There and nowhere else.
    At(PathBuf),
}

impl Config {
    /// The certificate and its key, when TLS is to be spoken.
    ///
    /// # Errors
    /// [`Error::Setting`] when one of them is missing, or this build has no TLS.
    pub fn tls(&self) -> Result<Option<(&Path, &Path)>> {
        let refuse = |why: &str| Err(Error::Setting(why.into()));
        #[cfg(not(feature = "tls"))]
        if self.tls_cert.is_some() || self.tls_key.is_some() {
            return refuse(&format!("tls_cert, tls_key: {}", crate::net::NO_TLS));
        }
        match (&self.tls_cert, &self.tls_key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            (Some(_), None) => refuse("tls_cert has no use without its key: set tls_key, too"),
            (None, Some(_)) => {
                refuse("tls_key has no use without a certificate: set tls_cert, too")
            }
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let hub = crate::telemetry::HubSettings::default();
        Self {
            listen: Vec::new(),
            interval: Duration::from_secs(1),
            name: None,
            level: LevelFilter::Info,
            gate: GateSettings::default(),
            tls_cert: None,
            tls_key: None,
            demo: false,
            history_file: None,
            history_every: Duration::from_secs(600),
            history_bytes: hub.history_bytes,
            ring_bytes: hub.ring_bytes,
            max_channels: hub.max_channels,
            memory: None,
            stdin: false,
            socket: SocketPlace::Usual,
            socket_clients: 16,
            udp: None,
            user: None,
            sandbox: true,
            mdns: true,
            limits: Limits::default(),
            fleet: FleetSettings::default(),
            uplink: UplinkSettings::default(),
            sources: Vec::new(),
            rules: Rules::default(),
            root: "/".into(),
            chosen: Vec::new(),
        }
    }
}
