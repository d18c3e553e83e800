//! Keys, sealing and signing. The only place where the project touches a cipher.
//!
//! * `secret`: 32 secret bytes that are zeroed on drop, and BLAKE3 `derive_key` from one to another.
//! * `aead`: AES-256-GCM under a key that seals the frames of exactly one object.
//! * `run_key`: HPKE towards the repository's public key; one encapsulation per run.
//! * `sign`: Ed25519.
//! * `password`: Argon2id, with the floor and ceiling that every key slot must keep.
//! * `keys`: which keys there are, and what each is for.

pub mod aead;
pub mod keys;
pub mod password;
pub mod recovery;
pub mod run_key;
pub mod secret;
pub mod sign;
