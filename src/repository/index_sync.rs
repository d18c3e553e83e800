//! Keeping the cache's rows in step with the folded state: which packs there are, and what is in them.

use std::collections::{HashMap, HashSet};

use crate::crypto::secret::Secret;
use crate::format::envelope::{ENVELOPE_LEN, Envelope, FormatError, Kind};
use crate::format::names;
use crate::format::record::{InlineDirectories, Operation, SignedRecord};
use crate::format::segment::{self, PARTS, SegmentContent};
use crate::format::state::{DirectoryHome, SegmentState, State};
use crate::primitives::ids::ObjectHash;

use super::Repository;
use super::error::{RepositoryError, Result};

/// So often the log is folded again because others deleted meanwhile what it named.
pub(super) const OVERTAKEN_MAX: usize = 20;

impl Repository {
    /// Makes the cache know the packs that are live in `state`, and no others that were published.
    pub(crate) fn sync_places(&self, state: &State) -> Result<()> {
        let fingerprint = places_fingerprint(state);
        if *self.places_synced.lock() == Some(fingerprint) {
            return Ok(());
        }
        // Another process has folded more and brought the rows in step with that: what it knows is newer.
        if self.cache.position()? <= state.number {
            let whole = self.bring_places(state)?;
            let live = |name: &ObjectHash| state.packs.get(name).filter(|p| p.live()).map(|p| p.published);
            self.cache.settle_places(state.number, &live)?;
            if !whole {
                return Ok(());
            }
        }
        *self.places_synced.lock() = Some(fingerprint);
        Ok(())
    }

    /// Whether the rows know all that the state folded last knows, or can know of it.
    pub(super) fn places_are_synced(&self) -> bool {
        self.places_synced.lock().is_some()
    }

    /// Whether what `state` names may be gone because others have gone on since: there is a later record.
    fn is_overtaken(&self, state: &State, error: &RepositoryError) -> Result<bool> {
        Ok(error.is_missing() && self.gap().is_none() && self.is_there(&names::record(state.number + 1))?)
    }

    /// Adds the packs that are live in `state` and not in the cache; whether all that can be read were found.
    fn bring_places(&self, state: &State) -> Result<bool> {
        let mut whole = true;
        let known = self.cache.known_packs()?;
        let new = state.packs.iter().filter(|(name, p)| p.live() && !known.contains(*name));
        let homes: HashSet<DirectoryHome> = new.map(|(_, p)| p.home).collect();
        for home in homes {
            // Directories that cannot be read leave their blocks unknown: whoever needs one says so by name,
            // and `verify` names the segment. Other segments serve on.
            match self.directories(state, home, false) {
                Ok(mut content) => {
                    keep_live(&mut content, state, home);
                    self.keep_usable(&mut content, state);
                    self.cache.add_places(&content, Some(state.number))?;
                }
                Err(e) if self.is_overtaken(state, &e)? => whole = false,
                Err(e) if e.is_damage() => self.note_damage(e),
                Err(e) => return Err(e),
            }
        }
        Ok(whole)
    }

    /// Looks again for what could not be read before: it has come back.
    pub fn look_again(&self) -> Result<()> {
        *self.places_synced.lock() = None;
        self.take_damage();
        self.sync_places(&self.state())
    }

    /// Takes out content directories of packs that nobody here may deduplicate against: their ids would only
    /// stand in the way of others in the index.
    fn keep_usable(&self, content: &mut SegmentContent, state: &State) {
        let names: Vec<ObjectHash> = content.locations.iter().map(|l| l.name).collect();
        if let Some(directories) = &mut content.content {
            directories.retain(|(at, _)| self.may_deduplicate(state, &names[*at as usize]));
        }
    }

    /// Fetches the content directories of live packs that the cache has none of: of those that this credential may
    /// deduplicate against, or of all.
    pub fn sync_content(&self, all: bool) -> Result<()> {
        for _ in 1..OVERTAKEN_MAX {
            if self.sync_content_as_known(all)? {
                return Ok(());
            }
            self.refresh()?;
        }
        self.sync_content_as_known(all).map(drop)
    }

    /// Whether nothing was missing that others have deleted since.
    fn sync_content_as_known(&self, all: bool) -> Result<bool> {
        let (state, mut whole) = (self.state(), true);
        let missing = self.cache.without_content()?;
        let wanted = missing.iter().filter(|name| all || self.may_deduplicate(&state, name));
        let homes: HashSet<DirectoryHome> =
            wanted.filter_map(|name| state.packs.get(name)).filter(|p| p.live()).map(|p| p.home).collect();
        for home in homes {
            match self.directories(&state, home, true) {
                Ok(mut content) => {
                    keep_live(&mut content, &state, home);
                    if !all {
                        self.keep_usable(&mut content, &state);
                    }
                    self.cache.add_places(&content, Some(state.number))?;
                }
                Err(e) if self.is_overtaken(&state, &e)? => whole = false,
                // What cannot be deduplicated against is stored again.
                Err(e) if e.is_damage() => self.note_damage(e),
                Err(e) => return Err(e),
            }
        }
        Ok(whole)
    }

    /// Reads the directories kept at `home`; those of content packs only if asked for.
    pub fn directories(&self, state: &State, home: DirectoryHome, content: bool) -> Result<SegmentContent> {
        match home {
            DirectoryHome::Record(number) => self.inline_directories(number),
            DirectoryHome::Segment(name) => {
                let missing = || RepositoryError::Missing { name: format!("segment {name}") };
                self.segment(&name, state.segments.get(&name).ok_or_else(missing)?, content)
            }
        }
    }

