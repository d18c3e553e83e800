//! Any bytes as a tree node: what is read survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::format::tree::TreeNode;

fuzz_target!(|data: &[u8]| {
    if let Ok(node) = TreeNode::decode(data) {
        assert_eq!(TreeNode::decode(&node.encode()), Ok(node.clone()));
        node.blocks();
    }
});
