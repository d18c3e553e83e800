//! Key slots: ways to the master key.
//!
//! ```text
//! envelope | way (1), passes, memory KiB, lanes (u32 each) | sealed master key (48) | BLAKE3
//! ```
//!
//! The envelope's salt is Argon2's. The stretched passphrase makes the object key; its commitment is compared
//! before anything is opened, so that a wrong passphrase is told from damage.
//! The byte layout is `docs/FORMAT.md`, section "Key slot".

use zeroize::Zeroize;

use crate::crypto::aead::TAG_LEN;
use crate::crypto::keys::{Domain, Epoch};
use crate::crypto::password::{PasswordCost, stretch};
use crate::crypto::secret::Secret;
use crate::primitives::codec::{Reader, Write};

use super::envelope::{ENVELOPE_LEN, Envelope, FormatError, Kind, Suite, append_checksum, check_checksum};

/// What opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// A passphrase that somebody remembers.
    Passphrase,
    /// The bytes of a key file.
    KeyFile,
    /// Recovery words on paper.
    Words,
}

impl SlotKind {
    const ALL: [SlotKind; 3] = [SlotKind::Passphrase, SlotKind::KeyFile, SlotKind::Words];
}

/// Why a slot did not give the master key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// The slot is sound, and this is not its passphrase.
    #[error("the passphrase does not open this slot")]
    WrongPassphrase,
    /// The slot's bytes are not what they should be.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Wraps `master` for `passphrase`.
pub fn seal(
    way: SlotKind,
    cost: PasswordCost,
    salt: [u8; 32],
    passphrase: &[u8],
    master: &Secret,
) -> Result<Vec<u8>, SlotError> {
    let wrapping = stretch(passphrase, &salt, cost).map_err(|e| FormatError::Malformed(e.to_string()))?;
    let (envelope, key) = Envelope { suite: Suite::Shared, ..Envelope::clear(Kind::Slot, salt) }.commit(&wrapping);
    let mut out = envelope.encode().to_vec();
    out.u8(way as u8);
    out.u32(cost.passes);
    out.u32(cost.memory_kib);
    out.u32(cost.lanes);
    let from = out.len();
    out.raw(master.expose());
    key.seal(0, &mut out, from);
    append_checksum(&mut out);
    Ok(out)
}

/// What a slot says of itself without its passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What opens it.
    pub way: SlotKind,
    /// What opening costs.
    pub cost: PasswordCost,
    envelope: Envelope,
    wrapped: [u8; 32 + TAG_LEN],
}

impl Slot {
    /// Reads a slot. Costs outside floor and ceiling are refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let envelope = Envelope::expect(bytes, Kind::Slot)?;
        let body = check_checksum(bytes)?;
        let mut r = Reader::new(&body[ENVELOPE_LEN..]);
        let number = r.u8()?;
        let way = SlotKind::ALL.into_iter().find(|w| *w as u8 == number);
        let way = way.ok_or(FormatError::Unknown { what: "way of a key slot", number: number.into() })?;
        let cost = PasswordCost { passes: r.u32()?, memory_kib: r.u32()?, lanes: r.u32()? };
        let cost = cost.check().map_err(|e| FormatError::Malformed(e.to_string()))?;
        let wrapped = r.array()?;
        r.end()?;
        let plain = envelope.domain == Domain::default() && envelope.epoch == Epoch::default();
        if envelope.suite != Suite::Shared || !plain {
            return Err(FormatError::Malformed("a key slot's envelope names a domain or epoch".to_owned()));
        }
        Ok(Self { way, cost, envelope, wrapped })
    }

    /// The master key, if this is the passphrase.
    pub fn open(&self, passphrase: &[u8]) -> Result<Secret, SlotError> {
        let wrapping =
            stretch(passphrase, &self.envelope.salt, self.cost).map_err(|e| FormatError::Malformed(e.to_string()))?;
        let key = self.envelope.key(&wrapping).map_err(|_| SlotError::WrongPassphrase)?;
        let mut text = self.wrapped.to_vec();
        key.open(0, &mut text).map_err(FormatError::from)?;
        let mut bytes: [u8; 32] = text[..].try_into().map_err(|_| FormatError::Forged)?;
        text.zeroize();
        let master = Secret::new(bytes);
        bytes.zeroize();
        Ok(master)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::password::COST_MIN;

    #[test]
    fn the_passphrase_opens_a_slot_and_another_is_told_from_damage() {
        let master = Secret::new([7; 32]);
        let bytes = seal(SlotKind::Passphrase, COST_MIN, [1; 32], b"correct horse", &master).unwrap();
        let slot = Slot::decode(&bytes).unwrap();
        assert_eq!(slot.open(b"correct horse").unwrap().expose(), master.expose());
        assert_eq!(slot.open(b"wrong").err(), Some(SlotError::WrongPassphrase));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Slot::decode(&damaged).is_err(), "byte {at}");
        }
    }
}
