//! Streaming a file into a command, whose exit status becomes ours.
//!
//! The command must never take a part for the whole: whenever we end early, for whatever reason, it is killed
//! before its input is closed.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::machinery::repository::Repository;
use crate::machinery::repository::snapshots::Snapshot;
use crate::operations::cat::{CatError, cat};
use crate::words::observer::Observer;

use super::context::{Context, SECRET_VARIABLES};
use super::exit::{Code, Failure};

/// How soon a signal is noticed while the command does not read.
const LOOK: Duration = Duration::from_millis(20);

/// Runs `command` by bash with the file on its standard input.
pub fn into_command(
    context: &Context,
    repository: &Repository,
    snapshot: &Snapshot,
    path: &[u8],
    command: &str,
) -> Result<Code, Failure> {
    let mut bash = Command::new("bash");
    bash.args(["-o", "pipefail", "-c", command]).stdin(Stdio::piped()).process_group(0);
    for variable in SECRET_VARIABLES {
        bash.env_remove(variable);
    }
    let mut child = bash.spawn().map_err(|e| Failure::new(format!("cannot run {command:?}: {e}")))?;
    let mut input = child.stdin.take().expect("it was asked to be piped");
    let group = rustix::process::Pid::from_child(&child);
    let done = AtomicBool::new(false);
    let (written, status) = std::thread::scope(|scope| {
        // A command that does not read would keep us from noticing a signal: this thread does.
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                if context.terminal.interrupted() {
                    kill(group);
                    return;
                }
                std::thread::sleep(LOOK);
            }
        });
        let written = cat(repository, snapshot, path, &mut input, &context.terminal);
        let written = written.and_then(|n| input.flush().map(|()| n).map_err(CatError::Write));
        if !matches!(written, Ok(_) | Err(CatError::Write(_))) {
            kill(group);
        }
        drop(input);
        let status = wait(&mut child, command);
        done.store(true, Ordering::Release);
        (written, status)
    });
    context.terminal.finish();
    let status = status?;
    if context.terminal.interrupted() {
        return Err(Failure { code: Code::Interrupted, ..Failure::new("interrupted; the command was killed") });
    }
    match written {
        Ok(_) if status.success() => Ok(Code::Done),
        Err(CatError::Write(e)) if status.success() => {
            Err(Failure::new(format!("the command {command:?} ended well without reading all of the file: {e}"))
                .hint("if it wants only a part, use `cat` in a pipe of the shell's"))
        }
        Ok(_) | Err(CatError::Write(_)) => {
            eprintln!("error: the command {command:?} ended with {status}");
            // Its own code goes out as it is, also where our table has another meaning for it.
            std::process::exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
        Err(e) => Err(e.into()),
    }
}

fn kill(group: rustix::process::Pid) {
    // It may have ended by itself meanwhile.
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
}

fn wait(child: &mut Child, command: &str) -> Result<std::process::ExitStatus, Failure> {
    child.wait().map_err(|e| Failure::new(format!("cannot wait for {command:?}: {e}")))
}
