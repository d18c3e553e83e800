//! Rows of `docs/ROWS.md`: what nights of real services need of the program, on a local repository. Rows that need a
//! server of a database or a bucket are shown elsewhere; the document names all tests.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::Value;
use strongroom::format::record::Outcome;
use strongroom::ops::backup::{BackupOptions, backup};
use strongroom::primitives::progress::{Change, Observer, Silent};
use strongroom::source::exclude::ExcludeOptions;
use strongroom::store::list_all;

use crate::harness::{Bench, difference, far_system, files, options, text};
use crate::program::{Strongroom, noise, said};

/// The objects that a command prints, one a line.
fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// The first digits of the ids of all snapshots, oldest first.
fn ids(sr: &Strongroom) -> Vec<String> {
    let snapshots = objects(&sr.expect(0, &["snapshots", "--json"]));
    snapshots.iter().map(|snapshot| snapshot["id"].as_str().unwrap()[..8].to_owned()).collect()
}

/// The days of March 2026 whose snapshots are left.
fn days(sr: &Strongroom) -> Vec<u32> {
    let snapshots = objects(&sr.expect(0, &["snapshots", "--json"]));
    snapshots.iter().map(|snapshot| snapshot["time"].as_str().unwrap()[8..10].parse().unwrap()).collect()
}

/// A small dump of a day of March 2026.
fn night(sr: &Strongroom, day: u32, more: &[&str]) {
    let (time, dump) = (format!("2026-03-{day:02} 02:00"), format!("d.sql=echo night {day}"));
    sr.expect(0, &[&["backup", "-q", "--time", &time, "--from-command", &dump], more].concat());
}

/// What `backup --json` says of its only source.
fn saved(sr: &Strongroom, args: &[&str]) -> Value {
    let args = [&["backup", "--json"], args].concat();
    let output = sr.command(&args).output().unwrap();
    said(0, &args, &output);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["sources"][0].clone()
}

// --- dumps ---------------------------------------------------------------------------------------------------------

/// DH-2: a dump that comes through gzip is saved as it is, and what to leave out of the command is said.
#[test]
fn a_dump_that_arrives_through_gzip_is_named_with_what_to_leave_out() {
    let sr = Strongroom::init();
    let text = sr.expect(0, &["backup", "-q", "--from-command", "a.sql.gz=echo row | gzip -n"]);
    assert!(text.contains("a.sql.gz arrives compressed (gzip)") && text.contains("drop the `| gzip`"), "{text}");
    assert_eq!(sr.expect(0, &["cat", "latest:a.sql.gz", "--to-command", "gunzip"]), "row\n");
    assert_eq!(sr.expect(0, &["backup", "-q", "--from-command", "a.sql=echo row"]), "");
}

/// MYDB-1: a long stream passes through both ways in bounded memory, and nothing of it is put into a file on the way.
#[test]
fn a_long_stream_needs_little_memory_and_no_temporary_file() {
    const CONTENT: u64 = 20 * 20_000_000;
    let sr = Strongroom::init();
    sr.write("noise", noise(20_000_000));
    // At its end each command looks at the program that started it, and at what that one keeps on this machine.
    sr.write("look", "grep VmHWM /proc/$PPID/status | tr -dc 0-9; echo \" $(du -sk home | cut -f1)\"");
    let run = |args: &[&str]| {
        let output = sr.command(args).env("TMPDIR", sr.at("no such directory")).output().unwrap();
        said(0, args, &output);
        let seen = sr.read("seen");
        let kib: Vec<u64> = seen.split_whitespace().map(|number| number.parse().unwrap()).collect();
        assert!(kib.len() == 2 && kib[0] > 10_000, "{seen}");
        assert!(kib[0] * 1024 < CONTENT * 3 / 4, "{} MiB of memory", kib[0] >> 10);
        assert!(kib[1] < 20_000, "{} KiB in the cache and the state folder", kib[1]);
        fs::remove_file(sr.at("seen")).unwrap();
    };
    run(&["backup", "--from-command", "x=for n in $(seq 20); do cat noise; done; . ./look > seen"]);
    let snapshot = objects(&sr.expect(0, &["snapshots", "--json"])).remove(0);
    assert_eq!(snapshot["figures"]["bytes"], CONTENT);
    run(&["cat", "latest:x", "--to-command", "cat > /dev/null; . ./look > seen"]);
}

