//! Finding what a reference leads to: every location is tried before anything is called damaged or missing.

use crate::cache::locations::{BlockPlace, MetaPlace};
use crate::primitives::ids::{ChunkId, Reference};
use crate::repository::Repository;
use crate::repository::error::{RepositoryError, Result};

/// The error for a block that has no location.
pub fn missing_block(reference: &Reference) -> RepositoryError {
    let (first, last) = (reference.first, reference.end() - 1);
    RepositoryError::Missing { name: format!("block {} (chunks {first} to {last})", reference.block) }
}

/// The error for a node that has no location.
fn missing_node(id: &ChunkId) -> RepositoryError {
    RepositoryError::Missing { name: format!("tree or list node {id}") }
}

/// Calls `read` with each location until one answers. One that is damaged, missing or archived is passed over. If none
/// answers, it is archived if one of them is, for then nothing is lost; else the last error is the answer, or `missing` if
/// there was none.
pub fn first_that_answers<P, T>(
    locations: impl IntoIterator<Item = P>,
    mut read: impl FnMut(&P) -> Result<Option<T>>,
    missing: impl FnOnce() -> RepositoryError,
) -> Result<T> {
    let mut failure: Option<RepositoryError> = None;
    for location in locations {
        match read(&location) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(e) if e.archived().is_some() => failure = Some(e),
            Err(e) if e.is_damage() => failure = failure.filter(|f| f.archived().is_some()).or(Some(e)),
            Err(e) => return Err(e),
        }
    }
    Err(failure.unwrap_or_else(missing))
}

impl Repository {
    /// Calls `read` with each location of the first chunk of `reference` that is known now.
    pub fn at_each_location<T>(
        &self,
        reference: &Reference,
        read: impl FnMut(&BlockPlace) -> Result<Option<T>>,
    ) -> Result<T> {
        let mut all = self.cache.block(reference.block)?;
        all.retain(|place| place.holds(reference.first));
        first_that_answers(all, read, || missing_block(reference))
    }

    /// Calls `read` with each location of a node that is known now, in the order of `rank`.
    pub fn at_each_location_of_node<T, K: Ord>(
        &self,
        id: &ChunkId,
        mut rank: impl FnMut(&MetaPlace) -> K,
        read: impl FnMut(&MetaPlace) -> Result<Option<T>>,
    ) -> Result<T> {
        let mut all = self.cache.meta(id)?;
        all.sort_by_cached_key(&mut rank);
        first_that_answers(all, read, || missing_node(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    fn damaged() -> RepositoryError {
        RepositoryError::Missing { name: "one".to_owned() }
    }

    #[test]
    fn the_first_sound_location_answers_and_what_is_damaged_is_passed_over() {
        let missing = || RepositoryError::Missing { name: "all".to_owned() };
        let read = |n: &u32| match n {
            0 => Err(damaged()),
            1 => Ok(None),
            n => Ok(Some(*n)),
        };
        assert_eq!(first_that_answers([0, 1, 2, 3], read, missing).expect("the third answers"), 2);
        let said =
            |locations: Vec<u32>| first_that_answers(locations, read, missing).expect_err("none answers").to_string();
        assert_eq!(said(vec![0, 1]), "one is missing");
        assert_eq!(said(vec![1]), "all is missing");
        let archived = |_: &u32| -> Result<Option<u32>> { Err(StoreError::Archived { name: "x".to_owned() }.into()) };
        assert!(first_that_answers([1], archived, missing).expect_err("it is archived").archived().is_some());
        // A prune that took this for damage would take for dead what hangs below.
        for order in [[0, 1], [1, 0]] {
            let read = |n: &u32| if *n == 0 { Err(damaged()) } else { archived(n) };
            assert!(first_that_answers(order, read, missing).expect_err("none answers").archived().is_some());
        }
        let interrupted = |_: &u32| -> Result<Option<u32>> { Err(RepositoryError::Interrupted) };
        assert!(matches!(first_that_answers([1, 2], interrupted, missing), Err(RepositoryError::Interrupted)));
    }
}
