//! Backing up a tree: walk, compare, read, store, and build directories bottom-up.
//!
//! The walk runs ahead on threads of its own and compares each directory with the file cache. Files to read
//! are handed to the readers in batches; results are stored in the order of the walk, so that neighbours in
//! the tree become neighbours in blocks. A directory is built once all below it is stored.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, bounded};

use crate::cache::file_cache::{FileCacheReader, FileCacheWriter, NEVER, SeenDirectory, SeenFile};
use crate::crypto::keys::ContentHasher;
use crate::format::description::Figures;
use crate::format::tree::{Content, FileNode, Metadata, Node, NodeKind};
use crate::primitives::ids::{ContentId, Extent, Reference};
use crate::primitives::progress::{Change, Observer, Severity};
use crate::repository::write::run::{ChunkClass, Run};
use crate::repository::write::trees::{ListBuilder, build};
use crate::repository::{Repository, RepositoryError};
use crate::source::{
    Directory, Entry, Event, ExcludeRules, FileKind, Listing, OwnerNames, Problem, ProblemKind, Stat, WalkOptions,
    changed, read_link, read_metadata, stat_root, walk,
};

use super::ancestors::{AncestorSource, AncestorTree};
use super::content::{Cutter, Group, Piece};
use super::read::{
    BATCH_FILES, BATCH_LEN, BATCHED_LEN_MAX, Batch, FileContent, FileJob, Outcome, READS_MAX, ReadBatch, Readers,
    is_in_use, look, name_of, open, stored_len, stream_file,
};

/// Batches that may be read or wait to be stored at once: bounds memory.
const BATCHES_MAX: usize = 10;
/// A file that was changed so shortly before it was read is not cached: it may have changed again afterwards without its
/// time showing it.
const RACY_MS: u64 = 2000;

/// Files with several names that are remembered while one of them is read.
const LINKED_MAX: usize = 200_000;

/// What a file must have in common with what the last backup saw to be taken for unchanged, beside its length and time of
/// modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compare {
    /// Its time of change, which also a new name, owner or mode sets.
    pub ctime: bool,
    /// Its inode number, which some network and union file systems give anew.
    pub inode: bool,
}

impl Default for Compare {
    fn default() -> Self {
        Self { ctime: true, inode: true }
    }
}

/// How a file compares with what the last backup saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchanged {
    /// It is read.
    No,
    /// Its content; its attributes may differ.
    Content,
    /// All of it.
    All,
}

/// What rows of the file cache are called: by the path of a directory, or, for a source with a name of its own that may
/// be mounted elsewhere each night, by the number of the root and the path below it.
#[derive(Debug, Clone, Default)]
pub struct RowKey(pub Option<Vec<u8>>);

impl RowKey {
    /// The row of a directory.
    pub fn of(&self, listing: &Listing) -> Vec<u8> {
        match &self.0 {
            None => listing.path.as_os_str().as_bytes().to_vec(),
            Some(root) => [root, &b"/"[..], listing.below.as_os_str().as_bytes()].concat(),
        }
    }

    /// The row of a source that is a single entry: no directory is called so.
    pub fn of_single(&self, path: &Path) -> Vec<u8> {
        match &self.0 {
            None => path.join(".").as_os_str().as_bytes().to_vec(),
            Some(root) => [root, &b"/."[..]].concat(),
        }
    }
}

/// What stopped a tree.
#[derive(Debug)]
pub enum Stop {
    /// The user.
    Interrupted,
    /// The repository.
    Repository(RepositoryError),
}

impl From<RepositoryError> for Stop {
    fn from(e: RepositoryError) -> Self {
        Self::Repository(e)
    }
}

/// Stores chunks of one file or stream after the other.
pub struct ContentSink {
    list: ListBuilder,
    hasher: ContentHasher,
    len: u64,
}

impl ContentSink {
    /// For files of this repository.
    pub fn new(repository: &Repository) -> Self {
        Self { list: ListBuilder::default(), hasher: ContentHasher::new(repository.domain_keys()), len: 0 }
    }

    /// Stores consecutive chunks.
    pub fn add(
        &mut self,
        run: &mut Run,
        class: ChunkClass,
        pieces: &[Piece],
        bytes: &[u8],
    ) -> Result<(), RepositoryError> {
        let mut at = 0;
        for piece in pieces {
            let end = at + piece.len as usize;
            let (block, first) = run.chunk(class, piece.id, &bytes[at..end])?;
            self.hasher.add(piece.id);
            let reference = Reference { block, first, count: 1 };
            self.list.push(run, Extent { reference, len: u64::from(piece.len) })?;
            self.len += u64::from(piece.len);
            at = end;
        }
        Ok(())
    }

