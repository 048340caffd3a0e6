//! Any bytes at all as a settings file and the environment.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| boardcast::fuzzing::settings(bytes));
