//! A run: one execution that adds to the repository, from Begin to End.
//!
//! The new packs must be durable before any segment or record names them, and the directories before the
//! snapshot that needs them. A crash between the steps leaves only packs that nothing names; the next run of
//! this machine publishes them under the old run, or a prune sweeps them once that run is over.

use std::sync::Arc;

use bytes::Bytes;

use crate::compression::CompressionLevel;
use crate::crypto::keys::Epoch;
use crate::format::description::{self, RunDescription};
use crate::format::directory::ChunkEntry;
use crate::format::names::{self, PackKind};
use crate::format::record::{
    InlineDirectories, Operation, Outcome, PackEntry, RunKind, SegmentEntry, SignedRecord, SnapshotEntry,
};
use crate::format::segment::{self, PackSummary, SegmentContent};
use crate::format::state::State;
use crate::primitives::ids::{BlockId, ChunkId, ObjectHash, Reference, RunId, SnapshotId};
use crate::primitives::progress::{Observer, Severity};
use crate::primitives::system::random;
use crate::process_group;

use super::packer::{NewFrame, Packer, PackerThreads};
use crate::repository::Repository;
use crate::repository::create::put;
use crate::repository::dedup::{ChunkIndex, Found};
use crate::repository::error::{RepositoryError, Result};
use crate::repository::keyring::RunSecret;
use crate::repository::state_dir::RunFolder;

/// Directories up to this many bytes travel inside the record.
pub(super) const INLINE_LEN_MAX: usize = 32 << 10;
/// After so many packs a long run publishes what it has: a crash costs no more, and memory stays bounded.
const PACKS_UNPUBLISHED_MAX: usize = 64;

/// How content is cut decides which block it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkClass {
    /// What can be compressed.
    Fine,
    /// What is already compressed: stored as it is.
    Coarse,
}

/// A block being filled.
#[derive(Debug, Default)]
struct OpenBlock {
    number: u32,
    chunks: Vec<ChunkEntry>,
    plaintext: Vec<u8>,
}

/// An open run.
pub struct Run {
    repository: Arc<Repository>,
    id: RunId,
    secret: RunSecret,
    folder: Option<Arc<RunFolder>>,
    packer: Option<Packer>,
    threads: PackerThreads,
    index: ChunkIndex,
    /// Fine, coarse and meta.
    open: [OpenBlock; 3],
    next_block: u32,
    /// Meta nodes of this run.
    own_nodes: std::collections::HashSet<ChunkId>,
    unpublished: Vec<PackSummary>,
    /// Bytes of chunks that were new.
    pub bytes_new: u64,
    /// Bytes of objects this run has made, records not counted.
    pub bytes_stored: u64,
    level: i32,
}

const META: usize = 2;

/// What finishing a snapshot publishes.
pub struct Publication<'a> {
    /// The snapshots.
    pub snapshots: Vec<SnapshotEntry>,
    /// Ends the run in the same record.
    pub end: Option<(Outcome, &'a RunDescription)>,
}

impl Repository {
    /// Begins a run: appends its record and locks its folder.
    pub fn begin_run(
        self: &Arc<Self>,
        kind: RunKind,
        host: &str,
        described: &RunDescription,
        threads: PackerThreads,
    ) -> Result<Run> {
        let (id, secret, folder) = self.begin(kind, host, described)?;
        self.sync_content(false)?;
        Ok(Run {
            index: ChunkIndex::new(self, id)?,
            repository: self.clone(),
            id,
            secret,
            folder: Some(folder),
            packer: None,
            threads,
            open: Default::default(),
            next_block: 0,
            own_nodes: Default::default(),
            unpublished: Vec::new(),
            bytes_new: 0,
            bytes_stored: 0,
            level: CompressionLevel::default().zstd(),
        })
    }

