//! What objects and folders may be called.
//!
//! So few bytes are allowed that every store and file system takes the names as they are: no case to fold, no
//! escaping, no hidden meaning. `#` is left out on purpose; it marks what is still being written.

use super::StoreError;

/// Longest name of an object in bytes; every part must be 200 bytes or less besides, so that a file system
/// leaves room for the mark of what is still being written.
pub const NAME_LEN_MAX: usize = 512;
const PART_LEN_MAX: usize = 200;

/// Whether `part` may stand between two slashes.
pub(super) fn is_part(part: &[u8]) -> bool {
    let allowed = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'.' | b'_' | b'-');
    !part.is_empty() && part.len() <= PART_LEN_MAX && part != b"." && part != b".." && part.iter().all(allowed)
}

/// Whether `name` may name an object.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= NAME_LEN_MAX && name.split('/').all(|part| is_part(part.as_bytes()))
}

/// Refuses what cannot name an object: parts of `0-9 a-z . _ -`, joined by `/`, none of them empty, `.` or `..`.
pub fn check_name(name: &str) -> Result<(), StoreError> {
    if is_name(name) { Ok(()) } else { Err(StoreError::BadName { name: name.to_owned() }) }
}

/// Refuses what cannot name a folder; the empty one is the whole store.
pub fn check_folder(prefix: &str) -> Result<(), StoreError> {
    if prefix.is_empty() { Ok(()) } else { check_name(prefix) }
}

/// Whether `name` lies in the folder `prefix` or below it.
pub(super) fn is_within(name: &str, prefix: &str) -> bool {
    prefix.is_empty() || name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_few_bytes_in_parts() {
        for good in ["config", "log/00000000000000000001", "data/0a/1-b_c.d", "a..b"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "a/../b", ".", "A", "a b", "a#1", "a\\b", "ä", "a\0"] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(!is_name(&"a".repeat(201)) && !is_name(&["a"; 300].join("/")));
    }

    #[test]
    fn a_folder_is_not_a_prefix_of_bytes() {
        assert!(is_within("a/b", "a") && is_within("a", "") && !is_within("ab", "a") && !is_within("a", "a"));
    }
}
