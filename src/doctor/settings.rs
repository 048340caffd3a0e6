//! The settings' files, and what the sources that they name need.

use super::{finding::Finding, machine::Look};
use crate::{
    config::{self, Request},
    sources::configured::{Kind, SourceSettings},
};

/// Where a program without a slash in its name is looked for: the `PATH` that
/// a service has (systemd.exec(5)), and the administrator's.
const FOLDERS: [&str; 6] =
    ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"];

/// What is wrong with the files that a server would read; nothing where there
/// are none.
pub(super) fn check(look: &Look) -> Vec<Finding> {
    let request = Request { root: look.root().to_owned(), ..Request::default() };
    let loaded = match config::load(&request) {
        Ok(loaded) if loaded.files.is_empty() => return Vec::new(),
        Ok(loaded) => loaded,
        Err(complaints) => {
            let below = format!("{}/", look.root().display());
            let said = |complaint: &config::Complaint| {
                Finding::bad(complaint.to_string().replacen(&below, "/", 1))
                    .mend("write it so; boardcast check tells when all is fine")
            };
            return complaints.iter().map(said).collect();
        }
    };
    let missing: Vec<_> =
        loaded.config.sources.iter().filter_map(|source| missing(look, source)).collect();
    if missing.is_empty() { vec![Finding::ok(config::summary(&loaded))] } else { missing }
}

/// What a source needs and is not there.
fn missing(look: &Look, source: &SourceSettings) -> Option<Finding> {
    let below = |path: &std::path::Path| path.to_string_lossy().trim_start_matches('/').to_owned();
    let there = |path: &std::path::Path| look.exists(&below(path));
    let (what, mend) = match &source.kind {
        Kind::Command { command, .. } => {
            let program = command.first()?;
            let found = match program.contains('/') {
                true => there(program.as_ref()),
                false => FOLDERS.iter().any(|at| look.exists(&format!("{at}/{program}"))),
            };
            if found {
                return None;
            }
            (format!("there is no program {program}"), "install it, or write its whole path".into())
        }
        Kind::File { path, .. } if !there(path) => {
            (format!("there is no {}", path.display()), "load its driver, or correct path".into())
        }
        Kind::Serial { port, .. } if !there(port) => {
            let ports = look.list("dev/serial/by-id");
            let mend = match ports.first() {
                Some(other) => format!("plug it in, or use port = \"/dev/serial/by-id/{other}\""),
                None => "plug it in; dmesg names the port".into(),
            };
            (format!("there is no {}", port.display()), mend)
        }
        Kind::Gpio { .. } if !look.list("dev").iter().any(|name| name.starts_with("gpiochip")) => {
            ("there is no GPIO chip".into(), "its driver is missing: see dmesg".into())
        }
        _ => return None,
    };
    Some(Finding::warn(format!("source {}: {what}", source.name)).mend(mend))
}
