//! Backing up paths: all of them together are one source, and become one snapshot.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::formats::description::{LeftOut, SnapshotDescription};
use crate::formats::record::Outcome;
use crate::formats::tree::{FileTime, Metadata, Node, NodeKind};
use crate::machinery::repository::cache::files::FileCacheReader;
use crate::machinery::repository::{Repository, RepositoryError};
use crate::machinery::source::{ExcludeOptions, ExcludeRules, FileKind, stat_root};
use crate::words::ids::ChunkId;
use crate::words::observer::{Severity, Unit};
use crate::words::text::printable;

use super::read::name_of;
use super::tree::{TreeBackup, build, count};
use super::{BackupError, BackupOptions, Counted, SourceReport, Stored, Work, exclude_rules};

/// Raises a flag however its scope is left: threads of the scope look at it.
struct RaiseOnDrop<'a>(&'a AtomicBool);

impl Drop for RaiseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Backs up the paths, and again without the file cache if that turns out to be too old.
pub(super) fn backup_paths(work: &mut Work, rules: &ExcludeRules) -> Result<SourceReport, BackupError> {
    let (options, observer) = (work.options, work.observer);
    // With counters of their own: what the user is told about the rules comes from the backup itself.
    let counting = if observer.wants_total() { exclude_rules(options)? } else { None };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = RaiseOnDrop(&over);
        observer.phase("backing up", None, Unit::Bytes);
        if let Some(rules) = &counting {
            let over = &over;
            let roots = roots(&options.paths);
            scope.spawn(move || count(&roots, rules, observer, over));
        }
        match once(work, rules, !options.read_all) {
            // A parent or a block was forgotten meanwhile: everything is read, and what is there is found by its ids.
            Err(BackupError::Repository(RepositoryError::Refused { what })) if !options.read_all => {
                observer.finding(Severity::Note, &format!("{what}; everything is read again"));
                work.run.forget_hits();
                once(work, rules, false)
            }
            done => done,
        }
    })
}

fn once(work: &mut Work, rules: &ExcludeRules, use_cache: bool) -> Result<SourceReport, BackupError> {
    let repository = work.run.repository().clone();
    let started_ms = repository.world.now_ms();
    let roots = roots(&work.options.paths);
    let source = source_of(work.options);
    let rows_of = FileCacheReader::open(repository.cache(), source.as_bytes())?.map(|s| s.snapshot);
    let seen = if use_cache { seen_by_last(&repository, &source)? } else { None };
    let counted = Counted::of(work.run);
    let mut backup = TreeBackup::new(work.run, work.observer, seen);
    let mut top = Directory::default();
    for root in &roots {
        let rules = rules.for_root(root)?;
        let stat = stat_root(root).map_err(|source| BackupError::Root { path: root.clone(), source })?;
        let name = root.file_name().map(|n| n.as_bytes().to_vec()).unwrap_or_default();
        let node = match stat.kind {
            FileKind::Directory => backup.directory(root, &name, &rules)?,
            _ => backup.single(root)?,
        };
        if let Some(node) = node {
            top.insert(root, node);
        }
    }
    let root = top.root(&mut backup);
    let tree = top.store(&mut backup, Path::new("/"))?;
    let parents = backup.parent().into_iter().collect();
    let (mut figures, findings) = (backup.figures, std::mem::take(&mut backup.findings));
    let rows = std::mem::take(&mut backup.rows);
    drop(backup);
    let outcome = match figures {
        f if f.unreadable > 0 => Outcome::Partial,
        f if f.vanished > 0 || f.changed > 0 => Outcome::Warnings,
        _ => Outcome::Complete,
    };
    work.run.flush()?;
    counted.add_to(work.run, &mut figures);
    figures.duration_ms = (repository.world.now_ms() - started_ms).max(0) as u64;
    let described = SnapshotDescription {
        source: source.clone(),
        paths: roots.iter().map(|p| p.as_os_str().as_bytes().to_vec().into()).collect(),
        excludes: rules.summary().into_iter().map(|r| r.rule).collect(),
        figures,
        findings,
        left_out: left_out(rules),
        root: Some(root.encode().into()),
        ..work.described()
    };
    let id = work.publish(Stored { described, root: tree, outcome, parents, started_ms })?;
    rows.commit(repository.cache(), source.as_bytes(), rows_of, id)?;
    Ok(SourceReport {
        source,
        snapshot: Some(id),
        outcome,
        figures,
        error: None,
        rules_unmatched: rules.unmatched(),
        rules: rules.summary(),
    })
}

