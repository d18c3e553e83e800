//! Patterns against git itself: random ones, over random names, as `git ls-files -o -X FILE` understands them.
//!
//! `STRONGROOM_PATTERN_ROUNDS` and `STRONGROOM_PATTERN_SEED` make it longer or different.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use strongroom::source::{Decision, ExcludeOptions, ExcludeRules, FileKind, Stat};

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn one_of<'a>(&mut self, all: &[&'a [u8]]) -> &'a [u8] {
        all[self.below(all.len())]
    }
}

/// What means something to a shell, an expression or a glob library, and what is no text.
const LETTERS: &[&[u8]] = &[
    b"a",
    b"b",
    b"A",
    b"1",
    b".",
    b" ",
    b"\t",
    b"*",
    b"?",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"!",
    b"#",
    b"\\",
    b"^",
    b"-",
    b"$",
    b"+",
    b"(",
    b")",
    b"|",
    b"~",
    b"'",
    b"\"",
    b"&",
    b";",
    b":",
    b"=",
    b"%",
    b"@",
    b"\xc3\xbc",
    b"\xff",
];
const PIECES: &[&[u8]] = &[
    b"a",
    b"b",
    b"ab",
    b"1",
    b".",
    b"*",
    b"**",
    b"***",
    b"?",
    b"/",
    b"/",
    b"[ab]",
    b"[!a]",
    b"[^a-c]",
    b"[]a]",
    b"[a-]",
    b"[[:alpha:]]",
    b"[[:digit:]b]",
    b"[[:odd:]]",
    b"[\\]]",
    b"[b-a]",
    b"[",
    b"]",
    b"{a,b}",
    b"{",
    b"}",
    b"\\",
    b"\\*",
    b"\\a",
    b"\\ ",
    b"\\#",
    b" ",
    b"\t",
    b"#",
    b"!",
    b"$",
    b"+",
    b"(",
    b"|",
    b".*",
    b"^",
    b"**/",
    b"/**",
    b"/**/",
    b"\xc3\xbc",
    b"-",
    b"[a",
    b"[[:",
    b"[[:alpha:",
];

fn name(random: &mut Random) -> Vec<u8> {
    loop {
        let name: Vec<u8> = (0..random.below(3) + 1).flat_map(|_| random.one_of(LETTERS).to_vec()).collect();
        if name != b"." && name != b".." {
            return name;
        }
    }
}

fn pattern(random: &mut Random) -> Vec<u8> {
    let not: &[u8] = if random.below(4) == 0 { b"!" } else { b"" };
    let mut pattern = not.to_vec();
    for _ in 0..random.below(5) + 1 {
        pattern.extend_from_slice(random.one_of(PIECES));
    }
    match random.below(6) {
        0 => pattern.push(b'/'),
        1 => pattern.extend_from_slice(b"  "),
        _ => {}
    }
    pattern
}

/// Makes a tree of random names, and says what is in it.
fn grow(root: &Path, random: &mut Random) {
    let mut folders = vec![root.to_owned()];
    for _ in 0..30 {
        let at = folders[random.below(folders.len())].join(OsStr::from_bytes(&name(random)));
        if at.components().count() < root.components().count() + 4 && fs::create_dir(&at).is_ok() {
            folders.push(at);
        }
    }
    for _ in 0..120 {
        let at = folders[random.below(folders.len())].join(OsStr::from_bytes(&name(random)));
        if !at.exists() {
            fs::write(at, "").unwrap();
        }
    }
}

fn git(root: &Path, arguments: &[&OsStr]) -> Vec<u8> {
    let mut command = Command::new("git");
    command.current_dir(root).args(arguments);
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("LC_ALL", "C");
    let done = command.output().expect("git runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// The files that git does not leave out.
fn kept_by_git(root: &Path, file: &Path) -> BTreeSet<PathBuf> {
    let listed = git(
        root,
        &["ls-files", "-z", "-o", "-X"].map(OsStr::new).into_iter().chain([file.as_os_str()]).collect::<Vec<_>>(),
    );
    let names = listed.split(|c| *c == 0).filter(|n| !n.is_empty());
    names.map(|n| PathBuf::from(std::ffi::OsString::from_vec(n.to_vec()))).collect()
}

fn kept(root: &Path, below: &Path, rules: &ExcludeRules, all: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        let is_directory = entry.file_type().unwrap().is_dir();
        let kind = if is_directory { FileKind::Directory } else { FileKind::File };
        if path == Path::new(".git") || rules.decide(&path, &Stat { kind, ..Stat::default() }) != Decision::Keep {
            continue;
        }
        match is_directory {
            true => kept(root, &path, rules, all),
            false => drop(all.insert(path)),
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// The help says "gitignore meaning"; braces, blanks, classes and backslashes meant something else.
#[test]
fn random_patterns_mean_what_they_mean_to_git() {
    let (rounds, seed) = (number("STRONGROOM_PATTERN_ROUNDS", 60), number("STRONGROOM_PATTERN_SEED", 1));
    let mut random = Random(seed);
    let mut compared = 0;
    for round in 0..rounds {
        let root = tempfile::tempdir().unwrap();
        git(root.path(), &["init", "-q"].map(OsStr::new));
        grow(root.path(), &mut random);
        let outside = tempfile::tempdir().unwrap();
        let file = outside.path().join("patterns");
        for _ in 0..8 {
            let lines: Vec<Vec<u8>> = (0..random.below(3) + 1).map(|_| pattern(&mut random)).collect();
            let text = lines.join(&b'\n');
            fs::write(&file, [&text[..], b"\n"].concat()).unwrap();
            let options = ExcludeOptions { pattern_files: vec![file.clone()], ..ExcludeOptions::default() };
            let rules = ExcludeRules::new(&options, root.path()).unwrap();
            let mut ours = BTreeSet::new();
            kept(root.path(), Path::new(""), &rules, &mut ours);
            let git = kept_by_git(root.path(), &file);
            let differing: Vec<_> = ours.symmetric_difference(&git).collect();
            assert!(differing.is_empty(), "round {round}: {:?}: {differing:?}", text.escape_ascii().to_string());
            compared += git.len() + 1;
        }
    }
    assert!(compared > 1000, "{compared} files were compared");
}
