//! The command line, and nothing but the command line.

use std::path::PathBuf;

use clap::{
    Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand, error::ErrorKind,
    value_parser,
};

use crate::{
    cert::Cert,
    config::{Config, Flags, KEYS, Key, PORT, Request, Scope, Shape},
    doctor::Doctor,
    mdns::Discover,
    net::Role,
    put::Put,
    token::{self, Task, Token},
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
    /// Serve the page and the stream of many boards.
    ///
    /// Each device's channels begin with its name; the page opens with an
    /// overview. Any number of these servers can run side by side: they need
    /// nothing from one another. docs/fleet.md tells more.
    Fleet(Box<FleetServe>),
    /// Say whether the settings are fine, and if not, where and what to write instead.
    ///
    /// One line for each thing that is wrong: file, line, column, and how to
    /// mend it. Exit code 1 when anything is. Nothing is started.
    Check {
        /// Files to check, or folders of *.toml files [default: those that serve would read].
        #[arg(value_name = "PATH")]
        files: Vec<PathBuf>,
        /// Options of serve, to be checked with the files.
        #[command(flatten)]
        serve: Box<Serve>,
    },
    /// Print the settings in force, as a settings file, and where each came from.
    Config(Box<Serve>),
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
        #[command(flatten)]
        shown: Shown,
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
    /// Make, list and take back tokens: who may push readings in from another machine, and who may
    /// look where that needs one.
    ///
    /// The secret of a new one is printed, and kept nowhere; the file holds its hash.
    Token {
        #[command(subcommand)]
        task: TokenTask,
    },
    /// Make a certificate for this board, signed by itself, and its key.
    ///
    /// It is for the board's names and addresses, and for those that are named
    /// here, and valid for 800 days. docs/tls.md says how it is trusted, and
    /// what else there is.
    Cert {
        /// Names beside the board's own: pi.example.org, 10.0.0.7.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// The folder for cert.pem and key.pem.
        #[arg(long, value_name = "FOLDER", default_value = "/etc/boardcast/tls")]
        out: PathBuf,
        /// Replace what is there; a server that runs takes it up by itself.
        #[arg(long)]
        force: bool,
    },
    /// List the boards on this network: name, page, host, version.
    ///
    /// They are asked over multicast DNS. Exit code 1 when none has answered.
    Discover {
        /// Wait so many seconds for answers.
        #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = value_parser!(u64).range(1..=60))]
        timeout: u64,
        /// Print JSON: an array of objects with device, url, host and version.
        #[arg(long)]
        json: bool,
    },
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

#[derive(Debug, Subcommand)]
enum TokenTask {
    /// Make a token and print it.
    New {
        /// Whose it is: phone, shed.
        name: String,
        /// What it is good for: view, or publish (which is both).
        #[arg(long, value_name = "ROLE", default_value = "view")]
        role: Role,
        #[command(flatten)]
        file: TokenFile,
    },
    /// Print whose tokens there are, and their roles.
    List(TokenFile),
    /// Take one back.
    Revoke {
        /// Whose it is.
        name: String,
        #[command(flatten)]
        file: TokenFile,
    },
}

#[derive(Debug, Args)]
struct TokenFile {
    /// The file of tokens [default: the one that the settings name].
    #[arg(long, value_name = "PATH")]
    tokens: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Shown {
    /// Show the board the token in this file [default: that in $BOARDCAST_TOKEN, if any].
    #[arg(long, value_name = "PATH")]
    token_file: Option<PathBuf>,
}

impl Shown {
    fn secret(&self) -> Result<Option<String>, String> {
        token::secret(self.token_file.as_deref()).map_err(|error| one_line(&error.to_string()))
    }
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
    #[command(flatten)]
    shown: Shown,
    /// For https:// and wss://: trust the certificates in this file (PEM) instead of the system's;
    /// the board's own cert.pem, say.
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
}

impl What {
    fn into_watch(self, max_hz: Option<f64>) -> Result<Box<Watch>, String> {
        let token = self.shown.secret()?;
        let arguments: Vec<_> = self.address.into_iter().chain(self.filters).collect();
        let watch = Watch::parse(&arguments, max_hz, self.json)
            .and_then(|watch| watch.showing(token).trusting(self.authority));
        watch.map(Box::new).map_err(|error| one_line(&error.to_string()))
    }
}

/// The options of the server: those of the table of settings, and a few that
/// are no settings.
#[derive(Debug)]
struct Serve {
    flags: Flags,
    config: Vec<PathBuf>,
    root: PathBuf,
}

impl Args for Serve {
    fn augment_args(command: clap::Command) -> clap::Command {
        Self::augment(command, Scope::Board)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// The settings that are options of this command.
fn options_of(scope: Scope) -> impl Iterator<Item = &'static Key> {
    let of = move |key: &&Key| key.scope == Scope::Both || key.scope == scope;
    KEYS.iter().filter(|key| key.flag.is_some()).filter(of)
}

impl Serve {
    fn augment(command: clap::Command, scope: Scope) -> clap::Command {
        let options = options_of(scope).filter_map(|key| {
            let (option, value) = key.flag?;
            let argument = Arg::new(key.name).long(option).help(key.help);
            Some(match key.shape {
                Shape::Truth => argument.action(ArgAction::SetTrue),
                _ => argument.value_name(value).action(ArgAction::Append),
            })
        });
        command.args(options).arg(config_argument().help(
            "Read these settings instead of /etc/boardcast/boardcast.toml and conf.d/*.toml beside \
             it; a folder stands for its *.toml files",
        )).args([
            Arg::new("quiet")
                .long("quiet")
                .short('q')
                .help("Print nothing but warnings and errors")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["verbose", "log"]),
            Arg::new("verbose")
                .long("verbose")
                .short('v')
                .help("Print more; twice: everything")
                .action(ArgAction::Count)
                .conflicts_with("log"),
            root_argument(),
        ])
    }

    fn from(matches: &ArgMatches, scope: Scope) -> Self {
        let mut flags: Flags = Vec::new();
        for key in options_of(scope) {
            let values = match (key.shape, key.flag) {
                (Shape::Truth, Some((option, _))) => {
                    let truth = !option.starts_with("no-");
                    matches.get_flag(key.name).then(|| vec![truth.to_string()])
                }
                _ => matches.get_many(key.name).map(|values| values.cloned().collect()),
            };
            flags.extend(values.map(|values| (key, values)));
        }
        let level = match (matches.get_flag("quiet"), matches.get_count("verbose")) {
            (true, _) => Some("warn"),
            (false, 0) => None,
            (false, 1) => Some("debug"),
            (false, _) => Some("trace"),
        };
        let log = level.zip(Key::find("log"));
        flags.extend(log.map(|(level, key)| (key, vec![level.to_owned()])));
        let config = matches.get_many("config").into_iter().flatten().cloned().collect();
        let root = matches.get_one("root").cloned().unwrap_or_else(|| "/".into());
        Self { flags, config, root }
    }
}

impl FromArgMatches for Serve {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::from(matches, Scope::Board))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The same options, but those that only a board has, and a fleet's own.
#[derive(Debug)]
struct FleetServe(Serve);

impl Args for FleetServe {
    fn augment_args(command: clap::Command) -> clap::Command {
        Serve::augment(command, Scope::Fleet)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FleetServe {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(Serve::from(matches, Scope::Fleet)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Serve {
    /// What to read the settings from; an option that cannot be is wrong usage.
    fn into_request(self) -> Result<Request, String> {
        for (key, values) in &self.flags {
            key.set(&mut Config::default(), values).map_err(|error| {
                let option = key.flag.map_or(key.name, |(option, _)| option);
                one_line(&format!("--{option}: {error}"))
            })?;
        }
        Ok(Request::new(self.config, self.flags, self.root))
    }
}

fn config_argument() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("PATH")
        .value_parser(value_parser!(PathBuf))
        .action(ArgAction::Append)
}

fn root_argument() -> Arg {
    Arg::new("root")
        .long("root")
        .value_name("FOLDER")
        .help("Read the board's files below this folder instead (for tests)")
        .value_parser(value_parser!(PathBuf))
        .hide(true)
}

/// The command line as data, for what is made from it: the manual page and the
/// shells' completions.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// Serve, with the settings that are found so.
    Serve(Box<Request>),
    /// Serve many boards, with the settings that are found so.
    Fleet(Box<Request>),
    /// Say what is wrong with these settings.
    Check(Box<Request>),
    /// Print these settings and where each came from.
    Config(Box<Request>),
    /// Show what a board says, until a signal.
    Watch(Box<Watch>),
    /// Show the newest readings of a board, once.
    Once(Box<Watch>),
    /// List the channels of a board.
    Channels(Box<Watch>),
    /// Push readings to a board.
    Put(Put),
    /// Do something with tokens.
    Token(Token),
    /// Make a certificate.
    Cert(Cert),
    /// List the boards on this network.
    Discover(Discover),
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
        Some(Command::Fleet(serve)) => {
            return serve.0.into_request().map(|request| Asked::Fleet(Box::new(request)));
        }
        Some(Command::Check { files, mut serve }) => {
            serve.config.extend(files);
            return serve.into_request().map(|request| Asked::Check(Box::new(request)));
        }
        Some(Command::Config(serve)) => {
            return serve.into_request().map(|request| Asked::Config(Box::new(request)));
        }
        Some(Command::Watch { what, max_hz }) => return what.into_watch(max_hz).map(Asked::Watch),
        Some(Command::Once(what)) => return what.into_watch(None).map(Asked::Once),
        Some(Command::Channels(what)) => return what.into_watch(None).map(Asked::Channels),
        Some(Command::Cert { names, out, force }) => {
            return Ok(Asked::Cert(Cert { names, out, force }));
        }
        Some(Command::Discover { timeout, json }) => {
            let time = std::time::Duration::from_secs(timeout);
            return Ok(Asked::Discover(Discover { time, json }));
        }
        Some(Command::Doctor { port, json, root }) => {
            return Ok(Asked::Doctor(Doctor { root, port, json }));
        }
        Some(Command::Token { task }) => {
            let (task, file) = match task {
                TokenTask::New { name, role, file } => (Task::New(name, role), file),
                TokenTask::List(file) => (Task::List, file),
                TokenTask::Revoke { name, file } => (Task::Revoke(name), file),
            };
            return Ok(Asked::Token(Token { task, file: file.tokens }));
        }
        Some(Command::Put { readings, stdin: _, socket, url, shown }) => {
            let token = shown.secret()?;
            let line = (!readings.is_empty()).then(|| readings.join(" "));
            let put = Put::new(line, socket, url.as_deref()).map(|put| put.showing(token));
            return put.map(Asked::Put).map_err(|error| one_line(&error.to_string()));
        }
        None => cli.serve,
    };
    serve.into_request().map(|request| Asked::Serve(Box::new(request)))
}

/// clap explains in several lines; the first paragraph is what is wrong.
fn one_line(text: &str) -> String {
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.trim_start_matches("error: ").split_whitespace().collect();
    format!("{}; see boardcast --help", words.join(" "))
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use super::*;
    use crate::config::SocketPlace;

    fn asked(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(Into::into))
    }

    /// The settings of the command line alone.
    fn config(line: &str) -> Config {
        let Ok(Asked::Serve(request)) = asked(line) else { panic!("{line}") };
        let mut config = Config::default();
        for (key, values) in &request.flags {
            key.set(&mut config, values).expect(line);
        }
        config
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
        assert_eq!(config("boardcast -vv").level, log::LevelFilter::Trace);
        assert_eq!(config("boardcast --quiet").level, log::LevelFilter::Warn);
    }

    #[test]
    fn a_fleet_has_options_of_its_own_and_none_that_only_a_board_has() {
        let line = "boardcast fleet --board pi1 --board shed=10.0.0.7 --offline-after 30s -q";
        let Ok(Asked::Fleet(request)) = asked(line) else { panic!("no fleet") };
        let mut config = Config::default();
        for (key, values) in &request.flags {
            key.set(&mut config, values).expect(line);
        }
        let boards: Vec<_> = config.fleet.boards.iter().map(ToString::to_string).collect();
        assert_eq!(boards, ["pi1=ws://pi1:8642/ws", "shed=ws://10.0.0.7:8642/ws"]);
        assert_eq!(config.fleet.offline_after, Duration::from_secs(30));
        for wrong in [
            "boardcast fleet --demo",
            "boardcast fleet --interval 1s",
            "boardcast --board pi1",
            "boardcast fleet --board pi1 --board pi1:9",
            "boardcast fleet --board x=ftp://pi1",
        ] {
            asked(wrong).expect_err(wrong);
        }
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
    fn a_certificate_is_for_further_names_and_goes_where_it_is_told() {
        let Ok(Asked::Cert(cert)) = asked("boardcast cert --out /tmp/x pi.example.org 10.0.0.7")
        else {
            panic!("no certificate")
        };
        assert_eq!(cert.names, ["pi.example.org", "10.0.0.7"]);
        assert_eq!((cert.out, cert.force), (PathBuf::from("/tmp/x"), false));
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
            "boardcast --log loud",
            "boardcast -v --log info",
            "boardcast check --interval 1",
            "boardcast config x.toml",
            "boardcast token",
            "boardcast token new",
            "boardcast token new phone --role admin",
            "boardcast watch --token-file /nonexistent",
        ] {
            let error = asked(line).expect_err(line);
            assert!(!error.contains('\n') && error.ends_with("see boardcast --help"), "{error}");
        }
        assert!(matches!(asked("boardcast --help"), Ok(Asked::Print(_))));
        assert!(matches!(asked("boardcast --version"), Ok(Asked::Print(_))));
    }
}
