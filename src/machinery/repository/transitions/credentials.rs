//! Credential and Revoke: who may sign.

use crate::formats::record::{Certificate, Role};
use crate::formats::state::CredentialState;
use crate::words::ids::CredentialId;

use super::VoidReason;
use super::draft::Draft;

/// Admits a credential that was never known. There is one owner, in the config: none is admitted.
pub(super) fn admit(draft: &mut Draft<'_>, certificate: &Certificate) -> Result<(), VoidReason> {
    draft.owner_only("admit credentials")?;
    let id = certificate.verifier.id();
    if id == draft.owner() || draft.credentials.has(&id) {
        return Err(VoidReason::CredentialExists(id));
    }
    if certificate.role == Role::Owner {
        return Err(VoidReason::SecondOwner(id));
    }
    draft.credentials.put(id, CredentialState { certificate: certificate.clone(), revoked: None });
    Ok(())
}

/// Ends a credential and begins the next epoch. Its runs stay open until they are closed.
pub(super) fn revoke(draft: &mut Draft<'_>, credential: CredentialId, epoch: u32) -> Result<(), VoidReason> {
    draft.owner_only("revoke credentials")?;
    let number = draft.number;
    let known = draft.credentials.edit(&credential).filter(|c| c.revoked.is_none());
    known.ok_or(VoidReason::NotRevocable(credential))?.revoked = Some(number);
    if draft.epoch.checked_add(1) != Some(epoch) {
        return Err(VoidReason::WrongEpoch { stated: epoch, current: draft.epoch });
    }
    draft.epoch = epoch;
    Ok(())
}
