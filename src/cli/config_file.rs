//! The configuration file that is meant.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use parking_lot::Mutex;

use crate::jobs::config::{Config, ConfigError, find};
use crate::primitives::progress::{Observer, Severity};

use super::context::Session;
use super::error::{CliError, Result, error_text};

/// Which configuration file is meant.
#[derive(Args)]
pub struct ConfigFileArgument {
    /// The configuration file [variable: STRONGROOM_CONFIG] [default: the user's, then
    /// /etc/strongroom/strongroom.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

fn named(session: &Session, argument: &ConfigFileArgument) -> Option<PathBuf> {
    let variable = session.env.variable("STRONGROOM_CONFIG").map(PathBuf::from);
    argument.config.clone().or(variable).map(|file| session.env.cwd.join(file))
}

/// The configuration that is named; or the one that is found, if it can be used: if it cannot, that is told.
pub(super) fn load_if_any(session: &Session, argument: &ConfigFileArgument) -> Result<Option<Config>> {
    if let Some(file) = named(session, argument) {
        return read(session, &file, Severity::Error).map(Some);
    }
    let Some(file) = find::find(None, session.env.xdg("XDG_CONFIG_HOME", ".config")) else { return Ok(None) };
    Ok(match read(session, &file, Severity::Warning) {
        Ok(config) => Some(config),
        Err(e) => {
            let text = format!("the configuration of this machine is not used: {}", error_text(&e));
            session.progress.finding(Severity::Warning, &text);
            None
        }
    })
}

/// The configuration that is named or found, checked.
pub(super) fn load(session: &Session, argument: &ConfigFileArgument) -> Result<Config> {
    let none = || {
        let text =
            format!("there is no configuration file: name one with --config, or write {}/{}", find::SYSTEM, find::NAME);
        CliError::Usage(text)
    };
    let config_home = session.env.xdg("XDG_CONFIG_HOME", ".config");
    let file = find::find(named(session, argument), config_home).ok_or_else(none)?;
    read(session, &file, Severity::Error)
}

/// Reads a configuration. Of several problems, the last one is the error, and the others are told.
fn read(session: &Session, file: &Path, severity: Severity) -> Result<Config> {
    let env = session.env;
    let loaded = Config::load(file).map_err(|ConfigError(mut problems)| {
        let last = problems.pop().map(|problem| problem.to_string()).unwrap_or_default();
        problems.iter().for_each(|problem| session.progress.finding(severity, &problem.to_string()));
        CliError::Usage(last)
    });
    let config = loaded?;
    if let Some(file) = config.table.text("env_file") {
        let file = env.cwd.join(file);
        find::check_private(&file).map_err(CliError::Usage)?;
        let text = std::fs::read_to_string(&file).map_err(CliError::file("read the variables in", &file))?;
        let variables = variables(&text)
            .map_err(|line| CliError::Usage(format!("{}:{line}: this is not NAME=\"value\"", file.display())))?;
        // It is read once; who reads another configuration is another process.
        let _ = env.of_file.set(variables);
    }
    Ok(config)
}

/// The variables of a file of lines `NAME="value"`, perhaps with `export` in front; an error is the number of a line that
/// is none.
fn variables(text: &str) -> std::result::Result<BTreeMap<OsString, OsString>, usize> {
    let mut variables = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let words = shlex::split(line).ok_or(number + 1)?;
        let words = match words.first().map(String::as_str) {
            None => continue,
            Some("export") => &words[1..],
            Some(_) => &words[..],
        };
        for word in words {
            let (name, value) = word.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(number + 1)?;
            variables.insert(name.into(), value.into());
        }
    }
    Ok(variables)
}

/// Opens the log file of a configuration, if it names one: what is printed is written there, too.
pub(super) fn open_log(session: &Session, config: &Config) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let Some(file) = config.table.text("log_file") else { return Ok(()) };
    let file = session.env.cwd.join(file);
    let log = std::fs::OpenOptions::new().create(true).append(true).mode(0o640).open(&file);
    let _ = session.env.log.set(Mutex::new(log.map_err(CliError::file("write the log file", &file))?));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stand_in_lines_as_a_shell_has_them() {
        let found = variables("# comment\n\nexport A=\"one two\"\nB='$x'\n C=3\n").unwrap();
        let found: Vec<(&str, &str)> =
            found.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?))).collect();
        assert_eq!(found, [("A", "one two"), ("B", "$x"), ("C", "3")]);
        assert_eq!(variables("A=1\nnothing\n"), Err(2));
        assert_eq!(variables("A=\"1\n"), Err(1));
    }
}
