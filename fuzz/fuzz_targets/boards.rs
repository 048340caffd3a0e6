//! Any bytes at all as what the boards of a fleet say.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| boardcast::fuzzing::boards(bytes));
