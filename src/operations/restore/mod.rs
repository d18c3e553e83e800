//! Restore: a snapshot, or a part of one, back into a directory.
//!
//! Planned from references: each frame is fetched, opened and decompressed once, neighbours in one request,
//! files are written in parallel, metadata last.

mod fetch;
mod plan;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::formats::tree::{FileNode, FileTime, HardLink, Metadata, Node, NodeKind};
use crate::machinery::repository::snapshots::Snapshot;
use crate::machinery::repository::{Repository, RepositoryError};
use crate::machinery::target::{FilePlan, Made, Overwrite, RelativePath, Target, TargetError, TargetOptions};
use crate::words::causes::with_causes;
use crate::words::ids::{ChunkId, ContentId};
use crate::words::observer::{Observer, Severity, Unit};

use super::list;
use plan::Plan;

/// Asked before extras are deleted.
pub type Agree<'a> = &'a mut dyn FnMut(&[RelativePath]) -> bool;

/// What to restore, and where.
pub struct RestoreOptions<'a> {
    /// The directory to restore into.
    pub target: PathBuf,
    /// Ownership, overwriting, attributes.
    pub target_options: TargetOptions,
    /// The part of the snapshot that becomes the target's root; all of it if `None`.
    pub subtree: Option<Vec<u8>>,
    /// Patterns (gitignore meaning, below the restored root): only what matches is restored. Empty: everything.
    pub include: Vec<String>,
    /// Patterns: what matches is left out.
    pub exclude: Vec<String>,
    /// Called with what is in the target and not in the snapshot, before anything of it is deleted; deletes
    /// if it says so. `None`: extras stay.
    pub delete: Option<Agree<'a>>,
    /// Says what would be done, and does nothing.
    pub dry_run: bool,
}

/// What came of a restore.
#[derive(Debug, Clone, Default)]
pub struct RestoreReport {
    /// Regular files written.
    pub files: u64,
    /// Bytes of content written.
    pub bytes: u64,
    /// Directories made or found.
    pub directories: u64,
    /// Links, pipes and devices made.
    pub others: u64,
    /// Files that were there and were kept.
    pub kept: u64,
    /// Sockets, which are not restored.
    pub skipped: u64,
    /// Extras deleted.
    pub deleted: u64,
    /// Entries that could not be restored, or not fully.
    pub problems_count: u64,
    /// The first of them, and why. Not empty: the restore is incomplete.
    pub problems: Vec<String>,
}

/// Why nothing could be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The target cannot be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A pattern cannot be understood.
    #[error("the pattern {pattern} cannot be understood")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        source: ignore::Error,
    },
    /// The part to restore is no directory; `cat` streams files.
    #[error("{path} is not a directory")]
    NotADirectory {
        /// The path, printable.
        path: String,
    },
    /// Not deleting was chosen, after the target was looked at.
    #[error("nothing was restored: deleting the extras was not agreed to")]
    NotAgreed,
    /// There is no room left in the target.
    #[error("there is no space left: the target is incomplete after {files} files")]
    Full {
        /// How many files were restored.
        files: u64,
        /// Where it ended.
        source: TargetError,
    },
    /// The user asked to stop.
    #[error("interrupted; the target is incomplete")]
    Interrupted,
    /// The repository could not do its part.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

const PROBLEMS_MAX: usize = 1000;

impl RestoreReport {
    fn problem(&mut self, observer: &dyn Observer, text: String) {
        observer.finding(Severity::Error, &text);
        self.problems_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text);
        }
    }
}

