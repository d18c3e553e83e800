//! Jobs of a configuration file, run by the program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::program::{Strongroom, said};

fn configured(jobs: &str) -> Strongroom {
    let sr = Strongroom::init();
    sr.write("site/index.html", "hello");
    sr.write("site/cache/x", "x");
    let pass = sr.write("home/pass", "open sesame\n");
    fs::set_permissions(pass, fs::Permissions::from_mode(0o600)).unwrap();
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

/// The program with a configuration alone: nothing of the environment takes the place of what that says.
fn by_file(sr: &Strongroom, code: i32, args: &[&str]) -> String {
    let args = [args, &["--config", "strongroom.toml"]].concat();
    let mut command = sr.command(&args);
    command.env_remove("STRONGROOM_REPO").env_remove("STRONGROOM_PASSPHRASE");
    said(code, &args, &command.output().unwrap())
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

/// MYDB-7: a source that fails stops no other; the set is partial, and the exit code says so.
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

/// A directory that was not mounted was saved as an empty snapshot, and `restore latest` restored nothing.
#[test]
fn a_source_of_which_no_path_is_there_fails_and_saves_no_empty_snapshot() {
    let sr = configured(
        "[jobs.a.sources]\nsite = { kind = \"path\", paths = [\"FOLDER/site\"] }\n\
         two = { kind = \"path\", paths = [\"FOLDER/site\", \"FOLDER/gone\"] }\n",
    );
    run(&sr, 3, &["a/two"]);
    run(&sr, 0, &["a/site"]);
    fs::rename(sr.at("site"), sr.at("away")).unwrap();
    let text = run(&sr, 1, &["a/site"]);
    assert!(text.contains("error: cannot read ") && text.contains("a/site: failed, no snapshot"), "{text}");
    assert!(sr.expect(0, &["snapshots"]).contains("2 snapshots"));
    sr.expect(0, &["restore", "latest", "--source", "a/site", "--target", "back"]);
    assert_eq!(sr.read(&format!("back{}", sr.at("site/index.html").display())), "hello");
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

/// MYDB-6, MYDB-12: this machine knows what it ran, also if it may not read the repository.
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
    let text = by_file(&sr, 1, &["run"]);
    assert!(text.contains("job gone: "), "{text}");
    let text = sr.expect(0, &["runs"]);
    assert!(text.contains("partial") && text.contains("a/good") && text.contains("status 7"), "{text}");
    assert!(text.contains("gone") && text.contains("failed"), "{text}");
    let json: Vec<serde_json::Value> =
        sr.expect(0, &["runs", "--json", "a"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((json.len(), json[0]["outcome"].as_str()), (1, Some("partial")));
    assert_eq!(json[0]["sources"][0]["outcome"], "failed");
    let good = &json[0]["sources"][1];
    assert!(good["snapshot"].is_string() && good["bytes"] == 6 && good["bytes_stored"].is_number(), "{good}");
    let journal = sr.read("home/.local/state/strongroom/jobs/journal.jsonl");
    assert!(!journal.contains("hunter2") && !journal.contains("open sesame"), "{journal}");
}

/// MYDB-6: what was saved and is not complete has its reason in the journal: a backup credential could read it nowhere else.
#[test]
fn the_journal_tells_why_what_was_saved_is_not_complete() {
    let sr = configured(
        "[jobs.a.sources]\ncut = { kind = \"command\", file = \"c\", command = \"echo x\", trailer = \"-- end\" }\n\
         [jobs.b.sources]\ntwo = { kind = \"path\", paths = [\"FOLDER/site\", \"FOLDER/gone\"] }\n",
    );
    run(&sr, 3, &[]);
    let text = sr.expect(0, &["runs"]);
    assert!(text.contains("a/cut (partial: c is not complete: its last line is not \"-- end\""), "{text}");
    assert!(text.contains("b/two (partial: ") && text.contains("gone: no such file or directory)"), "{text}");
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
    let json: serde_json::Value = serde_json::from_str(&sr.expect(0, &["runs", "--json"])).unwrap();
    let id = json["run"].as_str().unwrap().to_owned();
    sr.expect(1, &["show", &id, "--exit-state"]);
    assert!(sr.expect(1, &["show", &id, "--wait=10ms", "--exit-state"]).contains("outcome    running"));
    let text = run(&sr, 1, &["a"]);
    assert!(text.contains("job a is being run by another process since "), "{text}");
    first.kill().unwrap();
    first.wait().unwrap();
    let text = sr.expect(0, &["runs"]);
    assert!(text.contains("crashed") && !text.contains("running"), "{text}");
    assert!(sr.expect(3, &["show", &id, "--wait", "--exit-state"]).contains("outcome    crashed"));
    // Whoever waits is told when it has ended.
    let mut second =
        sr.command(&["run", "--config", "strongroom.toml"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    fs::read(&begun).unwrap();
    let json = sr.expect(0, &["runs", "--json", "--latest", "1"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let mut waiting = sr.command(&["show", json["run"].as_str().unwrap(), "--wait", "--exit-state"]);
    let waiting = waiting.stdout(std::process::Stdio::null()).spawn().unwrap();
    fs::write(&go, "go\n").unwrap();
    assert!(second.wait().unwrap().success());
    assert_eq!(waiting.wait_with_output().unwrap().status.code(), Some(0));
}

/// MYDB-6: a run that is killed while its second source reads tells what it has saved, with figures, and what is not
/// finished; the repository has the same.
#[test]
fn a_run_that_was_killed_tells_which_sources_it_has_saved() {
    let sr = configured(
        "[jobs.a.sources]\nsite = { kind = \"path\", paths = [\"FOLDER/site\"] }\n\
         dump = { kind = \"command\", file = \"x\", command = \"echo x; echo > FOLDER/begun; read line < FOLDER/go\" }\n\
         last = { kind = \"path\", paths = [\"FOLDER/site\"] }\n",
    );
    for pipe in ["begun", "go"] {
        assert!(crate::program::run("mkfifo", &[sr.at(pipe).to_str().unwrap()]));
    }
    let mut child = sr.command(&["run", "--config", "strongroom.toml"]).stdout(Stdio::null()).spawn().unwrap();
    fs::read(sr.at("begun")).unwrap();
    let json = |args: &[&str]| -> serde_json::Value { serde_json::from_str(&sr.expect(0, args)).unwrap() };
    let seen = json(&["runs", "--json"]);
    assert_eq!((&seen["outcome"], &seen["sources"][0]["source"]), (&"running".into(), &"a/site".into()), "{seen}");
    child.kill().unwrap();
    child.wait().unwrap();
    let seen = json(&["runs", "--json"]);
    assert_eq!((&seen["outcome"], seen["sources"].as_array().unwrap().len()), (&"crashed".into(), 1), "{seen}");
    let source = &seen["sources"][0];
    assert_eq!((&source["outcome"], &source["bytes"]), (&"complete".into(), &6.into()), "{seen}");
    assert!(source["done"].is_string() && source["bytes_stored"].as_u64() > Some(0), "{seen}");
    assert_eq!(seen["unfinished"], serde_json::json!(["a/dump", "a/last"]));
    let text = sr.expect(0, &["runs"]);
    assert!(text.contains("a/dump (not finished), a/last (not finished), a/site"), "{text}");
    let text = sr.expect(0, &["show", seen["run"].as_str().unwrap()]);
    assert!(text.contains("source     a/site: complete, snapshot ") && text.contains("a/dump: not finished"), "{text}");
    assert_eq!(json(&["snapshots", "--json"])["id"], source["snapshot"]);
    // A member of a whole run is told once.
    fs::write(sr.at("strongroom.toml"), fs::read_to_string(sr.at("strongroom.toml")).unwrap().replace("; read", "; #"))
        .unwrap();
    let reader = std::thread::spawn({
        let begun = sr.at("begun");
        move || fs::read(begun).unwrap()
    });
    run(&sr, 0, &["a"]);
    reader.join().unwrap();
    let seen = json(&["runs", "--json", "--latest", "1"]);
    assert_eq!(
        (seen["sources"].as_array().unwrap().len(), &seen["unfinished"]),
        (3, &serde_json::Value::Null),
        "{seen}"
    );
}

/// MYDB-7: a set of one source alone says so, in the repository and in the journal.
#[test]
fn what_was_saved_alone_is_shown_as_such() {
    let sr = configured(WEB);
    run(&sr, 0, &["web"]);
    run(&sr, 0, &["web/dump"]);
    let sets: Vec<serde_json::Value> =
        sr.expect(0, &["snapshots", "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let show = |id: &serde_json::Value, args: &[&str]| sr.expect(0, &[&["show", id.as_str().unwrap()], args].concat());
    let json = |text: String| -> serde_json::Value { serde_json::from_str(&text).unwrap() };
    let whole = json(show(&sets[0]["set"], &["--json"]));
    assert_eq!((&whole["alone"], &whole["sources"]), (&false.into(), &serde_json::json!(["web/site", "web/dump"])));
    let alone = &sets.last().unwrap()["set"];
    let shown = json(show(alone, &["--json"]));
    assert_eq!((&shown["alone"], &shown["sources"]), (&true.into(), &serde_json::json!(["web/dump"])));
    assert!(show(alone, &[]).contains("only       web/dump"));
    let runs: Vec<serde_json::Value> =
        sr.expect(0, &["runs", "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(runs[0]["alone"].is_null() && runs[1]["alone"] == serde_json::json!(["web/dump"]), "{runs:?}");
    assert!(show(&runs[1]["run"], &[]).contains("only       web/dump"));
    let text = sr.expect(0, &["runs"]);
    assert!(text.lines().nth(2).unwrap().contains("  web/dump  "), "{text}");
}

/// A command that prints a password gets neither a passphrase of the program nor keys of the store: that of a repository,
/// and that of a database, which nobody answers here. It has the variables of `env_file`.
#[test]
fn a_command_that_prints_a_password_gets_no_secret_of_this_program() {
    let sr = configured(
        "[jobs.a.sources]\nx = { kind = \"command\", file = \"x\", command = \"echo x\" }\n\
         db = { kind = \"mysql\", host = \"127.0.0.1\", port = 1, user = \"u\", password_command = \"env > FOLDER/of-db; echo x\" }\n",
    );
    let folder = sr.folder.path().display().to_string();
    let vars = sr.write("vars", "export WORD=\"of the file\"\nAWS_SESSION_TOKEN=hunter2\n");
    fs::set_permissions(&vars, fs::Permissions::from_mode(0o600)).unwrap();
    let text = sr.read("strongroom.toml");
    let command = format!("password_command = \"env > {folder}/of-repo; cat {folder}/home/pass\"");
    let text = text.replace("password_file = \"{env:HOME}/pass\"", &command);
    sr.write("strongroom.toml", format!("env_file = \"{}\"\n{text}", vars.display()));
    let args = ["run", "--config", "strongroom.toml"];
    let mut command = sr.command(&args);
    command.env_remove("STRONGROOM_PASSPHRASE").env("STRONGROOM_OTHER_PASSPHRASE", "hunter2");
    command.env("AWS_SECRET_ACCESS_KEY", "hunter2");
    said(3, &args, &command.output().unwrap());
    for seen in ["of-repo", "of-db"].map(|name| sr.read(name)) {
        assert!(seen.contains("WORD=of the file") && seen.contains("TZ=UTC"), "{seen}");
        assert!(!seen.contains("hunter2") && !seen.contains("STRONGROOM_") && !seen.contains("AWS_"), "{seen}");
    }
}

/// What is saved is not told as failed because it could not be held.
#[test]
fn a_run_that_cannot_hold_what_it_saved_ends_with_warnings() {
    let broken = "[jobs.a]\nafter = \"cd FOLDER/repo && mv log log.away && touch log\"\n[jobs.a.sources]\n\
                  site = { kind = \"path\", paths = [\"FOLDER/site\"] }\n";
    let sr = configured(broken);
    let text = run(&sr, 3, &["--hold"]);
    assert!(text.contains("the snapshots are saved and could not be held: "), "{text}");
    fs::remove_file(sr.at("repo/log")).unwrap();
    fs::rename(sr.at("repo/log.away"), sr.at("repo/log")).unwrap();
    let seen: serde_json::Value = serde_json::from_str(&sr.expect(0, &["runs", "--json"])).unwrap();
    assert_eq!((&seen["outcome"], &seen["sources"][0]["outcome"]), (&"warnings".into(), &"complete".into()), "{seen}");
    let error = seen["error"].as_str().unwrap();
    let command = error.rsplit("; `strongroom ").next().unwrap().split('`').next().unwrap();
    sr.expect(0, &command.split(' ').collect::<Vec<_>>());
    assert!(sr.expect(0, &["snapshots"]).contains("complete, held"));
}

/// What is typed, and what stands in the environment, counts before the file; each value for itself, and that is said.
#[test]
fn the_command_line_and_the_environment_come_before_the_file() {
    let sr = configured("[jobs.a.sources]\nsite = { kind = \"path\", paths = [\"FOLDER/site\"] }\n");
    let other = sr.at("other").display().to_string();
    by_file(&sr, 0, &["run"]);
    let count = |at: &str| sr.expect(0, &["-r", at, "snapshots", "--json"]).lines().count();
    sr.expect(0, &["-r", &other, "init"]);
    assert_eq!((count("repo"), count(&other)), (1, 0));
    // The passphrase of the file opens the repository that is typed; the environment has another one.
    let text = by_file(&sr, 0, &["-r", &other, "run"]);
    assert!(text.contains(&format!("note: --repo takes the place of `url` of repository `main`: {other}")), "{text}");
    assert_eq!((count("repo"), count(&other)), (1, 1));
    let with = |code: i32, variables: &[(&str, &str)], args: &[&str]| {
        let args = [args, &["--config", "strongroom.toml"]].concat();
        let mut command = sr.command(&args);
        command.env_remove("STRONGROOM_REPO").env_remove("STRONGROOM_PASSPHRASE").envs(variables.iter().copied());
        said(code, &args, &command.output().unwrap())
    };
    let text = with(0, &[("STRONGROOM_REPO", &other)], &["run"]);
    assert!(text.contains("note: STRONGROOM_REPO takes the place of `url`"), "{text}");
    assert_eq!((count("repo"), count(&other)), (1, 2));
    let text = with(1, &[("STRONGROOM_PASSWORD", "wrong")], &["run"]);
    assert!(text.contains("note: STRONGROOM_PASSWORD takes the place of `password_file`"), "{text}");
    let pass = sr.write("typed", "open sesame\n");
    with(0, &[("STRONGROOM_PASSWORD", "wrong")], &["run", "--password-file", pass.to_str().unwrap()]);
    assert_eq!((count("repo"), count(&other)), (2, 2));
    // A name that is typed is that of the snapshots, before the variable.
    with(0, &[("STRONGROOM_HOST", "of-variable")], &["run", "--host", "typed", "--compression", "off"]);
    assert!(sr.expect(0, &["snapshots", "--host", "typed"]).contains("1 snapshot"));
    // What counts is shown with who says it.
    let shown = with(0, &[("STRONGROOM_REPO", "/else"), ("STRONGROOM_PASSPHRASE", "x")], &["config", "show"]);
    assert!(shown.contains("repositories.main.url = \"/else\"   # STRONGROOM_REPO, in place of "), "{shown}");
    assert!(shown.contains(", not used: STRONGROOM_PASSPHRASE takes its place"), "{shown}");
    let shown = with(0, &[("STRONGROOM_REPO", "/else")], &["config", "show", "--json", "--limit-upload", "1M"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let instead =
        serde_json::json!({ "url": "/else", "url_by": "STRONGROOM_REPO", "limit_upload_by": "--limit-upload" });
    assert_eq!(shown["instead"], instead, "{shown}");
    assert!(!by_file(&sr, 0, &["config", "show"]).contains("in place of"));
}

/// Before the first night: what a run would meet is tried, and nothing is saved.
#[test]
fn a_configuration_is_tried_against_its_repositories_and_sources() {
    let sr = configured(WEB);
    let check = |code: i32, more: &[&str]| by_file(&sr, code, &[&["config", "check"], more].concat());
    assert!(check(0, &[]).contains("no errors found; 3 jobs, 5 sources"));
    assert!(sr.expect(0, &["snapshots"]).contains("0 snapshots"));
    sr.write("home/pass", "wrong\n");
    fs::rename(sr.at("site"), sr.at("moved")).unwrap();
    let text = check(1, &[]);
    assert!(text.contains("repository main: ") && text.contains("source web/site: cannot read"), "{text}");
    assert_eq!(text.matches("repository main: ").count(), 1, "{text}");
    assert!(check(0, &["--file-only"]).contains("no errors found"));
}

/// MYDB-3, MYDB-7: whatever the list names tonight is saved, a source a line; one line can be run alone.
#[test]
fn a_command_lists_the_sources_of_a_job() {
    let sr = configured(
        "[jobs.my.for_each]\ncommand = \"cat LIST\"\n\
         with = { kind = \"command\", command = \"echo $STRONGROOM_SOURCE of $STRONGROOM_JOB\", file = \"{source}\" }\n\
         [jobs.my.sources]\nown = { kind = \"path\", paths = [\"FOLDER/site\"] }\n\
         [jobs.my-weekly]\nlike = \"my\"\ntype = \"Weekly\"\nsources = { own = { enabled = false } }\n",
    );
    let list = |text: &str| sr.write("list.csv", text);
    list("name\n");
    let text = fs::read_to_string(sr.at("strongroom.toml")).unwrap();
    fs::write(sr.at("strongroom.toml"), text.replace("LIST", sr.at("list.csv").to_str().unwrap())).unwrap();
    let text = run(&sr, 1, &["my"]);
    assert!(text.contains("the list of `for_each`: the list is empty"), "{text}");
    list("name,file\nlab 1,\n$(touch x),odd\n");
    run(&sr, 0, &["my"]);
    let list_of = sr.expect(0, &["snapshots"]);
    assert!(
        list_of.contains("my/lab 1") && list_of.contains("my/$(touch x)") && list_of.contains("my/own"),
        "{list_of}"
    );
    assert_eq!(sr.expect(0, &["cat", "latest:lab 1", "--source", "my/lab 1"]), "lab 1 of my\n");
    assert_eq!(sr.expect(0, &["cat", "latest:odd", "--source", "my/$(touch x)"]), "$(touch x) of my\n");
    sr.expect(0, &["restore", "--set", "latest", "--job", "my", "--target", "out"]);
    assert!(sr.at("out/my/lab 1/lab 1").exists());
    // One that is gone from the list is kept; one alone is no set of the whole job.
    list("name,file\nlab 1,\n");
    run(&sr, 0, &["my/lab 1", "--type", "User"]);
    let text = run(&sr, 1, &["my/lab 2"]);
    assert!(text.contains("has no source `lab 2`, and its list does not name it"), "{text}");
    let text = run(&sr, 0, &["my-weekly"]);
    assert!(text.contains("my/lab 1") && !text.contains("my/own"), "{text}");
    list("name,passwort\nlab 1,hunter2\n");
    let text = run(&sr, 1, &["my"]);
    assert!(text.contains("`passwort` is no key") && !text.contains("hunter2"), "{text}");
    // The job's newest set lacks it, and its newest good copy stays.
    list("name,file\nlab 1,\n");
    run(&sr, 0, &["my"]);
    let text = sr.expect(0, &["forget", "--keep-last", "1", "--dry-run"]);
    assert!(text.contains("newest of source my/$(touch x)"), "{text}");
}

/// A new line of a list needs no new credential: it belongs to the job.
#[test]
fn lines_of_a_list_need_no_right_of_their_own() {
    let sr = configured("");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let folder = sr.folder.path().display().to_string();
    let text = |line: &str| {
        format!(
            "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\", credential = \"{folder}/cred\" }}\n\
             [jobs.my]\nrepository = \"main\"\nfor_each = {{ command = \"{line}\" }}\n"
        )
    };
    let write = |line: &str| {
        let at = sr.write("strongroom.toml", text(line));
        fs::set_permissions(at, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("exit 1");
    let add = ["credential", "add", "--role", "backup", "--host", &host, "--job", "my", "--output", "cred"];
    sr.expect(0, &[&add[..], &["--config", "strongroom.toml"]].concat());
    let with = |line: &str| {
        write(line);
        let mut command = sr.command(&["run", "--config", "strongroom.toml"]);
        let output = command.env_remove("STRONGROOM_PASSPHRASE").env_remove("STRONGROOM_REPO").output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (is_done, errors) = with("printf 'name,kind,command,file\\\\nnew,command,echo x,x\\\\n'");
    assert!(is_done, "{errors}");
    assert!(sr.expect(0, &["snapshots"]).contains("my/new"));
}

/// MYDB-7: a source that takes too long is ended with all that it started, and the next one is saved.
#[test]
fn a_source_that_takes_too_long_is_ended() {
    let sr = configured(
        "[jobs.a]\ntimeout = \"1s\"\n[jobs.a.sources]\n\
         slow = { kind = \"command\", file = \"x\", command = \"echo x; sleep 1000 | cat\" }\n\
         good = { kind = \"command\", file = \"y\", command = \"echo y\" }\n",
    );
    let text = run(&sr, 3, &[]);
    assert!(text.contains("x took longer than its timeout of 1 s, and was ended"), "{text}");
    let list = sr.expect(0, &["snapshots"]);
    assert!(list.contains("a/good") && list.contains("it has no snapshot of a/slow"), "{list}");
    assert!(sr.expect(0, &["runs"]).contains("timeout"));
}

/// A stream that fails is tried again as often as is said.
#[test]
fn a_stream_that_fails_is_tried_again() {
    let sr = configured(
        "[jobs.a.sources]\nx = { kind = \"command\", file = \"x\", retries = 2, \
         command = \"echo >> FOLDER/tries; echo $(wc -l < FOLDER/tries); test $(wc -l < FOLDER/tries) = 3\" }\n",
    );
    let text = run(&sr, 0, &[]);
    assert_eq!(text.matches("it is tried again").count(), 2, "{text}");
    assert_eq!(sr.expect(0, &["cat", "latest:x"]), "3\n");
    let text = run(&sr, 1, &[]);
    assert!(text.contains("status 1") && text.contains("failed, no snapshot"), "{text}");
}

/// What a whole stream must have is looked at: its least length, its last line, and what it has as a rule.
#[test]
fn a_stream_is_compared_with_what_it_must_be() {
    let sr = configured(
        "[jobs.a.sources]\nx = { kind = \"command\", file = \"x\", command = \"cat FOLDER/data\", min_size = \"4\", \
         trailer = \"-- end\", min_ratio = 0.5, max_ratio = 2 }\n",
    );
    let data = |lines: usize| sr.write("data", format!("{}-- end\n", "0123456\n".repeat(lines)));
    data(10);
    for _ in 0..3 {
        run(&sr, 0, &[]);
    }
    data(2);
    let text = run(&sr, 3, &[]);
    assert!(
        text.contains("warning: a/x has 23 bytes, 26 % of its usual 87: that is less than min_ratio = 0.5"),
        "{text}"
    );
    data(40);
    assert!(run(&sr, 3, &[]).contains("that is more than max_ratio = 2 allows"));
    sr.write("data", "0123456\n".repeat(10));
    let text = run(&sr, 3, &[]);
    assert!(text.contains("its last line is not \"-- end\"") && text.contains("partial"), "{text}");
    sr.write("data", "x\n");
    assert!(run(&sr, 1, &[]).contains("less than min_size = 4"));
    sr.write("data", "");
    assert!(run(&sr, 1, &[]).contains("the stream is empty"));
}

/// MYDB-10, MYDB-11: a file of variables, a log file, and secrets where the configuration says; others must not read
/// them.
#[test]
fn variables_and_secrets_come_from_files_that_others_cannot_read() {
    let sr = configured("");
    let folder = sr.folder.path().display().to_string();
    let private = |name: &str, text: &str| {
        let at = sr.write(name, text);
        fs::set_permissions(&at, fs::Permissions::from_mode(0o600)).unwrap();
        at
    };
    private("vars", "# of the job\nexport PASS=\"open sesame\"\nWORD='seen'\nAWS_SECRET_ACCESS_KEY=hidden\n");
    private(
        "strongroom.toml",
        &format!(
            "version = 1\nenv_file = \"{folder}/vars\"\nlog_file = \"{folder}/log\"\ntime_zone = \"UTC\"\n\
             [repositories]\nmain = {{ url = \"{folder}/repo\", password_env = \"PASS\" }}\n\
             [jobs.a]\nrepository = \"main\"\n[jobs.a.sources]\n\
             x = {{ kind = \"command\", file = \"x\", command = \"echo $WORD {{$AWS_SECRET_ACCESS_KEY}} $STRONGROOM_REPO\" }}\n"
        ),
    );
    let without = |code: i32| {
        let mut command = sr.command(&["run", "--config", "strongroom.toml"]);
        let output = command.env_remove("STRONGROOM_PASSPHRASE").output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    };
    without(0);
    assert_eq!(sr.expect(0, &["cat", "latest:x"]), "seen {}\n");
    let log = sr.read("log");
    assert!(log.lines().all(|line| line.contains("+00:00 ")) && log.contains("job a (Daily)"), "{log}");
    for name in ["vars", "cred", "pass"] {
        fs::set_permissions(private(name, "x=y\n"), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let text = without(2);
    assert!(text.contains("vars") && text.contains("chmod o=,g-w"), "{text}");
    for key in ["credential", "password_file"] {
        let name = if key == "credential" { "cred" } else { "pass" };
        private(
            "strongroom.toml",
            &format!(
                "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\", {key} = \"{folder}/{name}\" }}\n\
                 [jobs.a]\nrepository = \"main\"\nsources = {{ x = {{ kind = \"path\", paths = [\"{folder}/site\"] }} }}\n"
            ),
        );
        let text = without(1);
        assert!(text.contains(&format!("{folder}/{name}")) && text.contains("chmod o=,g-w"), "{text}");
    }
}

/// IDP-2: answers are kept with the set, and so are notes; one that cannot be had is an error, and the data are saved.
#[test]
fn answers_are_recorded_with_the_set() {
    let sr = configured(
        "[jobs.a]\nnotes = \"on {host}: start again\"\nrecord = { users = \"echo 7\", bad = \"exit 3\" }\n\
         [jobs.a.sources]\nx = { kind = \"command\", file = \"x\", command = \"echo x\", record = { rows = \"echo 12\" } }\n",
    );
    let text = run(&sr, 3, &[]);
    assert!(text.contains("record `bad`"), "{text}");
    let text = sr.expect(0, &["snapshots", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["records"], serde_json::json!({ "users": "7", "x.rows": "12" }), "{json}");
    assert!(json["notes"].as_str().is_some_and(|notes| notes.starts_with("on ") && notes.ends_with(": start again")));
}

/// DH-9: a set and a snapshot are shown with their state, also by the exit code.
#[test]
fn a_set_is_shown_with_its_members_and_state() {
    let sr = configured(
        "[jobs.a]\nlabel = \"of-%Y\"\nrecord = { users = \"echo 7\" }\n[jobs.a.sources]\n\
         bad = { kind = \"command\", file = \"b\", command = \"exit 7\" }\n\
         good = { kind = \"command\", file = \"g\", command = \"echo g\", restore = \"cat > /g\" }\n",
    );
    run(&sr, 3, &[]);
    let json: serde_json::Value = serde_json::from_str(&sr.expect(0, &["snapshots", "--json"])).unwrap();
    let (set, id) = (json["set"].as_str().unwrap(), json["id"].as_str().unwrap());
    let text = sr.expect(2, &["show", &set[..8], "--exit-state"]);
    for part in
        ["outcome    partial", "missing    a/bad", "record     users: 7", "load       cat > /g", "source     a/good"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&sr.expect(0, &["show", set, "--json"])).unwrap();
    assert_eq!((&json["outcome"], &json["missing"][0]), (&"partial".into(), &"a/bad".into()));
    assert!(sr.expect(0, &["show", id, "--exit-state"]).contains("outcome    complete"));
    sr.expect(64, &["show", "ffffffffffff", "--exit-state"]);
    sr.expect(2, &["show", "ffffffffffff"]);
    let run_id = sr.expect(0, &["runs", "--json"]);
    let run_id: serde_json::Value = serde_json::from_str(&run_id).unwrap();
    assert!(sr.expect(2, &["show", run_id["run"].as_str().unwrap(), "--exit-state"]).contains("status 7"));
}
