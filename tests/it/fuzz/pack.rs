//! Any bytes as the directory of a pack: what is read is written back the same.

use strongroom::crypto::secret::Secret;
use strongroom::format::directory::PackDirectory;
use strongroom::format::names::PackKind;
use strongroom::format::pack::{PackReader, TRAILER_LEN};
use strongroom::primitives::codec::Reader;

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    let mut reader = Reader::new(data);
    if let Ok(directory) = PackDirectory::decode(&mut reader) {
        let mut out = Vec::new();
        directory.encode(&mut out);
        assert_eq!(out[..], data[..reader.position()]);
        for frame in &directory.frames {
            assert_eq!(frame.places().count(), frame.chunks.len());
        }
    }
    if let Ok(reader) = PackReader::new(PackKind::Data, data, |_| Ok(Secret::new([1; 32]))) {
        let _ = reader.trailer(&data[data.len().saturating_sub(TRAILER_LEN)..], data.len() as u64);
    }
}
