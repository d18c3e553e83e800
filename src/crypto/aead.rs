//! AES-256-GCM under a key that belongs to one object.
//!
//! Because the key is the object's own (derived from a secret and the object's random salt), nonces can be
//! plain counters: frame *i* is sealed under nonce *i*, and no key ever meets two messages under one nonce.
//! The associated data binds every frame to its object, its kind and its place. The tag does not commit to
//! the key (GCM does not); [`ObjectKey::commitment`] does, and is compared before anything is opened.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use zeroize::Zeroize;

use super::secret::Secret;

/// Bytes that sealing adds.
pub const TAG_LEN: usize = 16;

const CONTEXT: &str = "strongroom 2026-11 object key and commitment";

/// The sealed bytes were not made with this key at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct Forged;

/// Seals and opens the frames of one object.
pub struct ObjectKey {
    cipher: Aes256Gcm,
    commitment: [u8; 32],
    binding: [u8; 33],
}

impl ObjectKey {
    /// Derives the key of the object whose envelope begins with `header` (salt included).
    ///
    /// The commitment covers secret and header. `kind` goes into the associated data of every frame.
    pub fn derive(secret: &Secret, header: &[u8], kind: u8) -> Self {
        let mut out = [0u8; 64];
        secret.derive_into(CONTEXT, header, &mut out);
        let (key, commitment) = out.split_at(32);
        let cipher = Aes256Gcm::new_from_slice(key).expect("the key has 32 bytes");
        let commitment: [u8; 32] = commitment.try_into().expect("the other half has 32 bytes");
        out.zeroize();
        let mut hasher = blake3::Hasher::new();
        hasher.update(header).update(&commitment);
        let mut binding = [0; 33];
        binding[..32].copy_from_slice(hasher.finalize().as_bytes());
        binding[32] = kind;
        Self { cipher, commitment, binding }
    }

    /// Commits to the key: stands in the envelope and is compared before opening.
    pub fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// Encrypts `buffer[from..]` in place and appends the tag. Each `place` may be used once.
    pub fn seal(&self, place: u64, buffer: &mut Vec<u8>, from: usize) {
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce(place).into(), &self.associated(place), (&mut buffer[from..]).into())
            .expect("a frame is far below GCM's limit of 64 GiB");
        buffer.extend_from_slice(&tag);
    }

    /// Decrypts `buffer` (with its tag) in place and cuts the tag off.
    pub fn open(&self, place: u64, buffer: &mut Vec<u8>) -> Result<(), Forged> {
        let body = buffer.len().checked_sub(TAG_LEN).ok_or(Forged)?;
        let (text, tag) = buffer.split_at_mut(body);
        let tag: [u8; TAG_LEN] = (&*tag).try_into().expect("the tag was split off at its length");
        self.cipher
            .decrypt_inout_detached(&nonce(place).into(), &self.associated(place), text.into(), &tag.into())
            .map_err(|_| Forged)?;
        buffer.truncate(body);
        Ok(())
    }

    fn associated(&self, place: u64) -> [u8; 41] {
        let mut out = [0; 41];
        out[..33].copy_from_slice(&self.binding);
        out[33..].copy_from_slice(&place.to_le_bytes());
        out
    }
}

fn nonce(place: u64) -> [u8; 12] {
    let mut out = [0; 12];
    out[4..].copy_from_slice(&place.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(header: &[u8], kind: u8) -> ObjectKey {
        ObjectKey::derive(&Secret::new([5; 32]), header, kind)
    }

    #[test]
    fn what_was_sealed_opens_only_at_its_place_kind_and_object() {
        let mut sealed = b"..frame".to_vec();
        key(b"h", 1).seal(3, &mut sealed, 2);
        let sealed = sealed[2..].to_vec();
        assert_eq!(sealed.len(), 5 + TAG_LEN);
        let open = |k: ObjectKey, place, bytes: &[u8]| {
            let mut b = bytes.to_vec();
            k.open(place, &mut b).map(|()| b)
        };
        assert_eq!(open(key(b"h", 1), 3, &sealed), Ok(b"frame".to_vec()));
        assert_eq!(open(key(b"h", 1), 4, &sealed), Err(Forged));
        assert_eq!(open(key(b"h", 2), 3, &sealed), Err(Forged));
        assert_eq!(open(key(b"g", 1), 3, &sealed), Err(Forged));
        for i in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[i] ^= 1;
            assert_eq!(open(key(b"h", 1), 3, &flipped), Err(Forged));
        }
        assert_eq!(open(key(b"h", 1), 3, &sealed[..7]), Err(Forged));
    }

    #[test]
    fn the_commitment_tells_keys_and_headers_apart() {
        assert_ne!(key(b"h", 1).commitment(), key(b"g", 1).commitment());
        assert_ne!(key(b"h", 1).commitment(), ObjectKey::derive(&Secret::new([6; 32]), b"h", 1).commitment());
    }
}
