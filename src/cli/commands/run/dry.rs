//! `run --dry-run`: what jobs would do. No hook and no dump is run, and nothing is written down.

use serde::Serialize;

use crate::cli::commands::backup::{RuleJson, left_out, would_read};
use crate::cli::context::Session;
use crate::cli::error::{Result, error_text};
use crate::cli::exit::Exit;
use crate::cli::jobs::hooks::{RunHooks, remind};
use crate::cli::jobs::limits::usual_lengths;
use crate::cli::jobs::plan::{Planned, host, parallel};
use crate::cli::jobs::repository::repository_of;
use crate::cli::jobs::sources::Preparing;
use crate::cli::jobs::texts::Texts;
use crate::cli::output::json::{FiguresJson, FindingsJson};
use crate::cli::output::text::{escape, pluralize};
use crate::cli::redact::mask;
use crate::cli::settings::Settings;
use crate::cli::time::{rfc3339, show};
use crate::jobs::config::Config;
use crate::jobs::config::tree::{Table, Value};
use crate::jobs::hooks::Moment;
use crate::jobs::journal::{Event, Journal, runs};
use crate::ops::backup::{Foreseen, ForeseenContent, ForeseenStream, foresee};
use crate::primitives::progress::{Observer, Severity};

use super::{RunArguments, slot_owed, state};
use crate::cli::jobs::journal::journal_failed;

/// `type: "job"`: what a run of a job would do.
#[derive(Debug, Serialize)]
pub(crate) struct JobJson {
    /// `job`.
    pub r#type: &'static str,
    /// Its name.
    pub job: String,
    /// The type of the run.
    pub job_type: String,
    /// Whether it would be run: `would_run`, `not_due` or `running` (by another process).
    pub state: &'static str,
    /// The slot of its schedule that it would be run for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// The machines that are named for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// How many dumps would be made at a time.
    pub parallel: usize,
    /// Names of the answers that would be recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<String>,
    /// The hooks of the job.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookJson>,
    /// What would be saved.
    pub sources: Vec<ForeseenJson>,
    /// What was found on the way.
    #[serde(flatten)]
    pub findings: FindingsJson,
}

/// A hook that would be run.
#[derive(Debug, Serialize)]
pub(crate) struct HookJson {
    /// `before`, `after`, `on_failure` or `always`.
    pub hook: &'static str,
    /// Its command, without secrets.
    pub command: String,
}

