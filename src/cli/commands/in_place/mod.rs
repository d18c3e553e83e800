//! `restore --in-place`: directories go back to where they were saved, and the service that uses them is stopped for it.
//!
//! First it is found out what will be done, whether there is room for it, and whether the user agrees; until then,
//! nothing is changed and nothing is stopped. Then, without `--keep-old`: stop, write what differs, start. If writing
//! does not come to its end, the directory is half restored and the service is not started: its start is owed until the
//! same restore has succeeded. With `--keep-old`, all is written beside the directory while the service still runs; then:
//! stop, exchange, start.

mod parts;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::cli::commands::restore::{RestoreArguments, Restored, counted, tell, tell_notes};
use crate::cli::context::Session;
use crate::cli::error::{CliError, Result, error_text};
use crate::cli::exit::Exit;
use crate::cli::jobs::hooks::{ServiceArguments, service};
use crate::cli::output::text::{count, escape};
use crate::cli::redact::mask;
use crate::destination::{DirectoryLocks, Exchange, Leftover, RelativePath, sync_tree};
use crate::jobs::hooks::How;
use crate::jobs::service::{Service, Started};
use crate::ops::restore::{Foreseen, RestoreError, RestoreReport, foresee, no_room_for_all, restore};
use crate::primitives::progress::{Observer, Severity};
use crate::repository::Repository;
use crate::source::dss;

use parts::{Part, parts};

/// Extras that are shown before they are deleted.
const EXTRAS_SHOWN_MAX: usize = 20;

/// Restores in place.
pub(crate) fn run(session: &Session, arguments: &RestoreArguments) -> Result<Exit> {
    session.with_repository(|repository| {
        session.listen()?;
        let parts = parts(session, repository, arguments)?;
        let work = InPlace { session, repository, arguments, parts: &parts };
        let foreseen = parts.iter().map(|part| work.foresee(part)).collect::<Result<Vec<_>>>()?;
        let is_unknown = arguments.no_space_check || arguments.sparse;
        if let Some(error) = no_room_for_all(&foreseen).filter(|_| !is_unknown) {
            return Err(error.into());
        }
        parts.iter().for_each(|part| work.warn_of_version(part));
        if arguments.dry_run {
            return work.told(&foreseen);
        }
        if !work.is_agreed(&foreseen) {
            return Err(RestoreError::NotConfirmed.into());
        }
        let service = work.service()?;
        let _locks = work.lock(&service)?;
        let exit = if arguments.in_place.keep_old { work.exchange(service)? } else { work.replace(service)? };
        tell_notes(session, parts[0].chosen.snapshot.described.set.as_ref())?;
        Ok(exit)
    })
}

/// What became of a part.
struct Done {
    report: RestoreReport,
    took_ms: u64,
}

struct InPlace<'a> {
    session: &'a Session<'a>,
    repository: &'a Arc<Repository>,
    arguments: &'a RestoreArguments,
    parts: &'a [Part],
}

