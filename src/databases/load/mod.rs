//! Loading: dumps of a set into running databases.
//!
//! Everything that is needed stands in the descriptions of the snapshots, and is a claim of whoever saved them: names and
//! texts of theirs are quoted, and a command is run only if that is asked for. Globals come first, then the databases one
//! after the other; each is compared with what was saved before it counts as loaded. One that fails stops no other.

pub mod before;
pub mod by_hand;
mod client;
mod compare;
pub mod connection;
mod dump_text;
pub mod item;
mod mysql;
pub mod options;
mod postgres;
mod roles;
mod sql;
mod state;
pub mod way_back;

use std::collections::BTreeSet;

use crate::primitives::progress::{Observer, Severity};
use crate::repository::Repository;
use crate::source::command::CommandSource;

use client::{Feed, Reads, Stream, run};
use item::{Item, Role};
use mysql::server::MySql;
use mysql::users::{self, UsersPlan};
use options::{Done, Failure, LoadError, LoadOptions, LoadOutcome, Loaded};
use postgres::globals;
use postgres::server::{LOADING, Postgres};
use roles::Step;

pub use mysql::text::SandboxFilter;

/// Loads the items, in their order. `told` is given each as soon as it is done.
pub fn load(
    repository: &Repository,
    items: &[Item],
    options: &LoadOptions,
    observer: &dyn Observer,
    told: &mut dyn FnMut(&Loaded),
) -> Result<Vec<Loaded>, LoadError> {
    let mut loading = Loading { repository, options, observer, told, all: Vec::new() };
    let kind = items.iter().find(|item| item.is_for_server()).map(|item| item.stream.kind.as_str());
    match kind {
        Some("postgres") => loading.postgres(items)?,
        Some(_) => loading.mysql(items)?,
        None => {}
    }
    for item in items.iter().filter(|item| !item.is_for_server()) {
        match &item.role {
            Role::Command if options.run_commands && !options.dry_run => {
                loading.one(item, |stream| command(item, stream, options, observer))?
            }
            Role::Other(what) => loading.skipped(item, what),
            _ => loading.skipped(item, "its command is run by --run-commands only"),
        }
    }
    Ok(loading.all)
}

struct Loading<'a> {
    repository: &'a Repository,
    options: &'a LoadOptions,
    observer: &'a dyn Observer,
    told: &'a mut dyn FnMut(&Loaded),
    all: Vec<Loaded>,
}

