//! `run`: jobs of the configuration file, now.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;

use crate::format::record::Outcome;
use crate::jobs::config::{Config, Job};
use crate::jobs::journal::{Event, Journal, owed};
use crate::jobs::schedule::Schedule;
use crate::primitives::ids::SetId;
use crate::primitives::progress::{Observer, Severity};
use crate::primitives::system::random;

use super::super::context::Session;
use super::super::error::{CliError, Result, error_text};
use super::super::exit::Exit;
use super::super::given::check_text;
use super::super::output::json::outcome;
use super::super::redact::mask;
use super::super::settings::places;
use super::super::time::show;
use super::super::values;
use super::backup::CompressionArgument;
use crate::cli::config_file::{ConfigFileArgument, load, open_log};
use crate::cli::jobs::execute::Running;
use crate::cli::jobs::follow::JournalFollower;
use crate::cli::jobs::hooks::pay_before_run;
use crate::cli::jobs::limits::usual_lengths;
use crate::cli::jobs::plan::{Planned, check_supported, host, plan, zone_of};

/// Options of `run`.
#[derive(Args)]
pub struct RunArguments {
    /// Jobs, or sources of jobs; by default every job that this machine runs
    #[arg(value_name = "JOB[/SOURCE]")]
    pub jobs: Vec<String>,
    /// Run only jobs that are owed a run by their schedule
    #[arg(long)]
    pub due: bool,
    /// Protect the snapshots from being forgotten, as `hold` does
    #[arg(long)]
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
    open_log(session, &config)?;
    let planned = plan(&config, &arguments.jobs, &host(session.env))?;
    // Before the first begins.
    for planned in &planned {
        check_supported(planned)?;
    }
    if planned.is_empty() {
        session.progress.finding(Severity::Note, "no job of the configuration is run on this machine");
    }
    session.listen()?;
    let runner =
        Runner { session, config: &config, journal: Journal::open(&state(session)?).map_err(journal_failed)?, argv };
    let mut worst = if pay_before_run(session)? { Exit::Done } else { Exit::Problems };
    for planned in &planned {
        if arguments.due && runner.owed(planned.job)?.is_none() {
            continue;
        }
        let done = match runner.run(planned, arguments) {
            Ok(exit) => exit,
            // A job that fails stops no other; whoever interrupts one means all.
            Err(e) if Exit::of(&e) != Exit::Interrupted => {
                session.progress.finding(Severity::Error, &format!("job {}: {}", planned.job.name, error_text(&e)));
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

fn state(session: &Session) -> Result<PathBuf> {
    Ok(places(session.global, session.env)?.state)
}

pub(super) fn journal_failed(source: std::io::Error) -> CliError {
    CliError::OsSystem { action: "use the journal of jobs in the state folder", source }
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
        let env = self.session.env;
        let Some(schedule) = job.table.text("schedule").and_then(|text| text.parse::<Schedule>().ok()) else {
            return Ok(None);
        };
        let events = self.journal.events().map_err(journal_failed)?;
        let now_ms = env.system.now_ms();
        if !events.iter().any(|event| matches!(event, Event::Seen { job: known, .. } if *known == job.name)) {
            let seen = Event::Seen { job: job.name.clone(), time_ms: now_ms };
            self.journal.append(&seen).map_err(journal_failed)?;
        }
        // By so much the start differs from that of other hosts and jobs, each time by the same.
        let jitter_ms = job.table.text("jitter").map(values::duration_ms).transpose().map_err(CliError::Usage)?;
        let hash = blake3::hash(format!("{}\n{}", host(env), job.name).as_bytes());
        let hash = i64::from(u32::from_le_bytes([
            hash.as_bytes()[0],
            hash.as_bytes()[1],
            hash.as_bytes()[2],
            hash.as_bytes()[3],
        ]));
        let later_ms = jitter_ms.filter(|ms| *ms > 0).map_or(0, |ms| hash % ms);
        let zone = zone_of(self.config, job)?.unwrap_or(env.zone.clone());
        let now = Timestamp::from_millisecond(now_ms - later_ms).map_err(|e| CliError::Usage(e.to_string()))?;
        let latest = schedule.latest(&now.to_zoned(zone));
        Ok(latest.and_then(|slot| owed(&events, &job.name, slot.timestamp().as_millisecond())))
    }

    /// Runs a job unless another process does, and writes down what came of it.
    fn run(&self, planned: &Planned<'_>, arguments: &RunArguments) -> Result<Exit> {
        let (session, job) = (self.session, planned.job);
        let Some(_lock) = self.journal.lock(&job.name).map_err(journal_failed)? else {
            let runs = self.journal.runs().map_err(journal_failed)?;
            let since = runs.iter().rfind(|run| run.job == job.name && run.ended_ms.is_none());
            let since = since.map(|run| format!(" since {}", show(run.begun_ms, &session.env.zone)));
            let text = format!("job {} is being run by another process{}", job.name, since.unwrap_or_default());
            session.progress.finding(Severity::Note, &text);
            return Ok(if arguments.due { Exit::Done } else { Exit::Failed });
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
        let (outcome, error) = match &done {
            Ok((report, _, problems)) => {
                let whole = report.outcome.max(if problems.is_empty() { Outcome::Complete } else { Outcome::Warnings });
                (outcome(whole).to_owned(), problems.first().map(|problem| mask(problem)))
            }
            Err(e) => ("failed".to_owned(), Some(mask(&error_text(e)))),
        };
        let ended = self.journal.append(&Event::Ended { run, outcome, time_ms: now_ms(), error });
        let written = follower.result().and(ended).map_err(journal_failed);
        let (_, exit, _) = done?;
        written.map(|()| exit)
    }
}
