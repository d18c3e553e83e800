//! Hooks of jobs and sources: from the configuration, around what is saved, and what is owed of them.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::context::Session;
use crate::cli::env::Env;
use crate::cli::error::{CliError, Result, error_text};
use crate::cli::launcher;
use crate::cli::redact::mask;
use crate::cli::settings::places;
use crate::cli::time::show;
use crate::cli::values;
use crate::jobs::config::tree::{Table, Value};
use crate::jobs::config::{Job, Source};
use crate::jobs::debt::{Debt, Debtor};
use crate::jobs::frame::{HookContext, HookFrame, Hooks, Subject, stopped_by};
use crate::jobs::hooks::{Ending, How, Moment, Surroundings};
use crate::jobs::owed::{Entry, Listing, Owed, State};
use crate::jobs::service::{Service, ServiceOptions};
use crate::ops::backup::{BackupReport, Job as BackupJob, Source as BackupSource, failed_run, framed_source};
use crate::primitives::progress::{Observer, Severity};
use crate::repository::Repository;

use super::plan::{Planned, host};
use super::texts::Texts;

/// How long a hook may take if nothing is said.
const TIMEOUT_MS: u64 = 30 * 60 * 1000;

/// Variables that a hook has, also if another process runs it later.
const KEPT: [&str; 11] = [
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];
/// The first so many are right for every user.
const KEPT_OF_OTHERS: usize = 4;

/// A run of a job, and what its hooks are told of it.
pub(in crate::cli) struct RunHooks<'a> {
    pub(in crate::cli) session: &'a Session<'a>,
    pub(in crate::cli) texts: &'a Texts<'a>,
    pub(in crate::cli) job: &'a Job,
    pub(in crate::cli) job_type: &'a str,
    pub(in crate::cli) run: &'a str,
}

impl RunHooks<'_> {
    /// Calls `save` between the job's hooks. What of them failed at the end is told, and answered.
    pub(in crate::cli) fn around(
        &self,
        repository: &Arc<Repository>,
        argv: &str,
        planned: &Planned<'_>,
        save: impl FnOnce() -> Result<BackupReport>,
    ) -> Result<(BackupReport, Vec<String>)> {
        let observer = &self.session.progress;
        let (done, problems) = match self.frame(&self.job.table, None)? {
            Some(mut frame) => {
                let done = frame.enter(observer).map_err(CliError::from).and_then(|()| save());
                let ending = match &done {
                    Ok(report) => Ending::of(&report.sources, None),
                    Err(CliError::Backup(e)) => Ending::of(&[], Some(stopped_by(e))),
                    Err(e) => Ending::of(&[], Some((How::Failed, error_text(e)))),
                };
                let problems = frame.leave(observer, ending);
                problems.iter().for_each(|problem| observer.finding(Severity::Error, problem));
                (done, problems)
            }
            None => (save(), Vec::new()),
        };
        if let Err(e) = &done {
            self.tell_failure(repository, argv, planned, e);
        }
        Ok((done?, problems))
    }

    /// Writes into the repository's log why nothing was begun: its owner sees no journal of this machine. A backup that
    /// was begun has written that itself.
    fn tell_failure(&self, repository: &Arc<Repository>, argv: &str, planned: &Planned<'_>, error: &CliError) {
        if matches!(error, CliError::Backup(_) | CliError::Interrupted) {
            return;
        }
        let (name, job_type) = (self.job.name.clone(), self.job_type.to_owned());
        let job = BackupJob { name, job_type, notes: None, records: Vec::new(), alone: planned.alone };
        let why = mask(&error_text(error));
        if let Err(e) = failed_run(repository, self.texts.host, argv, (&job, planned.names()), why) {
            let text = format!("the failure was not written to the repository's log: {}", error_text(&e));
            self.session.progress.finding(Severity::Warning, &text);
        }
    }

    /// The source between its own hooks.
    pub(in crate::cli) fn framed(
        &self,
        source: &Source,
        inner: Box<dyn BackupSource>,
    ) -> Result<Box<dyn BackupSource>> {
        Ok(match self.frame(&source.table, Some(&source.name))? {
            Some(frame) => framed_source(inner, Box::new(frame)),
            None => inner,
        })
    }

    fn frame(&self, table: &Table, source: Option<&str>) -> Result<Option<HookFrame>> {
        let hook = |key: &str| table.text(key).map(str::to_owned);
        let [before, after, on_failure, always] = ["before", "after", "on_failure", "always"].map(hook);
        if [&before, &after, &on_failure, &always].iter().all(|hook| hook.is_none()) {
            return Ok(None);
        }
        let env = self.session.env;
        let hooks = Hooks { before, after, on_failure, always, surroundings: self.surroundings(table, source)? };
        let (job, source, run) = (self.job.name.clone(), source.map(str::to_owned), self.run.to_owned());
        let subject = Subject { job, source, run, debtor: debtor(env) };
        Ok(Some(HookFrame::new(hooks, subject, context(self.session)?)))
    }

    fn surroundings(&self, table: &Table, source: Option<&str>) -> Result<Surroundings> {
        let env = self.session.env;
        let run_as = table.text("run_as").map(str::to_owned);
        let timeout_ms = timeout_ms(table)?;
        let mut all = kept_variables(env, run_as.is_some());
        let of_file = env.file_variables().into_iter();
        all.extend(of_file.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))));
        let variables = source.and_then(|_| table.table("env")).map(|env| env.0.as_slice()).unwrap_or_default();
        for entry in variables {
            if let Value::Text(value) = &entry.node.value {
                all.push((entry.key.clone(), self.texts.filled(value, source)?));
            }
        }
        let own = [
            ("STRONGROOM_JOB", self.job.name.as_str()),
            ("STRONGROOM_TYPE", self.job_type),
            ("STRONGROOM_HOST", self.texts.host),
            ("STRONGROOM_RUN", self.run),
        ];
        let source = source.map(|source| ("STRONGROOM_SOURCE", source));
        all.extend(own.into_iter().chain(source).map(|(name, value)| (name.to_owned(), value.to_owned())));
        Ok(Surroundings { run_as, timeout_ms, cwd: kept_cwd(env), env: all })
    }
}

