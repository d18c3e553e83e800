//! Checkpoints: the folded state after a record, signed by the owner; where a newcomer starts.
//!
//! The byte layout is `docs/FORMAT.md`, section "Checkpoint".

use crate::crypto::secret::Secret;
use crate::crypto::sign::{SIGNATURE_LEN, Signer, Verifier};
use crate::primitives::codec::{Reader, Write};

use super::envelope::{Envelope, FormatError, Kind, append_checksum, check_checksum};
use super::sealed::{Sealing, open_value, seal_value};
use super::state::State;

const CONTEXT: &str = "strongroom 2026-11 signature of a checkpoint";

/// Signs, seals and encodes the state.
pub fn encode(state: &State, owner: &Signer, sealing: &Sealing, salt: [u8; 32]) -> Vec<u8> {
    let body = minicbor::to_vec(state).expect("writing to memory does not fail");
    let packed = zstd::bulk::compress(&body, 3).expect("the buffer is as large as zstd asks for");
    let mut content = Vec::with_capacity(packed.len() + 4 + SIGNATURE_LEN);
    content.len32(body.len());
    content.raw(&packed);
    let signature = owner.sign(CONTEXT, &content);
    content.raw(&signature);
    let mut out = seal_value(Kind::Checkpoint, sealing, salt, &content, 0);
    append_checksum(&mut out);
    out
}

/// Opens a checkpoint and checks that the owner signed it.
pub fn decode(
    bytes: &[u8],
    owner: &Verifier,
    secret: impl FnOnce(&Envelope) -> Result<Secret, FormatError>,
) -> Result<State, FormatError> {
    let content = open_value(Kind::Checkpoint, check_checksum(bytes)?, secret)?;
    let at = content.len().checked_sub(SIGNATURE_LEN).ok_or(FormatError::Signature)?;
    let (signed, signature) = content.split_at(at);
    owner.verify(CONTEXT, signed, signature.try_into().expect("split at its length"))?;
    let mut r = Reader::new(signed);
    let len = r.u32()? as usize;
    // Only now that the owner's signature holds is the length trusted.
    let body = zstd::bulk::decompress(r.take(r.left())?, len).map_err(|e| FormatError::Malformed(e.to_string()))?;
    Ok(minicbor::decode(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::{Domain, Epoch};
    use crate::primitives::ids::ObjectHash;

    #[test]
    fn a_checkpoint_comes_back_if_the_owner_signed_it() {
        let (secret, owner) = (Secret::new([1; 32]), Signer::new(&Secret::new([2; 32])));
        let sealing = Sealing { secret: &secret, encapsulation: None, domain: Domain(0), epoch: Epoch(0) };
        let state = State::new(owner.public(), ObjectHash([9; 32]));
        let bytes = encode(&state, &owner, &sealing, [4; 32]);
        let read = |bytes: &[u8], owner: &Signer| decode(bytes, &owner.public(), |_| Ok(secret.clone()));
        assert_eq!(read(&bytes, &owner), Ok(state));
        assert_eq!(read(&bytes, &Signer::new(&Secret::new([3; 32]))), Err(FormatError::Signature));
        for at in (0..bytes.len()).step_by(5) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(read(&damaged, &owner).is_err(), "byte {at}");
        }
    }
}
