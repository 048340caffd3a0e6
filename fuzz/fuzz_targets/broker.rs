//! Any bytes at all as what an MQTT broker says.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| boardcast::fuzzing::broker(bytes));
