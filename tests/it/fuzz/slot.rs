//! Any bytes as a key slot, raw and behind a sound checksum. No passphrase is stretched here.

use strongroom::format::envelope::{Envelope, Kind, Suite, append_checksum};
use strongroom::format::slot::Slot;

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    let _ = Slot::decode(data);
    let envelope = Envelope { suite: Suite::Shared, ..Envelope::clear(Kind::Slot, [1; 32]) };
    let mut object = envelope.encode().to_vec();
    object.extend_from_slice(data);
    append_checksum(&mut object);
    let _ = Slot::decode(&object);
}
