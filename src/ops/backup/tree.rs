//! Backing up a tree: walk, compare, read, store, and build directories bottom-up.
//!
//! The walk runs ahead on threads of its own, where the `Scanner` compares each directory with the file cache. Files to
//! read go through the `ReadPipeline`, whose results come in the order of the walk, so that neighbours in the tree
//! become neighbours in blocks. The `ContentWriter` stores them, and the `TreeAssembler` a directory once all below
//! it is stored.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::file_cache::{FileCacheReader, FileCacheWriter, SeenFile};
use crate::format::tree::{FileNode, Metadata, Node, NodeKind};
use crate::primitives::ids::{ChunkId, SnapshotId};
use crate::primitives::progress::{Change, Observer, Severity};
use crate::primitives::system::System;
use crate::source::{
    Directory, Event, ExcludeRules, Listing, OwnerNames, Problem, Stat, WalkOptions, read_metadata, walk,
};

use super::Stop;
use super::ancestors::{AncestorTree, Ancestors};
use super::assemble::{PendingDirectory, TreeAssembler};
use super::compare::RowKey;
use super::content::ContentWriter;
use super::cut::{Cutter, Group};
use super::file::{BATCHED_LEN_MAX, FileContent, FileJob, LongFile, Outcome, ReadBatch, name_of, stored_len};
use super::pipeline::{ReadPipeline, Step, job};
use super::scan::{DirectoryDiff, EntryState, ScanOptions, Scanner, SingleEntry, counted_len};
use super::tally::Tally;
use super::together::Part;

/// One source of paths, being backed up.
pub(super) struct TreeBackup<'a> {
    scanner: Scanner,
    writer: TreeWriter<'a>,
}

/// What stores what the walk finds.
struct TreeWriter<'a> {
    part: &'a Part<'a>,
    tally: Tally<'a>,
    pipeline: ReadPipeline,
    tree: TreeAssembler,
    content: ContentWriter,
    owners: Arc<OwnerNames>,
    system: Arc<dyn System>,
    /// Whether anything was reused unread.
    reused: bool,
}

/// The walk of one root.
struct Root<'r> {
    handle: Arc<Directory>,
    name: &'r [u8],
    key: &'r RowKey,
    /// Its node, once it is stored.
    node: Option<Node>,
}

impl<'a> TreeBackup<'a> {
    /// Prepares to back up roots of one source; `seen` is what its last backup saw.
    pub(super) fn new(
        part: &'a Part<'a>,
        observer: &'a dyn Observer,
        seen: Option<FileCacheReader>,
        options: ScanOptions,
    ) -> Self {
        let repository = part.lock().repository().clone();
        let scanner = Scanner::new(&repository, seen, options);
        let cutter = Cutter::new(&repository);
        let (owners, system) = (scanner.owners().clone(), repository.system.clone());
        let writer = TreeWriter {
            part,
            tally: Tally::new(observer),
            pipeline: ReadPipeline::new(cutter.clone(), owners.clone(), system.clone()),
            tree: TreeAssembler::default(),
            content: ContentWriter::new(&repository, cutter),
            owners,
            system,
            reused: false,
        };
        Self { scanner, writer }
    }

