//! Keys of an epoch, sealed to one credential: how those who remain go on after another was revoked.
//!
//! ```text
//! envelope | sealed: log key (32), pre-shared key (32), public key (32), 1 and the opening seed (32), or 0
//! ```
//!
//! They stand inside the Revoke record that begins the epoch. The secret comes from a key encapsulation to the
//! credential's own X25519 key. The byte layout is `docs/FORMAT.md`, section "Epoch keys".

use zeroize::Zeroizing;

use crate::crypto::keys::EpochKeys;
use crate::crypto::run_key;
use crate::crypto::secret::Secret;
use crate::primitives::codec::{CodecError, Reader, Write};

use super::envelope::{Envelope, FormatError, Kind};
use super::sealed::{Sealing, open_value, seal_value};

/// Seals `keys`; without `opens` the one who receives them can write packs and not read them.
pub fn seal(keys: &EpochKeys, opens: bool, sealing: &Sealing, salt: [u8; 32]) -> Vec<u8> {
    let mut content = Zeroizing::new(Vec::with_capacity(160));
    write(&mut content, keys, opens);
    seal_value(Kind::EpochKeys, sealing, salt, &content, 0)
}

/// Opens what [`seal`] made, given the secret for its envelope.
pub fn open(
    bytes: &[u8],
    secret: impl FnOnce(&Envelope) -> Result<Secret, FormatError>,
) -> Result<EpochKeys, FormatError> {
    let content = Zeroizing::new(open_value(Kind::EpochKeys, bytes, secret)?);
    let mut r = Reader::new(&content);
    let keys = read(&mut r)?;
    r.end()?;
    Ok(keys)
}

/// Writes keys in clear: for what is sealed, or kept secret, as a whole.
pub(super) fn write(out: &mut Vec<u8>, keys: &EpochKeys, opens: bool) {
    out.raw(keys.log.expose());
    out.raw(keys.psk.expose());
    out.raw(&keys.public);
    match keys.open.as_ref().filter(|_| opens) {
        Some(seed) => {
            out.u8(1);
            out.raw(seed.expose());
        }
        None => out.u8(0),
    }
}

/// Reads what [`write`] wrote. A seed that does not belong to the public key is an error.
pub(super) fn read(r: &mut Reader) -> Result<EpochKeys, CodecError> {
    let (log, psk, public) = (Secret::new(r.array()?), Secret::new(r.array()?), r.array()?);
    let open = match r.u8()? {
        0 => None,
        1 => Some(Secret::new(r.array()?)),
        _ => return Err(r.invalid("flag of epoch keys")),
    };
    if open.as_ref().is_some_and(|seed| run_key::public_key(seed) != public) {
        return Err(r.invalid("key pair of an epoch"));
    }
    Ok(EpochKeys { log, psk, public, open })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::{Domain, Epoch};

    #[test]
    fn keys_come_back_and_the_seed_only_if_it_was_given() {
        let keys = EpochKeys::derive(&Secret::new([1; 32]), Epoch(4));
        let secret = Secret::new([2; 32]);
        let sealing = Sealing { secret: &secret, encapsulation: Some([3; 32]), domain: Domain(0), epoch: Epoch(4) };
        for opens in [true, false] {
            let bytes = seal(&keys, opens, &sealing, [5; 32]);
            let back = open(&bytes, |_| Ok(secret.clone())).unwrap();
            assert_eq!((back.log.expose(), back.psk.expose()), (keys.log.expose(), keys.psk.expose()));
            assert_eq!((back.public, back.open.is_some()), (keys.public, opens));
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                assert!(open(&damaged, |_| Ok(secret.clone())).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_seed_of_another_key_is_an_error() {
        let mut keys = EpochKeys::derive(&Secret::new([1; 32]), Epoch(4));
        keys.public = [9; 32];
        let mut out = Vec::new();
        write(&mut out, &keys, true);
        assert!(read(&mut Reader::new(&out)).is_err());
    }
}
