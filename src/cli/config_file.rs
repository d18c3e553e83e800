//! The configuration file that is meant.

use std::path::PathBuf;

use clap::Args;

use crate::jobs::config::{Config, ConfigError, find};
use crate::primitives::progress::{Observer, Severity};

use super::context::Session;
use super::error::{CliError, Result};

/// Which configuration file is meant.
#[derive(Args)]
pub struct ConfigFileArgument {
    /// The configuration file [variable: STRONGROOM_CONFIG] [default: the user's, then
    /// /etc/strongroom/strongroom.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The configuration that is named or found, checked.
pub(super) fn load(session: &Session, argument: &ConfigFileArgument) -> Result<Config> {
    let env = session.env;
    let variable = env.variable("STRONGROOM_CONFIG").map(PathBuf::from);
    let named = argument.config.clone().or(variable).map(|file| env.cwd.join(file));
    let none = || {
        let text =
            format!("there is no configuration file: name one with --config, or write {}/{}", find::SYSTEM, find::NAME);
        CliError::Usage(text)
    };
    let file = find::find(named, env.xdg("XDG_CONFIG_HOME", ".config")).ok_or_else(none)?;
    Config::load(&file).map_err(|ConfigError(mut problems)| {
        let last = problems.pop().map(|problem| problem.to_string()).unwrap_or_default();
        problems.iter().for_each(|problem| session.progress.finding(Severity::Error, &problem.to_string()));
        CliError::Usage(last)
    })
}
