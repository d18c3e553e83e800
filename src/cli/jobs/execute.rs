//! One run of a job: its hooks, its sources, its set.

use std::sync::Arc;

use crate::cli::commands::backup::{check_hold, dated, exit, hold_all, tell};
use crate::cli::context::Session;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::output::text::escape;
use crate::cli::settings::Settings;
use crate::compression::CompressionLevel;
use crate::jobs::config::Config;
use crate::ops::backup::{BackupOptions, BackupReport, Follower, Job as BackupJob, UsualLength, backup_sources};
use crate::primitives::progress::{Observer, Severity};
use crate::repository::Repository;
use crate::source::ExcludeOptions;

use super::for_each::records;
use super::hooks::RunHooks;
use super::plan::{Planned, host, parallel, zone_of};
use super::repository::{Stronger, compression, repository_of};
use super::sources::Preparing;
use super::texts::Texts;

/// A run of a job that is to be made.
pub(in crate::cli) struct Running<'a> {
    pub(in crate::cli) session: &'a Session<'a>,
    pub(in crate::cli) config: &'a Config,
    pub(in crate::cli) planned: &'a Planned<'a>,
    pub(in crate::cli) job_type: String,
    /// The command line, without secrets.
    pub(in crate::cli) argv: &'a str,
    /// What the journal calls the run.
    pub(in crate::cli) run: &'a str,
    /// How long content is as a rule.
    pub(in crate::cli) usual: UsualLength,
    /// Whether its snapshots are held.
    pub(in crate::cli) hold: bool,
    /// How much time is spent on compression, if the command line says it.
    pub(in crate::cli) compression: Option<CompressionLevel>,
    /// Writes down what is saved.
    pub(in crate::cli) follower: Arc<dyn Follower>,
}

impl Running<'_> {
    /// Runs the job. What is not without problems although all was saved is answered, too.
    pub(in crate::cli) fn run(&self) -> Result<(BackupReport, Exit, Vec<String>)> {
        let (session, env, job) = (self.session, self.session.env, self.planned.job);
        let host = host(env);
        let texts = Texts { env, host: &host, job: &job.name };
        let global = repository_of(session.global, self.config, job, &texts)?;
        let inner = Session::new(&global, env);
        for note in Stronger::of(session.global, env).notes(self.config, job, &texts) {
            inner.progress.finding(Severity::Note, &note);
        }
        let settings = Settings::find(&global, env, false)?;
        let repository = settings.open(&global, env)?;
        check_hold(&repository, self.hold)?;
        if session.global.tells() {
            session.print(&format!("job {} ({})", escape(job.name.as_bytes()), escape(self.job_type.as_bytes())))?;
        }
        // What is asked may need what `before` stops.
        let (records, mut problems) = records(job, self.planned.sources.iter(), &texts);
        problems.iter().for_each(|text| inner.progress.finding(Severity::Error, text));
        let hooks = RunHooks { session: &inner, texts: &texts, job, job_type: &self.job_type, run: self.run };
        let save = || self.save(&hooks, &settings, &repository, records);
        let (report, failed_hooks) = hooks.around(&repository, self.argv, self.planned, save)?;
        problems.extend(failed_hooks);
        if self.hold {
            let not_held = inner.with(&repository, |repository| Ok(hold_all(repository, &report, true)))?;
            not_held.iter().for_each(|text| inner.progress.finding(Severity::Error, text));
            problems.extend(not_held);
        }
        tell(&inner, &report, false, None)?;
        let exit = match inner.exit(exit(report.outcome)) {
            Exit::Done if !problems.is_empty() => Exit::Problems,
            exit => exit,
        };
        Ok((report, exit, problems))
    }

    /// Saves the sources of the job, between its hooks.
    fn save(
        &self,
        hooks: &RunHooks<'_>,
        settings: &Settings,
        repository: &Arc<Repository>,
        records: Vec<(String, String)>,
    ) -> Result<BackupReport> {
        let (inner, texts, job) = (hooks.session, hooks.texts, hooks.job);
        let env = inner.env;
        let zone = zone_of(self.config, job)?;
        let label =
            job.table.text("label").map(|label| dated(label, env.system.now_ms(), zone.as_ref().unwrap_or(&env.zone)));
        let usual = Arc::clone(&self.usual);
        let preparing = Preparing { session: inner, settings, job, texts, usual, repository, hooks };
        let sources = preparing.all(self.planned)?.into_iter().map(|(_, source)| source).collect();
        let notes = job.table.text("notes").map(|notes| texts.filled(notes, None)).transpose()?;
        let options = BackupOptions {
            paths: Vec::new(),
            streams: Vec::new(),
            source: None,
            host: texts.host.to_owned(),
            user: env.user.clone(),
            tags: Vec::new(),
            job: Some(BackupJob {
                name: job.name.clone(),
                job_type: self.job_type.clone(),
                notes,
                records,
                alone: self.planned.alone,
            }),
            label: label.transpose()?,
            time_ms: None,
            exclude: ExcludeOptions::default(),
            first: Vec::new(),
            dry_run: false,
            read_all: false,
            compare: Default::default(),
            compression: self.compression.unwrap_or_else(|| compression(self.config, job)),
            allow_empty: false,
            parallel: parallel(job),
            command: self.argv.to_owned(),
            follower: Some(self.follower.clone()),
        };
        inner.with(repository, |repository| Ok(backup_sources(repository, sources, options, &inner.progress)?))
    }
}
