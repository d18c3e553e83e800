//! Restore: a snapshot, or a part of one, back into a directory.
//!
//! First it is found out what will be done: patterns that match nothing and a target without room end a restore
//! before it has changed anything. Then it is planned from references: each frame is fetched, opened and decompressed
//! once, neighbours in one request, files are written in parallel, metadata last.

mod extras;
mod fetch;
mod filter;
mod foresee;
mod links;
mod plan;
mod reuse;
mod survey;
mod walk;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::destination::{Overwrite, RelativePath, Room, Target, TargetError, TargetOptions};
use crate::format::envelope::FormatError;
use crate::format::tree::{Metadata, Node, NodeKind};
use crate::primitives::error_chain::error_chain;
use crate::primitives::ids::ChunkId;
use crate::primitives::progress::{Observer, Severity, Unit};
use crate::primitives::text::size;
use crate::repository::snapshots::Snapshot;
use crate::repository::{Repository, RepositoryError};
use crate::source::ExcludeError;

use super::list;
use extras::Limits;
use filter::Filter;
pub use foresee::{Foreseen, Needed, foresee, no_room_for_all};
use survey::{Need, match_patterns, survey};
use walk::Walk;

/// Asked before extras are deleted.
pub type Agree<'a> = &'a mut dyn FnMut(&[RelativePath]) -> bool;

