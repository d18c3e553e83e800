//! The local state folder: the little that must not be lost with a cache.
//!
//! ```text
//! <state>/<repository id>/head             last record number and hash this machine has seen
//! <state>/machine                            this machine's number, for repositories with a single writer
//! <state>/<repository id>/lock               locked by the process that writes, in such a repository
//! <state>/<repository id>/endpoint           the store that was found to keep racing writers apart
//! <state>/<repository id>/listed             when the store's listing was last compared with the log
//! <state>/<repository id>/changing           locked while the head is moved, or a run's folder made, sought or removed
//! <state>/<repository id>/runs/<run>-<n>/lock   locked by the process that writes the run
//! <state>/<repository id>/runs/<run>-<n>/begin  tells the run from another's that took its number
//! <state>/<repository id>/runs/<run>-<n>/<pack> directory of a pack that was uploaded and not yet published
//! ```
//!
//! The head lets this machine notice a log that was rolled back. The directories let an interrupted backup
//! go on, even under a credential that cannot open packs. Files are written whole (a temporary name of their own,
//! fsync, rename, fsync of the folder) and readable by their owner only. Any number of processes share the folder.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::format::segment::{PackSummary, SegmentContent, encode_inline};
use crate::primitives::fsync::sync_folder;
use crate::primitives::ids::{MachineId, ObjectHash, RepositoryId, RunId};
use crate::primitives::system::{System, random};

use super::error::{RepositoryError, Result};

/// File in a run's folder that says whose the run is.
const BEGIN: &str = "begin";
/// File that says when this machine last compared a listing of the store with the log.
const LISTED: &str = "listed";
const SETTLED: &str = "settled";
/// File with the names of packs that were found damaged.
const DAMAGED: &str = "damaged";
/// Files in a run's folder that describe commands that it started.
const CHILD: &str = "child-";

/// File that is locked for a moment by whoever changes what all processes share.
const CHANGING: &str = "changing";
/// File that says which store was found to keep racing writers apart.
const ENDPOINT: &str = "endpoint";
const VERSIONS: &str = "versions";
/// File with this machine's number, beside the repositories' folders.
const MACHINE: &str = "machine";

/// The number by which this machine is known to repositories with a single writer, kept below `root`; made when
/// first asked for.
pub fn machine_id(root: &Path, system: &dyn System) -> Result<MachineId> {
    let path = root.join(MACHINE);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| RepositoryError::LocalDamaged { path }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let id = MachineId(random(system));
            make_folder(root)?;
            // Of several processes that come here at once, one makes it.
            let _changing = wait_for_lock(&root.join(CHANGING))?;
            if path.exists() {
                return machine_id(root, system);
            }
            write_whole(root, MACHINE, format!("{id}\n").as_bytes())?;
            Ok(id)
        }
        Err(e) => Err(RepositoryError::local(path)(e)),
    }
}

/// The local state of one repository.
#[derive(Debug, Clone)]
pub struct LocalState {
    folder: PathBuf,
}

/// A store that this machine has met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetStore {
    /// Where it is.
    pub location: String,
    /// Whether it kept versions when it was asked last.
    pub versions: bool,
    /// When that was, in milliseconds since the epoch.
    pub asked_ms: i64,
    /// When it was last found to keep racing writers apart.
    pub raced_ms: i64,
}

/// Last position of the log that this machine has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the record.
    pub number: u64,
    /// Hash of its bytes.
    pub hash: ObjectHash,
}

/// The folder of one run, locked.
#[derive(Debug)]
pub struct RunFolder {
    folder: PathBuf,
    /// The file to lock while the folder is removed.
    changing: PathBuf,
    /// Held for the lock on it.
    _lock: File,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.hash)
    }
}

impl FromStr for Head {
    type Err = BadHead;

    fn from_str(text: &str) -> Result<Self, BadHead> {
        let read = |(number, hash): (&str, &str)| Some(Self { number: number.parse().ok()?, hash: hash.parse().ok()? });
        text.trim().split_once(':').and_then(read).ok_or(BadHead)
    }
}

