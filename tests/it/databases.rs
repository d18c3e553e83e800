//! Real databases: a dump goes in through the program and comes back into a client, and a dump that fails
//! leaves no snapshot. PostgreSQL and MariaDB run as their own users in private folders, on sockets only.
//!
//! A server that is not installed is a failure, not a skip: `.ci/test` installs both.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PASSPHRASE: &str = "databases-passphrase";

fn root() -> bool {
    rustix::process::getuid().is_root()
}

/// Runs `command` by bash, as `user` if we are root: the servers refuse to be root's.
fn shell(user: &str, command: &str) -> Output {
    let mut run = if root() {
        let mut run = Command::new("setpriv");
        run.args(["--reuid", user, "--regid", user, "--init-groups", "bash", "-c", command]);
        run
    } else {
        let mut run = Command::new("bash");
        run.args(["-c", command]);
        run
    };
    run.current_dir("/").stdin(Stdio::null()).output().expect("bash and setpriv are there")
}

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
        let status = Command::new("chown").arg(user).arg(folder.path()).status().expect("chown runs");
        assert!(status.success());
    }
    folder
}

/// A private PostgreSQL server; stopped and removed when dropped.
struct Postgres {
    folder: tempfile::TempDir,
    bin: PathBuf,
}

impl Postgres {
    fn start() -> Self {
        let folder = folder_for("postgres");
        let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .expect("PostgreSQL is installed (bash .ci/test installs it)")
            .map(|e| e.expect("readable").path().join("bin"))
            .filter(|p| p.join("initdb").exists())
            .collect();
        versions.sort();
        let bin = versions.pop().expect("a PostgreSQL server is installed (bash .ci/test installs it)");
        let server = Self { folder, bin };
        let at = server.at();
        must("postgres", &format!("{}/initdb -D {at}/data -A trust -U postgres --no-sync", server.bin.display()));
        let options = format!("-c listen_addresses= -k {at} -c fsync=off");
        must("postgres", &format!("{}/pg_ctl -D {at}/data -o '{options}' -l {at}/log -w start", server.bin.display()));
        server
    }

    fn at(&self) -> String {
        self.folder.path().display().to_string()
    }

    fn client(&self) -> String {
        format!("-h {} -U postgres", self.at())
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        must("postgres", &format!("psql {} -v ON_ERROR_STOP=1 -qtA {database} <<'EOSQL'\n{sql}\nEOSQL", self.client()))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        shell("postgres", &format!("{}/pg_ctl -D {}/data -m immediate -w stop", self.bin.display(), self.at()));
    }
}

/// A private MariaDB server; stopped and removed when dropped.
struct MariaDb {
    folder: tempfile::TempDir,
}

impl MariaDb {
    fn start() -> Self {
        let server = Self { folder: folder_for("mysql") };
        let at = server.folder.path().display().to_string();
        must(
            "mysql",
            &format!("mariadb-install-db --no-defaults --datadir={at}/data --auth-root-authentication-method=normal"),
        );
        let start = format!(
            "mariadbd --no-defaults --datadir={at}/data --tmpdir={at} --socket={at}/sock --skip-networking --pid-file={at}/pid \
             >{at}/log 2>&1 & until mariadb-admin --no-defaults -u root --socket={at}/sock ping >/dev/null 2>&1; \
             do kill -0 $! || exit 1; done"
        );
        must("mysql", &start);
        server
    }

    fn client(&self) -> String {
        format!("--no-defaults -u root --socket={}/sock", self.folder.path().display())
    }

    fn sql(&self, sql: &str) -> String {
        must("mysql", &format!("mariadb {} -BN <<'EOSQL'\n{sql}\nEOSQL", self.client()))
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        shell("mysql", &format!("mariadb-admin {} shutdown", self.client()));
    }
}

/// The program with a repository of its own.
struct Strongroom {
    folder: tempfile::TempDir,
}

impl Strongroom {
    fn init() -> Self {
        let this = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        this.ok(&["init", "--quiet"]);
        this
    }

    fn run(&self, args: &[&str]) -> Output {
        let at = |name: &str| -> PathBuf { Path::join(self.folder.path(), name) };
        Command::new(env!("CARGO_BIN_EXE_strongroom"))
            .args(args)
            .env("STRONGROOM_REPO", at("repo"))
            .env("STRONGROOM_CACHE_DIR", at("cache"))
            .env("STRONGROOM_STATE_DIR", at("state"))
            .env("STRONGROOM_PASSPHRASE", PASSPHRASE)
            .stdin(Stdio::null())
            .output()
            .expect("the program runs")
    }

    fn ok(&self, args: &[&str]) -> Output {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
        output
    }

    fn snapshots(&self) -> usize {
        String::from_utf8_lossy(&self.ok(&["snapshots", "--json"]).stdout).matches("\"id\"").count()
    }

    /// Bytes of all objects.
    fn stored(&self) -> u64 {
        let output = Command::new("du").arg("-sb").arg(self.folder.path().join("repo")).output().expect("du runs");
        String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number")
    }
}

const TABLE: &str = "create table aspects(urn varchar(500) primary key, metadata text, version bigint);
insert into aspects select 'urn:li:dataset:' || i, repeat(md5(i::text), 20), 0 from generate_series(1, 20000) i;";

