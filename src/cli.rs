//! The command line, and nothing but the command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, error::ErrorKind};
use log::LevelFilter;

use crate::{
    config::{
        Config, PORT, SocketPlace, parse_every, parse_interval, parse_listen, parse_origin,
        parse_socket, parse_udp,
    },
    doctor::Doctor,
    net::{Limits, Network},
    put::Put,
    watch::Watch,
};

/// See what this board is doing, live, in a browser.
#[derive(Debug, Parser)]
#[command(name = "boardcast", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the page and the stream (what boardcast does without a command).
    Serve(Box<Serve>),
    /// Watch a board in the terminal, until Ctrl-C.
    ///
    /// On a terminal it is a table that is drawn in place. Piped, or with
    /// --json, each `data`, `gap` and `clock` message of the stream is one line
    /// of JSON, as docs/protocol.md describes it. A connection that ends is
    /// opened anew, and goes on where it was; where the board no longer has what
    /// came meanwhile, a `subscribed` line with "recovered":false says so, and a
    /// snapshot follows. Ctrl-C ends it as the signal does
    /// (130 in the shell); a reader that closes its pipe ends it with 0.
    Watch {
        #[command(flatten)]
        what: What,
        /// At most so many messages a second; each has the newest value of what changed [default:
        /// every batch; 5 for the table].
        #[arg(long, value_name = "N")]
        max_hz: Option<f64>,
    },
    /// Push readings to a board: boardcast put room/temp=21.5 door=true
    ///
    /// They go to the Unix socket of the boardcast on this machine, in
    /// /run/boardcast or $XDG_RUNTIME_DIR/boardcast. What is refused is told,
    /// and the exit code is 1. docs/push.md has the forms of a line.
    Put {
        /// The line: room/temp=21.5 door=true, room/temp 21.5, or any other form of one.
        #[arg(
            value_name = "NAME=VALUE",
            required_unless_present = "stdin",
            allow_negative_numbers = true
        )]
        readings: Vec<String>,
        /// Push the lines of standard input, as they come.
        #[arg(long, conflicts_with = "readings")]
        stdin: bool,
        /// Push to this socket.
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
        /// Push over HTTP: 127.0.0.1, localhost:8642, http://127.0.0.1:8642/.
        #[arg(long, value_name = "ADDRESS", conflicts_with = "socket")]
        url: Option<String>,
    },
    /// Print the newest readings of a board, and end.
    ///
    /// One line a channel: name, reading, unit, and its status when it is not
    /// ok; with --json one object. Exit code 1 when the board is not reached
    /// within 10 seconds, or no channel matches.
    Once(What),
    /// List the channels of a board: name, reading, unit, status, kind, source and label.
    ///
    /// A table on a terminal, otherwise lines with tabs between the columns; with
    /// --json the object of /api/channels, each channel with its `value`. Exit
    /// code 1 when the board is not reached within 10 seconds, or no channel
    /// matches.
    Channels(What),
    /// Say what was found on this board, what was not and why, with the mend.
    ///
    /// It needs no server and no rights, and changes nothing; as root it sees
    /// more, and says what the service may not read. A sensor that hangs is told
    /// after 8 seconds. Exit code 1 when something needs mending (warn, bad), 0
    /// when nothing does (ok, note).
    Doctor {
        /// The port that the server is to have.
        #[arg(long, value_name = "PORT", default_value_t = PORT)]
        port: u16,
        /// Print JSON: one object with all findings.
        #[arg(long)]
        json: bool,
        /// Look at the files below this folder instead (for tests).
        #[arg(long, value_name = "FOLDER", default_value = "/", hide = true)]
        root: PathBuf,
    },
}

#[derive(Debug, Args)]
struct What {
    /// The board: pi, pi:8642, 10.0.0.7, http://pi:8642/ [default: this machine].
    ///
    /// An argument with / + or # and without a colon is a filter, even as the
    /// first; any other first argument is the board.
    #[arg(value_name = "ADDRESS")]
    address: Option<String>,
    /// Channels: cpu/usage, or with wildcards: '+' is one level, '#' all that follow, as in 'cpu/#'.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Print JSON, even on a terminal.
    #[arg(long)]
    json: bool,
}

