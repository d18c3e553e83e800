//! A log that anybody may have written, folded into a cache: a backup credential signs a record whose operations are those
//! of another, changed as the input says, and objects that the log names are changed. A bare machine lists, looks up and
//! verifies: it may refuse, and never ends.
#![no_main]

#[path = "../../tests/it/fuzz/fold.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| input::check(data));
