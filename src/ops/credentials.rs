//! Credentials: admitting machines, listing them, and ending what they may do.

use crate::crypto::keys::Epoch;
use crate::crypto::secret::Secret;
use crate::crypto::sign::Verifier;
use crate::format::credential::CredentialFile;
use crate::format::description::{self, CredentialDescription};
use crate::format::record::{Certificate, Operation, Role};
use crate::format::state::{CredentialState, State};
use crate::primitives::ids::{CredentialId, RunId};
use crate::primitives::system::random;
use crate::repository::{Repository, RepositoryError, Result};

/// What a new credential is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCredential {
    /// [`Role::Backup`] or [`Role::Read`].
    pub role: Role,
    /// Its name, for people.
    pub name: String,
    /// Hosts it may speak for; a backup credential needs at least one.
    pub hosts: Vec<String>,
    /// Sources it may speak for; empty: any.
    pub sources: Vec<String>,
    /// Where the machine finds the repository.
    pub location: String,
}

/// A credential, as `list` shows it.
#[derive(Debug, Clone)]
pub struct CredentialReport {
    /// Its id.
    pub id: CredentialId,
    /// What it may do.
    pub role: Role,
    /// Number of the record that revoked it.
    pub revoked: Option<u64>,
    /// What was said of it; `None` if this credential may not read that.
    pub described: Option<CredentialDescription>,
    /// Its runs that are open.
    pub open_runs: Vec<RunId>,
}

/// What came of revoking one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeReport {
    /// Which.
    pub id: CredentialId,
    /// The epoch that began.
    pub epoch: u32,
    /// Credentials that were handed its keys.
    pub remaining: usize,
    /// Runs of the revoked one that were closed.
    pub closed: Vec<RunId>,
}

/// Makes the file of a new credential. It is worth nothing until it is [`admit`]ted: so it can be written first.
pub fn prepare(repository: &Repository, new: NewCredential) -> Result<CredentialFile> {
    repository.master_for("make credentials")?;
    if new.role == Role::Owner {
        return refused("there is one owner; `strongroom key add` gives it another passphrase");
    }
    if new.role == Role::Backup && repository.config.single_writer.is_some() {
        return refused("this repository was made with --single-writer: no other credential may write");
    }
    if new.role == Role::Backup && new.hosts.is_empty() {
        return refused("a backup credential needs at least one host that it may speak for");
    }
    let (keys, system) = (&repository.keys, &*repository.system);
    let epochs = keys.epochs_for(new.role, Epoch(repository.state().epoch));
    Ok(CredentialFile {
        repository: repository.config.id,
        owner: repository.config.owner,
        role: new.role,
        signing: Secret::random(system),
        sealing: Secret::random(system),
        domain: keys.domain,
        domain_keys: keys.domain_keys.clone(),
        epochs: epochs.map_err(RepositoryError::object("the new credential"))?,
        name: new.name,
        hosts: new.hosts,
        sources: new.sources,
        location: new.location,
    })
}

/// Admits the credential of a file made by [`prepare`].
pub fn admit(repository: &Repository, file: &CredentialFile) -> Result<()> {
    let (keys, system) = (&repository.keys.domain_keys, &*repository.system);
    let described = CredentialDescription {
        name: file.name.clone(),
        hosts: file.hosts.clone(),
        sources: file.sources.clone(),
        created_ms: system.now_ms(),
    };
    let certificate = Certificate {
        role: file.role,
        verifier: file.signer().public(),
        sealing: file.sealing_public(),
        hosts: file.hosts.iter().map(|h| keys.host(h)).collect(),
        sources: file.sources.iter().map(|s| keys.source(s)).collect(),
        description: description::seal(&described, &repository.run_secret()?.sealing(), random(system)),
    };
    let made_in = file.epochs.len() as u32 - 1;
    repository.append(&mut |state| {
        if state.epoch != made_in {
            return refused("another credential was revoked meanwhile, and the new file lacks the keys since then");
        }
        Ok(vec![Operation::Credential { certificate: certificate.clone() }])
    })?;
    Ok(())
}

/// All credentials but the owner's, those that were revoked too.
pub fn list(repository: &Repository) -> Vec<CredentialReport> {
    let state = repository.state();
    let report = |(id, credential): (&CredentialId, &CredentialState)| CredentialReport {
        id: *id,
        role: credential.certificate.role,
        revoked: credential.revoked,
        described: description::open(&credential.certificate.description, |e| repository.keys.secret(e)).ok(),
        open_runs: open_runs(&state, *id),
    };
    state.credentials.iter().map(report).collect()
}

fn open_runs(state: &State, writer: CredentialId) -> Vec<RunId> {
    state.open_runs().filter(|(_, run)| run.writer == writer).map(|(id, _)| id).collect()
}

/// Ends the credential, closes its runs, and begins an epoch whose keys it does not get.
pub fn revoke(repository: &Repository, id: CredentialId) -> Result<RevokeReport> {
    repository.master_for("revoke credentials")?;
    let mut report = RevokeReport { id, epoch: 0, remaining: 0, closed: Vec::new() };
    repository.append(&mut |state| {
        let operations = revocation(repository, state, id)?;
        report.epoch = state.epoch + 1;
        report.closed = open_runs(state, id);
        report.remaining = state.live_credentials().count().saturating_sub(1);
        Ok(operations)
    })?;
    Ok(report)
}

fn revocation(repository: &Repository, state: &State, id: CredentialId) -> Result<Vec<Operation>> {
    let (keys, system, epoch) = (&repository.keys, &*repository.system, Epoch(state.epoch + 1));
    let bad = RepositoryError::object("the keys of the next epoch");
    let seal = |(id, c): (CredentialId, &CredentialState)| {
        let certificate = &c.certificate;
        keys.seal_epoch(epoch, (id, certificate.sealing), certificate.role, system).map(|sealed| (id, sealed.into()))
    };
    let sealed: Result<Vec<_>, _> = state.live_credentials().filter(|(other, _)| *other != id).map(seal).collect();
    let (sealed, next) = match (sealed, keys.epoch_keys(epoch)) {
        (Ok(sealed), Ok(next)) => (sealed, next),
        (Err(e), _) | (_, Err(e)) => return Err(bad(e)),
    };
    let close = open_runs(state, id).into_iter().map(|run| Operation::Close { run });
    let revoke = Operation::Revoke { credential: id, epoch: epoch.0, public: Verifier(next.public), sealed };
    Ok(close.chain(std::iter::once(revoke)).collect())
}

/// The one credential whose id begins so, or that has this name and is not revoked.
pub fn find(repository: &Repository, text: &str) -> Result<CredentialId> {
    let all = list(repository);
    let named = |c: &&CredentialReport| {
        c.revoked.is_none() && c.described.as_ref().is_some_and(|d| d.name == text)
            || text.len() >= 4 && c.id.to_string().starts_with(text)
    };
    match all.iter().filter(named).collect::<Vec<_>>()[..] {
        [one] => Ok(one.id),
        [] => refused(format!("no credential is called {text:?} or has an id that begins so")),
        [..] => refused(format!("{text:?} may mean several credentials: give more digits of the id")),
    }
}

fn refused<T>(what: impl Into<String>) -> Result<T> {
    Err(RepositoryError::NotAllowed { what: what.into() })
}
