//! A run of the owner's that puts what is there into new packs, and condemns the old ones: for prune and repair.
//!
//! Frames keep the ids and numbers of their blocks, so nothing that points to them changes. A record brings new packs
//! and condemns those that they replace, both or neither; a crash before it leaves packs that nothing names.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::crypto::keys::Epoch;
use crate::format::description::{self, RunDescription};
use crate::format::directory::{ChunkEntry, PackDirectory};
use crate::format::names::{self, PackKind};
use crate::format::pack::CompressedFrame;
use crate::format::record::{InlineDirectories, Operation, Outcome, PackEntry, RunKind, SegmentEntry};
use crate::format::segment::{self, PackSummary, SegmentContent};
use crate::format::state::{DirectoryHome, State};
use crate::primitives::ids::{BlockId, ObjectHash, Reference, RunId};
use crate::primitives::system::random;

use super::packer::{NewFrame, Packer, PackerThreads};
use super::run::INLINE_LEN_MAX;
use crate::repository::Repository;
use crate::repository::create::put;
use crate::repository::error::{RepositoryError, Result};
use crate::repository::keyring::RunSecret;
use crate::repository::state_dir::RunFolder;

/// Compression of what is compressed anew.
const LEVEL: i32 = 3;
/// A segment is dissolved when fewer than this part of its packs have their directories there.
const SEGMENT_USED_MIN: f64 = 0.5;
/// Directories of so many packs make a segment, at the most.
const SEGMENT_PACKS_MAX: usize = 512;

/// What a record condemns.
#[derive(Debug, Clone, Default)]
pub struct Replaced {
    /// Packs whose surviving chunks are elsewhere.
    pub packs: Vec<ObjectHash>,
}

/// Chunks from several blocks that will share a frame.
#[derive(Debug, Default)]
struct Remnants {
    spans: Vec<Reference>,
    chunks: Vec<ChunkEntry>,
    plaintext: Vec<u8>,
}

impl Remnants {
    fn push(&mut self, block: BlockId, number: u32, id: ChunkEntry, bytes: &[u8]) {
        match self.spans.last_mut() {
            Some(last) if last.block == block && last.end() == number => last.count += 1,
            _ => self.spans.push(Reference { block, first: number, count: 1 }),
        }
        self.chunks.push(id);
        self.plaintext.extend_from_slice(bytes);
    }
}

/// An open run that rewrites.
pub struct Rewriting {
    repository: Arc<Repository>,
    id: RunId,
    secret: RunSecret,
    folder: Option<Arc<RunFolder>>,
    packer: Option<Packer>,
    /// Content and nodes.
    remnants: [Remnants; 2],
    threads: PackerThreads,
    new: Vec<PackSummary>,
    /// Directories that were read from packs, because their segments are no more.
    recovered: Vec<PackSummary>,
    /// Bytes of objects it has made, records not counted.
    pub bytes_stored: u64,
}

/// A run that rewrites, and that begins when it is first needed: to have found nothing to do leaves no trace in the log.
pub struct PerhapsRewriting<'a> {
    repository: &'a Arc<Repository>,
    kind: RunKind,
    described: &'a RunDescription,
    run: Option<Rewriting>,
}

impl<'a> PerhapsRewriting<'a> {
    /// One that has not begun; the description names its host.
    pub fn new(repository: &'a Arc<Repository>, kind: RunKind, described: &'a RunDescription) -> Self {
        Self { repository, kind, described, run: None }
    }

    /// The run, begun if it had not.
    pub fn get(&mut self) -> Result<&mut Rewriting> {
        if self.run.is_none() {
            let threads = PackerThreads::default();
            let Self { kind, described, .. } = *self;
            self.run = Some(self.repository.begin_rewriting(kind, &described.host, described, threads)?);
        }
        Ok(self.run.as_mut().expect("begun just now"))
    }

    /// The run, if it has begun.
    pub fn begun(self) -> Option<Rewriting> {
        self.run
    }

    /// As [`Rewriting::commit`], if it has begun.
    pub fn commit(&mut self) -> Result<()> {
        match &mut self.run {
            Some(run) => run.commit(false, &mut |_| Ok(Replaced::default())).map(drop),
            None => Ok(()),
        }
    }
}

