//! `run`: jobs of the configuration file, now.

mod dry;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;

use crate::format::record::Outcome;
use crate::jobs::config::{Config, Job};
use crate::jobs::journal::{Event, Journal, owed};
use crate::jobs::schedule::{Schedule, jitter_ms};
use crate::primitives::ids::SetId;
use crate::primitives::progress::{Observer, Severity};
use crate::primitives::system::random;

use crate::cli::commands::audit::statuses_here;
use crate::cli::commands::backup::CompressionArgument;
use crate::cli::config_file::{ConfigFileArgument, load, open_log};
use crate::cli::context::Session;
use crate::cli::error::{CliError, Result, error_text};
use crate::cli::exit::Exit;
use crate::cli::given::check_text;
use crate::cli::hints::with_hint;
use crate::cli::jobs::execute::Running;
use crate::cli::jobs::follow::JournalFollower;
use crate::cli::jobs::hooks::pay_before_run;
use crate::cli::jobs::journal::journal_failed;
use crate::cli::jobs::limits::usual_lengths;
use crate::cli::jobs::notify::{Moment, Notifier};
use crate::cli::jobs::plan::{Planned, check_supported, host, plan, zone_of};
use crate::cli::output::json::outcome;
use crate::cli::redact::mask;
use crate::cli::settings::places;
use crate::cli::time::show;
use crate::cli::values;

/// Options of `run`.
#[derive(Args)]
pub struct RunArguments {
    /// Jobs, or sources of jobs; by default every job that this machine runs
    #[arg(value_name = "JOB[/SOURCE]")]
    pub jobs: Vec<String>,
    /// Run only jobs that are owed a run by their schedule
    #[arg(long)]
    pub due: bool,
    /// Show what would be done; run no hook and no dump, and store nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Protect the snapshots from being forgotten, as `hold` does
    #[arg(long, conflicts_with = "dry_run")]
    pub hold: bool,
    /// The type of the run, in place of the job's own
    #[arg(long = "type", value_name = "TYPE")]
    pub job_type: Option<String>,
    /// Run as this machine: the jobs that name it in `hosts`; the name is kept in the snapshots [variable: STRONGROOM_HOST]
    #[arg(short = 'H', long, value_name = "NAME")]
    pub host: Option<String>,
    /// How much time to spend on compression, in place of what the configuration says
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub compression: Option<CompressionArgument>,
    /// The configuration file.
    #[command(flatten)]
    pub file: ConfigFileArgument,
}

/// Runs jobs, one after the other.
pub(crate) fn run(session: &Session, arguments: &RunArguments, argv: &str) -> Result<Exit> {
    if let Some(host) = &arguments.host {
        check_text("--host", host)?;
        // It is named once; another run is another process.
        let _ = session.env.named_host.set(host.clone());
    }
    let config = load(session, &arguments.file)?;
    if !arguments.dry_run {
        open_log(session, &config)?;
    }
    let planned = plan(&config, &arguments.jobs, &host(session.env))?;
    // Before the first begins.
    for planned in &planned {
        check_supported(planned)?;
    }
    if planned.is_empty() {
        session.progress.finding(Severity::Note, "no job of the configuration is run on this machine");
    }
    session.listen()?;
    if arguments.dry_run {
        return dry::run(session, &config, &planned, arguments);
    }
    let runner =
        Runner { session, config: &config, journal: Journal::open(&state(session)?).map_err(journal_failed)?, argv };
    let done = runner.run_all(&planned, arguments);
    tell_files(session, &config);
    done
}

/// Writes the files of `[notify]`, whatever became of the jobs. What cannot be told fails none of them.
fn tell_files(session: &Session, config: &Config) {
    let notifier = Notifier { session, config };
    if notifier.is_needed() {
        notifier.tell_passed_over();
        match statuses_here(session, config) {
            Ok(statuses) => notifier.files(&statuses),
            Err(e) => {
                let text = format!("the files of [notify] were not written: {}", error_text(&e));
                session.progress.finding(Severity::Note, &text);
            }
        }
    }
}

fn state(session: &Session) -> Result<PathBuf> {
    Ok(places(session.global, session.env)?.state)
}

impl Runner<'_> {
    /// Runs the jobs, one after the other.
    fn run_all(&self, planned: &[Planned<'_>], arguments: &RunArguments) -> Result<Exit> {
        let session = self.session;
        let mut worst = if pay_before_run(session)? { Exit::Done } else { Exit::Problems };
        for planned in planned {
            if arguments.due && self.owed(planned.job)?.is_none() {
                continue;
            }
            let done = match self.run(planned, arguments) {
                Ok(exit) => exit,
                // A job that fails stops no other; whoever interrupts one means all.
                Err(e) if Exit::of(&e) != Exit::Interrupted => {
                    session.progress.finding(Severity::Error, &format!("job {}: {}", planned.job.name, with_hint(&e)));
                    Exit::Failed
                }
                Err(e) => return Err(e),
            };
            if done != Exit::Done && (worst == Exit::Done || done == Exit::Failed) {
                worst = done;
            }
        }
        Ok(worst)
    }
}

