//! Any bytes as a tree node: what is read survives being written and read again.

use strongroom::format::tree::TreeNode;

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    if let Ok(node) = TreeNode::decode(data) {
        assert_eq!(TreeNode::decode(&node.encode()), Ok(node.clone()));
        node.blocks();
    }
}
