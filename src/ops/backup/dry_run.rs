//! What a backup would read, as far as the file cache knows.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use crate::cache::file_cache::SeenFile;
use crate::format::description::Figures;
use crate::format::record::Outcome;
use crate::primitives::progress::{Change, Observer, Severity, Unit};
use crate::repository::Repository;
use crate::source::{Event, ExcludeRules, FileKind, Listing, Problem, Stat, WalkOptions, stat_root, walk};

use super::paths::{is_numbered, plan, row_key, seen_by_last, source_of};
use super::read::name_of;
use super::tree::{Compare, RowKey, Unchanged, compared};
use super::{BackupError, BackupOptions, BackupReport, SourceReport};

/// Walks the sources and counts. Streams are not run.
pub(super) fn dry_run(
    repository: &Arc<Repository>,
    options: &BackupOptions,
    rules: &Option<ExcludeRules>,
    observer: &dyn Observer,
) -> Result<BackupReport, BackupError> {
    let roots = plan(options)?.0;
    let source = source_of(options);
    let seen = if options.read_all { None } else { seen_by_last(repository, &source)? };
    observer.phase("looking", None, Unit::Items);
    let mut figures = Figures::default();
    let mut sources = Vec::new();
    if let Some(rules) = rules {
        let numbered = is_numbered(options, &roots);
        for (number, root) in roots.iter().map(|root| &root.path).enumerate() {
            let key = RowKey(numbered.then(|| row_key(number, roots.len())));
            let stat = match stat_root(root) {
                Ok(stat) => stat,
                Err(e) => {
                    figures.unreadable += 1;
                    observer.finding(Severity::Error, &Problem::reading(root, &e).to_string());
                    continue;
                }
            };
            if stat.kind != FileKind::Directory {
                let name = root.file_name().unwrap_or_default().as_bytes();
                let row = seen.as_ref().and_then(|s| s.directory(repository.cache(), &key.of_single(root)));
                match stat.kind {
                    FileKind::File => {
                        let known = row.as_ref().and_then(|r| r.get(name));
                        let change = add_file(&mut figures, known, &stat, options.compare);
                        observer.file(change, &|| root.clone(), stat.size);
                    }
                    _ => figures.others += 1,
                }
                continue;
            }
            let annotate =
                |listing: &Listing| seen.as_ref().and_then(|s| s.directory(repository.cache(), &key.of(listing)));
            walk(root, &rules.for_root(root)?, &WalkOptions::default(), annotate, |event| {
                if observer.interrupted() {
                    return Err(BackupError::Interrupted);
                }
                let Event::Enter(listing, row) = event else { return Ok(()) };
                figures.directories += 1;
                for problem in &listing.problems {
                    figures.unreadable += 1;
                    observer.finding(Severity::Warning, &problem.to_string());
                }
                for entry in &listing.entries {
                    match entry.stat.kind {
                        FileKind::Directory => continue,
                        FileKind::File => {
                            let known = row.as_ref().and_then(|r| r.get(&entry.name));
                            let change = add_file(&mut figures, known, &entry.stat, options.compare);
                            observer.file(change, &|| listing.path.join(name_of(&entry.name)), entry.stat.size);
                        }
                        _ => figures.others += 1,
                    }
                    observer.advance(1);
                }
                Ok(())
            })?;
        }
        sources.push(SourceReport {
            source,
            snapshot: None,
            outcome: Outcome::Complete,
            figures,
            error: None,
            rules_unmatched: rules.unmatched(),
            rules: rules.summary(),
        });
    }
    Ok(BackupReport { run: None, sources, resumed: (0, 0), damage: Vec::new(), outcome: Outcome::Complete })
}

fn add_file(figures: &mut Figures, known: Option<&SeenFile>, stat: &Stat, compare: Compare) -> Change {
    figures.files += 1;
    figures.bytes = figures.bytes.saturating_add(stat.size);
    if known.is_some_and(|file| compared(file, stat, compare) != Unchanged::No) {
        return Change::Unchanged;
    }
    figures.files_read += 1;
    figures.bytes_read = figures.bytes_read.saturating_add(stat.size);
    if known.is_some() { Change::Modified } else { Change::New }
}
