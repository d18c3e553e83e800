//! What of a set is loaded, and as what.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::description::StreamDescription;
use crate::format::record::Outcome;
use crate::primitives::component::component;
use crate::primitives::text::printable;
use crate::repository::sets::Set;
use crate::repository::snapshots::Snapshot;

use super::options::{Failure, LoadError};

/// What a snapshot is to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Roles, or users and grants.
    Globals,
    /// A database, and what it is to be called.
    Database(String),
    /// What a command of the description would load.
    Command,
    /// Nothing that is loaded into a server, and what to do with it.
    Other(&'static str),
}

/// A snapshot of a set.
#[derive(Debug, Clone)]
pub struct Item {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What it says of itself.
    pub stream: StreamDescription,
    /// Its source, and behind a slash the member that it is.
    pub path: String,
    /// What it is loaded as.
    pub role: Role,
}

const FILES: &str = "files are brought back by `strongroom restore`";
const CLUSTER: &str = "a base backup is a whole server: `strongroom restore` brings back its data directory";
const SQLITE: &str =
    "an SQLite database is a file: `strongroom restore` brings it back; put it in place while its program is stopped";
const NAMELESS: &str = "its description does not name the database: `strongroom cat --to-command` feeds it to a client";

impl Item {
    fn new(snapshot: &Snapshot, rename: &[(String, String)]) -> Self {
        let stream = snapshot.described.stream.clone().unwrap_or_default();
        let role = match (stream.kind.as_str(), stream.format.as_str()) {
            ("postgres", "basebackup") => Role::Other(CLUSTER),
            ("postgres", "globals") | ("mysql", "grants") => Role::Globals,
            ("postgres" | "mysql", _) => match &stream.member {
                Some(name) => {
                    let renamed = rename.iter().find(|(from, _)| from == name).map(|(_, to)| to);
                    Role::Database(renamed.unwrap_or(name).clone())
                }
                None => Role::Other(NAMELESS),
            },
            ("sqlite", _) => Role::Other(SQLITE),
            ("command", _) => Role::Command,
            _ => Role::Other(FILES),
        };
        Self { path: snapshot.described.member_path(), snapshot: snapshot.clone(), stream, role }
    }

    /// What its server calls it.
    pub(super) fn member(&self) -> &str {
        self.stream.member.as_deref().unwrap_or_default()
    }

    /// A property of the database.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        let found = self.stream.properties.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Refuses a dump that lacks its end.
    pub(super) fn check_whole(&self, force: bool) -> Result<(), Failure> {
        if force || self.snapshot.state.outcome < Outcome::Partial {
            return Ok(());
        }
        let said = self.snapshot.described.findings.first().map(|text| format!(" ({})", printable(text.as_bytes())));
        let said = said.unwrap_or_default();
        Err(Failure::Because(format!("the dump is partial{said}: --force loads it all the same")))
    }

    /// Whether it goes into a server of databases.
    pub fn is_for_server(&self) -> bool {
        matches!(self.role, Role::Globals | Role::Database(_))
    }

    /// Whether this is one of the ways to name it: `JOB/SOURCE`, `SOURCE`, and either with `/MEMBER`.
    fn is_named(&self, name: &str) -> bool {
        let described = &self.snapshot.described;
        let is_member = |member: &str| member == self.member() || member == component(self.member());
        // The lines of a list are sources of a job; its name alone stands for all of them.
        let is_list = self.stream.line.is_some() && name == described.source;
        is_list
            || names_of(&described.source, self.stream.line.as_deref()).iter().any(|source| {
                let member = name.strip_prefix(source.as_str()).and_then(|rest| rest.strip_prefix('/'));
                name == source || member.is_some_and(|member| !member.is_empty() && is_member(member))
            })
    }
}

/// What a source is called, with and without its job. `line` is what a list of the job calls it.
fn names_of(source: &str, line: Option<&str>) -> Vec<String> {
    let Some(line) = line else {
        let short = source.split_once('/').map_or(source, |(_, short)| short);
        return vec![source.to_owned(), short.to_owned()];
    };
    [line.to_owned(), component(line)].into_iter().flat_map(|line| [format!("{source}/{line}"), line]).collect()
}

/// What of a set is loaded: what `names` says, or all of it. Globals come first.
pub fn choose(set: &Set, names: &[String], rename: &[(String, String)]) -> Result<Vec<Item>, LoadError> {
    let all: Vec<Item> = set.members.iter().map(|snapshot| Item::new(snapshot, rename)).collect();
    let known: Vec<String> = all.iter().map(|item| printable(item.path.as_bytes())).collect();
    for name in names {
        if !all.iter().any(|item| item.is_named(name)) {
            return Err(LoadError::NoSuchSource { name: name.clone(), known: known.join(", ") });
        }
    }
    let mut chosen: Vec<Item> =
        all.into_iter().filter(|item| names.is_empty() || names.iter().any(|name| item.is_named(name))).collect();
    let loads = |item: &&Item| item.is_for_server() || item.role == Role::Command;
    if !chosen.iter().any(|item| loads(&item)) {
        let why = chosen.iter().map(|item| match &item.role {
            Role::Other(what) => format!("{}: {what}", printable(item.path.as_bytes())),
            _ => printable(item.path.as_bytes()),
        });
        return Err(LoadError::Nothing(why.collect::<Vec<_>>().join("; ")));
    }
    let kinds: BTreeSet<&str> = chosen.iter().filter(|i| i.is_for_server()).map(|i| i.stream.kind.as_str()).collect();
    if kinds.len() > 1 {
        let of = |kind: &&str| {
            let of_kind = chosen.iter().filter(|item| item.is_for_server() && item.stream.kind == **kind);
            let sources: BTreeSet<String> = of_kind.map(|item| item.snapshot.described.source_path()).collect();
            format!("{kind}: {}", sources.into_iter().collect::<Vec<_>>().join(", "))
        };
        return Err(LoadError::SeveralKinds(kinds.iter().map(of).collect::<Vec<_>>().join("; ")));
    }
    for (from, _) in rename {
        if !chosen.iter().any(|item| matches!(item.role, Role::Database(_)) && item.member() == from) {
            return Err(LoadError::RenamesNothing(from.clone()));
        }
    }
    let mut targets = BTreeMap::new();
    for item in &chosen {
        if let Role::Database(name) = &item.role
            && let Some(one) = targets.insert(name.clone(), item.path.clone())
        {
            return Err(LoadError::SameName { one, other: item.path.clone(), name: name.clone() });
        }
    }
    chosen.sort_by_key(|item| item.role != Role::Globals);
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::names_of;

    #[test]
    fn a_line_of_a_list_is_named_like_a_source() {
        assert_eq!(names_of("idp/gen3", None), ["idp/gen3", "gen3"]);
        assert_eq!(names_of("dump.sql", None), ["dump.sql", "dump.sql"]);
        assert_eq!(names_of("mydb", Some("lab1")), ["mydb/lab1", "lab1", "mydb/lab1", "lab1"]);
        assert_eq!(names_of("mydb", Some("a/b")), ["mydb/a/b", "a/b", "mydb/a%2fb", "a%2fb"]);
    }
}
