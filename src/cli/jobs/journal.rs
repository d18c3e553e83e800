//! The journal of this machine, as commands use it.

use crate::cli::error::{CliError, Result};
use crate::jobs::journal::{Journal, Run};

/// The journal could not be read or written.
pub(in crate::cli) fn journal_failed(source: std::io::Error) -> CliError {
    CliError::OsSystem { action: "use the journal of jobs in the state folder", source }
}

/// How a run ended. One that has no end is going on if a process has its job, and it is the newest of the job.
pub(in crate::cli) fn outcome(journal: &Journal, run: &Run, runs: &[Run]) -> Result<String> {
    if let Some(outcome) = &run.outcome {
        return Ok(outcome.clone());
    }
    let is_newest = runs.iter().rfind(|known| known.job == run.job).is_some_and(|newest| newest.run == run.run);
    let is_running = is_newest && journal.is_locked(&run.job).map_err(journal_failed)?;
    Ok(if is_running { "running" } else { "crashed" }.to_owned())
}
