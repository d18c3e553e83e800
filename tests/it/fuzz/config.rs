//! Any bytes as a config, raw and behind a sound checksum.

use strongroom::format::config::Config;
use strongroom::format::envelope::{Envelope, Kind, append_checksum};

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    let _ = Config::decode(data);
    let mut object = Envelope::clear(Kind::Config, [1; 32]).encode().to_vec();
    object.extend_from_slice(data);
    append_checksum(&mut object);
    let _ = Config::decode(&object);
}
