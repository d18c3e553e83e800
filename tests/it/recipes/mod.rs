//! The recipes of the guide, as they stand there: each is run on machines of the test, whose folders stand for `/`, and
//! brings back what it saved.

mod commcare;
mod compressed;
mod datahub;
mod dss;
mod dss_tree;
mod idp;
mod mydb;

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program::said;
use crate::s3::weed::{MACHINE_KEY, OWNER_KEY, Weed};

/// Where the recipes store their backups.
const URL: &str = "s3://your-org-backups/prod?region=us-west-2";

/// Directories of a machine that the recipes name.
const DIRECTORIES: [&str; 6] =
    ["/etc/strongroom/", "/data/", "/opt/", "/var/log/", "/var/lib/postgresql/", "/usr/local/bin/"];

/// The machine that has the owner's passphrase.
const KEEPER: &str = "keeper";

/// Blocks of code of a section of the guide, up to the next heading, each with its language.
fn blocks(heading: &str) -> Vec<(String, String)> {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/GUIDE.md")).unwrap();
    let (_, section) = guide.split_once(&format!("\n{heading}\n")).expect("the guide has this heading");
    let (mut blocks, mut is_block) = (Vec::<(String, String)>::new(), false);
    for line in section.lines().take_while(|line| !line.starts_with("## ") && !line.starts_with("### ")) {
        match (line.strip_prefix("```"), blocks.last_mut()) {
            (Some(language), _) if !is_block => blocks.push((language.to_owned(), String::new())),
            (None, Some((_, text))) if is_block => *text += &format!("{line}\n"),
            _ => {}
        }
        is_block ^= line.starts_with("```");
    }
    blocks
}

/// The machines of a recipe, and what stands for what it names.
struct Site {
    folder: tempfile::TempDir,
    common: Vec<(String, String)>,
    blocks: Vec<(String, String)>,
    words: Vec<(String, String)>,
    weed: Option<Weed>,
    /// All that was printed.
    printed: RefCell<String>,
}

impl Site {
    /// The recipe with this heading, with a repository in a bucket or in a directory.
    fn new(heading: &str, weed: Option<Weed>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Users of the databases reach the programs here.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let site = Self {
            folder,
            common: blocks("## Recipes"),
            blocks: blocks(&format!("### {heading}")),
            words: Vec::new(),
            weed,
            printed: RefCell::default(),
        };
        fs::create_dir(site.at("bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_strongroom"), site.at("bin/strongroom")).unwrap();
        let at = site.folder.path().display();
        site.program("scp", &format!("to=${{2#*@}}; cp \"$1\" \"{at}/${{to%%:*}}/${{to#*:{at}/{KEEPER}/}}\""));
        site.program(
            "systemctl",
            "echo \"$1 $2\" >> \"$ROOT/services\"\n[ \"$2\" != dataiku ] || \"$ROOT/data/dss/bin/dss\" \"$1\"",
        );
        site
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// A program that all machines have. `$ROOT` is what stands for `/`.
    fn program(&self, name: &str, script: &str) {
        let at = self.at("bin").join(name);
        fs::write(&at, format!("#!/bin/bash\n{script}\n")).unwrap();
        fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `word` of the recipe stands for `real`.
    #[track_caller]
    fn stands_for(&mut self, word: &str, real: &str) {
        assert!(self.blocks.iter().any(|(_, text)| text.contains(word)), "the recipe has no {word}");
        self.words.push((word.to_owned(), real.to_owned()));
    }

    /// The block of this language with this number, counted from 0.
    #[track_caller]
    fn block(&self, language: &str, number: usize) -> String {
        let mut all = self.blocks.iter().filter(|(found, _)| found == language);
        all.nth(number).unwrap_or_else(|| panic!("the recipe has no {number}th block of {language}")).1.clone()
    }

    fn machine(&self, host: &str) -> Machine<'_> {
        let root = self.at(host);
        for directory in DIRECTORIES.iter().chain(&["/root/"]) {
            fs::create_dir_all(root.join(&directory[1..])).unwrap();
        }
        Machine { site: self, host: host.to_owned(), root }
    }

    /// Makes the repository and the credentials of these hosts, and gives each the configuration of the recipe.
    fn begin(&self, hosts: &[&str]) {
        let machines: Vec<Machine<'_>> = hosts.iter().map(|host| self.machine(host)).collect();
        let ("sh", script) = (self.common[0].0.as_str(), &self.common[0].1) else { panic!("no commands") };
        let list = "for host in backup1; do";
        assert!(script.contains(list), "{script}");
        let script = script.replace(list, &format!("for host in {}; do", hosts.join(" ")));
        self.machine(KEEPER).sh(0, &script);
        for machine in machines {
            machine.install("/etc/strongroom/strongroom.toml", &self.block("toml", 0));
        }
    }

    /// That a secret is in no file but those that are for it, and that nothing printed it.
    fn assert_unseen(&self, secret: &str, kept_in: &[&str]) {
        assert!(!self.printed.borrow().contains(secret));
        let mut kept = 0;
        for entry in walkdir::WalkDir::new(self.folder.path()).into_iter().map(Result::unwrap) {
            if !entry.file_type().is_file() {
                continue;
            }
            let bytes = fs::read(entry.path()).unwrap();
            if bytes.windows(secret.len()).any(|part| part == secret.as_bytes()) {
                assert!(kept_in.iter().any(|end| entry.path().ends_with(end)), "{} has it", entry.path().display());
                kept += 1;
            }
        }
        assert_eq!(kept, kept_in.len(), "the secret was looked for where it is");
    }
}

/// A machine: a folder that stands for `/`.
struct Machine<'s> {
    site: &'s Site,
    host: String,
    root: PathBuf,
}

