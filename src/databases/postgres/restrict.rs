//! The key of `\restrict`.
//!
//! A plain dump runs in psql, and who may create objects in the dumped database can smuggle commands of psql into it. So
//! pg_dump begins the dump with `\restrict KEY`, behind which psql takes no commands until it sees the key again. By
//! default, the key is a new one each time, and two dumps of one database are never the same bytes.

use crate::crypto::secret::Secret;

/// Length of a key; psql takes letters and digits only.
const KEY_LEN: usize = 63;

const CHARACTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The key for one database or other member of a source: always the same, and known to nobody without the secret.
pub(super) fn key(secret: &Secret, member: &str) -> String {
    let mut bytes = [0; 4 * KEY_LEN];
    secret.derive_into("strongroom 2026-12 restrict key of a dump", member.as_bytes(), &mut bytes);
    // Others than these would make some characters likelier.
    let fair = bytes.iter().filter(|byte| usize::from(**byte) < 4 * CHARACTERS.len());
    fair.take(KEY_LEN).map(|byte| char::from(CHARACTERS[usize::from(*byte) % CHARACTERS.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_and_differ_by_secret_and_member() {
        let (a, b) = (Secret::new([1; 32]), Secret::new([2; 32]));
        let keys = [key(&a, "job/db/x"), key(&a, "job/db/y"), key(&b, "job/db/x")];
        for key in &keys {
            assert!(key.len() == KEY_LEN && key.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
        }
        assert!(keys[0] != keys[1] && keys[0] != keys[2]);
        assert_eq!(keys[0], key(&a, "job/db/x"));
    }
}
