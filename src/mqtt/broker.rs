//! Where a broker is, and what must not be shown of it.
//!
//! ```text
//! mqtt://host            port 1883
//! mqtt://user@host:1883
//! mqtts://user:password@host   TLS, port 8883; the password is percent-encoded
//! ```

use std::{fmt, fs, path::Path, str::FromStr};

use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};

/// The longest password, in bytes: the protocol's.
const LONGEST: u64 = 65_535;

/// A password: neither `Debug` nor anything else shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a password over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads a password from a file: its first line.
    ///
    /// # Errors
    /// [`Error::Setting`] says what is wrong with the file.
    pub fn read(path: &Path) -> Result<Self> {
        let refuse = |why: String| {
            Err(Error::Setting(format!("the password file {}: {why}", path.display())))
        };
        match fs::metadata(path) {
            Ok(data) if !data.is_file() => return refuse("it is no plain file".into()),
            Ok(data) if data.len() > LONGEST => return refuse("it is too long".into()),
            Ok(_) => {}
            Err(error) => return refuse(error.to_string()),
        }
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return refuse(error.to_string()),
        };
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Self(line.to_owned())),
            _ => refuse("its first line, the password, is empty".into()),
        }
    }

    /// The password itself, for those who send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where a broker is. As text it shows no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    host: String,
    port: u16,
    secure: bool,
    user: Option<String>,
    password: Option<Secret>,
}

impl Broker {
    /// Its name or address; that of IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether TLS is spoken there.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The name that is used there.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, when the address has one.
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }
}

impl FromStr for Broker {
    type Err = Error;

    /// Reads `mqtt://[user[:password]@]host[:port]`, or `mqtts://…`.
    ///
    /// # Errors
    /// [`Error::Setting`] says what to write instead, and shows no password.
    fn from_str(text: &str) -> Result<Self> {
        if !cfg!(feature = "mqtt") {
            return Err(Error::Setting(super::NO_MQTT.into()));
        }
        let refuse = |why: &str| {
            let shown = Self::redacted(text);
            Err(Error::Setting(format!("{shown:?} is no address of an MQTT broker: {why}")))
        };
        let (secure, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("mqtt") => (false, rest),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("mqtts") && !cfg!(feature = "tls") => {
                return refuse("this build has no TLS (the feature `tls`); use mqtt://");
            }
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("mqtts") => (true, rest),
            _ => return refuse("write it as in mqtt://user@host:1883, or mqtts://host"),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (who, place) = rest.rsplit_once('@').map_or((None, rest), |(a, b)| (Some(a), b));
        if place.contains(['/', '?', '#']) {
            return refuse("nothing follows the port; topics are settings of their own");
        }
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return refuse("behind the ] goes a colon and the port"),
            },
            None => match place.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return refuse("an address of IPv6 goes into brackets: mqtt://[::1]:1883");
                }
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return refuse("it names no host");
        }
        let port = match port.map(str::parse::<u16>) {
            None => {
                if secure {
                    8883
                } else {
                    1883
                }
            }
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return refuse("its port is no number from 1 to 65535"),
        };
        let (user, password) = match who.map(|who| who.split_once(':').unwrap_or((who, ""))) {
            None => (None, None),
            Some((user, password)) => match (decoded(user), decoded(password)) {
                (Some(user), Some(_)) if user.is_empty() => {
                    return refuse("it has an @, but no user before it");
                }
                (Some(user), Some(password)) => {
                    (Some(user), Some(password).filter(|text| !text.is_empty()).map(Secret))
                }
                _ => return refuse("its user or password is no UTF-8 when decoded"),
            },
        };
        Ok(Self { host: host.to_ascii_lowercase(), port, secure, user, password })
    }
}

impl Broker {
    /// An address, right or wrong, as it may be shown: without what could be a
    /// password.
    pub fn redacted(text: &str) -> String {
        let Some(at) = text.rfind('@') else { return text.to_owned() };
        let start = text.find("://").map_or(0, |place| place + 3);
        match text.get(start..at).and_then(|who| who.find(':')) {
            Some(colon) => format!("{}:***{}", &text[..start + colon], &text[at..]),
            None => text.to_owned(),
        }
    }
}

fn decoded(text: &str) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    (!text.contains('\0')).then(|| text.into_owned())
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://")?;
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(all(test, feature = "mqtt"))]
mod tests {
    use super::*;

    fn broker(text: &str) -> Broker {
        text.parse().expect(text)
    }

    #[test]
    fn an_address_becomes_host_port_and_user() {
        let plain = broker("mqtt://Pi.local");
        assert_eq!((plain.host(), plain.port(), plain.is_secure()), ("pi.local", 1883, false));
        assert_eq!((plain.user(), plain.password()), (None, None));
        let whole = broker("mqtt://me:a%40b%3A@10.0.0.7:99/");
        assert_eq!((whole.host(), whole.port(), whole.user()), ("10.0.0.7", 99, Some("me")));
        assert_eq!(whole.password().map(Secret::reveal), Some("a@b:"));
        // A raw @ in a password is common, and means what it looks like.
        let raw = broker("mqtt://me:p@ss@host");
        assert_eq!((raw.host(), raw.password().map(Secret::reveal)), ("host", Some("p@ss")));
        let six = broker("mqtt://me@[::1]:9");
        assert_eq!((six.host(), six.port(), six.user()), ("::1", 9, Some("me")));
        assert_eq!(six.to_string(), "mqtt://[::1]:9");
        #[cfg(feature = "tls")]
        assert_eq!(broker("mqtts://host").to_string(), "mqtts://host:8883");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_mend_and_without_the_password() {
        for (text, mend) in [
            ("", "mqtt://user"),
            ("host:1883", "mqtt://user"),
            ("http://host", "mqtt://user"),
            #[cfg(not(feature = "tls"))]
            ("mqtts://host", "TLS"),
            ("mqtt://", "no host"),
            ("mqtt://:1883", "no host"),
            ("mqtt://host:0", "port"),
            ("mqtt://host:99999", "port"),
            ("mqtt://::1", "brackets"),
            ("mqtt://[::1]x", "colon"),
            ("mqtt://host/topic", "topics"),
            ("mqtt://@host", "no user"),
            ("mqtt://me:hunter2@host:x", "port"),
            ("mqtt://me:%ff@host", "UTF-8"),
        ] {
            let error = text.parse::<Broker>().expect_err(text).to_string();
            assert!(error.contains(mend), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn no_text_of_it_shows_the_password() {
        let broker = broker("mqtt://me:hunter2@host");
        assert!(!format!("{broker} {broker:?}").contains("hunter2"));
        for text in ["mqtt://me:hunter2@host", "me:hunter2@host", "mqtt://me:hun@ter2@host"] {
            assert!(!Broker::redacted(text).contains("ter2"), "{text}");
        }
    }

    #[test]
    fn a_password_is_the_first_line_of_its_file() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("bc-mqtt-password-{}", std::process::id()));
        for (content, outcome) in
            [("one\ntwo\n", Some("one")), ("one\r\n", Some("one")), ("\n", None)]
        {
            fs::write(&path, content).expect("write");
            let read = Secret::read(&path);
            assert_eq!(read.ok().as_ref().map(Secret::reveal), outcome, "{content:?}");
        }
        let _ = fs::remove_file(&path);
        for (path, why) in [(path.as_path(), "No such file"), (folder.as_path(), "plain file")] {
            let error = Secret::read(path).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
