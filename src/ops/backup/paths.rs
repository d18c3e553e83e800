//! Backing up paths: all of them together are one source, and become one snapshot.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::cache::file_cache::{FileCacheReader, FileCacheWriter};
use crate::format::description::{DataDirectory, Figures, LeftOut, SnapshotDescription};
use crate::format::record::{Outcome, Role};
use crate::format::tree::{Metadata, Node};
use crate::primitives::error_chain::error_chain;
use crate::primitives::flag::RaiseOnDrop;
use crate::primitives::ids::{ChunkId, SnapshotId};
use crate::primitives::progress::{Observer, Severity};
use crate::repository::{Repository, RepositoryError};
use crate::source::{ExcludeOptions, ExcludeRules, FileKind, Problem, dss, stat_root};

use super::ancestors::AncestorTree;
use super::compare::{RowKey, seen_by_last};
use super::dry_run::foresee_paths;
use super::first::{First, plan_first, save_first, tell_missing};
use super::foreseen::ForeseenContent;
use super::report::SourceReport;
use super::roots::{Planned, check_roots, plan, row_keys};
use super::scan::{ScanOptions, count};
use super::snapshot_writer::{SnapshotWriter, Source};
use super::stream::timed_out;
use super::tally::Tally;
use super::together::Stored;
use super::tree::TreeBackup;
use super::{BackupError, PathOptions, exclude_rules};

/// All paths of a backup as a source.
pub(super) struct PathsSource {
    /// What it is called.
    pub name: String,
    /// The paths, and how they are saved.
    pub options: PathOptions,
    /// What is left out.
    pub rules: ExcludeRules,
}

impl Source for PathsSource {
    fn name(&self) -> &str {
        &self.name
    }

    /// Saves the paths, and again without the file cache if that turns out to be too old.
    fn store(self: Box<Self>, writer: &mut SnapshotWriter<'_>) -> Result<(), BackupError> {
        let (options, observer) = (&self.options, writer.observer);
        // It may take hours: what is done is published before.
        writer.publish_waiting()?;
        if let Err(missing) = check_roots(&options.paths) {
            let error = error_chain(&missing);
            observer.finding(Severity::Error, &error);
            writer.report(SourceReport::failed(self.name.clone(), Figures::default(), error));
            return Ok(());
        }
        let read_all = options.read_all || writer.common().read_all;
        let together = writer.together();
        // Of several at a time, no total would be right.
        let counts = together.is_one_by_one() && observer.wants_total();
        // With counters of their own: what the user is told about the rules comes from the backup itself.
        let counting = if counts { exclude_rules(options)? } else { None };
        let over = AtomicBool::new(false);
        let alarm = writer.alarm;
        alarm.set(options.limits.timeout);
        let done = std::thread::scope(|scope| {
            let _over = RaiseOnDrop(&over);
            let _shown = together.show_paths(&self.name);
            if let Some(rules) = &counting {
                let over = &over;
                let roots: Vec<PathBuf> = plan(options)?.0.into_iter().map(|root| root.path).collect();
                scope.spawn(move || count(&roots, rules, observer, over));
            }
            match self.once(writer, !read_all) {
                // A parent or a block was forgotten meanwhile: everything is read, and what is there is found by its ids.
                Err(BackupError::Repository(RepositoryError::Conflict { what })) if !read_all => {
                    observer.finding(Severity::Note, &format!("{what}; everything is read again"));
                    writer.part.lock().forget_hits();
                    self.once(writer, false)
                }
                done => done,
            }
        });
        let is_over = alarm.is_over();
        alarm.set(None);
        let report = match done {
            Err(BackupError::Interrupted) if is_over => {
                let error = timed_out(&self.name, options.limits.timeout);
                observer.finding(Severity::Error, &error);
                SourceReport::failed(self.name.clone(), Figures::default(), error)
            }
            done => done?,
        };
        writer.report(report);
        Ok(())
    }

    fn foresee(
        self: Box<Self>,
        repository: &Arc<Repository>,
        observer: &dyn Observer,
    ) -> Result<ForeseenContent, BackupError> {
        if let Err(missing) = check_roots(&self.options.paths) {
            return Ok(ForeseenContent::Failure(error_chain(&missing)));
        }
        let report = foresee_paths(repository, &self.options, &self.rules, observer)?;
        Ok(ForeseenContent::Paths(Box::new(report)))
    }
}

