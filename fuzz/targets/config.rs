//! Any bytes as a config, raw and behind a sound checksum.
#![no_main]

#[path = "../../tests/it/fuzz/config.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