impl Loading<'_> {
    fn postgres(&mut self, items: &[Item]) -> Result<(), LoadError> {
        let mut server = Postgres::connect(self.options, self.observer)?;
        for (name, said) in server.left_loading()? {
            let said = if said.is_empty() { "no word of it".to_owned() } else { said };
            let text = format!(
                "the database {name} was left by a load that did not finish ({said}); a load of the same \
                                snapshot begins anew, and DROP DATABASE removes it"
            );
            self.observer.finding(Severity::Note, &text);
        }
        let mut roles: BTreeSet<String> = BTreeSet::new();
        let globals = |item: &&Item| item.role == Role::Globals;
        for item in items.iter().filter(|item| item.is_for_server()).filter(globals) {
            if !self.options.globals {
                self.skipped(item, "--no-globals");
                continue;
            }
            self.one(item, |stream| {
                let plan = globals::planned(&server, item, &stream)?;
                roles.extend(plan.all.iter().cloned());
                match server.options.dry_run {
                    true => Ok(Done { notes: globals::told(&plan), ..Done::default() }),
                    false => globals::load(&mut server, plan),
                }
            })?;
        }
        for item in items {
            let Role::Database(target) = &item.role else { continue };
            if target.starts_with(LOADING) {
                self.skipped(item, "its name is that of a database that is being loaded");
                continue;
            }
            let server = &server;
            let roles = &roles;
            self.one(item, |stream| postgres::database::Load { server, item, stream, target, roles }.load())?;
        }
        Ok(())
    }

    fn mysql(&mut self, items: &[Item]) -> Result<(), LoadError> {
        let mut server = MySql::connect(self.options, self.observer)?;
        let mut plans: Vec<(&Item, Result<UsersPlan, String>)> = Vec::new();
        for item in items.iter().filter(|item| item.role == Role::Globals) {
            if !self.options.globals {
                self.skipped(item, "--no-globals");
                continue;
            }
            let stream = Stream { repository: self.repository, snapshot: &item.snapshot };
            let plan = users_of(&mut server, item, &stream).and_then(|mut plan| {
                if !self.options.dry_run {
                    run_steps(&server, &std::mem::take(&mut plan.users))?;
                }
                Ok(plan)
            });
            plans.push((item, said(plan)?));
        }
        for item in items {
            let Role::Database(target) = &item.role else { continue };
            let server = &server;
            self.one(item, |stream| mysql::database::Load { server, item, stream, target }.load())?;
        }
        let is_dry = self.options.dry_run;
        for (item, plan) in plans {
            self.one(item, |_| {
                let plan = plan?;
                if !is_dry {
                    run_steps(&server, &plan.rights)?;
                }
                let mut notes: Vec<String> = plan.left_out.iter().map(|text| format!("left out: {text}")).collect();
                if !plan.kept.is_empty() {
                    let kept: Vec<&str> = plan.kept.iter().map(String::as_str).collect();
                    notes.push(format!(
                        "users that are there and stay as they are (--alter-roles changes them): {}",
                        kept.join(", ")
                    ));
                }
                Ok(Done { notes, ..Done::default() })
            })?;
        }
        Ok(())
    }

    /// Does one item, and tells what came of it.
    fn one(&mut self, item: &Item, work: impl FnOnce(Stream<'_>) -> Result<Done, Failure>) -> Result<(), LoadError> {
        let begun_ms = self.repository.system.now_ms();
        if self.observer.interrupted() {
            return Err(LoadError::Interrupted);
        }
        self.observer.current(&item.path);
        let done = said(work(Stream { repository: self.repository, snapshot: &item.snapshot }))?;
        let mut loaded = self.entry(item, LoadOutcome::Loaded);
        loaded.duration_ms = (self.repository.system.now_ms() - begun_ms).max(0) as u64;
        match done {
            Ok(done) => {
                loaded.outcome = match (done.already, self.options.dry_run) {
                    (true, _) => LoadOutcome::Already,
                    (false, true) => LoadOutcome::Planned,
                    (false, false) => LoadOutcome::Loaded,
                };
                (loaded.database, loaded.tables, loaded.rows, loaded.notes) =
                    (done.database, done.tables, done.rows, done.notes);
            }
            Err(why) => (loaded.outcome, loaded.error) = (LoadOutcome::Failed, Some(why)),
        }
        (self.told)(&loaded);
        self.all.push(loaded);
        Ok(())
    }

    fn skipped(&mut self, item: &Item, why: &str) {
        let loaded = Loaded { notes: vec![why.to_owned()], ..self.entry(item, LoadOutcome::Skipped) };
        (self.told)(&loaded);
        self.all.push(loaded);
    }

    fn entry(&self, item: &Item, outcome: LoadOutcome) -> Loaded {
        let database = match &item.role {
            Role::Database(target) => Some(target.clone()),
            _ => None,
        };
        Loaded {
            path: item.path.clone(),
            snapshot: item.snapshot.id,
            kind: item.stream.kind.clone(),
            database,
            outcome,
            tables: None,
            rows: 0,
            bytes: item.snapshot.described.figures.bytes,
            duration_ms: 0,
            notes: Vec::new(),
            error: None,
            command: item.stream.load.clone().filter(|_| !item.is_for_server()),
        }
    }
}

