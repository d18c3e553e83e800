//! Any bytes as an envelope: what is read is written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::format::envelope::{ENVELOPE_LEN, Envelope};

fuzz_target!(|data: &[u8]| {
    if let Ok(envelope) = Envelope::decode(data) {
        assert_eq!(envelope.encode()[..], data[..ENVELOPE_LEN]);
    }
});
