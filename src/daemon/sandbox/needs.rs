//! What the server needs from its start on to its end: files, folders, ports.
//! All that the settings name is collected in [`of`].
//!
//! Folders rather than files: what is rewritten by rename is another file then,
//! and a device that is plugged in again is, too. A folder that is not there
//! yet is stood for by the nearest one above it.

use std::{
    fmt,
    net::IpAddr,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use crate::{
    config::{Config, Request},
    fleet::FleetSettings,
    mqtt::Broker,
    net::Target,
    sources::configured::{Kind, SourceSettings},
    uplink::UplinkSettings,
};

/// What may be done below a path; several together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access(u8);

impl Access {
    /// Files are read, folders listed.
    pub(super) const READ: Self = Self(1);
    /// Files that are there are written.
    pub(super) const WRITE: Self = Self(2);
    /// Devices are given orders (ioctl(2)).
    pub(super) const CONTROL: Self = Self(4);
    /// Files are made.
    pub(super) const MAKE: Self = Self(8);
    /// Files are removed.
    pub(super) const REMOVE: Self = Self(16);

    /// Both.
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has all of the other.
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What is needed, and who needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) thing: Thing,
    /// The setting: `source gps`, `history_file`.
    whose: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Thing {
    /// All at and below a path, which has no symbolic link in it.
    Path(PathBuf, Access),
    /// Connections to this TCP port, wherever it is.
    Port(u16),
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.thing {
            Thing::Path(path, _) => write!(f, "{}: {}", self.whose, path.display()),
            Thing::Port(port) => write!(f, "{}: TCP port {port}", self.whose),
        }
    }
}

impl Need {
    /// Whether these, together, are enough for it.
    pub(super) fn is_within(&self, granted: &[Self]) -> bool {
        match &self.thing {
            Thing::Port(_) => granted.iter().any(|other| other.thing == self.thing),
            Thing::Path(path, access) => {
                let above = granted.iter().filter_map(|other| match &other.thing {
                    Thing::Path(folder, access) if path.starts_with(folder) => Some(*access),
                    _ => None,
                });
                above.fold(Access(0), Access::and).has(*access)
            }
        }
    }
}

/// Files that resolving a name looks at, and the C library's own lists
/// (nsswitch.conf(5), resolv.conf(5)).
const NAMES: [&str; 7] = [
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
];
/// What glibc resolves names with is loaded when it is needed (dlopen(3)).
const MODULES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/etc/ld.so.cache"];
/// Where distributions keep the certificates that they trust.
const AUTHORITIES: [&str; 7] = [
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
];
/// Too much stands below these: of what is right in them, the file alone is
/// let through, and not what may come in its place.
const TOO_WIDE: [&str; 2] = ["/", "/etc"];

/// All that is needed with these settings; `socket` is where readings are
/// pushed in.
pub(super) fn of(config: &Config, asked: &Request, socket: Option<&Path>) -> Vec<Need> {
    let mut needs = Needs::default();
    needs.system(&config.root);
    needs.settings(asked);
    for (whose, path) in [("tls_cert", &config.tls_cert), ("tls_key", &config.tls_key)] {
        if let Some(path) = path {
            needs.beside(whose, path, Access::READ);
        }
    }
    if let Some(path) = config.gate.token_file() {
        needs.beside("tokens", &path, Access::READ);
    }
    if let Some(path) = &config.history_file {
        let access = Access::READ.and(Access::WRITE).and(Access::MAKE).and(Access::REMOVE);
        needs.beside("history_file", path, access);
    }
    if let Some(path) = socket {
        // Its name is taken away at the end.
        needs.beside("socket", path, Access::REMOVE);
    }
    for source in &config.sources {
        needs.source(source, &config.root);
    }
    needs.boards(&config.fleet);
    needs.uplink(&config.uplink);
    needs.0
}

#[derive(Debug, Default)]
struct Needs(Vec<Need>);

impl Needs {
    fn add(&mut self, whose: &str, thing: Thing) {
        let need = Need { thing, whose: whose.to_owned() };
        if !need.is_within(&self.0) {
            self.0.push(need);
        }
    }

    /// A path as it is; when it is not there, nothing.
    fn path(&mut self, whose: &str, path: &Path, access: Access) {
        if let Ok(path) = path.canonicalize() {
            self.add(whose, Thing::Path(path, access));
        }
    }