/// MYDB-5: a dump that breaks off in a pipe saves nothing, `--gzip` is named, and the password of a command is in no
/// text.
#[test]
fn a_dump_of_mongodb_is_judged_by_its_status() {
    let sr = configured(
        "[jobs.docs.sources.docs]\nkind = \"command\"\nfile = \"docs.archive\"\n\
         command = \"mongodump --archive -u root -p hunter2 | cat\"\nrestore = \"mongorestore --archive --drop\"\n",
    );
    let path = format!("{}:{}", sr.at("bin").display(), std::env::var("PATH").unwrap());
    let dump = |code: i32, script: &str| {
        let at = sr.write("bin/mongodump", format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
        let args = ["run", "--config", "strongroom.toml"];
        said(code, &args, &sr.command(&args).env("PATH", &path).output().unwrap())
    };
    let archive = r"printf '\155\342\231\201'; echo documents";
    let mut texts = dump(1, &format!("{archive}; echo 'no reachable servers' >&2; exit 1"));
    assert!(texts.contains("no reachable servers") && sr.expect(0, &["snapshots"]).contains("0 snapshots"), "{texts}");
    let text = dump(0, archive);
    assert!(!text.contains("compressed"), "{text}");
    assert!(sr.expect(0, &["cat", "latest:docs.archive"]).ends_with("documents\n"));
    let text = dump(0, &format!("({archive}) | gzip"));
    assert!(text.contains("mongodump: drop `--gzip`"), "{text}");
    let text = sr.expect(0, &["restore", "--set", "latest", "--job", "docs", "--target", "out"]);
    assert!(text.contains("to load it: mongorestore --archive --drop"), "{text}");
    texts += &(text
        + &sr.expect(0, &["log"])
        + &sr.expect(0, &["runs", "--json"])
        + &sr.expect(0, &["snapshots", "--json"]));
    assert!(!texts.contains("hunter2"), "{texts}");
}

// --- how long ------------------------------------------------------------------------------------------------------

/// DH-3, DH-8: labels carry the date and need not be unique; `--keep-within` counts back from the newest.
#[test]
fn two_snapshots_of_a_day_have_one_label_and_ids_of_their_own() {
    let sr = Strongroom::init();
    let label = ["--label", "datahub-backup-%Y-%m-%d"];
    for day in [1, 2, 10, 20, 20] {
        night(&sr, day, &label);
    }
    let all = ids(&sr);
    assert!(all.len() == 5 && all[3] != all[4], "{all:?}");
    let named = ["--label", "datahub-backup-2026-03-20"];
    let text = sr.expect(0, &[&["snapshots"], &named[..]].concat());
    assert!(text.contains("2 snapshots") && text.contains("datahub-backup-2026-03-20"), "{text}");
    assert_eq!(sr.expect(0, &["cat", "latest:d.sql", "--label", "datahub-backup-2026-03-02"]), "night 2\n");
    sr.expect(0, &["forget", "--keep-within", "14d", "--dry-run"]);
    sr.expect(0, &["forget", "--keep-within", "14d"]);
    assert_eq!(days(&sr), [10, 20, 20]);
}

/// DH-7: expired ones go, but the newest good ones stay; a partial one fills no count; `max_age` is another name.
#[test]
fn expiry_keeps_the_least_count_of_good_ones_and_cuts_at_the_most() {
    let sr = Strongroom::init();
    (1..=7).for_each(|day| night(&sr, day, &[]));
    let cut = r"d.sql=printf -- '--\n-- PostgreSQL database dump\n--\n'";
    sr.expect(3, &["backup", "-q", "--time", "2026-03-08 02:00", "--from-command", cut]);
    night(&sr, 9, &[]);
    let rules = ["--min-count", "5", "--max-count", "30"];
    for age in ["--expire-after", "--max-age"] {
        let text = sr.expect(0, &[&["forget", "--dry-run", age, "15d"], &rules[..]].concat());
        assert!(text.contains("would keep 5 snapshots and forget 4") && text.contains("expired"), "{text}");
    }
    let text = sr.expect(0, &["forget", "--dry-run", "--max-count", "3"]);
    assert!(text.contains("beyond max-count"), "{text}");
    sr.expect(0, &[&["forget", "--expire-after", "15d"], &rules[..]].concat());
    assert_eq!(days(&sr), [4, 5, 6, 7, 9]);
    // The least count is 1 if none is given.
    sr.expect(0, &["forget", "--expire-after", "15d", "--yes"]);
    assert_eq!(days(&sr), [9]);
}

/// DSS-9: Monday to Friday, and one Wednesday was missed: four are left each night. Deleting the archive of exactly
/// four days ago left those of Tuesday and Wednesday for ever.
#[test]
fn four_are_left_whatever_the_calendar_says() {
    let sr = Strongroom::init();
    let mut made = Vec::new();
    // 2 March 2026 is a Monday.
    for day in [2, 3, 4, 5, 6, 9, 10, 12, 13] {
        night(&sr, day, &[]);
        sr.expect(0, &["forget", "-q", "--keep-last", "4"]);
        made.push(day);
        assert_eq!(days(&sr), made[made.len().saturating_sub(4)..], "after {day} March");
    }
}

/// CC-8: days and weeks count snapshots that exist, each decision has its reason, and a failed night takes nothing
/// away.
#[test]
fn days_and_weeks_are_counted_by_what_is_there() {
    let sr = Strongroom::init();
    // 8 March 2026 is a Sunday.
    (3..=10).for_each(|day| night(&sr, day, &[]));
    let rules = ["forget", "--keep-daily", "2", "--keep-weekly", "2", "--yes"];
    let text = sr.expect(0, &[&rules[..], &["--dry-run"]].concat());
    assert!(text.contains("daily") && text.contains("weekly") && text.contains("no rule keeps it"), "{text}");
    assert!(sr.expect(0, &rules).contains("kept 3 snapshots and forgot 5"));
    assert_eq!(days(&sr), [8, 9, 10]);
    sr.expect(1, &["backup", "--time", "2026-03-11", "--from-command", "d.sql=echo half | gzip; exit 1"]);
    assert!(sr.expect(0, &rules).contains("nothing to forget"));
    assert_eq!(days(&sr), [8, 9, 10]);
    assert!(sr.expect(2, &["forget", "--keep-daily", "0", "--keep-weekly", "0"]).contains("keep"));
}

/// DSS-15: what was saved before an upgrade stays until it is released.
#[test]
fn what_is_held_when_it_is_saved_outlives_every_rule() {
    let sr = Strongroom::init();
    night(&sr, 1, &["--tag", "pre-upgrade", "--hold"]);
    (2..=5).for_each(|day| night(&sr, day, &[]));
    sr.expect(0, &["forget", "--keep-last", "1", "--yes"]);
    assert_eq!(days(&sr), [1, 5]);
    let id = ids(&sr).remove(0);
    assert!(sr.expect(1, &["forget", &id]).contains("is held"));
    let text = sr.expect(0, &["snapshots", "--tag", "pre-upgrade"]);
    assert!(text.contains(&id) && text.contains("1 snapshot") && text.contains("held"), "{text}");
    sr.expect(0, &["unhold", &id]);
    sr.expect(0, &["forget", "--keep-last", "1", "--yes"]);
    assert_eq!(days(&sr), [5]);
}

// --- trees ---------------------------------------------------------------------------------------------------------

/// A data directory of Dataiku DSS, in small.
fn dss(sr: &Strongroom) -> PathBuf {
    for name in [
        "dss-version.json",
        "config/users.json",
        "config/projects/jobs/recipe",
        "config/projects/exports/recipe",
        "databases/flow.h2.db",
        "tmp/a",
        "exports/b",
        "prepared_bundles/c",
        "apinode-packages/d",
        "_pre_migration_backup_13/e",
        "managed_datasets/f",
        "analysis-data/g",
        "saved_models/h",
    ] {
        sr.write(&format!("dss/{name}"), "0123456789");
    }
    fs::set_permissions(sr.at("dss/config/users.json"), fs::Permissions::from_mode(0o600)).unwrap();
    sr.at("dss")
}

/// DSS-1: a service that runs has sockets in its directory: they are counted, cost nothing, and restores name them.
#[test]
fn a_socket_in_a_tree_is_no_problem_and_is_named_by_the_restore() {
    let sr = Strongroom::init();
    sr.write("d/a", "a");
    let _socket = std::os::unix::net::UnixListener::bind(sr.at("d/sock")).unwrap();
    assert_eq!(saved(&sr, &["d"])["figures"]["others"], 1);
    let text = sr.restore(0, "out", &[]);
    assert!(text.contains("note: sock: a socket is not restored") && text.contains("1 socket left out"), "{text}");
    assert_eq!(sr.read("out/a"), "a");
}

/// Appends to a file whenever something was read.
struct Writer(PathBuf);

impl Observer for Writer {
    fn advance(&self, _: u64) {
        fs::File::options().append(true).open(&self.0).unwrap().write_all(b"more").unwrap();
    }
}

/// DSS-5: a database that is written to while it is read is saved and flagged; the next night is well again.
#[test]
fn a_file_that_changes_while_it_is_read_is_flagged() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    let file = root.path().join("flow.h2.db");
    fs::write(&file, text(1, 6_000_000)).unwrap();
    fs::write(root.path().join("other"), "other").unwrap();
    let run = |observer: &dyn Observer| backup(&bench.open(), options(&[root.path()]), observer).unwrap();
    let report = run(&Writer(file));
    assert_eq!((report.outcome, report.sources[0].figures.changed), (Outcome::Warnings, 1));
    assert!(report.sources[0].snapshot.is_some());
    let report = run(&Silent);
    assert_eq!((report.outcome, report.sources[0].figures.changed), (Outcome::Complete, 0));
    let target = tempfile::tempdir().unwrap();
    bench.restore(&bench.latest(&bench.open()), target.path(), Some(root.path()));
    assert_eq!(difference(root.path(), target.path()), "");
}

