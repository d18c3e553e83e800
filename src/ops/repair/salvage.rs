//! Saving what can be read of damaged packs, and filling in what cannot from equal chunks elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use quick_cache::unsync::Cache;

use crate::cache::chunk_ids::ChunkFinder;
use crate::cache::locations::{FrameRow, PackRow};
use crate::format::directory::ChunkEntry;
use crate::format::names::PackKind;
use crate::format::state::DirectoryHome;
use crate::primitives::ids::{BlockId, ChunkId, Reference};
use crate::primitives::progress::{Observer, Unit};
use crate::repository::read::frame::OpenFrame;
use crate::repository::write::rewrite::PerhapsRewriting;
use crate::repository::{Repository, RepositoryError};

use super::super::prune::Marks;
use super::super::verify::BadObject;

/// Frames that are held open: chunks that lie together are filled in together.
const FRAMES_MAX: usize = 16;

/// Returns how many chunks were saved, and how many were filled in.
pub(super) fn heal(
    repository: &Arc<Repository>,
    run: &mut PerhapsRewriting<'_>,
    bad: &BadObject,
    marks: &Marks,
    observer: &dyn Observer,
) -> Result<(u64, u64), RepositoryError> {
    let mut wanted: BTreeMap<(BlockId, u32), ChunkEntry> = BTreeMap::new();
    let mut saved = 0;
    let mut rows: Vec<PackRow> = bad.touched.keys().copied().collect();
    rows.sort_unstable();
    observer.phase("saving", Some(rows.len() as u64), Unit::Items);
    for row in rows {
        saved += save(repository, run, row, marks, &mut wanted)?;
        observer.advance(1);
    }
    lost_before(repository, marks, &mut wanted)?;
    Ok((saved, fill(repository, run, bad, wanted, observer)?))
}

/// Moves what can be read of a damaged pack; puts what cannot on the list.
fn save(
    repository: &Repository,
    run: &mut PerhapsRewriting<'_>,
    row: PackRow,
    marks: &Marks,
    wanted: &mut BTreeMap<(BlockId, u32), ChunkEntry>,
) -> Result<u64, RepositoryError> {
    let Some(place) = repository.cache().pack(row)? else { return Ok(0) };
    let pack = match repository.open_pack_as_known(row) {
        Ok(pack) => Some(pack),
        Err(e) if e.is_damage() => None,
        Err(e) => return Err(e),
    };
    let mut saved = 0;
    for frame in repository.cache().frames(row)? {
        let Some(directory) = repository.cache().frame_directory(frame.row)? else { continue };
        let needed = |at: usize, (block, n): (BlockId, u32)| match place.kind {
            PackKind::Data => marks.needs(&block, n),
            PackKind::Meta => marks.needs_node(&directory.chunks[at].id),
        };
        let places: Vec<(BlockId, u32)> = directory.places().collect();
        if !places.iter().enumerate().any(|(at, place)| needed(at, *place)) {
            continue;
        }
        // Also what the survey could not read: perhaps it was the line, and to be lost is for ever.
        let read = pack.as_ref().map(|pack| {
            let sealed = repository.store.get_range(&pack.object, frame.offset..frame.offset + u64::from(frame.len));
            sealed
                .map_err(RepositoryError::from)
                .and_then(|s| repository.open_frame_again(pack, frame.place, s.to_vec()))
        });
        match read {
            Some(Ok((_, Some(again)))) => {
                saved += again.chunks.len() as u64;
                run.get()?.add_frame(place.kind, again)?;
            }
            Some(Ok((open, None))) => {
                for (at, (block, n)) in places.iter().enumerate() {
                    run.get()?.add_chunk(place.kind, *block, *n, directory.chunks[at], open.chunks(at, at + 1))?;
                    saved += 1;
                }
            }
            Some(Err(e)) if !e.is_damage() => return Err(e),
            // Nodes are found by their ids wherever they are: only chunks of blocks have to be where they were.
            _ if place.kind == PackKind::Data => {
                let lost = places.iter().zip(&directory.chunks).filter(|((block, n), _)| marks.needs(block, *n));
                wanted.extend(lost.map(|(at, chunk)| (*at, *chunk)));
            }
            _ => {}
        }
    }
    Ok(saved)
}

