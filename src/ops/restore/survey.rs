//! What a restore would do, found out before it does anything: counts, patterns that match nothing, room.

use std::collections::{HashMap, HashSet};

use crate::destination::{FilePlan, Overwrite, RelativePath, Room, Target};
use crate::format::tree::{FileNode, Node, NodeKind};
use crate::primitives::error_chain::error_chain;
use crate::primitives::ids::ChunkId;
use crate::primitives::progress::Observer;
use crate::repository::{Repository, RepositoryError};

use super::filter::Filter;
use super::links::LinkKey;
use super::{RestoreError, RestoreReport, stopped};

/// What is to be written on one file system.
#[derive(Debug, Clone, Default)]
pub(super) struct Need {
    /// Bytes of content, holes left out, less what is replaced.
    pub bytes: u64,
    /// Entries that are not there yet.
    pub entries: u64,
    /// A directory on it.
    pub at: RelativePath,
}

impl Need {
    /// Whether there is room, once this many bytes more are free.
    pub(super) fn fits(&self, room: &Room, freed: u64) -> bool {
        self.bytes <= room.bytes.saturating_add(freed) && room.entries.is_none_or(|entries| self.entries <= entries)
    }
}

/// What was found out.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Counts as of the restore.
    pub report: RestoreReport,
    /// What is to be written, by file system; all under 0 if there is no target.
    pub needs: HashMap<u64, Need>,
}

/// Looks whether every pattern matches something, no further than needed. False if not all could be read.
pub(super) fn match_patterns(
    repository: &Repository,
    root: &ChunkId,
    filter: &Filter,
    observer: &dyn Observer,
) -> Result<bool, RestoreError> {
    let (mut over, mut sound) = (filter.unmatched().is_empty(), true);
    if over {
        return Ok(true);
    }
    let looked = filter.for_each(
        repository,
        root,
        &mut |_, _, _| {
            over = observer.interrupted() || filter.unmatched().is_empty();
            // Ends the walk, whatever for.
            if over { Err(RepositoryError::Interrupted) } else { Ok(()) }
        },
        &mut |_, _| {
            sound = false;
            Ok(())
        },
    );
    match looked {
        Err(RepositoryError::Interrupted) if over && !observer.interrupted() => Ok(true),
        looked => looked.map(|()| sound).map_err(stopped),
    }
}

/// Counts what would be restored into the target, as it is now.
pub(super) fn survey(
    repository: &Repository,
    root: &ChunkId,
    filter: &Filter,
    target: Option<(&Target, Overwrite)>,
    observer: &dyn Observer,
) -> Result<Survey, RestoreError> {
    let mut work = Work { target, directories: HashMap::new(), seen: HashSet::new(), survey: Survey::default() };
    let mut problems = Vec::new();
    let counted = filter.for_each(
        repository,
        root,
        &mut |path, node, included| {
            if observer.interrupted() {
                return Err(RepositoryError::Interrupted);
            }
            observer.advance(1);
            if included {
                work.entry(path, node);
            }
            Ok(())
        },
        &mut |path, e| {
            problems.push(format!("{path}: the directory cannot be read: {}", error_chain(&e)));
            Ok(())
        },
    );
    counted.map_err(stopped)?;
    let mut survey = work.survey;
    problems.into_iter().for_each(|p| survey.report.problem(observer, p));
    Ok(survey)
}

/// A directory of the target: its file system, and the nearest directory that is there, mostly itself.
#[derive(Debug, Clone)]
struct Here {
    device: u64,
    at: RelativePath,
}

struct Work<'a> {
    target: Option<(&'a Target, Overwrite)>,
    directories: HashMap<RelativePath, Here>,
    seen: HashSet<LinkKey>,
    survey: Survey,
}

impl Work<'_> {
    fn entry(&mut self, path: &RelativePath, node: &Node) {
        let parent = path.parent().unwrap_or_default();
        let here = self.here(&parent);
        let is_there = here.at == parent && self.target.is_some_and(|(_, overwrite)| overwrite != Overwrite::Refuse);
        let report = &mut self.survey.report;
        let (mut bytes, mut is_new) = (0, true);
        match &node.kind {
            NodeKind::Directory(_) => report.directories += 1,
            NodeKind::Socket => report.skipped += 1,
            NodeKind::File(file) => {
                match self.target.filter(|_| is_there).map(|(target, _)| planned(target, path, node, file)) {
                    Some(Planned::Keep) => {
                        report.kept += 1;
                        return;
                    }
                    Some(Planned::Replace(frees)) => {
                        is_new = false;
                        bytes = stored(file).saturating_sub(frees);
                    }
                    Some(Planned::New) | None => bytes = stored(file),
                }
                report.files += 1;
                report.bytes += file.size;
            }
            _ => report.others += 1,
        }
        if LinkKey::of(&node.meta, &node.kind).is_some_and(|key| !self.seen.insert(key)) {
            // A further name of what was counted.
            bytes = 0;
        }
        let need = self.survey.needs.entry(here.device).or_insert_with(|| Need { at: here.at, ..Need::default() });
        need.bytes = need.bytes.saturating_add(bytes);
        need.entries += u64::from(is_new);
    }

    /// Where the entries of a directory would be.
    fn here(&mut self, directory: &RelativePath) -> Here {
        let root = RelativePath::root();
        let Some((target, overwrite)) = self.target else { return Here { device: 0, at: root } };
        // An empty target has no directory but its root.
        let directory = if overwrite == Overwrite::Refuse { &root } else { directory };
        if let Some(here) = self.directories.get(directory) {
            return here.clone();
        }
        let device = |at: &RelativePath| {
            let found = target.look(at).ok().flatten();
            found.filter(|found| found.is_directory).map(|found| found.device)
        };
        let here = match directory.parent() {
            None => Here { device: device(&root).unwrap_or(0), at: RelativePath::root() },
            // It came before what is in it.
            Some(parent) => {
                let above = self.directories.get(&parent).cloned().unwrap_or_else(|| nearest(parent.clone(), &device));
                match if above.at == parent { device(directory) } else { None } {
                    Some(device) => Here { device, at: directory.clone() },
                    None => above,
                }
            }
        };
        self.directories.insert(directory.clone(), here.clone());
        here
    }
}

/// The nearest directory that is there.
fn nearest(mut at: RelativePath, device: &dyn Fn(&RelativePath) -> Option<u64>) -> Here {
    loop {
        match device(&at) {
            Some(device) => return Here { device, at },
            None if !at.pop() => return Here { device: 0, at },
            None => {}
        }
    }
}

enum Planned {
    Keep,
    /// It takes the place of what makes so many bytes free.
    Replace(u64),
    New,
}

fn planned(target: &Target, path: &RelativePath, node: &Node, file: &FileNode) -> Planned {
    match (target.plan_file(path, &node.meta, file), target.look(path)) {
        (Ok(FilePlan::Keep), _) => Planned::Keep,
        (_, Ok(Some(found))) => Planned::Replace(found.frees),
        _ => Planned::New,
    }
}

/// Bytes that a file takes on a disk, about.
fn stored(file: &FileNode) -> u64 {
    match &file.sparse {
        None => file.size,
        Some(runs) => runs.iter().fold(0, |sum, run| run.data.saturating_add(sum)),
    }
}