    /// What was stored since the last time: its references, content id and length.
    pub fn take(&mut self, run: &mut Run) -> Result<(Content, ContentId, u64), RepositoryError> {
        Ok((self.list.take(run)?, self.hasher.take(), std::mem::take(&mut self.len)))
    }
}

/// What the scanning thread finds out about a directory.
struct DirectoryDiff {
    /// What the clock said before its entries were looked at.
    read_ms: i64,
    meta: Metadata,
    problems: Vec<Problem>,
    /// Per entry, in their order.
    entries: Vec<EntryState>,
    had_row: bool,
}

enum EntryState {
    /// A directory, visited on its own.
    Directory,
    /// As the file cache has it.
    Unchanged(SeenFile),
    /// With the content that the file cache has.
    SameContent(SeenFile),
    /// A regular file to read; whether the last backup had one of this name.
    Read { known: bool },
    /// Anything else, complete.
    Other(Node),
    /// Gone or unreadable; the problem is told.
    Lost,
}

/// A directory whose entries are being gathered.
struct Pending {
    parent: Option<u64>,
    name: Vec<u8>,
    path: PathBuf,
    /// What its row in the file cache is called.
    key: Vec<u8>,
    meta: Metadata,
    nodes: Vec<Node>,
    seen: Vec<SeenFile>,
    /// Whether the file cache has exactly these files already.
    unchanged: bool,
}

enum Action {
    Batch(Receiver<ReadBatch>),
    Long(FileJob, Arc<Directory>),
    /// A further name of a file that is read before it.
    Again(FileJob, Arc<Directory>, Stat),
    Leave(u64),
}

/// A file with several names.
enum Linked {
    /// It is being read.
    Reading,
    /// It was read: the stat that its content belongs to, when it was, and its node.
    Read(Box<(Stat, i64, Node)>),
}

/// One tree backup in progress.
pub struct TreeBackup<'a> {
    run: &'a mut Run,
    repository: Arc<Repository>,
    observer: &'a dyn Observer,
    cutter: Cutter,
    owners: Arc<OwnerNames>,
    readers: Readers,
    seen: Option<FileCacheReader>,
    /// Rows for the file cache.
    pub rows: FileCacheWriter,
    /// Counts.
    pub figures: Figures,
    /// The first findings, for the snapshot's description.
    pub findings: Vec<String>,
    /// Whether anything was reused unread.
    pub reused: bool,
    /// Whether a file that no backup is known to have had is new; else nothing is known.
    pub is_compared: bool,
    /// What an unchanged file has in common with what was seen.
    pub compare: Compare,
    /// What the next root's rows are called by, instead of its path.
    pub row_key: Option<Vec<u8>>,
    /// By directory of the next walk: what is saved already and hangs below it, with its path.
    hanging: HashMap<PathBuf, Vec<(PathBuf, Node)>>,
    /// Files with several names, by device and inode.
    linked: HashMap<(u64, u64), Linked>,
    sink: ContentSink,
    /// Numbers of devices, by what the system calls them.
    devices: HashMap<u64, u64>,
    directories: HashMap<u64, Pending>,
    next_directory: u64,
    open: Vec<u64>,
    queue: VecDeque<Action>,
    in_flight: usize,
    batch: Vec<FileJob>,
    batch_len: u64,
    threads: usize,
}

const FINDINGS_MAX: usize = 100;

impl<'a> TreeBackup<'a> {
    /// Prepares to back up roots of one source; `seen` is what its last backup saw.
    pub fn new(run: &'a mut Run, observer: &'a dyn Observer, seen: Option<FileCacheReader>) -> Self {
        let repository = run.repository().clone();
        let cutter = Cutter::new(&repository);
        let owners = Arc::new(OwnerNames::from_system());
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
        let readers = Readers::start(threads, &cutter, &owners, &repository.system);
        let sink = ContentSink::new(&repository);
        Self {
            run,
            repository,
            observer,
            cutter,
            owners,
            readers,
            seen,
            rows: FileCacheWriter::default(),
            figures: Figures::default(),
            findings: Vec::new(),
            reused: false,
            is_compared: true,
            compare: Compare::default(),
            row_key: None,
            hanging: HashMap::new(),
            linked: HashMap::new(),
            sink,
            devices: HashMap::new(),
            directories: HashMap::new(),
            next_directory: 0,
            open: Vec::new(),
            queue: VecDeque::new(),
            in_flight: 0,
            batch: Vec::new(),
            batch_len: 0,
            threads,
        }
    }

    /// Has `node`, which was saved from `path`, hang below the directory `at` when that is walked.
    pub fn hang(&mut self, at: PathBuf, path: PathBuf, node: Node) {
        self.hanging.entry(at).or_default().push((path, node));
    }

