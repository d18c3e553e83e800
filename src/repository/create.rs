//! Creating an object and knowing that it is there, whatever the store answered.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::format::envelope::FormatError;
use crate::store::{Created, Store, StoreError};

use super::error::{RepositoryError, Result};

/// How often a create whose outcome is unknown is tried again, if the store's patience lasts.
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
    let (mut wait, begun, mut unknown) = (WAIT_FIRST, Instant::now(), None);
    for tried in 0..TRIES_MAX {
        // A store that took its time over each try has tried often enough by itself.
        if tried > 0 && begun.elapsed() >= store.patience() {
            break;
        }
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
            Err(e @ StoreError::Ambiguous { .. }) => unknown = Some(e),
            Err(e) => return Err(e.into()),
        }
        std::thread::sleep(wait);
        wait *= 2;
    }
    if let Some(e) = unknown {
        // A last look: what was stored though nobody said so is no failure.
        return match store.get(name) {
            Ok(found) if found == *bytes => {
                store.sync()?;
                Ok(Stands::Ours)
            }
            Ok(_) => Ok(Stands::Theirs),
            Err(_) => Err(e.into()),
        };
    }
    let what = format!("it stayed unknown whether {name} was created, after {TRIES_MAX} tries");
    Err(RepositoryError::Conflict { what })
}

/// Creates an object whose name no other bytes can have.
pub fn put(store: &dyn Store, name: &str, bytes: &Bytes) -> Result<()> {
    match settle(store, name, bytes)? {
        Stands::Ours => Ok(()),
        Stands::Theirs => Err(RepositoryError::object(name)(FormatError::Checksum)),
    }
}