/// A text that names no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write NUMBER:HASH, as `strongroom log --head` prints it")]
pub struct BadHead;

impl LocalState {
    /// Opens, and makes if needed, the state of `repository` below `root`.
    pub fn open(root: &Path, repository: RepositoryId) -> Result<Self> {
        let folder = root.join(repository.to_string());
        make_folder(&folder.join("runs"))?;
        Ok(Self { folder })
    }

    /// What was last seen; `None` if nothing was.
    pub fn head(&self) -> Result<Option<Head>> {
        let path = self.folder.join("head");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(RepositoryError::local(path)(e)),
        };
        let parsed = text
            .trim()
            .split_once(' ')
            .and_then(|(n, h)| Some(Head { number: n.parse().ok()?, hash: h.parse().ok()? }));
        parsed.map(Some).ok_or(RepositoryError::LocalDamaged { path })
    }

    /// Remembers what was seen, unless another process of this machine has seen more.
    pub fn set_head(&self, head: Head) -> Result<()> {
        let _changing = self.changing()?;
        match self.head() {
            Ok(Some(seen)) if seen.number >= head.number => Ok(()),
            Ok(_) | Err(RepositoryError::LocalDamaged { .. }) => {
                write_whole(&self.folder, "head", format!("{} {}\n", head.number, head.hash).as_bytes())
            }
            Err(e) => Err(e),
        }
    }

    /// Number of the last record that this machine has seen in which the owner settled the history; 0 if none.
    pub fn settled(&self) -> Result<u64> {
        let path = self.folder.join(SETTLED);
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| RepositoryError::LocalDamaged { path }),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(0),
            Err(e) => Err(RepositoryError::local(path)(e)),
        }
    }

    /// Remembers such a record, unless a later one was seen.
    pub fn set_settled(&self, number: u64) -> Result<()> {
        let _changing = self.changing()?;
        match self.settled() {
            Ok(seen) if seen >= number => Ok(()),
            Ok(_) | Err(RepositoryError::LocalDamaged { .. }) => {
                write_whole(&self.folder, SETTLED, format!("{number}\n").as_bytes())
            }
            Err(e) => Err(e),
        }
    }

    /// Forgets what was seen: the owner has settled that the log goes on another way.
    pub fn forget_head(&self) -> Result<()> {
        let _changing = self.changing()?;
        let path = self.folder.join("head");
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(RepositoryError::local(path)(e)),
            _ => Ok(()),
        }
    }

    /// Waits until no other process changes what all share. It is held for moments only.
    fn changing(&self) -> Result<File> {
        let path = self.folder.join(CHANGING);
        wait_for_lock(&path)?.ok_or(RepositoryError::LocalDamaged { path })
    }

    /// The number by which this machine is known to repositories with a single writer; made when first asked for.
    pub fn machine_id(&self, system: &dyn System) -> Result<MachineId> {
        machine_id(self.folder.parent().unwrap_or(&self.folder), system)
    }

    /// Locks the repository for the one process that writes; `None` if another holds the lock.
    pub fn lock_writer(&self) -> Result<Option<File>> {
        lock(&self.folder)
    }

    /// The store that was last found to keep racing writers apart; `None` also if that cannot be read: then it is tried
    /// again.
    pub fn met_store(&self) -> Option<MetStore> {
        let text = fs::read_to_string(self.folder.join(ENDPOINT)).ok()?;
        let mut lines = text.lines();
        let location = lines.next()?.to_owned();
        let versions = lines.next()? == VERSIONS;
        let mut time = || lines.next()?.parse().ok();
        Some(MetStore { location, versions, asked_ms: time()?, raced_ms: time()? })
    }

    /// Remembers the store that was found to keep racing writers apart.
    pub fn set_met_store(&self, met: &MetStore) -> Result<()> {
        let versions = if met.versions { VERSIONS } else { "no versions" };
        let text = format!("{}\n{versions}\n{}\n{}\n", met.location, met.asked_ms, met.raced_ms);
        write_whole(&self.folder, ENDPOINT, text.as_bytes())
    }

    /// Forgets it: the next writer races.
    pub fn forget_store(&self) -> Result<()> {
        match fs::remove_file(self.folder.join(ENDPOINT)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(RepositoryError::local(self.folder.join(ENDPOINT))(e)),
            _ => Ok(()),
        }
    }

    /// Packs that this machine found damaged. What cannot be read says nothing: the next verification finds them again.
    pub fn damaged(&self) -> HashSet<ObjectHash> {
        let text = fs::read_to_string(self.folder.join(DAMAGED)).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Adds one.
    pub fn add_damaged(&self, name: ObjectHash) -> Result<()> {
        self.change_damaged(|all| _ = all.insert(name))
    }

    /// Takes some out.
    pub fn remove_damaged(&self, names: &[ObjectHash]) -> Result<()> {
        self.change_damaged(|all| all.retain(|name| !names.contains(name)))
    }

    fn change_damaged(&self, change: impl FnOnce(&mut HashSet<ObjectHash>)) -> Result<()> {
        let _changing = self.changing()?;
        let mut all = self.damaged();
        change(&mut all);
        let mut lines: Vec<String> = all.iter().map(|name| format!("{name}\n")).collect();
        lines.sort();
        write_whole(&self.folder, DAMAGED, lines.concat().as_bytes())
    }

    /// When this machine last compared a listing of the store with the log, in milliseconds since the epoch.
    pub fn listed_ms(&self) -> Option<i64> {
        // Whatever cannot be read means that it is time to list again.
        fs::read_to_string(self.folder.join(LISTED)).ok()?.trim().parse().ok()
    }

    /// Lets the next run compare a listing, however short ago the last one was.
    pub fn forget_listed(&self) -> Result<()> {
        match fs::remove_file(self.folder.join(LISTED)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(RepositoryError::local(self.folder.join(LISTED))(e)),
            _ => Ok(()),
        }
    }

    /// Remembers when a listing was compared and found whole.
    pub fn set_listed_ms(&self, now_ms: i64) -> Result<()> {
        write_whole(&self.folder, LISTED, format!("{now_ms}\n").as_bytes())
    }

    /// Begins a folder for the run that hopes for this number, and locks it. Others may hope for the same one.
    pub fn begin_run(&self, run: RunId) -> Result<RunFolder> {
        let _changing = self.changing()?;
        let runs = self.folder.join("runs");
        let mut n = 0u32;
        let folder = loop {
            let folder = runs.join(format!("{run}-{n}"));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => break folder,
                Err(e) if e.kind() == ErrorKind::AlreadyExists => n += 1,
                Err(e) => return Err(RepositoryError::local(folder)(e)),
            }
        };
        let lock = lock(&folder)?.ok_or_else(|| RepositoryError::LocalDamaged { path: folder.clone() })?;
        sync_names(&runs)?;
        Ok(RunFolder { folder, changing: self.folder.join(CHANGING), _lock: lock })
    }

    /// Folders of runs whose process is gone, locked now by this one.
    pub fn abandoned_runs(&self) -> Result<Vec<(RunId, RunFolder)>> {
        let _changing = self.changing()?;
        let runs = self.folder.join("runs");
        let mut found = Vec::new();
        for entry in fs::read_dir(&runs).map_err(RepositoryError::local(&runs))? {
            let entry = entry.map_err(RepositoryError::local(&runs))?;
            let name = entry.file_name();
            let number = name.to_str().map(|n| n.split_once('-').map_or(n, |(number, _)| number));
            let Some(number) = number.and_then(|n| n.parse().ok()) else { continue };
            let folder = entry.path();
            if let Some(lock) = lock(&folder)? {
                let changing = self.folder.join(CHANGING);
                found.push((RunId(number), RunFolder { folder, changing, _lock: lock }));
            }
        }
        found.sort_by_key(|(run, _)| *run);
        Ok(found)
    }
}

