//! Any bytes at all as what a program prints that knows nothing of the grammar.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| boardcast::fuzzing::foreign(bytes));
