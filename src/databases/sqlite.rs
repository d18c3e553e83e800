//! Files of SQLite as sources: a consistent copy of each, made while others write to it.
//!
//! The copy is made by SQLite's online backup interface within one read transaction, so that it is of one moment however
//! much is written meanwhile. A database in WAL mode can be written to at the same time; with a rollback journal, writers
//! wait for the copy. The file itself is opened for reading only.
//!
//! The copy is checked, its rows are counted, and it is saved as a stream. It lies in a private folder until then.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::scratch::Scratch;
use crate::format::description::{StreamDescription, TableCount};
use crate::ops::backup::{Dump, Dumped, Origin, Source, StreamOptions, dumps_source};
use crate::primitives::error_chain::error_chain;
use crate::primitives::progress::Severity;

/// What descriptions call this kind.
pub const KIND: &str = "sqlite";

/// So many pages are copied before it is asked whether to stop.
const PAGES_AT_ONCE: i32 = 1024;

/// How long a lock of another process is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// How often it is asked whether to stop, while a copy is checked or waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How many findings of a check are told.
const FINDINGS_MAX: u32 = 10;

/// What is saved, and how.
pub struct SqliteOptions {
    /// The files.
    pub paths: Vec<PathBuf>,
    /// Where copies lie for a while.
    pub scratch_dir: PathBuf,
    /// Whether rows are counted.
    pub counts: bool,
}

/// Files of SQLite as a source of this name. Several are members of it, each called by its path.
pub fn sqlite_source(name: String, options: SqliteOptions, stream: StreamOptions) -> Box<dyn Source> {
    let list = move || -> Vec<Box<dyn Dump>> {
        let has_members = options.paths.len() > 1;
        let dump = |path: &PathBuf| -> Box<dyn Dump> {
            Box::new(FileDump {
                file: path.file_name().unwrap_or(OsStr::new("database")).to_string_lossy().into_owned(),
                member: has_members.then(|| path.display().to_string()),
                path: path.clone(),
                scratch_dir: options.scratch_dir.clone(),
                counts: options.counts,
                copied: None,
            })
        };
        options.paths.iter().map(dump).collect()
    };
    dumps_source(name, stream, Box::new(move |_| Ok(list())))
}

/// What stands in the way of saving them: nothing is copied.
pub fn check(options: &SqliteOptions) -> Vec<String> {
    let mut problems: Vec<String> = options
        .paths
        .iter()
        .filter_map(|path| open(path).and_then(|file| begin(&file, path)).map(drop).err())
        .collect();
    problems.extend(Scratch::new(&options.scratch_dir, 0, None).err());
    problems
}

struct FileDump {
    path: PathBuf,
    file: String,
    member: Option<String>,
    scratch_dir: PathBuf,
    counts: bool,
    copied: Option<Copied>,
}

/// A copy, and what is known of it.
struct Copied {
    /// Holds it.
    _scratch: Scratch,
    tables: Option<Vec<TableCount>>,
    findings: Vec<(Severity, String)>,
}

impl Dump for FileDump {
    fn file(&self) -> &str {
        &self.file
    }

    fn member(&self) -> Option<&str> {
        self.member.as_deref()
    }

    fn open(&mut self, stop: &dyn Fn() -> bool) -> Result<Origin, String> {
        // A copy of a try that failed makes room for this one.
        self.copied = None;
        let source = open(&self.path)?;
        let len = begin(&source, &self.path)?;
        let scratch = Scratch::new(&self.scratch_dir, len, None)?;
        let at = scratch.path().join("copy");
        copy(&source, &at, stop).map_err(|why| format!("cannot copy {}: {why}", self.path.display()))?;
        drop(source);
        let look_at = Connection::open_with_flags(&at, reading());
        let look_at = look_at.map_err(|e| failed("cannot open the copy of", &self.path, &e))?;
        let counts = self.counts;
        let (tables, findings) = unless_stopped(look_at, stop, move |copy| looked_at(copy, counts))?;
        let reader = File::open(&at).map_err(|e| format!("cannot read the copy of {}: {e}", self.path.display()))?;
        self.copied = Some(Copied { _scratch: scratch, tables, findings });
        Ok(Origin::Reader(Box::new(reader)))
    }

    fn finish(&mut self, _stop: &dyn Fn() -> bool) -> Result<Dumped, String> {
        let Some(copied) = self.copied.take() else { return Err("it was not copied".to_owned()) };
        let described = StreamDescription {
            member: self.member.clone(),
            kind: KIND.to_owned(),
            format: "sqlite".to_owned(),
            tool: Some(format!("SQLite {}", rusqlite::version())),
            tables: copied.tables,
            load: Some(format!("copy the file to {} while no program uses that", self.path.display())),
            ..StreamDescription::default()
        };
        Ok(Dumped { described: Some(described), findings: copied.findings })
    }
}

