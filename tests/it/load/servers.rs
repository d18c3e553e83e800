//! Servers of the tests of `load`, and snapshots of their databases.

use std::path::Path;
use std::sync::Arc;

use strongroom::format::description::{StreamDescription, TableCount};
use strongroom::format::record::Outcome;
use strongroom::ops::backup::{Dump, Dumped, Job, Source, StreamOptions, backup_sources, dumps_source};
use strongroom::primitives::progress::Silent;
use strongroom::primitives::system::OsSystem;
use strongroom::repository::{LocalPlaces, Repository};
use strongroom::source::command::CommandSource;
use strongroom::store::LocalStore;
use zeroize::Zeroizing;

use crate::harness::{BackupOptions, options};
use crate::program::Strongroom;
pub(super) use crate::servers::mariadb::MariaDb;
pub(super) use crate::servers::postgres::Postgres;

/// A PostgreSQL server that is saved and loaded into.
pub(super) trait Server {
    /// What `--to` says.
    fn to(&self, user: &str) -> String;
    /// Its databases but templates.
    fn databases(&self) -> Vec<String>;
    /// A dump of a database.
    fn dump(&self, database: &str, format: &str) -> TestDump;
    /// A dump of its roles.
    fn globals(&self) -> TestDump;
}

fn client(server: &Postgres, tool: &str, more: &[&str]) -> CommandSource {
    let at = server.at();
    CommandSource::of_words(tool, [&[tool, "-h", &at, "-U", &server.admin], more].concat())
}

impl Server for Postgres {
    fn to(&self, user: &str) -> String {
        format!("host={} user={user}", self.at())
    }

    fn databases(&self) -> Vec<String> {
        let all = self.sql("postgres", "select datname from pg_database where not datistemplate order by 1");
        all.lines().map(str::to_owned).collect()
    }

    fn dump(&self, database: &str, format: &str) -> TestDump {
        let command = match format {
            "custom" => client(self, "pg_dump", &["-Fc", "-Z0", "-d", database]),
            "plain -C" => client(self, "pg_dump", &["-C", "-d", database]),
            "directory" => {
                let line = format!(
                    "d=$(mktemp -d) && pg_dump -h '{}' -U {} -Fd -f $d/x -d \"$DB\" && tar -C $d -cf - x && rm -r $d",
                    self.at(),
                    self.admin
                );
                let mut command = CommandSource::new("dump", line);
                command.env.push(("DB".into(), database.into()));
                command
            }
            _ => client(self, "pg_dump", &["-d", database]),
        };
        let word = |sql: &str| {
            self.sql(database, &format!("select {sql} from pg_database where datname = current_database()"))
        };
        let mut properties = vec![
            ("owner".to_owned(), word("pg_get_userbyid(datdba)")),
            ("encoding".to_owned(), word("pg_encoding_to_char(encoding)")),
            ("collate".to_owned(), word("datcollate")),
            ("ctype".to_owned(), word("datctype")),
            ("provider".to_owned(), word("case datlocprovider when 'i' then 'icu' else 'libc' end")),
            ("tablespace".to_owned(), "pg_default".to_owned()),
            ("connection_limit".to_owned(), word("datconnlimit")),
        ];
        let set = self.sql(
            database,
            "select unnest(setconfig) from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase \
             where datname = current_database() and setrole = 0",
        );
        properties.extend(set.lines().map(|line| ("set".to_owned(), line.to_owned())));
        let names = self.sql(
            database,
            "select format('%I.%I', schemaname, tablename) from pg_tables \
             where schemaname not in ('pg_catalog', 'information_schema')",
        );
        let rows = |name: &str| self.sql(database, &format!("select count(*) from {name}")).parse().unwrap();
        let tables = names.lines().map(|name| TableCount { name: name.to_owned(), rows: rows(name), checksum: None });
        TestDump {
            command,
            described: StreamDescription {
                member: Some(database.to_owned()),
                kind: "postgres".to_owned(),
                format: format.split(' ').next().unwrap().to_owned(),
                tool: Some("pg_dump (PostgreSQL) 15.18".to_owned()),
                server: Some(self.sql(database, "show server_version")),
                properties,
                tables: Some(tables.collect()),
                ..StreamDescription::default()
            },
        }
    }

    fn globals(&self) -> TestDump {
        let command = client(self, "pg_dumpall", &["--globals-only"]);
        TestDump { command, described: described("postgres", "globals", "globals") }
    }
}

fn described(kind: &str, format: &str, member: &str) -> StreamDescription {
    let member = Some(member.to_owned());
    StreamDescription { member, kind: kind.to_owned(), format: format.to_owned(), ..StreamDescription::default() }
}

