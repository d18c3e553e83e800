//! The config: who this repository is. In clear, signed by the owner.
//!
//! It holds nothing secret and everything that must not drift: the format, the keys that others trust, and
//! the sizes by which content is cut. The byte layout is `docs/FORMAT.md`, section "Config".

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::chunking::ChunkSizes;
use crate::crypto::keys::{Domain, Epoch};
use crate::crypto::secret::Secret;
use crate::crypto::sign::{SIGNATURE_LEN, Signer, Verifier};
use crate::primitives::codec::{Reader, Write};
use crate::primitives::ids::{MachineId, RepositoryId};

use super::envelope::{ENVELOPE_LEN, Envelope, FormatError, Kind, append_checksum, check_checksum};
use super::sealed::{Sealing, open_value, seal_value};

const CHUNKER_CONTEXT: &str = "strongroom 2026-11 chunker key of another repository";
const CONTEXT: &str = "strongroom 2026-11 signature of a config";

/// Sizes of one chunking profile, as they stand in the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Profile {
    /// No chunk is smaller, but the last.
    #[n(0)]
    pub min: u32,
    /// Nominal length.
    #[n(1)]
    pub avg: u32,
    /// No chunk is larger.
    #[n(2)]
    pub max: u32,
}

impl From<Profile> for ChunkSizes {
    fn from(p: Profile) -> Self {
        Self { min: p.min, avg: p.avg, max: p.max }
    }
}

/// Parameters that decide how content is cut, gathered and packed. docs/PERFORMANCE.md says how they were chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Parameters {
    /// Cuts what can be compressed.
    #[n(0)]
    pub fine: Profile,
    /// Cuts what is already compressed.
    #[n(1)]
    pub coarse: Profile,
    /// A block of content is closed when it holds this many bytes.
    #[n(2)]
    pub block_len: u32,
    /// A block of tree and list nodes is closed when it holds this many bytes.
    #[n(3)]
    pub meta_block_len: u32,
    /// A pack is closed when it holds this many bytes.
    #[n(4)]
    pub pack_len: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            fine: Profile { min: 2 << 10, avg: 4 << 10, max: 16 << 10 },
            coarse: Profile { min: 256 << 10, avg: 1 << 20, max: 4 << 20 },
            block_len: 1 << 20,
            meta_block_len: 256 << 10,
            pack_len: 32 << 20,
        }
    }
}

impl Parameters {
    /// Checks that the sizes are within what can be read back.
    pub fn check(self) -> Result<Self, FormatError> {
        let malformed = |e: &dyn std::fmt::Display| FormatError::Malformed(e.to_string());
        ChunkSizes::from(self.fine).check().map_err(|e| malformed(&e))?;
        ChunkSizes::from(self.coarse).check().map_err(|e| malformed(&e))?;
        let blocks = 16 << 10..=8 << 20;
        let fine = blocks.contains(&self.block_len)
            && blocks.contains(&self.meta_block_len)
            && (1 << 20..=256 << 20).contains(&self.pack_len);
        if fine { Ok(self) } else { Err(malformed(&"block or pack lengths are out of range")) }
    }
}

/// Who a repository is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Config {
    /// Its id.
    #[n(0)]
    pub id: RepositoryId,
    /// When it was made, in milliseconds since the epoch.
    #[n(1)]
    pub created_ms: i64,
    /// The owner's verifying key: signs this object, checkpoints and certificates.
    #[n(2)]
    pub owner: Verifier,
    /// The public key of domain 0, epoch 0, to which packs are sealed.
    #[n(3)]
    pub public: Verifier,
    /// How content is cut and packed.
    #[n(4)]
    pub parameters: Parameters,
    /// The one machine whose owner may write, if the store cannot keep several apart. A random number that the
    /// machine keeps in its state folder.
    #[n(5)]
    pub single_writer: Option<MachineId>,
    /// The chunker key in place of the one that is derived, sealed under a key of the master key: that of the repository
    /// whose snapshots are copied here, so that both cut alike.
    #[n(6)]
    pub chunker: Option<ByteVec>,
}

/// Seals a chunker key for the repository that `master` opens.
pub fn seal_chunker(chunker: &Secret, master: &Secret, salt: [u8; 32]) -> ByteVec {
    let secret = master.derive(CHUNKER_CONTEXT, &[]);
    let sealing = Sealing { secret: &secret, encapsulation: None, domain: Domain::default(), epoch: Epoch::default() };
    seal_value(Kind::Description, &sealing, salt, chunker.expose(), 0).into()
}

/// Opens what [`seal_chunker`] made.
pub fn open_chunker(sealed: &[u8], master: &Secret) -> Result<Secret, FormatError> {
    let bytes = open_value(Kind::Description, sealed, |_| Ok(master.derive(CHUNKER_CONTEXT, &[])))?;
    let bytes = zeroize::Zeroizing::new(bytes);
    let key = <[u8; 32]>::try_from(&bytes[..]);
    key.map(Secret::new).map_err(|_| FormatError::Malformed("a chunker key has 32 bytes".to_owned()))
}

impl Config {
    /// Signs and encodes the config.
    pub fn encode(&self, owner: &Signer, salt: [u8; 32]) -> Vec<u8> {
        let mut out = Envelope::clear(Kind::Config, salt).encode().to_vec();
        let body = minicbor::to_vec(self).expect("writing to memory does not fail");
        out.len32(body.len());
        out.raw(&body);
        let signature = owner.sign(CONTEXT, &out);
        out.raw(&signature);
        append_checksum(&mut out);
        out
    }

    /// Reads a config and checks that its owner signed it. That the owner is the right one, the master key tells.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Envelope::expect(bytes, Kind::Config)?;
        let body = check_checksum(bytes)?;
        let mut r = Reader::new(&body[ENVELOPE_LEN..]);
        let len = r.u32()? as usize;
        let config: Self = minicbor::decode(r.take(len)?)?;
        let signature = r.array::<SIGNATURE_LEN>()?;
        r.end()?;
        config.owner.verify(CONTEXT, &body[..body.len() - SIGNATURE_LEN], &signature)?;
        config.parameters.check()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::secret::Secret;

    #[test]
    fn a_config_comes_back_and_no_byte_of_it_can_change() {
        let owner = Signer::new(&Secret::new([1; 32]));
        let config = Config {
            id: RepositoryId([2; 16]),
            created_ms: 1_800_000_000_000,
            owner: owner.public(),
            public: Verifier([3; 32]),
            parameters: Parameters::default(),
            single_writer: None,
            chunker: None,
        };
        let bytes = config.encode(&owner, [4; 32]);
        assert_eq!(Config::decode(&bytes), Ok(config.clone()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Config::decode(&damaged).is_err(), "byte {at}");
        }
        let stranger = Signer::new(&Secret::new([9; 32]));
        assert_eq!(Config::decode(&config.encode(&stranger, [4; 32])), Err(FormatError::Signature));
    }
}
