//! `verify`: whether everything would come back.

use std::time::Instant;

use crate::operations::verify::{Finding, VerifyDepth, VerifyReport, verify, verify_keyless};

use super::super::arguments::VerifyArguments;
use super::super::error::Result;
use super::super::exit::Exit;
use super::super::json::VerifyJson;
use super::super::session::Session;
use super::super::settings::Settings;
use super::super::text::{duration, escape, size, things};

/// Verifies the repository; damage is exit 1.
pub fn run(session: &Session, arguments: &VerifyArguments) -> Result<Exit> {
    let mut started = Instant::now();
    let (depth, report) = match (arguments.keyless, arguments.read_data) {
        (true, _) => {
            let settings = Settings::find(session.global, session.around, false)?;
            let store = settings.store(session.around)?;
            session.listen()?;
            ("keyless", verify_keyless(&*store, &session.progress)?)
        }
        (_, read_data) => {
            let (word, depth) = match read_data {
                true => ("read_data", VerifyDepth::ReadData),
                false => ("structure", VerifyDepth::Structure),
            };
            let report = session.with_repository(|repository| {
                session.listen()?;
                // A person may have taken her time over the passphrase.
                started = Instant::now();
                Ok(verify(repository, depth, &session.progress)?)
            })?;
            (word, report)
        }
    };
    let took_ms = started.elapsed().as_millis() as u64;
    session.finish();
    tell(session, depth, &report, took_ms)?;
    Ok(if report.findings.is_empty() { Exit::Done } else { Exit::Failed })
}

fn tell(session: &Session, depth: &'static str, report: &VerifyReport, took_ms: u64) -> Result<()> {
    for finding in &report.findings {
        told_finding(finding).iter().for_each(|line| session.around.complain(line));
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
        let unnamed = things(report.unnamed, "object", "objects");
        session.print(&format!("{unnamed} of open runs or left by cut-off ones, which nothing needs"))?;
    }
    let mut looked = vec![things(report.objects, "object", "objects")];
    if depth != "keyless" {
        looked.insert(0, things(report.records, "record", "records"));
        looked.push(things(report.snapshots, "snapshot", "snapshots"));
        looked.push(things(report.files, "file", "files"));
    }
    if report.bytes_read > 0 {
        looked.push(format!("{} read", size(report.bytes_read)));
    }
    let verdict = match (report.findings.len() as u64, depth) {
        (0, "read_data") => "everything would come back".to_owned(),
        (0, "structure") => "no damage found; --read-data also opens all content".to_owned(),
        (0, _) => "no damage found; without a passphrase only bytes can be checked".to_owned(),
        (n, _) => format!("damage: {}", things(n, "finding", "findings")),
    };
    session.print(&format!("{}, in {}\n{verdict}", looked.join(", "), duration(took_ms)))
}

/// A finding and what it hurts, in lines.
pub(super) fn told_finding(finding: &Finding) -> Vec<String> {
    let text = |t: &str| escape(t.as_bytes());
    let mut lines = vec![format!("error: {}: {}", text(&finding.object), text(&finding.what))];
    for (id, paths, count) in &finding.hurts {
        let shown: Vec<String> = paths.iter().map(|p| text(p)).collect();
        let more = match count.saturating_sub(paths.len() as u64) {
            0 => String::new(),
            n => format!(" and {} more", super::super::text::count(n)),
        };
        lines.push(format!("  hurts snapshot {}: {}{more}", id.short(), shown.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::ids::SnapshotId;

    #[test]
    fn a_finding_names_the_snapshots_and_files_that_it_hurts() {
        let hurts = vec![(SnapshotId([0xab; 16]), vec!["/a".to_owned(), "/b".to_owned()], 7)];
        let finding = Finding { object: "data/1/x".into(), what: "it is missing".into(), hurts };
        assert_eq!(
            told_finding(&finding),
            ["error: data/1/x: it is missing", "  hurts snapshot abababab: /a, /b and 5 more"]
        );
    }
}
