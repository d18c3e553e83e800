//! Commands that this process started and that must not outlive it.
//!
//! Each runs in a process group of its own. As long as it is not waited for, [`kill_all`] ends it with all
//! that it started: that is for a process that is about to leave without dropping anything.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// The groups that run.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// How long a command that is asked to stop may take to do so.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How often the end of a command is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A command in a process group of its own. Dropping it before it was waited for ends all of the group.
#[derive(Debug)]
pub struct Group {
    child: Child,
    pid: Pid,
    waited_for: bool,
}

/// Starts `command` in a process group of its own: its end is then the end of all stages of a pipe, and Ctrl-C of the
/// terminal goes to this process alone.
pub fn spawn(command: &mut Command) -> io::Result<Group> {
    // Locked over the start: none begins behind the back of `kill_all`.
    let mut running = running();
    let child = command.process_group(0).spawn()?;
    let pid = Pid::from_child(&child);
    running.push(pid);
    Ok(Group { child, pid, waited_for: false })
}

/// Kills every group that runs. The caller leaves the process next: nothing can be started from here on.
pub fn kill_all() {
    let running = running();
    for group in running.iter() {
        // It fails only if all of them have ended already.
        let _ = kill_process_group(*group, Signal::KILL);
    }
    std::mem::forget(running);
}

fn running() -> MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().expect("nothing panics while it holds the lock")
}

impl Group {
    /// The command, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Kills all of the group, at once.
    pub fn kill(&self) {
        // Until the command is waited for, its number, which is the group's too, cannot be given to anybody else.
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    /// Waits for the end of the command.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        self.reap()
    }

    /// How the command ended, if it has.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.has_ended()? { self.reap().map(Some) } else { Ok(None) }
    }

    /// Asks all of the group to stop, waits some seconds for the command, and kills what is left.
    pub fn stop(&mut self) {
        if self.waited_for {
            return;
        }
        let _ = kill_process_group(self.pid, Signal::TERM);
        let until = Instant::now() + STOP_WITHIN;
        while !self.has_ended().unwrap_or(true) && Instant::now() < until {
            std::thread::sleep(LOOK_EVERY);
        }
        self.end();
    }

    /// Whether the command has ended; it stays to be waited for.
    fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid), options)?.is_some())
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        // Before its number is free for others.
        running().retain(|pid| *pid != self.pid);
        self.waited_for = true;
        self.child.wait()
    }

    fn end(&mut self) {
        self.kill();
        let _ = self.reap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.waited_for {
            self.end();
        }
    }
}
