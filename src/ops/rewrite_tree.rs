//! Trees that are written again, with some of their entries changed or left out. No recursion: a tree may be deeper than a
//! stack.

use crate::format::tree::{Node, NodeKind};
use crate::primitives::ids::ChunkId;
use crate::repository::RepositoryError;
use crate::repository::write::run::Run;
use crate::repository::write::trees::TreeBuilder;

/// What becomes of the entries.
pub(super) trait Rebuild {
    /// The run that stores the new trees.
    fn run(&mut self) -> &mut Run;

    /// What a directory is called that was written again before.
    fn known(&self, _id: &ChunkId) -> Option<ChunkId> {
        None
    }

    /// The entries of a directory, ascending by name. `path` begins with `/`, or is empty for the root.
    fn entries(&mut self, id: &ChunkId, path: &[u8]) -> Result<Vec<Node>, RepositoryError>;

    /// Changes an entry that is no directory; whether it stays.
    fn keeps(&mut self, node: &mut Node, path: &[u8]) -> Result<bool, RepositoryError>;

    /// A directory was written again.
    fn written(&mut self, _id: &ChunkId, _new: ChunkId) {}
}

/// A directory that is being written.
struct Level {
    id: ChunkId,
    rest: std::vec::IntoIter<Node>,
    builder: TreeBuilder,
    /// The entry whose directory is written first.
    waiting: Option<Node>,
    /// Length of the directory's own path.
    path_len: usize,
}

/// Writes a tree again; returns what its root is called now.
pub(super) fn rebuild(work: &mut impl Rebuild, root: &ChunkId) -> Result<ChunkId, RepositoryError> {
    if let Some(known) = work.known(root) {
        return Ok(known);
    }
    let mut path = Vec::new();
    let mut stack = vec![level(work, *root, &path)?];
    loop {
        let top = stack.last_mut().expect("the root's level is left by returning");
        path.truncate(top.path_len);
        let Some(mut node) = top.rest.next() else {
            let Level { id, builder, .. } = stack.pop().expect("it was there just now");
            let new = builder.finish(work.run())?;
            work.written(&id, new);
            let Some(parent) = stack.last_mut() else { return Ok(new) };
            let mut node = parent.waiting.take().expect("a level is entered through an entry of the one above");
            node.kind = NodeKind::Directory(new);
            parent.builder.push(work.run(), node)?;
            continue;
        };
        path.push(b'/');
        path.extend_from_slice(&node.name);
        if let NodeKind::Directory(below) = node.kind {
            match work.known(&below) {
                Some(known) => {
                    node.kind = NodeKind::Directory(known);
                    top.builder.push(work.run(), node)?;
                }
                None => {
                    top.waiting = Some(node);
                    stack.push(level(work, below, &path)?);
                }
            }
        } else if work.keeps(&mut node, &path)? {
            top.builder.push(work.run(), node)?;
        }
    }
}

fn level(work: &mut impl Rebuild, id: ChunkId, path: &[u8]) -> Result<Level, RepositoryError> {
    let rest = work.entries(&id, path)?.into_iter();
    Ok(Level { id, rest, builder: TreeBuilder::default(), waiting: None, path_len: path.len() })
}
