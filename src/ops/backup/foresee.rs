//! What a source would save. Nothing is saved, and no command of a stream is run.

use std::sync::Arc;

use crate::primitives::progress::Observer;
use crate::repository::Repository;

use super::BackupError;
use super::foreseen::Foreseen;
use super::snapshot_writer::Source;
use super::sources::check_allowed;

/// Asks each source what it would save as this host: directories are walked, and servers asked for their databases.
pub fn foresee(
    repository: &Arc<Repository>,
    host: &str,
    sources: Vec<Box<dyn Source>>,
    observer: &dyn Observer,
) -> Result<Vec<Foreseen>, BackupError> {
    check_allowed(repository, host, sources.iter().map(|source| source.identity().to_owned()))?;
    let mut all = Vec::new();
    for source in sources {
        if observer.interrupted() {
            return Err(BackupError::Interrupted);
        }
        let name = source.name().to_owned();
        all.push(Foreseen { source: name, content: source.foresee(repository, observer)? });
    }
    Ok(all)
}
