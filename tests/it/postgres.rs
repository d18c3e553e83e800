//! PostgreSQL servers as sources: real servers, dumps of every kind, and what goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strongroom::crypto::secret::Secret;
use strongroom::databases::postgres::{Connection, Counting, Format, Globals, PostgresOptions, check, postgres_source};
use strongroom::databases::tool::Tools;
use strongroom::format::description::StreamDescription;
use strongroom::format::record::Outcome;
use strongroom::ops::backup::{BackupOptions, BackupReport, Job, StreamOptions, backup_sources};
use strongroom::primitives::progress::{Observer, Recorder, Severity};
use strongroom::repository::sets::{Set, sets};
use strongroom::repository::snapshots::Snapshot;

use crate::harness::{Bench, Meddler, files, options};
use crate::program::Strongroom;
use crate::servers::postgres::Postgres;

const ODD_NAMES: [&str; 5] = ["we ird", "$(touch x)", "../../x", "new\nline", "\u{dc}n\u{ef}"];

/// Options for a server, as its superuser.
fn of(server: &Postgres) -> PostgresOptions {
    let connection = Connection { host: Some(server.at()), user: Some("postgres".to_owned()), ..Connection::default() };
    PostgresOptions { name: "idp/db".to_owned(), connection, ..PostgresOptions::default() }
}

fn saved_watched(bench: &Bench, from: PostgresOptions, observer: &dyn Observer) -> BackupReport {
    let job =
        Job { name: "idp".to_owned(), job_type: "Daily".to_owned(), notes: None, records: Vec::new(), alone: false };
    let options = BackupOptions { job: Some(job), ..options(&[]) };
    let source = postgres_source(from, StreamOptions::default());
    backup_sources(&bench.open(), vec![source], options, observer).expect("the run ends")
}

/// Saves a server; everything must be well.
#[track_caller]
fn saved(bench: &Bench, from: PostgresOptions) -> Vec<Snapshot> {
    let recorder = Recorder::default();
    let report = saved_watched(bench, from, &recorder);
    assert_eq!(report.outcome, Outcome::Complete, "{:?}", recorder.findings());
    let set = newest(bench);
    assert_eq!(set.outcome(), Outcome::Complete, "{:?}", set.missing());
    set.members
}

fn newest(bench: &Bench) -> Set {
    sets(bench.open().snapshots().unwrap()).pop().expect("there is a set")
}

fn stream(snapshot: &Snapshot) -> &StreamDescription {
    snapshot.described.stream.as_ref().expect("it describes its stream")
}

#[track_caller]
fn member<'s>(snapshots: &'s [Snapshot], name: &str) -> &'s Snapshot {
    snapshots.iter().find(|s| stream(s).member.as_deref() == Some(name)).unwrap_or_else(|| panic!("{name} is saved"))
}

fn rows(snapshot: &Snapshot) -> BTreeMap<String, u64> {
    let tables = stream(snapshot).tables.as_ref().expect("it was counted");
    tables.iter().map(|table| (table.name.clone(), table.rows)).collect()
}

fn property<'s>(snapshot: &'s Snapshot, name: &str) -> Option<&'s str> {
    stream(snapshot).properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The only file of a snapshot: its name, and what is in it.
fn content(bench: &Bench, snapshot: &Snapshot) -> (String, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    bench.restore(snapshot, folder.path(), None);
    let (path, bytes) = files(folder.path()).pop_first().expect("there is a file");
    (path.file_name().unwrap().to_str().unwrap().to_owned(), bytes)
}

