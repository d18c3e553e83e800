//! What a restore in place restores, and where; what stands against it is found before anything is changed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::cli::commands::backup::own_places;
use crate::cli::commands::restore::{OverwriteArgument, RestoreArguments, patterns, target_options};
use crate::cli::context::Session;
use crate::cli::error::{CliError, Result};
use crate::cli::jobs::plan::host;
use crate::cli::output::text::escape;
use crate::cli::paths::{absolute, split_last};
use crate::cli::select::{Chosen, choose, choose_set};
use crate::cli::settings::Settings;
use crate::destination::{Exchange, Overwrite};
use crate::format::tree::NodeKind;
use crate::ops::list;
use crate::ops::restore::{Agree, RestoreOptions};
use crate::primitives::progress::{Observer, Severity};
use crate::repository::Repository;
use crate::repository::snapshots::Snapshot;
use crate::source::exclude::exactly;

/// A saved path, and where it is restored.
pub(super) struct Part {
    /// The path in the snapshot.
    pub(super) chosen: Chosen,
    /// Where it goes.
    pub(super) place: PathBuf,
    /// Whether it is no directory, but a single entry of one.
    pub(super) is_single: bool,
    /// With `--keep-old`.
    pub(super) exchange: Option<Exchange>,
    /// Patterns for what the program itself keeps there.
    own: Vec<String>,
}

impl Part {
    pub(super) fn id(&self) -> String {
        self.chosen.snapshot.id.short()
    }

    /// How it is restored into `target`: its place, or a new directory beside it.
    pub(super) fn options<'a>(
        &self,
        session: &Session,
        arguments: &RestoreArguments,
        target: &Path,
        agree: Agree<'a>,
    ) -> Result<RestoreOptions<'a>> {
        let mut target_options = target_options(arguments)?;
        if target_options.overwrite == Overwrite::Refuse {
            target_options.overwrite = Overwrite::IfChanged;
        }
        let options = RestoreOptions {
            target: target.to_owned(),
            target_options,
            subtree: Some(self.chosen.path.clone()),
            no_space_check: arguments.no_space_check,
            own: self.own.clone(),
            ..RestoreOptions::default()
        };
        if self.is_single {
            let (parent, name) = split_last(&self.chosen.path);
            let target = target.parent().unwrap_or(target).to_owned();
            let subtree = (!parent.is_empty()).then(|| parent.to_vec());
            return Ok(RestoreOptions { target, subtree, only: vec![name.to_vec()], own: Vec::new(), ..options });
        }
        Ok(RestoreOptions {
            include: patterns(session, &arguments.include, &arguments.iinclude, &arguments.include_file)?,
            exclude: patterns(session, &arguments.exclude, &arguments.iexclude, &arguments.exclude_file)?,
            delete: Some(agree),
            ..options
        })
    }
}

/// What is to be restored, and where. Whatever cannot be restored in place is refused by name.
pub(super) fn parts(session: &Session, repository: &Repository, arguments: &RestoreArguments) -> Result<Vec<Part>> {
    let target = arguments.target.as_deref().or(arguments.directory.as_deref());
    let target = target.map(|target| absolute(target, &session.env.cwd));
    let mut parts = Vec::new();
    for chosen in chosen(session, repository, arguments, target.is_some())? {
        check_snapshot(session, &chosen.snapshot, target.is_some())?;
        if chosen.snapshot.described.figures.unreadable > 0 {
            let text = format!(
                "snapshot {} lacks what could not be read when it was saved: such entries are taken for extras",
                chosen.snapshot.id.short()
            );
            session.progress.finding(Severity::Warning, &text);
        }
        let mut paths = saved_paths(&chosen)?;
        if target.is_some() && paths.len() > 1 {
            let text = "this snapshot has several paths: name one as SNAPSHOT:PATH to restore it to --target";
            return Err(CliError::Usage(text.to_owned()));
        }
        paths.sort();
        for path in paths {
            let place = target.clone().unwrap_or_else(|| Path::new("/").join(OsStr::from_bytes(&path)));
            let is_below = |part: &Part| place.starts_with(&part.place);
            if !parts.iter().any(is_below) {
                parts.push(part(session, repository, arguments, Chosen { path, ..chosen.clone() }, place)?);
            }
        }
    }
    match parts.is_empty() {
        true => Err(CliError::Usage("the set has no files to restore in place".to_owned())),
        false => Ok(parts),
    }
}

