//! The passphrase: where it comes from.
//!
//! In this order: `--password-file`, `--password-command`, `STRONGROOM_PASSPHRASE` (or `STRONGROOM_PASSWORD`),
//! `STRONGROOM_PASSWORD_FILE`, `STRONGROOM_PASSWORD_COMMAND`, the key file of the default repository, the terminal.
//! It is never an argument, because arguments can be read by everybody on the machine.

use std::borrow::Cow;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::env::Env;
use super::error::{CliError, Result};
use crate::cli::args::{GlobalArguments, OtherArguments};
use crate::source::command::is_own;

/// Variables that hold the passphrase itself.
pub const SECRET_VARIABLES: [&str; 2] = ["STRONGROOM_PASSPHRASE", "STRONGROOM_PASSWORD"];

/// Variables that no command that we run is given.
pub const HIDDEN_VARIABLES: [&str; 3] = ["STRONGROOM_PASSPHRASE", "STRONGROOM_PASSWORD", OTHER_VARIABLE];

/// The variable that holds the passphrase of the other repository, of `copy` and `init --copy-parameters-from`.
pub const OTHER_VARIABLE: &str = "STRONGROOM_OTHER_PASSPHRASE";

/// A passphrase. Gone from memory when it is dropped; never shown.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

impl Passphrase {
    /// Takes bytes as they were read: one line end at their end does not belong to them.
    fn from_line(mut bytes: Zeroizing<Vec<u8>>, from: &str) -> Result<Self> {
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.is_empty() { Err(CliError::EmptyPassphrase(from.to_owned())) } else { Ok(Self(bytes)) }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &Zeroizing<Vec<u8>> {
        &self.0
    }
}

/// Where the passphrase comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file.
    File(PathBuf),
    /// The output of a command, run by bash.
    Command(String),
    /// The output of a command of the configuration, which is given no variables of this program or of the store.
    JobCommand(String),
    /// This environment variable.
    Variable(Cow<'static, str>),
    /// A person.
    Ask,
}

impl fmt::Debug for SecretSource {
    /// Without the command, in which a secret may stand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Command(_) | Self::JobCommand(_) => f.write_str("Command(..)"),
            Self::Variable(name) => write!(f, "Variable({name})"),
            Self::Ask => f.write_str("Ask"),
        }
    }
}

impl SecretSource {
    /// The source that was named, if one was.
    pub fn named(arguments: &GlobalArguments, env: &Env) -> Option<Self> {
        if let Some(path) = &arguments.password_file {
            return Some(Self::File(env.cwd.join(path)));
        }
        if let Some(command) = &arguments.password_command {
            return Some(Self::Command(command.clone()));
        }
        if let Some(command) = &arguments.passphrase_command {
            return Some(Self::JobCommand(command.clone()));
        }
        if let Some(name) = &arguments.passphrase_variable {
            return Some(Self::Variable(name.clone().into()));
        }
        if let Some((name, _)) = env.first_variable(&SECRET_VARIABLES) {
            return Some(Self::Variable(name.into()));
        }
        if let Some(path) = env.variable("STRONGROOM_PASSWORD_FILE") {
            return Some(Self::File(env.cwd.join(path)));
        }
        let command = env.variable("STRONGROOM_PASSWORD_COMMAND")?;
        Some(Self::Command(command.to_string_lossy().into_owned()))
    }

    /// The source of the other repository's passphrase, if one was named.
    pub fn of_other(other: &OtherArguments, env: &Env) -> Option<Self> {
        if let Some(path) = &other.other_password_file {
            return Some(Self::File(env.cwd.join(path)));
        }
        if let Some(command) = &other.other_password_command {
            return Some(Self::Command(command.clone()));
        }
        let (name, _) = env.first_variable(&[OTHER_VARIABLE])?;
        Some(Self::Variable(name.into()))
    }

    /// Gets the passphrase; a person is asked twice if it is `new`.
    pub fn get(&self, env: &Env, new: bool) -> Result<Passphrase> {
        match self {
            Self::File(path) => {
                let bytes = std::fs::read(path).map_err(CliError::file("read the passphrase from", path))?;
                Passphrase::from_line(Zeroizing::new(bytes), "the file")
            }
            Self::Command(command) => from_command(command, None),
            Self::JobCommand(command) => from_command(command, Some(env)),
            Self::Variable(name) => {
                let value = env.variable(name).unwrap_or_default();
                Passphrase::from_line(Zeroizing::new(value.as_bytes().to_vec()), name)
            }
            Self::Ask => ask(env, new),
        }
    }
}

