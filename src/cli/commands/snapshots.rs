//! `snapshots`: what can be restored.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;

use crate::format::description::{DataDirectory, StreamDescription, TableCount};
use crate::ops::forget::{group_name, group_of};
use crate::primitives::ids::SnapshotId;
use crate::primitives::progress::{Observer, Severity};
use crate::repository::Repository;
use crate::repository::sets::sets;
use crate::repository::snapshots::{Snapshot, SnapshotFilter, SnapshotName};

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::output::json::outcome;
use super::super::output::text::{Side, count, escape, pluralize, shortened, size};
use super::super::paths::SnapshotSpec;
use super::super::select::{choose_set, filter};
use super::super::time::{self, show};
use super::forget::{GroupArgument, group_by};
use crate::cli::args::{FilterArguments, SetArguments, SnapshotArguments};
use crate::cli::output::json::FiguresJson;
use crate::cli::output::json::PathJson;
use crate::cli::time::rfc3339;
use clap::Args;
use serde::Serialize;

/// Options of `snapshots`.
#[derive(Args, Default)]
pub struct SnapshotsArguments {
    /// Only these: ID prefixes, or `latest` for the newest of each host and source
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    /// Filters.
    #[command(flatten)]
    pub filter: FilterArguments,
    /// Only the members of this set: the first digits of its id, `latest` or `latest~N`
    #[arg(long, value_name = "SET", conflicts_with = "snapshots", help_heading = "Snapshot selection")]
    pub set: Option<String>,
    /// Only of this job
    #[arg(long, value_name = "JOB", help_heading = "Snapshot selection")]
    pub job: Option<String>,
    /// Only of this type of job, such as Daily
    #[arg(long = "type", value_name = "TYPE", help_heading = "Snapshot selection")]
    pub job_type: Option<String>,
    /// Only the newest N of each host and source
    #[arg(long, value_name = "N")]
    pub latest: Option<usize>,
    /// Show fewer columns
    #[arg(short, long)]
    pub compact: bool,
    /// Show one table for each group of snapshots with the same values
    #[arg(short, long, value_enum, value_delimiter = ',', value_name = "BY")]
    pub group_by: Vec<GroupArgument>,
}

/// `type: "snapshot"`: a line of `snapshots`.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotJson {
    /// `snapshot`.
    pub r#type: &'static str,
    /// Its id.
    pub id: String,
    /// The time it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The machine.
    pub host: String,
    /// The user that ran the backup.
    pub user: String,
    /// The source.
    pub source: String,
    /// Absolute paths, or the names of streams.
    pub paths: Vec<PathJson>,
    /// Tags.
    pub tags: Vec<String>,
    /// The label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The set that it belongs to, if it was not saved alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// What was recorded with the set: names, and what their commands printed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub records: BTreeMap<String, String>,
    /// What a person is told after a restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// The job that saved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The type of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_type: Option<String>,
    /// The stream that it is, if its source said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamJson>,
    /// Data directories of programs that are known among the paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data_directories: Vec<DataDirectoryJson>,
    /// How complete it is.
    pub outcome: &'static str,
    /// Whether it is protected from being forgotten.
    pub held: bool,
    /// Whether some of its content is lost.
    pub damaged: bool,
    /// Why its description is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// Number of the run that published it.
    pub run: u64,
    /// Number of the record that published it.
    pub record: u64,
    /// Exclusion rules that were in force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
    /// Problems that were kept with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    /// The program that made it.
    pub program: String,
    /// What was read and stored.
    pub figures: FiguresJson,
}

/// What a stream is.
#[derive(Debug, Serialize)]
pub(crate) struct StreamJson {
    /// Kind of its source.
    pub kind: String,
    /// Its format.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// The database or other part of the source that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The line of the job's list that it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// Version of the tool that wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Version of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The command that would load it: a claim of the machine that saved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<String>,
    /// Its tables, if their rows were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<TableJson>>,
}

/// The data directory of a program.
#[derive(Debug, Serialize)]
pub(crate) struct DataDirectoryJson {
    /// Where it was.
    pub path: PathJson,
    /// The program.
    pub product: String,
    /// Its version, if it says one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
}

