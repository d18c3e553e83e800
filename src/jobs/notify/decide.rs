//! What is told, and what was told already.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::jobs::audit::{State, Status};

/// Why somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// A run saved nothing of a source, or never ended.
    Failure,
    /// A run saved some of it.
    Partial,
    /// Something is to be noticed.
    Warnings,
    /// Nothing was saved when it was due.
    Overdue,
    /// The first success after any of these.
    Recovery,
    /// Any other success.
    Success,
}

/// Which occasions somebody wants to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occasions(BTreeSet<Occasion>);

impl Default for Occasions {
    /// All but successes.
    fn default() -> Self {
        use Occasion::{Failure, Overdue, Partial, Recovery, Warnings};
        Self(BTreeSet::from([Failure, Partial, Warnings, Overdue, Recovery]))
    }
}

impl Occasions {
    /// All of them.
    pub fn always() -> Self {
        let mut all = Self::default();
        all.0.insert(Occasion::Success);
        all
    }

    /// Those that these words name; the error is a word that names none.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let one = |word: &'a str| match word {
            "failure" => Ok(Occasion::Failure),
            "partial" => Ok(Occasion::Partial),
            "warnings" => Ok(Occasion::Warnings),
            "overdue" => Ok(Occasion::Overdue),
            "recovery" => Ok(Occasion::Recovery),
            "success" => Ok(Occasion::Success),
            other => Err(format!(
                "`on` knows failure, partial, warnings, overdue, recovery and success, or is \"always\"; not `{other}`"
            )),
        };
        words.into_iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this one is wanted.
    pub fn has(&self, occasion: Occasion) -> bool {
        self.0.contains(&occasion)
    }
}

/// What somebody was last told of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The occasion.
    pub occasion: Occasion,
    /// Which attempt or slot it was about, in milliseconds since the epoch.
    pub about_ms: i64,
}

/// Something that is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling<'a> {
    /// Why.
    pub occasion: Occasion,
    /// Of what.
    pub status: &'a Status,
}

/// What was told of each source: the machine and the source.
pub type Memory = BTreeMap<String, Told>;

/// What is to be told now of these sources, and what is to be remembered once it was told. Sources of which nothing is
/// said keep what is remembered of them.
///
/// A failure is told once for each attempt, and that a source is overdue once for each slot. Nothing is told of a source
/// that is being saved.
pub fn decide<'a>(statuses: &'a [Status], occasions: &Occasions, memory: &Memory) -> (Vec<Telling<'a>>, Memory) {
    let mut after = memory.clone();
    let mut tellings = Vec::new();
    for status in statuses {
        let key = format!("{}\n{}\n{}", status.host, status.job, status.source);
        let known = memory.get(&key);
        let Some((occasion, about_ms)) = occasion(status, known) else { continue };
        let told = Told { occasion, about_ms };
        if known == Some(&told) {
            continue;
        }
        if occasions.has(occasion) {
            tellings.push(Telling { occasion, status });
        }
        after.insert(key, told);
    }
    (tellings, after)
}