impl Machine<'_> {
    /// A path of this machine.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A text of the recipe, with what stands for its words here.
    fn filled(&self, text: &str) -> String {
        let repository = match &self.site.weed {
            Some(_) => "s3://bucket/prod".to_owned(),
            None => self.site.at("repository").display().to_string(),
        };
        let mut text = text.replace(URL, &repository);
        for (word, real) in &self.site.words {
            text = text.replace(word, real);
        }
        self.below_root(&text)
    }

    /// A text whose directories lie below the machine's root.
    fn below_root(&self, text: &str) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(at) = rest.find('/') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            // What follows a name is a part of another path.
            let is_begin = !out.ends_with(|c: char| c.is_alphanumeric() || "/._-".contains(c));
            if is_begin && DIRECTORIES.iter().any(|directory| rest.starts_with(directory)) {
                out.push_str(&self.root.display().to_string());
            }
            out.push('/');
            rest = &rest[1..];
        }
        out + rest
    }

    /// Writes a file that only its owner can read.
    fn install(&self, path: &str, text: &str) {
        let at = self.at(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(&at, self.filled(text)).unwrap();
        fs::set_permissions(at, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn command(&self, script: &str, key: &'static str) -> Command {
        let mut bash = Command::new("bash");
        let path = std::env::var("PATH").unwrap_or_default();
        bash.args(["-euo", "pipefail", "-c", &self.filled(script)]).env_clear().current_dir(self.at("root"));
        bash.env("PATH", format!("{}:{path}", self.site.at("bin").display())).env("ROOT", &self.root);
        bash.env("HOME", self.at("root")).env("TZ", "UTC").env("STRONGROOM_HOST", &self.host).stdin(Stdio::null());
        let configuration = self.at("etc/strongroom/strongroom.toml");
        bash.envs(configuration.exists().then_some(("STRONGROOM_CONFIG", configuration)));
        bash.envs(self.site.weed.iter().flat_map(|weed| weed.variables(key)));
        bash
    }

    /// Runs commands of the recipe as this machine does: with nothing but its configuration and its key of the bucket.
    #[track_caller]
    fn sh(&self, code: i32, script: &str) -> String {
        let key = if self.host == KEEPER { OWNER_KEY } else { MACHINE_KEY };
        self.ended(code, script, self.command(script, key))
    }

    /// Runs commands as somebody who knows the passphrase.
    #[track_caller]
    fn as_owner(&self, code: i32, script: &str) -> String {
        let passphrase = fs::read_to_string(self.site.at(KEEPER).join("etc/strongroom/owner.passphrase")).unwrap();
        let mut command = self.command(script, OWNER_KEY);
        command.env("STRONGROOM_PASSPHRASE", passphrase.trim_end()).env("STRONGROOM_REPO", self.filled(URL));
        self.ended(code, script, command)
    }

    #[track_caller]
    fn ended(&self, code: i32, script: &str, mut command: Command) -> String {
        let text = said(code, &[script], &command.output().expect("bash runs"));
        *self.site.printed.borrow_mut() += &text;
        text
    }

    /// The objects that a command of the owner prints.
    fn objects(&self, script: &str) -> Vec<Value> {
        let text = self.as_owner(0, script);
        text.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lines of a file that stand-ins wrote, which is emptied.
    fn taken(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.at(file)).unwrap_or_default();
        let _ = fs::remove_file(self.at(file));
        text.lines().map(str::to_owned).collect()
    }
}

/// How much each snapshot of a source added, oldest first.
fn new_bytes(machine: &Machine<'_>, source: &str) -> Vec<u64> {
    let all = machine.objects(&format!("strongroom snapshots --json --source {source}"));
    all.iter().map(|snapshot| snapshot["figures"]["bytes_new"].as_u64().unwrap()).collect()
}

/// The recipes of the guide are those that are run here.
#[test]
fn every_recipe_of_the_guide_is_run() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/GUIDE.md")).unwrap();
    let section = guide.split("\n## Recipes\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let headings: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(headings, ["DataHub", "Dataiku DSS with Govern", "MyDB", "CommCare", "IDP"]);
    let tests = ["datahub", "dss", "mydb", "commcare", "idp"].map(|team| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/recipes/{team}.rs"));
        fs::read_to_string(file).unwrap()
    });
    for (heading, test) in headings.iter().zip(tests) {
        assert!(test.contains(&format!("Site::new(\"{heading}\"")), "no test runs the recipe {heading}");
        // The configuration is installed by each test; the other blocks are named by it.
        for language in ["sh", "sql", "ini"] {
            let count = blocks(&format!("### {heading}")).iter().filter(|(found, _)| found == language).count();
            for number in 0..count {
                let named = format!("block(\"{language}\", {number})");
                assert!(test.contains(&named), "{heading}: no test takes the block {number} of {language}");
            }
        }
    }
}
