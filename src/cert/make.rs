//! `boardcast cert`: a certificate for this board, signed by itself, and its
//! key.
//!
//! For a home network, where no authority vouches for the names that a board
//! has: whoever connects trusts this very certificate, or compares its
//! fingerprint once. It is no authority, so that a key that leaks harms nobody
//! but this board.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use nix::unistd::{User, geteuid, gethostname};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::Cert;
use crate::{
    error::{Error, Result},
    net,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Apple's systems take none that is valid for longer than 825 days, whoever
/// has signed it; the others are content with more.
const VALID: Duration = Duration::from_secs(800 * DAY.as_secs());
/// It begins a little before, for those whose clocks are behind.
const BEFORE: Duration = DAY;
/// A clock that is behind this was never set: 2025-01-01.
const SET: Duration = Duration::from_secs(1_735_689_600);
/// More addresses than that are a container host's.
const MOST_ADDRESSES: usize = 16;

impl Cert {
    /// Makes both files; returns what to do with them.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Io`], one line, when a name cannot be
    /// one, or a file cannot be written or is there already.
    pub fn run(&self) -> Result<String> {
        let host = gethostname().ok().and_then(|name| name.into_string().ok());
        let names = names(&host.unwrap_or_default(), &net::own_addresses(), &self.names)?;
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let made = Made::new(&names, now)?;
        let folder = &self.out;
        let is_new = !folder.exists();
        DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(|error| {
            let mend = match error.kind() {
                io::ErrorKind::PermissionDenied => "; with sudo it can, or --out FOLDER",
                _ => "",
            };
            Error::Setting(format!("cannot make the folder {}: {error}{mend}", folder.display()))
        })?;
        let folder = &fs::canonicalize(folder).unwrap_or_else(|_| folder.clone());
        if is_new {
            // Whatever the umask is: the server has to get through to the files.
            let _ = fs::set_permissions(folder, Permissions::from_mode(0o755));
        }
        let files = Files { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
        let owner = files.write(&made, self.force)?;
        Ok(made.explain(&files, &names, owner))
    }
}

/// The names that the board has, its addresses, and those that were asked for.
fn names(host: &str, own: &[IpAddr], more: &[String]) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: String| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    for name in more {
        let name = name.to_ascii_lowercase();
        if name.parse::<IpAddr>().is_err() && !is_name(&name) {
            return Err(Error::Setting(format!(
                "{name:?} is no name that a certificate can have: write it as in pi.example.org \
                 or 10.0.0.7, without a port"
            )));
        }
        add(name);
    }
    let host = host.to_ascii_lowercase();
    let short = host.split('.').next().unwrap_or_default();
    for name in [host.clone(), short.to_owned(), format!("{short}.local"), "localhost".into()] {
        // What the machine is called may be no name of the network.
        if is_name(&name) {
            add(name);
        }
    }
    own.iter().take(MOST_ADDRESSES).for_each(|address| add(address.to_string()));
    ["127.0.0.1", "::1"].into_iter().for_each(|address| add(address.into()));
    Ok(names)
}

/// A name of the DNS, perhaps with a wildcard as its first label.
fn is_name(text: &str) -> bool {
    let labels = text.strip_prefix("*.").unwrap_or(text);
    let fine = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = labels.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 253 && !number && labels.split('.').all(fine)
}

/// A certificate and its key.
struct Made {
    certificate: String,
    key: String,
    fingerprint: String,
    /// The day on which it ends, as in 2029-02-01.
    until: String,
}

impl Made {
    /// For these names, from `now` on (since 1970).
    fn new(names: &[String], now: Duration) -> Result<Self> {
        if now < SET {
            let why = "this board's clock was not set yet, and browsers would find the certificate \
                       too old: set it first (timedatectl)";
            return Err(Error::Setting(why.into()));
        }
        let refuse = |error: rcgen::Error| Error::Setting(format!("no certificate: {error}"));
        let epoch = date_time_ymd(1970, 1, 1);
        let from = now.saturating_sub(BEFORE);
        let mut params = CertificateParams::new(names).map_err(refuse)?;
        params.not_before = epoch + from;
        params.not_after = epoch + from + VALID;
        params.distinguished_name = DistinguishedName::new();
        let common = names.first().map_or("boardcast", String::as_str);
        // RFC 5280, appendix A.1: ub-common-name.
        let common = if common.len() <= 64 { common } else { "boardcast" };
        params.distinguished_name.push(DnType::CommonName, common);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let until = params.not_after.date().to_string();
        // ECDSA with P-256: small, fast on a board, and every client knows it.
        let key = KeyPair::generate().map_err(refuse)?;
        let certificate = params.self_signed(&key).map_err(refuse)?;
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate.der());
        let bytes: Vec<_> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        Ok(Self { certificate, key, fingerprint: bytes.join(":"), until })
    }

    fn explain(&self, files: &Files, names: &[String], owner: Option<&str>) -> String {
        let Self { fingerprint, until, .. } = self;
        let (certificate, key) = (files.certificate.display(), files.key.display());
        let owner = owner.map(|name| format!(", for {name} alone")).unwrap_or_default();
        let host = names.first().map_or("localhost", String::as_str);
        let names = names.join(" ");
        format!(
            "certificate  {certificate}, valid until {until}\n\
             key          {key}{owner}\n\
             names        {names}\n\
             SHA-256      {fingerprint}\n\
             \n\
             Put this into /etc/boardcast/boardcast.toml, and restart boardcast:\n\
             \n\
             tls_cert = \"{certificate}\"\n\
             tls_key = \"{key}\"\n\
             \n\
             A browser asks once whether to trust it: compare the fingerprint. Programs are given\n\
             a copy of cert.pem (never of key.pem):\n\
             \n\
             curl --cacert cert.pem https://{host}:{port}/healthz\n\
             boardcast watch --authority cert.pem https://{host}:{port}/\n",
            port = crate::config::PORT,
        )
    }
}