/// A table of a database.
#[derive(Debug, Serialize)]
pub(crate) struct TableJson {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// A checksum of its rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

impl From<&StreamDescription> for StreamJson {
    fn from(d: &StreamDescription) -> Self {
        let table = |t: &TableCount| TableJson { name: t.name.clone(), rows: t.rows, checksum: t.checksum.clone() };
        Self {
            kind: d.kind.clone(),
            format: d.format.clone(),
            member: d.member.clone(),
            line: d.line.clone(),
            tool: d.tool.clone(),
            server: d.server.clone(),
            load: d.load.clone(),
            tables: d.tables.as_ref().map(|tables| tables.iter().map(table).collect()),
        }
    }
}

impl From<&Snapshot> for SnapshotJson {
    fn from(s: &Snapshot) -> Self {
        let d = &s.described;
        Self {
            r#type: "snapshot",
            id: s.id.to_string(),
            time: rfc3339(s.state.time_ms),
            host: d.host.clone(),
            user: d.user.clone(),
            source: d.source.clone(),
            paths: d.paths.iter().map(|p| PathJson::new(p)).collect(),
            tags: d.tags.clone(),
            label: d.label.clone(),
            set: d.set.as_ref().map(|set| set.id.to_string()),
            records: d.set.iter().flat_map(|set| set.records.iter().flatten()).cloned().collect(),
            notes: d.set.as_ref().and_then(|set| set.notes.clone()),
            job: d.set.as_ref().and_then(|set| set.job.clone()),
            job_type: d.set.as_ref().and_then(|set| set.job_type.clone()),
            stream: d.stream.as_ref().map(Into::into),
            data_directories: d.data_directories.iter().flatten().map(data_directory).collect(),
            outcome: outcome(s.state.outcome),
            held: s.state.held,
            damaged: s.state.damaged,
            doubt: s.doubt.clone(),
            run: s.state.run.0,
            record: s.state.published,
            excludes: d.excludes.clone(),
            findings: d.findings.clone(),
            program: d.program.clone(),
            figures: (&d.figures).into(),
        }
    }
}

fn data_directory(d: &DataDirectory) -> DataDirectoryJson {
    DataDirectoryJson { path: PathJson::new(&d.path), product: d.product.clone(), version: d.version.clone() }
}

/// Lists the snapshots, oldest first.
pub(crate) fn run(session: &Session, arguments: &SnapshotsArguments) -> Result<Exit> {
    let filter = filter(&arguments.filter, session.env);
    let (mut all, mut sets) = session.with_repository(|repository| {
        let mut all = repository.snapshots()?;
        let sets = sets(all.clone());
        let named = match &arguments.set {
            Some(set) => Some(members(session, repository, set, arguments)?),
            None => named(repository, &arguments.snapshots, &filter)?,
        };
        let is_meant = |s: &Snapshot| filter.matches(s) && arguments.is_of_job(s);
        all.retain(|s| is_meant(s) && named.as_ref().is_none_or(|ids| ids.contains(&s.id)));
        Ok((all, sets))
    })?;
    if let Some(newest) = arguments.latest {
        keep_newest(&mut all, newest);
    }
    let shown: HashSet<SnapshotId> = all.iter().map(|s| s.id).collect();
    sets.retain(|set| set.described().is_some() && set.members.iter().any(|s| shown.contains(&s.id)));
    let by = group_by(&arguments.group_by);
    let mut groups: BTreeMap<Vec<String>, Vec<Snapshot>> = BTreeMap::new();
    all.iter().for_each(|s| groups.entry(group_of(s, &by)).or_default().push(s.clone()));
    if session.global.json {
        groups.values().flatten().try_for_each(|s| session.print_json(&SnapshotJson::from(s)))?;
        return Ok(Exit::Done);
    }
    for (of, snapshots) in &groups {
        if !by.is_empty() {
            session.print(&shortened(&escape(group_name(of).as_bytes())))?;
        }
        print_table(session, snapshots, arguments.compact)?;
    }
    for s in all.iter().filter(|s| !session.global.json && s.doubt.is_some()) {
        let why = s.doubt.as_deref().unwrap_or_default();
        let text = format!(
            "snapshot {} is not believed: {why}; `strongroom forget {}` removes it",
            s.id.short(),
            s.id.short()
        );
        session.progress.finding(Severity::Warning, &text);
    }
    if session.global.tells() {
        let count = pluralize(all.len() as u64, "snapshot", "snapshots");
        let count = match sets.len() as u64 {
            0 => count,
            n => format!("{count}, {} of several sources", pluralize(n, "set", "sets")),
        };
        session.print(&count)?;
        for set in sets.iter().filter(|set| !set.missing().is_empty()) {
            let missing: Vec<String> = set.missing().iter().map(|path| escape(path.as_bytes())).collect();
            let id = set.described().map(|set| set.id.short()).unwrap_or_default();
            session.print(&format!("set {id} is partial: it has no snapshot of {}", missing.join(", ")))?;
        }
    }
    Ok(if all.iter().any(|s| s.doubt.is_some()) { Exit::Problems } else { Exit::Done })
}

impl SnapshotsArguments {
    /// Whether a snapshot is of the job and the type that are named, if they are.
    fn is_of_job(&self, snapshot: &Snapshot) -> bool {
        let set = snapshot.described.set.as_ref().filter(|_| snapshot.doubt.is_none());
        let is = |named: &Option<String>, of: Option<&String>| named.is_none() || named.as_ref() == of;
        is(&self.job, set.and_then(|set| set.job.as_ref()))
            && is(&self.job_type, set.and_then(|set| set.job_type.as_ref()))
    }
}

/// The ids of the members of the set that is meant.
fn members(
    session: &Session,
    repository: &Repository,
    set: &str,
    arguments: &SnapshotsArguments,
) -> Result<HashSet<SnapshotId>> {
    let (job, job_type) = (arguments.job.clone(), arguments.job_type.clone());
    let of = SetArguments { job, job_type, ..SetArguments::default() };
    let snapshot = SnapshotArguments { filter: arguments.filter.clone(), ..SnapshotArguments::default() };
    Ok(choose_set(session, repository, set, &of, &snapshot)?.members.iter().map(|s| s.id).collect())
}

/// The ids that the names stand for; `None` if none was named.
fn named(repository: &Repository, names: &[String], filter: &SnapshotFilter) -> Result<Option<HashSet<SnapshotId>>> {
    let mut ids = HashSet::new();
    for name in names {
        let spec = SnapshotSpec::parse(OsStr::new(name)).map_err(CliError::Usage)?;
        let Some(name) = spec.name.filter(|_| spec.path.is_empty()) else {
            return Err(CliError::Usage(format!("`{name}` is not a snapshot: use `strongroom ls` for what is in one")));
        };
        if name == SnapshotName::Latest(0) {
            let mut all = repository.snapshots()?;
            all.retain(|s| filter.matches(s));
            keep_newest(&mut all, 1);
            ids.extend(all.iter().map(|s| s.id));
        } else {
            ids.insert(repository.choose(&name, filter)?.id);
        }
    }
    Ok((!names.is_empty()).then_some(ids))
}

/// On a narrower terminal the table has fewer columns.
const FULL_WIDTH_LEAST: usize = 80;

fn print_table(session: &Session, snapshots: &[Snapshot], compact: bool) -> Result<()> {
    use Side::{Left, Right, Whole};
    let compact = compact || (session.env.output_width)().is_some_and(|width| width < FULL_WIDTH_LEAST);
    let time = time::heading("TIME", &session.env.zone);
    let heading = ["ID", &time, "HOST", "SOURCE", "TAGS", "LABEL", "FILES", "SIZE", "SET", "TYPE", "STATE"];
    let heading = heading.map(str::to_owned).to_vec();
    let sides = [Whole, Whole, Left, Left, Left, Left, Right, Right, Whole, Left, Left];
    let is_used = |column: &usize| match column {
        5 => snapshots.iter().any(|s| s.described.label.is_some()),
        8 => snapshots.iter().any(|s| s.described.set.is_some()),
        9 => snapshots.iter().any(|s| s.described.set.as_ref().is_some_and(|set| set.job_type.is_some())),
        _ => true,
    };
    let rows = std::iter::once(heading).chain(snapshots.iter().map(|s| row(session, s)));
    // As restic has it: no source, no files, no state.
    let columns: Vec<usize> = match compact {
        true => vec![0, 1, 2, 4, 7],
        false => (0..sides.len()).filter(is_used).collect(),
    };
    let rows: Vec<Vec<String>> = rows.map(|row| columns.iter().map(|c| row[*c].clone()).collect()).collect();
    let sides: Vec<Side> = columns.iter().map(|c| sides[*c]).collect();
    session.table(&sides, &rows)
}

/// Keeps the newest `n` of each host and source; they come oldest first.
fn keep_newest(all: &mut Vec<Snapshot>, n: usize) {
    let mut seen: HashMap<(String, String), usize> = HashMap::new();
    let mut keep = vec![false; all.len()];
    for (i, s) in all.iter().enumerate().rev() {
        let of = seen.entry((s.described.host.clone(), s.described.member_path())).or_default();
        *of += 1;
        keep[i] = *of <= n;
    }
    let mut keep = keep.into_iter();
    all.retain(|_| keep.next().unwrap_or(false));
}

fn row(session: &Session, s: &Snapshot) -> Vec<String> {
    let (d, text) = (&s.described, |t: &str| escape(t.as_bytes()));
    let mut state = outcome(s.state.outcome).to_owned();
    for (is, word) in [(s.state.held, ", held"), (s.state.damaged, ", damaged"), (s.doubt.is_some(), ", not believed")]
    {
        if is {
            state.push_str(word);
        }
    }
    vec![
        s.id.short(),
        show(s.state.time_ms, &session.env.zone),
        text(&d.host),
        text(&d.member_path()),
        text(&d.tags.join(",")),
        d.label.as_deref().map(text).unwrap_or_default(),
        count(d.figures.files),
        size(d.figures.bytes),
        d.set.as_ref().map(|set| set.id.short()).unwrap_or_default(),
        d.set.as_ref().and_then(|set| set.job_type.as_deref()).map(text).unwrap_or_default(),
        state,
    ]
}
