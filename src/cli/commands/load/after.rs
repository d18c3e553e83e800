//! What follows a load: the command `after_load`, and the answers that were recorded with the set, asked again.

use std::path::Path;

use serde::Serialize;

use crate::cli::config_file::load_if_any;
use crate::cli::context::Session;
use crate::cli::error::{Result, error_text};
use crate::cli::jobs::for_each::records;
use crate::cli::jobs::hooks::timeout_ms;
use crate::cli::jobs::plan::host;
use crate::cli::jobs::texts::Texts;
use crate::cli::launcher;
use crate::cli::output::text::escape;
use crate::cli::paths::absolute;
use crate::cli::settings::Settings;
use crate::databases::load::item::Item;
use crate::databases::load::options::{LoadOutcome, Loaded};
use crate::jobs::config::tree::{Table, Value};
use crate::jobs::config::{Config, Job, Source};
use crate::jobs::hooks::{Ending, Hook, How, Moment, Surroundings};
use crate::primitives::progress::{Observer, Severity};
use crate::primitives::text::shortened_to;
use crate::repository::sets::Set;

use super::arguments::LoadArguments;

/// Characters of an answer that are shown of a difference.
const SHOWN_MAX: usize = 200;

/// The job of a set, as the configuration of this machine has it.
pub(super) struct LocalJob {
    config: Config,
    name: String,
    host: String,
}

impl LocalJob {
    /// The job of this set, if a configuration has it and names the repository that the set is in.
    pub(super) fn find(session: &Session, arguments: &LoadArguments, set: &Set) -> Result<Option<Self>> {
        let env = session.env;
        let Some(name) = set.described().and_then(|set| set.job.clone()) else { return Ok(None) };
        // Variables that the configuration sets do not decide which repository is meant.
        let location = Settings::find(session.global, env, false)?.location_elsewhere(env);
        let Some(config) = load_if_any(session, &arguments.file)? else { return Ok(None) };
        let found = Self { config, name, host: host(env) };
        let Some(job) = found.config.job(&found.name) else { return Ok(None) };
        if !names_repository(&found.config, &found.texts(session, job), &location) {
            let text = format!(
                "the configuration has a job {}, and does not name this repository: its `after_load` and `record` are \
                 not run",
                found.name
            );
            session.progress.finding(Severity::Note, &text);
            return Ok(None);
        }
        Ok(Some(found))
    }

    fn job(&self) -> Option<&Job> {
        self.config.job(&self.name)
    }

    fn texts<'a>(&'a self, session: &'a Session<'_>, job: &'a Job) -> Texts<'a> {
        Texts { env: session.env, host: &self.host, job: &job.name }
    }
}

/// Whether a repository of the configuration is at this location: the job's own, or one that sets are copied to.
fn names_repository(config: &Config, texts: &Texts<'_>, location: &str) -> bool {
    let plain = |url: &str| {
        let url = url.split('?').next().unwrap_or_default().trim_end_matches('/');
        if url.contains(':') { url.to_owned() } else { absolute(Path::new(url), &texts.env.cwd).display().to_string() }
    };
    let all = config.table.table("repositories").map(|all| all.0.as_slice()).unwrap_or_default();
    all.iter().any(|entry| {
        let Value::Table(table) = &entry.node.value else { return false };
        let url = table.text("url").and_then(|url| texts.filled(url, None).ok());
        url.is_some_and(|url| plain(&url) == plain(location))
    })
}

/// `type: "record"`: an answer that was recorded with the set.
#[derive(Debug, Serialize)]
struct RecordJson<'a> {
    /// `record`.
    r#type: &'static str,
    /// What it is called.
    name: &'a str,
    /// The answer that was recorded.
    saved: &'a str,
    /// `same`, `different`, `failed` or `not_asked`.
    state: &'static str,
    /// The answer now.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<&'a str>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// What follows a load.
pub(super) struct After<'a> {
    /// The command.
    pub session: &'a Session<'a>,
    /// What was typed.
    pub arguments: &'a LoadArguments,
    /// What was loaded.
    pub set: &'a Set,
    /// What of it.
    pub items: &'a [Item],
    /// Its job, as this machine has it.
    pub local: Option<&'a LocalJob>,
}

