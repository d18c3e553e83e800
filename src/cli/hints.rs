//! What the user can do about an error: said once, and here.

use crate::databases::load::options::LoadError;
use crate::destination::ExchangeError;
use crate::format::names;
use crate::ops::backup::BackupError;
use crate::ops::cat::CatError;
use crate::ops::forget::ForgetError;
use crate::ops::restore::RestoreError;
use crate::repository::RepositoryError;
use crate::repository::snapshots::ChoiceError;
use crate::store::StoreError;

use super::error::CliError;

/// The hint for an error, if there is something to be done that its text does not say.
pub fn hint(error: &CliError) -> Option<String> {
    let text = match error {
        CliError::NoRepositoryNamed => {
            "name it with -r or STRONGROOM_REPO; `strongroom backup --init PATH` makes one on this machine"
        }
        CliError::NoPassphrase => {
            "use --password-file, --password-command or the variable STRONGROOM_PASSPHRASE; it is never an argument"
        }
        CliError::Cat(CatError::NotAFile { .. }) => "`strongroom restore` brings back what is no regular file",
        CliError::CommandLeft => {
            "let the command read its standard input to the end; if it stops early on purpose, as `pg_restore --list` does, add --allow-partial-read"
        }
        CliError::Exists { .. } => "say what to do with it: --overwrite never, if-changed or always",
        CliError::Restore(RestoreError::Full { .. }) => {
            "make room, then run it again with --overwrite if-changed: what is there already is kept"
        }
        CliError::Restore(RestoreError::NoRoom { .. }) => {
            "make room, or restore a part with --include; --no-space-check begins all the same"
        }
        CliError::Exchange(ExchangeError::Root { .. } | ExchangeError::MountedBelow { .. }) => {
            "without --keep-old, what differs is replaced in the directory itself"
        }
        CliError::Restore(RestoreError::NothingMatches { .. }) => {
            "`strongroom ls SNAPSHOT` lists what there is; `strongroom find` looks for names"
        }
        CliError::Cat(CatError::WrongContent { .. }) => {
            "do not use what was written: a snapshot says something else than was saved; `strongroom verify --read-data` names all such files"
        }
        CliError::Load(LoadError::SeveralKinds(_)) => {
            "name those that go to this server: `strongroom load SOURCE --to CONNECTION`, once for each server"
        }
        CliError::Load(LoadError::SameName { .. }) => "name one of them, or give it another name with --rename",
        CliError::Load(LoadError::NoSuchSource { .. } | LoadError::Nothing(_)) => {
            "`strongroom snapshots` lists sets and sources; --job and --set choose another set"
        }
        CliError::Load(LoadError::Server(_)) => {
            "check --to and the password (PGPASSWORD, MYSQL_PWD, --to-password-file, --login); nothing was changed"
        }
        CliError::Load(LoadError::State { .. }) => {
            "the state folder must be writable; STRONGROOM_STATE_DIR puts it elsewhere"
        }
        CliError::Restore(RestoreError::NotAgreed | RestoreError::NotConfirmed) => "--yes agrees beforehand",
        CliError::Restore(RestoreError::NotADirectory { .. }) => "`strongroom cat` streams a single file",
        CliError::Choice(e) if error.repository().is_none() => return of_choice(e).map(str::to_owned),
        CliError::Backup(BackupError::NoSources) => {
            "name a path, or `-` for standard input, or --from-command NAME=CMD"
        }
        CliError::Forget(ForgetError::NotAgreed { .. }) => {
            "look with --dry-run, which explains every decision; --yes agrees beforehand"
        }
        e => return e.repository().and_then(of_repository),
    };
    Some(text.to_owned())
}

fn of_choice(error: &ChoiceError) -> Option<&'static str> {
    match error {
        ChoiceError::None(_) | ChoiceError::NoSet { .. } | ChoiceError::NoneOf { .. } => {
            Some("`strongroom snapshots` lists what there is")
        }
        ChoiceError::Ambiguous { .. } => Some("give more digits; `strongroom snapshots --json` shows whole ids"),
        ChoiceError::SeveralSources { .. } => {
            Some("name one with --source or by a path that only it has, or give the id")
        }
        ChoiceError::NoneGood { .. } => Some("--partial takes the newest partial ones, and leaves out what has none"),
        ChoiceError::SeveralSets { .. } => Some("name one with --host, --job or --type, or give the id of the set"),
        ChoiceError::SeveralHosts { .. } => Some("name one with --host, or give the id"),
        ChoiceError::Repository(_) => None,
    }
}

