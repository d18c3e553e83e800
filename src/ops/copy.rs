//! Copy: snapshots of one repository into another, only what that one lacks.
//!
//! Everything is opened, every id recomputed, and stored as a backup would store it: the other repository has keys of its
//! own. Chunks keep their borders; if the other was made with the parameters of this one, its own backups find them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::compression::Codec;
use crate::crypto::keys::ContentHasher;
use crate::format::description::{self, Figures, RunDescription, SnapshotOrigin};
use crate::format::record::{Outcome, RunKind, SnapshotEntry};
use crate::format::tree::{Content, FileNode, Node, NodeKind};
use crate::primitives::ids::{ChunkId, ContentId, Extent, Reference, SnapshotId};
use crate::primitives::progress::{Observer, Severity, Unit};
use crate::primitives::system::random;
use crate::repository::read::file::FileReader;
use crate::repository::snapshots::Snapshot;
use crate::repository::write::packer::PackerThreads;
use crate::repository::write::run::{ChunkClass, Publication, Run, run_description};
use crate::repository::write::trees::ListBuilder;
use crate::repository::{Repository, RepositoryError};

use super::rewrite_tree::{Rebuild, rebuild};

/// Contents and trees remembered, so that what several snapshots share is read once.
const REMEMBERED_MAX: usize = 1 << 20;

/// Snapshots whose trees are remembered, at the most.
const PARENTS_MAX: usize = 64;

/// How to copy.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// Only says what would be copied.
    pub dry_run: bool,
    /// This machine, as the run names it.
    pub host: String,
    /// What was asked, as the run keeps it.
    pub command: String,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct CopyReport {
    /// Snapshots that were copied, or would be: as they are called here and there.
    pub copied: Vec<(SnapshotId, Option<SnapshotId>)>,
    /// Snapshots that the other has already.
    pub there: u64,
    /// What was read and stored.
    pub figures: Figures,
    /// Packs that an interrupted copy had left there, and their bytes.
    pub resumed: (usize, u64),
    /// Snapshots that were left out because their descriptions are not believed.
    pub doubted: Vec<SnapshotId>,
    /// Files whose content is not what their entries say.
    pub problems: u64,
}

/// Copies snapshots, oldest first; each is published when it is through.
pub fn copy(
    from: &Arc<Repository>,
    to: &Arc<Repository>,
    snapshots: &[Snapshot],
    options: &CopyOptions,
    observer: &dyn Observer,
) -> Result<CopyReport, RepositoryError> {
    if from.config.id == to.config.id {
        return Err(RepositoryError::NotAllowed { what: "both are the same repository".to_owned() });
    }
    copy_within(from, to, snapshots, options, observer)
}

