//! Any bytes as a record: raw, and as the content of one that is properly sealed.
#![no_main]

#[path = "../../tests/it/fuzz/record.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
