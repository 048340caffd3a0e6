//! Writes what the packages carry beside the program: the manual page, the
//! shells' completions, and the licences of what is linked.
//!
//! ```text
//! cargo run --example texts -- FOLDER TARGET
//! ```
//!
//! A development tool: what it needs is not linked into the program.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt::Write as _,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use boardcast::cli;
use clap_complete::aot::{Shell, generate_to};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: texts FOLDER TARGET";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder: PathBuf = arguments.next().ok_or(USAGE)?.into();
    let target = arguments.next().ok_or(USAGE)?;
    fs::create_dir_all(&folder)?;
    manual(&mut fs::File::create(folder.join("boardcast.1"))?)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut cli::command(), "boardcast", &folder)?;
    }
    fs::write(folder.join("licenses.txt"), licenses(&target)?)?;
    Ok(())
}

fn manual(out: &mut impl Write) -> io::Result<()> {
    let man = Man::new(cli::command()).manual("Boardcast");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    for name in ["watch", "once"] {
        command_section(out, name)?;
    }
    let terms = |roff: &mut Roff, section: &str, terms: &[(&str, &str)]| {
        roff.control("SH", [section]);
        for (term, text) in terms {
            roff.control("TP", []).text([bold(*term)]).text([roman(*text)]);
        }
    };
    let mut roff = Roff::new();
    terms(
        &mut roff,
        "ENVIRONMENT",
        &[
            ("RUST_LOG", "What is logged, as in debug or boardcast=trace; goes before -q and -v."),
            ("NO_COLOR", "Set and not empty: watch uses no colours."),
            (
                "SSL_CERT_FILE",
                "A file of certificates (PEM) that watch, once and channels trust in place of the \
                 system's, as --authority does.",
            ),
            ("TERM", "Unset, empty or dumb: watch prints JSON on a terminal, too."),
            (
                "NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS",
                "Set by systemd: where readiness and signs of life are told, how often they are \
                 wanted, and listening sockets that are used in place of --listen.",
            ),
        ],
    );
    terms(
        &mut roff,
        "FILES",
        &[
            ("/etc/default/boardcast", "BOARDCAST_OPTIONS: the options of the service."),
            ("boardcast.service", "The service; systemctl edit boardcast changes it."),
            ("boardcast.socket", "Optional: systemd listens and passes the sockets on."),
        ],
    );
    terms(
        &mut roff,
        "SIGNALS",
        &[(
            "SIGTERM, SIGINT",
            "Close every connection with 1001 and end, within 5 seconds. A second one ends at once. \
             watch puts the terminal right and ends by the signal.",
        )],
    );
    terms(
        &mut roff,
        "EXIT STATUS",
        &[
            ("0", "It was told to end; once has printed; the reader of watch has gone."),
            (
                "1",
                "It could not start, a thread that it needs has died, or it was ended at once. Of \
                 watch and once: the board was not reached, it refused, or no channel matches.",
            ),
            ("2", "Wrong usage."),
        ],
    );
    roff.control("SH", ["SEE ALSO"])
        .text([roman("systemd.service(5), systemd.socket(5), systemctl(1)")]);
    roff.to_writer(out)
}

/// A section for a command of its own: what it does, and its options.
fn command_section(out: &mut impl Write, name: &str) -> io::Result<()> {
    let all = cli::command();
    let command = all.find_subcommand(name).ok_or_else(|| io::Error::other("no such command"))?;
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let heading = format!(
        ".SH \"BOARDCAST {}\"\n.PP\nboardcast {name} [OPTIONS] [ADDRESS] [FILTER]...\n.PP",
        name.to_uppercase()
    );
    let text = text.replace(".SH DESCRIPTION", &heading).replace(".SH OPTIONS\n", "");
    out.write_all(text.as_bytes())
}

/// A crate and the licence files beside its manifest.
struct Linked {
    title: String,
    texts: BTreeMap<String, String>,
}

/// What is linked for this target, each text once, with the crates it is for.
fn licenses(target: &str) -> Result<String> {
    let mut out = String::from(
        "What is linked into boardcast and bundled into its page, with licences.\n\n\
         The Rust standard library: copyright The Rust Project Contributors, MIT OR Apache-2.0.\n",
    );
    if target.contains("musl") {
        out += "musl libc: copyright 2005-2020 Rich Felker, et al., MIT.\n";
    } else {
        out += "The GNU C library, where it is linked statically: copyright the Free Software \
                Foundation, LGPL-2.1-or-later.\n";
    }
    let mut crates = linked(target)?;
    crates.sort_by(|a, b| a.title.cmp(&b.title));
    let mut by_text = BTreeMap::<&str, BTreeSet<String>>::new();
    for linked in &crates {
        writeln!(out, "{}", linked.title)?;
        for (file, text) in &linked.texts {
            let name = linked.title.split(':').next().unwrap_or_default();
            by_text.entry(text).or_default().insert(format!("{name} ({file})"));
        }
    }
    for (text, names) in by_text {
        let names: Vec<_> = names.into_iter().collect();
        write!(out, "\n{}\n{}\n\n{}\n", "-".repeat(72), names.join(", "), text.trim_end())?;
    }
    let page = Path::new("src/web/dist/licenses.txt");
    if page.exists() {
        write!(out, "\n{}\nThe page\n\n{}", "-".repeat(72), fs::read_to_string(page)?)?;
    }
    Ok(out)
}

/// What cargo links: the normal dependencies for this target, with the features
/// of this build; procedural macros run at build time and are not among them.
fn linked(target: &str) -> Result<Vec<Linked>> {
    let mut tree = vec![
        "tree",
        "--locked",
        "--target",
        target,
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p}",
    ];
    if cfg!(feature = "tls") {
        tree.extend(["--features", "tls"]);
    }
    let tree = cargo(&tree)?;
    // "name v1.2.3", and behind it the folder of what is no crate of a registry: this one.
    let names: BTreeSet<_> = tree.lines().filter(|line| !line.contains('(')).collect();
    let metadata = cargo(&["metadata", "--locked", "--format-version", "1"])?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let title = |package: &Value| {
        format!(
            "{} v{}",
            package["name"].as_str().unwrap_or(""),
            package["version"].as_str().unwrap_or("")
        )
    };
    packages
        .iter()
        .filter(|package| names.contains(title(package).as_str()))
        .map(describe)
        .collect()
}

fn cargo(arguments: &[&str]) -> Result<String> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(program).args(arguments).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("cargo {} ended with {}", arguments[0], output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn describe(package: &Value) -> Result<Linked> {
    let field = |name: &str| package[name].as_str().unwrap_or("not stated").to_owned();
    let title = format!("{} {}: {}", field("name"), field("version"), field("license"));
    let manifest = PathBuf::from(field("manifest_path"));
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(manifest.parent().ok_or("a manifest without a folder")?)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let upper = name.to_uppercase();
        let is_licence = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"]
            .iter()
            .any(|start| upper.starts_with(start));
        if is_licence && path.is_file() {
            texts.insert(name, fs::read_to_string(&path)?);
        }
    }
    Ok(Linked { title, texts })
}
