//! Where settings come from, and which of them counts: command line before
//! environment before files.
//!
//! The usual files are `/etc/boardcast/boardcast.toml` and, after it,
//! `/etc/boardcast/conf.d/*.toml` in the order of their names. A later file goes
//! before an earlier one; a list counts as one value. `[[source]]` and
//! `[[channel]]` tables of all files count together.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    Config, KEYS, Key, Shape, channels,
    complaint::{Complaint, Place, plain},
    file::File,
    sources,
    table::{At, Table},
};

/// The most files that are read, and the most tables of a kind.
const MOST: usize = 64;
const MOST_CHANNELS: usize = 1024;
/// The folder of the usual files, below the root.
const FOLDER: &str = "etc/boardcast";
/// Variables that begin as settings do and are none: the options of the unit,
/// and those of the tests.
const NO_SETTINGS: [&str; 4] =
    ["BOARDCAST_OPTIONS", "BOARDCAST_FAULT", "BOARDCAST_STRESS", "BOARDCAST_CROWD"];

/// Settings of the command line, as texts.
pub type Flags = Vec<(&'static Key, Vec<String>)>;

/// What is asked for: which files, what stands before them.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Files, or folders of `*.toml` files, to be read instead of the usual ones.
    pub files: Vec<PathBuf>,
    /// Variables of the environment whose names begin with `BOARDCAST_`.
    pub environment: Vec<(String, String)>,
    /// Settings of the command line.
    pub flags: Flags,
    /// Where `etc`, `proc` and `sys` are.
    pub root: PathBuf,
}

/// Where a setting's value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody has set it.
    Default,
    /// There.
    Set(Place),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::Set(Place::File { path, line, .. }) => write!(f, "{}:{line}", plain(path)),
            Self::Set(place) => write!(f, "{place}"),
        }
    }
}

/// A `[[source]]` or `[[channel]]` table as it was read.
#[derive(Clone, Debug)]
pub struct Written {
    /// `source` or `channel`.
    pub kind: &'static str,
    /// Where it stands.
    pub place: Place,
    /// Its settings, as they would be written anew.
    pub entries: Vec<(String, String)>,
}

/// Settings, checked, and where they came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What counts.
    pub config: Config,
    /// For each of [`KEYS`], where its value came from.
    pub origins: Vec<Origin>,
    /// The tables, in their order.
    pub tables: Vec<Written>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// What is odd, but no reason not to start.
    pub warnings: Vec<Complaint>,
}

impl Request {
    /// One with the environment of this process.
    pub fn new(mut files: Vec<PathBuf>, flags: Flags, root: PathBuf) -> Self {
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            // Set to nothing is not set, as in a file of variables.
            if name.starts_with("BOARDCAST_") && !value.is_empty() {
                environment.push((name, value.to_string_lossy().into_owned()));
            }
        }
        environment.sort();
        let named = environment.iter().position(|(name, _)| name == "BOARDCAST_CONFIG");
        if let Some((_, path)) = named.map(|at| environment.remove(at)) {
            if files.is_empty() {
                files.push(path.into());
            }
        }
        Self { files, environment, flags, root }
    }

    /// The files that are to be read.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, Complaint> {
        if self.files.is_empty() {
            let folder = self.root.join(FOLDER);
            let main = folder.join("boardcast.toml");
            let more = folder.join("conf.d");
            let mut files = if main.exists() { vec![main] } else { Vec::new() };
            if more.is_dir() {
                files.extend(tomls(&more)?);
            }
            return Ok(files);
        }
        let mut files = Vec::new();
        for path in &self.files {
            if path.is_dir() { files.extend(tomls(path)?) } else { files.push(path.clone()) }
        }
        Ok(files)
    }
}

/// The files of a folder whose names end in `.toml`, in the order of their names.
fn tomls(folder: &Path) -> Result<Vec<PathBuf>, Complaint> {
    let place = || Place::File { path: folder.into(), line: 0, column: 0 };
    let entries = std::fs::read_dir(folder).map_err(|error| {
        Complaint::new(place(), format!("cannot be read: {error}; see that it is readable"))
    })?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<_> =
        paths.filter(|path| path.extension() == Some("toml".as_ref())).collect();
    if files.len() > MOST {
        return Err(Complaint::new(
            place(),
            format!("more than {MOST} settings files: merge some"),
        ));
    }
    files.sort();
    Ok(files)
}

/// Reads all settings and checks them.
///
/// # Errors
/// Everything that is wrong, each with its place.
pub fn load(request: &Request) -> Result<Loaded, Vec<Complaint>> {
    let mut loader = Loader {
        config: Config { root: request.root.clone(), ..Config::default() },
        given: KEYS.iter().map(|_| None).collect(),
        tables: Vec::new(),
        complaints: Vec::new(),
        warnings: Vec::new(),
    };
    let files = request.files().unwrap_or_else(|complaint| {
        loader.complaints.push(complaint);
        Vec::new()
    });
    for path in &files {
        match File::read(path) {
            Ok(file) => {
                let complaints = file.parse(|table| loader.read(&file, table));
                loader.complaints.extend(complaints);
            }
            Err(complaint) => loader.complaints.push(complaint),
        }
    }
    loader.environment(&request.environment);
    for (key, values) in &request.flags {
        let option = key.flag.map_or(key.name, |(option, _)| option);
        loader.give(key, values.clone(), Place::Option(option.to_owned()));
    }
    loader.finish(files)
}

