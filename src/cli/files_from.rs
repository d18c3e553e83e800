//! Paths that are listed in files: `--files-from` and its relatives.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::context::Session;
use super::error::{CliError, Result};
use super::output::text::escape;

/// Files that list paths.
pub(super) struct PathLists<'a> {
    /// One path a line, with wildcards and comments.
    pub patterns: &'a [PathBuf],
    /// One path a line, as it is.
    pub verbatim: &'a [PathBuf],
    /// Paths that each end with a NUL character.
    pub raw: &'a [PathBuf],
}

/// What the files list, as it would be given on the command line.
pub(super) fn listed_paths(session: &Session, lists: &PathLists) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for file in lists.patterns {
        let bytes = read(session, file)?;
        let lines = bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
        let before = all.len();
        for line in lines.filter(|line| !line.is_empty() && line[0] != b'#') {
            all.extend(expanded(session, line)?);
        }
        not_empty(file, all.len() > before)?;
    }
    for (files, end) in [(lists.verbatim, b'\n'), (lists.raw, 0)] {
        for file in files {
            let bytes = read(session, file)?;
            let before = all.len();
            let named = bytes.split(|b| *b == end).filter(|name| !name.is_empty());
            all.extend(named.map(|name| PathBuf::from(OsStr::from_bytes(name))));
            not_empty(file, all.len() > before)?;
        }
    }
    Ok(all)
}

/// A list of nothing is a mistake: a backup of nothing would look like a success.
fn not_empty(file: &Path, is: bool) -> Result<()> {
    match is {
        true => Ok(()),
        false => Err(CliError::Usage(format!("{} names no path", escape(file.as_os_str().as_bytes())))),
    }
}

fn read(session: &Session, file: &Path) -> Result<Vec<u8>> {
    let env = session.env;
    if file.as_os_str() != "-" {
        let path = env.cwd.join(file);
        return std::fs::read(&path).map_err(CliError::file("read the list of paths", &path));
    }
    let input = env.input.lock().take();
    let Some(mut input) = input else {
        return Err(CliError::Usage("standard input can be read only once".to_owned()));
    };
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(CliError::file("read the list of paths", Path::new("standard input")))?;
    Ok(bytes)
}

/// The paths that a line with wildcards stands for; a line without is one path.
fn expanded(session: &Session, line: &[u8]) -> Result<Vec<PathBuf>> {
    let path = || PathBuf::from(OsStr::from_bytes(line));
    let Some(text) = std::str::from_utf8(line).ok().filter(|text| text.contains(['*', '?', '['])) else {
        return Ok(vec![path()]);
    };
    // A file of that very name is what is meant.
    if session.env.cwd.join(path()).symlink_metadata().is_ok() {
        return Ok(vec![path()]);
    }
    let pattern = match (text.starts_with('/'), session.env.cwd.to_str()) {
        (true, _) => text.to_owned(),
        (false, Some(cwd)) => format!("{}/{text}", glob::Pattern::escape(cwd.trim_end_matches('/'))),
        (false, None) => return Ok(vec![path()]),
    };
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
    let found = glob::glob_with(&pattern, options)
        .map_err(|e| CliError::Usage(format!("the pattern {} is not valid: {e}", escape(line))))?;
    let mut all = Vec::new();
    for path in found {
        // Half of what is meant would look like all of it.
        all.push(path.map_err(|e| {
            let at = e.path().to_owned();
            CliError::file("read the directory", at)(e.into())
        })?);
    }
    // What matches nothing is missing, as a path would be: the backup says so, and is partial.
    if all.is_empty() {
        all.push(path());
    }
    Ok(all)
}
