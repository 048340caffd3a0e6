//! Any bytes at all as the file that keeps history.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| boardcast::fuzzing::history(bytes));
