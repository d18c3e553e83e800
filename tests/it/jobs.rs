//! Jobs of a configuration file, run by the program.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::program::Strongroom;

fn configured(jobs: &str) -> Strongroom {
    let sr = Strongroom::init();
    sr.write("site/index.html", "hello");
    sr.write("site/cache/x", "x");
    sr.write("home/pass", "open sesame\n");
    write(&sr, "strongroom.toml", jobs);
    sr
}

fn write(sr: &Strongroom, name: &str, jobs: &str) {
    let folder = sr.folder.path().display();
    let text = format!(
        "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\", password_file = \"{{env:HOME}}/pass\" }}\n\
         [defaults]\nrepository = \"main\"\n{}",
        jobs.replace("FOLDER", &folder.to_string())
    );
    let at = sr.write(name, text);
    fs::set_permissions(at, fs::Permissions::from_mode(0o600)).unwrap();
}

fn run(sr: &Strongroom, code: i32, args: &[&str]) -> String {
    sr.expect(code, &[&["run", "--config", "strongroom.toml"], args].concat())
}

const WEB: &str = r#"
[jobs.web]
label = "web-%Y"
[jobs.web.sources]
site = { kind = "path", paths = ["FOLDER/site"], exclude = ["cache/"] }
dump = { kind = "command", file = "{source}.sql", command = "echo $WHO {env:HOME}", env = { WHO = "{host}" } }
[jobs.web-weekly]
like = "web"
type = "Weekly"
sources = { dump = { enabled = false } }
[jobs.other]
hosts = ["elsewhere"]
sources = { site = { kind = "path", paths = ["/none"] } }
"#;

/// DH-14, DSS-14: one run saves files and database, as one set.
#[test]
fn a_job_saves_its_sources_as_one_set() {
    let sr = configured(WEB);
    let text = run(&sr, 0, &["web"]);
    assert!(text.contains("job web (Daily)"), "{text}");
    let list = sr.expect(0, &["snapshots"]);
    assert!(list.contains("web/site") && list.contains("web/dump") && list.contains("1 set"), "{list}");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // In a command nothing is filled in: the shell has its own variables.
    let text = sr.expect(0, &["cat", "latest:dump.sql", "--source", "web/dump"]);
    assert_eq!(text, format!("{host} {{env:HOME}}\n"));
    let text = sr.expect(0, &["ls", "latest", "--source", "web/site"]);
    assert!(text.contains("index.html") && !text.contains("cache/x"), "{text}");
    assert!(sr.expect(0, &["snapshots", "--label", "web-2*"]).contains("2 snapshots"));
    sr.expect(0, &["restore", "--set", "latest", "--job", "web", "--target", "out"]);
    assert_eq!(sr.read(&format!("out/web/site{}", sr.at("site/index.html").display())), "hello");
    assert!(sr.at("out/web/dump/dump.sql").exists());
}

/// A weekly job saves the same sources under their names: nothing is read or stored twice, and the types are kept apart.
#[test]
fn a_job_like_another_has_its_sources_and_history() {
    let sr = configured(WEB);
    run(&sr, 0, &["web"]);
    let text = run(&sr, 0, &["web-weekly"]);
    assert!(text.contains("job web-weekly (Weekly)"), "{text}");
    let json = sr.expect(0, &["snapshots", "--json", "--source", "web/site"]);
    assert_eq!(json.lines().count(), 2, "{json}");
    let text = sr.expect(0, &["forget", "--keep-last", "1", "--dry-run"]);
    assert!(text.contains("would keep 3 snapshots and forget 0"), "{text}");
    assert!(text.contains("job web, type Daily") && text.contains("job web-weekly, type Weekly"), "{text}");
}

