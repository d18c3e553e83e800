//! Snapshots with their descriptions opened, and choosing among them.
//!
//! A description is sealed bytes that the writer of the record chose. It is believed only as far as it agrees with what
//! the record is judged by: the keyed tags of host and source. One that does not, or that cannot be opened, says
//! nothing: the snapshot is listed, can be restored and forgotten by its id, and is never chosen by `latest` or a time.

use std::collections::BTreeSet;

use crate::format::description::{self, SetDescription, SnapshotDescription};
use crate::format::record::{Outcome, Role};
use crate::format::state::SnapshotState;
use crate::primitives::ids::SnapshotId;
use crate::primitives::text::{printable, shortened};

use super::Repository;
use super::error::{RepositoryError, Result};

/// Names that are listed when none of them was meant.
const NAMES_MAX: usize = 20;

/// A snapshot and what is said of it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// As the log has it.
    pub state: SnapshotState,
    /// Host, source, paths, tags, figures; nothing but `?` as host and source if `doubt` says why.
    pub described: SnapshotDescription,
    /// Why the description is not believed, if it is not.
    pub doubt: Option<String>,
}

/// A time so far ahead of this machine's clock is one of the future, in milliseconds: clocks differ by some minutes.
pub const FUTURE_MS: i64 = 10 * 60_000;

impl Snapshot {
    /// Whether it stands for a time that is still to come. Such a one is never the newest.
    pub fn is_of_the_future(&self, now_ms: i64) -> bool {
        self.state.time_ms > now_ms.saturating_add(FUTURE_MS)
    }

    /// Whether all of it was saved and is still there.
    pub fn is_good(&self) -> bool {
        matches!(self.state.outcome, Outcome::Complete | Outcome::Warnings)
            && !self.state.damaged
            && self.doubt.is_none()
    }

    /// Whether it is a stream whose end is missing. Such a one is never the newest: who loads it loads a part.
    pub fn is_cut_short(&self) -> bool {
        let is_stream = !self.described.paths.is_empty() && self.described.paths.iter().all(|p| !p.starts_with(b"/"));
        is_stream && self.state.outcome == Outcome::Partial
    }
}

/// Which snapshots are meant. Empty fields do not restrict.
#[derive(Debug, Clone, Default)]
pub struct SnapshotFilter {
    /// Any of these hosts.
    pub hosts: Vec<String>,
    /// Any of these sets of tags: all tags of one set.
    pub tags: Vec<Vec<String>>,
    /// Any of these paths.
    pub paths: Vec<Vec<u8>>,
    /// Any of these sources.
    pub sources: Vec<String>,
    /// Any of these, as shell patterns.
    pub labels: Vec<glob::Pattern>,
}

impl SnapshotFilter {
    /// Whether the snapshot is meant.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        let d = &snapshot.described;
        let any = |empty: bool, found: bool| empty || found;
        any(self.hosts.is_empty(), self.hosts.contains(&d.host))
            && (self.sources.is_empty()
                || [&d.source, &d.source_path(), &d.member_path()].iter().any(|path| self.sources.contains(path)))
            && any(self.tags.is_empty(), self.tags.iter().any(|set| set.iter().all(|t| d.tags.contains(t))))
            && any(
                self.labels.is_empty(),
                self.labels.iter().any(|l| l.matches(d.label.as_deref().unwrap_or_default())),
            )
            && any(self.paths.is_empty(), self.paths.iter().any(|p| d.paths.iter().any(|q| q[..] == p[..])))
    }

    /// Whether the snapshot may be meant without its id. What was saved before a load is no newer state of anything: it
    /// is meant only if its source or its label is named.
    pub fn means(&self, snapshot: &Snapshot) -> bool {
        let is_pre_restore = snapshot.described.set.as_ref().is_some_and(SetDescription::is_pre_restore);
        let is_named = !self.sources.is_empty() || !self.labels.is_empty();
        snapshot.doubt.is_none() && self.matches(snapshot) && (is_named || !is_pre_restore)
    }
}

/// How a snapshot was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotName {
    /// The first digits of its id.
    Prefix(String),
    /// The newest, or the n-th before it.
    Latest(usize),
    /// The newest at or before this time, in milliseconds since the epoch.
    At(i64),
}

