//! Any bytes at all as a WebSocket's peer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| boardcast::fuzzing::frames(bytes));
