//! Any bytes as a list node: what is read survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom::format::list::ListNode;

fuzz_target!(|data: &[u8]| {
    if let Ok(node) = ListNode::decode(data) {
        assert_eq!(ListNode::decode(&node.encode()), Ok(node.clone()));
        (node.len(), node.blocks());
    }
});
