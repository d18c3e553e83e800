//! Files of SQLite as sources of jobs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;

use crate::program::Strongroom;

fn configured(source: &str) -> Strongroom {
    let sr = Strongroom::init();
    let folder = sr.folder.path().display();
    let text = format!(
        "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\", password_file = \"{folder}/pass\" }}\n\
         [defaults]\nrepository = \"main\"\nscratch_dir = \"{folder}/scratch\"\n[jobs.app.sources]\ndb = {{ kind = \"sqlite\", {} }}\n",
        source.replace("FOLDER", &folder.to_string())
    );
    for (name, text) in [("pass", "open sesame\n"), ("strongroom.toml", &text)] {
        let at = sr.write(name, text);
        fs::set_permissions(at, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::create_dir(sr.at("scratch")).unwrap();
    sr
}

fn run(sr: &Strongroom, code: i32) -> String {
    sr.expect(code, &["run", "--config", "strongroom.toml"])
}

/// What a writer wrote is saved, though it lies in the write-ahead log; the copy is gone afterwards, and so is what a run
/// left that was killed.
#[test]
fn a_database_is_saved_with_its_write_ahead_log() {
    let sr = configured("paths = [\"FOLDER/app.db\"]");
    let writer = Connection::open(sr.at("app.db")).unwrap();
    writer
        .execute_batch("pragma journal_mode = wal; pragma wal_autocheckpoint = 0; create table t(a); insert into t values (1), (2)")
        .unwrap();
    let left = sr.at("scratch/strongroom-scratch-left");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("lock"), "").unwrap();
    run(&sr, 0);
    assert_eq!(fs::read_dir(sr.at("scratch")).unwrap().count(), 0);
    sr.expect(0, &["restore", "latest", "--target", "back"]);
    let back = Connection::open(sr.at("back/app.db")).unwrap();
    let count: i64 = back.query_row("select count(*) from t", (), |row| row.get(0)).unwrap();
    assert_eq!(count, 2);
}

/// Several files are members; one that is missing stops no other, and a damaged one is saved as partial.
#[test]
fn a_missing_file_stops_no_other_and_a_damaged_one_is_partial() {
    let sr = configured("paths = [\"FOLDER/app.db\", \"FOLDER/gone.db\"]");
    Connection::open(sr.at("app.db")).unwrap().execute_batch("create table t(a)").unwrap();
    let checked = sr.expect(1, &["config", "check", "--config", "strongroom.toml"]);
    assert!(checked.contains("source app/db: cannot read ") && checked.contains("gone.db"), "{checked}");
    let told = run(&sr, 3);
    assert!(told.contains("gone.db") && sr.expect(0, &["snapshots"]).contains("1 snapshot"), "{told}");
    assert_eq!(fs::read_dir(sr.at("scratch")).unwrap().count(), 0);
    fs::copy(sr.at("app.db"), sr.at("gone.db")).unwrap();
    let damaged = Connection::open(sr.at("gone.db")).unwrap();
    damaged
        .execute_batch(
            "create table n(a not null); insert into n values (1); pragma writable_schema = on; \
             update sqlite_schema set sql = 'create table n(a not null, b not null)' where name = 'n'",
        )
        .unwrap();
    drop(damaged);
    let told = run(&sr, 3);
    assert!(told.contains("the database is damaged: NULL value in n.b"), "{told}");
}

/// A source of the kind needs files; a container has none.
#[test]
fn what_a_source_lacks_is_said_before_anything_is_run() {
    let told = configured("count = false").expect(2, &["config", "check", "--config", "strongroom.toml"]);
    assert!(told.contains("source `db` needs `paths`"), "{told}");
    let sr = configured("paths = [\"/x.db\"], container = \"c\"");
    let told = run(&sr, 2);
    assert!(told.contains("`app/db` has `container`"), "{told}");
}