/// What to restore, and where.
#[derive(Default)]
pub struct RestoreOptions<'a> {
    /// The directory to restore into.
    pub target: PathBuf,
    /// Ownership, overwriting, attributes.
    pub target_options: TargetOptions,
    /// The part of the snapshot that becomes the target's root; all of it if `None`.
    pub subtree: Option<Vec<u8>>,
    /// Patterns (gitignore meaning, below the restored root): only what matches is restored. Empty: everything.
    pub include: Vec<String>,
    /// Paths below the restored root, byte for byte: restored beside what the patterns match.
    pub only: Vec<Vec<u8>>,
    /// Patterns: what matches is left out.
    pub exclude: Vec<String>,
    /// Patterns for what the program itself keeps in the target: it is neither written nor deleted.
    pub own: Vec<String>,
    /// Called with what is in the target and not in the snapshot, before anything of it is deleted; deletes
    /// if it says so. `None`: extras stay.
    pub delete: Option<Agree<'a>>,
    /// Begins also if there seems to be no room for all of it.
    pub no_space_check: bool,
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
    /// Of these, bytes that stood in the files that were replaced and were not read from the repository.
    pub reused: u64,
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
    /// Objects that are in an archive class: what they hold was not restored.
    pub archived: BTreeSet<String>,
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
    #[error("the pattern {pattern:?} cannot be used: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        why: String,
    },
    /// No pattern matches anything.
    #[error("nothing matches {}", .patterns.join(", "))]
    NothingMatches {
        /// Each pattern, with what may be meant.
        patterns: Vec<String>,
    },
    /// The rules of the backup cannot be understood, so that nobody knows what they left out.
    #[error("what the backup left out cannot be told: nothing is deleted")]
    Rules(#[source] ExcludeError),
    /// There is less room than is needed.
    #[error("not enough space in {}: {}", target.display(), shortage(*.needed, .room))]
    NoRoom {
        /// The directory of the target that is on the file system in question.
        target: PathBuf,
        /// Bytes and entries to be written.
        needed: (u64, u64),
        /// What there is.
        room: Room,
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
    /// A restore in place was not agreed to.
    #[error("nothing was changed: it was not agreed to")]
    NotConfirmed,
    /// Two restores into one directory would destroy what the other one writes.
    #[error("another restore of {places} goes on; nothing was changed: try again when it has ended")]
    Busy {
        /// The directories.
        places: String,
    },
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

impl RestoreError {
    /// Whether it is known that nothing was changed in the target.
    pub fn changed_nothing(&self) -> bool {
        use RestoreError::{Busy, NoRoom, NotADirectory, NotAgreed, NotConfirmed, NothingMatches, Pattern, Rules};
        matches!(
            self,
            Busy { .. }
                | NoRoom { .. }
                | NotADirectory { .. }
                | NotAgreed
                | NotConfirmed
                | NothingMatches { .. }
                | Pattern { .. }
                | Rules(_)
        )
    }
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

fn shortage((bytes, entries): (u64, u64), room: &Room) -> String {
    match room.entries {
        Some(free) if bytes <= room.bytes => format!("{entries} entries are to be made, and {free} can be"),
        _ => format!("{} are to be written, {} are free", size(bytes), size(room.bytes)),
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
    let own = options.own.clone();
    let filter = Filter::new(&options.include, &options.only, &[&options.exclude[..], &own].concat())?;
    if options.delete.is_some() && options.target_options.overwrite == Overwrite::Refuse {
        // Whoever asks for extras to be deleted knows that something is there.
        options.target_options.overwrite = Overwrite::IfChanged;
    }
    let work = Work { repository, snapshot, root, filter: &filter, observer };
    let unmatched = work.unmatched()?;
    let mut report = if options.dry_run { work.look(&options)? } else { work.restore(options, meta)? };
    if !report.problems.is_empty() && !repository.is_live(&snapshot.id)? {
        let forgotten = RepositoryError::Forgotten { snapshot: snapshot.id };
        report.problem(observer, forgotten.to_string());
    }
    unmatched.into_iter().for_each(|p| report.problem(observer, format!("nothing matches {p}")));
    if filter.takes_all() {
        let idle = filter.excludes_unmatched().into_iter().filter(|p| !own.contains(p));
        idle.for_each(|p| observer.finding(Severity::Note, &format!("--exclude {p} matched nothing")));
    }
    Ok(report)
}

fn root_of(
    repository: &Repository,
    snapshot: &Snapshot,
    subtree: Option<&[u8]>,
) -> Result<(ChunkId, Option<Metadata>), RestoreError> {
    let whole = || {
        let meta = snapshot.described.root.as_ref().map(|bytes| Metadata::decode(bytes)).transpose();
        let unreadable = |e| RepositoryError::object(format!("snapshot {}", snapshot.id.short()))(FormatError::from(e));
        Ok((snapshot.state.root, meta.map_err(unreadable)?))
    };
    let Some(path) = subtree else { return whole() };
    match list::find(repository, snapshot, path)? {
        None => whole(),
        Some(Node { kind: NodeKind::Directory(id), meta, .. }) => Ok((id, Some(meta))),
        Some(_) => Err(RestoreError::NotADirectory { path: String::from_utf8_lossy(path).into_owned() }),
    }
}

fn stopped(e: RepositoryError) -> RestoreError {
    match e {
        RepositoryError::Interrupted => RestoreError::Interrupted,
        e => RestoreError::Repository(e),
    }
}

/// A restore before it has begun.
struct Work<'a> {
    repository: &'a Arc<Repository>,
    snapshot: &'a Snapshot,
    root: ChunkId,
    filter: &'a Filter,
    observer: &'a dyn Observer,
}

impl Work<'_> {
    /// Patterns that match nothing, each with what may be meant. It is an error if none matches anything.
    fn unmatched(&self) -> Result<Vec<String>, RestoreError> {
        if self.filter.takes_all() {
            return Ok(Vec::new());
        }
        self.observer.phase("looking", None, Unit::Items);
        // What cannot be read might hold it; that it cannot be read will be told.
        if !match_patterns(self.repository, &self.root, self.filter, self.observer)? {
            return Ok(Vec::new());
        }
        let patterns = self.filter.unmatched().iter().map(|p| self.advised(p)).collect::<Result<Vec<_>, _>>()?;
        if self.filter.matched_nothing() { Err(RestoreError::NothingMatches { patterns }) } else { Ok(patterns) }
    }

    /// A pattern that matches nothing, with what may be meant.
    fn advised(&self, pattern: &str) -> Result<String, RestoreError> {
        let body = pattern.trim_matches('/');
        let is_anchored = pattern.trim_end_matches('/').contains('/');
        let advice = if self.is_name(body)? {
            let escaped: String =
                body.chars().flat_map(|c| [is_special(c).then_some('\\'), Some(c)]).flatten().collect();
            format!(" (`*`, `?` and `[` stand for other names; try '/{escaped}')")
        } else if is_anchored && !body.starts_with("**/") {
            format!(" (patterns with a slash begin at what is restored; try '**/{body}')")
        } else {
            String::new()
        };
        Ok(format!("--include {pattern}{advice}"))
    }

    /// Whether a pattern is the very name of something, which it does not match.
    fn is_name(&self, body: &str) -> Result<bool, RestoreError> {
        if !body.contains(is_special) {
            return Ok(false);
        }
        match self.repository.find_path(&self.root, body.as_bytes()) {
            Ok(found) => Ok(found.is_some()),
            Err(e) if e.is_damage() => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Says what would be done, and does nothing.
    fn look(&self, options: &RestoreOptions) -> Result<RestoreReport, RestoreError> {
        let found = self.foresee(options)?;
        let extras = found.extras.iter();
        extras.for_each(|p| self.observer.finding(Severity::Note, &format!("{p} would be deleted")));
        let lacking = found.needs.iter().filter_map(|need| need.no_room());
        for error in lacking.filter(|_| !options.target_options.sparse) {
            self.observer.finding(Severity::Warning, &error_chain(&error));
        }
        Ok(found.report)
    }

    fn restore(&self, mut options: RestoreOptions, meta: Option<Metadata>) -> Result<RestoreReport, RestoreError> {
        let mut report = RestoreReport::default();
        let overwrite = options.target_options.overwrite;
        let target = Target::open(&options.target, options.target_options.clone())?;
        let agree = options.delete.take();
        let extras = if agree.is_some() { self.extras(&options, &target, overwrite)? } else { Vec::new() };
        // How much zeros save when they become holes is not known before.
        if !options.no_space_check
            && !options.target_options.sparse
            && let Err(e) = self.check_room(&options, (&target, overwrite), &extras)
        {
            // What was made for nothing: only if it is empty.
            if target.is_new() {
                let _ = std::fs::remove_dir(&options.target);
            }
            return Err(e);
        }
        if let Some(agree) = agree {
            extras::delete(&target, &extras, agree, &mut report, self.observer)?;
        }
        let is_whole = options.subtree.is_none() && self.filter.is_open();
        let total = is_whole.then_some(self.snapshot.described.figures.bytes);
        self.observer.phase("restoring", total, Unit::Bytes);
        let walk = Walk::new(self.repository, (&target, overwrite), self.filter, &mut report, self.observer);
        walk.run(self.root, meta.filter(|_| self.becomes_root(&options, &target)))?;
        Ok(report)
    }

    /// Whether the target gets the attributes of what is restored. Not so a directory that was there already and only
    /// receives some entries, or the directories that lead to what was backed up.
    fn becomes_root(&self, options: &RestoreOptions, target: &Target) -> bool {
        let is_below_root = |path: &[u8]| path.iter().any(|c| *c != b'/');
        let is_source = self.snapshot.described.paths.iter().any(|path| !is_below_root(path));
        let is_part = options.subtree.as_deref().is_some_and(is_below_root);
        target.is_new() || self.filter.takes_all() && (is_part || is_source)
    }

    fn extras(
        &self,
        options: &RestoreOptions,
        target: &Target,
        overwrite: Overwrite,
    ) -> Result<Vec<RelativePath>, RestoreError> {
        let (subtree, path): (_, &Path) = (options.subtree.as_deref(), &options.target);
        let replaces = overwrite != Overwrite::Never;
        let limits = Limits::new(self.snapshot, subtree, self.filter, (target, path), replaces)?;
        limits.find(self.repository, &self.root, self.observer)
    }

    /// Compares what would be written with the room there is.
    fn check_room(
        &self,
        options: &RestoreOptions,
        target: (&Target, Overwrite),
        extras: &[RelativePath],
    ) -> Result<(), RestoreError> {
        let Ok(room) = target.0.room(&RelativePath::root()) else { return Ok(()) };
        let figures = self.snapshot.described.figures;
        // All of the snapshot is more than any part of it: mostly there is no need to count.
        let bytes = figures.bytes;
        let entries = figures.files.saturating_add(figures.directories).saturating_add(figures.others);
        let is_known = self.snapshot.doubt.is_none() && bytes > 0;
        let most = Need { bytes, entries, at: RelativePath::root() };
        let is_one = target.1 == Overwrite::Refuse || !target.0.has_mounts_below(&options.target);
        if is_known && is_one && most.fits(&room, 0) {
            return Ok(());
        }
        self.observer.phase("looking", None, Unit::Items);
        let needs = survey(self.repository, &self.root, self.filter, Some(target), &Quiet(self.observer))?.needs;
        let mut freed = None;
        for (device, need) in needs {
            let Ok(room) = target.0.room(&need.at) else { continue };
            if need.fits(&room, 0) {
                continue;
            }
            let freed = freed.get_or_insert_with(|| extras::freed(target.0, extras));
            if !need.fits(&room, freed.get(&device).copied().unwrap_or(0)) {
                let at = filter::below(&options.target, &need.at);
                return Err(RestoreError::NoRoom { target: at, needed: (need.bytes, need.entries), room });
            }
        }
        Ok(())
    }
}

fn is_special(c: char) -> bool {
    matches!(c, '*' | '?' | '[' | '\\')
}

/// Passes everything on but findings: the restore itself will meet them again.
struct Quiet<'a>(&'a dyn Observer);

impl Observer for Quiet<'_> {
    fn advance(&self, n: u64) {
        self.0.advance(n);
    }

    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }
}