/// DSS-12, DSS-13: what may be left out goes at the top alone, its directories stay, and how much it was is told; a
/// rule that left out nothing is named.
#[test]
fn presets_for_dss_tell_what_they_left_out() {
    let sr = Strongroom::init();
    let data = dss(&sr);
    let report = saved(&sr, &["dss", "--exclude-preset", "dss:other,dss:data,dss:logs", "--exclude", "analysis_date"]);
    let bytes = |preset: &str| {
        let rules = report["rules"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["rule"].as_str().unwrap().contains(preset));
        rule.unwrap_or_else(|| panic!("{preset}: {report}"))["bytes"].clone()
    };
    assert_eq!(bytes("dss:data"), 30, "also where the guides write analysis_data");
    let unmatched = report["rules_unmatched"].to_string();
    assert!(unmatched.contains("dss:logs") && unmatched.contains("analysis_date"), "{unmatched}");
    assert!(!unmatched.contains("dss:data") && !unmatched.contains("dss:other"), "{unmatched}");
    let listed = sr.expect(0, &["ls"]);
    let has = |name: &str| listed.lines().any(|line| line == format!("{}/{name}", data.display()));
    for name in ["exports", "prepared_bundles", "apinode-packages", "_pre_migration_backup_13", "saved_models"] {
        assert!(has(name), "{name}: {listed}");
    }
    assert!(has("config/projects/exports/recipe") && has("tmp/a") && has("databases/flow.h2.db"), "{listed}");
    for name in
        ["exports/b", "prepared_bundles/c", "apinode-packages/d", "_pre_migration_backup_13/e", "analysis-data/g"]
    {
        assert!(!has(name), "{name}: {listed}");
    }
}

