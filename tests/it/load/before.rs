//! What a load replaces is saved first, and comes back by one command.

use std::fs;

use super::servers::{MariaDb, MariaDbServer, Postgres, Server, load, save, tool};
use super::{add, small};
use crate::program::Strongroom;

const REPLACE: [&str; 3] = ["--if-exists", "replace", "--pre-backup"];

fn rows(server: &Postgres, database: &str) -> String {
    server.sql(database, "select count(*) from t")
}

#[track_caller]
fn rollback(sr: &Strongroom, code: i32, to: &str) -> String {
    sr.expect(code, &["load", "--to", to, "--rollback"])
}

fn pre_restores(sr: &Strongroom) -> usize {
    sr.expect(0, &["snapshots", "--json"]).matches("\"before load of ").count()
}

/// IDP-14: what is there is saved before it is replaced, as a set that nothing takes for a newer night; one command brings
/// it back, and again does nothing.
#[test]
fn what_a_load_replaces_is_saved_first_and_comes_back() {
    let (old, sr, new) = (small("fence", 10), Strongroom::init(), Postgres::start());
    add(&old, "wts", 20);
    add(&new, "fence", 3);
    add(&new, "other", 5);
    save(&sr, vec![("gen3", vec![old.dump("fence", "custom"), old.dump("wts", "custom")])]);
    let to = new.to("postgres");
    let text = load(&sr, 2, &to, &["--pre-backup"]);
    assert!(text.contains("it needs --if-exists replace or keep-old"), "{text}");
    assert!(rollback(&sr, 1, &to).contains("no load into host="));
    let text = load(&sr, 0, &to, &[&REPLACE[..], &["--dry-run"]].concat());
    assert!(text.contains("would first save fence, as a set of type pre-restore"), "{text}");
    assert_eq!((pre_restores(&sr), rows(&new, "fence").as_str()), (0, "3"));
    let text = load(&sr, 0, &to, &REPLACE);
    assert!(text.contains("of idp/pre-restore/fence") && text.contains("saved first: fence, as set "), "{text}");
    assert_eq!((rows(&new, "fence"), rows(&new, "wts"), pre_restores(&sr)), ("10".into(), "20".into(), 1));
    let list = sr.expect(0, &["snapshots"]);
    assert!(list.contains("pre-restore"), "{list}");
    // The newest set of the job is still that of the night, and there is nothing left to save.
    let text = load(&sr, 0, &to, &REPLACE);
    assert!(text.matches("is loaded already").count() == 2 && text.contains("nothing is saved first"), "{text}");
    let text = sr.expect(1, &["cat", "latest:fence.dump"]);
    assert!(text.contains("sources") && !text.contains("pre-restore"), "{text}");
    // That load replaced nothing.
    assert!(rollback(&sr, 1, &to).contains("replaced nothing"), "{text}");
    new.sql("fence", "delete from t where a > 7");
    load(&sr, 0, &to, &REPLACE);
    let text = rollback(&sr, 0, &to);
    assert!(text.contains("loaded idp/pre-restore/fence as fence") && rows(&new, "fence") == "7", "{text}");
    assert!(rollback(&sr, 0, &to).contains("is loaded already"));
    assert_eq!(new.databases(), ["fence", "other", "postgres", "wts"]);
    assert!(load(&sr, 2, &to, &["--rollback", "--set", "latest"]).contains("cannot be used with"));
}

/// IDP-14: a load that did not load all of it is repeated. What each database was before the first try comes back.
#[test]
fn a_load_that_is_repeated_goes_back_to_what_was_before_the_first() {
    let (old, sr, new) = (small("fence", 10), Strongroom::init(), Postgres::start());
    add(&new, "fence", 3);
    add(&new, "wts", 4);
    let mut broken = old.dump("fence", "plain").with_line("echo 'bad;'");
    broken.described.member = Some("wts".to_owned());
    save(&sr, vec![("gen3", vec![old.dump("fence", "custom"), broken])]);
    let to = new.to("postgres");
    load(&sr, 3, &to, &REPLACE);
    assert_eq!((rows(&new, "fence"), rows(&new, "wts"), pre_restores(&sr)), ("10".into(), "4".into(), 2));
    new.sql("wts", "delete from t where a = 1");
    let text = load(&sr, 3, &to, &REPLACE);
    assert!(text.contains("saved first: wts, as set"), "{text}");
    let text = rollback(&sr, 0, &to);
    assert_eq!((rows(&new, "fence"), rows(&new, "wts")), ("3".into(), "3".into()), "{text}");
    // Kept under another name, it is saved all the same.
    let text = load(&sr, 3, &to, &["--if-exists", "keep-old", "--pre-backup"]);
    assert!(text.contains("saved first: fence, wts, as set") && text.contains("the old one is called fence_before_"));
    rollback(&sr, 0, &to);
    assert_eq!(rows(&new, "fence"), "3");
}

