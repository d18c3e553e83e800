//! What the tests of whole operations share: a repository in memory or in a directory, and a world of its own.
#![allow(dead_code, reason = "each test file uses what it needs")]

pub(crate) mod story;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use strongroom::destination::TargetOptions;
use strongroom::format::config::Parameters;
use strongroom::format::credential::CredentialFile;
use strongroom::format::record::Role;
pub(crate) use strongroom::ops::backup::BackupOptions;
use strongroom::ops::backup::{BackupError, BackupReport, StreamSource, backup};
use strongroom::ops::credentials::{self, NewCredential};
use strongroom::ops::restore::{RestoreError, RestoreOptions, RestoreReport, restore};
use strongroom::primitives::progress::{Observer, Recorder};
use strongroom::primitives::system::{OsSystem, Scripted, System};
use strongroom::repository::snapshots::Snapshot;
use strongroom::repository::{LocalPlaces, Repository, RepositoryError, init};
use strongroom::source::ExcludeOptions;
use strongroom::store::{MemoryStore, Store, list_all};
use zeroize::Zeroizing;

pub(crate) const PASSPHRASE: &[u8] = b"correct horse battery staple";

/// A repository with its local folders; everything goes when it is dropped.
pub(crate) struct Bench {
    pub store: Arc<dyn Store>,
    pub folder: tempfile::TempDir,
    pub system: Arc<dyn System>,
}

/// Small sizes, so that small tests have many blocks and packs.
pub(crate) fn small() -> Parameters {
    Parameters { block_len: 64 << 10, meta_block_len: 16 << 10, pack_len: 1 << 20, ..Parameters::default() }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new()))
    }

    pub(crate) fn on(store: Arc<dyn Store>) -> Self {
        init(&*store, PASSPHRASE, small(), None, &OsSystem).expect("a repository in an empty store");
        Self::beside(store)
    }

    /// Another machine on the same store: its local folders are empty.
    pub(crate) fn beside(store: Arc<dyn Store>) -> Self {
        Self { store, folder: tempfile::tempdir().expect("a temporary folder"), system: Arc::new(OsSystem) }
    }

    pub(crate) fn places(&self) -> LocalPlaces {
        LocalPlaces { cache: self.folder.path().join("cache"), state: self.folder.path().join("state") }
    }

    pub(crate) fn try_open(&self) -> Result<Arc<Repository>, RepositoryError> {
        self.try_open_on(self.store.clone())
    }

    pub(crate) fn try_open_on(&self, store: Arc<dyn Store>) -> Result<Arc<Repository>, RepositoryError> {
        Repository::open(store, &Zeroizing::new(PASSPHRASE.to_vec()), &self.places(), self.system.clone())
    }

    pub(crate) fn open(&self) -> Arc<Repository> {
        self.try_open().expect("the repository opens")
    }

    /// As a machine whose cache was deleted.
    pub(crate) fn forget_cache(&self) {
        let _ = std::fs::remove_dir_all(self.places().cache);
    }

    /// As a bare machine would see it: no cache, no state.
    pub(crate) fn forget_local(&self) {
        for folder in ["cache", "state"] {
            let _ = std::fs::remove_dir_all(self.folder.path().join(folder));
        }
    }

    /// A machine of its own with a credential that the owner admits.
    pub(crate) fn machine(&self, role: Role, name: &str) -> Machine {
        let owner = self.open();
        let (hosts, sources) = (vec![name.to_owned()], vec![]);
        let location = self.store.location();
        let new = NewCredential { role, name: name.to_owned(), hosts, sources, location };
        let file = credentials::prepare(&owner, new).expect("the owner makes credentials");
        credentials::admit(&owner, &file).expect("the owner admits credentials");
        let file = CredentialFile::decode(&file.encode()).expect("it was encoded just now");
        Machine { file, bench: Self { system: self.system.clone(), ..Self::beside(self.store.clone()) } }
    }

    pub(crate) fn backup(&self, paths: &[&Path]) -> BackupReport {
        self.try_backup(paths, &Recorder::default()).expect("the backup succeeds")
    }

    pub(crate) fn try_backup(&self, paths: &[&Path], observer: &dyn Observer) -> Result<BackupReport, BackupError> {
        let repository = self.try_open()?;
        let report = backup(&repository, options(paths), observer)?;
        repository.save_cache()?;
        Ok(report)
    }

    pub(crate) fn backup_stream(&self, name: &str, bytes: Vec<u8>) -> BackupReport {
        let repository = self.open();
        let streams =
            vec![StreamSource::Reader { name: name.to_owned(), reader: Box::new(std::io::Cursor::new(bytes)) }];
        let options = BackupOptions { streams, allow_empty: true, ..options(&[]) };
        let report = backup(&repository, options, &Recorder::default()).expect("the backup succeeds");
        repository.save_cache().expect("the cache is written");
        report
    }

    pub(crate) fn latest(&self, repository: &Repository) -> Snapshot {
        repository.snapshots().expect("they can be listed").pop().expect("there is a snapshot")
    }

    pub(crate) fn restore(&self, snapshot: &Snapshot, target: &Path, subtree: Option<&Path>) -> RestoreReport {
        try_restore(&self.open(), snapshot, target, subtree).expect("the restore succeeds")
    }
}

/// Does something once, at a step of somebody else's work.
pub(crate) struct Meddler<'a> {
    steps: AtomicUsize,
    at: usize,
    act: Mutex<Option<Box<dyn FnOnce() + Send + 'a>>>,
}

