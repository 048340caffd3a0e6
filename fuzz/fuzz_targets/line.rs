//! Any bytes at all as a pushed line, and as a `publish` message.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| boardcast::fuzzing::line(bytes));
