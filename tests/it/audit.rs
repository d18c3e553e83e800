//! Whether each source is saved as its schedule asks, on every machine; and the runs of all machines.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::program::{Strongroom, said};

/// A job for the machines a, b and c, whose configuration was there a month ago.
fn configured() -> Strongroom {
    let sr = Strongroom::init();
    sr.write("site/index.html", "hello");
    let pass = sr.write("home/pass", "open sesame\n");
    fs::set_permissions(pass, fs::Permissions::from_mode(0o600)).unwrap();
    let folder = sr.folder.path().display();
    let text = format!(
        "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\", password_file = \"{{env:HOME}}/pass\" }}\n\
         [defaults]\nrepository = \"main\"\n\
         [jobs.web]\nhosts = [\"a\", \"b\", \"c\"]\nschedule = \"every 1h\"\ngrace = \"12h\"\n\
         [jobs.web.sources]\n\
         site = {{ kind = \"path\", paths = [\"{folder}/site\"] }}\n\
         dump = {{ kind = \"command\", file = \"dump.sql\", command = \"cat {folder}/dump\" }}\n\
         [jobs.by-hand.sources]\n\
         site = {{ kind = \"path\", hosts = [\"a\"], paths = [\"{folder}/site\"] }}\n"
    );
    let at = sr.write("strongroom.toml", text);
    fs::set_permissions(&at, fs::Permissions::from_mode(0o600)).unwrap();
    let month = Duration::from_secs(30 * 86_400);
    File::open(&at).unwrap().set_modified(SystemTime::now() - month).unwrap();
    sr
}

#[track_caller]
fn on(sr: &Strongroom, host: &str, code: i32, args: &[&str]) -> String {
    let mut command = sr.command(args);
    command.env("STRONGROOM_HOST", host).env("STRONGROOM_CONFIG", sr.at("strongroom.toml"));
    command.env("STRONGROOM_STATE_DIR", sr.at(&format!("state-{host}")));
    said(code, args, &command.output().expect("the program runs"))
}

fn states(json: &str) -> Vec<(String, String, String, String)> {
    let lines = json.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    lines.map(|v| (text(&v, "host"), text(&v, "source"), text(&v, "state"), text(&v, "level"))).collect()
}

fn row(host: &str, source: &str, state: &str, level: &str) -> (String, String, String, String) {
    (host.to_owned(), source.to_owned(), state.to_owned(), level.to_owned())
}

/// MYDB-12, MYDB-16: the states of all sources on all machines, from the repository, also of a machine that never reported.
#[test]
fn every_machine_that_the_configuration_names_is_audited() {
    let sr = configured();
    sr.write("dump", "create table t;\n");
    on(&sr, "a", 0, &["run", "web"]);
    fs::remove_file(sr.at("dump")).unwrap();
    on(&sr, "b", 3, &["run", "web"]);
    let json = on(&sr, "keeper", 2, &["audit", "--all-hosts", "--json"]);
    assert_eq!(
        states(&json),
        [
            row("a", "web/site", "good", "good"),
            row("b", "web/site", "good", "good"),
            row("c", "web/site", "never", "critical"),
            row("a", "web/dump", "good", "good"),
            row("b", "web/dump", "failed", "critical"),
            row("c", "web/dump", "never", "critical"),
            row("a", "by-hand/site", "unscheduled", "warning"),
        ],
        "{json}"
    );
    let text = on(&sr, "keeper", 2, &["audit", "--all-hosts"]);
    assert!(text.starts_with("Never web/site on c: it was never saved; it was due at "), "{text}");
    assert!(text.contains("Failed web/dump on b: the run of ") && text.contains("No such file or directory"), "{text}");
    assert!(text.contains("no success so far") && text.contains("CRITICAL: 7 sources on 3 machines: "), "{text}");
    // One machine, and one job of it, are well.
    let text = on(&sr, "keeper", 0, &["freshness", "web", "--of-host", "a"]);
    assert_eq!(text, "OK: 2 sources on 1 machine: 2 good\n");
    let text = on(&sr, "keeper", 2, &["freshness", "--all-hosts", "web/dump"]);
    assert_eq!(
        text,
        "CRITICAL: 3 sources on 3 machines: 1 good, 1 failed, 1 never (Failed web/dump on b, Never web/dump on c)\n"
    );
    let json: Value = serde_json::from_str(&on(&sr, "keeper", 2, &["freshness", "--all-hosts", "--json"])).unwrap();
    assert_eq!((json["type"].as_str(), json["level"].as_str()), (Some("freshness"), Some("critical")));
    // With -q, only what is wrong is told.
    assert_eq!(on(&sr, "keeper", 2, &["audit", "--all-hosts", "-q", "web/dump"]).lines().count(), 2);
}

