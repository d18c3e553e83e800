//! `run`: jobs of the configuration file, now.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::compression::CompressionLevel;
use crate::jobs::config::expand::{Filling, expand};
use crate::jobs::config::tree::{Node, Table, Value};
use crate::jobs::config::{Config, Job, Source, runs_here};
use crate::jobs::journal::{Event, Journal, owed};
use crate::jobs::schedule::Schedule;
use crate::ops::backup::{
    BackupOptions, BackupReport, Job as BackupJob, Limits, PathOptions, Source as BackupSource, StreamOptions,
    StreamSource, backup_sources, paths_source, stream_source,
};
use crate::primitives::ids::SetId;
use crate::primitives::progress::{Observer, Severity};
use crate::primitives::system::random;
use crate::repository::Repository;
use crate::source::ExcludeOptions;

use super::super::args::GlobalArguments;
use super::super::context::Session;
use super::super::env::Env;
use super::super::error::{CliError, Result, error_text};
use super::super::exit::Exit;
use super::super::output::json::outcome;
use super::super::output::text::escape;
use super::super::paths::on_disk;
use super::super::redact::mask;
use super::super::settings::{Settings, places};
use super::super::time::show;
use super::super::values;
use super::backup::{command, dated, exit, leave_out_own, tell};
use crate::cli::config_file::{ConfigFileArgument, load};

/// Options of `run`.
#[derive(Args)]
pub struct RunArguments {
    /// Jobs, or sources of jobs; by default every job that this machine runs
    #[arg(value_name = "JOB[/SOURCE]")]
    pub jobs: Vec<String>,
    /// Run only jobs that are owed a run by their schedule
    #[arg(long)]
    pub due: bool,
    /// The type of the run, in place of the job's own
    #[arg(long = "type", value_name = "TYPE")]
    pub job_type: Option<String>,
    /// The configuration file.
    #[command(flatten)]
    pub file: ConfigFileArgument,
}

/// Keys of jobs and sources that this version does not carry out, and without which a run would mean something else.
const NEEDED: [&str; 8] = ["before", "after", "on_failure", "always", "for_each", "run_as", "record", "container"];
/// Keys that this version does not carry out, and without which a run means the same.
const PASSED_OVER: [&str; 7] = ["timeout", "retries", "min_ratio", "max_ratio", "first", "trailer", "min_size"];

/// What is to be run of a job.
struct Planned<'c> {
    job: &'c Job,
    sources: Vec<&'c Source>,
}

/// Runs jobs, one after the other.
pub(crate) fn run(session: &Session, arguments: &RunArguments, argv: &str) -> Result<Exit> {
    let config = load(session, &arguments.file)?;
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
    let mut worst = Exit::Done;
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
        let append = |event: Event| self.journal.append(&event).map_err(journal_failed);
        append(Event::Begun {
            run: run.clone(),
            job: job.name.clone(),
            job_type: job_type.clone(),
            time_ms: now_ms(),
            slot_ms,
        })?;
        let done = run_job(session, self.config, planned, job_type, self.argv);
        let (outcome_word, error) = match &done {
            Ok((report, _)) => {
                for source in &report.sources {
                    append(Event::Source {
                        run: run.clone(),
                        source: source.source.clone(),
                        outcome: outcome(source.outcome).to_owned(),
                        snapshot: source.snapshot.map(|id| id.to_string()),
                        error: source.error.as_deref().map(mask),
                        bytes: source.figures.bytes,
                        bytes_stored: source.figures.bytes_stored,
                    })?;
                }
                (outcome(report.outcome).to_owned(), None)
            }
            Err(e) => ("failed".to_owned(), Some(mask(&error_text(e)))),
        };
        append(Event::Ended { run, outcome: outcome_word, time_ms: now_ms(), error })?;
        done.map(|(_, exit)| exit)
    }
}

