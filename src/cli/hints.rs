//! From errors to exit codes and hints: said once, here.

use crate::machinery::repository::RepositoryError;
use crate::machinery::repository::snapshots::ChoiceError;
use crate::machinery::target::TargetError;
use crate::operations::backup::BackupError;
use crate::operations::cat::CatError;
use crate::operations::restore::RestoreError;
use crate::parts::store::StoreError;

use super::exit::{Code, Failure, with_causes};

fn failure(error: &(dyn std::error::Error + 'static), code: Code, hint: Option<&str>) -> Failure {
    Failure { code, text: with_causes(error), hint: hint.map(str::to_owned) }
}

fn store_hint(error: &StoreError) -> (Code, Option<&'static str>) {
    match error {
        StoreError::NoStore { .. } => (Code::NoRepository, Some(NO_REPOSITORY)),
        StoreError::Missing { .. } | StoreError::BadRange { .. } => (Code::Failed, Some(DAMAGED)),
        StoreError::Denied { .. } => {
            (Code::Failed, Some("check who owns the repository's folder and which user runs this command"))
        }
        StoreError::Full { .. } => {
            (Code::Failed, Some("free some space; the next run goes on with what was uploaded already"))
        }
        StoreError::Unsupported { .. } => (Code::Failed, Some("this version keeps repositories in local directories")),
        _ => (Code::Failed, None),
    }
}

const NO_REPOSITORY: &str =
    "name the repository by --repo or STRONGROOM_REPO, or make one with `strongroom init`; is the disk mounted?";
const DAMAGED: &str = "`strongroom verify` lists all damage and the snapshots and files that it hurts";

impl From<RepositoryError> for Failure {
    fn from(e: RepositoryError) -> Self {
        let (code, hint) = match &e {
            RepositoryError::Store(e) => store_hint(e),
            RepositoryError::NoRepository { .. } => (Code::NoRepository, Some(NO_REPOSITORY)),
            RepositoryError::AlreadyInitialized { .. } => {
                (Code::Failed, Some("use it as it is, or choose another place"))
            }
            RepositoryError::WrongPassphrase { .. } => (
                Code::WrongPassphrase,
                Some("nothing was changed; is STRONGROOM_PASSPHRASE or the password file the right one?"),
            ),
            RepositoryError::Damaged { .. } | RepositoryError::Missing { .. } => (Code::Failed, Some(DAMAGED)),
            RepositoryError::Newer { .. } => (Code::Failed, Some("use a newer version of strongroom")),
            RepositoryError::History { .. } => (
                Code::Refused,
                Some("nothing was changed; compare with another machine that uses the repository before you go on"),
            ),
            RepositoryError::Refused { .. } => (Code::Refused, Some("run the command again")),
            RepositoryError::Cache { .. } => {
                (Code::Failed, Some("the cache may be deleted at any time; it is filled again from the repository"))
            }
            RepositoryError::Interrupted => (Code::Interrupted, None),
            _ => (Code::Failed, None),
        };
        failure(&e, code, hint)
    }
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Self {
        let (code, hint) = store_hint(&e);
        failure(&e, code, hint)
    }
}

impl From<BackupError> for Failure {
    fn from(e: BackupError) -> Self {
        match e {
            BackupError::Repository(e) => e.into(),
            BackupError::Interrupted => failure(&e, Code::Interrupted, None),
            BackupError::Root { .. } => failure(&e, Code::Failed, Some("nothing was backed up; check the path")),
            e => failure(&e, Code::Failed, None),
        }
    }
}

impl From<ChoiceError> for Failure {
    fn from(e: ChoiceError) -> Self {
        match e {
            ChoiceError::Repository(e) => e.into(),
            ChoiceError::None(_) => failure(&e, Code::Failed, Some("`strongroom snapshots` lists what there is")),
            ChoiceError::Ambiguous { .. } => failure(&e, Code::Failed, Some("give more digits of the id")),
            ChoiceError::SeveralHosts { .. } => failure(&e, Code::Failed, Some("name one with --host, or use an id")),
        }
    }
}

impl From<CatError> for Failure {
    fn from(e: CatError) -> Self {
        match e {
            CatError::Repository(e) => e.into(),
            CatError::NoSuchPath { .. } => failure(&e, Code::Failed, Some("`strongroom ls SNAPSHOT` shows its paths")),
            e => failure(&e, Code::Failed, None),
        }
    }
}

impl From<RestoreError> for Failure {
    fn from(e: RestoreError) -> Self {
        match e {
            RestoreError::Repository(e) => e.into(),
            RestoreError::Interrupted => {
                failure(&e, Code::Interrupted, Some("run it again with --overwrite if-changed"))
            }
            RestoreError::Target(TargetError::NotEmpty { .. }) => failure(
                &e,
                Code::Failed,
                Some("choose an empty directory, or say --overwrite if-changed, always or never"),
            ),
            e => failure(&e, Code::Failed, None),
        }
    }
}