    /// Backs up the directory at `root`; returns its node, named as `name`.
    pub fn directory(&mut self, root: &Path, name: &[u8], rules: &ExcludeRules) -> Result<Option<Node>, Stop> {
        let handle = match Directory::open(root) {
            Ok(handle) => Arc::new(handle),
            Err(e) => {
                self.problem(&Problem::reading(root, &e));
                return Ok(None);
            }
        };
        let repository = self.repository.clone();
        let owners = self.owners.clone();
        let seen = self.seen.take();
        let options = WalkOptions { threads: self.threads, ..WalkOptions::default() };
        let (key, compare) = (RowKey(self.row_key.clone()), self.compare);
        let annotate = |listing: &Listing| {
            let row = seen.as_ref().and_then(|s| s.directory(repository.cache(), &key.of(listing)));
            note(&repository, &owners, row.as_ref(), compare, listing)
        };
        let mut result = None;
        let walked = walk(root, rules, &options, annotate, |event| {
            if self.observer.interrupted() {
                return Err(Stop::Interrupted);
            }
            match event {
                Event::Enter(listing, note) => self.enter(&handle, listing, note, name)?,
                Event::Leave => {
                    let directory = self.open.pop().expect("every Leave has its Enter");
                    self.queue.push_back(Action::Leave(directory));
                }
            }
            while self.in_flight > BATCHES_MAX {
                self.advance(&mut result)?;
            }
            // Directories without files to read must not pile up either.
            while self.in_flight == 0 && self.batch.is_empty() && !self.queue.is_empty() {
                self.advance(&mut result)?;
            }
            Ok(())
        });
        walked?;
        self.send_batch(&handle);
        while !self.queue.is_empty() {
            self.advance(&mut result)?;
        }
        self.seen = seen;
        Ok(result)
    }

    fn enter(
        &mut self,
        root: &Arc<Directory>,
        listing: Listing,
        note: DirectoryDiff,
        root_name: &[u8],
    ) -> Result<(), Stop> {
        let serial = self.next_directory;
        self.next_directory += 1;
        let name = match listing.below.file_name() {
            Some(name) => name.as_bytes().to_vec(),
            None => root_name.to_vec(),
        };
        self.figures.directories += 1;
        listing.problems.iter().chain(&note.problems).for_each(|p| self.problem(p));
        let mut pending = Pending {
            parent: self.open.last().copied(),
            name,
            path: listing.path.clone(),
            key: RowKey(self.row_key.clone()).of(&listing),
            meta: note.meta,
            nodes: Vec::with_capacity(listing.entries.len()),
            seen: Vec::with_capacity(listing.entries.len()),
            unchanged: note.had_row,
        };
        let path = Arc::new((listing.path, listing.below));
        let mut to_read = Vec::new();
        let mut len_unchanged = 0;
        for (entry, found) in listing.entries.into_iter().zip(note.entries) {
            match found {
                EntryState::Directory => {}
                EntryState::Unchanged(file) => {
                    len_unchanged = u64::saturating_add(len_unchanged, counted_len(&entry));
                    self.unchanged(&mut pending, file);
                }
                EntryState::SameContent(file) => {
                    pending.unchanged = false;
                    len_unchanged = len_unchanged.saturating_add(counted_len(&entry));
                    self.unchanged(&mut pending, file);
                }
                EntryState::Read { known } => {
                    pending.unchanged = false;
                    to_read.push((entry, self.change(known)));
                }
                EntryState::Other(node) => {
                    pending.unchanged = false;
                    self.figures.others += 1;
                    self.remember(&mut pending, &entry.stat, note.read_ms, node);
                }
                EntryState::Lost => pending.unchanged = false,
            }
        }
        if len_unchanged > 0 {
            self.observer.advance(len_unchanged);
        }
        self.directories.insert(serial, pending);
        self.open.push(serial);
        for (entry, change) in to_read {
            self.hand_out(root, serial, &path, entry, change);
        }
        Ok(())
    }

    fn unchanged(&mut self, pending: &mut Pending, mut file: SeenFile) {
        self.number_device(&mut file.node);
        match &file.node.kind {
            NodeKind::File(f) => {
                self.figures.files += 1;
                self.figures.bytes = self.figures.bytes.saturating_add(f.size);
                self.reused = true;
                self.observer.file(Change::Unchanged, &|| pending.path.join(name_of(&file.node.name)), f.size);
            }
            _ => self.figures.others += 1,
        }
        pending.nodes.push(file.node.clone());
        pending.seen.push(file);
    }

    /// Devices of hard links are numbered as they come: what the system calls them changes with each boot, and with each
    /// snapshot of a subvolume, and would make unchanged directories differ.
    fn number_device(&mut self, node: &mut Node) {
        let Some(link) = &mut node.meta.link else { return };
        let next = self.devices.len() as u64 + 1;
        link.device = *self.devices.entry(link.device).or_insert(next);
    }

