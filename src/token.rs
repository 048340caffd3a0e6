//! `boardcast token`: makes, lists and takes back tokens; and the token that
//! our own clients show.
//!
//! The file is plain text ([`Tokens`]); a server reads it when it starts, and
//! anew on SIGHUP.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{
    config::{self, Request},
    error::{Error, Result},
    net::{Role, TokenEntry, Tokens},
};

/// What to do, and with which file; `None`: the one of the settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// What to do.
    pub task: Task,
    /// The file of tokens.
    pub file: Option<PathBuf>,
}

/// What can be done with tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Make one of this name, with this role.
    New(String, Role),
    /// Say whose there are.
    List,
    /// Take back the one of this name.
    Revoke(String),
}

impl Token {
    /// Does it; what to print. A new token's line goes into the file, its
    /// secret into what is printed and nowhere else.
    ///
    /// # Errors
    /// [`Error::Setting`] when the file, or the name, is not what it should be;
    /// [`Error::Io`] when the file cannot be read or written.
    pub fn run(&self) -> Result<String> {
        let file = self.file.clone().or_else(of_settings);
        let needed = || {
            file.clone().ok_or_else(|| {
                Error::Setting(
                    "no file of tokens is known: name it with --tokens, or set tokens in \
                     /etc/boardcast/boardcast.toml"
                        .into(),
                )
            })
        };
        match &self.task {
            Task::New(name, role) => {
                let (entry, secret) = TokenEntry::new(name, *role)?;
                match &file {
                    Some(path) => {
                        add(path, &entry)?;
                        eprintln!(
                            "boardcast: {name} may {role}; sudo systemctl reload boardcast lets it in"
                        );
                    }
                    None => eprintln!(
                        "boardcast: put this line into the file that tokens names in the settings: \
                         {entry}"
                    ),
                }
                Ok(secret + "\n")
            }
            Task::List => {
                let tokens = Tokens::read(&needed()?)?;
                let line = |entry: &TokenEntry| format!("{}\t{}\n", entry.name, entry.role);
                Ok(tokens.entries().iter().map(line).collect())
            }
            Task::Revoke(name) => {
                revoke(&needed()?, name)?;
                eprintln!("boardcast: sudo systemctl reload boardcast shuts it out");
                Ok(String::new())
            }
        }
    }
}

/// The file that the settings name, if they are fine and name one.
fn of_settings() -> Option<PathBuf> {
    let loaded = config::load(&Request::new(Vec::new(), Vec::new(), "/".into())).ok()?;
    loaded.config.gate.tokens
}

fn failed(what: &str, path: &Path) -> impl Fn(io::Error) -> Error {
    let doing = format!("{what} {}", path.display());
    move |error| Error::io(doing.clone(), error)
}

/// Adds a line. The file may be read by all: what is in it opens nothing.
fn add(path: &Path, entry: &TokenEntry) -> Result<()> {
    let known = match Tokens::read(path) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        // As it is made by hand, or once the last one was taken back.
        Err(_) if fs::read_to_string(path).is_ok_and(|text| says_nothing(&text)) => None,
        known => Some(known?),
    };
    let known = known.unwrap_or_default();
    if known.entries().iter().any(|other| other.name == entry.name) {
        let name = &entry.name;
        let why = format!("there is a token {name} already; boardcast token revoke {name}");
        return Err(Error::Setting(why));
    }
    if known.entries().len() >= Tokens::MOST {
        return Err(Error::Setting(format!("at most {} tokens are known", Tokens::MOST)));
    }
    let ends_open = fs::read(path).is_ok_and(|text| text.last().is_some_and(|&last| last != b'\n'));
    let line = format!("{}{entry}\n", if ends_open { "\n" } else { "" });
    let file = OpenOptions::new().create(true).append(true).mode(0o644).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).map_err(failed("write to", path))
}

/// Whether it is blank lines and comments.
fn says_nothing(text: &str) -> bool {
    text.lines().all(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#'))
}

/// Writes the file anew without that line; whole at any moment.
fn revoke(path: &Path, name: &str) -> Result<()> {
    let tokens = Tokens::read(path)?;
    if !tokens.entries().iter().any(|entry| entry.name == name) {
        return Err(Error::Setting(format!("there is no token {name} in {}", path.display())));
    }
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    let others = text.lines().filter(|line| line.split_ascii_whitespace().next() != Some(name));
    let rest: String = others.map(|line| format!("{line}\n")).collect();
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || {
        // A new file, and not whatever somebody has put in its place.
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
        let old = fs::metadata(path)?;
        // Whose it was: the server must go on reading it.
        std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
        file.set_permissions(old.permissions())?;
        file.write_all(rest.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&beside);
        failed("write", path)(error)
    })
}

/// The token that a client shows: what is in this file, or in
/// `BOARDCAST_TOKEN`. It is no option, for all can see a command line.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Setting`] when it holds
/// no token.
pub fn secret(file: Option<&Path>) -> Result<Option<String>> {
    let text = match file {
        None => std::env::var("BOARDCAST_TOKEN").ok().filter(|text| !text.is_empty()),
        Some(path) => {
            let mut text = String::new();
            let read = File::open(path).and_then(|file| file.take(4096).read_to_string(&mut text));
            read.map_err(failed("read the token in", path))?;
            Some(text)
        }
    };
    let Some(text) = text else { return Ok(None) };
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = "this is no token: a file with one holds nothing else, as in bc_…";
        return Err(Error::Setting(why.into()));
    }
    Ok(Some(token.to_owned()))
}
