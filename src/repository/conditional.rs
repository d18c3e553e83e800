//! Whether the store keeps writers apart that race for one name: tried when this machine meets the store, once a week,
//! and when a bucket has begun to keep versions.
//!
//! Some servers create only what is absent until versions are switched on, and let everybody win from then on (Ceph
//! 20.2; rustfs#1660 and versitygw#2288 tell of others). What is published on a bucket with versions is therefore
//! also read back.

use bytes::Bytes;

use crate::primitives::system::random;
use crate::store::{Store, StoreError, advice, check_conditional_create};

use super::Repository;
use super::error::Result;
use super::state_dir::{LocalState, MetStore};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// A store that keeps writers apart is tried again after this time.
const RACE_EVERY_MS: i64 = 7 * DAY_MS;

/// Whether the store keeps versions. Who may not ask, or a server that knows none: then it keeps none as far as can be told.
fn keeps_versions(store: &dyn Store) -> bool {
    store.has_given_versions() || store.versions().is_some_and(|versions| versions.keeps_versions().unwrap_or(false))
}

/// Remembers that a store was raced with just now, and kept the racers apart.
pub fn remember_race(local: &LocalState, store: &dyn Store, now_ms: i64) -> Result<()> {
    let (location, versions) = (store.location(), keeps_versions(store));
    local.set_met_store(&MetStore { location, versions, asked_ms: now_ms, raced_ms: now_ms })
}

impl Repository {
    /// Races with a server that this machine has not met, or that may have changed: one that several can win at would
    /// lose records.
    pub(super) fn check_endpoint(&self) -> Result<()> {
        if !self.store.is_remote() {
            return Ok(());
        }
        let (location, now_ms) = (self.store.location(), self.system.now_ms());
        let met = self.local.met_store().filter(|met| met.location == location);
        let is_fresh = |then: i64, time: i64| (0..time).contains(&(now_ms - then));
        if met.as_ref().is_some_and(|met| is_fresh(met.asked_ms, DAY_MS)) {
            return Ok(());
        }
        let versions = keeps_versions(&*self.store);
        let raced_ms = match met {
            Some(met) if met.versions == versions && is_fresh(met.raced_ms, RACE_EVERY_MS) => met.raced_ms,
            _ => {
                check_conditional_create(&*self.store, random(&*self.system))?;
                now_ms
            }
        };
        self.local.set_met_store(&MetStore { location, versions, asked_ms: now_ms, raced_ms })
    }

    /// Races at once if the record that was just created was given a version, and no versions were kept until now: somebody
    /// has switched them on, and the server may let everybody win from then on.
    pub(super) fn check_versions(&self) -> Result<()> {
        if self.store.has_given_versions() && self.local.met_store().is_some_and(|met| !met.versions) {
            self.local.forget_store()?;
            self.check_endpoint()?;
        }
        Ok(())
    }

    /// Whether what was just published stands: somebody else may have been told the same.
    pub(super) fn still_stands(&self, name: &str, bytes: &Bytes) -> Result<bool> {
        if !self.store.is_remote() || !self.local.met_store().is_some_and(|met| met.versions) {
            return Ok(true);
        }
        if self.get(name)? == *bytes {
            return Ok(true);
        }
        self.local.forget_store()?;
        let server = self.store.server().unwrap_or_else(|| "this server".to_owned());
        let found = format!("{name} was created by us, and another machine's bytes stand there");
        let advice = advice(&*self.store);
        // Not an error of this run: it appends again, behind the other. The next one races.
        self.note_damage(StoreError::NotConditional { location: self.store.location(), server, found, advice }.into());
        Ok(false)
    }
}