    fn remember(&mut self, pending: &mut Pending, stat: &Stat, read_ms: i64, mut node: Node) {
        self.number_device(&mut node);
        // Every change sets this time, whatever the time of modification is set to.
        let changed_ms = stat.ctime.secs.saturating_mul(1000) + i64::from(stat.ctime.nanos / 1_000_000);
        let racy = read_ms.saturating_sub(changed_ms).unsigned_abs() < RACY_MS;
        let torn = matches!(&node.kind, NodeKind::File(f) if f.changed_while_read);
        // That it was there is known in any case.
        let ctime = if racy || torn { NEVER } else { stat.ctime };
        pending.seen.push(SeenFile { inode: stat.inode, device: stat.device, ctime, node: node.clone() });
        pending.nodes.push(node);
    }

    /// What became of a file that is read.
    fn change(&self, known: bool) -> Change {
        match (known, self.is_compared) {
            (true, _) => Change::Modified,
            (false, true) => Change::New,
            (false, false) => Change::Read,
        }
    }

    /// Gives a file to the readers, or puts it into the queue if it is long.
    fn hand_out(
        &mut self,
        root: &Arc<Directory>,
        directory: u64,
        path: &Arc<(PathBuf, PathBuf)>,
        entry: Entry,
        change: Change,
    ) {
        let job = FileJob { directory, path: path.clone(), name: entry.name, change };
        if entry.stat.nlink > 1 {
            let key = (entry.stat.device, entry.stat.inode);
            match self.linked.get(&key) {
                Some(Linked::Read(_)) => {
                    // It was read already, if it is still what was read.
                    self.queue.push_back(Action::Again(job, root.clone(), entry.stat));
                    self.in_flight += 1;
                    return;
                }
                // A long one stands in the queue before this.
                Some(Linked::Reading) if entry.stat.size > BATCHED_LEN_MAX => {
                    self.queue.push_back(Action::Again(job, root.clone(), entry.stat));
                    self.in_flight += 1;
                    return;
                }
                Some(Linked::Reading) => {}
                None if self.linked.len() < LINKED_MAX => drop(self.linked.insert(key, Linked::Reading)),
                None => {}
            }
        }
        if entry.stat.size > BATCHED_LEN_MAX {
            self.send_batch(root);
            self.queue.push_back(Action::Long(job, root.clone()));
            self.in_flight += 1;
            return;
        }
        self.batch.push(job);
        self.batch_len += entry.stat.size;
        if self.batch_len >= BATCH_LEN || self.batch.len() >= BATCH_FILES {
            self.send_batch(root);
        }
    }

    fn send_batch(&mut self, root: &Arc<Directory>) {
        if self.batch.is_empty() {
            return;
        }
        let files = std::mem::take(&mut self.batch);
        self.batch_len = 0;
        // A batch may hold files of several directories, and those that were left meanwhile wait in the queue:
        // the batch goes before the first of them.
        let directories: HashSet<u64> = files.iter().map(|f| f.directory).collect();
        let waits = |a: &Action| matches!(a, Action::Leave(d) if directories.contains(d));
        let at = self.queue.iter().position(waits).unwrap_or(self.queue.len());
        let result = self.readers.read(Batch { root: root.clone(), files });
        self.queue.insert(at, Action::Batch(result));
        self.in_flight += 1;
    }

    /// Carries out the next action of the queue.
    fn advance(&mut self, result: &mut Option<Node>) -> Result<(), Stop> {
        match self.queue.pop_front() {
            Some(Action::Batch(receiver)) => {
                self.in_flight -= 1;
                let gone = || RepositoryError::Worker("a reader of files panicked".to_owned());
                let batch = receiver.recv().map_err(|_| gone())?;
                self.store_batch(batch)
            }
            Some(Action::Long(job, root)) => {
                self.in_flight -= 1;
                self.store_long(job, &root)
            }
            Some(Action::Again(job, root, stat)) => {
                self.in_flight -= 1;
                self.store_again(job, &root, &stat)
            }
            Some(Action::Leave(directory)) => self.leave(directory, result),
            None => Ok(()),
        }
    }

    fn store_batch(&mut self, batch: ReadBatch) -> Result<(), Stop> {
        for file in batch.files {
            if self.observer.interrupted() {
                return Err(Stop::Interrupted);
            }
            file.problems.iter().for_each(|p| self.problem(p));
            match file.outcome {
                Err(problem) => self.problem(&problem),
                Ok(Outcome::Long(job)) => self.store_long(job, &batch.root)?,
                Ok(Outcome::Read(read)) => {
                    let len = stored_len(read.stat.size, read.sparse.as_deref());
                    let bytes = &batch.bytes[read.at..read.at + len];
                    self.sink.add(self.run, read.class, &read.pieces, bytes)?;
                    self.file_done(file.directory, file.name, file.change, *read)?;
                }
            }
        }
        Ok(())
    }

