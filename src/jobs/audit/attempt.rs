//! What was tried: one source in one run.

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// All was saved.
    Complete,
    /// All was saved, and something is to be noticed.
    Warnings,
    /// Some was saved.
    Partial,
    /// Nothing was saved.
    Failed,
    /// It has not ended.
    Running,
    /// Its process is gone, and it never ended.
    Crashed,
}

impl Ending {
    /// Whether all was saved.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Complete | Self::Warnings)
    }

    /// The ending that a word of the journal or of a snapshot says; what is unknown has failed.
    pub fn of_word(word: &str) -> Self {
        match word {
            "complete" => Self::Complete,
            "warnings" => Self::Warnings,
            "partial" => Self::Partial,
            "running" => Self::Running,
            "crashed" => Self::Crashed,
            _ => Self::Failed,
        }
    }
}

/// One source in one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The machine.
    pub host: String,
    /// The job; `None` for a backup that no configuration asked for.
    pub job: Option<String>,
    /// The type of the run.
    pub job_type: Option<String>,
    /// Whether its run was of some sources alone, and not of the whole job.
    pub alone: bool,
    /// The path of the source, such as `commcare/postgresql`.
    pub source: String,
    /// When its run began, in milliseconds since the epoch.
    pub begun_ms: i64,
    /// When its run ended.
    pub ended_ms: Option<i64>,
    /// How it ended.
    pub ending: Ending,
    /// Why it is not good.
    pub error: Option<String>,
    /// Its snapshot; of a source with several, the first.
    pub snapshot: Option<String>,
    /// Bytes of its content.
    pub bytes: u64,
    /// Bytes that were added to the repository.
    pub bytes_stored: u64,
}

impl Attempt {
    /// Whether a run of this job and type made it.
    pub fn is_of(&self, job: &str, job_type: &str) -> bool {
        self.job.as_deref() == Some(job) && self.job_type.as_deref() == Some(job_type)
    }
}