/// What stands in the way of the jobs of this machine: each repository is opened, each path looked for. Nothing is saved.
pub(super) fn tried(session: &Session, config: &Config) -> Result<Vec<String>> {
    let (env, host) = (session.env, host(session.env));
    let mut problems = Vec::new();
    let mut opened = BTreeSet::new();
    for planned in plan(config, &[], &host)? {
        let job = planned.job;
        let texts = Texts { env, host: &host, job: &job.name };
        problems.extend(check_supported(&planned).err().map(|e| error_text(&e)));
        let repository = job.table.text("repository").unwrap_or_default().to_owned();
        if opened.insert(repository.clone()) {
            let open = || -> Result<()> {
                let global = repository_of(session.global, config, job, &texts)?;
                Settings::find(&global, env, false)?.open(&global, env)?;
                Ok(())
            };
            let failed = open().err().map(|e| format!("repository {repository}: {}", error_text(&e)));
            problems.extend(failed);
        }
        for source in planned.sources.iter().filter(|source| source.table.text("kind") == Some("path")) {
            let name = format!("{}/{}", job.name, source.name);
            match texts.list(&source.table, "paths", &source.name) {
                Ok(paths) => {
                    let missing =
                        paths.iter().filter_map(|path| Some((path, Path::new(path).symlink_metadata().err()?)));
                    problems.extend(missing.map(|(path, e)| format!("source {name}: cannot read {path}: {e}")));
                }
                Err(e) => problems.push(format!("source {name}: {}", error_text(&e))),
            }
        }
    }
    Ok(problems)
}

fn zone_of(config: &Config, job: &Job) -> Result<Option<TimeZone>> {
    let zone = job.table.text("time_zone").or(config.table.text("time_zone"));
    zone.map(TimeZone::get).transpose().map_err(|e| CliError::Usage(e.to_string()))
}

fn host(env: &Env) -> String {
    env.variable("STRONGROOM_HOST").map_or_else(|| env.host.clone(), |host| host.to_string_lossy().into_owned())
}

fn plan<'c>(config: &'c Config, named: &[String], host: &str) -> Result<Vec<Planned<'c>>> {
    let mine = |job: &'c Job| -> Vec<&'c Source> {
        job.sources.iter().filter(|source| source.is_enabled() && runs_here(&source.table, host)).collect()
    };
    if named.is_empty() {
        let jobs = config.jobs.iter().filter(|job| job.is_enabled());
        let planned = jobs.map(|job| Planned { job, sources: mine(job) });
        return Ok(planned.filter(|planned| !planned.sources.is_empty()).collect());
    }
    let mut planned: Vec<Planned<'c>> = Vec::new();
    for name in named {
        let (job, source) = name.split_once('/').map_or((name.as_str(), None), |(job, source)| (job, Some(source)));
        let known = || config.jobs.iter().map(|job| job.name.clone()).collect::<Vec<_>>().join(", ");
        let Some(job) = config.job(job) else {
            return Err(CliError::Usage(format!("there is no job `{job}`; there are: {}", known())));
        };
        let sources = match source {
            None => mine(job),
            Some(source) => {
                let found = job.sources.iter().find(|known| known.name == source);
                let missing = || CliError::Usage(format!("job `{}` has no source `{source}`", job.name));
                vec![found.ok_or_else(missing)?]
            }
        };
        if !job.is_enabled() || sources.iter().any(|source| !source.is_enabled()) {
            return Err(CliError::Usage(format!("`{name}` is disabled: `enabled = false`")));
        }
        if sources.iter().any(|source| !runs_here(&source.table, host)) || sources.is_empty() {
            let text = format!("`{name}` is not run on {host}: `hosts` of the configuration names other machines");
            return Err(CliError::Usage(text));
        }
        match planned.iter_mut().find(|planned| planned.job.name == job.name) {
            Some(planned) => {
                let known: BTreeSet<&str> = planned.sources.iter().map(|source| source.name.as_str()).collect();
                planned.sources.extend(sources.into_iter().filter(|source| !known.contains(source.name.as_str())));
            }
            None => planned.push(Planned { job, sources }),
        }
    }
    Ok(planned)
}

