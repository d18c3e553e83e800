//! Any bytes as the parts of a segment, in clear and sealed.

use strongroom::crypto::secret::Secret;
use strongroom::format::segment::{SegmentContent, decode_directories, decode_locations, open};

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    let _ = SegmentContent::decode_inline(data);
    let _ = decode_locations(data);
    let _ = decode_directories(data);
    let _ = open(data, &Secret::new([1; 32]), &[10, 20, 30]);
}