impl RunFolder {
    /// Keeps whose run it will be, before there is one: the hash of its sealed description.
    pub fn keep_begin(&self, description: &[u8]) -> Result<()> {
        write_whole(&self.folder, BEGIN, blake3::hash(description).to_hex().as_bytes())
    }

    /// Whether the run that began with this description is the one that this folder was made for.
    pub fn begun(&self, description: &[u8]) -> Result<bool> {
        let path = self.folder.join(BEGIN);
        match fs::read(&path) {
            Ok(kept) => Ok(kept == blake3::hash(description).to_hex().as_bytes()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(RepositoryError::local(path)(e)),
        }
    }

    /// Keeps a description of the process group of a command that the run started.
    pub fn keep_child(&self, record: &str) -> Result<()> {
        let number = record.split(' ').next().unwrap_or_default();
        write_whole(&self.folder, &format!("{CHILD}{number}"), record.as_bytes())
    }

    /// The descriptions that were kept.
    pub fn children(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let is_child = |e: &fs::DirEntry| e.file_name().to_str().is_some_and(|name| name.starts_with(CHILD));
        entries.flatten().filter(is_child).filter_map(|e| fs::read_to_string(e.path()).ok()).collect()
    }

    /// Keeps the directory of an uploaded pack until it is published.
    pub fn keep(&self, pack: &PackSummary) -> Result<()> {
        write_whole(&self.folder, &pack.name.to_string(), &encode_inline(std::slice::from_ref(pack)))
    }

    /// The directories that were kept. One cut short by a power cut is left out: its pack is uploaded again.
    pub fn kept(&self) -> Result<Vec<PackSummary>> {
        let mut packs = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(RepositoryError::local(&self.folder))? {
            let entry = entry.map_err(RepositoryError::local(&self.folder))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(|n| n.parse::<ObjectHash>().ok()) else { continue };
            let bytes = fs::read(entry.path()).map_err(RepositoryError::local(entry.path()))?;
            packs.extend(decode_kept(&bytes).filter(|p| p.name == name));
        }
        packs.sort_by_key(|p| p.directory.frames.first().and_then(|f| f.spans.first().copied()));
        Ok(packs)
    }

    /// Forgets directories that are published now.
    pub fn published(&self, packs: &[ObjectHash]) -> Result<()> {
        for pack in packs {
            let path = self.folder.join(pack.to_string());
            match fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(RepositoryError::local(path)(e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the folder: the run is over.
    pub fn remove(self) -> Result<()> {
        let _changing = wait_for_lock(&self.changing)?;
        fs::remove_dir_all(&self.folder).map_err(RepositoryError::local(&self.folder))
    }
}

fn decode_kept(bytes: &[u8]) -> Option<PackSummary> {
    let mut content = SegmentContent::decode_inline(bytes).ok()?;
    let location = content.locations.pop()?;
    let directory = content.meta.pop().or_else(|| content.content?.pop())?.1;
    let (name, kind, run, len, place) = (location.name, location.kind, location.run, location.len, location.place);
    Some(PackSummary { name, kind, run, len, place, directory })
}

fn make_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(RepositoryError::local(path))
}

/// Locks the folder of a run; `None` if another process holds it.
fn lock(folder: &Path) -> Result<Option<File>> {
    let path = folder.join("lock");
    let Some(file) = open_lock(&path)? else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(RepositoryError::local(path)(e)),
    }
}

/// Waits until no other process holds the lock; `None` if its folder was removed meanwhile.
fn wait_for_lock(path: &Path) -> Result<Option<File>> {
    let Some(file) = open_lock(path)? else { return Ok(None) };
    loop {
        match file.lock() {
            Ok(()) => return Ok(Some(file)),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(RepositoryError::local(path)(e)),
        }
    }
}

fn open_lock(path: &Path) -> Result<Option<File>> {
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    match open {
        Ok(file) => Ok(Some(file)),
        // Another process removed the folder between the listing and now.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(RepositoryError::local(path)(e)),
    }
}

/// Writes a file so that whoever reads it finds all of it or what was there before, also after a power cut.
fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    let write = || -> std::io::Result<()> {
        // Readable by its owner only, and gone if it is not renamed.
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_data()?;
        file.persist(&path)?;
        Ok(())
    };
    write().map_err(RepositoryError::local(path))?;
    sync_names(folder)
}

/// Makes the names in a folder durable.
fn sync_names(folder: &Path) -> Result<()> {
    File::open(folder).and_then(sync_folder).map_err(RepositoryError::local(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, LocalState) {
        let dir = tempfile::tempdir().unwrap();
        let state = LocalState::open(dir.path(), RepositoryId([1; 16])).unwrap();
        (dir, state)
    }

    #[test]
    fn the_head_is_remembered_and_a_damaged_one_is_an_error() {
        let (dir, state) = state();
        assert_eq!(state.head().unwrap(), None);
        let head = Head { number: 7, hash: ObjectHash([3; 32]) };
        state.set_head(head).unwrap();
        assert_eq!(state.head().unwrap(), Some(head));
        fs::write(dir.path().join(RepositoryId([1; 16]).to_string()).join("head"), "seven").unwrap();
        assert!(matches!(state.head(), Err(RepositoryError::LocalDamaged { .. })));
    }

    /// Two jobs of one machine began in the same second. Both hoped for the next number of the log, and the second was
    /// refused: its night was lost.
    #[test]
    fn several_processes_may_hope_for_one_number() {
        let (_dir, state) = state();
        let first = state.begin_run(RunId(4)).unwrap();
        let second = state.begin_run(RunId(4)).unwrap();
        drop(second);
        let found = state.abandoned_runs().unwrap();
        assert_eq!(found.iter().map(|(run, _)| *run).collect::<Vec<_>>(), [RunId(4)]);
        found.into_iter().for_each(|(_, folder)| folder.remove().unwrap());
        first.keep_begin(b"mine").unwrap();
        assert!(first.begun(b"mine").unwrap());
    }

    /// A process that was slow put the head that it had folded over the later one of another.
    #[test]
    fn the_head_never_steps_back() {
        let (_dir, state) = state();
        let (early, late) = (ObjectHash([3; 32]), ObjectHash([4; 32]));
        state.set_head(Head { number: 8, hash: late }).unwrap();
        state.set_head(Head { number: 7, hash: early }).unwrap();
        assert_eq!(state.head().unwrap(), Some(Head { number: 8, hash: late }));
    }

    /// All processes wrote through one temporary name: half of one file ended under the name, and renames failed.
    #[test]
    fn files_written_by_many_at_once_are_whole() {
        let (dir, state) = state();
        std::thread::scope(|scope| {
            for n in 0..8u8 {
                let state = &state;
                scope.spawn(move || {
                    for i in 0..20 {
                        state.set_head(Head { number: i, hash: ObjectHash([n; 32]) }).unwrap();
                        let location = "x".repeat(usize::from(n) * 100);
                        state.set_met_store(&MetStore { location, versions: true, asked_ms: 1, raced_ms: 1 }).unwrap();
                        assert!(state.met_store().is_some());
                        assert!(state.head().unwrap().is_some());
                    }
                });
            }
        });
        assert_eq!(state.head().unwrap().map(|h| h.number), Some(19));
        let folder = dir.path().join(RepositoryId([1; 16]).to_string());
        let left = fs::read_dir(folder)
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with(".new-"));
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn a_run_that_is_being_written_is_not_abandoned() {
        let (_dir, state) = state();
        let run = state.begin_run(RunId(4)).unwrap();
        assert!(state.abandoned_runs().unwrap().is_empty());
        drop(run);
        let found = state.abandoned_runs().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, RunId(4));
    }
}
