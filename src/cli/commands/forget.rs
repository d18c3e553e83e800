//! `forget`, `hold` and `unhold`: which snapshots stay.

use std::ffi::OsString;

use jiff::Span;

use crate::ops::forget::policy::{Keep, Period, Policy};
use crate::ops::forget::{self, ForgetOptions, ForgetReport, GroupBy, Which};
use crate::repository::snapshots::{Snapshot, SnapshotFilter, SnapshotName};

use crate::primitives::progress::{Observer, Severity};
use crate::primitives::text::SHOWN_LEN_MAX;

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::output::json::PathJson;
use super::super::output::text::{Side, escape, pluralize, shortened, shortened_to};
use super::super::paths::SnapshotSpec;
use super::super::select::filter;
use super::super::time::{heading, show};
use super::prune::PruneArguments;
use crate::cli::args::FilterArguments;
use crate::cli::values;
use clap::Args;
use clap::ValueEnum;

pub(super) const FORGET_EXAMPLES: &str = "\
Each host and source is a group of its own, to which the policy applies; the newest successful snapshot of a group never goes.
Partial snapshots fill no count.

Examples:
  strongroom forget --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
  strongroom forget --expire-after 15d --min-count 5 --max-count 30
  strongroom forget --host db1 --keep-within-daily 14d --keep-tag release
  strongroom forget 4f21ab09
  strongroom forget --host retired-host --all --dry-run";

/// By what snapshots are grouped.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupArgument {
    /// The machine.
    Host,
    /// The source.
    Source,
    /// The set of tags.
    Tags,
    /// The set of paths.
    Paths,
    /// All are one group.
    None,
}

/// Options of `forget`.
#[derive(Args, Default)]
pub struct ForgetArguments {
    /// Forget these snapshots instead of applying a policy
    #[arg(value_name = "ID")]
    pub snapshots: Vec<String>,
    /// Forget only the named snapshots, not the other members of their sets
    #[arg(long, requires = "snapshots")]
    pub member: bool,
    /// Keep the newest of each interval, as far back as this: "1h for 24h"; may be given again
    #[arg(long, value_name = "EVERY for TIME", value_parser = values::interval, help_heading = "What to keep")]
    pub keep: Vec<(i64, Span)>,
    /// Keep the newest N
    #[arg(long, value_name = "N", help_heading = "What to keep")]
    pub keep_last: Option<u32>,
    /// Keep the newest of each of the last N hours that have any
    #[arg(long, value_name = "N", help_heading = "What to keep")]
    pub keep_hourly: Option<u32>,
    /// Keep the newest of each of the last N days that have any
    #[arg(long, value_name = "N", help_heading = "What to keep")]
    pub keep_daily: Option<u32>,
    /// Keep the newest of each of the last N weeks that have any
    #[arg(long, value_name = "N", help_heading = "What to keep")]
    pub keep_weekly: Option<u32>,
    /// Keep the newest of each of the last N months that have any
    #[arg(long, value_name = "N", help_heading = "What to keep")]
    pub keep_monthly: Option<u32>,
    /// Keep the newest of each of the last N quarters that have any
    #[arg(long, value_name = "N", help_heading = "What to keep")]
    pub keep_quarterly: Option<u32>,
    /// Keep the newest of each of the last N years that have any
    #[arg(long, value_name = "N", help_heading = "What to keep")]
    pub keep_yearly: Option<u32>,
    /// Keep all snapshots within SPAN of the newest one (36h, 15d, 8w, 6mo, 1y6mo)
    #[arg(long, value_name = "SPAN", value_parser = values::span, help_heading = "What to keep")]
    pub keep_within: Option<Span>,
    /// Keep the newest of each hour, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = values::span, help_heading = "What to keep")]
    pub keep_within_hourly: Option<Span>,
    /// Keep the newest of each day, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = values::span, help_heading = "What to keep")]
    pub keep_within_daily: Option<Span>,
    /// Keep the newest of each week, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = values::span, help_heading = "What to keep")]
    pub keep_within_weekly: Option<Span>,
    /// Keep the newest of each month, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = values::span, help_heading = "What to keep")]
    pub keep_within_monthly: Option<Span>,
    /// Keep the newest of each quarter, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = values::span, help_heading = "What to keep")]
    pub keep_within_quarterly: Option<Span>,
    /// Keep the newest of each year, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = values::span, help_heading = "What to keep")]
    pub keep_within_yearly: Option<Span>,
    /// Keep snapshots with this tag; `a,b` means both; repeat the option for alternatives
    #[arg(long, value_name = "TAG[,TAG]", help_heading = "What to keep")]
    pub keep_tag: Vec<String>,
    /// Keep snapshots whose ID starts with ID
    #[arg(long, value_name = "ID", help_heading = "What to keep")]
    pub keep_id: Vec<String>,
    /// Forget snapshots older than SPAN (max_age in OpenSearch)
    #[arg(long, visible_alias = "max-age", value_name = "SPAN", value_parser = values::span, help_heading = "Expiry")]
    pub expire_after: Option<Span>,
    /// Always keep the newest N successful snapshots [default: 1]
    #[arg(long, value_name = "N", help_heading = "Expiry")]
    pub min_count: Option<u32>,
    /// Keep at most the newest N successful snapshots
    #[arg(long, value_name = "N", help_heading = "Expiry")]
    pub max_count: Option<u32>,
    /// Forget all snapshots selected by --host, --source, --path and --tag (for a retired machine)
    #[arg(long)]
    pub all: bool,
    /// Apply the policy to each group of snapshots with the same values
    #[arg(long, value_enum, value_delimiter = ',', default_value = "host,source", value_name = "BY")]
    pub group_by: Vec<GroupArgument>,
    /// Only these are looked at
    #[command(flatten)]
    pub filter: FilterArguments,
    /// Explain every decision; forget nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do not ask, even if more than half of the snapshots would be forgotten
    #[arg(long)]
    pub yes: bool,
    /// Prune afterwards
    #[arg(long)]
    pub prune: bool,
    /// How to prune
    #[command(flatten)]
    pub how: PruneArguments,
}