struct Loader {
    config: Config,
    /// What counts of each setting, so far, and where it stands.
    given: Vec<Option<(Vec<String>, Place)>>,
    tables: Vec<Written>,
    complaints: Vec<Complaint>,
    warnings: Vec<Complaint>,
}

impl Loader {
    /// What comes later counts. Each is tried by itself, so that one that is
    /// wrong is told even where another goes before it.
    fn give(&mut self, key: &'static Key, values: Vec<String>, place: Place) {
        if let Err(error) = key.set(&mut Config::default(), &values) {
            let message = match place {
                Place::File { .. } => format!("{}: {error}", key.name),
                _ => error.to_string(),
            };
            self.complaints.push(Complaint::new(place, message));
        } else if let Some(number) = KEYS.iter().position(|other| other == key) {
            self.given[number] = Some((values, place));
        }
    }

    fn read(&mut self, file: &File, table: &mut Table<'_>) {
        for key in KEYS {
            if let Some(At { value, place }) = table.setting(key) {
                self.give(key, value, file.place(place));
            }
        }
        table.tables("source", |table| self.source(table));
        table.tables("channel", |table| self.channel(table));
    }

    fn source(&mut self, table: &mut Table<'_>) {
        let Some(source) = sources::read(table) else { return };
        let name = &source.name;
        let of = |written: &&Written| written.kind == "source";
        let mut others = self.config.sources.iter().zip(self.tables.iter().filter(of));
        if let Some((_, first)) = others.find(|(other, _)| other.name == *name) {
            let message =
                format!("there is a source {name} at {} already: choose another name", first.place);
            return table.complain(table.start(), message);
        }
        if self.config.sources.len() == MOST {
            return table
                .complain(table.start(), format!("more than {MOST} sources: take some out"));
        }
        self.tables.push(Written {
            kind: "source",
            place: table.place(),
            entries: table.entries(),
        });
        self.config.sources.push(source);
    }

    fn channel(&mut self, table: &mut Table<'_>) {
        let Some(rule) = channels::read(table) else { return };
        if self.config.rules.0.len() == MOST_CHANNELS {
            let message =
                format!("more than {MOST_CHANNELS} channel tables: use wildcards, as in room/#");
            return table.complain(table.start(), message);
        }
        self.tables.push(Written {
            kind: "channel",
            place: table.place(),
            entries: table.entries(),
        });
        self.config.rules.0.push(rule);
    }

    fn environment(&mut self, variables: &[(String, String)]) {
        for (name, value) in variables {
            let place = Place::Variable(name.clone());
            match KEYS.iter().find(|key| key.variable() == *name) {
                Some(key) => {
                    let values = match key.shape {
                        Shape::Texts => value
                            .split(|c: char| c == ',' || c.is_whitespace())
                            .filter(|word| !word.is_empty())
                            .map(str::to_owned)
                            .collect(),
                        _ => vec![value.clone()],
                    };
                    self.give(key, values, place);
                }
                None if NO_SETTINGS.contains(&&**name) => {}
                None => {
                    let message = "no setting has this name; boardcast config shows all of them";
                    self.warnings.push(Complaint::new(place, message));
                }
            }
        }
    }

    fn finish(mut self, files: Vec<PathBuf>) -> Result<Loaded, Vec<Complaint>> {
        let mut origins = Vec::new();
        for (key, given) in KEYS.iter().zip(std::mem::take(&mut self.given)) {
            let Some((values, place)) = given else {
                origins.push(Origin::Default);
                continue;
            };
            // It was tried before; what it sets may depend on one before it.
            if let Err(error) = key.set(&mut self.config, &values) {
                self.complaints.push(Complaint::new(place.clone(), error.to_string()));
            }
            self.config.chosen.push(key.name);
            origins.push(Origin::Set(place));
        }
        let Config { limits, uplink, .. } = &self.config;
        let together = [limits.validate(), self.config.tls().map(drop), uplink.check()];
        for error in together.into_iter().filter_map(Result::err) {
            let message = error.to_string();
            let place = place_of(&message, &origins);
            self.complaints.push(Complaint::new(place, message));
        }
        if !self.complaints.is_empty() {
            return Err(self.complaints);
        }
        let Self { config, tables, warnings, .. } = self;
        Ok(Loaded { config, origins, tables, files, warnings })
    }
}

/// Where the first setting stands that a sentence names and somebody has set.
fn place_of(sentence: &str, origins: &[Origin]) -> Place {
    let named = KEYS.iter().zip(origins).filter(|(key, _)| sentence.contains(key.name));
    let mut set = named.filter_map(|(_, origin)| match origin {
        Origin::Set(place) => Some(place.clone()),
        Origin::Default => None,
    });
    set.next().unwrap_or(Place::Together)
}

#[cfg(test)]
mod tests;
