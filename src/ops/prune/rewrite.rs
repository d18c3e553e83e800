//! Doing what the plan says: what is needed of packs goes into new ones, and a record condemns the old ones.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::{Sender, bounded};

use crate::cache::locations::{BlockPlace, FrameRow, PackPlace, PackRow};
use crate::format::directory::FrameDirectory;
use crate::format::names::PackKind;
use crate::format::pack::CompressedFrame;
use crate::format::state::State;
use crate::log::condemnable;
use crate::parallel::{Task, Workers, cores};
use crate::primitives::ids::{BlockId, ObjectHash, RunId};
use crate::primitives::progress::{Observer, Severity};
use crate::repository::read::frame::{OpenFrame, OpenPack};
use crate::repository::write::rewrite::{Replaced, Rewriting};
use crate::repository::{Repository, RepositoryError};

use super::usage::Packs;
use crate::ops::reachable::Marks;

/// After so many new packs a record brings them in: a crash costs no more, and the old ones can go.
const PACKS_PER_RECORD: usize = 64;
/// Frames that are no further apart are read together, in bytes.
const GAP_MAX: u64 = 256 << 10;

/// What is taken out of a frame.
enum Piece {
    /// All of it, as it was compressed.
    Frame(CompressedFrame),
    /// Some of its chunks, by their places in it.
    Chunks(OpenFrame, Vec<usize>),
}

/// What an opener hands on.
enum Opened {
    Piece(PackKind, Piece),
    /// The pack is through.
    End,
}

/// A frame to be opened.
struct FrameWork {
    pack: Arc<OpenPack>,
    number: u32,
    /// Which of its chunks are kept.
    positions: Vec<usize>,
    sealed: bytes::Bytes,
}

/// What the fetcher hands on: of which pack, and what is being opened of it.
type Opening = (ObjectHash, Task<Result<Opened, RepositoryError>>);

/// What is needed for rewriting.
pub(super) struct Work<'a> {
    pub repository: &'a Arc<Repository>,
    pub packs: &'a Packs,
    pub marks: &'a mut Marks,
    pub observer: &'a dyn Observer,
    /// Bytes read from the store.
    pub bytes_read: u64,
    /// What could not be read.
    pub damaged: Vec<String>,
    /// Packs that were condemned.
    pub condemned: Vec<ObjectHash>,
}

