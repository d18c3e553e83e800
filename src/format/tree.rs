//! Tree nodes: a directory's entries, sorted by name and cut by content into nodes.
//!
//! A leaf node holds entries; an inner node holds the ids of its children with the first name below each, so
//! that one name is found without reading the rest. Nodes are stored as chunks of `meta` blocks and pointed
//! to by chunk id: equal directories are equal nodes. Names are bytes, not text.
//!
//! This module turns values into bytes and back; where a directory is cut into nodes is decided by
//! `repository::write::trees`. The byte layout is `docs/FORMAT.md`, section "Tree node".

use crate::primitives::codec::{CodecError, Reader, Write};
use crate::primitives::ids::{BlockId, ChunkId, ContentId, Extent};

use super::blocks_table::{BlocksTable, BlocksTableReader};

/// Levels of inner nodes above the leaves at the most; far more than any directory needs.
pub const TREE_LEVEL_MAX: u8 = 16;

/// Why a name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name is empty, `.`, `..`, or holds `/` or NUL")]
pub struct BadName;

/// Checks that `name` can be one component of a path: what a tree says must never lead out of its directory.
pub fn check_name(name: &[u8]) -> Result<(), BadName> {
    let bad = name.is_empty() || name == b"." || name == b".." || name.iter().any(|&c| c == b'/' || c == 0);
    if bad { Err(BadName) } else { Ok(()) }
}

/// Seconds and nanoseconds since the Unix epoch; seconds may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileTime {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// Nanoseconds on top, below 1,000,000,000.
    pub nanos: u32,
}

/// Who owns a file: numbers and, where the system knew them, names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// User name as bytes; empty if there was none.
    pub user: Vec<u8>,
    /// Group name as bytes; empty if there was none.
    pub group: Vec<u8>,
}

/// One extended attribute, POSIX ACLs (`system.posix_acl_*`) among them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// Full name with its namespace.
    pub name: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
}

/// What names of one file have in common: entries of one snapshot with equal values are hard links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HardLink {
    /// Device the file was on when it was read.
    pub device: u64,
    /// Its inode number there.
    pub inode: u64,
}

/// Data between holes of a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataRun {
    /// Length of the hole before the data, in bytes.
    pub hole: u64,
    /// Length of the data, in bytes.
    pub data: u64,
}

/// Where the bytes of a file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Few enough references to stand in the node itself, in order.
    Inline(Vec<Extent>),
    /// The root of a content list.
    List(ChunkId),
}

impl Content {
    /// Tells these references, claimed to have the content `id`, from all others. Whoever writes a node chooses the id in
    /// it: an id alone does not say that two nodes have the same bytes.
    pub fn fingerprint(&self, id: &ContentId) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&id.0);
        match self {
            Self::List(root) => drop(hasher.update(b"list").update(&root.0)),
            Self::Inline(extents) => {
                for Extent { reference: r, len } in extents {
                    hasher.update(&r.block.run.0.to_le_bytes()).update(&r.block.number.to_le_bytes());
                    hasher.update(&r.first.to_le_bytes()).update(&r.count.to_le_bytes()).update(&len.to_le_bytes());
                }
            }
        }
        *hasher.finalize().as_bytes()
    }
}

/// A regular file's own part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNode {
    /// Logical length in bytes, holes included.
    pub size: u64,
    /// The stored bytes: all of the file, or its data runs one after the other if it is sparse.
    pub content: Content,
    /// Keyed BLAKE3 of the chunk ids in order.
    pub content_id: ContentId,
    /// `None`: no holes. Else hole and data in turn; what `size` has beyond them is one last hole.
    pub sparse: Option<Vec<DataRun>>,
    /// The file changed while it was read, again and again: what is stored may be torn.
    pub changed_while_read: bool,
}

/// What kind of thing an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File(FileNode),
    /// A directory, with the root of its tree.
    Directory(ChunkId),
    /// A symbolic link and where it points.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A character device: major, minor.
    CharDevice(u32, u32),
    /// A block device: major, minor.
    BlockDevice(u32, u32),
    /// A socket: noted, not restored.
    Socket,
}

/// Everything about an entry but its name and kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky (07777).
    pub mode: u32,
    /// Owner and group.
    pub owner: Owner,
    /// Time of last modification.
    pub mtime: FileTime,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// Set on a non-directory that has more than one name.
    pub link: Option<HardLink>,
}

