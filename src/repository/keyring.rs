//! The keys that one credential holds, and what they let it do.

use std::collections::{BTreeMap, HashMap};

use parking_lot::{Mutex, MutexGuard};

use crate::crypto::keys::{Domain, DomainKeys, Epoch, EpochKeys, owner_signer, recipient_info, run_info};
use crate::crypto::run_key::{self, Binding};
use crate::crypto::secret::Secret;
use crate::crypto::sign::{Signer, Verifier};
use crate::format::config::{Config, open_chunker};
use crate::format::credential::CredentialFile;
use crate::format::envelope::{Envelope, FormatError, Kind, Suite};
use crate::format::epoch_keys;
use crate::format::record::Role;
use crate::format::sealed::Sealing;
use crate::format::state::EpochState;
use crate::primitives::ids::{CredentialId, RepositoryId};
use crate::primitives::system::{System, random};

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
    /// The owner derives every epoch's keys from it.
    master: Option<Secret>,
    /// Seed of the X25519 key to which others are handed theirs.
    sealing: Option<Secret>,
    epochs: Mutex<BTreeMap<Epoch, EpochKeys>>,
    signer: Signer,
    /// Secrets of runs, by encapsulation: finding one takes two scalar multiplications.
    runs: Mutex<HashMap<[u8; 32], Secret>>,
}

/// A secret that several objects share, and which keys it belongs to.
#[derive(Debug, Clone)]
pub struct SharedSecret {
    secret: Secret,
    domain: Domain,
    epoch: Epoch,
}