/// Restores the snapshot.
pub fn restore(
    repository: &Arc<Repository>,
    snapshot: &Snapshot,
    mut options: RestoreOptions,
    observer: &dyn Observer,
) -> Result<RestoreReport, RestoreError> {
    let (root, meta) = root_of(repository, snapshot, options.subtree.as_deref())?;
    let filter = Filter::new(&options.include, &options.exclude)?;
    let mut report = RestoreReport::default();
    if options.dry_run {
        observer.phase("looking", None, Unit::Items);
        count(repository, &root, &filter, &mut report, observer)?;
        // A target that is not there has no extras, and is not made now.
        if options.delete.is_some() && options.target.is_dir() {
            let target =
                Target::open(&options.target, TargetOptions { overwrite: Overwrite::Never, ..Default::default() })?;
            let limits = Limits::new(snapshot, options.subtree.as_deref(), &filter, &options.target);
            let extras = find_extras(repository, &target, &root, &limits, observer)?;
            extras.iter().for_each(|p| observer.finding(Severity::Note, &format!("{p} would be deleted")));
            report.deleted = extras.len() as u64;
        }
        return Ok(report);
    }
    let mut target_options = std::mem::take(&mut options.target_options);
    if options.delete.is_some() && target_options.overwrite == Overwrite::Refuse {
        // Whoever asks for extras to be deleted knows that something is there.
        target_options.overwrite = Overwrite::IfChanged;
    }
    let overwrite = target_options.overwrite;
    let target = Target::open(&options.target, target_options)?;
    if let Some(agree) = options.delete.take() {
        let limits = Limits::new(snapshot, options.subtree.as_deref(), &filter, &options.target);
        let extras = find_extras(repository, &target, &root, &limits, observer)?;
        delete_extras(&target, &extras, agree, &mut report, observer)?;
    }
    let total =
        if options.subtree.is_none() && filter.is_open() { Some(snapshot.described.figures.bytes) } else { None };
    observer.phase("restoring", total, Unit::Bytes);
    let mut walk = Walk {
        repository,
        target: &target,
        filter: &filter,
        observer,
        report: &mut report,
        plan: Plan::default(),
        directories: Vec::new(),
        links: HashMap::new(),
        later: Vec::new(),
        overwrite,
        full: None,
    };
    walk.run(root, meta)?;
    Ok(report)
}

fn root_of(
    repository: &Repository,
    snapshot: &Snapshot,
    subtree: Option<&[u8]>,
) -> Result<(ChunkId, Option<Metadata>), RestoreError> {
    let Some(path) = subtree else { return Ok((snapshot.state.root, None)) };
    match list::find(repository, snapshot, path)? {
        None => Ok((snapshot.state.root, None)),
        Some(Node { kind: NodeKind::Directory(id), meta, .. }) => Ok((id, Some(meta))),
        Some(_) => Err(RestoreError::NotADirectory { path: String::from_utf8_lossy(path).into_owned() }),
    }
}

/// Which entries are restored.
struct Filter {
    include: Option<Gitignore>,
    exclude: Gitignore,
}

impl Filter {
    fn new(include: &[String], exclude: &[String]) -> Result<Self, RestoreError> {
        let matcher = |patterns: &[String]| {
            let mut builder = GitignoreBuilder::new("");
            for pattern in patterns {
                let refused = |source| RestoreError::Pattern { pattern: pattern.clone(), source };
                builder.add_line(None, pattern).map_err(refused)?;
            }
            builder.build().map_err(|source| RestoreError::Pattern { pattern: patterns.join(", "), source })
        };
        let include = if include.is_empty() { None } else { Some(matcher(include)?) };
        Ok(Self { include, exclude: matcher(exclude)? })
    }

    fn is_open(&self) -> bool {
        self.include.is_none() && self.exclude.is_empty()
    }

    fn excluded(&self, path: &RelativePath, directory: bool) -> bool {
        self.exclude.matched(as_path(path), directory).is_ignore()
    }

    /// Whether the entry itself is asked for; `above` says that a directory above it is.
    fn included(&self, path: &RelativePath, directory: bool, above: bool) -> bool {
        match &self.include {
            None => true,
            Some(include) => {
                let found = include.matched(as_path(path), directory);
                found.is_ignore() || (above && !found.is_whitelist())
            }
        }
    }
}

fn as_path(path: &RelativePath) -> &Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
}

/// Calls `each` for every entry below `root` that the filter lets through; directories before what they hold.
///
/// The second argument says whether the entry is asked for itself, or only leads to others.
fn for_each(
    repository: &Repository,
    root: &ChunkId,
    filter: &Filter,
    each: &mut dyn FnMut(&RelativePath, &Node, bool) -> Result<(), RepositoryError>,
) -> Result<(), RepositoryError> {
    let mut stack = vec![(RelativePath::root(), *root, filter.include.is_none())];
    while let Some((directory, id, asked)) = stack.pop() {
        let mut below = Vec::new();
        repository.for_each_entry(&id, &mut |node| {
            let path = directory.child(&node.name).expect("names are checked when a node is decoded");
            let is_directory = matches!(node.kind, NodeKind::Directory(_));
            if filter.excluded(&path, is_directory) {
                return Ok(());
            }
            let included = filter.included(&path, is_directory, asked);
            if included || is_directory {
                each(&path, &node, included)?;
            }
            if let NodeKind::Directory(id) = node.kind {
                below.push((path, id, included));
            }
            Ok(())
        })?;
        stack.extend(below.into_iter().rev());
    }
    Ok(())
}

