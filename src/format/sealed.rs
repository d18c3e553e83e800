//! A value sealed as one frame: how records, checkpoints, descriptions and slots hold their content.
//!
//! ```text
//! envelope (128) | AES-256-GCM, place 0: length (u32), content, zeros up to the padded length | tag (16)
//! ```
//!
//! The padded length is hidden inside; what an observer sees is a Padmé length.

use crate::crypto::aead::TAG_LEN;
use crate::crypto::keys::{Domain, Epoch};
use crate::crypto::secret::Secret;
use crate::primitives::codec::{Reader, Write};
use crate::primitives::padding::padme_len;

use super::envelope::{ENVELOPE_LEN, Envelope, FormatError, Kind, Suite};

/// What a sealed value is sealed with.
#[derive(Debug, Clone, Copy)]
pub struct Sealing<'a> {
    /// The secret; which one depends on the kind.
    pub secret: &'a Secret,
    /// The encapsulation by which the secret is found, if it is a run's.
    pub encapsulation: Option<[u8; 32]>,
    /// Domain of the keys.
    pub domain: Domain,
    /// Epoch of the keys.
    pub epoch: Epoch,
}

impl Sealing<'_> {
    /// A committed envelope for an object of `kind` with this salt.
    pub fn envelope(&self, kind: Kind, salt: [u8; 32]) -> (Envelope, crate::crypto::aead::ObjectKey) {
        let suite = if self.encapsulation.is_some() { Suite::Sealed } else { Suite::Shared };
        Envelope {
            suite,
            domain: self.domain,
            epoch: self.epoch,
            encapsulation: self.encapsulation.unwrap_or_default(),
            ..Envelope::clear(kind, salt)
        }
        .commit(self.secret)
    }
}

/// Seals `content`. `len_min` is the least length of the whole; it grows to a Padmé length.
pub fn seal_value(kind: Kind, sealing: &Sealing, salt: [u8; 32], content: &[u8], len_min: usize) -> Vec<u8> {
    let (envelope, key) = sealing.envelope(kind, salt);
    let least = ENVELOPE_LEN + 4 + content.len() + TAG_LEN;
    let total = padme_len(least.max(len_min));
    let mut out = Vec::with_capacity(total + 32);
    out.raw(&envelope.encode());
    out.len32(content.len());
    out.raw(content);
    out.resize(total - TAG_LEN, 0);
    key.seal(0, &mut out, ENVELOPE_LEN);
    out
}

/// Opens what [`seal_value`] made, given the secret for its envelope.
pub fn open_value(
    kind: Kind,
    bytes: &[u8],
    secret: impl FnOnce(&Envelope) -> Result<Secret, FormatError>,
) -> Result<Vec<u8>, FormatError> {
    let envelope = Envelope::expect(bytes, kind)?;
    if envelope.suite == Suite::Clear {
        return Err(FormatError::Malformed("a sealed object says that it is in clear".to_owned()));
    }
    let key = envelope.key(&secret(&envelope)?)?;
    let mut text = bytes[ENVELOPE_LEN..].to_vec();
    key.open(0, &mut text)?;
    let mut r = Reader::new(&text);
    let len = r.u32()? as usize;
    let content = r.take(len)?.to_vec();
    r.end_padded()?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_and_its_length_is_hidden() {
        let secret = Secret::new([1; 32]);
        let sealing = Sealing { secret: &secret, encapsulation: None, domain: Domain(0), epoch: Epoch(0) };
        let seal = |content: &[u8]| seal_value(Kind::Record, &sealing, [7; 32], content, 512);
        let sealed = seal(b"content");
        assert_eq!(sealed.len(), 512);
        assert_eq!(seal(&[0; 300]).len(), 512);
        let open = |bytes: &[u8]| open_value(Kind::Record, bytes, |_| Ok(secret.clone()));
        assert_eq!(open(&sealed), Ok(b"content".to_vec()));
        for at in [0, 9, 12, 60, 90, 110, 130, 511] {
            let mut damaged = sealed.clone();
            damaged[at] ^= 0x40;
            assert!(open(&damaged).is_err(), "byte {at}");
        }
    }
}
