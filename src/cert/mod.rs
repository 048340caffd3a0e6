//! `boardcast cert`: what is asked for; `make` does it, where there is TLS.

#[cfg(feature = "tls")]
mod make;

use std::path::PathBuf;

/// A certificate and a key to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cert {
    /// The folder for `cert.pem` and `key.pem`.
    pub out: PathBuf,
    /// Names beside those that the board has.
    pub names: Vec<String>,
    /// Whether files that are there are replaced.
    pub force: bool,
}

#[cfg(not(feature = "tls"))]
impl Cert {
    /// Refuses.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) says which build can.
    pub fn run(&self) -> crate::Result<String> {
        Err(crate::Error::Setting(crate::net::NO_TLS.into()))
    }
}