impl Metadata {
    /// The metadata by itself, without what concerns other names.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.varint(u64::from(self.mode));
        out.varint(u64::from(self.owner.uid));
        out.varint(u64::from(self.owner.gid));
        out.bytes(&self.owner.user);
        out.bytes(&self.owner.group);
        out.signed(self.mtime.secs);
        out.u32(self.mtime.nanos);
        encode_xattrs(&self.xattrs, &mut out);
        out
    }

    /// Reads what [`Metadata::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut r = Reader::new(bytes);
        let mode = decode_mode(&mut r)?;
        let owner = decode_owner(&mut r)?;
        let mtime = decode_time(&mut r)?;
        let xattrs = decode_xattrs(&mut r)?;
        r.end()?;
        Ok(Self { mode, owner, mtime, xattrs, link: None })
    }
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Name: one path component, bytes.
    pub name: Vec<u8>,
    /// Mode, owner, times, attributes.
    pub meta: Metadata,
    /// Kind and what belongs to it.
    pub kind: NodeKind,
}

/// A child of an inner node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeChild {
    /// The child's id.
    pub id: ChunkId,
    /// Name of the first entry below it.
    pub first_name: Vec<u8>,
    /// Entries below it.
    pub entries: u64,
}

/// A node of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeNode {
    /// Entries, strictly ascending by name.
    Leaf(Vec<Node>),
    /// Children in order, and their level: 1 above leaves.
    Inner {
        /// Height above the leaves.
        level: u8,
        /// Children, strictly ascending by first name.
        children: Vec<TreeChild>,
    },
}

const KIND_FILE: u8 = 1;
const KIND_DIRECTORY: u8 = 2;
const KIND_SYMLINK: u8 = 3;
const KIND_FIFO: u8 = 4;
const KIND_CHAR: u8 = 5;
const KIND_BLOCK: u8 = 6;
const KIND_SOCKET: u8 = 7;
const FLAG_LINK: u8 = 0x10;
const FLAG_XATTRS: u8 = 0x20;

const FILE_LIST: u8 = 1;
const FILE_SPARSE: u8 = 2;
const FILE_CHANGED: u8 = 4;

impl TreeNode {
    /// The node's bytes: equal nodes have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        match self {
            Self::Leaf(nodes) => encode_leaf(nodes, &mut out),
            Self::Inner { level, children } => {
                out.u8(*level);
                out.varint(children.len() as u64);
                for child in children {
                    out.raw(&child.id.0);
                    out.varint(child.entries);
                    out.bytes(&child.first_name);
                }
            }
        }
        out
    }

    /// Reads a node. Names are checked, and their order.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut r = Reader::new(bytes);
        let node = match r.u8()? {
            0 => Self::Leaf(decode_leaf(&mut r)?),
            level if level <= TREE_LEVEL_MAX => Self::Inner { level, children: decode_children(&mut r)? },
            _ => return Err(r.invalid("tree level")),
        };
        r.end()?;
        Ok(node)
    }

    /// The blocks that the references of this node name, each once.
    pub fn blocks(&self) -> Vec<BlockId> {
        match self {
            Self::Inner { .. } => Vec::new(),
            Self::Leaf(nodes) => blocks_of(nodes).into_blocks(),
        }
    }
}

fn decode_children(r: &mut Reader) -> Result<Vec<TreeChild>, CodecError> {
    let n = r.count(ChunkId::LEN + 3)?;
    let mut children: Vec<TreeChild> = Vec::with_capacity(n);
    for _ in 0..n {
        let id = r.chunk_id()?;
        let entries = r.varint()?;
        let first_name = decode_name(r)?;
        if children.last().is_some_and(|last| last.first_name >= first_name) {
            return Err(r.invalid("order of names"));
        }
        children.push(TreeChild { id, first_name, entries });
    }
    if children.is_empty() {
        return Err(r.invalid("inner node without children"));
    }
    Ok(children)
}

fn decode_name(r: &mut Reader) -> Result<Vec<u8>, CodecError> {
    let name = r.bytes()?;
    check_name(name).map_err(|_| r.invalid("name"))?;
    Ok(name.to_vec())
}

fn blocks_of(nodes: &[Node]) -> BlocksTable {
    let mut table = BlocksTable::default();
    for node in nodes {
        if let NodeKind::File(FileNode { content: Content::Inline(extents), .. }) = &node.kind {
            extents.iter().for_each(|e| table.add(e.reference.block));
        }
    }
    table
}

