//! One database into a PostgreSQL server.
//!
//! It is made under a name of its own, loaded, compared with what was saved, and given its name at the end: what has the
//! name of a database is whole. A process that is killed leaves a database whose name and comment say what it is. A
//! database that is there and has nothing in it is loaded as it stands, in one transaction.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use crate::databases::load::client::{Feed, Reads, Stream, ask, run};
use crate::databases::load::compare::parts;
use crate::databases::load::dump_text::{About, ArchiveText, OfDatabase, PlainFilter, Wanted, check_listed_name};
use crate::databases::load::item::Item;
use crate::databases::load::options::{Done, Failure, IfExists};
use crate::databases::load::sql;
use crate::databases::load::state::{self, Line};
use crate::destination::room_above;
use crate::source::command::CommandSource;

use super::rows;
use super::server::{Database, LOADING, Postgres, major};

/// Bytes of a name that the server keeps.
const NAME_LEN_MAX: usize = 63;

/// The settings whose values are lists of names, and are not quoted as a whole.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// A database that is to be loaded.
pub(crate) struct Load<'a> {
    /// The server.
    pub server: &'a Postgres<'a>,
    /// What is loaded.
    pub item: &'a Item,
    /// Its dump.
    pub stream: Stream<'a>,
    /// What it is to be called.
    pub target: &'a str,
    /// Roles of the dump of globals.
    pub roles: &'a BTreeSet<String>,
}

/// The dump as the tools read it.
enum Dump {
    /// As a stream.
    Streamed,
    /// A file or directory below a scratch directory, which is removed with it.
    Unpacked(PathBuf, #[allow(dead_code, reason = "it is there as long as this")] tempfile::TempDir),
}

/// Where it is loaded.
enum Place {
    /// Into a database that is there and empty.
    AsItStands,
    /// Into one that is made, beside the one of its name, if there is one.
    Beside(Option<Database>),
}

impl Load<'_> {
    /// Loads it, unless an earlier run did.
    pub(crate) fn load(&self) -> Result<Done, Failure> {
        let mut done = Done { database: Some(self.target.to_owned()), ..Done::default() };
        let there = self.server.database(self.target)?;
        if let Some(found) = &there
            && self.is_loaded(found, &mut done)?
        {
            return Ok(Done { already: true, ..done });
        }
        self.item.check_whole(self.server.options.force)?;
        self.check_tools(&mut done.notes)?;
        let place = self.place(there, &mut done.notes)?;
        if self.server.options.dry_run {
            return Ok(done);
        }
        let dump = self.unpacked()?;
        let archive = self.archive(&dump, &mut done.notes)?;
        archive.check_name(self.item.member())?;
        let mut roles: BTreeSet<String> = self.roles.iter().chain(&archive.owners).cloned().collect();
        roles.extend(self.item.property("owner").map(str::to_owned));
        let joined = match self.server.options.no_owner {
            true => Vec::new(),
            false => self.server.join(&roles, &mut done.notes)?,
        };
        let loaded = self.load_into(&place, &dump, archive.statements, &mut done).map_err(|f| self.explained(f));
        let left = self.server.leave(&joined);
        loaded?;
        if let Err(Failure::Because(why)) = left {
            done.notes.push(format!(
                "the role {} stays a member of {}: {why}",
                self.server.existing.user,
                joined.join(", ")
            ));
        }
        let oid = self.server.database(self.target)?.map(|found| found.oid).unwrap_or_default();
        // If it is not remembered, it is loaded all the same: a later run compares and loads again.
        self.remember("loaded", oid)?;
        Ok(done)
    }

    /// Whether a database that is there and holds something would be replaced or given another name. If it cannot be
    /// loaded, it is not.
    pub(crate) fn replaces(&self) -> Result<bool, Failure> {
        let Some(found) = self.server.database(self.target)? else { return Ok(false) };
        if self.is_loaded(&found, &mut Done::default())? {
            return Ok(false);
        }
        match self.place(Some(found), &mut Vec::new()) {
            Ok(Place::Beside(old)) => Ok(old.is_some()),
            Ok(Place::AsItStands) | Err(Failure::Because(_)) => Ok(false),
            Err(interrupted) => Err(interrupted),
        }
    }