/// Where they go.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    /// Writes both, or none; whom the key belongs to, where that is the
    /// service's user.
    fn write(&self, made: &Made, force: bool) -> Result<Option<&'static str>> {
        let there = [&self.key, &self.certificate].into_iter().find(|path| path.exists());
        if let Some(path) = there.filter(|_| !force) {
            return Err(Error::Setting(format!(
                "{} is there already: --force replaces it, and who trusts it has to be told anew",
                path.display()
            )));
        }
        let service = User::from_name("boardcast").ok().flatten();
        let service = service.filter(|_| geteuid().is_root());
        let own = |file: &File| match &service {
            Some(user) => fchown(file, Some(user.uid.as_raw()), Some(user.gid.as_raw())),
            None => Ok(()),
        };
        put(&self.key, &made.key, 0o600, force, own)?;
        put(&self.certificate, &made.certificate, 0o644, force, |_| Ok(())).inspect_err(|_| {
            // A key alone would be in the way of the next attempt.
            let _ = fs::remove_file(&self.key);
        })?;
        Ok(service.map(|_| "boardcast"))
    }
}

/// Writes a file that nobody else may have made: a new one, or with `force` one
/// that takes the place of the old in one step.
fn put(
    path: &Path,
    text: &str,
    mode: u32,
    force: bool,
    own: impl Fn(&File) -> io::Result<()>,
) -> Result<()> {
    let beside = path.with_extension("pem.new");
    let place = if force { &beside } else { path };
    let write = || {
        if force {
            // Of an attempt that was cut short.
            let _ = fs::remove_file(place);
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(place)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        own(&file)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if force { fs::rename(place, path) } else { Ok(()) }
    };
    write().map_err(|error| Error::io(format!("write {}", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_the_boards_and_those_that_were_asked_for() {
        let own = ["192.168.1.20", "fd00::20"].map(|text| text.parse().expect("an address"));
        let more = ["Pi.Example.org".to_owned(), "10.0.0.7".to_owned()];
        assert_eq!(
            names("Pi-Kitchen.lan", &own, &more).expect("names"),
            [
                "pi.example.org",
                "10.0.0.7",
                "pi-kitchen.lan",
                "pi-kitchen",
                "pi-kitchen.local",
                "localhost",
                "192.168.1.20",
                "fd00::20",
                "127.0.0.1",
                "::1"
            ]
        );
        // A machine may be called what no name of the network is.
        assert_eq!(names("my_box", &[], &[]).expect("names"), ["localhost", "127.0.0.1", "::1"]);
        assert!(is_name("*.example.org"));
        for bad in ["", "pi:8642", "http://pi", "a b", "-pi", "pi..local", "1.2.3", "ü"] {
            let error = names("pi", &[], &[bad.to_owned()]).err().map(|error| error.to_string());
            assert!(error.is_some_and(|error| error.contains("as in pi.example.org")), "{bad}");
        }
    }

    #[test]
    fn a_clock_that_was_never_set_makes_none() {
        let error = Made::new(&["pi".into()], DAY).err().expect("1970").to_string();
        assert!(error.contains("clock"), "{error}");
        let made = Made::new(&["pi".into()], SET).expect("2025");
        assert_eq!(made.until, "2027-03-11");
        assert_eq!(made.fingerprint.len(), 95);
        assert!(made.key.starts_with("-----BEGIN PRIVATE KEY-----"));
    }
}
