//! What is in the target and not in the snapshot: found for `--delete`, and deleted.
//!
//! An entry is an extra only if the backup would have saved it: it lies below a path that was backed up, and no rule
//! of that backup left it out. And it must be asked for, and not be left out of this restore. A directory of which
//! something stays is not deleted, only what else is in it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::destination::{Found, RelativePath, Target};
use crate::format::tree::NodeKind;
use crate::primitives::error_chain::error_chain;
use crate::primitives::ids::ChunkId;
use crate::primitives::progress::Observer;
use crate::repository::snapshots::Snapshot;
use crate::repository::{Repository, RepositoryError};
use crate::source::exclude::CACHEDIR_TAG;
use crate::source::{Decision, ExcludeOptions, ExcludeRules, FileKind, Stat};

use super::filter::{Filter, as_path};
use super::{RestoreError, RestoreReport, stopped};

/// A path that was backed up, with the rules that were in force.
struct Source {
    path: PathBuf,
    rules: ExcludeRules,
    /// Names for which a directory keeps nothing else.
    tags: Vec<Vec<u8>>,
    /// The file system that it is on in the target, if others were left out.
    device: Option<u64>,
}

/// Where extras may be deleted.
pub(super) struct Limits<'a> {
    filter: &'a Filter,
    target: &'a Target,
    sources: Vec<Source>,
    /// Whether the backup left anything out.
    has_rules: bool,
    /// Where the root of the target was then.
    root: PathBuf,
    /// Whether a file replaces a directory.
    replaces: bool,
}

/// An entry of the snapshot.
#[derive(Clone, Copy)]
struct Kept {
    is_directory: bool,
    is_asked_for: bool,
}