/// A backup credential can read nothing back: a machine audits itself by its own journal, without the repository.
#[test]
fn a_machine_audits_itself_by_its_journal() {
    let sr = configured();
    sr.write("dump", "create table t;\n");
    on(&sr, "a", 0, &["run", "web"]);
    on(&sr, "a", 0, &["run", "by-hand"]);
    fs::rename(sr.at("repo"), sr.at("away")).unwrap();
    let json = on(&sr, "a", 1, &["audit", "--json"]);
    let all = [("web/site", "good", "good"), ("web/dump", "good", "good"), ("by-hand/site", "unscheduled", "warning")];
    assert_eq!(states(&json), all.map(|(source, state, level)| row("a", source, state, level)), "{json}");
    let text = on(&sr, "c", 2, &["freshness"]);
    assert!(text.starts_with("CRITICAL: 2 sources on 1 machine: 2 never"), "{text}");
    // A source that was taken out of the configuration is named, and no alarm.
    let config = sr.read("strongroom.toml").replace("[jobs.by-hand.sources]", "[jobs.other.sources]");
    fs::write(sr.at("strongroom.toml"), config).unwrap();
    let json = on(&sr, "a", 1, &["audit", "--json"]);
    assert!(states(&json).contains(&row("a", "by-hand/site", "unconfigured", "good")), "{json}");
}

/// What cannot be found out must not look like what is well, nor like a backup that failed: Nagios has 3 for it.
#[test]
fn what_cannot_be_found_out_has_a_code_of_its_own() {
    let sr = configured();
    let text = on(&sr, "a", 3, &["audit", "nothing"]);
    assert!(text.contains("there is no job `nothing`"), "{text}");
    on(&sr, "a", 3, &["freshness", "--nonsense"]);
    // A name that is misspelt must not look like all is well.
    let text = on(&sr, "nowhere", 3, &["freshness"]);
    assert!(text.contains("no source is expected on this machine, nowhere"), "{text}");
    on(&sr, "a", 3, &["freshness", "--of-host", "nowhere"]);
    on(&sr, "a", 3, &["audit", "web/nothing"]);
    on(&sr, "a", 0, &["freshness", "--help"]);
    fs::rename(sr.at("repo"), sr.at("away")).unwrap();
    let text = on(&sr, "a", 3, &["freshness", "--all-hosts"]);
    assert!(text.contains("error: "), "{text}");
    fs::remove_file(sr.at("strongroom.toml")).unwrap();
    on(&sr, "a", 3, &["freshness"]);
}

/// What was forgotten is no good copy, whatever the log tells of the night.
#[test]
fn a_copy_that_is_gone_is_no_success() {
    let sr = configured();
    sr.write("dump", "create table t;\n");
    on(&sr, "a", 0, &["run", "web"]);
    on(&sr, "keeper", 0, &["freshness", "--of-host", "a", "web"]);
    let json = sr.expect(0, &["snapshots", "--json", "--source", "web/dump"]);
    let id = serde_json::from_str::<Value>(json.lines().next().unwrap()).unwrap()["id"].as_str().unwrap().to_owned();
    sr.expect(0, &["forget", "--member", &id]);
    let text = on(&sr, "keeper", 2, &["audit", "--of-host", "a", "web", "-q"]);
    assert!(text.starts_with("Failed web/dump on a: ") && text.contains("its snapshot was forgotten"), "{text}");
}

