//! A store in memory, for tests and for trying things out.
//!
//! It has no clock: objects are as old as [`MemoryStore::set_now_ms`] says, from zero.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, Range};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::counts::Counters;
use super::name::is_within;
use super::{Created, Foreign, Listed, RequestCounts, Store, StoreError, Verb, check_folder, check_name, check_range};

/// Objects in a sorted map.
#[derive(Debug, Default)]
pub struct MemoryStore {
    contents: Mutex<Contents>,
    counters: Counters,
}

#[derive(Debug, Default, Clone)]
struct Contents {
    objects: BTreeMap<String, Object>,
    now_ms: i64,
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Bytes,
    modified_ms: i64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A second store that holds the same objects and from now on goes its own way.
    pub fn fork(&self) -> Self {
        Self { contents: Mutex::new(self.contents().clone()), counters: Counters::default() }
    }

    /// Sets the time that objects created from now on will show.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.contents().now_ms = now_ms;
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock()
    }

    fn bytes(&self, name: &str) -> Result<Bytes, StoreError> {
        match self.contents().objects.get(name) {
            Some(object) => Ok(object.bytes.clone()),
            None => Err(StoreError::Missing { name: name.to_owned() }),
        }
    }

    /// The first object of `prefix` behind `after`, or the first of all.
    fn next(&self, prefix: &str, after: Option<&str>) -> Option<Listed> {
        let folder = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let from = match after {
            Some(after) if *after >= *folder => Bound::Excluded(after),
            _ => Bound::Included(folder.as_str()),
        };
        let contents = self.contents();
        let (name, object) = contents.objects.range::<str, _>((from, Bound::Unbounded)).next()?;
        is_within(name, prefix).then(|| Listed {
            name: name.clone(),
            size: object.bytes.len() as u64,
            modified_ms: object.modified_ms,
        })
    }
}

impl Store for MemoryStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn create(&self, name: &str, bytes: Bytes) -> Result<Created, StoreError> {
        check_name(name)?;
        self.counters.count(Verb::Create);
        self.counters.up(bytes.len());
        let mut contents = self.contents();
        if contents.objects.contains_key(name) {
            return Ok(Created::AlreadyThere);
        }
        let modified_ms = contents.now_ms;
        contents.objects.insert(name.to_owned(), Object { bytes, modified_ms });
        Ok(Created::New)
    }

    fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        check_name(name)?;
        self.counters.count(Verb::Get);
        let bytes = self.bytes(name)?;
        self.counters.down(bytes.len());
        Ok(bytes)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        check_name(name)?;
        self.counters.count(Verb::GetRange);
        let bytes = self.bytes(name)?;
        check_range(name, &range, bytes.len() as u64)?;
        let bytes = bytes.slice(range.start as usize..range.end as usize);
        self.counters.down(bytes.len());
        Ok(bytes)
    }

    fn size(&self, name: &str) -> Result<u64, StoreError> {
        check_name(name)?;
        self.counters.count(Verb::Size);
        Ok(self.bytes(name)?.len() as u64)
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        each: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<Foreign, StoreError> {
        check_folder(prefix)?;
        self.counters.count(Verb::List);
        // One step at a time, so that `each` may call the store.
        let mut last = after.map(str::to_owned);
        while let Some(listed) = self.next(prefix, last.as_deref()) {
            last = Some(listed.name.clone());
            if each(listed).is_break() {
                break;
            }
        }
        Ok(Foreign::default())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        self.counters.count(Verb::Delete);
        self.contents().objects.remove(name);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.counters.count(Verb::Sync);
        Ok(())
    }

    fn requests(&self) -> RequestCounts {
        self.counters.figures()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_goes_its_own_way() {
        let store = MemoryStore::new();
        store.create("a", Bytes::from_static(b"1")).unwrap();
        let fork = store.fork();
        store.delete("a").unwrap();
        fork.create("b", Bytes::from_static(b"2")).unwrap();
        assert_eq!(fork.get("a").unwrap(), "1");
        assert!(store.get("b").unwrap_err().is_missing());
    }
}
