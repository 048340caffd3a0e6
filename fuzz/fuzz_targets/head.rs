//! Any bytes at all as a stranger's request, and its body in chunks.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| boardcast::fuzzing::head(bytes));