impl What {
    fn into_watch(self, max_hz: Option<f64>) -> Result<Box<Watch>, String> {
        let arguments: Vec<_> = self.address.into_iter().chain(self.filters).collect();
        let watch = Watch::parse(&arguments, max_hz, self.json);
        watch.map(Box::new).map_err(|error| one_line(&error.to_string()))
    }
}

#[derive(Debug, Args)]
struct Serve {
    /// Where to listen; may be given more than once [default: port 8642 on all addresses].
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    listen: Vec<SocketAddr>,
    /// How often the board is read.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,
    /// The board's name on the page [default: its host name].
    #[arg(long)]
    name: Option<String>,
    /// Serve this network too; may be given more than once.
    #[arg(long, value_name = "CIDR")]
    allow: Vec<Network>,
    /// Let pages of this origin read the board; may be given more than once.
    #[arg(long, value_name = "ORIGIN", value_parser = parse_origin)]
    allow_origin: Vec<String>,
    /// Add simulated sensors, below demo/, to try things out without any.
    #[arg(long)]
    demo: bool,
    /// Keep history in this file over a restart.
    #[arg(long, value_name = "PATH")]
    history_file: Option<PathBuf>,
    /// How often that file is written (1m to 24h); a short time wears out an SD card.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_every)]
    history_every: Duration,
    /// Take readings on standard input, one line each: sensor | boardcast serve --stdin
    #[arg(long)]
    stdin: bool,
    /// Take readings at this Unix socket, or none [default: boardcast.sock in /run/boardcast, if the
    /// service has made it, else in $XDG_RUNTIME_DIR/boardcast].
    #[arg(long, value_name = "PATH", value_parser = parse_socket)]
    socket: Option<SocketPlace>,
    /// Take readings over UDP; a port alone is for this machine only [default: none].
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_udp)]
    udp: Option<SocketAddr>,
    /// Connections in all, of which an eighth is kept for plain HTTP [default: 128].
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// Connections from one address; loopback is exempt [default: 32].
    #[arg(long, value_name = "N")]
    max_per_address: Option<usize>,
    /// Connections whose request is not complete; more wait in the kernel [default: 32].
    #[arg(long, value_name = "N")]
    max_heads: Option<usize>,
    /// Threads that push readings to the viewers [default: one a core, at most 4].
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Read the board's files below this folder instead (for tests).
    #[arg(long, value_name = "FOLDER", default_value = "/", hide = true)]
    root: std::path::PathBuf,
    /// Print nothing but warnings and errors.
    #[arg(long, short, conflicts_with = "verbose")]
    quiet: bool,
    /// Print more; twice: everything.
    #[arg(long, short, action = ArgAction::Count)]
    verbose: u8,
}

/// The command line as data, for what is made from it: the manual page and the
/// shells' completions.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// Serve, with these settings.
    Serve {
        /// The settings.
        config: Box<Config>,
        /// How much to log.
        level: LevelFilter,
    },
    /// Show what a board says, until a signal.
    Watch(Box<Watch>),
    /// Show the newest readings of a board, once.
    Once(Box<Watch>),
    /// List the channels of a board.
    Channels(Box<Watch>),
    /// Push readings to a board.
    Put(Put),
    /// Look what is wrong with this board.
    Doctor(Doctor),
    /// Print this and end.
    Print(String),
}

/// Understands the command line; the first of `arguments` is the program.
///
/// # Errors
/// One line that says what is wrong and where help is; wrong usage, exit code 2.
pub fn parse(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Asked, String> {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                return Ok(Asked::Print(error.render().to_string()));
            }
            _ => return Err(one_line(&error.render().to_string())),
        },
    };
    let serve = match cli.command {
        Some(Command::Serve(serve)) => *serve,
        Some(Command::Watch { what, max_hz }) => return what.into_watch(max_hz).map(Asked::Watch),
        Some(Command::Once(what)) => return what.into_watch(None).map(Asked::Once),
        Some(Command::Channels(what)) => return what.into_watch(None).map(Asked::Channels),
        Some(Command::Doctor { port, json, root }) => {
            return Ok(Asked::Doctor(Doctor { root, port, json }));
        }
        Some(Command::Put { readings, stdin: _, socket, url }) => {
            let line = (!readings.is_empty()).then(|| readings.join(" "));
            let put = Put::new(line, socket, url.as_deref());
            return put.map(Asked::Put).map_err(|error| one_line(&error.to_string()));
        }
        None => cli.serve,
    };
    let level = match (serve.quiet, serve.verbose) {
        (true, _) => LevelFilter::Warn,
        (false, 0) => LevelFilter::Info,
        (false, 1) => LevelFilter::Debug,
        (false, _) => LevelFilter::Trace,
    };
    Ok(Asked::Serve { config: Box::new(serve.into_config()), level })
}

