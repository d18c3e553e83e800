//! The keys that one credential holds, and what they let it do.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::formats::envelope::{Envelope, FormatError, Kind, Suite};
use crate::formats::record::Role;
use crate::formats::sealed::Sealing;
use crate::parts::crypto::keys::{Domain, DomainKeys, Epoch, EpochKeys, owner_signer, run_info};
use crate::parts::crypto::run_key::{self, Binding};
use crate::parts::crypto::secret::Secret;
use crate::parts::crypto::sign::Signer;
use crate::words::ids::{CredentialId, RepositoryId};
use crate::words::world::World;

/// What a credential holds.
#[derive(Debug)]
pub struct Keyring {
    /// What it may do.
    pub role: Role,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// Its domain.
    pub domain: Domain,
    /// Keys of the domain.
    pub domain_keys: DomainKeys,
    /// The current epoch.
    pub epoch: Epoch,
    epochs: HashMap<Epoch, EpochKeys>,
    signer: Signer,
    /// Secrets of runs, by encapsulation: finding one takes two scalar multiplications.
    runs: Mutex<HashMap<[u8; 32], Secret>>,
}

/// The secret of one run of ours: what its packs and descriptions are sealed with.
#[derive(Debug, Clone)]
pub struct RunSecret {
    encapsulation: [u8; 32],
    secret: Secret,
    domain: Domain,
    epoch: Epoch,
}

impl RunSecret {
    /// For sealing an object.
    pub fn sealing(&self) -> Sealing<'_> {
        Sealing {
            secret: &self.secret,
            encapsulation: Some(self.encapsulation),
            domain: self.domain,
            epoch: self.epoch,
        }
    }
}

impl Keyring {
    /// The owner's keyring: everything, from the master key.
    pub fn owner(master: &Secret, repository: RepositoryId) -> Self {
        let (domain, epoch) = (Domain::default(), Epoch::default());
        Self {
            role: Role::Owner,
            repository,
            domain,
            domain_keys: DomainKeys::derive(master, domain),
            epoch,
            epochs: HashMap::from([(epoch, EpochKeys::derive(master, epoch))]),
            signer: owner_signer(master),
            runs: Mutex::new(HashMap::new()),
        }
    }

    /// Signs as this credential.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The credential's id.
    pub fn id(&self) -> CredentialId {
        self.signer.public().id()
    }

    /// The public key to which packs are sealed.
    pub fn public(&self) -> [u8; 32] {
        self.current().public
    }

    fn current(&self) -> &EpochKeys {
        self.epochs.get(&self.epoch).expect("a keyring holds the keys of its own epoch")
    }

    fn epoch_keys(&self, epoch: Epoch) -> Result<&EpochKeys, FormatError> {
        let unknown = FormatError::Unknown { what: "epoch", number: u64::from(epoch.0) };
        self.epochs.get(&epoch).ok_or(unknown)
    }

    /// For sealing records and checkpoints.
    pub fn log_sealing(&self) -> Sealing<'_> {
        Sealing { secret: &self.current().log, encapsulation: None, domain: self.domain, epoch: self.epoch }
    }

    /// For sealing segments.
    pub fn index_sealing(&self) -> Sealing<'_> {
        Sealing { secret: &self.domain_keys.index, encapsulation: None, domain: self.domain, epoch: self.epoch }
    }

    /// A fresh secret for a run.
    pub fn begin_run(&self, world: &dyn World) -> RunSecret {
        let info = run_info(self.repository, self.domain, self.epoch);
        let keys = self.current();
        let (encapsulation, secret) =
            run_key::encapsulate(&keys.public, Binding { info: &info, psk: &keys.psk }, world)
                .expect("the public key comes from a key pair of ours");
        RunSecret { encapsulation, secret, domain: self.domain, epoch: self.epoch }
    }

    /// The secret that opens an object with this envelope.
    ///
    /// [`FormatError::WrongKey`] if this credential does not hold it.
    pub fn secret(&self, envelope: &Envelope) -> Result<Secret, FormatError> {
        if envelope.domain != self.domain {
            return Err(FormatError::Unknown { what: "domain", number: u64::from(envelope.domain.0) });
        }
        match (envelope.kind, envelope.suite) {
            (Kind::Record | Kind::Checkpoint, Suite::Shared) => Ok(self.epoch_keys(envelope.epoch)?.log.clone()),
            (Kind::Segment, Suite::Shared) => Ok(self.domain_keys.index.clone()),
            (Kind::DataPack | Kind::MetaPack | Kind::Description, Suite::Sealed) => self.run_secret(envelope),
            (kind, suite) => Err(FormatError::Malformed(format!("a {kind} cannot be of suite {suite:?}"))),
        }
    }

    fn run_secret(&self, envelope: &Envelope) -> Result<Secret, FormatError> {
        let mut runs = self.runs.lock().expect("nothing panics while it holds the lock");
        if let Some(secret) = runs.get(&envelope.encapsulation) {
            return Ok(secret.clone());
        }
        let keys = self.epoch_keys(envelope.epoch)?;
        let seed = keys.open.as_ref().ok_or(FormatError::WrongKey)?;
        let info = run_info(self.repository, envelope.domain, envelope.epoch);
        let binding = Binding { info: &info, psk: &keys.psk };
        let secret = run_key::decapsulate(seed, binding, &envelope.encapsulation).map_err(|_| FormatError::WrongKey)?;
        runs.insert(envelope.encapsulation, secret.clone());
        Ok(secret)
    }
}
