//! Tokens: who may look, and who may change something.
//!
//! A token is a secret of 192 random bits; whoever shows it has its role. The
//! file keeps only its SHA-256, which is of no use to whoever reads it: there
//! is nothing to guess, so that no slow hash is needed.
//!
//! ```text
//! # name   role     of the token
//! phone    view     sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! shed     publish  sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
//! ```

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
    str::FromStr,
};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// To look.
    View,
    /// To look, and to push readings in.
    Publish,
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "view" => Ok(Self::View),
            "publish" => Ok(Self::Publish),
            other => Err(Error::Setting(format!("{other:?} is no role: use view or publish"))),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::View => "view",
            Self::Publish => "publish",
        })
    }
}

/// A token as its file keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEntry {
    /// Whose it is: for people, and for the log.
    pub name: String,
    /// What it is good for.
    pub role: Role,
    hash: [u8; 32],
}

impl TokenEntry {
    /// A new token; and the secret, which is nowhere else.
    ///
    /// # Errors
    /// [`Error::Setting`] when the name cannot be one, [`Error::Io`] when the
    /// system has no random numbers.
    pub fn new(name: &str, role: Role) -> Result<(Self, String)> {
        let name = parse_name(name)?;
        let mut random = [0; 24];
        getrandom::fill(&mut random)
            .map_err(|error| Error::io("get random numbers", io::Error::from(error)))?;
        // So that people, and programs that look for leaked secrets, know it.
        let secret = format!("bc_{}", BASE64URL_NOPAD.encode(&random));
        Ok((Self { name, role, hash: hash(secret.as_bytes()) }, secret))
    }
}

/// Its line in the file.
impl fmt::Display for TokenEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = HEXLOWER_PERMISSIVE.encode(&self.hash);
        write!(f, "{} {} sha256:{hash}", self.name, self.role)
    }
}

impl FromStr for TokenEntry {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let refuse = |why: &str| {
            Err(Error::Setting(format!(
                "{why}: a line is a name, view or publish, and sha256:…; boardcast token new NAME \
                 makes one"
            )))
        };
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        // Never what stands there: it may be a secret.
        let [name, role, hash] = words[..] else { return refuse("this is no token's line") };
        let hash = hash.strip_prefix("sha256:").map(str::as_bytes);
        let hash = hash.and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex).ok());
        let Some(hash) = hash.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) else {
            return refuse("the third word is not sha256: and 64 hexadecimal digits");
        };
        Ok(Self { name: parse_name(name)?, role: role.parse()?, hash })
    }
}

fn parse_name(name: &str) -> Result<String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(fine) {
        return Ok(name.to_owned());
    }
    let why = "a token's name has 1 to 64 letters, digits, '.', '_' and '-'";
    Err(Error::Setting(why.into()))
}

fn hash(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// All tokens that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(Vec<TokenEntry>);

impl Tokens {
    /// The most tokens: each that is shown is compared with all.
    pub const MOST: usize = 256;
    const MOST_BYTES: u64 = 64 * 1024;

    /// Reads a file of them.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::Setting`] names the line
    /// that is wrong, or says that there is none.
    pub fn read(path: &Path) -> Result<Self> {
        let place = || path.display().to_string();
        let mut bytes = Vec::new();
        let file = File::open(path);
        file.and_then(|file| file.take(Self::MOST_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| Error::io(format!("read the tokens in {}", place()), error))?;
        let named = |why: String| Error::Setting(format!("{}: {why}", place()));
        if bytes.len() as u64 > Self::MOST_BYTES {
            return Err(named("no file of tokens is longer than 64 KiB".into()));
        }
        let text = String::from_utf8(bytes).map_err(|_| named("it is not UTF-8".into()))?;
        Self::parse(&text).map_err(|error| named(error.to_string()))
    }

    /// Understands the text of such a file.
    ///
    /// # Errors
    /// [`Error::Setting`], as above.
    pub fn parse(text: &str) -> Result<Self> {
        let mut entries: Vec<TokenEntry> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let at = |error: Error| Error::Setting(format!("line {}: {error}", number + 1));
            let entry: TokenEntry = line.parse().map_err(at)?;
            if entries.iter().any(|other| other.name == entry.name) {
                return Err(at(Error::Setting(format!("{} is there twice", entry.name))));
            }
            entries.push(entry);
        }
        if entries.is_empty() {
            let why = "there is no token in it; boardcast token new NAME makes one";
            return Err(Error::Setting(why.into()));
        }
        if entries.len() > Self::MOST {
            return Err(Error::Setting(format!("at most {} tokens are known", Self::MOST)));
        }
        Ok(Self(entries))
    }

    /// All, in the order of their file.
    pub fn entries(&self) -> &[TokenEntry] {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose a secret is. It takes the same time whichever it is, and if it is
    /// none.
    pub(super) fn find(&self, secret: &[u8]) -> Option<&TokenEntry> {
        let shown = hash(secret);
        let mut found = None;
        for entry in &self.0 {
            let differs = entry.hash.iter().zip(&shown).fold(0, |all, (a, b)| all | (a ^ b));
            if std::hint::black_box(differs) == 0 {
                found = Some(entry);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_found_by_its_secret_alone() {
        let (entry, secret) = TokenEntry::new("phone", Role::Publish).expect("a token");
        assert!(secret.starts_with("bc_") && secret.len() == 35, "{secret}");
        let line = entry.to_string();
        assert!(!line.contains(&secret[3..]), "{line}");
        let tokens = Tokens::parse(&format!("# a list\n\n{line} # mine\n")).expect("valid");
        assert_eq!(tokens.find(secret.as_bytes()), Some(&entry));
        for wrong in ["", "phone", &line, &secret[..34], &format!("{secret}x")] {
            assert_eq!(tokens.find(wrong.as_bytes()), None, "{wrong}");
        }
        let (_, other) = TokenEntry::new("phone", Role::View).expect("a token");
        assert_ne!(secret, other);
    }

    #[test]
    fn a_bad_file_is_refused_with_its_line_and_without_what_stands_there() {
        let hash = "0".repeat(64);
        for (text, why) in [
            (String::new(), "no token"),
            ("# nothing\n\n".into(), "no token"),
            ("phone hunter2".into(), "line 1: this is no token's line"),
            ("\nphone view hunter2".into(), "line 2: the third word"),
            (format!("phone view sha256:{}", &hash[1..]), "the third word"),
            (format!("phone admin sha256:{hash}"), "\"admin\" is no role"),
            (format!("ph/one view sha256:{hash}"), "a token's name"),
            (format!("a view sha256:{hash}\na view sha256:{hash}"), "line 2: a is there twice"),
        ] {
            let error = Tokens::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{text}: {error}");
        }
        let many: String = (0..=256).map(|n| format!("t{n} view sha256:{hash}\n")).collect();
        assert!(Tokens::parse(&many).is_err());
        for name in ["", &"x".repeat(65), "a b", "ä"] {
            assert!(TokenEntry::new(name, Role::View).is_err(), "{name}");
        }
    }
}