/// What would be saved of a source.
#[derive(Debug, Serialize)]
pub(crate) struct ForeseenJson {
    /// Its name.
    pub source: String,
    /// Of paths: what would be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<FiguresJson>,
    /// What the exclusion rules would leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleJson>,
    /// The dumps that would be made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dumps: Vec<DumpJson>,
    /// The hooks of the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookJson>,
    /// Why nothing would be saved of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A dump that would be made.
#[derive(Debug, Serialize)]
pub(crate) struct DumpJson {
    /// Name of the file.
    pub file: String,
    /// The database or other part of its source that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Why it would fail, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A source with its hooks.
type WithHooks = (Foreseen, Vec<HookJson>);

/// Tells what the jobs would do.
pub(super) fn run(
    session: &Session,
    config: &Config,
    planned: &[Planned<'_>],
    arguments: &RunArguments,
) -> Result<Exit> {
    remind(session);
    let journal = Journal::look_at(&state(session)?);
    let events = journal.events().map_err(journal_failed)?;
    let dry = Dry { session, config, arguments, journal, events };
    let mut worst = Exit::Done;
    for planned in planned {
        let done = match dry.job(planned) {
            Ok(exit) => exit,
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

struct Dry<'a> {
    session: &'a Session<'a>,
    config: &'a Config,
    arguments: &'a RunArguments,
    journal: Journal,
    events: Vec<Event>,
}

impl Dry<'_> {
    fn job(&self, planned: &Planned<'_>) -> Result<Exit> {
        let (session, job, arguments) = (self.session, planned.job, self.arguments);
        let slot_ms = slot_owed(session, self.config, job, &self.events)?.filter(|_| arguments.due);
        let is_running = self.journal.is_locked(&job.name).map_err(journal_failed)?;
        let state = match (arguments.due && slot_ms.is_none(), is_running) {
            (true, _) => "not_due",
            (_, true) => "running",
            _ => "would_run",
        };
        let job_type = arguments.job_type.as_deref().or(job.table.text("type")).unwrap_or("Daily").to_owned();
        let mut told = JobJson {
            r#type: "job",
            job: job.name.clone(),
            job_type,
            state,
            slot: slot_ms.and_then(rfc3339),
            hosts: texts(&job.table, "hosts"),
            parallel: parallel(job),
            records: names_of_records(planned),
            hooks: hooks(&job.table),
            sources: Vec::new(),
            findings: FindingsJson::default(),
        };
        if state != "would_run" {
            if session.global.json {
                session.print_json(&told)?;
            } else if session.global.tells() {
                session.print(&heading(&told, None))?;
            }
            return Ok(if state == "running" && !arguments.due { Exit::Failed } else { Exit::Done });
        }
        let (found, inner_exit, findings) = self.sources(planned, &told.job_type)?;
        let (saved, failed) = found.iter().map(|(f, _)| f.counts()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        if session.global.json {
            told.sources = found.into_iter().map(|(foreseen, hooks)| source_json(foreseen, hooks)).collect();
            told.findings = findings;
            session.print_json(&told)?;
        } else if session.global.tells() {
            let slot = slot_ms.map(|ms| show(ms, &session.env.zone));
            session.print(&text(&told, slot.as_deref(), &found))?;
        }
        Ok(match (saved, failed) {
            (_, 0) => inner_exit,
            (0, _) => Exit::Failed,
            _ => Exit::Problems,
        })
    }

    /// Asks the sources of a job what they would save.
    fn sources(&self, planned: &Planned<'_>, job_type: &str) -> Result<(Vec<WithHooks>, Exit, FindingsJson)> {
        let (env, job) = (self.session.env, planned.job);
        let host = host(env);
        let texts = Texts { env, host: &host, job: &job.name };
        let global = repository_of(self.session.global, self.config, job, &texts)?;
        let inner = Session::new(&global, env);
        let settings = Settings::find(&global, env, false)?;
        let repository = settings.open(&global, env)?;
        let hooks_of = RunHooks { session: &inner, texts: &texts, job, job_type, run: "dry-run" };
        let preparing = Preparing {
            session: &inner,
            settings: &settings,
            job,
            texts: &texts,
            usual: usual_lengths(&runs(self.events.clone())),
            repository: &repository,
            hooks: &hooks_of,
        };
        let (sources, boxed): (Vec<_>, Vec<_>) = preparing.all(planned)?.into_iter().unzip();
        let foreseen = inner.with(&repository, |repository| Ok(foresee(repository, &host, boxed, &inner.progress)?))?;
        for content in foreseen.iter().map(|foreseen| &foreseen.content) {
            if let ForeseenContent::Paths(report) = content {
                for rule in &report.rules_unmatched {
                    inner.progress.finding(Severity::Warning, &format!("the exclusion rule {rule} matched nothing"));
                }
            }
        }
        let (exit, findings) = (inner.exit(Exit::Done), inner.finish());
        let hooks = sources.iter().map(|source| hooks(&source.table));
        Ok((foreseen.into_iter().zip(hooks).collect(), exit, findings))
    }
}

fn texts(table: &Table, key: &str) -> Vec<String> {
    let Some(Value::List(list)) = table.get(key).map(|node| &node.value) else { return Vec::new() };
    let text = |value: &Value| if let Value::Text(text) = value { Some(text.clone()) } else { None };
    list.iter().filter_map(|node| text(&node.value)).collect()
}

fn names_of_records(planned: &Planned<'_>) -> Vec<String> {
    let of_sources = planned.sources.iter().map(|source| (format!("{}.", source.name), &source.table));
    let all = std::iter::once((String::new(), &planned.job.table)).chain(of_sources);
    let names = all.filter_map(|(prefix, table)| Some((prefix, table.table("record")?)));
    names.flat_map(|(prefix, record)| record.0.iter().map(move |entry| format!("{prefix}{}", entry.key))).collect()
}

/// The hooks of a job or source, in the order in which they run.
fn hooks(table: &Table) -> Vec<HookJson> {
    let hook = |moment: Moment| {
        let hook = moment.key();
        Some(HookJson { hook, command: mask(table.text(hook)?) })
    };
    [Moment::Before, Moment::After, Moment::OnFailure, Moment::Always].into_iter().filter_map(hook).collect()
}

fn source_json(foreseen: Foreseen, hooks: Vec<HookJson>) -> ForeseenJson {
    let Foreseen { source, content } = foreseen;
    let mut told = ForeseenJson { source, figures: None, rules: Vec::new(), dumps: Vec::new(), hooks, error: None };
    match content {
        ForeseenContent::Paths(report) => {
            told.figures = Some((&report.figures).into());
            told.rules = report.rules.iter().map(Into::into).collect();
        }
        ForeseenContent::Streams(streams) => {
            let dump = |ForeseenStream { file, member, refused }| DumpJson { file, member, error: refused };
            told.dumps = streams.into_iter().map(dump).collect();
        }
        ForeseenContent::Failure(why) => told.error = Some(mask(&why)),
    }
    told
}

/// What is to become of a job, in one line.
fn heading(job: &JobJson, slot: Option<&str>) -> String {
    let (name, job_type) = (escape(job.job.as_bytes()), escape(job.job_type.as_bytes()));
    let state = match (job.state, slot) {
        ("not_due", _) => "not due, would not be run".to_owned(),
        ("running", _) => "is being run by another process, would not be run".to_owned(),
        (_, Some(slot)) => format!("would be run, for its slot {slot}"),
        _ => "would be run".to_owned(),
    };
    format!("job {name} ({job_type}): {state}")
}

/// What a job would do, in words.
fn text(job: &JobJson, slot: Option<&str>, sources: &[WithHooks]) -> String {
    let mut lines = vec![heading(job, slot)];
    let mut add = |word: &str, text: &str| lines.push(format!("  {word:<10} {}", escape(text.as_bytes())));
    let list = |names: &[String]| names.join(", ");
    for (word, text) in [("hosts", list(&job.hosts)), ("record", list(&job.records))] {
        if !text.is_empty() {
            add(word, &text);
        }
    }
    if job.parallel > 1 {
        add("parallel", &format!("{} dumps at a time", job.parallel));
    }
    let (first, last): (Vec<&HookJson>, Vec<&HookJson>) = job.hooks.iter().partition(|hook| hook.hook == "before");
    first.iter().for_each(|hook| add(hook.hook, &hook.command));
    for (foreseen, hooks) in sources {
        let of_source = |hook: &HookJson| format!("of {}: {}", foreseen.source, hook.command);
        let (first, last): (Vec<&HookJson>, Vec<&HookJson>) = hooks.iter().partition(|hook| hook.hook == "before");
        first.iter().for_each(|hook| add(hook.hook, &of_source(hook)));
        content_lines(foreseen).iter().for_each(|(word, text)| add(word, text));
        last.iter().for_each(|hook| add(hook.hook, &of_source(hook)));
    }
    last.iter().for_each(|hook| add(hook.hook, &hook.command));
    lines.push("  nothing was run and nothing was stored".to_owned());
    lines.join("\n")
}

fn content_lines(foreseen: &Foreseen) -> Vec<(&'static str, String)> {
    let source = &foreseen.source;
    match &foreseen.content {
        ForeseenContent::Paths(report) => {
            let rules = report.rules.iter().filter(|rule| rule.matches > 0);
            let rules = rules.map(|rule| ("", left_out(rule).trim_start().to_owned()));
            std::iter::once(("source", format!("{source}: {}", would_read(&report.figures)))).chain(rules).collect()
        }
        ForeseenContent::Streams(streams) => {
            let name = |stream: &ForeseenStream| stream.member.as_ref().unwrap_or(&stream.file).clone();
            let dumps: Vec<String> = streams.iter().filter(|stream| stream.refused.is_none()).map(name).collect();
            let count = pluralize(dumps.len() as u64, "dump", "dumps");
            let shown = if dumps.is_empty() { String::new() } else { format!(": {}", dumps.join(", ")) };
            let refused = |stream: &ForeseenStream| {
                Some(("", format!("{} would fail: {}", name(stream), mask(stream.refused.as_ref()?))))
            };
            let refused = streams.iter().filter_map(refused);
            std::iter::once(("source", format!("{source}: {count}{shown}"))).chain(refused).collect()
        }
        ForeseenContent::Failure(why) => vec![("source", format!("{source}: would fail: {}", mask(why)))],
    }
}