fn count(
    repository: &Repository,
    root: &ChunkId,
    filter: &Filter,
    report: &mut RestoreReport,
    observer: &dyn Observer,
) -> Result<(), RestoreError> {
    let counted = for_each(repository, root, filter, &mut |_, node, included| {
        if observer.interrupted() {
            return Err(RepositoryError::Interrupted);
        }
        observer.advance(1);
        match &node.kind {
            NodeKind::Directory(_) if !included => {}
            NodeKind::Directory(_) => report.directories += 1,
            NodeKind::File(file) => {
                report.files += 1;
                report.bytes += file.size;
            }
            NodeKind::Socket => report.skipped += 1,
            _ => report.others += 1,
        }
        Ok(())
    });
    counted.map_err(stopped)
}

fn stopped(e: RepositoryError) -> RestoreError {
    match e {
        RepositoryError::Interrupted => RestoreError::Interrupted,
        e => RestoreError::Repository(e),
    }
}

/// Where extras may be deleted.
struct Limits<'a> {
    filter: &'a Filter,
    /// What was backed up.
    sources: Vec<&'a Path>,
    /// Where the root of the target was then.
    root: PathBuf,
    target: &'a Path,
}

impl<'a> Limits<'a> {
    fn new(snapshot: &'a Snapshot, subtree: Option<&[u8]>, filter: &'a Filter, target: &'a Path) -> Self {
        let subtree = OsStr::from_bytes(subtree.unwrap_or_default());
        Self {
            filter,
            sources: snapshot.described.paths.iter().map(|p| Path::new(OsStr::from_bytes(p))).collect(),
            root: Path::new("/").join(subtree),
            target,
        }
    }

    /// Whether an entry that the snapshot does not have may be deleted: it lies below a path that was backed up, for of
    /// the directories that lead there only what leads there was saved; it is asked for; and nothing that is left out
    /// on purpose lies in it.
    fn allow(&self, path: &RelativePath) -> bool {
        let then = self.root.join(as_path(path));
        let at = self.target.join(as_path(path));
        let is_directory = std::fs::symlink_metadata(&at).is_ok_and(|m| m.is_dir());
        self.sources.iter().any(|source| then.starts_with(source))
            && self.is_asked_for(path, is_directory)
            && !self.filter.excluded(path, is_directory)
            && !(is_directory && self.holds_excluded(path))
    }

    fn is_asked_for(&self, path: &RelativePath, is_directory: bool) -> bool {
        let mut above = self.filter.include.is_none();
        let mut at = RelativePath::root();
        let last = path.names().count();
        for (i, name) in path.names().enumerate() {
            if at.push(name).is_err() {
                return false;
            }
            above = self.filter.included(&at, is_directory || i + 1 < last, above);
        }
        above
    }

    /// Whether something below a directory is left out by the patterns. What cannot be read may hold such a thing.
    fn holds_excluded(&self, path: &RelativePath) -> bool {
        if self.filter.exclude.is_empty() {
            return false;
        }
        let mut stack = vec![path.clone()];
        while let Some(directory) = stack.pop() {
            let Ok(entries) = std::fs::read_dir(self.target.join(as_path(&directory))) else { return true };
            for entry in entries {
                let Ok(entry) = entry else { return true };
                let Ok(child) = directory.child(entry.file_name().as_bytes()) else { return true };
                let is_directory = entry.file_type().is_ok_and(|t| t.is_dir());
                if self.filter.excluded(&child, is_directory) {
                    return true;
                }
                if is_directory {
                    stack.push(child);
                }
            }
        }
        false
    }
}

/// What is in the target, is not in the snapshot, and may be deleted.
fn find_extras(
    repository: &Repository,
    target: &Target,
    root: &ChunkId,
    limits: &Limits,
    observer: &dyn Observer,
) -> Result<Vec<RelativePath>, RestoreError> {
    let mut kept: HashMap<RelativePath, BTreeSet<Vec<u8>>> = HashMap::from([(RelativePath::root(), BTreeSet::new())]);
    // Nothing that the snapshot has is an extra, whether it is restored now or not.
    let everything = Filter { include: None, exclude: limits.filter.exclude.clone() };
    let listed = for_each(repository, root, &everything, &mut |path, node, _| {
        if observer.interrupted() {
            return Err(RepositoryError::Interrupted);
        }
        let parent = path.parent().unwrap_or_else(RelativePath::root);
        kept.entry(parent).or_default().insert(node.name.clone());
        if let NodeKind::Directory(_) = node.kind {
            kept.entry(path.clone()).or_default();
        }
        Ok(())
    });
    listed.map_err(stopped)?;
    let mut extras = Vec::new();
    for (directory, names) in &kept {
        for name in target.extras(directory, names).unwrap_or_default() {
            let path = directory.child(&name).map_err(|_| RepositoryError::Missing { name: "a name".to_owned() })?;
            if limits.allow(&path) {
                extras.push(path);
            }
        }
    }
    extras.sort();
    Ok(extras)
}

