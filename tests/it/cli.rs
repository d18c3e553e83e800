//! The program as a user meets it: what it prints, and how it exits.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

struct Strongroom {
    folder: tempfile::TempDir,
}

impl Strongroom {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn init() -> Self {
        let this = Self::new();
        this.expect(0, &["init"]);
        this
    }

    fn command(&self, args: &[&str]) -> Command {
        let at = |name: &str| Path::join(self.folder.path(), name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", at("home"))
            .env("TZ", "UTC")
            .env("STRONGROOM_REPO", at("repo"))
            .env("STRONGROOM_PASSPHRASE", "open sesame")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    fn expect(&self, code: i32, args: &[&str]) -> String {
        text(code, args, &self.command(args).output().expect("the program runs"))
    }

    fn tree(&self) -> std::path::PathBuf {
        let tree = self.folder.path().join("tree");
        fs::create_dir_all(tree.join("sub/tmp")).unwrap();
        fs::write(tree.join("one"), "first file\n").unwrap();
        fs::write(tree.join("sub/two"), "second file\n").unwrap();
        fs::write(tree.join("sub/tmp/three"), "third file\n").unwrap();
        tree
    }
}

fn text(code: i32, args: &[&str], output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    said
}

#[test]
fn each_way_to_fail_has_its_exit_code_and_a_hint() {
    let sr = Strongroom::new();
    let said = sr.expect(10, &["snapshots"]);
    assert!(said.contains("there is no repository at") && said.contains("hint: "), "{said}");
    sr.expect(0, &["init"]);
    assert!(sr.expect(1, &["init"]).contains("already"));
    let wrong = sr.command(&["snapshots"]).env("STRONGROOM_PASSPHRASE", "open barley").output().unwrap();
    assert!(text(12, &["snapshots"], &wrong).contains("passphrase"));
    let none = sr.command(&["snapshots"]).env_remove("STRONGROOM_PASSPHRASE").output().unwrap();
    assert!(text(1, &["snapshots"], &none).contains("--password-file"));
    sr.expect(2, &["backup", "--no-such-option"]);
    assert!(sr.expect(1, &["restore", "latest", "--target", "out"]).contains("no snapshot matches"));
    assert!(sr.expect(1, &["backup", "/no/such/path"]).contains("/no/such/path"));
    assert!(sr.expect(0, &["unlock"]).contains("no locks"));
}

/// DSS-7, DSS-16: one folder or one file is restored, without the path that leads to it.
#[test]
fn a_dot_is_stored_as_an_absolute_path_and_a_part_becomes_the_root() {
    let sr = Strongroom::init();
    let tree = sr.tree();
    let output = sr.command(&["backup", "."]).current_dir(&tree).output().unwrap();
    text(0, &["backup", "."], &output);
    let path = tree.to_str().unwrap();
    assert!(sr.expect(0, &["ls", "latest"]).contains(&format!("{path}/sub/two")));
    sr.expect(0, &["restore", &format!("latest:{path}/sub"), "--target", "out"]);
    assert_eq!(fs::read_to_string(sr.folder.path().join("out/two")).unwrap(), "second file\n");
    let refused = sr.expect(1, &["restore", "latest", "--target", "out"]);
    assert!(refused.contains("--overwrite"), "{refused}");
    sr.expect(0, &["restore", &format!("latest:{path}/sub/two"), "--target", "single"]);
    assert_eq!(fs::read_dir(sr.folder.path().join("single")).unwrap().count(), 1);
    assert_eq!(sr.expect(0, &["cat", &format!("latest:{path}/one")]), "first file\n");
    assert!(sr.expect(1, &["cat", "latest:/nothing"]).contains("has no /nothing"));
}

#[test]
fn extras_are_deleted_only_when_it_is_agreed_to() {
    let sr = Strongroom::init();
    let tree = sr.tree();
    sr.expect(0, &["backup", "tree"]);
    fs::write(tree.join("extra"), "not in the snapshot").unwrap();
    let part = format!("latest:{}", tree.display());
    let asked = sr.expect(1, &["restore", &part, "--target", "tree", "--delete"]);
    assert!(asked.contains("extra") && asked.contains("--yes"), "{asked}");
    assert!(tree.join("extra").exists());
    sr.expect(0, &["restore", &part, "--target", "tree", "--delete", "--yes"]);
    assert!(!tree.join("extra").exists() && tree.join("sub/two").exists());
}

#[test]
fn a_rule_that_matches_nothing_is_said_and_rules_are_anchored_at_the_source() {
    let sr = Strongroom::init();
    let tree = sr.tree();
    let said = sr.expect(0, &["backup", "tree", "--exclude", "/tmp", "--exclude", "two"]);
    assert!(said.contains("/tmp matched nothing"), "{said}");
    let listed = sr.expect(0, &["ls"]);
    assert!(listed.contains("sub/tmp/three") && !listed.contains("sub/two"), "{listed}");
    let absolute = format!("{}/sub/tmp", tree.display());
    sr.expect(0, &["backup", "tree", "--exclude", &absolute]);
    assert!(!sr.expect(0, &["ls"]).contains("three"));
}

/// DSS-10, DSS-11, DSS-13: contents go, the empty directories stay, and only at the root of the data directory.
#[test]
fn presets_for_dss_leave_the_directories_and_touch_only_the_root() {
    let sr = Strongroom::init();
    let data = sr.folder.path().join("dss");
    for path in
        ["tmp/a", "caches/b", "data-catalog/c", "jobs/P/log", "config/projects/jobs/recipe", "config/projects/tmp/x"]
    {
        fs::create_dir_all(data.join(path).parent().unwrap()).unwrap();
        fs::write(data.join(path), path).unwrap();
    }
    fs::create_dir_all(data.join("analysis-data/x")).unwrap();
    fs::write(data.join("analysis-data/x/model"), "m").unwrap();
    sr.expect(0, &["backup", "dss", "--exclude-preset", "dss:temp,dss:logs,dss:data"]);
    let listed = sr.expect(0, &["ls"]);
    let root = data.to_str().unwrap();
    for kept in ["/tmp\n", "/caches\n", "/data-catalog\n", "/jobs\n", "/analysis-data\n"] {
        assert!(listed.contains(&format!("{root}{kept}")), "{kept}: {listed}");
    }
    for kept in ["config/projects/jobs/recipe", "config/projects/tmp/x"] {
        assert!(listed.contains(kept), "{kept}: {listed}");
    }
    for gone in ["tmp/a", "caches/b", "data-catalog/c", "jobs/P", "analysis-data/x"] {
        assert!(!listed.contains(&format!("{root}/{gone}")), "{gone}: {listed}");
    }
}

#[test]
fn json_is_one_object_a_line_and_quiet_is_quiet() {
    let sr = Strongroom::init();
    sr.tree();
    let report: serde_json::Value = serde_json::from_str(&sr.expect(0, &["--json", "backup", "tree"])).unwrap();
    assert_eq!(report["sources"][0]["figures"]["files"], 3);
    let snapshot: serde_json::Value = serde_json::from_str(&sr.expect(0, &["snapshots", "--json"])).unwrap();
    assert_eq!(snapshot["id"], report["sources"][0]["snapshot"]);
    for line in sr.expect(0, &["ls", "--json"]).lines().chain(sr.expect(0, &["log", "--json"]).lines()) {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    let verified: serde_json::Value =
        serde_json::from_str(&sr.expect(0, &["verify", "--read-data", "--json"])).unwrap();
    assert_eq!(verified["findings"], serde_json::json!([]));
    serde_json::from_str::<serde_json::Value>(&sr.expect(0, &["stats", "--json"])).unwrap();
    for quiet in [&["backup", "-q", "tree"][..], &["verify", "-q"], &["restore", "-q", "latest", "--target", "q"]] {
        assert_eq!(sr.expect(0, quiet), "");
    }
}

/// CC-20: servers of one service do not take each other's place.
#[test]
fn latest_is_refused_with_the_candidates_if_it_spans_hosts() {
    let sr = Strongroom::init();
    sr.tree();
    sr.expect(0, &["backup", "tree", "--host", "ann"]);
    sr.expect(0, &["backup", "tree", "--host", "bob", "--tag", "x,y"]);
    let refused = sr.expect(1, &["ls", "latest"]);
    assert!(refused.contains("ann") && refused.contains("bob") && refused.contains("--host"), "{refused}");
    sr.expect(0, &["ls", "latest", "--host", "ann"]);
    sr.expect(0, &["ls", "latest", "--tag", "x,y"]);
    assert!(sr.expect(1, &["ls", "latest", "--tag", "x,z"]).contains("no snapshot"));
}

#[test]
fn a_time_chooses_the_newest_snapshot_at_or_before_it() {
    let sr = Strongroom::init();
    let tree = sr.tree();
    for day in ["2026-01-01", "2026-01-02", "2026-01-03"] {
        fs::write(tree.join("one"), day).unwrap();
        sr.expect(0, &["backup", "tree", "--time", &format!("{day} 02:00")]);
    }
    let path = format!(":{}/one", tree.display());
    for (at, found) in [("2026-01-02T01:59", "2026-01-01"), ("2026-01-02", "2026-01-02"), ("2026-02-01", "2026-01-03")]
    {
        assert_eq!(sr.expect(0, &["cat", "--at", at, &path]), found, "{at}");
    }
    assert_eq!(sr.expect(0, &["cat", &format!("latest~2{path}")]), "2026-01-01");
    assert!(sr.expect(1, &["cat", "--at", "2025-12-31", &path]).contains("no snapshot"));
}

#[test]
fn a_first_backup_without_any_configuration_makes_a_repository_and_says_how_to_recover() {
    let sr = Strongroom::new();
    sr.tree();
    fs::create_dir_all(sr.folder.path().join("home")).unwrap();
    let bare = |args: &[&str]| {
        let mut command = sr.command(args);
        command.env_remove("STRONGROOM_REPO").env_remove("STRONGROOM_PASSPHRASE");
        command.output().unwrap()
    };
    assert!(text(10, &[], &bare(&["backup", "tree"])).contains("--init"));
    let said = text(0, &[], &bare(&["backup", "--init", "tree"]));
    assert!(said.contains("home/.local/share/strongroom/repository") && said.contains("to recover"), "{said}");
    assert!(text(0, &[], &bare(&["snapshots"])).contains("1 snapshot\n"));
    use std::os::unix::fs::PermissionsExt;
    let file = sr.folder.path().join("home/.config/strongroom/passphrase");
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_damaged_pack_is_named_with_the_files_it_hurts() {
    let sr = Strongroom::init();
    sr.tree();
    sr.expect(0, &["backup", "tree"]);
    let folder = fs::read_dir(sr.folder.path().join("repo/data")).unwrap().next().unwrap().unwrap().path();
    let pack = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[200] ^= 1;
    fs::write(&pack, bytes).unwrap();
    sr.expect(0, &["verify"]);
    let name = pack.file_name().unwrap().to_str().unwrap();
    for args in [&["verify", "--read-data"][..], &["verify", "--keyless"]] {
        let said = sr.expect(1, args);
        assert!(said.contains(name), "{said}");
    }
    assert!(sr.expect(1, &["verify", "--read-data"]).contains("/sub/two"));
    let said = sr.expect(3, &["restore", "latest", "--target", "out"]);
    assert!(said.contains("incomplete") && said.contains("two"), "{said}");
}

#[test]
fn no_secret_is_printed_or_left_in_files() {
    let sr = Strongroom::init();
    sr.tree();
    sr.expect(0, &["backup", "tree"]);
    let found = Command::new("grep")
        .args(["-rl", "open sesame", sr.folder.path().to_str().unwrap()])
        .output()
        .expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn the_passphrase_is_not_handed_on_to_commands() {
    let sr = Strongroom::init();
    sr.expect(0, &["backup", "--from-command", "env=env"]);
    assert!(!sr.expect(0, &["cat", "latest:env"]).contains("open sesame"));
    let seen = sr.expect(0, &["cat", "latest:env", "--to-command", "cat >/dev/null; env"]);
    assert!(!seen.contains("open sesame"), "{seen}");
}

/// A machine with a credential file and nothing else.
fn machine(sr: &Strongroom, name: &str, args: &[&str], code: i32) -> String {
    let at = |part: &str| sr.folder.path().join(format!("{name}-{part}"));
    let mut command = sr.command(args);
    command.env_remove("STRONGROOM_PASSPHRASE").env_remove("STRONGROOM_REPO").env("HOME", at("home"));
    command.env("STRONGROOM_CREDENTIAL", sr.folder.path().join(format!("{name}.credential")));
    text(code, args, &command.output().expect("the program runs"))
}

#[test]
fn a_machine_needs_its_credential_file_and_nothing_else_until_it_is_revoked() {
    use std::os::unix::fs::PermissionsExt;
    let sr = Strongroom::init();
    sr.tree();
    let add = ["credential", "add", "--role", "backup", "--host", "db1", "--output", "db1.credential"];
    assert!(sr.expect(0, &add).contains("may add snapshots and read nothing"));
    assert!(sr.expect(1, &add).contains("db1.credential"), "a file that is there stays");
    let mode = fs::metadata(sr.folder.path().join("db1.credential")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    sr.expect(0, &["credential", "add", "--role", "read", "--name", "drill", "--output", "drill.credential"]);

    assert!(machine(&sr, "db1", &["backup", "tree"], 0).contains("snapshot "));
    assert!(machine(&sr, "db1", &["backup", "tree", "--host", "web1"], 1).contains("may not speak for host"));
    let refused = machine(&sr, "db1", &["snapshots"], 1);
    assert!(refused.contains("may add") && refused.contains("hint: "), "{refused}");
    assert!(machine(&sr, "db1", &["whoami"], 0).contains("role backup"));
    assert!(machine(&sr, "drill", &["snapshots"], 0).contains("db1"));
    machine(&sr, "drill", &["restore", "latest", "--target", "out"], 0);
    assert!(machine(&sr, "drill", &["backup", "tree"], 1).contains("is read-only"));

    let listed = sr.expect(0, &["credential", "list"]);
    assert!(listed.contains("db1") && listed.contains("drill") && listed.contains("valid"), "{listed}");
    assert!(sr.expect(0, &["credential", "revoke", "--yes", "db1"]).contains("void"));
    assert!(machine(&sr, "db1", &["backup", "tree"], 1).contains("was revoked by record"));
    sr.expect(0, &["backup", "tree"]);
    assert!(machine(&sr, "drill", &["restore", "latest", "--host", "db1", "--target", "out2"], 0).contains("restored"));
    assert!(sr.expect(0, &["credential", "list"]).contains("revoked by record"));
    let spoiled = fs::read_to_string(sr.folder.path().join("drill.credential")).unwrap().replacen('0', "1", 1);
    fs::write(sr.folder.path().join("bad.credential"), spoiled).unwrap();
    assert!(machine(&sr, "bad", &["snapshots"], 1).contains("checksum"));
}

/// MYDB-2: a second key opens the repository.
#[test]
fn the_owner_s_passphrase_changes_and_recovery_words_open() {
    let sr = Strongroom::init();
    let said = sr.expect(0, &["key", "add", "--words"]);
    let words = said.lines().nth(2).unwrap().trim().to_owned();
    assert_eq!(words.split(' ').count(), 12, "{said}");
    fs::write(sr.folder.path().join("new"), "a new one\n").unwrap();
    assert!(sr.expect(0, &["key", "passwd", "--new-password-file", "new"]).contains("is removed"));
    sr.expect(12, &["snapshots"]);
    for passphrase in ["a new one", &words] {
        let output = sr.command(&["snapshots"]).env("STRONGROOM_PASSPHRASE", passphrase).output().unwrap();
        text(0, &["snapshots"], &output);
    }
    let by_words = sr.command(&["key", "list"]).env("STRONGROOM_PASSPHRASE", words).output().unwrap();
    let listed = text(0, &["key", "list"], &by_words);
    assert!(listed.contains("recovery words") && listed.contains("used now"), "{listed}");
}

/// CC-8: each decision has its reason, and most of it goes only if somebody agrees.
#[test]
fn a_forget_explains_itself_and_asks_before_most_of_it_goes() {
    let sr = Strongroom::init();
    sr.tree();
    for day in 1..=14 {
        sr.expect(0, &["backup", "-q", "tree", "--time", &format!("2026-11-{day:02} 02:00")]);
    }
    sr.expect(0, &["hold", "latest~13"]);
    let dry = sr.expect(0, &["forget", "--keep-daily", "9", "--dry-run"]);
    assert!(dry.contains("would keep 10 snapshots and forget 4 snapshots") && dry.contains("held"), "{dry}");
    assert!(sr.expect(2, &["forget"]).contains("--keep-daily"));
    assert!(sr.expect(2, &["forget", "--keep-last", "1", "--max-count", "2"]).contains("cannot be combined"));
    assert!(sr.expect(1, &["forget", "--keep-last", "1"]).contains("--yes"));
    assert!(sr.expect(0, &["forget", "--keep-daily", "9"]).contains("forgot 4 snapshots"));
    sr.expect(0, &["forget", "--keep-last", "4"]);
    // Nobody can be asked, and few go: a job that runs by itself goes on.
    assert!(sr.expect(0, &["forget", "--keep-last", "1"]).contains("more than half were forgotten: 3 of 5"));
    sr.expect(0, &["forget", "--expire-after", "15d", "--min-count", "2", "--max-count", "3", "--yes"]);
    assert!(sr.expect(0, &["snapshots"]).contains("snapshots"));
    let dry = sr.expect(0, &["forget", "--keep-last", "1", "--prune", "--dry-run", "--max-unused", "0"]);
    assert!(dry.contains("nothing to remove"), "{dry}");
    let pruned: serde_json::Value =
        serde_json::from_str(&sr.expect(0, &["prune", "--json", "--max-unused", "0", "--grace", "0s"])).unwrap();
    assert!(pruned["type"] == "prune" && pruned["snapshots"] == 2 && pruned["checkpoint"].is_u64(), "{pruned}");
    assert!(!sr.expect(0, &["prune"]).contains("would"));
    assert!(sr.expect(0, &["repair"]).contains("nothing to repair"));
    assert!(sr.expect(2, &["prune", "--max-unused", "lots"]).contains("--max-unused"));
    sr.expect(0, &["verify"]);
}

/// A mistake, a retired machine: no snapshot could be forgotten by its id, and the newest of a group never went.
#[test]
fn snapshots_are_forgotten_by_id_and_a_retired_host_as_a_whole() {
    let sr = Strongroom::init();
    sr.tree();
    for host in ["web1", "web1", "db1"] {
        sr.expect(0, &["backup", "-q", "tree", "--host", host]);
    }
    let ids: Vec<String> = sr
        .expect(0, &["snapshots", "--json"])
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(sr.expect(2, &["forget", &ids[0], "--keep-last", "1"]).contains("cannot be combined"));
    assert!(sr.expect(2, &["forget", "--all"]).contains("--host"));
    assert!(sr.expect(2, &["forget", "--host", "", "--all"]).contains("not empty"));
    assert!(sr.expect(2, &["forget", "--tag", "", "--all"]).contains("not empty"));
    sr.expect(2, &["forget", "--keep-within", "6m"]);
    sr.expect(2, &["forget", "--keep-last", "0"]);
    sr.expect(0, &["hold", &ids[0]]);
    assert!(sr.expect(1, &["forget", &ids[0]]).contains("is held"));
    sr.expect(0, &["unhold", &ids[0]]);
    assert!(sr.expect(0, &["forget", &ids[0][..8], "--dry-run"]).contains("named"));
    let said = sr.expect(0, &["forget", &ids[0][..8]]);
    assert!(said.contains("forgot 1 snapshot") && said.contains(&ids[0][..8]), "{said}");
    sr.expect(1, &["forget", &ids[0][..8]]);
    assert!(sr.expect(0, &["forget", "--host", "db1", "--all"]).contains("forgot 1 snapshot"));
    let left = sr.expect(0, &["snapshots"]);
    assert!(left.contains("web1") && !left.contains("db1"), "{left}");
}

/// A loop over the databases loaded the newest dump into each of them.
#[test]
fn the_latest_of_several_sources_is_refused_with_the_candidates() {
    let sr = Strongroom::init();
    sr.tree();
    sr.expect(0, &["backup", "-q", "tree"]);
    sr.expect(0, &["backup", "-q", "--from-command", "shop.sql=echo shop"]);
    let said = sr.expect(1, &["cat", "latest"]);
    assert!(said.contains("several sources") && said.contains("shop.sql (") && said.contains("--source"), "{said}");
    // A path that only one of them has says which.
    assert_eq!(sr.expect(0, &["cat", "latest:shop.sql"]), "shop\n");
    assert_eq!(sr.expect(0, &["cat", "latest", "--source", "shop.sql"]), "shop\n");
}

/// restic#836: a name that is kept is somebody's own file; nothing of the snapshot is linked to it.
#[test]
fn a_further_name_of_a_kept_file_is_a_file_of_its_own() {
    let strongroom = Strongroom::init();
    let tree = strongroom.folder.path().join("linked");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("a"), "snapshot\n").unwrap();
    fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
    fs::hard_link(tree.join("a"), tree.join("c")).unwrap();
    strongroom.expect(0, &["backup", "linked"]);
    ["a", "b", "c"].iter().for_each(|name| fs::remove_file(tree.join(name)).unwrap());
    fs::write(tree.join("a"), "newer\n").unwrap();
    let snapshot = format!("latest:{}", tree.display());
    let restore = ["restore", &snapshot, "--target", "linked", "--overwrite"];
    strongroom.expect(0, &[&restore[..], &["never"]].concat());
    let read = |name: &str| fs::read_to_string(tree.join(name)).unwrap();
    assert_eq!((read("a"), read("b"), read("c")), ("newer\n".into(), "snapshot\n".into(), "snapshot\n".into()));
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(tree.join(name)).unwrap());
    assert_ne!(inode("a"), inode("b"));
    assert_eq!(inode("b"), inode("c"), "the names that were written are one file");
    // What is kept because it is the same is one of the names; so a restore that is run again makes the rest.
    fs::remove_file(tree.join("c")).unwrap();
    strongroom.expect(0, &[&restore[..], &["if-changed"]].concat());
    assert_eq!(read("a"), "snapshot\n");
    assert!(inode("a") == inode("b") && inode("b") == inode("c"));
}

/// Two signals within microseconds, as `timeout` sends them, and a second one later: whatever comes, the command is
/// gone when the program is. immich#30824: a `pg_dump` that was left behind held its locks for five days.
#[test]
fn no_command_outlives_the_program_however_many_signals_come() {
    let strongroom = Strongroom::init();
    // The second asks the command to stop, and it does not.
    for (signals, deaf) in [(1, false), (2, false), (2, true)] {
        let pid = strongroom.folder.path().join("pid");
        let _ = fs::remove_file(&pid);
        let deaf = if deaf { "trap '' TERM; " } else { "" };
        let source = format!(
            "dump={deaf}echo $$ > '{}.new'; mv '{0}.new' '{0}'; while :; do read -t 9 <> <(:); done",
            pid.display()
        );
        let mut running = strongroom.command(&["backup", "--from-command", &source]).spawn().unwrap();
        let child = loop {
            match fs::read_to_string(&pid) {
                Ok(text) => break text.trim().to_owned(),
                Err(_) => assert!(running.try_wait().unwrap().is_none(), "it waits for the command"),
            }
        };
        let program = rustix::process::Pid::from_child(&running);
        for _ in 0..signals {
            rustix::process::kill_process(program, rustix::process::Signal::TERM).unwrap();
        }
        assert_eq!(running.wait().unwrap().code(), Some(130));
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z"), "{signals} signals left the command: {stat}");
    }
}

/// restic#2135: nobody noticed that standard input was empty; lerd#1324: restoring it would have emptied the database.
#[test]
fn an_empty_stream_fails_and_pushes_no_good_one_out() {
    let sr = Strongroom::init();
    sr.expect(0, &["backup", "--time", "2026-01-01", "--from-command", "shop.sql=echo real"]);
    let said = sr.expect(1, &["backup", "--from-command", "shop.sql=true"]);
    assert!(said.contains("--allow-empty") && said.contains("shop.sql"), "{said}");
    // Standard input is /dev/null here.
    sr.expect(1, &["backup", "--stdin-name", "shop.sql", "-"]);
    sr.expect(3, &["backup", "--from-command", "shop.sql=true", "--from-command", "b.sql=echo b"]);
    sr.expect(0, &["forget", "--keep-last", "1"]);
    assert_eq!(sr.expect(0, &["cat", "latest:shop.sql"]), "real\n");
    sr.expect(0, &["backup", "--allow-empty", "--from-command", "shop.sql=true"]);
    assert_eq!(sr.expect(0, &["cat", "latest:shop.sql", "--source", "shop.sql"]), "");
}

/// A dump that was cut off behind a remote shell ends with status 0.
#[test]
fn a_dump_without_its_last_line_is_partial_and_never_the_newest() {
    let sr = Strongroom::init();
    let head = r"--\n-- PostgreSQL database dump\n--\n\ncreate table t ();\n";
    let part = format!("shop.sql=printf -- '{head}'");
    let whole = format!(r"{part}; printf -- '--\n-- PostgreSQL database dump complete\n--\n'");
    let none = sr.expect(3, &["backup", "--from-command", &part]);
    assert!(none.contains("shop.sql is not complete") && none.contains("pg_dump"), "{none}");
    let refused = sr.expect(1, &["cat", "latest:shop.sql"]);
    assert!(refused.contains("1 partial"), "{refused}");
    sr.expect(0, &["backup", "--time", "2026-01-01", "--from-command", &whole]);
    sr.expect(3, &["backup", "--from-command", &part]);
    assert!(sr.expect(0, &["cat", "latest:shop.sql"]).contains("complete"));
    // It fills no place: the whole one stays.
    sr.expect(0, &["forget", "--keep-last", "1"]);
    assert!(sr.expect(0, &["cat", "latest:shop.sql"]).contains("complete"));
}

#[test]
fn a_repository_is_made_only_where_nothing_else_is() {
    let sr = Strongroom::new();
    let repo = sr.folder.path().join("repo");
    fs::create_dir_all(repo.join("photos/2026")).unwrap();
    fs::write(repo.join("photos/2026/a.jpg"), "x").unwrap();
    fs::write(repo.join("Letter to A"), "x").unwrap();
    let said = sr.expect(1, &["init"]);
    assert!(said.contains("not empty") && said.contains("photos") && said.contains("Letter to A"), "{said}");
    fs::remove_dir_all(&repo).unwrap();
    // The top of a fresh file system.
    fs::create_dir_all(repo.join("lost+found")).unwrap();
    sr.expect(0, &["init"]);
    // The layout of restic's repository format 2, and of borg 1.
    for (file, tool) in [("snapshots/00ff", "restic"), ("README", "borg")] {
        fs::remove_dir_all(&repo).unwrap();
        fs::create_dir_all(repo.join("snapshots")).unwrap();
        fs::write(repo.join("config"), [7; 155]).unwrap();
        fs::write(repo.join(file), "x").unwrap();
        for args in [&["snapshots"][..], &["init"], &["backup", "."]] {
            let said = sr.expect(1, args);
            assert!(said.contains("not a strongroom repository") && said.contains(tool), "{said}");
        }
    }
}

/// A log that is gone is no empty repository: nothing is begun anew in it, and nothing is deleted.
#[test]
fn a_repository_without_its_log_is_not_an_empty_one() {
    let sr = Strongroom::init();
    sr.tree();
    sr.expect(0, &["backup", "tree"]);
    let repo = sr.folder.path().join("repo");
    fs::rename(repo.join("log"), sr.folder.path().join("aside")).unwrap();
    let size = |at: &Path| {
        let du = Command::new("find").arg(at).args(["-type", "f"]).output().unwrap();
        String::from_utf8(du.stdout).unwrap().lines().count()
    };
    let before = size(&repo);
    // A machine that has never seen it.
    let bare = ["--cache-dir", "bare-cache"];
    for args in [&["snapshots"][..], &["verify"], &["backup", "tree"], &["prune"], &["forget", "--keep-last", "1"]] {
        let args = [&bare[..], args].concat();
        let output = sr.command(&args).env("STRONGROOM_STATE_DIR", sr.folder.path().join("bare")).output().unwrap();
        let said = text(11, &args, &output);
        assert!(said.contains("log/") && said.contains("missing"), "{said}");
    }
    assert_eq!(size(&repo), before);
    let said = sr.expect(1, &["verify", "--keyless"]);
    assert!(said.contains("log/") && said.contains("missing"), "{said}");
    fs::rename(sr.folder.path().join("aside"), repo.join("log")).unwrap();
    sr.expect(0, &["verify", "--read-data"]);
}

/// restic#21819: the directories that lead to a source hold only what leads there; what is beside is no extra.
#[test]
fn extras_lie_below_the_sources_are_asked_for_and_hold_nothing_that_is_left_out() {
    let sr = Strongroom::init();
    let at = |path: &str| sr.folder.path().join(path);
    let write = |path: &str| {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), path).unwrap();
    };
    write("d/conf/a");
    write("d/db/rows");
    sr.expect(0, &["backup", "d"]);
    let part = format!("latest:{}", at("d").display());
    // All of the snapshot, as into a system's root.
    let root = at("root");
    let inside = root.join(at("d").strip_prefix("/").unwrap());
    let place = |path: &str| {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), "x").unwrap();
    };
    place("etc/passwd");
    fs::create_dir_all(inside.join("old")).unwrap();
    fs::write(inside.parent().unwrap().join("beside"), "x").unwrap();
    let target = root.to_str().unwrap();
    let said = sr.expect(0, &["restore", "latest", "--target", target, "--delete", "--dry-run"]);
    assert!(said.contains("old would be deleted") && !said.contains("passwd"), "{said}");
    assert!(inside.join("old").exists());
    sr.expect(0, &["restore", "latest", "--target", target, "--delete", "--yes"]);
    assert!(root.join("etc/passwd").exists() && inside.parent().unwrap().join("beside").exists());
    assert!(!inside.join("old").exists() && inside.join("conf/a").exists());
    // Only what is asked for.
    for path in ["d/db/new", "d/conf/new", "d/conf/deep/x.log", "d/conf/deeper/x"] {
        write(path);
    }
    let restore = ["restore", &part, "--target", "d", "--delete", "--yes"];
    sr.expect(0, &[&restore[..], &["--include", "/conf", "--exclude", "*.log"]].concat());
    assert!(at("d/db/new").exists() && at("d/conf/deep/x.log").exists());
    assert!(!at("d/conf/new").exists() && !at("d/conf/deeper").exists());
    sr.expect(0, &restore);
    assert!(!at("d/db/new").exists() && !at("d/conf/deep").exists() && at("d/db/rows").exists());
}

