//! Servers of MySQL and MariaDB as sources: a real server, odd names, secrets, and what goes wrong.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use strongroom::databases::mysql::{Connection, Count, MysqlOptions, Users, check, mysql_source};
use strongroom::format::description::StreamDescription;
use strongroom::format::record::Outcome;
use strongroom::ops::backup::{BackupOptions, BackupReport, Job, StreamOptions, backup_sources};
use strongroom::primitives::progress::{Observer, Recorder, Silent};
use strongroom::repository::sets::{Set, sets};
use strongroom::repository::snapshots::Snapshot;

use crate::harness::{Bench, Meddler, files, options};
use crate::program::Strongroom;
use crate::servers::mariadb::MariaDb;

const ODD_NAMES: [&str; 7] = ["-x", "we ird", "$(touch x)", "../../x", "new\nline", "a`b%_", "\u{dc}n\u{ef}"];

/// Appears nowhere else, so that it can be looked for everywhere.
const PASSWORD: &str = "w4lrus ' -p#of-mysql-tests";

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn of(server: &MariaDb) -> MysqlOptions {
    let connection = Connection { host: Some(server.socket()), user: Some("root".to_owned()), ..Connection::default() };
    MysqlOptions { connection, ..MysqlOptions::default() }
}

fn saved_watched(bench: &Bench, from: MysqlOptions, observer: &dyn Observer) -> BackupReport {
    let job =
        Job { name: "shop".to_owned(), job_type: "Daily".to_owned(), notes: None, records: Vec::new(), alone: false };
    let options = BackupOptions { job: Some(job), ..options(&[]) };
    let source = mysql_source("shop/db".to_owned(), from, StreamOptions::default());
    backup_sources(&bench.open(), vec![source], options, observer).expect("the run ends")
}