impl SharedSecret {
    /// For sealing an object.
    pub fn sealing(&self) -> Sealing<'_> {
        Sealing { secret: &self.secret, encapsulation: None, domain: self.domain, epoch: self.epoch }
    }
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
    pub fn owner(master: &Secret, config: &Config) -> Result<Self, FormatError> {
        let (domain, epoch) = (Domain::default(), Epoch::default());
        let mut domain_keys = DomainKeys::derive(master, domain);
        if let Some(sealed) = &config.chunker {
            domain_keys.chunker = open_chunker(sealed, master)?;
        }
        Ok(Self {
            role: Role::Owner,
            repository: config.id,
            domain,
            domain_keys,
            master: Some(master.clone()),
            sealing: None,
            epochs: Mutex::new(BTreeMap::from([(epoch, EpochKeys::derive(master, epoch))])),
            signer: owner_signer(master),
            runs: Mutex::new(HashMap::new()),
        })
    }

    /// The keyring of a machine, from its file.
    pub fn of_file(file: &CredentialFile) -> Self {
        Self {
            role: file.role,
            repository: file.repository,
            domain: file.domain,
            domain_keys: file.domain_keys.clone(),
            master: None,
            sealing: Some(file.sealing.clone()),
            epochs: Mutex::new(file.epochs.iter().cloned().collect()),
            signer: file.signer(),
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

    /// The master key; `None` for all but the owner.
    pub fn master(&self) -> Option<&Secret> {
        self.master.as_ref()
    }

    fn epochs(&self) -> MutexGuard<'_, BTreeMap<Epoch, EpochKeys>> {
        self.epochs.lock()
    }

    /// Keys of all epochs up to `last`, as a new credential is handed them: without the seeds unless it may read.
    pub fn epochs_for(&self, role: Role, last: Epoch) -> Result<Vec<(Epoch, EpochKeys)>, FormatError> {
        let keys = |epoch| {
            let keys = self.epoch_keys(epoch)?;
            Ok((epoch, if role == Role::Read { keys } else { EpochKeys { open: None, ..keys } }))
        };
        (0..=last.0).map(|n| keys(Epoch(n))).collect()
    }

    /// Keys of an epoch that the log has begun.
    pub fn epoch_keys(&self, epoch: Epoch) -> Result<EpochKeys, FormatError> {
        let mut epochs = self.epochs();
        match (epochs.get(&epoch), &self.master) {
            (Some(keys), _) => Ok(keys.clone()),
            (None, Some(master)) => Ok(epochs.entry(epoch).or_insert(EpochKeys::derive(master, epoch)).clone()),
            (None, None) => Err(FormatError::NoEpochKeys { epoch: epoch.0 }),
        }
    }

    /// Learns the keys of an epoch that a valid Revoke began, if they are sealed to this credential.
    pub fn follow(&self, number: u32, began: &EpochState) -> Result<(), FormatError> {
        let epoch = Epoch(number);
        let ours = began.sealed.iter().find(|(id, _)| *id == self.id());
        let (Some(seed), Some((id, sealed)), false) = (&self.sealing, ours, self.epochs().contains_key(&epoch)) else {
            return Ok(());
        };
        let before = self.epoch_keys(Epoch(number - 1))?;
        let info = recipient_info(self.repository, self.domain, epoch, *id);
        let binding = Binding { info: &info, psk: &before.psk };
        let keys = epoch_keys::open(sealed, |e| {
            run_key::decapsulate(seed, binding, &e.encapsulation).map_err(|_| FormatError::WrongKey)
        })?;
        if keys.public != began.public.0 {
            return Err(FormatError::Malformed("the key of the epoch is not the one that was announced".to_owned()));
        }
        self.epochs().insert(epoch, keys);
        Ok(())
    }

    /// Seals the keys of `epoch` to a credential that remains.
    pub fn seal_epoch(
        &self,
        epoch: Epoch,
        to: (CredentialId, Verifier),
        role: Role,
        system: &dyn System,
    ) -> Result<Vec<u8>, FormatError> {
        let (keys, before) = (self.epoch_keys(epoch)?, self.epoch_keys(Epoch(epoch.0 - 1))?);
        let info = recipient_info(self.repository, self.domain, epoch, to.0);
        let binding = Binding { info: &info, psk: &before.psk };
        let bad = |_| FormatError::Malformed(format!("the sealing key of credential {} is no key", to.0));
        let (encapsulation, secret) = run_key::encapsulate(&to.1.0, binding, system).map_err(bad)?;
        let sealing = Sealing { secret: &secret, encapsulation: Some(encapsulation), domain: self.domain, epoch };
        Ok(epoch_keys::seal(&keys, role == Role::Read, &sealing, random(system)))
    }

    /// For sealing records and checkpoints in `epoch`.
    pub fn log_sealing(&self, epoch: Epoch) -> Result<SharedSecret, FormatError> {
        Ok(SharedSecret { secret: self.epoch_keys(epoch)?.log, domain: self.domain, epoch })
    }

    /// For sealing segments in `epoch`.
    pub fn index_sealing(&self, epoch: Epoch) -> Result<SharedSecret, FormatError> {
        Ok(SharedSecret { secret: self.epoch_keys(epoch)?.index(self.domain), domain: self.domain, epoch })
    }

    /// A fresh secret for a run that begins in `epoch`.
    pub fn begin_run(&self, epoch: Epoch, system: &dyn System) -> Result<RunSecret, FormatError> {
        let info = run_info(self.repository, self.domain, epoch);
        let keys = self.epoch_keys(epoch)?;
        let (encapsulation, secret) =
            run_key::encapsulate(&keys.public, Binding { info: &info, psk: &keys.psk }, system)
                .map_err(|_| FormatError::Malformed(format!("the public key of epoch {} is no key", epoch.0)))?;
        Ok(RunSecret { encapsulation, secret, domain: self.domain, epoch })
    }

    /// The secret that opens an object with this envelope.
    ///
    /// [`FormatError::WrongKey`] if it is not one of this repository's, [`FormatError::MayNotRead`] and
    /// [`FormatError::NoEpochKeys`] if this credential was not given it.
    pub fn secret(&self, envelope: &Envelope) -> Result<Secret, FormatError> {
        if envelope.domain != self.domain {
            return Err(FormatError::Unknown { what: "domain", number: u64::from(envelope.domain.0) });
        }
        match (envelope.kind, envelope.suite) {
            (Kind::Record | Kind::Checkpoint, Suite::Shared) => Ok(self.epoch_keys(envelope.epoch)?.log),
            (Kind::Segment, Suite::Shared) => Ok(self.epoch_keys(envelope.epoch)?.index(self.domain)),
            (Kind::DataPack | Kind::MetaPack | Kind::Description, Suite::Sealed) => self.run_secret(envelope),
            (kind, suite) => Err(FormatError::Malformed(format!("a {kind} cannot be of suite {suite:?}"))),
        }
    }

    fn run_secret(&self, envelope: &Envelope) -> Result<Secret, FormatError> {
        let mut runs = self.runs.lock();
        if let Some(secret) = runs.get(&envelope.encapsulation) {
            return Ok(secret.clone());
        }
        if self.role == Role::Backup {
            return Err(FormatError::MayNotRead);
        }
        let keys = self.epoch_keys(envelope.epoch)?;
        let seed = keys.open.as_ref().ok_or(FormatError::MayNotRead)?;
        let info = run_info(self.repository, envelope.domain, envelope.epoch);
        let binding = Binding { info: &info, psk: &keys.psk };
        let secret = run_key::decapsulate(seed, binding, &envelope.encapsulation).map_err(|_| FormatError::WrongKey)?;
        runs.insert(envelope.encapsulation, secret.clone());
        Ok(secret)
    }
}
