//! Which snapshot is meant, and which part of it.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::formats::tree::NodeKind;
use crate::machinery::repository::Repository;
use crate::machinery::repository::snapshots::{Snapshot, SnapshotFilter, SnapshotName};
use crate::operations::list;

use super::arguments::{FilterArguments, SnapshotArguments};
use super::error::{CliError, Result};
use super::paths::{SnapshotSpec, absolute};
use super::surroundings::Surroundings;
use super::text::escape;
use super::time::{self, DayMeans};

/// A snapshot, or a part of one.
pub struct Chosen {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Path from its root; empty for all of it.
    pub path: Vec<u8>,
}

/// The filter that the options make.
pub fn filter(arguments: &FilterArguments, around: &Surroundings) -> SnapshotFilter {
    let tags = |set: &String| set.split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect();
    SnapshotFilter {
        hosts: arguments.host.clone(),
        tags: arguments.tag.iter().map(tags).collect(),
        paths: arguments.path.iter().map(|p| path_bytes(p, around)).collect(),
        sources: arguments.source.clone(),
    }
}

/// A path to compare with those of snapshots: what has no slash may be the name of a stream.
fn path_bytes(path: &Path, around: &Surroundings) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    let is_name = !bytes.contains(&b'/') && bytes != b"." && bytes != b"..";
    if is_name { bytes.to_vec() } else { absolute(path, &around.cwd).as_os_str().as_bytes().to_vec() }
}

/// What the options name, without asking the repository.
pub fn parse(arguments: &SnapshotArguments, around: &Surroundings) -> Result<(SnapshotName, Vec<u8>)> {
    let spec = arguments.snapshot.as_deref().map(SnapshotSpec::parse).transpose().map_err(CliError::Usage)?;
    let at = arguments.at.as_deref().map(|text| time::parse(text, DayMeans::End, &around.zone));
    let at = at.transpose().map_err(CliError::Usage)?;
    let (name, path) = spec.map_or((None, Vec::new()), |s| (s.name, s.path));
    match (name, at) {
        (Some(name), None) => Ok((name, path)),
        (None, Some(time)) => Ok((SnapshotName::At(time), path)),
        (Some(_), Some(_)) => {
            Err(CliError::Usage("--at takes the place of the snapshot: write :PATH for a part of it".to_owned()))
        }
        (None, None) => Err(CliError::Usage("name a snapshot: digits of its id, `latest`, or --at TIME".to_owned())),
    }
}

/// The snapshot that is meant.
pub fn choose(repository: &Repository, arguments: &SnapshotArguments, around: &Surroundings) -> Result<Chosen> {
    let (name, path) = parse(arguments, around)?;
    let snapshot = repository.choose(&name, &filter(&arguments.filter, around))?;
    Ok(Chosen { snapshot, path })
}

/// The path of the only file of the snapshot, below `path`.
pub fn only_file(repository: &Repository, chosen: &Chosen) -> Result<Vec<u8>> {
    let mut files = Vec::new();
    let mut count = 0u64;
    list::list(repository, &chosen.snapshot, &chosen.path, true, &mut |path, node| {
        if let NodeKind::File(_) = node.kind {
            count += 1;
            if files.is_empty() {
                files = path.to_vec();
            }
        }
        Ok(())
    })?;
    match count {
        1 => Ok(files),
        _ => {
            let (id, path) = (chosen.snapshot.id.short(), escape(&chosen.path));
            Err(CliError::Usage(format!("name one file: {id}:/{path} has {count}")))
        }
    }
}
