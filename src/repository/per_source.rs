//! The newest good snapshot of each source of a job, whichever sets they are of.
//!
//! After some nights of which each lacks another source, no set is whole, and yet there is a good snapshot of each. They
//! are of several moments: who takes them is told of which.
//!
//! Which sources a job has is said by its sets: those of its newest whole set and of all that are newer. Which databases
//! a source has is said by the newest snapshot of it that lists them: one that was dropped is not brought back.

use crate::format::description::SetDescription;
use crate::format::record::Outcome;
use crate::primitives::component::component;
use crate::primitives::ids::SetId;
use crate::primitives::text::printable;

use super::sets::{Set, SetFilter, SetTime, meant};
use super::snapshots::{ChoiceError, Snapshot, some_of};

/// A snapshot of each source.
#[derive(Debug, Clone)]
pub struct PerSource {
    /// They, as if they were one set: the one that the newest set was to be.
    pub set: Set,
    /// The set of each of them.
    pub of: Vec<SetId>,
    /// Sources and databases of which there is none.
    pub lacking: Vec<String>,
}

/// Takes the newest good snapshot of each source from these sets, which come oldest first. With `partial` in the filter,
/// one that is partial or damaged is taken of a source that has no good one, and a source may lack one altogether; without
/// it, that is an error.
pub fn newest_of_each(all: Vec<Set>, time: SetTime, filter: &SetFilter, now_ms: i64) -> Result<PerSource, ChoiceError> {
    let found = meant(all, time, filter, true, now_ms)?;
    let is_alone = |set: &Set| set.described().is_some_and(SetDescription::is_alone);
    let Some(newest) = found.iter().rfind(|set| !is_alone(set)).or(found.last()) else {
        return Err(ChoiceError::NoSet { found: 0 });
    };
    let newest = newest.described().expect("only such are meant").clone();
    let whole = found.iter().rposition(|set| set.is_whole() && !is_alone(set)).unwrap_or_default();
    let mut sources = newest.sources.clone();
    for source in found[whole..].iter().rev().filter_map(Set::described).flat_map(|set| &set.sources) {
        if !sources.contains(source) {
            sources.push(source.clone());
        }
    }
    let (mut members, mut of, mut lacking) = (Vec::new(), Vec::new(), Vec::new());
    let set = SetDescription { sources: sources.clone(), alone: None, ..newest };
    for source in &sources {
        let names = databases(&found, source);
        for path in paths(source, &names) {
            let Some((id, member)) = newest_of(&found, &path, filter.partial) else {
                lacking.push(path);
                continue;
            };
            let mut member = member.clone();
            member.described.set = Some(set.clone());
            if let (Some(stream), Some(names)) = (&mut member.described.stream, &names) {
                stream.members = names.clone();
            }
            members.push(member);
            of.push(id);
        }
    }
    if members.is_empty() || !(lacking.is_empty() || filter.partial) {
        let lacking = some_of(lacking.iter().map(|path| printable(path.as_bytes())));
        return Err(ChoiceError::NoneGood { lacking });
    }
    Ok(PerSource { set: Set { members }, of, lacking })
}

/// The databases of a source, as the newest set lists them that has any; `None` if it is none of databases.
fn databases(found: &[Set], source: &str) -> Option<Vec<String>> {
    found.iter().rev().find_map(|set| {
        let of_source = set.members.iter().filter(|s| s.described.source_path() == source);
        let lists = of_source.filter_map(|s| s.described.stream.as_ref().filter(|stream| stream.member.is_some()));
        // One that was dropped meanwhile is in the lists of those only that were saved before.
        lists.min_by_key(|stream| stream.members.len()).map(|stream| stream.members.clone())
    })
}

fn paths(source: &str, names: &Option<Vec<String>>) -> Vec<String> {
    match names {
        Some(names) => names.iter().map(|name| format!("{source}/{}", component(name))).collect(),
        None => vec![source.to_owned()],
    }
}

/// The newest good snapshot of a source or database; if there is none, and `partial` says so, the newest of any kind.
fn newest_of<'a>(found: &'a [Set], path: &str, partial: bool) -> Option<(SetId, &'a Snapshot)> {
    let newest = |is_meant: &dyn Fn(&Snapshot) -> bool| {
        found.iter().rev().find_map(|set| {
            let member = set.members.iter().rfind(|s| s.described.member_path() == path && is_meant(s))?;
            Some((set.described()?.id, member))
        })
    };
    newest(&Snapshot::is_good).or_else(|| newest(&|s| partial && s.state.outcome != Outcome::Failed))
}
