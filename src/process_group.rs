//! Commands that this process started and that must not outlive it.
//!
//! Three things see to that. Each runs in a process group, which is ended when it is dropped. [`command`] starts it through
//! this program itself, which asks the system for a signal when its parent dies. And [`record`] describes the group, so
//! that another process can end it later with [`end_recorded`]: who is killed ends nothing.
//!
//! Each runs in a process group of its own. As long as it is not waited for, [`kill_all`] ends it with all
//! that it started: that is for a process that is about to leave without dropping anything.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getppid, kill_process_group, set_parent_process_death_signal, waitid,
};

use crate::primitives::flag::RaiseOnDrop;

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

/// The first word by which this program is asked to become another one that ends with its parent.
pub const GUARD: &str = "--end-with-parent";

/// The command that runs `program`; through `launcher`, if that is this very program, as one that is asked to stop when
/// this process dies.
pub fn command(launcher: Option<&Path>, program: impl AsRef<OsStr>) -> Command {
    match launcher {
        Some(launcher) => {
            let mut command = Command::new(launcher);
            command.arg(GUARD).arg(std::process::id().to_string()).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Becomes the program that `words` name, behind the number of the parent; returns only if that fails.
pub fn become_guarded(mut words: impl Iterator<Item = OsString>) -> io::Error {
    let parent = words.next().and_then(|word| word.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, words.next()) else {
        return io::Error::new(io::ErrorKind::InvalidInput, "neither parent nor program is named");
    };
    if let Err(e) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return e.into();
    }
    // It may have died before it was asked for.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return io::Error::other("the process that started it is gone");
    }
    Command::new(program).args(words).exec()
}

/// What tells a running group from all that may have its number later: one line of text. `None` where nothing tells.
pub fn record(pid: u32) -> Option<String> {
    Some(format!("{pid} {} {}", started(pid)?, here()?))
}

/// Whether the process itself that [`record`] described runs still, whatever it started.
pub fn is_running(text: &str) -> bool {
    let mut parts = text.trim().splitn(3, ' ');
    let (Some(pid), Some(start), Some(place)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let now = pid.parse().ok().and_then(started);
    Some(place) == here().as_deref() && now.as_deref() == Some(start)
}

/// Ends the group that [`record`] described, if any of it runs still; whether it did.
pub fn end_recorded(text: &str) -> bool {
    let Some((pid, rest)) = text.trim().split_once(' ') else { return false };
    let (Some((start, place)), Ok(number)) = (rest.split_once(' '), pid.parse::<u32>()) else { return false };
    if Some(place) != here().as_deref() {
        return false;
    }
    // A number is not given away while a group has it.
    let is_same = match started(number) {
        Some(now) => now == start,
        None => group_has_members(number),
    };
    let Some(group) = Pid::from_raw(number as i32).filter(|_| is_same) else { return false };
    if kill_process_group(group, Signal::TERM).is_err() {
        return false;
    }
    let until = Instant::now() + STOP_WITHIN;
    while group_has_members(number) && Instant::now() < until {
        std::thread::sleep(LOOK_EVERY);
    }
    let _ = kill_process_group(group, Signal::KILL);
    true
}

/// This boot of this machine, and this space of process numbers.
fn here() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), space.display()))
}

/// When a process started, in ticks since the boot (proc_pid_stat(5), field 22).
fn started(pid: u32) -> Option<String> {
    let fields = fields_of(&format!("/proc/{pid}/stat"))?;
    // Zombies have ended.
    (fields.first()? != "Z").then(|| fields.get(19).cloned())?
}

fn group_has_members(group: u32) -> bool {
    let Ok(all) = std::fs::read_dir("/proc") else { return false };
    all.flatten().any(|entry| {
        let is_process = entry.file_name().to_str().is_some_and(|name| name.bytes().all(|c| c.is_ascii_digit()));
        let fields = is_process.then(|| fields_of(&format!("{}/stat", entry.path().display()))).flatten();
        fields.is_some_and(|f| f.first().is_some_and(|state| state != "Z") && f.get(2) == Some(&group.to_string()))
    })
}

/// The fields of a process's stat behind its name, which may hold anything: the first is its state.
fn fields_of(path: &str) -> Option<Vec<String>> {
    let text = String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned();
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
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
    RUNNING.lock()
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

/// Calls `work`, and kills the group as soon as `is_over` says so: `work` may be waiting for the command.
pub fn while_watched<T>(group: &Group, is_over: &(dyn Fn() -> bool + Sync), work: impl FnOnce() -> T) -> T {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                if is_over() {
                    return group.kill();
                }
                std::thread::park_timeout(LOOK_EVERY);
            }
        });
        let _done = RaiseOnDrop(&is_done);
        work()
    })
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.waited_for {
            self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that is killed cannot end its commands: a dump held its locks for days (immich#30824).
    #[test]
    fn a_group_that_was_written_down_is_ended_and_no_other() {
        let mut group = spawn(Command::new("bash").args(["-c", "sleep 1000 & sleep 1000"])).unwrap();
        let pid = group.child().id();
        let text = record(pid).unwrap();
        let other = text.replacen(&started(pid).unwrap(), "1", 1);
        assert!(!end_recorded(&other) && !end_recorded("") && !end_recorded("x y z"));
        assert!(!end_recorded(&text.replace("pid:", "another:")));
        assert!(group_has_members(pid) && is_running(&text) && !is_running(&other) && !is_running(""));
        assert!(end_recorded(&text));
        group.wait().unwrap();
        assert!(!group_has_members(pid) && !end_recorded(&text) && !is_running(&text));
    }
}
