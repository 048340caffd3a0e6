//! Any bytes at all as a client's JSON, and as the query of `/ws`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| boardcast::fuzzing::control(bytes));