fn kept_variables(env: &Env, of_others: bool) -> Vec<(String, String)> {
    let kept = &KEPT[..if of_others { KEPT_OF_OTHERS } else { KEPT.len() }];
    kept.iter().filter_map(|name| Some(((*name).to_owned(), env.variable(name)?.to_str()?.to_owned()))).collect()
}

fn kept_cwd(env: &Env) -> Option<PathBuf> {
    Some(env.cwd.clone()).filter(|cwd| cwd.to_str().is_some())
}

/// What `--stop` and `--start` of a restore are, ready to be run.
pub(in crate::cli) struct ServiceArguments<'a> {
    pub(in crate::cli) stop: Option<&'a str>,
    pub(in crate::cli) start: Option<&'a str>,
    pub(in crate::cli) timeout: Option<&'a str>,
    /// The directories, in words.
    pub(in crate::cli) places: &'a str,
    /// Ids of the snapshots.
    pub(in crate::cli) snapshots: &'a str,
}

/// The service around a restore in place.
pub(in crate::cli) fn service(session: &Session, arguments: &ServiceArguments<'_>) -> Result<Service> {
    let env = session.env;
    let timeout = arguments.timeout.map(values::duration_ms).transpose().map_err(CliError::Usage)?;
    let mut variables = kept_variables(env, false);
    variables.push(("STRONGROOM_SNAPSHOTS".to_owned(), arguments.snapshots.to_owned()));
    variables.push(("STRONGROOM_HOST".to_owned(), host(env)));
    let options = ServiceOptions {
        stop: arguments.stop.map(str::to_owned),
        start: arguments.start.map(str::to_owned),
        surroundings: Surroundings {
            run_as: None,
            timeout_ms: timeout.map_or(TIMEOUT_MS, i64::unsigned_abs),
            cwd: kept_cwd(env),
            env: variables,
        },
        places: arguments.places.to_owned(),
        restore: arguments.snapshots.to_owned(),
        debtor: debtor(env),
    };
    Ok(Service::new(options, context(session)?))
}

fn context(session: &Session) -> Result<HookContext> {
    let system = session.env.system.clone();
    Ok(HookContext { owed: owed(session)?, launcher: launcher(), system, mask })
}

/// How long a hook may take that these keys describe, in milliseconds.
pub(in crate::cli) fn timeout_ms(table: &Table) -> Result<u64> {
    let timeout = table.text("hook_timeout").map(values::duration_ms).transpose().map_err(CliError::Usage)?;
    Ok(timeout.map_or(TIMEOUT_MS, i64::unsigned_abs))
}

fn debtor(env: &Env) -> Debtor {
    Debtor::this(&env.user, &env.host)
}

fn owed(session: &Session) -> Result<Owed> {
    Ok(Owed::of(&places(session.global, session.env)?.state))
}

/// What became of a debt that was to be paid.
pub(in crate::cli) struct Payment {
    /// The debt.
    pub(in crate::cli) debt: Debt,
    /// Why it could not be paid.
    pub(in crate::cli) error: Option<String>,
}