    fn inline_directories(&self, number: u64) -> Result<SegmentContent> {
        let name = names::record(number);
        let bytes = self.get(&name)?;
        let signed = SignedRecord::decode(&bytes, |e| self.keys.secret(e)).map_err(RepositoryError::object(&name))?;
        let mut all = SegmentContent { content: Some(Vec::new()), ..SegmentContent::default() };
        for operation in &signed.record.operations {
            let (Operation::Publish { inline, .. } | Operation::Rewrite { inline, .. }) = operation else { continue };
            let Some(InlineDirectories { bytes, .. }) = inline else { continue };
            let part = SegmentContent::decode_inline(bytes).map_err(|e| RepositoryError::object(&name)(e.into()))?;
            append(&mut all, part);
        }
        Ok(all)
    }

    fn segment(&self, name: &ObjectHash, segment: &SegmentState, content: bool) -> Result<SegmentContent> {
        let object = names::segment(segment.run, name);
        self.twice(|| self.segment_once(name, &object, segment, content))
    }

    /// The key of the epoch that a segment was written in.
    fn index_key(&self, segment: &[u8]) -> Result<Secret, FormatError> {
        self.keys.secret(&Envelope::expect(segment, Kind::Segment)?)
    }

    fn segment_once(
        &self,
        name: &ObjectHash,
        object: &str,
        segment: &SegmentState,
        content: bool,
    ) -> Result<SegmentContent> {
        let damaged = RepositoryError::object(object);
        if content {
            let bytes = self.get(object)?;
            if ObjectHash(*blake3::hash(&bytes).as_bytes()) != *name {
                return Err(damaged(FormatError::Checksum));
            }
            let open = || segment::open(&bytes, &self.index_key(&bytes)?, &segment.parts);
            return open().map_err(damaged);
        }
        // The index key authenticates each part; the record that names the segment is signed.
        let end = (ENVELOPE_LEN as u64).saturating_add(segment.parts[0]).saturating_add(segment.parts[1]);
        let bytes = self.store.get_range(object, 0..end)?;
        let open = || {
            let (key, mut texts) = (self.index_key(&bytes)?, Vec::with_capacity(PARTS));
            let mut at = ENVELOPE_LEN;
            for (i, len) in segment.parts[..2].iter().enumerate() {
                // Lengths are what the record's writer chose.
                let end = usize::try_from(*len).ok().and_then(|len| at.checked_add(len));
                let part = end.and_then(|end| bytes.get(at..end)).ok_or(FormatError::Checksum)?;
                let end = at + part.len();
                texts.push(segment::open_part(&bytes, &key, i, part)?);
                at = end;
            }
            let locations = segment::decode_locations(&texts[0])?;
            let content = SegmentContent { locations, meta: segment::decode_directories(&texts[1])?, content: None };
            Ok(content.checked()?)
        };
        open().map_err(damaged)
    }
}

/// Drops packs that are not live, whose directories the log places elsewhere than at `home`, or whose entry in the
/// record says otherwise than the directory.
///
/// Bytes speak only for what their record or segment says they are: whoever writes a record could otherwise say where
/// the blocks of anybody's packs are.
///
/// First come: only an owner's Rewrite brings a second location of a block, so spans of other runs' blocks in packs of
/// anybody else are dropped too.
fn keep_live(content: &mut SegmentContent, state: &State, home: DirectoryHome) {
    let owner = state.owner.id();
    for location in &mut content.locations {
        if state.runs.get(&location.run).is_none_or(|run| run.writer != owner) {
            let run = location.run;
            location.frames.iter_mut().for_each(|f| f.spans.retain(|s| s.block.run == run));
        }
    }
    let live: Vec<bool> = content
        .locations
        .iter()
        .map(|l| {
            let pack = state.packs.get(&l.name);
            pack.is_some_and(|p| p.live() && p.home == home && p.kind == l.kind && p.run == l.run && p.len == l.len)
        })
        .collect();
    if live.iter().all(|l| *l) {
        return;
    }
    let mut position = HashMap::new();
    for (i, _) in live.iter().enumerate().filter(|(_, live)| **live) {
        position.insert(i as u32, position.len() as u32);
    }
    let mut i = 0;
    content.locations.retain(|_| {
        i += 1;
        live[i - 1]
    });
    let renumber = |directories: &mut segment::Directories| {
        directories.retain_mut(|(at, _)| {
            let new = position.get(at).copied();
            *at = new.unwrap_or_default();
            new.is_some()
        });
    };
    renumber(&mut content.meta);
    content.content.iter_mut().for_each(renumber);
}

fn append(all: &mut SegmentContent, part: SegmentContent) {
    let offset = all.locations.len() as u32;
    let shifted = |d: segment::Directories| d.into_iter().map(move |(i, d)| (i + offset, d)).collect::<Vec<_>>();
    all.locations.extend(part.locations);
    all.meta.extend(shifted(part.meta));
    all.content.get_or_insert_default().extend(shifted(part.content.unwrap_or_default()));
}

/// Number of packs, newest record that changed one, live packs, newest record that brought a segment.
pub(super) type PlacesFingerprint = (usize, u64, usize, u64);

/// Changes whenever the set of live packs may have changed.
fn places_fingerprint(state: &State) -> PlacesFingerprint {
    let newest = state
        .packs
        .values()
        .map(|p| p.published.max(p.condemned.unwrap_or(0)).max(p.lost.unwrap_or(0)))
        .max()
        .unwrap_or(0);
    // A segment that is written anew may lead to packs that could not be found before.
    let newest_segment = state.segments.values().map(|s| s.published).max().unwrap_or(0);
    (state.packs.len(), newest, state.packs.values().filter(|p| p.live()).count(), newest_segment)
}