    /// Says what to do if the connected role may not give things to their owners.
    fn explained(&self, failure: Failure) -> Failure {
        let refusals = ["must be member of role", "must be able to SET ROLE", "permission denied to set role"];
        match failure {
            Failure::Because(why) if refusals.iter().any(|refusal| why.contains(refusal)) => {
                let user = &self.server.existing.user;
                Failure::Because(format!(
                    "{why}; {user} may not act for that role: --no-owner makes everything its own"
                ))
            }
            failure => failure,
        }
    }

    /// Whether an earlier run loaded this very snapshot, and it still has its rows.
    fn is_loaded(&self, found: &Database, done: &mut Done) -> Result<bool, Failure> {
        let options = self.server.options;
        let line = state::last(&options.state, &options.to.shown(), self.target);
        let is_same = |line: &Line| {
            line.event == "loaded" && line.identity == found.oid && line.snapshot == self.item.snapshot.id.to_string()
        };
        if !line.as_ref().is_some_and(is_same) {
            return Ok(false);
        }
        let Some(saved) = &self.item.stream.tables else {
            done.notes.push("its rows were not counted when it was saved: it is not compared".to_owned());
            return Ok(true);
        };
        match rows::check(self.server, self.target, saved, options.table.as_deref())? {
            Ok((tables, rows)) => {
                (done.tables, done.rows) = (Some(tables), rows);
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    fn remember(&self, event: &str, identity: String) -> Result<(), Failure> {
        let line = Line {
            event: event.to_owned(),
            to: self.server.options.to.shown(),
            database: self.target.to_owned(),
            identity,
            snapshot: self.item.snapshot.id.to_string(),
            time_ms: self.stream.repository.system.now_ms(),
            made: true,
        };
        state::append(&self.server.options.state, &line).map_err(|e| Failure::Because(e.to_string()))
    }

    /// Compares the versions of tools, dump and server.
    fn check_tools(&self, notes: &mut Vec<String>) -> Result<(), Failure> {
        let (stream, server) = (&self.item.stream, self.server);
        let (wrote, tool) = (stream.tool.as_deref().and_then(major), server.pg_restore);
        if stream.format != "plain" {
            tools_fit(wrote, tool, server.major()).map_err(Failure::Because)?;
        }
        if let Some(saved) = stream.server.as_deref().and_then(major).filter(|saved| *saved > server.major()) {
            notes.push(format!(
                "it was saved from a server of version {saved}, and this one has version {}",
                server.major()
            ));
        }
        match (&server.options.table, stream.format.as_str()) {
            (Some(_), "plain") => Err(Failure::because(
                "one table cannot be taken from a plain dump: load the database under another name (--rename), and copy the table",
            )),
            _ => Ok(()),
        }
    }

    /// Where it is loaded; an error, if what is there is in the way.
    fn place(&self, there: Option<Database>, notes: &mut Vec<String>) -> Result<Place, Failure> {
        let (target, options) = (self.target, self.server.options);
        let Some(found) = there else { return Ok(Place::Beside(None)) };
        if !found.is_usual {
            return Err(Failure::Because(format!(
                "the database {target} is a template, or cannot be connected to: --rename"
            )));
        }
        let encoding = self.item.property("encoding");
        let is_alike = encoding.is_none_or(|encoding| encoding.eq_ignore_ascii_case(&found.encoding));
        if is_alike && self.server.is_empty(target)? {
            notes.push("the database was there and empty: it was loaded as it stands".to_owned());
            if let Some(owner) = self.item.property("owner").filter(|owner| *owner != found.owner && !options.no_owner)
            {
                notes.push(format!("it belongs to {}, and belonged to {owner} when it was saved", found.owner));
            }
            return Ok(Place::AsItStands);
        }
        match options.if_exists {
            IfExists::Fail => Err(Failure::Because(format!(
                "the database {target} is there already: --if-exists replace or keep-old, or --rename"
            ))),
            _ if target == self.server.admin => Err(Failure::Because(format!(
                "the database {target} cannot be replaced while it is the one that is connected to: name another one in \
                 --to, such as dbname=template1, or --rename"
            ))),
            _ if found.sessions > 0 => Err(Failure::Because(format!(
                "the database {target} is in use ({}): end the sessions first",
                crate::databases::load::options::counted(found.sessions, "session", "sessions")
            ))),
            _ => options.check_saved(target).map(|()| Place::Beside(Some(found))),
        }
    }

    /// What the archive says of itself; nothing of a plain dump, which says it on its way.
    fn archive(&self, dump: &Dump, notes: &mut Vec<String>) -> Result<ArchiveText, Failure> {
        if self.item.stream.format == "plain" {
            return Ok(ArchiveText::default());
        }
        let member = self.item.member();
        // pg_restore refuses to write the statements that make such a database.
        if member.contains(['\n', '\r']) {
            let list = self.read_archive(dump, &["--list"])?;
            check_listed_name(member, &String::from_utf8_lossy(&list))?;
            notes.push(
                "its name holds a line end: pg_restore brings neither its settings nor the privileges on it".to_owned(),
            );
            return Ok(ArchiveText::read(&self.read_archive(dump, &["--schema-only", "--file=-"])?)?);
        }
        Ok(ArchiveText::read(&self.read_archive(dump, &["--create", "--schema-only", "--file=-"])?)?)
    }

    /// What pg_restore writes of the dump.
    fn read_archive(&self, dump: &Dump, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
        let mut arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        if let Dump::Unpacked(path, _) = dump {
            arguments.push(path.into());
        }
        let command = self.server.options.tools.command("pg_restore", "pg_restore", arguments);
        run(&command, Reads::Enough, self.server.observer, &mut |input| match dump {
            Dump::Streamed => self.stream.write_to(input, self.server.observer),
            Dump::Unpacked(..) => Ok(()),
        })
    }

    /// Brings the dump into a scratch directory, if it cannot be streamed.
    fn unpacked(&self) -> Result<Dump, Failure> {
        let options = self.server.options;
        let is_directory = self.item.stream.format == "directory";
        if !is_directory && (options.jobs < 2 || self.item.stream.format == "plain") {
            return Ok(Dump::Streamed);
        }
        if options.tools.container.is_some() || options.tools.run_as.is_some() {
            let text = "a dump that is unpacked first (--jobs, or of the format directory) cannot be read by tools of another \
                        user or of a container";
            return Err(Failure::because(text));
        }
        let bytes = self.item.snapshot.described.figures.bytes;
        if let Some(room) = room_above(&options.scratch).filter(|room| !room.holds(bytes, 1)) {
            let at = options.scratch.display();
            return Err(Failure::Because(format!(
                "{at} has too little room to unpack the dump: {bytes} bytes are needed, {} are free; --scratch-dir names \
                 another place",
                room.bytes
            )));
        }
        let failed =
            |e: std::io::Error| Failure::Because(format!("cannot unpack into {}: {e}", options.scratch.display()));
        std::fs::create_dir_all(&options.scratch).map_err(failed)?;
        let folder =
            tempfile::Builder::new().prefix("strongroom-load-").tempdir_in(&options.scratch).map_err(failed)?;
        if is_directory {
            let words = [
                OsString::from("-x"),
                "--no-same-owner".into(),
                "-f".into(),
                "-".into(),
                "-C".into(),
                folder.path().into(),
            ];
            let mut tar = CommandSource::of_words("tar", [vec!["tar".into()], words.to_vec()].concat());
            tar.inherits_credentials = false;
            tar.launcher = options.tools.launcher.clone();
            run(&tar, Reads::All, self.server.observer, &mut |input| {
                self.stream.write_to(input, self.server.observer)
            })?;
            let path = archive_in(folder.path())
                .ok_or_else(|| Failure::because("the stream holds no dump in directory format"))?;
            return Ok(Dump::Unpacked(path, folder));
        }
        let path = folder.path().join("dump");
        let file = std::fs::File::create(&path).map_err(failed)?;
        let mut out = BufWriter::new(file);
        self.stream.write_to(&mut out, self.server.observer).map_err(not_read)?;
        out.flush().map_err(failed)?;
        Ok(Dump::Unpacked(path, folder))
    }

    fn load_into(
        &self,
        place: &Place,
        dump: &Dump,
        of_archive: Vec<OfDatabase>,
        done: &mut Done,
    ) -> Result<(), Failure> {
        match place {
            Place::AsItStands => {
                let mut said = of_archive;
                self.content(self.target, dump, true, &mut said)?;
                self.compared(self.target, done)?;
                self.settle(self.target, &said, &mut done.notes)
            }
            Place::Beside(old) => {
                let temporary = format!("{LOADING}{}", self.item.snapshot.id.short());
                self.make(&temporary, &mut done.notes)?;
                let mut said = of_archive;
                let filled = self.content(&temporary, dump, false, &mut said);
                if let Err(failure) = filled {
                    // Half a database is worth nothing.
                    let _ = self.server.admin(&format!("drop database if exists {};", sql::name(&temporary)));
                    return Err(failure);
                }
                self.compared(&temporary, done).map_err(|failure| match failure {
                    Failure::Because(why) => {
                        Failure::Because(format!("{why}; what was loaded is left in the database {temporary}"))
                    }
                    interrupted => interrupted,
                })?;
                self.settle(&temporary, &said, &mut done.notes)?;
                self.put_in_place(&temporary, old.is_some(), &mut done.notes)
            }
        }
    }

    /// Makes the database, with what it was saved with.
    fn make(&self, temporary: &str, notes: &mut Vec<String>) -> Result<(), Failure> {
        let since = jiff::Timestamp::from_millisecond(self.stream.repository.system.now_ms()).unwrap_or_default();
        let mark = format!("strongroom: loading {} since {since:.0}", self.target);
        let text = format!(
            "drop database if exists {name};\n{};\ncomment on database {name} is {};",
            self.create(temporary, notes),
            sql::text(&mark),
            name = sql::name(temporary)
        );
        self.server.admin(&text).map(drop).map_err(|failure| match failure {
            Failure::Because(why) => Failure::Because(format!("the database {} cannot be made: {why}", self.target)),
            interrupted => interrupted,
        })
    }

    fn create(&self, database: &str, notes: &mut Vec<String>) -> String {
        let (item, options) = (self.item, self.server.options);
        let mut text = format!("create database {} template template0", sql::name(database));
        let owner = match options.no_owner {
            true => options.role.as_deref(),
            false => item.property("owner"),
        };
        let mut add = |word: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(&format!(" {word} {value}"));
            }
        };
        add("owner", owner.map(sql::name));
        add("encoding", item.property("encoding").map(sql::text));
        add("lc_collate", item.property("collate").map(sql::text));
        add("lc_ctype", item.property("ctype").map(sql::text));
        let provider = match item.property("provider") {
            Some("i" | "icu") => Some("icu"),
            Some("b" | "builtin") => Some("builtin"),
            _ => None,
        };
        if let Some(provider) = provider {
            add("locale_provider", Some(provider.to_owned()));
            let word = if provider == "icu" { "icu_locale" } else { "builtin_locale" };
            add(word, item.property("icu_locale").map(sql::text));
        }
        if let Some(space) = item.property("tablespace").filter(|space| *space != "pg_default") {
            match self.server.existing.tablespaces.contains(space) {
                true => add("tablespace", Some(sql::name(space))),
                false => notes
                    .push(format!("it was in the tablespace {space}, which is not there: it is in the default one")),
            }
        }
        text
    }

    /// Feeds the dump to the tool that its format asks for.
    fn content(&self, database: &str, dump: &Dump, at_once: bool, said: &mut Vec<OfDatabase>) -> Result<(), Failure> {
        match self.item.stream.format.as_str() {
            "plain" => self.plain(database, at_once, said),
            _ => self.restore(database, dump, at_once),
        }
    }

    fn no_tablespaces(&self) -> bool {
        // One that is missing is missing for tables and indexes, too.
        let space = self.item.property("tablespace").unwrap_or("pg_default");
        !self.server.existing.tablespaces.contains(space)
    }

    /// Makes the schemas of a table that is loaded alone: pg_restore does not.
    fn make_schemas(&self, database: &str) -> Result<(), Failure> {
        let Some(table) = &self.server.options.table else { return Ok(()) };
        let meant = parts(table);
        let saved = self.item.stream.tables.iter().flatten().map(|table| parts(&table.name));
        let keys = saved.filter(|key| rows::is_table(&meant, key)).chain([meant.clone()]);
        let schemas: BTreeSet<String> = keys.filter(|key| key.len() == 2).map(|key| key[0].clone()).collect();
        let text: String =
            schemas.iter().map(|schema| format!("create schema if not exists {};\n", sql::name(schema))).collect();
        if text.is_empty() { Ok(()) } else { self.server.ask(database, &text).map(drop) }
    }

    fn restore(&self, database: &str, dump: &Dump, at_once: bool) -> Result<(), Failure> {
        let options = self.server.options;
        self.make_schemas(database)?;
        let mut arguments: Vec<OsString> = vec!["--exit-on-error".into(), "-w".into(), "-d".into()];
        arguments.push(options.to.conninfo(Some(database)).into());
        let mut add = |is: bool, word: &str| {
            if is {
                arguments.push(word.into());
            }
        };
        add(options.no_owner, "--no-owner");
        add(options.no_privileges, "--no-privileges");
        add(self.no_tablespaces(), "--no-tablespaces");
        add(at_once, "--single-transaction");
        add(options.jobs > 1 && !at_once, &format!("--jobs={}", options.jobs));
        if let Some(role) = &options.role {
            add(true, &format!("--role={role}"));
        }
        if let Some(table) = &options.table {
            let mut parts = parts(table);
            let name = parts.pop().unwrap_or_default();
            add(true, &format!("--table={name}"));
            if let Some(schema) = parts.pop() {
                add(true, &format!("--schema={schema}"));
            }
        }
        if let Dump::Unpacked(path, _) = dump {
            arguments.push(path.into());
        }
        let reads = if options.table.is_some() { Reads::Enough } else { Reads::All };
        let command = options.tools.command("pg_restore", "pg_restore", arguments);
        run(&command, reads, self.server.observer, &mut |input| match dump {
            Dump::Streamed => self.stream.write_to(input, self.server.observer),
            Dump::Unpacked(..) => Ok(()),
        })
        .map(drop)
    }

    fn plain(&self, database: &str, at_once: bool, said: &mut Vec<OfDatabase>) -> Result<(), Failure> {
        let options = self.server.options;
        let wanted = Wanted {
            member: self.item.member().to_owned(),
            no_owner: options.no_owner,
            no_privileges: options.no_privileges,
            no_tablespaces: self.no_tablespaces(),
            server: self.server.major(),
        };
        let command = self.server.psql(Some(database));
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::BrokenPipe => Feed::Left,
            _ => Feed::Failed(e.to_string()),
        };
        run(&command, Reads::All, self.server.observer, &mut |input| {
            let begin = if at_once { "begin;\n" } else { "" };
            let role = options.role.as_ref().map(|role| format!("set role {};\n", sql::name(role)));
            input.write_all(format!("{begin}{}", role.unwrap_or_default()).as_bytes()).map_err(failed)?;
            let mut filter = PlainFilter::new(input, &wanted, said);
            self.stream.write_to(&mut filter, self.server.observer)?;
            filter.finish().map_err(failed)?;
            input.write_all(if at_once { b"\ncommit;\n" } else { b"\n" }).map_err(failed)
        })
        .map(drop)
    }

