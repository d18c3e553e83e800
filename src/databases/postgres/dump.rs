//! The dump of one database.

use std::ffi::OsString;
use std::sync::Arc;

use crate::databases::scratch::Scratch;
use crate::format::description::{StreamDescription, TableCount};
use crate::ops::backup::{Dump, Dumped};
use crate::primitives::component::component;
use crate::primitives::progress::Severity;
use crate::source::command::{CommandSource, Program};

use super::connection::shell_option;
use super::options::{Format, PostgresOptions};
use super::plain::{PlainCounter, TableName};
use super::restrict;
use super::server::{Database, Server};
use super::session::Session;
use super::tables::{Counting, Table, matching, named, tables};

/// Runs a dump into a directory, then writes that as a tar stream, in which nothing differs that does not differ in the
/// dump.
const TAR_SCRIPT: &str = "\"${@:2}\" >&2 && exec tar --create --file=- --format=gnu --sort=name --mtime=@0 --owner=0 \
                          --group=0 --numeric-owner --directory=\"$1\" .";

/// The dump of one database.
pub(super) struct DatabaseDump {
    server: Arc<Server>,
    options: Arc<PostgresOptions>,
    database: Database,
    file: String,
    counter: Counter,
    scratch: Option<Scratch>,
    findings: Vec<(Severity, String)>,
}

/// Who counts the rows.
enum Counter {
    Nobody,
    /// The stream, while it passes, and the tables of the database.
    Stream(PlainCounter, Vec<Table>),
    /// A session in the snapshot of the dump, and the tables to which it keeps.
    Session(Session, Option<Vec<TableName>>),
}

impl DatabaseDump {
    pub(super) fn new(server: Arc<Server>, options: Arc<PostgresOptions>, database: Database) -> Self {
        let end = match options.format {
            Format::Plain => "sql",
            Format::Directory => "tar",
            Format::Custom | Format::BaseBackup => "dump",
        };
        let file = format!("{}.{end}", component(&database.name));
        Self { server, options, database, file, counter: Counter::Nobody, scratch: None, findings: Vec::new() }
    }

    /// Who is to count the rows. A database that cannot be counted is saved all the same, and that is said.
    fn counter(&mut self) -> Counter {
        let (options, name) = (&self.options, &self.database.name);
        let made = match (options.counting, options.format) {
            (Counting::Off, _) => Ok(Counter::Nobody),
            (Counting::Rows, Format::Plain) => {
                tables(&self.server, name).map(|tables| Counter::Stream(PlainCounter::default(), tables))
            }
            _ => {
                let only = match options.tables.as_slice() {
                    [] => Ok(None),
                    patterns => matching(&self.server, name, patterns).map(Some),
                };
                only.and_then(|only| {
                    let session = Session::open(&self.server, name, options.lock_wait(), only.as_deref())?;
                    Ok(Counter::Session(session, only))
                })
            }
        };
        made.unwrap_or_else(|e| {
            // Old standbys export no snapshots, and there is nothing to be done.
            let severity = if self.server.facts.is_standby { Severity::Note } else { Severity::Warning };
            self.findings.push((severity, not_counted(&e)));
            Counter::Nobody
        })
    }

    fn words(&self) -> Vec<OsString> {
        let options = &self.options;
        let mut words: Vec<OsString> = vec![
            "--no-password".into(),
            format!("--lock-wait-timeout={}", options.lock_wait().as_millis()).into(),
            self.server.connection.option(Some(&self.database.name)).into(),
        ];
        words.extend(options.tables.iter().map(|pattern| format!("--table={pattern}").into()));
        if let Counter::Session(session, _) = &self.counter {
            words.push(format!("--snapshot={}", session.snapshot()).into());
        }
        match options.format {
            Format::Plain => {
                words.push("--format=plain".into());
                if let Some(key) = restrict_key(&self.server, options, "pg_dump", &self.database.name) {
                    words.push(format!("--restrict-key={key}").into());
                }
            }
            Format::Directory => words.extend(["--format=directory", "--compress=0", "--no-sync"].map(Into::into)),
            Format::Custom | Format::BaseBackup => words.extend(["--format=custom", "--compress=0"].map(Into::into)),
        }
        words
    }

