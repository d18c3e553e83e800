//! Any bytes as an envelope: what is read is written back the same.

use strongroom::format::envelope::{ENVELOPE_LEN, Envelope};

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    if let Ok(envelope) = Envelope::decode(data) {
        assert_eq!(envelope.encode()[..], data[..ENVELOPE_LEN]);
    }
}