impl Repository {
    /// Begins a run that rewrites.
    pub fn begin_rewriting(
        self: &Arc<Self>,
        kind: RunKind,
        host: &str,
        described: &RunDescription,
        threads: PackerThreads,
    ) -> Result<Rewriting> {
        let (id, secret, folder) = self.begin(kind, host, described)?;
        Ok(Rewriting {
            repository: self.clone(),
            id,
            secret,
            folder: Some(folder),
            packer: None,
            remnants: Default::default(),
            threads,
            new: Vec::new(),
            recovered: Vec::new(),
            bytes_stored: 0,
        })
    }

    /// Writes the folded state where newcomers start. Returns the record's number.
    pub fn write_checkpoint(&self) -> Result<u64> {
        let state = self.state();
        let epoch = Epoch(state.epoch);
        let sealing = self.keys.log_sealing(epoch).map_err(RepositoryError::object("the next checkpoint"))?;
        let salt = random(&*self.system);
        let bytes = crate::format::checkpoint::encode(&state, self.keys.signer(), &sealing.sealing(), salt);
        let name = names::checkpoint(state.number);
        match self.store.create(&name, Bytes::from(bytes))? {
            // Another owner's checkpoint of the same record says the same.
            crate::store::Created::New | crate::store::Created::AlreadyThere => Ok(state.number),
        }
    }

    /// All that is known of packs whose directories are at `home`, content too.
    pub fn summaries(&self, state: &State, home: DirectoryHome) -> Result<Vec<PackSummary>> {
        let SegmentContent { locations, meta, content } = self.directories(state, home, true)?;
        let mut directories: BTreeMap<u32, PackDirectory> =
            meta.into_iter().chain(content.into_iter().flatten()).collect();
        let summary = |(i, l): (usize, segment::PackLocation)| {
            let directory = directories.remove(&(i as u32))?;
            Some(PackSummary { name: l.name, kind: l.kind, run: l.run, len: l.len, place: l.place, directory })
        };
        Ok(locations.into_iter().enumerate().filter_map(summary).collect())
    }
}

impl Rewriting {
    /// The run's id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// For sealing descriptions.
    pub fn secret(&self) -> &RunSecret {
        &self.secret
    }

    fn packer(&mut self) -> &mut Packer {
        let (repository, id, secret, threads) = (&self.repository, self.id, &self.secret, self.threads);
        let folder = self.folder.as_ref().expect("the folder is there until the run ends");
        self.packer.get_or_insert_with(|| Packer::start(repository, id, secret.clone(), folder.clone(), threads))
    }

    /// Adds a frame as it was compressed.
    pub fn add_frame(&mut self, kind: PackKind, frame: CompressedFrame) -> Result<()> {
        self.packer().add(kind, NewFrame::Ready(frame))
    }

    /// Adds a chunk of a block; chunks that come one after the other share frames.
    pub fn add_chunk(
        &mut self,
        kind: PackKind,
        block: BlockId,
        number: u32,
        chunk: ChunkEntry,
        bytes: &[u8],
    ) -> Result<()> {
        let parameters = &self.repository.config.parameters;
        let full = if kind == PackKind::Meta { parameters.meta_block_len } else { parameters.block_len } as usize;
        let gathered = self.remnants[kind as usize].plaintext.len();
        if gathered == 0 {
            self.remnants[kind as usize].plaintext.reserve(full.max(bytes.len()));
        }
        if gathered > 0 && gathered + bytes.len() > full {
            self.close_remnants(kind)?;
        }
        self.remnants[kind as usize].push(block, number, chunk, bytes);
        Ok(())
    }

    fn close_remnants(&mut self, kind: PackKind) -> Result<()> {
        let Remnants { spans, chunks, plaintext } = std::mem::take(&mut self.remnants[kind as usize]);
        if chunks.is_empty() {
            return Ok(());
        }
        self.packer().add(kind, NewFrame::Plain { spans, chunks, plaintext, level: LEVEL })
    }

