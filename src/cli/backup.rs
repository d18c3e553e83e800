//! `backup`.

use std::path::{Component, Path, PathBuf};

use serde_json::json;

use crate::formats::record::Outcome;
use crate::machinery::source::{CommandSource, ExcludeOptions};
use crate::operations::backup::{BackupOptions, BackupReport, SourceReport, StreamSource, backup as run};
use crate::words::observer::Severity;

use super::args::{BackupArgs, ExcludeArgs};
use super::context::{Context, SECRET_VARIABLES, parse_time};
use super::exit::{Code, Failure};
use super::format::{duration, size};
use super::init::default_repository;

/// Backs up.
pub fn backup(context: &Context, args: BackupArgs) -> Result<Code, Failure> {
    let mut own = None;
    let context = if args.init {
        let made = own.insert(Context::new(context.global.clone()));
        default_repository(made)?;
        &*made
    } else {
        context
    };
    let dry_run = args.dry_run;
    let options = options(args)?;
    let repository = context.open()?;
    let report = run(&repository, options, &context.terminal);
    context.terminal.finish();
    context.close(&repository);
    let report = report?;
    if context.global.json {
        super::show::line(&mut std::io::stdout().lock(), &to_json(&report).to_string());
    } else {
        report.sources.iter().for_each(|source| tell(context, source, dry_run));
    }
    if let Some(run) = report.run.filter(|_| report.sources.len() > 1) {
        context.terminal.say(&format!("run {}: {}", run.0, outcome(report.outcome)));
    }
    Ok(code(&report))
}

fn code(report: &BackupReport) -> Code {
    match report.outcome {
        Outcome::Complete => Code::Done,
        Outcome::Failed => Code::Failed,
        _ => Code::Problems,
    }
}

fn options(args: BackupArgs) -> Result<BackupOptions, Failure> {
    let cwd = std::env::current_dir().map_err(|e| Failure::new(format!("cannot find the current directory: {e}")))?;
    let stdin = args.stdin || args.paths.iter().any(|p| p.as_os_str() == "-");
    let paths = args.paths.iter().filter(|p| p.as_os_str() != "-").map(|p| absolute(&cwd, p)).collect::<Vec<PathBuf>>();
    let mut streams = Vec::new();
    if stdin {
        streams.push(StreamSource::Reader { name: args.stdin_name, reader: Box::new(std::io::stdin()) });
    }
    for text in &args.from_command {
        let (name, command) = text
            .split_once('=')
            .filter(|(name, command)| !name.is_empty() && !command.is_empty())
            .ok_or_else(|| Failure::new(format!("--from-command {text:?} is not NAME=COMMAND")))?;
        let mut source = CommandSource::new(name, command);
        // The passphrase is none of its business.
        source.env.extend(SECRET_VARIABLES.map(|v| (v.into(), "".into())));
        streams.push(StreamSource::Command(source));
    }
    // Names only: a command may hold a password.
    let named = paths.iter().map(|p: &PathBuf| p.to_string_lossy()).collect::<Vec<_>>();
    let streamed = streams.iter().map(|s| format!("{}=...", s.name()));
    let command = std::iter::once("backup".to_owned()).chain(named.iter().map(|n| n.to_string())).chain(streamed);
    let command = command.collect::<Vec<_>>().join(" ");
    let host = match args.host {
        Some(host) => host,
        None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
    };
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    Ok(BackupOptions {
        paths,
        streams,
        source: args.source,
        host,
        user,
        tags: args.tag.into_iter().filter(|t| !t.is_empty()).collect(),
        label: args.label,
        time_ms: args.time.as_deref().map(parse_time).transpose()?,
        exclude: exclude(args.exclude),
        dry_run: args.dry_run,
        read_all: args.read_all,
        command,
    })
}

fn exclude(args: ExcludeArgs) -> ExcludeOptions {
    ExcludeOptions {
        presets: args.exclude_preset,
        pattern_files: args.exclude_file,
        patterns: args.exclude,
        caches: args.exclude_caches,
        if_present: args.exclude_if_present,
        larger_than: args.exclude_larger_than,
        one_file_system: args.one_file_system,
        ..ExcludeOptions::default()
    }
}

/// The path as seen from the root, without `.` and `..`; links are not followed.
pub fn absolute(cwd: &Path, path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in cwd.join(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::Warnings => "complete, with warnings",
        Outcome::Partial => "partial",
        Outcome::Failed => "failed",
        Outcome::Crashed => "crashed",
    }
}

fn tell(context: &Context, report: &SourceReport, dry_run: bool) {
    let f = &report.figures;
    let say = |text: String| context.terminal.say(&text);
    if dry_run {
        say(format!(
            "{}: would read {} of {} files, {} of {}",
            report.source,
            f.files_read,
            f.files,
            size(f.bytes_read),
            size(f.bytes)
        ));
    } else if let Some(id) = report.snapshot {
        let files = if f.files == 1 { "1 file".to_owned() } else { format!("{} files", f.files) };
        if f.files_read == 0 && f.bytes_new == 0 {
            say(format!(
                "snapshot {} of {}: unchanged, {files}, {}, in {}",
                id.short(),
                report.source,
                size(f.bytes),
                duration(f.duration_ms)
            ));
        } else {
            say(format!(
                "snapshot {} of {}: {}, {files} ({} read), {} (read {}, new {}, stored {}), in {}",
                id.short(),
                report.source,
                outcome(report.outcome),
                f.files_read,
                size(f.bytes),
                size(f.bytes_read),
                size(f.bytes_new),
                size(f.bytes_stored),
                duration(f.duration_ms)
            ));
        }
    }
    if let Some(error) = &report.error {
        let printable = error.lines().map(|l| super::format::printable(l.as_bytes())).collect::<Vec<_>>().join("\n  ");
        eprintln!("error: no snapshot of {} was made: {printable}", report.source);
    }
    for rule in report.rules.iter().filter(|r| r.matches > 0 && r.bytes > 0) {
        say(format!("left out by {}: {} entries, {}", rule.rule, rule.matches, size(rule.bytes)));
    }
    for rule in &report.rules_unmatched {
        crate::words::observer::Observer::finding(
            &context.terminal,
            Severity::Warning,
            &format!("the exclusion rule {rule} matched nothing"),
        );
    }
}

fn to_json(report: &BackupReport) -> serde_json::Value {
    let sources: Vec<_> = report
        .sources
        .iter()
        .map(|s| {
            json!({
                "source": s.source,
                "snapshot": s.snapshot.map(|id| id.to_string()),
                "outcome": super::show::outcome_word(s.outcome),
                "figures": super::show::figures_json(&s.figures),
                "error": s.error,
                "rules_unmatched": s.rules_unmatched,
            })
        })
        .collect();
    json!({
        "run": report.run.map(|r| r.0),
        "outcome": super::show::outcome_word(report.outcome),
        "resumed_packs": report.resumed.0,
        "resumed_bytes": report.resumed.1,
        "sources": sources,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_and_clean() {
        let cwd = Path::new("/home/ann");
        for (given, clean) in
            [(".", "/home/ann"), ("../bob/x/./y", "/home/bob/x/y"), ("/a//b/", "/a/b"), ("../../../..", "/")]
        {
            assert_eq!(absolute(cwd, Path::new(given)), Path::new(clean));
        }
    }
}