/// Refuses what would not be done as it is written.
fn check_supported(planned: &Planned<'_>) -> Result<()> {
    let job = &planned.job.name;
    let refuse =
        |what: String| Err(CliError::Usage(format!("{what}, which this version does not do; nothing was run")));
    if let Some(key) = NEEDED.iter().find(|key| planned.job.table.get(key).is_some()) {
        return refuse(format!("job `{job}` has `{key}`"));
    }
    for source in &planned.sources {
        if let Some(key) = NEEDED.iter().find(|key| source.table.get(key).is_some()) {
            return refuse(format!("source `{job}/{}` has `{key}`", source.name));
        }
        if !matches!(source.table.text("kind"), Some("path" | "command")) {
            let kind = source.table.text("kind").unwrap_or_default();
            return refuse(format!("source `{job}/{}` is of kind {kind}", source.name));
        }
    }
    Ok(())
}

fn run_job(
    session: &Session,
    config: &Config,
    planned: &Planned<'_>,
    job_type: String,
    argv: &str,
) -> Result<(BackupReport, Exit)> {
    let (env, job) = (session.env, planned.job);
    let host = host(env);
    let texts = Texts { env, host: &host, job: &job.name };
    let global = repository_of(session.global, config, job, &texts)?;
    let inner = Session::new(&global, env);
    let settings = Settings::find(&global, env, false)?;
    let repository = settings.open(&global, env)?;
    if session.global.tells() {
        session.print(&format!("job {} ({})", escape(job.name.as_bytes()), escape(job_type.as_bytes())))?;
    }
    for key in PASSED_OVER.iter().filter(|key| planned.sources.iter().any(|source| source.table.get(key).is_some())) {
        inner.progress.finding(Severity::Note, &format!("`{key}` is not carried out by this version"));
    }
    let zone = zone_of(config, job)?;
    let label =
        job.table.text("label").map(|label| dated(label, env.system.now_ms(), zone.as_ref().unwrap_or(&env.zone)));
    let sources = planned.sources.iter().map(|source| prepared(&inner, &settings, job, source, &texts));
    let sources = sources.collect::<Result<Vec<_>>>()?;
    let options = BackupOptions {
        paths: Vec::new(),
        streams: Vec::new(),
        source: None,
        host: host.clone(),
        user: env.user.clone(),
        tags: Vec::new(),
        job: Some(BackupJob { name: job.name.clone(), job_type, notes: None, records: Vec::new() }),
        label: label.transpose()?,
        time_ms: None,
        exclude: ExcludeOptions::default(),
        dry_run: false,
        read_all: false,
        compare: Default::default(),
        compression: compression(config, job),
        allow_empty: false,
        command: argv.to_owned(),
    };
    let work = |repository: &Arc<Repository>| Ok(backup_sources(repository, sources, options, &inner.progress)?);
    let report = inner.with(&repository, work)?;
    tell(&inner, &report, false, None)?;
    let exit = inner.exit(exit(report.outcome));
    Ok((report, exit))
}

fn compression(config: &Config, job: &Job) -> CompressionLevel {
    let name = job.table.text("repository").unwrap_or_default();
    let repository = config.table.table("repositories").and_then(|all| all.table(name));
    match job.table.text("compression").or(repository.and_then(|table| table.text("compression"))) {
        Some("off") => CompressionLevel::Off,
        Some("fast") => CompressionLevel::Fast,
        Some("max") => CompressionLevel::Max,
        _ => CompressionLevel::default(),
    }
}

