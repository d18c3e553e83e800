//! Errors of the command line, and how an error and its causes become one line.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use crate::databases::load::options::LoadError;
use crate::databases::postgres::base_backup::UnpackError;
use crate::destination::{BadOwnerMap, ExchangeError};
use crate::format::envelope::FormatError;
use crate::jobs::frame::FrameError;
use crate::jobs::owed::OwedError;
use crate::ops::backup::BackupError;
use crate::ops::cat::CatError;
use crate::ops::forget::ForgetError;
use crate::ops::restore::RestoreError;
use crate::repository::RepositoryError;
use crate::repository::snapshots::ChoiceError;
use crate::store::StoreError;

use super::output::text::escape;

/// Why a command could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
    /// No repository was named, and there is no default one.
    #[error("no repository was named")]
    NoRepositoryNamed,
    /// There is no passphrase and nobody to ask.
    #[error("no passphrase was given, and there is no terminal to ask for it")]
    NoPassphrase,
    /// The two passphrases that were typed differ.
    #[error("the two passphrases differ")]
    PassphrasesDiffer,
    /// A passphrase is empty.
    #[error("the passphrase from {0} is empty")]
    EmptyPassphrase(String),
    /// The command that was to tell the passphrase failed.
    #[error("the passphrase command ended with {0}")]
    PassphraseCommand(std::process::ExitStatus),
    /// The credential file is none, or damaged.
    #[error("{} is no credential that can be used: {cause}", path.display())]
    Credential {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: FormatError,
    },
    /// The one file to restore is there, and nothing was said about overwriting.
    #[error("{} is there already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is a configuration file already.
    #[error("{} is there already", path.display())]
    ConfigExists {
        /// The file.
        path: PathBuf,
    },
    /// Something of the system failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Our own output could not be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// Something else of the system failed.
    #[error("cannot {action}")]
    OsSystem {
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The command that was to receive a file failed.
    #[error("the command ended with status {status}")]
    Command {
        /// Its status; above 128, it was ended by signal `status - 128`.
        status: u8,
    },
    /// The command that was to receive a file ended well, but before it had all of it.
    #[error("the command ended before it had read all of the file")]
    CommandLeft,
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// An owner map makes no sense.
    #[error(transparent)]
    OwnerMap(#[from] BadOwnerMap),
    /// No one snapshot was meant.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// No backup was made.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Of forgetting.
    #[error(transparent)]
    Forget(#[from] ForgetError),
    /// Nothing was restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// A directory was not exchanged.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// Nothing was loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A file was not streamed.
    #[error(transparent)]
    Cat(#[from] CatError),
    /// A base backup was not unpacked.
    #[error(transparent)]
    BaseBackup(#[from] UnpackError),
    /// A hook failed, and nothing was saved.
    #[error(transparent)]
    Hook(#[from] FrameError),
    /// What is owed could not be found or changed.
    #[error(transparent)]
    Owed(#[from] OwedError),
    /// The repository could not do its part.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::Repository(error.into())
    }
}

/// What functions of the command line return.
pub type Result<T, E = CliError> = std::result::Result<T, E>;

impl CliError {
    /// Wraps what the system said about a file.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.into(), source }
    }

    /// What the repository said, wherever it was asked.
    pub fn repository(&self) -> Option<&RepositoryError> {
        match self {
            Self::Repository(e)
            | Self::Choice(ChoiceError::Repository(e))
            | Self::Backup(BackupError::Repository(e))
            | Self::Restore(RestoreError::Repository(e))
            | Self::Cat(CatError::Repository(e))
            | Self::Forget(ForgetError::Repository(e)) => Some(e),
            _ => None,
        }
    }

    /// Whether the reader of our output went away: no reason for a word.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// An error and its causes in one line: `text: cause: cause`, without control characters.
pub fn error_text(error: &dyn Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut at = Some(error);
    while let Some(error) = at {
        let text = in_our_style(&error.to_string());
        // Some libraries repeat their cause in their own text.
        if !parts.last().is_some_and(|last| last.ends_with(&text)) {
            parts.push(text);
        }
        at = error.source();
    }
    escape(parts.join(": ").as_bytes())
}

/// A system's words in our style: a lower-case beginning, without the number.
fn in_our_style(text: &str) -> String {
    let text = match text.split_once(" (os error ") {
        Some((words, rest)) => match rest.split_once(')') {
            Some((_, rest)) => format!("{words}{rest}"),
            None => words.to_owned(),
        },
        None => text.to_owned(),
    };
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(chars).collect(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_and_its_causes_are_one_lower_case_line() {
        let error = CliError::file("read", "/etc/\u{1b}[31mx")(io::Error::from_raw_os_error(13));
        assert_eq!(error_text(&error), "cannot read /etc/\\u{1b}[31mx: permission denied");
    }

    #[test]
    fn abbreviations_keep_their_capitals() {
        assert_eq!(in_our_style("SQLite is busy (os error 5)"), "SQLite is busy");
        assert_eq!(in_our_style("No such file or directory (os error 2)"), "no such file or directory");
    }
}
