//! What keeps a repository small and sound.

use clap::{Args, ValueEnum};
use jiff::Span;

use crate::ops::prune::MAX_UNUSED;
use crate::ops::prune::plan::MaxUnused;
use crate::ops::verify::Part;
use crate::repository::state_dir::Head;

use super::super::commands::forget::parse_span;
use super::super::commands::prune::{parse_max_unused, parse_wait};
use super::super::commands::verify::parse_part;
use super::FilterArguments;

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
    /// Forget these, also the last of their host and source, instead of what a policy does not keep
    #[arg(value_name = "ID")]
    pub snapshots: Vec<String>,
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
    /// Keep all that are no older than SPAN (36h, 15d, 8w, 6mo, 1y6mo) before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "What to keep")]
    pub keep_within: Option<Span>,
    /// Keep the newest of each hour, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "What to keep")]
    pub keep_within_hourly: Option<Span>,
    /// Keep the newest of each day, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "What to keep")]
    pub keep_within_daily: Option<Span>,
    /// Keep the newest of each week, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "What to keep")]
    pub keep_within_weekly: Option<Span>,
    /// Keep the newest of each month, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "What to keep")]
    pub keep_within_monthly: Option<Span>,
    /// Keep the newest of each quarter, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "What to keep")]
    pub keep_within_quarterly: Option<Span>,
    /// Keep the newest of each year, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "What to keep")]
    pub keep_within_yearly: Option<Span>,
    /// Keep those with this tag; with all of `a,b`; given again: or with these
    #[arg(long, value_name = "TAG[,TAG]", help_heading = "What to keep")]
    pub keep_tag: Vec<String>,
    /// Keep the one whose id begins so
    #[arg(long, value_name = "ID", help_heading = "What to keep")]
    pub keep_id: Vec<String>,
    /// Forget what is older than SPAN (max_age in OpenSearch)
    #[arg(long, visible_alias = "max-age", value_name = "SPAN", value_parser = parse_span, help_heading = "Expiry")]
    pub expire_after: Option<Span>,
    /// But keep the newest N successful ones however old [default: 1]
    #[arg(long, value_name = "N", help_heading = "Expiry")]
    pub min_count: Option<u32>,
    /// And forget what is beyond the newest N successful ones however young
    #[arg(long, value_name = "N", help_heading = "Expiry")]
    pub max_count: Option<u32>,
    /// Forget all that --host, --source, --path and --tag select, such as a retired machine's
    #[arg(long)]
    pub all: bool,
    /// What makes a group
    #[arg(long, value_enum, value_delimiter = ',', default_value = "host,source", value_name = "BY")]
    pub group_by: Vec<GroupArgument>,
    /// Only these are looked at
    #[command(flatten)]
    pub filter: FilterArguments,
    /// Explain every decision; forget nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Agree beforehand that more than half may go
    #[arg(long)]
    pub yes: bool,
    /// Then prune
    #[arg(long)]
    pub prune: bool,
    /// How to prune
    #[command(flatten)]
    pub how: PruneArguments,
}

pub(super) const PRUNE_EXAMPLES: &str = "\
Examples:
  strongroom prune --dry-run
  strongroom prune --max-unused 0
  strongroom forget --keep-daily 7 --keep-weekly 5 --prune";

/// Options of `prune`.
#[derive(Args)]
pub struct PruneArguments {
    /// How much may stay unused rather than be rewritten: 5%, 2GiB, 0 or unlimited
    #[arg(long, value_name = "PART|SIZE", value_parser = parse_max_unused, default_value = "5%")]
    pub max_unused: MaxUnused,
    /// Delete only what was condemned so long ago, by the store's clock: 36h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_wait, default_value = "0s")]
    pub grace: i64,
    /// On a bucket with versions, remove for good what was deleted and nothing needs
    #[arg(long)]
    pub remove_noncurrent: bool,
}

impl Default for PruneArguments {
    fn default() -> Self {
        Self { max_unused: MAX_UNUSED, grace: 0, remove_noncurrent: false }
    }
}

/// Options of the command `prune` itself.
#[derive(Args)]
pub struct PruneCommand {
    /// How
    #[command(flatten)]
    pub how: PruneArguments,
    /// Show what would be done and what it would cost; change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

pub(super) const REPAIR_EXAMPLES: &str = "\
Segments are written anew from the packs; what can be read of damaged packs moves to new ones; chunks that are gone are filled
in from equal ones that other backups stored. What is still missing is declared lost, and the snapshots that need it have
holes: back the machine up again, then run `repair` again. Nothing is deleted.

Examples:
  strongroom repair --dry-run --read-data
  strongroom repair --read-data
  strongroom repair --drop-lost";

/// Options of `repair`.
#[derive(Args, Default)]
pub struct RepairArguments {
    /// Read everything, to find all damage; else only what is missing or has another length is found
    #[arg(long)]
    pub read_data: bool,
    /// Rewrite snapshots that still have holes without the files that are lost
    #[arg(long)]
    pub drop_lost: bool,
    /// Declare lost what is gone, even if it is not known whether the bucket has older versions of it
    #[arg(long)]
    pub ignore_versions: bool,
    /// Only say what is damaged
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Accept the history as it can be read: give up what lies behind gaps and forks, or is missing
    #[arg(long)]
    pub accept_history: bool,
    /// List the histories that a bucket with versions still holds; with BRANCH, make that one count, and copy into it
    /// what only the others hold
    #[arg(long, value_name = "BRANCH", num_args = 0..=1, conflicts_with_all = ["accept_history", "drop_lost"])]
    pub from_versions: Option<Option<Head>>,
    /// Agree beforehand: that unreadable bytes at the end of the log are garbage, to --accept-history, or to a BRANCH
    #[arg(long)]
    pub yes: bool,
}

/// Options of `hold` and `unhold`.
#[derive(Args)]
pub struct HoldArguments {
    /// Ids, or latest
    #[arg(value_name = "SNAPSHOT", required = true)]
    pub snapshots: Vec<String>,
}

/// Options of `verify`.
#[derive(Args, Default)]
pub struct VerifyArguments {
    /// Check every object's bytes against its name or checksum; needs no passphrase
    #[arg(long, conflicts_with = "read_data")]
    pub keyless: bool,
    /// Read, open and recompute everything
    #[arg(long)]
    pub read_data: bool,
    /// Read a part: 5%, 2GiB, or the third of seven groups: 3/7; what was read longest ago comes first
    #[arg(long, value_name = "PART", value_parser = parse_part, conflicts_with_all = ["keyless", "read_data"])]
    pub read_data_subset: Option<Part>,
    /// Read as long as this at the most: 20m, 2h; what was read longest ago comes first
    #[arg(long, value_name = "TIME", value_parser = parse_wait, conflicts_with = "keyless")]
    pub time_budget: Option<i64>,
    /// Do not remember in the log what was read
    #[arg(long)]
    pub no_record: bool,
}
