//! Forget: snapshots that a policy does not keep are no snapshots any more. What they alone needed goes with a prune.

pub mod policy;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use jiff::tz::TimeZone;

use crate::format::names::{self, ObjectName};
use crate::format::record::{Operation, Outcome};
use crate::format::state::State;
use crate::primitives::ids::SnapshotId;
use crate::primitives::text::printable;
use crate::repository::sets::{Set, sets};
use crate::repository::snapshots::{Snapshot, SnapshotFilter};
use crate::repository::{Repository, RepositoryError};

use policy::{Candidate, Decision, Policy, PolicyError, decide};

/// By what snapshots are grouped: a policy applies to each group on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupBy {
    /// The machine.
    Host,
    /// The source.
    Source,
    /// The set of tags.
    Tags,
    /// The set of paths.
    Paths,
}

/// By what it is decided what goes.
#[derive(Debug, Clone)]
pub enum Which {
    /// By rules, group by group.
    Policy(Policy),
    /// These go, the last of their group too.
    Named(Vec<SnapshotId>),
    /// All that the filter lets through go.
    All,
}

/// What to forget.
#[derive(Debug, Clone)]
pub struct ForgetOptions {
    /// Only these are looked at; others stay, and fill no count.
    pub filter: SnapshotFilter,
    /// By what they are grouped. Empty: all are one group.
    pub group_by: Vec<GroupBy>,
    /// What goes and what stays.
    pub which: Which,
    /// Of what is named, only that goes, and not the rest of its set.
    pub member_only: bool,
    /// Whose days and hours.
    pub zone: TimeZone,
    /// Decides, and forgets nothing.
    pub dry_run: bool,
}

/// One group and what was decided.
#[derive(Debug, Clone)]
pub struct Group {
    /// What its snapshots have in common, for people.
    pub name: String,
    /// Each snapshot with the decision, newest first.
    pub snapshots: Vec<(Snapshot, Decision)>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct ForgetReport {
    /// The groups, by name.
    pub groups: Vec<Group>,
    /// Snapshots that were not looked at because their descriptions are not believed.
    pub doubted: Vec<SnapshotId>,
    /// Snapshots that stand for a time to come.
    pub future: Vec<SnapshotId>,
    /// Number of the record; `None` if nothing was forgotten.
    pub record: Option<u64>,
}

impl ForgetReport {
    /// How many stay and how many go.
    pub fn counts(&self) -> (usize, usize) {
        let all = || self.groups.iter().flat_map(|g| &g.snapshots);
        let keep = all().filter(|(_, d)| d.keep).count();
        (keep, all().count() - keep)
    }

    /// Sources of which hosts have one snapshot each, with the number of these hosts.
    pub fn lonely(&self) -> BTreeMap<String, usize> {
        let mut hosts: BTreeMap<(String, &str), usize> = BTreeMap::new();
        for (snapshot, _) in self.groups.iter().flat_map(|g| &g.snapshots) {
            *hosts.entry((snapshot.described.member_path(), &snapshot.described.host)).or_default() += 1;
        }
        let mut lonely = BTreeMap::new();
        for ((source, _), _) in hosts.into_iter().filter(|(_, snapshots)| *snapshots == 1) {
            *lonely.entry(source).or_default() += 1;
        }
        lonely
    }