/// Saves a server; everything must be well.
#[track_caller]
fn saved(bench: &Bench, from: MysqlOptions) -> Vec<Snapshot> {
    let recorder = Recorder::default();
    let report = saved_watched(bench, from, &recorder);
    assert_eq!(report.outcome, Outcome::Complete, "{:?}", recorder.findings());
    newest(bench).members
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

/// The only file of a snapshot: its name, and what is in it.
fn content(bench: &Bench, snapshot: &Snapshot) -> (String, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    bench.restore(snapshot, folder.path(), None);
    let (path, bytes) = files(folder.path()).pop_first().expect("there is a file");
    (path.file_name().unwrap().to_str().unwrap().to_owned(), bytes)
}

/// MYDB-4: every database whatever it is called, users and grants apart; one that cannot be dumped stops no other.
#[test]
fn every_database_is_saved_and_one_that_fails_stops_no_other() {
    let (server, bench) = (MariaDb::start(), Bench::new());
    for (n, name) in ODD_NAMES.iter().enumerate() {
        let name = quoted(name);
        server.sql(&format!(
            "create database {name} character set utf8mb4 collate utf8mb4_bin; use {name}; create table t(a int); \
             insert into t select seq from seq_1_to_{}; create procedure p() select 1;",
            n + 1
        ));
    }
    server.sql("create database grants");
    let snapshots = saved(&bench, of(&server));
    for (n, name) in ODD_NAMES.iter().enumerate() {
        let snapshot = member(&snapshots, name);
        assert_eq!(rows(snapshot), BTreeMap::from([("t".to_owned(), n as u64 + 1)]), "{name}");
        let (file, dump) = content(&bench, snapshot);
        assert!(file.ends_with(".sql") && !file.contains('/'), "{file}");
        server.sql("create or replace database back");
        server.load("back", &dump);
        assert_eq!(server.sql("select count(*) from back.t; call back.p()"), format!("{}\n1", n + 1));
        let described = stream(snapshot);
        let properties = [("character_set", "utf8mb4"), ("collation", "utf8mb4_bin")];
        assert_eq!(described.properties, properties.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((described.kind.as_str(), described.format.as_str()), ("mysql", "plain"));
        assert!(described.server.as_ref().is_some_and(|server| server.contains("MariaDB")));
        assert!(described.tool.as_ref().is_some_and(|tool| tool.starts_with("mariadb-dump")));
    }
    let users = member(&snapshots, "grants (users)");
    assert_eq!((content(&bench, users).0.as_str(), stream(users).format.as_str()), ("grants.sql", "grants"));
    assert_eq!(stream(member(&snapshots, "grants")).format, "plain");
    assert_eq!(snapshots.len(), ODD_NAMES.len() + 2, "none of the server's own");

    server.sql("drop database back");

    // A second night in which nothing changed makes the same bytes; then one of them cannot be dumped.
    let again = saved(&bench, of(&server));
    assert_eq!(content(&bench, member(&again, "we ird")), content(&bench, member(&snapshots, "we ird")));
    server.sql("use `we ird`; create table gone(a int); create view broken as select * from gone; drop table gone");
    let report = saved_watched(&bench, of(&server), &Silent);
    let failed: Vec<_> = report.sources.iter().filter(|source| source.snapshot.is_none()).collect();
    assert_eq!((report.outcome, failed.len()), (Outcome::Partial, 1));
    assert_eq!(failed[0].member.as_deref(), Some("we ird"));
    assert!(failed[0].error.as_ref().is_some_and(|error| error.contains("broken")), "{:?}", failed[0].error);
    let set = newest(&bench);
    assert_eq!((set.outcome(), set.members.len()), (Outcome::Partial, ODD_NAMES.len() + 1));
}

/// DH-1: one table, without users and routines; DH-11: a table that is missing leaves no snapshot.
#[test]
fn one_table_is_saved_alone_and_a_missing_one_is_a_failure() {
    let (server, bench) = (MariaDb::start(), Bench::new());
    server.sql(
        "create database datahub; use datahub; create table other(a int); \
         create table metadata_aspect_v2(urn varchar(500) primary key, metadata longtext, version bigint); \
         insert into metadata_aspect_v2 select concat('urn:li:', seq), repeat(md5(seq), 20), 0 from seq_1_to_5000; \
         create procedure p() select 1",
    );
    let tables = |name: &str| MysqlOptions { tables: vec![format!("datahub.{name}")], ..of(&server) };
    let snapshots = saved(&bench, MysqlOptions { count: Count::Checksums, ..tables("metadata_aspect_v2") });
    assert_eq!(snapshots.len(), 1);
    assert_eq!(rows(&snapshots[0]), BTreeMap::from([("metadata_aspect_v2".to_owned(), 5000)]));
    let checksum = server.sql("checksum table datahub.metadata_aspect_v2");
    let kept = stream(&snapshots[0]).tables.as_ref().unwrap()[0].checksum.clone();
    assert_eq!(kept.as_deref(), checksum.split_whitespace().last());
    let (file, dump) = content(&bench, &snapshots[0]);
    let text = String::from_utf8_lossy(&dump);
    assert!(file == "datahub.sql" && !text.contains("PROCEDURE") && !text.contains("`other`"));
    server.sql("create database back");
    server.load("back", &dump);
    assert_eq!(
        server.sql("checksum table back.metadata_aspect_v2").split_whitespace().last(),
        checksum.split_whitespace().last()
    );
    let report = saved_watched(&bench, tables("none"), &Silent);
    let error = report.sources[0].error.clone().unwrap_or_default();
    assert!(report.outcome == Outcome::Failed && error.contains("`none`") && error.contains("`datahub`"), "{error}");
    assert_eq!(bench.open().snapshots().unwrap().len(), 1);
    assert_eq!(check(&tables("metadata_aspect_v2")), Vec::<String>::new());
    let missing = MysqlOptions { databases: vec!["datahub".into(), "no-such".into()], ..of(&server) };
    assert!(check(&missing).iter().any(|problem| problem.contains("`no-such`")), "{:?}", check(&missing));
}

/// Rows are those that the server counts, whatever stands in them.
#[test]
fn rows_are_counted_as_the_server_does() {
    let (server, bench) = (MariaDb::start_with(&["--sql-mode=NO_BACKSLASH_ESCAPES"]), Bench::new());
    server.sql(
        "create database d character set utf8mb4; use d; set sql_mode = ''; \
         create table nasty(id int primary key auto_increment, v longtext, b longblob, f double, j json); \
         insert into nasty(v) values ('a''b\\\\'), ('),('), ('\\'),(\\''), ('INSERT INTO `x` VALUES (1),(2);\\n-- y\\n'), \
         ('/* '), ('*/ # \\\" `'), (''), (null), ('\u{1f600}'), ('DELIMITER ;;\\n'), ('\\\\'), ('\\0\\n\\r\\Z'); \
         insert into nasty(b, f, j) values (0x00ff27225c2829, -1.5e300, '{\"a\": [1, \"),(\"]}'), (0x27292c28, 0, '[]'); \
         insert into nasty(b) select repeat(unhex(md5(seq)), 1000) from seq_1_to_300; \
         create table `we``ird '\"(x),`(`a,(` int); insert into `we``ird '\"(x),` values (1), (2), (null); \
         create table `empty`(a int); create view v as select * from nasty; create sequence s; \
         create table past(a int) with system versioning; insert into past values (1); delete from past; \
         create table old(a int) engine=MyISAM; insert into old values (1), (2)",
    );
    server.sql(
        "use d\nDELIMITER ;;\ncreate trigger tr before insert on `empty` for each row begin\n\
         insert into nasty(v) values ('x'), ('y');\ninsert into nasty(v) values ('z');\nend;;\n\
         set sql_mode = 'NO_BACKSLASH_ESCAPES';;\ncreate procedure p() begin\ninsert into old values (1);\n\
         select '\\', '); insert into old values (1)';\nend;;\nDELIMITER ;",
    );
    let recorder = Recorder::default();
    let report = saved_watched(&bench, MysqlOptions { users: Users::Never, ..of(&server) }, &recorder);
    assert_eq!(report.outcome, Outcome::Complete, "{:?}", recorder.findings());
    let snapshots = newest(&bench).members;
    let counted = rows(&snapshots[0]);
    let names = ["nasty", "we`ird '\"(x),", "empty", "past", "old"];
    assert_eq!(counted.len(), names.len(), "{counted:?}");
    server.sql("create database back");
    server.load("back", &content(&bench, &snapshots[0]).1);
    for name in names {
        let there = server.sql(&format!("select count(*) from d.{}", quoted(name)));
        assert_eq!(counted[name].to_string(), there, "{name}");
        assert_eq!(server.sql(&format!("select count(*) from back.{}", quoted(name))), there, "{name}");
    }
    assert_eq!(
        server.sql("checksum table d.nasty").split_whitespace().last(),
        server.sql("checksum table back.nasty").split_whitespace().last()
    );
    let said = snapshots[0].described.findings.join("\n");
    assert!(said.contains("history of their rows: past") && said.contains("no transactions: old"), "{said}");
}

/// Users, roles and rights come back on a server that has some of them, and give nobody another password.
#[test]
fn grants_come_back_and_change_nobody_who_exists() {
    let (server, bench) = (MariaDb::start(), Bench::new());
    server.sql(
        "create database d; create table d.t(a int, b int); create role reader; create role writer; \
         create user 'o''neil'@'%' identified by 'old', 'with space'@localhost identified by 'x' require ssl \
         with max_user_connections 3; grant reader to writer; grant writer to 'with space'@localhost with admin option; \
         set default role writer for 'with space'@localhost; grant select on d.* to reader; \
         grant insert (a), select (b) on d.t to 'o''neil'@'%' with grant option",
    );
    let grants = || {
        server.sql(
            "show grants for 'o''neil'@'%'; show grants for 'with space'@localhost; show grants for reader; \
             show grants for writer; show create user 'with space'@localhost",
        )
    };
    let before = grants();
    let snapshots = saved(&bench, of(&server));
    let sql = content(&bench, member(&snapshots, "grants")).1;
    assert!(!String::from_utf8_lossy(&sql).contains("mariadb.sys"));
    server.sql("drop user 'o''neil'@'%', 'with space'@localhost; drop role reader, writer");
    server.load("", &sql);
    assert_eq!(grants(), before);
    server.sql("set password for 'o''neil'@'%' = password('new')");
    let changed = grants();
    server.load("", &sql);
    assert_eq!(grants(), changed, "what exists keeps its password");

    // An account that may not read users saves what it may, unless users were asked for.
    server.sql(
        "create user plain@localhost; grant select, show view, trigger, event, lock tables on d.* to plain@localhost",
    );
    let as_plain = |users| {
        let mut options = MysqlOptions { users, ..of(&server) };
        options.connection.user = Some("plain".to_owned());
        options
    };
    let recorder = Recorder::default();
    let report = saved_watched(&bench, as_plain(Users::IfAllowed), &recorder);
    assert_eq!((report.outcome, report.sources.len()), (Outcome::Complete, 1), "{:?}", recorder.findings());
    let said = format!("{:?}", recorder.findings());
    assert!(said.contains("users and grants are not saved") && said.contains("routines are not saved"), "{said}");
    assert!(!said.contains("triggers are not saved"), "{said}");
    assert_eq!(saved_watched(&bench, as_plain(Users::Always), &Silent).outcome, Outcome::Partial);
    assert!(check(&as_plain(Users::Always)).iter().any(|problem| problem.contains("users and grants")));
}

/// One that was dropped after it was listed is no failure, unless it was asked for.
#[test]
fn a_database_that_is_dropped_meanwhile_is_a_note() {
    let (server, bench) = (MariaDb::start(), Bench::new());
    let make = || server.sql("create database a; create database z; create table a.t(i int)");
    let drop_z = || drop(server.sql("drop database z"));
    make();
    let meddler = Meddler::new(drop_z);
    let report = saved_watched(&bench, of(&server), &meddler);
    assert!(meddler.met());
    let members: Vec<_> = report.sources.iter().filter_map(|source| source.member.as_deref()).collect();
    assert_eq!((report.outcome, members), (Outcome::Complete, vec!["grants", "a"]));
    server.sql("drop database a");
    make();
    let named = MysqlOptions { databases: vec!["a".into(), "z".into()], ..of(&server) };
    let report = saved_watched(&bench, named, &Meddler::new(drop_z));
    assert_eq!(report.outcome, Outcome::Partial);
    let patterns = MysqlOptions { include: vec!["?".into()], exclude: vec!["a*".into()], ..of(&server) };
    server.sql("create database b; create database abc; create database z");
    let names = saved(&bench, patterns);
    let names: Vec<_> = names.iter().filter_map(|snapshot| stream(snapshot).member.as_deref()).collect();
    assert_eq!(names, ["b", "z"]);
}

/// A program on `PATH` or in `bin` for a test.
fn script(sr: &Strongroom, name: &str, text: &str) {
    let at = sr.write(name, format!("#!/bin/bash\n{text}\n"));
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
}

fn configured(server: &MariaDb, keys: &str) -> Strongroom {
    let sr = Strongroom::init();
    let folder = sr.folder.path().display();
    let text = format!(
        "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\", password_file = \"{folder}/pass\" }}\n\
         [defaults]\nrepository = \"main\"\n[jobs.shop.sources.db]\nkind = \"mysql\"\nhost = \"{}\"\n{}\n",
        server.socket(),
        keys.replace("FOLDER", &folder.to_string())
    );
    for (name, text) in [("pass", "open sesame\n"), ("strongroom.toml", &text), ("db.pass", &format!("{PASSWORD}\n"))] {
        let at = sr.write(name, text);
        fs::set_permissions(at, fs::Permissions::from_mode(0o600)).unwrap();
    }
    server.sql(&format!(
        "create database if not exists d; create table if not exists d.t(a int); \
         create user backup@localhost identified by '{}'; grant all on *.* to backup@localhost",
        PASSWORD.replace('\'', "''")
    ));
    sr
}

/// MYDB-4, IDP-8: the password is in no argument while the tools run, and in nothing that is kept or printed.
#[test]
fn the_password_is_in_no_argument_and_nothing_that_is_kept() {
    let server = MariaDb::start();
    let sr = configured(&server, "user = \"backup\"\npassword_file = \"FOLDER/db.pass\"\nbin = \"FOLDER/bin\"");
    let seen = sr.at("seen");
    for tool in ["mariadb", "mariadb-dump"] {
        let look = format!(
            "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done >> '{}' 2>/dev/null",
            seen.display()
        );
        script(&sr, &format!("bin/{tool}"), &format!("{look}\nexec /usr/bin/{tool} \"$@\""));
    }
    let mut told = sr.expect(0, &["config", "check", "--config", "strongroom.toml"]);
    told += &sr.expect(0, &["run", "--config", "strongroom.toml"]);
    server.sql("set password for backup@localhost = password('another')");
    told += &sr.expect(1, &["run", "--config", "strongroom.toml"]);
    assert!(told.contains("Access denied for user 'backup'@'localhost' (using password: YES)"), "{told}");
    told += &sr.expect(0, &["log"]);
    told += &sr.expect(0, &["snapshots", "--json"]);
    told += &sr.expect(0, &["config", "show", "--config", "strongroom.toml"]);
    told += &sr.read("home/.local/state/strongroom/jobs/journal.jsonl");
    told += &sr.read("seen");
    assert!(told.contains("mariadb-dump") && told.contains("--single-transaction"), "it was looked while a dump ran");
    assert!(!told.contains("w4lrus"), "{told}");
}

/// A defaults file says who connects; one that others can read is refused.
#[test]
fn a_defaults_file_is_used_if_it_is_private() {
    let server = MariaDb::start();
    let sr = configured(&server, "login = \"FOLDER/db.cnf\"\ndatabases = [\"{d,none}\"]");
    sr.write("db.cnf", format!("[client]\nuser = backup\npassword = \"{PASSWORD}\"\n"));
    // One of the user would win.
    sr.write("home/.my.cnf", "[client]\npassword = wrong\n");
    let mode = |mode| fs::set_permissions(sr.at("db.cnf"), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    assert!(sr.expect(1, &["run", "--config", "strongroom.toml"]).contains("chmod"));
    mode(0o600);
    let told = sr.expect(3, &["run", "--config", "strongroom.toml"]);
    assert!(told.contains("there is no database `none`") && !told.contains("w4lrus"), "{told}");
    assert!(sr.expect(0, &["snapshots"]).contains("1 snapshot"));
    let checked = sr.expect(1, &["config", "check", "--config", "strongroom.toml"]);
    assert!(checked.contains("source shop/db: there is no database `none`"), "{checked}");
}

/// Tools in a container are run by docker; the password reaches them by the environment.
#[test]
fn tools_are_run_in_a_container() {
    let server = MariaDb::start();
    let sr = configured(&server, "user = \"backup\"\npassword_file = \"FOLDER/db.pass\"\ncontainer = \"my db\"");
    let log = sr.at("docker.log");
    script(
        &sr,
        "path/docker",
        &format!(
            "printf '%s\\n' \"$*\" >> '{}'\n[ \"$1 $2\" = 'exec -i' ] || exit 9\nshift 2\nenv=()\n\
             while [ \"$1\" = -e ]; do env+=(\"$2=${{!2}}\"); shift 2; done\n[ \"$1\" = 'my db' ] || exit 9\nshift\n\
             exec env -i PATH=/usr/bin:/bin \"${{env[@]}}\" \"$@\"",
            log.display()
        ),
    );
    let path = format!("{}:{}", sr.at("path").display(), std::env::var("PATH").unwrap());
    let args = ["run", "--config", "strongroom.toml"];
    let output = sr.command(&args).env("PATH", path).output().unwrap();
    let told = crate::program::said(0, &args, &output);
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains(" -e MYSQL_PWD my db mariadb-dump "), "{log}\n{told}");
    assert!(!log.contains("w4lrus"), "{log}");
    assert!(sr.expect(0, &["snapshots"]).contains("2 snapshots"), "{told}");
}