    /// Compares what was loaded with what was saved.
    fn compared(&self, database: &str, done: &mut Done) -> Result<(), Failure> {
        let options = self.server.options;
        let Some(saved) = &self.item.stream.tables else {
            done.notes.push("its rows were not counted when it was saved: it is not compared".to_owned());
            return Ok(());
        };
        if saved.iter().any(|table| table.checksum.is_some()) {
            done.notes.push("checksums were saved; rows are compared, checksums are not".to_owned());
        }
        if options.table.is_some() {
            done.notes.push("of the table itself only: its indexes, keys and triggers are not loaded".to_owned());
        }
        match rows::check(self.server, database, saved, options.table.as_deref())? {
            Ok((0, _)) if options.table.is_some() => Err(Failure::because("no table of this name was saved")),
            Ok((tables, rows)) => {
                (done.tables, done.rows) = (Some(tables), rows);
                Ok(())
            }
            Err(text) => Err(Failure::Because(format!("it is not what was saved: {text}"))),
        }
    }

    /// Says of the database what was said of the one that was saved: settings, limits, comment, grants.
    fn settle(&self, database: &str, said: &[OfDatabase], notes: &mut Vec<String>) -> Result<(), Failure> {
        let (options, name) = (self.server.options, sql::name(database));
        let mut text = format!("comment on database {name} is null;\n");
        let is_meant = |found: &&OfDatabase| match found.about {
            About::Making => false,
            About::Setting => true,
            About::Rights => !options.no_privileges,
        };
        let is_known = said.iter().any(|found| found.about != About::Making);
        for found in said.iter().filter(is_meant) {
            text.push_str(&found.of(database));
            text.push('\n');
        }
        let mut is_read_only = said.iter().any(OfDatabase::is_read_only);
        if !is_known {
            if let Some(limit) =
                self.item.property("connection_limit").and_then(|n| n.parse::<i32>().ok()).filter(|n| *n >= 0)
            {
                text.push_str(&format!("alter database {name} connection limit {limit};\n"));
            }
            let settings = self.item.stream.properties.iter().filter(|(key, _)| key == "set");
            for (key, value) in settings.filter_map(|(_, setting)| setting.split_once('=')) {
                is_read_only |= key == "default_transaction_read_only";
                text.push_str(&format!(
                    "alter database {name} set {} to {};\n",
                    setting_name(key),
                    setting_value(key, value)
                ));
            }
        }
        if is_read_only {
            notes.push("default_transaction_read_only was set aside while it was loaded, and is set again".to_owned());
        }
        // Not within a transaction: each holds for later sessions alone.
        let settled = ask(&self.server.psql(Some(&self.server.admin)), &text, self.server.observer);
        settled.map(drop).map_err(|failure| match failure {
            Failure::Because(why) => Failure::Because(format!("it is loaded, and its settings are not: {why}")),
            interrupted => interrupted,
        })
    }