    /// The folder where a file stands, and the one where it really stands when
    /// it is a link.
    fn beside(&mut self, whose: &str, path: &Path, access: Access) {
        let real = path.canonicalize().ok();
        if path.metadata().is_ok_and(|file| !file.is_file() && !file.file_type().is_fifo()) {
            // A device is not replaced (`--config /dev/null`).
            return self.path(whose, path, access);
        }
        for path in [Some(path), real.as_deref()].into_iter().flatten() {
            match folder_of(path) {
                Some(folder) => self.add(whose, Thing::Path(folder, access)),
                None => self.path(whose, path, access),
            }
        }
    }

    /// What the board's readings, the program itself and the C library need.
    fn system(&mut self, root: &Path) {
        let who = "boardcast";
        if root == Path::new("/") {
            for path in ["/etc/os-release", "/usr/lib/os-release"] {
                self.path(who, Path::new(path), Access::READ);
            }
        } else {
            self.path(who, root, Access::READ);
        }
        for path in ["/proc", "/sys", "/dev/tty", "/dev/urandom"] {
            self.path(who, Path::new(path), Access::READ);
        }
        self.path(who, Path::new("/dev/null"), Access::READ.and(Access::WRITE));
        for path in NAMES {
            // A link into /run (systemd-resolved) leads to a folder; a file is itself.
            self.beside(who, Path::new(path), Access::READ);
        }
        if cfg!(target_env = "gnu") {
            for path in MODULES {
                self.path(who, Path::new(path), Access::READ);
            }
        }
    }

    /// Where the settings are, to be read anew.
    fn settings(&mut self, asked: &Request) {
        let who = "the settings";
        if asked.files.is_empty() {
            self.path(who, &asked.root.join("etc/boardcast"), Access::READ);
        }
        for folder in asked.files.iter().filter(|path| path.is_dir()) {
            self.path(who, folder, Access::READ);
        }
        // One may be a link that leads elsewhere.
        for path in asked.files().unwrap_or_default() {
            self.beside(who, &path, Access::READ);
        }
    }

    /// Boards that a fleet server has links to. Its token has been read by now.
    fn boards(&mut self, fleet: &FleetSettings) {
        for board in &fleet.boards {
            let Ok(target) = Target::parse(&board.url) else { continue };
            self.peer("board", &format!("{}:{}", target.name, target.port));
            if target.secure && fleet.authority.is_none() {
                for path in AUTHORITIES {
                    self.path("board", Path::new(path), Access::READ);
                }
            }
        }
        if let Some(path) = &fleet.authority {
            self.beside("board_authority", path, Access::READ);
        }
    }

    fn uplink(&mut self, uplink: &UplinkSettings) {
        let Some(broker) = &uplink.broker else { return };
        self.broker("mqtt", broker, uplink.authority.is_none());
        let files = [
            ("mqtt_password_file", uplink.password_path()),
            ("mqtt_authority", uplink.authority.clone()),
        ];
        for (whose, path) in files {
            if let Some(path) = path {
                self.beside(whose, &path, Access::READ);
            }
        }
    }

    fn source(&mut self, source: &SourceSettings, root: &Path) {
        let whose = &*format!("source {}", source.name);
        let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        match &source.kind {
            // The helper starts it.
            Kind::Command { .. } => {}
            Kind::File { path, .. } => self.beside(whose, &below(path), Access::READ),
            Kind::Serial { .. } => {
                let access = Access::READ.and(Access::WRITE).and(Access::CONTROL);
                self.devices(whose, root, access);
            }
            Kind::Gpio { .. } => self.devices(whose, root, Access::READ.and(Access::CONTROL)),
            Kind::Capture { .. } => {
                self.devices(whose, root, Access::READ.and(Access::CONTROL));
                // Its buffer is set up there. A sensor that is plugged in again
                // has another folder.
                self.path(whose, &root.join("sys/devices"), Access::WRITE);
            }
            Kind::Tcp { address } => self.peer(whose, address),
            Kind::Mqtt(topics) => {
                for path in [&topics.password_file, &topics.authority].into_iter().flatten() {
                    self.beside(whose, path, Access::READ);
                }
                self.broker(whose, &topics.broker, topics.authority.is_none());
            }
        }
    }

