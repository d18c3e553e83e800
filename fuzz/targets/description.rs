//! Any bytes as the content of a properly sealed description.
#![no_main]

#[path = "../../tests/it/fuzz/description.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
