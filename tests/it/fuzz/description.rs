//! Any bytes as the content of a properly sealed description.

use strongroom::crypto::keys::{Domain, Epoch};
use strongroom::crypto::secret::Secret;
use strongroom::format::description::{RunDescription, SnapshotDescription, open};
use strongroom::format::envelope::Kind;
use strongroom::format::sealed::{Sealing, seal_value};

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    let secret = Secret::new([1; 32]);
    let sealing = Sealing { secret: &secret, encapsulation: Some([4; 32]), domain: Domain(0), epoch: Epoch(0) };
    let sealed = seal_value(Kind::Description, &sealing, [2; 32], data, 0);
    let _ = open::<SnapshotDescription>(&sealed, |_| Ok(secret.clone()));
    let _ = open::<RunDescription>(&sealed, |_| Ok(secret.clone()));
    let _ = open::<SnapshotDescription>(data, |_| Ok(secret.clone()));
}
