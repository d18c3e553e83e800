//! Any bytes as a key slot, raw and behind a sound checksum. No passphrase is stretched here.
#![no_main]

#[path = "../../tests/it/fuzz/slot.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
