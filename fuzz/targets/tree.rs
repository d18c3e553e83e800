//! Any bytes as a tree node: what is read survives being written and read again.
#![no_main]

#[path = "../../tests/it/fuzz/tree.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
