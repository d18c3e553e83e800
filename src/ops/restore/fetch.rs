//! Carrying a plan out: each frame is fetched, opened and decompressed once, and its bytes go where they belong.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::cache::locations::PackRow;
use crate::crypto::keys::ContentHasher;
use crate::destination::{FileToken, Problem, RelativePath, Target, TargetError};
use crate::format::tree::DataRun;
use crate::parallel::{self, cores};
use crate::primitives::error_chain::error_chain;
use crate::primitives::ids::Reference;
use crate::primitives::progress::{Change, Observer};
use crate::repository::read::frame::{OpenFrame, OpenPack};
use crate::repository::{Repository, RepositoryError};

use super::links::LinkKey;
use super::plan::{FileItem, Piece, Plan, content_id};
use super::reuse::read_existing;
use super::{RestoreError, RestoreReport};

/// Neighbouring frames are fetched by one request up to this many bytes.
const FETCH_LEN_MAX: u64 = 4 << 20;
/// Fetches at once from a server.
const REMOTE_THREADS: usize = 8;
/// Why a file is not restored although all its chunks are sound.
const WRONG_CONTENT: &str = "its chunks are not the content that its content id names; the file was not restored";
/// A frame that is not needed is fetched all the same if it is shorter than a request is worth.
const GAP_LEN_MAX: u64 = 256 << 10;

/// Frames of one pack to fetch at once.
struct Fetch {
    pack: PackRow,
    frames: Vec<(u32, Vec<Piece>)>,
}

/// Restores the planned files. Answers with those that had further names and were restored.
pub(super) fn execute(
    repository: &Arc<Repository>,
    target: &Target,
    plan: Plan,
    report: &mut RestoreReport,
    observer: &dyn Observer,
) -> Result<Vec<(LinkKey, RelativePath)>, RestoreError> {
    let Plan { files, frames, .. } = plan;
    let work = Work { repository, target, files: &files, observer, told: Mutex::new(Told::default()) };
    for file in files.iter().filter(|f| f.stored == 0) {
        work.written(file, target.write_file(&file.path, &file.meta, file.file.size, &[]));
    }
    let cores = cores().max(2);
    // Where a request costs a journey, several are on their way at once.
    let threads = if repository.store.is_remote() { cores.max(REMOTE_THREADS) } else { cores };
    parallel::for_each(threads, group(frames).into_iter(), |fetch| {
        if work.observer.interrupted() || work.stopped() {
            return;
        }
        if let Err(e) = work.fetch(fetch) {
            work.told().fatal.get_or_insert(e);
        }
    });
    let incomplete = |f: &&FileItem| f.failed.load(Ordering::Relaxed) || f.left.load(Ordering::Relaxed) > 0;
    for file in files.iter().filter(incomplete) {
        let token = file.token.lock().take();
        // What is incomplete must not look like a file that was restored.
        let discarded = token.map(|t| target.reopen(&file.path, &t).and_then(|f| f.discard()));
        if let Some(Err(e)) = discarded {
            work.told().problems.push(error_chain(&e));
        }
    }
    let told = work.told.into_inner();
    report.files += told.files;
    report.bytes += told.bytes;
    report.reused += told.reused;
    report.archived.extend(told.archived);
    told.problems.into_iter().for_each(|p| report.problem(observer, p));
    match (told.fatal, told.full) {
        _ if observer.interrupted() => Err(RestoreError::Interrupted),
        (Some(e), _) => Err(e.into()),
        (None, Some(source)) => Err(RestoreError::Full { files: report.files, source }),
        (None, None) => Ok(told.named),
    }
}

/// Puts frames of one pack that lie close together into one fetch.
fn group(frames: std::collections::BTreeMap<(PackRow, u32), Vec<Piece>>) -> Vec<Fetch> {
    let mut fetches: Vec<Fetch> = Vec::new();
    for ((pack, frame), pieces) in frames {
        match fetches.last_mut() {
            Some(last) if last.pack == pack && last.frames.len() < 64 => last.frames.push((frame, pieces)),
            _ => fetches.push(Fetch { pack, frames: vec![(frame, pieces)] }),
        }
    }
    fetches
}