    /// A name that says what a database was before, and that none has.
    fn free_name(&self) -> Result<String, Failure> {
        let id = self.item.snapshot.id.short();
        let names = std::iter::once(format!("_before_{id}")).chain((2..).map(|n| format!("_before_{id}_{n}")));
        for name in names.map(|suffix| with_suffix(self.target, &suffix)) {
            if self.server.database(&name)?.is_none() {
                return Ok(name);
            }
        }
        unreachable!("there are names without end")
    }

    /// Gives the database its name; the one that had it goes, or is given another.
    fn put_in_place(&self, temporary: &str, has_old: bool, notes: &mut Vec<String>) -> Result<(), Failure> {
        let (target, name) = (sql::name(self.target), sql::name(temporary));
        let rename = format!("alter database {name} rename to {target};");
        if !has_old {
            return self.server.admin(&rename).map(drop);
        }
        let aside = self.free_name()?;
        let aside_name = sql::name(&aside);
        let text = format!("begin;\nalter database {target} rename to {aside_name};\n{rename}\ncommit;");
        self.remember("replacing", String::new())?;
        if let Err(failure) = self.server.admin(&text) {
            return Err(match failure {
                Failure::Because(why) => {
                    self.remember("kept", String::new())?;
                    Failure::Because(format!("it is loaded as {temporary}, and cannot be put in place: {why}"))
                }
                interrupted => interrupted,
            });
        }
        match self.server.options.if_exists {
            IfExists::Replace => match self.server.admin(&format!("drop database {aside_name};")) {
                Err(Failure::Because(why)) => notes.push(format!("the old one is left as {aside}: {why}")),
                dropped => return dropped.map(drop),
            },
            _ => notes.push(format!("the old one is called {aside} now")),
        }
        Ok(())
    }
}