fn reading() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn failed(what: &str, path: &Path, e: &rusqlite::Error) -> String {
    format!("{what} {}: {}", path.display(), error_chain(e))
}

/// The database of the user, for reading.
fn open(path: &Path) -> Result<Connection, String> {
    let shown = path.display();
    let meta = std::fs::metadata(path).map_err(|e| format!("cannot read {shown}: {e}"))?;
    if !meta.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    let connection = Connection::open_with_flags(path, reading()).map_err(|e| failed("cannot open", path, &e))?;
    connection.busy_timeout(LOCK_WAIT).map_err(|e| failed("cannot open", path, &e))?;
    Ok(connection)
}

/// Begins to read: what is read from here on is of this moment. Returns the length of the database.
fn begin(source: &Connection, path: &Path) -> Result<u64, String> {
    let read = || -> rusqlite::Result<u64> {
        source.execute_batch("begin")?;
        source.query_row("select count(*) from sqlite_schema", (), |_| Ok(()))?;
        let number = |pragma: &str| source.query_row(pragma, (), |row| row.get::<_, i64>(0));
        Ok((number("pragma page_count")? as u64).saturating_mul(number("pragma page_size")? as u64))
    };
    read().map_err(|e| {
        let advice = match e.sqlite_error_code() {
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                "; if it was not closed properly, open it once with the program that it belongs to, \
                 and let this program write to its directory"
            }
            Some(ErrorCode::DatabaseBusy) => "; another program holds it locked",
            _ => "",
        };
        failed("cannot read", path, &e) + advice
    })
}

