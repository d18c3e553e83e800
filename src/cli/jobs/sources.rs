//! Sources of the configuration, ready to be saved.

use std::path::{Path, PathBuf};

use crate::cli::commands::backup::{command, leave_out_own};
use crate::cli::context::Session;
use crate::cli::error::{CliError, Result, error_text};
use crate::cli::paths::on_disk;
use crate::cli::settings::Settings;
use crate::cli::values;
use crate::databases::mysql::mysql_source;
use crate::databases::postgres::postgres_source;
use crate::databases::sqlite::sqlite_source;
use crate::format::description::StreamDescription;
use crate::jobs::config::tree::{Table, Value};
use crate::jobs::config::{Job, Source, runs_here};
use crate::ops::backup::{
    PathOptions, Source as BackupSource, StreamOptions, StreamSource, UsualLength, dumps_source, line_source,
    paths_source, stream_source,
};
use crate::primitives::progress::{Observer, Severity};
use crate::repository::Repository;
use crate::source::exclude::exactly;
use crate::source::{ExcludeOptions, Preset, dss};

use super::for_each::listed;
use super::hooks::RunHooks;
use super::limits::{limits, stream_options};
use super::mysql::mysql_options;
use super::plan::{Lines, Planned};
use super::postgres;
use super::sqlite::sqlite_options;
use super::texts::Texts;

/// What sources are prepared with.
pub(in crate::cli) struct Preparing<'a> {
    pub(in crate::cli) session: &'a Session<'a>,
    pub(in crate::cli) settings: &'a Settings,
    pub(in crate::cli) job: &'a Job,
    pub(in crate::cli) texts: &'a Texts<'a>,
    /// How long content is as a rule.
    pub(in crate::cli) usual: UsualLength,
    /// Where it is saved: secrets of its own are made from those of the credential.
    pub(in crate::cli) repository: &'a Repository,
    /// What is done around each source.
    pub(in crate::cli) hooks: &'a RunHooks<'a>,
}