/// The global options as if the job's repository had been named there.
fn repository_of(global: &GlobalArguments, config: &Config, job: &Job, texts: &Texts<'_>) -> Result<GlobalArguments> {
    let name = job.table.text("repository").unwrap_or_default();
    let missing = || CliError::Usage(format!("repository `{name}` has no `url`"));
    let table = config.table.table("repositories").and_then(|all| all.table(name)).ok_or_else(missing)?;
    let text = |key: &str| table.text(key).map(|text| texts.filled(text, None)).transpose();
    let rate = |text: Option<&str>| text.map(values::rate).transpose().map_err(CliError::Usage);
    for key in ["password_env", "password_credential"] {
        if table.get(key).is_some() {
            let text = format!("repository `{name}`: `{key}` is not supported by this version; use `password_file`");
            return Err(CliError::Usage(text));
        }
    }
    let credential = text("credential")?.map(PathBuf::from);
    let is_owner = credential.is_none();
    Ok(GlobalArguments {
        repo: Some(text("url")?.ok_or_else(missing)?),
        credential,
        password_file: text("password_file")?.map(PathBuf::from).filter(|_| is_owner),
        // A command is for a shell: nothing is filled in.
        password_command: table.text("password_command").map(str::to_owned).filter(|_| is_owner),
        limit_upload: rate(job.table.text("limit_upload").or(table.text("limit_upload")))?.or(global.limit_upload),
        ..global.clone()
    })
}

/// Fills in what stands in braces.
struct Texts<'a> {
    env: &'a Env,
    host: &'a str,
    job: &'a str,
}

impl Texts<'_> {
    fn filled(&self, text: &str, source: Option<&str>) -> Result<String> {
        let filling = Filling {
            host: self.host,
            job: Some(self.job),
            source,
            variable: &|name| self.env.variable(name).map(|value| value.to_string_lossy().into_owned()),
            file: &|file| {
                let path = self.env.cwd.join(file);
                std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))
            },
        };
        expand(text, &filling).map_err(CliError::Usage)
    }

    fn list(&self, table: &Table, key: &str, source: &str) -> Result<Vec<String>> {
        let Some(Node { value: Value::List(list), .. }) = table.get(key) else { return Ok(Vec::new()) };
        let texts = list.iter().filter_map(|node| match &node.value {
            Value::Text(text) => Some(self.filled(text, Some(source))),
            _ => None,
        });
        texts.collect()
    }
}

/// A source, ready to be saved. What it is called in the repository does not change if the job is run as another one
/// that is like it.
fn prepared(
    session: &Session,
    settings: &Settings,
    job: &Job,
    source: &Source,
    texts: &Texts<'_>,
) -> Result<Box<dyn BackupSource>> {
    let (table, name) = (&source.table, format!("{}/{}", job.family, source.name));
    let is = |key: &str| matches!(table.get(key).map(|node| &node.value), Some(Value::Bool(true)));
    if table.text("kind") == Some("command") {
        let line = table.text("command").unwrap_or_default().to_owned();
        let file = texts.filled(table.text("file").unwrap_or_default(), Some(&source.name))?;
        let mut stream = command(file, line);
        let variables = table.table("env").map(|env| env.0.as_slice()).unwrap_or_default();
        for entry in variables {
            if let Value::Text(value) = &entry.node.value {
                stream.env.push((entry.key.clone().into(), texts.filled(value, Some(&source.name))?.into()));
            }
        }
        return Ok(stream_source(name, StreamSource::Command(stream), StreamOptions::default(), None));
    }
    let paths: Vec<PathBuf> = texts.list(table, "paths", &source.name)?.into_iter().map(PathBuf::from).collect();
    if let Some(relative) = paths.iter().find(|path| !path.is_absolute()) {
        let text = format!("source `{}/{}`: `{}` is not an absolute path", job.name, source.name, relative.display());
        return Err(CliError::Usage(text));
    }
    let paths = on_disk(&paths, Path::new("/"));
    let larger_than = table.text("exclude_larger_than").map(values::size).transpose().map_err(CliError::Usage)?;
    let mut exclude = ExcludeOptions {
        presets: texts.list(table, "presets", &source.name)?,
        patterns: texts.list(table, "exclude", &source.name)?,
        caches: is("exclude_caches"),
        larger_than,
        one_file_system: is("one_file_system"),
        ..ExcludeOptions::default()
    };
    leave_out_own(session, settings, &paths, &mut exclude)?;
    Ok(paths_source(PathOptions {
        paths,
        source: Some(name),
        exclude,
        read_all: false,
        compare: Default::default(),
        limits: Limits::default(),
    })?)
}
