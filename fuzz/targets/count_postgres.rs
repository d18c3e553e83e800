//! Any bytes as a plain dump of PostgreSQL.
#![no_main]

#[path = "../../tests/it/fuzz/count_postgres.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
