//! What a backup saves: its sources, what they are called, and whether this credential may speak for them.

use crate::format::description::{SetDescription, StreamDescription};
use crate::format::record::Role;
use crate::format::tree::check_name;
use crate::primitives::ids::SetId;
use crate::primitives::system::random;
use crate::repository::{Repository, RepositoryError};
use crate::source::ExcludeRules;

use super::paths::PathsSource;
use super::roots::{check_roots, source_of};
use super::snapshot_writer::Source;
use super::stream::{StreamOptions, StreamSource, Streamed};
use super::{BackupError, BackupOptions, Job, PathOptions, exclude_rules};

/// The sources that the options name: all paths are one, and each stream is one.
pub(super) fn sources(
    options: &BackupOptions,
    rules: Option<ExcludeRules>,
    streams: Vec<StreamSource>,
) -> Vec<Box<dyn Source>> {
    let mut names = names(options, &streams).into_iter();
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    if let (Some(rules), Some(name)) = (rules, (!options.paths.is_empty()).then(|| names.next()).flatten()) {
        sources.push(Box::new(PathsSource { name, options: options.of_paths(), rules }));
    }
    sources.extend(
        streams
            .into_iter()
            .zip(names)
            .map(|(stream, name)| stream_source(name, stream, StreamOptions::default(), None)),
    );
    sources
}

/// Paths as one source of [`backup_sources`](super::backup_sources); they are checked when the source is saved.
pub fn paths_source(options: PathOptions) -> Result<Box<dyn Source>, BackupError> {
    let rules = exclude_rules(&options)?.ok_or(BackupError::NoSources)?;
    Ok(Box::new(PathsSource { name: source_of(&options), options, rules }))
}

/// A stream as a source of [`backup_sources`](super::backup_sources), which has a name of its own.
pub fn stream_source(
    name: String,
    stream: StreamSource,
    options: StreamOptions,
    described: Option<StreamDescription>,
) -> Box<dyn Source> {
    Box::new(Streamed { name, stream, options, described })
}

/// The set that the snapshots of these sources make, if there are several or a job saves them.
pub(super) fn set_of(
    repository: &Repository,
    sources: &[Box<dyn Source>],
    job: Option<&Job>,
) -> Option<SetDescription> {
    let names = sources.iter().map(|source| source.name().to_owned()).collect();
    (sources.len() > 1 || job.is_some()).then(|| set_of_job(repository, names, job))
}

/// The set of sources with these names.
pub(super) fn set_of_job(repository: &Repository, sources: Vec<String>, job: Option<&Job>) -> SetDescription {
    SetDescription {
        id: SetId(random(&*repository.system)),
        sources,
        job: job.map(|job| job.name.clone()),
        job_type: job.map(|job| job.job_type.clone()),
        notes: job.and_then(|job| job.notes.clone()),
        records: job.map(|job| job.records.clone()).filter(|records| !records.is_empty()),
        alone: job.map(|job| job.alone).filter(|alone| *alone),
    }
}

/// What those sources are called, in the same order. `--source` names the paths, or a stream that is alone.
pub(super) fn names(options: &BackupOptions, streams: &[StreamSource]) -> Vec<String> {
    let paths = (!options.paths.is_empty()).then(|| source_of(&options.of_paths()));
    let alone = options.paths.is_empty() && streams.len() == 1;
    let of_stream = |stream: &StreamSource| match &options.source {
        Some(source) if alone => source.clone(),
        _ => stream.name().to_owned(),
    };
    paths.into_iter().chain(streams.iter().map(of_stream)).collect()
}

/// Checks what is named before anything is begun.
pub(super) fn check(options: &BackupOptions, streams: &[StreamSource]) -> Result<(), BackupError> {
    if options.paths.is_empty() && streams.is_empty() {
        return Err(BackupError::NoSources);
    }
    for stream in streams {
        check_name(stream.name().as_bytes()).map_err(|_| BackupError::StreamName(stream.name().to_owned()))?;
    }
    // If nothing of the paths is there, nothing is begun.
    check_roots(&options.paths)
}

/// Refuses what everyone would hold to be void before it is begun.
pub(super) fn check_allowed(
    repository: &Repository,
    host: &str,
    sources: impl IntoIterator<Item = String>,
) -> Result<(), BackupError> {
    let not = |what: String| Err(RepositoryError::NotAllowed { what }.into());
    let state = repository.state();
    let Some(credential) = state.credentials.get(&repository.keys.id()) else { return Ok(()) };
    let (certificate, keys) = (&credential.certificate, repository.domain_keys());
    if certificate.role != Role::Backup {
        return not("this credential is read-only".to_owned());
    }
    if !certificate.hosts.contains(&keys.host(host)) {
        return not(format!(
            "this credential may not speak for host {host:?}: `strongroom whoami` says for which, and --host names one"
        ));
    }
    for source in sources {
        if !certificate.sources.is_empty() && !certificate.sources.contains(&keys.source(&source)) {
            return not(format!(
                "this credential may not speak for source {source:?}: `strongroom whoami` says for which, and --source names one"
            ));
        }
    }
    Ok(())
}