    fn file_done(&mut self, directory: u64, name: Vec<u8>, change: Change, read: FileContent) -> Result<(), Stop> {
        let (content, content_id, len) = self.sink.take(self.run)?;
        let FileContent { stat, read_ms, meta, sparse, changed, .. } = read;
        self.figures.files += 1;
        self.figures.files_read += 1;
        self.figures.bytes = self.figures.bytes.saturating_add(stat.size);
        self.figures.bytes_read = self.figures.bytes_read.saturating_add(len);
        if stat.size <= BATCHED_LEN_MAX {
            // Longer ones tell as they go.
            self.observer.advance(stat.size);
        }
        let node = FileNode { size: stat.size, content, content_id, sparse, changed_while_read: changed };
        let node = Node { name, meta, kind: NodeKind::File(node) };
        if let Some(linked) = self.linked.get_mut(&(stat.device, stat.inode)).filter(|_| !changed) {
            *linked = Linked::Read(Box::new((stat, read_ms, node.clone())));
        }
        let mut pending = self.directories.remove(&directory).expect("a directory is open until its Leave");
        self.observer.file(change, &|| pending.path.join(name_of(&node.name)), stat.size);
        if changed {
            self.figures.changed += 1;
            let path = pending.path.join(name_of(&node.name));
            self.say(Severity::Warning, format!("{}: it changed while it was read", path.display()));
        }
        self.remember(&mut pending, &stat, read_ms, node);
        self.directories.insert(directory, pending);
        Ok(())
    }

    /// Stores a further name of a file that was read, if it still is what was read.
    fn store_again(&mut self, job: FileJob, root: &Directory, stat: &Stat) -> Result<(), Stop> {
        let known = match self.linked.get(&(stat.device, stat.inode)) {
            Some(Linked::Read(read)) if !changed(&read.0, stat) => Some((read.1, read.2.clone())),
            _ => None,
        };
        let Some((read_ms, node)) = known else { return self.store_long(job, root) };
        self.figures.files += 1;
        self.figures.bytes = self.figures.bytes.saturating_add(stat.size);
        self.observer.advance(stat.size);
        let mut pending = self.directories.remove(&job.directory).expect("a directory is open until its Leave");
        self.observer.file(job.change, &|| pending.path.join(name_of(&job.name)), stat.size);
        self.remember(&mut pending, stat, read_ms, Node { name: job.name, ..node });
        self.directories.insert(job.directory, pending);
        Ok(())
    }

    /// Reads and stores a long file, again if it changes meanwhile.
    fn store_long(&mut self, job: FileJob, root: &Directory) -> Result<(), Stop> {
        let path = job.path.0.join(name_of(&job.name));
        self.observer.current(&path.to_string_lossy());
        let directory = match root.open_below(&job.path.1) {
            Ok(directory) => directory,
            Err(e) => {
                self.problem(&Problem::reading(&path, &e));
                return Ok(());
            }
        };
        let mut opened = match open(&directory, &job.name) {
            Ok(opened) => opened,
            Err(e) => {
                self.problem(&Problem::reading(&path, &e));
                return Ok(());
            }
        };
        let mut reads = 0;
        let mut read_ms;
        let torn = loop {
            reads += 1;
            read_ms = self.repository.system.now_ms();
            let observer = self.observer;
            let stream = |cutter: &Cutter, emit: &mut dyn FnMut(Group) -> bool| {
                stream_file(&opened, cutter, &mut |group| {
                    observer.advance(group.bytes.len() as u64);
                    emit(group)
                })
            };
            let mut read = match self.store_stream(stream)? {
                Ok(read) => read,
                Err(e) => {
                    self.sink.take(self.run)?;
                    self.problem(&Problem::reading(&path, &e));
                    return Ok(());
                }
            };
            let (after, sparse) = match look(&opened.file) {
                Ok(found) => found,
                Err(e) => {
                    self.sink.take(self.run)?;
                    self.problem(&Problem::reading(&path, &e));
                    return Ok(());
                }
            };
            // What says that it is empty and is not is as long as it was.
            let is_unsized = opened.stat.size == 0 && after.size == 0 && read > 0;
            let complete = is_unsized || read == stored_len(opened.stat.size, opened.sparse.as_deref()) as u64;
            if complete && !changed(&opened.stat, &after) {
                if is_unsized {
                    opened.stat.size = read;
                }
                break false;
            }
            // Reading once more what is written all the time stores it once more, and finds it changed again.
            if complete && (reads >= READS_MAX || is_in_use(&after)) {
                // Sound as far as it goes: the length and holes that it had when it was read.
                let size = if is_unsized { read } else { opened.stat.size };
                opened.stat = Stat { size, ..after };
                break true;
            }
            if reads > READS_MAX {
                // It shrinks under our hands: keep just what was read.
                opened.sparse = None;
                read = self.sink_len();
                opened.stat = Stat { size: read, ..after };
                break true;
            }
            self.sink.take(self.run)?;
            opened.stat = after;
            opened.sparse = if reads >= READS_MAX { None } else { sparse };
        };
        let (meta, problems) = read_metadata(&directory, &job.name, &opened.stat, &self.owners);
        problems.iter().for_each(|p| self.problem(p));
        let (stat, sparse) = (opened.stat, opened.sparse);
        let class = ChunkClass::Fine;
        let read = FileContent { stat, read_ms, meta, sparse, class, pieces: Vec::new(), at: 0, changed: torn };
        self.file_done(job.directory, job.name, job.change, read)
    }

