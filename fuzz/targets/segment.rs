//! Any bytes as the parts of a segment, in clear and sealed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::format::segment::{SegmentContent, decode_directories, decode_locations, open};
use strongroom::crypto::secret::Secret;

fuzz_target!(|data: &[u8]| {
    let _ = SegmentContent::decode_inline(data);
    let _ = decode_locations(data);
    let _ = decode_directories(data);
    let _ = open(data, &Secret::new([1; 32]), &[10, 20, 30]);
});
