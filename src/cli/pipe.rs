//! A file into a command: what a restore into a database client is made of.
//!
//! The client must never take half a file for a whole one. So the end of its standard input is shown to it only
//! after the last byte was read and checked; if reading fails, or this program is asked to stop, it is killed with
//! all it started before the pipe is closed. (Whoever kills this very program with SIGKILL closes the pipe early:
//! only the client's own transaction helps then.)

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, ExitStatus, Stdio};
use std::time::Duration;

use crate::process_group::{self, Group, while_watched};

use super::error::{CliError, Result};
use super::passphrase::HIDDEN_VARIABLES;
use super::signals::Signals;

/// How often the end of a command is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Bytes that are gathered before they are written into the pipe.
const PIPE_LEN: usize = 128 << 10;

/// How feeding a command ended before the file did.
#[derive(Debug)]
pub enum Feeding {
    /// It takes no more.
    Left,
    /// The file could not be read.
    Failed(CliError),
}

/// A command that is fed. Dropping it before it was waited for kills it.
struct Fed {
    // In this order: it is dead before its input is closed.
    child: Group,
    input: Option<BufWriter<ChildStdin>>,
}

/// How much of the file a command has to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// All of it: one that ends before has not done its work, whatever its status says.
    All,
    /// What it likes: its status alone decides.
    Enough,
}

/// Runs `command` and lets `feed` write to its standard input. Returns what `feed` returned if both went well; `None` if the
/// command ended before, and was allowed to.
pub fn into_command<T>(
    command: &str,
    reads: Reads,
    signals: &Signals,
    feed: impl FnOnce(&mut dyn Write) -> Result<T, Feeding>,
) -> Result<Option<T>> {
    let mut fed = spawn(command)?;
    let fed_well = {
        let Fed { child, input } = &mut fed;
        let input = input.as_mut().expect("it is there until it is closed");
        while_watched(child, &|| signals.interrupted(), || {
            let done = feed(input)?;
            match input.flush() {
                Ok(()) => Ok(done),
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Feeding::Left),
                Err(source) => Err(Feeding::Failed(CliError::OsSystem { action: "write to the command", source })),
            }
        })
    };
    if signals.interrupted() {
        return Err(CliError::Interrupted);
    }
    let done = match fed_well {
        Ok(done) => Some(done),
        Err(Feeding::Left) => None,
        Err(Feeding::Failed(e)) => return Err(e),
    };
    let (status, unread) = fed.close_and_wait(signals)?;
    match (code(status), done) {
        (0, Some(done)) if unread == 0 => Ok(Some(done)),
        (0, _) if reads == Reads::Enough => Ok(None),
        (0, _) => Err(CliError::CommandLeft),
        (status, _) => Err(CliError::Command { status }),
    }
}

fn spawn(command: &str) -> Result<Fed> {
    let mut bash = process_group::command(super::launcher().as_deref(), "bash");
    HIDDEN_VARIABLES.iter().for_each(|name| {
        bash.env_remove(name);
    });
    bash.args(["-o", "pipefail", "-c", command]).stdin(Stdio::piped());
    let mut child = process_group::spawn(&mut bash)
        .map_err(|source| CliError::OsSystem { action: "start the command with bash", source })?;
    let input = child.child().stdin.take().map(|input| BufWriter::with_capacity(PIPE_LEN, input));
    Ok(Fed { child, input })
}

impl Fed {
    /// Shows the command the end of its input and waits for its own: its status, and how many bytes nobody has read.
    fn close_and_wait(mut self, signals: &Signals) -> Result<(ExitStatus, u64)> {
        // All of it was flushed, or the command takes no more.
        // What was gathered and not written, because the command takes no more, is let go: written now, with a reader of our
        // own and nobody who reads, it would wait for ever.
        let input = self.input.take().map(|input| input.into_parts().0);
        // What fits into the pipe is written also if the command never reads it; a reader of our own can ask how much
        // of it is left. It is opened only now: before, writing would not fail if the command has gone.
        let rest = input.as_ref().and_then(|input| {
            // Without /proc nobody can ask.
            File::open(format!("/proc/self/fd/{}", input.as_raw_fd())).ok()
        });
        drop(input);
        let unread = || rest.as_ref().and_then(|rest| rustix::io::ioctl_fionread(rest).ok()).unwrap_or(0);
        loop {
            let ended = self.child.try_wait();
            match ended.map_err(|source| CliError::OsSystem { action: "learn how the command ended", source })? {
                Some(status) => return Ok((status, unread())),
                None if signals.interrupted() => return Err(CliError::Interrupted),
                None => std::thread::sleep(LOOK_EVERY),
            }
        }
    }
}

