//! What follows a load: `after_load`, and the answers that were recorded with the set.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use strongroom::format::record::Outcome;

use super::servers::{Postgres, Server, load, save, save_with};
use super::{add, small};
use crate::program::Strongroom;

/// A configuration with the job `idp`.
fn configure(sr: &Strongroom, repository: &str, keys: &str) {
    let vars = sr.write("vars", "export MYDB_URL=theirs\n");
    fs::set_permissions(&vars, fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "version = 1\nenv_file = \"{}\"\n[repositories]\nmain = {{ url = \"{repository}\" }}\n[defaults]\nrepository = \"main\"\n\
         [jobs.idp]\n{keys}\n[jobs.idp.sources]\ngen3 = {{ kind = \"postgres\", record = {{ n = \"cat n\" }} }}\n\
         other = {{ kind = \"postgres\", record = {{ n = \"touch asked\" }} }}\n",
        vars.display()
    );
    let file = sr.write("home/.config/strongroom/strongroom.toml", text);
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// IDP-2: permissions that were recorded at night are asked again after the load; what differs is told with both values.
#[test]
fn recorded_answers_are_asked_again_and_differences_told() {
    let (old, sr) = (small("fence", 10), Strongroom::init());
    let records = [("permissions", "alice: read\nbob: write"), ("gen3.n", "7"), ("other.n", "1")];
    save_with(&sr, vec![("gen3", vec![old.dump("fence", "custom")])], &records, Outcome::Complete);
    let (to, repository) = (old.to("postgres"), sr.at("repo").display().to_string());
    let named = |name: &str| format!("fence={name}");
    // Without a configuration a person compares.
    let text = load(&sr, 0, &to, &["--rename", &named("a")]);
    assert!(text.contains("record permissions, as it was saved, to be compared: alice: read\n  bob: write"), "{text}");
    assert!(!load(&sr, 0, &to, &["--rename", &named("a"), "--no-records"]).contains("alice"));
    configure(&sr, &repository, "record = { permissions = \"cat permissions\" }");
    sr.write("permissions", "alice: read\nbob: write\n");
    sr.write("n", "7\n");
    let text = load(&sr, 0, &to, &["--rename", &named("b")]);
    assert!(
        text.contains("record permissions: as it was saved") && text.contains("record gen3.n: as it was"),
        "{text}"
    );
    assert!(!sr.at("asked").exists() && !text.contains("other.n"), "{text}");
    sr.write("permissions", "alice: read\nbob: read\n");
    sr.write("n", "6\n");
    let text = load(&sr, 3, &to, &["--rename", &named("c")]);
    assert!(text.contains("record `gen3.n` is not what was saved: it is `6` now, and was `7`"), "{text}");
    assert!(text.contains("line 2 is `bob: read` now, and was `bob: write`"), "{text}");
    let text = load(&sr, 3, &to, &["--rename", &named("c"), "--json"]);
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let states: Vec<(String, String)> = lines
        .filter(|line| line["type"] == "record")
        .map(|line| (line["saved"].as_str().unwrap().to_owned(), line["state"].as_str().unwrap().to_owned()))
        .collect();
    assert!(states.contains(&("7".to_owned(), "different".to_owned())) && states.len() == 2, "{text}");
    fs::remove_file(sr.at("n")).unwrap();
    let text = load(&sr, 3, &to, &["--rename", &named("d")]);
    assert!(text.contains("record `gen3.n`: ") && text.contains("it was `7` when the set was saved"), "{text}");
    // A job of the same name that is saved elsewhere is another job.
    configure(&sr, "/elsewhere", "after_load = \"touch ran\"\nrecord = { permissions = \"touch asked\" }");
    let text = load(&sr, 0, &to, &["--rename", &named("e")]);
    assert!(text.contains("does not name this repository") && text.contains("to be compared"), "{text}");
    assert!(!sr.at("ran").exists() && !sr.at("asked").exists());
}

/// `after_load` runs whatever came of the load and is told; that it fails is a problem of the load.
#[test]
fn after_load_is_told_what_came_of_the_load() {
    let (old, sr, new) = (small("fence", 10), Strongroom::init(), Postgres::start());
    add(&old, "wts", 20);
    save(&sr, vec![("gen3", vec![old.dump("fence", "custom"), old.dump("wts", "custom")])]);
    let (to, repository) = (new.to("postgres"), sr.at("repo").display().to_string());
    let line =
        "echo $STRONGROOM_JOB ${#STRONGROOM_SET} $STRONGROOM_OUTCOME ${STRONGROOM_PASSPHRASE-none} $MYDB_URL >> told";
    configure(&sr, &repository, &format!("after_load = \"{line}; echo restarted\""));
    let text = load(&sr, 0, &to, &["--dry-run"]);
    assert!(!sr.at("told").exists(), "{text}");
    let text = load(&sr, 0, &to, &["gen3/fence"]);
    assert!(text.contains("hook `after_load` of job idp: restarted"), "{text}");
    add(&new, "wts", 1);
    load(&sr, 3, &to, &[]);
    load(&sr, 1, &to, &["gen3/wts"]);
    let told = sr.read("told");
    let words: Vec<Vec<&str>> = told.lines().map(|line| line.split(' ').collect()).collect();
    for (words, outcome) in words.iter().zip(["complete", "partial", "failed"]) {
        assert!(
            words[0] == "idp" && words[1] != "0" && words[2] == outcome && words[3..] == ["none", "theirs"],
            "{told}"
        );
    }
    assert_eq!(words.len(), 3);
    // What is typed counts, and it needs no configuration.
    load(&sr, 0, &to, &["gen3/fence", "--after-load", ""]);
    let text = load(&sr, 3, &to, &["gen3/fence", "--after-load", "echo no such pod >&2; false | cat"]);
    assert!(text.contains("hook `after_load` of job idp failed with status 1: no such pod"), "{text}");
    assert_eq!(sr.read("told").lines().count(), 3);
    fs::remove_dir_all(sr.at("home/.config")).unwrap();
    load(&sr, 0, &to, &["gen3/fence", "--after-load", "touch typed"]);
    assert!(sr.at("typed").exists());
    // A configuration that cannot be used does not keep anybody from loading; one that is named does.
    let file = sr.write("home/.config/strongroom/strongroom.toml", "version = 1\nnonsense = 1\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let text = load(&sr, 0, &to, &["gen3/fence"]);
    assert!(text.contains("the configuration of this machine is not used: ") && text.contains("nonsense"), "{text}");
    load(&sr, 2, &to, &["gen3/fence", "--config", &file.display().to_string()]);
}

/// CC-6: what is no dump of a database is refused by name, with what to do instead.
#[test]
fn base_backups_and_files_are_refused_with_what_to_do() {
    let (old, sr) = (small("fence", 10), Strongroom::init());
    let described = |kind: &str, format: &str| {
        let mut dump = old.dump("fence", "custom").with_line("echo x");
        (dump.described.kind, dump.described.format) = (kind.to_owned(), format.to_owned());
        dump
    };
    let sources = vec![
        ("base", vec![described("postgres", "basebackup")]),
        ("lite", vec![described("sqlite", "sqlite")]),
        ("gen3", vec![old.dump("fence", "custom")]),
    ];
    save(&sr, sources);
    let to = old.to("postgres");
    let text = load(&sr, 1, &to, &["base", "lite"]);
    let whole = "idp/base/fence: a base backup is a whole server: `strongroom restore` brings back its data directory";
    assert!(text.contains(whole) && text.contains("idp/lite/fence: an SQLite database is a file: "), "{text}");
    let text = load(&sr, 0, &to, &["--rename", "fence=copy"]);
    assert!(text.contains("skipped idp/base/fence") && text.contains("`strongroom restore` brings it back"), "{text}");
}
