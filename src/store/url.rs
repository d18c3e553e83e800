//! From what a user types to a store.

use std::path::Path;
use std::sync::Arc;

use super::{LocalStore, Store, StoreError, StoreOptions, cloud, s3};

/// Opens the store at `location`: a path, or one with `file:` or `local:` before it, or a bucket (`s3://...`). What
/// is not there is [`StoreError::NoStore`], and nothing is created.
///
/// `now_ms` is the time, by which leftovers of crashed writers are told from files that are being written.
pub fn open(location: &str, options: &StoreOptions, now_ms: i64) -> Result<Arc<dyn Store>, StoreError> {
    if cloud::is_cloud(location) {
        return Ok(Arc::new(cloud::open(location, options)?));
    }
    if is_remote(location) {
        return Ok(Arc::new(s3::open(location, options)?));
    }
    Ok(Arc::new(LocalStore::open(Path::new(local_path(location)?), now_ms)?))
}

/// Makes the place at `location` fit to hold objects, creating folders as needed, and opens it. What is there
/// already stays. Buckets are not made.
pub fn init(location: &str, options: &StoreOptions, now_ms: i64) -> Result<Arc<dyn Store>, StoreError> {
    if is_remote(location) {
        return open(location, options, now_ms);
    }
    Ok(Arc::new(LocalStore::init(Path::new(local_path(location)?), now_ms)?))
}

/// Whether the location is a server's rather than a path.
pub fn is_remote(location: &str) -> bool {
    location.starts_with("s3:") || cloud::is_cloud(location)
}

/// The folder that `location` means; `None` if it is a server's, or means nothing.
pub fn local_folder(location: &str) -> Option<&Path> {
    if is_remote(location) { None } else { local_path(location).ok().map(Path::new) }
}

/// The path that `location` means, if it means one.
fn local_path(location: &str) -> Result<&str, StoreError> {
    match location.split_once(':') {
        Some(("file", rest)) => Ok(rest.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(rest)),
        Some(("local", rest)) => Ok(rest),
        Some((scheme, rest)) if matches!(scheme, "http" | "https" | "S3") && rest.starts_with("//") => {
            let why = "write s3://BUCKET/PREFIX?endpoint=https://HOST for a bucket at a server that is not Amazon's";
            let shown = location.split(['?', '@']).next().unwrap_or(scheme).to_owned();
            let location = if location.contains('@') { format!("{scheme}://***") } else { shown };
            Err(StoreError::Unusable { location, why: why.to_owned() })
        }
        Some((scheme, _)) if is_scheme(scheme) => Err(StoreError::Unsupported { scheme: scheme.to_owned() }),
        _ => Ok(location),
    }
}

/// Whether a user who writes `word:` means a kind of store rather than a file of that name. `./word:x` is
/// always a file.
fn is_scheme(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_path_unless_it_names_another_kind() {
        for (location, path) in [
            ("/a/b", "/a/b"),
            ("a/b", "a/b"),
            ("file:/a", "/a"),
            ("file:///a", "/a"),
            ("file:a", "a"),
            ("local:a:b", "a:b"),
            ("./s3:x", "./s3:x"),
        ] {
            assert_eq!(local_path(location).unwrap(), path, "{location}");
        }
        for (location, kind) in [("b2:bucket", "b2"), ("sftp://h/x", "sftp")] {
            let error = open(location, &StoreOptions::default(), 0).unwrap_err();
            assert!(matches!(&error, StoreError::Unsupported { scheme } if scheme == kind), "{error}");
        }
    }
}
