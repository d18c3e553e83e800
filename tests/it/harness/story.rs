//! What many tests tell: the owner forgets, prunes and repairs; then everything is sound and comes back.

use std::path::Path;
use std::sync::Arc;

use strongroom::format::record::Operation;
use strongroom::ops::prune::plan::MaxUnused;
use strongroom::ops::prune::{PruneOptions, PruneReport, prune};
use strongroom::ops::repair::RepairOptions;
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::ids::SnapshotId;
use strongroom::primitives::progress::Silent;
use strongroom::repository::Repository;
use strongroom::store::Store;

use super::{Bench, difference};

/// A prune that leaves nothing unused.
pub(crate) fn everything() -> PruneOptions {
    let (host, command) = ("keeper".to_owned(), "prune".to_owned());
    PruneOptions { max_unused: MaxUnused::Bytes(0), host, command, ..PruneOptions::default() }
}

/// A repair that reads everything and gives nothing up.
pub(crate) fn thorough() -> RepairOptions {
    let (host, command) = ("keeper".to_owned(), "repair".to_owned());
    RepairOptions { read_data: true, drop_lost: false, ignore_versions: false, dry_run: false, host, command }
}

/// Prunes everything.
pub(crate) fn pruned(repository: &Arc<Repository>) -> PruneReport {
    prune(repository, &everything(), &Silent).unwrap()
}

pub(crate) fn forget(repository: &Repository, ids: &[SnapshotId]) {
    repository.append(&mut |_| Ok(vec![Operation::Forget { snapshots: ids.to_vec() }])).unwrap();
}

/// Forgets all snapshots but the newest.
pub(crate) fn keep_newest(repository: &Repository) {
    repository.refresh().unwrap();
    let mut all = repository.snapshots().unwrap();
    all.pop();
    forget(repository, &all.iter().map(|s| s.id).collect::<Vec<_>>());
}

/// Everything can be read.
#[track_caller]
pub(crate) fn sound(repository: &Arc<Repository>) {
    assert_eq!(verify(repository, VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
}

/// The newest snapshot of a folder is what the folder is.
#[track_caller]
pub(crate) fn comes_back(bench: &Bench, repository: &Repository, root: &Path) {
    let target = tempfile::tempdir().unwrap();
    bench.restore(&bench.latest(repository), target.path(), Some(root));
    assert_eq!(difference(root, target.path()), "");
}

/// What is in the store is sound and comes back, as whoever comes with the passphrase alone finds it.
#[track_caller]
pub(crate) fn holds(store: &Arc<dyn Store>, root: &Path, label: &str) {
    let bare = Bench::beside(store.clone());
    let repository = bare.open();
    assert_eq!(verify(&repository, VerifyDepth::ReadData, &Silent).unwrap().findings, vec![], "{label}");
    let target = tempfile::tempdir().unwrap();
    bare.restore(&bare.latest(&repository), target.path(), Some(root));
    assert_eq!(difference(root, target.path()), "", "{label}");
}
