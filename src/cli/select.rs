//! Which snapshot is meant, and which part of it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::format::record::Outcome;
use crate::format::tree::NodeKind;
use crate::ops::list;
use crate::repository::Repository;
use crate::repository::per_source::{self, PerSource};
use crate::repository::sets::{self, ChosenSet, Set, SetFilter, SetTime};
use crate::repository::snapshots::{ChoiceError, Snapshot, SnapshotFilter, SnapshotName};

use super::context::Session;
use super::env::Env;
use super::error::{CliError, Result};
use super::output::text::escape;
use super::paths::{SnapshotSpec, absolute};
use super::time::show;
use crate::cli::args::{FilterArguments, SetArguments, SnapshotArguments};
use crate::cli::values::{self, DayMeans};
use crate::primitives::progress::{Observer, Severity};

/// A snapshot, or a part of one.
#[derive(Clone)]
pub(super) struct Chosen {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Path from its root; empty for all of it.
    pub path: Vec<u8>,
}

/// The filter that the options make.
pub(super) fn filter(arguments: &FilterArguments, env: &Env) -> SnapshotFilter {
    let tags = |set: &String| set.split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect();
    SnapshotFilter {
        hosts: arguments.host.clone(),
        tags: arguments.tag.iter().map(tags).collect(),
        paths: arguments.path.iter().map(|p| path_bytes(p, env)).collect(),
        sources: arguments.source.clone(),
        labels: arguments.label.clone(),
    }
}

/// A path to compare with those of snapshots: what has no slash may be the name of a stream.
fn path_bytes(path: &Path, env: &Env) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    let is_name = !bytes.contains(&b'/') && bytes != b"." && bytes != b"..";
    if is_name { bytes.to_vec() } else { absolute(path, &env.cwd).as_os_str().as_bytes().to_vec() }
}

