//! Layer 10: the command line.
//!
//! It reads options, opens the repository, calls one operation and prints what came of it. What is decided here is
//! decided only here: exit codes in [`exit`], hints in [`hints`], JSON in [`output::json`], where passphrases come from in
//! [`passphrase`]. Nothing below prints, asks or exits.
//!
//! [`run`] is given its [`Env`], so that tests can drive it.

pub mod args;
mod commands;
pub mod complete;
mod config_file;
mod context;
pub mod env;
pub mod error;
pub mod exit;
mod files_from;
pub mod given;
pub mod habits;
pub mod hints;
mod jobs;
#[cfg(test)]
mod nights;
pub mod output;
pub mod passphrase;
pub mod paths;
pub mod pipe;
pub mod redact;
mod select;
pub mod settings;
pub mod signals;
#[cfg(test)]
mod testing;
pub mod time;
pub mod values;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{CommandFactory, Parser};

use crate::process_group::{GUARD, become_guarded};

use args::GlobalArguments;
use commands::Command;
use commands::audit::UNKNOWN;
use context::Session;
use env::Env;
use error::{CliError, error_text};
use exit::Exit;
use output::json::ErrorJson;

/// The program: takes everything from this process.
pub fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    if words.next_if(|word| word == GUARD).is_some() {
        eprintln!("error: the command was not started: {}", error_text(&become_guarded(words)));
        return ExitCode::from(127);
    }
    // Keys are in memory: neither a dump of it nor another process of this user is to have them.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    OF_PROGRAM.store(true, Ordering::Relaxed);
    let env = match Env::of_process() {
        Ok(env) => env,
        Err(e) => {
            eprintln!("error: {}", error_text(&e));
            return ExitCode::from(Exit::Failed.code());
        }
    };
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(shell) = env.variable(complete::VARIABLE).map(OsStr::to_owned) {
        // A shell that gets no answer completes nothing.
        let done = complete::answer(&shell, &arguments, complete::silent(env));
        return ExitCode::from(match done.and_then(|answer| std::io::stdout().write_all(&answer)) {
            Ok(()) => Exit::Done.code(),
            Err(_) => Exit::Failed.code(),
        });
    }
    ExitCode::from(run(arguments, &env).code())
}

const VARIABLES: &str = "\
Environment:
  STRONGROOM_REPO              the repository (or STRONGROOM_REPOSITORY)
  STRONGROOM_PASSPHRASE        the passphrase (or STRONGROOM_PASSWORD)
  STRONGROOM_PASSWORD_FILE     a file that holds it
  STRONGROOM_PASSWORD_COMMAND  a command that prints it
  STRONGROOM_OPTIONS           options of the store, KEY=VALUE with spaces between; for S3 also the usual AWS_ variables
  STRONGROOM_CREDENTIAL        this machine's credential file, instead of a passphrase
  STRONGROOM_HOST              this machine's name in snapshots
  STRONGROOM_CACHE_DIR         the cache, which may be deleted; else $XDG_CACHE_HOME/strongroom
  STRONGROOM_STATE_DIR         what must not be deleted; else $XDG_STATE_HOME/strongroom";

fn after_help() -> String {
    format!("{VARIABLES}\n\n{}", Exit::help())
}

