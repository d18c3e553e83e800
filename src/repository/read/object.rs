//! Reading whole objects. Each says by its name or by a checksum whether it is whole; one that is not is read once more
//! before anybody calls it damaged: a line, a proxy or a memory may have changed one answer.

use bytes::Bytes;

use crate::format::envelope::check_checksum;
use crate::format::names::ObjectName;
use crate::primitives::ids::ObjectHash;
use crate::store::{Store, StoreError};

/// An object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// Its bytes: those of the second answer if the first were not whole, whatever these are.
    pub bytes: Bytes,
    /// The first answer was damaged, and the second was not.
    pub unsteady: bool,
}

/// Reads an object.
pub fn read(store: &dyn Store, name: &str) -> Result<Whole, StoreError> {
    let bytes = store.get(name)?;
    if is_itself(name, &bytes) {
        return Ok(Whole { bytes, unsteady: false });
    }
    let bytes = store.get(name)?;
    let unsteady = is_itself(name, &bytes);
    Ok(Whole { bytes, unsteady })
}

/// Whether the bytes are those that the name or their own checksum stands for. What has no such name is left to others.
fn is_itself(name: &str, bytes: &[u8]) -> bool {
    match ObjectName::parse(name) {
        Some(ObjectName::Pack(_, _, hash) | ObjectName::Segment(_, hash)) => {
            ObjectHash(*blake3::hash(bytes).as_bytes()) == hash
        }
        Some(_) => check_checksum(bytes).is_ok(),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::names;
    use crate::store::{MemoryStore, Store};

    #[test]
    fn what_is_damaged_for_good_is_read_twice_and_handed_out() {
        let store = MemoryStore::new();
        let mut record = b"a record".to_vec();
        crate::format::envelope::append_checksum(&mut record);
        store.create(&names::record(1), record.clone().into()).unwrap();
        assert_eq!(read(&store, &names::record(1)).unwrap(), Whole { bytes: record.clone().into(), unsteady: false });
        record[0] ^= 1;
        store.create(&names::record(2), record.clone().into()).unwrap();
        assert_eq!(read(&store, &names::record(2)).unwrap(), Whole { bytes: record.into(), unsteady: false });
        assert_eq!(store.requests().get, 3);
        assert!(read(&store, &names::record(3)).unwrap_err().is_missing());
    }
}
