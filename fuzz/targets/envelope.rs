//! Any bytes as an envelope: what is read is written back the same.
#![no_main]

#[path = "../inputs/envelope.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