/// DSS-7: the data directory comes back in its place; what the backup left out stays, and what is extra goes.
#[test]
fn a_data_directory_comes_back_in_its_place() {
    let sr = Strongroom::init();
    dss(&sr);
    sr.expect(0, &["backup", "dss", "--exclude-preset", "dss:temp,dss:data"]);
    sr.write("dss/config/users.json", "damaged");
    fs::set_permissions(sr.at("dss/config/users.json"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::remove_dir_all(sr.at("dss/databases")).unwrap();
    sr.write("dss/config/extra", "x");
    sr.write("dss/managed_datasets/of today", "x");
    let from = sr.latest("dss");
    let restore = ["restore", &from, "--target", "dss"];
    assert!(sr.expect(1, &restore).contains("--overwrite"), "a directory that is not empty is refused");
    sr.expect(0, &[&restore[..], &["--overwrite", "if-changed", "--delete", "--yes"]].concat());
    assert_eq!(sr.read("dss/config/users.json") + &sr.read("dss/databases/flow.h2.db"), "0123456789".repeat(2));
    assert_eq!(fs::metadata(sr.at("dss/config/users.json")).unwrap().mode() & 0o777, 0o600);
    assert!(!sr.at("dss/config/extra").exists());
    for kept in ["tmp/a", "managed_datasets/f", "managed_datasets/of today", "saved_models/h"] {
        assert!(sr.at("dss").join(kept).exists(), "{kept}");
    }
    // Elsewhere it is the directory itself, not a path that leads to it.
    sr.expect(0, &["restore", &from, "--target", "other"]);
    assert!(sr.at("other/dss-version.json").exists() && sr.at("other/tmp").is_dir());
}

/// CC-11: one command restores in place without a question, by id, date or `latest`.
#[test]
fn one_command_restores_in_place_without_a_question() {
    let sr = Strongroom::init();
    for day in ["01", "02", "03"] {
        sr.write("d/PG_VERSION", day);
        sr.expect(0, &["backup", "-q", "d", "--time", &format!("2026-03-{day} 02:00")]);
    }
    let path = sr.at("d").display().to_string();
    let by_id = format!("{}:{path}", ids(&sr)[1]);
    let (latest, date) = (sr.latest("d"), format!(":{path}"));
    let cases: [(&[&str], &str); 3] = [(&[&latest], "03"), (&[&by_id], "02"), (&["--at", "2026-03-01", &date], "01")];
    for (from, expected) in cases {
        sr.write("d/extra", "x");
        let how = ["--target", "d", "--overwrite", "always", "--delete", "--yes"];
        sr.expect(0, &[&["restore"], from, &how[..]].concat());
        assert_eq!(sr.read("d/PG_VERSION"), expected, "{from:?}");
        assert!(!sr.at("d/extra").exists(), "{from:?}");
    }
}

/// CC-14, CC-16, DSS-8: what comes back belongs to the service's user, and shards that the backup had not are removed.
#[test]
fn a_restore_gives_everything_to_the_user_that_is_named() {
    assert!(rustix::process::geteuid().is_root(), "this test changes owners: run it as root");
    let sr = Strongroom::init();
    for name in ["d/shards/a.couch", "d/.shards/a.view"] {
        chown(sr.write(name, name), Some(1234), Some(4321)).unwrap();
    }
    sr.expect(0, &["backup", "d"]);
    sr.write("out/shards/stale.couch", "x");
    sr.restore(0, "out", &["--owner", "nobody:nogroup", "--overwrite", "if-changed", "--delete", "--yes"]);
    assert!(!sr.at("out/shards/stale.couch").exists());
    let owner = |path: &str| fs::metadata(sr.at(path)).map(|stat| (stat.uid(), stat.gid())).unwrap();
    for path in ["out", "out/shards", "out/.shards", "out/shards/a.couch", "out/.shards/a.view"] {
        assert_eq!(owner(path), (65534, 65534), "{path}");
    }
    sr.restore(0, "same", &["--numeric-ids"]);
    sr.restore(0, "map", &["--owner-map", "user:1234=nobody"]);
    assert_eq!((owner("same/shards/a.couch"), owner("map/shards/a.couch")), ((1234, 4321), (65534, 4321)));
}

/// CC-13: of a database that only grows its end is stored, and databases that are not wanted are left out by a pattern.
#[test]
fn of_a_file_that_grew_its_end_is_stored() {
    let sr = Strongroom::init();
    let bytes = noise(12_000_000);
    sr.write("d/shards/x/forms.couch", &bytes[..11_800_000]);
    sr.write("d/shards/x/commcarehq__synclogs.2024.couch", noise(1_000_000));
    let args = ["d", "--exclude", "commcarehq__synclogs.*.couch"];
    let stored = |report: &Value| report["figures"]["bytes_new"].as_u64().unwrap();
    assert!(stored(&saved(&sr, &args)) < 12_000_000);
    sr.write("d/shards/x/forms.couch", &bytes);
    let second = stored(&saved(&sr, &args));
    // What was added, and the chunk before it, which is 2 MiB at the most.
    assert!((200_000..2_500_000).contains(&second), "{second} bytes were new");
    sr.restore(0, "out", &[]);
    assert!(fs::read(sr.at("out/shards/x/forms.couch")).unwrap() == bytes);
    assert!(!sr.at("out/shards/x/commcarehq__synclogs.2024.couch").exists());
}

/// Writes down which files were read, in their order, and changes one as soon as another one was read.
struct Changes<'a> {
    after: &'a Path,
    changed: &'a Path,
    read: Mutex<Vec<PathBuf>>,
}

impl Observer for Changes<'_> {
    fn file(&self, _: Change, path: &dyn Fn() -> PathBuf, _: u64) {
        let path = path();
        if path == self.after {
            fs::write(self.changed, "newer data").unwrap();
        }
        self.read.lock().unwrap().push(path);
    }
}

