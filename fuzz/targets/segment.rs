//! Any bytes as the parts of a segment, in clear and sealed.
#![no_main]

#[path = "../../tests/it/fuzz/segment.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
