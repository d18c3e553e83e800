//! The roots of a source of paths: which are walked, and what the source and its rows in the file cache are called.

use std::collections::{HashSet, VecDeque};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::primitives::text::printable;
use crate::source::{Reach, reach, stat_root};

use super::compare::RowKey;
use super::{BackupError, PathOptions, exclude_rules};

/// A path to walk.
pub(super) struct Planned {
    pub path: PathBuf,
    /// The directory of another walk that it lies below, and that walk comes no further.
    pub at: Option<PathBuf>,
}

/// Paths that need no walk of their own, each with the one whose walk comes to it.
pub(super) type Covered = Vec<(PathBuf, PathBuf)>;

/// The paths to walk, sorted, and those that the walks of others come to.
pub(super) fn plan(options: &PathOptions) -> Result<(Vec<Planned>, Covered), BackupError> {
    let (mut planned, mut covered): (Vec<Planned>, Covered) = Default::default();
    // With counters of their own: nobody is told of what is asked here.
    let Some(rules) = exclude_rules(options)? else { return Ok((planned, covered)) };
    let mut todo: Vec<PathBuf> = options.paths.clone();
    todo.sort();
    todo.dedup();
    let mut todo: VecDeque<PathBuf> = todo.into();
    // A list may name thousands of files.
    let mut walked: HashSet<PathBuf> = HashSet::new();
    while let Some(path) = todo.pop_front() {
        let Some(by) = path.ancestors().find(|above| walked.contains(*above)).map(Path::to_owned) else {
            walked.insert(path.clone());
            planned.push(Planned { path, at: None });
            continue;
        };
        match reach(&by, &path, &rules.for_root(&by)?) {
            _ if by == path => {}
            Reach::Whole => covered.push((path, by)),
            Reach::Until(at) => {
                walked.insert(path.clone());
                planned.push(Planned { path, at: Some(at) });
            }
            // The link is saved as one: what it leads to stands where it is.
            Reach::Link => match path.canonicalize() {
                Ok(real) if real != path => todo.push_back(real),
                _ => {
                    walked.insert(path.clone());
                    planned.push(Planned { path, at: None });
                }
            },
        }
    }
    planned.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((planned, covered))
}

/// What the rows of each root are called in the file cache: by its number if the source has a name, for then it may be
/// mounted elsewhere for each backup. A list that also names files is another one each time, and its paths are what stays.
pub(super) fn row_keys(options: &PathOptions, planned: &[Planned]) -> Vec<RowKey> {
    let count = planned.len();
    let is_numbered = options.source.is_some() && (count == 1 || planned.iter().all(|root| root.path.is_dir()));
    let key = |number: usize| match count {
        1 => number.to_string(),
        // If there are more or fewer roots than before, no number means what it meant.
        count => format!("{number}:{count}"),
    };
    (0..count).map(|number| RowKey(is_numbered.then(|| key(number).into_bytes()))).collect()
}

/// Of several paths one may be missing; an error if all are: a snapshot of nothing would pass for one of all.
pub(super) fn check_roots(paths: &[PathBuf]) -> Result<(), BackupError> {
    let mut missing = None;
    for path in paths {
        match stat_root(path) {
            Ok(_) => return Ok(()),
            Err(source) => drop(missing.get_or_insert(BackupError::Root { path: path.clone(), source })),
        }
    }
    missing.map_or(Ok(()), Err)
}

/// The paths sorted, each once, without those that lie below another.
pub(super) fn roots(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut sorted = paths.to_vec();
    sorted.sort();
    let mut roots: Vec<PathBuf> = Vec::new();
    let mut known: HashSet<PathBuf> = HashSet::new();
    for path in sorted {
        if !path.ancestors().any(|above| known.contains(above)) {
            known.insert(path.clone());
            roots.push(path);
        }
    }
    roots
}

/// The name of the source that all paths together are.
pub(super) fn source_of(options: &PathOptions) -> String {
    options.source.clone().unwrap_or_else(|| source_name(&roots(&options.paths)))
}

fn source_name(roots: &[PathBuf]) -> String {
    roots.iter().map(|p| printable(p.as_os_str().as_bytes())).collect::<Vec<_>>().join(",")
}