/// clap explains in several lines; the first paragraph is what is wrong.
fn one_line(text: &str) -> String {
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.trim_start_matches("error: ").split_whitespace().collect();
    format!("{}; see boardcast --help", words.join(" "))
}

impl Serve {
    fn into_config(self) -> Config {
        let mut limits = Limits::default();
        if let Some(connections) = self.max_connections {
            limits.connections = connections;
            limits.reserved_for_http = connections / 8;
        }
        limits.per_address = self.max_per_address.unwrap_or(limits.per_address);
        limits.unfinished_heads = self.max_heads.unwrap_or(limits.unfinished_heads);
        limits.workers = self.workers.unwrap_or(limits.workers);
        Config {
            listen: self.listen,
            interval: self.interval,
            name: self.name,
            allow: self.allow,
            allow_origin: self.allow_origin,
            demo: self.demo,
            history_file: self.history_file,
            history_every: self.history_every,
            stdin: self.stdin,
            socket: self.socket.unwrap_or_default(),
            udp: self.udp,
            limits,
            root: self.root,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(Into::into))
    }

    fn config(line: &str) -> Config {
        match asked(line) {
            Ok(Asked::Serve { config, .. }) => *config,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn serve_is_what_it_does_without_a_command() {
        let bare = config("boardcast --interval 100ms --listen 127.0.0.1:0 --max-connections 64");
        let named =
            config("boardcast serve --interval 100ms --listen 127.0.0.1:0 --max-connections 64");
        for config in [bare, named] {
            assert_eq!(config.interval, Duration::from_millis(100));
            assert_eq!(config.listen, [SocketAddr::from(([127, 0, 0, 1], 0))]);
            assert_eq!((config.limits.connections, config.limits.streams()), (64, 56));
        }
        assert!(config("boardcast").listen.is_empty());
    }

    #[test]
    fn a_client_is_asked_for_with_an_address_and_filters() {
        assert!(matches!(asked("boardcast watch"), Ok(Asked::Watch(_))));
        assert!(matches!(
            asked("boardcast watch pi cpu/# --max-hz 0.5 --json"),
            Ok(Asked::Watch(_))
        ));
        assert!(matches!(asked("boardcast once cpu/# --json"), Ok(Asked::Once(_))));
        let Ok(Asked::Print(help)) = asked("boardcast watch --help") else { panic!("no help") };
        assert!(help.contains("[ADDRESS] [FILTER]..."), "{help}");
    }

    #[test]
    fn readings_are_put_as_one_line_or_from_standard_input() {
        for line in [
            "boardcast put a=1 b=true",
            "boardcast put temp -5",
            "boardcast put --stdin",
            "boardcast put --socket /tmp/x a=1",
            "boardcast put --url localhost a=1",
        ] {
            assert!(matches!(asked(line), Ok(Asked::Put(_))), "{line}");
        }
        let config = config("boardcast serve --stdin --socket none --udp 8125");
        assert!(config.stdin && config.socket == SocketPlace::None && config.udp.is_some());
    }

    #[test]
    fn wrong_usage_is_one_line() {
        for line in [
            "boardcast --interval 1",
            "boardcast --listen 8642",
            "boardcast --nonsense",
            "boardcast dance",
            "boardcast --allow nowhere",
            "boardcast --history-every 1s",
            "boardcast -q -v",
            "boardcast --workers x",
            "boardcast watch cpu//usage",
            "boardcast watch pi --max-hz 0",
            "boardcast once http://pi/?channels=cpu",
            "boardcast once --max-hz 5",
            "boardcast put",
            "boardcast put --stdin a=1",
            "boardcast put --url wss://pi a=1",
            "boardcast --udp nowhere",
        ] {
            let error = asked(line).expect_err(line);
            assert!(!error.contains('\n') && error.ends_with("see boardcast --help"), "{error}");
        }
        assert!(matches!(asked("boardcast --help"), Ok(Asked::Print(_))));
        assert!(matches!(asked("boardcast --version"), Ok(Asked::Print(_))));
    }
}