/// CC-13: indexes are read before the data: what is written to the data once they were read is saved. Patterns mean what
/// they mean otherwise, the tree is the same, and the next night reads nothing.
#[test]
fn what_is_to_be_read_first_is_read_before_all_else() {
    let (bench, folder) = (Bench { system: far_system(2), ..Bench::new() }, tempfile::tempdir().unwrap());
    let root = folder.path().join("couch");
    let names = ["a/data.couch", "m/data.couch", "m/views/x/v", "z/deep/w", "z/skip/s", "z/v"];
    for name in names {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), name).unwrap();
    }
    let first = ["z/deep", "z", "m/views", "z/deep/w"].map(PathBuf::from).to_vec();
    let exclude = ExcludeOptions { patterns: vec!["/z/skip/".to_owned()], ..ExcludeOptions::default() };
    let save = |observer: &dyn Observer| {
        let options = BackupOptions {
            first: first.clone(),
            exclude: exclude.clone(),
            source: Some("c".to_owned()),
            ..options(&[&root])
        };
        let repository = bench.open();
        let report = backup(&repository, options, observer).expect("the backup succeeds");
        repository.save_cache().unwrap();
        assert_eq!(report.outcome, Outcome::Complete);
        report.sources[0].figures
    };
    let changes =
        Changes { after: &root.join("m/views/x/v"), changed: &root.join("a/data.couch"), read: Mutex::default() };
    save(&changes);
    let read: Vec<PathBuf> = changes.read.into_inner().unwrap();
    let read: Vec<&str> = read.iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap()).collect();
    assert_eq!(read, ["z/deep/w", "z/v", "m/views/x/v", "a/data.couch", "m/data.couch"]);
    let out = tempfile::tempdir().unwrap();
    bench.restore(&bench.latest(&bench.open()), out.path(), Some(&root));
    fs::remove_dir_all(root.join("z/skip")).unwrap();
    let restored = out.path().to_owned();
    assert_eq!(fs::read_to_string(restored.join("a/data.couch")).unwrap(), "newer data");
    let of = |root: &Path| files(root).into_keys().collect::<Vec<_>>();
    assert_eq!(of(&restored), of(&root));
    let figures = save(&Silent);
    assert_eq!((figures.files, figures.files_read), (5, 0));
}

