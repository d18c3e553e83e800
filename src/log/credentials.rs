//! Credential and Revoke: who may sign.

use std::collections::BTreeSet;

use minicbor::bytes::ByteVec;

use crate::crypto::sign::Verifier;
use crate::format::record::{Certificate, Role};
use crate::format::state::{CredentialState, EpochState};
use crate::primitives::ids::CredentialId;

use super::VoidReason;
use super::staged::Staged;

/// Admits a credential that was never known. There is one owner, in the config: none is admitted.
pub(super) fn admit(staged: &mut Staged<'_>, certificate: &Certificate) -> Result<(), VoidReason> {
    staged.owner_only("admit credentials")?;
    let id = certificate.verifier.id();
    if id == staged.owner() || staged.credentials.has(&id) {
        return Err(VoidReason::CredentialExists(id));
    }
    if certificate.role == Role::Owner {
        return Err(VoidReason::SecondOwner(id));
    }
    staged.credentials.put(id, CredentialState { certificate: certificate.clone(), revoked: None });
    Ok(())
}

/// The epoch that a Revoke begins.
pub(super) struct NextEpoch<'r> {
    pub epoch: u32,
    pub public: Verifier,
    pub sealed: &'r [(CredentialId, ByteVec)],
}

/// Ends a credential and begins the next epoch. Its runs stay open until they are closed.
pub(super) fn revoke(staged: &mut Staged<'_>, credential: CredentialId, next: NextEpoch<'_>) -> Result<(), VoidReason> {
    staged.owner_only("revoke credentials")?;
    let number = staged.number;
    let known = staged.credentials.edit(&credential).filter(|c| c.revoked.is_none());
    known.ok_or(VoidReason::NotRevocable(credential))?.revoked = Some(number);
    let NextEpoch { epoch, public, sealed } = next;
    if staged.epoch.checked_add(1) != Some(epoch) {
        return Err(VoidReason::WrongEpoch { stated: epoch, current: staged.epoch });
    }
    // Whoever were left out could neither read on nor say why.
    let remain = staged.credentials.iter().filter(|(_, c)| c.revoked.is_none()).map(|(id, _)| *id);
    let given: BTreeSet<CredentialId> = sealed.iter().map(|(id, _)| *id).collect();
    if given.len() != sealed.len() || given != remain.collect() {
        return Err(VoidReason::WrongRecipients { epoch });
    }
    staged.epoch = epoch;
    staged.epochs.insert(epoch, EpochState { began: number, public, sealed: sealed.to_vec() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::{Role, VoidReason};
    use crate::crypto::sign::Verifier;
    use crate::format::record::RunKind;

    const CAROL: Verifier = Verifier([44; 32]);

    #[test]
    fn only_the_owner_admits_and_revokes() {
        let mut scene = Scene::new();
        let refused = |what| VoidReason::NotAllowed { writer: ALICE.id(), what };
        scene.void(ALICE, vec![admit(certificate(Role::Backup, CAROL, &[], &[]))], refused("admit credentials"));
        scene.void(ALICE, vec![revoke(BOB, 1)], refused("revoke credentials"));
    }

    #[test]
    fn an_admitted_credential_may_sign_from_the_next_record_on() {
        let mut scene = Scene::new();
        scene.void(CAROL, vec![note()], VoidReason::UnknownWriter(CAROL.id()));
        scene.ok(OWNER, vec![admit(certificate(Role::Backup, CAROL, &[7], &[]))]);
        scene.ok(CAROL, vec![begin(RunKind::Backup, 7)]);
    }

    #[test]
    fn a_credential_is_admitted_once_for_ever_and_never_as_owner() {
        let mut scene = Scene::new();
        for known in [ALICE, OWNER] {
            let again = vec![admit(certificate(Role::Backup, known, &[], &[]))];
            scene.void(OWNER, again, VoidReason::CredentialExists(known.id()));
        }
        let owner = vec![admit(certificate(Role::Owner, CAROL, &[], &[]))];
        scene.void(OWNER, owner, VoidReason::SecondOwner(CAROL.id()));
        scene.ok(OWNER, vec![revoke(ALICE, 1)]);
        let back = vec![admit(certificate(Role::Backup, ALICE, &[], &[]))];
        scene.void(OWNER, back, VoidReason::CredentialExists(ALICE.id()));
    }

    #[test]
    fn a_known_live_credential_is_revoked_into_the_next_epoch() {
        let mut scene = Scene::new();
        for epoch in [0, 2, u32::MAX] {
            scene.void(OWNER, vec![revoke(ALICE, epoch)], VoidReason::WrongEpoch { stated: epoch, current: 0 });
        }
        for unknown in [CAROL, OWNER] {
            scene.void(OWNER, vec![revoke(unknown, 1)], VoidReason::NotRevocable(unknown.id()));
        }
        for to in [&[][..], &[BOB], &[ALICE, BOB, RITA], &[BOB, CAROL], &[BOB, BOB]] {
            scene.void(OWNER, vec![revoke_sealing(ALICE, 1, to)], VoidReason::WrongRecipients { epoch: 1 });
        }
        let number = scene.ok(OWNER, vec![revoke(ALICE, 1), revoke_sealing(BOB, 2, &[RITA])]);
        assert_eq!(scene.state.epochs.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(scene.state.epoch, 2);
        assert_eq!(scene.state.credentials[&ALICE.id()].revoked, Some(number));
        scene.void(OWNER, vec![revoke(ALICE, 3)], VoidReason::NotRevocable(ALICE.id()));
    }
}