    /// A command that dumps into a private folder, and writes that as one stream.
    fn through_scratch(&mut self, mut words: Vec<OsString>) -> Result<CommandSource, String> {
        let Some(parent) = &self.options.scratch_dir else { return Err("`scratch_dir` is not set".to_owned()) };
        let size = "select pg_catalog.pg_database_size(pg_catalog.current_database());";
        let size = self.server.ask::<u64>(&self.database.name, size)?;
        let tools = &self.server.tools;
        let scratch = Scratch::new(parent, size, tools.run_as.as_deref())?;
        let mut file: OsString = "--file=".into();
        file.push(scratch.path());
        words.push(file);
        let mut command = tools.command(self.file.clone(), "pg_dump", words);
        if let Program::Words(dump) = command.program {
            let shell = ["bash", "-c", TAR_SCRIPT, "strongroom"].map(OsString::from);
            let words = shell.into_iter().chain([scratch.path().into()]).chain(dump);
            command.program = Program::Words(words.collect());
        }
        self.scratch = Some(scratch);
        Ok(command)
    }

    /// What the counter has counted.
    fn counted(&mut self, stop: &dyn Fn() -> bool) -> Option<Vec<TableCount>> {
        let counted = match std::mem::replace(&mut self.counter, Counter::Nobody) {
            Counter::Nobody => return None,
            Counter::Stream(counter, tables) => match counter.finish() {
                Some(counted) => Ok(named(counted, tables)),
                None => Err("the dump is not as pg_dump writes it".to_owned()),
            },
            Counter::Session(session, only) => session.count(self.options.counting, only.as_deref(), stop),
        };
        match counted {
            Ok(counts) => Some(counts),
            Err(e) => {
                self.findings.push((Severity::Warning, not_counted(&e)));
                None
            }
        }
    }

    fn load_command(&self) -> String {
        let database = shell_option(&self.database.name);
        match self.options.format {
            Format::Plain => format!("psql --no-psqlrc --set=ON_ERROR_STOP=1 {database}"),
            Format::Directory => format!(
                "mkdir DIRECTORY && tar --extract --file={{file}} --directory=DIRECTORY && \
                 pg_restore --exit-on-error {database} DIRECTORY"
            ),
            Format::Custom | Format::BaseBackup => format!("pg_restore --exit-on-error {database}"),
        }
    }
}

fn not_counted(why: &str) -> String {
    format!("the rows of its tables are not counted: {why}")
}

/// The key of `\restrict` for a member, if there is a secret and the tool takes one.
pub(super) fn restrict_key(server: &Server, options: &PostgresOptions, tool: &str, member: &str) -> Option<String> {
    let secret = options.restrict_secret.as_ref()?;
    server.tool_knows(tool, "--restrict-key").then(|| restrict::key(secret, &format!("{}\0{member}", options.name)))
}

impl Dump for DatabaseDump {
    fn file(&self) -> &str {
        &self.file
    }

    fn member(&self) -> Option<&str> {
        Some(&self.database.name)
    }

    fn begin(&mut self) -> Result<CommandSource, String> {
        self.findings.clear();
        self.scratch = None;
        // One after the other: of two tries, the first one's session is over.
        self.counter = Counter::Nobody;
        self.counter = self.counter();
        let words = self.words();
        match self.options.format {
            Format::Directory => self.through_scratch(words),
            _ => Ok(self.server.tools.command(self.file.clone(), "pg_dump", words)),
        }
    }

    fn saw(&mut self, bytes: &[u8]) {
        if let Counter::Stream(counter, _) = &mut self.counter {
            counter.saw(bytes);
        }
    }

    fn finish(&mut self, stop: &dyn Fn() -> bool) -> Result<Dumped, String> {
        self.scratch = None;
        let tables = self.counted(stop);
        let described = StreamDescription {
            member: Some(self.database.name.clone()),
            kind: "postgres".to_owned(),
            format: self.options.format.name().to_owned(),
            tool: Some(self.server.tool_version.clone()),
            server: Some(self.server.facts.version.clone()),
            properties: self.database.described(),
            tables,
            load: Some(self.load_command()),
            members: Vec::new(),
            line: None,
        };
        Ok(Dumped { described: Some(described), findings: std::mem::take(&mut self.findings) })
    }

    fn gone(&mut self) -> Option<String> {
        self.scratch = None;
        self.counter = Counter::Nobody;
        let is_gone = self.server.lacks(&self.database.name);
        is_gone.then(|| "the database was dropped after the databases were listed".to_owned())
    }
}

/// A database that was asked for and cannot be saved.
pub(super) struct Refused {
    name: String,
    file: String,
    why: String,
}

impl Refused {
    pub(super) fn new(name: String, why: String) -> Self {
        Self { file: component(&name), name, why }
    }
}

impl Dump for Refused {
    fn file(&self) -> &str {
        &self.file
    }

    fn member(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn refused(&self) -> Option<&str> {
        Some(&self.why)
    }

    fn begin(&mut self) -> Result<CommandSource, String> {
        Err(self.why.clone())
    }

    fn finish(&mut self, _stop: &dyn Fn() -> bool) -> Result<Dumped, String> {
        Err(self.why.clone())
    }
}