/// No snapshot, or not one, is meant.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// Nothing matches.
    #[error("no snapshot matches {0}")]
    None(String),
    /// There are snapshots, and none is of what was named.
    #[error("no snapshot of {what}; there are: {}", .there.join(", "))]
    NoneOf {
        /// Which host, source, path or tag.
        what: String,
        /// Those that snapshots are of.
        there: Vec<String>,
    },
    /// Several ids begin so.
    #[error("{prefix} is the beginning of {count} snapshot ids")]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// How many.
        count: usize,
    },
    /// The newest could be of several hosts, and none was named.
    #[error("`latest` spans several hosts: {}", .candidates.join(", "))]
    SeveralHosts {
        /// Each host with its newest snapshot.
        candidates: Vec<String>,
    },
    /// The newest could be of several sources, and none was named.
    #[error("`latest` spans several sources: {}", .candidates.join(", "))]
    SeveralSources {
        /// Each source with its newest snapshot.
        candidates: Vec<String>,
    },
    /// No set is meant, or none that is whole.
    #[error("{}", no_set(*.found))]
    NoSet {
        /// How many partial ones there are.
        found: usize,
    },
    /// Of these sources there is no good snapshot.
    #[error("there is no good snapshot of {}", .lacking.join(", "))]
    NoneGood {
        /// Sources, and databases of sources.
        lacking: Vec<String>,
    },
    /// Several sets could be meant, and nothing told them apart.
    #[error("`latest` spans several {what}: {}", .candidates.join(", "))]
    SeveralSets {
        /// What there are several of: `jobs`, `types`, `hosts`.
        what: &'static str,
        /// Each of them.
        candidates: Vec<String>,
    },
    /// The repository could not tell.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl Repository {
    /// All live snapshots, oldest first.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let state = self.state();
        let mut all = Vec::with_capacity(state.snapshots.len());
        for (id, snapshot) in &state.snapshots {
            let (described, doubt) = match self.described(id, snapshot)? {
                Ok(described) => (described, None),
                Err(doubt) => {
                    let unknown = || "?".to_owned();
                    (SnapshotDescription { host: unknown(), source: unknown(), ..Default::default() }, Some(doubt))
                }
            };
            all.push(Snapshot { id: *id, state: snapshot.clone(), described, doubt });
        }
        all.sort_by_key(|s| (s.state.time_ms, s.state.published, s.id));
        Ok(all)
    }

    /// What the snapshot says of itself, or why that is not believed.
    fn described(
        &self,
        id: &SnapshotId,
        snapshot: &SnapshotState,
    ) -> Result<std::result::Result<SnapshotDescription, String>> {
        let described: SnapshotDescription = match description::open(&snapshot.description, |e| self.keys.secret(e)) {
            Ok(described) => described,
            // A credential that can open none of them is told so.
            Err(cause) if self.keys.role == Role::Backup => {
                let name = format!("the description of snapshot {id} in record {}", snapshot.published);
                return Err(RepositoryError::object(name)(cause));
            }
            Err(cause) => return Ok(Err(format!("its description cannot be opened: {cause}"))),
        };
        let keys = self.domain_keys();
        if keys.host(&described.host) != snapshot.host || keys.source(&described.source) != snapshot.source {
            return Ok(Err(format!(
                "it calls itself host {:?}, source {:?}, and its record is not signed for them",
                shortened(&described.host),
                shortened(&described.source)
            )));
        }
        Ok(Ok(described))
    }

    /// The one snapshot that is meant.
    pub fn choose(&self, name: &SnapshotName, filter: &SnapshotFilter) -> std::result::Result<Snapshot, ChoiceError> {
        choose(self.snapshots()?, name, filter, self.system.now_ms())
    }
}

/// Chooses among snapshots that are sorted oldest first. `now_ms` is the time of this machine.
pub fn choose(
    all: Vec<Snapshot>,
    name: &SnapshotName,
    filter: &SnapshotFilter,
    now_ms: i64,
) -> std::result::Result<Snapshot, ChoiceError> {
    if let SnapshotName::Prefix(prefix) = name {
        let mut found: Vec<Snapshot> =
            all.into_iter().filter(|s| s.id.to_string().starts_with(&prefix.to_lowercase())).collect();
        return match found.len() {
            0 => Err(ChoiceError::None(prefix.clone())),
            1 => Ok(found.remove(0)),
            count => Err(ChoiceError::Ambiguous { prefix: prefix.clone(), count }),
        };
    }
    if let Some(none) = none_of(&all, filter) {
        return Err(none);
    }
    let usable = |s: &Snapshot| filter.means(s) && s.state.outcome != Outcome::Failed;
    let mut found: Vec<Snapshot> = all.into_iter().filter(usable).collect();
    let cut_short = found.iter().filter(|s| s.is_cut_short()).count();
    found.retain(|s| !s.is_cut_short());
    // A wrong clock, or a slip of the pen, would be the newest for years. If there is nothing else, this clock is wrong.
    if !found.iter().all(|s| s.is_of_the_future(now_ms)) {
        found.retain(|s| !s.is_of_the_future(now_ms));
    }
    if let SnapshotName::At(time) = name {
        found.retain(|s| s.state.time_ms <= *time);
    }
    let hosts: BTreeSet<&str> = found.iter().map(|s| s.described.host.as_str()).collect();
    if filter.hosts.is_empty() && hosts.len() > 1 {
        let newest = |host: &str| found.iter().rfind(|s| s.described.host == host).expect("every host has one");
        let candidates = hosts.iter().map(|h| format!("{} ({})", shortened(h), newest(h).id.short()));
        return Err(ChoiceError::SeveralHosts { candidates: some_of(candidates) });
    }
    let sources: BTreeSet<String> = found.iter().map(|s| s.described.member_path()).collect();
    if sources.len() > 1
        && sources.iter().any(|source| !filter.sources.contains(source))
        && !are_named_alone(filter, &found)
    {
        let newest =
            |source: &str| found.iter().rfind(|s| s.described.member_path() == source).expect("every source has one");
        let candidates = sources.iter().map(|s| format!("{} ({})", shortened(s), newest(s).id.short()));
        return Err(ChoiceError::SeveralSources { candidates: some_of(candidates) });
    }
    let back = if let SnapshotName::Latest(n) = name { *n } else { 0 };
    let at = found.len().checked_sub(back + 1);
    let what = match name {
        SnapshotName::Latest(0) => "`latest`".to_owned(),
        SnapshotName::Latest(n) => format!("`latest~{n}`"),
        _ => "this time".to_owned(),
    };
    let what = match cut_short {
        0 => what,
        n => format!("{what}; {n} partial of a stream can only be named by id"),
    };
    at.map(|i| found.swap_remove(i)).ok_or(ChoiceError::None(what))
}