impl After<'_> {
    /// Runs what follows; whether all of it is well.
    pub(super) fn run(&self, done: &[Loaded]) -> Result<bool> {
        let ending = ending(done);
        let is_run = self.after_load(&ending)?;
        let is_same = ending.how == How::Failed || self.compare_records()?;
        Ok(is_run && is_same)
    }

    /// Runs the command that was typed, or that of the job.
    fn after_load(&self, ending: &Ending) -> Result<bool> {
        let env = self.session.env;
        let nothing = Table::default();
        let typed = self.arguments.after_load.as_deref();
        let keys = match self.local.and_then(LocalJob::job) {
            Some(job) if typed.is_none() => &job.table,
            _ => &nothing,
        };
        let line = typed.or(keys.text("after_load")).filter(|line| !line.trim().is_empty());
        let Some(line) = line else { return Ok(true) };
        let described = self.set.described();
        let job = described.and_then(|set| set.job.clone());
        let own = [
            ("STRONGROOM_JOB", job.clone().unwrap_or_default()),
            ("STRONGROOM_SET", described.map(|set| set.id.to_string()).unwrap_or_default()),
            ("STRONGROOM_HOST", host(env)),
        ];
        let of_file = env.file_variables().into_iter();
        let of_file = of_file.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let surroundings = Surroundings {
            run_as: keys.text("run_as").map(str::to_owned),
            timeout_ms: timeout_ms(keys)?,
            cwd: Some(env.cwd.clone()),
            env: of_file.chain(own.map(|(name, value)| (name.to_owned(), value))).collect(),
        };
        let what = job.map_or("the load".to_owned(), |job| format!("job {job}"));
        let hook = Hook {
            moment: Moment::AfterLoad,
            what: &what,
            line,
            surroundings: &surroundings,
            ending: Some(ending),
            launcher: launcher(),
        };
        let ran = hook.run(&self.session.progress, &mut |_| {});
        if let Err(e) = &ran {
            self.session.progress.finding(Severity::Error, &error_text(e));
        }
        Ok(ran.is_ok())
    }

    /// Asks again what was recorded with the set; without a configuration, the answers are told for a person to compare.
    fn compare_records(&self) -> Result<bool> {
        let recorded = self.set.described().and_then(|set| set.records.as_deref()).unwrap_or_default();
        if recorded.is_empty() || self.arguments.no_records {
            return Ok(true);
        }
        let Some((local, job)) = self.local.and_then(|local| Some((local, local.job()?))) else {
            for (name, saved) in recorded {
                self.tell_unasked(name, saved)?;
            }
            return Ok(true);
        };
        let is_loaded = |source: &&Source| {
            let name = format!("{}/{}", job.family, source.name);
            self.items.iter().any(|item| item.snapshot.described.source == name)
        };
        let (now, wrong) = records(job, job.sources.iter().filter(is_loaded), &local.texts(self.session, job));
        let mut is_same = true;
        for (name, saved) in recorded {
            let failed = format!("record `{name}`: ");
            let of_others = |source: &Source| !is_loaded(&source) && name.starts_with(&format!("{}.", source.name));
            if let Some((_, now)) = now.iter().find(|(known, _)| known == name) {
                is_same &= self.tell_compared(name, saved, now)?;
            } else if let Some(why) = wrong.iter().find_map(|text| text.strip_prefix(&failed)) {
                is_same = false;
                let text = format!("{failed}{why}; it was {} when the set was saved", shown(saved));
                self.session.progress.finding(Severity::Error, &text);
                self.json(name, saved, "failed", None, Some(why))?;
            } else if !job.sources.iter().any(of_others) {
                self.tell_unasked(name, saved)?;
            }
        }
        Ok(is_same)
    }

    fn tell_compared(&self, name: &str, saved: &str, now: &str) -> Result<bool> {
        let is_same = saved == now;
        let state = if is_same { "same" } else { "different" };
        if !is_same {
            let text = format!("record `{name}` is not what was saved: {}", difference(saved, now));
            self.session.progress.finding(Severity::Error, &text);
        } else if self.session.global.tells() {
            self.session.print(&format!("record {}: as it was saved", escape(name.as_bytes())))?;
        }
        self.json(name, saved, state, Some(now), None)?;
        Ok(is_same)
    }

    fn tell_unasked(&self, name: &str, saved: &str) -> Result<()> {
        if self.session.global.tells() {
            let lines: Vec<String> = saved.lines().map(|line| escape(line.as_bytes())).collect();
            let name = escape(name.as_bytes());
            self.session.print(&format!("record {name}, as it was saved, to be compared: {}", lines.join("\n  ")))?;
        }
        self.json(name, saved, "not_asked", None, None)
    }

    fn json(&self, name: &str, saved: &str, state: &'static str, now: Option<&str>, error: Option<&str>) -> Result<()> {
        match self.session.global.json {
            true => self.session.print_json(&RecordJson { r#type: "record", name, saved, state, now, error }),
            false => Ok(()),
        }
    }
}

/// What the command is told of the load.
fn ending(done: &[Loaded]) -> Ending {
    let count = |outcome: LoadOutcome| done.iter().filter(|loaded| loaded.outcome == outcome).count();
    let how = match (count(LoadOutcome::Failed), count(LoadOutcome::Skipped)) {
        (0, _) => How::Complete,
        (failed, skipped) if failed + skipped == done.len() => How::Failed,
        _ => How::Partial,
    };
    let is_loaded = |loaded: &&Loaded| matches!(loaded.outcome, LoadOutcome::Loaded | LoadOutcome::Already);
    let error = done.iter().find_map(|loaded| Some(format!("{}: {}", loaded.path, loaded.error.as_deref()?)));
    Ending {
        bytes: done.iter().filter(is_loaded).map(|loaded| loaded.bytes).sum(),
        duration_ms: done.iter().map(|loaded| loaded.duration_ms).sum(),
        snapshots: done.iter().filter(is_loaded).map(|loaded| loaded.snapshot.to_string()).collect(),
        ..Ending::without_data(how, &error.unwrap_or_default())
    }
}

fn shown(answer: &str) -> String {
    format!("`{}`", shortened_to(SHOWN_MAX, answer))
}

/// How two answers differ: both of them, or of longer ones the first line that does.
fn difference(saved: &str, now: &str) -> String {
    if saved.lines().count() <= 1 && now.lines().count() <= 1 {
        return format!("it is {} now, and was {}", shown(now), shown(saved));
    }
    let (mut was, mut is) = (saved.lines(), now.lines());
    let mut number = 1;
    loop {
        match (was.next(), is.next()) {
            (Some(a), Some(b)) if a == b => number += 1,
            (a, b) => {
                let line = |line: Option<&str>| line.map_or("missing".to_owned(), shown);
                return format!("line {number} is {} now, and was {}", line(b), line(a));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_both_answers() {
        assert_eq!(difference("7", "6"), "it is `6` now, and was `7`");
        assert_eq!(difference("a\nb\nc", "a\nx\nc"), "line 2 is `x` now, and was `b`");
        assert_eq!(difference("a\nb", "a"), "line 2 is missing now, and was `b`");
    }
}
