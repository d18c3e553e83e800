//! Diff: what changed between two snapshots. Equal trees are not opened.

use crate::format::tree::{Node, NodeKind};
use crate::primitives::ids::ChunkId;
use crate::repository::{Repository, Result};

/// How an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is only in the second.
    Added,
    /// It is only in the first.
    Removed,
    /// Its content differs: a file's bytes, a link's target, a device's number.
    Content,
    /// Only mode, owner, time or extended attributes differ.
    Metadata,
    /// It is another kind of thing.
    Kind,
}

/// Figures of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffTotals {
    /// Entries only in the second.
    pub added: u64,
    /// Bytes of files among them.
    pub added_bytes: u64,
    /// Entries only in the first.
    pub removed: u64,
    /// Bytes of files among them.
    pub removed_bytes: u64,
    /// Entries whose content or kind differs.
    pub changed: u64,
    /// Entries of which only the metadata differs.
    pub metadata: u64,
}

/// Is told of a difference: path, change, and the entry on either side.
pub type Each<'a> = &'a mut dyn FnMut(&[u8], Change, Option<&Node>, Option<&Node>) -> Result<()>;

/// Hands every difference between two trees to `each`.
pub fn diff(
    repository: &Repository,
    one: &ChunkId,
    other: &ChunkId,
    prefix: &[u8],
    each: Each<'_>,
) -> Result<DiffTotals> {
    let mut walk = Walk { repository, each, totals: DiffTotals::default() };
    walk.run(prefix, Some(*one), Some(*other))?;
    Ok(walk.totals)
}

/// Two directories to compare; one may not be there.
type Pair = (Vec<u8>, Option<ChunkId>, Option<ChunkId>);

struct Walk<'a> {
    repository: &'a Repository,
    each: Each<'a>,
    totals: DiffTotals,
}

impl Walk<'_> {
    fn run(&mut self, prefix: &[u8], one: Option<ChunkId>, other: Option<ChunkId>) -> Result<()> {
        let mut stack: Vec<Pair> = vec![(prefix.to_vec(), one, other)];
        while let Some((path, one, other)) = stack.pop() {
            if one == other {
                continue;
            }
            let mut below = Vec::new();
            let (ones, others) = (self.entries(one)?, self.entries(other)?);
            let (mut ones, mut others) = (ones.into_iter().peekable(), others.into_iter().peekable());
            loop {
                let order = match (ones.peek(), others.peek()) {
                    (None, None) => break,
                    (Some(_), None) => std::cmp::Ordering::Less,
                    (None, Some(_)) => std::cmp::Ordering::Greater,
                    (Some(a), Some(b)) => a.name.cmp(&b.name),
                };
                let a = if order.is_le() { ones.next() } else { None };
                let b = if order.is_ge() { others.next() } else { None };
                self.entry(&path, a, b, &mut below)?;
            }
            stack.extend(below.into_iter().rev());
        }
        Ok(())
    }

    fn entries(&self, root: Option<ChunkId>) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        if let Some(root) = root {
            self.repository.for_each_entry(&root, &mut |node| {
                nodes.push(node);
                Ok(())
            })?;
        }
        Ok(nodes)
    }

    fn entry(&mut self, directory: &[u8], a: Option<Node>, b: Option<Node>, below: &mut Vec<Pair>) -> Result<()> {
        let Some(name) = a.as_ref().or(b.as_ref()).map(|n| n.name.clone()) else { return Ok(()) };
        let path = [directory, b"/", &name].concat();
        let change = match (&a, &b) {
            (Some(a), Some(b)) => compare(a, b),
            (None, _) => Some(Change::Added),
            (_, None) => Some(Change::Removed),
        };
        let size = |n: &Option<Node>| match n.as_ref().map(|n| &n.kind) {
            Some(NodeKind::File(file)) => file.size,
            _ => 0,
        };
        let totals = &mut self.totals;
        match change {
            Some(Change::Added) => {
                (totals.added, totals.added_bytes) = (totals.added + 1, totals.added_bytes + size(&b))
            }
            Some(Change::Removed) => {
                (totals.removed, totals.removed_bytes) = (totals.removed + 1, totals.removed_bytes + size(&a));
            }
            Some(Change::Metadata) => totals.metadata += 1,
            Some(Change::Content | Change::Kind) => totals.changed += 1,
            None => {}
        }
        if let Some(change) = change {
            (self.each)(&path, change, a.as_ref(), b.as_ref())?;
        }
        let tree = |n: Option<&Node>| match n.map(|n| &n.kind) {
            Some(NodeKind::Directory(id)) => Some(*id),
            _ => None,
        };
        let (a, b) = (tree(a.as_ref()), tree(b.as_ref()));
        if a.is_some() || b.is_some() {
            below.push((path, a, b));
        }
        Ok(())
    }
}

fn compare(a: &Node, b: &Node) -> Option<Change> {
    let same = match (&a.kind, &b.kind) {
        (NodeKind::File(a), NodeKind::File(b)) => {
            a.size == b.size && a.content_id == b.content_id && a.sparse == b.sparse
        }
        // What is below is compared by itself.
        (NodeKind::Directory(_), NodeKind::Directory(_)) => true,
        (a, b) if std::mem::discriminant(a) == std::mem::discriminant(b) => a == b,
        _ => return Some(Change::Kind),
    };
    match same {
        false => Some(Change::Content),
        true if a.meta != b.meta => Some(Change::Metadata),
        true => None,
    }
}
