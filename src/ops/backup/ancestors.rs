//! The directories that lead from `/` to what is backed up. They are stored with it, so that a restore has them.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use crate::format::tree::{FileTime, Metadata, Node, NodeKind};
use crate::primitives::ids::ChunkId;
use crate::repository::RepositoryError;
use crate::repository::write::run::Run;
use crate::repository::write::trees::build;

use crate::source::{Directory, OwnerNames, Problem, read_metadata, stat_root};

use super::file::name_of;
use super::tally::Tally;

/// What the directories that lead to a source are stored with.
pub(super) struct Ancestors<'r, 'o> {
    /// Where they are stored.
    pub run: &'r mut Run,
    /// Names of owners.
    pub owners: &'r OwnerNames,
    /// Told what cannot be read.
    pub tally: &'r mut Tally<'o>,
}

impl Ancestors<'_, '_> {
    /// The metadata of the directory at `path`, which is not backed up itself.
    fn metadata(&mut self, path: &Path) -> Metadata {
        let followed = path.join("");
        let read = || -> std::io::Result<(Metadata, Vec<Problem>)> {
            let directory = Directory::open(&followed)?;
            let stat = directory.stat(b".")?;
            Ok(read_metadata(&directory, b".", &stat, self.owners))
        };
        match read() {
            Ok((meta, problems)) => {
                self.tally.problems(&problems);
                meta
            }
            // It may be passed and not read: mode and owner can be had all the same.
            Err(_) => match stat_root(&followed) {
                Ok(stat) => {
                    let owner = self.owners.owner(stat.uid, stat.gid);
                    Metadata { mode: stat.mode, owner, mtime: stat.mtime, ..Metadata::default() }
                }
                Err(_) => Metadata { mode: 0o755, ..Metadata::default() },
            },
        }
    }
}

/// The directories that lead from `/` to the roots.
#[derive(Default)]
pub(super) struct AncestorTree {
    nodes: BTreeMap<Vec<u8>, Node>,
    below: BTreeMap<Vec<u8>, AncestorTree>,
    /// The root of everything was a source itself.
    whole: Option<(ChunkId, Metadata)>,
}

impl AncestorTree {
    pub(super) fn insert(&mut self, root: &Path, node: Node) {
        let names: Vec<&[u8]> = root
            .components()
            .filter_map(|c| if let Component::Normal(name) = c { Some(name.as_bytes()) } else { None })
            .collect();
        match (names.split_last(), &node.kind) {
            (Some((name, above)), _) => {
                let directory = above.iter().fold(self, |d, n| d.below.entry(n.to_vec()).or_default());
                directory.nodes.insert(name.to_vec(), Node { name: name.to_vec(), ..node });
            }
            (None, NodeKind::Directory(id)) => self.whole = Some((*id, node.meta)),
            (None, _) => {}
        }
    }

    /// What `/` was: no directory holds it.
    pub(super) fn root(&self, ancestors: &mut Ancestors<'_, '_>) -> Metadata {
        match &self.whole {
            Some((_, meta)) => meta.clone(),
            None => Metadata { mtime: self.newest(), ..ancestors.metadata(Path::new("/")) },
        }
    }

    fn newest(&self) -> FileTime {
        let here = self.nodes.values().map(|n| n.meta.mtime);
        here.chain(self.below.values().map(AncestorTree::newest)).max().unwrap_or_default()
    }

    pub(super) fn store(self, ancestors: &mut Ancestors<'_, '_>, path: &Path) -> Result<ChunkId, RepositoryError> {
        if let Some((id, _)) = self.whole {
            return Ok(id);
        }
        let nodes = self.entries(ancestors, path)?;
        build(ancestors.run, nodes.into_values().collect())
    }

    /// What the directory at `path` holds, by name.
    pub(super) fn entries(
        self,
        ancestors: &mut Ancestors<'_, '_>,
        path: &Path,
    ) -> Result<BTreeMap<Vec<u8>, Node>, RepositoryError> {
        let mut nodes = self.nodes;
        for (name, directory) in self.below {
            let path = path.join(name_of(&name));
            let mut meta = ancestors.metadata(&path);
            // Its own time changes with neighbours that are not backed up, and would make a night without changes
            // look changed: the newest time of what leads further down stands for it.
            meta.mtime = directory.newest();
            let id = directory.store(ancestors, &path)?;
            nodes.insert(name.clone(), Node { name, meta, kind: NodeKind::Directory(id) });
        }
        Ok(nodes)
    }
}