/// Options of `hold` and `unhold`.
#[derive(Args)]
pub struct HoldArguments {
    /// ID prefixes, or `latest`
    #[arg(value_name = "SNAPSHOT", required = true)]
    pub snapshots: Vec<String>,
}

/// Characters of a group's name that are shown: it holds up to four texts.
const GROUP_LEN_MAX: usize = 4 * SHOWN_LEN_MAX;

/// Where nobody can be asked, up to so many snapshots go although they are more than half of all.
const FEW: usize = 10;

/// By what snapshots are grouped, for the operation.
pub(crate) fn group_by(arguments: &[GroupArgument]) -> Vec<GroupBy> {
    let group = |g: &GroupArgument| match g {
        GroupArgument::Host => Some(GroupBy::Host),
        GroupArgument::Source => Some(GroupBy::Source),
        GroupArgument::Tags => Some(GroupBy::Tags),
        GroupArgument::Paths => Some(GroupBy::Paths),
        GroupArgument::None => None,
    };
    arguments.iter().filter_map(group).collect()
}

/// Forgets what the policy does not keep.
pub(crate) fn run(session: &Session, arguments: &ForgetArguments, argv: &[OsString]) -> Result<Exit> {
    let specs = arguments.snapshots.iter().map(|text| SnapshotSpec::parse(std::ffi::OsStr::new(text)));
    let specs = specs.collect::<std::result::Result<Vec<_>, String>>().map_err(CliError::Usage)?;
    let mut options = ForgetOptions {
        filter: filter(&arguments.filter, session.env),
        group_by: group_by(&arguments.group_by),
        which: which(arguments, specs.is_empty())?,
        zone: session.env.zone.clone(),
        member_only: arguments.member,
        dry_run: arguments.dry_run,
    };
    if let Some(zone) = &session.env.unknown_zone {
        // Before anybody is asked whether what they see may go.
        let text = format!("TZ={zone} names no time zone of this system: days, weeks and times are those of UTC");
        session.progress.finding(Severity::Warning, &text);
    }
    let mut unasked = false;
    let report = session.with_repository(|repository| {
        if let Which::Named(ids) = &mut options.which {
            for spec in &specs {
                let name = spec.name.clone().unwrap_or(SnapshotName::Latest(0));
                ids.push(repository.choose(&name, &options.filter)?.id);
            }
        }
        let mut agree = |report: &ForgetReport| {
            if arguments.yes {
                return true;
            }
            let (keep, going) = report.counts();
            let all = keep + going;
            if !session.env.input_is_terminal && going <= FEW {
                // A job that runs by itself has nobody to ask.
                unasked = true;
                return true;
            }
            let question = format!("{going} of {all} snapshots would be forgotten. Do it? [y/N]");
            session.progress.suspended(|| session.env.confirm(&question))
        };
        Ok(forget::forget(repository, &options, &mut agree)?)
    })?;
    tell(session, &report, arguments.dry_run, &arguments.group_by)?;
    if unasked && report.record.is_some() {
        let (keep, going) = report.counts();
        let text = format!("more than half were forgotten: {going} of {}", keep + going);
        session.progress.finding(Severity::Warning, &text);
    }
    if let (Which::Policy(_), true) = (&options.which, options.group_by.contains(&GroupBy::Host)) {
        tell_lonely(session, &report);
    }
    for id in &report.doubted {
        let text = format!("snapshot {} is not believed and was left out; `strongroom snapshots` says why", id.short());
        session.progress.finding(Severity::Warning, &text);
    }
    for id in &report.future {
        let text = format!("snapshot {} has a time in the future: it is kept and counts for no rule", id.short());
        session.progress.finding(Severity::Warning, &text);
    }
    match arguments.prune {
        true => super::prune::run(session, &arguments.how, arguments.dry_run, argv),
        false => Ok(if report.doubted.is_empty() { Exit::Done } else { Exit::Problems }),
    }
}

