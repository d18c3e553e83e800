//! Files with several names: each is read once.

use std::collections::HashMap;

use crate::format::tree::Node;
use crate::source::{Stat, changed};

/// So many are remembered at a time.
const LINKS_MAX: usize = 200_000;

/// What came of a file by the name that was met first.
enum Link {
    /// It is being read.
    Reading,
    /// It was read: the stat that its content belongs to, when it was, and its node.
    Read(Box<(Stat, i64, Node)>),
}

/// What is to be done with a file that is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is read.
    Read,
    /// It was read by another name, or is being read.
    Again,
}

/// Files with several names, by device and inode.
#[derive(Default)]
pub(super) struct HardLinks(HashMap<(u64, u64), Link>);

impl HardLinks {
    /// A file is to be read; `in_order` says that it is read when all before it were.
    pub(super) fn meet(&mut self, stat: &Stat, in_order: bool) -> Turn {
        if stat.nlink <= 1 {
            return Turn::Read;
        }
        let key = (stat.device, stat.inode);
        match self.0.get(&key) {
            Some(Link::Read(_)) => Turn::Again,
            // What is being read stands in the queue before it.
            Some(Link::Reading) if in_order => Turn::Again,
            Some(Link::Reading) => Turn::Read,
            None => {
                if self.0.len() < LINKS_MAX {
                    self.0.insert(key, Link::Reading);
                }
                Turn::Read
            }
        }
    }

    /// A file was read, and did not change meanwhile.
    pub(super) fn read(&mut self, stat: &Stat, read_ms: i64, node: &Node) {
        if let Some(link) = self.0.get_mut(&(stat.device, stat.inode)) {
            *link = Link::Read(Box::new((*stat, read_ms, node.clone())));
        }
    }

    /// When a file was read by another name, and its node then, if it still is what was read.
    pub(super) fn known(&self, stat: &Stat) -> Option<(i64, Node)> {
        match self.0.get(&(stat.device, stat.inode)) {
            Some(Link::Read(read)) if !changed(&read.0, stat) => Some((read.1, read.2.clone())),
            _ => None,
        }
    }
}