/// Loads a dump with one of the tools; what it says must be nothing.
fn load(server: &Postgres, tool: &str, database: &str, dump: &[u8], more: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump");
    fs::write(&file, dump).unwrap();
    let output = std::process::Command::new(server.bin.join(tool))
        .arg(format!("--dbname=host='{}' user=postgres dbname='{database}'", server.at()))
        .args(more)
        .stdin(fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// MYDB-3, IDP-4: every database and the roles are saved, whatever they are called, and each knows what it is.
#[test]
fn every_database_of_a_server_is_saved_with_the_roles() {
    let (server, bench) = (Postgres::start(), Bench::new());
    server.sql("postgres", "create role app login password 'x'; create role \"o'neil\"");
    for (n, name) in ODD_NAMES.iter().enumerate() {
        server.database(name, &format!("create table t (a int); insert into t select generate_series(1, {n})"));
    }
    server.database("globals", "");
    server.database("a=b", "");
    server.sql(
        "postgres",
        "create database plain owner app template template0 encoding 'SQL_ASCII' locale 'C' connection limit 7; \
         alter database plain set default_transaction_read_only = on; \
         alter role app in database plain set work_mem = '8MB'",
    );
    let snapshots = saved(&bench, of(&server));
    let names: Vec<&str> = snapshots.iter().filter_map(|s| stream(s).member.as_deref()).collect();
    let expected =
        ["$(touch x)", "../../x", "a=b", "globals", "new\nline", "plain", "postgres", "we ird", "\u{dc}n\u{ef}"];
    let mut sorted = names[1..].to_vec();
    sorted.sort();
    assert_eq!((names[0], sorted), ("globals (roles)", expected.to_vec()));
    for (n, name) in ODD_NAMES.iter().enumerate() {
        let (file, dump) = content(&bench, member(&snapshots, name));
        assert!(file.ends_with(".dump") && !file.contains('/'), "{file}");
        assert_eq!(rows(member(&snapshots, name)), BTreeMap::from([("public.t".to_owned(), n as u64)]));
        server.sql("postgres", "drop database if exists back; create database back");
        load(&server, "pg_restore", "back", &dump, &["--exit-on-error"]);
        assert_eq!(server.sql("back", "select count(*) from t"), n.to_string());
    }
    let plain = member(&snapshots, "plain");
    for (name, value) in [
        ("owner", "app"),
        ("encoding", "SQL_ASCII"),
        ("collate", "C"),
        ("provider", "c"),
        ("tablespace", "pg_default"),
        ("connection_limit", "7"),
        ("set", "default_transaction_read_only=on"),
        ("role_set", "[\"app\",\"work_mem=8MB\"]"),
    ] {
        assert_eq!(property(plain, name), Some(value), "{name}");
    }
    let (described, (file, roles)) = (stream(&snapshots[0]), content(&bench, &snapshots[0]));
    assert_eq!((described.format.as_str(), file.as_str()), ("globals", "globals.sql"));
    let roles = String::from_utf8(roles).unwrap();
    // Servers before 14 have another default.
    let has_password = ["SCRAM-SHA-256$", "PASSWORD 'md5"].iter().any(|hash| roles.contains(hash));
    assert!(roles.contains("CREATE ROLE \"o'neil\";") && has_password, "{roles}");
    let described = stream(plain);
    assert!(described.tool.as_ref().unwrap().starts_with("pg_dump (PostgreSQL) "));
    assert_eq!(described.server.as_deref(), Some(server.sql("postgres", "show server_version").as_str()));
    assert_eq!(described.load.as_deref(), Some("pg_restore --exit-on-error --dbname=plain"));
    assert!(!Path::new("x").exists(), "no name was run");
}

/// MYDB-3, IDP-3: one database that fails stops no other, and one that may not be entered is named.
#[test]
fn a_database_that_fails_stops_no_other() {
    let (server, bench) = (Postgres::start(), Bench::new());
    server.sql("postgres", "create role reader login");
    for name in ["a", "closed", "off", "z"] {
        server.database(name, "create table t (a int); grant select on t to reader; insert into t values (1)");
    }
    server.database("refused", "create table t (a int)");
    server.sql("postgres", "revoke connect on database closed from public; alter database off allow_connections false");
    let reader = || {
        let connection = Connection { user: Some("reader".to_owned()), ..of(&server).connection };
        PostgresOptions { connection, ..of(&server) }
    };
    // The passwords of roles are a superuser's.
    let recorder = Recorder::default();
    let report = saved_watched(&bench, reader(), &recorder);
    let failed = |report: &BackupReport| -> Vec<String> {
        let failed = report.sources.iter().filter(|source| source.snapshot.is_none());
        failed.map(|source| source.member.clone().unwrap_or_default()).collect()
    };
    assert_eq!((report.outcome, failed(&report)), (Outcome::Partial, vec!["globals".to_owned(), "refused".to_owned()]));
    let told = format!("{:?}", recorder.findings());
    for part in [
        "globals = \\\"no-passwords\\\"",
        "permission denied for table t",
        "database \\\"closed\\\" is not saved: it may not be connected to by reader",
        "database \\\"off\\\" is not saved: it takes no connections",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(newest(&bench).missing(), ["idp/db/globals", "idp/db/refused"]);
    // Without passwords it may, and says what is missing.
    let exclude = vec![glob::Pattern::new("ref*").unwrap()];
    let recorder = Recorder::default();
    let options = PostgresOptions { globals: Some(Globals::NoPasswords), exclude, ..reader() };
    assert_eq!(saved_watched(&bench, options, &recorder).outcome, Outcome::Complete);
    let findings = recorder.findings();
    assert!(findings.iter().any(|(severity, text)| *severity == Severity::Note && text.contains("passwords of roles")));
    let snapshots = newest(&bench).members;
    assert!(content(&bench, member(&snapshots, "globals")).1.windows(6).any(|part| part == b"reader"));
    assert_eq!(property(member(&snapshots, "globals"), "passwords"), Some("false"));
    // What is asked for by name and cannot be saved is a failure.
    let databases = ["closed", "gone", "a"].map(str::to_owned).to_vec();
    let report = saved_watched(&bench, PostgresOptions { databases, ..reader() }, &Recorder::default());
    assert_eq!((report.outcome, failed(&report)), (Outcome::Partial, vec!["gone".to_owned(), "closed".to_owned()]));
    assert!(stream(&newest(&bench).members[0]).member.as_deref() == Some("a"), "no roles where databases are named");
}

/// MYDB-3: a database that is dropped while the others are saved is no failure.
#[test]
fn a_database_dropped_after_the_listing_is_a_note() {
    let (server, bench) = (Postgres::start(), Bench::new());
    ["a", "m", "z"].iter().for_each(|name| server.database(name, ""));
    // While the roles are read, the databases are listed already.
    let meddler = Both(Meddler::new(|| drop(server.sql("postgres", "drop database m"))), Recorder::default());
    let report = saved_watched(&bench, of(&server), &meddler);
    assert!(meddler.0.met());
    assert_eq!(report.outcome, Outcome::Complete, "{:?}", meddler.1.findings());
    let notes = meddler.1.findings();
    assert!(
        notes
            .iter()
            .any(|(severity, text)| *severity == Severity::Note
                && text.starts_with("idp/db/m: the database was dropped"))
    );
    let set = newest(&bench);
    assert_eq!((set.outcome(), set.missing()), (Outcome::Complete, Vec::new()));
    assert_eq!(set.members.len(), 4);
}

/// Does something, and keeps what is found.
struct Both<'a>(Meddler<'a>, Recorder);

impl Observer for Both<'_> {
    fn advance(&self, n: u64) {
        self.0.advance(n);
    }
    fn finding(&self, severity: Severity, text: &str) {
        self.1.finding(severity, text);
    }
}

const TABLES: &str = "
    create extension if not exists plpgsql;
    create schema \"S x\";
    create table \"S x\".\"T\"\"t\" (\"a.b\" int, v text);
    create table parted (k int) partition by range (k);
    create table part1 partition of parted for values from (0) to (10);
    create table part2 partition of parted for values from (10) to (20);
    create table parent (a int); create table child () inherits (parent);
    create table nothing (); create table \"user\" (a int); create unlogged table u (a int);
    create view v as select 1; create materialized view m as select 1;
    create function f() returns void language sql begin atomic insert into \"user\" values (1); end;
    create function g() returns void language plpgsql as $$ begin
COPY public.nothing FROM stdin;
\\.
    end $$;
    insert into \"S x\".\"T\"\"t\" select i, E'\\\\.\\n\\\\N\\tCOPY x FROM stdin;' from generate_series(1, 30) i;
    insert into parted select i % 20 from generate_series(1, 1000) i;
    insert into parent values (1); insert into child values (1), (2); insert into u values (1);
    insert into nothing default values; insert into nothing default values;";

/// IDP-2: all formats count the same: what stands in the dump.
#[test]
fn rows_are_counted_in_every_format() {
    let (server, bench) = (Postgres::start(), Bench::new());
    // Text that stands for code within a dollar quote of plpgsql is not checked when it is dumped.
    let knows_atomic = server.sql("postgres", "select current_setting('server_version_num')::int >= 140000") == "t";
    let tables: String =
        TABLES.lines().filter(|line| knows_atomic || !line.contains("begin atomic")).collect::<Vec<_>>().join("\n");
    server.database("app", &format!("set check_function_bodies = off; {tables}"));
    let scratch = tempfile::tempdir().unwrap();
    let with = |format, counting| PostgresOptions {
        databases: vec!["app".to_owned()],
        format,
        counting,
        scratch_dir: Some(scratch.path().to_owned()),
        ..of(&server)
    };
    let expected: BTreeMap<String, u64> = [
        ("\"S x\".\"T\"\"t\"", 30),
        ("public.part1", 500),
        ("public.part2", 500),
        ("public.parent", 1),
        ("public.child", 2),
        ("public.nothing", 2),
        ("public.\"user\"", 0),
        ("public.u", 1),
    ]
    .into_iter()
    .map(|(name, rows)| (name.to_owned(), rows))
    .collect();
    for format in [Format::Plain, Format::Custom, Format::Directory] {
        assert_eq!(rows(&saved(&bench, with(format, Counting::Rows))[0]), expected, "{format:?}");
        assert!(stream(&saved(&bench, with(format, Counting::Off))[0]).tables.is_none());
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left in the scratch directory");
    let sums = |format| -> Vec<Option<String>> {
        let snapshots = saved(&bench, with(format, Counting::Checksums));
        stream(&snapshots[0]).tables.as_ref().unwrap().iter().map(|table| table.checksum.clone()).collect()
    };
    let first = sums(Format::Plain);
    assert!(first.iter().all(|sum| sum.as_ref().is_some_and(|sum| sum.starts_with("md5-sum64:"))), "{first:?}");
    assert_eq!(sums(Format::Custom), first);
    server.sql("app", "update child set a = 3 where a = 2");
    assert_ne!(sums(Format::Custom), first);
    // Only some tables, by pg_dump's own patterns.
    let tables = ["\"S x\".*", "par?nt", "public.u"].map(str::to_owned).to_vec();
    let options = PostgresOptions { tables, ..with(Format::Custom, Counting::Rows) };
    let counted: Vec<String> = rows(&saved(&bench, options)[0]).into_keys().collect();
    assert_eq!(counted, ["\"S x\".\"T\"\"t\"", "public.parent", "public.u"]);
}

/// Counts are those of the dump, whatever is written while it runs.
#[test]
fn rows_are_counted_in_the_moment_of_the_dump() {
    let (server, bench) = (Postgres::start(), Bench::new());
    server.database("app", "create table t (a int); insert into t select generate_series(1, 1000)");
    for format in [Format::Custom, Format::Plain] {
        let before: u64 = server.sql("app", "select count(*) from t").parse().unwrap();
        // The dump is being read: it has its snapshot.
        let meddler = Meddler::new(|| drop(server.sql("app", "insert into t select generate_series(1, 500)")));
        let options = PostgresOptions { databases: vec!["app".to_owned()], format, ..of(&server) };
        assert_eq!(saved_watched(&bench, options, &meddler).outcome, Outcome::Complete);
        assert!(meddler.met());
        let snapshots = newest(&bench).members;
        assert_eq!(rows(&snapshots[0])["public.t"], before, "{format:?}");
        server.sql("postgres", "drop database if exists back; create database back");
        let tool = if format == Format::Plain { "psql" } else { "pg_restore" };
        load(&server, tool, "back", &content(&bench, &snapshots[0]).1, &[]);
        assert_eq!(server.sql("back", "select count(*) from t"), before.to_string());
    }
    assert_eq!(
        server.sql("postgres", "select count(*) from pg_stat_activity where application_name = 'strongroom'"),
        "0"
    );
}

/// DH-4: two plain dumps of the same database are the same bytes, and the key that makes them so is nobody else's.
#[test]
fn plain_dumps_are_the_same_each_night() {
    let (server, bench) = (Postgres::start(), Bench::new());
    server
        .database("datahub", "create table metadata_aspect_v2 (urn text); insert into metadata_aspect_v2 values ('a')");
    server.sql("datahub", "create table other (a int)");
    let night = |secret: Option<u8>| {
        let options = PostgresOptions {
            databases: vec!["datahub".to_owned()],
            tables: vec!["metadata_aspect_v2".to_owned()],
            format: Format::Plain,
            restrict_secret: secret.map(|byte| Secret::new([byte; 32])),
            ..of(&server)
        };
        let snapshots = saved(&bench, options);
        assert_eq!(rows(&snapshots[0]).into_keys().collect::<Vec<_>>(), ["public.metadata_aspect_v2"]);
        content(&bench, &snapshots[0])
    };
    let first = night(Some(1));
    assert_eq!(first.0, "datahub.sql");
    assert!(first == night(Some(1)));
    assert!(first != night(Some(2)) && night(None) != night(None));
}

/// CC-6: a base backup is one stream, with which a server starts.
#[test]
fn a_base_backup_starts_as_a_server() {
    let (server, bench) = (Postgres::start(), Bench::new());
    server.database("app", "create table t as select generate_series(1, 100) a");
    let recorder = Recorder::default();
    let options = || PostgresOptions { format: Format::BaseBackup, ..of(&server) };
    assert_eq!(saved_watched(&bench, options(), &recorder).outcome, Outcome::Complete);
    assert!(recorder.findings().iter().any(|(_, text)| text.contains("not counted: a base backup")));
    let snapshots = newest(&bench).members;
    let (file, bytes) = content(&bench, &snapshots[0]);
    let described = stream(&snapshots[0]);
    assert_eq!((file.as_str(), described.format.as_str()), ("basebackup.tar", "basebackup"));
    assert!(described.member.is_none() && described.tables.is_none());
    let tar = tempfile::tempdir().unwrap();
    fs::write(tar.path().join("x.tar"), bytes).unwrap();
    let unpacked = tar.path().join("data");
    fs::create_dir(&unpacked).unwrap();
    let mut untar = std::process::Command::new("tar");
    untar.arg("-xf").arg(tar.path().join("x.tar")).arg("-C").arg(&unpacked);
    assert!(untar.status().unwrap().success());
    let verified = std::process::Command::new(server.bin.join("pg_verifybackup")).arg(&unpacked).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let other = server.of_base_backup(&tar.path().join("x.tar"));
    assert_eq!(other.sql("app", "select count(*), sum(a) from t"), "100|5050");
    // What it does not hold is refused by name.
    server.sql("postgres", "create role reader login");
    let connection = Connection { user: Some("reader".to_owned()), ..of(&server).connection };
    assert!(check(&PostgresOptions { connection, ..options() })[0].contains("reader may not make base backups"));
    let named = PostgresOptions { databases: vec!["app".to_owned()], ..options() };
    assert!(check(&named)[0].contains("`databases` does not go with format = \"basebackup\""));
}

/// MYDB-18, MYDB-19: what stands in the way is said beforehand.
#[test]
fn a_check_names_what_stands_in_the_way() {
    let server = Postgres::start();
    server.database("app", "");
    server.sql("postgres", "create role reader login");
    assert_eq!(check(&of(&server)), Vec::<String>::new());
    let databases = vec!["app".to_owned(), "gone".to_owned()];
    assert_eq!(
        check(&PostgresOptions { databases, ..of(&server) }),
        ["database \"gone\": there is no such database on the server"]
    );
    let reader = Connection { user: Some("reader".to_owned()), ..of(&server).connection };
    assert!(check(&PostgresOptions { connection: reader, ..of(&server) })[0].contains("globals = \"all\""));
    let nowhere = Connection { host: Some("/none".to_owned()), ..of(&server).connection };
    assert!(check(&PostgresOptions { connection: nowhere, ..of(&server) })[0].contains("the server does not answer"));
    // Tools of an older version, by a stand-in.
    let folder = tempfile::tempdir().unwrap();
    script(&folder.path().join("pg_dump"), "echo 'pg_dump (PostgreSQL) 9.6.1'");
    script(&folder.path().join("psql"), &format!("exec {}/psql \"$@\"", server.bin.display()));
    let tools = Tools { bin: Some(folder.path().to_owned()), ..Tools::default() };
    let problem = &check(&PostgresOptions { tools, ..of(&server) })[0];
    assert!(problem.contains("9.6.1") && problem.contains("`pg_bin`"), "{problem}");
}

fn script(at: &Path, line: &str) {
    fs::write(at, format!("#!/bin/sh\n{line}\n")).unwrap();
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
}

/// IDP-8, MYDB-4: the password is in no list of processes, no journal, no message and no text of the repository.
#[test]
fn the_password_is_seen_nowhere() {
    let password = "sesame-Xq7-secret";
    let (server, sr) = (Postgres::start_with_password(password), Strongroom::init());
    private(&sr, "home/pass", "open sesame\n");
    private(&sr, "home/pg", password);
    private(
        &sr,
        "strongroom.toml",
        &configured(
            &sr,
            &format!(
                "db = {{ kind = \"postgres\", host = \"{}\", user = \"postgres\", password_file = \"{{env:HOME}}/pg\" }}\n\
         wrong = {{ kind = \"postgres\", host = \"{}\", user = \"postgres\", password_command = \"echo not-$((4000+321))\" }}\n",
                server.at(),
                server.at(),
            ),
        ),
    );
    let done = AtomicBool::new(false);
    let (seen, said) = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                for entry in fs::read_dir("/proc").unwrap().flatten() {
                    let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                    seen.insert(String::from_utf8_lossy(&line).into_owned());
                }
            }
            seen
        });
        let said = sr.expect(3, &["run", "--config", "strongroom.toml"]);
        done.store(true, Ordering::Relaxed);
        (sampler.join().unwrap(), said)
    });
    let of_server = |tool: &str| seen.iter().any(|line| line.contains(tool) && line.contains(&server.at()));
    assert!(of_server("pg_dump") && of_server("psql"), "the tools were seen");
    assert!(said.contains("password authentication failed"), "{said}");
    let log = sr.expect(0, &["log"]) + &sr.expect(0, &["snapshots", "--json"]);
    for secret in [password, "not-4321"] {
        assert!(!seen.iter().any(|line| line.contains(secret)), "a list of processes");
        assert!(!said.contains(secret) && !log.contains(secret));
        for (path, bytes) in files(sr.folder.path()).into_iter().filter(|(path, _)| !path.ends_with("pg")) {
            assert!(!String::from_utf8_lossy(&bytes).contains(secret), "{}", path.display());
        }
    }
}