#[derive(Default)]
struct Told {
    files: u64,
    bytes: u64,
    reused: u64,
    problems: Vec<String>,
    /// Files that further names may be linked to.
    named: Vec<(LinkKey, RelativePath)>,
    fatal: Option<RepositoryError>,
    /// Packs that must be brought back from an archive first.
    archived: BTreeSet<String>,
    /// The first entry for which there was no room.
    full: Option<TargetError>,
}

struct Work<'a> {
    repository: &'a Arc<Repository>,
    target: &'a Target,
    files: &'a [FileItem],
    observer: &'a dyn Observer,
    told: Mutex<Told>,
}

impl Work<'_> {
    fn told(&self) -> parking_lot::MutexGuard<'_, Told> {
        self.told.lock()
    }

    fn stopped(&self) -> bool {
        let told = self.told();
        told.fatal.is_some() || told.full.is_some()
    }

    fn fetch(&self, fetch: Fetch) -> Result<(), RepositoryError> {
        let pack = match self.repository.open_pack(fetch.pack) {
            Ok(pack) => pack,
            Err(e) if e.is_damage() || e.archived().is_some() => {
                return fetch.frames.iter().try_for_each(|(_, pieces)| self.elsewhere(pieces, fetch.pack, &e));
            }
            Err(e) => return Err(e),
        };
        let frames = self.reuse(&pack, fetch.frames);
        let mut rest = &frames[..];
        while !rest.is_empty() {
            let count = self.run_len(&pack, rest)?;
            let (now, later) = rest.split_at(count);
            self.fetch_run(&pack, now)?;
            rest = later;
        }
        Ok(())
    }

    /// Writes the pieces whose bytes stand in the files that they replace. Answers with what is to be fetched.
    fn reuse(&self, pack: &OpenPack, frames: Vec<(u32, Vec<Piece>)>) -> Vec<(u32, Vec<Piece>)> {
        let left = frames.into_iter().map(|(frame, mut pieces)| {
            pieces.retain(|piece| !self.reuse_piece(pack, frame, piece));
            (frame, pieces)
        });
        left.filter(|(_, pieces)| !pieces.is_empty()).collect()
    }

    /// False if a piece is to be fetched. Errors are those of a fetched piece too, and are told then.
    fn reuse_piece(&self, pack: &OpenPack, frame: u32, piece: &Piece) -> bool {
        let file = &self.files[piece.file as usize];
        if !file.reuses || file.failed.load(Ordering::Relaxed) || self.observer.interrupted() {
            return false;
        }
        let Some(chunks) = pack.directory.frames.get(frame as usize).and_then(|f| f.entries(&piece.reference)) else {
            return false;
        };
        let len = chunks.iter().map(|chunk| chunk.len as usize).sum();
        let Some(ranges) = spread(file.file.sparse.as_deref(), piece.at, len) else { return false };
        let Ok(token) = self.token(file) else { return false };
        let Some(existing) = self.target.open_existing(&file.path, &token) else { return false };
        let Some(bytes) = read_existing(&existing, self.repository.domain_keys(), chunks, &ranges) else {
            return false;
        };
        file.reused.fetch_add(len as u64, Ordering::Relaxed);
        // A clone has them already.
        let ranges = if token.is_clone() { Vec::new() } else { ranges };
        let ranges: Vec<_> = ranges.into_iter().map(|(offset, part)| (offset, &bytes[part])).collect();
        self.write_piece(file, &ranges, len as u64);
        true
    }

    /// How many of the frames are fetched by one request.
    fn run_len(&self, pack: &OpenPack, frames: &[(u32, Vec<Piece>)]) -> Result<usize, RepositoryError> {
        let start = pack.range(frames[0].0, frames[0].0 + 1)?.start;
        let mut end = start;
        for (i, (frame, _)) in frames.iter().enumerate() {
            let range = pack.range(*frame, frame + 1)?;
            if i > 0 && (range.start - end > GAP_LEN_MAX || range.end - start > FETCH_LEN_MAX) {
                return Ok(i);
            }
            end = range.end;
        }
        Ok(frames.len())
    }

    fn fetch_run(&self, pack: &OpenPack, frames: &[(u32, Vec<Piece>)]) -> Result<(), RepositoryError> {
        let (first, last) = (frames[0].0, frames[frames.len() - 1].0);
        let range = pack.range(first, last + 1)?;
        let bytes = match self.repository.store.get_range(&pack.object, range.clone()) {
            Ok(bytes) => bytes,
            Err(e) => {
                let e = RepositoryError::from(e);
                if e.is_damage() || e.archived().is_some() {
                    return frames.iter().try_for_each(|(_, pieces)| self.elsewhere(pieces, pack.place.row, &e));
                }
                return Err(e);
            }
        };
        for (frame, pieces) in frames {
            let part = pack.range(*frame, frame + 1)?;
            let sealed = bytes[(part.start - range.start) as usize..(part.end - range.start) as usize].to_vec();
            match self.repository.open_frame(pack, *frame, sealed) {
                Ok(open) => pieces.iter().for_each(|piece| self.write(piece, &open)),
                Err(e) if e.is_damage() => self.elsewhere(pieces, pack.place.row, &e)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Looks for the pieces of a frame that is damaged, or gone, in other packs; what is nowhere else makes its file
    /// fail.
    fn elsewhere(&self, pieces: &[Piece], not_in: PackRow, damage: &RepositoryError) -> Result<(), RepositoryError> {
        for piece in pieces {
            if !self.piece_elsewhere(piece, not_in)? {
                self.told().archived.extend(damage.archived().map(str::to_owned));
                self.fail(&self.files[piece.file as usize], error_chain(damage));
            }
        }
        Ok(())
    }

    /// Writes a piece from wherever its chunks are but in this pack; after a prune they may lie in several frames.
    fn piece_elsewhere(&self, piece: &Piece, not_in: PackRow) -> Result<bool, RepositoryError> {
        let (mut rest, mut at) = (piece.reference, piece.at);
        while rest.count > 0 {
            let open = match self.repository.frame_of(&rest, Some(not_in)) {
                Ok((_, open)) => open,
                Err(e) if e.is_damage() || e.archived().is_some() => return Ok(false),
                Err(e) => return Err(e),
            };
            let Some((bytes, count)) = open.take(&rest) else { return Ok(false) };
            let part = Piece { file: piece.file, at, reference: Reference { count, ..rest } };
            at += bytes.len() as u64;
            self.write(&part, &open);
            rest.first += count;
            rest.count -= count;
        }
        Ok(true)
    }

    fn fail(&self, file: &FileItem, why: String) {
        if !file.failed.swap(true, Ordering::Relaxed) {
            self.told().problems.push(format!("{}: {why}", file.path));
        }
    }

    fn write(&self, piece: &Piece, frame: &OpenFrame) {
        let file = &self.files[piece.file as usize];
        if file.failed.load(Ordering::Relaxed) {
            return;
        }
        let Some((bytes, count)) = frame.take(&piece.reference) else {
            return self.fail(file, format!("block {} is not where it should be", piece.reference.block));
        };
        if count != piece.reference.count {
            return self.fail(file, format!("block {} is not complete", piece.reference.block));
        }
        let Some(ranges) = spread(file.file.sparse.as_deref(), piece.at, bytes.len()) else {
            return self.fail(file, "its content does not fit its holes".to_owned());
        };
        let ranges: Vec<_> = ranges.into_iter().map(|(offset, part)| (offset, &bytes[part])).collect();
        if bytes.len() as u64 == file.stored {
            let mut hasher = ContentHasher::new(self.repository.domain_keys());
            let entries = frame.entries(&piece.reference, count).unwrap_or_default();
            entries.iter().for_each(|chunk| hasher.add(chunk.id));
            if hasher.take() != file.file.content_id {
                return self.fail(file, WRONG_CONTENT.to_owned());
            }
            self.observer.advance(bytes.len() as u64);
            return self.written(file, self.target.write_file(&file.path, &file.meta, file.file.size, &ranges));
        }
        self.write_piece(file, &ranges, bytes.len() as u64);
    }

    /// Writes a piece of a file that has several, at these offsets, and finishes the file with its last one.
    fn write_piece(&self, file: &FileItem, ranges: &[(u64, &[u8])], len: u64) {
        self.observer.advance(len);
        let written = self.write_part(file, ranges, len);
        if let Err(e) = written.or_else(|e| self.unless_full(e)) {
            self.fail(file, error_chain(&e));
        }
    }

    /// Names the new file, which is made for its first piece.
    fn token(&self, file: &FileItem) -> Result<FileToken, TargetError> {
        let mut token = file.token.lock();
        match *token {
            Some(token) => Ok(token),
            None if file.reuses => {
                let (_, made) = self.target.create_file_from_existing(&file.path, &file.file)?;
                Ok(*token.insert(made))
            }
            None => {
                let created = self.target.create_file(&file.path, file.file.size)?;
                Ok(*token.insert(created.token()?))
            }
        }
    }

    fn write_part(&self, file: &FileItem, ranges: &[(u64, &[u8])], len: u64) -> Result<(), TargetError> {
        let token = self.token(file)?;
        for (offset, part) in ranges {
            self.target.write_at(&file.path, &token, *offset, part)?;
        }
        if file.left.fetch_sub(len, Ordering::AcqRel) == len {
            match self.has_meant_content(file) {
                Ok(true) => self.written(file, self.target.finish_file(&file.path, &token, &file.meta, file.file.size)),
                Ok(false) => self.fail(file, WRONG_CONTENT.to_owned()),
                Err(e) => self.fail(file, format!("its content cannot be compared: {}", error_chain(&e))),
            }
        }
        Ok(())
    }

    /// Whether a file that lies in several frames has the content that its node names: whoever writes a node chooses its
    /// references, each leads to sound chunks, and only the id says to which.
    fn has_meant_content(&self, file: &FileItem) -> Result<bool, RepositoryError> {
        let found = self.repository.where_it_is_now(|| content_id(self.repository, &file.file))?;
        Ok(found == file.file.content_id)
    }

    fn written(&self, file: &FileItem, result: Result<Vec<Problem>, TargetError>) {
        if result.is_ok() {
            self.observer.file(Change::Restored, &|| PathBuf::from(file.path.to_string()), file.file.size);
        }
        let mut told = self.told();
        match result {
            Ok(problems) => {
                told.files += 1;
                told.bytes += file.file.size;
                told.reused += file.reused.load(Ordering::Relaxed);
                told.named.extend(file.key.clone().map(|key| (key, file.path.clone())));
                told.problems.extend(problems.iter().map(|p| error_chain(p)));
            }
            Err(e) => {
                drop(told);
                if let Err(e) = self.unless_full(e) {
                    self.told().problems.push(error_chain(&e));
                }
            }
        }
    }

    /// Notes that there is no room left, which ends the restore; or gives the error back.
    fn unless_full(&self, error: TargetError) -> Result<(), TargetError> {
        if !error.is_out_of_space() {
            return Err(error);
        }
        self.told().full.get_or_insert(error);
        Ok(())
    }
}

/// The file offsets of `len` stored bytes that begin at `at`, with the part of them that goes there. `None` if they do not
/// fit the runs.
fn spread(sparse: Option<&[DataRun]>, at: u64, len: usize) -> Option<Vec<(u64, Range<usize>)>> {
    let Some(runs) = sparse else { return Some(vec![(at, 0..len)]) };
    let (mut stored, mut offset, mut done) = (0, 0, 0);
    let mut parts = Vec::with_capacity(1);
    for run in runs {
        offset += run.hole;
        let (end, from) = (stored + run.data, at + done as u64);
        if from >= stored && from < end && done < len {
            let n = usize::try_from(end - from).unwrap_or(usize::MAX).min(len - done);
            parts.push((offset + (from - stored), done..done + n));
            done += n;
        }
        stored = end;
        offset += run.data;
    }
    (done == len).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_bytes_go_back_between_the_holes() {
        let runs = [DataRun { hole: 10, data: 4 }, DataRun { hole: 100, data: 6 }];
        assert_eq!(spread(Some(&runs), 2, 5), Some(vec![(12, 0..2), (114, 2..5)]));
        assert_eq!(spread(Some(&runs), 4, 6), Some(vec![(114, 0..6)]));
        assert_eq!(spread(Some(&runs), 8, 3), None);
        assert_eq!(spread(None, 7, 3), Some(vec![(7, 0..3)]));
    }
}
