//! Any bytes as a credential file, raw and behind a sound checksum.

use strongroom::format::credential::CredentialFile;

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = CredentialFile::decode(text);
    }
    let mut body = data.to_vec();
    body.extend_from_slice(blake3::hash(data).as_bytes());
    let digits: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("strongroom credential 1: whoever reads this file can use it; keep it secret\n{digits}\n");
    if let Ok(file) = CredentialFile::decode(&text) {
        assert_eq!(CredentialFile::decode(&file.encode()).map(|f| f.id()), Ok(file.id()));
    }
}