/// Puts chunks on the list that earlier repairs declared lost and that are still needed and nowhere.
fn lost_before(
    repository: &Repository,
    marks: &Marks,
    wanted: &mut BTreeMap<(BlockId, u32), ChunkEntry>,
) -> Result<(), RepositoryError> {
    let state = repository.state();
    let mut homes: HashMap<DirectoryHome, ()> = HashMap::new();
    for (_, pack) in state.packs.iter().filter(|(_, p)| p.lost.is_some() && p.condemned.is_none()) {
        homes.insert(pack.home, ());
    }
    for home in homes.into_keys() {
        let summaries = match repository.summaries(&state, home) {
            Ok(summaries) => summaries,
            Err(e) if e.is_damage() => continue,
            Err(e) => return Err(e),
        };
        for pack in summaries {
            let lost = state.packs.get(&pack.name).is_some_and(|p| p.lost.is_some());
            if !lost || pack.kind != PackKind::Data {
                continue;
            }
            for frame in &pack.directory.frames {
                for ((block, n), chunk) in frame.places().zip(&frame.chunks) {
                    if marks.needs(&block, n) && !is_held(repository, block, n)? {
                        wanted.insert((block, n), *chunk);
                    }
                }
            }
        }
    }
    Ok(())
}

fn is_held(repository: &Repository, block: BlockId, n: u32) -> Result<bool, RepositoryError> {
    let places = repository.cache().block(block)?;
    Ok(places.iter().any(|p| p.holds(n)))
}

/// Fills chunks in from equal ones.
fn fill(
    repository: &Repository,
    run: &mut PerhapsRewriting<'_>,
    bad: &BadObject,
    wanted: BTreeMap<(BlockId, u32), ChunkEntry>,
    observer: &dyn Observer,
) -> Result<u64, RepositoryError> {
    observer.phase("filling in", Some(wanted.len() as u64), Unit::Items);
    let finder = ChunkFinder::new(repository.cache())?;
    let mut open = Cache::new(FRAMES_MAX);
    let mut filled = 0;
    for ((block, n), chunk) in wanted {
        if observer.interrupted() {
            return Err(RepositoryError::Interrupted);
        }
        observer.advance(1);
        let found = find_equal(repository, &finder, bad, &mut open, &chunk.id)?;
        let Some((frame, at)) = found else { continue };
        let bytes = frame.chunks(at, at + 1);
        let same = ChunkEntry { id: chunk.id, len: bytes.len() as u32 };
        run.get()?.add_chunk(PackKind::Data, block, n, same, bytes)?;
        filled += 1;
    }
    Ok(filled)
}

/// An open frame that holds a chunk with this id, and where in it. Its id was recomputed.
fn find_equal(
    repository: &Repository,
    finder: &ChunkFinder,
    bad: &BadObject,
    open: &mut Cache<FrameRow, Arc<OpenFrame>>,
    id: &ChunkId,
) -> Result<Option<(Arc<OpenFrame>, usize)>, RepositoryError> {
    finder.find(repository.cache(), id, &mut |block, n| {
        let reference = Reference { block, first: n, count: 1 };
        let found = repository.at_each_location(&reference, |candidate| {
            if bad.touched.contains_key(&candidate.frame.pack) {
                return Ok(None);
            }
            let frame = match open.get(&candidate.frame.row) {
                Some(frame) => frame.clone(),
                None => {
                    let pack = repository.open_pack(candidate.frame.pack)?;
                    let frame = Arc::new(repository.read_frame(&pack, candidate.frame.place)?);
                    open.insert(candidate.frame.row, frame.clone());
                    frame
                }
            };
            let at = frame.directory.position(block, n).filter(|at| frame.directory.chunks[*at].id == *id);
            Ok(at.map(|at| (frame, at)))
        });
        match found {
            Ok(found) => Ok(Some(found)),
            // What is archived can be brought back, and is not lost.
            Err(e) if e.is_damage() => Ok(None),
            Err(e) => Err(e),
        }
    })
}
