//! Sources of SQLite, as the configuration describes them.

use std::path::PathBuf;

use crate::cli::error::{CliError, Result};
use crate::databases::sqlite::SqliteOptions;
use crate::jobs::config::Source;
use crate::jobs::config::tree::Value;

use super::texts::Texts;

/// Where copies lie if `scratch_dir` says nothing: on disk, and not in memory.
const SCRATCH: &str = "/var/tmp";

/// What a source of the kind `sqlite` saves.
pub(in crate::cli) fn sqlite_options(source: &Source, texts: &Texts<'_>) -> Result<SqliteOptions> {
    let (table, name) = (&source.table, source.name.as_str());
    let mut paths: Vec<PathBuf> = texts.list(table, "paths", name)?.into_iter().map(PathBuf::from).collect();
    paths.dedup();
    if let Some(relative) = paths.iter().find(|path| !path.is_absolute()) {
        let text = format!("source `{}/{name}`: `{}` is not an absolute path", texts.job, relative.display());
        return Err(CliError::Usage(text));
    }
    let scratch = table.text("scratch_dir").map(|text| texts.filled(text, Some(name))).transpose()?;
    let temporary = || texts.env.variable("TMPDIR").map_or_else(|| PathBuf::from(SCRATCH), PathBuf::from);
    let counts = !matches!(table.get("count").map(|node| &node.value), Some(Value::Bool(false)));
    Ok(SqliteOptions { paths, scratch_dir: scratch.map_or_else(temporary, PathBuf::from), counts })
}
