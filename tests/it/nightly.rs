//! Jobs that run by themselves, as other people's bug reports tell of them: times, zones, keys, clients that stop early.

use crate::program::{Strongroom, said};

/// Backs up a small stream, with these further options.
fn night(sr: &Strongroom, code: i32, more: &[&str]) -> String {
    let command = ["backup", "-q", "--from-command", "d.sql=echo dump"];
    sr.expect(code, &[&command[..], more].concat())
}

/// A mistyped year made a snapshot of 2037 the newest for eleven years.
#[test]
fn a_backup_of_a_time_to_come_is_refused() {
    let sr = Strongroom::init();
    let refused = night(&sr, 2, &["--time", "2999-01-01"]);
    assert!(refused.contains("--time 2999-01-01 00:00:00 is in the future: it is "), "{refused}");
    assert!(sr.expect(0, &["snapshots"]).contains("0 snapshots"));
    night(&sr, 0, &["--time", "2025-01-01"]);
}

/// `pg_restore --list` reads the beginning of a dump and ends with status 0: exit code 3, "what it did with it is unknown".
#[test]
fn a_client_that_stops_early_on_purpose_can_be_allowed_to() {
    let sr = Strongroom::init();
    sr.write("d", vec![b'x'; 3_000_000]);
    sr.expect(0, &["backup", "-q", "d"]);
    let (file, client) = (sr.latest("d"), "head -c 5");
    let left = sr.expect(3, &["cat", &file, "--to-command", client]);
    assert!(left.contains("before it had read all of the file") && left.contains("--allow-partial-read"), "{left}");
    for command in ["cat", "restore"] {
        let told = sr.expect(0, &[command, &file, "--to-command", client, "--allow-partial-read"]);
        assert!(told.starts_with("xxxxx") && told.contains("note: "), "{told}");
    }
    sr.expect(4, &["cat", &file, "--to-command", "exit 4", "--allow-partial-read"]);
    sr.expect(2, &["cat", &file, "--allow-partial-read"]);
}

/// A container has another host name each night: five groups, and `--keep-last 2` kept all five without a word.
#[test]
fn many_hosts_with_one_snapshot_each_are_said() {
    let sr = Strongroom::init();
    for n in 1..=5 {
        night(&sr, 0, &["--host", &format!("c{n}")]);
    }
    let told = sr.expect(0, &["forget", "--keep-last", "2"]);
    assert!(told.contains("5 hosts have one snapshot each of d.sql") && told.contains("--group-by source"), "{told}");
    assert!(!sr.expect(0, &["forget", "-q", "--keep-last", "2"]).contains("hosts"));
    assert!(!sr.expect(0, &["forget", "--keep-last", "9", "--group-by", "source"]).contains("hosts"));
    // Many sources of one host are no reason, nor are hosts that are named.
    for n in 1..=5 {
        night(&sr, 0, &["--host", "db", "--source", &format!("s{n}")]);
    }
    assert!(!sr.expect(0, &["forget", "--keep-last", "2", "--host", "db"]).contains("hosts"));
}

/// TZ=Nowhere/Bad was UTC without a word, and the days of a policy others than meant.
#[test]
fn an_unknown_zone_is_said_before_anything_is_forgotten() {
    let sr = Strongroom::init();
    night(&sr, 0, &[]);
    let args = ["forget", "--keep-daily", "7"];
    let forget = |zone: &str| said(0, &args, &sr.command(&args).env("TZ", zone).output().unwrap());
    let told = forget("Nowhere/Bad");
    assert!(told.contains("warning: TZ=Nowhere/Bad names no time zone"), "{told}");
    assert!(!forget("Europe/Berlin").contains("warning") && !forget("").contains("warning"));
    let args = ["forget", "latest", "--dry-run"];
    let named = said(0, &args, &sr.command(&args).env("TZ", "Nowhere/Bad").output().unwrap());
    assert!(named.contains("names no time zone"), "{named}");
}

/// `key remove` took away the slot in use: whoever had given its passphrase had none that was known to open the repository.
#[test]
fn the_key_slot_in_use_is_not_removed() {
    let sr = Strongroom::init();
    let slot = |word: &str| {
        let listed = sr.expect(0, &["key", "list"]);
        let line = listed.lines().skip(1).find(|line| line.contains("used now") == (word == "used"));
        line.and_then(|line| line.split(' ').next()).expect("there is one").to_owned()
    };
    let used = slot("used");
    assert!(sr.expect(1, &["key", "remove", &used]).contains("is the last key slot"));
    sr.write("new", "another one\n");
    sr.expect(0, &["key", "add", "--new-password-file", "new"]);
    let refused = sr.expect(1, &["key", "remove", &used]);
    assert!(refused.contains("opened the repository") && refused.contains("key passwd"), "{refused}");
    sr.expect(0, &["snapshots"]);
    let other = slot("other");
    assert!(sr.expect(0, &["key", "remove", &other]).contains("removed key slot"));
    sr.expect(12, &["snapshots", "--password-file", "new"]);
}

/// `credential revoke` ended a machine's backups for good without a question.
#[test]
fn a_credential_is_revoked_only_if_that_is_agreed_to() {
    let sr = Strongroom::init();
    sr.expect(0, &["credential", "add", "--role", "backup", "--host", "db1", "--output", "db1.credential"]);
    let asked = sr.expect(2, &["credential", "revoke", "db1"]);
    assert!(asked.contains("nothing was revoked") && asked.contains("--yes"), "{asked}");
    assert!(sr.expect(0, &["credential", "list"]).contains("valid"));
    sr.expect(0, &["credential", "revoke", "--yes", "db1"]);
    assert!(sr.expect(0, &["credential", "list"]).contains("revoked by record"));
}

/// On a repository that could not be written, "6 of 8 snapshots are forgotten" stood before the error.
#[test]
fn what_was_not_forgotten_is_not_said_to_be() {
    let sr = Strongroom::init();
    for _ in 0..4 {
        night(&sr, 0, &[]);
    }
    // Where objects are written before they have their names, a file is in the way, for root too.
    let (staging, aside) = (sr.at("repo/#staging"), sr.at("aside"));
    std::fs::rename(&staging, &aside).unwrap();
    std::fs::write(&staging, "").unwrap();
    let failed = sr.expect(1, &["forget", "--keep-last", "1"]);
    assert!(failed.contains("error: ") && !failed.contains("forgot") && !failed.contains("warning"), "{failed}");
    std::fs::remove_file(&staging).unwrap();
    std::fs::rename(&aside, &staging).unwrap();
    let told = sr.expect(0, &["forget", "--keep-last", "1"]);
    assert!(told.contains("more than half were forgotten: 3 of 4"), "{told}");
}