/// Why a source is worth a word, and which attempt or slot that is about.
fn occasion(status: &Status, known: Option<&Told>) -> Option<(Occasion, i64)> {
    let begun = status.begun_ms.unwrap_or_default();
    let missed = status.missed_ms.unwrap_or(begun);
    Some(match status.state {
        State::Failed | State::Crashed => (Occasion::Failure, begun),
        State::Partial => (Occasion::Partial, begun),
        State::Warnings => (Occasion::Warnings, begun),
        State::Overdue => (Occasion::Overdue, missed),
        State::Never if status.missed_ms.is_some() => (Occasion::Overdue, missed),
        // A source without a schedule is told of as others are when it is saved, or not.
        State::Good | State::Unscheduled if status.success_ms.is_some() && status.error.is_none() => match known {
            Some(Told { occasion: Occasion::Success | Occasion::Recovery, about_ms }) if *about_ms == begun => {
                return None;
            }
            Some(Told { occasion: Occasion::Success | Occasion::Recovery, .. }) | None => (Occasion::Success, begun),
            Some(_) => (Occasion::Recovery, begun),
        },
        State::Unscheduled if status.error.is_some() => (Occasion::Failure, begun),
        State::Never | State::Running | State::Unconfigured | State::Good | State::Unscheduled => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::audit::testing::status;

    fn told(statuses: &[Status], memory: &mut Memory) -> Vec<Occasion> {
        let (tellings, after) = decide(statuses, &Occasions::default(), memory);
        let occasions = tellings.iter().map(|telling| telling.occasion).collect();
        *memory = after;
        occasions
    }

    #[test]
    fn nobody_is_told_when_all_is_well_and_nobody_twice() {
        let mut memory = Memory::new();
        let at = |state, begun_ms| [Status { begun_ms: Some(begun_ms), ..status("db1", "shop/db", state) }];
        assert_eq!(told(&at(State::Good, 1), &mut memory), []);
        assert_eq!(told(&at(State::Failed, 2), &mut memory), [Occasion::Failure]);
        assert_eq!(told(&at(State::Failed, 2), &mut memory), [], "the same run");
        assert_eq!(told(&at(State::Failed, 3), &mut memory), [Occasion::Failure], "the next one");
        assert_eq!(told(&at(State::Running, 4), &mut memory), []);
        assert_eq!(told(&at(State::Good, 4), &mut memory), [Occasion::Recovery]);
        assert_eq!(told(&at(State::Good, 4), &mut memory), []);
        assert_eq!(told(&at(State::Good, 5), &mut memory), []);
        assert_eq!(told(&at(State::Partial, 6), &mut memory), [Occasion::Partial]);
        assert_eq!(told(&at(State::Warnings, 7), &mut memory), [Occasion::Warnings]);
        assert_eq!(told(&at(State::Good, 8), &mut memory), [Occasion::Recovery]);
    }

    #[test]
    fn what_is_overdue_is_told_once_for_each_slot() {
        let mut memory = Memory::new();
        let at = |state, missed_ms| [Status { missed_ms, begun_ms: Some(1), ..status("db1", "shop/db", state) }];
        assert_eq!(told(&at(State::Overdue, Some(10)), &mut memory), [Occasion::Overdue]);
        assert_eq!(told(&at(State::Overdue, Some(10)), &mut memory), []);
        assert_eq!(told(&at(State::Overdue, Some(20)), &mut memory), [Occasion::Overdue]);
        assert_eq!(told(&at(State::Good, None), &mut memory), [Occasion::Recovery]);
        let never = |missed_ms| [Status { missed_ms, ..status("db2", "shop/db", State::Never) }];
        assert_eq!(told(&never(None), &mut memory), [], "its first slot is not over");
        assert_eq!(told(&never(Some(30)), &mut memory), [Occasion::Overdue]);
    }

    /// What is not wanted is remembered all the same: a recovery from it is told to who wants that.
    #[test]
    fn only_what_is_wanted_is_told() {
        let statuses = [status("db1", "shop/db", State::Warnings), status("db1", "shop/site", State::Good)];
        let recovery = Occasions::of_words(["recovery"]).unwrap();
        let (tellings, memory) = decide(&statuses, &recovery, &Memory::new());
        assert_eq!(tellings, []);
        let better = [Status { begun_ms: Some(9), ..status("db1", "shop/db", State::Good) }];
        let (tellings, _) = decide(&better, &recovery, &memory);
        assert_eq!(tellings, [Telling { occasion: Occasion::Recovery, status: &better[0] }]);
        let (tellings, _) = decide(&statuses, &Occasions::always(), &Memory::new());
        let told: Vec<Occasion> = tellings.iter().map(|telling| telling.occasion).collect();
        assert_eq!(told, [Occasion::Warnings, Occasion::Success]);
        assert!(Occasions::of_words(["failures"]).unwrap_err().contains("`failures`"));
    }
}