fn encode_leaf(nodes: &[Node], out: &mut Vec<u8>) {
    out.u8(0);
    let table = blocks_of(nodes);
    table.encode(out);
    let mut owners: Vec<&Owner> = Vec::new();
    for node in nodes {
        if !owners.contains(&&node.meta.owner) {
            owners.push(&node.meta.owner);
        }
    }
    out.varint(owners.len() as u64);
    for owner in &owners {
        out.varint(u64::from(owner.uid));
        out.varint(u64::from(owner.gid));
        out.bytes(&owner.user);
        out.bytes(&owner.group);
    }
    out.varint(nodes.len() as u64);
    for node in nodes {
        let owner = owners.iter().position(|o| **o == node.meta.owner).expect("every owner was gathered above");
        encode_node(node, owner as u64, &table, out);
    }
}

fn encode_node(node: &Node, owner: u64, table: &BlocksTable, out: &mut Vec<u8>) {
    let meta = &node.meta;
    let kind = match &node.kind {
        NodeKind::File(_) => KIND_FILE,
        NodeKind::Directory(_) => KIND_DIRECTORY,
        NodeKind::Symlink(_) => KIND_SYMLINK,
        NodeKind::Fifo => KIND_FIFO,
        NodeKind::CharDevice(..) => KIND_CHAR,
        NodeKind::BlockDevice(..) => KIND_BLOCK,
        NodeKind::Socket => KIND_SOCKET,
    };
    let link = if meta.link.is_some() { FLAG_LINK } else { 0 };
    let xattrs = if meta.xattrs.is_empty() { 0 } else { FLAG_XATTRS };
    out.u8(kind | link | xattrs);
    out.bytes(&node.name);
    out.varint(u64::from(meta.mode));
    out.varint(owner);
    out.signed(meta.mtime.secs);
    out.u32(meta.mtime.nanos);
    if let Some(link) = meta.link {
        out.varint(link.device);
        out.varint(link.inode);
    }
    if !meta.xattrs.is_empty() {
        encode_xattrs(&meta.xattrs, out);
    }
    match &node.kind {
        NodeKind::File(file) => encode_file(file, table, out),
        NodeKind::Directory(id) => out.raw(&id.0),
        NodeKind::Symlink(target) => out.bytes(target),
        NodeKind::CharDevice(major, minor) | NodeKind::BlockDevice(major, minor) => {
            out.varint(u64::from(*major));
            out.varint(u64::from(*minor));
        }
        NodeKind::Fifo | NodeKind::Socket => {}
    }
}

fn encode_xattrs(xattrs: &[Xattr], out: &mut Vec<u8>) {
    out.varint(xattrs.len() as u64);
    for x in xattrs {
        out.bytes(&x.name);
        out.bytes(&x.value);
    }
}

fn encode_file(file: &FileNode, table: &BlocksTable, out: &mut Vec<u8>) {
    let list = if matches!(file.content, Content::List(_)) { FILE_LIST } else { 0 };
    let sparse = if file.sparse.is_some() { FILE_SPARSE } else { 0 };
    let changed = if file.changed_while_read { FILE_CHANGED } else { 0 };
    out.u8(list | sparse | changed);
    out.varint(file.size);
    if let Some(runs) = &file.sparse {
        out.varint(runs.len() as u64);
        for run in runs {
            out.varint(run.hole);
            out.varint(run.data);
        }
    }
    match &file.content {
        Content::List(id) => out.raw(&id.0),
        Content::Inline(extents) => table.encode_extents(extents, out),
    }
    // An empty file has no chunks; its content id would say nothing.
    if file.content != Content::Inline(Vec::new()) {
        out.raw(&file.content_id.0);
    }
}

fn decode_leaf(r: &mut Reader) -> Result<Vec<Node>, CodecError> {
    let table = BlocksTableReader::decode(r)?;
    let n = r.count(4)?;
    let mut owners = Vec::with_capacity(n);
    for _ in 0..n {
        owners.push(decode_owner(r)?);
    }
    let n = r.count(10)?;
    let mut nodes: Vec<Node> = Vec::with_capacity(n);
    for _ in 0..n {
        let node = decode_node(r, &owners, &table)?;
        if nodes.last().is_some_and(|last| last.name >= node.name) {
            return Err(r.invalid("order of names"));
        }
        nodes.push(node);
    }
    Ok(nodes)
}