fn blobs(root: &Path, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let folder = root.join(format!("{:02}", n % 40));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(n.to_string()), text(n, 1500)).unwrap();
    }
}

/// CC-15: of thousands of small files the second night reads the new ones, and few objects hold them.
#[test]
fn of_many_small_files_only_new_ones_are_read_and_few_objects_are_written() {
    let (bench, root) = (Bench { system: far_system(2), ..Bench::new() }, tempfile::tempdir().unwrap());
    let objects = || list_all(&*bench.store, "").unwrap().len();
    blobs(root.path(), 0..4000);
    bench.backup(&[root.path()]);
    let first = objects();
    assert!(first < 40, "4,000 files are in {first} objects");
    blobs(root.path(), 4000..4050);
    let figures = bench.backup(&[root.path()]).sources[0].figures;
    assert_eq!((figures.files, figures.files_read, figures.bytes_read), (4050, 50, 50 * 1500));
    assert!(objects() - first < 8, "{} objects more", objects() - first);
    let target = tempfile::tempdir().unwrap();
    bench.restore(&bench.latest(&bench.open()), target.path(), Some(root.path()));
    assert_eq!(difference(root.path(), target.path()), "");
}

/// CC-9: services share a repository and what is the same is stored once; tags, and who saved what, stay apart.
#[test]
fn services_share_a_repository_and_stay_apart_in_it() {
    let sr = Strongroom::init();
    let bytes = noise(3_000_000);
    sr.write("postgres/dump", &bytes);
    sr.write("blobdb/copy", &bytes);
    let args = |service: &'static str| [service, "--source", service, "--tag", service];
    assert!(saved(&sr, &args("postgres"))["figures"]["bytes_new"].as_u64().unwrap() > 3_000_000);
    assert!(saved(&sr, &args("blobdb"))["figures"]["bytes_new"].as_u64().unwrap() < 10_000);
    let text = sr.expect(0, &["snapshots", "--tag", "blobdb"]);
    assert!(text.contains("1 snapshot") && text.contains("blobdb") && !text.contains("postgres"), "{text}");
    sr.expect(0, &["forget", "--source", "postgres", "--all"]);
    sr.expect(0, &["prune", "--max-unused", "0"]);
    sr.expect(0, &["restore", &sr.latest("blobdb"), "--target", "out"]);
    assert!(fs::read(sr.at("out/copy")).unwrap() == bytes, "what another service stored first stays");
}

// --- jobs ----------------------------------------------------------------------------------------------------------

/// A configuration of jobs in a repository of its own.
fn configured(jobs: &str) -> Strongroom {
    let sr = Strongroom::init();
    configure(&sr, jobs);
    sr
}

