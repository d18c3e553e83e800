//! A debt: an `always` hook that must run, or the `start` of a restore in place, with all that running it takes.

use serde::{Deserialize, Serialize};

use crate::primitives::ids::SetId;
use crate::primitives::system::{System, random};

use super::hooks::{Moment, Surroundings};

/// The version of the files.
pub(super) const VERSION: u32 = 1;

/// An `always` hook that must run, or the `start` of a restore in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// The version of its file.
    pub(super) version: u32,
    /// Tells the debt from others.
    pub id: String,
    /// The job whose hook it is; of a restore in place, the directories.
    pub job: String,
    /// The source whose hook it is; `None` if it is the job's own.
    pub source: Option<String>,
    /// What made it: the id of a run.
    pub run: String,
    /// The command.
    pub line: String,
    /// What it is run with.
    pub surroundings: Surroundings,
    /// Who owes it.
    pub debtor: Debtor,
    /// Since when, in milliseconds since the epoch.
    pub owed_ms: i64,
    /// Whether it is the `start` of a restore in place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restore: bool,
}

/// Who owes something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debtor {
    /// The user's number.
    pub uid: u32,
    /// The user's name.
    pub user: String,
    /// The machine's own name.
    pub machine: String,
}

impl Debtor {
    /// This process's user, on this machine.
    pub fn this(user: &str, machine: &str) -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), user: user.to_owned(), machine: machine.to_owned() }
    }
}

impl Debt {
    /// A debt that begins now. `of` is a job, and a source of it.
    pub fn new(
        of: (&str, Option<&str>),
        run: &str,
        line: &str,
        surroundings: Surroundings,
        debtor: Debtor,
        system: &dyn System,
    ) -> Self {
        Self {
            version: VERSION,
            id: SetId(random(system)).short(),
            job: of.0.to_owned(),
            source: of.1.map(str::to_owned),
            run: run.to_owned(),
            line: line.to_owned(),
            surroundings,
            debtor,
            owed_ms: system.now_ms(),
            restore: false,
        }
    }

    /// The debt of a restore into these directories that begins now.
    pub fn of_restore(
        places: &str,
        restore: &str,
        line: &str,
        surroundings: Surroundings,
        debtor: Debtor,
        system: &dyn System,
    ) -> Self {
        Self { restore: true, ..Self::new((places, None), restore, line, surroundings, debtor, system) }
    }

    /// Which hook it is.
    pub fn hook(&self) -> Moment {
        if self.restore { Moment::Start } else { Moment::Always }
    }

    /// The job or source whose hook it is, in words.
    pub fn what(&self) -> String {
        if self.restore { what_restore(&self.job) } else { what(&self.job, self.source.as_deref()) }
    }

    /// Whether running this one does what the other one asks for.
    pub fn is_like(&self, other: &Self) -> bool {
        let of = |debt: &Self| {
            let run_as = debt.surroundings.run_as.clone();
            (debt.job.clone(), debt.source.clone(), debt.line.clone(), run_as, debt.debtor.clone(), debt.restore)
        };
        of(self) == of(other)
    }
}

/// A job or source in words.
pub fn what(job: &str, source: Option<&str>) -> String {
    match source {
        Some(source) => format!("source {job}/{source}"),
        None => format!("job {job}"),
    }
}

/// A restore in place in words.
pub fn what_restore(places: &str) -> String {
    format!("the restore of {places}")
}
