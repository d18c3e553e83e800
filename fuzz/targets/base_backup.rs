//! Any bytes as the archive of a base backup, and as one of its entries.
#![no_main]

#[path = "../../tests/it/fuzz/base_backup.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
