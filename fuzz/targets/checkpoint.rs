//! Any bytes as a checkpoint and as a folded state.
#![no_main]

#[path = "../../tests/it/fuzz/checkpoint.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