fn not_read(e: Feed) -> Failure {
    match e {
        Feed::Failed(what) => Failure::Because(what),
        Feed::Left => Failure::because("the scratch directory takes no more"),
    }
}

/// The archive in a directory that was unpacked: there, or one level below.
fn archive_in(folder: &std::path::Path) -> Option<PathBuf> {
    let below = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    std::iter::once(folder.to_owned()).chain(below).find(|path| path.join("toc.dat").is_file())
}

/// A name of a setting: words of letters with dots between.
fn setting_name(name: &str) -> String {
    name.split('.').map(sql::name).collect::<Vec<_>>().join(".")
}

/// The value of a setting, as the catalog has it, in SQL.
fn setting_value(key: &str, value: &str) -> String {
    if !LISTS.contains(&key.to_ascii_lowercase().as_str()) {
        return sql::text(value);
    }
    let names: Vec<String> = sql::words(value.as_bytes()).iter().filter_map(|w| w.name().map(sql::text)).collect();
    if names.is_empty() { "''".to_owned() } else { names.join(", ") }
}

/// A name with something behind it, no longer than the server keeps.
fn with_suffix(name: &str, suffix: &str) -> String {
    let mut len = name.len().min(NAME_LEN_MAX.saturating_sub(suffix.len()));
    while !name.is_char_boundary(len) {
        len -= 1;
    }
    format!("{}{suffix}", &name[..len])
}

