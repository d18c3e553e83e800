//! `verify`.

use serde_json::json;

use crate::operations::verify::{Finding, VerifyDepth, VerifyReport, verify as run, verify_keyless};

use super::args::VerifyArgs;
use super::context::Context;
use super::exit::{Code, Failure};
use super::format::{printable, size};

/// Verifies.
pub fn verify(context: &Context, args: &VerifyArgs) -> Result<Code, Failure> {
    let report = if args.keyless {
        verify_keyless(&*context.store()?, &context.terminal)?
    } else {
        let depth = if args.read_data { VerifyDepth::ReadData } else { VerifyDepth::Structure };
        let repository = context.open()?;
        let report = run(&repository, depth, &context.terminal);
        context.terminal.finish();
        context.close(&repository);
        report?
    };
    context.terminal.finish();
    if context.global.json {
        super::show::line(&mut std::io::stdout().lock(), &to_json(&report).to_string());
    } else {
        report.findings.iter().for_each(tell);
        for (number, why) in &report.void {
            context.terminal.say(&format!("record {number} is void and does not count: {why}"));
        }
        context.terminal.say(&summary(&report));
    }
    if report.findings.is_empty() {
        return Ok(Code::Done);
    }
    eprintln!("error: {} findings: the repository is damaged", report.findings.len());
    eprintln!(
        "hint: what is named above cannot be restored; everything else can. Keep this repository as it is, and back up anew"
    );
    Ok(Code::Failed)
}

fn tell(finding: &Finding) {
    eprintln!("damaged: {}: {}", printable(finding.object.as_bytes()), finding.what);
    for (snapshot, paths, count) in &finding.hurts {
        eprintln!("  hurts snapshot {}, {count} entries:", snapshot.short());
        for path in paths {
            eprintln!("    {}", printable(path.as_bytes()));
        }
        if *count > paths.len() as u64 {
            eprintln!("    and {} more", count - paths.len() as u64);
        }
    }
}

fn summary(report: &VerifyReport) -> String {
    let mut text = format!("{} objects, {} records", report.objects, report.records);
    if report.snapshots > 0 {
        text.push_str(&format!(", {} snapshots with {} different files", report.snapshots, report.files));
    }
    if report.bytes_read > 0 {
        text.push_str(&format!(", {} read", size(report.bytes_read)));
    }
    if report.unnamed > 0 {
        text.push_str(&format!(", {} objects of runs that were not finished", report.unnamed));
    }
    match report.findings.len() {
        0 => format!("{text}: no damage found"),
        n => format!("{text}: {n} findings"),
    }
}

fn to_json(report: &VerifyReport) -> serde_json::Value {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|f| {
            let hurts: Vec<_> = f
                .hurts
                .iter()
                .map(|(id, paths, count)| json!({ "snapshot": id.to_string(), "paths": paths, "count": count }))
                .collect();
            json!({ "object": f.object, "what": f.what, "hurts": hurts })
        })
        .collect();
    json!({
        "objects": report.objects, "records": report.records, "void": report.void, "snapshots": report.snapshots,
        "files": report.files, "bytes_read": report.bytes_read, "unnamed": report.unnamed, "findings": findings,
    })
}
