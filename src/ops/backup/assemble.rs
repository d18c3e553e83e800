//! Building directories bottom-up: each is stored once all below it is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::cache::file_cache::{FileCacheWriter, NEVER, SeenDirectory, SeenFile};
use crate::format::tree::{Metadata, Node, NodeKind};
use crate::repository::RepositoryError;
use crate::repository::write::trees::build;
use crate::source::Stat;

use super::ancestors::{AncestorTree, Ancestors};

/// A file that was changed so shortly before it was read is not cached: it may have changed again afterwards without its
/// time showing it.
const RACY_MS: u64 = 2000;

/// A directory whose entries are being gathered.
#[derive(Debug, Default)]
pub(super) struct PendingDirectory {
    /// The directory that holds it, unless it is the root.
    pub parent: Option<u64>,
    /// Its name there.
    pub name: Vec<u8>,
    /// Where it is.
    pub path: PathBuf,
    /// What its row in the file cache is called.
    pub key: Vec<u8>,
    /// Its metadata.
    pub meta: Metadata,
    /// Its entries, in any order.
    pub nodes: Vec<Node>,
    /// Its row in the file cache.
    pub seen: Vec<SeenFile>,
    /// Whether the file cache has exactly these files already.
    pub unchanged: bool,
}

/// Directories that are being gathered, by the numbers that they were given.
#[derive(Default)]
pub(super) struct TreeAssembler {
    pending: HashMap<u64, PendingDirectory>,
    next: u64,
    /// The directories that the walk is in, the root first.
    open: Vec<u64>,
    /// Numbers of devices, by what the system calls them.
    devices: HashMap<u64, u64>,
    /// By directory: what is saved already and hangs below it, with its path.
    hanging: HashMap<PathBuf, Vec<(PathBuf, Node)>>,
    /// Rows for the file cache.
    pub rows: FileCacheWriter,
}

impl TreeAssembler {
    /// Has `node`, which was saved from `path`, hang below the directory `at` when that is stored.
    pub(super) fn hang(&mut self, at: PathBuf, path: PathBuf, node: Node) {
        self.hanging.entry(at).or_default().push((path, node));
    }

    /// Begins a directory below the one that the walk is in; answers with its number.
    pub(super) fn enter(&mut self, directory: PendingDirectory) -> u64 {
        let number = self.begin(PendingDirectory { parent: self.open.last().copied(), ..directory });
        self.open.push(number);
        number
    }

    /// The walk leaves the directory that it is in; more of its entries may come.
    pub(super) fn leave(&mut self) -> u64 {
        self.open.pop().expect("every directory that is left was entered")
    }

    /// Begins a directory that no other holds.
    pub(super) fn begin(&mut self, directory: PendingDirectory) -> u64 {
        let number = self.next;
        self.next += 1;
        self.pending.insert(number, directory);
        number
    }

    fn pending(&mut self, number: u64) -> &mut PendingDirectory {
        self.pending.get_mut(&number).expect("a directory is there until all of it is stored")
    }

    /// Where a directory is.
    pub(super) fn path(&self, number: u64) -> &Path {
        &self.pending.get(&number).expect("a directory is there until all of it is stored").path
    }

    /// Adds an entry that is as it was seen.
    pub(super) fn add_seen(&mut self, directory: u64, mut file: SeenFile) {
        self.number_device(&mut file.node);
        let pending = self.pending(directory);
        pending.nodes.push(file.node.clone());
        pending.seen.push(file);
    }

    /// Adds an entry that was read at `read_ms` and had this stat.
    pub(super) fn add(&mut self, directory: u64, stat: &Stat, read_ms: i64, mut node: Node) {
        self.number_device(&mut node);
        // Every change sets this time, whatever the time of modification is set to.
        let changed_ms = stat.ctime.secs.saturating_mul(1000) + i64::from(stat.ctime.nanos / 1_000_000);
        let racy = read_ms.saturating_sub(changed_ms).unsigned_abs() < RACY_MS;
        let torn = matches!(&node.kind, NodeKind::File(f) if f.changed_while_read);
        // That it was there is known in any case.
        let ctime = if racy || torn { NEVER } else { stat.ctime };
        let pending = self.pending(directory);
        pending.seen.push(SeenFile { inode: stat.inode, device: stat.device, ctime, node: node.clone() });
        pending.nodes.push(node);
    }

    /// Devices of hard links are numbered as they come: what the system calls them changes with each boot, and with each
    /// snapshot of a subvolume, and would make unchanged directories differ.
    fn number_device(&mut self, node: &mut Node) {
        let Some(link) = &mut node.meta.link else { return };
        let next = self.devices.len() as u64 + 1;
        link.device = *self.devices.entry(link.device).or_insert(next);
    }

    /// Stores a directory of which everything is stored; answers with its node if it is the root.
    pub(super) fn store(
        &mut self,
        number: u64,
        ancestors: &mut Ancestors<'_, '_>,
    ) -> Result<Option<Node>, RepositoryError> {
        let directory = self.take(number);
        let PendingDirectory { parent, name, path, key, meta, mut nodes, mut seen, unchanged } = directory;
        if let Some(hanging) = self.hanging.remove(&path) {
            let mut below = AncestorTree::default();
            for (at, node) in hanging {
                below.insert(at.strip_prefix(&path).unwrap_or(&at), node);
            }
            let entries = below.entries(ancestors, &path)?;
            // A mount point without what is mounted there gives way to it.
            nodes.retain(|node| !entries.contains_key(&node.name));
            nodes.extend(entries.into_values());
        }
        nodes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let id = build(ancestors.run, nodes)?;
        if unchanged {
            self.rows.unchanged(&key);
        } else {
            seen.sort_unstable_by(|a, b| a.node.name.cmp(&b.node.name));
            self.rows.changed(&key, &SeenDirectory { files: seen });
        }
        let node = Node { name, meta, kind: NodeKind::Directory(id) };
        let Some(parent) = parent else { return Ok(Some(node)) };
        self.pending(parent).nodes.push(node);
        Ok(None)
    }

    /// Takes a directory that was begun and is not stored itself; answers with its only entry.
    pub(super) fn take_single(&mut self, number: u64) -> Option<Node> {
        let PendingDirectory { key, nodes, seen, unchanged, .. } = self.take(number);
        match unchanged {
            true => self.rows.unchanged(&key),
            false => self.rows.changed(&key, &SeenDirectory { files: seen }),
        }
        nodes.into_iter().next()
    }

    fn take(&mut self, number: u64) -> PendingDirectory {
        self.pending.remove(&number).expect("a directory is stored once")
    }
}
