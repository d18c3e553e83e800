//! Any bytes as a checkpoint and as a folded state.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::format::checkpoint;
use strongroom::format::state::State;
use strongroom::crypto::secret::Secret;
use strongroom::crypto::sign::Verifier;

fuzz_target!(|data: &[u8]| {
    let _ = checkpoint::decode(data, &Verifier([3; 32]), |_| Ok(Secret::new([1; 32])));
    if let Ok(state) = minicbor::decode::<State>(data) {
        let bytes = minicbor::to_vec(&state).unwrap();
        assert_eq!(minicbor::decode::<State>(&bytes).unwrap(), state);
    }
});