/// When a job is due.
fn schedule(job: &Job) -> Option<Schedule> {
    job.table.text("schedule")?.parse().ok()
}

/// The slot for which a job is owed a run now, after these events.
fn slot_owed(session: &Session, config: &Config, job: &Job, events: &[Event]) -> Result<Option<i64>> {
    let env = session.env;
    let Some(schedule) = schedule(job) else { return Ok(None) };
    let jitter = job.table.text("jitter").map(values::duration_ms).transpose().map_err(CliError::Usage)?;
    let later_ms = jitter_ms(&host(env), &job.name, jitter.unwrap_or(0));
    let zone = zone_of(config, job)?.unwrap_or(env.zone.clone());
    let now =
        Timestamp::from_millisecond(env.system.now_ms() - later_ms).map_err(|e| CliError::Usage(e.to_string()))?;
    let latest = schedule.latest(&now.to_zoned(zone));
    Ok(latest.and_then(|slot| owed(events, &job.name, slot.timestamp().as_millisecond())))
}

/// What runs jobs and writes down what it does.
struct Runner<'a> {
    session: &'a Session<'a>,
    config: &'a Config,
    journal: Journal,
    argv: &'a str,
}

impl Runner<'_> {
    /// The slot for which a job is owed a run now.
    fn owed(&self, job: &Job) -> Result<Option<i64>> {
        if schedule(job).is_none() {
            return Ok(None);
        }
        let events = self.journal.events().map_err(journal_failed)?;
        let now_ms = self.session.env.system.now_ms();
        if !events.iter().any(|event| matches!(event, Event::Seen { job: known, .. } if *known == job.name)) {
            let seen = Event::Seen { job: job.name.clone(), time_ms: now_ms };
            self.journal.append(&seen).map_err(journal_failed)?;
        }
        slot_owed(self.session, self.config, job, &events)
    }

    /// Runs a job unless another process does, and writes down what came of it.
    fn run(&self, planned: &Planned<'_>, arguments: &RunArguments) -> Result<Exit> {
        let (session, job) = (self.session, planned.job);
        let Some(_lock) = self.journal.lock(&job.name).map_err(journal_failed)? else {
            let runs = self.journal.runs().map_err(journal_failed)?;
            let since = runs.iter().rfind(|run| run.job == job.name && run.ended_ms.is_none());
            let since = since.map(|run| format!(" since {}", show(run.begun_ms, &session.env.zone)));
            let text = format!("job {} is being run by another process{}", job.name, since.unwrap_or_default());
            let (severity, exit) =
                if arguments.due { (Severity::Note, Exit::Done) } else { (Severity::Error, Exit::Failed) };
            session.progress.finding(severity, &text);
            return Ok(exit);
        };
        // Another process may have served the slot before this one had the lock.
        let slot_ms = if arguments.due { self.owed(job)? } else { None };
        if arguments.due && slot_ms.is_none() {
            return Ok(Exit::Done);
        }
        let job_type = arguments.job_type.as_deref().or(job.table.text("type")).unwrap_or("Daily").to_owned();
        let run = SetId(random(&*session.env.system)).short();
        let now_ms = || session.env.system.now_ms();
        let (name, of_type) = (job.name.clone(), job_type.clone());
        let (time_ms, alone) = (now_ms(), planned.asked_for());
        let begun = Event::Begun { run: run.clone(), job: name, job_type: of_type, time_ms, slot_ms, alone };
        self.journal.append(&begun).map_err(journal_failed)?;
        let notifier = Notifier { session, config: self.config };
        notifier.job(job, &Moment::Start);
        let usual = usual_lengths(&self.journal.runs().map_err(journal_failed)?);
        let follower = Arc::new(JournalFollower::new(self.journal.clone(), run.clone(), session.env.system.clone()));
        let running = Running {
            session,
            config: self.config,
            planned,
            job_type,
            argv: self.argv,
            run: &run,
            usual,
            hold: arguments.hold,
            compression: arguments.compression.map(Into::into),
            follower: follower.clone(),
        };
        let done = running.run();
        let (outcome_word, error) = match &done {
            Ok((report, _, problems)) => {
                let whole = report.outcome.max(if problems.is_empty() { Outcome::Complete } else { Outcome::Warnings });
                (outcome(whole).to_owned(), problems.first().map(|problem| mask(problem)))
            }
            Err(e) => ("failed".to_owned(), Some(mask(&error_text(e)))),
        };
        let how = outcome_word.clone();
        let ended = self.journal.append(&Event::Ended { run, outcome: outcome_word, time_ms: now_ms(), error });
        notifier.job(job, &Moment::End(&how));
        let written = follower.result().and(ended).map_err(journal_failed);
        let (_, exit, _) = done?;
        written.map(|()| exit)
    }
}
