//! What contradicts the folded history, and why folding ended before the last object of the log.
//!
//! Plain values; `history_check` looks for them and lets the owner settle them.

use crate::format::names;
use crate::primitives::ids::{CredentialId, RunId};

/// So many doubts are told in one line.
const TOLD_MAX: usize = 3;

/// Why the log was not folded to its last object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Number of the object that could not be folded.
    pub number: u64,
    /// Why.
    pub cause: GapCause,
}

/// Why an object of the log could not be folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapCause {
    /// It is missing, and objects follow.
    Missing {
        /// Number of the first of those.
        next: u64,
        /// Whether that one is a record that somebody signed for its place: then one is missing here.
        genuine: bool,
    },
    /// Its bytes are not those that were written.
    Damaged(String),
    /// The owner's record names another history.
    Fork(String),
}

/// Something that contradicts the history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// The log goes on behind a gap.
    #[error("{}", .0.words())]
    Gap(Gap),
    /// A void record that was signed for another history or another place.
    #[error(
        "record {number}, signed by credential {}, was made for another history: an earlier record, or this one, was replaced",
        .writer.short()
    )]
    Record {
        /// Its number.
        number: u64,
        /// Who signed it.
        writer: CredentialId,
    },
    /// A record that says that records are missing.
    #[error(
        "record {number}, by credential {}, says that the end of the log was missing when it was written", .writer.short()
    )]
    Witness {
        /// Its number.
        number: u64,
        /// Who says so.
        writer: CredentialId,
    },
    /// The store has an object that only a later record can have led to.
    #[error("the log ends at record {end}, and {object} belongs to a later one: records are missing at its end")]
    Beyond {
        /// The last record.
        end: u64,
        /// The object.
        object: String,
        /// The run it belongs to, or the record it stands for.
        run: RunId,
    },
    /// A bucket with versions has several records of one number: the server let more than one machine create them.
    #[error(
        "the bucket holds other versions of the log's records {}: several machines were told that they had created them; `strongroom repair --from-versions` lists the histories",
        in_numbers(.numbers)
    )]
    Versions {
        /// Their numbers.
        numbers: Vec<u64>,
    },
}

/// So many numbers of records are told in one line.
const NUMBERS_MAX: usize = 5;

fn in_numbers(numbers: &[u64]) -> String {
    let some: Vec<String> = numbers.iter().take(NUMBERS_MAX).map(u64::to_string).collect();
    let more = numbers.len().saturating_sub(some.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", some.join(", "))
}

impl Doubt {
    /// The object that is in doubt, and what is wrong with it.
    pub fn finding(&self) -> (String, String) {
        match self {
            Self::Gap(gap) => gap.finding(),
            Self::Record { number, .. } | Self::Witness { number, .. } => (names::record(*number), self.to_string()),
            Self::Versions { numbers } => {
                (names::record(numbers.first().copied().unwrap_or_default()), self.to_string())
            }
            Self::Beyond { end, .. } => (names::record(end + 1), format!("it is missing: {self}")),
        }
    }
}

impl Gap {
    fn finding(&self) -> (String, String) {
        let what = match &self.cause {
            GapCause::Missing { next, genuine: false } => {
                let what = "it stands far behind the end of the log and is no record of it";
                return (names::record(*next), what.to_owned());
            }
            GapCause::Missing { .. } => "it is missing, and nothing behind it can be read".to_owned(),
            GapCause::Damaged(why) => format!("{why}; nothing behind it can be read"),
            GapCause::Fork(why) => format!("the log forks here, and nothing behind can be read: {why}"),
        };
        (names::record(self.number), what)
    }

    fn words(&self) -> String {
        let (object, what) = self.finding();
        format!("{object}: {what}")
    }

    /// Whether records that others rely on lie behind it: whoever appended would make them void.
    pub(super) fn forbids_records(&self) -> bool {
        !matches!(self.cause, GapCause::Missing { genuine: false, .. })
    }
}

/// Doubts in one line.
pub fn in_words(doubts: &[Doubt]) -> String {
    let first: Vec<String> = doubts.iter().take(TOLD_MAX).map(ToString::to_string).collect();
    let more = match doubts.len().saturating_sub(TOLD_MAX) {
        0 => String::new(),
        n => format!("; and {n} more"),
    };
    format!("{}{more}", first.join("; "))
}
