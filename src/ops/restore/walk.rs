//! The restore itself: directories as they come, files by plans, further names when all files are there.

use std::collections::HashSet;
use std::sync::Arc;

use crate::destination::{FilePlan, Made, Overwrite, Problem, RelativePath, Target, TargetError};
use crate::format::tree::{FileNode, Metadata, Node, NodeKind};
use crate::primitives::error_chain::error_chain;
use crate::primitives::ids::ChunkId;
use crate::primitives::progress::{Observer, Severity};
use crate::repository::Repository;

use super::filter::Filter;
use super::links::{LinkKey, Links};
use super::plan::Plan;
use super::reuse::REUSE_LEN_MIN;
use super::{RestoreError, RestoreReport, fetch};

/// How often names that cannot be linked wait for another name of theirs, before each is written by itself.
const LINK_ROUNDS_MAX: usize = 16;

/// A directory of the target.
struct Directory {
    path: RelativePath,
    meta: Option<Metadata>,
    parent: Option<usize>,
    made: bool,
    failed: bool,
}

/// A further name of a file.
struct Later {
    path: RelativePath,
    meta: Metadata,
    file: FileNode,
    key: LinkKey,
}

/// One restore in progress.
pub(super) struct Walk<'a> {
    repository: &'a Arc<Repository>,
    target: &'a Target,
    filter: &'a Filter,
    observer: &'a dyn Observer,
    report: &'a mut RestoreReport,
    overwrite: Overwrite,
    plan: Plan,
    directories: Vec<Directory>,
    /// Files whose first name was met.
    met: HashSet<LinkKey>,
    links: Links,
    later: Vec<Later>,
    /// The first entry for which there was no room.
    full: Option<TargetError>,
}