fn private(sr: &Strongroom, name: &str, text: &str) {
    fs::set_permissions(sr.write(name, text), fs::Permissions::from_mode(0o600)).unwrap();
}

fn configured(sr: &Strongroom, sources: &str) -> String {
    let folder = sr.folder.path().display();
    format!(
        "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\", password_file = \"{{env:HOME}}/pass\" }}\n\
         [defaults]\nrepository = \"main\"\n[jobs.idp.sources]\n{sources}"
    )
}

/// IDP-4: one job saves the databases of a deployment, whose names are given in one line; `config check` tries them.
#[test]
fn a_job_saves_the_databases_that_a_list_stands_for() {
    let (server, sr) = (Postgres::start(), Strongroom::init());
    ["audit_dev", "fence_dev", "other"].iter().for_each(|name| server.database(name, "create table t (a int)"));
    private(&sr, "home/pass", "open sesame\n");
    let source = |names: &str| {
        format!(
            "db = {{ kind = \"postgres\", host = \"{}\", user = \"postgres\", databases = [\"{names}_{{env:STAGE}}\"], \
             format = \"plain\", globals = \"no-passwords\" }}\n",
            server.at()
        )
    };
    private(&sr, "strongroom.toml", &configured(&sr, &source("{audit,fence}")));
    let run = |code: i32, args: &[&str]| {
        let mut command = sr.command(&[args, &["--config", "strongroom.toml"]].concat());
        crate::program::said(code, args, &command.env("STAGE", "dev").output().unwrap())
    };
    assert!(run(0, &["config", "check"]).contains("no errors found"));
    assert!(run(0, &["run"]).contains("the passwords of roles are not saved"));
    assert!(sr.expect(0, &["snapshots"]).contains("3 snapshots"));
    sr.expect(0, &["restore", "--set", "latest", "--job", "idp", "--target", "out"]);
    for name in ["audit_dev", "fence_dev"] {
        let dump = sr.read(&format!("out/idp/db/{name}/{name}.sql"));
        assert!(dump.contains("CREATE TABLE public.t"), "{dump}");
    }
    assert!(sr.read("out/idp/db/globals/globals.sql").contains("CREATE ROLE postgres"));
    private(&sr, "strongroom.toml", &configured(&sr, &source("{audit,gone}")));
    assert!(run(1, &["config", "check"]).contains("source idp/db: database \"gone_dev\": there is no such database"));
    // The one is saved, the other has failed.
    assert!(run(3, &["run"]).contains("there is no such database on the server"));
}

