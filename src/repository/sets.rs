//! Sets: the snapshots that one run saved of its sources. They are kept and forgotten together.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use crate::format::description::SetDescription;
use crate::format::record::Outcome;
use crate::primitives::component::component;
use crate::primitives::ids::SetId;

use super::snapshots::{ChoiceError, Snapshot, SnapshotFilter, SnapshotName, some_of};

/// The snapshots of a set, or one that belongs to none.
#[derive(Debug, Clone)]
pub struct Set {
    /// Its members, in the order of its sources; there is at least one.
    pub members: Vec<Snapshot>,
}

impl Set {
    /// What its members say of it; `None` for a snapshot that was saved alone.
    pub fn described(&self) -> Option<&SetDescription> {
        self.members[0].described.set.as_ref()
    }

    /// The time of its oldest member, in milliseconds since the epoch.
    pub fn time_ms(&self) -> i64 {
        self.members.iter().map(|s| s.state.time_ms).min().unwrap_or_default()
    }

    /// Where a member is restored below a target: `JOB/SOURCE` of a job, else one component for the name of its source;
    /// below that, one component for the database that it is.
    pub fn place_of(&self, member: &Snapshot) -> PathBuf {
        let source = &member.described.source;
        let place: PathBuf = match self.described().is_some_and(|set| set.job.is_some()) {
            true => source.split('/').map(component).collect(),
            false => component(source).into(),
        };
        let stream = member.described.stream.as_ref();
        let names = stream.into_iter().flat_map(|stream| stream.line.iter().chain(&stream.member));
        names.fold(place, |place, name| place.join(component(name)))
    }

    /// Whether data of a member is lost.
    pub fn is_damaged(&self) -> bool {
        self.members.iter().any(|s| s.state.damaged)
    }

    /// Whether a member is held.
    pub fn is_held(&self) -> bool {
        self.members.iter().any(|s| s.state.held)
    }

    /// Sources, and databases of sources, of which it was to have a member and has none.
    pub fn missing(&self) -> Vec<String> {
        let sources = self.described().map(|set| set.sources.as_slice()).unwrap_or_default();
        let mut wanted: Vec<String> = Vec::new();
        for source in sources {
            let of_source: Vec<&Snapshot> =
                self.members.iter().filter(|s| s.described.source_path() == *source).collect();
            // A database that was dropped meanwhile is in the lists of those only that were saved before.
            let lists = of_source.iter().filter_map(|s| s.described.stream.as_ref().filter(|d| d.member.is_some()));
            let listed = lists.min_by_key(|stream| stream.members.len());
            match listed {
                Some(stream) => {
                    wanted.extend(stream.members.iter().map(|name| format!("{source}/{}", component(name))))
                }
                None => wanted.push(source.clone()),
            }
        }
        let has: BTreeSet<String> = self.members.iter().map(|s| s.described.member_path()).collect();
        wanted.retain(|path| !has.contains(path));
        wanted
    }

    /// How complete it is: as its worst member, and partial if one is missing.
    pub fn outcome(&self) -> Outcome {
        let worst = self.members.iter().map(|s| s.state.outcome).max().unwrap_or(Outcome::Failed);
        if self.missing().is_empty() { worst } else { worst.max(Outcome::Partial) }
    }
}

/// Puts the members of sets together; the order is that of their oldest members.
///
/// What a description says of its set is a claim. It counts for snapshots of one host only, for which the credential
/// was checked to speak: no machine can put a snapshot into the set of another. A snapshot that is not believed is in
/// no set.
pub fn sets(snapshots: Vec<Snapshot>) -> Vec<Set> {
    let mut places: HashMap<(SetId, String), usize> = HashMap::new();
    let mut sets: Vec<Set> = Vec::new();
    for snapshot in snapshots {
        let set = snapshot.described.set.as_ref().filter(|_| snapshot.doubt.is_none());
        let key = set.map(|set| (set.id, snapshot.described.host.clone()));
        match key.as_ref().and_then(|key| places.get(key)) {
            Some(at) => sets[*at].members.push(snapshot),
            None => {
                if let Some(key) = key {
                    places.insert(key, sets.len());
                }
                sets.push(Set { members: vec![snapshot] });
            }
        }
    }
    for set in &mut sets {
        let sources = set.described().map(|set| set.sources.clone()).unwrap_or_default();
        set.members.sort_by_cached_key(|s| {
            let stream = s.described.stream.as_ref();
            let at = stream.and_then(|d| d.members.iter().position(|name| d.member.as_ref() == Some(name)));
            (sources.iter().position(|source| *source == s.described.source_path()), at)
        });
    }
    sets
}

/// Which sets are looked at.
#[derive(Debug, Clone, Default)]
pub struct SetFilter {
    /// Sets with a member that this lets through.
    pub snapshots: SnapshotFilter,
    /// Of this job.
    pub job: Option<String>,
    /// Of this type.
    pub job_type: Option<String>,
    /// Partial ones may be chosen by `latest` and by time, too.
    pub partial: bool,
}

