//! Where the tablespaces of a base backup are, and where they go.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::primitives::text::printable;

/// A tablespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tablespace {
    /// The number of the server for it, which names its link and its tar file.
    pub oid: u32,
    /// Where the server had it.
    pub old: Vec<u8>,
    /// Where it goes.
    pub new: PathBuf,
}

/// What a user says about the place of a tablespace: `OLD=NEW`, as `pg_basebackup --tablespace-mapping` reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    old: Vec<u8>,
    new: PathBuf,
}

impl Mapping {
    /// Reads `OLD=NEW`; `\=` is an equals sign within a path. An error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("invalid tablespace mapping `{text}`: {what}"));
        let mut parts = vec![String::new()];
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            match c {
                '\\' if characters.peek() == Some(&'=') => {
                    characters.next();
                    parts.last_mut().expect("it begins with one").push('=');
                }
                '=' => parts.push(String::new()),
                c => parts.last_mut().expect("it begins with one").push(c),
            }
        }
        let [old, new] = &parts[..] else { return wrong("expected OLD=NEW, with `\\=` for `=` in a path") };
        if !old.starts_with('/') || !new.starts_with('/') {
            return wrong("expected absolute paths");
        }
        // The server ends a line of its map with these.
        if new.contains(['\n', '\r', '\\']) {
            return wrong("the new path holds a line end or a backslash");
        }
        Ok(Self { old: trimmed(old.as_bytes()).to_vec(), new: Path::new(new).components().collect() })
    }

    /// Where the tablespace was.
    pub fn old(&self) -> &[u8] {
        &self.old
    }

    /// Where it goes.
    pub fn new_place(&self) -> &Path {
        &self.new
    }
}

/// A path without slashes at its end.
fn trimmed(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(1, |last| last + 1);
    &path[..end.min(path.len())]
}

/// The directory of a tablespace about which nothing is said: beside the data directory, because a server wants none
/// within it.
pub fn default_place(data: &Path, oid: u32) -> PathBuf {
    let mut folder: OsString = data.as_os_str().to_owned();
    folder.push(".tablespaces");
    PathBuf::from(folder).join(oid.to_string())
}

/// The tablespaces that a `tablespace_map` names, and where each goes.
pub(super) fn places(map: &[u8], mappings: &[Mapping], data: &Path) -> Result<Vec<Tablespace>, String> {
    let mut all: Vec<Tablespace> = Vec::new();
    for (oid, old) in parse_map(map)? {
        let mapped = mappings.iter().find(|mapping| mapping.old == trimmed(&old));
        let new = mapped.map_or_else(|| default_place(data, oid), |mapping| mapping.new.clone());
        if new.as_os_str().as_bytes().iter().any(|byte| b"\n\r\\".contains(byte)) {
            return Err(format!(
                "tablespace {oid} cannot go to {}, which holds a line end or a backslash: name another directory with \
                 --tablespace-mapping",
                printable(new.as_os_str().as_bytes())
            ));
        }
        if new.starts_with(data) || data.starts_with(&new) {
            return Err(format!(
                "tablespace {oid} cannot go to {}: neither of it and the data directory may be within the other",
                new.display()
            ));
        }
        if let Some(same) =
            all.iter().find(|one| one.oid == oid || one.new.starts_with(&new) || new.starts_with(&one.new))
        {
            return Err(format!(
                "tablespaces {} and {oid} cannot both go to {}: give each a directory of its own",
                same.oid,
                new.display()
            ));
        }
        all.push(Tablespace { oid, old, new });
    }
    Ok(all)
}

/// The map for a server, with the new places.
pub(super) fn map_of(tablespaces: &[Tablespace]) -> Vec<u8> {
    let line =
        |one: &Tablespace| [one.oid.to_string().as_bytes(), b" ", one.new.as_os_str().as_bytes(), b"\n"].concat();
    tablespaces.iter().flat_map(line).collect()
}

/// The lines of a `tablespace_map`: number and place. A backslash stands before a line end, or, of newer servers, before a
/// backslash.
fn parse_map(map: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, String> {
    let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
    let mut bytes = map.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escaped = bytes.peek().copied().filter(|next| byte == b'\\' && b"\n\r\\".contains(next));
        match (byte, escaped) {
            (_, Some(next)) => {
                bytes.next();
                lines.last_mut().expect("it begins with one").push(next);
            }
            (b'\n' | b'\r', None) => lines.push(Vec::new()),
            (byte, None) => lines.last_mut().expect("it begins with one").push(byte),
        }
    }
    lines.into_iter().filter(|line| !line.is_empty()).map(|line| entry(&line)).collect()
}

fn entry(line: &[u8]) -> Result<(u32, Vec<u8>), String> {
    let wrong = || format!("its tablespace_map holds a line that no server writes: {}", printable(line));
    let space = line.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
    let oid = std::str::from_utf8(&line[..space]).ok().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    let place = line[space + 1..].to_vec();
    if place.is_empty() { Err(wrong()) } else { Ok((oid, place)) }
}

/// A path from bytes.
pub(super) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_read_as_pg_basebackup_reads_it() {
        let mapping = Mapping::parse(r"/srv/a\=b/=/new/x\=y").unwrap();
        assert_eq!((mapping.old(), mapping.new_place()), (b"/srv/a=b".as_slice(), Path::new("/new/x=y")));
        for (text, what) in [("/a", "OLD=NEW"), ("/a=/b=/c", "OLD=NEW"), ("a=/b", "absolute"), ("/a=b", "absolute")] {
            let error = Mapping::parse(text).unwrap_err();
            assert!(error.contains(what) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_map_is_read_written_and_its_places_are_apart() {
        let map = b"16385 /srv/fast\n16390 /srv/o\\\\d\\\nd\n";
        let data = Path::new("/pg/data");
        let places_of = |mappings: &[&str]| {
            let mappings: Vec<Mapping> = mappings.iter().map(|text| Mapping::parse(text).unwrap()).collect();
            places(map, &mappings, data)
        };
        let all = places_of(&["/srv/fast/=/new/fast"]).unwrap();
        assert_eq!(all[1].old, b"/srv/o\\d\nd");
        assert_eq!(map_of(&all), b"16385 /new/fast\n16390 /pg/data.tablespaces/16390\n");
        for (wrong, what) in [
            ("/srv/fast=/pg/data/x", "within the other"),
            ("/srv/fast=/pg", "within the other"),
            ("/srv/fast=/pg/data.tablespaces/16390", "cannot both"),
        ] {
            let error = places_of(&[wrong]).unwrap_err();
            assert!(error.contains(what) && error.contains("16385"), "{error}");
        }
        for wrong in [&b"x /a\n"[..], b"16385\n", b"16385 \n", b"99999999999 /a\n"] {
            assert!(parse_map(wrong).unwrap_err().contains("no server writes"));
        }
        assert!(parse_map(b"").unwrap().is_empty());
    }
}
