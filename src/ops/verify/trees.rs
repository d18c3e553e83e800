//! Walking every snapshot: whether each node, and each chunk of each file, has a sound place.
//!
//! Trees that were found sound are not walked again for other snapshots; trees that were not are, so that
//! every snapshot that is hurt is named with its paths.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::cache::locations::{BlockPlace, FrameRow};
use crate::crypto::keys::ContentHasher;
use crate::format::directory::FrameDirectory;
use crate::format::envelope::FormatError;
use crate::format::tree::{Content, NodeKind};
use crate::primitives::ids::{BlockId, ChunkId, ContentId, Reference, SnapshotId};
use crate::primitives::progress::{Observer, Unit};
use crate::repository::{Repository, RepositoryError};

use super::objects::BadObject;
use super::{VerifyDepth, VerifyReport};

/// Paths named per finding and snapshot.
const PATHS_MAX: usize = 10;
/// Directories of frames held in memory.
const DIRECTORIES_MAX: usize = 4096;

/// Walks all live snapshots.
pub(super) fn check(
    repository: &Arc<Repository>,
    depth: VerifyDepth,
    bad: &BadObject,
    report: &mut VerifyReport,
    observer: &dyn Observer,
) -> Result<(), RepositoryError> {
    let snapshots: Vec<(SnapshotId, ChunkId)> =
        repository.state().snapshots.iter().map(|(id, s)| (*id, s.root)).collect();
    observer.phase("walking snapshots", Some(snapshots.len() as u64), Unit::Items);
    let mut walk = Walk {
        repository,
        depth,
        bad,
        report,
        observer,
        sound: HashSet::new(),
        contents: HashSet::new(),
        blocks: HashMap::new(),
        missing: HashMap::new(),
        directories: HashMap::new(),
        told: HashSet::new(),
    };
    if let Err(e) = repository.snapshots() {
        if !e.is_damage() {
            return Err(e);
        }
        walk.report.find_error(&e);
    }
    for (id, root) in snapshots {
        if walk.unless_changed(id, root)? {
            walk.report.snapshots += 1;
        }
        observer.advance(1);
    }
    Ok(())
}

/// So often a snapshot is walked again because others changed the repository meanwhile.
const WALKS_MAX: usize = 8;

/// No file that this program made has more spans: 64 million of them are some 60 TB. A hostile list could name one node
/// again and again.
const EXTENTS_MAX: usize = 1 << 26;

struct Walk<'a> {
    repository: &'a Repository,
    depth: VerifyDepth,
    bad: &'a BadObject,
    report: &'a mut VerifyReport,
    observer: &'a dyn Observer,
    /// Roots of directories under which everything is sound.
    sound: HashSet<ChunkId>,
    /// Fingerprints of contents that are sound.
    contents: HashSet<[u8; 32]>,
    blocks: HashMap<BlockId, Vec<BlockPlace>>,
    /// Findings for things that have no place at all.
    missing: HashMap<String, usize>,
    directories: HashMap<FrameRow, Arc<FrameDirectory>>,
    /// Findings that were told of the file at hand.
    told: HashSet<usize>,
}

