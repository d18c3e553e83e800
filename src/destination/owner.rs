//! Who shall own what is restored: by name, by number, or as the user says.
//!
//! Numbers differ between machines and names mostly do not, so names come first. Answers of the system's
//! user database are kept: it may be a directory server far away.

use std::collections::HashMap;

use parking_lot::RwLock;

use crate::format::tree::Owner;

use super::error::TargetError;

/// How the owner of an entry is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// The recorded name if this system knows it, else the recorded number.
    #[default]
    ByName,
    /// The recorded number.
    ByNumber,
    /// Whoever runs the restore owns everything; the owner map is not looked at.
    None,
}

/// Why an entry of an owner map was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no mapping of owners: `[user:|group:]OLD=NEW`, each a name or a number, OLD may be `*`")]
pub struct BadOwnerMap(pub String);

/// Which owners become which others. The first entry that fits counts, but one for `*` only after all others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnerMap {
    users: Vec<(Old, New)>,
    groups: Vec<(Old, New)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Old {
    Any,
    Number(u32),
    Name(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum New {
    Number(u32),
    Name(String),
}

impl OwnerMap {
    /// Adds `user:OLD=NEW`, `group:OLD=NEW`, or `OLD=NEW` for both. Each side is a name or a number; `*` as
    /// OLD stands for everybody.
    pub fn add(&mut self, entry: &str) -> Result<(), BadOwnerMap> {
        let bad = || BadOwnerMap(entry.to_owned());
        let (user, group, pair) = match (entry.strip_prefix("user:"), entry.strip_prefix("group:")) {
            (Some(pair), _) => (true, false, pair),
            (_, Some(pair)) => (false, true, pair),
            _ => (true, true, entry),
        };
        let (old, new) = pair.split_once('=').ok_or_else(bad)?;
        let old = Old::parse(old).ok_or_else(bad)?;
        let new = New::parse(new).ok_or_else(bad)?;
        if user {
            self.users.push((old.clone(), new.clone()));
        }
        if group {
            self.groups.push((old, new));
        }
        Ok(())
    }

    /// Gives everything to one owner, `USER`, `USER:GROUP` or `:GROUP`, as chown writes it.
    pub fn give_all_to(owner: &str) -> Result<Self, BadOwnerMap> {
        let bad = || BadOwnerMap(owner.to_owned());
        let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
        let mut map = Self::default();
        if !user.is_empty() {
            map.users.push((Old::Any, New::parse(user).ok_or_else(bad)?));
        }
        if !group.is_empty() {
            map.groups.push((Old::Any, New::parse(group).ok_or_else(bad)?));
        }
        if map == Self::default() { Err(bad()) } else { Ok(map) }
    }
}

impl Old {
    fn parse(text: &str) -> Option<Self> {
        Some(match New::parse(text)? {
            New::Name(name) if name == "*" => Self::Any,
            New::Name(name) => Self::Name(name),
            New::Number(id) => Self::Number(id),
        })
    }

    fn fits(&self, id: u32, name: &[u8]) -> bool {
        match self {
            Self::Any => false,
            Self::Number(number) => *number == id,
            Self::Name(wanted) => wanted.as_bytes() == name,
        }
    }
}

impl New {
    fn parse(text: &str) -> Option<Self> {
        match text.bytes().all(|c| c.is_ascii_digit()) {
            _ if text.is_empty() || text.contains([':', '=', '\0']) => None,
            true => text.parse().ok().map(Self::Number),
            false => Some(Self::Name(text.to_owned())),
        }
    }
}

/// One side of the user database: users or groups.
struct Side {
    kind: &'static str,
    lookup: fn(&str) -> Option<u32>,
    map: Vec<(Old, u32)>,
}

impl Side {
    fn new(kind: &'static str, lookup: fn(&str) -> Option<u32>, map: &[(Old, New)]) -> Result<Self, TargetError> {
        let number = |new: &New| match new {
            New::Number(id) => Ok(*id),
            New::Name(name) => lookup(name).ok_or_else(|| TargetError::UnknownOwner { kind, name: name.clone() }),
        };
        let map = map.iter().map(|(old, new)| Ok((old.clone(), number(new)?))).collect::<Result<_, TargetError>>()?;
        Ok(Self { kind, lookup, map })
    }

    fn resolve(&self, id: u32, name: &[u8], by_name: bool) -> u32 {
        let exact = self.map.iter().find(|(old, _)| old.fits(id, name));
        let any = || self.map.iter().find(|(old, _)| *old == Old::Any);
        if let Some((_, new)) = exact.or_else(any) {
            return *new;
        }
        let known = || std::str::from_utf8(name).ok().and_then(|name| (self.lookup)(name));
        if by_name && !name.is_empty() { known().unwrap_or(id) } else { id }
    }
}

/// Turns recorded owners into numbers of this system.
pub(super) struct Owners {
    ownership: Ownership,
    users: Side,
    groups: Side,
    known: RwLock<HashMap<Owner, (u32, u32)>>,
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sides = [(self.users.kind, &self.users.map), (self.groups.kind, &self.groups.map)];
        f.debug_struct("Owners").field("ownership", &self.ownership).field("maps", &sides).finish_non_exhaustive()
    }
}

impl Owners {
    /// Looks the map's names up; one that is not known is an error.
    pub(super) fn new(ownership: Ownership, map: &OwnerMap) -> Result<Self, TargetError> {
        Ok(Self {
            ownership,
            users: Side::new("user", user_id, &map.users)?,
            groups: Side::new("group", group_id, &map.groups)?,
            known: RwLock::default(),
        })
    }

    /// The user and group id that shall own what `owner` owned; `None` if owners are left as they are.
    pub(super) fn resolve(&self, owner: &Owner) -> Option<(u32, u32)> {
        if self.ownership == Ownership::None {
            return None;
        }
        if let Some(ids) = self.known.read().get(owner) {
            return Some(*ids);
        }
        let by_name = self.ownership == Ownership::ByName;
        let ids = (
            self.users.resolve(owner.uid, &owner.user, by_name),
            self.groups.resolve(owner.gid, &owner.group, by_name),
        );
        self.known.write().insert(owner.clone(), ids);
        Some(ids)
    }
}

fn user_id(name: &str) -> Option<u32> {
    nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
}

fn group_id(name: &str) -> Option<u32> {
    nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(uid: u32, user: &str, gid: u32, group: &str) -> Owner {
        Owner { uid, gid, user: user.into(), group: group.into() }
    }

    fn resolve(ownership: Ownership, entries: &[&str], owner: &Owner) -> Option<(u32, u32)> {
        let mut map = OwnerMap::default();
        entries.iter().for_each(|entry| map.add(entry).unwrap());
        Owners::new(ownership, &map).unwrap().resolve(owner)
    }

    #[test]
    fn a_known_name_counts_before_the_number_and_the_number_if_it_is_unknown() {
        let ann = owner(4711, "root", 4712, "no such group");
        assert_eq!(resolve(Ownership::ByName, &[], &ann), Some((0, 4712)));
        assert_eq!(resolve(Ownership::ByNumber, &[], &ann), Some((4711, 4712)));
        assert_eq!(resolve(Ownership::None, &["*=5"], &ann), None);
        let odd = Owner { user: b"\xff".to_vec(), ..ann };
        assert_eq!(resolve(Ownership::ByName, &[], &odd), Some((4711, 4712)));
    }

    #[test]
    fn the_map_takes_names_numbers_and_everybody() {
        let ann = owner(4711, "ann", 4712, "staff");
        assert_eq!(resolve(Ownership::ByName, &["user:ann=7", "group:4712=8"], &ann), Some((7, 8)));
        assert_eq!(resolve(Ownership::ByNumber, &["user:*=9", "user:ann=root"], &ann), Some((0, 4712)));
        assert_eq!(resolve(Ownership::ByName, &["*=9", "group:staff=3"], &ann), Some((9, 3)));
        let all = Owners::new(Ownership::ByName, &OwnerMap::give_all_to("root:77").unwrap()).unwrap();
        assert_eq!(all.resolve(&ann), Some((0, 77)));
    }

    #[test]
    fn a_map_that_says_nothing_or_names_nobody_is_refused() {
        for entry in ["", "ann", "=5", "ann=", "user:ann", "a=b=c", "user:group:a=b", "1=99999999999"] {
            assert!(OwnerMap::default().add(entry).is_err(), "{entry}");
        }
        assert!(OwnerMap::give_all_to(":").is_err());
        let map = OwnerMap::give_all_to("no such user").unwrap();
        assert!(matches!(Owners::new(Ownership::ByName, &map), Err(TargetError::UnknownOwner { kind: "user", .. })));
    }
}
