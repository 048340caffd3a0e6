//! `boardcast`: see what this board is doing, live, in a browser.

use std::{io::Write, process::ExitCode};

use boardcast::{
    cli::{self, Asked},
    daemon,
    net::Ended,
};

fn main() -> ExitCode {
    let (config, level) = match cli::parse(std::env::args_os()) {
        Ok(Asked::Serve { config, level }) => (config, level),
        Ok(Asked::Print(text)) => {
            // A closed pipe (`boardcast --help | head`) is no fault.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(usage) => {
            eprintln!("boardcast: {usage}");
            return ExitCode::from(2);
        }
    };
    init_logging(level);
    log_panics();
    match daemon::serve(*config) {
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

/// `RUST_LOG` goes before the flags.
fn init_logging(level: log::LevelFilter) {
    env_logger::Builder::new().filter_level(level).parse_default_env().init();
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