/// What one command of a machine found missing counts for the next, however short ago the store was listed.
#[test]
fn a_backup_after_a_verify_stores_again_what_was_found_missing() {
    let sr = Strongroom::init();
    let tree = sr.tree();
    fs::write(
        tree.join("random"),
        (0..300_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<_>>(),
    )
    .unwrap();
    sr.expect(0, &["backup", "tree"]);
    sr.expect(0, &["backup", "tree"]);
    fs::remove_dir_all(sr.folder.path().join("repo/data")).unwrap();
    assert!(sr.expect(1, &["verify"]).contains("missing"));
    // What the last backup saw unchanged is read again and stored again.
    sr.expect(3, &["backup", "tree"]);
    let part = format!("latest:{}", tree.display());
    sr.expect(0, &["restore", &part, "--target", "back"]);
    assert_eq!(fs::read(tree.join("random")).unwrap(), fs::read(sr.folder.path().join("back/random")).unwrap());
}

/// A log that lost its end still reads, as a shorter one. Whoever took it for the whole would list fewer snapshots without
/// a word, and prune the packs of the others.
#[test]
fn a_log_without_its_end_is_said_by_every_command_until_the_owner_accepts_it() {
    let sr = Strongroom::init();
    let tree = sr.tree();
    let tree = tree.to_str().unwrap();
    sr.expect(0, &["backup", tree]);
    let head = sr.expect(0, &["log", "--head"]);
    fs::write(sr.folder.path().join("tree/one"), "another\n").unwrap();
    sr.expect(0, &["backup", tree]);
    sr.expect(0, &["--expect-head", head.trim(), "snapshots"]);
    let later = sr.expect(0, &["log", "--head"]);
    let mut log: Vec<_> = fs::read_dir(sr.folder.path().join("repo/log")).unwrap().map(|e| e.unwrap().path()).collect();
    log.sort();
    log.split_off(2).iter().for_each(|record| fs::remove_file(record).unwrap());
    // The machine that wrote it is not fooled.
    assert!(sr.expect(11, &["snapshots"]).contains("is missing now"));

    fs::remove_dir_all(sr.folder.path().join("home")).unwrap();
    let bare = |code: i32, args: &[&str]| {
        let said = sr.expect(code, args);
        let _ = fs::remove_dir_all(sr.folder.path().join("home"));
        said
    };
    for args in [&["snapshots"][..], &["ls"], &["stats"], &["log"], &["whoami"], &["find", "one"]] {
        let said = bare(3, args);
        assert!(
            said.contains("warning: the log ends at record 2, and ") && said.contains("missing at its end"),
            "{said}"
        );
    }
    assert!(bare(11, &["--expect-head", later.trim(), "snapshots"]).contains("record 4 is expected"));
    let wrong = head.trim().replace(':', ":00").replace("00", "0");
    assert!(bare(2, &["--expect-head", &wrong[..9], "snapshots"]).contains("log --head"));
    let said = bare(3, &["restore", "latest", "--target", "back"]);
    assert!(said.contains("missing at its end"), "{said}");
    assert!(bare(1, &["verify"]).contains("log/00000000000000000003: it is missing"));
    assert!(bare(1, &["verify", "--keyless"]).contains("log/00000000000000000003: it is missing"));
    for args in [&["prune"][..], &["prune", "--dry-run"], &["forget", "--keep-last", "1"], &["repair", "--read-data"]] {
        let said = bare(11, args);
        assert!(said.contains("contradicted") && said.contains("repair --accept-history"), "{said}");
    }
    assert!(bare(3, &["backup", tree]).contains("missing at its end"));
    assert!(bare(11, &["repair", "--accept-history"]).contains("contradicted"));
    let said = bare(0, &["repair", "--accept-history", "--yes"]);
    assert!(said.contains("settles the history"), "{said}");
    bare(0, &["snapshots"]);
    bare(0, &["prune"]);
    assert!(bare(0, &["verify", "--read-data"]).contains("no errors found: all data was read and verified"));
    assert!(bare(0, &["log"]).contains("settle the history"));
}

/// The machine that has seen more than the log holds accepts what is left by its owner's word alone.
#[test]
fn a_machine_that_has_seen_more_accepts_a_shorter_history_if_its_owner_says_so() {
    let sr = Strongroom::init();
    let tree = sr.tree();
    sr.expect(0, &["backup", tree.to_str().unwrap()]);
    let log = sr.folder.path().join("repo/log");
    let kept: Vec<_> = fs::read_dir(&log).unwrap().map(|e| e.unwrap().path()).collect();
    sr.expect(0, &["backup", tree.to_str().unwrap()]);
    for record in fs::read_dir(&log).unwrap().map(|e| e.unwrap().path()).filter(|r| !kept.contains(r)) {
        fs::remove_file(record).unwrap();
    }
    assert!(sr.expect(11, &["snapshots"]).contains("--accept-history"));
    assert!(sr.expect(11, &["repair", "--accept-history"]).contains("is missing now"));
    sr.expect(0, &["repair", "--accept-history", "--yes"]);
    assert_eq!(sr.expect(0, &["snapshots", "--json"]).lines().count(), 1);
    sr.expect(0, &["backup", tree.to_str().unwrap()]);
    sr.expect(0, &["verify", "--read-data"]);
}

/// A disk that was mounted late: the first verification that reads a pack again that was declared lost takes it in.
#[test]
fn verify_takes_in_a_lost_pack_that_is_there_again() {
    let sr = Strongroom::init();
    let tree = sr.tree();
    sr.expect(0, &["backup", tree.to_str().unwrap()]);
    let data = fs::read_dir(sr.folder.path().join("repo/data")).unwrap().next().unwrap().unwrap().path();
    let away = sr.folder.path().join("away");
    fs::rename(&data, &away).unwrap();
    assert!(sr.expect(3, &["repair"]).contains("declared lost"));
    sr.expect(1, &["verify", "--read-data"]);
    fs::rename(&away, &data).unwrap();
    // Who writes nothing down takes nothing in.
    sr.expect(1, &["verify", "--read-data", "--no-record"]);
    let said = sr.expect(0, &["verify", "--read-data"]);
    assert!(said.contains("lost packs were found again and taken in; 1 snapshot is whole again"), "{said}");
    sr.expect(0, &["restore", "latest", "--target", "back"]);
    assert!(sr.expect(0, &["log"]).contains("find 1 lost pack again"));
}

/// CC-2: a process that prints keys has the environment of the program, for it may need keys of its own, and none of its
/// secrets. What it is started from answers no request here.
#[test]
fn a_credential_process_gets_no_secret_of_this_program() {
    let sr = crate::program::Strongroom { folder: tempfile::tempdir().unwrap() };
    let seen = sr.at("seen");
    let script = sr.write("keys", format!("env > {}\nexit 7\n", seen.display()));
    let text = format!("[profile keys]\nregion = us-east-1\ncredential_process = sh {}\n", script.display());
    let config = sr.write("aws", text);
    let mut command = sr.command(&["-r", "s3://bucket/x?endpoint=http://127.0.0.1:9&profile=keys", "snapshots"]);
    command.env("AWS_CONFIG_FILE", config).env("AWS_SECRET_WORD", "theirs").env("STRONGROOM_PASSWORD", "hunter2");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("the credential process was asked"), "{text}");
    let seen = sr.read("seen");
    assert!(seen.contains("AWS_SECRET_WORD=theirs") && seen.contains("TZ=UTC"), "{seen}");
    assert!(!seen.contains("STRONGROOM_") && !seen.contains("open sesame") && !seen.contains("hunter2"), "{seen}");
}

