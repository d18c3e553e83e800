//! List: the entries of a snapshot.

use crate::format::tree::{Node, NodeKind};
use crate::primitives::ids::ChunkId;
use crate::primitives::text::printable;
use crate::repository::snapshots::Snapshot;
use crate::repository::{Repository, RepositoryError, Result};

/// Finds `path` in the snapshot: `Ok(None)` for the root of everything, else the entry.
///
/// Trees hold absolute paths without their first `/`; streams lie at the root by their names.
pub fn find(repository: &Repository, snapshot: &Snapshot, path: &[u8]) -> Result<Option<Node>> {
    if path.iter().all(|c| *c == b'/') {
        return Ok(None);
    }
    let text = printable(path);
    let path_there = format!("/{}", text.trim_start_matches('/'));
    let missing = || RepositoryError::NoSuchPath { snapshot: snapshot.id, path: path_there };
    let found = repository.find_path(&snapshot.state.root, path).map_err(|e| repository.within(&snapshot.id, e))?;
    found.map(Some).ok_or_else(missing)
}

/// Calls `each` with the path (absolute, from the snapshot's root) and the node of every entry below `path`.
///
/// A `path` that is no directory is one entry. Without `recursive`, only the directory's own entries.
pub fn list(
    repository: &Repository,
    snapshot: &Snapshot,
    path: &[u8],
    recursive: bool,
    each: &mut dyn FnMut(&[u8], &Node) -> Result<()>,
) -> Result<()> {
    let trimmed: Vec<&[u8]> = path.split(|c| *c == b'/').filter(|n| !n.is_empty()).collect();
    let prefix: Vec<u8> = trimmed.iter().flat_map(|n| [&b"/"[..], n].concat()).collect();
    let root = match find(repository, snapshot, path)? {
        None => snapshot.state.root,
        Some(Node { kind: NodeKind::Directory(id), .. }) => id,
        Some(node) => return each(&prefix, &node),
    };
    walk(repository, root, &prefix, recursive, each).map_err(|e| repository.within(&snapshot.id, e))
}

fn walk(
    repository: &Repository,
    root: ChunkId,
    prefix: &[u8],
    recursive: bool,
    each: &mut dyn FnMut(&[u8], &Node) -> Result<()>,
) -> Result<()> {
    // Depth first without recursion: a tree may be deeper than a stack.
    let mut stack = vec![(prefix.to_vec(), root)];
    while let Some((directory, id)) = stack.pop() {
        let mut below = Vec::new();
        repository.for_each_entry(&id, &mut |node| {
            let path = [&directory[..], b"/", &node.name].concat();
            each(&path, &node)?;
            if let (true, NodeKind::Directory(id)) = (recursive, &node.kind) {
                below.push((path, *id));
            }
            Ok(())
        })?;
        stack.extend(below.into_iter().rev());
    }
    Ok(())
}
