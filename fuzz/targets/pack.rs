//! Any bytes as the directory of a pack: what is read is written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::formats::directory::PackDirectory;
use strongroom::formats::names::PackKind;
use strongroom::formats::pack::{PackReader, TRAILER_LEN};
use strongroom::parts::crypto::secret::Secret;
use strongroom::words::codec::Reader;

fuzz_target!(|data: &[u8]| {
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
});
