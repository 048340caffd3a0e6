//! `boardcast`: see what this board is doing, live, in a browser.

use std::{io::Write, process::ExitCode, time::SystemTime};

use boardcast::{
    cli::{self, Asked},
    config::{self, Config, Request},
    daemon,
    net::Ended,
    watch,
};

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(Asked::Serve(request)) => serve(*request, daemon::serve),
        Ok(Asked::Fleet(request)) => serve(*request, daemon::fleet),
        Ok(Asked::Check(request)) => check(&request),
        Ok(Asked::Config(request)) => show(&request),
        Ok(Asked::Watch(asked)) => client(watch::watch(&asked)),
        Ok(Asked::Once(asked)) => client(watch::once(&asked)),
        Ok(Asked::Channels(asked)) => client(watch::channels(&asked)),
        Ok(Asked::Doctor(doctor)) => match doctor.run() {
            Ok(false) => ExitCode::FAILURE,
            ended => client(ended.map(drop)),
        },
        Ok(Asked::Token(token)) => client(token.run().map(|text| print(&text))),
        Ok(Asked::Discover(discover)) => client(discover.run().map(|text| print(&text))),
        Ok(Asked::Cert(cert)) => client(cert.run().map(|text| print(&text))),
        Ok(Asked::Put(put)) => client(put.run(std::io::stdin())),
        Ok(Asked::Print(text)) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(usage) => {
            eprintln!("boardcast: {usage}");
            ExitCode::from(2)
        }
    }
}

/// A client ends by itself, or with one line that says why. It does not log:
/// its output is for people or for a pipe.
fn client(ended: boardcast::Result<()>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("boardcast: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(request: Request, run: fn(Config, Request) -> boardcast::Result<Ended>) -> ExitCode {
    let loaded = match config::load(&request) {
        Ok(loaded) => loaded,
        Err(complaints) => {
            let more = match complaints.len() {
                0 | 1 => String::new(),
                number => format!(" (and {} more; boardcast check tells all)", number - 1),
            };
            let first = complaints.first().map(ToString::to_string).unwrap_or_default();
            eprintln!("boardcast: {first}{more}");
            // Wrong usage, and starting it again does not mend it.
            return ExitCode::from(2);
        }
    };
    init_logging(loaded.config.level);
    log_panics();
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    match run(loaded.config, request) {
        Ok(Ended::Stopped) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted) => {
            log::warn!("stopped at once; some connections were cut");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("boardcast: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Each complaint is a line that editors understand.
fn check(request: &Request) -> ExitCode {
    let (warnings, outcome) = match config::load(request) {
        Ok(loaded) => match loaded.config.gate.gate() {
            Ok(_) => {
                print(&(config::summary(&loaded) + "\n"));
                (loaded.warnings, ExitCode::SUCCESS)
            }
            Err(error) => {
                eprintln!("{error}");
                (loaded.warnings, ExitCode::FAILURE)
            }
        },
        Err(complaints) => (complaints, ExitCode::FAILURE),
    };
    for warning in warnings {
        eprintln!("{warning}");
    }
    outcome
}

fn show(request: &Request) -> ExitCode {
    match config::load(request) {
        Ok(loaded) => {
            print(&config::text(&loaded));
            ExitCode::SUCCESS
        }
        Err(_) => check(request),
    }
}

/// A closed pipe (`boardcast --help | head`) is no fault.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// `RUST_LOG` goes before the flags. tungstenite would log whole messages as
/// they came, with whatever a peer has put there: it must be asked for by name.
fn init_logging(level: log::LevelFilter) {
    env_logger::Builder::new()
        .filter_level(level)
        .filter_module("tungstenite", level.min(log::LevelFilter::Warn))
        .parse_default_env()
        .format(|line, record| {
            let time = humantime::format_rfc3339_seconds(SystemTime::now());
            let (level, target, text) = (record.level(), record.target(), record.args());
            writeln!(line, "[{time} {level:<5} {target}] {text}")
        })
        .init();
}

/// A panic is one line in the log, with its place and without a backtrace.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("a fault of the program");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        log::error!("panic: {message} ({place})");
    }));
}
