//! The directories that lead from `/` to what is backed up. They are stored with it, so that a restore has them.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use crate::format::tree::{FileTime, Metadata, Node, NodeKind};
use crate::primitives::ids::ChunkId;
use crate::repository::RepositoryError;
use crate::repository::write::run::Run;
use crate::repository::write::trees::build;

use super::read::name_of;

/// What ancestors are stored with.
pub(super) trait AncestorSource {
    /// Where they are stored.
    fn run(&mut self) -> &mut Run;
    /// The metadata of the directory at `path`, which is not backed up itself.
    fn ancestor(&mut self, path: &Path) -> Metadata;
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
    pub(super) fn root(&self, backup: &mut impl AncestorSource) -> Metadata {
        match &self.whole {
            Some((_, meta)) => meta.clone(),
            None => Metadata { mtime: self.newest(), ..backup.ancestor(Path::new("/")) },
        }
    }

    fn newest(&self) -> FileTime {
        let here = self.nodes.values().map(|n| n.meta.mtime);
        here.chain(self.below.values().map(AncestorTree::newest)).max().unwrap_or_default()
    }

    pub(super) fn store(self, backup: &mut impl AncestorSource, path: &Path) -> Result<ChunkId, RepositoryError> {
        if let Some((id, _)) = self.whole {
            return Ok(id);
        }
        let nodes = self.entries(backup, path)?;
        build(backup.run(), nodes.into_values().collect())
    }

    /// What the directory at `path` holds, by name.
    pub(super) fn entries(
        self,
        backup: &mut impl AncestorSource,
        path: &Path,
    ) -> Result<BTreeMap<Vec<u8>, Node>, RepositoryError> {
        let mut nodes = self.nodes;
        for (name, directory) in self.below {
            let path = path.join(name_of(&name));
            let mut meta = backup.ancestor(&path);
            // Its own time changes with neighbours that are not backed up, and would make a night without changes
            // look changed: the newest time of what leads further down stands for it.
            meta.mtime = directory.newest();
            let id = directory.store(backup, &path)?;
            nodes.insert(name.clone(), Node { name, meta, kind: NodeKind::Directory(id) });
        }
        Ok(nodes)
    }
}
