//! Servers of the tests of `load`, and snapshots of their databases.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use strongroom::format::description::{StreamDescription, TableCount};
use strongroom::ops::backup::{Dump, Dumped, Job, Source, StreamOptions, backup_sources, dumps_source};
use strongroom::primitives::progress::Silent;
use strongroom::primitives::system::OsSystem;
use strongroom::repository::{LocalPlaces, Repository};
use strongroom::source::command::CommandSource;
use strongroom::store::LocalStore;
use zeroize::Zeroizing;

use crate::harness::{BackupOptions, options};
use crate::program::Strongroom;

fn root() -> bool {
    rustix::process::getuid().is_root()
}

/// Runs `command` by bash, as `user` if we are root: the servers refuse to be root's.
fn shell(user: &str, command: &str) -> Output {
    let mut run = Command::new(if root() { "setpriv" } else { "bash" });
    if root() {
        run.args(["--reuid", user, "--regid", user, "--init-groups", "bash"]);
    }
    run.args(["-c", command]).current_dir("/").stdin(Stdio::null()).output().expect("bash and setpriv are there")
}

#[track_caller]
fn must(user: &str, command: &str) -> String {
    let output = shell(user, command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {}\n{errors}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn folder_for(user: &str) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    if root() {
        assert!(Command::new("chown").arg(user).arg(folder.path()).status().expect("chown runs").success());
    }
    folder
}

/// A private PostgreSQL server, with a superuser of this name; stopped and removed when dropped.
pub(super) struct Postgres {
    folder: tempfile::TempDir,
    pub bin: PathBuf,
    pub admin: String,
}

impl Postgres {
    pub(super) fn start(admin: &str) -> Self {
        let installed = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
        let mut bins: Vec<PathBuf> = installed.map(|e| e.expect("readable").path().join("bin")).collect();
        bins.retain(|bin| bin.join("initdb").exists());
        bins.sort();
        let bin = bins.pop().expect("a PostgreSQL server is installed");
        let server = Self { folder: folder_for("postgres"), bin, admin: admin.to_owned() };
        let (at, bin) = (server.at(), server.bin.display());
        must("postgres", &format!("{bin}/initdb -D {at}/data -A trust -E UTF8 --locale=C.UTF-8 -U {admin} --no-sync"));
        let options = format!("-c listen_addresses= -k {at} -c fsync=off");
        must("postgres", &format!("{bin}/pg_ctl -D {at}/data -o '{options}' -l {at}/log -w start"));
        server
    }

    pub(super) fn at(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// What `--to` says.
    pub(super) fn to(&self, user: &str) -> String {
        format!("host={} user={user}", self.at())
    }

    pub(super) fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new("psql");
        psql.args(["-h", &self.at(), "-U", &self.admin, "-X", "-v", "ON_ERROR_STOP=1", "-qtA", "-d", database]);
        let output = psql.env("PGOPTIONS", "-c client_min_messages=warning").args(["-c", sql]).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(super) fn databases(&self) -> Vec<String> {
        let all = self.sql("postgres", "select datname from pg_database where not datistemplate order by 1");
        all.lines().map(str::to_owned).collect()
    }

    fn client(&self, tool: &str, more: &[&str]) -> CommandSource {
        let at = self.at();
        let words = [&[tool, "-h", &at, "-U", &self.admin], more].concat();
        CommandSource::of_words(tool, words)
    }

    /// A dump of a database.
    pub(super) fn dump(&self, database: &str, format: &str) -> TestDump {
        let command = match format {
            "custom" => self.client("pg_dump", &["-Fc", "-Z0", "-d", database]),
            "plain -C" => self.client("pg_dump", &["-C", "-d", database]),
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
            _ => self.client("pg_dump", &["-d", database]),
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

    pub(super) fn globals(&self) -> TestDump {
        let command = self.client("pg_dumpall", &["--globals-only"]);
        TestDump { command, described: described("postgres", "globals", "globals") }
    }
}

fn described(kind: &str, format: &str, member: &str) -> StreamDescription {
    let member = Some(member.to_owned());
    StreamDescription { member, kind: kind.to_owned(), format: format.to_owned(), ..StreamDescription::default() }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        shell("postgres", &format!("{}/pg_ctl -D {}/data -m immediate -w stop", self.bin.display(), self.at()));
    }
}

/// A private MariaDB server; stopped and removed when dropped.
pub(super) struct MariaDb {
    folder: tempfile::TempDir,
}

impl MariaDb {
    pub(super) fn start() -> Self {
        let server = Self { folder: folder_for("mysql") };
        let at = server.folder.path().display().to_string();
        let install = "mariadb-install-db --no-defaults --auth-root-authentication-method=normal";
        must("mysql", &format!("{install} --datadir={at}/data"));
        let start = format!(
            "mariadbd --no-defaults --datadir={at}/data --tmpdir={at} --socket={at}/sock --skip-networking --pid-file={at}/pid \
             >{at}/log 2>&1 & until mariadb-admin --no-defaults -u root --socket={at}/sock ping >/dev/null 2>&1; \
             do kill -0 $! || exit 1; done"
        );
        must("mysql", &start);
        server
    }

    fn socket(&self) -> String {
        format!("{}/sock", self.folder.path().display())
    }

    pub(super) fn to(&self, user: &str) -> String {
        format!("socket={} user={user}", self.socket())
    }

    pub(super) fn sql(&self, sql: &str) -> String {
        let socket = format!("--socket={}", self.socket());
        let output =
            Command::new("mariadb").args(["--no-defaults", "-u", "root", &socket, "-BN", "-e", sql]).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A dump of a database; `more` are options and tables.
    pub(super) fn dump(&self, database: &str, more: &[&str], tables: &[(&str, u64)]) -> TestDump {
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

impl Drop for MariaDb {
    fn drop(&mut self) {
        shell("mysql", &format!("mariadb-admin --no-defaults -u root --socket={} shutdown", self.socket()));
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
    let notes = Some("Restart the pods\nand look".to_owned());
    let job =
        Some(Job { name: "idp".to_owned(), job_type: "Daily".to_owned(), notes, records: Vec::new(), alone: false });
    let options = BackupOptions { job, ..options(&[]) };
    let report =
        backup_sources(&repository, sources.into_iter().map(source).collect(), options, &Silent).expect("a backup");
    assert!(report.sources.iter().all(|s| s.error.is_none()), "{report:?}");
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
