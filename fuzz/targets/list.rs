//! Any bytes as a list node: what is read survives being written and read again.
#![no_main]

#[path = "../../tests/it/fuzz/list.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