/// The snapshots that are meant: one, or those of a set that are files.
fn chosen(
    session: &Session,
    repository: &Repository,
    arguments: &RestoreArguments,
    has_target: bool,
) -> Result<Vec<Chosen>> {
    let Some(set) = &arguments.set.set else {
        return Ok(vec![choose(repository, &arguments.snapshot, session.env)?]);
    };
    if has_target {
        let text = "a set is restored in place to where it was saved: name one of its snapshots for --target";
        return Err(CliError::Usage(text.to_owned()));
    }
    let set = choose_set(session, repository, set, &arguments.set, &arguments.snapshot)?;
    let mut all = Vec::new();
    for snapshot in set.members {
        if is_of_paths(&snapshot) {
            all.push(Chosen { snapshot, path: Vec::new() });
            continue;
        }
        let name = escape(snapshot.described.member_path().as_bytes());
        let text = format!("{name} is no directory and stays as it is: `strongroom load` brings databases back");
        session.progress.finding(Severity::Note, &text);
    }
    Ok(all)
}

fn is_of_paths(snapshot: &Snapshot) -> bool {
    snapshot.described.paths.iter().all(|path| path.starts_with(b"/"))
}

/// Refuses a snapshot that must not replace what is there.
fn check_snapshot(session: &Session, snapshot: &Snapshot, has_target: bool) -> Result<()> {
    let (id, described, here) = (snapshot.id.short(), &snapshot.described, host(session.env));
    let usage = |text: String| Err(CliError::Usage(text));
    if !is_of_paths(snapshot) {
        return usage(format!(
            "snapshot {id} is a stream, and has no place: restore it into a directory with --target"
        ));
    }
    if let Some(doubt) = &snapshot.doubt {
        return usage(format!("snapshot {id} is not believed: {doubt}; restore it into an empty directory and look"));
    }
    if snapshot.state.damaged {
        return usage(format!("snapshot {id} is damaged: restore what is left of it into an empty directory"));
    }
    if described.host != here && !has_target {
        let of = escape(described.host.as_bytes());
        return usage(format!(
            "snapshot {id} is of the machine {of}, and this is {here}: name the directory with --target, or set \
             STRONGROOM_HOST={of} if this machine takes its place"
        ));
    }
    Ok(())
}

/// The paths that are meant, from the root of the snapshot.
fn saved_paths(chosen: &Chosen) -> Result<Vec<Vec<u8>>> {
    let paths: Vec<Vec<u8>> = match chosen.path.is_empty() {
        true => chosen.snapshot.described.paths.iter().map(|path| path[1..].to_vec()).collect(),
        false => vec![chosen.path.clone()],
    };
    match paths.iter().any(Vec::is_empty) {
        true => Err(CliError::Usage(
            "the root of a system that runs cannot be restored in place: name a directory as SNAPSHOT:PATH, or start \
             another system and restore to --target"
                .to_owned(),
        )),
        false => Ok(paths),
    }
}

fn part(
    session: &Session,
    repository: &Repository,
    arguments: &RestoreArguments,
    chosen: Chosen,
    place: PathBuf,
) -> Result<Part> {
    let node = list::find(repository, &chosen.snapshot, &chosen.path)?;
    let is_single = node.is_some_and(|node| !matches!(node.kind, NodeKind::Directory(_)));
    let shown = escape(place.as_os_str().as_bytes());
    if is_single && (arguments.in_place.keep_old || place.is_dir()) {
        return Err(CliError::Usage(format!(
            "{shown} is a single file: restore it with --target and --overwrite always"
        )));
    }
    if arguments.overwrite == Some(OverwriteArgument::Never) {
        return Err(CliError::Usage("--in-place replaces what differs: --overwrite never contradicts it".to_owned()));
    }
    let exchange = arguments.in_place.keep_old.then(|| Exchange::prepare(&place)).transpose()?;
    let mut own = Vec::new();
    let settings = Settings::find(session.global, session.env, false)?;
    let real = place.canonicalize().unwrap_or_else(|_| place.clone());
    for (path, what) in own_places(session, &settings)? {
        let Ok(below) = path.strip_prefix(&real) else { continue };
        let pattern = exactly(&Path::new("/").join(below)).filter(|_| !below.as_os_str().is_empty());
        let (Some(pattern), None) = (pattern, &exchange) else {
            let path = escape(path.as_os_str().as_bytes());
            return Err(CliError::Usage(format!(
                "{path} is the {what} of this backup, and lies in {shown}: move it, or restore without --keep-old"
            )));
        };
        own.push(pattern);
    }
    Ok(Part { chosen, place, is_single, exchange, own })
}
