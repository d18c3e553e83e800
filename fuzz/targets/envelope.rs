//! Any bytes as an envelope: what is read is written back the same.
#![no_main]

#[path = "../../tests/it/fuzz/envelope.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
