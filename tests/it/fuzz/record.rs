//! Any bytes as a record: raw, and as the content of one that is properly sealed.

use strongroom::crypto::keys::{Domain, Epoch};
use strongroom::crypto::secret::Secret;
use strongroom::format::envelope::{Kind, append_checksum};
use strongroom::format::record::SignedRecord;
use strongroom::format::sealed::{Sealing, seal_value};

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    let secret = Secret::new([1; 32]);
    let _ = SignedRecord::decode(data, |_| Ok(secret.clone()));
    let sealing = Sealing { secret: &secret, encapsulation: None, domain: Domain(0), epoch: Epoch(0) };
    let mut object = seal_value(Kind::Record, &sealing, [2; 32], data, 512);
    append_checksum(&mut object);
    let _ = SignedRecord::decode(&object, |_| Ok(secret.clone()));
}