    /// Moves the directory of a pack into a new segment with the next record.
    pub fn recover_directory(&mut self, pack: PackSummary) {
        self.recovered.push(pack);
    }

    /// Packs that are durable and in no record yet.
    pub fn packs_waiting(&self) -> usize {
        self.new.len() + self.packer.as_ref().map_or(0, Packer::finished_count)
    }

    /// Makes all that was added durable.
    pub fn flush(&mut self) -> Result<()> {
        self.close_remnants(PackKind::Data)?;
        self.close_remnants(PackKind::Meta)?;
        if let Some(packer) = self.packer.take() {
            self.new.extend(packer.finish()?);
        }
        Ok(())
    }

    /// What the packs hold that no record brought in yet.
    pub fn waiting(&self) -> &[PackSummary] {
        &self.new
    }

    /// Brings the new packs in and condemns what `replaced` says at the record's place in the log, together with
    /// segments that are used no more. With `gather`, directories that are inside records move to a segment too.
    ///
    /// Returns the number of the record; `None` if there was nothing to say.
    pub fn commit(
        &mut self,
        gather: bool,
        replaced: &mut dyn FnMut(&State) -> Result<Replaced>,
    ) -> Result<Option<u64>> {
        self.flush()?;
        let new = std::mem::take(&mut self.new);
        // They count as places when it is decided what goes.
        self.repository.add_summaries(&new)?;
        let state = self.repository.state();
        let first = replaced(&state)?.packs;
        let going: HashSet<ObjectHash> = first.iter().copied().collect();
        let mut first = Some((state.number, first));
        let mut moved = std::mem::take(&mut self.recovered);
        let known: HashSet<ObjectHash> = moved.iter().map(|p| p.name).collect();
        moved.extend(self.movable(&state, &going, gather)?.into_iter().filter(|p| !known.contains(&p.name)));
        if new.is_empty() && moved.is_empty() && going.is_empty() {
            return Ok(None);
        }
        let arrived = self.directories(&new, &moved)?;
        let moved: HashSet<ObjectHash> = moved.iter().map(|p| p.name).collect();
        let entry = |p: &PackSummary| PackEntry { name: p.name, kind: p.kind, len: p.len, run: p.run };
        let packs: Vec<PackEntry> = new.iter().map(entry).collect();
        let run = self.id;
        let appended = self.repository.append(&mut |state| {
            let condemned_packs = match first.take() {
                Some((number, packs)) if number == state.number => packs,
                _ => replaced(state)?.packs,
            };
            let going: HashSet<ObjectHash> = condemned_packs.iter().copied().collect();
            if moved.iter().any(|p| going.contains(p) || state.packs.get(p).is_none_or(|p| p.condemned.is_some())) {
                let what = "another prune is already rewriting these packs".to_owned();
                return Err(RepositoryError::Conflict { what });
            }
            let (segments, inline) = arrived.clone();
            let condemned_segments = unused_segments(state, &going, &moved);
            Ok(vec![Operation::Rewrite {
                run,
                packs: packs.clone(),
                segments,
                inline,
                condemned_packs,
                condemned_segments,
            }])
        });
        let number = match appended {
            Ok(number) => number,
            Err(e) => {
                self.new = new;
                return Err(e);
            }
        };
        self.bytes_stored += new.iter().map(|p| p.len).sum::<u64>();
        self.folder().published(&new.iter().map(|p| p.name).collect::<Vec<_>>())?;
        Ok(Some(number))
    }

    fn folder(&self) -> &RunFolder {
        self.folder.as_ref().expect("the folder is there until the run ends")
    }

