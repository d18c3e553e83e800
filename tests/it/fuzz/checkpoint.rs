//! Any bytes as a checkpoint and as a folded state.

use strongroom::crypto::secret::Secret;
use strongroom::crypto::sign::Verifier;
use strongroom::format::checkpoint;
use strongroom::format::state::State;

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    let _ = checkpoint::decode(data, &Verifier([3; 32]), |_| Ok(Secret::new([1; 32])));
    if let Ok(state) = minicbor::decode::<State>(data) {
        let bytes = minicbor::to_vec(&state).unwrap();
        assert_eq!(minicbor::decode::<State>(&bytes).unwrap(), state);
    }
}
