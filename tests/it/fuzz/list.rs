//! Any bytes as a list node: what is read survives being written and read again.

use strongroom::format::list::ListNode;

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    if let Ok(node) = ListNode::decode(data) {
        assert_eq!(ListNode::decode(&node.encode()), Ok(node.clone()));
        let _ = (node.len(), node.blocks());
    }
}
