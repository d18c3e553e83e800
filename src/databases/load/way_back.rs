//! The way back from a load: which sets hold what it replaced.
//!
//! Before a load with `--pre-backup` changes anything, it writes into the state file which databases it saved, and in
//! which set. A load that is interrupted and begun again saves what is still to be replaced in another set: of each
//! database, what it was before the first of them replaced it is what comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::options::LoadError;
use super::state::{Line, append, lines};

const SAVED: &str = "pre-restore";
const ENDED: &str = "ended";

/// A load: what was saved before it, or that it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    event: String,
    to: String,
    job: String,
    /// The set that is loaded.
    of: String,
    /// The set that holds what was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    set: Option<String>,
    /// The databases that it holds.
    #[serde(default)]
    saved: Vec<String>,
    /// What it calls the roles or users that it holds, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    roles: Option<String>,
    time_ms: i64,
}

/// A load into a server.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// The server, as the connection shows it.
    pub to: &'a str,
    /// The job whose set is loaded.
    pub job: &'a str,
    /// That set.
    pub of: &'a str,
    /// Now, in milliseconds since the epoch.
    pub time_ms: i64,
}

impl Load<'_> {
    fn mark(&self, event: &str, set: Option<&str>, saved: &[String], roles: Option<&str>) -> Mark {
        Mark {
            event: event.to_owned(),
            to: self.to.to_owned(),
            job: self.job.to_owned(),
            of: self.of.to_owned(),
            set: set.map(str::to_owned),
            saved: saved.to_vec(),
            roles: roles.map(str::to_owned),
            time_ms: self.time_ms,
        }
    }

    /// Remembers which databases were saved before it, and in which set, and the member with roles or users, if there is
    /// one; nothing if it replaces nothing.
    pub fn saved(
        &self,
        file: &Path,
        set: Option<&str>,
        databases: &[String],
        roles: Option<&str>,
    ) -> Result<(), LoadError> {
        append(file, &self.mark(SAVED, set, databases, roles))
    }

    /// Remembers that all of it is done.
    pub fn ended(&self, file: &Path) -> Result<(), LoadError> {
        append(file, &self.mark(ENDED, None, &[], None))
    }
}

/// What the last load with `--pre-backup` replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WayBack {
    /// The job whose set was loaded.
    pub job: String,
    /// That set.
    pub of: String,
    /// The databases, and the set that holds each as it was.
    pub databases: BTreeMap<String, String>,
    /// The set that holds roles or users as they were, and what it calls them; `None` if the load changed none.
    pub roles: Option<(String, String)>,
    /// Databases that it loaded and that were not there, or empty.
    pub new: BTreeSet<String>,
}

/// Follows the loads into a server.
#[derive(Default)]
struct Follower {
    found: Option<WayBack>,
    is_open: bool,
    replaced: BTreeSet<String>,
}

impl Follower {
    fn mark(&mut self, mark: Mark) {
        let is_same = |found: &WayBack| (&found.job, &found.of) == (&mark.job, &mark.of);
        match mark.event.as_str() {
            ENDED => self.is_open = false,
            SAVED => {
                if !(self.is_open && self.found.as_ref().is_some_and(is_same)) {
                    let found = WayBack { job: mark.job, of: mark.of, ..WayBack::default() };
                    *self = Self { found: Some(found), is_open: true, replaced: BTreeSet::new() };
                }
                let (Some(found), Some(set)) = (&mut self.found, mark.set) else { return };
                // Those of the first run: the next one may have found them changed.
                if let (None, Some(roles)) = (&found.roles, mark.roles) {
                    found.roles = Some((set.clone(), roles));
                }
                for database in mark.saved.into_iter().filter(|name| !self.replaced.contains(name)) {
                    found.databases.insert(database, set.clone());
                }
            }
            _ => {}
        }
    }

    fn line(&mut self, line: Line) {
        let Some(found) = self.found.as_mut().filter(|_| self.is_open) else { return };
        match line.event.as_str() {
            "kept" => {
                self.replaced.remove(&line.database);
            }
            _ => {
                if !found.databases.contains_key(&line.database) {
                    found.new.insert(line.database.clone());
                }
                self.replaced.insert(line.database);
            }
        }
    }
}

/// What the state file says of the last load with `--pre-backup` into a server, of any job or of this one.
pub fn way_back(file: &Path, to: &str, job: Option<&str>) -> Result<WayBack, LoadError> {
    let mut follower = Follower::default();
    let mut servers = BTreeSet::new();
    for text in lines(file) {
        if let Ok(mark) = serde_json::from_str::<Mark>(&text) {
            servers.insert(mark.to.clone());
            if mark.to == to && job.is_none_or(|job| job == mark.job) {
                follower.mark(mark);
            }
        } else if let Ok(line) = serde_json::from_str::<Line>(&text)
            && line.to == to
        {
            follower.line(line);
        }
    }
    let of_job = job.map(|job| format!(" of job {job}")).unwrap_or_default();
    match follower.found {
        Some(found) if found.databases.is_empty() && found.roles.is_none() => Err(LoadError::NoWayBack(format!(
            "the last load{of_job} into {to} with --pre-backup replaced nothing: there is nothing to bring back"
        ))),
        Some(found) => Ok(found),
        None => {
            let known = match servers.is_empty() {
                true => "none into any server".to_owned(),
                false => format!("only into {}", servers.into_iter().collect::<Vec<_>>().join("; ")),
            };
            Err(LoadError::NoWayBack(format!(
                "this machine knows of no load{of_job} into {to} with --pre-backup, {known}; a set that was saved before \
                 a load is also loaded by its id: --set ID --if-exists replace"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: &str, database: &str) -> Line {
        Line {
            event: event.to_owned(),
            to: "s".to_owned(),
            database: database.to_owned(),
            identity: String::new(),
            snapshot: String::new(),
            time_ms: 0,
            made: true,
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A load that was interrupted had replaced one of two: what that one was before stands in the first set.
    #[test]
    fn each_database_comes_back_as_it_was_before_the_first_run_replaced_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("loads");
        let load = Load { to: "s", job: "idp", of: "set", time_ms: 0 };
        let found = || way_back(&file, "s", Some("idp"));
        assert!(found().unwrap_err().to_string().contains("none into any server"));
        load.saved(&file, Some("1"), &names(&["a", "b", "c"]), Some("globals")).unwrap();
        for (event, database) in
            [("replacing", "a"), ("loaded", "a"), ("replacing", "b"), ("kept", "b"), ("loaded", "n")]
        {
            append(&file, &line(event, database)).unwrap();
        }
        load.saved(&file, Some("2"), &names(&["a", "b", "c"]), Some("globals")).unwrap();
        let way = found().unwrap();
        let sets: Vec<&str> = way.databases.values().map(String::as_str).collect();
        assert_eq!((sets, way.new), (vec!["1", "2", "2"], BTreeSet::from(["n".to_owned()])));
        assert_eq!(found().unwrap().roles, Some(("1".to_owned(), "globals".to_owned())));
        // Once it is done, the next one begins anew; so does the load of another set.
        load.ended(&file).unwrap();
        assert_eq!(found().unwrap().databases.len(), 3);
        load.saved(&file, Some("3"), &names(&["a"]), None).unwrap();
        assert_eq!(found().unwrap().databases, BTreeMap::from([("a".to_owned(), "3".to_owned())]));
        Load { of: "other", ..load }.saved(&file, None, &[], None).unwrap();
        assert!(found().unwrap_err().to_string().contains("replaced nothing"));
        assert!(way_back(&file, "t", None).unwrap_err().to_string().contains("only into s"));
    }
}