impl InPlace<'_> {
    fn say(&self, severity: Severity, text: &str) {
        self.session.progress.finding(severity, text);
    }

    /// The directories, in words.
    fn places(&self) -> String {
        let places: Vec<String> = self.parts.iter().map(|part| shown(&part.place)).collect();
        places.join(", ")
    }

    fn foresee(&self, part: &Part) -> Result<Foreseen> {
        let target = match &part.exchange {
            None => part.place.clone(),
            // What an interrupted restore has written already need not be written again.
            Some(exchange) => exchange.staged(&part.id())?.unwrap_or_else(|| exchange.kept(&part.id())),
        };
        let mut agree = |_: &[RelativePath]| false;
        let options = part.options(self.session, self.arguments, &target, &mut agree)?;
        Ok(foresee(self.repository, &part.chosen.snapshot, &options, &self.session.progress)?)
    }

    /// Warns if what is there now is of an older version of its program: that cannot use what is restored.
    fn warn_of_version(&self, part: &Part) {
        let saved = part.chosen.snapshot.described.data_directories.iter().flatten();
        let path = [b"/", &part.chosen.path[..]].concat();
        for saved in saved.filter(|saved| saved.path[..] == path[..]) {
            let Some(there) = dss::version(&part.place).filter(|there| dss::is_older(there, &saved.version)) else {
                continue;
            };
            let (place, version) = (shown(&part.place), escape(saved.version.as_bytes()));
            let text = format!(
                "{place} is of {} {} now, and is restored as of {version}: an older DSS must not be started with it",
                dss::PRODUCT,
                escape(there.as_bytes())
            );
            self.say(Severity::Warning, &text);
        }
    }

    /// What would be done, in lines.
    fn plan(&self, foreseen: &[Foreseen]) -> Vec<String> {
        let mut lines = vec!["restore in place:".to_owned()];
        for (part, foreseen) in self.parts.iter().zip(foreseen) {
            lines.push(format!("  {} from {}: {}", shown(&part.place), part.id(), counted(&foreseen.report)));
            if let Some(exchange) = part.exchange.as_ref().filter(|exchange| exchange.is_there()) {
                lines.push(format!("    what is there is kept as {}", shown(&exchange.kept(&part.id()))));
                continue;
            }
            let extras = foreseen.extras.iter().take(EXTRAS_SHOWN_MAX);
            lines.extend(extras.map(|extra| format!("    delete {}", escape(extra.as_bytes()))));
            let rest = foreseen.extras.len().saturating_sub(EXTRAS_SHOWN_MAX);
            lines.extend((rest > 0).then(|| format!("    and {} more", count(rest as u64))));
        }
        let (stop, start) = (&self.arguments.in_place.stop, &self.arguments.in_place.start);
        for (what, line) in [("stop:", stop), ("start:", start)] {
            lines.extend(line.iter().map(|line| format!("  {what:6} {}", escape(mask(line).as_bytes()))));
        }
        lines
    }

    fn told(&self, foreseen: &[Foreseen]) -> Result<Exit> {
        if self.session.global.tells() {
            self.session.print(&self.plan(foreseen).join("\n"))?;
        }
        for (part, foreseen) in self.parts.iter().zip(foreseen) {
            self.tell(part, &Done { report: foreseen.report.clone(), took_ms: 0 }, None)?;
        }
        Ok(Exit::Done)
    }

    fn is_agreed(&self, foreseen: &[Foreseen]) -> bool {
        let yes = self.arguments.yes;
        if yes && self.session.global.quiet {
            return true;
        }
        self.session.progress.suspended(|| {
            let env = self.session.env;
            self.plan(foreseen).iter().for_each(|line| env.eprint_line(line));
            yes || env.confirm("go on? [y/N]")
        })
    }

    /// Sees that nobody else restores into the same directories meanwhile.
    fn lock(&self, service: &Service) -> Result<DirectoryLocks> {
        let mut locks = DirectoryLocks::default();
        let mut is_free = !service.is_restored_by_another()?;
        for part in self.parts {
            is_free &= locks.add(&part.place).map_err(CliError::file("lock", &part.place))?;
        }
        match is_free {
            true => Ok(locks),
            false => Err(RestoreError::Busy { places: self.places() }.into()),
        }
    }

    fn service(&self) -> Result<Service> {
        let options = &self.arguments.in_place;
        let ids: Vec<String> = self.parts.iter().map(|part| part.chosen.snapshot.id.to_string()).collect();
        let arguments = ServiceArguments {
            stop: options.stop.as_deref(),
            start: options.start.as_deref(),
            timeout: options.hook_timeout.as_deref(),
            places: &self.places(),
            snapshots: &ids.join(" "),
        };
        service(self.session, &arguments)
    }

    fn tell(&self, part: &Part, done: &Done, kept_old: Option<&Path>) -> Result<()> {
        let restored =
            Restored { target: &part.place, report: &done.report, kept_old, base: None, took_ms: done.took_ms };
        tell(self.session, &part.chosen, self.arguments, restored)
    }

    /// Restores a part. All extras are deleted: the user has agreed, and a service that ran until now made more of them.
    fn restore(&self, part: &Part, target: &Path) -> Result<Done, CliError> {
        let began = Instant::now();
        let mut agree = |_: &[RelativePath]| true;
        let options = part.options(self.session, self.arguments, target, &mut agree)?;
        let report = restore(self.repository, &part.chosen.snapshot, options, &self.session.progress)?;
        Ok(Done { report, took_ms: began.elapsed().as_millis() as u64 })
    }

    /// Stops the service; if that fails, it is started again, for it may have stopped in part.
    fn stop(&self, mut service: Service) -> Result<Service> {
        match service.stop(&self.session.progress) {
            Ok(()) => Ok(service),
            Err(e) => {
                let e = CliError::from(e);
                self.start(service, &e);
                Err(e)
            }
        }
    }

    /// Starts the service on directories that are as they were, because of an error.
    fn start(&self, service: Service, error: &CliError) {
        let how = if Exit::of(error) == Exit::Interrupted { How::Interrupted } else { How::Failed };
        self.started(service.start(&self.session.progress, how, &error_text(error)));
        self.say(Severity::Note, &format!("nothing was changed in {}", self.places()));
    }

    /// Tells whether the service was started.
    fn started(&self, started: Started) -> Exit {
        let Started::Failed { error, id } = started else { return Exit::Done };
        let text = format!("{error}; it stays owed (id {id}): `strongroom hooks --owed` runs it again");
        self.say(Severity::Error, &text);
        Exit::Problems
    }

    /// Leaves the service stopped, because its directories are not whole.
    fn leave_stopped(&self, service: Service) {
        let (places, start) = (self.places(), self.arguments.in_place.start.as_deref());
        let mut text =
            format!("{places}: half restored; run the same restore again, which goes on where this one ended");
        if let (Some(id), Some(start)) = (service.leave_stopped(), start) {
            let start = mask(start);
            text.push_str(&format!(
                ". Its service is not started. To start it all the same: `{start}`, then `strongroom hooks --discard {id}`"
            ));
        }
        self.say(Severity::Error, &text);
    }

    /// Replaces in the directories what differs.
    fn replace(&self, service: Service) -> Result<Exit> {
        let mut service = self.stop(service)?;
        let why = format!("{} is half restored: run the same restore again", self.places());
        if let Err(e) = service.changing(&why) {
            let e = e.into();
            self.start(service, &e);
            return Err(e);
        }
        let mut done: Vec<Done> = Vec::new();
        for part in self.parts {
            let restored = self.restore(part, &part.place).and_then(|done| {
                let folder = if part.is_single { part.place.parent().unwrap_or(&part.place) } else { &part.place };
                sync_tree(folder)?;
                Ok(done)
            });
            match restored {
                Ok(one) => done.push(one),
                Err(CliError::Restore(e)) if done.is_empty() && e.changed_nothing() => {
                    let e = e.into();
                    service.whole()?;
                    self.start(service, &e);
                    return Err(e);
                }
                Err(e) => {
                    self.leave_stopped(service);
                    return Err(e);
                }
            }
        }
        let is_whole = done.iter().all(|done| done.report.problems_count == 0);
        let exit = if is_whole {
            service.whole()?;
            self.started(service.start(&self.session.progress, How::Complete, ""))
        } else {
            self.leave_stopped(service);
            Exit::Problems
        };
        for (part, done) in self.parts.iter().zip(&done) {
            self.tell(part, done, None)?;
        }
        Ok(exit)
    }

    /// Restores beside the directories, and exchanges them.
    fn exchange(&self, service: Service) -> Result<Exit> {
        let exchanges = self.parts.iter().filter_map(|part| part.exchange.as_ref().map(|exchange| (part, exchange)));
        let mut staged: Vec<Staged<'_>> = Vec::new();
        for (part, exchange) in exchanges {
            self.settle(part, exchange)?;
            let path = exchange.stage(&part.id())?;
            let in_one_step = exchange.is_in_one_step()?;
            let done = match self.restore(part, &path) {
                Ok(done) => done,
                Err(e) => return Err(self.not_staged(&path, e)),
            };
            if done.report.problems_count > 0 {
                let text = format!(
                    "{} is as it was: what was restored beside it, {}, is incomplete",
                    shown(&part.place),
                    shown(&path)
                );
                self.say(Severity::Error, &text);
                let (target, report, took_ms) = (path.as_path(), &done.report, done.took_ms);
                let restored = Restored { target, report, kept_old: None, base: None, took_ms };
                tell(self.session, &part.chosen, self.arguments, restored)?;
                return Ok(Exit::Problems);
            }
            staged.push(Staged { part, exchange, path, done, in_one_step, kept: exchange.kept(&part.id()) });
        }
        let mut service = self.stop(service)?;
        for (n, staged) in staged.iter().enumerate() {
            match self.put(&mut service, staged) {
                Ok(()) => {}
                // The others are new already; or there may be nothing at its place.
                Err(e) if n > 0 || !staged.part.place.exists() => {
                    let _ = service.changing(&format!("{} is exchanged only in part", self.places()));
                    self.leave_stopped(service);
                    return Err(e);
                }
                Err(e) => {
                    service.whole()?;
                    self.start(service, &e);
                    return Err(e);
                }
            }
        }
        let exit = self.started(service.start(&self.session.progress, How::Complete, ""));
        staged.iter().try_for_each(|staged| self.tell_kept(staged))?;
        Ok(exit)
    }

    /// Puts a new tree in its place.
    fn put(&self, service: &mut Service, staged: &Staged<'_>) -> Result<()> {
        let Staged { part, exchange, path, kept, .. } = staged;
        if staged.in_one_step {
            return Ok(exchange.put(path, kept)?);
        }
        let (place, path_there, kept_there) = (shown(&part.place), shown(path), shown(kept));
        let text = format!(
            "the file system of {place} cannot exchange two names in one step: for a moment there is nothing; \
             if it stays so, rename {path_there} to {place}, or {kept_there} for the old one"
        );
        self.say(Severity::Warning, &text);
        let why = format!("{place} was being exchanged: if it is missing, rename {path_there} or {kept_there} to it");
        service.changing(&why)?;
        exchange.put_in_two_steps(path, kept)?;
        Ok(service.whole()?)
    }

    /// Ends what an interrupted exchange of the same directory left, and names what else is beside it.
    fn settle(&self, part: &Part, exchange: &Exchange) -> Result<()> {
        for leftover in exchange.settle(&part.id())? {
            let text = match leftover {
                Leftover::Kept(path) => {
                    format!("an interrupted restore had put another directory in the place of {}", shown(&path))
                }
                Leftover::Staged(path) => {
                    format!("{} is left of an interrupted restore of another snapshot: it may be deleted", shown(&path))
                }
            };
            self.say(Severity::Note, &text);
        }
        Ok(())
    }

    /// What becomes of a new tree that could not be restored: without room it goes, else the next restore goes on with it.
    fn not_staged(&self, path: &Path, error: CliError) -> CliError {
        let is_full = matches!(&error, CliError::Restore(RestoreError::Full { .. } | RestoreError::NoRoom { .. }));
        if is_full && let Err(e) = std::fs::remove_dir_all(path) {
            return CliError::file("remove", path)(e);
        }
        let rest = match is_full {
            true => "what was restored beside it is removed".to_owned(),
            false => format!("the same restore goes on with {}", shown(path)),
        };
        self.say(Severity::Note, &format!("{} is as it was; {rest}", self.places()));
        error
    }

    /// Tells where the old directory is, what is only there, and how to go back.
    fn tell_kept(&self, staged: &Staged<'_>) -> Result<()> {
        let Staged { part, exchange, kept, done, .. } = staged;
        if !exchange.is_there() {
            return self.tell(part, done, None);
        }
        self.tell(part, done, Some(kept))?;
        if !self.session.global.tells() {
            return Ok(());
        }
        let (place, kept_there) = (shown(exchange.place()), shown(kept));
        self.session.print(&format!("  the old directory is kept as {kept_there}"))?;
        let left_out = &part.chosen.snapshot.described.excludes;
        if !left_out.is_empty() {
            let rules = escape(left_out.join(", ").as_bytes());
            self.session.print(&format!("  what the backup left out is only there: {rules}"))?;
        }
        let quoted = |path: &str| shlex::try_quote(path).map(|q| q.into_owned()).unwrap_or_default();
        let (old, new, aside) =
            (quoted(&kept_there), quoted(&place), quoted(&format!("{place}.restored-{}", part.id())));
        self.session.print(&format!("  to go back: stop its service, then mv -T {new} {aside} && mv -T {old} {new}"))
    }
}

/// A new tree beside its place.
struct Staged<'a> {
    part: &'a Part,
    exchange: &'a Exchange,
    path: PathBuf,
    done: Done,
    in_one_step: bool,
    kept: PathBuf,
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}