    /// Directories that are to move: those of segments of which little is used any more, and those in records.
    fn movable(&self, state: &State, going: &HashSet<ObjectHash>, gather: bool) -> Result<Vec<PackSummary>> {
        let mut staying: HashMap<DirectoryHome, usize> = HashMap::new();
        for (name, pack) in state.packs.iter().filter(|(_, p)| p.condemned.is_none()) {
            if !going.contains(name) {
                *staying.entry(pack.home).or_default() += 1;
            }
        }
        let little = |home: &DirectoryHome, used: usize| match home {
            DirectoryHome::Record(_) => gather,
            DirectoryHome::Segment(name) => {
                let all = state.segments.get(name).map_or(0, |s| s.packs.len());
                (used as f64) < SEGMENT_USED_MIN * all as f64
            }
        };
        let mut homes: Vec<DirectoryHome> =
            staying.into_iter().filter(|(home, used)| little(home, *used)).map(|(home, _)| home).collect();
        homes.sort_by_key(|home| match home {
            DirectoryHome::Record(number) => (0, *number),
            DirectoryHome::Segment(name) => (1, state.segments.get(name).map_or(0, |s| s.published)),
        });
        let mut moved = Vec::new();
        for home in homes {
            let there = match self.repository.summaries(state, home) {
                Ok(there) => there,
                // What cannot be read stays where it is; `verify` names it.
                Err(e) if e.is_damage() => continue,
                Err(e) => return Err(e),
            };
            let stays = |p: &PackSummary| {
                let known = state.packs.get(&p.name);
                known.is_some_and(|k| k.condemned.is_none() && k.home == home) && !going.contains(&p.name)
            };
            moved.extend(there.into_iter().filter(stays));
        }
        Ok(moved)
    }

    /// Writes directories: those of new packs in the record if they are small, all others in segments.
    fn directories(
        &mut self,
        new: &[PackSummary],
        moved: &[PackSummary],
    ) -> Result<(Vec<SegmentEntry>, Option<InlineDirectories>)> {
        if moved.is_empty() && new.is_empty() {
            return Ok((Vec::new(), None));
        }
        if moved.is_empty() {
            let bytes = segment::encode_inline(new);
            if bytes.len() <= INLINE_LEN_MAX {
                let packs = new.iter().map(|p| p.name).collect();
                return Ok((Vec::new(), Some(InlineDirectories { packs, bytes: bytes.into() })));
            }
        }
        let all: Vec<PackSummary> = new.iter().chain(moved).cloned().collect();
        let mut entries = Vec::new();
        for packs in all.chunks(SEGMENT_PACKS_MAX) {
            let sealing = self.repository.keys.index_sealing(Epoch(self.repository.state().epoch));
            let sealing = sealing.map_err(RepositoryError::object("the next segment"))?;
            let sealed = segment::seal(packs, &sealing.sealing(), random(&*self.repository.system));
            self.bytes_stored += sealed.bytes.len() as u64;
            put(&*self.repository.store, &names::segment(self.id, &sealed.name), &Bytes::from(sealed.bytes))?;
            let names = packs.iter().map(|p| p.name).collect();
            entries.push(SegmentEntry { name: sealed.name, run: self.id, parts: sealed.parts, packs: names });
        }
        Ok((entries, None))
    }

    /// Ends the run.
    pub fn end(mut self, outcome: Outcome, described: &RunDescription) -> Result<u64> {
        drop(self.packer.take());
        let description = description::seal(described, &self.secret.sealing(), random(&*self.repository.system));
        let end = Operation::End { run: self.id, outcome, description };
        let number = self.repository.append(&mut |_| Ok(vec![end.clone()]))?;
        if let Some(Ok(folder)) = self.folder.take().map(Arc::try_unwrap) {
            folder.remove()?;
        }
        Ok(number)
    }
}

/// Segments that hold the directory of no pack that stays.
fn unused_segments(state: &State, going: &HashSet<ObjectHash>, moved: &HashSet<ObjectHash>) -> Vec<ObjectHash> {
    let stays = |name: &ObjectHash, segment: &ObjectHash| {
        let pack = state.packs.get(name).filter(|p| p.condemned.is_none() && !going.contains(name));
        pack.is_some_and(|p| p.home == DirectoryHome::Segment(*segment)) && !moved.contains(name)
    };
    let unused = |(name, s): &(&ObjectHash, &crate::format::state::SegmentState)| {
        s.condemned.is_none() && !s.packs.iter().any(|p| stays(p, name))
    };
    state.segments.iter().filter(unused).map(|(name, _)| *name).collect()
}
