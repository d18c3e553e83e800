//! Running the tools of databases: here, as another user, or in a container.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::process_group;
use crate::source::command::CommandSource;

/// How long a tool may take that only answers a question.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Bytes of what a tool says that are kept for an error.
const SAID_LEN_MAX: usize = 4 << 10;

/// Where and how the tools of a database are run.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    /// The directory that they are in; else they are found by `PATH`.
    pub bin: Option<PathBuf>,
    /// The container in which they are run, by docker or podman.
    pub container: Option<String>,
    /// The system user that runs them.
    pub run_as: Option<String>,
    /// Variables that they are given beside the environment of this process, without its credentials: the place for
    /// passwords.
    pub env: Vec<(OsString, OsString)>,
    /// This very program: see [`CommandSource::launcher`].
    pub launcher: Option<PathBuf>,
}

impl Tools {
    /// The command that runs a tool, for a stream of this name.
    pub fn command<W: Into<OsString>>(
        &self,
        name: impl Into<String>,
        tool: &str,
        arguments: impl IntoIterator<Item = W>,
    ) -> CommandSource {
        let mut words: Vec<OsString> = Vec::new();
        let program = self.bin.as_ref().map_or_else(|| tool.into(), |bin| bin.join(tool).into_os_string());
        if let Some(container) = &self.container {
            words.extend([container_runtime().into(), "exec".into(), "-i".into()]);
            // By name alone: the value comes from the environment, and is seen in no list of processes.
            for (variable, _) in &self.env {
                words.extend(["-e".into(), variable.clone()]);
            }
            if let Some(user) = &self.run_as {
                words.extend(["-u".into(), user.into()]);
            }
            words.push(container.into());
        }
        words.push(program);
        words.extend(arguments.into_iter().map(Into::into));
        let mut command = CommandSource::of_words(name, words);
        command.env = self.env.clone();
        command.inherits_credentials = false;
        command.run_as = self.run_as.clone().filter(|_| self.container.is_none());
        command.launcher = self.launcher.clone();
        command
    }

    /// What a tool prints when it is given `input`. An error says what it said, or why it could not be run.
    pub fn answer<W: Into<OsString>>(
        &self,
        tool: &str,
        arguments: impl IntoIterator<Item = W>,
        input: &[u8],
    ) -> Result<Vec<u8>, String> {
        let fail = |what: String| format!("{tool}: {what}");
        let command = self.command(tool, tool, arguments);
        let mut process = command.to_process().map_err(|e| fail(e.to_string()))?;
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = process_group::spawn(&mut process).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => fail("it is not installed, or not where `bin` or PATH says".to_owned()),
            _ => fail(format!("cannot be started: {e}")),
        })?;
        let child = group.child();
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (said, errors, is_late) = std::thread::scope(|scope| {
            scope.spawn(move || {
                // A tool that does not read its input says so by its status.
                if let Some(stdin) = &mut stdin {
                    let _ = stdin.write_all(input);
                }
            });
            let errors = scope.spawn(move || read_all(stderr));
            let output = scope.spawn(move || read_all(stdout));
            let until = Instant::now() + ANSWER_WITHIN;
            while !output.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            let is_late = !output.is_finished();
            if is_late {
                group.stop();
            }
            (output.join().unwrap_or_default(), errors.join().unwrap_or_default(), is_late)
        });
        // What it had printed by then is not the whole answer.
        if is_late {
            return Err(fail(format!("it did not answer within {} s", ANSWER_WITHIN.as_secs())));
        }
        let status = group.wait().map_err(|e| fail(e.to_string()))?;
        match status.success() {
            true => Ok(said),
            false => {
                let text = String::from_utf8_lossy(&errors);
                let text = text.trim();
                let from = (text.len().saturating_sub(SAID_LEN_MAX)..).find(|at| text.is_char_boundary(*at));
                let text = &text[from.unwrap_or(0)..];
                Err(fail(if text.is_empty() { format!("it failed: {status}") } else { text.to_owned() }))
            }
        }
    }

    /// What a tool prints, as text without the line end.
    pub fn answer_text<W: Into<OsString>>(
        &self,
        tool: &str,
        arguments: impl IntoIterator<Item = W>,
        input: &[u8],
    ) -> Result<String, String> {
        let said = self.answer(tool, arguments, input)?;
        let text = String::from_utf8(said).map_err(|_| format!("{tool}: it answered with text that is not UTF-8"))?;
        Ok(text.trim_end_matches('\n').to_owned())
    }
}

fn read_all(from: Option<impl Read>) -> Vec<u8> {
    let mut all = Vec::new();
    if let Some(mut from) = from {
        // What was read before an error is all that there is.
        let _ = from.read_to_end(&mut all);
    }
    all
}

/// `docker`, or `podman` if there is no docker.
fn container_runtime() -> &'static str {
    let has = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
    };
    if !has("docker") && has("podman") { "podman" } else { "docker" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_answers_or_says_why_not() {
        let tools = Tools { env: vec![("WORD".into(), "seen".into())], ..Tools::default() };
        assert_eq!(tools.answer_text("sh", ["-c", "cat; echo $WORD"], b"in ").as_deref(), Ok("in seen"));
        let error = tools.answer("sh", ["-c", "echo no such thing >&2; exit 3"], b"").unwrap_err();
        assert_eq!(error, "sh: no such thing");
        assert!(tools.answer("no-such-tool", [""; 0], b"").unwrap_err().contains("not installed"));
        let elsewhere = Tools { bin: Some("/none".into()), ..Tools::default() };
        assert!(elsewhere.answer("sh", [""; 0], b"").is_err());
    }

    #[test]
    fn names_are_words_and_secrets_only_variables() {
        let tools = Tools {
            container: Some("pg".to_owned()),
            run_as: Some("postgres".to_owned()),
            env: vec![("PGPASSWORD".into(), "hunter2".into())],
            ..Tools::default()
        };
        let command = tools.command("x", "pg_dump", ["$(touch x)"]);
        let crate::source::command::Program::Words(words) = &command.program else { panic!("{command:?}") };
        let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
        assert_eq!(words[1..], ["exec", "-i", "-e", "PGPASSWORD", "-u", "postgres", "pg", "pg_dump", "$(touch x)"]);
        assert_eq!(command.run_as, None);
    }
}
