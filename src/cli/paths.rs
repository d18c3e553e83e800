//! Paths and snapshots as they are typed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::primitives::ids::SnapshotId;
use crate::repository::snapshots::SnapshotName;

/// `path` as seen from `cwd`, absolute and without `.` and `..`. Symbolic links are not followed.
pub fn absolute(path: &Path, cwd: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in cwd.join(path).components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// All paths absolute, each once, in the order they were given.
pub fn absolute_all(paths: &[PathBuf], cwd: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::new();
    for path in paths.iter().map(|p| absolute(p, cwd)) {
        if !all.contains(&path) {
            all.push(path);
        }
    }
    all
}

/// As [`absolute_all`], for paths that are read: `..` behind a symbolic link leads to where the link's target lies.
pub fn on_disk(paths: &[PathBuf], cwd: &Path) -> Vec<PathBuf> {
    let resolved = |path: &PathBuf| {
        let mut out = PathBuf::from("/");
        for component in cwd.join(path).components() {
            match component {
                Component::ParentDir => {
                    // Where the system would go; a link that leads nowhere is told when the path is read.
                    if let Ok(target) = out.is_symlink().then(|| out.canonicalize()).transpose()
                        && let Some(target) = target
                    {
                        out = target;
                    }
                    out.pop();
                }
                Component::Normal(name) => out.push(name),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        out
    };
    absolute_all(&paths.iter().map(resolved).collect::<Vec<_>>(), cwd)
}

/// `SNAPSHOT` or `SNAPSHOT:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSpec {
    /// The snapshot; `None` if only a path was given, to go with a time.
    pub name: Option<SnapshotName>,
    /// Path from the snapshot's root: names joined by `/`; empty for the root.
    pub path: Vec<u8>,
}

impl SnapshotSpec {
    /// Reads what was typed. The first `:` ends the snapshot: no snapshot's name has one.
    pub fn parse(text: &OsStr) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let (name, path) = match bytes.iter().position(|c| *c == b':') {
            Some(at) => (&bytes[..at], &bytes[at + 1..]),
            None => (bytes, &b""[..]),
        };
        let name = if name.is_empty() { None } else { Some(parse_name(name)?) };
        Ok(Self { name, path: inside(path) })
    }

    /// The path for people.
    pub fn shown_path(&self) -> String {
        super::output::text::escape(&self.path)
    }
}

/// A path from the root of a snapshot without empty names, `.` and `..`.
fn inside(path: &[u8]) -> Vec<u8> {
    let clean = absolute(Path::new(&OsString::from_vec(path.to_vec())), Path::new("/"));
    clean.as_os_str().as_bytes()[1..].to_vec()
}

fn parse_name(bytes: &[u8]) -> Result<SnapshotName, String> {
    let bad = || {
        let shown = super::output::text::escape(bytes);
        format!("invalid snapshot `{shown}`: expected an ID prefix, `latest` or `latest~N`")
    };
    let text = std::str::from_utf8(bytes).map_err(|_| bad())?;
    if let Some(rest) = text.strip_prefix("latest") {
        return match rest.strip_prefix('~') {
            None if rest.is_empty() => Ok(SnapshotName::Latest(0)),
            // A `+` would be read as a number too.
            Some(n) if n.bytes().all(|c| c.is_ascii_digit()) => n.parse().map(SnapshotName::Latest).map_err(|_| bad()),
            _ => Err(bad()),
        };
    }
    let fits = text.len() <= 2 * SnapshotId::LEN && text.bytes().all(|c| c.is_ascii_hexdigit());
    if fits { Ok(SnapshotName::Prefix(text.to_ascii_lowercase())) } else { Err(bad()) }
}

/// Splits a path from a snapshot's root into directory and last name.
pub fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|c| *c == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_without_asking_the_file_system() {
        let at = |p: &str| absolute(Path::new(p), Path::new("/home/u"));
        assert_eq!(at("."), Path::new("/home/u"));
        assert_eq!(at("a/./b/../c/"), Path::new("/home/u/a/c"));
        assert_eq!(at("../../../.."), Path::new("/"));
        assert_eq!(at("/etc//x"), Path::new("/etc/x"));
        let twice = [PathBuf::from("."), PathBuf::from("/home/u/"), PathBuf::from("/b")];
        assert_eq!(absolute_all(&twice, Path::new("/home/u")), [Path::new("/home/u"), Path::new("/b")]);
    }

    #[test]
    fn snapshots_are_named_by_digits_or_by_age() {
        let name = |text: &str| SnapshotSpec::parse(OsStr::new(text)).map(|s| s.name);
        assert_eq!(name("latest"), Ok(Some(SnapshotName::Latest(0))));
        assert_eq!(name("latest~3:/x"), Ok(Some(SnapshotName::Latest(3))));
        assert_eq!(name("3FA9"), Ok(Some(SnapshotName::Prefix("3fa9".into()))));
        assert_eq!(name(":/etc"), Ok(None));
        let long = "0".repeat(33);
        for bad in ["latest~", "latest~x", "latest~+1", "latest2", "dump.sql", long.as_str()] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_path_follows_the_first_colon_and_is_clean() {
        let path = |text: &str| SnapshotSpec::parse(OsStr::new(text)).map(|s| s.path).unwrap_or_default();
        assert_eq!(path("latest:/etc//passwd/"), b"etc/passwd");
        assert_eq!(path("latest:a:b"), b"a:b");
        assert_eq!(path("latest:../x"), b"x");
        assert_eq!(path("latest:"), b"");
        let odd = OsString::from_vec(b"latest:/\xff".to_vec());
        assert_eq!(SnapshotSpec::parse(&odd).map(|s| s.path), Ok(b"\xff".to_vec()));
    }
}