fn decode_mode(r: &mut Reader) -> Result<u32, CodecError> {
    let mode = r.varint32("mode")?;
    if mode > 0o7777 { Err(r.invalid("mode")) } else { Ok(mode) }
}

fn decode_owner(r: &mut Reader) -> Result<Owner, CodecError> {
    Ok(Owner {
        uid: r.varint32("uid")?,
        gid: r.varint32("gid")?,
        user: r.bytes()?.to_vec(),
        group: r.bytes()?.to_vec(),
    })
}

fn decode_time(r: &mut Reader) -> Result<FileTime, CodecError> {
    let time = FileTime { secs: r.signed()?, nanos: r.u32()? };
    if time.nanos >= 1_000_000_000 { Err(r.invalid("nanoseconds")) } else { Ok(time) }
}

fn decode_node(r: &mut Reader, owners: &[Owner], table: &BlocksTableReader) -> Result<Node, CodecError> {
    let kind = r.u8()?;
    let name = decode_name(r)?;
    let mode = decode_mode(r)?;
    let owner =
        usize::try_from(r.varint()?).ok().and_then(|i| owners.get(i)).ok_or_else(|| r.invalid("owner"))?.clone();
    let mtime = decode_time(r)?;
    let link = match kind & FLAG_LINK {
        0 => None,
        _ => Some(HardLink { device: r.varint()?, inode: r.varint()? }),
    };
    let xattrs = if kind & FLAG_XATTRS == 0 { Vec::new() } else { decode_xattrs(r)? };
    if kind & FLAG_XATTRS != 0 && xattrs.is_empty() {
        return Err(r.invalid("empty list of attributes"));
    }
    let meta = Metadata { mode, owner, mtime, xattrs, link };
    let kind = match kind & !(FLAG_LINK | FLAG_XATTRS) {
        KIND_FILE => NodeKind::File(decode_file(r, table)?),
        KIND_DIRECTORY => NodeKind::Directory(r.chunk_id()?),
        KIND_SYMLINK => NodeKind::Symlink(r.bytes()?.to_vec()),
        KIND_FIFO => NodeKind::Fifo,
        KIND_CHAR => NodeKind::CharDevice(r.varint32("major")?, r.varint32("minor")?),
        KIND_BLOCK => NodeKind::BlockDevice(r.varint32("major")?, r.varint32("minor")?),
        KIND_SOCKET => NodeKind::Socket,
        _ => return Err(r.invalid("kind of entry")),
    };
    Ok(Node { name, meta, kind })
}

fn decode_xattrs(r: &mut Reader) -> Result<Vec<Xattr>, CodecError> {
    let n = r.count(2)?;
    let mut xattrs: Vec<Xattr> = Vec::with_capacity(n);
    for _ in 0..n {
        let xattr = Xattr { name: r.bytes()?.to_vec(), value: r.bytes()?.to_vec() };
        if xattrs.last().is_some_and(|last| last.name >= xattr.name) {
            return Err(r.invalid("order of attributes"));
        }
        xattrs.push(xattr);
    }
    Ok(xattrs)
}

fn decode_file(r: &mut Reader, table: &BlocksTableReader) -> Result<FileNode, CodecError> {
    let flags = r.u8()?;
    if flags & !(FILE_LIST | FILE_SPARSE | FILE_CHANGED) != 0 {
        return Err(r.invalid("flags of a file"));
    }
    let size = r.varint()?;
    let sparse = if flags & FILE_SPARSE == 0 { None } else { Some(decode_data_runs(r, size)?) };
    let content = match flags & FILE_LIST {
        0 => Content::Inline(table.decode_extents(r)?),
        _ => Content::List(r.chunk_id()?),
    };
    let content_id = match content == Content::Inline(Vec::new()) {
        true => ContentId([0; 16]),
        false => ContentId(r.array()?),
    };
    if let Content::Inline(extents) = &content {
        let stored = extents.iter().try_fold(0u64, |sum, e| sum.checked_add(e.len));
        let expected = match &sparse {
            None => size,
            Some(runs) => runs.iter().map(|run| run.data).sum(),
        };
        if stored != Some(expected) {
            return Err(r.invalid("length of a file"));
        }
    }
    Ok(FileNode { size, content, content_id, sparse, changed_while_read: flags & FILE_CHANGED != 0 })
}