impl<'a> Limits<'a> {
    /// For a restore of `subtree` into `target`, which is called `path`; `replaces` says that what is there may give way
    /// to an entry of another kind.
    pub(super) fn new(
        snapshot: &Snapshot,
        subtree: Option<&[u8]>,
        filter: &'a Filter,
        (target, path): (&'a Target, &Path),
        replaces: bool,
    ) -> Result<Self, RestoreError> {
        let root = Path::new("/").join(OsStr::from_bytes(subtree.unwrap_or_default()));
        let has_rules = snapshot.described.left_out.is_some();
        let left_out = snapshot.described.left_out.clone().unwrap_or_default();
        let options = ExcludeOptions {
            patterns: left_out.patterns,
            caches: left_out.caches,
            if_present: left_out.if_present,
            larger_than: left_out.larger_than,
            one_file_system: left_out.one_file_system,
            roots: snapshot.described.paths.iter().map(|p| PathBuf::from(OsStr::from_bytes(p))).collect(),
            ..ExcludeOptions::default()
        };
        let mut tags: Vec<Vec<u8>> = options.if_present.iter().map(|name| name.clone().into_bytes()).collect();
        tags.extend(options.caches.then(|| CACHEDIR_TAG.to_vec()));
        let sources = snapshot.described.paths.iter().map(|source| {
            let source = Path::new(OsStr::from_bytes(source));
            let rules = ExcludeRules::new(&options, source).map_err(RestoreError::Rules)?;
            let device = if options.one_file_system { device_of(source, &root, target, path) } else { None };
            Ok(Source { path: source.to_owned(), rules, tags: tags.clone(), device })
        });
        let sources = sources.collect::<Result<_, RestoreError>>()?;
        Ok(Self { filter, target, sources, has_rules, root, replaces })
    }

    /// What is in the target, is not in the snapshot, and may be deleted.
    pub(super) fn find(
        &self,
        repository: &Repository,
        root: &ChunkId,
        observer: &dyn Observer,
    ) -> Result<Vec<RelativePath>, RestoreError> {
        let mut kept: HashMap<RelativePath, HashMap<Vec<u8>, Kept>> = HashMap::new();
        let mut unreadable = Vec::new();
        kept.entry(RelativePath::root()).or_default();
        let listed = self.filter.for_each(
            repository,
            root,
            &mut |path, node, is_asked_for| {
                if observer.interrupted() {
                    return Err(RepositoryError::Interrupted);
                }
                let is_directory = matches!(node.kind, NodeKind::Directory(_));
                let parent = path.parent().unwrap_or_else(RelativePath::root);
                kept.entry(parent).or_default().insert(node.name.clone(), Kept { is_directory, is_asked_for });
                if is_directory {
                    kept.entry(path.clone()).or_default();
                }
                Ok(())
            },
            &mut |path, _| {
                unreadable.push(path.clone());
                Ok(())
            },
        );
        listed.map_err(stopped)?;
        // Of a directory that cannot be read nobody knows what is an extra; that it cannot be read will be told.
        unreadable.iter().for_each(|path| drop(kept.remove(path)));
        let mut extras = Vec::new();
        for (directory, names) in &kept {
            self.in_directory(directory.clone(), names, &mut extras);
        }
        extras.sort();
        Ok(extras)
    }

    /// Gathers the extras of one directory, and of those in it that are extras but for what must stay.
    fn in_directory(&self, directory: RelativePath, kept: &HashMap<Vec<u8>, Kept>, extras: &mut Vec<RelativePath>) {
        let none = HashMap::new();
        let mut stack = vec![(directory, kept)];
        while let Some((directory, kept)) = stack.pop() {
            // What is no directory in the target, or cannot be read, has no extras that could be removed.
            let Ok(found) = self.target.list(&directory) else { continue };
            if self.is_of_another_file_system(&directory) {
                continue;
            }
            let tag = self.tag(&directory, &found);
            for (name, is_directory) in found {
                let Ok(path) = directory.child(&name) else { continue };
                let stays = tag.as_ref().is_some_and(|tag| *tag != name);
                let replaced = match kept.get(&name) {
                    None => false,
                    Some(kept) if is_directory && !kept.is_directory && kept.is_asked_for && self.replaces => true,
                    Some(_) => continue,
                };
                if stays || !self.allow(&path, is_directory) {
                    continue;
                }
                match is_directory && self.holds_what_stays(&path) {
                    false => extras.push(path),
                    true if replaced => {}
                    true => stack.push((path, &none)),
                }
            }
        }
    }

    /// Whether an entry that the snapshot does not have may be deleted, whatever is in it.
    fn allow(&self, path: &RelativePath, is_directory: bool) -> bool {
        let then = self.then(path);
        self.sources.iter().any(|source| then.starts_with(&source.path))
            && self.is_asked_for(path, is_directory)
            && !self.stays(path, is_directory)
    }

    /// Whether an entry was left out by the backup, or is by this restore.
    fn stays(&self, path: &RelativePath, is_directory: bool) -> bool {
        if self.filter.excluded(path, is_directory) {
            return true;
        }
        let then = self.then(path);
        let mut ruled = self.sources.iter().filter(|source| then.starts_with(&source.path)).peekable();
        if ruled.peek().is_none() {
            return false;
        }
        let found = self.target.look(path).ok().flatten();
        ruled.any(|source| {
            let below = then.strip_prefix(&source.path).unwrap_or(Path::new(""));
            !below.as_os_str().is_empty() && source.rules.decide(below, &stat(found, is_directory)) != Decision::Keep
        })
    }

    fn then(&self, path: &RelativePath) -> PathBuf {
        if path.is_root() { self.root.clone() } else { self.root.join(as_path(path)) }
    }

    fn is_asked_for(&self, path: &RelativePath, is_directory: bool) -> bool {
        let mut above = self.filter.takes_all();
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

    /// Whether a directory lies on a file system that the backup left out.
    fn is_of_another_file_system(&self, directory: &RelativePath) -> bool {
        let then = self.then(directory);
        let mut devices = self.sources.iter().filter(|s| then.starts_with(&s.path)).filter_map(|s| s.device).peekable();
        if devices.peek().is_none() {
            return false;
        }
        let found = self.target.look(directory).ok().flatten();
        devices.all(|device| found.is_none_or(|found| found.device != device))
    }

    /// The tag for which nothing else of a directory was saved.
    fn tag(&self, directory: &RelativePath, found: &[(Vec<u8>, bool)]) -> Option<Vec<u8>> {
        let then = self.then(directory);
        let sources = self.sources.iter().filter(|source| then.starts_with(&source.path));
        let mut tags = sources.flat_map(|source| &source.tags);
        tags.find(|tag| found.iter().any(|(name, _)| name == *tag)).cloned()
    }

    /// Whether something below a directory must stay. What cannot be read may hold such a thing.
    fn holds_what_stays(&self, path: &RelativePath) -> bool {
        if !self.has_rules && !self.filter.leaves_out() {
            return false;
        }
        let mut stack = vec![path.clone()];
        while let Some(directory) = stack.pop() {
            let Ok(found) = self.target.list(&directory) else { return true };
            let is_tagged = self.tag(&directory, &found).is_some() && found.len() > 1;
            if is_tagged || self.is_of_another_file_system(&directory) {
                return true;
            }
            for (name, is_directory) in found {
                let Ok(child) = directory.child(&name) else { return true };
                if self.stays(&child, is_directory) {
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

fn stat(found: Option<Found>, is_directory: bool) -> Stat {
    let kind = match found {
        _ if is_directory => FileKind::Directory,
        Some(found) if found.is_file => FileKind::File,
        _ => FileKind::Symlink,
    };
    Stat { kind, size: found.map_or(0, |f| f.len), ..Stat::default() }
}

/// The file system in the target of what was backed up as `source`.
fn device_of(source: &Path, root: &Path, target: &Target, path: &Path) -> Option<u64> {
    let at = match (source.strip_prefix(root), root.strip_prefix(source)) {
        (Ok(below), _) => RelativePath::parse(below.as_os_str().as_bytes()).ok()?,
        // A part of it is restored where it was: then its root lies above the target.
        (_, Ok(part)) if path.ends_with(part) => {
            use std::os::unix::fs::MetadataExt;
            let above = path.ancestors().nth(part.components().count())?;
            return std::fs::metadata(above).ok().map(|found| found.dev());
        }
        _ => RelativePath::root(),
    };
    target.look(&at).ok().flatten().map(|found| found.device)
}

/// Bytes of the disk that removing the extras makes free, by file system.
pub(super) fn freed(target: &Target, extras: &[RelativePath]) -> HashMap<u64, u64> {
    let mut freed: HashMap<u64, u64> = HashMap::new();
    let mut stack = extras.to_vec();
    while let Some(path) = stack.pop() {
        let Some(found) = target.look(&path).ok().flatten() else { continue };
        let of_device = freed.entry(found.device).or_default();
        *of_device = of_device.saturating_add(found.frees);
        if found.is_directory {
            let names = target.list(&path).unwrap_or_default().into_iter();
            stack.extend(names.filter_map(|(name, _)| path.child(&name).ok()));
        }
    }
    freed
}

/// Deletes the extras if that is agreed to.
pub(super) fn delete(
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
            Err(e) => report.problem(observer, error_chain(&e)),
        }
    }
    Ok(())
}