/// As [`copy`], also if `from` is another history of the same repository.
pub fn copy_within(
    from: &Arc<Repository>,
    to: &Arc<Repository>,
    snapshots: &[Snapshot],
    options: &CopyOptions,
    observer: &dyn Observer,
) -> Result<CopyReport, RepositoryError> {
    let mut report = CopyReport::default();
    if !options.dry_run {
        to.check_may_write()?;
        report.resumed = to.resume_runs(observer)?;
    }
    to.refresh()?;
    let is_there = known_there(from, to)?;
    let (there, lacking): (Vec<&Snapshot>, Vec<&Snapshot>) =
        snapshots.iter().filter(|s| s.doubt.is_none()).partition(|s| is_there(s));
    // What would be signed there by whoever copies must have been said by who it says it was.
    report.doubted = snapshots.iter().filter(|s| s.doubt.is_some()).map(|s| s.id).collect();
    for id in &report.doubted {
        let text = format!("snapshot {} was left out: its description is not believed", id.short());
        observer.finding(Severity::Error, &text);
    }
    report.there = there.len() as u64;
    if lacking.is_empty() || options.dry_run {
        report.copied = lacking.iter().map(|s| (s.id, None)).collect();
        return Ok(report);
    }
    let described = run_description(&options.host, &options.command);
    let run = to.begin_run(RunKind::Copy, &options.host, &described, PackerThreads::default())?;
    observer.phase("copying", Some(lacking.iter().map(|s| s.described.figures.bytes).sum()), Unit::Bytes);
    let mut work = Work {
        from,
        run,
        observer,
        reader: FileReader::new(from),
        trees: HashMap::new(),
        contents: HashMap::new(),
        problems: 0,
        parents: Vec::new(),
        figures: Figures::default(),
    };
    let done: Result<(), RepositoryError> = lacking.into_iter().try_for_each(|snapshot| {
        match work.snapshot(snapshot, origin(from, snapshot)).map_err(|e| from.within(&snapshot.id, e)) {
            Ok(id) => report.copied.push((snapshot.id, Some(id))),
            Err(e @ RepositoryError::Forgotten { .. }) => observer.finding(Severity::Note, &e.to_string()),
            Err(e) => return Err(e),
        }
        Ok(())
    });
    report.problems = work.problems;
    let (bytes_new, bytes_stored) = (work.run.bytes_new, work.run.bytes_flushed());
    report.figures = Figures { bytes_new, bytes_stored, ..work.figures };
    let outcome = match &done {
        Ok(()) => Outcome::Complete,
        Err(_) if report.copied.is_empty() => Outcome::Failed,
        Err(_) => Outcome::Partial,
    };
    let ended = work.run.end(outcome, &RunDescription { figures: report.figures, ..described });
    done?;
    ended?;
    Ok(report)
}

fn origin(from: &Repository, snapshot: &Snapshot) -> SnapshotOrigin {
    SnapshotOrigin { repository: from.config.id, snapshot: snapshot.id }
}

/// Tells which snapshots the other repository has: copies of them, or what they are copies of.
fn known_there(from: &Repository, to: &Repository) -> Result<impl Fn(&Snapshot) -> bool, RepositoryError> {
    // Others could claim that what they store is a copy; and what has holes is to be copied again.
    let (state, own) = (to.state(), to.keys.id());
    let trusted = |s: &Snapshot| {
        let run = state.runs.get(&s.state.run).filter(|r| r.kind == RunKind::Copy);
        !s.state.damaged && run.is_some_and(|r| r.writer == state.owner.id() || r.writer == own)
    };
    let copies = to.snapshots()?.into_iter().filter(trusted);
    let known: HashSet<SnapshotOrigin> = copies.filter_map(|s| s.described.origin).collect();
    // What came from there needs not go back.
    let same = from.config.id == to.config.id;
    let came = move |s: &Snapshot| !same && s.described.origin.as_ref().is_some_and(|o| o.repository == to.config.id);
    Ok(move |s: &Snapshot| known.contains(&origin(from, s)) || came(s))
}

struct Work<'a> {
    from: &'a Arc<Repository>,
    run: Run,
    observer: &'a dyn Observer,
    reader: FileReader<'a>,
    /// Trees that were copied: what they are called there.
    trees: HashMap<ChunkId, ChunkId>,
    /// Contents that were copied, by fingerprint.
    contents: HashMap<[u8; 32], (Content, ContentId)>,
    problems: u64,
    /// Snapshots there for which these were copied: what is reused unread is theirs.
    parents: Vec<SnapshotId>,
    figures: Figures,
}

impl Rebuild for Work<'_> {
    fn run(&mut self) -> &mut Run {
        &mut self.run
    }

    fn known(&self, id: &ChunkId) -> Option<ChunkId> {
        self.trees.get(id).copied()
    }

    fn entries(&mut self, id: &ChunkId, _: &[u8]) -> Result<Vec<Node>, RepositoryError> {
        if self.observer.interrupted() {
            return Err(RepositoryError::Interrupted);
        }
        self.figures.directories += 1;
        let mut nodes = Vec::new();
        self.from.for_each_entry(id, &mut |node| {
            nodes.push(node);
            Ok(())
        })?;
        Ok(nodes)
    }

    fn keeps(&mut self, node: &mut Node, _: &[u8]) -> Result<bool, RepositoryError> {
        match &mut node.kind {
            NodeKind::File(file) => self.file(file)?,
            _ => self.figures.others += 1,
        }
        Ok(true)
    }

    fn written(&mut self, id: &ChunkId, new: ChunkId) {
        if self.trees.len() < REMEMBERED_MAX {
            self.trees.insert(*id, new);
        }
    }
}