/// DH-4, MYDB-1, CC-12: a dump streams in, a changed night costs little, and any night goes back into a client.
#[test]
fn a_postgresql_dump_comes_back_into_another_database() {
    let (server, strongroom) = (Postgres::start(), Strongroom::init());
    server.sql("postgres", "create database datahub");
    server.sql("datahub", TABLE);
    let sum = "select count(*), sum(version), md5(string_agg(urn || metadata, ',' order by urn)) from aspects";
    let first = server.sql("datahub", sum);
    let dump = format!("datahub.sql=pg_dump {} datahub", server.client());
    strongroom.ok(&["backup", "--from-command", &dump]);
    let night1 = strongroom.stored();
    server.sql("datahub", "update aspects set version = 1, metadata = metadata || 'x' where hashtext(urn) % 200 = 0");
    strongroom.ok(&["backup", "--from-command", &dump]);
    assert!((strongroom.stored() - night1) * 3 < night1, "a night with 0.5 % of the rows changed");
    let second = server.sql("datahub", sum);
    assert_ne!(first, second);
    for (snapshot, expected) in [("latest~1", &first), ("latest", &second)] {
        server.sql("postgres", "drop database if exists back");
        server.sql("postgres", "create database back");
        let client = format!("psql {} -v ON_ERROR_STOP=1 -q back >/dev/null", server.client());
        strongroom.ok(&["cat", "--to-command", &client, &format!("{snapshot}:datahub.sql")]);
        assert_eq!(server.sql("back", sum), *expected);
    }
    // A client that fails is not a success.
    let failing = strongroom.run(&["cat", "--to-command", "exit 7", "latest:datahub.sql"]);
    assert_eq!(failing.status.code(), Some(7));
}

/// CC-7: the exit status of the dump decides, also in the middle of a pipe.
#[test]
fn a_postgresql_dump_that_fails_leaves_no_snapshot() {
    let (server, strongroom) = (Postgres::start(), Strongroom::init());
    let missing = format!("gone.sql=pg_dump {} no_such_database", server.client());
    let output = strongroom.run(&["backup", "--from-command", &missing]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no_such_database"), "its own words are shown");
    let piped = format!("gone.sql=pg_dump {} no_such_database | cat", server.client());
    assert_eq!(strongroom.run(&["backup", "--from-command", &piped]).status.code(), Some(1));
    assert_eq!(strongroom.snapshots(), 0);
    // With another source that can be saved, that one is, and the exit code says that something was not.
    let good = format!("good.sql=pg_dump {} postgres", server.client());
    let both = strongroom.run(&["backup", "--from-command", &missing, "--from-command", &good]);
    assert_eq!(both.status.code(), Some(3), "{}", String::from_utf8_lossy(&both.stderr));
    assert_eq!(strongroom.snapshots(), 1);
}

/// DH-2 and finding 7: what arrives compressed is stored, and the flag that mends it is named.
#[test]
fn a_compressed_postgresql_dump_is_recognised() {
    let (server, strongroom) = (Postgres::start(), Strongroom::init());
    server.sql("postgres", TABLE);
    let dump = format!("db.dump=pg_dump {} -Fc postgres", server.client());
    let output = strongroom.ok(&["backup", "--from-command", &dump]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("-Z0"), "{said}");
    let plain = format!("db.dump=pg_dump {} -Fc -Z0 postgres", server.client());
    let output = strongroom.ok(&["backup", "--from-command", &plain]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("-Z0"));
    server.sql("postgres", "create database back");
    let client = format!("pg_restore {} -d back", server.client());
    strongroom.ok(&["cat", "--to-command", &client, "latest:db.dump"]);
    assert_eq!(server.sql("back", "select count(*) from aspects"), "20000");
}

/// DH-1, DH-11: MariaDB, both ways, and a dump of a missing table that looks like valid SQL.
#[test]
fn a_mariadb_dump_comes_back_and_a_failed_one_leaves_no_snapshot() {
    let (server, strongroom) = (MariaDb::start(), Strongroom::init());
    server.sql(
        "create database datahub; use datahub; create table t(id int primary key, v text) engine=InnoDB;
        insert into t select seq, repeat(md5(seq), 10) from seq_1_to_20000;",
    );
    let checksum = "checksum table datahub.t";
    let expected = server.sql(checksum);
    let flags = "--single-transaction --quick --skip-dump-date";
    let dump = format!("datahub.sql=mariadb-dump {} {flags} datahub t", server.client());
    strongroom.ok(&["backup", "--from-command", &dump]);
    server.sql("create database back");
    let client = format!("mariadb {} back", server.client());
    strongroom.ok(&["cat", "--to-command", &client, "latest:datahub.sql"]);
    assert_eq!(server.sql("checksum table back.t").split_whitespace().last(), expected.split_whitespace().last());
    let missing = format!("datahub.sql=mariadb-dump {} {flags} datahub no_such_table", server.client());
    assert_eq!(strongroom.run(&["backup", "--from-command", &missing]).status.code(), Some(1));
    assert_eq!(strongroom.snapshots(), 1);
}