impl Preparing<'_> {
    /// A source, ready to be saved. What it is called in the repository does not change if the job is run as another one
    /// that is like it.
    pub(in crate::cli) fn source(&self, source: &Source) -> Result<Box<dyn BackupSource>> {
        let name = format!("{}/{}", self.job.family, source.name);
        let made = match source.table.text("kind") {
            Some("command") => self.command(source, name),
            Some("path") => self.paths(source, name),
            Some("postgres") => self.postgres(source, name),
            Some("mysql" | "mariadb") => self.mysql(source, name),
            Some("sqlite") => {
                let streams = stream_options(&source.table, &self.usual)?;
                Ok(sqlite_source(name, sqlite_options(source, self.texts)?, streams))
            }
            kind => Err(CliError::Usage(format!("this version saves no sources of kind {}", kind.unwrap_or_default()))),
        };
        self.hooks.framed(source, made?)
    }

    /// The sources, ready to be saved. One that cannot be prepared fails when its turn comes, and stops no other.
    pub(in crate::cli) fn all(&self, planned: &Planned<'_>) -> Result<Vec<Box<dyn BackupSource>>> {
        let or_failing = |name: &str, made: Result<Box<dyn BackupSource>>| {
            made.unwrap_or_else(|e| {
                let why = error_text(&e);
                dumps_source(format!("{}/{name}", self.job.family), StreamOptions::default(), Box::new(|_| Err(why)))
            })
        };
        let mut all: Vec<Box<dyn BackupSource>> =
            planned.sources.iter().map(|source| or_failing(&source.name, self.source(source))).collect();
        if planned.lines == Lines::None {
            return Ok(all);
        }
        let mut listed = listed(self.job, self.texts)?;
        if let Lines::Named(names) = &planned.lines {
            if let Some(missing) = names.iter().find(|name| !listed.iter().any(|source| source.name == **name)) {
                let text = format!("job `{}` has no source `{missing}`, and its list does not name it", self.job.name);
                return Err(CliError::Usage(text));
            }
            listed.retain(|source| names.contains(&source.name));
        }
        let is_mine = |source: &&Source| source.is_enabled() && runs_here(&source.table, self.texts.host);
        for source in listed.iter().filter(is_mine) {
            if planned.sources.iter().any(|known| known.name == source.name) {
                let text =
                    format!("job `{}`: its list names `{}`, which is a source already", self.job.name, source.name);
                return Err(CliError::Usage(text));
            }
            all.push(or_failing(&source.name, self.line(source)));
        }
        Ok(all)
    }

    /// A source that a command listed: it belongs to the job.
    pub(in crate::cli) fn line(&self, source: &Source) -> Result<Box<dyn BackupSource>> {
        Ok(line_source(self.source(source)?, self.job.family.clone(), source.name.clone()))
    }

    fn command(&self, source: &Source, name: String) -> Result<Box<dyn BackupSource>> {
        let (table, texts) = (&source.table, self.texts);
        let line = table.text("command").unwrap_or_default().to_owned();
        let file = texts.filled(table.text("file").unwrap_or_default(), Some(&source.name))?;
        let mut stream = command(file, line);
        stream.inherits_credentials = false;
        stream.run_as = table.text("run_as").map(str::to_owned);
        stream.env = self.texts.variables(source)?;
        let load = table.text("restore").map(str::to_owned);
        let described = StreamDescription { kind: "command".to_owned(), load, ..StreamDescription::default() };
        let options = stream_options(table, &self.usual)?;
        Ok(stream_source(name, StreamSource::Command(stream), options, Some(described)))
    }

    fn postgres(&self, source: &Source, name: String) -> Result<Box<dyn BackupSource>> {
        let secret = Some(self.repository.own_secret(postgres::RESTRICT_PURPOSE));
        let streams = stream_options(&source.table, &self.usual)?;
        Ok(postgres_source(postgres::options(name, source, self.texts, secret)?, streams))
    }

    fn mysql(&self, source: &Source, name: String) -> Result<Box<dyn BackupSource>> {
        let streams = stream_options(&source.table, &self.usual)?;
        Ok(mysql_source(name, mysql_options(source, self.texts)?, streams))
    }

    fn paths(&self, source: &Source, name: String) -> Result<Box<dyn BackupSource>> {
        let (table, texts) = (&source.table, self.texts);
        let paths = texts.paths(source)?;
        let paths = on_disk(&paths, Path::new("/"));
        let mut exclude = excluded(table, texts, &source.name)?;
        if table.get("presets").is_none() {
            self.leave_out_of_dss(&paths, &mut exclude);
        }
        leave_out_own(self.session, self.settings, &paths, &mut exclude)?;
        Ok(paths_source(PathOptions {
            paths,
            source: Some(name),
            exclude,
            read_all: false,
            compare: Default::default(),
            limits: limits(table, &self.usual)?,
        })?)
    }
}

impl Preparing<'_> {
    /// Leaves out of data directories of DSS what it makes anew by itself, because no presets were named.
    fn leave_out_of_dss(&self, paths: &[PathBuf], exclude: &mut ExcludeOptions) {
        let found: Vec<(&PathBuf, String)> =
            paths.iter().filter_map(|path| Some((path, dss::version(path)?))).collect();
        for (path, version) in &found {
            let is = format!("{} {version}", dss::PRODUCT);
            let (is, preset) = (is.trim_end(), dss::PRESET);
            let text = format!(
                "{} is a data directory of {is}: preset {preset} leaves out what DSS makes anew; `presets = []` saves all",
                path.display()
            );
            self.session.progress.finding(Severity::Note, &text);
        }
        if found.is_empty() {
            return;
        }
        if found.len() == paths.len() {
            exclude.default_presets.push(dss::PRESET.to_owned());
            return;
        }
        // The patterns of a preset count at the root of every path; here they are for some of them.
        let patterns = Preset::find(dss::PRESET).map(|preset| preset.patterns).unwrap_or_default();
        for root in found.iter().filter_map(|(path, _)| exactly(path)) {
            exclude.patterns.extend(patterns.iter().map(|pattern| format!("{root}{pattern}")));
        }
    }
}

/// What a source of paths leaves out.
fn excluded(table: &Table, texts: &Texts<'_>, source: &str) -> Result<ExcludeOptions> {
    let is = |key: &str| matches!(table.get(key).map(|node| &node.value), Some(Value::Bool(true)));
    Ok(ExcludeOptions {
        presets: texts.list(table, "presets", source)?,
        patterns: texts.list(table, "exclude", source)?,
        caches: is("exclude_caches"),
        larger_than: table.text("exclude_larger_than").map(values::size).transpose().map_err(CliError::Usage)?,
        one_file_system: is("one_file_system"),
        ..ExcludeOptions::default()
    })
}