    /// Counts and findings so far.
    pub(super) fn tally(&mut self) -> &mut Tally<'a> {
        &mut self.writer.tally
    }

    /// Rows for the file cache, once all is stored.
    pub(super) fn take_rows(&mut self) -> FileCacheWriter {
        std::mem::take(&mut self.writer.tree.rows)
    }

    /// Has `node`, which was saved from `path`, hang below the directory `at` when that is walked.
    pub(super) fn hang(&mut self, at: PathBuf, path: PathBuf, node: Node) {
        self.writer.tree.hang(at, path, node);
    }

    /// The snapshot whose content may be reused unread, if any was.
    pub(super) fn parent(&self) -> Option<SnapshotId> {
        self.scanner.last().filter(|_| self.writer.reused)
    }

    /// Stores the directories that lead to the roots; answers with the snapshot's root, and what `/` was.
    pub(super) fn store_ancestors(&mut self, tree: AncestorTree) -> Result<(ChunkId, Metadata), Stop> {
        let writer = &mut self.writer;
        let run = &mut *writer.part.lock();
        let mut ancestors = Ancestors { run, owners: &writer.owners, tally: &mut writer.tally };
        let root = tree.root(&mut ancestors);
        Ok((tree.store(&mut ancestors, Path::new("/"))?, root))
    }

    /// Backs up the directory at `root`; returns its node, named as `name`. `None` if it cannot be read, which was told.
    pub(super) fn directory(
        &mut self,
        root: &Path,
        name: &[u8],
        key: &RowKey,
        rules: &ExcludeRules,
    ) -> Result<Option<Node>, Stop> {
        let Self { scanner, writer } = self;
        let handle = match Directory::open(root) {
            Ok(handle) => Arc::new(handle),
            Err(e) => {
                writer.tally.problem(&Problem::reading(root, &e));
                return Ok(None);
            }
        };
        let mut at = Root { handle, name, key, node: None };
        let annotate = |listing: &Listing| scanner.directory(key, listing);
        walk(root, rules, &WalkOptions::default(), annotate, |event| {
            writer.unless_interrupted()?;
            match event {
                Event::Enter(listing, diff) => writer.enter(&mut at, listing, diff)?,
                Event::Leave => {
                    let directory = writer.tree.leave();
                    writer.pipeline.leave(directory);
                }
            }
            writer.advance_while(&mut at, ReadPipeline::is_full)?;
            // Directories without files to read must not pile up either.
            writer.advance_while(&mut at, ReadPipeline::is_ready)
        })?;
        writer.pipeline.flush(&at.handle);
        while writer.advance(&mut at)? {}
        Ok(at.node)
    }

    /// Backs up a source that is a single entry and no directory. `None` if it cannot be read, which was told.
    pub(super) fn single(&mut self, path: &Path, key: &RowKey) -> Result<Option<Node>, Stop> {
        let writer = &mut self.writer;
        let read_ms = writer.system.now_ms();
        let SingleEntry { parent, name, stat, state, problems } = match self.scanner.single(key, path) {
            Ok(entry) => entry,
            Err(e) => {
                writer.tally.problem(&Problem::reading(path, &e));
                return Ok(None);
            }
        };
        writer.tally.problems(&problems);
        // As the only entry of a directory that is not kept.
        let folder = PendingDirectory {
            path: parent.path().to_owned(),
            key: key.of_single(path),
            unchanged: matches!(state, EntryState::Unchanged(_)),
            ..PendingDirectory::default()
        };
        let paths = Arc::new((folder.path.clone(), PathBuf::new()));
        let directory = writer.tree.begin(folder);
        match state {
            EntryState::Unchanged(file) | EntryState::SameContent(file) => {
                writer.tally.observer.advance(counted_len(&stat));
                writer.add_seen(directory, file);
            }
            EntryState::Read(change) => writer.store_long(job(directory, &paths, name, change), &parent)?,
            EntryState::Other(node) => {
                writer.tally.figures.others += 1;
                writer.tree.add(directory, &stat, read_ms, node);
            }
            EntryState::Directory | EntryState::Lost => {}
        }
        Ok(writer.tree.take_single(directory))
    }
}

