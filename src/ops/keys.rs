//! The owner's key slots: ways to the master key.
//!
//! A slot wraps the master key for a passphrase, a key file or recovery words. Removing one takes a way away; it
//! does not change the master key, so whoever opened the slot before and kept what it held still has it.

use std::ops::ControlFlow;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::crypto::password::{COST_MIN, PasswordCost};
use crate::crypto::recovery;
use crate::format::names::{self, ObjectName};
use crate::format::slot::{self, Slot, SlotKind};
use crate::primitives::error_chain::error_chain;
use crate::primitives::system::random;
use crate::repository::create::put;
use crate::repository::{Repository, RepositoryError, Result};

use super::versions::{remove_versions, removed_slots};

/// A slot, as `list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotReport {
    /// Its id: the last part of its name.
    pub id: String,
    /// What opens it and what that costs, or what is wrong with it.
    pub slot: Result<(SlotKind, PasswordCost), String>,
    /// When the store says that it was made, in milliseconds since the epoch.
    pub made_ms: i64,
    /// Whether it opened the repository just now.
    pub used: bool,
}

/// Adds a slot that `secret` opens; returns its id.
pub fn add(repository: &Repository, way: SlotKind, secret: &[u8]) -> Result<String> {
    let master = repository.master_for(MANAGE)?;
    repository.check_may_write()?;
    let name = names::slot(&random(&*repository.system));
    let sealed = slot::seal(way, COST_MIN, random(&*repository.system), secret, master)
        .map_err(|e| RepositoryError::Conflict { what: e.to_string() })?;
    put(&*repository.store, &name, &Bytes::from(sealed))?;
    Ok(id_of(&name).to_owned())
}

/// All slots.
pub fn list(repository: &Repository) -> Result<Vec<SlotReport>> {
    let mut listed = Vec::new();
    repository.store.list(names::KEYS, None, &mut |object| {
        if let Some(ObjectName::Slot(_)) = ObjectName::parse(&object.name) {
            listed.push(object);
        }
        ControlFlow::Continue(())
    })?;
    let report = |object: crate::store::Listed| {
        let bytes = repository.get(&object.name)?;
        let slot = Slot::decode(&bytes).map(|slot| (slot.way, slot.cost)).map_err(|e| e.to_string());
        let used = repository.opened_by() == Some(&object.name);
        Ok(SlotReport { id: id_of(&object.name).to_owned(), slot, made_ms: object.modified_ms, used })
    };
    listed.into_iter().map(report).collect()
}

/// A slot that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its id.
    pub id: String,
    /// Why a bucket with versions may still have it.
    pub kept: Option<String>,
}

/// Removes the slot whose id begins so. The last one that is sound stays: without it all would be lost.
///
/// The slot that opened the repository is not removed: whoever gave its secret would be left without one that is known to
/// open it.
pub fn remove(repository: &Repository, text: &str) -> Result<Removed> {
    remove_slot(repository, text, false)
}

fn remove_slot(repository: &Repository, text: &str, also_used: bool) -> Result<Removed> {
    repository.master_for(MANAGE)?;
    let slots = list(repository)?;
    let found: Vec<&SlotReport> = slots.iter().filter(|s| !text.is_empty() && s.id.starts_with(text)).collect();
    let [slot] = found[..] else {
        let mut old = if found.is_empty() { removed_slots(repository)? } else { Vec::new() };
        old.retain(|id| !text.is_empty() && id.starts_with(text));
        if let [id] = &old[..] {
            repository.check_may_write()?;
            remove_versions(repository, names::KEYS, &format!("{}/{id}", names::KEYS))?;
            return Ok(Removed { id: id.clone(), kept: None });
        }
        let what = match found.len() {
            0 => format!("no key slot has an id that begins with {text:?}"),
            n => format!("{n} key slots have ids that begin with {text:?}: give more digits"),
        };
        return Err(RepositoryError::NotAllowed { what });
    };
    if !slots.iter().any(|s| s.id != slot.id && s.slot.is_ok()) {
        let what = format!("{} is the last key slot: without it nothing could be restored; add another first", slot.id);
        return Err(RepositoryError::NotAllowed { what });
    }
    if slot.used && !also_used {
        let what = format!(
            "{} is the key slot that opened the repository just now: use another passphrase to remove it, or `key passwd` to replace it",
            slot.id
        );
        return Err(RepositoryError::NotAllowed { what });
    }
    repository.check_may_write()?;
    let name = format!("{}/{}", names::KEYS, slot.id);
    repository.store.delete(&name)?;
    repository.store.sync()?;
    let kept = remove_versions(repository, names::KEYS, &name).err().map(|e| error_chain(&e));
    Ok(Removed { id: slot.id.clone(), kept })
}

/// Adds a slot for a new passphrase, then removes the one that opened the repository.
///
/// Returns the id of the one, and what became of the other.
pub fn change(repository: &Repository, secret: &[u8]) -> Result<(String, Removed)> {
    let Some(old) = repository.opened_by() else { return Err(RepositoryError::OwnerOnly { action: MANAGE }) };
    let old = id_of(old).to_owned();
    let new = add(repository, SlotKind::Passphrase, secret)?;
    Ok((new, remove_slot(repository, &old, true)?))
}

/// Adds a slot for fresh recovery words; returns its id and the words.
pub fn add_words(repository: &Repository) -> Result<(String, Zeroizing<String>)> {
    let words = recovery::words(&*repository.system);
    Ok((add(repository, SlotKind::Words, words.as_bytes())?, words))
}

fn id_of(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// What only the owner may do here.
const MANAGE: &str = "manage the key slots";
