//! What the program prints: the help of every command, and a session, kept in `tests/it/transcripts/`.
//!
//! After a change that is wanted, `SNAPSHOTS=overwrite cargo test --test it transcripts::` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use regex::Regex;
use snapbox::{Assert, Data, Redactions};

use crate::program::Strongroom;

/// What differs each time, and what stands for it.
const VARYING: [(&str, &str); 6] = [
    ("[ID]", r"(?-u:\b)[0-9a-f]{8}(?-u:\b)"),
    ("[REPOSITORY]", r"(?-u:\b)[0-9a-f]{32}(?-u:\b)"),
    ("[TIME]", r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}"),
    ("[DURATION]", r"[0-9]+\.[0-9]{2} s"),
    ("[REQUESTS]", r"[0-9]+ requests"),
    ("[SIZE]", r"[0-9.]+ (?:B|KiB|MiB)"),
];

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/transcripts").join(name).with_extension("txt")
}

fn varying() -> Redactions {
    let mut redactions = Redactions::new();
    for (name, pattern) in VARYING {
        redactions.insert(name, Regex::new(pattern).unwrap()).unwrap();
    }
    redactions
}

#[track_caller]
fn check(name: &str, printed: String, redactions: Redactions) {
    let assert = Assert::new().action_env("SNAPSHOTS").normalize_paths(false).redact_with(redactions);
    assert.eq(Data::text(printed), Data::read_from(&kept(name), None));
}

/// What a command of the program prints, at the width of a pipe.
fn printed(sr: &Strongroom, words: &[&str]) -> String {
    let output = sr.command(words).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn the_help_of_every_command_is_as_it_is_kept() {
    fn visit(sr: &Strongroom, command: &clap::Command, words: &[&str], seen: &mut Vec<PathBuf>) {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let words = [words, &[below.get_name()]].concat();
            let name = format!("help-{}", words.join("-"));
            check(&name, printed(sr, &[&words[..], &["--help"]].concat()), Redactions::new());
            seen.push(kept(&name));
            visit(sr, below, &words, seen);
        }
    }
    let sr = Strongroom { folder: tempfile::tempdir().unwrap() };
    check("help", printed(&sr, &["--help"]), Redactions::new());
    let mut seen = vec![kept("help"), kept("session")];
    visit(&sr, &strongroom::cli::Arguments::command(), &[], &mut seen);
    let is_old = |path: &PathBuf| !seen.contains(path);
    let all = fs::read_dir(kept("help").parent().unwrap()).unwrap().map(|e| e.unwrap().path());
    assert_eq!(all.filter(is_old).collect::<Vec<_>>(), Vec::<PathBuf>::new(), "of commands that are gone");
}

/// Each line of a session, and what it printed.
fn session() -> String {
    let sr = Strongroom { folder: tempfile::tempdir().unwrap() };
    let bash = |line: &str| {
        let mut command = Command::new("bash");
        let like = sr.command(&[]);
        command.args(["-c", line]).current_dir(sr.folder.path()).env_clear();
        command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let program = Path::new(env!("CARGO_BIN_EXE_strongroom"));
        let path = [program.parent().unwrap().as_os_str().to_owned(), std::env::var_os("PATH").unwrap()];
        command.env("PATH", path.join(std::ffi::OsStr::new(":"))).env("STRONGROOM_HOST", "web1");
        let output = command.output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    bash("mkdir site; seq 20000 >site/index.html; seq 30000 >site/log.txt");
    let lines = [
        "strongroom init",
        "strongroom backup --source site site",
        "for file in site/*; do echo more >>$file; done; strongroom backup -v --source site site",
        "strongroom snapshots",
        "strongroom ls \"latest:$PWD/site\"",
        "strongroom diff latest~1 latest",
        "strongroom find log.txt",
        "strongroom restore \"latest:$PWD/site\" --target restored",
        "strongroom forget --keep-last 1 --dry-run",
        "strongroom forget --keep-last 1",
        "strongroom prune",
        "strongroom verify --read-data",
        "strongroom stats",
    ];
    let folder = sr.folder.path().to_str().unwrap();
    let said: Vec<String> = lines.iter().map(|line| format!("$ {line}\n{}", bash(line))).collect();
    said.join("\n").replace(folder, "/srv")
}

#[test]
fn a_session_prints_what_is_kept_and_the_guide_shows_it() {
    let printed = session();
    check("session", printed.clone(), varying());
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/GUIDE.md")).unwrap();
    let shown = guide.split("```console\n").nth(1).expect("the guide shows a session").split("```").next().unwrap();
    let (shown, printed) = (varying().redact(shown), varying().redact(&printed));
    assert_eq!(shown.trim(), printed.trim(), "the session in docs/GUIDE.md is an old one");
}