impl TreeWriter<'_> {
    fn unless_interrupted(&self) -> Result<(), Stop> {
        if self.tally.observer.interrupted() { Err(Stop::Interrupted) } else { Ok(()) }
    }

    /// Begins a directory with what is known of its entries, and has the others read.
    fn enter(&mut self, at: &mut Root<'_>, listing: Listing, diff: DirectoryDiff) -> Result<(), Stop> {
        self.tally.figures.directories += 1;
        self.tally.problems(listing.problems.iter().chain(&diff.problems));
        let directory = self.tree.enter(PendingDirectory {
            name: listing.below.file_name().map_or(at.name, |name| name.as_bytes()).to_vec(),
            path: listing.path.clone(),
            key: at.key.of(&listing),
            meta: diff.meta,
            nodes: Vec::with_capacity(listing.entries.len()),
            seen: Vec::with_capacity(listing.entries.len()),
            unchanged: diff.unchanged,
            ..PendingDirectory::default()
        });
        let mut to_read = Vec::new();
        let mut len_unchanged = 0u64;
        for (entry, state) in listing.entries.into_iter().zip(diff.entries) {
            match state {
                EntryState::Directory | EntryState::Lost => {}
                EntryState::Unchanged(file) | EntryState::SameContent(file) => {
                    len_unchanged = len_unchanged.saturating_add(counted_len(&entry.stat));
                    self.add_seen(directory, file);
                }
                EntryState::Read(change) => to_read.push((entry, change)),
                EntryState::Other(node) => {
                    self.tally.figures.others += 1;
                    self.tree.add(directory, &entry.stat, diff.read_ms, node);
                }
            }
        }
        if len_unchanged > 0 {
            self.tally.observer.advance(len_unchanged);
        }
        let paths = Arc::new((listing.path, listing.below));
        for (entry, change) in to_read {
            self.pipeline.add(&at.handle, job(directory, &paths, entry.name, change), &entry.stat);
            // One directory may hold more than fits into memory.
            self.advance_while(at, ReadPipeline::is_full)?;
        }
        Ok(())
    }

    fn add_seen(&mut self, directory: u64, file: SeenFile) {
        match &file.node.kind {
            NodeKind::File(f) => {
                self.tally.file(f.size);
                self.reused = true;
                let path = || self.tree.path(directory).join(name_of(&file.node.name));
                self.tally.observer.file(Change::Unchanged, &path, f.size);
            }
            _ => self.tally.figures.others += 1,
        }
        self.tree.add_seen(directory, file);
    }

    fn advance_while(&mut self, at: &mut Root<'_>, waits: impl Fn(&ReadPipeline) -> bool) -> Result<(), Stop> {
        while waits(&self.pipeline) {
            self.advance(at)?;
        }
        Ok(())
    }

    /// Takes the next step; whether there was one.
    fn advance(&mut self, at: &mut Root<'_>) -> Result<bool, Stop> {
        match self.pipeline.next()? {
            None => return Ok(false),
            Some(Step::Batch(batch)) => self.store_batch(batch)?,
            Some(Step::Long(job, root)) => self.store_long(job, &root)?,
            Some(Step::Again(job, root, stat)) => self.store_again(job, &root, &stat)?,
            Some(Step::Leave(directory)) => {
                let run = &mut *self.part.lock();
                let mut ancestors = Ancestors { run, owners: &self.owners, tally: &mut self.tally };
                let root = self.tree.store(directory, &mut ancestors)?;
                at.node = root.or(at.node.take());
            }
        }
        Ok(true)
    }

    fn store_batch(&mut self, batch: ReadBatch) -> Result<(), Stop> {
        for file in batch.files {
            self.unless_interrupted()?;
            self.tally.problems(&file.problems);
            match file.outcome {
                Err(problem) => self.tally.problem(&problem),
                Ok(Outcome::Long(job)) => self.store_long(job, &batch.root)?,
                Ok(Outcome::Read(read)) => {
                    let len = stored_len(read.stat.size, read.sparse.as_deref());
                    let bytes = &batch.bytes[read.at..read.at + len];
                    self.content.add(&mut self.part.lock(), read.class, &read.pieces, bytes)?;
                    self.file_done(file.directory, file.name, file.change, *read)?;
                }
            }
        }
        Ok(())
    }

    fn file_done(&mut self, directory: u64, name: Vec<u8>, change: Change, read: FileContent) -> Result<(), Stop> {
        let stored = self.content.take(&mut self.part.lock())?;
        let FileContent { stat, read_ms, meta, sparse, changed, .. } = read;
        self.tally.file(stat.size);
        self.tally.figures.files_read += 1;
        self.tally.figures.bytes_read = self.tally.figures.bytes_read.saturating_add(stored.len);
        if stat.size <= BATCHED_LEN_MAX {
            // Longer ones tell as they go.
            self.tally.observer.advance(stat.size);
        }
        let (content, content_id) = (stored.content, stored.id);
        let node = FileNode { size: stat.size, content, content_id, sparse, changed_while_read: changed };
        let node = Node { name, meta, kind: NodeKind::File(node) };
        let path = || self.tree.path(directory).join(name_of(&node.name));
        self.tally.observer.file(change, &path, stat.size);
        if changed {
            self.tally.figures.changed += 1;
            let text = format!("{}: it changed while it was read", path().display());
            self.tally.say(Severity::Warning, text);
        } else {
            self.pipeline.links.read(&stat, read_ms, &node);
        }
        self.tree.add(directory, &stat, read_ms, node);
        Ok(())
    }

    /// Stores a further name of a file that was read, if it still is what was read.
    fn store_again(&mut self, job: FileJob, root: &Directory, stat: &Stat) -> Result<(), Stop> {
        let Some((read_ms, node)) = self.pipeline.links.known(stat) else { return self.store_long(job, root) };
        self.tally.file(stat.size);
        self.tally.observer.advance(stat.size);
        self.tally.observer.file(job.change, &|| job.file_path(), stat.size);
        self.tree.add(job.directory, stat, read_ms, Node { name: job.name, ..node });
        Ok(())
    }

    /// Reads and stores a long file, again if it changes meanwhile.
    fn store_long(&mut self, job: FileJob, root: &Directory) -> Result<(), Stop> {
        let path = job.file_path();
        self.tally.observer.current(&path.to_string_lossy());
        let opened = root.open_below(&job.path.1).and_then(|directory| {
            let file = LongFile::open(&directory, &job.name)?;
            Ok((directory, file))
        });
        let read = match opened {
            Ok((directory, file)) => self.read_long(&directory, &job.name, file)?,
            Err(e) => Err(e),
        };
        match read {
            Ok(read) => self.file_done(job.directory, job.name, job.change, read),
            Err(e) => {
                // What was read of it is given up.
                self.content.take(&mut self.part.lock())?;
                self.tally.problem(&Problem::reading(&path, &e));
                Ok(())
            }
        }
    }

    fn read_long(
        &mut self,
        directory: &Directory,
        name: &[u8],
        mut file: LongFile,
    ) -> Result<std::io::Result<FileContent>, Stop> {
        let observer = self.tally.observer;
        let mut read_ms;
        let changed = loop {
            read_ms = self.system.now_ms();
            let produce = |cutter: &Cutter, emit: &mut dyn FnMut(Group) -> bool| {
                file.read(cutter, &mut |group| {
                    observer.advance(group.bytes.len() as u64);
                    emit(group)
                })
            };
            let verdict = match self.content.store(self.part, observer, produce)? {
                Ok(read) => file.judge(read, self.content.stored_len()),
                Err(e) => Err(e),
            };
            match verdict {
                Ok(Some(changed)) => break changed,
                Ok(None) => drop(self.content.take(&mut self.part.lock())?),
                Err(e) => return Ok(Err(e)),
            }
        };
        let (meta, problems) = read_metadata(directory, name, file.stat(), &self.owners);
        self.tally.problems(&problems);
        Ok(Ok(file.done(read_ms, meta, changed)))
    }
}