fn configure(sr: &Strongroom, jobs: &str) {
    let folder = sr.folder.path().display();
    let text = format!(
        "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\", password_file = \"{folder}/pass\" }}\n\
         [defaults]\nrepository = \"main\"\n{jobs}"
    );
    for (name, text) in [("pass", "open sesame\n"), ("strongroom.toml", text.as_str())] {
        fs::set_permissions(sr.write(name, text), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn run(sr: &Strongroom, code: i32, args: &[&str]) -> String {
    sr.expect(code, &[&["run", "--config", "strongroom.toml"], args].concat())
}

const MYDB: &str = "[jobs.mydb.sources]\n\
    a = { kind = \"command\", file = \"a\", command = \"echo a; date +%N\" }\n\
    b = { kind = \"command\", file = \"b\", command = \"echo b; date +%N\" }\n";

/// MYDB-8, MYDB-16: a user runs one source of a job. It is listed with its type, is `latest` of that type alone, and
/// pushes no nightly run out.
#[test]
fn a_run_by_a_user_stands_beside_the_nightly_ones() {
    let sr = configured(MYDB);
    run(&sr, 0, &["mydb"]);
    let nightly = sr.expect(0, &["cat", "latest:a", "--source", "mydb/a"]);
    for _ in 0..2 {
        let text = run(&sr, 0, &["mydb/a", "--type", "User"]);
        assert!(text.contains("job mydb (User)") && !text.contains("mydb/b"), "{text}");
    }
    let runs = objects(&sr.expect(0, &["runs", "--json"]));
    let types: Vec<&str> = runs.iter().map(|run| run["job_type"].as_str().unwrap()).collect();
    assert_eq!(types, ["Daily", "User", "User"]);
    let text = sr.expect(0, &["forget", "--keep-last", "1"]);
    assert!(text.contains("kept 3 snapshots and forgot 1"), "{text}");
    sr.expect(0, &["restore", "--set", "latest", "--job", "mydb", "--type", "Daily", "--target", "out"]);
    assert_eq!(sr.read("out/mydb/a/a"), nightly);
    assert!(sr.at("out/mydb/b/b").exists());
}

/// MYDB-9: a weekly slot that was missed is made up once; called again, nothing is due.
#[test]
fn a_weekly_slot_is_run_once_however_often_it_is_asked_for() {
    let sr = configured(&format!("[jobs.mydb]\nschedule = \"weekly sat 03:00\"\n{MYDB}"));
    assert_eq!(run(&sr, 0, &["--due"]), "", "the machine saw the job for the first time");
    // As if that had been long ago.
    let journal = sr.at("home/.local/state/strongroom/jobs/journal.jsonl");
    fs::write(&journal, "{\"event\":\"seen\",\"job\":\"mydb\",\"time_ms\":1000}\n").unwrap();
    // A run by hand takes no slot.
    run(&sr, 0, &["mydb"]);
    assert!(run(&sr, 0, &["--due"]).contains("job mydb (Daily)"));
    (0..3).for_each(|_| drop(run(&sr, 0, &["--due"])));
    let runs = objects(&sr.expect(0, &["runs", "--json"]));
    let slots: Vec<&str> = runs.iter().filter_map(|run| run["slot"].as_str()).collect();
    assert!(!slots.is_empty() && slots.windows(2).all(|pair| pair[0] != pair[1]), "{slots:?}");
    assert!(slots.iter().all(|slot| slot.contains("T03:00:00")), "{slots:?}");
}

/// CC-1: a job that is disabled or gone from the file is not run, and what it saved stays.
#[test]
fn a_job_that_is_disabled_or_removed_loses_nothing() {
    let other = "[jobs.other.sources]\nc = { kind = \"command\", file = \"c\", command = \"echo c\" }\n";
    let sr = configured(&format!("{MYDB}{other}"));
    run(&sr, 0, &[]);
    for jobs in [format!("[jobs.mydb]\nenabled = false\n{MYDB}{other}"), other.to_owned()] {
        configure(&sr, &jobs);
        sr.expect(0, &["config", "check", "--config", "strongroom.toml"]);
        let text = run(&sr, 0, &[]);
        assert!(text.contains("job other") && !text.contains("job mydb"), "{text}");
        sr.expect(0, &["forget", "--keep-last", "1", "--yes"]);
        for source in ["mydb/a", "mydb/b", "other/c"] {
            assert!(sr.expect(0, &["snapshots", "--source", source]).contains("1 snapshot"), "{source}");
        }
    }
}

// --- the machine ---------------------------------------------------------------------------------------------------

/// A file that the package installs, with places in this folder instead of the system's.
fn packaged(sr: &Strongroom, name: &str) -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)).unwrap();
    let folder = sr.folder.path().display().to_string();
    let text = text.replace("/usr/bin/strongroom", env!("CARGO_BIN_EXE_strongroom"));
    text.replace("/var/", &format!("{folder}/var/"))
}

/// The journal is as if the machine had known its jobs for long: they are due.
fn make_due(sr: &Strongroom, journal: &str, job: &str) {
    sr.write(journal, format!("{{\"event\":\"seen\",\"job\":\"{job}\",\"time_ms\":1000}}\n"));
}