/// Somebody who keeps the table `t` of a database locked.
struct Locked(std::process::Child);

impl Locked {
    fn new(server: &Postgres, database: &str) -> Self {
        let mut holder = std::process::Command::new(server.bin.join("psql"))
            .args(["-X", "-q", "-f", "-"])
            .arg(format!("--dbname=host='{}' user=postgres dbname='{database}'", server.at()))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        holder.stdin.as_mut().unwrap().write_all(b"begin; lock table t;\n\\echo locked\n").unwrap();
        holder.stdout.as_mut().unwrap().read_exact(&mut [0; 7]).unwrap();
        Self(holder)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// A dump that outlived its killed backup held its locks for days.
#[test]
fn a_killed_run_leaves_no_session_in_the_server() {
    let (server, sr) = (Postgres::start(), Strongroom::init());
    server.database("a", "create table t (a int)");
    private(&sr, "home/pass", "open sesame\n");
    let source = format!(
        "db = {{ kind = \"postgres\", host = \"{}\", user = \"postgres\", databases = [\"a\"] }}\n",
        server.at()
    );
    private(&sr, "strongroom.toml", &configured(&sr, &source));
    let locked = Locked::new(&server, "a");
    let sessions = || {
        let of = "from pg_stat_activity where application_name in ('strongroom', 'pg_dump') and datname = 'a'";
        server.sql("postgres", &format!("select count(*), count(*) filter (where wait_event_type = 'Lock') {of}"))
    };
    let mut run = sr.command(&["run", "--config", "strongroom.toml"]).spawn().unwrap();
    assert!((0..5000).any(|_| sessions() == "2|2"), "the dump and the session beside it wait for the lock");
    run.kill().unwrap();
    run.wait().unwrap();
    assert!((0..5000).any(|_| sessions() == "0|0"), "nothing of it is left: {}", sessions());
    drop(locked);
}

/// MYDB-3: a table that somebody keeps locked costs its database's dump, and not the night.
#[test]
fn a_dump_waits_for_a_lock_only_so_long() {
    let (server, bench) = (Postgres::start(), Bench::new());
    server.database("a", "create table t (a int)");
    server.database("b", "create table t (a int)");
    let locked = Locked::new(&server, "a");
    let options = PostgresOptions {
        databases: vec!["a".to_owned(), "b".to_owned()],
        lock_wait: Some(Duration::from_millis(300)),
        ..of(&server)
    };
    let recorder = Recorder::default();
    let report = saved_watched(&bench, options, &recorder);
    drop(locked);
    assert_eq!(report.outcome, Outcome::Partial);
    assert!(format!("{:?}", recorder.findings()).contains("LOCK TABLE public.t"), "{:?}", recorder.findings());
    assert_eq!(newest(&bench).missing(), ["idp/db/a"]);
}

/// A standby is saved as any server is: its dumps have a snapshot, too.
#[test]
fn a_standby_is_saved_and_counted() {
    let (server, bench) = (Postgres::start(), Bench::new());
    server.database("app", "create table t as select generate_series(1, 7) a; create unlogged table u (a int)");
    let standby = server.standby();
    let snapshots = saved(&bench, of(&standby));
    assert_eq!(rows(member(&snapshots, "app")), BTreeMap::from([("public.t".to_owned(), 7)]));
}

/// CC-6: peer authentication, by the system user that runs the tools; only root may be another one.
#[test]
fn the_tools_run_as_another_user() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let (server, sr) = (Postgres::start_with_peers(), Strongroom::init());
    private(&sr, "home/pass", "open sesame\n");
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (format, more) in [("custom", ""), ("directory", "scratch_dir = \"SCRATCH\", ")] {
        let more = more.replace("SCRATCH", scratch.path().to_str().unwrap());
        let source = format!(
            "db = {{ kind = \"postgres\", host = \"{}\", run_as = \"postgres\", {more}format = \"{format}\" }}\n",
            server.at()
        );
        private(&sr, "strongroom.toml", &configured(&sr, &source));
        let said = sr.expect(0, &["run", "--config", "strongroom.toml"]);
        assert!(said.contains("idp/db/globals") && said.contains("idp/db/postgres"), "{said}");
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    sr.expect(0, &["restore", "--set", "latest", "--job", "idp", "--target", "out"]);
    let tar =
        std::process::Command::new("tar").arg("-tf").arg(sr.at("out/idp/db/postgres/postgres.tar")).output().unwrap();
    assert!(String::from_utf8_lossy(&tar.stdout).contains("./toc.dat"));
}

/// Tools in a container get names as words and the password by name; here the container is a script.
#[test]
fn the_tools_run_in_a_container() {
    let (server, sr) = (Postgres::start_with_password("sesame-c"), Strongroom::init());
    private(&sr, "home/pass", "open sesame\n");
    private(&sr, "home/pg", "sesame-c\n");
    let log = sr.at("docker.log");
    sr.write("bin/docker", "");
    script(
        &sr.at("bin/docker"),
        &format!(
            "echo \"$@\" >>{}\nwhile [ \"$1\" != pg ]; do shift; done; shift; tool=$1; shift; exec {}/$tool \"$@\"",
            log.display(),
            server.bin.display()
        ),
    );
    let source = format!(
        "db = {{ kind = \"postgres\", host = \"{}\", user = \"postgres\", password_file = \"{{env:HOME}}/pg\", \
         container = \"pg\" }}\n",
        server.at()
    );
    private(&sr, "strongroom.toml", &configured(&sr, &source));
    let args = ["run", "--config", "strongroom.toml"];
    let path = format!("{}:{}", sr.at("bin").display(), std::env::var("PATH").unwrap());
    crate::program::said(0, &args, &sr.command(&args).env("PATH", path).output().unwrap());
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("-e PGPASSWORD") && log.contains(" pg pg_dump ") && !log.contains("sesame"), "{log}");
}