/// So many hosts with one snapshot each of one source look like one machine with many names.
const LONELY_MIN: usize = 5;

/// Says if a machine seems to have another name each night (containers do), for then no rule ever forgets anything.
fn tell_lonely(session: &Session, report: &ForgetReport) {
    for (source, hosts) in report.lonely().into_iter().filter(|(_, hosts)| *hosts >= LONELY_MIN) {
        let text = format!(
            "{hosts} hosts have one snapshot each of {}, and it stays; if they are one machine, use --group-by source, and back up with --host NAME",
            shortened(&source)
        );
        session.progress.finding(Severity::Note, &text);
    }
}

/// What the command line says is to go.
fn which(a: &ForgetArguments, no_ids: bool) -> Result<Which> {
    let usage = |text: &str| Err(CliError::Usage(text.to_owned()));
    let f = &a.filter;
    let by_policy = policy(a);
    let has_rules = !matches!(by_policy, Ok(None));
    match (no_ids, a.all) {
        (false, true) => usage("give snapshots or --all, not both"),
        (false, false) | (true, true) if has_rules => usage("a policy cannot be combined with snapshots or --all"),
        (false, false) => Ok(Which::Named(Vec::new())),
        (true, true) => {
            // An empty variable in a script must not select everything.
            let given = !(f.host.is_empty() && f.source.is_empty() && f.path.is_empty() && f.tag.is_empty());
            let empty = f.host.iter().chain(&f.source).any(|t| t.trim().is_empty())
                || f.tag.iter().any(|set| set.split(',').all(|t| t.trim().is_empty()))
                || f.path.iter().any(|p| p.as_os_str().is_empty());
            match given && !empty {
                true => Ok(Which::All),
                false => usage("--all needs a selection that is not empty: --host, --source, --path or --tag"),
            }
        }
        (true, false) => match by_policy? {
            Some(policy) => Ok(Which::Policy(policy)),
            None => {
                usage("say what to keep, such as --keep-daily 7, or --expire-after 30d; or which snapshots to forget")
            }
        },
    }
}

/// The policy that the options make; `None` if they make none.
fn policy(a: &ForgetArguments) -> Result<Option<Policy>> {
    let mut rules = Vec::new();
    rules.extend(a.keep_last.map(Keep::Last));
    let counts = [a.keep_hourly, a.keep_daily, a.keep_weekly, a.keep_monthly, a.keep_quarterly, a.keep_yearly];
    rules.extend(Period::ALL.iter().zip(counts).filter_map(|(period, n)| Some(Keep::Every(*period, n?))));
    rules.extend(a.keep_within.map(Keep::Within));
    let spans = [
        a.keep_within_hourly,
        a.keep_within_daily,
        a.keep_within_weekly,
        a.keep_within_monthly,
        a.keep_within_quarterly,
        a.keep_within_yearly,
    ];
    rules.extend(Period::ALL.iter().zip(spans).filter_map(|(period, span)| Some(Keep::EveryWithin(*period, span?))));
    rules.extend(a.keep.iter().map(|(every_ms, within)| Keep::Interval(*every_ms, *within)));
    let words = |set: &String| set.split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect();
    rules.extend(a.keep_tag.iter().map(|set| Keep::Tags(words(set))));
    rules.extend(a.keep_id.iter().map(|id| Keep::Id(id.to_lowercase())));
    let expires = a.expire_after.is_some() || a.max_count.is_some();
    match (rules.is_empty(), expires) {
        (false, false) if a.min_count.is_none() => Ok(Some(Policy::Keep(rules))),
        (true, true) => {
            let (after, max_count) = (a.expire_after, a.max_count);
            Ok(Some(Policy::Expire { after, min_count: a.min_count.unwrap_or(1), max_count }))
        }
        (true, false) if a.min_count.is_none() => Ok(None),
        _ => Err(CliError::Usage(
            "--keep-* cannot be combined with --expire-after, --min-count or --max-count".to_owned(),
        )),
    }
}

