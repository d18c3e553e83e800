//! Backing up paths: all of them together are one source, and become one snapshot.

use std::collections::{HashSet, VecDeque};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache::file_cache::FileCacheReader;
use crate::format::description::{LeftOut, SnapshotDescription};
use crate::format::record::{Outcome, Role};
use crate::format::tree::Node;
use crate::primitives::progress::{Severity, Unit};
use crate::primitives::text::printable;
use crate::repository::{Repository, RepositoryError};
use crate::source::{ExcludeOptions, ExcludeRules, FileKind, Problem, Reach, reach, stat_root};

use super::ancestors::AncestorTree;
use super::tree::{TreeBackup, count};
use super::{BackupError, BackupOptions, CounterSnapshot, SourceReport, Stored, Work, exclude_rules};

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
            let roots: Vec<PathBuf> = plan(options)?.0.into_iter().map(|root| root.path).collect();
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
    let started_ms = repository.system.now_ms();
    let (planned, covered) = plan(work.options)?;
    for (path, by) in covered {
        let text = format!("{} is saved with {}", path.display(), by.display());
        work.observer.finding(Severity::Note, &text);
    }
    let source = source_of(work.options);
    let rows_of = FileCacheReader::open(repository.cache(), source.as_bytes())
        .map_err(RepositoryError::from)?
        .map(|s| s.snapshot);
    let seen = if use_cache { seen_by_last(&repository, &source)? } else { None };
    let counted = CounterSnapshot::of(work.run);
    let mut backup = TreeBackup::new(work.run, work.observer, seen);
    backup.is_compared = use_cache || !work.options.read_all;
    let mut top = AncestorTree::default();
    let numbered = is_numbered(work.options, &planned);
    // What hangs in another source comes before it, the deepest first.
    let (hanging, standing): (Vec<_>, Vec<_>) = planned.iter().enumerate().partition(|(_, root)| root.at.is_some());
    for (number, root) in hanging.into_iter().rev().chain(standing) {
        backup.compare = work.options.compare;
        backup.row_key = numbered.then(|| row_key(number, planned.len()));
        let Some(node) = one_root(&mut backup, &root.path, rules)? else { continue };
        match &root.at {
            Some(at) => backup.hang(at.clone(), root.path.clone(), node),
            None => top.insert(&root.path, node),
        }
    }
    let roots: Vec<PathBuf> = planned.into_iter().map(|root| root.path).collect();
    if backup.figures.files == 0 {
        lacks_all(&repository, work.options, &source, &mut backup)?;
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
    figures.duration_ms = (repository.system.now_ms() - started_ms).max(0) as u64;
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
    rows.commit(repository.cache(), source.as_bytes(), rows_of, id).map_err(RepositoryError::from)?;
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

/// Whether rows of the file cache are called by the number of their root: what has a name may be mounted elsewhere for
/// each backup. A list that also names files is another one each time, and its paths are what stays.
pub(super) fn is_numbered(options: &BackupOptions, planned: &[Planned]) -> bool {
    options.source.is_some() && (planned.len() == 1 || planned.iter().all(|root| root.path.is_dir()))
}

/// What the rows of a root are called by. If there are more or fewer roots than before, no number means what it meant.
pub(super) fn row_key(number: usize, count: usize) -> Vec<u8> {
    match count {
        1 => number.to_string(),
        count => format!("{number}:{count}"),
    }
    .into_bytes()
}

/// Saves one source; `None` if it cannot be read, which was told.
fn one_root(backup: &mut TreeBackup, root: &Path, rules: &ExcludeRules) -> Result<Option<Node>, BackupError> {
    let name = root.file_name().map(|n| n.as_bytes().to_vec()).unwrap_or_default();
    let stat = match stat_root(root) {
        Ok(stat) => stat,
        Err(e) => {
            // What was named and is not there makes the whole incomplete; the others are saved all the same.
            backup.figures.unreadable += 1;
            backup.say(Severity::Error, Problem::reading(root, &e).to_string());
            return Ok(None);
        }
    };
    let what = match stat.kind {
        FileKind::Directory => return Ok(backup.directory(root, &name, &rules.for_root(root)?)?),
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
        backup.say(Severity::Warning, text);
    }
    Ok(backup.single(root)?)
}

/// Warns if a source that had files is empty now: perhaps it is not mounted.
fn lacks_all(
    repository: &Repository,
    options: &BackupOptions,
    source: &str,
    backup: &mut TreeBackup,
) -> Result<(), RepositoryError> {
    let had = if repository.keys.role == Role::Backup {
        // It may not read what snapshots say of themselves, and knows what it saw.
        let seen = FileCacheReader::open(repository.cache(), source.as_bytes())?;
        seen.filter(|seen| seen.has_files(repository.cache())).map(|seen| ("some".to_owned(), seen.snapshot))
    } else {
        let mut all = repository.snapshots()?;
        all.retain(|s| s.described.host == options.host && s.described.source == source);
        let before = all.pop().filter(|before| before.described.figures.files > 0);
        before.map(|before| (before.described.figures.files.to_string(), before.id))
    };
    let Some((files, snapshot)) = had else { return Ok(()) };
    backup.figures.vanished += 1;
    let snapshot = snapshot.short();
    let text = format!("{source} holds no files, and had {files} in snapshot {snapshot}: is everything mounted?");
    backup.say(Severity::Warning, text);
    Ok(())
}

/// A path to walk.
pub(super) struct Planned {
    pub path: PathBuf,
    /// The directory of another walk that it lies below, and that walk comes no further.
    pub at: Option<PathBuf>,
}

/// Paths that need no walk of their own, each with the one whose walk comes to it.
pub(super) type Covered = Vec<(PathBuf, PathBuf)>;

/// The paths to walk, sorted, and those that the walks of others come to.
pub(super) fn plan(options: &BackupOptions) -> Result<(Vec<Planned>, Covered), BackupError> {
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

/// The rules as they are kept with the snapshot.
fn left_out(rules: &ExcludeRules) -> Option<LeftOut> {
    let ExcludeOptions { patterns, caches, if_present, larger_than, one_file_system, .. } = rules.recorded()?;
    Some(LeftOut { patterns, caches, if_present, larger_than, one_file_system })
}

/// The file cache of the source, if the snapshot that it belongs to is still one.
pub(super) fn seen_by_last(repository: &Repository, source: &str) -> Result<Option<FileCacheReader>, RepositoryError> {
    let seen = FileCacheReader::open(repository.cache(), source.as_bytes())?;
    let state = repository.state();
    Ok(seen.filter(|s| state.snapshots.get(&s.snapshot).is_some_and(|snapshot| !snapshot.damaged)))
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
pub(super) fn source_of(options: &BackupOptions) -> String {
    options.source.clone().unwrap_or_else(|| source_name(&roots(&options.paths)))
}

fn source_name(roots: &[PathBuf]) -> String {
    roots.iter().map(|p| printable(p.as_os_str().as_bytes())).collect::<Vec<_>>().join(",")
}
