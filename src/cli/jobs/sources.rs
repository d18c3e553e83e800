//! Sources of the configuration, ready to be saved.

use std::path::{Path, PathBuf};

use crate::cli::commands::backup::{command, leave_out_own};
use crate::cli::context::Session;
use crate::cli::error::{CliError, Result};
use crate::cli::paths::on_disk;
use crate::cli::settings::Settings;
use crate::cli::values;
use crate::jobs::config::tree::Value;
use crate::jobs::config::{Job, Source};
use crate::ops::backup::{
    Limits, PathOptions, Source as BackupSource, StreamOptions, StreamSource, paths_source, stream_source,
};
use crate::source::ExcludeOptions;

use super::texts::Texts;

/// A source, ready to be saved. What it is called in the repository does not change if the job is run as another one
/// that is like it.
pub(in crate::cli) fn prepared(
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
        stream.run_as = table.text("run_as").map(str::to_owned);
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
