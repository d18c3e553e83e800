//! Any bytes as the directory of a pack: what is read is written back the same.
#![no_main]

#[path = "../../tests/it/fuzz/pack.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