impl Work<'_> {
    /// Moves what is needed of packs, and condemns them; `delete` are packs of which nothing is needed.
    pub(super) fn run(
        &mut self,
        run: &mut Rewriting,
        delete: &[ObjectHash],
        rewrite: &[ObjectHash],
    ) -> Result<(), RepositoryError> {
        let mut done: Vec<ObjectHash> = delete.to_vec();
        let mut rest = rewrite;
        loop {
            let (took, failed) = self.copy(run, rest)?;
            done.extend(rest[..took].iter().filter(|name| !failed.contains(*name)));
            rest = &rest[took..];
            self.commit(run, &done, rest.is_empty())?;
            done.clear();
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Copies packs until there are enough new ones for a record; says how many, and which could not be read.
    ///
    /// ```text
    /// fetcher ─▶ openers (one per core) ─▶ this thread, in order ─▶ the run
    /// ```
    fn copy(
        &mut self,
        run: &mut Rewriting,
        names: &[ObjectHash],
    ) -> Result<(usize, HashSet<ObjectHash>), RepositoryError> {
        let (repository, packs, marks, observer) = (self.repository, self.packs, &*self.marks, self.observer);
        let (send, opened) = bounded(4 * cores());
        let enough = AtomicBool::new(false);
        let (mut damaged, mut failed) = (Vec::new(), HashSet::new());
        let (took, bytes_read) = std::thread::scope(|scope| {
            // Moved in here: when this thread returns, for whatever reason, the fetcher sees it and ends.
            let opened = opened;
            let enough = &enough;
            let fetcher = scope.spawn(move || {
                let openers = Workers::new(cores());
                let mut fetcher = Fetcher { repository, packs, marks, openers, send, bytes_read: 0 };
                let goes_on =
                    |name: &&ObjectHash| !enough.load(Relaxed) && !observer.interrupted() && fetcher.pack(name);
                (names.iter().take_while(goes_on).count(), fetcher.bytes_read)
            });
            for (name, result) in opened.iter() {
                let panicked = |_| RepositoryError::Worker("a thread that opens frames panicked".to_owned());
                match result.wait().map_err(panicked)? {
                    Ok(Opened::Piece(kind, piece)) => add(run, kind, piece)?,
                    Ok(Opened::End) => observer.advance(packs.get(&name).map_or(0, |k| k.place.len)),
                    // It stays as it is: `repair` looks after it.
                    Err(e) if e.is_damage() => {
                        if failed.insert(name) {
                            damaged.push((name, e));
                        }
                    }
                    Err(e) => return Err(e),
                }
                enough.store(run.packs_waiting() >= PACKS_PER_RECORD, Relaxed);
            }
            Ok(fetcher.join().expect("the fetcher hands on what goes wrong"))
        })?;
        self.bytes_read += bytes_read;
        if damaged.iter().any(|(_, e)| e.is_missing()) {
            // Another prune may have moved and deleted it meanwhile: then nothing is missing.
            let state = repository.refresh_by_name()?;
            let is_live = |name: &ObjectHash| state.packs.get(name).is_some_and(|p| p.live());
            damaged.retain(|(name, e)| !e.is_missing() || is_live(name));
        }
        let damaged: Vec<String> = damaged.into_iter().map(|(_, e)| e.to_string()).collect();
        for what in &damaged {
            observer.finding(Severity::Warning, &format!("{what}: this pack was left as it is; see `repair`"));
        }
        self.damaged.extend(damaged);
        if observer.interrupted() { Err(RepositoryError::Interrupted) } else { Ok((took, failed)) }
    }

    /// Condemns packs as far as nothing that is live by now needs them.
    fn commit(&mut self, run: &mut Rewriting, done: &[ObjectHash], last: bool) -> Result<(), RepositoryError> {
        run.flush()?;
        let own: HashSet<ObjectHash> = run.waiting().iter().map(|p| p.name).collect();
        let id = run.id();
        for tries_left in (0..3).rev() {
            let mut gone = Vec::new();
            let committed = run.commit(last, &mut |state| {
                gone = self.replaced(state, id, done, &own)?;
                Ok(Replaced { packs: gone.clone() })
            });
            match committed {
                // Another prune moved what this one was about to move: it is looked at again.
                Err(RepositoryError::Conflict { .. }) if tries_left > 0 => continue,
                Err(e) => return Err(e),
                Ok(_) => {
                    self.condemned.extend(gone);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Of the packs that were dealt with, those that may be condemned now: nothing live is in them alone.
    ///
    /// Snapshots that were published since are marked first.
    fn replaced(
        &mut self,
        state: &State,
        run: RunId,
        done: &[ObjectHash],
        own: &HashSet<ObjectHash>,
    ) -> Result<Vec<ObjectHash>, RepositoryError> {
        self.marks.mark(self.repository, self.observer)?;
        let mut going: HashSet<ObjectHash> = done.iter().filter(|p| condemnable(state, run, p)).copied().collect();
        let cache = self.repository.cache();
        // A pack that stays holds chunks for others: it is looked at until nothing changes.
        loop {
            let mut stays = Vec::new();
            let mut known: HashMap<PackRow, bool> = HashMap::new();
            let mut counts = |row: PackRow| -> Result<bool, RepositoryError> {
                if let Some(known) = known.get(&row) {
                    return Ok(*known);
                }
                let name = cache.pack(row)?.map(|p| p.name);
                let live = |n: &ObjectHash| own.contains(n) || state.packs.get(n).is_some_and(|p| p.live());
                let counts = name.is_some_and(|n| !going.contains(&n) && live(&n));
                known.insert(row, counts);
                Ok(counts)
            };
            for name in &going {
                let Some(pack) = self.packs.get(name) else {
                    // What is not known may be needed; what was declared lost serves nobody.
                    if state.packs.get(name).is_none_or(|p| p.lost.is_none()) {
                        stays.push(*name);
                    }
                    continue;
                };
                if !self.is_whole(&pack.place)? || self.alone(&pack.place, own, &mut counts)? {
                    stays.push(*name);
                }
            }
            if stays.is_empty() {
                break;
            }
            going.retain(|name| !stays.contains(name));
        }
        Ok(done.iter().filter(|p| going.contains(*p)).copied().collect())
    }

    /// Whether the cache still has all rows of the pack: no rows say nothing of what is needed.
    fn is_whole(&self, pack: &PackPlace) -> Result<bool, RepositoryError> {
        let cache = self.repository.cache();
        let now = cache.pack_by_name(&pack.name)?.is_some_and(|p| p.row == pack.row);
        Ok(now && cache.frames(pack.row)?.len() == pack.frames as usize)
    }

    /// Whether the pack is of this run, the owner's, or vouched for.
    fn is_trusted(&self, row: PackRow, own: &HashSet<ObjectHash>) -> Result<bool, RepositoryError> {
        let Some(pack) = self.repository.cache().pack(row)? else { return Ok(false) };
        Ok(own.contains(&pack.name) || self.repository.may_deduplicate(&self.repository.state(), &pack.name))
    }

    /// Whether a chunk or node that is needed is in this pack and in none that counts.
    fn alone(
        &self,
        pack: &PackPlace,
        own: &HashSet<ObjectHash>,
        counts: &mut dyn FnMut(PackRow) -> Result<bool, RepositoryError>,
    ) -> Result<bool, RepositoryError> {
        let cache = self.repository.cache();
        if pack.kind == PackKind::Meta {
            for frame in cache.frames(pack.row)? {
                let Some(directory) = cache.frame_directory(frame.row)? else { return Ok(true) };
                for chunk in directory.chunks.iter().filter(|c| self.marks.needs_node(&c.id)) {
                    let mut elsewhere = false;
                    for place in cache.meta(&chunk.id)? {
                        // A place that another credential claims takes no other's place unless the id was recomputed there.
                        let read = || self.marks.keeps_node(&chunk.id, place.frame.row);
                        let trusted = || -> Result<bool, RepositoryError> {
                            Ok(read() || self.is_trusted(place.frame.pack, own)?)
                        };
                        elsewhere |= place.frame.pack != pack.row && counts(place.frame.pack)? && trusted()?;
                    }
                    if !elsewhere {
                        return Ok(true);
                    }
                }
            }
            return Ok(false);
        }
        let mut last: Option<(BlockId, Vec<BlockPlace>)> = None;
        for place in cache.pack_spans(pack.row)? {
            let block = place.span.block;
            let Some(set) = self.marks.block(&block) else { continue };
            if set.count(place.span.first, place.span.end()) == 0 {
                continue;
            }
            if last.as_ref().is_none_or(|(known, _)| *known != block) {
                let mut others = Vec::new();
                for other in cache.block(block)? {
                    if other.frame.pack != pack.row && counts(other.frame.pack)? {
                        others.push(other);
                    }
                }
                last = Some((block, others));
            }
            let others = &last.as_ref().expect("set just now").1;
            let held = |n: u32| others.iter().any(|o| (o.span.first..o.span.end()).contains(&n));
            if (place.span.first..place.span.end()).any(|n| set.has(n) && !held(n)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn add(run: &mut Rewriting, kind: PackKind, piece: Piece) -> Result<(), RepositoryError> {
    match piece {
        Piece::Frame(frame) => run.add_frame(kind, frame),
        Piece::Chunks(frame, positions) => {
            let places: Vec<(BlockId, u32)> = frame.directory.places().collect();
            for at in positions {
                let (block, n) = places[at];
                run.add_chunk(kind, block, n, frame.directory.chunks[at], frame.chunks(at, at + 1))?;
            }
            Ok(())
        }
    }
}

/// Opens a frame, every id recomputed, and takes out what is kept.
fn open(repository: &Repository, work: FrameWork) -> Result<Opened, RepositoryError> {
    let FrameWork { pack, number, positions, sealed } = work;
    let kind = pack.place.kind;
    let whole = pack.directory.frames.get(number as usize).is_some_and(|f| f.chunks.len() == positions.len());
    if !whole {
        let frame = repository.open_frame(&pack, number, sealed.to_vec())?;
        return Ok(Opened::Piece(kind, Piece::Chunks(frame, positions)));
    }
    Ok(Opened::Piece(
        kind,
        match repository.open_frame_again(&pack, number, sealed.to_vec())? {
            (_, Some(again)) => Piece::Frame(again),
            (frame, None) => Piece::Chunks(frame, positions),
        },
    ))
}

/// Reads what is needed of packs and hands it on, frame by frame.
struct Fetcher<'a> {
    repository: &'a Arc<Repository>,
    packs: &'a Packs,
    marks: &'a Marks,
    openers: Workers,
    send: Sender<Opening>,
    bytes_read: u64,
}

impl Fetcher<'_> {
    /// One pack. Says whether anybody still wants more.
    fn pack(&mut self, name: &ObjectHash) -> bool {
        match self.frames(name) {
            Ok(true) => self.hand_on(name, || Ok(Opened::End)),
            Ok(false) => false,
            Err(e) => self.hand_on(name, || Err(e)),
        }
    }

    fn hand_on(
        &self,
        name: &ObjectHash,
        open: impl FnOnce() -> Result<Opened, RepositoryError> + Send + 'static,
    ) -> bool {
        self.send.send((*name, self.openers.start(open))).is_ok()
    }

    fn frames(&mut self, name: &ObjectHash) -> Result<bool, RepositoryError> {
        let missing = || RepositoryError::Missing { name: format!("pack {name}") };
        let place = &self.packs.get(name).ok_or_else(missing)?.place;
        let rows = self.repository.cache().frames(place.row)?;
        let pack = self.repository.open_pack(place.row)?;
        let mut wanted: Vec<(u32, Vec<usize>)> = Vec::new();
        for (number, (directory, frame)) in pack.directory.frames.iter().zip(&rows).enumerate() {
            let positions: Vec<usize> = match place.kind {
                PackKind::Meta => {
                    let all = 0..directory.chunks.len();
                    all.filter(|at| self.packs.keeps_node(self.marks, place.row, frame.row, directory, *at)).collect()
                }
                PackKind::Data => kept_chunks(self.repository, self.packs, self.marks, directory, frame.row)?,
            };
            if !positions.is_empty() {
                wanted.push((number as u32, positions));
            }
        }
        let mut ranges = coalesced(&pack, &wanted)?.into_iter();
        let mut together: Option<(u32, std::ops::Range<u64>, bytes::Bytes)> = None;
        for (number, positions) in wanted {
            if together.as_ref().is_none_or(|(end, ..)| *end <= number) {
                let (_, end, range) = ranges.next().expect("every frame that is wanted is in a range");
                let sealed = self.repository.store.get_range(&pack.object, range.clone())?;
                self.bytes_read += range.end - range.start;
                together = Some((end, range, sealed));
            }
            let (_, range, sealed) = together.as_ref().expect("set just now");
            let of_frame = pack.range(number, number + 1)?;
            let sealed = sealed.slice((of_frame.start - range.start) as usize..(of_frame.end - range.start) as usize);
            let work = FrameWork { pack: pack.clone(), number, positions, sealed };
            let repository = self.repository.clone();
            if !self.hand_on(name, move || open(&repository, work)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn kept_chunks(
    repository: &Repository,
    packs: &Packs,
    marks: &Marks,
    directory: &FrameDirectory,
    frame: FrameRow,
) -> Result<Vec<usize>, RepositoryError> {
    let mut kept = Vec::new();
    let mut at = 0;
    for span in &directory.spans {
        let places = repository.cache().block(span.block)?;
        let own = places.iter().find(|p| p.frame.row == frame && p.span == *span).copied();
        for n in span.first..span.end() {
            let keeps = own.is_some_and(|own| packs.keeps_chunk(marks, &places, &own, n));
            if keeps {
                kept.push(at);
            }
            at += 1;
        }
    }
    Ok(kept)
}

/// Frames that are read together: the first, the one behind the last, and their bytes.
type Together = (u32, u32, std::ops::Range<u64>);

fn coalesced(pack: &OpenPack, wanted: &[(u32, Vec<usize>)]) -> Result<Vec<Together>, RepositoryError> {
    let mut ranges: Vec<Together> = Vec::new();
    for (number, _) in wanted {
        let range = pack.range(*number, number + 1)?;
        match ranges.last_mut() {
            Some((_, end, last)) if range.start - last.end <= GAP_MAX => {
                *end = number + 1;
                last.end = range.end;
            }
            _ => ranges.push((*number, number + 1, range)),
        }
    }
    Ok(ranges)
}