/// What the snapshots of a group have in common.
fn group_json(snapshot: &Snapshot, by: &[GroupArgument]) -> serde_json::Value {
    let described = &snapshot.described;
    let has = |what| by.contains(&what);
    serde_json::json!({
        "host": has(GroupArgument::Host).then_some(&described.host),
        "source": has(GroupArgument::Source).then_some(&described.source),
        "tags": has(GroupArgument::Tags).then_some(&described.tags),
        "paths": has(GroupArgument::Paths).then(|| described.paths.iter().map(|p| PathJson::new(p)).collect::<Vec<_>>()),
    })
}

fn tell(session: &Session, report: &ForgetReport, dry_run: bool, group_by: &[GroupArgument]) -> Result<()> {
    let (keep, going) = report.counts();
    if session.global.json {
        for group in &report.groups {
            for (snapshot, decision) in &group.snapshots {
                session.print_object(serde_json::json!({
                    "type": "forget",
                    "group": group_json(snapshot, group_by),
                    "id": snapshot.id.to_string(),
                    "keep": decision.keep,
                    "reasons": decision.reasons,
                    "dry_run": dry_run,
                }))?;
            }
        }
        return Ok(());
    }
    let what_goes = !dry_run && session.global.tells() && session.global.verbose == 0 && report.record.is_some();
    if dry_run || session.global.verbose > 0 || what_goes {
        for group in report.groups.iter().filter(|g| !what_goes || g.snapshots.iter().any(|(_, d)| !d.keep)) {
            session.print(&shortened_to(GROUP_LEN_MAX, &escape(group.name.as_bytes())))?;
            let row = |(s, d): &(crate::repository::snapshots::Snapshot, forget::policy::Decision)| {
                let word = if d.keep { "keep" } else { "forget" };
                let time = show(s.state.time_ms, &session.env.zone);
                vec![format!("  {word}"), s.id.short(), time, d.reasons.join(", ")]
            };
            let shown = group.snapshots.iter().filter(|(_, d)| !what_goes || !d.keep);
            let time = heading("TIME", &session.env.zone);
            let head = vec![String::new(), "ID".to_owned(), time, "REASON".to_owned()];
            let rows: Vec<Vec<String>> = std::iter::once(head).chain(shown.map(row)).collect();
            session.table(&[Side::Whole, Side::Whole, Side::Whole, Side::Left], &rows)?;
        }
    }
    if session.global.tells() {
        let groups = pluralize(report.groups.len() as u64, "group", "groups");
        let (keep, going) =
            (pluralize(keep as u64, "snapshot", "snapshots"), pluralize(going as u64, "snapshot", "snapshots"));
        session.print(&match (dry_run, report.record) {
            (true, _) => format!("would keep {keep} and forget {going}, in {groups}"),
            (false, None) => format!("kept {keep} in {groups}; nothing to forget"),
            (false, Some(_)) => format!("kept {keep} and forgot {going}, in {groups}"),
        })?;
    }
    Ok(())
}

/// Protects snapshots, or takes that back.
pub(crate) fn hold(session: &Session, arguments: &HoldArguments, hold: bool) -> Result<Exit> {
    let specs: std::result::Result<Vec<SnapshotSpec>, String> =
        arguments.snapshots.iter().map(|text| SnapshotSpec::parse(std::ffi::OsStr::new(text))).collect();
    let specs = specs.map_err(CliError::Usage)?;
    let changed = session.with_repository(|repository| {
        let mut ids = Vec::new();
        for spec in specs {
            let name = spec.name.unwrap_or(SnapshotName::Latest(0));
            ids.push(repository.choose(&name, &SnapshotFilter::default())?.id);
        }
        ids.sort();
        ids.dedup();
        Ok(forget::hold(repository, &ids, hold)?)
    })?;
    let word = if hold { "held" } else { "released" };
    if session.global.json {
        session
            .print_object(serde_json::json!({ "type": if hold { "hold" } else { "unhold" }, "changed": changed }))?;
    } else if session.global.tells() {
        session.print(&format!("{word} {}", pluralize(changed as u64, "snapshot", "snapshots")))?;
    }
    Ok(Exit::Done)
}
