//! Deleting what the log has condemned, and what no run can publish any more.

use crate::format::names::{self, ObjectName};
use crate::format::record::Operation;
use crate::log::{Sweepable, orphaned, sweepable};
use crate::parallel;
use crate::primitives::ids::{ObjectHash, RunId};
use crate::primitives::progress::{Observer, Severity, Unit};
use crate::repository::{Repository, RepositoryError};
use crate::store::Listed;

/// Requests at once.
const DELETES_AT_ONCE: usize = 8;
/// What a race left may be another's that is under way: it goes when it is older than this, in milliseconds.
const PROBE_AGE_MS: i64 = 3600 * 1000;
/// So many names go into one record.
const NAMES_PER_RECORD: usize = 4096;
/// So many checkpoints stay: the newest may turn out to be damaged.
const CHECKPOINTS_KEPT: usize = 2;

/// What was deleted, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that may go, and that the store would not delete: name and why.
    pub refused: Vec<(String, String)>,
    /// Condemned objects whose time has not come.
    pub waiting: u64,
}

/// What is to be deleted.
enum Target {
    Pack(ObjectHash),
    Segment(ObjectHash),
    Orphan(RunId, ObjectHash),
    /// Needs no record.
    Other,
}

/// Deletes what may be deleted by `all` objects of the store, and says in the log what is gone. With `grace_ms`, only
/// what was condemned so long ago, by the store's clock. With `dry_run`, only counts.
pub(super) fn sweep(
    repository: &Repository,
    all: &[Listed],
    grace_ms: i64,
    dry_run: bool,
    observer: &dyn Observer,
) -> Result<Swept, RepositoryError> {
    let mut swept = Swept::default();
    let targets = targets(repository, all, grace_ms, &mut swept);
    if dry_run {
        swept.objects = targets.len() as u64;
        swept.bytes = targets.iter().map(|(listed, _)| listed.size).sum();
        return Ok(swept);
    }
    observer.phase("deleting", Some(targets.len() as u64), Unit::Items);
    let gone = delete(repository, targets, &mut swept, observer);
    let (mut packs, mut segments, mut orphans) = (Vec::new(), Vec::new(), Vec::new());
    for target in gone {
        match target {
            Target::Pack(name) => packs.push(name),
            Target::Segment(name) => segments.push(name),
            Target::Orphan(run, name) => orphans.push((run, name)),
            Target::Other => {}
        }
    }
    // What was condemned and is not in the listing is gone already: an earlier sweep was cut off before it could say so.
    let there: std::collections::HashSet<&str> = all.iter().map(|l| l.name.as_str()).collect();
    let state = repository.state();
    let Sweepable { packs: ripe_packs, segments: ripe_segments } = sweepable(&state);
    let pack_name = |n: &ObjectHash| state.packs.get(n).map(|p| names::pack(p.kind, p.run, n));
    let segment_name = |n: &ObjectHash| state.segments.get(n).map(|s| names::segment(s.run, n));
    packs.extend(ripe_packs.into_iter().filter(|n| pack_name(n).is_some_and(|o| !there.contains(o.as_str()))));
    segments.extend(ripe_segments.into_iter().filter(|n| segment_name(n).is_some_and(|o| !there.contains(o.as_str()))));
    say(repository, &packs, &segments, &orphans)?;
    for (name, why) in &swept.refused {
        observer.finding(Severity::Warning, &format!("could not delete {name}: {why}"));
    }
    if observer.interrupted() { Err(RepositoryError::Interrupted) } else { Ok(swept) }
}

