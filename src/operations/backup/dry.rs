//! What a backup would read, as far as the file cache knows.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use crate::formats::description::Figures;
use crate::formats::record::Outcome;
use crate::machinery::repository::Repository;
use crate::machinery::source::{Event, ExcludeRules, FileKind, Listing, WalkOptions, stat_root, walk};
use crate::words::observer::{Observer, Severity, Unit};

use super::paths::{roots, seen_by_last, source_of};
use super::tree::is_unchanged;
use super::{BackupError, BackupOptions, BackupReport, SourceReport};

/// Walks the sources and counts. Streams are not run.
pub(super) fn dry_run(
    repository: &Arc<Repository>,
    options: &BackupOptions,
    rules: &Option<ExcludeRules>,
    observer: &dyn Observer,
) -> Result<BackupReport, BackupError> {
    let roots = roots(&options.paths);
    let source = source_of(options);
    let seen = if options.read_all { None } else { seen_by_last(repository, &source)? };
    observer.phase("looking", None, Unit::Items);
    let mut figures = Figures::default();
    let mut sources = Vec::new();
    if let Some(rules) = rules {
        for root in &roots {
            let stat = stat_root(root).map_err(|source| BackupError::Root { path: root.clone(), source })?;
            if stat.kind != FileKind::Directory {
                (figures.files, figures.files_read) = (figures.files + 1, figures.files_read + 1);
                (figures.bytes, figures.bytes_read) = (figures.bytes + stat.size, figures.bytes_read + stat.size);
                continue;
            }
            let annotate = |listing: &Listing| {
                seen.as_ref().and_then(|s| s.directory(repository.cache(), listing.path.as_os_str().as_bytes()))
            };
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
                            figures.files += 1;
                            figures.bytes += entry.stat.size;
                            let known = row.as_ref().and_then(|r| r.get(&entry.name));
                            if !known.is_some_and(|f| is_unchanged(f, &entry.stat)) {
                                figures.files_read += 1;
                                figures.bytes_read += entry.stat.size;
                            }
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