    fn going(&self) -> Vec<SnapshotId> {
        self.groups.iter().flat_map(|g| &g.snapshots).filter(|(_, d)| !d.keep).map(|(s, _)| s.id).collect()
    }
}

/// Why nothing was forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// The policy makes no sense.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// What was named is held.
    #[error("snapshot {} is held: `strongroom unhold` releases it", .0.short())]
    Held(SnapshotId),
    /// More than half would go, and whoever was asked did not agree.
    #[error("{going} of {all} snapshots would be forgotten, and that was not agreed to")]
    NotAgreed {
        /// How many would go.
        going: usize,
        /// Of how many.
        all: usize,
    },
    /// The repository could not do its part.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// Forgets what the policy does not keep. `agree` is asked if more than half of what was looked at would go.
pub fn forget(
    repository: &Repository,
    options: &ForgetOptions,
    agree: &mut dyn FnMut(&ForgetReport) -> bool,
) -> Result<ForgetReport, ForgetError> {
    repository.check_undoubted()?;
    let mut report = plan(repository, options)?;
    let (keep, going) = report.counts();
    if options.dry_run || going == 0 {
        return Ok(report);
    }
    // Whoever gives an id, or says `all` of a selection, has said what goes.
    let by_policy = matches!(options.which, Which::Policy(_));
    if by_policy && going > keep && !agree(&report) {
        return Err(ForgetError::NotAgreed { going, all: keep + going });
    }
    let ids = report.going();
    // One that was held or forgotten meanwhile makes the record void for everyone: it is looked at again.
    let together = together(&report);
    let number = repository.append(&mut |state| {
        let is_held = |id: &SnapshotId| state.snapshots.get(id).is_some_and(|s| s.held);
        // A set of which a member was held meanwhile stays whole.
        let stays = |id: &&SnapshotId| together.get(id).is_some_and(|set| set.iter().any(is_held)) || is_held(id);
        let there = ids.iter().filter(|id| state.snapshots.contains_key(id));
        Ok(vec![Operation::Forget { snapshots: there.filter(|id| !stays(id)).copied().collect() }])
    })?;
    report.record = Some(number);
    Ok(report)
}

/// The members of each set of which something goes, by each of them.
fn together(report: &ForgetReport) -> HashMap<SnapshotId, Vec<SnapshotId>> {
    let going = report.groups.iter().flat_map(|g| &g.snapshots).filter(|(_, d)| !d.keep).map(|(s, _)| s.clone());
    let mut together = HashMap::new();
    for set in sets(going.collect()) {
        let ids: Vec<SnapshotId> = set.members.iter().map(|s| s.id).collect();
        together.extend(ids.iter().map(|id| (*id, ids.clone())));
    }
    together
}

/// What would go.
fn plan(repository: &Repository, options: &ForgetOptions) -> Result<ForgetReport, ForgetError> {
    match &options.which {
        Which::Policy(policy) => plan_by_policy(repository, options, policy),
        Which::Named(ids) => {
            let named = |s: &Snapshot| ids.contains(&s.id);
            let all = repository.snapshots()?;
            if options.member_only {
                return going(all.into_iter().filter(named).map(|s| (s, "named".to_owned())).collect());
            }
            let with_reason = |set: Set| {
                let first = set.members.iter().find(|s| named(s)).map(|s| s.id.short()).unwrap_or_default();
                let why = |s: &Snapshot| if named(s) { "named".to_owned() } else { format!("of the set of {first}") };
                set.members.into_iter().map(|s| (why(&s), s)).map(|(why, s)| (s, why)).collect::<Vec<_>>()
            };
            let whole = sets(all).into_iter().filter(|set| set.members.iter().any(named));
            going(whole.flat_map(with_reason).collect())
        }
        Which::All => {
            let meant = |s: &Snapshot| s.doubt.is_none() && options.filter.matches(s);
            let all = repository.snapshots()?.into_iter().filter(meant);
            going(all.map(|s| (s, "all of this selection".to_owned())).collect())
        }
    }
}

/// All of these go, each for its reason, unless one is held.
fn going(snapshots: Vec<(Snapshot, String)>) -> Result<ForgetReport, ForgetError> {
    if let Some((held, _)) = snapshots.iter().find(|(s, _)| s.state.held) {
        return Err(ForgetError::Held(held.id));
    }
    let mut report = ForgetReport::default();
    let by_host: Vec<GroupBy> = vec![GroupBy::Host, GroupBy::Source];
    let mut groups: BTreeMap<Vec<String>, Vec<(Snapshot, Decision)>> = BTreeMap::new();
    for (snapshot, why) in snapshots.into_iter().rev() {
        let decision = Decision { id: snapshot.id, keep: false, reasons: vec![why] };
        groups.entry(group_of(&snapshot, &by_host)).or_default().push((snapshot, decision));
    }
    report.groups = groups.into_iter().map(|(of, snapshots)| Group { name: group_name(&of), snapshots }).collect();
    Ok(report)
}

fn plan_by_policy(
    repository: &Repository,
    options: &ForgetOptions,
    policy: &Policy,
) -> Result<ForgetReport, ForgetError> {
    let times = effective_times(repository)?;
    let time_of = |s: &Snapshot| times.get(&s.id).copied().unwrap_or(s.state.time_ms);
    let mut groups: BTreeMap<Vec<String>, Vec<Set>> = BTreeMap::new();
    let (now_ms, mut report) = (repository.system.now_ms(), ForgetReport::default());
    let mut newest = Newest::default();
    for set in sets(repository.snapshots()?) {
        // What others may have forged fills nobody's place.
        if set.members[0].doubt.is_some() {
            report.doubted.push(set.members[0].id);
            continue;
        }
        if !set.members.iter().any(|s| options.filter.matches(s)) {
            continue;
        }
        for member in &set.members {
            match member.is_of_the_future(now_ms) {
                true => report.future.push(member.id),
                false => newest.add(member, time_of(member)),
            }
        }
        groups.entry(group_of_set(&set, &options.group_by)).or_default().push(set);
    }
    for (of, sets) in groups {
        let candidate = |set: &Set| Candidate {
            id: set.members[0].id,
            others: set.members[1..].iter().map(|s| s.id).collect(),
            time_ms: set.members.iter().map(time_of).min().unwrap_or_default(),
            outcome: set.outcome(),
            tags: set.members.iter().flat_map(|s| s.described.tags.iter().cloned()).collect(),
            held: set.is_held(),
            damaged: set.is_damaged(),
        };
        let candidates: Vec<Candidate> = sets.iter().map(candidate).collect();
        let decisions = decide(&candidates, policy, now_ms, &options.zone)?;
        let mut by_id: HashMap<SnapshotId, Set> = sets.into_iter().map(|set| (set.members[0].id, set)).collect();
        let mut snapshots = Vec::new();
        for mut decision in decisions {
            let Some(set) = by_id.remove(&decision.id) else { continue };
            if let Some(why) = newest.why_kept(&set).filter(|_| !decision.keep) {
                decision = Decision { keep: true, reasons: vec![why], ..decision };
            }
            let of_member = |member: Snapshot| {
                let decision = Decision { id: member.id, ..decision.clone() };
                (member, decision)
            };
            snapshots.extend(set.members.into_iter().map(of_member));
        }
        report.groups.push(Group { name: group_name(&of), snapshots });
    }
    Ok(report)
}

/// The newest good snapshot of each host and source, and the newest that was good before data of it was lost.
#[derive(Default)]
struct Newest {
    good: HashMap<(String, String), (i64, SnapshotId)>,
    was_good: HashMap<(String, String), (i64, SnapshotId)>,
}

impl Newest {
    fn key(snapshot: &Snapshot) -> (String, String) {
        (snapshot.described.host.clone(), snapshot.described.member_path())
    }