/// The set that was meant.
#[derive(Debug, Clone)]
pub struct ChosenSet {
    /// The set.
    pub set: Set,
    /// Partial sets that are newer, which were passed over.
    pub newer: Vec<Set>,
}

impl Set {
    /// What tells it from sets of other jobs: its job, or its sources.
    fn family(&self) -> String {
        match self.described() {
            Some(SetDescription { job: Some(job), .. }) => format!("job {job}"),
            Some(set) => set.sources.join(" + "),
            None => self.members[0].described.source.clone(),
        }
    }

    /// Whether all of it was saved and is still there.
    pub fn is_whole(&self) -> bool {
        matches!(self.outcome(), Outcome::Complete | Outcome::Warnings) && !self.is_damaged()
    }
}

/// Chooses among sets, which come oldest first: by the first digits of its id, the newest whole one, or the newest whole
/// one at a time. `now_ms` is the time of this machine.
pub fn choose_set(
    all: Vec<Set>,
    name: &SnapshotName,
    filter: &SetFilter,
    now_ms: i64,
) -> Result<ChosenSet, ChoiceError> {
    let described: Vec<Set> = all.into_iter().filter(|set| set.described().is_some()).collect();
    if let SnapshotName::Prefix(prefix) = name {
        let begins = |set: &Set| set.described().is_some_and(|d| d.id.to_string().starts_with(&prefix.to_lowercase()));
        let mut found: Vec<Set> = described.into_iter().filter(begins).collect();
        return match found.len() {
            0 => Err(ChoiceError::NoSet { found: 0 }),
            1 => Ok(ChosenSet { set: found.remove(0), newer: Vec::new() }),
            count => Err(ChoiceError::Ambiguous { prefix: prefix.clone(), count }),
        };
    }
    let time = if let SnapshotName::At(time) = name { SetTime::NotAfter(*time) } else { SetTime::Any };
    let mut found = meant(described, time, filter, false, now_ms)?;
    let back = if let SnapshotName::Latest(n) = name { *n } else { 0 };
    let usable: Vec<usize> = (0..found.len()).filter(|at| filter.partial || found[*at].is_whole()).collect();
    let Some(at) = usable.len().checked_sub(back + 1).map(|i| usable[i]) else {
        return Err(ChoiceError::NoSet { found: found.len() });
    };
    let newer = found.split_off(at + 1).into_iter().filter(|set| back == 0 && !set.is_whole()).collect();
    Ok(ChosenSet { set: found.swap_remove(at), newer })
}

/// Sets of which time are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// Of any.
    Any,
    /// At or before this one, in milliseconds since the epoch.
    NotAfter(i64),
}

/// The sets that the filter means, oldest first; they are of one host, one job and one type. Sets of sources that were
/// saved alone are among them if their sources are named, or if `alone` says so.
pub(super) fn meant(
    all: Vec<Set>,
    time: SetTime,
    filter: &SetFilter,
    alone: bool,
    now_ms: i64,
) -> Result<Vec<Set>, ChoiceError> {
    // A set is also one of the sources that it lacks.
    let sources = &filter.snapshots.sources;
    let of_member = SnapshotFilter { sources: Vec::new(), ..filter.snapshots.clone() };
    let is_meant = |set: &Set| {
        let Some(d) = set.described() else { return false };
        set.members.iter().any(|s| of_member.matches(s))
            && (sources.is_empty() || sources.iter().any(|source| d.sources.contains(source)))
            // What was saved alone is the latest of its sources, and never of the job.
            && !(sources.is_empty() && d.is_alone() && !alone)
            && filter.job.as_ref().is_none_or(|job| d.job.as_ref() == Some(job))
            && match &filter.job_type {
                Some(job_type) => d.job_type.as_ref() == Some(job_type),
                None => !d.is_pre_restore(),
            }
            && !set.members.iter().any(|s| s.is_of_the_future(now_ms))
    };
    let mut found: Vec<Set> = all.into_iter().filter(is_meant).collect();
    found.sort_by_key(Set::time_ms);
    if let SetTime::NotAfter(time) = time {
        found.retain(|set| set.time_ms() <= time);
    }
    one_kind("hosts", found.iter().map(|set| set.members[0].described.host.clone()))?;
    one_kind("jobs", found.iter().map(Set::family))?;
    one_kind("types", found.iter().filter_map(|set| set.described()?.job_type.clone()))?;
    Ok(found)
}

fn one_kind(what: &'static str, all: impl Iterator<Item = String>) -> Result<(), ChoiceError> {
    let all: BTreeSet<String> = all.collect();
    if all.len() < 2 {
        return Ok(());
    }
    let candidates: Vec<String> = all.into_iter().collect();
    Err(ChoiceError::SeveralSets { what, candidates: some_of(candidates.into_iter()) })
}