#[test]
fn run_without_names_runs_what_this_machine_runs() {
    let sr = configured(WEB);
    let text = run(&sr, 0, &[]);
    assert!(text.contains("job web (Daily)") && text.contains("job web-weekly (Weekly)"), "{text}");
    assert!(!text.contains("job other"), "{text}");
    let text = run(&sr, 2, &["other"]);
    assert!(text.contains("is not run on"), "{text}");
    let text = run(&sr, 2, &["nothing"]);
    assert!(text.contains("there is no job `nothing`; there are: web, web-weekly, other"), "{text}");
    let text = run(&sr, 2, &["web/nothing"]);
    assert!(text.contains("has no source `nothing`"), "{text}");
    let text = run(&sr, 2, &["web-weekly/dump"]);
    assert!(text.contains("is disabled"), "{text}");
    // Named twice, it is saved once.
    let text = run(&sr, 0, &["web/site", "web/site", "web/dump", "web"]);
    assert_eq!(text.matches("snapshot ").count(), 2, "{text}");
    let text = run(&sr, 0, &["web/site", "--type", "User"]);
    assert!(text.contains("job web (User)"), "{text}");
}

/// A source that fails stops no other; the set is partial, and the exit code says so.
#[test]
fn a_source_that_fails_stops_no_other_and_no_other_job() {
    let sr = configured(
        "[jobs.a.sources]\nbad = { kind = \"command\", file = \"b\", command = \"exit 7\" }\n\
         good = { kind = \"path\", paths = [\"FOLDER/site\"] }\n\
         [jobs.b.sources]\nsite = { kind = \"path\", paths = [\"FOLDER/site\"] }\n",
    );
    let text = run(&sr, 3, &[]);
    assert!(text.contains("status 7") && text.contains("job b (Daily)"), "{text}");
    let list = sr.expect(0, &["snapshots"]);
    assert!(list.contains("it has no snapshot of a/bad") && list.contains("b/site"), "{list}");
}

/// What would not be done as it is written is not begun.
#[test]
fn what_is_not_supported_is_refused_before_anything_is_run() {
    for (jobs, what) in [
        (
            "[jobs.a]\nrecord = { x = \"true\" }\nsources = { x = { kind = \"path\", paths = [\"/x\"] } }\n",
            "job `a` has `record`",
        ),
        ("[jobs.a.sources]\nx = { kind = \"postgres\" }\n", "source `a/x` is of kind postgres"),
    ] {
        let sr = configured(jobs);
        let text = run(&sr, 2, &[]);
        assert!(text.contains(what) && text.contains("nothing was run"), "{text}");
        assert!(sr.expect(0, &["snapshots"]).contains("0 snapshots"));
    }
}

