//! Thirty-two secret bytes, and the one function by which a secret makes another.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::primitives::system::System;

/// A key or a seed. Zeroed on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes bytes that are already secret.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A fresh random secret.
    pub fn random(system: &dyn System) -> Self {
        let mut bytes = [0; 32];
        system.fill_random(&mut bytes);
        Self(bytes)
    }

    /// The bytes, for the moment of use.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Derives another secret: BLAKE3 `derive_key` of `context` over this secret and `input`.
    ///
    /// `context` is a constant of the program, one per purpose; `input` is public and of fixed meaning there.
    pub fn derive(&self, context: &str, input: &[u8]) -> Secret {
        let mut out = [0; 32];
        self.derive_into(context, input, &mut out);
        Secret(out)
    }

    /// Like [`Secret::derive`], for as many bytes as `out` holds.
    pub fn derive_into(&self, context: &str, input: &[u8], out: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0).update(input);
        hasher.finalize_xof().fill(out);
        hasher.zeroize();
    }

    /// The keyed BLAKE3 of `parts`, one after the other, cut to `N` bytes (at most 32).
    pub fn keyed_hash<const N: usize>(&self, parts: &[&[u8]]) -> [u8; N] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize().as_bytes()[..N].try_into().expect("N is at most 32")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_and_inputs_separate_keys() {
        let s = Secret::new([1; 32]);
        let keys = [s.derive("a", b""), s.derive("b", b""), s.derive("a", b"x"), Secret::new([2; 32]).derive("a", b"")];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys.iter().skip(i + 1).all(|b| a.expose() != b.expose()));
        }
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", Secret::new([65; 32])), "Secret(..)");
    }
}
