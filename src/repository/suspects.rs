//! Packs that were found damaged: what one command of this machine found counts for the next, until a verification has
//! read the pack and found it sound.
//!
//! A snapshot that refers to what is damaged restores nothing of it, however complete it says it is: nothing is
//! deduplicated against such packs, and what is needed of them is stored again.

use crate::format::names::ObjectName;
use crate::primitives::ids::ObjectHash;

use super::Repository;
use super::error::Result;

impl Repository {
    /// Remembers that a pack is damaged, now and for later commands. What is no pack is not remembered.
    pub fn note_suspect(&self, object: &str) {
        let Some(ObjectName::Pack(_, _, name)) = ObjectName::parse(object) else { return };
        let is_new = self.suspects.lock().insert(name);
        if is_new && let Err(e) = self.local.add_damaged(name) {
            // It costs the next command the knowledge, and this one nothing.
            self.note_damage(e);
        }
    }

    /// Forgets it of packs that were read whole and are sound.
    pub fn clear_suspects(&self, sound: &[ObjectHash]) -> Result<()> {
        let any = {
            let mut suspects = self.suspects.lock();
            let before = suspects.len();
            suspects.retain(|name| !sound.contains(name));
            suspects.len() != before
        };
        if any { self.local.remove_damaged(sound) } else { Ok(()) }
    }

    /// Live packs that were found damaged.
    pub fn suspects(&self) -> Vec<ObjectHash> {
        let state = self.state();
        let suspects = self.suspects.lock();
        suspects.iter().filter(|name| state.packs.get(*name).is_some_and(|p| p.live())).copied().collect()
    }

    /// Whether the pack, or what leads to it, was not as the log says.
    pub(super) fn is_suspect(&self, pack: &ObjectHash) -> bool {
        self.suspects.lock().contains(pack)
    }
}
