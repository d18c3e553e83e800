//! Ed25519 signatures, strictly verified, each under a context of its own.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::secret::Secret;
use crate::primitives::ids::CredentialId;

/// Length of a signature in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// The signature is not that of this key over these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not match")]
pub struct BadSignature;

/// Signs for one credential.
#[derive(Clone)]
pub struct Signer(SigningKey);

impl Signer {
    /// The signer whose seed is `seed`.
    pub fn new(seed: &Secret) -> Self {
        Self(SigningKey::from_bytes(seed.expose()))
    }

    /// The public half.
    pub fn public(&self) -> Verifier {
        Verifier(self.0.verifying_key().to_bytes())
    }

    /// A secret that only this signer can make, one for each `context`.
    pub fn derive(&self, context: &str) -> Secret {
        Secret::new(self.0.to_bytes()).derive(context, b"")
    }

    /// Signs `message` under `context`, a constant that says what is signed.
    pub fn sign(&self, context: &str, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(&digest(context, message)).to_bytes()
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.public().id().short())
    }
}

/// Checks what one credential signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Verifier(pub [u8; 32]);

impl Verifier {
    /// The credential's id.
    pub fn id(&self) -> CredentialId {
        let hash = blake3::hash(&self.0);
        CredentialId(hash.as_bytes()[..16].try_into().expect("a hash has 32 bytes"))
    }

    /// Checks `signature` over `message` under `context`.
    pub fn verify(&self, context: &str, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| BadSignature)?;
        let signature = Signature::from_bytes(signature);
        key.verify_strict(&digest(context, message), &signature).map_err(|_| BadSignature)
    }
}

impl<C> minicbor::Encode<C> for Verifier {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Verifier {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?.try_into().map_err(|_| minicbor::decode::Error::message("length of a verifying key"))?;
        Ok(Self(bytes))
    }
}

fn digest(context: &str, message: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new_derive_key(context).update(message).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_context_and_message_only() {
        let (a, b) = (Signer::new(&Secret::new([1; 32])), Signer::new(&Secret::new([2; 32])));
        let sig = a.sign("c", b"m");
        assert_eq!(a.public().verify("c", b"m", &sig), Ok(()));
        assert_eq!(a.public().verify("d", b"m", &sig), Err(BadSignature));
        assert_eq!(a.public().verify("c", b"n", &sig), Err(BadSignature));
        assert_eq!(b.public().verify("c", b"m", &sig), Err(BadSignature));
        assert_ne!(a.public().id(), b.public().id());
    }
}