/// The exit status as shells say it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|s| 128 + s)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(command: &str, bytes: &[u8]) -> Result<Option<()>> {
        feed_some(command, Reads::All, bytes)
    }

    fn feed_some(command: &str, reads: Reads, bytes: &[u8]) -> Result<Option<()>> {
        into_command(command, reads, &Signals::default(), |input| input.write_all(bytes).map_err(|_| Feeding::Left))
    }

    #[test]
    fn the_command_s_status_decides() {
        assert!(feed("test \"$(wc -c)\" = 300000", &[0; 300_000]).is_ok());
        assert!(matches!(feed("cat > /dev/null; exit 7", b"x"), Err(CliError::Command { status: 7 })));
        assert!(matches!(feed("false | cat", b""), Err(CliError::Command { status: 1 })));
        assert!(matches!(feed("kill -9 $$", b""), Err(CliError::Command { status: 137 })));
    }

    #[test]
    fn a_command_that_leaves_early_is_no_success() {
        assert!(matches!(feed("exit 0", &[0; 10_000_000]), Err(CliError::CommandLeft)));
        // restore into nothing: `docker exec` without `-i`, `ssh -n`. What fits into the pipe is not read either.
        for command in ["true", "sleep 0.1", "cat < /dev/null", "head -c 1 > /dev/null"] {
            assert!(matches!(feed(command, &[0; 3000]), Err(CliError::CommandLeft)), "{command}");
        }
        assert!(feed("cat > /dev/null", &[0; 3000]).is_ok() && feed("true", b"").is_ok());
        assert!(matches!(feed("exit 4", &[0; 10_000_000]), Err(CliError::Command { status: 4 })));
    }

    /// What was gathered when the command left was written again, into a pipe that this program itself held open: `cat` of a
    /// file of 3 MB into `head -c 5` never ended.
    #[test]
    fn a_command_that_leaves_while_bytes_are_gathered_is_waited_for_and_not_written_to() {
        for reads in [Reads::All, Reads::Enough] {
            let fed = into_command("head -c 5 > /dev/null", reads, &Signals::default(), |input| {
                (0..200).try_for_each(|_| input.write_all(&[0; 15_000])).map_err(|_| Feeding::Left)
            });
            match reads {
                Reads::All => assert!(matches!(fed, Err(CliError::CommandLeft))),
                Reads::Enough => assert!(matches!(fed, Ok(None))),
            }
        }
    }

    /// `pg_restore --list` and `pg_restore -t` did their work, and the exit code was 3.
    #[test]
    fn a_command_that_may_leave_early_is_judged_by_its_status() {
        for len in [3000, 10_000_000] {
            assert!(matches!(feed_some("head -c 1 > /dev/null", Reads::Enough, &vec![0; len]), Ok(None)));
            let failed = feed_some("exit 4", Reads::Enough, &vec![0; len]);
            assert!(matches!(failed, Err(CliError::Command { status: 4 })));
        }
        assert!(matches!(feed_some("cat > /dev/null", Reads::Enough, &[0; 3000]), Ok(Some(()))));
        // A file that cannot be read is no success, however much was wanted of it.
        let broken: Result<Option<()>> = into_command("head -c 1", Reads::Enough, &Signals::default(), |_| {
            Err(Feeding::Failed(CliError::Usage("broken".to_owned())))
        });
        assert!(matches!(broken, Err(CliError::Usage(_))));
    }

    /// A client that commits at the end of its input would make half a dump a database.
    #[test]
    fn a_command_never_sees_a_clean_end_of_a_broken_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let done = folder.path().join("done");
        let command = format!("cat > /dev/null; touch '{}'", done.display());
        let fed: Result<Option<()>> = into_command(&command, Reads::All, &Signals::default(), |input| {
            input.write_all(b"half").map_err(|_| Feeding::Left)?;
            Err(Feeding::Failed(CliError::Usage("broken".to_owned())))
        });
        assert!(matches!(fed, Err(CliError::Usage(_))));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!done.exists());
    }

    #[test]
    fn a_signal_kills_a_command_that_does_not_read() {
        let signals = Signals::default();
        let started = std::time::Instant::now();
        let fed = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(100));
                signals.interrupt();
            });
            into_command("sleep 60", Reads::Enough, &signals, |input| {
                input.write_all(&[0; 10_000_000]).map_err(|_| Feeding::Left)
            })
        });
        assert!(matches!(fed, Err(CliError::Interrupted)));
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