    fn sink_len(&self) -> u64 {
        self.sink.len
    }

    /// Stores what `produce` reads and cuts on a thread of its own.
    pub fn store_stream<T: Send>(
        &mut self,
        produce: impl FnOnce(&Cutter, &mut dyn FnMut(Group) -> bool) -> std::io::Result<T> + Send,
    ) -> Result<std::io::Result<T>, Stop> {
        let (groups, stored) = bounded::<Group>(3);
        let cutter = self.cutter.clone();
        std::thread::scope(|scope| {
            let producer = scope.spawn(move || produce(&cutter, &mut |group| groups.send(group).is_ok()));
            let mut outcome = Ok(());
            for group in &stored {
                if self.observer.interrupted() {
                    outcome = Err(Stop::Interrupted);
                    break;
                }
                if let Err(e) = self.sink.add(self.run, group.class, &group.pieces, &group.bytes) {
                    outcome = Err(Stop::Repository(e));
                    break;
                }
            }
            // The producer sees the closed channel and stops.
            drop(stored);
            let panicked = || Stop::Repository(RepositoryError::Worker("a reader panicked".to_owned()));
            let produced = producer.join().map_err(|_| panicked())?;
            outcome?;
            // The producer may have ended early for the same reason: what it read is not the whole.
            if self.observer.interrupted() { Err(Stop::Interrupted) } else { Ok(produced) }
        })
    }

    /// What was stored by the last [`TreeBackup::store_stream`].
    pub fn take_content(&mut self) -> Result<(Content, ContentId, u64), RepositoryError> {
        self.sink.take(self.run)
    }

    fn leave(&mut self, directory: u64, result: &mut Option<Node>) -> Result<(), Stop> {
        let pending = self.directories.remove(&directory).expect("a directory is left once");
        let Pending { parent, name, path, key, meta, mut nodes, mut seen, unchanged } = pending;
        if let Some(hanging) = self.hanging.remove(&path) {
            let mut below = AncestorTree::default();
            for (at, node) in hanging {
                below.insert(at.strip_prefix(&path).unwrap_or(&at), node);
            }
            let entries = below.entries(self, &path)?;
            // A mount point without what is mounted there gives way to it.
            nodes.retain(|node| !entries.contains_key(&node.name));
            nodes.extend(entries.into_values());
        }
        nodes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let id = build(self.run, nodes)?;
        if unchanged {
            self.rows.unchanged(&key);
        } else {
            seen.sort_unstable_by(|a, b| a.node.name.cmp(&b.node.name));
            self.rows.changed(&key, &SeenDirectory { files: seen });
        }
        let node = Node { name, meta, kind: NodeKind::Directory(id) };
        match parent {
            Some(parent) => {
                self.directories.get_mut(&parent).expect("a parent is left after its children").nodes.push(node);
            }
            None => *result = Some(node),
        }
        Ok(())
    }

