//! Problems with one thing that is backed up: told, counted, and the run goes on.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// What went wrong with one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// It was there and is gone, or is something else by now. Natural on a live tree.
    Vanished,
    /// It is there and cannot be read.
    Unreadable,
    /// It was read, but an extended attribute of it was not.
    Attribute,
}

/// A problem with one path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct Problem {
    /// The absolute path.
    pub path: PathBuf,
    /// What kind of problem it is.
    pub what: ProblemKind,
    /// What the system said.
    pub error: String,
}

impl Problem {
    /// A problem with reading `path`: vanished or unreadable, as `error` says.
    pub fn reading(path: &Path, error: &io::Error) -> Self {
        let what = if is_vanished(error) { ProblemKind::Vanished } else { ProblemKind::Unreadable };
        Self { path: path.to_owned(), what, error: text_of(error) }
    }

    /// A problem with the extended attributes of `path`; `attribute` names one of them.
    pub fn attribute(path: &Path, attribute: &[u8], error: &io::Error) -> Self {
        let error = format!("extended attribute {}: {}", attribute.escape_ascii(), text_of(error));
        Self { path: path.to_owned(), what: ProblemKind::Attribute, error }
    }
}

/// Whether an error says that the thing is no longer what it was: gone, or a link or file in place of a directory.
pub fn is_vanished(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE))
}

/// The system's words in our style: lower case, without the number.
fn text_of(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        // What the system says of these two would lead astray: it did as it was told, not to follow and not to wait.
        Some(Errno::LOOP) => return "it is a symbolic link now".to_owned(),
        Some(Errno::STALE) => return "it is no longer what it was".to_owned(),
        _ => {}
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => "unknown error".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_has_vanished_and_a_forbidden_one_is_unreadable() {
        let problem = |errno: Errno| Problem::reading(Path::new("/a"), &errno.into());
        assert_eq!(problem(Errno::NOENT).what, ProblemKind::Vanished);
        assert_eq!(problem(Errno::LOOP).what, ProblemKind::Vanished);
        assert_eq!(problem(Errno::LOOP).to_string(), "/a: it is a symbolic link now");
        assert_eq!(problem(Errno::ACCESS).what, ProblemKind::Unreadable);
        assert_eq!(problem(Errno::ACCESS).to_string(), "/a: permission denied");
    }
}
