//! `find`: where in which snapshots something of a name is.

use std::io::Write;

use globset::GlobBuilder;

use crate::ops::find::{FindOptions, Pattern, find};
use crate::primitives::progress::{Observer, Severity};
use crate::repository::RepositoryError;

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::output::json::EntryJson;
use super::super::output::text::{escape, pluralize, shortened};
use super::super::select::filter;
use super::super::time::show;
use crate::cli::args::FilterArguments;
use crate::cli::values::{self, DayMeans};
use clap::Args;

pub(super) const FIND_EXAMPLES: &str = "\
A pattern without a slash is compared with names, one with a slash with whole paths; `**` goes over folders.

Examples:
  strongroom find 'report-*.pdf'
  strongroom find '/srv/**/config.json' --host web1
  strongroom find id_rsa --newer-than 2026-11-01";

/// Options of `find`.
#[derive(Args)]
pub struct FindArguments {
    /// Names or paths to search for; matches any of them
    #[arg(value_name = "PATTERN", required = true)]
    pub patterns: Vec<String>,
    /// Ignore case
    #[arg(short, long)]
    pub ignore_case: bool,
    /// Modified at or after this time
    #[arg(long, value_name = "TIME")]
    pub newer_than: Option<String>,
    /// Modified before this time
    #[arg(long, value_name = "TIME")]
    pub older_than: Option<String>,
    /// Filters.
    #[command(flatten)]
    pub filter: FilterArguments,
}

/// Finds; exit 1 if nothing is found, as `grep` does.
pub(crate) fn run(session: &Session, arguments: &FindArguments) -> Result<Exit> {
    let pattern = |text: &String| {
        let glob = GlobBuilder::new(text).literal_separator(true).case_insensitive(arguments.ignore_case).build();
        let glob = glob.map_err(|e| CliError::Usage(e.to_string()))?;
        Ok(Pattern { glob: glob.compile_matcher(), whole_path: text.contains('/') })
    };
    let seconds = |text: &Option<String>, means| {
        let time = text.as_deref().map(|t| values::time(t, means, &session.env.zone)).transpose();
        time.map_err(CliError::Usage).map(|t| t.map(|ms| ms.div_euclid(1000)))
    };
    let options = FindOptions {
        patterns: arguments.patterns.iter().map(pattern).collect::<Result<_>>()?,
        newer_than: seconds(&arguments.newer_than, DayMeans::Start)?,
        older_than: seconds(&arguments.older_than, DayMeans::Start)?,
    };
    session.with_repository(|repository| {
        session.listen()?;
        let filter = filter(&arguments.filter, session.env);
        let mut snapshots = repository.snapshots()?;
        snapshots.retain(|s| filter.matches(s));
        // The newest first: that is mostly what is looked for.
        snapshots.reverse();
        let (mut unwritten, mut last) = (None, None);
        let found = find(repository, &snapshots, &options, &session.progress, &mut |snapshot, path, node| {
            let mut tell = || -> Result<()> {
                if session.global.json {
                    let mut entry =
                        serde_json::to_value(EntryJson::new(path, node)).map_err(|e| CliError::Output(e.into()))?;
                    entry["snapshot"] = snapshot.id.to_string().into();
                    return session.print_json(&entry);
                }
                if last != Some(snapshot.id) {
                    last = Some(snapshot.id);
                    let time = show(snapshot.state.time_ms, &session.env.zone);
                    let host = shortened(&escape(snapshot.described.host.as_bytes()));
                    session.print(&format!("{}  {time}  {host}", snapshot.id.short()))?;
                }
                let line = [&b"  "[..], &session.name(path), b"\n"].concat();
                session.env.out().write_all(&line).map_err(CliError::Output)
            };
            tell().map_err(|e| {
                unwritten = Some(e);
                RepositoryError::Interrupted
            })
        });
        if let Some(e) = unwritten {
            return Err(e);
        }
        let count = found?;
        let slashed = arguments.patterns.iter().find(|p| p.contains('/') && !p.starts_with("**/"));
        if let Some(pattern) = slashed.filter(|_| count == 0) {
            let rest = pattern.trim_start_matches('/');
            let text = format!("a pattern with a slash matches the whole path: '**/{rest}' matches in any directory");
            session.progress.finding(Severity::Note, &text);
        }
        if !session.global.json && session.global.tells() {
            let (matches, all) =
                (pluralize(count, "match", "matches"), pluralize(snapshots.len() as u64, "snapshot", "snapshots"));
            session.print(&format!("{matches} in {all}"))?;
        }
        Ok(if count > 0 { Exit::Done } else { Exit::Failed })
    })
}