/// A MariaDB server that is saved and loaded into.
pub(super) trait MariaDbServer {
    /// What `--to` says.
    fn to(&self, user: &str) -> String;
    /// A dump of a database; `more` are options and tables.
    fn dump(&self, database: &str, more: &[&str], tables: &[(&str, u64)]) -> TestDump;
}

impl MariaDbServer for MariaDb {
    fn to(&self, user: &str) -> String {
        format!("socket={} user={user}", self.socket())
    }

    fn dump(&self, database: &str, more: &[&str], tables: &[(&str, u64)]) -> TestDump {
        let socket = format!("--socket={}", self.socket());
        let fixed = [
            "mariadb-dump",
            "--no-defaults",
            "-u",
            "root",
            &socket,
            "--single-transaction",
            "--skip-dump-date",
            "--routines",
        ];
        let command = CommandSource::of_words("dump", [&fixed[..], more].concat());
        let tables =
            tables.iter().map(|(name, rows)| TableCount { name: (*name).to_owned(), rows: *rows, checksum: None });
        let mut stream = described("mysql", "plain", database);
        stream.properties = [("character_set", "latin1"), ("collation", "latin1_german1_ci")]
            .map(|(k, v)| (k.into(), v.into()))
            .to_vec();
        stream.tables = Some(tables.collect());
        TestDump { command, described: stream }
    }
}

/// A dump that is saved with a description.
#[derive(Clone)]
pub(super) struct TestDump {
    pub command: CommandSource,
    pub described: StreamDescription,
}

impl TestDump {
    /// The output of a command for bash instead.
    pub(super) fn with_line(mut self, line: &str) -> Self {
        self.command = CommandSource::new("dump", line);
        self
    }
}

impl Dump for TestDump {
    fn file(&self) -> &str {
        "dump"
    }

    fn member(&self) -> Option<&str> {
        self.described.member.as_deref()
    }

    fn begin(&mut self) -> Result<CommandSource, String> {
        Ok(self.command.clone())
    }

    fn finish(&mut self, _stop: &dyn Fn() -> bool) -> Result<Dumped, String> {
        Ok(Dumped { described: Some(self.described.clone()), findings: Vec::new() })
    }
}

/// Saves sources of the job `idp`, each with its dumps, as one set.
pub(super) fn save(sr: &Strongroom, sources: Vec<(&str, Vec<TestDump>)>) {
    save_with(sr, sources, &[], Outcome::Complete);
}

/// As [`save`], with answers that were recorded, and how the set ends.
pub(super) fn save_with(
    sr: &Strongroom,
    sources: Vec<(&str, Vec<TestDump>)>,
    records: &[(&str, &str)],
    expected: Outcome,
) {
    let store = Arc::new(LocalStore::open(&sr.at("repo"), 0).expect("the repository is there"));
    let home = sr.at("saver");
    let places = LocalPlaces { cache: home.join("cache"), state: home.join("state") };
    let passphrase = Zeroizing::new(b"open sesame".to_vec());
    let repository = Repository::open(store, &passphrase, &places, Arc::new(OsSystem)).expect("it opens");
    let source = |(name, dumps): (&str, Vec<TestDump>)| -> Box<dyn Source> {
        let list = move |_: &dyn strongroom::primitives::progress::Observer| {
            Ok(dumps.into_iter().map(|dump| Box::new(dump) as Box<dyn Dump>).collect())
        };
        dumps_source(format!("idp/{name}"), StreamOptions::default(), Box::new(list))
    };
    let records = records.iter().map(|(name, answer)| ((*name).to_owned(), (*answer).to_owned())).collect();
    let notes = Some("Restart the pods\nand look".to_owned());
    let job = Some(Job { name: "idp".to_owned(), job_type: "Daily".to_owned(), notes, records, alone: false });
    let options = BackupOptions { job, ..options(&[]) };
    let report =
        backup_sources(&repository, sources.into_iter().map(source).collect(), options, &Silent).expect("a backup");
    assert_eq!(report.outcome, expected, "{report:?}");
}

/// Loads the newest set of the job into a server.
#[track_caller]
pub(super) fn load(sr: &Strongroom, code: i32, to: &str, more: &[&str]) -> String {
    sr.expect(code, &[&["load", "--job", "idp", "--to", to], more].concat())
}

/// A program in a folder that stands for a tool.
pub(super) fn tool(folder: &Path, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(folder).unwrap();
    let at = folder.join(name);
    std::fs::write(&at, format!("#!/bin/bash\n{script}\n")).unwrap();
    std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o755)).unwrap();
}