impl Repository {
    /// Folds what others have appended; whether the snapshot is live now.
    pub fn is_live(&self, snapshot: &SnapshotId) -> Result<bool> {
        Ok(self.refresh_by_name()?.snapshots.contains_key(snapshot))
    }

    /// What an error that was met within a snapshot comes of: what is missing of one that was forgotten meanwhile is no damage.
    pub fn within(&self, snapshot: &SnapshotId, error: RepositoryError) -> RepositoryError {
        match error.is_damage().then(|| self.is_live(snapshot)) {
            Some(Ok(false)) => RepositoryError::Forgotten { snapshot: *snapshot },
            _ => error,
        }
    }
}

fn no_set(found: usize) -> String {
    match found {
        0 => "no set matches".to_owned(),
        n => {
            format!(
                "no whole set matches: {n} found, and not enough of them are whole; --partial accepts partial ones, \
                 --per-source takes the newest good snapshot of each source"
            )
        }
    }
}

/// Whether sources were named, and each has no members of its own: then the newest of all of them is meant.
fn are_named_alone(filter: &SnapshotFilter, found: &[Snapshot]) -> bool {
    !filter.sources.is_empty() && found.iter().all(|s| s.described.member_path() == s.described.source)
}

/// The first [`NAMES_MAX`] of these, and how many more there are.
pub(super) fn some_of(names: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let more = names.len().saturating_sub(NAMES_MAX);
    let mut some: Vec<String> = names.take(NAMES_MAX).collect();
    some.extend((more > 0).then(|| format!("and {more} more")));
    some
}

/// The first part of a filter that no snapshot fits, if there is one.
fn none_of(all: &[Snapshot], filter: &SnapshotFilter) -> Option<ChoiceError> {
    let believed = || all.iter().filter(|s| s.doubt.is_none());
    let described = || believed().map(|s| &s.described);
    let lacks = |part: SnapshotFilter| believed().next().is_some() && !believed().any(|s| part.matches(s));
    let only = SnapshotFilter::default;
    let error = |kind: &str, named: Vec<String>, there: BTreeSet<String>| {
        let there = some_of(there.iter().map(|name| shortened(name)));
        (!there.is_empty()).then(|| ChoiceError::NoneOf { what: format!("{kind} {}", named.join(", ")), there })
    };
    if lacks(SnapshotFilter { hosts: filter.hosts.clone(), ..only() }) {
        return error("host", filter.hosts.clone(), described().map(|d| d.host.clone()).collect());
    }
    if lacks(SnapshotFilter { sources: filter.sources.clone(), ..only() }) {
        return error("source", filter.sources.clone(), described().map(|d| d.source.clone()).collect());
    }
    if lacks(SnapshotFilter { labels: filter.labels.clone(), ..only() }) {
        let named = filter.labels.iter().map(|label| label.as_str().to_owned()).collect();
        return error("label", named, described().filter_map(|d| d.label.clone()).collect());
    }
    if lacks(SnapshotFilter { paths: filter.paths.clone(), ..only() }) {
        let there = described().flat_map(|d| d.paths.iter().map(|p| printable(p))).collect();
        return error("path", filter.paths.iter().map(|p| printable(p)).collect(), there);
    }
    if lacks(SnapshotFilter { tags: filter.tags.clone(), ..only() }) {
        let named = filter.tags.iter().map(|set| set.join(",")).collect();
        return error("tag", named, described().flat_map(|d| d.tags.iter().cloned()).collect());
    }
    None
}
