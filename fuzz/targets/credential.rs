//! Any bytes as a credential file, raw and behind a sound checksum.
#![no_main]

#[path = "../../tests/it/fuzz/credential.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
