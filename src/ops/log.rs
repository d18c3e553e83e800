//! History: the repository's own log, record by record.

use crate::format::description::{self, RunDescription};
use crate::format::record::{Operation, Record};
use crate::repository::log::FoldedRecord;
use crate::repository::{Repository, Result};

/// Folds the whole log again from its first record, handing each record to `each`, as far as it can be folded.
pub fn history(repository: &Repository, each: &mut dyn FnMut(FoldedRecord) -> Result<()>) -> Result<()> {
    let mut state = repository.empty_state()?;
    repository.fold_log(&mut state, each).map(drop)
}

/// The descriptions of runs that a record carries, where this credential can open them.
pub fn described(repository: &Repository, record: &Record) -> Vec<RunDescription> {
    let sealed = record.operations.iter().filter_map(|operation| match operation {
        Operation::Begin { description, .. } | Operation::End { description, .. } => Some(description),
        _ => None,
    });
    sealed.filter_map(|d| description::open(d, |e| repository.keys.secret(e)).ok()).collect()
}