    fn add(&mut self, snapshot: &Snapshot, time_ms: i64) {
        if !matches!(snapshot.state.outcome, Outcome::Complete | Outcome::Warnings) {
            return;
        }
        let found = (time_ms, snapshot.id);
        for of in std::iter::once(&mut self.was_good).chain((!snapshot.state.damaged).then_some(&mut self.good)) {
            let newest = of.entry(Self::key(snapshot)).or_insert(found);
            *newest = found.max(*newest);
        }
    }

    /// Why a set stays whatever the rules say: no other snapshot of one of its sources is as new and good. A damaged one
    /// takes the place of no good one; it stays beside it, because the rest of it can be restored.
    fn why_kept(&self, set: &Set) -> Option<String> {
        set.described()?;
        let newest = |of: &HashMap<(String, String), (i64, SnapshotId)>| {
            let is_newest = |s: &&Snapshot| of.get(&Self::key(s)).is_some_and(|(_, id)| *id == s.id);
            set.members.iter().find(is_newest).map(|s| printable(s.described.member_path().as_bytes()))
        };
        let good = newest(&self.good).map(|source| format!("newest of source {source}"));
        good.or_else(|| newest(&self.was_good).map(|source| format!("newest of source {source}, but damaged")))
    }
}

/// What a snapshot has in common with others of its group, each thing for itself: a host may be called `a, source b`.
pub fn group_of(snapshot: &Snapshot, by: &[GroupBy]) -> Vec<String> {
    let alone = Set { members: vec![snapshot.clone()] };
    parts(&alone, &format!("source {}", snapshot.described.member_path()), by)
}

/// What a set has in common with others of its group: in place of a source, its job, or the sources of all its members.
fn group_of_set(set: &Set, by: &[GroupBy]) -> Vec<String> {
    let Some(described) = set.described() else { return group_of(&set.members[0], by) };
    let what = match &described.job {
        // What was saved alone fills no count of the job's whole sets.
        Some(job) if described.is_alone() => format!("job {job}, only {}", described.sources.join(", ")),
        Some(job) => format!("job {job}"),
        None => format!("sources {}", described.sources.join(", ")),
    };
    let mut of = parts(set, &what, by);
    // Types never push each other out.
    of.extend(described.job_type.as_ref().map(|job_type| format!("type {job_type}")));
    of
}

fn parts(set: &Set, source: &str, by: &[GroupBy]) -> Vec<String> {
    let joined = |words: BTreeSet<String>| words.into_iter().collect::<Vec<_>>().join(",");
    let described = || set.members.iter().map(|s| &s.described);
    let part = |by: &GroupBy| match by {
        GroupBy::Host => format!("host {}", set.members[0].described.host),
        GroupBy::Source => source.to_owned(),
        GroupBy::Tags => format!("tags {}", joined(described().flat_map(|d| d.tags.iter().cloned()).collect())),
        GroupBy::Paths => {
            let paths = described().flat_map(|d| d.paths.iter().map(|p| printable(p)));
            format!("paths {}", joined(paths.collect()))
        }
    };
    by.iter().collect::<BTreeSet<_>>().into_iter().map(part).collect()
}

/// The name of a group.
pub fn group_name(of: &[String]) -> String {
    if of.is_empty() { "all".to_owned() } else { of.join(", ") }
}

/// The time of each snapshot that counts for a policy, in milliseconds since the epoch.
///
/// What the owner says, it means. A machine that was broken into could say that its snapshots are old, or new, so that
/// a policy takes the good ones for superfluous: its times are bounded by what the store says of its records. No
/// snapshot is younger than its record, and none older than its run.
fn effective_times(repository: &Repository) -> Result<HashMap<SnapshotId, i64>, RepositoryError> {
    let state = repository.state();
    let owner = state.owner.id();
    let by_others = |run: &crate::primitives::ids::RunId| state.runs.get(run).is_some_and(|r| r.writer != owner);
    if !state.snapshots.values().any(|s| by_others(&s.run)) {
        return Ok(HashMap::new());
    }
    let mut stored: HashMap<u64, i64> = HashMap::new();
    repository.store.list(names::LOG, None, &mut |listed| {
        if let Some(ObjectName::Record(number)) = ObjectName::parse(&listed.name) {
            stored.insert(number, listed.modified_ms);
        }
        ControlFlow::Continue(())
    })?;
    Ok(bounded(&state, &stored))
}

fn bounded(state: &State, stored: &HashMap<u64, i64>) -> HashMap<SnapshotId, i64> {
    let owner = state.owner.id();
    let mut times = HashMap::new();
    for (id, snapshot) in &state.snapshots {
        if state.runs.get(&snapshot.run).is_none_or(|r| r.writer == owner) {
            continue;
        }
        let (began, published) = (stored.get(&snapshot.run.0), stored.get(&snapshot.published));
        let mut time = snapshot.time_ms;
        time = published.map_or(time, |p| time.min(*p));
        time = began.map_or(time, |b| time.max(*b));
        times.insert(*id, time);
    }
    times
}

/// Protects snapshots from every policy, or takes that back. Returns how many were changed.
pub fn hold(repository: &Repository, ids: &[SnapshotId], hold: bool) -> Result<usize, RepositoryError> {
    let mut changed = 0;
    let state = repository.state();
    if ids.iter().all(|id| state.snapshots.get(id).is_some_and(|s| s.held == hold)) {
        return Ok(0);
    }
    repository.append(&mut |state| {
        let snapshots: Vec<SnapshotId> =
            ids.iter().filter(|id| state.snapshots.get(id).is_some_and(|s| s.held != hold)).copied().collect();
        changed = snapshots.len();
        Ok(vec![match hold {
            true => Operation::Hold { snapshots },
            false => Operation::Unhold { snapshots },
        }])
    })?;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::policy::{Keep, Period};
    use super::*;
    use crate::crypto::sign::Verifier;
    use crate::format::record::{Outcome, RunKind};
    use crate::format::state::{Over, RunState, SnapshotState};
    use crate::primitives::ids::{ChunkId, CredentialId, KeyedTag, ObjectHash, RunId};

    const DAY_MS: i64 = 86_400_000;
    /// 8 a.m. on a day in 2026.
    const START_MS: i64 = 1_790_000_000_000 / DAY_MS * DAY_MS + 8 * 3_600_000;

    struct History {
        state: State,
        stored: HashMap<u64, i64>,
        number: u64,
    }

    impl History {
        /// A run of one snapshot that says it is of `said_ms`, on records that the store got at `stored_ms`.
        fn night(&mut self, writer: CredentialId, said_ms: i64, stored_ms: i64) -> SnapshotId {
            let (run, published) = (RunId(self.number + 1), self.number + 2);
            self.number += 2;
            self.stored.extend([(run.0, stored_ms - 60_000), (published, stored_ms)]);
            let (kind, host) = (RunKind::Backup, KeyedTag([1; 16]));
            let over = Some(Over { number: published, outcome: Some(Outcome::Complete) });
            self.state.runs.insert(run, RunState { writer, kind, host, began_ms: said_ms, over });
            let mut id = SnapshotId([0; 16]);
            id.0[..8].copy_from_slice(&published.to_be_bytes());
            let snapshot = SnapshotState {
                run,
                published,
                time_ms: said_ms,
                root: ChunkId([0; 16]),
                outcome: Outcome::Complete,
                host,
                source: KeyedTag([2; 16]),
                description: vec![].into(),
                held: false,
                damaged: false,
            };
            self.state.snapshots.insert(id, snapshot);
            id
        }

        fn kept(&self, rule: Keep) -> BTreeSet<SnapshotId> {
            let times = bounded(&self.state, &self.stored);
            let candidate = |(id, s): (&SnapshotId, &SnapshotState)| Candidate {
                id: *id,
                others: vec![],
                time_ms: times.get(id).copied().unwrap_or(s.time_ms),
                outcome: s.outcome,
                tags: vec![],
                held: s.held,
                damaged: s.damaged,
            };
            let group: Vec<Candidate> = self.state.snapshots.iter().map(candidate).collect();
            let now_ms = START_MS + 30 * DAY_MS;
            let decisions = decide(&group, &Policy::Keep(vec![rule]), now_ms, &TimeZone::UTC).unwrap();
            decisions.into_iter().filter(|d| d.keep).map(|d| d.id).collect()
        }
    }

    /// Thirty snapshots in one night, dated so that they fill every day's place: those of the nights before stay.
    #[test]
    fn a_stolen_credential_cannot_push_good_nights_out_by_dating_its_own() {
        let (owner, machine) = (Verifier([1; 32]), CredentialId([9; 16]));
        let state = State::new(owner, ObjectHash([0; 32]));
        let mut history = History { state, stored: HashMap::new(), number: 0 };
        let nights: Vec<SnapshotId> =
            (0..14).map(|n| history.night(machine, START_MS + n * DAY_MS, START_MS + n * DAY_MS)).collect();
        let attack_ms = START_MS + 14 * DAY_MS;
        for n in 0..30 {
            // Into the past, an hour after each good night, and into the future.
            history.night(machine, START_MS + n * DAY_MS + 3_600_000, attack_ms + n);
        }
        let kept = history.kept(Keep::Every(Period::Daily, 7));
        assert!(nights[8..].iter().all(|id| kept.contains(id)), "six good nights and one of the attack's");
        assert_eq!(kept.len(), 7);
        // What the owner dates, it means: it imports old nights.
        let imported = history.night(owner.id(), START_MS - 400 * DAY_MS, attack_ms);
        assert!(history.kept(Keep::Every(Period::Yearly, 5)).contains(&imported));
    }
}
