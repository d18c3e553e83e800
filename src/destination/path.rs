//! Paths below the root of a target.
//!
//! A [`RelativePath`] is a list of names, each checked when it is added: it cannot be absolute, cannot hold
//! `..`, `.`, empty names or NUL. What a snapshot says can thus never name a place outside of the target;
//! symbolic links that stand in the target are the business of `beneath`.

use std::fmt::{self, Write as _};

use crate::format::tree::{BadName, check_name};

/// A path of checked names below the root of a target; without names, the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelativePath {
    /// The names, joined by `/`.
    bytes: Vec<u8>,
}

impl RelativePath {
    /// The root of the target.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads names joined by `/`; no bytes at all are the root.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadName> {
        let mut path = Self::root();
        if !bytes.is_empty() {
            bytes.split(|&c| c == b'/').try_for_each(|name| path.push(name))?;
        }
        Ok(path)
    }

    /// Goes down to `name`.
    pub fn push(&mut self, name: &[u8]) -> Result<(), BadName> {
        check_name(name)?;
        if !self.bytes.is_empty() {
            self.bytes.push(b'/');
        }
        self.bytes.extend_from_slice(name);
        Ok(())
    }

    /// Goes up by one name; `false` at the root.
    pub fn pop(&mut self) -> bool {
        let Some((parent, _)) = self.split() else { return false };
        let len = parent.len();
        self.bytes.truncate(len);
        true
    }

    /// The entry `name` of this directory.
    pub fn child(&self, name: &[u8]) -> Result<Self, BadName> {
        let mut bytes = Vec::with_capacity(self.bytes.len() + 1 + name.len());
        bytes.extend_from_slice(&self.bytes);
        let mut path = Self { bytes };
        path.push(name)?;
        Ok(path)
    }

    /// The directory above; `None` at the root.
    pub fn parent(&self) -> Option<Self> {
        self.split().map(|(parent, _)| Self { bytes: parent.to_vec() })
    }

    /// The last name; `None` at the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.split().map(|(_, name)| name)
    }

    /// Whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The names from the root down.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        names(&self.bytes)
    }

    /// The names joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of the directory above and the last name; `None` at the root.
    pub(super) fn split(&self) -> Option<(&[u8], &[u8])> {
        split(&self.bytes)
    }
}

/// The names of a joined path.
pub(super) fn names(joined: &[u8]) -> impl Iterator<Item = &[u8]> {
    joined.split(|&c| c == b'/').filter(|name| !name.is_empty())
}

/// A joined path's directory and last name; `None` if it is empty.
pub(super) fn split(joined: &[u8]) -> Option<(&[u8], &[u8])> {
    match joined.iter().rposition(|&c| c == b'/') {
        Some(slash) => Some((&joined[..slash], &joined[slash + 1..])),
        None if joined.is_empty() => None,
        None => Some((&[], joined)),
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        write_name(f, &self.bytes)
    }
}

/// Writes bytes as text in which nothing commands a terminal: what is not UTF-8 as `\xNN`, and control
/// characters escaped.
pub(super) fn write_name(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for part in bytes.utf8_chunks() {
        for c in part.valid().chars() {
            match c.is_control() {
                true => write!(f, "{}", c.escape_default())?,
                false => f.write_char(c)?,
            }
        }
        part.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_out_cannot_be_built() {
        for name in [&b".."[..], b".", b"", b"/etc", b"a/..", b"a\0b", b"/"] {
            assert!(RelativePath::root().push(name).is_err(), "{name:?}");
            assert!(RelativePath::root().child(name).is_err(), "{name:?}");
        }
        for path in [&b"../a"[..], b"/a", b"a/../b", b"a//b", b"a/", b"."] {
            assert!(RelativePath::parse(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn names_go_down_and_up() {
        let mut path = RelativePath::parse(b"a/b\xff").unwrap();
        assert_eq!(path.names().collect::<Vec<_>>(), [&b"a"[..], b"b\xff"]);
        assert_eq!(path.name(), Some(&b"b\xff"[..]));
        assert_eq!(path.parent(), Some(RelativePath::parse(b"a").unwrap()));
        assert_eq!(path.child(b"c").unwrap().as_bytes(), b"a/b\xff/c");
        assert!(path.pop() && path.pop() && !path.pop());
        assert!(path.is_root() && path.names().next().is_none());
    }

    #[test]
    fn a_path_is_shown_without_control_characters() {
        let path = RelativePath::parse("grün/\x1b[31m\n".as_bytes()).unwrap();
        assert_eq!(path.to_string(), "grün/\\u{1b}[31m\\n");
        assert_eq!(RelativePath::parse(b"b\xff").unwrap().to_string(), "b\\xff");
        assert_eq!(RelativePath::root().to_string(), ".");
    }
}
