//! What `--json` prints is what docs/JSON.md says: every type, and every field of each.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::program::Strongroom;

/// The fields of each type, and those of parts of objects, as the page lists them.
fn documented() -> (BTreeMap<String, BTreeSet<String>>, BTreeSet<String>) {
    let page = include_str!("../../docs/JSON.md");
    let (mut types, mut parts) = (BTreeMap::<String, BTreeSet<String>>::new(), BTreeSet::new());
    let mut section: Option<String> = None;
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.strip_prefix('`').and_then(|h| h.strip_suffix('`')).map(str::to_owned);
            if let Some(name) = &section {
                types.entry(name.clone()).or_default();
            }
        } else if let Some(field) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next()) {
            match &section {
                Some(name) => types.get_mut(name).unwrap().insert(field.to_owned()),
                None => parts.insert(field.to_owned()),
            };
        }
    }
    (types, parts)
}

/// Every word in backquotes: names of fields that lie deeper are among them.
fn words() -> BTreeSet<&'static str> {
    include_str!("../../docs/JSON.md").split('`').skip(1).step_by(2).collect()
}

fn deeper(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            names.insert(name.clone());
            deeper(value, names);
        }),
        Value::Array(all) => all.iter().for_each(|value| deeper(value, names)),
        _ => {}
    }
}

/// A job with all that a dry run tells.
fn configure(sr: &Strongroom) {
    let config = sr.write("strongroom.toml", JOB);
    std::fs::set_permissions(config, std::fs::Permissions::from_mode(0o600)).unwrap();
}

const JOB: &str = "version = 1\n[repositories]\nmain = { url = \"repo\", password_env = \"STRONGROOM_PASSPHRASE\" }\n[jobs.a]\n\
         repository = \"main\"\nhosts = [\"*\"]\nbefore = \"true\"\nrecord = { x = \"true\" }\n[jobs.a.sources]\n\
         files = { kind = \"path\", paths = [\"/etc/hostname\"], exclude = [\"*.x\"], after = \"true\" }\n\
         dump = { kind = \"command\", file = \"d\", command = \"echo d\" }\n\
         gone = { kind = \"path\", paths = [\"/none\"] }\n";

#[test]
fn the_page_names_every_type_and_field() {
    let sr = Strongroom { folder: tempfile::tempdir().unwrap() };
    sr.write("d/a", "a");
    sr.write("d/b", vec![7; 100_000]);
    let (types, words) = (documented().0, words());
    let mut seen = BTreeSet::new();
    let mut wrong = BTreeSet::new();
    let mut look = |args: &[&str]| {
        let output = sr.command(args).arg("--json").output().expect("the program runs");
        let lines = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        assert!(!lines.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        for line in lines.lines() {
            assert!(line.starts_with(r#"{"type":""#), "{args:?}: {line}");
            let object: Value = serde_json::from_str(line).expect("it is JSON");
            let name = object["type"].as_str().expect("a type is a text").to_owned();
            let Some(fields) = types.get(&name) else {
                wrong.insert(format!("no section `{name}`: {line}"));
                continue;
            };
            for (field, value) in object.as_object().expect("it is an object") {
                if field != "type" && !fields.contains(field) {
                    wrong.insert(format!("`{name}` has no `{field}`"));
                }
                assert!(!value.is_null(), "{line}");
                let mut below = BTreeSet::new();
                deeper(value, &mut below);
                let unknown = below.iter().filter(|n| !words.contains(n.as_str()));
                wrong.extend(unknown.map(|unknown| format!("`{unknown}` of `{name}` is not named")));
            }
            seen.insert(name);
        }
    };
    look(&["init"]);
    look(&["backup", "d", "--exclude", "*.x", "-vv", "--progress", "--tag", "t", "--label", "l"]);
    sr.write("d/c", "c");
    look(&["backup", "d"]);
    look(&["backup", "d", "--dry-run"]);
    look(&["snapshots"]);
    look(&["ls", "latest"]);
    look(&["find", "a"]);
    look(&["diff", "latest~1", "latest"]);
    look(&["stats"]);
    look(&["stats", "--by", "source"]);
    look(&["hold", "latest"]);
    look(&["unhold", "latest"]);
    look(&["log"]);
    look(&["log", "--head"]);
    look(&["verify", "--read-data"]);
    look(&["restore", "latest", "--target", "back", "-v"]);
    look(&["forget", "--keep-last", "1", "--group-by", "host,source,tags,paths"]);
    look(&["prune", "--max-unused", "0"]);
    look(&["repair"]);
    look(&["whoami"]);
    look(&["key", "list"]);
    look(&["credential", "add", "--role", "backup", "--name", "m", "--host", "m", "--output", "m.credential"]);
    look(&["credential", "list"]);
    look(&["unlock"]);
    look(&["restore", "ffffffff", "--target", "nowhere"]);
    look(&["backup", "--nonsense"]);
    configure(&sr);
    look(&["run", "--config", "strongroom.toml", "--dry-run"]);
    assert!(wrong.is_empty(), "docs/JSON.md: {wrong:#?}");
    for name in
        ["init", "backup", "file", "progress", "snapshot", "entry", "diff", "share", "record", "head", "error", "job"]
    {
        assert!(seen.contains(name), "{name}: {seen:?}");
    }
}

#[test]
fn the_page_has_no_field_that_the_source_does_not_know() {
    let (types, parts) = documented();
    let mut source = String::new();
    for entry in walkdir::WalkDir::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli")) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            source.push_str(&std::fs::read_to_string(entry.path()).unwrap());
        }
    }
    for field in types.values().flatten().chain(&parts) {
        let known = source.contains(&format!("\"{field}\"")) || source.contains(&format!("{field}:"));
        assert!(known, "docs/JSON.md names `{field}`, and src/cli does not");
    }
    assert!(types.keys().all(|name| source.contains(&format!("\"{name}\""))), "{:?}", types.keys());
}