/// What a command prints. With an environment, it is given that of the jobs, without what is this program's own.
fn from_command(command: &str, of_jobs: Option<&Env>) -> Result<Passphrase> {
    let mut bash = Command::new("bash");
    if let Some(env) = of_jobs {
        for name in env.variables.keys().filter(|name| is_own(name)) {
            bash.env_remove(name);
        }
        bash.envs(env.file_variables());
    }
    let run = bash
        .args(["-o", "pipefail", "-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| CliError::OsSystem { action: "run the passphrase command with bash", source })?;
    let bytes = Zeroizing::new(run.stdout);
    match run.status.success() {
        true => Passphrase::from_line(bytes, "the passphrase command"),
        false => Err(CliError::PassphraseCommand(run.status)),
    }
}

fn ask(env: &Env, new: bool) -> Result<Passphrase> {
    let ask = env.ask_secret.as_ref().ok_or(CliError::NoPassphrase)?;
    let _asking = env.signals.while_asking();
    let asked = |question: &str| {
        ask(question).map_err(|source| CliError::OsSystem { action: "read the passphrase from the terminal", source })
    };
    let first = asked(if new { "Passphrase for the new repository: " } else { "Passphrase: " })?;
    if new && *asked("Repeat passphrase: ")? != *first {
        return Err(CliError::PassphrasesDiffer);
    }
    Passphrase::from_line(Zeroizing::new(first.as_bytes().to_vec()), "the terminal")
}

#[cfg(test)]
mod tests {
    use super::super::testing::env;
    use super::*;

    #[test]
    fn what_is_said_first_counts_first() {
        let mut env = env();
        let mut arguments = GlobalArguments::default();
        assert_eq!(SecretSource::named(&arguments, &env), None);
        let mut set = |name: &str| env.variables.insert(name.into(), "x".into());
        set("STRONGROOM_PASSWORD_COMMAND");
        set("STRONGROOM_PASSWORD");
        assert_eq!(SecretSource::named(&arguments, &env), Some(SecretSource::Variable("STRONGROOM_PASSWORD".into())));
        env.variables.insert("STRONGROOM_PASSPHRASE".into(), "y".into());
        assert_eq!(SecretSource::named(&arguments, &env), Some(SecretSource::Variable("STRONGROOM_PASSPHRASE".into())));
        arguments.password_command = Some("cat x".into());
        assert_eq!(SecretSource::named(&arguments, &env), Some(SecretSource::Command("cat x".into())));
        arguments.password_file = Some("/x".into());
        assert_eq!(SecretSource::named(&arguments, &env), Some(SecretSource::File("/x".into())));
    }

    #[test]
    fn only_one_line_end_is_cut_and_nothing_is_no_passphrase() {
        let line = |text: &str| Passphrase::from_line(Zeroizing::new(text.as_bytes().to_vec()), "a test");
        assert_eq!(line(" a b \r\n").expect("a passphrase").bytes().as_slice(), b" a b ");
        assert_eq!(line("a\n\n").expect("a passphrase").bytes().as_slice(), b"a\n");
        assert!(matches!(line("\n"), Err(CliError::EmptyPassphrase(_))));
    }

    #[test]
    fn a_command_that_fails_tells_no_passphrase() {
        let get = |command: &str| SecretSource::Command(command.into()).get(&env(), false);
        assert_eq!(get("echo hunter2").expect("a passphrase").bytes().as_slice(), b"hunter2");
        assert!(matches!(get("echo hunter2; exit 3"), Err(CliError::PassphraseCommand(_))));
        assert!(matches!(get("false | echo hunter2"), Err(CliError::PassphraseCommand(_))));
    }

    #[test]
    fn a_new_passphrase_is_asked_for_twice() {
        let mut env = env();
        assert!(matches!(SecretSource::Ask.get(&env, false), Err(CliError::NoPassphrase)));
        env.ask_secret = Some(Box::new(|question| Ok(Zeroizing::new(question.to_owned()))));
        assert!(matches!(SecretSource::Ask.get(&env, true), Err(CliError::PassphrasesDiffer)));
        assert!(SecretSource::Ask.get(&env, false).is_ok());
    }

    #[test]
    fn no_debug_output_shows_a_secret() {
        let mut env = env();
        env.variables.insert("STRONGROOM_PASSPHRASE".into(), "hunter2".into());
        let passphrase = SecretSource::Variable("STRONGROOM_PASSPHRASE".into()).get(&env, false);
        let command = SecretSource::Command("echo hunter2".into());
        let arguments = GlobalArguments { password_command: Some("echo hunter2".into()), ..Default::default() };
        let shown = format!("{env:?} {passphrase:?} {command:?} {arguments:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