fn targets(repository: &Repository, all: &[Listed], grace_ms: i64, swept: &mut Swept) -> Vec<(Listed, Target)> {
    let state = repository.state();
    let ripe = sweepable(&state);
    let newest_ms = all.iter().map(|l| l.modified_ms).max().unwrap_or(0);
    let record_ms = |number: u64| {
        let name = names::record(number);
        let at = all.binary_search_by(|l| l.name.as_str().cmp(&name)).ok();
        at.map_or(newest_ms, |at| all[at].modified_ms)
    };
    let old_enough =
        |condemned: Option<u64>| grace_ms == 0 || condemned.is_some_and(|n| record_ms(n) + grace_ms <= newest_ms);
    let mut targets = Vec::new();
    let mut checkpoints: Vec<&Listed> = Vec::new();
    for listed in all {
        let target = match ObjectName::parse(&listed.name) {
            Some(ObjectName::Pack(_, run, name)) => match state.packs.get(&name).filter(|p| p.run == run) {
                Some(pack) if ripe.packs.binary_search(&name).is_ok() => {
                    if !old_enough(pack.condemned) {
                        swept.waiting += 1;
                        continue;
                    }
                    Target::Pack(name)
                }
                None if orphaned(&state, run, &name) => Target::Orphan(run, name),
                _ => continue,
            },
            Some(ObjectName::Segment(run, name)) => match state.segments.get(&name).filter(|s| s.run == run) {
                Some(segment) if ripe.segments.binary_search(&name).is_ok() => {
                    if !old_enough(segment.condemned) {
                        swept.waiting += 1;
                        continue;
                    }
                    Target::Segment(name)
                }
                None if orphaned(&state, run, &name) => Target::Orphan(run, name),
                _ => continue,
            },
            // One that the log does not reach is all that is left of a history that the owner gave up.
            Some(ObjectName::Checkpoint(number)) if number > state.number => continue,
            Some(ObjectName::Checkpoint(_)) => {
                checkpoints.push(listed);
                continue;
            }
            None if listed.name.starts_with("probe/") && listed.modified_ms + PROBE_AGE_MS <= newest_ms => {
                Target::Other
            }
            _ => continue,
        };
        targets.push((listed.clone(), target));
    }
    // They come in the order of their numbers.
    let old = checkpoints.len().saturating_sub(CHECKPOINTS_KEPT);
    targets.extend(checkpoints[..old].iter().map(|l| ((*l).clone(), Target::Other)));
    targets
}

/// Deletes with several requests at once; returns what is gone.
fn delete(
    repository: &Repository,
    targets: Vec<(Listed, Target)>,
    swept: &mut Swept,
    observer: &dyn Observer,
) -> Vec<Target> {
    let one = |(listed, target): (Listed, Target)| {
        if observer.interrupted() {
            return None;
        }
        let deleted = repository.store.delete(&listed.name);
        observer.advance(1);
        Some((listed, target, deleted))
    };
    let mut gone = Vec::new();
    for (listed, target, deleted) in parallel::map(DELETES_AT_ONCE, targets, one).into_iter().flatten() {
        match deleted {
            Ok(()) => {
                swept.objects += 1;
                swept.bytes += listed.size;
                gone.push(target);
            }
            Err(e) => swept.refused.push((listed.name, e.to_string())),
        }
    }
    gone
}

fn say(
    repository: &Repository,
    packs: &[ObjectHash],
    segments: &[ObjectHash],
    orphans: &[(RunId, ObjectHash)],
) -> Result<(), RepositoryError> {
    let records =
        [packs.len(), segments.len(), orphans.len()].into_iter().max().unwrap_or(0).div_ceil(NAMES_PER_RECORD);
    let part = |i: usize, len: usize| (i * NAMES_PER_RECORD).min(len)..((i + 1) * NAMES_PER_RECORD).min(len);
    for i in 0..records {
        let (packs, segments) = (&packs[part(i, packs.len())], &segments[part(i, segments.len())]);
        let orphans = &orphans[part(i, orphans.len())];
        repository.append(&mut |state| {
            // Another prune may have said so meanwhile.
            let packs = packs.iter().filter(|n| state.packs.contains_key(*n)).copied().collect();
            let segments = segments.iter().filter(|n| state.segments.contains_key(*n)).copied().collect();
            Ok(vec![Operation::Swept { packs, segments, orphans: orphans.to_vec() }])
        })?;
    }
    Ok(())
}
