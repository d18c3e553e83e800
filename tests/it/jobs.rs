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
            "[jobs.a]\nbefore = \"true\"\nsources = { x = { kind = \"path\", paths = [\"/x\"] } }\n",
            "job `a` has `before`",
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