fn decode_data_runs(r: &mut Reader, size: u64) -> Result<Vec<DataRun>, CodecError> {
    let n = r.count(2)?;
    let mut runs = Vec::with_capacity(n);
    let mut end = 0u64;
    for _ in 0..n {
        let run = DataRun { hole: r.varint()?, data: r.varint()? };
        end = end
            .checked_add(run.hole)
            .and_then(|e| e.checked_add(run.data))
            .filter(|&e| e <= size && run.data > 0)
            .ok_or_else(|| r.invalid("data run"))?;
        runs.push(run);
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::ids::{Reference, RunId};

    fn extent(run: u64, number: u32, first: u32, count: u32, len: u64) -> Extent {
        Extent { reference: Reference { block: BlockId { run: RunId(run), number }, first, count }, len }
    }

    fn every_kind() -> Vec<Node> {
        let owner = Owner { uid: 1000, gid: 100, user: b"ann".to_vec(), group: vec![] };
        let meta =
            Metadata { mode: 0o4755, owner, mtime: FileTime { secs: -3, nanos: 999_999_999 }, ..Metadata::default() };
        let file = FileNode {
            size: 30,
            content: Content::Inline(vec![extent(3, 0, 1, 2, 10), extent(9, 7, 0, 1, 20)]),
            content_id: ContentId([7; 16]),
            sparse: None,
            changed_while_read: true,
        };
        let sparse = FileNode {
            size: 1000,
            sparse: Some(vec![DataRun { hole: 100, data: 30 }]),
            changed_while_read: false,
            ..file.clone()
        };
        let empty = FileNode {
            size: 0,
            content: Content::Inline(vec![]),
            content_id: ContentId([0; 16]),
            sparse: None,
            changed_while_read: false,
        };
        let list = FileNode { content: Content::List(ChunkId([4; 16])), size: 1 << 40, ..file.clone() };
        let linked = Metadata {
            link: Some(HardLink { device: 2049, inode: 1 << 40 }),
            xattrs: vec![Xattr { name: b"user.a".to_vec(), value: vec![0, 255] }],
            ..Metadata::default()
        };
        let kinds = vec![
            NodeKind::File(file),
            NodeKind::File(sparse),
            NodeKind::File(empty),
            NodeKind::File(list),
            NodeKind::Directory(ChunkId([9; 16])),
            NodeKind::Symlink(b"../away".to_vec()),
            NodeKind::Fifo,
            NodeKind::CharDevice(1, 3),
            NodeKind::BlockDevice(8, 0),
            NodeKind::Socket,
        ];
        kinds
            .into_iter()
            .enumerate()
            .map(|(i, kind)| Node {
                name: vec![b'a' + u8::try_from(i).unwrap(), 0xff],
                meta: if i % 2 == 0 { meta.clone() } else { linked.clone() },
                kind,
            })
            .collect()
    }

    #[test]
    fn every_kind_of_entry_comes_back() {
        let leaf = TreeNode::Leaf(every_kind());
        assert_eq!(TreeNode::decode(&leaf.encode()), Ok(leaf));
    }

    #[test]
    fn inner_nodes_come_back() {
        let child = |name: &[u8]| TreeChild { id: ChunkId([1; 16]), first_name: name.to_vec(), entries: 5 };
        let inner = TreeNode::Inner { level: 2, children: vec![child(b"a"), child(b"b")] };
        assert_eq!(TreeNode::decode(&inner.encode()), Ok(inner));
        let unsorted = TreeNode::Inner { level: 2, children: vec![child(b"b"), child(b"a")] };
        assert!(TreeNode::decode(&unsorted.encode()).is_err());
    }

    #[test]
    fn a_name_that_leads_out_of_its_directory_is_refused() {
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
            let node = Node { name: name.to_vec(), meta: Metadata::default(), kind: NodeKind::Fifo };
            assert!(TreeNode::decode(&TreeNode::Leaf(vec![node]).encode()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_node_cut_anywhere_is_an_error_and_no_panic() {
        let bytes = TreeNode::Leaf(every_kind()).encode();
        for n in 0..bytes.len() {
            assert!(TreeNode::decode(&bytes[..n]).is_err(), "cut at {n}");
        }
    }

    #[test]
    fn a_node_names_each_block_once() {
        assert_eq!(TreeNode::Leaf(every_kind()).blocks().len(), 2);
    }
}