/// MYDB-6: the owner reads from the log what every machine ran, also runs that failed before they saved anything.
#[test]
fn the_log_tells_the_runs_of_all_machines() {
    let sr = configured();
    sr.write("dump", "create table t;\n");
    on(&sr, "a", 0, &["run", "web"]);
    fs::remove_file(sr.at("dump")).unwrap();
    on(&sr, "b", 3, &["run", "web"]);
    on(&sr, "b", 1, &["run", "web/dump"]);
    sr.expect(0, &["backup", sr.at("site").to_str().unwrap(), "--host", "c"]);
    let json = sr.expect(0, &["runs", "--all-hosts", "--json"]);
    let runs: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<String> = runs
        .iter()
        .map(|run| {
            let sources = run["sources"].as_array().unwrap();
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let sources: Vec<String> =
                sources.iter().map(|s| format!("{} {}", word(&s["source"]), word(&s["outcome"]))).collect();
            format!("{} {} {}: {}", word(&run["host"]), word(&run["job"]), word(&run["outcome"]), sources.join(", "))
        })
        .collect();
    assert_eq!(
        told[..3],
        [
            "a web complete: web/site complete, web/dump complete",
            "b web partial: web/site complete, web/dump failed",
            "b web failed: web/dump failed",
        ],
        "{json}"
    );
    assert!(told[3].starts_with("c  complete: "), "{json}");
    assert!(runs[2]["sources"][0]["error"].as_str().unwrap().contains("No such file"), "{json}");
    let failed = runs[2]["run"].as_str().unwrap();
    let text = sr.expect(0, &["show", failed]);
    assert!(text.contains("host       b") && text.contains("outcome    failed"), "{text}");
    let text = sr.expect(0, &["runs", "--all-hosts", "web"]);
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.lines().next().unwrap().contains("HOST"), "{text}");
}

/// MYDB-12: a job whose list cannot be had saves nothing; the owner of the repository sees that, too.
#[test]
fn a_job_that_could_not_begin_is_in_the_log() {
    let sr = configured();
    let list = "[jobs.fleet]\nhosts = [\"a\"]\nschedule = \"every 1h\"\ngrace = \"12h\"\n\
                for_each = { command = \"exit 3\", with = { kind = \"path\" } }\n";
    let config = sr.read("strongroom.toml") + list;
    fs::write(sr.at("strongroom.toml"), config).unwrap();
    on(&sr, "a", 1, &["run", "fleet"]);
    let json = sr.expect(0, &["runs", "--all-hosts", "--json"]);
    let run: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    let word = |key: &str| run[key].as_str().unwrap_or_default().to_owned();
    assert_eq!((word("host"), word("job"), word("outcome")), ("a".to_owned(), "fleet".to_owned(), "failed".to_owned()));
    assert!(word("error").contains("exit status: 3"), "{json}");
    let failed = row("a", "fleet", "failed", "critical");
    assert_eq!(
        states(&on(&sr, "keeper", 2, &["audit", "--all-hosts", "fleet", "--json"])),
        std::slice::from_ref(&failed)
    );
    assert_eq!(states(&on(&sr, "a", 2, &["audit", "fleet", "--json"])), [failed]);
    // With a list, it is well, and so is the source that the list names.
    let list = format!("\"printf 'name,paths\\\\nx,{}\\\\n'\"", sr.at("site").display());
    let config = sr.read("strongroom.toml").replace("\"exit 3\"", &list);
    fs::write(sr.at("strongroom.toml"), config).unwrap();
    on(&sr, "a", 0, &["run", "fleet"]);
    let json = on(&sr, "keeper", 0, &["audit", "--all-hosts", "fleet", "--json"]);
    assert_eq!(states(&json), [row("a", "fleet", "good", "good"), row("a", "fleet/x", "good", "good")], "{json}");
}