impl<'a> Meddler<'a> {
    /// At the first step.
    pub(crate) fn new(act: impl FnOnce() + Send + 'a) -> Self {
        Self::at(0, act)
    }

    /// At the step with this number, counted from 0.
    pub(crate) fn at(at: usize, act: impl FnOnce() + Send + 'a) -> Self {
        Self { steps: AtomicUsize::new(0), at, act: Mutex::new(Some(Box::new(act))) }
    }

    /// Whether there was that step.
    pub(crate) fn met(&self) -> bool {
        self.steps.load(Ordering::SeqCst) > self.at
    }
}

impl Observer for Meddler<'_> {
    fn advance(&self, _: u64) {
        if self.steps.fetch_add(1, Ordering::SeqCst) == self.at {
            let act = self.act.lock().expect("nothing panics while it holds the lock").take();
            act.expect("there is one such step")();
        }
    }
}

/// A machine that holds a credential and no passphrase.
pub(crate) struct Machine {
    pub file: CredentialFile,
    pub bench: Bench,
}

impl Machine {
    pub(crate) fn try_open(&self) -> Result<Arc<Repository>, RepositoryError> {
        let bench = &self.bench;
        Repository::open_as(bench.store.clone(), &self.file, &bench.places(), bench.system.clone())
    }

    pub(crate) fn open(&self) -> Arc<Repository> {
        self.try_open().expect("the credential opens the repository")
    }

    /// A backup as this machine's host.
    pub(crate) fn try_backup(&self, paths: &[&Path]) -> Result<BackupReport, BackupError> {
        let repository = self.try_open()?;
        let options = BackupOptions { host: self.file.name.clone(), ..options(paths) };
        let report = backup(&repository, options, &Recorder::default())?;
        repository.save_cache()?;
        Ok(report)
    }

    pub(crate) fn backup(&self, paths: &[&Path]) -> BackupReport {
        self.try_backup(paths).expect("the backup succeeds")
    }
}

pub(crate) fn try_restore(
    repository: &Arc<Repository>,
    snapshot: &Snapshot,
    target: &Path,
    subtree: Option<&Path>,
) -> Result<RestoreReport, RestoreError> {
    try_restore_watched(repository, snapshot, target, subtree, &Recorder::default())
}

pub(crate) fn try_restore_watched(
    repository: &Arc<Repository>,
    snapshot: &Snapshot,
    target: &Path,
    subtree: Option<&Path>,
    observer: &dyn Observer,
) -> Result<RestoreReport, RestoreError> {
    use std::os::unix::ffi::OsStrExt;
    let options = RestoreOptions {
        target: target.to_owned(),
        target_options: TargetOptions::default(),
        subtree: subtree.map(|p| p.as_os_str().as_bytes().to_vec()),
        ..RestoreOptions::default()
    };
    restore(repository, snapshot, options, observer)
}

pub(crate) fn options(paths: &[&Path]) -> BackupOptions {
    BackupOptions {
        paths: paths.iter().map(|p| p.to_path_buf()).collect::<Vec<PathBuf>>(),
        streams: vec![],
        source: None,
        host: "testhost".to_owned(),
        user: "tester".to_owned(),
        tags: vec![],
        job: None,
        label: None,
        time_ms: None,
        exclude: ExcludeOptions::default(),
        dry_run: false,
        read_all: false,
        compare: Default::default(),
        allow_empty: false,
        compression: Default::default(),
        command: "test".to_owned(),
        follower: None,
    }
}

/// What `rsync -naciXAHD --delete --modify-window=-1` says of the difference: nothing, if the trees are equal.
pub(crate) fn difference(one: &Path, other: &Path) -> String {
    let slash = |p: &Path| format!("{}/", p.display());
    let output = std::process::Command::new("rsync")
        .args(["-naciXAHD", "--delete", "--modify-window=-1", &slash(one), &slash(other)])
        .output()
        .expect("rsync is installed");
    assert!(output.status.success(), "rsync: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Lines that compress to about half and of which no two are alike: `len` bytes drawn from `seed`.
pub(crate) fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut random = vec![0; len / 2 + 32];
    Scripted::new(0, seed).fill_random(&mut random);
    let digit = |n: u8| b"0123456789abcdef"[usize::from(n)];
    let mut out = Vec::with_capacity(len + 80);
    for bytes in random.chunks_exact(24) {
        out.extend_from_slice(b"insert into t values (");
        out.extend(bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]));
        out.extend_from_slice(b");\n");
        if out.len() >= len {
            break;
        }
    }
    out.truncate(len);
    out
}

/// A world whose clock stands still, far from any file's times: the file cache trusts every entry.
pub(crate) fn far_system(seed: u64) -> Arc<dyn System> {
    Arc::new(Scripted::new(4_000_000_000_000, seed))
}

/// Copies a folder of plain files and folders.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder to copy to");
    for entry in std::fs::read_dir(from).expect("a folder to copy") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("its type").is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("a copy")),
        }
    }
}

/// Every regular file below `root`, by its path from there.
pub(crate) fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(|entry| entry.expect("an entry"));
    let of = |entry: walkdir::DirEntry| {
        let name = entry.path().strip_prefix(root).expect("it is below").to_owned();
        (name, std::fs::read(entry.path()).expect("a file that can be read"))
    };
    entries.filter(|entry| !entry.file_type().is_dir()).map(of).collect()
}

/// Names of the objects in a folder of the store.
pub(crate) fn names(store: &dyn Store, folder: &str) -> Vec<String> {
    list_all(store, folder).expect("a listing").into_iter().map(|o| o.name).collect()
}
