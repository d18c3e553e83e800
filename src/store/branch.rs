//! A store as it would be if some of its objects were others: to read a history that the store does not show now.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;

use super::{Created, Foreign, Listed, RequestCounts, Store, StoreError, Verb};

/// Which objects are not to be seen.
type Hides = dyn Fn(&str) -> bool + Send + Sync;

/// Shows what `inner` holds, with some objects replaced and others hidden. Nothing can be written through it.
pub struct BranchStore {
    inner: Arc<dyn Store>,
    replaced: BTreeMap<String, Bytes>,
    hides: Box<Hides>,
}

impl BranchStore {
    /// What is in `replaced` is shown, whatever `hides` says of it.
    pub fn new(
        inner: Arc<dyn Store>,
        replaced: BTreeMap<String, Bytes>,
        hides: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { inner, replaced, hides: Box::new(hides) }
    }

    fn check(&self, name: &str) -> Result<(), StoreError> {
        match (self.hides)(name) {
            true => Err(StoreError::Missing { name: name.to_owned() }),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for BranchStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BranchStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

fn read_only(verb: Verb, name: &str) -> StoreError {
    StoreError::ReadOnly { verb, name: name.to_owned(), source: "it is a view of another history".into() }
}

impl Store for BranchStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn create(&self, name: &str, _: Bytes) -> Result<Created, StoreError> {
        Err(read_only(Verb::Create, name))
    }

    fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        match self.replaced.get(name) {
            Some(bytes) => Ok(bytes.clone()),
            None => self.check(name).and_then(|()| self.inner.get(name)),
        }
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let Some(bytes) = self.replaced.get(name) else {
            return self.check(name).and_then(|()| self.inner.get_range(name, range));
        };
        let size = bytes.len() as u64;
        if range.start > range.end || range.end > size {
            return Err(StoreError::BadRange { name: name.to_owned(), start: range.start, end: range.end, size });
        }
        Ok(bytes.slice(range.start as usize..range.end as usize))
    }

    fn size(&self, name: &str) -> Result<u64, StoreError> {
        match self.replaced.get(name) {
            Some(bytes) => Ok(bytes.len() as u64),
            None => self.check(name).and_then(|()| self.inner.size(name)),
        }
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        each: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<Foreign, StoreError> {
        let mut there = BTreeMap::new();
        let foreign = self.inner.list(prefix, after, &mut |listed| {
            if !(self.hides)(&listed.name) {
                there.insert(listed.name.clone(), listed);
            }
            ControlFlow::Continue(())
        })?;
        let wanted = |name: &str| {
            let within = prefix.is_empty() || name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
            within && after.is_none_or(|after| name > after)
        };
        for (name, bytes) in self.replaced.iter().filter(|(name, _)| wanted(name)) {
            let size = bytes.len() as u64;
            let modified_ms = there.get(name).map_or(0, |listed| listed.modified_ms);
            there.insert(name.clone(), Listed { name: name.clone(), size, modified_ms });
        }
        for listed in there.into_values() {
            if each(listed).is_break() {
                break;
            }
        }
        Ok(foreign)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        Err(read_only(Verb::Delete, name))
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn requests(&self) -> RequestCounts {
        self.inner.requests()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, list_all};

    #[test]
    fn what_is_replaced_is_shown_and_what_is_hidden_is_missing() {
        let inner = Arc::new(MemoryStore::new());
        for (name, bytes) in [("log/1", "one"), ("log/2", "two"), ("log/4", "four"), ("data/1", "x")] {
            inner.create(name, Bytes::from_static(bytes.as_bytes())).unwrap();
        }
        let replaced = ["log/2", "log/3"].map(|name| (name.to_owned(), Bytes::from_static(b"other")));
        let branch =
            BranchStore::new(inner, BTreeMap::from(replaced), |name| name > "log/1" && name.starts_with("log/"));
        let names: Vec<String> = list_all(&branch, "log").unwrap().into_iter().map(|listed| listed.name).collect();
        assert_eq!(names, ["log/1", "log/2", "log/3"]);
        assert_eq!(list_all(&branch, "").unwrap().len(), 4);
        assert_eq!(&branch.get("log/1").unwrap()[..], b"one");
        assert_eq!((&branch.get("log/2").unwrap()[..], branch.size("log/3").unwrap()), (&b"other"[..], 5));
        assert_eq!(&branch.get_range("log/2", 1..3).unwrap()[..], b"th");
        assert!(matches!(branch.get_range("log/2", 1..9), Err(StoreError::BadRange { size: 5, .. })));
        assert!(branch.get("log/4").unwrap_err().is_missing() && branch.size("log/4").unwrap_err().is_missing());
        assert!(matches!(branch.create("log/5", Bytes::new()), Err(StoreError::ReadOnly { .. })));
        assert!(matches!(branch.delete("log/1"), Err(StoreError::ReadOnly { .. })));
    }
}