/// IDP-14: roles that `--alter-roles` changes are saved first, and are as they were after the way back, also if the load was
/// run twice; and if no database is replaced.
#[test]
fn roles_that_a_load_changes_come_back() {
    let (old, sr, new) = (small("fence", 10), Strongroom::init(), Postgres::start());
    add(&new, "fence", 3);
    old.sql("postgres", "create role app login connection limit 7");
    new.sql("postgres", "create role app nologin connection limit 3");
    save(&sr, vec![("gen3", vec![old.globals(), old.dump("fence", "custom")])]);
    let to = new.to("postgres");
    let app = || new.sql("postgres", "select rolcanlogin, rolconnlimit from pg_roles where rolname = 'app'");
    let text = load(&sr, 0, &to, &REPLACE);
    assert!(text.contains("saved first: fence, as set") && app() == "f|3", "{text}");
    let alter = [&REPLACE[..], &["--alter-roles"]].concat();
    let text = load(&sr, 0, &to, &[&alter[..], &["--dry-run"]].concat());
    assert!(text.contains("would first save roles, as a set"), "{text}");
    let text = load(&sr, 0, &to, &alter);
    assert!(text.contains("saved first: roles, as set") && app() == "t|7", "{text}");
    let text = rollback(&sr, 0, &to);
    assert!(text.contains("loaded idp/pre-restore/globals") && app() == "f|3", "{text}");
    // Who may not read the passwords of roles is told so, and nothing is changed.
    new.sql("postgres", "create role maker login createrole createdb");
    new.sql("fence", "grant select on t to maker");
    let text = load(&sr, 1, &new.to("maker"), &alter);
    assert!(text.contains("roles are saved because --alter-roles changes them") && app() == "f|3", "{text}");
}

/// What cannot be saved is not replaced; and what a credential cannot do is said before anything is done.
#[test]
fn what_cannot_be_saved_is_not_replaced() {
    let (old, sr, new) = (small("fence", 10), Strongroom::init(), Postgres::start());
    add(&new, "fence", 3);
    save(&sr, vec![("gen3", vec![old.dump("fence", "custom")])]);
    let (to, tools) = (new.to("postgres"), sr.at("tools"));
    for name in ["psql", "pg_restore"] {
        tool(&tools, name, &format!("exec {}/{name} \"$@\"", new.bin.display()));
    }
    let version = format!("case $1 in --version|--help) exec {}/pg_dump \"$@\";; esac", new.bin.display());
    tool(&tools, "pg_dump", &format!("{version}; echo 'disk on fire' >&2; exit 1"));
    let bin = tools.display().to_string();
    let text = load(&sr, 1, &to, &[&REPLACE[..], &["--bin", &bin]].concat());
    assert!(text.contains("what would be replaced could not be saved: idp/pre-restore/fence: "), "{text}");
    assert!(text.contains("disk on fire") && text.contains("nothing was loaded"), "{text}");
    assert_eq!((rows(&new, "fence"), new.databases().len()), ("3".into(), 2));
    sr.expect(0, &["credential", "add", "--role", "read", "--name", "r", "--output", "r.credential"]);
    let args = [&["load", "--job", "idp", "--to", &to, "--credential", "r.credential"], &REPLACE[..]].concat();
    let output = sr.command(&args).env_remove("STRONGROOM_PASSPHRASE").output().unwrap();
    let text = crate::program::said(2, &args, &output);
    assert!(text.contains("--pre-backup saves: load with the owner's passphrase"), "{text}");
    // The way back is remembered by this machine alone.
    load(&sr, 0, &to, &REPLACE);
    fs::remove_dir_all(sr.at("home")).unwrap();
    let text = rollback(&sr, 1, &to);
    assert!(text.contains("none into any server") && text.contains("--set ID --if-exists replace"), "{text}");
}

/// DH-11, IDP-14: the same with MariaDB, where tables are replaced within their database.
#[test]
fn tables_of_mariadb_that_are_replaced_come_back() {
    let (old, sr, new) = (MariaDb::start(), Strongroom::init(), MariaDb::start());
    let fill = |server: &MariaDb, rows: u32| {
        server
            .sql(&format!("create database `sh``op`; use `sh``op`; create table t select seq a from seq_1_to_{rows}"));
    };
    fill(&old, 50);
    fill(&new, 7);
    new.sql("create table `sh``op`.own select 1 a");
    save(&sr, vec![("my", vec![old.dump("sh`op", &["sh`op"], &[("t", 50)])])]);
    let to = new.to("root");
    let count = || new.sql("select count(*) from `sh``op`.t");
    let text = load(&sr, 0, &to, &REPLACE);
    assert!(text.contains("saved first: sh`op") && count() == "50", "{text}");
    let text = rollback(&sr, 0, &to);
    assert!(text.contains("2 tables with 8 rows compared") && count() == "7", "{text}");
    assert!(rollback(&sr, 0, &to).contains("is loaded already"));
}
