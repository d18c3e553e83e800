//! Creating an object and knowing that it is there, whatever the store answered.

use std::time::Duration;

use bytes::Bytes;

use crate::formats::envelope::FormatError;
use crate::parts::store::{Created, Store, StoreError};

use super::error::{RepositoryError, Result};

/// How often a create whose outcome is unknown is tried again.
const TRIES_MAX: u32 = 8;
const WAIT_FIRST: Duration = Duration::from_millis(20);

/// Whose object stands under the name now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// The bytes that were given.
    Ours,
    /// Other bytes: somebody was faster.
    Theirs,
}

/// Creates `name`, and settles what an ambiguous answer left open: the same bytes are tried again until some
/// object stands there, and comparing tells whose it is. `AlreadyThere` alone proves nothing.
pub fn settle(store: &dyn Store, name: &str, bytes: &Bytes) -> Result<Stands> {
    let mut wait = WAIT_FIRST;
    for _ in 0..TRIES_MAX {
        match store.create(name, bytes.clone()) {
            Ok(Created::New) => return Ok(Stands::Ours),
            Ok(Created::AlreadyThere) => match store.get(name) {
                Ok(found) if found == *bytes => {
                    // Its creator may have been cut off before it was durable; it may even have been us.
                    store.sync()?;
                    return Ok(Stands::Ours);
                }
                Ok(_) => return Ok(Stands::Theirs),
                Err(StoreError::Missing { .. }) => {}
                Err(e) => return Err(e.into()),
            },
            Err(StoreError::Ambiguous { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        std::thread::sleep(wait);
        wait *= 2;
    }
    let what = format!("it stayed unknown whether {name} was created, after {TRIES_MAX} tries");
    Err(RepositoryError::Refused { what })
}

/// Creates an object whose name no other bytes can have.
pub fn put(store: &dyn Store, name: &str, bytes: &Bytes) -> Result<()> {
    match settle(store, name, bytes)? {
        Stands::Ours => Ok(()),
        Stands::Theirs => Err(RepositoryError::object(name)(FormatError::Checksum)),
    }
}