/// Runs the hooks that are owed by processes that are gone, and tells of each; answers also with all that was owed.
pub(in crate::cli) fn pay(session: &Session) -> Result<(Vec<Payment>, Listing)> {
    let (progress, env) = (&session.progress, session.env);
    let (due, listing) = owed(session)?.take_due(&debtor(env))?;
    warn_of_unreadable(session, &listing);
    let mut payments: Vec<Payment> = Vec::new();
    for held in due {
        if env.signals.interrupted() {
            return Err(CliError::Interrupted);
        }
        let debt = held.debt().clone();
        // The same command is run once, whether it succeeds or not.
        match payments.iter().find(|payment| payment.debt.is_like(&debt)).map(|payment| payment.error.is_none()) {
            Some(true) => {
                held.remove()?;
                payments.push(Payment { debt, error: None });
                continue;
            }
            Some(false) => continue,
            None => {}
        }
        let since = show(debt.owed_ms, &env.zone);
        let (hook, what) = (debt.hook().key(), debt.what());
        let of_run = if debt.restore { String::new() } else { format!(", of run {}", debt.run) };
        let text = format!("hook `{hook}` of {what} is owed since {since}{of_run}: it runs now");
        progress.finding(Severity::Note, &text);
        let paid = held.pay(&Ending::unknown(), progress, &|| env.system.now_ms(), mask);
        let error = paid.err().map(|e| error_text(&e));
        if let Some(error) = &error {
            let text = format!("{error}; it stays owed (id {}): `strongroom hooks --owed` runs it again", debt.id);
            progress.finding(Severity::Error, &text);
        }
        payments.push(Payment { debt, error });
    }
    for text in listing.entries.iter().filter_map(unfinished) {
        progress.finding(Severity::Error, &text);
    }
    Ok((payments, listing))
}

/// What is to be done about a service that must not be started yet.
fn unfinished(entry: &Entry) -> Option<String> {
    let (Debt { id, line, .. }, what) = (&entry.debt, entry.debt.what());
    let why = entry.unfinished.as_ref().filter(|_| entry.state == State::Unfinished)?;
    Some(format!(
        "hook `{}` of {what} is owed and does not run: {why}. To start all the same: `{}`, then `strongroom hooks --discard {id}`",
        entry.debt.hook().key(),
        mask(line),
    ))
}

/// Whether all that could be paid was, and nothing is left that waits for a restore.
pub(in crate::cli) fn is_settled(payments: &[Payment], listing: &Listing) -> bool {
    listing.unreadable.is_empty()
        && payments.iter().all(|payment| payment.error.is_none())
        && listing.entries.iter().all(|entry| entry.state != State::Unfinished)
}

/// Before jobs run: what earlier runs owe is done first. Whether all of it was.
pub(in crate::cli) fn pay_before_run(session: &Session) -> Result<bool> {
    match pay(session) {
        Ok((payments, listing)) => Ok(is_settled(&payments, &listing)),
        Err(e @ CliError::Interrupted) => Err(e),
        Err(e) => {
            session.progress.finding(Severity::Error, &error_text(&e));
            Ok(false)
        }
    }
}

/// All that is owed, with a warning for each file that tells nobody what it is.
pub(in crate::cli) fn list(session: &Session) -> Result<Listing> {
    let listing = owed(session)?.list(&debtor(session.env))?;
    warn_of_unreadable(session, &listing);
    Ok(listing)
}

/// Removes a debt without paying it.
pub(in crate::cli) fn discard(session: &Session, id: &str) -> Result<Debt> {
    Ok(owed(session)?.discard(id, &debtor(session.env))?)
}

fn warn_of_unreadable(session: &Session, listing: &Listing) {
    for (path, why) in &listing.unreadable {
        let text = format!(
            "{} may be a hook that is owed, and cannot be read: {why}; look at it, run what it names, and delete it",
            path.display()
        );
        session.progress.finding(Severity::Warning, &text);
    }
}

/// Says in one line what is owed by processes that are gone.
pub(in crate::cli) fn remind(session: &Session) {
    let Ok(owed) = owed(session) else { return };
    let listing = match owed.list(&debtor(session.env)) {
        Ok(listing) => listing,
        Err(e) => return session.progress.finding(Severity::Note, &error_text(&e)),
    };
    for hook in [Moment::Always, Moment::Start] {
        let due = listing.entries.iter().filter(|e| e.state == State::Due && e.debt.hook() == hook);
        let due: Vec<String> = due.map(|e| e.debt.what()).collect();
        if !due.is_empty() {
            let text = format!(
                "hook `{}` of {} is owed: its run was killed or could not run it; `strongroom hooks --owed` runs it",
                hook.key(),
                due.join(", ")
            );
            session.progress.finding(Severity::Note, &text);
        }
    }
    for text in listing.entries.iter().filter_map(unfinished) {
        session.progress.finding(Severity::Warning, &text);
    }
    warn_of_unreadable(session, &listing);
}