/// What the options name, without asking the repository.
pub(super) fn parse(arguments: &SnapshotArguments, env: &Env) -> Result<(SnapshotName, Vec<u8>)> {
    let spec = arguments.snapshot.as_deref().map(SnapshotSpec::parse).transpose().map_err(CliError::Usage)?;
    let at = arguments.at.as_deref().map(|text| values::time(text, DayMeans::End, &env.zone));
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

/// The set that is meant; newer ones that are partial are told.
pub(super) fn choose_set(
    session: &Session,
    repository: &Repository,
    text: &str,
    arguments: &SetArguments,
    snapshot: &SnapshotArguments,
) -> Result<Set> {
    let env = session.env;
    let spec = SnapshotSpec::parse(OsStr::new(text)).map_err(CliError::Usage)?;
    let at = snapshot.at.as_deref().map(|text| values::time(text, DayMeans::End, &env.zone));
    let name = match (spec.name, at.transpose().map_err(CliError::Usage)?) {
        (Some(SnapshotName::Latest(0)), Some(time)) => SnapshotName::At(time),
        (Some(name), None) if spec.path.is_empty() => name,
        (_, Some(_)) => return Err(CliError::Usage("with --at, write --set latest".to_owned())),
        _ => {
            return Err(CliError::Usage(format!(
                "invalid set `{text}`: expected an ID prefix, `latest` or `latest~N`"
            )));
        }
    };
    let filter = SetFilter {
        snapshots: filter(&snapshot.filter, env),
        job: arguments.job.clone(),
        job_type: arguments.job_type.clone(),
        partial: arguments.partial,
    };
    let all = sets::sets(repository.snapshots()?);
    if arguments.per_source {
        let time = match name {
            SnapshotName::Latest(0) => SetTime::Any,
            SnapshotName::At(time) => SetTime::NotAfter(time),
            _ => return Err(CliError::Usage("with --per-source, write --set latest".to_owned())),
        };
        return newest_of_each(session, all, time, &filter);
    }
    let ChosenSet { set, newer } = sets::choose_set(all, &name, &filter, env.system.now_ms())?;
    for set in newer {
        let id = set.described().map(|d| d.id.short()).unwrap_or_default();
        let is = if set.outcome() >= Outcome::Partial { "partial" } else { "damaged" };
        let sources: Vec<String> = set.members.iter().map(|s| escape(s.described.member_path().as_bytes())).collect();
        let text = format!(
            "set {id} is newer and {is}: it has {}; --partial accepts it, --per-source takes the newest of each source",
            sources.join(", ")
        );
        session.progress.finding(Severity::Warning, &text);
    }
    Ok(set)
}

/// The newest good snapshot of each source; it is told of which set and time each is.
fn newest_of_each(session: &Session, all: Vec<Set>, time: SetTime, filter: &SetFilter) -> Result<Set> {
    let env = session.env;
    let PerSource { set, of, lacking } = per_source::newest_of_each(all, time, filter, env.system.now_ms())?;
    let text = |path: &str| escape(path.as_bytes());
    if !lacking.is_empty() {
        let lacking: Vec<String> = lacking.iter().map(|path| text(path)).collect();
        let what = format!("there is no snapshot of {}", lacking.join(", "));
        session.progress.finding(Severity::Warning, &what);
    }
    for (snapshot, of) in set.members.iter().zip(of) {
        let time = show(snapshot.state.time_ms, &env.zone);
        let path = text(&snapshot.described.member_path());
        let said = format!("{path}: snapshot {} of set {}, of {time}", snapshot.id.short(), of.short());
        match snapshot.is_good() {
            true => session.progress.finding(Severity::Note, &said),
            false => session.progress.finding(Severity::Warning, &format!("{said}: it is partial or damaged")),
        }
    }
    Ok(set)
}

/// The snapshot that is meant.
pub(super) fn choose(repository: &Repository, arguments: &SnapshotArguments, env: &Env) -> Result<Chosen> {
    let (name, path) = parse(arguments, env)?;
    choose_part(repository, arguments, (name, path), env)
}

fn choose_part(
    repository: &Repository,
    arguments: &SnapshotArguments,
    (name, path): (SnapshotName, Vec<u8>),
    env: &Env,
) -> Result<Chosen> {
    let mut filter = filter(&arguments.filter, env);
    let snapshot = match repository.choose(&name, &filter) {
        // The path may say which source is meant.
        Err(several @ ChoiceError::SeveralSources { .. }) if !path.is_empty() => {
            let all = repository.snapshots()?;
            let meant = all.iter().filter(|s| filter.means(s));
            let with = meant.filter(|s| s.described.paths.iter().any(|p| is_related(p, &path)));
            let sources: BTreeSet<String> = with.map(|s| s.described.member_path()).collect();
            match &sources.into_iter().collect::<Vec<_>>()[..] {
                [one] => {
                    filter.sources = vec![one.clone()];
                    repository.choose(&name, &filter)?
                }
                _ => return Err(several.into()),
            }
        }
        chosen => chosen?,
    };
    Ok(Chosen { snapshot, path })
}

/// The snapshot that is meant, with a path that may also be given by itself, as in `ls ID PATH`.
pub(super) fn choose_at(
    repository: &Repository,
    arguments: &SnapshotArguments,
    path: Option<&OsStr>,
    env: &Env,
) -> Result<Chosen> {
    let (name, mut part) = parse(arguments, env)?;
    if let Some(path) = path {
        if !part.is_empty() {
            return Err(CliError::Usage("a path was given twice: after the colon and by itself".to_owned()));
        }
        let spec = SnapshotSpec::parse(OsStr::from_bytes(&[b":", path.as_bytes()].concat()));
        part = spec.map_err(CliError::Usage)?.path;
    }
    choose_part(repository, arguments, (name, part), env)
}

/// Whether one of the paths is or lies below the other.
fn is_related(one: &[u8], other: &[u8]) -> bool {
    let parts =
        |p: &[u8]| -> Vec<Vec<u8>> { p.split(|c| *c == b'/').filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect() };
    let (one, other) = (parts(one), parts(other));
    one.iter().zip(&other).all(|(a, b)| a == b)
}

/// The path of the only file of the snapshot, below `path`.
pub(super) fn only_file(repository: &Repository, chosen: &Chosen) -> Result<Vec<u8>> {
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