    /// Backs up a source that is a single entry and no directory.
    pub fn single(&mut self, path: &Path) -> Result<Option<Node>, Stop> {
        let (parent, name) = match Directory::open_parent(path) {
            Ok(found) => found,
            Err(e) => {
                self.problem(&Problem::reading(path, &e));
                return Ok(None);
            }
        };
        let stat = match parent.stat(&name) {
            Ok(stat) => stat,
            Err(e) => {
                self.problem(&Problem::reading(path, &e));
                return Ok(None);
            }
        };
        // As the only entry of a directory that is not kept; its row has a name that no directory has.
        let key = RowKey(self.row_key.clone()).of_single(path);
        let row = self.seen.as_ref().and_then(|s| s.directory(self.repository.cache(), &key));
        let is_known = |f: &&SeenFile| compared(f, &stat, self.compare) == Unchanged::All;
        let known = row.as_ref().and_then(|r| r.get(&name)).filter(is_known).cloned();
        let serial = self.next_directory;
        self.next_directory += 1;
        let (folder, below) = (parent.path().to_owned(), PathBuf::new());
        let mut pending = Pending {
            parent: None,
            name: Vec::new(),
            path: folder.clone(),
            key: Vec::new(),
            meta: Metadata::default(),
            nodes: Vec::new(),
            seen: Vec::new(),
            unchanged: known.is_some(),
        };
        if let Some(mut file) = known {
            if let Some(link) = &mut file.node.meta.link {
                link.device = stat.device;
            }
            self.observer.advance(if stat.kind == FileKind::File { stat.size } else { 0 });
            self.unchanged(&mut pending, file);
            self.directories.insert(serial, pending);
        } else if stat.kind == FileKind::File {
            self.directories.insert(serial, pending);
            let change = self.change(row.as_ref().is_some_and(|r| r.get(&name).is_some()));
            self.store_long(FileJob { directory: serial, path: Arc::new((folder, below)), name, change }, &parent)?;
        } else {
            self.figures.others += 1;
            let read_ms = self.repository.system.now_ms();
            match other(&parent, &name, &stat, &self.owners) {
                Ok((node, problems)) => {
                    problems.iter().for_each(|p| self.problem(p));
                    self.remember(&mut pending, &stat, read_ms, node);
                }
                Err(e) => self.problem(&Problem::reading(path, &e)),
            }
            self.directories.insert(serial, pending);
        }
        let Some(pending) = self.directories.remove(&serial) else { return Ok(None) };
        match pending.unchanged {
            true => self.rows.unchanged(&key),
            false => self.rows.changed(&key, &SeenDirectory { files: pending.seen }),
        }
        Ok(pending.nodes.into_iter().next())
    }

    fn problem(&mut self, problem: &Problem) {
        let severity = match problem.what {
            ProblemKind::Vanished => {
                self.figures.vanished += 1;
                Severity::Warning
            }
            ProblemKind::Unreadable | ProblemKind::Attribute => {
                self.figures.unreadable += 1;
                Severity::Error
            }
        };
        self.say(severity, problem.to_string());
    }

    /// Tells the observer, and keeps the first findings for the snapshot.
    pub fn say(&mut self, severity: Severity, text: String) {
        self.observer.finding(severity, &text);
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(text);
        }
    }

    /// The snapshot whose content may be reused unread, if any was.
    pub fn parent(&self) -> Option<crate::primitives::ids::SnapshotId> {
        self.seen.as_ref().filter(|_| self.reused).map(|s| s.snapshot)
    }
}

impl AncestorSource for TreeBackup<'_> {
    fn run(&mut self) -> &mut Run {
        self.run
    }

    fn ancestor(&mut self, path: &Path) -> Metadata {
        let read = || -> std::io::Result<(Metadata, Vec<Problem>)> {
            let followed = path.join("");
            let directory = Directory::open(&followed)?;
            let stat = directory.stat(b".")?;
            Ok(read_metadata(&directory, b".", &stat, &self.owners))
        };
        match read() {
            Ok((meta, problems)) => {
                problems.iter().for_each(|p| self.problem(p));
                meta
            }
            // It may be passed and not read: mode and owner can be had all the same.
            Err(_) => match stat_root(&path.join("")) {
                Ok(stat) => Metadata {
                    mode: stat.mode,
                    owner: self.owners.owner(stat.uid, stat.gid),
                    mtime: stat.mtime,
                    ..Metadata::default()
                },
                Err(_) => Metadata { mode: 0o755, ..Metadata::default() },
            },
        }
    }
}

/// Bytes that an entry counts for in the progress.
fn counted_len(entry: &Entry) -> u64 {
    if entry.stat.kind == FileKind::File { entry.stat.size } else { 0 }
}

/// Counts the bytes of all files below the roots, and tells the observer as it goes, until `over` is raised.
///
/// Problems are left to the backup itself, which meets them too.
pub fn count(roots: &[PathBuf], rules: &ExcludeRules, observer: &dyn Observer, over: &AtomicBool) {
    for root in roots {
        // One that is no directory is not walked.
        if !root.is_dir() {
            continue;
        }
        let Ok(rules) = rules.for_root(root) else { return };
        let options = WalkOptions { threads: 1, ..WalkOptions::default() };
        let _ = walk(
            root,
            &rules,
            &options,
            |_| (),
            |event| {
                if let Event::Enter(listing, ()) = event {
                    let sum = listing.entries.iter().map(counted_len).fold(0, u64::saturating_add);
                    observer.grow(sum);
                }
                if over.load(Ordering::Relaxed) { Err(Stop::Interrupted) } else { Ok(()) }
            },
        );
    }
}