impl Walk<'_> {
    /// Walks a snapshot, again if something was found while others forgot, moved or deleted. Whether it is there still.
    fn unless_changed(&mut self, snapshot: SnapshotId, root: ChunkId) -> Result<bool, RepositoryError> {
        for _ in 1..WALKS_MAX {
            let before = self.repository.state().number;
            let (findings, missing, files) = (self.report.findings.clone(), self.missing.clone(), self.report.files);
            if !self.snapshot(snapshot, root)? {
                return Ok(true);
            }
            let now = self.repository.refresh_by_name()?;
            let is_there = now.snapshots.contains_key(&snapshot);
            if is_there && now.number == before {
                return Ok(true);
            }
            (self.report.findings, self.missing, self.report.files) = (findings, missing, files);
            if !is_there {
                return Ok(false);
            }
            self.blocks.clear();
            self.directories.clear();
        }
        self.snapshot(snapshot, root).map(|_| true)
    }

    /// Whether something was found.
    fn snapshot(&mut self, snapshot: SnapshotId, root: ChunkId) -> Result<bool, RepositoryError> {
        // A directory is sound once it was left and nothing below it was found: hence two visits.
        let mut stack = vec![(Vec::new(), root, None)];
        let mut found = 0u64;
        while let Some((path, id, entered)) = stack.pop() {
            if let Some(before) = entered {
                if found == before {
                    self.sound.insert(id);
                }
                continue;
            }
            if self.observer.interrupted() {
                return Err(RepositoryError::Interrupted);
            }
            if self.sound.contains(&id) {
                continue;
            }
            stack.push((Vec::new(), id, Some(found)));
            let mut nodes = Vec::new();
            let listed = self.repository.for_each_entry(&id, &mut |node| {
                nodes.push(node);
                Ok(())
            });
            if let Err(e) = listed {
                found += 1;
                self.hurt_by_error(&e, snapshot, &path)?;
            }
            for node in nodes {
                let path = [&path[..], b"/", &node.name].concat();
                match node.kind {
                    NodeKind::Directory(id) => stack.push((path, id, None)),
                    NodeKind::File(file) => {
                        let fingerprint = file.content.fingerprint(&file.content_id);
                        if self.contents.contains(&fingerprint) {
                            continue;
                        }
                        self.report.files += 1;
                        let affected = self.content(&file.content, file.content_id, snapshot, &path)?;
                        if affected {
                            found += 1;
                        } else {
                            self.contents.insert(fingerprint);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(found > 0)
    }

    fn content(
        &mut self,
        content: &Content,
        id: ContentId,
        snapshot: SnapshotId,
        path: &[u8],
    ) -> Result<bool, RepositoryError> {
        self.told.clear();
        let mut extents = Vec::new();
        let read = self.repository.for_each_extent(content, &mut |extent| {
            if extents.len() >= EXTENTS_MAX {
                let what = format!("a file has more than {EXTENTS_MAX} spans of chunks");
                return Err(RepositoryError::object("a content list")(FormatError::Malformed(what)));
            }
            extents.push(extent);
            Ok(())
        });
        if let Err(e) = read {
            self.hurt_by_error(&e, snapshot, path)?;
            return Ok(true);
        }
        let mut hasher = ContentHasher::new(self.repository.domain_keys());
        let (mut affected, mut ids_known) = (false, self.depth == VerifyDepth::ReadData);
        for extent in &extents {
            let mut rest = extent.reference;
            let mut len = 0u64;
            while rest.count > 0 {
                let Some(place) = self.sound_place(&rest, snapshot, path)? else {
                    affected = true;
                    break;
                };
                let count = rest.count.min(place.span.end() - rest.first);
                if self.depth == VerifyDepth::ReadData {
                    match self.directory(place.frame.row)? {
                        Some(directory) => {
                            let at = directory.position(rest.block, rest.first);
                            let chunks = at.and_then(|at| directory.chunks.get(at..at + count as usize));
                            for chunk in chunks.unwrap_or_default() {
                                hasher.add(chunk.id);
                                len += u64::from(chunk.len);
                            }
                        }
                        None => ids_known = false,
                    }
                }
                rest.first += count;
                rest.count -= count;
            }
            if !affected && ids_known && len != extent.len {
                let what = format!("its list gives {} bytes to chunks of {len}", extent.len);
                self.affected(format!("content of {}", String::from_utf8_lossy(path)), &what, snapshot, path);
                affected = true;
            }
        }
        if !affected && ids_known && hasher.take() != id {
            let what = "its chunks are not those that its node names";
            self.affected(format!("content of {}", String::from_utf8_lossy(path)), what, snapshot, path);
            affected = true;
        }
        Ok(affected)
    }

    /// A sound place of the reference's first chunk; `None` if there is none, which was told.
    fn sound_place(
        &mut self,
        reference: &Reference,
        snapshot: SnapshotId,
        path: &[u8],
    ) -> Result<Option<BlockPlace>, RepositoryError> {
        let places = match self.blocks.entry(reference.block) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.repository.cache().block(reference.block)?),
        };
        let mut finding = None;
        for place in places {
            if place.holds(reference.first) {
                match self.bad.finding(place.frame.pack, place.frame.place) {
                    None => return Ok(Some(*place)),
                    Some(bad) => finding = Some(bad),
                }
            }
        }
        match finding {
            Some(finding) if self.told.insert(finding) => self.add(finding, snapshot, path),
            Some(_) => {}
            None => self.affected(format!("block {}", reference.block), "no pack holds it", snapshot, path),
        }
        Ok(None)
    }

    fn directory(&mut self, row: FrameRow) -> Result<Option<Arc<FrameDirectory>>, RepositoryError> {
        if let Some(directory) = self.directories.get(&row) {
            return Ok(Some(directory.clone()));
        }
        let Some(directory) = self.repository.cache().frame_directory(row)? else { return Ok(None) };
        if self.directories.len() >= DIRECTORIES_MAX {
            self.directories.clear();
        }
        let directory = Arc::new(directory);
        self.directories.insert(row, directory.clone());
        Ok(Some(directory))
    }

    fn hurt_by_error(
        &mut self,
        error: &RepositoryError,
        snapshot: SnapshotId,
        path: &[u8],
    ) -> Result<(), RepositoryError> {
        use crate::store::StoreError;
        match error {
            RepositoryError::Damaged { name, cause } => self.affected(name.clone(), &cause.to_string(), snapshot, path),
            RepositoryError::Missing { name } | RepositoryError::Store(StoreError::Missing { name }) => {
                self.affected(name.clone(), "it is missing", snapshot, path);
            }
            RepositoryError::Store(StoreError::BadRange { name, .. }) => {
                self.affected(name.clone(), "it is cut short", snapshot, path);
            }
            RepositoryError::Interrupted => return Err(RepositoryError::Interrupted),
            e => self.affected("the repository".to_owned(), &e.to_string(), snapshot, path),
        }
        Ok(())
    }

    /// Adds a path to the finding about `object`, which is made if there is none.
    fn affected(&mut self, object: String, what: &str, snapshot: SnapshotId, path: &[u8]) {
        let known = self.missing.get(&object).copied();
        let known = known.or_else(|| self.report.findings.iter().position(|f| f.object == object));
        let finding = known.unwrap_or_else(|| self.report.find(object.clone(), what));
        self.missing.insert(object, finding);
        self.add(finding, snapshot, path);
    }

    fn add(&mut self, finding: usize, snapshot: SnapshotId, path: &[u8]) {
        let affects = &mut self.report.findings[finding].affects;
        let at = match affects.iter().position(|(id, ..)| *id == snapshot) {
            Some(at) => at,
            None => {
                affects.push((snapshot, Vec::new(), 0));
                affects.len() - 1
            }
        };
        let (_, paths, count) = &mut affects[at];
        *count += 1;
        if paths.len() < PATHS_MAX {
            let path = if path.is_empty() { &b"/"[..] } else { path };
            paths.push(String::from_utf8_lossy(path).into_owned());
        }
    }
}