/// Copies all pages. The read transaction of `source` keeps them as they were at its beginning.
fn copy(source: &Connection, to: &Path, stop: &dyn Fn() -> bool) -> Result<(), String> {
    let text = |e: rusqlite::Error| error_chain(&e);
    let mut copy = Connection::open(to).map_err(text)?;
    // It is of use only if it is whole.
    copy.execute_batch("pragma journal_mode = off; pragma synchronous = off").map_err(text)?;
    let backup = Backup::new(source, &mut copy).map_err(text)?;
    loop {
        if stop() {
            return Err("it was given up".to_owned());
        }
        match backup.step(PAGES_AT_ONCE).map_err(text)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _ => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// Does something with a connection that can be interrupted.
fn unless_stopped<T: Send>(
    connection: Connection,
    stop: &dyn Fn() -> bool,
    work: impl FnOnce(&Connection) -> T + Send,
) -> Result<T, String> {
    let interrupt = connection.get_interrupt_handle();
    std::thread::scope(|scope| {
        let working = scope.spawn(move || work(&connection));
        let mut stopped = false;
        while !working.is_finished() {
            if stop() {
                stopped = true;
                interrupt.interrupt();
            }
            std::thread::sleep(LOOK_EVERY);
        }
        match working.join() {
            Ok(done) if !stopped => Ok(done),
            _ => Err("it was given up".to_owned()),
        }
    })
}

type LookedAt = (Option<Vec<TableCount>>, Vec<(Severity, String)>);

/// Checks a copy and counts its rows.
fn looked_at(copy: &Connection, counts: bool) -> LookedAt {
    let mut findings = Vec::new();
    match checked(copy) {
        Ok(problems) => {
            let damaged =
                problems.into_iter().map(|text| (Severity::Error, format!("the database is damaged: {text}")));
            findings.extend(damaged);
        }
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            findings.push((Severity::Error, format!("the database is damaged: {}", error_chain(&e))));
        }
        // It needs functions or collations of the program that it belongs to.
        Err(e) => findings.push((Severity::Note, format!("the copy could not be checked: {}", error_chain(&e)))),
    }
    let tables = counts.then(|| tables(copy)).transpose().unwrap_or_else(|e| {
        findings.push((Severity::Warning, format!("its rows could not be counted: {}", error_chain(&e))));
        None
    });
    (tables, findings)
}

/// What SQLite finds wrong with it.
fn checked(copy: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = copy.prepare(&format!("pragma integrity_check({FINDINGS_MAX})"))?;
    let lines = check.query_map((), |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

fn tables(copy: &Connection) -> rusqlite::Result<Vec<TableCount>> {
    let mut list = copy.prepare(
        "select name from pragma_table_list where schema = 'main' and type = 'table' and substr(name, 1, 7) <> 'sqlite_' \
         order by name",
    )?;
    let names = list.query_map((), |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let count = |name: String| {
        let sql = format!("select count(*) from main.\"{}\"", name.replace('"', "\"\""));
        let rows = copy.query_row(&sql, (), |row| row.get::<_, i64>(0))?;
        Ok(TableCount { name, rows: rows as u64, checksum: None })
    };
    names.into_iter().map(count).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn dump_of(path: &Path, scratch: &Path) -> FileDump {
        FileDump {
            path: path.to_owned(),
            file: "x.db".to_owned(),
            member: None,
            scratch_dir: scratch.to_owned(),
            counts: true,
            copied: None,
        }
    }

    fn taken(dump: &mut FileDump) -> (Vec<u8>, Dumped) {
        let Ok(Origin::Reader(mut reader)) = dump.open(&|| false) else { panic!("it is there") };
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        (bytes, dump.finish(&|| false).unwrap())
    }

    /// Two rows that a writer keeps equal are equal in each copy, however it is written to; and it can be.
    #[test]
    fn a_copy_is_of_one_moment_while_another_connection_writes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, scratch) = (folder.path().join("x.db"), folder.path().join("scratch"));
        std::fs::create_dir(&scratch).unwrap();
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch(
                "pragma journal_mode = wal; pragma synchronous = off; create table pair(id integer primary key, n); create table \"odd \"\"t\"(a);
                 insert into pair values (1, 0), (500, 0);
                 with recursive i(n) as (select 2 union all select n + 1 from i where n < 499)
                 insert into pair select n, hex(randomblob(4000)) from i;
                 insert into \"odd \"\"t\" values (1), (2);",
            )
            .unwrap();
        let ends = AtomicBool::new(false);
        let (ends, path) = (&ends, &path);
        let copies = std::thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let mut written = 0u64;
                while !ends.load(Ordering::Relaxed) || written == 0 {
                    writer.execute_batch("update pair set n = n + 1 where id in (1, 500)").unwrap();
                    written += 1;
                }
                written
            });
            let copies: Vec<Vec<u8>> = (0..5)
                .map(|_| {
                    let (bytes, dumped) = taken(&mut dump_of(path, &scratch));
                    let tables = dumped.described.unwrap().tables.unwrap();
                    let counts: Vec<_> = tables.iter().map(|table| (table.name.as_str(), table.rows)).collect();
                    assert_eq!(counts, [("odd \"t", 2), ("pair", 500)]);
                    assert!(dumped.findings.is_empty(), "{:?}", dumped.findings);
                    bytes
                })
                .collect();
            ends.store(true, Ordering::Relaxed);
            assert!(writing.join().unwrap() > 0, "it was never locked out");
            copies
        });
        assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0, "nothing is left behind");
        for bytes in copies {
            let at = folder.path().join("copy.db");
            std::fs::write(&at, bytes).unwrap();
            let copy = Connection::open(&at).unwrap();
            let value = |id: i64| copy.query_row("select n from pair where id = ?", [id], |row| row.get::<_, i64>(0));
            assert_eq!(value(1).unwrap(), value(500).unwrap());
        }
    }

    #[test]
    fn the_same_database_makes_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("create table t(a); insert into t values (1)").unwrap();
        let first = taken(&mut dump_of(&path, folder.path())).0;
        assert_eq!(first, taken(&mut dump_of(&path, folder.path())).0);
    }

    #[test]
    fn what_is_missing_no_database_or_damaged_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let why = |path: &Path| dump_of(path, folder.path()).open(&|| false).err().unwrap_or_default();
        assert!(why(&path).contains("cannot read") && why(folder.path()).contains("not a file"));
        std::fs::write(&path, vec![b'x'; 5000]).unwrap();
        assert!(why(&path).contains("not a database"), "{}", why(&path));
        std::fs::remove_file(&path).unwrap();
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch("create table t(a, b); create index i on t(a); insert into t values (1, 2), (3, 4);
                pragma writable_schema = on; update sqlite_schema set rootpage = (select max(rootpage) from sqlite_schema)
                where name = 't';")
            .unwrap();
        drop(writer);
        let mut dump = dump_of(&path, folder.path());
        let damaged = dump.open(&|| false).err().map_or_else(
            || dump.finish(&|| false).unwrap().findings.iter().any(|(severity, _)| *severity == Severity::Error),
            |why| why.contains("malformed"),
        );
        assert!(damaged);
        let stopped = dump_of(&path, folder.path()).open(&|| true).err().unwrap_or_default();
        assert!(stopped.contains("given up"), "{stopped}");
    }
}
