//! One database into a MySQL or MariaDB server.
//!
//! These servers cannot rename a database: it is loaded under its name, and this machine remembers that it began. A
//! database that a load made and did not finish is made anew by the next one.

use crate::databases::load::client::{Feed, Reads, Stream, run};
use crate::databases::load::item::Item;
use crate::databases::load::options::{Done, Failure, IfExists, counted};
use crate::databases::load::state::{self, Line};

use super::server::{MySql, name};
use super::text::{DatabaseFilter, SandboxFilter};

/// A database that is to be loaded.
pub(crate) struct Load<'a> {
    /// The server.
    pub server: &'a MySql<'a>,
    /// What is loaded.
    pub item: &'a Item,
    /// Its dump.
    pub stream: Stream<'a>,
    /// What it is to be called.
    pub target: &'a str,
}

/// What is done before it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// It is made.
    Make,
    /// What an earlier load left is removed, and it is made.
    MakeAnew,
    /// It is there; tables of the dump are not.
    Add,
    /// Tables of the dump are replaced.
    Replace,
    /// Tables of the dump are moved away.
    Move,
}

impl Load<'_> {
    /// Loads it, unless an earlier run did.
    pub(crate) fn load(&self) -> Result<Done, Failure> {
        let mut done = Done { database: Some(self.target.to_owned()), ..Done::default() };
        let options = self.server.options;
        if options.table.is_some() {
            let text = "one table cannot be taken from a dump of MySQL or MariaDB: load the database under another name \
                        (--rename), and copy the table";
            return Err(Failure::because(text));
        }
        if options.role.is_some() || options.no_owner || options.no_privileges {
            let text = "--role, --no-owner and --no-privileges are of PostgreSQL: dumps of MySQL and MariaDB have no such parts";
            return Err(Failure::because(text));
        }
        let is_there = self.server.has(self.target)?;
        let line = state::last(&options.state, &options.to.shown(), self.target);
        let line = line.filter(|line| is_there && line.snapshot == self.item.snapshot.id.to_string());
        if line.as_ref().is_some_and(|line| line.event == "loaded") && self.is_as_saved(&mut done, false)?.is_ok() {
            return Ok(Done { already: true, ..done });
        }
        self.item.check_whole(options.force)?;
        let unfinished = line.filter(|line| line.event == "begun");
        if unfinished.is_some() {
            done.notes.push("an earlier load of it did not finish: it begins again".to_owned());
        }
        let before = self.before(is_there, unfinished.as_ref(), &mut done.notes)?;
        if matches!(before, Before::Replace | Before::Move) {
            options.check_saved(self.target)?;
        }
        if options.dry_run {
            return Ok(done);
        }
        self.remember("begun", matches!(before, Before::Make | Before::MakeAnew))?;
        let prepared = self.prepare(before, &mut done.notes);
        if prepared.is_err() && before == Before::Make {
            self.forget_begun()?;
        }
        prepared?;
        let is_whole = matches!(before, Before::Make | Before::MakeAnew);
        if let Err(failure) = self.feed() {
            // Half a database is worth nothing. If it stays, this machine remembers that it is not loaded.
            if is_whole
                && matches!(failure, Failure::Because(_))
                && self.server.ask(&format!("drop database {};", name(self.target))).is_ok()
            {
                self.forget_begun()?;
            }
            return Err(failure);
        }
        match self.is_as_saved(&mut done, is_whole)? {
            Ok(()) => self.remember("loaded", is_whole)?,
            Err(text) => return Err(Failure::Because(format!("it is not what was saved: {text}"))),
        }
        Ok(done)
    }

    /// Whether tables that are there would be replaced or moved away. If it cannot be loaded, they are not.
    pub(crate) fn replaces(&self) -> Result<bool, Failure> {
        let options = self.server.options;
        if !self.server.has(self.target)? {
            return Ok(false);
        }
        let line = state::last(&options.state, &options.to.shown(), self.target);
        let line = line.filter(|line| line.snapshot == self.item.snapshot.id.to_string());
        let is_loaded = line.as_ref().is_some_and(|line| line.event == "loaded");
        if is_loaded && self.is_as_saved(&mut Done::default(), false)?.is_ok() {
            return Ok(false);
        }
        match self.before(true, line.filter(|line| line.event == "begun").as_ref(), &mut Vec::new()) {
            Ok(before) => Ok(matches!(before, Before::Replace | Before::Move)),
            Err(Failure::Because(_)) => Ok(false),
            Err(interrupted) => Err(interrupted),
        }
    }

    /// What is there, compared with what was saved.
    fn is_as_saved(&self, done: &mut Done, is_whole: bool) -> Result<Result<(), String>, Failure> {
        let Some(saved) = &self.item.stream.tables else {
            done.notes.push("its rows were not counted when it was saved: it is not compared".to_owned());
            return Ok(Ok(()));
        };
        Ok(self.server.check(self.target, saved, is_whole)?.map(|(tables, rows)| {
            (done.tables, done.rows) = (Some(tables), rows);
        }))
    }

    /// Remembers that there is no database that a load made: one that is there later is somebody else's, and not to be
    /// made anew. If an interrupted statement may have made it, that is looked for.
    fn forget_begun(&self) -> Result<(), Failure> {
        match self.server.has(self.target) {
            Ok(false) => self.remember("kept", false),
            _ => Ok(()),
        }
    }

    fn remember(&self, event: &str, made: bool) -> Result<(), Failure> {
        let options = self.server.options;
        let line = Line {
            event: event.to_owned(),
            to: options.to.shown(),
            database: self.target.to_owned(),
            identity: String::new(),
            snapshot: self.item.snapshot.id.to_string(),
            time_ms: self.stream.repository.system.now_ms(),
            made,
        };
        state::append(&options.state, &line).map_err(|e| Failure::Because(e.to_string()))
    }

    /// Decides what is done with what is there.
    fn before(&self, is_there: bool, unfinished: Option<&Line>, notes: &mut Vec<String>) -> Result<Before, Failure> {
        let target = self.target;
        if !is_there {
            return Ok(Before::Make);
        }
        if unfinished.is_some_and(|line| line.made) {
            return Ok(Before::MakeAnew);
        }
        let there = self.server.tables(target)?;
        if there.is_empty() {
            notes.push("the database was there and empty: it was loaded as it stands".to_owned());
            return Ok(Before::Add);
        }
        let Some(saved) = &self.item.stream.tables else {
            return match self.server.options.if_exists {
                IfExists::Replace => Ok(Before::Replace),
                IfExists::Fail => Err(self.is_in_the_way(&[])),
                IfExists::KeepOld => Err(Failure::because("which tables the dump has is not known: none can be kept")),
            };
        };
        let both: Vec<&str> = saved.iter().map(|t| t.name.as_str()).filter(|name| there.contains_key(*name)).collect();
        let others = there.len() - both.len();
        if others > 0 {
            notes.push(format!("{} that the dump does not have stay", counted(others as u64, "table", "tables")));
        }
        match self.server.options.if_exists {
            _ if both.is_empty() && !saved.is_empty() => Ok(Before::Add),
            _ if unfinished.is_some() => Ok(Before::Replace),
            IfExists::Replace => Ok(Before::Replace),
            IfExists::Fail => Err(self.is_in_the_way(&both)),
            IfExists::KeepOld => match self.server.triggers(target)? {
                0 => Ok(Before::Move),
                n => Err(Failure::Because(format!(
                    "the tables of {target} cannot be kept under another name: {} would not move with them",
                    counted(n, "trigger", "triggers")
                ))),
            },
        }
    }

    fn is_in_the_way(&self, tables: &[&str]) -> Failure {
        let named = if tables.is_empty() { String::new() } else { format!(", with {}", tables.join(", ")) };
        let target = self.target;
        Failure::Because(format!(
            "the database {target} is there already{named}: --if-exists replace or keep-old, or --rename"
        ))
    }

    /// A name that says what a database was before, and that none has.
    fn free_name(&self) -> Result<String, Failure> {
        let name = format!("{}_before_{}", self.target, self.item.snapshot.id.short());
        let names = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}_{n}")));
        for name in names {
            if !self.server.has(&name)? {
                return Ok(name);
            }
        }
        unreachable!("there are names without end")
    }

    fn prepare(&self, before: Before, notes: &mut Vec<String>) -> Result<(), Failure> {
        let database = name(self.target);
        let mut script = String::new();
        if before == Before::MakeAnew {
            script.push_str(&format!("drop database {database};\n"));
        }
        if matches!(before, Before::Make | Before::MakeAnew) {
            script.push_str(&format!("create database {database}"));
            for (property, word) in [("character_set", "character set"), ("collation", "collate")] {
                // Words of the server, and of nothing else.
                let value = self
                    .item
                    .property(property)
                    .filter(|value| value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
                script.extend(value.map(|value| format!(" {word} {value}")));
            }
            script.push_str(";\n");
        }
        if before == Before::Move {
            let aside = self.free_name()?;
            script.push_str(&format!("create database {};\n", name(&aside)));
            let there = self.server.tables(self.target)?;
            let saved = self.item.stream.tables.iter().flatten().filter(|table| there.get(&table.name) == Some(&true));
            for table in saved {
                let table = name(&table.name);
                script.push_str(&format!("rename table {database}.{table} to {}.{table};\n", name(&aside)));
            }
            notes.push(format!("the old tables are in the database {aside} now"));
        }
        if script.is_empty() { Ok(()) } else { self.server.ask(&script).map(drop) }
    }

    fn feed(&self) -> Result<(), Failure> {
        let command = self.server.command(Some(self.target))?;
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::BrokenPipe => Feed::Left,
            _ => Feed::Failed(e.to_string()),
        };
        let knows_sandbox = self.server.knows_sandbox;
        run(&command, Reads::All, self.server.observer, &mut |input| {
            let mut of_database = DatabaseFilter::new(input, self.item.member());
            match knows_sandbox {
                true => self.stream.write_to(&mut of_database, self.server.observer)?,
                false => {
                    let mut filter = SandboxFilter::new(&mut of_database);
                    self.stream.write_to(&mut filter, self.server.observer)?;
                    filter.finish().map_err(failed)?;
                }
            }
            of_database.finish().map_err(failed)?;
            input.flush().map_err(failed)
        })
        .map(drop)
    }
}