fn of_repository(error: &RepositoryError) -> Option<String> {
    let text = match error {
        RepositoryError::NoSuchPath { snapshot, .. } => {
            let id = snapshot.short();
            return Some(format!("`strongroom ls {id}` lists what it has; paths begin at the root of the snapshot"));
        }
        RepositoryError::NoRepository { location } | RepositoryError::Store(StoreError::NoStore { location }) => {
            return Some(format!("check the path, or make a repository with `strongroom -r {location} init`"));
        }
        RepositoryError::NotEmpty { .. } => "name an empty folder, or one that is not there yet",
        RepositoryError::OtherTool { .. } => "name another place, or use that tool",
        RepositoryError::AlreadyInitialized { .. } => "use it as it is, or name another place",
        RepositoryError::WrongPassphrase { .. } => {
            "--password-file and --password-command come before STRONGROOM_PASSPHRASE, and that before the other variables"
        }
        RepositoryError::Damaged { name, .. } if name.starts_with("log/") => {
            "if the last log record is garbage, `strongroom repair` can mark it invalid and continue after it; restore a damaged record from a copy"
        }
        RepositoryError::Snapshot { snapshot, .. } => {
            let id = snapshot.short();
            return Some(format!(
                "`strongroom repair` says which of its files are lost and lets prune go on; `strongroom forget {id}` removes it"
            ));
        }
        RepositoryError::Missing { name } if name == names::CONFIG => {
            "bring the object `config` back from a version of the bucket or from a copy; a lifecycle rule may have deleted it"
        }
        RepositoryError::Damaged { .. } | RepositoryError::Missing { .. } => {
            "`strongroom verify` names every affected snapshot and file; all others can be restored"
        }
        RepositoryError::Store(StoreError::Missing { .. } | StoreError::BadRange { .. }) => {
            "`strongroom verify` names every affected snapshot and file; all others can be restored"
        }
        RepositoryError::MayNotRead { .. } => {
            "restore with a read credential or the owner's passphrase: a backup credential only adds; `strongroom whoami` says what this one may do"
        }
        RepositoryError::Newer { .. } => "use the version of strongroom that wrote it, or a newer one",
        RepositoryError::Contradicted { .. } => {
            "bring the records back from a copy or from the bucket's versions; if they are gone for good, `strongroom repair --accept-history` goes on without them"
        }
        RepositoryError::History { .. } | RepositoryError::Fork { .. } => {
            "find out who changed or replaced the repository before you trust it; if you put an older copy in place, `strongroom repair --accept-history` goes on with it"
        }
        RepositoryError::OtherRepository { .. } => "check the location: another repository stands there now",
        RepositoryError::Conflict { .. } => "run the command again: what it uploaded is found again",
        RepositoryError::Cache(_) => "the cache may be deleted at any time, or put elsewhere with --cache-dir",
        RepositoryError::Local { .. } => "the state folder must be writable; STRONGROOM_STATE_DIR puts it elsewhere",
        RepositoryError::LocalDamaged { .. } => {
            "move this file away: it only remembers how far this machine has seen the log"
        }
        RepositoryError::Store(StoreError::Denied { .. }) => {
            "the user that runs strongroom needs access to the repository"
        }
        RepositoryError::Store(StoreError::Full { .. }) => {
            "make room, then run it again: what was uploaded is found again"
        }
        RepositoryError::Store(StoreError::Unsupported { .. }) => {
            "name a local folder; one with a colon in its name is written ./NAME"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_the_same_wherever_the_error_came_from() {
        let refused = || RepositoryError::Conflict { what: "x".into() };
        let direct = hint(&refused().into());
        assert!(direct.is_some());
        assert_eq!(direct, hint(&BackupError::from(refused()).into()));
        assert_eq!(hint(&CliError::Usage("x".into())), None);
    }
}