impl Work<'_> {
    fn snapshot(&mut self, snapshot: &Snapshot, origin: SnapshotOrigin) -> Result<SnapshotId, RepositoryError> {
        let root = rebuild(self, &snapshot.state.root)?;
        let to = self.run.repository().clone();
        let (id, keys) = (self.run.snapshot_id(), &to.keys.domain_keys);
        let described = description::SnapshotDescription { origin: Some(origin), ..snapshot.described.clone() };
        let entry = SnapshotEntry {
            id,
            time_ms: snapshot.state.time_ms,
            root,
            outcome: snapshot.state.outcome,
            parents: self.parents.clone(),
            host: keys.host(&described.host),
            source: keys.source(&described.source),
            description: description::seal(&described, &self.run.secret().sealing(), random(&*to.system)),
        };
        self.run.publish(Publication { snapshots: vec![entry], end: None })?;
        self.parents.push(id);
        if self.parents.len() >= PARENTS_MAX {
            self.parents.clear();
            self.trees.clear();
            self.contents.clear();
        }
        Ok(id)
    }

    fn file(&mut self, file: &mut FileNode) -> Result<(), RepositoryError> {
        self.figures.files += 1;
        self.figures.bytes += file.size;
        let fingerprint = file.content.fingerprint(&file.content_id);
        let known = self.contents.get(&fingerprint).cloned();
        let (content, id) = match known {
            Some(known) => known,
            None => {
                let copied = self.content(&file.content, file.content_id)?;
                if self.contents.len() < REMEMBERED_MAX {
                    self.contents.insert(fingerprint, copied.clone());
                }
                copied
            }
        };
        (file.content, file.content_id) = (content, id);
        self.observer.advance(file.size);
        Ok(())
    }

    /// Copies a content chunk by chunk. That it is not what its node claims is said; what was read is what is copied.
    fn content(&mut self, content: &Content, claimed: ContentId) -> Result<(Content, ContentId), RepositoryError> {
        self.figures.files_read += 1;
        let to = self.run.repository().clone();
        let (run, reader, observer) = (&mut self.run, &mut self.reader, self.observer);
        let mut hasher = ContentHasher::new(to.domain_keys());
        let mut read = ContentHasher::new(self.from.domain_keys());
        let mut list = ListBuilder::default();
        let mut bytes_read = 0;
        reader.for_each_part(content, &mut |part| {
            if observer.interrupted() {
                return Err(RepositoryError::Interrupted);
            }
            let stored = part.frame.directory.codec == Codec::Stored;
            let class = if stored { ChunkClass::Coarse } else { ChunkClass::Fine };
            for (entry, bytes) in part.chunks() {
                let id = to.domain_keys().chunk(bytes);
                let (block, number) = run.chunk(class, id, bytes)?;
                hasher.add(id);
                read.add(entry.id);
                let reference = Reference { block, first: number, count: 1 };
                list.push(run, Extent { reference, len: bytes.len() as u64 })?;
                bytes_read += bytes.len() as u64;
            }
            Ok(())
        })?;
        self.figures.bytes_read += bytes_read;
        if read.take() != claimed {
            self.problems += 1;
            let text =
                "the content of a file is not what its entry says: the snapshot that it is in was forged or damaged";
            self.observer.finding(Severity::Error, text);
        }
        Ok((list.take(&mut self.run)?, hasher.take()))
    }
}
