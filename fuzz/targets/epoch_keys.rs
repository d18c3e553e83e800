//! Any bytes as the content of properly sealed epoch keys.
#![no_main]

#[path = "../../tests/it/fuzz/epoch_keys.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