/// The first version whose `pg_restore` makes a setting, `transaction_timeout`, that older servers do not know.
const SETS_TRANSACTION_TIMEOUT: u32 = 17;

/// Refuses a `pg_restore` that cannot read what `pg_dump` of the version `wrote` has written, or that the server does not
/// understand.
fn tools_fit(wrote: Option<u32>, tool: u32, server: u32) -> Result<(), String> {
    let sets = |version: u32| version >= SETS_TRANSACTION_TIMEOUT && server < SETS_TRANSACTION_TIMEOUT;
    match wrote {
        Some(wrote) if sets(wrote) => Err(format!(
            "pg_dump {wrote} wrote it: older versions of pg_restore cannot read it, and this one sets transaction_timeout, \
             which the server of version {server} does not know; load it by hand: pg_restore -f - DUMP | \
             sed '1,50{{/^SET transaction_timeout = 0;$/d}}' | psql -X -v ON_ERROR_STOP=1 -d NAME"
        )),
        Some(wrote) if wrote > tool => Err(format!(
            "pg_restore {tool} cannot read dumps of pg_dump {wrote}: install the client tools of PostgreSQL {wrote}, or \
             name their directory with --bin"
        )),
        _ if sets(tool) => Err(format!(
            "pg_restore {tool} sets transaction_timeout, which the server of version {server} does not know: use the \
             client tools of PostgreSQL 16 or older (--bin)"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors sent the user from one version of the tools to the other and back.
    #[test]
    fn tools_that_do_not_fit_are_refused_with_what_to_do() {
        let error = |wrote, tool, server| tools_fit(Some(wrote), tool, server).unwrap_err();
        assert!(tools_fit(Some(15), 16, 15).is_ok() && tools_fit(Some(15), 17, 17).is_ok());
        assert!(tools_fit(None, 15, 15).is_ok() && tools_fit(Some(13), 15, 18).is_ok());
        assert!(error(16, 15, 15).contains("install the client tools of PostgreSQL 16"));
        assert!(error(15, 17, 15).contains("use the client tools of PostgreSQL 16 or older"));
        for tool in [15, 17, 18] {
            let text = error(17, tool, 15);
            assert!(
                text.contains("by hand") && text.contains("sed '1,50{/^SET transaction_timeout = 0;$/d}'"),
                "{text}"
            );
        }
    }

    #[test]
    fn settings_are_said_as_pg_dump_says_them() {
        assert_eq!(setting_value("search_path", "\"$user\", public"), "'$user', 'public'");
        assert_eq!(setting_value("application_name", "a, b's"), "'a, b''s'");
        assert_eq!(setting_name("app.user"), "\"app\".\"user\"");
    }

    #[test]
    fn names_stay_within_what_the_server_keeps() {
        let long = "ä".repeat(31);
        let name = with_suffix(&long, "_before_12345678");
        assert!(name.len() <= NAME_LEN_MAX && name.ends_with("ä_before_12345678"), "{name}");
        assert_eq!(with_suffix("fence", "_before_1"), "fence_before_1");
    }
}
