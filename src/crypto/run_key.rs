//! HPKE (RFC 9180) towards the repository's public key: X25519, HKDF-SHA256, mode PSK, export only.
//!
//! A run encapsulates once; the exported secret, together with each object's own salt, makes the keys of its
//! packs and descriptions. Whoever writes needs the public key and the pre-shared key (which makes forged
//! packs of outsiders worthless); whoever reads needs the secret key too. The AEAD of HPKE itself is unused.

use hpke::aead::ExportOnlyAead;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable};
use zeroize::Zeroize;

use super::secret::Secret;
use crate::primitives::system::System;

/// Length of an encapsulation in bytes.
pub const ENCAPSULATION_LEN: usize = 32;

const EXPORT_CONTEXT: &[u8] = b"strongroom 2026-11 run secret";

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type Encapped = <X25519HkdfSha256 as Kem>::EncappedKey;

/// An encapsulation or a public key is no point of the curve that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key encapsulation is invalid")]
pub struct BadEncapsulation;

/// The public half of an X25519 key pair made from `seed`.
pub fn public_key(seed: &Secret) -> [u8; 32] {
    let (_, public) = X25519HkdfSha256::derive_keypair(seed.expose());
    public.to_bytes().into()
}

/// What both sides must agree on: repository, domain and epoch, as bytes.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// Goes into the key schedule.
    pub info: &'a [u8],
    /// The pre-shared key.
    pub psk: &'a Secret,
}

impl<'a> Binding<'a> {
    fn bundle(&self) -> PskBundle<'a> {
        PskBundle::new(self.psk.expose(), b"strongroom psk").expect("neither the key nor its name is empty")
    }
}

/// A fresh secret for one run, and the encapsulation by which the key's owner finds it again.
pub fn encapsulate(
    public: &[u8; 32],
    binding: Binding,
    system: &dyn System,
) -> Result<([u8; ENCAPSULATION_LEN], Secret), BadEncapsulation> {
    let public = PublicKey::from_bytes(public).map_err(|_| BadEncapsulation)?;
    let mode = OpModeS::Psk(binding.bundle());
    let mut rng = WorldRng(system);
    let (encapped, context) = hpke::setup_sender_with_rng::<ExportOnlyAead, HkdfSha256, X25519HkdfSha256>(
        &mode,
        &public,
        binding.info,
        &mut rng,
    )
    .map_err(|_| BadEncapsulation)?;
    Ok((encapped.to_bytes().into(), exported(|out| context.export(EXPORT_CONTEXT, out))))
}

/// Finds the secret of a run again.
pub fn decapsulate(
    seed: &Secret,
    binding: Binding,
    encapsulation: &[u8; ENCAPSULATION_LEN],
) -> Result<Secret, BadEncapsulation> {
    let (private, _): (PrivateKey, PublicKey) = X25519HkdfSha256::derive_keypair(seed.expose());
    let encapped = Encapped::from_bytes(encapsulation).map_err(|_| BadEncapsulation)?;
    let mode = OpModeR::Psk(binding.bundle());
    let context =
        hpke::setup_receiver::<ExportOnlyAead, HkdfSha256, X25519HkdfSha256>(&mode, &private, &encapped, binding.info)
            .map_err(|_| BadEncapsulation)?;
    Ok(exported(|out| context.export(EXPORT_CONTEXT, out)))
}

fn exported(export: impl FnOnce(&mut [u8]) -> Result<(), hpke::HpkeError>) -> Secret {
    let mut out = [0; 32];
    export(&mut out).expect("32 bytes are far below what HKDF can export");
    let secret = Secret::new(out);
    out.zeroize();
    secret
}

struct WorldRng<'a>(&'a dyn System);

impl TryRng for WorldRng<'_> {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(u32::from_le_bytes(crate::primitives::system::random(self.0)))
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from_le_bytes(crate::primitives::system::random(self.0)))
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill_random(out);
        Ok(())
    }
}

impl TryCryptoRng for WorldRng<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::system::OsSystem;

    #[test]
    fn both_sides_find_the_same_secret_and_nobody_else_does() {
        let (seed, psk, other) = (Secret::new([1; 32]), Secret::new([2; 32]), Secret::new([3; 32]));
        let binding = Binding { info: b"repo", psk: &psk };
        let (enc, secret) = encapsulate(&public_key(&seed), binding, &OsSystem).unwrap();
        let found = |seed, psk, info| decapsulate(seed, Binding { info, psk }, &enc).unwrap();
        assert_eq!(found(&seed, &psk, b"repo").expose(), secret.expose());
        assert_ne!(found(&other, &psk, b"repo").expose(), secret.expose());
        assert_ne!(found(&seed, &other, b"repo").expose(), secret.expose());
        assert_ne!(found(&seed, &psk, b"else").expose(), secret.expose());
    }
}