impl PathsSource {
    fn once(&self, writer: &mut SnapshotWriter<'_>, use_cache: bool) -> Result<SourceReport, BackupError> {
        let repository = writer.repository().clone();
        let started_ms = repository.system.now_ms();
        let (planned, covered) = plan(&self.options)?;
        for (path, by) in covered {
            let text = format!("{} is saved with {}", path.display(), by.display());
            writer.observer.finding(Severity::Note, &text);
        }
        let rows_of = FileCacheReader::open(repository.cache(), self.name.as_bytes());
        let rows_of = rows_of.map_err(RepositoryError::from)?.map(|s| s.snapshot);
        writer.part.begin();
        let Saved { tree, root, parents, mut figures, mut findings, rows, lacks_first } =
            self.save(writer, &repository, &planned, use_cache)?;
        let outcome = match figures {
            f if f.unreadable > 0 => Outcome::Partial,
            f if f.vanished > 0 || f.changed > 0 || lacks_first.is_some() => Outcome::Warnings,
            _ => Outcome::Complete,
        };
        let (length, unusual) = self.options.limits.judge(&self.name, figures.bytes);
        if let Some(text) = unusual {
            writer.observer.finding(Severity::Warning, &text);
            findings.push(text);
        }
        let outcome = outcome.max(length);
        let why = lacks_first.as_ref().filter(|_| outcome == Outcome::Warnings).or(findings.first());
        let why = why.filter(|_| outcome != Outcome::Complete).cloned();
        writer.part.flush()?;
        writer.part.add_to(&mut figures);
        figures.duration_ms = (repository.system.now_ms() - started_ms).max(0) as u64;
        let described = SnapshotDescription {
            source: self.name.clone(),
            paths: planned.iter().map(|root| root.path.as_os_str().as_bytes().to_vec().into()).collect(),
            excludes: self.rules.summary().into_iter().map(|r| r.rule).collect(),
            figures,
            findings,
            left_out: left_out(&self.rules),
            root: Some(root.encode().into()),
            data_directories: data_directories(&planned),
            ..writer.described()
        };
        let (id, cost) = writer.publish(Stored { described, root: tree, outcome, parents, started_ms })?;
        figures.bytes_stored = cost;
        rows.commit(repository.cache(), self.name.as_bytes(), rows_of, id).map_err(RepositoryError::from)?;
        let (rules_unmatched, rules) = (self.rules.unmatched(), self.rules.summary());
        let report = SourceReport::new(self.name.clone(), outcome, figures);
        Ok(SourceReport { snapshot: Some(id), error: why, rules_unmatched, rules, ..report })
    }

    /// Stores the trees, and the directories that lead to them.
    fn save(
        &self,
        writer: &mut SnapshotWriter<'_>,
        repository: &Repository,
        planned: &[Planned],
        use_cache: bool,
    ) -> Result<Saved, BackupError> {
        let (options, read_all) = (&self.options, self.options.read_all || writer.common().read_all);
        let host = writer.common().host.clone();
        let seen = if use_cache { seen_by_last(repository, &self.name)? } else { None };
        let scan = ScanOptions { compare: options.compare, knows_last: use_cache || !read_all };
        let mut backup = TreeBackup::new(&writer.part, writer.observer, seen, scan);
        let mut top = AncestorTree::default();
        let keys = row_keys(options, planned);
        let (firsts, missing) = plan_first(options, planned)?;
        let lacks_first = tell_missing(&mut backup, &missing);
        // What hangs in another source comes before it, the deepest first.
        let (hanging, standing): (Vec<_>, Vec<_>) =
            planned.iter().zip(&keys).zip(&firsts).partition(|((root, _), _)| root.at.is_some());
        for ((root, key), first) in planned.iter().zip(&keys).zip(&firsts) {
            save_first(&mut backup, &root.path, key, &self.rules.for_root(&root.path)?, first)?;
        }
        for ((root, key), first) in hanging.into_iter().rev().chain(standing) {
            let Some(node) = one_root(&mut backup, &root.path, key, (&self.rules, first))? else { continue };
            match &root.at {
                Some(at) => backup.hang(at.clone(), root.path.clone(), node),
                None => top.insert(&root.path, node),
            }
        }
        if backup.tally().figures.files == 0 {
            lacks_all(repository, &host, &self.name, backup.tally())?;
        }
        let (tree, root) = backup.store_ancestors(top)?;
        let (parents, rows) = (backup.parent().into_iter().collect(), backup.take_rows());
        let tally = backup.tally();
        let (figures, findings) = (tally.figures, std::mem::take(&mut tally.findings));
        Ok(Saved { tree, root, parents, figures, findings, rows, lacks_first })
    }
}

