//! What a backup would read, as far as the file cache knows.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::file_cache::{FileCacheReader, SeenDirectory, SeenFile};
use crate::format::description::Figures;
use crate::format::record::Outcome;
use crate::primitives::progress::{Change, Observer, Severity, Unit};
use crate::repository::Repository;
use crate::source::{Entry, Event, ExcludeRules, FileKind, Listing, Problem, Stat, WalkOptions, stat_root, walk};

use super::compare::{Compare, RowKey, Unchanged, compare_with_seen, seen_by_last};
use super::file::name_of;
use super::report::SourceReport;
use super::roots::{plan, row_keys, source_of};
use super::{BackupError, BackupOptions, BackupReport, PathOptions};

/// What was counted so far, and how files are compared.
struct Count<'a> {
    repository: &'a Repository,
    seen: Option<FileCacheReader>,
    compare: Compare,
    observer: &'a dyn Observer,
    figures: Figures,
}

/// Walks the sources and counts. Streams are not run.
pub(super) fn dry_run(
    repository: &Arc<Repository>,
    options: &BackupOptions,
    rules: &Option<ExcludeRules>,
    observer: &dyn Observer,
) -> Result<BackupReport, BackupError> {
    let mut sources = Vec::new();
    if let Some(rules) = rules {
        sources.push(foresee_paths(repository, &options.of_paths(), rules, observer)?);
    }
    Ok(BackupReport { run: None, sources, resumed: (0, 0), damage: Vec::new(), outcome: Outcome::Complete })
}

/// Walks the paths and counts what would be read.
pub(super) fn foresee_paths(
    repository: &Repository,
    options: &PathOptions,
    rules: &ExcludeRules,
    observer: &dyn Observer,
) -> Result<SourceReport, BackupError> {
    let planned = plan(options)?.0;
    let source = source_of(options);
    let seen = if options.read_all { None } else { seen_by_last(repository, &source)? };
    observer.phase("looking", None, Unit::Items);
    let mut count = Count { repository, seen, compare: options.compare, observer, figures: Figures::default() };
    for (root, key) in planned.iter().zip(row_keys(options, &planned)) {
        match stat_root(&root.path) {
            Ok(stat) if stat.kind == FileKind::Directory => {
                count.directory(&root.path, &key, &rules.for_root(&root.path)?)?;
            }
            Ok(stat) => count.single(&root.path, &key, &stat),
            Err(e) => count.problem(Severity::Error, &Problem::reading(&root.path, &e)),
        }
    }
    let (rules_unmatched, rules) = (rules.unmatched(), rules.summary());
    let report = SourceReport::new(source, Outcome::Complete, count.figures);
    Ok(SourceReport { rules_unmatched, rules, ..report })
}

impl Count<'_> {
    fn row(&self, key: &[u8]) -> Option<SeenDirectory> {
        self.seen.as_ref().and_then(|s| s.directory(self.repository.cache(), key))
    }

    fn problem(&mut self, severity: Severity, problem: &Problem) {
        self.figures.unreadable += 1;
        self.observer.finding(severity, &problem.to_string());
    }

    fn directory(&mut self, root: &Path, key: &RowKey, rules: &ExcludeRules) -> Result<(), BackupError> {
        let (repository, seen, observer) = (self.repository, self.seen.take(), self.observer);
        let annotate =
            |listing: &Listing| seen.as_ref().and_then(|s| s.directory(repository.cache(), &key.of(listing)));
        let walked = walk(root, rules, &WalkOptions::default(), annotate, |event| {
            if observer.interrupted() {
                return Err(BackupError::Interrupted);
            }
            let Event::Enter(listing, row) = event else { return Ok(()) };
            self.figures.directories += 1;
            listing.problems.iter().for_each(|problem| self.problem(Severity::Warning, problem));
            for Entry { name, stat } in listing.entries.iter().filter(|e| e.stat.kind != FileKind::Directory) {
                self.entry(row.as_ref().and_then(|r| r.get(name)), stat, &|| listing.path.join(name_of(name)));
                observer.advance(1);
            }
            Ok(())
        });
        self.seen = seen;
        walked
    }

    fn single(&mut self, path: &Path, key: &RowKey, stat: &Stat) {
        let row = self.row(&key.of_single(path));
        let name = path.file_name().unwrap_or_default().as_bytes();
        self.entry(row.as_ref().and_then(|r| r.get(name)), stat, &|| path.to_owned());
    }

    /// Counts an entry that is no directory.
    fn entry(&mut self, known: Option<&SeenFile>, stat: &Stat, path: &dyn Fn() -> PathBuf) {
        if stat.kind == FileKind::File {
            let change = add_file(&mut self.figures, known, stat, self.compare);
            self.observer.file(change, path, stat.size);
        } else {
            self.figures.others += 1;
        }
    }
}

fn add_file(figures: &mut Figures, known: Option<&SeenFile>, stat: &Stat, compare: Compare) -> Change {
    figures.files += 1;
    figures.bytes = figures.bytes.saturating_add(stat.size);
    if known.is_some_and(|file| compare_with_seen(file, stat, compare) != Unchanged::No) {
        return Change::Unchanged;
    }
    figures.files_read += 1;
    figures.bytes_read = figures.bytes_read.saturating_add(stat.size);
    if known.is_some() { Change::Modified } else { Change::New }
}
