//! Layer 6: the command line. It parses, asks, prints and chooses exit codes; everything else is below.
//!
//! * [`args`]: what can be said; [`context`]: which repository, which passphrase
//! * [`exit`]: the exit codes; [`hints`]: what the user can do about an error
//! * [`terminal`]: progress and findings; [`format`]: sizes, times and names for people
//! * one file per group of commands

pub mod args;
mod backup;
mod cat;
mod context;
pub mod exit;
pub mod format;
pub mod hints;
mod init;
mod pipe;
mod restore;
mod show;
mod terminal;
pub mod time;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::{Args, Command};
use context::Context;
use exit::{Code, Failure};

/// Parses the process's arguments, carries the command out, and says how it went.
pub fn main() -> ExitCode {
    let matches = Args::command().after_help(exit::TABLE).get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    let context = Context::new(args.global);
    let code = match run(&context, args.command) {
        Ok(code) => code,
        Err(failure) => {
            context.terminal.finish();
            eprintln!("error: {}", failure.text);
            if let Some(hint) = failure.hint {
                eprintln!("hint: {hint}");
            }
            failure.code
        }
    };
    context.terminal.finish();
    ExitCode::from(code as u8)
}

fn run(context: &Context, command: Command) -> Result<Code, Failure> {
    match command {
        Command::Init(args) => init::init(context, &args),
        Command::Backup(args) => backup::backup(context, *args),
        Command::Restore(args) => restore::restore(context, *args),
        Command::Cat(args) => cat::cat(context, args),
        Command::Snapshots(args) => show::snapshots(context, &args),
        Command::Ls(args) => show::ls(context, &args),
        Command::Log => show::log(context),
        Command::Stats => show::stats(context),
        Command::Verify(args) => verify::verify(context, &args),
        Command::Unlock => {
            let text = "there are no locks: any number of machines write at once, and a crash leaves none behind";
            show::line(&mut std::io::stdout().lock(), text);
            Ok(Code::Done)
        }
    }
}
