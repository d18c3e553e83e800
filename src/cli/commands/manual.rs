//! `completions` and `man`: what shells and readers of manuals want, made from the options themselves.

use clap::CommandFactory;

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use crate::cli::Arguments;
use crate::cli::complete;
use clap::Args;
use std::path::PathBuf;

/// Options of `completions`.
#[derive(Args)]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Options of `man`.
#[derive(Args)]
pub struct ManArguments {
    /// The folder
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,
}

/// Prints completions for a shell.
pub(crate) fn completions(session: &Session, arguments: &CompletionsArguments) -> Result<Exit> {
    let script = complete::registration(arguments.shell).map_err(CliError::Output)?;
    session.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Writes a manual page for each command into a folder.
pub(crate) fn man(session: &Session, arguments: &ManArguments) -> Result<Exit> {
    let folder = &session.env.cwd.join(&arguments.output);
    std::fs::create_dir_all(folder).map_err(CliError::file("make", folder))?;
    clap_mangen::generate_to(Arguments::command(), folder).map_err(CliError::file("write manual pages to", folder))?;
    Ok(Exit::Done)
}