/// A machine that may only add: the credential of the configuration is used, and the passphrase is not there.
#[test]
fn a_job_runs_with_a_backup_credential() {
    let sr = configured("");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    sr.expect(0, &["credential", "add", "--role", "backup", "--host", &host, "--output", "cred"]);
    let folder = sr.folder.path().display().to_string();
    let text = format!(
        "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\", credential = \"{folder}/cred\", password_file = \"/none\" }}\n\
         [jobs.web]\nrepository = \"main\"\nsources = {{ site = {{ kind = \"path\", paths = [\"{folder}/site\"] }} }}\n"
    );
    let at = sr.write("strongroom.toml", text);
    fs::set_permissions(at, fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = sr.command(&["run", "--config", "strongroom.toml"]);
    let output = command.env_remove("STRONGROOM_PASSPHRASE").env_remove("STRONGROOM_REPO").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(sr.expect(0, &["snapshots"]).contains("web/site"));
}

/// MYDB-12: this machine knows what it ran, also if it may not read the repository.
#[test]
fn the_journal_tells_what_was_run_and_why_it_failed() {
    let sr = configured(
        "[jobs.a.sources]\nbad = { kind = \"command\", file = \"b\", command = \"echo --password=hunter2 >&2; exit 7\" }\n\
         good = { kind = \"path\", paths = [\"FOLDER/site\"] }\n\
         [jobs.gone]\nrepository = \"gone\"\nsources = { x = { kind = \"path\", paths = [\"FOLDER/site\"] } }\n\
         [repositories.gone]\nurl = \"FOLDER/gone\"\n",
    );
    let text = sr.expect(0, &["runs"]);
    assert!(text.contains("no runs"), "{text}");
    let text = run(&sr, 1, &[]);
    assert!(text.contains("job gone: "), "{text}");
    let text = sr.expect(0, &["runs"]);
    assert!(text.contains("partial") && text.contains("a/good") && text.contains("status 7"), "{text}");
    assert!(text.contains("gone") && text.contains("failed"), "{text}");
    let json: Vec<serde_json::Value> =
        sr.expect(0, &["runs", "--json", "a"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((json.len(), json[0]["outcome"].as_str()), (1, Some("partial")));
    assert_eq!(json[0]["sources"][0]["outcome"], "failed");
    let journal = sr.read("home/.local/state/strongroom/jobs/journal.jsonl");
    assert!(!journal.contains("hunter2") && !journal.contains("open sesame"), "{journal}");
}

/// What is due is run once; a job that was never seen before waits for its next slot.
#[test]
fn a_job_that_is_due_is_run_once() {
    let sr = configured(
        "[jobs.a]\nschedule = \"every 1m\"\nsources = { site = { kind = \"path\", paths = [\"FOLDER/site\"] } }\n",
    );
    assert_eq!(run(&sr, 0, &["--due"]), "");
    let path = sr.at("home/.local/state/strongroom/jobs/journal.jsonl");
    let seen = fs::read_to_string(&path).unwrap();
    assert!(seen.contains("\"event\":\"seen\""), "{seen}");
    // As if that had been long ago.
    fs::write(&path, "{\"event\":\"seen\",\"job\":\"a\",\"time_ms\":1000}\n").unwrap();
    assert!(run(&sr, 0, &["--due"]).contains("job a (Daily)"));
    let json: serde_json::Value = serde_json::from_str(&sr.expect(0, &["runs", "--json"])).unwrap();
    assert!(json["slot"].is_string(), "{json}");
    // The slot is served, unless the next minute has begun.
    let runs = || sr.expect(0, &["runs", "--json"]).lines().map(str::to_owned).collect::<Vec<_>>();
    run(&sr, 0, &["--due"]);
    let slots: Vec<serde_json::Value> =
        runs().iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["slot"].clone()).collect();
    assert!(slots.windows(2).all(|pair| pair[0] != pair[1]), "{slots:?}");
}

/// Two at once: the second says since when the first runs, and does nothing. One that was killed has crashed.
#[test]
fn a_job_is_run_by_one_process_at_a_time_and_one_that_was_killed_is_shown() {
    let sr = configured(
        "[jobs.a.sources]\nx = { kind = \"command\", file = \"x\", command = \"echo x; echo > BEGUN; read line < GO\" }\n",
    );
    let (begun, go) = (sr.at("BEGUN"), sr.at("GO"));
    for pipe in [&begun, &go] {
        assert!(crate::program::run("mkfifo", &[pipe.to_str().unwrap()]));
    }
    let text = fs::read_to_string(sr.at("strongroom.toml")).unwrap();
    let text = text.replace("BEGUN", begun.to_str().unwrap()).replace("GO", go.to_str().unwrap());
    fs::write(sr.at("strongroom.toml"), text).unwrap();
    let mut first =
        sr.command(&["run", "--config", "strongroom.toml"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    fs::read(&begun).unwrap();
    assert!(sr.expect(0, &["runs"]).contains("running"));
    let text = run(&sr, 1, &["a"]);
    assert!(text.contains("job a is being run by another process since "), "{text}");
    first.kill().unwrap();
    first.wait().unwrap();
    let text = sr.expect(0, &["runs"]);
    assert!(text.contains("crashed") && !text.contains("running"), "{text}");
}

/// Before the first night: what a run would meet is tried, and nothing is saved.
#[test]
fn a_configuration_is_tried_against_its_repositories_and_sources() {
    let sr = configured(WEB);
    let check = |code: i32, more: &[&str]| {
        sr.expect(code, &[&["config", "check", "--config", "strongroom.toml"], more].concat())
    };
    assert!(check(0, &[]).contains("no errors found; 3 jobs, 5 sources"));
    assert!(sr.expect(0, &["snapshots"]).contains("0 snapshots"));
    sr.write("home/pass", "wrong\n");
    fs::rename(sr.at("site"), sr.at("moved")).unwrap();
    let text = check(1, &[]);
    assert!(text.contains("repository main: ") && text.contains("source web/site: cannot read"), "{text}");
    assert_eq!(text.matches("repository main: ").count(), 1, "{text}");
    assert!(check(0, &["--file-only"]).contains("no errors found"));
}
