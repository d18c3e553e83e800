//! Any bytes as a dump, and as a value and a name in a sound one.
#![no_main]

#[path = "../../tests/it/fuzz/count_mysql.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
