//! Comparing what the store lists with what the log says is there.
//!
//! The local index says what is stored; a store that lost an object does not tell. So once a day a run lists
//! everything: what is missing, or has another length, is neither deduplicated against nor reused unread, and
//! the next snapshot is whole whatever happened to the ones before it.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use crate::format::envelope::ENVELOPE_LEN;
use crate::format::names;
use crate::format::state::{DirectoryHome, State};
use crate::primitives::ids::ObjectHash;
use crate::store::{Foreign, Listed, Store, StoreError};

use super::Repository;
use super::error::Result;
use super::index_sync::OVERTAKEN_MAX;

/// How often a machine compares the listing, in milliseconds.
const EVERY_MS: i64 = 24 * 3600 * 1000;

/// How often a listing of which nothing came is tried again.
const LIST_TRIES: u32 = 2;

/// An object that is not as the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The object.
    pub object: String,
    /// The pack, if it is one.
    pub pack: Option<ObjectHash>,
    /// The segment, if it is one.
    pub segment: Option<ObjectHash>,
    /// Bytes that it should have.
    pub len: u64,
    /// Bytes that it has; `None` if it is missing.
    pub found: Option<u64>,
}

impl Difference {
    /// What is wrong, without the object's name.
    pub fn what(&self) -> String {
        match self.found {
            None => "it is missing".to_owned(),
            Some(size) => format!("it has {size} bytes instead of {}", self.len),
        }
    }
}

/// Compares the packs and segments that are live in `state` with the lengths listed.
pub fn differences(state: &State, there: &HashMap<String, u64>) -> Vec<Difference> {
    let packs = state.packs.iter().filter(|(_, p)| p.live()).map(|(name, pack)| {
        let object = names::pack(pack.kind, pack.run, name);
        Difference { found: there.get(&object).copied(), object, pack: Some(*name), segment: None, len: pack.len }
    });
    let segments = state.segments.iter().filter(|(_, s)| s.live()).map(|(name, segment)| {
        let object = names::segment(segment.run, name);
        let len = ENVELOPE_LEN as u64 + segment.parts.iter().sum::<u64>();
        Difference { found: there.get(&object).copied(), object, pack: None, segment: Some(*name), len }
    });
    packs.chain(segments).filter(|d| d.found != Some(d.len)).collect()
}

/// Everything that the store holds, in byte order, and what is not ours. A bucket may hold keys beside ours that
/// cannot be listed; then only our folders are.
pub fn all_objects(store: &dyn Store) -> Result<(Vec<Listed>, Foreign)> {
    let mut all = Vec::new();
    let listed = store.list("", None, &mut |object| {
        all.push(object);
        ControlFlow::Continue(())
    });
    match listed {
        Ok(foreign) => return Ok((all, foreign)),
        Err(StoreError::Other { .. }) => all.clear(),
        Err(e) => return Err(e.into()),
    }
    match store.size(names::CONFIG) {
        Ok(size) => all.push(Listed { name: names::CONFIG.to_owned(), size, modified_ms: 0 }),
        Err(e) if e.is_missing() => {}
        Err(e) => return Err(e.into()),
    }
    let mut foreign = Foreign::default();
    for folder in [names::CHECKPOINT, names::DATA, names::INDEX, names::KEYS, names::LOG, names::META] {
        let found = store.list(folder, None, &mut |object| {
            all.push(object);
            ControlFlow::Continue(())
        })?;
        foreign.count += found.count;
        foreign.examples.extend(found.examples);
    }
    Ok((all, foreign))
}

/// Lists a folder that may hold very much; what fails in the middle goes on behind the last name that came.
fn list_on(store: &dyn Store, folder: &str, each: &mut dyn FnMut(Listed)) -> Result<()> {
    let (mut last, mut failures): (Option<String>, u32) = (None, 0);
    loop {
        let mut came = 0;
        let after = last.clone();
        let listed = store.list(folder, after.as_deref(), &mut |object| {
            came += 1;
            last = Some(object.name.clone());
            each(object);
            ControlFlow::Continue(())
        });
        match listed {
            Ok(_) => return Ok(()),
            // As long as something comes, it is worth going on.
            Err(StoreError::Other { .. }) if came > 0 || failures < LIST_TRIES => failures += 1,
            Err(e) => return Err(e.into()),
        }
    }
}

impl Repository {
    /// Compares a full listing with the log, unless this machine found them equal less than a day ago.
    ///
    /// From then on nothing is deduplicated against the packs that differ; the differences are returned.
    pub fn check_listing(&self) -> Result<Vec<Difference>> {
        let now = self.system.now_ms();
        if !self.is_listing_due() {
            return Ok(Vec::new());
        }
        let mut there = HashMap::new();
        for folder in [names::DATA, names::META, names::INDEX] {
            list_on(&*self.store, folder, &mut |listed| {
                there.insert(listed.name, listed.size);
            })?;
        }
        let found = self.lasting_differences(&there)?;
        if found.is_empty() {
            self.local.set_listed_ms(now)?;
        }
        let state = self.state();
        let mut suspects = self.suspects.lock();
        suspects.extend(found.iter().filter_map(|d| d.pack));
        let segments: HashSet<DirectoryHome> =
            found.iter().filter_map(|d| d.segment).map(DirectoryHome::Segment).collect();
        // Whoever has no cache finds the blocks of these packs through the segment alone.
        suspects.extend(state.packs.iter().filter(|(_, p)| segments.contains(&p.home)).map(|(name, _)| *name));
        Ok(found)
    }

    /// Whether this machine has not compared the listing for a day.
    pub(super) fn is_listing_due(&self) -> bool {
        let now = self.system.now_ms();
        // A clock that was set back lists once more.
        !self.local.listed_ms().is_some_and(|last| (0..EVERY_MS).contains(&(now - last)))
    }

    /// Lets the next run compare the listing with the log whenever the last one did: something was found missing or
    /// damaged.
    pub fn distrust_listing(&self) -> Result<()> {
        self.local.forget_listed()
    }

    /// Differences between the log and a listing that is not younger than what was folded: what a prune has condemned
    /// meanwhile may be gone, and what was created meanwhile need not be listed.
    pub fn lasting_differences(&self, there: &HashMap<String, u64>) -> Result<Vec<Difference>> {
        let mut tries = 0;
        loop {
            tries += 1;
            let state = self.state();
            let mut found = differences(&state, there);
            self.ask_by_name(&mut found)?;
            if found.is_empty() || tries == OVERTAKEN_MAX || self.refresh_by_name()?.number == state.number {
                return Ok(found);
            }
        }
    }

    /// Leaves only what is not as the log says when it is asked for by name: what was created while the store was listed
    /// need not be in the listing.
    fn ask_by_name(&self, found: &mut Vec<Difference>) -> Result<()> {
        for difference in found.iter_mut() {
            difference.found = match self.store.size(&difference.object) {
                Ok(size) => Some(size),
                Err(e) if e.is_missing() => None,
                Err(e) => return Err(e.into()),
            };
        }
        found.retain(|d| d.found != Some(d.len));
        Ok(())
    }
}