fn delete_extras(
    target: &Target,
    extras: &[RelativePath],
    agree: &mut dyn FnMut(&[RelativePath]) -> bool,
    report: &mut RestoreReport,
    observer: &dyn Observer,
) -> Result<(), RestoreError> {
    if extras.is_empty() {
        return Ok(());
    }
    if !agree(extras) {
        return Err(RestoreError::NotAgreed);
    }
    for path in extras {
        match target.remove_extra(path) {
            Ok(count) => report.deleted += count,
            Err(e) => report.problem(observer, with_causes(&e)),
        }
    }
    Ok(())
}

/// A directory of the target.
struct Directory {
    path: RelativePath,
    meta: Option<Metadata>,
    parent: Option<usize>,
    made: bool,
    failed: bool,
}

/// What two names must have in common to become names of one file.
///
/// The device and inode alone do not say it: an inode that is freed during a backup is used again by another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct LinkKey {
    link: HardLink,
    size: u64,
    content: ContentId,
    mtime: FileTime,
}

/// One restore in progress.
struct Walk<'a> {
    repository: &'a Arc<Repository>,
    target: &'a Target,
    filter: &'a Filter,
    observer: &'a dyn Observer,
    report: &'a mut RestoreReport,
    plan: Plan,
    directories: Vec<Directory>,
    /// Files that further names may be linked to.
    links: HashMap<LinkKey, RelativePath>,
    /// Further names of files, made when those are there.
    later: Vec<(RelativePath, RelativePath)>,
    overwrite: Overwrite,
    /// The first entry for which there was no room.
    full: Option<TargetError>,
}