/// Backups of dumps, search-index snapshots and data directories: deduplicated, encrypted, many machines, no locks.
#[derive(Parser)]
#[command(name = "strongroom", version, max_term_width = 110, after_help = after_help(), arg_required_else_help = true)]
#[command(subcommand_required = true, propagate_version = false, infer_subcommands = false)]
pub struct Arguments {
    /// Options of all commands.
    #[command(flatten)]
    pub global: GlobalArguments,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Whether this process is the program, and not a test or another program that calls it.
static OF_PROGRAM: AtomicBool = AtomicBool::new(false);

/// This very program, for commands that are to end with it; `None` if it is not running itself, or cannot be found.
pub(crate) fn launcher() -> Option<PathBuf> {
    let own = PathBuf::from("/proc/self/exe");
    (OF_PROGRAM.load(Ordering::Relaxed) && own.exists()).then_some(own)
}

/// Does what `arguments` (without the program's name) ask for, and prints what came of it.
pub fn run(arguments: Vec<OsString>, env: &Env) -> Exit {
    let words = std::iter::once(OsString::from("strongroom")).chain(arguments.iter().cloned());
    let parsed = match Arguments::try_parse_from(words) {
        Ok(parsed) => parsed,
        Err(e) => return print_usage(e, arguments.iter().any(|word| word == "--json"), &arguments, env),
    };
    let json = parsed.global.json;
    let done = {
        let session = Session::new(&parsed.global, env);
        parsed.command.run(&session, &arguments).map(|exit| session.exit(exit))
    };
    let done = done.and_then(|exit| {
        env.out().flush().map_err(CliError::Output)?;
        Ok(exit)
    });
    done.unwrap_or_else(|e| say_error(&e, json, env))
}

/// Prints what clap says: help and versions are no errors. Advice on habits of other tools replaces its guesses.
fn print_usage(mut error: clap::Error, json: bool, argv: &[OsString], env: &Env) -> Exit {
    if !error.use_stderr() {
        let styled = env.output_is_terminal && env.wants_colour();
        let text = if styled { error.render().ansi().to_string() } else { error.render().to_string() };
        let mut out = env.out();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        drop(out);
        return written.map(|()| Exit::Done).unwrap_or_else(|e| say_error(&CliError::Output(e), false, env));
    }
    let command = Arguments::command();
    let typed = argv.iter().filter_map(|word| word.to_str());
    let named = typed.clone().find(|word| command.find_subcommand(word).is_some());
    let advice = habits::advice(&mut error, named);
    let text = error.render().to_string();
    env.eprint_line(text.trim_end());
    if let Some(advice) = advice {
        env.eprint_line(&format!("hint: {advice}"));
    }
    if json {
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        print_error_json(message, advice.map(str::to_owned), Exit::Usage, env);
    }
    // To a monitoring system, 2 means that something is wrong with the backups.
    if matches!(named, Some("audit" | "freshness")) { Exit::Command(UNKNOWN) } else { Exit::Usage }
}

fn print_error_json(message: String, hint: Option<String>, exit: Exit, env: &Env) {
    let object = ErrorJson { r#type: "error", message, hint, exit_code: exit.code() };
    let line = serde_json::to_string(&object).unwrap_or_default();
    let mut out = env.out();
    // The exit code says it too.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn say_error(error: &CliError, json: bool, env: &Env) -> Exit {
    let exit = Exit::of(error);
    if exit == Exit::BrokenPipe {
        return exit;
    }
    let (message, hint) = (error_text(error), hints::hint(error));
    env.eprint_line(&format!("error: {message}"));
    if let Some(hint) = &hint {
        env.eprint_line(&format!("hint: {hint}"));
    }
    if matches!(error, CliError::NoRepositoryNamed | CliError::NoPassphrase)
        && let Some(ignored) = habits::ignored_variables(|name| env.variable(name).is_some())
    {
        env.eprint_line(&format!("note: {ignored}"));
    }
    if json {
        print_error_json(message, hint, exit, env);
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::testing::recorded;
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_whole_night_needs_nothing_of_the_process() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (mut env, out, errors) = recorded();
        env.cwd = folder.path().to_owned();
        env.home = Some(folder.path().join("home"));
        env.variables.insert("STRONGROOM_REPO".into(), folder.path().join("repo").into());
        env.variables.insert("STRONGROOM_PASSPHRASE".into(), "hunter2".into());
        assert_eq!(run(words("init --quiet"), &env), Exit::Done);
        *env.input.lock() = Some(Box::new(&b"select 1;\n"[..]));
        assert_eq!(run(words("backup --quiet --stdin-name a.sql -"), &env), Exit::Done);
        assert_eq!(out.take() + &errors.take(), "", "quiet is quiet");
        assert_eq!(run(words("cat latest:a.sql"), &env), Exit::Done);
        assert_eq!(out.take(), "select 1;\n");
        assert_eq!(run(words("restore latest --to-command false"), &env), Exit::Command(1));
        assert_eq!(run(words("restore latest:nothing --target back"), &env), Exit::Failed);
        let said = errors.take();
        assert!(said.contains("error: the command ended with status 1\n"), "{said}");
        assert!(said.contains("has no /nothing\nhint: "), "{said}");
        assert!(!folder.path().join("back").exists());
    }

    #[test]
    fn a_failure_is_an_object_too_if_json_was_asked_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (mut env, out, errors) = recorded();
        env.variables.insert("STRONGROOM_REPO".into(), folder.path().into());
        assert_eq!(run(words("snapshots --json"), &env), Exit::NoRepository);
        let object: serde_json::Value = serde_json::from_str(&out.take()).expect("it is JSON");
        assert_eq!((object["type"].as_str(), object["exit_code"].as_u64()), (Some("error"), Some(10)));
        assert!(errors.take().starts_with("error: there is no repository at "));
    }

    #[test]
    fn a_reader_that_goes_away_is_no_reason_for_a_word() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (mut env, _, errors) = recorded();
        env.output = parking_lot::Mutex::new(Box::new(Gone));
        assert_eq!(run(words("unlock"), &env), Exit::BrokenPipe);
        assert_eq!(errors.take(), "");
    }

    fn read(line: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("strongroom").chain(line.iter().copied()))
    }

    #[test]
    fn clap_finds_no_contradiction() {
        Arguments::command().debug_assert();
    }

    /// The lines that `peers.py`, the database tests and the README use.
    #[test]
    fn the_documented_lines_are_understood() {
        for line in [
            "init --quiet",
            "backup --quiet --tag tree .",
            "backup --quiet --tag dump --stdin-name dump.sql -",
            "backup --stdin --stdin-filename dump.sql --tag a,b",
            "restore --quiet --tag tree latest --target /x",
            "cat --tag dump latest:dump.sql",
            "dump latest /dump.sql",
            "verify --quiet --read-data",
            "check --keyless",
            "-r /x snapshots --json",
            "restore --at 2026-11-03 :/etc -t /x --overwrite if-changed --delete --yes",
            "restore latest:x --to-command cat",
            "help exit-codes",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            match read(&words) {
                Ok(_) => {}
                Err(e) => assert_eq!(e.kind(), clap::error::ErrorKind::DisplayHelp, "{line}: {e}"),
            }
        }
    }

    #[test]
    fn restore_needs_a_target_or_a_command() {
        assert!(read(&["restore", "latest"]).is_err());
        assert!(read(&["restore", "latest", "-t", "/x", "--to-command", "cat"]).is_err());
    }

    #[test]
    fn the_help_of_exit_codes_shows_the_table() {
        let error = read(&["help", "exit-codes"]).err().expect("help is an error to clap");
        assert!(error.to_string().contains("130  interrupted"), "{error}");
    }
}