    /// A device that is plugged in again is another file: the folder of all.
    /// The account's groups say which of them may be opened.
    fn devices(&mut self, whose: &str, root: &Path, access: Access) {
        self.path(whose, Path::new("/dev"), access);
        self.path(whose, &root.join("dev"), access);
    }

    /// Another machine, `host:port`.
    fn peer(&mut self, whose: &str, address: &str) {
        let Some((host, port)) = address.rsplit_once(':') else { return };
        if let Ok(port) = port.parse() {
            self.host(whose, host.trim_matches(['[', ']']), port);
        }
    }

    /// A broker; with TLS also the system's authorities, unless others are named.
    fn broker(&mut self, whose: &str, broker: &Broker, by_system: bool) {
        self.host(whose, broker.host(), broker.port());
        if broker.is_secure() && by_system {
            for path in AUTHORITIES {
                self.path(whose, Path::new(path), Access::READ);
            }
        }
    }

    fn host(&mut self, whose: &str, host: &str, port: u16) {
        self.add(whose, Thing::Port(port));
        let is_name = host.parse::<IpAddr>().is_err();
        if is_name {
            // An answer that is too long for a datagram comes over TCP (RFC 7766).
            self.add(whose, Thing::Port(53));
            if !geteuid().is_root() {
                // resolv.conf is replaced as networks come and go. For root that
                // would let the passwords through.
                self.path(whose, Path::new("/etc"), Access::READ);
            }
        }
    }
}

