//! Texts that somebody stored, of any number, length and characters, stop no command and fill no screen.

use std::sync::Arc;

use crate::program::Strongroom;
use strongroom::ops::backup::{BackupOptions, StreamSource, backup};
use strongroom::primitives::progress::Silent;
use strongroom::primitives::system::OsSystem;
use strongroom::repository::{LocalPlaces, Repository};
use strongroom::store;

/// Columns of the widest line that any list prints.
const WIDE: usize = 1200;

fn open(sr: &Strongroom) -> Arc<Repository> {
    let places = LocalPlaces { cache: sr.at("other/cache"), state: sr.at("other/state") };
    let location = sr.at("repo").display().to_string();
    let store = store::open(&location, &Default::default(), 0).expect("the repository is there");
    Repository::open(store, &b"open sesame".to_vec().into(), &places, Arc::new(OsSystem)).expect("it opens")
}

/// As a program that checks nothing stores it.
fn store_absurd(sr: &Strongroom, text: &str, count: usize) {
    let file = sr.write("d/file", "content");
    let options = BackupOptions {
        paths: vec![file],
        host: text.to_owned(),
        user: text.to_owned(),
        source: Some(format!("{text} of a file")),
        tags: (0..count).map(|n| format!("{text}{n}")).collect(),
        job: None,
        label: Some(text.to_owned()),
        command: text.to_owned(),
        ..crate::harness::options(&[])
    };
    let repository = open(sr);
    backup(&repository, options, &Silent).expect("the backup succeeds");
    let reader = Box::new(std::io::Cursor::new(b"stream".to_vec()));
    let streams = vec![StreamSource::Reader { name: format!("s{text}").replace('/', ""), reader }];
    let options =
        BackupOptions { streams, host: text.to_owned(), command: text.to_owned(), ..crate::harness::options(&[]) };
    backup(&repository, options, &Silent).expect("the backup succeeds");
    repository.save_cache().expect("the cache is written");
}

#[track_caller]
fn is_readable(told: &str, args: &[&str]) {
    let widest = told.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    assert!(widest <= WIDE, "{args:?} prints {widest} columns");
    let command = told.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(command, None, "{args:?} commands the terminal");
}

/// A host of 65,536 characters ended `snapshots` and `stats` with a panic, for everybody and for good.
#[test]
fn no_stored_text_stops_a_command_or_fills_the_screen() {
    let sr = Strongroom::init();
    for (text, count) in [
        ("x".repeat(70_000).as_str(), 12),
        ("\u{fc}\u{1b}[2J\r\n".repeat(5_000).as_str(), 12),
        ("\u{202e}\u{7}", 1),
        ("", 0),
        ("  ", 2000),
        ("\u{1f469}\u{200d}\u{1f680}", 10),
    ] {
        store_absurd(&sr, text, count);
    }
    for args in [
        &["snapshots"][..],
        &["snapshots", "--latest", "1"],
        &["stats"],
        &["stats", "--by", "source"],
        &["stats", "--by", "night"],
        &["log"],
        &["verify"],
        &["prune", "--dry-run"],
        &["repair", "--dry-run"],
        &["forget", "--keep-daily", "3", "--dry-run"],
        &["forget", "--keep-daily", "3", "--dry-run", "--group-by", "host,source,tags,paths"],
        &["forget", "--keep-daily", "3"],
        &["find", "file"],
    ] {
        is_readable(&sr.expect(0, args), args);
    }
    for args in [
        &["cat", "latest"][..],
        &["ls", "latest", "--host", "nobody"],
        &["restore", "latest", "--tag", "none", "--target", "t"],
        &["ls", "latest", "--source", "x"],
        &["ls", "latest", "--path", "/nothing"],
    ] {
        is_readable(&sr.expect(1, args), args);
    }
    // Whoever wants them whole gets them.
    let json = sr.expect(0, &["snapshots", "--json"]);
    let objects: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(objects.len(), 12);
    assert!(objects.iter().any(|o| o["host"] == "x".repeat(70_000) && o["tags"].as_array().unwrap().len() == 12));
    let id = objects[0]["id"].as_str().expect("an id");
    is_readable(&sr.expect(0, &["forget", id]), &["forget", id]);
}

/// What nobody could read in a list is refused when it is given, before anything is read.
#[test]
fn absurd_texts_are_refused_when_they_are_given() {
    let sr = Strongroom::init();
    let path = sr.write("d/file", "content");
    let path = path.to_str().unwrap();
    let long = "x".repeat(1001);
    let many = (0..101).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",");
    let (stream, slash) = (format!("{long}=echo"), "../x");
    for (option, value) in [
        ("--host", long.as_str()),
        ("--host", " "),
        ("--source", "a\nb"),
        ("--label", "a\u{1b}[2J"),
        ("--tag", long.as_str()),
        ("--tag", many.as_str()),
    ] {
        let told = sr.expect(2, &["backup", path, option, value]);
        assert!(told.contains("error: ") && told.len() < 1000, "{told}");
    }
    sr.expect(2, &["backup", "--from-command", &stream]);
    sr.expect(2, &["backup", "--stdin-name", slash, "-"]);
    for (option, value) in [("--host", long.as_str()), ("--name", ""), ("--source", "a\tb")] {
        let args = ["credential", "add", "--role", "backup", "--host", "a", "--output", "c", option, value];
        sr.expect(2, &args);
    }
    assert!(sr.expect(0, &["snapshots"]).contains("0 snapshots"));
    // Thousands of paths are no reason, and the log keeps the beginning of their command.
    let paths: Vec<String> = (0..1000).map(|n| sr.write(&format!("many/{n:04}"), "x").display().to_string()).collect();
    let args: Vec<&str> =
        ["backup", "-q", "--source", "many"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    sr.expect(0, &args);
    is_readable(&sr.expect(0, &["log"]), &["log"]);
    assert!(sr.expect(0, &["log", "--json"]).lines().all(|line| line.len() < 10_000));
}
