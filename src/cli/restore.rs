//! `restore`.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use serde_json::json;

use crate::formats::tree::NodeKind;
use crate::machinery::repository::Repository;
use crate::machinery::repository::snapshots::Snapshot;
use crate::machinery::target::{Overwrite, OwnerMap, Ownership, RelativePath, TargetOptions};
use crate::operations::list;
use crate::operations::restore::{RestoreOptions, RestoreReport, restore as run};

use super::args::{OverwriteArg, RestoreArgs};
use super::context::{Context, split_path};
use super::exit::{Code, Failure};
use super::format::size;
use super::pipe::into_command;
use super::show::line;

/// Restores.
pub fn restore(context: &Context, args: RestoreArgs) -> Result<Code, Failure> {
    let (name, path) = args.snapshot.as_deref().map(split_path).transpose()?.unwrap_or_default();
    let repository = context.open()?;
    let snapshot = context.choose(&repository, Some(&name), args.at.as_deref(), &args.filter)?;
    if let Some(command) = &args.to_command {
        let path = match path {
            Some(path) => path,
            None => only_file(&repository, &snapshot)?,
        };
        return into_command(context, &repository, &snapshot, &path, command);
    }
    let mut options = options(&args)?;
    if let Some(path) = path {
        choose_part(&repository, &snapshot, &path, &mut options)?;
    }
    let mut agree = |extras: &[RelativePath]| args.yes || ask(extras);
    if args.delete {
        options.delete = Some(&mut agree);
    }
    let (dry_run, include) = (options.dry_run, options.include.clone());
    let report = run(&repository, &snapshot, options, &context.terminal);
    context.terminal.finish();
    context.close(&repository);
    tell(context, &snapshot, &report?, dry_run, &include)
}

/// A directory becomes the target's root; a file is restored into the target by its name.
fn choose_part(
    repository: &Repository,
    snapshot: &Snapshot,
    path: &[u8],
    options: &mut RestoreOptions,
) -> Result<(), Failure> {
    match list::find(repository, snapshot, path)? {
        Some(node) if !matches!(node.kind, NodeKind::Directory(_)) => {
            let end = path.iter().rposition(|c| *c != b'/').map_or(0, |at| at + 1);
            let parent = path[..end].iter().rposition(|c| *c == b'/').map_or(&[][..], |at| &path[..at]);
            let name = String::from_utf8(node.name.clone()).map_err(|_| {
                Failure::new("a single file whose name is not text cannot be restored by itself")
                    .hint("restore the directory it is in, or stream it with `cat`")
            })?;
            let escaped: String =
                name.chars().flat_map(|c| if "*?[]{}\\!# ".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
            options.include = vec![format!("/{escaped}")];
            options.subtree = Some(parent.to_vec()).filter(|p| !p.is_empty());
        }
        _ => options.subtree = Some(path.to_vec()),
    }
    Ok(())
}

fn only_file(repository: &Repository, snapshot: &Snapshot) -> Result<Vec<u8>, Failure> {
    let mut files = Vec::new();
    list::list(repository, snapshot, b"", true, &mut |path, node| {
        if let NodeKind::File(_) = node.kind
            && files.len() < 2
        {
            files.push(path.to_vec());
        }
        Ok(())
    })?;
    match files.len() {
        1 => Ok(files.remove(0)),
        _ => Err(Failure::new(format!("snapshot {} does not hold just one file", snapshot.id.short()))
            .hint("name the file: SNAPSHOT:PATH")),
    }
}

fn options<'a>(args: &RestoreArgs) -> Result<RestoreOptions<'a>, Failure> {
    let bad_map = |e: &dyn std::fmt::Display| Failure::new(e.to_string());
    let mut owner_map = OwnerMap::default();
    for entry in &args.owner_map {
        owner_map.add(entry).map_err(|e| bad_map(&e))?;
    }
    if let Some(owner) = &args.owner {
        owner_map = OwnerMap::give_all_to(owner).map_err(|e| bad_map(&e))?;
    }
    let ownership = match (args.numeric_ids, args.no_ownership) {
        (_, true) => Ownership::None,
        (true, _) => Ownership::ByNumber,
        _ => Ownership::ByName,
    };
    let overwrite = match args.overwrite {
        None => Overwrite::Refuse,
        Some(OverwriteArg::Always) => Overwrite::Always,
        Some(OverwriteArg::IfChanged) => Overwrite::IfChanged,
        Some(OverwriteArg::Never) => Overwrite::Never,
    };
    Ok(RestoreOptions {
        target: args.target.clone().unwrap_or_default(),
        target_options: TargetOptions { ownership, owner_map, overwrite, xattrs: !args.no_xattrs, sparse: args.sparse },
        subtree: None,
        include: patterns(&args.include, &args.include_file)?,
        exclude: patterns(&args.exclude, &args.exclude_file)?,
        delete: None,
        dry_run: args.dry_run,
    })
}

fn patterns(given: &[String], files: &[PathBuf]) -> Result<Vec<String>, Failure> {
    let mut all = given.to_vec();
    for file in files {
        let text = std::fs::read_to_string(file)
            .map_err(|e| Failure::new(format!("cannot read the patterns in {}: {e}", file.display())))?;
        all.extend(text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')).map(str::to_owned));
    }
    Ok(all)
}

fn ask(extras: &[RelativePath]) -> bool {
    for path in extras.iter().take(50) {
        eprintln!("  {path}");
    }
    if extras.len() > 50 {
        eprintln!("  and {} more", extras.len() - 50);
    }
    if !std::io::stdin().is_terminal() {
        eprintln!("{} entries are not in the snapshot; --yes deletes them", extras.len());
        return false;
    }
    eprint!("delete these {} entries, which are not in the snapshot? [y/N] ", extras.len());
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn tell(
    context: &Context,
    snapshot: &Snapshot,
    report: &RestoreReport,
    dry_run: bool,
    include: &[String],
) -> Result<Code, Failure> {
    if context.global.json {
        line(
            &mut std::io::stdout().lock(),
            &json!({
                "snapshot": snapshot.id.to_string(), "dry_run": dry_run, "files": report.files, "bytes": report.bytes,
                "directories": report.directories, "others": report.others, "kept": report.kept,
                "skipped": report.skipped, "deleted": report.deleted, "problems": report.problems_count,
                "first_problems": report.problems,
            })
            .to_string(),
        );
    } else {
        let word = if dry_run { "would restore" } else { "restored" };
        let mut text = format!(
            "{word} {} files, {} directories, {} others from snapshot {}: {}",
            report.files,
            report.directories,
            report.others,
            snapshot.id.short(),
            size(report.bytes)
        );
        for (count, what) in [(report.kept, "kept"), (report.skipped, "sockets left out"), (report.deleted, "deleted")]
        {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        context.terminal.say(&text);
    }
    let nothing = report.files + report.directories + report.others + report.kept + report.skipped == 0;
    if nothing && !(include.is_empty()) {
        return Err(
            Failure::new("nothing in the snapshot matches what was asked for").hint("`strongroom ls` shows its paths")
        );
    }
    if report.problems_count > 0 {
        eprintln!("error: the restore is incomplete: {} problems, listed above", report.problems_count);
        return Ok(Code::Problems);
    }
    Ok(Code::Done)
}