/// Paths that were stored.
struct Saved {
    /// Root of the snapshot.
    tree: ChunkId,
    /// What `/` was.
    root: Metadata,
    /// The snapshot whose content was reused unread, if any was.
    parents: Vec<SnapshotId>,
    figures: Figures,
    findings: Vec<String>,
    /// For the file cache.
    rows: FileCacheWriter,
    /// What was to be read first and is not there.
    lacks_first: Option<String>,
}

/// Saves one source; `None` if it cannot be read, which was told.
fn one_root(
    backup: &mut TreeBackup,
    root: &Path,
    key: &RowKey,
    (rules, first): (&ExcludeRules, &First),
) -> Result<Option<Node>, BackupError> {
    let name = root.file_name().map(|n| n.as_bytes().to_vec()).unwrap_or_default();
    let stat = match stat_root(root) {
        Ok(stat) => stat,
        Err(e) => {
            // What was named and is not there makes the whole incomplete; the others are saved all the same.
            backup.tally().figures.unreadable += 1;
            backup.tally().say(Severity::Error, Problem::reading(root, &e).to_string());
            return Ok(None);
        }
    };
    let what = match stat.kind {
        FileKind::Directory => return Ok(backup.directory(root, &name, key, &first.apart(rules.for_root(root)?))?),
        FileKind::BlockDevice => Some("a block device"),
        FileKind::CharDevice => Some("a character device"),
        FileKind::Fifo => Some("a pipe"),
        FileKind::Socket => Some("a socket"),
        FileKind::File | FileKind::Symlink => None,
    };
    if let Some(what) = what {
        let path = root.display();
        let text = format!(
            "{path} is {what}, and is saved as one, without what can be read from it; --from-command 'NAME=cat {path}' saves that"
        );
        backup.tally().say(Severity::Warning, text);
    }
    Ok(backup.single(root, key)?)
}

/// Warns if a source that had files is empty now: perhaps it is not mounted.
fn lacks_all(repository: &Repository, host: &str, source: &str, tally: &mut Tally<'_>) -> Result<(), RepositoryError> {
    let had = if repository.keys.role == Role::Backup {
        // It may not read what snapshots say of themselves, and knows what it saw.
        let seen = FileCacheReader::open(repository.cache(), source.as_bytes())?;
        seen.filter(|seen| seen.has_files(repository.cache())).map(|seen| ("some".to_owned(), seen.snapshot))
    } else {
        let mut all = repository.snapshots()?;
        all.retain(|s| s.described.host == host && s.described.source == source);
        let before = all.pop().filter(|before| before.described.figures.files > 0);
        before.map(|before| (before.described.figures.files.to_string(), before.id))
    };
    let Some((files, snapshot)) = had else { return Ok(()) };
    tally.figures.vanished += 1;
    let snapshot = snapshot.short();
    let text = format!("{source} holds no files, and had {files} in snapshot {snapshot}: is everything mounted?");
    tally.say(Severity::Warning, text);
    Ok(())
}

/// The data directories of programs that are known among the paths.
fn data_directories(planned: &[Planned]) -> Option<Vec<DataDirectory>> {
    let found = planned.iter().filter_map(|root| {
        let (path, product) = (root.path.as_os_str().as_bytes().to_vec().into(), dss::PRODUCT.to_owned());
        Some(DataDirectory { path, product, version: dss::version(&root.path)? })
    });
    Some(found.collect::<Vec<_>>()).filter(|found| !found.is_empty())
}

/// The rules as they are kept with the snapshot.
fn left_out(rules: &ExcludeRules) -> Option<LeftOut> {
    let ExcludeOptions { patterns, caches, if_present, larger_than, one_file_system, .. } = rules.recorded()?;
    Some(LeftOut { patterns, caches, if_present, larger_than, one_file_system })
}