    /// Appends the record that begins a run, and makes the run's folder.
    pub(super) fn begin(
        &self,
        kind: RunKind,
        host: &str,
        described: &RunDescription,
    ) -> Result<(RunId, RunSecret, Arc<RunFolder>)> {
        let secret = self.run_secret()?;
        let description = description::seal(described, &secret.sealing(), random(&*self.system));
        let host = self.keys.domain_keys.host(host);
        let begin = Operation::Begin { kind, host, description };
        // The folder is there before the record is written: if the answer is lost, the next run finds whose it is.
        let mut folder: Option<RunFolder> = None;
        let id = RunId(self.append(&mut |state| {
            if let Some(of_another) = folder.take() {
                of_another.remove()?;
            }
            let made = self.local.begin_run(RunId(state.number + 1))?;
            made.keep_begin(description_of(&begin))?;
            folder = Some(made);
            Ok(std::iter::once(begin.clone()).chain(self.testimony(state)).collect())
        })?);
        let folder = folder.expect("made for the record that was appended");
        Ok((id, secret, Arc::new(folder)))
    }

    /// Publishes what interrupted runs of this machine had uploaded, and ends them as crashed.
    ///
    /// Returns how many packs were found again, and their bytes.
    pub fn resume_runs(&self, observer: &dyn Observer) -> Result<(usize, u64)> {
        let (mut packs_found, mut bytes_found) = (0, 0);
        for (run, folder) in self.local.abandoned_runs()? {
            if folder.children().iter().filter(|child| process_group::end_recorded(child)).count() > 0 {
                let text = format!(
                    "a command that the interrupted run {} had started was still running, and was ended",
                    run.0
                );
                observer.finding(Severity::Note, &text);
            }
            let state = self.refresh()?;
            if run.0 > state.number {
                // Its Begin may still arrive: whose the run is will be known when the record is there.
                continue;
            }
            if state.runs.get(&run).is_some_and(|r| r.over.is_none() && r.writer != self.keys.id()) {
                // Another credential's of this machine, or another machine's that took the number: theirs to end.
                continue;
            }
            let known = state.runs.get(&run).filter(|r| r.over.is_none() && r.writer == self.keys.id());
            let begun = known.is_some() && folder.begun(&self.description_of_run(run)?)?;
            if let Some(known) = known
                && begun
            {
                let packs = match known.kind {
                    RunKind::Backup | RunKind::Copy => self.still_there(run, folder.kept()?, &state)?,
                    // Nothing refers to what a rewrite had made: it would lie there twice.
                    RunKind::Prune | RunKind::Repair => Vec::new(),
                };
                let (count, bytes) = (packs.len(), packs.iter().map(|p| p.len).sum::<u64>());
                self.publish_crashed(run, &packs)?;
                packs_found += count;
                bytes_found += bytes;
                let text = match known.kind {
                    RunKind::Backup | RunKind::Copy => {
                        format!("run {} was interrupted: {count} finished packs of it were found again", run.0)
                    }
                    kind => format!("run {} ({kind:?}) was interrupted; what it had done counts", run.0).to_lowercase(),
                };
                observer.finding(Severity::Note, &text);
            }
            // Another process may have got this number and be at work under it.
            if known.is_none() || begun {
                self.cache.remove_places(&self.unpublished_of(run)?)?;
            }
            folder.remove()?;
        }
        Ok((packs_found, bytes_found))
    }

    /// What the Begin of this number says of its run, sealed: no two are the same.
    fn description_of_run(&self, run: RunId) -> Result<Vec<u8>> {
        let name = names::record(run.0);
        let bytes = self.get(&name)?;
        let signed = SignedRecord::decode(&bytes, |e| self.keys.secret(e)).map_err(RepositoryError::object(&name))?;
        let begin = signed.record.operations.iter().find(|o| matches!(o, Operation::Begin { .. }));
        Ok(begin.map(|b| description_of(b).to_vec()).unwrap_or_default())
    }

    /// Of the packs that were kept, those that are in the store with the right length and not published yet.
    fn still_there(&self, run: RunId, packs: Vec<PackSummary>, state: &State) -> Result<Vec<PackSummary>> {
        let mut there = std::collections::HashMap::new();
        for kind in [PackKind::Data, PackKind::Meta] {
            self.store.list(&format!("{}/{run}", kind.folder()), None, &mut |listed| {
                there.insert(listed.name, listed.size);
                std::ops::ControlFlow::Continue(())
            })?;
        }
        let found = |p: &PackSummary| there.get(&names::pack(p.kind, run, &p.name)) == Some(&p.len);
        Ok(packs.into_iter().filter(|p| found(p) && !state.packs.contains_key(&p.name)).collect())
    }