/// The folder that a file stands in, or the nearest above it that is there;
/// `None` when that is one where too much stands.
fn folder_of(path: &Path) -> Option<PathBuf> {
    let mut folder = path.parent()?;
    loop {
        // A plain name stands in the present folder.
        let named = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if let Ok(real) = named.canonicalize() {
            let wide = TOO_WIDE.iter().any(|wide| real == Path::new(wide));
            return (real.is_dir() && !wide).then_some(real);
        }
        folder = folder.parent()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(path: &str, access: Access) -> Need {
        Need { thing: Thing::Path(path.into(), access), whose: "x".into() }
    }

    #[test]
    fn what_stands_below_a_folder_that_was_let_through_is_within() {
        let granted = [
            need("/run/sensors", Access::READ),
            need("/dev", Access::READ.and(Access::CONTROL)),
            need("/dev/ttyUSB0", Access::WRITE),
        ];
        for (path, access, expected) in [
            ("/run/sensors", Access::READ, true),
            ("/run/sensors/a", Access::READ, true),
            ("/run/sensors/a", Access::WRITE, false),
            ("/run/sensors2", Access::READ, false),
            ("/run", Access::READ, false),
            // Two together.
            ("/dev/ttyUSB0", Access::READ.and(Access::WRITE), true),
            ("/dev/ttyUSB1", Access::READ.and(Access::WRITE), false),
        ] {
            assert_eq!(need(path, access).is_within(&granted), expected, "{path}");
        }
        let port = |port| Need { thing: Thing::Port(port), whose: "x".into() };
        assert!(port(80).is_within(&[port(22), port(80)]));
        assert!(!port(81).is_within(&[port(22), port(80)]));
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_stood_for_by_the_one_above() {
        let there = std::env::temp_dir().canonicalize().expect("it is there");
        assert_eq!(folder_of(&there.join("a/b/value")), Some(there.clone()));
        assert_eq!(folder_of(&there.join("value")), Some(there));
        for wide in ["/value", "/no-such-folder/a/b", "/etc/hostname", "/etc/no-such/x", "/"] {
            assert_eq!(folder_of(Path::new(wide)), None, "{wide}");
        }
        let here = std::env::current_dir().expect("it is there");
        assert_eq!(folder_of(Path::new("x.toml")), here.canonicalize().ok());
    }

    #[test]
    fn history_is_written_and_settings_are_read_where_they_are() {
        let folder = std::env::temp_dir().canonicalize().expect("it is there");
        let config = Config { history_file: Some(folder.join("h")), ..Config::default() };
        let written = Access::READ.and(Access::WRITE).and(Access::MAKE).and(Access::REMOVE);
        let in_folder = |name: &str, access| Need {
            thing: Thing::Path(folder.join(name), access),
            whose: "x".into(),
        };
        let needs = of(&config, &Request::default(), None);
        assert!(in_folder("h.new", written).is_within(&needs));
        let asked = Request { files: vec![folder.join("x.toml")], ..Request::default() };
        let needs = of(&Config::default(), &asked, Some(&folder.join("socket")));
        for (access, expected) in
            [(Access::READ, true), (Access::REMOVE, true), (Access::WRITE, false)]
        {
            assert_eq!(in_folder("x.toml", access).is_within(&needs), expected);
        }
    }

    #[cfg(feature = "mqtt")]
    #[test]
    fn the_way_out_needs_its_broker_and_the_files_that_speak_for_it() {
        let folder = std::env::temp_dir().canonicalize().expect("it is there");
        let told = |uplink| {
            let config = Config { uplink, ..Config::default() };
            let all = of(&config, &Request::default(), None);
            all.iter().map(ToString::to_string).filter(|n| n.contains("mqtt")).collect::<Vec<_>>()
        };
        assert_eq!(told(UplinkSettings::default()), [""; 0]);
        let uplink = UplinkSettings {
            broker: Some("mqtt://10.0.0.5:1884".parse().expect("a broker")),
            password_file: Some(folder.join("password")),
            ..UplinkSettings::default()
        };
        let password = format!("mqtt_password_file: {}", folder.display());
        assert_eq!(told(uplink.clone()), ["mqtt: TCP port 1884", &password]);
        let broker = Some("mqtt://[::1]".parse().expect("a broker"));
        assert_eq!(told(UplinkSettings { broker, ..uplink })[0], "mqtt: TCP port 1883");
    }

    #[test]
    fn a_source_needs_what_its_settings_name_and_no_more() {
        let source = |name: &str, kind| SourceSettings {
            name: name.into(),
            kind,
            format: crate::sources::configured::Format::Lines,
            prefix: None,
            stale_after: None,
        };
        let plain = of(&Config::default(), &Request::default(), None);
        let of_source = |kind| {
            let config = Config { sources: vec![source("s", kind)], ..Config::default() };
            let all = of(&config, &Request::default(), None);
            all.into_iter().filter(|need| !plain.contains(need)).collect::<Vec<_>>()
        };
        let told = |kind| of_source(kind).iter().map(ToString::to_string).collect::<Vec<_>>();
        let tcp = |address: &str| told(Kind::Tcp { address: address.into() });
        assert_eq!(tcp("10.0.0.5:4001"), ["source s: TCP port 4001"]);
        assert_eq!(tcp("[::1]:4001"), ["source s: TCP port 4001"]);
        assert_eq!(tcp("meter.lan:4001")[1], "source s: TCP port 53");
        let every = std::time::Duration::from_secs(1);
        let file = |path: &str| told(Kind::File { path: path.into(), every });
        // The board's own files are let through already.
        assert_eq!(file("/sys/class/x"), [""; 0]);
        let folder = std::env::temp_dir().canonicalize().expect("it is there");
        assert_eq!(
            file(&folder.join("value").display().to_string()),
            [format!("source s: {}", folder.display())]
        );
        #[cfg(feature = "mqtt")]
        {
            use crate::sources::configured::{Template, Topics};
            let filters = vec![crate::mqtt::Filter::parse("a").expect("a filter")];
            let broker = told(Kind::Mqtt(Topics {
                broker: "mqtt://me@10.0.0.5".parse().expect("a broker"),
                password_file: Some(folder.join("password")),
                authority: None,
                client_id: None,
                filters,
                qos: crate::mqtt::Qos::AtMostOnce,
                template: Template::default(),
            }));
            let folder = format!("source s: {}", folder.display());
            assert_eq!(broker, [&folder, "source s: TCP port 1883"]);
        }
        // Never the whole of it.
        for path in ["/etc/hostname", "/value"] {
            assert!(!file(path).iter().any(|need| need.ends_with("/etc") || need.ends_with(" /")));
        }
        // Of the passwords nothing is let through, whoever this is.
        let shadow = need("/etc/shadow", Access::READ);
        assert!(!shadow.is_within(&plain));
        assert!(!need("/tmp", Access::WRITE).is_within(&plain));
    }
}