/// MYDB-10: the line for cron runs under the plainest shell, with no more variables than cron gives, and is silent.
#[test]
fn the_line_for_cron_runs_what_is_due_in_a_plain_shell() {
    let sr = configured(&format!("[jobs.mydb]\nschedule = \"daily 02:00\"\n{MYDB}"));
    fs::create_dir_all(sr.at("home/.config/strongroom")).unwrap();
    fs::rename(sr.at("strongroom.toml"), sr.at("home/.config/strongroom/strongroom.toml")).unwrap();
    let text = packaged(&sr, "cron");
    let lines = || text.lines().filter(|line| !line.starts_with('#'));
    let job = lines().find(|line| line.starts_with("*/10 * * * * root ")).expect("a line of a job");
    let line = job.split_once(" root ").unwrap().1;
    let cron = || {
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", line]).env_clear().current_dir("/").stdin(std::process::Stdio::null());
        command.env("PATH", "/usr/bin:/bin").env("HOME", sr.at("home")).env("SHELL", "/bin/sh");
        command.envs(lines().filter(|line| !line.starts_with('*')).map(|line| line.split_once('=').unwrap()));
        said(0, &[line], &command.output().unwrap())
    };
    assert_eq!(cron(), "", "the machine sees the job for the first time");
    assert!(sr.expect(0, &["snapshots"]).contains("0 snapshots"));
    make_due(&sr, "var/lib/strongroom/jobs/journal.jsonl", "mydb");
    assert_eq!(cron(), "");
    let snapshots = sr.expect(0, &["snapshots"]);
    assert!(snapshots.contains("mydb/a") && snapshots.contains("mydb/b"), "{snapshots}");
    assert!(!sr.at("home/.local/state/strongroom/jobs").exists(), "state is where the line says");
}

/// MYDB-10: the units for systemd are sound, and their commands are commands of the program.
#[test]
fn the_units_for_systemd_are_sound() {
    let sr = configured(&format!("[jobs.mydb]\nschedule = \"daily 02:00\"\n{MYDB}"));
    let service = packaged(&sr, "strongroom.service");
    for (key, expected) in [("ExecStart=", &["run", "--due"][..]), ("ExecStopPost=", &["hooks", "--owed"])] {
        let line = service.lines().find_map(|line| line.strip_prefix(key)).expect("a command");
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        assert_eq!(words, expected);
        let mut command = sr.command(&words);
        // What systemd says instead of a home directory.
        command.env_remove("HOME").env("STATE_DIRECTORY", sr.at("state")).env("CACHE_DIRECTORY", sr.at("cache"));
        command.env("STRONGROOM_CONFIG", sr.at("strongroom.toml"));
        said(0, &words, &command.output().unwrap());
    }
    assert!(sr.read("state/jobs/journal.jsonl").contains("\"seen\""));
    let units = ["strongroom.service", "strongroom.timer"].map(|name| sr.write(name, packaged(&sr, name)));
    let mut verify = std::process::Command::new("systemd-analyze");
    // Machines without systemd cannot ask it.
    if let Ok(output) = verify.args(["verify", "--man=no"]).args(&units).output() {
        let text = String::from_utf8_lossy(&output.stderr);
        let own: Vec<&str> = text.lines().filter(|line| line.contains("strongroom")).collect();
        assert!(own.is_empty(), "{text}");
    }
}

/// MYDB-11: a log that was moved away is not written to any more: the next run opens its file anew, and appends to it.
#[test]
fn a_log_that_was_rotated_is_begun_anew() {
    let sr = configured(MYDB);
    let text = sr.read("strongroom.toml");
    let log = sr.at("strongroom.log").display().to_string();
    sr.write("strongroom.toml", text.replacen("version = 1\n", &format!("version = 1\nlog_file = \"{log}\"\n"), 1));
    run(&sr, 0, &["mydb/a"]);
    run(&sr, 0, &["mydb/b"]);
    let first = sr.read("strongroom.log");
    assert!(first.contains("mydb/a") && first.contains("mydb/b"), "{first}");
    fs::rename(sr.at("strongroom.log"), sr.at("strongroom.log.1")).unwrap();
    run(&sr, 0, &["mydb/a"]);
    let second = sr.read("strongroom.log");
    assert!(second.contains("mydb/a") && !second.contains("mydb/b"), "{second}");
    assert_eq!(sr.read("strongroom.log.1"), first);
    assert!(packaged(&sr, "logrotate").contains("/var/log/strongroom.log {"));
}
