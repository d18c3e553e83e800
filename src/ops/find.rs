//! Find: where in which snapshots something of a name is.

use std::collections::HashSet;

use globset::GlobMatcher;

use crate::format::tree::{Node, NodeKind};
use crate::primitives::ids::ChunkId;
use crate::primitives::progress::{Observer, Severity};
use crate::repository::snapshots::Snapshot;
use crate::repository::{Repository, RepositoryError, Result};

/// What to look for.
pub struct FindOptions {
    /// Any of these. One without a slash is compared with names, one with a slash with whole paths.
    pub patterns: Vec<Pattern>,
    /// Only entries modified at or after this time, in seconds since the epoch.
    pub newer_than: Option<i64>,
    /// Only entries modified before this time, in seconds since the epoch.
    pub older_than: Option<i64>,
}

/// One pattern.
pub struct Pattern {
    /// Compares.
    pub glob: GlobMatcher,
    /// Whether whole paths are compared.
    pub whole_path: bool,
}

impl FindOptions {
    fn matches(&self, path: &[u8], node: &Node) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let text = |bytes| std::path::Path::new(std::ffi::OsStr::from_bytes(bytes));
        let named = |p: &Pattern| p.glob.is_match(text(if p.whole_path { path } else { &node.name }));
        let secs = node.meta.mtime.secs;
        self.patterns.iter().any(named)
            && self.newer_than.is_none_or(|t| secs >= t)
            && self.older_than.is_none_or(|t| secs < t)
    }
}

/// Is told of a match: where, by which path, and the entry.
pub type Each<'a> = &'a mut dyn FnMut(&Snapshot, &[u8], &Node) -> Result<()>;

/// Hands every match to `each`, snapshot by snapshot.
pub fn find(
    repository: &Repository,
    snapshots: &[Snapshot],
    options: &FindOptions,
    observer: &dyn Observer,
    each: Each<'_>,
) -> Result<u64> {
    let mut barren: HashSet<ChunkId> = HashSet::new();
    let mut count = 0;
    for snapshot in snapshots {
        let matched = of_one(repository, snapshot, options, &mut barren, observer, each);
        match matched.map_err(|e| repository.within(&snapshot.id, e)) {
            Ok(matched) => count += matched,
            Err(e @ RepositoryError::Forgotten { .. }) => observer.finding(Severity::Note, &e.to_string()),
            Err(e) => return Err(e),
        }
    }
    Ok(count)
}

fn of_one(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &FindOptions,
    barren: &mut HashSet<ChunkId>,
    observer: &dyn Observer,
    each: Each<'_>,
) -> Result<u64> {
    // Where only names count, a tree that held nothing need not be looked at again.
    let by_name = options.patterns.iter().all(|p| !p.whole_path);
    let mut count = 0;
    // A directory is barren once it was left and nothing was found below it: hence two visits.
    let mut stack: Vec<(Vec<u8>, ChunkId, Option<u64>)> = vec![(Vec::new(), snapshot.state.root, None)];
    while let Some((directory, id, entered)) = stack.pop() {
        if observer.interrupted() {
            return Err(RepositoryError::Interrupted);
        }
        if let Some(before) = entered {
            if by_name && before == count {
                barren.insert(id);
            }
            continue;
        }
        if barren.contains(&id) {
            continue;
        }
        stack.push((Vec::new(), id, Some(count)));
        let mut below = Vec::new();
        repository.for_each_entry(&id, &mut |node| {
            let path = [&directory[..], b"/", &node.name].concat();
            if options.matches(&path, &node) {
                count += 1;
                each(snapshot, &path, &node)?;
            }
            if let NodeKind::Directory(id) = node.kind {
                below.push((path, id, None));
            }
            Ok(())
        })?;
        stack.extend(below.into_iter().rev());
    }
    Ok(count)
}
