//! From blocks to packs in the store: compress, seal, gather, upload.
//!
//! ```text
//! blocks ─▶ compressors (one per core) ─▶ gatherer ─▶ uploaders ─▶ finished packs
//! ```
//!
//! Channels between the stages are short, so that memory stays bounded: the one who fills blocks waits when
//! the store is slow. The gatherer takes compressed blocks in the order in which they were closed. A stage that fails
//! takes its channels with it; the first failure is what the writer sees.

use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use crate::format::directory::ChunkEntry;
use crate::format::names::{self, PackKind};
use crate::format::pack::{CompressedFrame, Pack, PackWriter};
use crate::format::segment::PackSummary;
use crate::parallel::{Task, Workers, cores};
use crate::primitives::ids::{Reference, RunId};
use crate::primitives::system::random;

use crate::repository::Repository;
use crate::repository::create::put;
use crate::repository::error::{RepositoryError, Result};
use crate::repository::keyring::RunSecret;
use crate::repository::state_dir::RunFolder;

/// What is to become a frame.
#[derive(Debug)]
pub enum NewFrame {
    /// A block that is full, or what is left of several.
    Plain {
        /// What of which blocks, in the order of the chunks.
        spans: Vec<Reference>,
        /// The chunks.
        chunks: Vec<ChunkEntry>,
        /// Their bytes.
        plaintext: Vec<u8>,
        /// zstd level; 0 stores it as it is.
        level: i32,
    },
    /// One that was compressed before.
    Ready(CompressedFrame),
}

impl NewFrame {
    fn compressed(self) -> CompressedFrame {
        match self {
            Self::Plain { spans, chunks, plaintext, level } => CompressedFrame::new(spans, chunks, &plaintext, level),
            Self::Ready(frame) => frame,
        }
    }
}

/// What the stages share.
struct Shared {
    repository: Arc<Repository>,
    run: RunId,
    secret: RunSecret,
    folder: Arc<RunFolder>,
    finished: Mutex<Vec<PackSummary>>,
    failure: Mutex<Option<RepositoryError>>,
}

impl Shared {
    fn fail(&self, error: RepositoryError) {
        self.failure.lock().get_or_insert(error);
    }
}

/// The stages, running.
pub struct Packer {
    shared: Arc<Shared>,
    compressors: Workers,
    frames: Option<Sender<(PackKind, Task<CompressedFrame>)>>,
    threads: Vec<JoinHandle<()>>,
}

/// How many threads compress, and how many upload.
#[derive(Debug, Clone, Copy)]
pub struct PackerThreads {
    /// Compressors.
    pub compress: usize,
    /// Uploaders.
    pub upload: usize,
}

impl Default for PackerThreads {
    fn default() -> Self {
        Self { compress: cores(), upload: 2 }
    }
}

impl Packer {
    /// Starts the stages for a run.
    pub fn start(
        repository: &Arc<Repository>,
        run: RunId,
        secret: RunSecret,
        folder: Arc<RunFolder>,
        threads: PackerThreads,
    ) -> Self {
        let repository = repository.clone();
        let shared =
            Arc::new(Shared { repository, run, secret, folder, finished: Mutex::default(), failure: Mutex::default() });
        let compressors = Workers::new(threads.compress);
        let (frames, to_gather) = bounded(2 * threads.compress + 2);
        let (packs, to_upload) = bounded(1);
        let mut handles = Vec::new();
        let gathering = shared.clone();
        handles.push(std::thread::spawn(move || gather(&gathering, &to_gather, &packs)));
        for _ in 0..threads.upload {
            let (from, shared) = (to_upload.clone(), shared.clone());
            handles.push(std::thread::spawn(move || upload_all(&shared, &from)));
        }
        Self { shared, compressors, frames: Some(frames), threads: handles }
    }

    /// Hands a frame over. Waits if the stages are busy.
    pub fn add(&mut self, kind: PackKind, frame: NewFrame) -> Result<()> {
        let Some(sender) = &self.frames else {
            // The cause was told when it happened.
            return Err(RepositoryError::Worker("packs could not be stored".to_owned()));
        };
        let compressed = self.compressors.start(move || frame.compressed());
        if sender.send((kind, compressed)).is_err() {
            return Err(self.failure());
        }
        Ok(())
    }

    /// Packs that are durable in the store and were not taken yet.
    pub fn take_finished(&self) -> Vec<PackSummary> {
        std::mem::take(&mut *self.shared.finished.lock())
    }

    /// How many finished packs wait to be taken.
    pub fn finished_count(&self) -> usize {
        self.shared.finished.lock().len()
    }

    /// Ends the stages: all that was added is durable when this returns.
    pub fn finish(mut self) -> Result<Vec<PackSummary>> {
        self.stop();
        let failure = self.shared.failure.lock().take();
        match failure {
            Some(error) => Err(error),
            None => Ok(self.take_finished()),
        }
    }

    fn failure(&mut self) -> RepositoryError {
        self.stop();
        let failure = self.shared.failure.lock().take();
        failure.unwrap_or_else(|| RepositoryError::Worker("the pipeline of packs ended early".to_owned()))
    }

    fn stop(&mut self) {
        self.frames = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.shared.fail(RepositoryError::Worker("a thread of the pack pipeline panicked".to_owned()));
            }
        }
    }
}

impl Drop for Packer {
    /// Waits for the stages: no thread outlives the run.
    fn drop(&mut self) {
        self.stop();
    }
}

fn gather(shared: &Shared, from: &Receiver<(PackKind, Task<CompressedFrame>)>, to: &Sender<(PackKind, Pack)>) {
    let mut open: [Option<PackWriter>; 2] = [None, None];
    for (kind, frame) in from {
        let Ok(frame) = frame.wait() else {
            return shared.fail(RepositoryError::Worker("a compressor panicked".to_owned()));
        };
        let slot = &mut open[kind as usize];
        let full = shared.repository.config.parameters.pack_len as usize;
        if slot.as_ref().is_some_and(|pack| pack.len() + frame.bytes.len() > full) {
            let pack = slot.take().expect("checked just now");
            if to.send((kind, pack.finish())).is_err() {
                return;
            }
        }
        let salt = || random(&*shared.repository.system);
        slot.get_or_insert_with(|| PackWriter::new(kind, &shared.secret.sealing(), salt())).add(frame);
    }
    for (kind, pack) in [PackKind::Data, PackKind::Meta].into_iter().zip(open) {
        if let Some(pack) = pack.filter(|p| !p.is_empty())
            && to.send((kind, pack.finish())).is_err()
        {
            return;
        }
    }
}

fn upload_all(shared: &Shared, from: &Receiver<(PackKind, Pack)>) {
    for (kind, pack) in from {
        if let Err(error) = upload(shared, kind, pack) {
            shared.fail(error);
            return;
        }
    }
}

fn upload(shared: &Shared, kind: PackKind, pack: Pack) -> Result<()> {
    let Pack { name, bytes, place, directory } = pack;
    let len = bytes.len() as u64;
    put(&*shared.repository.store, &names::pack(kind, shared.run, &name), &Bytes::from(bytes))?;
    let summary = PackSummary { name, kind, run: shared.run, len, place, directory };
    // Only now: what is kept here is published by a later run without asking whether it is there.
    shared.folder.keep(&summary)?;
    shared.finished.lock().push(summary);
    Ok(())
}
