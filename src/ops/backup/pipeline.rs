//! Reading ahead: files in batches on several threads, while what was read before is stored in the order of the walk.
//!
//! ```text
//! walk ─▶ batches ─▶ readers (one per core) ─▶ steps, in the order of the walk ─▶ what is stored
//! ```

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use crate::parallel::{Task, Workers, cores};
use crate::primitives::progress::Change;
use crate::primitives::system::System;
use crate::repository::RepositoryError;
use crate::source::{Directory, OwnerNames, Stat};

use super::Stop;
use super::cut::Cutter;
use super::file::{BATCH_LEN, BATCHED_LEN_MAX, Batch, FileJob, ReadBatch, read_batch};
use super::links::{HardLinks, Turn};

/// Batches and long files that may be read or wait to be stored at once: bounds memory.
const STEPS_MAX: usize = 10;
/// A batch is read when it holds so many files, or [`BATCH_LEN`] bytes.
const BATCH_FILES: usize = 512;

/// What comes next, in the order of the walk.
pub(super) enum Step {
    /// Files that were read.
    Batch(ReadBatch),
    /// A file to be read as it is stored.
    Long(FileJob, Arc<Directory>),
    /// A further name of a file that was read before it.
    Again(FileJob, Arc<Directory>, Stat),
    /// A directory of which everything was stored.
    Leave(u64),
}

enum Waiting {
    Batch(Task<ReadBatch>),
    Step(Step),
}

/// Files that are being read, and what waits for them.
pub(super) struct ReadPipeline {
    workers: Workers,
    cutter: Cutter,
    owners: Arc<OwnerNames>,
    system: Arc<dyn System>,
    /// Files with several names.
    pub links: HardLinks,
    queue: VecDeque<Waiting>,
    /// How many of the queue hold, or will hold, what was read.
    in_flight: usize,
    batch: Vec<FileJob>,
    batch_len: u64,
}

impl ReadPipeline {
    /// One that reads nothing yet.
    pub(super) fn new(cutter: Cutter, owners: Arc<OwnerNames>, system: Arc<dyn System>) -> Self {
        Self {
            workers: Workers::new(cores()),
            cutter,
            owners,
            system,
            links: HardLinks::default(),
            queue: VecDeque::new(),
            in_flight: 0,
            batch: Vec::new(),
            batch_len: 0,
        }
    }

    /// Has a file read: in a batch, or by itself if it is long. Steps are to be taken before while it is
    /// [full](Self::is_full).
    pub(super) fn add(&mut self, root: &Arc<Directory>, job: FileJob, stat: &Stat) {
        assert!(!self.is_full(), "steps are taken while the pipeline is full");
        let is_long = stat.size > BATCHED_LEN_MAX;
        if self.links.meet(stat, is_long) == Turn::Again {
            self.push(Waiting::Step(Step::Again(job, root.clone(), *stat)));
        } else if is_long {
            self.flush(root);
            self.push(Waiting::Step(Step::Long(job, root.clone())));
        } else {
            self.batch.push(job);
            self.batch_len += stat.size;
            if self.batch_len >= BATCH_LEN || self.batch.len() >= BATCH_FILES {
                self.flush(root);
            }
        }
    }

    fn push(&mut self, step: Waiting) {
        self.queue.push_back(step);
        self.in_flight += 1;
    }

    /// Nothing more comes of a directory.
    pub(super) fn leave(&mut self, directory: u64) {
        self.queue.push_back(Waiting::Step(Step::Leave(directory)));
    }

    /// Has the files read that are gathered.
    pub(super) fn flush(&mut self, root: &Arc<Directory>) {
        if self.batch.is_empty() {
            return;
        }
        let files = std::mem::take(&mut self.batch);
        self.batch_len = 0;
        // A batch may hold files of several directories, and those that were left meanwhile wait in the queue:
        // the batch goes before the first of them.
        let directories: HashSet<u64> = files.iter().map(|f| f.directory).collect();
        let waits = |w: &Waiting| matches!(w, Waiting::Step(Step::Leave(d)) if directories.contains(d));
        let at = self.queue.iter().position(waits).unwrap_or(self.queue.len());
        let batch = Batch { root: root.clone(), files };
        let (cutter, owners, system) = (self.cutter.clone(), self.owners.clone(), self.system.clone());
        let task = self.workers.start(move || read_batch(batch, &cutter, &owners, &*system));
        self.queue.insert(at, Waiting::Batch(task));
        self.in_flight += 1;
    }

    /// Whether something is to be stored before more is read.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight > STEPS_MAX
    }

    /// Whether what waits, waits for nothing: directories without files to read.
    pub(super) fn is_ready(&self) -> bool {
        self.in_flight == 0 && self.batch.is_empty() && !self.queue.is_empty()
    }

    /// The next step, once it can be taken; `None` if none is left.
    pub(super) fn next(&mut self) -> Result<Option<Step>, Stop> {
        let Some(waiting) = self.queue.pop_front() else { return Ok(None) };
        if !matches!(waiting, Waiting::Step(Step::Leave(_))) {
            self.in_flight -= 1;
        }
        match waiting {
            Waiting::Step(step) => Ok(Some(step)),
            Waiting::Batch(task) => {
                let panicked = |_| RepositoryError::Worker("a reader of files panicked".to_owned());
                Ok(Some(Step::Batch(task.wait().map_err(panicked)?)))
            }
        }
    }
}

/// A file of a directory that is to be read.
pub(super) fn job(directory: u64, path: &Arc<(PathBuf, PathBuf)>, name: Vec<u8>, change: Change) -> FileJob {
    FileJob { directory, path: path.clone(), name, change }
}