/// Runs on a scanning thread: compares a directory with the file cache and reads what is not file content.
fn note(
    repository: &Repository,
    owners: &OwnerNames,
    row: Option<&SeenDirectory>,
    compare: Compare,
    listing: &Listing,
) -> DirectoryDiff {
    let read_ms = repository.system.now_ms();
    let mut problems = Vec::new();
    let handle = listing.directory();
    let meta = match &handle {
        Ok(handle) => {
            let (meta, found) = read_metadata(handle, b".", &listing.stat, owners);
            problems.extend(found);
            meta
        }
        Err(_) => Metadata { mode: listing.stat.mode, mtime: listing.stat.mtime, ..Metadata::default() },
    };
    let mut matched = 0;
    let entries = listing.entries.iter().map(|entry| {
        if entry.stat.kind == FileKind::Directory {
            return EntryState::Directory;
        }
        let known = row.and_then(|r| r.get(&entry.name));
        let found = known.map_or(Unchanged::No, |f| compared(f, &entry.stat, compare));
        if let (Some(file), Unchanged::Content, Ok(handle)) = (known, found, &handle) {
            let (meta, found) = read_metadata(handle, &entry.name, &entry.stat, owners);
            problems.extend(found);
            let node = Node { meta, ..file.node.clone() };
            let (inode, device, ctime) = (entry.stat.inode, entry.stat.device, entry.stat.ctime);
            return EntryState::SameContent(SeenFile { inode, device, ctime, node });
        }
        if let (Some(file), Unchanged::All) = (known, found) {
            matched += 1;
            let mut file = file.clone();
            if let Some(link) = &mut file.node.meta.link {
                // Device numbers change when a machine boots; links of one file must still agree.
                link.device = entry.stat.device;
            }
            return EntryState::Unchanged(file);
        }
        if entry.stat.kind == FileKind::File {
            return EntryState::Read { known: known.is_some() };
        }
        let path = || listing.path.join(name_of(&entry.name));
        let read = match &handle {
            Ok(handle) => other(handle, &entry.name, &entry.stat, owners),
            Err(e) => Err(std::io::Error::new(e.kind(), e.to_string())),
        };
        match read {
            Ok((node, found)) => {
                problems.extend(found);
                EntryState::Other(node)
            }
            Err(e) => {
                problems.push(Problem::reading(&path(), &e));
                EntryState::Lost
            }
        }
    });
    let entries: Vec<EntryState> = entries.collect();
    let had_row = row.is_some_and(|r| r.files.len() == matched);
    DirectoryDiff { read_ms, meta, problems, entries, had_row }
}

/// Whether a file is as it was seen: kind, size, times and inode.
pub fn compared(file: &SeenFile, stat: &Stat, compare: Compare) -> Unchanged {
    let kind = match &file.node.kind {
        NodeKind::File(f) => stat.kind == FileKind::File && f.size == stat.size,
        NodeKind::Symlink(_) => stat.kind == FileKind::Symlink,
        NodeKind::Fifo => stat.kind == FileKind::Fifo,
        NodeKind::CharDevice(..) => stat.kind == FileKind::CharDevice,
        NodeKind::BlockDevice(..) => stat.kind == FileKind::BlockDevice,
        NodeKind::Socket => stat.kind == FileKind::Socket,
        NodeKind::Directory(_) => false,
    };
    let same_links = (stat.nlink > 1) == file.node.meta.link.is_some();
    let same_inode = file.inode == stat.inode;
    if !kind || file.ctime == NEVER || file.node.meta.mtime != stat.mtime || (compare.inode && !same_inode) {
        return Unchanged::No;
    }
    match file.ctime == stat.ctime && same_links && same_inode {
        true => Unchanged::All,
        false if compare.ctime && (file.ctime != stat.ctime || !same_links) => Unchanged::No,
        false => Unchanged::Content,
    }
}

/// The node of an entry that is neither a directory nor a regular file.
fn other(
    directory: &Directory,
    name: &[u8],
    stat: &Stat,
    owners: &OwnerNames,
) -> std::io::Result<(Node, Vec<Problem>)> {
    let kind = match stat.kind {
        FileKind::Symlink => NodeKind::Symlink(read_link(directory, name)?),
        FileKind::Fifo => NodeKind::Fifo,
        FileKind::CharDevice => NodeKind::CharDevice(stat.rdev_major, stat.rdev_minor),
        FileKind::BlockDevice => NodeKind::BlockDevice(stat.rdev_major, stat.rdev_minor),
        FileKind::Socket => NodeKind::Socket,
        FileKind::File | FileKind::Directory => return Err(rustix::io::Errno::STALE.into()),
    };
    let (meta, problems) = read_metadata(directory, name, stat, owners);
    Ok((Node { name: name.to_vec(), meta, kind }, problems))
}