impl Walk<'_> {
    fn run(&mut self, root: ChunkId, meta: Option<Metadata>) -> Result<(), RestoreError> {
        self.directories.push(Directory { path: RelativePath::root(), meta, parent: None, made: true, failed: false });
        let mut stack = vec![(0, root, self.filter.include.is_none())];
        while let Some((directory, id, asked)) = stack.pop() {
            let mut nodes = Vec::new();
            let listed = self.repository.for_each_entry(&id, &mut |node| {
                nodes.push(node);
                Ok(())
            });
            if let Err(e) = listed {
                if !e.is_damage() {
                    return Err(e.into());
                }
                let path = self.directories[directory].path.to_string();
                self.report
                    .problem(self.observer, format!("{path}: the directory cannot be read: {}", with_causes(&e)));
            }
            let mut below = Vec::new();
            for node in nodes {
                if self.observer.interrupted() {
                    return Err(RestoreError::Interrupted);
                }
                self.entry(directory, node, asked, &mut below)?;
                self.check_room()?;
            }
            stack.extend(below.into_iter().rev());
            if self.plan.is_large() {
                self.execute()?;
            }
        }
        self.execute()?;
        for (path, existing) in std::mem::take(&mut self.later) {
            let made = self.target.hard_link(&path, &existing);
            self.made(&path, made);
            self.check_room()?;
        }
        self.finish_directories();
        Ok(())
    }

    fn entry(
        &mut self,
        directory: usize,
        node: Node,
        asked: bool,
        below: &mut Vec<(usize, ChunkId, bool)>,
    ) -> Result<(), RestoreError> {
        let path =
            self.directories[directory].path.child(&node.name).expect("names are checked when a node is decoded");
        let is_directory = matches!(node.kind, NodeKind::Directory(_));
        if self.filter.excluded(&path, is_directory) {
            return Ok(());
        }
        let included = self.filter.included(&path, is_directory, asked);
        if let NodeKind::Directory(id) = node.kind {
            let meta = Some(node.meta);
            self.directories.push(Directory { path, meta, parent: Some(directory), made: false, failed: false });
            let at = self.directories.len() - 1;
            if !included || self.make(at) {
                below.push((at, id, included));
            }
            return Ok(());
        }
        if !included || !self.make(directory) {
            return Ok(());
        }
        match node.kind {
            NodeKind::File(file) => self.file(path, node.meta, file),
            _ => {
                let made = self.target.make_other(&path, &node);
                if self.made(&path, made) {
                    self.report.others += 1;
                }
                Ok(())
            }
        }
    }

    /// Makes a directory and those above it; false if that failed, which was told.
    fn make(&mut self, at: usize) -> bool {
        if self.directories[at].made || self.directories[at].failed {
            return self.directories[at].made;
        }
        if let Some(parent) = self.directories[at].parent
            && !self.make(parent)
        {
            self.directories[at].failed = true;
            return false;
        }
        match self.target.make_directory(&self.directories[at].path) {
            Ok(_) => {
                self.report.directories += 1;
                self.directories[at].made = true;
            }
            Err(e) => {
                self.directories[at].failed = true;
                self.refused(e);
            }
        }
        self.directories[at].made
    }

    /// Notes why an entry was not made.
    fn refused(&mut self, error: TargetError) {
        match error.is_out_of_space() {
            true => _ = self.full.get_or_insert(error),
            false => self.report.problem(self.observer, with_causes(&error)),
        }
    }

    /// Ends the restore once there is no room left: every further entry would fail in the same way.
    fn check_room(&mut self) -> Result<(), RestoreError> {
        match self.full.take() {
            Some(source) => Err(RestoreError::Full { files: self.report.files, source }),
            None => Ok(()),
        }
    }

    fn file(&mut self, path: RelativePath, meta: Metadata, file: FileNode) -> Result<(), RestoreError> {
        let key = meta.link.map(|link| LinkKey { link, size: file.size, content: file.content_id, mtime: meta.mtime });
        if let Some(existing) = key.and_then(|key| self.links.get(&key)) {
            self.later.push((path, existing.clone()));
            return Ok(());
        }
        if self.overwrite != Overwrite::Refuse {
            match self.target.plan_file(&path, &meta, &file) {
                Ok(FilePlan::Write) => {}
                Ok(FilePlan::Keep) => {
                    self.report.kept += 1;
                    self.observer.advance(file.size);
                    // With `Never`, what is there may be any other file: nothing is linked to it.
                    if self.overwrite == Overwrite::IfChanged {
                        key.map(|key| self.links.insert(key, path.clone()));
                        match self.target.refresh_file(&path, &meta) {
                            Ok(problems) => {
                                problems.iter().for_each(|p| self.report.problem(self.observer, with_causes(p)))
                            }
                            Err(e) => self.report.problem(self.observer, with_causes(&e)),
                        }
                    }
                    return Ok(());
                }
                Err(e) => {
                    self.report.problem(self.observer, with_causes(&e));
                    return Ok(());
                }
            }
        }
        key.map(|key| self.links.insert(key, path.clone()));
        if let Err(e) = self.plan.add(self.repository, path.clone(), meta, file) {
            if !e.is_damage() {
                return Err(e.into());
            }
            self.report.problem(self.observer, format!("{path}: {}", with_causes(&e)));
        }
        Ok(())
    }

    fn made(&mut self, path: &RelativePath, made: Result<Made, TargetError>) -> bool {
        match made {
            Ok(Made::Done(problems)) => {
                problems.iter().for_each(|p| self.report.problem(self.observer, with_causes(p)));
                true
            }
            Ok(Made::Kept) => {
                self.report.kept += 1;
                false
            }
            Ok(Made::Skipped) => {
                self.report.skipped += 1;
                self.observer.finding(Severity::Note, &format!("{path}: a socket is not restored"));
                false
            }
            Err(e) => {
                self.refused(e);
                false
            }
        }
    }

    fn execute(&mut self) -> Result<(), RestoreError> {
        let plan = std::mem::take(&mut self.plan);
        fetch::execute(self.repository, self.target, plan, self.report, self.observer)
    }

    fn finish_directories(&mut self) {
        // Deepest last in the list: backwards, every directory comes after what it holds.
        for directory in std::mem::take(&mut self.directories).iter().rev() {
            let Some(meta) = directory.meta.as_ref().filter(|_| directory.made) else { continue };
            match self.target.finish_directory(&directory.path, meta) {
                Ok(problems) => problems.iter().for_each(|p| self.report.problem(self.observer, with_causes(p))),
                Err(e) => self.report.problem(self.observer, with_causes(&e)),
            }
        }
    }
}
