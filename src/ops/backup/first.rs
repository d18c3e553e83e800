//! Paths that are read before the rest of their source, such as the indexes of a database before its data.
//!
//! Each is saved as if it were a source of its own, completely. Then the walk passes it over, and it hangs where it
//! was: the tree of the snapshot is the same.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::primitives::progress::Severity;
use crate::source::{ExcludeRules, FileKind, Problem, Reach, reach, stat_root};

use super::compare::RowKey;
use super::roots::Planned;
use super::tree::TreeBackup;
use super::{BackupError, PathOptions, exclude_rules};

/// The paths that are read first below a root, relative to it, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct First(Vec<PathBuf>);

impl First {
    /// The rules of the root without them: they are saved apart.
    pub(super) fn apart(&self, rules: ExcludeRules) -> ExcludeRules {
        rules.with_apart(&self.0)
    }
}

/// What is read first below each root; and the names of those that are below none of them, or that the rules leave out.
pub(super) fn plan_first(
    options: &PathOptions,
    planned: &[Planned],
) -> Result<(Vec<First>, Vec<PathBuf>), BackupError> {
    let mut firsts = vec![First::default(); planned.len()];
    if options.first.is_empty() {
        return Ok((firsts, Vec::new()));
    }
    // With counters of their own: nobody is told of what is asked here.
    let Some(rules) = exclude_rules(options)? else { return Ok((firsts, Vec::new())) };
    let mut missing = Vec::new();
    for (n, name) in options.first.iter().enumerate() {
        let mut is_found = false;
        for (root, first) in planned.iter().zip(&mut firsts) {
            let rules = rules.for_root(&root.path)?;
            if reach(&root.path, &root.path.join(name), &rules) != Reach::Whole {
                continue;
            }
            is_found = true;
            // What lies below one that was named before it is saved with that.
            if !options.first[..n].iter().any(|above| name.starts_with(above)) {
                first.0.push(name.clone());
            }
        }
        if !is_found {
            missing.push(name.clone());
        }
    }
    Ok((firsts, missing))
}

/// Saves what is to be read first below a root.
pub(super) fn save_first(
    backup: &mut TreeBackup<'_>,
    root: &Path,
    key: &RowKey,
    rules: &ExcludeRules,
    first: &First,
) -> Result<(), BackupError> {
    for (n, name) in first.0.iter().enumerate() {
        let (path, key) = (root.join(name), key.below(name));
        let stat = match stat_root(&path) {
            Ok(stat) => stat,
            Err(e) => {
                backup.tally().problem(&Problem::reading(&path, &e));
                continue;
            }
        };
        let node = if stat.kind == FileKind::Directory {
            // What lies below it and was saved before it hangs in it.
            let rules = rules.for_root(root)?.with_apart(&first.0[..n]).below(name);
            let file_name = path.file_name().unwrap_or_default().as_bytes().to_vec();
            backup.directory(&path, &file_name, &key, &rules)?
        } else {
            backup.single(&path, &key)?
        };
        if let (Some(node), Some(parent)) = (node, path.parent()) {
            backup.hang(parent.to_owned(), path.clone(), node);
        }
    }
    Ok(())
}

/// Tells which names match nothing; answers with the first text, for the report.
pub(super) fn tell_missing(backup: &mut TreeBackup<'_>, missing: &[PathBuf]) -> Option<String> {
    let text = |name: &PathBuf| {
        let name = name.display();
        format!("{name} was to be read first, and is below none of the paths, or left out by a rule")
    };
    let texts: Vec<String> = missing.iter().map(text).collect();
    texts.iter().for_each(|text| backup.tally().say(Severity::Warning, text.clone()));
    texts.into_iter().next()
}