/// As the scripts of shells call it: ids, hosts and tags come from the repository that the words and the environment name.
#[test]
fn values_are_completed_from_the_repository_and_nobody_is_asked() {
    let sr = crate::program::Strongroom::init();
    sr.write("d/a", "a");
    sr.expect(0, &["backup", "d", "--host", "web1", "--tag", "weekly", "--source", "site"]);
    let answer = |words: &[&str], passphrase: bool| {
        let mut command = sr.command(&[&["--", "strongroom"], words].concat());
        command.env("STRONGROOM_COMPLETE", "fish");
        if !passphrase {
            command.env_remove("STRONGROOM_PASSPHRASE");
        }
        let output = command.output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let json: serde_json::Value = serde_json::from_str(&sr.expect(0, &["snapshots", "--json"])).unwrap();
    let id = &json["id"].as_str().unwrap()[..8];
    assert!(answer(&["restore", &id[..2]], true).starts_with(&format!("{id}\t")));
    assert_eq!(answer(&["ls", "--host", ""], true), "web1\n");
    assert_eq!(answer(&["ls", "--tag", "w"], true), "weekly\n");
    assert_eq!(answer(&["snapshots", "--source", ""], true), "site\n");
    // Another repository is named, or nothing opens it.
    assert_eq!(answer(&["-r", "elsewhere", "ls", "--host", ""], true), "");
    assert_eq!(answer(&["ls", "--host", ""], false), "");
}
