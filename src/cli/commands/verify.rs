//! `verify`: whether everything would come back.

use std::sync::Arc;
use std::time::Instant;

use crate::format::state::State;
use crate::ops::repair::found;
use crate::ops::verify::{
    Coverage, Finding, Part, VerifyDepth, VerifyReport, coverage, remember, verify, verify_keyless,
};
use crate::primitives::progress::{Observer, Severity};
use crate::repository::{Repository, RepositoryError};
use crate::store::StoreError;

use super::super::context::Session;
use super::super::error::{Result, error_text};
use super::super::exit::Exit;
use super::super::output::text::{count, duration, escape, pluralize, size};
use super::super::settings::Settings;
use super::super::time::{rfc3339, show};
use crate::cli::values;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;

/// Options of `verify`.
#[derive(Args, Default)]
pub struct VerifyArguments {
    /// Check the bytes of every object against its name or checksum; needs no passphrase
    #[arg(long, conflicts_with = "read_data")]
    pub keyless: bool,
    /// Read, decrypt and verify all data
    #[arg(long)]
    pub read_data: bool,
    /// Read and verify part of the data: 5%, 2GiB, or the third of seven groups: 3/7; least recently verified first
    #[arg(long, value_name = "PART", value_parser = values::part, conflicts_with_all = ["keyless", "read_data"])]
    pub read_data_subset: Option<Part>,
    /// Read and verify data for at most this long: 20m, 2h; least recently verified first
    #[arg(long, value_name = "TIME", value_parser = values::duration_ms, conflicts_with = "keyless")]
    pub time_budget: Option<i64>,
    /// Do not record in the repository what was verified
    #[arg(long)]
    pub no_record: bool,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
pub(crate) struct DamageJson {
    /// The object, or what was looked for.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// Snapshots it affects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub affects: Vec<AffectedJson>,
}

/// A snapshot that is affected.
#[derive(Debug, Serialize)]
pub(crate) struct AffectedJson {
    /// Its id.
    pub snapshot: String,
    /// How many of its paths.
    pub count: u64,
    /// The first of them.
    pub paths: Vec<String>,
}

impl From<&Finding> for DamageJson {
    fn from(f: &Finding) -> Self {
        let affected = |(id, paths, count): &(crate::primitives::ids::SnapshotId, Vec<String>, u64)| AffectedJson {
            snapshot: id.to_string(),
            count: *count,
            paths: paths.clone(),
        };
        Self { object: f.object.clone(), what: f.what.clone(), affects: f.affects.iter().map(affected).collect() }
    }
}

/// `type: "verify"`.
#[derive(Debug, Serialize)]
pub(crate) struct VerifyJson {
    /// `verify`.
    pub r#type: &'static str,
    /// `keyless`, `structure` or `read_data`.
    pub depth: &'static str,
    /// Whether nothing was found.
    pub sound: bool,
    /// Records replayed.
    pub records: u64,
    /// Void records: why, by number.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub void: BTreeMap<u64, String>,
    /// Snapshots walked.
    pub snapshots: u64,
    /// Files found in them, equal ones counted once.
    pub files: u64,
    /// Objects looked at.
    pub objects: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Objects that nothing names.
    pub unnamed: u64,
    /// Live packs.
    pub packs: u64,
    /// Objects that must be brought back from an archive class first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub archived: Vec<String>,
    /// Packs that were read and found sound.
    pub packs_sound: u64,
    /// Live packs that no verification that is remembered has read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packs_never_read: Option<u64>,
    /// When the pack was read that was read longest ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_read: Option<String>,
    /// What is wrong.
    pub findings: Vec<DamageJson>,
    /// How long it took.
    pub duration_ms: u64,
}

/// Verifies the repository; damage is exit 1.
pub(crate) fn run(session: &Session, arguments: &VerifyArguments) -> Result<Exit> {
    let mut started = Instant::now();
    let (mut covered, mut unsafe_store) = (None, false);
    session.finds_doubts_itself();
    let (depth, report) = match arguments.keyless {
        true => {
            let settings = Settings::find(session.global, session.env, false)?;
            let store = settings.store(session.env)?;
            session.listen()?;
            ("keyless", verify_keyless(&*store, &session.progress)?)
        }
        _ => {
            let (word, depth) = depth(arguments);
            let report = session.with_repository(|repository| {
                session.listen()?;
                // A person may have taken her time over the passphrase.
                started = Instant::now();
                let records = !arguments.no_record && repository.keys.master().is_some();
                let found = match depth {
                    VerifyDepth::ReadData if records => take_in(session, repository)?,
                    _ => 0,
                };
                let seen = repository.state();
                let report = verify(repository, depth, &session.progress)?;
                if found > 0 && report.archived.is_empty() {
                    heal(session, repository, &seen, &report);
                }
                if !arguments.no_record
                    && let Err(e) = remember(repository, &report)
                {
                    let lets_all_win = matches!(e, RepositoryError::Store(StoreError::NotConditional { .. }));
                    unsafe_store |= lets_all_win;
                    match lets_all_win {
                        // Not what was to be done is the news, but why it could not.
                        true => session.progress.finding(Severity::Error, &error_text(&e)),
                        false => {
                            let text = format!("it could not be remembered what was read: {}", error_text(&e));
                            session.progress.finding(Severity::Warning, &text);
                        }
                    }
                }
                covered = Some(coverage(repository)?);
                Ok(report)
            })?;
            (word, report)
        }
    };
    let took_ms = started.elapsed().as_millis() as u64;
    session.finish();
    tell(session, depth, &report, covered, took_ms)?;
    Ok(match (report.findings.is_empty(), report.archived.is_empty() && !unsafe_store) {
        (true, true) => Exit::Done,
        (true, false) => Exit::Problems,
        (false, _) => Exit::Failed,
    })
}

/// Takes in lost packs that are there again. That it cannot be written down is no reason not to verify.
fn take_in(session: &Session, repository: &Arc<Repository>) -> Result<usize> {
    let there = found::lost_and_there(repository, &session.progress)?;
    match found::take_in(repository, &there) {
        Ok(taken) => Ok(taken.len()),
        Err(e) => {
            let text = format!("lost packs are there again, and could not be taken in: {}", error_text(&e));
            session.progress.finding(Severity::Warning, &text);
            Ok(0)
        }
    }
}

/// Says that snapshots are whole again, after lost packs were taken in.
fn heal(session: &Session, repository: &Repository, seen: &State, report: &VerifyReport) {
    let (severity, text) = match found::heal_whole(repository, seen, &report.findings) {
        Ok(healed) => {
            let whole = pluralize(healed.len() as u64, "snapshot is", "snapshots are");
            (Severity::Note, format!("lost packs were found again and taken in; {whole} whole again"))
        }
        Err(e) => {
            (Severity::Warning, format!("it could not be written that snapshots are whole again: {}", error_text(&e)))
        }
    };
    session.progress.finding(severity, &text);
}

fn depth(arguments: &VerifyArguments) -> (&'static str, VerifyDepth) {
    match (arguments.read_data, arguments.read_data_subset, arguments.time_budget) {
        (true, _, None) => ("read_data", VerifyDepth::ReadData),
        (false, None, None) => ("structure", VerifyDepth::Structure),
        (_, part, budget) => ("read_part", VerifyDepth::ReadPart(part.unwrap_or(Part::All), budget)),
    }
}

/// When everything was last read, in words.
pub(crate) fn told_coverage(c: &Coverage, session: &Session) -> String {
    let since = |ms: i64| show(ms, &session.env.zone);
    match (c.packs, c.never, c.oldest_ms) {
        (0, ..) => "there is no data to read yet".to_owned(),
        (_, 0, Some(ms)) => format!("every pack has been read back; the oldest reading was on {}", since(ms)),
        (all, never, _) => {
            format!("{} of {} have never been read back", count(never), pluralize(all, "pack", "packs"))
        }
    }
}

fn tell(
    session: &Session,
    depth: &'static str,
    report: &VerifyReport,
    covered: Option<Coverage>,
    took_ms: u64,
) -> Result<()> {
    for finding in &report.findings {
        told_finding(finding).iter().for_each(|line| session.env.eprint_line(line));
    }
    if !report.archived.is_empty() {
        session.env.eprint_line(&told_archived(report.archived.iter(), "were not read"));
    }
    if session.global.json {
        return session.print_json(&VerifyJson {
            r#type: "verify",
            depth,
            sound: report.findings.is_empty(),
            records: report.records,
            void: report.void.iter().cloned().collect(),
            snapshots: report.snapshots,
            files: report.files,
            objects: report.objects,
            bytes_read: report.bytes_read,
            unnamed: report.unnamed,
            findings: report.findings.iter().map(Into::into).collect(),
            packs: report.packs,
            archived: report.archived.clone(),
            packs_sound: report.sound.len() as u64,
            packs_never_read: covered.map(|c| c.never),
            oldest_read: covered.and_then(|c| c.oldest_ms).and_then(rfc3339),
            duration_ms: took_ms,
        });
    }
    if !session.global.tells() {
        return Ok(());
    }
    for (number, why) in &report.void {
        session.print(&format!("record {number} is void: {}", escape(why.as_bytes())))?;
    }
    if report.unnamed > 0 {
        let unnamed = pluralize(report.unnamed, "object", "objects");
        session.print(&format!("{unnamed} of open runs or left by cut-off ones, which nothing needs"))?;
    }
    let mut looked = vec![pluralize(report.objects, "object", "objects")];
    if depth != "keyless" {
        looked.insert(0, pluralize(report.records, "record", "records"));
        looked.push(pluralize(report.snapshots, "snapshot", "snapshots"));
        looked.push(pluralize(report.files, "different file", "different files"));
    }
    if report.bytes_read > 0 {
        looked.push(format!("{} read", size(report.bytes_read)));
    }
    let verdict = match (report.findings.len() as u64, depth) {
        (0, _) if !report.archived.is_empty() => "no damage found; what is in an archive class was not read".to_owned(),
        (0, "read_data") => "no errors found: all data was read and verified".to_owned(),
        (0, "read_part") => {
            format!("no damage found in {} of {}", report.sound.len(), pluralize(report.packs, "pack", "packs"))
        }
        (0, "structure") => "no damage found; --read-data also opens all content".to_owned(),
        (0, _) => "no damage found; without a passphrase only bytes can be checked".to_owned(),
        (n, _) => format!("damage: {}", pluralize(n, "finding", "findings")),
    };
    let covered = covered.map(|c| format!("\n{}", told_coverage(&c, session))).unwrap_or_default();
    session.print(&format!("{}, in {}\n{verdict}{covered}", looked.join(", "), duration(took_ms)))
}

/// Which objects must be brought back from an archive, all of them: each request for one takes hours.
pub(super) fn told_archived<'a>(names: impl ExactSizeIterator<Item = &'a String>, what: &str) -> String {
    let count = pluralize(names.len() as u64, "object", "objects");
    let names: Vec<&str> = names.map(String::as_str).collect();
    format!(
        "warning: {count} in an archive class {what}: bring them back, then run this again:\n  {}",
        names.join("\n  ")
    )
}

/// A finding and what it affects, in lines.
pub(super) fn told_finding(finding: &Finding) -> Vec<String> {
    let text = |t: &str| escape(t.as_bytes());
    let mut lines = vec![format!("error: {}: {}", text(&finding.object), text(&finding.what))];
    for (id, paths, count) in &finding.affects {
        let shown: Vec<String> = paths.iter().map(|p| text(p)).collect();
        let more = match count.saturating_sub(paths.len() as u64) {
            0 => String::new(),
            n => format!(" and {} more", super::super::output::text::count(n)),
        };
        lines.push(format!("  affects snapshot {}: {}{more}", id.short(), shown.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::primitives::ids::SnapshotId;

    #[test]
    fn a_finding_names_the_snapshots_and_files_that_it_affects() {
        let affects = vec![(SnapshotId([0xab; 16]), vec!["/a".to_owned(), "/b".to_owned()], 7)];
        let finding = Finding { object: "data/1/x".into(), what: "it is missing".into(), affects };
        assert_eq!(
            told_finding(&finding),
            ["error: data/1/x: it is missing", "  affects snapshot abababab: /a, /b and 5 more"]
        );
    }
}
