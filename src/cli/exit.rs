//! Exit codes: the one table.
//!
//! Scripts depend on these numbers; they are never given another meaning.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed, or verify found damage |
//! | 2 | invalid usage |
//! | 3 | done with problems: a file was unreadable, vanished or changed while it was read, one source of several failed, an entry was not fully restored |
//! | 10 | there is no repository |
//! | 11 | conflict: the repository changed or its history does not match |
//! | 12 | the passphrase is wrong |
//! | 130 | interrupted |
//! | 141 | whoever read our output stopped reading |
//!
//! With `--to-command`, a status other than 0 of the command is passed on instead.

use crate::databases::load::options::LoadError;
use crate::ops::backup::BackupError;
use crate::ops::cat::CatError;
use crate::ops::forget::ForgetError;
use crate::ops::restore::RestoreError;
use crate::repository::RepositoryError;
use crate::source::ExcludeError;
use crate::store::StoreError;

use super::error::CliError;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All of it was done.
    Done,
    /// It was not done, or verify found damage.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// Done, but not with everything.
    Problems,
    /// There is no repository.
    NoRepository,
    /// What others wrote makes it impossible.
    Conflict,
    /// The passphrase is wrong.
    Passphrase,
    /// The user asked to stop.
    Interrupted,
    /// Whoever read our output stopped; said without a word, as other tools do.
    BrokenPipe,
    /// The status of the command that `--to-command` named.
    Command(u8),
}

impl Exit {
    /// Every exit of our own, with its meaning.
    pub const TABLE: [(Self, &'static str); 9] = [
        (Self::Done, "done"),
        (Self::Failed, "failed, or verify found damage"),
        (Self::Usage, "invalid usage"),
        (Self::Problems, "done with problems: some files or sources were left out or may be incomplete"),
        (Self::NoRepository, "there is no repository"),
        (Self::Conflict, "conflict: the repository changed or its history does not match"),
        (Self::Passphrase, "the passphrase is wrong"),
        (Self::Interrupted, "interrupted; uploads are kept for the next run"),
        (Self::BrokenPipe, "whoever read the output stopped reading"),
    ];

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Problems => 3,
            Self::NoRepository => 10,
            Self::Conflict => 11,
            Self::Passphrase => 12,
            Self::Interrupted => 130,
            Self::BrokenPipe => 141,
            Self::Command(status) => status,
        }
    }

    /// The exit that an error stands for.
    pub fn of(error: &CliError) -> Self {
        match error {
            CliError::Usage(_)
            | CliError::OwnerMap(_)
            | CliError::Backup(BackupError::NoSources | BackupError::StreamName(_))
            | CliError::Restore(RestoreError::Pattern { .. }) => Self::Usage,
            CliError::Backup(BackupError::Exclude(e)) if !matches!(e, ExcludeError::PatternFile { .. }) => Self::Usage,
            e if e.is_broken_pipe() => Self::BrokenPipe,
            CliError::NoRepositoryNamed => Self::NoRepository,
            CliError::CommandLeft | CliError::Cat(CatError::WrongContent { .. }) => Self::Problems,
            CliError::Interrupted
            | CliError::Backup(BackupError::Interrupted)
            | CliError::Restore(RestoreError::Interrupted) => Self::Interrupted,
            CliError::Hook(e) if e.is_interrupted() => Self::Interrupted,
            CliError::Load(LoadError::Interrupted) => Self::Interrupted,
            CliError::Load(
                LoadError::NoSuchSource { .. }
                | LoadError::SeveralKinds(_)
                | LoadError::SameName { .. }
                | LoadError::RenamesNothing(_),
            ) => Self::Usage,
            CliError::Forget(ForgetError::Policy(_)) => Self::Usage,
            CliError::Command { status, .. } => Self::Command(*status),
            e => e.repository().map_or(Self::Failed, Self::of_repository),
        }
    }

    fn of_repository(error: &RepositoryError) -> Self {
        match error {
            RepositoryError::NoRepository { .. } | RepositoryError::Store(StoreError::NoStore { .. }) => {
                Self::NoRepository
            }
            RepositoryError::History { .. }
            | RepositoryError::Fork { .. }
            | RepositoryError::Contradicted { .. }
            | RepositoryError::Conflict { .. }
            | RepositoryError::OtherRepository { .. } => Self::Conflict,
            RepositoryError::WrongPassphrase { .. } => Self::Passphrase,
            RepositoryError::Interrupted => Self::Interrupted,
            _ => Self::Failed,
        }
    }

    /// The table as the help shows it.
    pub fn help() -> String {
        let row = |(exit, about): &(Self, &str)| format!("{:>5}  {about}", exit.code());
        let rows: Vec<String> = Self::TABLE.iter().map(row).collect();
        format!("Exit codes:\n{}", rows.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_module_s_words_has_the_numbers_of_the_code() {
        let documented: Vec<u8> = include_str!("exit.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | ")?.split(' ').next()?.parse().ok())
            .collect();
        assert_eq!(documented, Exit::TABLE.map(|(exit, _)| exit.code()));
    }

    #[test]
    fn errors_of_the_repository_have_codes_of_their_own_wherever_they_come_from() {
        let wrong = || RepositoryError::WrongPassphrase { slots: 1 };
        let history = || RepositoryError::History { what: String::new() };
        assert_eq!(Exit::of(&wrong().into()).code(), 12);
        assert_eq!(Exit::of(&BackupError::from(history()).into()).code(), 11);
        assert_eq!(Exit::of(&CatError::from(RepositoryError::Interrupted).into()).code(), 130);
        assert_eq!(Exit::of(&RestoreError::Interrupted.into()).code(), 130);
        let none = StoreError::NoStore { location: "/x".into() };
        assert_eq!(Exit::of(&RepositoryError::from(none).into()).code(), 10);
        assert_eq!(Exit::of(&BackupError::NoSources.into()).code(), 2);
    }
}
