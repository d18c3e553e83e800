//! Which keys there are, and what each is for.
//!
//! ```text
//! master ── owner signing key
//!        ├─ per domain: chunk-id, chunker, index and tag keys
//!        └─ per epoch:  log key, pre-shared key, X25519 key pair
//! ```
//!
//! Each key is BLAKE3 `derive_key` with a context string of its own. The owner derives everything from the
//! master key; another credential is handed exactly the keys its role needs.

use super::run_key;
use super::secret::Secret;
use super::sign::Signer;
use crate::primitives::ids::{ChunkId, ContentId, CredentialId, KeyedTag, RepositoryId};

/// Number of a domain: machines that deduplicate against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Domain(pub u32);

/// Number of a generation of the keys that revoking replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u32);

/// Keys that every writer of a domain shares.
#[derive(Debug, Clone)]
pub struct DomainKeys {
    /// Makes chunk and content ids.
    pub chunk_id: Secret,
    /// Makes the table by which content is cut.
    pub chunker: Secret,
    /// Makes keyed tags of hosts and sources.
    pub tag: Secret,
}

impl DomainKeys {
    /// The keys of `domain`.
    pub fn derive(master: &Secret, domain: Domain) -> Self {
        let number = domain.0.to_le_bytes();
        Self {
            chunk_id: master.derive("strongroom 2026-11 chunk ids of a domain", &number),
            chunker: master.derive("strongroom 2026-11 chunker table of a domain", &number),
            tag: master.derive("strongroom 2026-11 host and source tags of a domain", &number),
        }
    }

    /// The id of a chunk with this plaintext.
    pub fn chunk(&self, plaintext: &[u8]) -> ChunkId {
        ChunkId(self.chunk_id.keyed_hash(&[plaintext]))
    }

    /// The keyed tag of a host name.
    pub fn host(&self, name: &str) -> KeyedTag {
        KeyedTag(self.tag.keyed_hash(&[b"host\0", name.as_bytes()]))
    }

    /// The keyed tag of a source name.
    pub fn source(&self, name: &str) -> KeyedTag {
        KeyedTag(self.tag.keyed_hash(&[b"source\0", name.as_bytes()]))
    }
}

/// Gathers the chunk ids of one file into its content id.
pub struct ContentHasher {
    hasher: blake3::Hasher,
    any: bool,
}

impl ContentHasher {
    /// Starts a file. A key of its own keeps content ids and chunk ids apart.
    pub fn new(keys: &DomainKeys) -> Self {
        let key = keys.chunk_id.derive("strongroom 2026-11 content ids", b"");
        Self { hasher: blake3::Hasher::new_keyed(key.expose()), any: false }
    }

    /// Adds the next chunk.
    pub fn add(&mut self, id: ChunkId) {
        self.any = true;
        self.hasher.update(&id.0);
    }

    /// The id of the content so far, and ready for the next file. All zeros for no chunks.
    pub fn take(&mut self) -> ContentId {
        let id = match self.any {
            true => self.hasher.finalize().as_bytes()[..16].try_into().expect("a hash has 32 bytes"),
            false => [0; 16],
        };
        self.hasher.reset();
        self.any = false;
        ContentId(id)
    }
}

/// Keys of one epoch. Without `open`, packs can be written but not read.
#[derive(Debug, Clone)]
pub struct EpochKeys {
    /// Seals records and checkpoints.
    pub log: Secret,
    /// Pre-shared key of HPKE.
    pub psk: Secret,
    /// Packs are sealed to it.
    pub public: [u8; 32],
    /// Seed of the X25519 key pair: opens packs.
    pub open: Option<Secret>,
}

impl EpochKeys {
    /// The keys of `epoch`, as the owner has them.
    pub fn derive(master: &Secret, epoch: Epoch) -> Self {
        let number = epoch.0.to_le_bytes();
        let open = master.derive("strongroom 2026-11 X25519 seed of an epoch", &number);
        Self {
            log: master.derive("strongroom 2026-11 log key of an epoch", &number),
            psk: master.derive("strongroom 2026-11 pre-shared key of an epoch", &number),
            public: run_key::public_key(&open),
            open: Some(open),
        }
    }

    /// The key of segments of `domain` that are written in this epoch: whoever reads the log of the epoch reads them, and
    /// who was revoked before it does not.
    pub fn index(&self, domain: Domain) -> Secret {
        self.log.derive("strongroom 2026-11 index key of an epoch", &domain.0.to_le_bytes())
    }
}

/// The owner's signing key.
pub fn owner_signer(master: &Secret) -> Signer {
    Signer::new(&master.derive("strongroom 2026-11 owner signing key", b""))
}

/// What HPKE binds a run's secret to.
pub fn run_info(repository: RepositoryId, domain: Domain, epoch: Epoch) -> [u8; 24] {
    let mut out = [0; 24];
    out[..16].copy_from_slice(&repository.0);
    out[16..20].copy_from_slice(&domain.0.to_le_bytes());
    out[20..].copy_from_slice(&epoch.0.to_le_bytes());
    out
}

/// What HPKE binds the keys of an epoch to that are sealed to one credential.
pub fn recipient_info(repository: RepositoryId, domain: Domain, epoch: Epoch, to: CredentialId) -> [u8; 60] {
    let mut out = [0; 60];
    out[..20].copy_from_slice(b"keys of an epoch to ");
    out[20..36].copy_from_slice(&to.0);
    out[36..].copy_from_slice(&run_info(repository, domain, epoch));
    out
}
