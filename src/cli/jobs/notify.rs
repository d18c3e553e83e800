//! Who is told: files for monitoring, and pings. What fails here is a note: it fails no job.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use globset::Glob;

use crate::cli::context::Session;
use crate::cli::error::{CliError, Result, error_text};
use crate::jobs::audit::Status;
use crate::jobs::config::tree::{Entry, Table, Value};
use crate::jobs::config::{Config, Job};
use crate::jobs::notify::{metrics, ping, status_line};
use crate::primitives::progress::{Observer, Severity};

use super::plan::{host, zone_of};
use super::texts::Texts;

/// Keys of `[notify]` that this version does not carry out.
const PASSED_OVER: [&str; 1] = ["mail"];

/// A run of a job that is told of.
pub(in crate::cli) enum Moment<'a> {
    /// It begins.
    Start,
    /// It ended, so.
    End(&'a str),
}

/// Tells of what the configuration asks for.
pub(in crate::cli) struct Notifier<'a> {
    pub(in crate::cli) session: &'a Session<'a>,
    pub(in crate::cli) config: &'a Config,
}

impl Notifier<'_> {
    fn entries(&self) -> impl Iterator<Item = (&str, &Table)> {
        let all = self.config.table.table("notify").map(|all| all.0.as_slice()).unwrap_or_default();
        all.iter().filter_map(|Entry { key, node, .. }| match &node.value {
            Value::Table(table) => Some((key.as_str(), table)),
            _ => None,
        })
    }

    /// Whether anybody is to be told anything.
    pub(in crate::cli) fn is_needed(&self) -> bool {
        self.entries().next().is_some()
    }

    /// Says which entries are not carried out.
    pub(in crate::cli) fn tell_passed_over(&self) {
        for (name, table) in self.entries() {
            for key in PASSED_OVER.iter().filter(|key| table.get(key).is_some()) {
                let text = format!("`{key}` of [notify.{name}] is not carried out by this version");
                self.session.progress.finding(Severity::Note, &text);
            }
        }
    }

    /// Pings the addresses that wait for a job.
    pub(in crate::cli) fn job(&self, job: &Job, moment: &Moment<'_>) {
        for (name, table) in self.entries() {
            let Some(url) = table.text("url").filter(|_| is_of(table, &job.name)) else { continue };
            let host = host(self.session.env);
            let texts = Texts { env: self.session.env, host: &host, job: &job.name };
            let sent = texts.filled(url, None).map_err(|e| error_text(&e)).and_then(|url| match moment {
                Moment::Start => ping(&format!("{url}/start"), None),
                Moment::End("complete" | "warnings") => ping(&url, None),
                Moment::End(outcome) => {
                    ping(&format!("{url}/fail"), Some(format!("job {} on {host}: {outcome}\n", job.name)))
                }
            });
            self.note(name, "the ping failed", sent);
        }
    }

    /// Writes the files that tell how sources stand.
    pub(in crate::cli) fn files(&self, statuses: &[Status]) {
        for (name, table) in self.entries() {
            if let Some(file) = table.text("textfile") {
                let of_jobs: Vec<Status> = statuses.iter().filter(|s| is_of(table, &s.job)).cloned().collect();
                self.note(name, "the metrics were not written", self.write_metrics(file, &of_jobs));
            }
            if let Some(status) = table.table("status") {
                let of_jobs = statuses.iter().filter(|s| is_of(table, &s.job) && is_of(status, &s.job));
                for one in of_jobs {
                    self.note(name, "the status file was not written", self.write_status(status, one));
                }
            }
        }
    }

    fn write_metrics(&self, file: &str, statuses: &[Status]) -> std::result::Result<(), String> {
        let host = host(self.session.env);
        let texts = Texts { env: self.session.env, host: &host, job: "" };
        let file = texts.filled(file, None).map_err(|e| error_text(&e))?;
        write(Path::new(&file), &metrics(statuses, self.session.env.system.now_ms()))
    }

    fn write_status(&self, table: &Table, status: &Status) -> std::result::Result<(), String> {
        let Some(file) = table.text("file") else { return Ok(()) };
        let env = self.session.env;
        let texts = Texts { env, host: &status.host, job: &status.job };
        let source = status.source.rsplit('/').next().unwrap_or_default();
        let file = texts.filled(file, Some(source)).map_err(|e| error_text(&e))?;
        let zone = self.config.job(&status.job).map(|job| zone_of(self.config, job)).transpose();
        let zone = zone.map_err(|e| error_text(&e))?.flatten().unwrap_or(env.zone.clone());
        write(Path::new(&file), &status_line(status, env.system.now_ms(), &zone))
    }

    fn note(&self, name: &str, what: &str, done: std::result::Result<(), String>) {
        if let Err(why) = done {
            self.session.progress.finding(Severity::Note, &format!("[notify.{name}]: {what}: {why}"));
        }
    }
}

/// Whether an entry tells of a job: `jobs` is a list of names with `*`; without it, of all.
fn is_of(table: &Table, job: &str) -> bool {
    let Some(Value::List(names)) = table.get("jobs").map(|node| &node.value) else { return true };
    names.iter().any(|node| match &node.value {
        Value::Text(name) => Glob::new(name).is_ok_and(|glob| glob.compile_matcher().is_match(job)),
        _ => false,
    })
}

/// Writes a file whole or not at all; everybody may read it.
fn write(file: &Path, text: &str) -> std::result::Result<(), String> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut new = tempfile::Builder::new().prefix(".strongroom-").tempfile_in(folder)?;
        new.write_all(text.as_bytes())?;
        new.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        new.persist(file).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e| format!("{}: {e}", file.display()))
}

/// Checks that files can be written where they are to be.
pub(in crate::cli) fn check(session: &Session, config: &Config) -> Result<Vec<String>> {
    let notifier = Notifier { session, config };
    notifier.tell_passed_over();
    let mut problems = Vec::new();
    for (name, table) in notifier.entries() {
        let files = table.text("textfile").into_iter().chain(table.table("status").and_then(|t| t.text("file")));
        for file in files.filter(|file| !file.contains('{')) {
            let folder = Path::new(file).parent().unwrap_or(Path::new("/"));
            if !folder.is_dir() {
                problems.push(format!("[notify.{name}]: there is no directory {}", folder.display()));
            }
        }
        if let Some(Value::List(names)) = table.get("jobs").map(|node| &node.value) {
            for text in
                names.iter().filter_map(|node| if let Value::Text(text) = &node.value { Some(text) } else { None })
            {
                Glob::new(text).map_err(|e| CliError::Usage(format!("[notify.{name}]: jobs: {e}")))?;
            }
        }
    }
    Ok(problems)
}
