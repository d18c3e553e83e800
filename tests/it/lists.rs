//! What is to be saved stands in a list, or is what a command prints.

use std::process::Stdio;

use crate::program::{Strongroom, said};

/// Runs a command with this on its standard input.
#[track_caller]
fn with_input(sr: &Strongroom, code: i32, args: &[&str], input: &[u8]) -> String {
    sr.write("input", input);
    let output = sr.command(args).stdin(Stdio::from(std::fs::File::open(sr.at("input")).unwrap())).output();
    said(code, args, &output.expect("the program runs"))
}

#[test]
fn paths_come_from_lists() {
    let sr = Strongroom::init();
    for name in ["d/a.sql", "d/b.sql", "d/B.TXT", "d/odd [1]\n.x"] {
        sr.write(name, name);
    }
    let list = b"# a list\n\n  d/*.sql  \n";
    let told = with_input(&sr, 0, &["backup", "-v", "--source", "s", "--files-from", "-"], list);
    assert!(told.contains("d/a.sql") && told.contains("d/b.sql") && !told.contains("TXT"), "{told}");
    // The next list differs, and is the same source: each file is compared with what it was itself.
    sr.write("d/a.sql", "changed since");
    let told = with_input(&sr, 0, &["backup", "-vv", "--source", "s", "--files-from", "-"], b"d/B.TXT\nd/a.sql\n");
    let line = |what: &str, name: &str| told.lines().any(|l| l.starts_with(what) && l.contains(name));
    assert!(line("new ", "d/B.TXT") && line("modified ", "d/a.sql") && !told.contains("--source"), "{told}");
    assert!(with_input(&sr, 0, &["backup", "--files-from-verbatim", "-"], b"d/a.sql\n").contains("--source NAME"));
    let odd = sr.at("d/odd [1]\n.x");
    let raw = [odd.to_str().unwrap().as_bytes(), b"\0"].concat();
    with_input(&sr, 0, &["backup", "--source", "odd", "--files-from-raw", "-"], &raw);
    let whole = format!("latest:{}", odd.display());
    assert_eq!(sr.expect(0, &["cat", &whole, "--source", "odd"]), "d/odd [1]\n.x");
    // What is not there is missing, and not nothing.
    let told = with_input(&sr, 3, &["backup", "--source", "s", "--files-from", "-"], b"d/a.sql\nd/*.none\n");
    assert!(told.contains("*.none") && told.contains("partial"), "{told}");
    assert!(with_input(&sr, 2, &["backup", "--files-from", "-"], b"# nothing\n").contains("names no path"));
    assert!(sr.expect(1, &["backup", "--files-from", "no-list"]).contains("no-list"));
    assert!(with_input(&sr, 2, &["backup", "--files-from", "-", "-"], b"d\n").contains("standard input"));
}

#[test]
fn case_is_ignored_where_that_is_asked_for() {
    let sr = Strongroom::init();
    for name in ["d/a.JPG", "d/b.jpg", "d/c.txt"] {
        sr.write(name, name);
    }
    let told = sr.expect(0, &["backup", "-v", "d", "--iexclude", "*.jpg"]);
    assert!(told.contains("left out 2 entries") && told.contains("c.txt"), "{told}");
    // An absolute pattern: the path of the source is what it is.
    let absolute = format!("{}/*.Jpg", sr.at("d").display());
    assert!(sr.expect(0, &["backup", "-v", "d", "--iexclude", &absolute]).contains("left out 2 entries"));
    sr.expect(0, &["backup", "d"]);
    sr.restore(0, "back", &["--iinclude", "*.jpg"]);
    assert!(sr.at("back/a.JPG").exists() && sr.at("back/b.jpg").exists() && !sr.at("back/c.txt").exists());
    sr.restore(0, "other", &["--iexclude", "*.JPG"]);
    assert!(!sr.at("other/a.JPG").exists() && !sr.at("other/b.jpg").exists() && sr.at("other/c.txt").exists());
}

#[test]
fn a_command_stands_in_the_place_of_paths() {
    let sr = Strongroom::init();
    let base = ["backup", "--stdin-from-command", "--stdin-filename", "x"];
    let run = |code: i32, words: &[&str]| sr.expect(code, &[&base[..], &["--"], words].concat());
    run(0, &["printf", "%s", "a b  'c"]);
    assert_eq!(sr.expect(0, &["cat", "latest:x"]), "a b  'c");
    // A hyphen is the command's own.
    run(1, &["cat", "-", "/nothing-there"]);
    run(1, &["sh", "-c", "echo half; exit 3"]);
    assert_eq!(sr.expect(0, &["cat", "latest:x"]), "a b  'c");
    assert!(sr.expect(2, &base).contains("needs a command"));
    assert!(sr.expect(2, &[&base[..], &["--files-from", "list", "--", "true"]].concat()).contains("--files-from"));
    run(1, &["sh", "-c", "mysqldump -phunter2 shop; exit 1"]);
    run(1, &["mysqldump", "-phunter2", "shop"]);
    assert!(!sr.expect(0, &["log"]).contains("hunter2"));
}

#[test]
fn the_level_of_compression_is_chosen() {
    let text: String = (0..60_000).map(|n| format!("line {n} of a text that compresses well\n")).collect();
    let stored = |level: &str| {
        let sr = Strongroom::init();
        sr.write("d/a", &text);
        let json = sr.expect(0, &["backup", "d", "--compression", level, "--json"]);
        let object: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        object["sources"][0]["figures"]["bytes_stored"].as_u64().expect("a number")
    };
    assert!(stored("off") > text.len() as u64);
    for level in ["fast", "default", "max", "auto"] {
        assert!(stored(level) < text.len() as u64 / 2, "{level}");
    }
    let sr = Strongroom::init();
    assert!(sr.expect(2, &["backup", ".", "--compression", "much"]).contains("possible values"));
}