/// The rules as they are kept with the snapshot.
fn left_out(rules: &ExcludeRules) -> Option<LeftOut> {
    let ExcludeOptions { patterns, caches, if_present, larger_than, one_file_system, .. } = rules.recorded()?;
    Some(LeftOut { patterns, caches, if_present, larger_than, one_file_system })
}

/// The file cache of the source, if the snapshot that it belongs to is still one.
pub(super) fn seen_by_last(repository: &Repository, source: &str) -> Result<Option<FileCacheReader>, RepositoryError> {
    let seen = FileCacheReader::open(repository.cache(), source.as_bytes())?;
    let state = repository.state();
    Ok(seen.filter(|s| state.snapshots.get(&s.snapshot).is_some_and(|snapshot| !snapshot.holed)))
}

/// The paths sorted, each once, without those that lie below another.
pub(super) fn roots(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut sorted = paths.to_vec();
    sorted.sort();
    let mut roots: Vec<PathBuf> = Vec::new();
    for path in sorted {
        if !roots.iter().any(|root| path.starts_with(root)) {
            roots.push(path);
        }
    }
    roots
}

/// The name of the source that all paths together are.
pub(super) fn source_of(options: &BackupOptions) -> String {
    options.source.clone().unwrap_or_else(|| source_name(&roots(&options.paths)))
}

fn source_name(roots: &[PathBuf]) -> String {
    roots.iter().map(|p| printable(p.as_os_str().as_bytes())).collect::<Vec<_>>().join(",")
}

/// The directories that lead from `/` to the roots.
#[derive(Default)]
struct Directory {
    nodes: BTreeMap<Vec<u8>, Node>,
    below: BTreeMap<Vec<u8>, Directory>,
    /// The root of everything was a source itself.
    whole: Option<(ChunkId, Metadata)>,
}

impl Directory {
    fn insert(&mut self, root: &Path, node: Node) {
        let names: Vec<&[u8]> = root
            .components()
            .filter_map(|c| if let Component::Normal(name) = c { Some(name.as_bytes()) } else { None })
            .collect();
        match (names.split_last(), &node.kind) {
            (Some((name, above)), _) => {
                let directory = above.iter().fold(self, |d, n| d.below.entry(n.to_vec()).or_default());
                directory.nodes.insert(name.to_vec(), Node { name: name.to_vec(), ..node });
            }
            (None, NodeKind::Directory(id)) => self.whole = Some((*id, node.meta)),
            (None, _) => {}
        }
    }

    /// What `/` was: no directory holds it.
    fn root(&self, backup: &mut TreeBackup) -> Metadata {
        match &self.whole {
            Some((_, meta)) => meta.clone(),
            None => Metadata { mtime: self.newest(), ..backup.ancestor(Path::new("/")) },
        }
    }

    fn newest(&self) -> FileTime {
        let here = self.nodes.values().map(|n| n.meta.mtime);
        here.chain(self.below.values().map(Directory::newest)).max().unwrap_or_default()
    }

    fn store(self, backup: &mut TreeBackup, path: &Path) -> Result<ChunkId, RepositoryError> {
        if let Some((id, _)) = self.whole {
            return Ok(id);
        }
        let mut nodes = self.nodes;
        for (name, directory) in self.below {
            let path = path.join(name_of(&name));
            let mut meta = backup.ancestor(&path);
            // Its own time changes with neighbours that are not backed up, and would make a night without changes
            // look changed: the newest time of what leads further down stands for it.
            meta.mtime = directory.newest();
            let id = directory.store(backup, &path)?;
            nodes.insert(name.clone(), Node { name, meta, kind: NodeKind::Directory(id) });
        }
        build(backup.run(), nodes.into_values().collect())
    }
}
