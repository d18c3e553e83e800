//! Streaming a file into a command, whose exit status becomes ours.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use crate::machinery::repository::Repository;
use crate::machinery::repository::snapshots::Snapshot;
use crate::operations::cat::{CatError, cat};

use super::context::Context;
use super::exit::{Code, Failure};

/// Runs `command` by bash with the file on its standard input.
///
/// If our reading fails midway, the command is killed: it must not take a part for the whole.
pub fn into_command(
    context: &Context,
    repository: &Repository,
    snapshot: &Snapshot,
    path: &[u8],
    command: &str,
) -> Result<Code, Failure> {
    let spawned =
        Command::new("bash").args(["-o", "pipefail", "-c", command]).stdin(Stdio::piped()).process_group(0).spawn();
    let mut child = spawned.map_err(|e| Failure::new(format!("cannot run {command:?}: {e}")))?;
    let mut input = child.stdin.take().expect("it was asked to be piped");
    let written = cat(repository, snapshot, path, &mut input, &context.terminal);
    context.terminal.finish();
    if let Err(e) = &written
        && !matches!(e, CatError::Write(_))
    {
        let group = rustix::process::Pid::from_child(&child);
        // It may have ended by itself meanwhile.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let flushed = input.flush();
    drop(input);
    let status = child.wait().map_err(|e| Failure::new(format!("cannot wait for {command:?}: {e}")))?;
    match written {
        Err(CatError::Write(_)) | Ok(_) if !status.success() => {
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            eprintln!("error: the command {command:?} ended with {status}");
            // Its own code goes out as it is, also where our table has another meaning for it.
            context.terminal.finish();
            std::process::exit(code);
        }
        // A command that did not want all of it and was content, such as `head`.
        Err(CatError::Write(_)) => Ok(Code::Done),
        Err(e) => Err(e.into()),
        Ok(_) => flushed.map(|()| Code::Done).map_err(|e| Failure::new(format!("cannot write to {command:?}: {e}"))),
    }
}
