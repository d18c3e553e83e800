//! What to fetch and where it goes: files by the frames that hold their bytes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::Mutex;

use crate::cache::locations::{BlockPlace, PackRow};
use crate::crypto::keys::ContentHasher;
use crate::destination::{FileToken, RelativePath};
use crate::format::tree::{FileNode, Metadata};
use crate::primitives::ids::{BlockId, ContentId, Reference};
use crate::repository::read::locate::{first_that_answers, missing_block};
use crate::repository::{Repository, RepositoryError};

use super::links::LinkKey;

/// Files and pieces planned before they are fetched: bounds memory.
const FILES_MAX: usize = 200_000;
const PIECES_MAX: usize = 2_000_000;

/// A file to write.
pub(super) struct FileItem {
    /// Where.
    pub path: RelativePath,
    /// Its metadata.
    pub meta: Metadata,
    /// Its length, content and holes.
    pub file: FileNode,
    /// What further names of it have in common with it.
    pub key: Option<LinkKey>,
    /// Bytes that are stored of it.
    pub stored: u64,
    /// Bytes that are still to be written.
    pub left: AtomicU64,
    /// Names the file between writes.
    pub token: Mutex<Option<FileToken>>,
    /// Whether the file that has its name is read for bytes of it.
    pub reuses: bool,
    /// Bytes of it that were there.
    pub reused: AtomicU64,
    /// Something of it could not be restored.
    pub failed: AtomicBool,
}

/// Some chunks of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// Which file.
    pub file: u32,
    /// Offset among the file's stored bytes.
    pub at: u64,
    /// The chunks.
    pub reference: Reference,
}

/// Files, and their pieces by pack and frame.
#[derive(Default)]
pub(super) struct Plan {
    /// The files.
    pub files: Vec<FileItem>,
    /// Pieces by (row of the pack, number of the frame).
    pub frames: BTreeMap<(PackRow, u32), Vec<Piece>>,
    pieces: usize,
    blocks: HashMap<BlockId, Vec<BlockPlace>>,
}

impl Plan {
    /// Whether it should be carried out before it grows.
    pub(super) fn is_large(&self) -> bool {
        self.files.len() >= FILES_MAX || self.pieces >= PIECES_MAX
    }

    /// Adds a file. `reuses`: bytes of it may be in the file that has its name.
    pub(super) fn add(
        &mut self,
        repository: &Repository,
        (path, meta, file): (RelativePath, Metadata, FileNode),
        key: Option<LinkKey>,
        reuses: bool,
    ) -> Result<(), RepositoryError> {
        let number = self.files.len() as u32;
        let mut pieces = Vec::new();
        let mut at = 0;
        repository.for_each_extent(&file.content, &mut |extent| {
            let mut rest = extent.reference;
            let start = at;
            while rest.count > 0 {
                let place = self.place(repository, &rest)?;
                let count = rest.count.min(place.span.end() - rest.first);
                let reference = Reference { count, ..rest };
                // Only the first piece of an extent knows its offset without a directory; the others follow it.
                let at = if reference.first == extent.reference.first { start } else { u64::MAX };
                pieces.push(((place.frame.pack, place.frame.place), Piece { file: number, at, reference }));
                rest.first += count;
                rest.count -= count;
            }
            at += extent.len;
            Ok(())
        })?;
        resolve_offsets(repository, &mut pieces)?;
        // What is one piece is written in one step.
        let reuses = reuses && pieces.len() > 1;
        let (left, reused, token, failed) =
            (AtomicU64::new(at), AtomicU64::new(0), Mutex::new(None), AtomicBool::new(false));
        self.files.push(FileItem { path, meta, file, key, stored: at, left, token, reuses, reused, failed });
        self.pieces += pieces.len();
        for (frame, piece) in pieces {
            self.frames.entry(frame).or_default().push(piece);
        }
        Ok(())
    }

    fn place(&mut self, repository: &Repository, reference: &Reference) -> Result<BlockPlace, RepositoryError> {
        let places = match self.blocks.entry(reference.block) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(repository.cache().block(reference.block)?),
        };
        let covers = |p: &&BlockPlace| p.holds(reference.first);
        places.iter().find(covers).copied().ok_or_else(|| missing_block(reference))
    }
}

/// The content id of what a node's references lead to, from the directories of the packs: nothing is held but those.
///
/// The chunks themselves were compared with their ids when they were read.
pub(super) fn content_id(repository: &Repository, file: &FileNode) -> Result<ContentId, RepositoryError> {
    let mut hasher = ContentHasher::new(repository.domain_keys());
    let mut places: Option<(BlockId, Vec<BlockPlace>)> = None;
    repository.for_each_extent(&file.content, &mut |extent| {
        let mut rest = extent.reference;
        while rest.count > 0 {
            let known = places.take().filter(|(block, _)| *block == rest.block);
            let known = match known {
                Some(known) => known,
                None => (rest.block, repository.cache().block(rest.block)?),
            };
            let count = add_ids(repository, &known.1, &rest, &mut hasher)?;
            places = Some(known);
            rest.first += count;
            rest.count -= count;
        }
        Ok(())
    })?;
    Ok(hasher.take())
}

/// Adds the ids of the first chunks of a reference, as many as lie in one place, and says how many.
fn add_ids(
    repository: &Repository,
    places: &[BlockPlace],
    rest: &Reference,
    hasher: &mut ContentHasher,
) -> Result<u32, RepositoryError> {
    let holding = places.iter().filter(|p| p.holds(rest.first));
    let (chunks, count) = first_that_answers(
        holding,
        |place| {
            let pack = repository.open_pack(place.frame.pack)?;
            let count = rest.count.min(place.span.end() - rest.first);
            let chunks = pack.directory.frames.get(place.frame.place as usize).and_then(|frame| {
                let at = frame.position(rest.block, rest.first)?;
                frame.chunks.get(at..at.checked_add(count as usize)?)
            });
            Ok(chunks.map(|chunks| (chunks.to_vec(), count)))
        },
        || missing_block(rest),
    )?;
    chunks.iter().for_each(|chunk| hasher.add(chunk.id));
    Ok(count)
}

/// Finds the offsets of pieces in the middle of an extent: only after a prune does an extent lie in several
/// frames, and then the lengths in the packs' directories tell.
fn resolve_offsets(repository: &Repository, pieces: &mut [((PackRow, u32), Piece)]) -> Result<(), RepositoryError> {
    for i in 1..pieces.len() {
        if pieces[i].1.at != u64::MAX {
            continue;
        }
        let ((row, frame), before) = pieces[i - 1];
        let pack = repository.open_pack(row)?;
        let missing = || missing_block(&before.reference);
        let directory = pack.directory.frames.get(frame as usize).ok_or_else(missing)?;
        let first = directory.position(before.reference.block, before.reference.first).ok_or_else(missing)?;
        let chunks = directory.chunks.get(first..first + before.reference.count as usize).ok_or_else(missing)?;
        let len: u64 = chunks.iter().map(|c| u64::from(c.len)).sum();
        pieces[i].1.at = before.at + len;
    }
    Ok(())
}