/// An error of one item, unless it is of all.
fn said<T>(done: Result<T, Failure>) -> Result<Result<T, String>, LoadError> {
    match done {
        Ok(done) => Ok(Ok(done)),
        Err(Failure::Because(why)) => Ok(Err(why)),
        Err(Failure::Interrupted) => Err(LoadError::Interrupted),
    }
}

/// Plans what is done with a dump of users.
fn users_of(server: &mut MySql<'_>, item: &Item, stream: &Stream<'_>) -> Result<UsersPlan, Failure> {
    item.check_whole(server.options.force)?;
    check_kind(item.stream.server.as_deref().unwrap_or_default(), &server.version)?;
    server.learn_users()?;
    let mut dump = Vec::new();
    let mut filter = SandboxFilter::new(&mut dump);
    stream.write_to(&mut filter, server.observer).map_err(|e| match e {
        Feed::Failed(what) => Failure::Because(what),
        Feed::Left => Failure::Interrupted,
    })?;
    filter.finish().map_err(|e| Failure::Because(e.to_string()))?;
    Ok(users::plan(&dump, &server.users, &server.user, server.options.alter_roles)?)
}

/// Refuses users of MySQL for MariaDB and the other way round: the statements differ, and so do the hashes of passwords.
fn check_kind(saved: &str, server: &str) -> Result<(), Failure> {
    let kind = |version: &str| if version.to_ascii_lowercase().contains("mariadb") { "MariaDB" } else { "MySQL" };
    match (kind(saved), kind(server)) {
        (from, to) if from == to || saved.is_empty() => Ok(()),
        (from, to) => Err(Failure::Because(format!(
            "users and grants of {from} cannot be loaded into {to}, whose statements are others: make the users by hand; \
             --no-globals leaves them out"
        ))),
    }
}

/// Runs every statement; an error of any is an error of all.
fn run_steps(server: &MySql<'_>, steps: &[Step]) -> Result<(), Failure> {
    let mut errors = Vec::new();
    for step in steps {
        match server.ask(&step.sql) {
            Ok(_) => {}
            // Its words repeat the statement, in which a password may stand.
            Err(Failure::Because(why)) => errors.push(format!("{}: {}", step.what, without_statement(&why))),
            Err(interrupted) => return Err(interrupted),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Failure::Because(errors.join("; "))) }
}

/// What a client says of a statement, up to where it repeats it.
fn without_statement(said: &str) -> &str {
    said.split(" near '").next().unwrap_or_default()
}

/// Feeds a dump to the command of its description.
fn command(item: &Item, stream: Stream<'_>, options: &LoadOptions, observer: &dyn Observer) -> Result<Done, Failure> {
    item.check_whole(options.force)?;
    let line = item.stream.load.clone().ok_or_else(|| Failure::because("its description names no command"))?;
    let mut source = CommandSource::new("the command", line);
    source.inherits_credentials = false;
    source.launcher = options.tools.launcher.clone();
    run(&source, Reads::All, observer, &mut |input| stream.write_to(input, observer))?;
    Ok(Done { notes: vec!["its command was run; what it did is not compared".to_owned()], ..Done::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_go_to_a_server_of_their_kind_alone() {
        let error = |saved: &str, server: &str| match check_kind(saved, server) {
            Err(Failure::Because(text)) => Some(text),
            _ => None,
        };
        assert_eq!(error("9.7.4-2", "8.0.36"), None);
        assert_eq!(error("10.11.19-MariaDB-0+deb12u1", "11.8.9-MariaDB-0+deb13u1 from Debian"), None);
        assert_eq!(error("", "8.0.36"), None);
        let text = error("9.7.4-2", "10.11.19-MariaDB").unwrap();
        assert!(text.contains("of MySQL") && text.contains("into MariaDB") && text.contains("--no-globals"), "{text}");
        assert!(error("10.5.23-MariaDB", "9.7.4").unwrap().contains("of MariaDB"));
    }
}