impl<'a> Walk<'a> {
    /// Prepares to restore into `target`.
    pub(super) fn new(
        repository: &'a Arc<Repository>,
        (target, overwrite): (&'a Target, Overwrite),
        filter: &'a Filter,
        report: &'a mut RestoreReport,
        observer: &'a dyn Observer,
    ) -> Self {
        Self {
            repository,
            target,
            filter,
            observer,
            report,
            overwrite,
            plan: Plan::default(),
            directories: Vec::new(),
            met: HashSet::new(),
            links: Links::default(),
            later: Vec::new(),
            full: None,
        }
    }

    /// Restores what is below `root`; the target itself becomes as `meta` says.
    pub(super) fn run(mut self, root: ChunkId, meta: Option<Metadata>) -> Result<(), RestoreError> {
        self.directories.push(Directory { path: RelativePath::root(), meta, parent: None, made: true, failed: false });
        let mut stack = vec![(0, root, self.filter.takes_all())];
        while let Some((directory, id, asked)) = stack.pop() {
            let nodes = self.nodes(directory, &id, asked)?;
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
        self.further_names()?;
        self.finish_directories();
        Ok(())
    }

    fn nodes(&mut self, directory: usize, id: &ChunkId, asked: bool) -> Result<Vec<Node>, RestoreError> {
        let mut nodes = Vec::new();
        let path = &self.directories[directory].path;
        let listed = self.filter.entries(self.repository, (path, id), asked, &mut |node| {
            nodes.push(node);
            Ok(())
        });
        if let Err(e) = listed {
            if !e.is_damage() {
                return Err(e.into());
            }
            let text = format!("{path}: the directory cannot be read: {}", error_chain(&e));
            self.report.problem(self.observer, text);
        }
        Ok(nodes)
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
        let key = LinkKey::of(&node.meta, &node.kind);
        match (node.kind, key) {
            (NodeKind::File(file), Some(key)) if !self.met.insert(key.clone()) => {
                self.later.push(Later { path, meta: node.meta, file, key });
                Ok(())
            }
            (NodeKind::File(file), key) => self.file(path, node.meta, file, key),
            (kind, key) => {
                self.other(&path, &Node { kind, ..node }, key);
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
            false => self.report.problem(self.observer, error_chain(&error)),
        }
    }

    fn tell(&mut self, problems: &[Problem]) {
        problems.iter().for_each(|p| self.report.problem(self.observer, error_chain(p)));
    }

    /// Ends the restore once there is no room left: every further entry would fail in the same way.
    fn check_room(&mut self) -> Result<(), RestoreError> {
        match self.full.take() {
            Some(source) => Err(RestoreError::Full { files: self.report.files, source }),
            None => Ok(()),
        }
    }

    /// Plans a file, unless what is there is kept.
    fn file(
        &mut self,
        path: RelativePath,
        meta: Metadata,
        file: FileNode,
        key: Option<LinkKey>,
    ) -> Result<(), RestoreError> {
        if self.overwrite != Overwrite::Refuse {
            match self.target.plan_file(&path, &meta, &file) {
                Ok(FilePlan::Write) => {}
                Ok(FilePlan::Keep) => {
                    self.keep(path, &meta, &file, key);
                    return Ok(());
                }
                Err(e) => {
                    self.report.problem(self.observer, error_chain(&e));
                    return Ok(());
                }
            }
        }
        let reuses = file.size >= REUSE_LEN_MIN && self.target.replaces_file(&path);
        if let Err(e) = self.plan.add(self.repository, (path.clone(), meta, file), key, reuses) {
            if !e.is_damage() {
                return Err(e.into());
            }
            self.report.problem(self.observer, format!("{path}: {}", error_chain(&e)));
        }
        Ok(())
    }

    fn keep(&mut self, path: RelativePath, meta: &Metadata, file: &FileNode, key: Option<LinkKey>) {
        self.report.kept += 1;
        self.observer.advance(file.size);
        // With `Never`, what is there may be any other file: nothing is linked to it.
        if self.overwrite != Overwrite::IfChanged {
            return;
        }
        match self.target.refresh_file(&path, meta) {
            Ok(problems) => self.tell(&problems),
            Err(e) => self.report.problem(self.observer, error_chain(&e)),
        }
        if let Some(key) = key {
            self.links.add(key, path);
        }
    }

    /// Makes a link, pipe or device, as a further name of one that is there if it was one.
    fn other(&mut self, path: &RelativePath, node: &Node, key: Option<LinkKey>) {
        if key.as_ref().is_some_and(|key| self.link(path, key)) {
            return;
        }
        let made = self.target.make_other(path, node);
        let is_as_recorded = matches!(&made, Ok(Made::Done(_) | Made::Refreshed(_)));
        if self.made(path, made) {
            self.report.others += 1;
        }
        if let Some(key) = key.filter(|_| is_as_recorded) {
            self.links.add(key, path.clone());
        }
    }

    /// Makes `path` a further name of an entry that is there; false if that cannot be, for whatever reason.
    fn link(&mut self, path: &RelativePath, key: &LinkKey) -> bool {
        for existing in self.links.of(key) {
            match self.target.hard_link(path, &existing) {
                Ok(made) => {
                    self.made(path, Ok(made));
                    return true;
                }
                Err(e) if e.is_out_of_space() => {
                    self.refused(e);
                    return true;
                }
                // Another file system, one without links, a file with as many names as it can have, a name that is
                // gone: then the content itself is written, and says what else is wrong.
                Err(_) => {}
            }
        }
        false
    }

    /// Links further names of files to those that are there now. One that cannot be linked is written itself, and others
    /// are then linked to it: they may lie on its file system.
    fn further_names(&mut self) -> Result<(), RestoreError> {
        let mut waiting = std::mem::take(&mut self.later);
        for round in 0.. {
            if waiting.is_empty() {
                break;
            }
            let (mut written, mut again) = (HashSet::new(), Vec::new());
            for name in waiting {
                if self.observer.interrupted() {
                    return Err(RestoreError::Interrupted);
                }
                let linked = self.link(&name.path, &name.key);
                self.check_room()?;
                if linked {
                    continue;
                }
                if !written.insert(name.key.clone()) && round < LINK_ROUNDS_MAX {
                    again.push(name);
                    continue;
                }
                self.file(name.path, name.meta, name.file, Some(name.key))?;
                if self.plan.is_large() {
                    self.execute()?;
                }
            }
            self.execute()?;
            waiting = again;
        }
        Ok(())
    }

    fn made(&mut self, path: &RelativePath, made: Result<Made, TargetError>) -> bool {
        match made {
            Ok(Made::Done(problems)) => {
                self.tell(&problems);
                true
            }
            Ok(Made::Kept) => {
                self.report.kept += 1;
                false
            }
            Ok(Made::Refreshed(problems)) => {
                self.tell(&problems);
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
        let named = fetch::execute(self.repository, self.target, plan, self.report, self.observer)?;
        named.into_iter().for_each(|(key, path)| self.links.add(key, path));
        Ok(())
    }

    fn finish_directories(&mut self) {
        // Deepest last in the list: backwards, every directory comes after what it holds.
        for directory in std::mem::take(&mut self.directories).iter().rev() {
            let Some(meta) = directory.meta.as_ref().filter(|_| directory.made) else { continue };
            match self.target.finish_directory(&directory.path, meta) {
                Ok(problems) => self.tell(&problems),
                Err(e) => self.report.problem(self.observer, error_chain(&e)),
            }
        }
    }
}
