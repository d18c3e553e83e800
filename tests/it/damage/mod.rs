//! Damage of every sort to every kind of object: it is found, named, and makes nothing worse.

mod reading;
mod upkeep;

use strongroom::store::{Damage, SimulatedStore};

/// What damage does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Delete,
    Truncate,
    Flip,
    Swap,
}

const HARMS: [Harm; 4] = [Harm::Delete, Harm::Truncate, Harm::Flip, Harm::Swap];

/// Damages an object; `other` is what it may be swapped with.
fn damage(store: &SimulatedStore, harm: Harm, object: &str, other: &str) {
    let len = store.inner().size(object).unwrap();
    match harm {
        Harm::Delete => store.damage(object, Damage::Delete),
        Harm::Truncate => store.damage(object, Damage::Truncate(len / 2)),
        Harm::Flip => store.damage(object, Damage::FlipBit(len * 4 + 3)),
        Harm::Swap => store.swap(object, other),
    }
    .unwrap();
}
