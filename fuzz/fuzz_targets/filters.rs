//! Any bytes at all as what a client asks to see.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| boardcast::fuzzing::filters(bytes));