    fn publish_crashed(&self, run: RunId, packs: &[PackSummary]) -> Result<()> {
        let secret = self.run_secret()?;
        let described = RunDescription { program: program(), ..RunDescription::default() };
        let description = description::seal(&described, &secret.sealing(), random(&*self.system));
        let (publish, _) = self.publish_operation(run, packs, Vec::new())?;
        let end = Operation::End { run, outcome: Outcome::Crashed, description };
        let operations = if packs.is_empty() { vec![end] } else { vec![publish, end] };
        self.append(&mut |_| Ok(operations.clone()))?;
        Ok(())
    }

    /// A fresh secret, for a run or for a description that belongs to none.
    pub fn run_secret(&self) -> Result<RunSecret> {
        let epoch = Epoch(self.state().epoch);
        self.keys.begin_run(epoch, &*self.system).map_err(RepositoryError::object("the secret of a new run"))
    }

    fn unpublished_of(&self, run: RunId) -> Result<Vec<ObjectHash>> {
        let mut names = Vec::new();
        for name in self.cache.unpublished()? {
            if self.cache.pack_by_name(&name)?.is_some_and(|p| p.run == run) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Adds packs to the cache that no record names yet.
    pub(super) fn add_summaries(&self, packs: &[PackSummary]) -> Result<()> {
        let locations = packs.iter().map(PackSummary::location).collect();
        let of_kind = |kind| {
            let all = packs.iter().enumerate().filter(move |(_, p)| p.kind == kind);
            all.map(|(i, p)| (i as u32, p.directory.clone())).collect()
        };
        let (meta, content) = (of_kind(PackKind::Meta), Some(of_kind(PackKind::Data)));
        Ok(self.cache.add_places(&SegmentContent { locations, meta, content }, None)?)
    }

    /// The Publish of `packs` and `snapshots`; a segment is written if the directories are too large for the
    /// record. Also says how many bytes the segment has.
    fn publish_operation(
        &self,
        run: RunId,
        packs: &[PackSummary],
        snapshots: Vec<SnapshotEntry>,
    ) -> Result<(Operation, u64)> {
        let entries = packs.iter().map(|p| PackEntry { name: p.name, kind: p.kind, len: p.len, run: p.run }).collect();
        let names: Vec<ObjectHash> = packs.iter().map(|p| p.name).collect();
        let bytes = segment::encode_inline(packs);
        let (mut inline, mut segments, mut stored) = (None, Vec::new(), 0);
        if packs.is_empty() {
        } else if bytes.len() <= INLINE_LEN_MAX {
            inline = Some(InlineDirectories { packs: names, bytes: bytes.into() });
        } else {
            let segment = {
                let sealing = self.keys.index_sealing(Epoch(self.state().epoch));
                let sealing = sealing.map_err(RepositoryError::object("the next segment"))?;
                segment::seal(packs, &sealing.sealing(), random(&*self.system))
            };
            stored = segment.bytes.len() as u64;
            put(&*self.store, &names::segment(run, &segment.name), &Bytes::from(segment.bytes))?;
            segments.push(SegmentEntry { name: segment.name, run, parts: segment.parts, packs: names });
        }
        Ok((Operation::Publish { run, packs: entries, segments, inline, snapshots }, stored))
    }
}

impl Run {
    /// Compresses what is stored from now on at this level.
    pub fn compress_at(&mut self, level: CompressionLevel) {
        self.level = level.zstd();
    }

    /// The run's id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// The repository.
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// For sealing descriptions.
    pub fn secret(&self) -> &RunSecret {
        &self.secret
    }

    /// Stores a chunk unless it is there already; says where it is.
    pub fn chunk(&mut self, class: ChunkClass, id: ChunkId, bytes: &[u8]) -> Result<(BlockId, u32)> {
        if let Some(found) = self.index.find(&self.repository, &id)? {
            return Ok(found);
        }
        let full = self.repository.config.parameters.block_len as usize;
        let (number, place) = self.append_chunk(class as usize, full, id, bytes)?;
        self.index.claim(id, number, place);
        self.bytes_new += bytes.len() as u64;
        Ok((BlockId { run: self.id, number }, place))
    }

    /// Stores a tree or list node unless it is there already; says its id.
    pub fn node(&mut self, bytes: &[u8]) -> Result<ChunkId> {
        let id = self.repository.keys.domain_keys.chunk(bytes);
        if self.own_nodes.contains(&id) || self.index.found().nodes.contains(&id) {
            return Ok(id);
        }
        if self.repository.node_is_usable(&id, false)? {
            self.index.found().nodes.insert(id);
            return Ok(id);
        }
        let full = self.repository.config.parameters.meta_block_len as usize;
        self.append_chunk(META, full, id, bytes)?;
        self.own_nodes.insert(id);
        self.bytes_new += bytes.len() as u64;
        Ok(id)
    }

    fn append_chunk(&mut self, class: usize, full: usize, id: ChunkId, bytes: &[u8]) -> Result<(u32, u32)> {
        let block = &self.open[class];
        if !block.plaintext.is_empty() && block.plaintext.len() + bytes.len() > full {
            self.close_block(class)?;
        }
        if self.open[class].chunks.is_empty() {
            self.open[class].number = self.next_block;
            self.open[class].plaintext.reserve_exact(full.max(bytes.len()));
            self.next_block += 1;
        }
        let block = &mut self.open[class];
        let place = block.chunks.len() as u32;
        block.plaintext.extend_from_slice(bytes);
        block.chunks.push(ChunkEntry { id, len: bytes.len() as u32 });
        Ok((block.number, place))
    }

    fn close_block(&mut self, class: usize) -> Result<()> {
        let OpenBlock { number, chunks, plaintext } = std::mem::take(&mut self.open[class]);
        if chunks.is_empty() {
            return Ok(());
        }
        let block = BlockId { run: self.id, number };
        let span = Reference { block, first: 0, count: chunks.len() as u32 };
        let kind = if class == META { PackKind::Meta } else { PackKind::Data };
        let level = if class == ChunkClass::Coarse as usize { 0 } else { self.level };
        if self.packer.is_none() {
            let folder = self.folder.clone().expect("the folder is there until the run ends");
            self.packer = Some(Packer::start(&self.repository, self.id, self.secret.clone(), folder, self.threads));
        }
        let packer = self.packer.as_mut().expect("started just now");
        packer.add(kind, NewFrame::Plain { spans: vec![span], chunks, plaintext, level })?;
        if packer.finished_count() >= PACKS_UNPUBLISHED_MAX {
            let packs = packer.take_finished();
            self.publish_packs(packs)?;
        }
        Ok(())
    }

    /// Publishes packs in the middle of a run and moves their chunks from memory to the cache.
    fn publish_packs(&mut self, packs: Vec<PackSummary>) -> Result<()> {
        self.bytes_stored += packs.iter().map(|p| p.len).sum::<u64>();
        let (operation, segment) = self.repository.publish_operation(self.id, &packs, Vec::new())?;
        self.bytes_stored += segment;
        self.repository.add_summaries(&packs)?;
        self.repository.append(&mut |_| Ok(vec![operation.clone()]))?;
        self.keep_published(&packs)?;
        let ids = packs.iter().flat_map(|p| p.directory.frames.iter()).flat_map(|f| f.chunks.iter().map(|c| c.id));
        self.index.release(&self.repository, ids)
    }

    fn keep_published(&self, packs: &[PackSummary]) -> Result<()> {
        let folder = self.folder.as_ref().expect("the folder is there until the run ends");
        folder.published(&packs.iter().map(|p| p.name).collect::<Vec<_>>())
    }

    /// Makes everything added so far durable; it is published with the next [`Run::publish`].
    pub fn flush(&mut self) -> Result<()> {
        for class in 0..self.open.len() {
            self.close_block(class)?;
        }
        if let Some(packer) = self.packer.take() {
            self.unpublished.extend(packer.finish()?);
        }
        Ok(())
    }

    /// What this process keeps of the run, until it is over.
    pub fn folder(&self) -> Option<Arc<RunFolder>> {
        self.folder.clone()
    }

    /// Bytes that were published so far, packs and segments.
    pub fn bytes_published(&self) -> u64 {
        self.bytes_stored
    }

    /// Bytes of packs that are durable and not published, as they will count.
    pub fn bytes_flushed(&self) -> u64 {
        self.bytes_stored + self.unpublished.iter().map(|p| p.len).sum::<u64>()
    }

    /// Publishes snapshots, and all packs that are durable; ends the run if `end` says so.
    ///
    /// Everything the snapshots refer to is checked again at the record's place in the log: parents are live
    /// (the transitions see to that), and every block and node of others that was hit still has a live place.
    /// Returns [`RepositoryError::Conflict`] if something of that is gone.
    pub fn publish(&mut self, publication: Publication) -> Result<u64> {
        self.flush()?;
        let packs = std::mem::take(&mut self.unpublished);
        let (publish, segment) = self.repository.publish_operation(self.id, &packs, publication.snapshots)?;
        self.bytes_stored += packs.iter().map(|p| p.len).sum::<u64>() + segment;
        self.repository.add_summaries(&packs)?;
        let end = publication.end.map(|(outcome, described)| {
            let salt = random(&*self.repository.system);
            let description = description::seal(described, &self.secret.sealing(), salt);
            Operation::End { run: self.id, outcome, description }
        });
        let repository = self.repository.clone();
        let began = self.id.0;
        let appended = repository.append(&mut |state| {
            let alone = state.number == began;
            if !alone {
                check_found(&repository, self.index.found())?;
            }
            Ok(std::iter::once(publish.clone()).chain(end.clone()).collect())
        });
        let number = match appended {
            Ok(number) => number,
            Err(e) => {
                // Nothing was published: the packs wait for the next try.
                self.unpublished = packs;
                return Err(e);
            }
        };
        self.keep_published(&packs)?;
        self.forget_hits();
        if end.is_some() {
            self.remove_folder()?;
        }
        Ok(number)
    }

    /// Ends the run without publishing a snapshot. What is uploaded is published, so that the next run finds it.
    pub fn end(mut self, outcome: Outcome, described: &RunDescription) -> Result<()> {
        self.flush()?;
        if !self.unpublished.is_empty() {
            self.publish(Publication { snapshots: Vec::new(), end: Some((outcome, described)) })?;
            return Ok(());
        }
        let description = description::seal(described, &self.secret.sealing(), random(&*self.repository.system));
        let end = Operation::End { run: self.id, outcome, description };
        self.repository.append(&mut |_| Ok(vec![end.clone()]))?;
        self.remove_folder()
    }

    fn remove_folder(&mut self) -> Result<()> {
        match self.folder.take().map(Arc::try_unwrap) {
            Some(Ok(folder)) => folder.remove(),
            // A stage of the packer still holds it; the next run finds the run over and removes it.
            _ => Ok(()),
        }
    }

    /// Forgets which chunks and nodes of others this run refers to: what refers to them is published, or will be
    /// read again.
    pub fn forget_hits(&mut self) {
        self.index.forget_hits(&self.repository);
    }

    /// Puts what a content found so far in the place of what the one before it had found, and the other way round. To be
    /// called before and after each step of a content that is stored at the same time as others.
    pub fn exchange_found(&mut self, found: &mut Found) {
        std::mem::swap(self.index.found(), found);
    }

    /// A fresh id for a snapshot.
    pub fn snapshot_id(&self) -> SnapshotId {
        SnapshotId(random(&*self.repository.system))
    }
}

fn description_of(operation: &Operation) -> &[u8] {
    match operation {
        Operation::Begin { description, .. } => description,
        _ => &[],
    }
}

fn check_found(repository: &Repository, found: &Found) -> Result<()> {
    repository.check_covered(found.hits().references())?;
    for id in &found.nodes {
        if !repository.node_is_usable(id, true)? {
            let what = format!("tree node {id} was removed by another machine meanwhile");
            return Err(RepositoryError::Conflict { what });
        }
    }
    Ok(())
}

/// What a run says of itself when it begins.
pub fn run_description(host: &str, command: &str) -> RunDescription {
    let (host, command) = (host.to_owned(), command.to_owned());
    RunDescription { host, command, program: program(), ..RunDescription::default() }
}

/// Name and version of this program, as runs and snapshots keep it.
pub fn program() -> String {
    concat!("strongroom ", env!("CARGO_PKG_VERSION")).to_owned()
}
