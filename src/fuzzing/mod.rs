//! Anything at all as what comes from outside: one body for each way in.
//!
//! | body | whose bytes |
//! |---|---|
//! | [`head`] | a stranger's request, and its body in chunks |
//! | [`frames`] | a WebSocket's peer, compressed or not |
//! | [`settings`] | a settings file and the environment |
//! | [`history`] | the file that keeps history |
//! | [`line`] | a pushed line |
//! | [`foreign`] | what a program prints that knows nothing of the grammar |
//! | [`broker`] | what an MQTT broker says (feature `mqtt`) |
//! | [`boards`] | what the boards of a fleet say |
//! | [`control`] | a client's JSON, and the query of `/ws` |
//! | [`filters`] | what a client asks to see |
//!
//! A body panics when something that is promised does not hold. cargo-fuzz
//! calls it with what it finds to be new (`fuzz/`), `cargo test` with variations
//! of the seeds in `tests/data/fuzz` (`seeded`).
//!
//! It is compiled for tests and where cargo-fuzz sets `--cfg fuzzing`: bodies
//! look at what is private, and neither the public API nor the program has a
//! trace of them. A feature would stand in the list of features for all to see.

#[cfg(test)]
mod seeded;
mod texts;

pub use self::texts::{control, filters, foreign, line, settings};
#[cfg(feature = "mqtt")]
pub use crate::mqtt::fuzzing::broker;
pub use crate::{
    app::fuzzing::boards,
    net::fuzzing::{frames, head},
    telemetry::history_fuzzing::history,
};
