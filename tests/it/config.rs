//! The configuration file: what is refused, and how; what is shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::program::{Strongroom, said};
use strongroom::jobs::config::Config;

fn write(sr: &Strongroom, name: &str, text: &str) {
    let at = sr.write(name, text);
    fs::set_permissions(at, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Every example of the guide is a configuration that can be used.
#[test]
fn the_examples_of_the_guide_are_read() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/GUIDE.md")).unwrap();
    let examples: Vec<&str> = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let config = Config::of_files(Path::new("/guide.toml"), &|_| Ok(example.to_owned())).unwrap();
        assert!(!config.jobs.is_empty(), "{example}");
    }
}

/// CC-1: the file is checked before anything is run.
#[test]
fn what_is_wrong_is_listed_with_its_place_and_exits_with_2() {
    let sr = Strongroom { folder: tempfile::tempdir().unwrap() };
    let text = sr.expect(2, &["config", "check"]);
    assert!(text.contains("there is no configuration file"), "{text}");
    write(&sr, "home/.config/strongroom/strongroom.toml", "version = 1\n[jobs.a]\nsorces = 1\n");
    let text = sr.expect(2, &["config", "check"]);
    assert!(text.contains("strongroom.toml:3:1: unknown key `sorces`; did you mean `sources`?"), "{text}");
    // Each problem is a line of its own.
    write(&sr, "two.toml", "version = 1\n[jobs.a]\nlable = 1\nscedule = 1\n");
    let text = sr.expect(2, &["config", "check", "--config", "two.toml"]);
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("did you mean")).collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.starts_with("error: ")), "{text}");
    write(&sr, "bad.toml", "version = \n");
    let text = sr.expect(2, &["config", "check", "--config", "bad.toml"]);
    assert!(text.contains("bad.toml:1:"), "{text}");
    let text = sr.expect(2, &["config", "check", "--config", "none.toml"]);
    assert!(text.contains("cannot read") && text.contains("none.toml"), "{text}");
}

#[test]
fn a_file_that_others_can_read_is_refused_with_what_to_type() {
    let sr = Strongroom { folder: tempfile::tempdir().unwrap() };
    write(&sr, "a.toml", "version = 1\n");
    sr.expect(0, &["config", "check", "--config", "a.toml"]);
    fs::set_permissions(sr.at("a.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    let text = sr.expect(2, &["config", "check", "--config", "a.toml"]);
    assert!(text.contains("chmod o=,g-w '") && text.contains("a.toml"), "{text}");
}

const MAIN: &str = r#"version = 1
include = ["jobs.d/*.toml"]
[repositories.main]
url = "/srv/repo"
password_command = "vault read --token=hunter2 secret"
[defaults]
repository = "main"
hosts = ["elsewhere"]
"#;

#[test]
fn what_is_in_force_is_shown_with_where_it_comes_from_and_no_secret() {
    let sr = Strongroom { folder: tempfile::tempdir().unwrap() };
    write(&sr, "main.toml", MAIN);
    write(&sr, "jobs.d/b.toml", "[jobs.b]\nlike = \"a\"\nschedule = \"manual\"\n");
    write(&sr, "jobs.d/a.toml", "[jobs.a.sources]\nd = { kind = \"path\", paths = [\"/d\"], timeout = \"1h\" }\n");
    let text = sr.expect(0, &["config", "show", "--config", "main.toml"]);
    assert!(!text.contains("hunter2"), "{text}");
    let folder = sr.folder.path().display();
    for line in [
        format!("hosts = [\"elsewhere\"]   # {folder}/main.toml:8:9"),
        format!("timeout = \"1h\"   # {folder}/jobs.d/a.toml:2:48"),
        "[jobs.b.sources.d]   # not run on this machine".to_owned(),
        format!("schedule = \"manual\"   # {folder}/jobs.d/b.toml:3:12"),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    // The name that jobs are run under.
    let elsewhere =
        sr.command(&["config", "show", "--config", "main.toml"]).env("STRONGROOM_HOST", "elsewhere").output();
    let elsewhere = said(0, &["config", "show"], &elsewhere.unwrap());
    assert!(elsewhere.contains("[jobs.b.sources.d]\n") && !elsewhere.contains("not run on"), "{elsewhere}");
    let json: serde_json::Value =
        serde_json::from_str(&sr.expect(0, &["config", "show", "b", "--json", "--config", "main.toml"])).unwrap();
    assert_eq!(json["config"]["jobs"]["b"]["sources"]["d"]["paths"][0], "/d");
    assert!(json["config"]["jobs"]["a"].is_null());
    let text = sr.expect(2, &["config", "show", "c", "--config", "main.toml"]);
    assert!(text.contains("there is no job `c`; there are: a, b"), "{text}");
    // The same table in two files.
    write(&sr, "jobs.d/c.toml", "[jobs.a]\nlabel = \"x\"\n");
    let text = sr.expect(2, &["config", "check", "--config", "main.toml"]);
    assert!(text.contains("c.toml:1:7: `a` stands in") && text.contains("a.toml:1:7 already"), "{text}");
}

#[test]
fn the_schema_is_json() {
    let sr = Strongroom { folder: tempfile::tempdir().unwrap() };
    let schema: serde_json::Value = serde_json::from_str(&sr.expect(0, &["config", "schema"])).unwrap();
    assert_eq!(schema["properties"]["version"]["minimum"], 1);
    assert_eq!(schema["additionalProperties"], false);
}
