//! Nights of jobs on a machine whose clock the tests set.
//!
//! Whole commands run in this process. Days and times are those of Los Angeles, where the clock goes back from 2 to 1 on
//! 1 November 2026.

mod fourteen;
mod hours;
mod thirty;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;

use super::env::Env;
use super::exit::Exit;
use super::testing::{Written, recorded};
use super::time::show;
use crate::primitives::system::{Scripted, System};

/// How often the timer of the machine calls `run --due`.
const QUARTER_MS: i64 = 15 * 60_000;

/// What a process that is to be killed is told.
const FOLDER: &str = "NIGHTS_FOLDER";
const NOW_MS: &str = "NIGHTS_NOW_MS";

/// A machine with a configuration, a repository, and a clock.
struct Machine {
    folder: PathBuf,
    system: Arc<Scripted>,
    _temporary: Option<TempDir>,
}

/// What a command printed, and how it ended.
struct Said {
    exit: Exit,
    out: String,
    errors: String,
}

impl Machine {
    /// A machine with a new repository, at this time. `FOLDER` stands for its folder in `jobs`.
    fn new(now: &str, jobs: &str) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        let system = Arc::new(Scripted::new(local_ms(now), 1));
        let machine = Self { folder, system, _temporary: Some(temporary) };
        machine.write("pass", "open sesame\n");
        machine.configure(jobs);
        machine.expect(Exit::Done, &["init", "--quiet"]);
        machine
    }

    fn configure(&self, jobs: &str) {
        let text = format!(
            "version = 1\ntime_zone = \"America/Los_Angeles\"\n\
             [repositories]\nmain = {{ url = \"FOLDER/repo\", password_file = \"FOLDER/pass\" }}\n\
             [defaults]\nrepository = \"main\"\n{jobs}"
        );
        self.write("strongroom.toml", text.replace("FOLDER", self.folder.to_str().unwrap()));
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let at = self.at(name);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(&at, text).unwrap();
        fs::set_permissions(at, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn env(&self) -> (Env, Written, Written) {
        let (mut env, out, errors) = recorded();
        env.cwd = self.folder.clone();
        env.home = Some(self.at("home"));
        env.host = "db1".to_owned();
        env.zone = zone();
        env.system = self.system.clone();
        for (name, at) in [("REPO", "repo"), ("PASSWORD_FILE", "pass"), ("CONFIG", "strongroom.toml")] {
            env.variables.insert(format!("STRONGROOM_{name}").into(), self.at(at).into());
        }
        (env, out, errors)
    }

    fn run(&self, words: &[&str]) -> Said {
        let (env, out, errors) = self.env();
        let exit = super::run(words.iter().map(OsString::from).collect(), &env);
        Said { exit, out: out.take(), errors: errors.take() }
    }

    /// Runs a command that is to end so, and answers what it printed.
    fn expect(&self, exit: Exit, words: &[&str]) -> String {
        let said = self.run(words);
        assert_eq!(said.exit, exit, "{words:?}: {}{}", said.out, said.errors);
        said.out
    }

    fn json(&self, words: &[&str]) -> Vec<Value> {
        let text = self.expect(Exit::Done, &[words, &["--json"]].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn now(&self) -> String {
        show(self.system.now_ms(), &zone())
    }

    /// The machine is off.
    fn off_until(&self, time: &str) {
        self.system.advance_ms(local_ms(time) - self.system.now_ms());
    }

    /// The machine is on, and its timer calls `run --due` again and again. What did not go well is answered: when, and
    /// how it ended.
    fn on_until(&self, time: &str) -> Vec<String> {
        let (end_ms, mut wrong) = (local_ms(time), Vec::new());
        while self.system.now_ms() < end_ms {
            let said = self.run(&["run", "--due"]);
            if said.exit != Exit::Done {
                wrong.push(format!("{} {:?}", self.now(), said.exit));
            }
            self.system.advance_ms(QUARTER_MS);
        }
        wrong
    }

    /// Runs what is due in another process, which is killed: a source of the job does that.
    fn killed(&self) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "cli::nights::the_process_that_is_killed", "--nocapture"]);
        command.env(FOLDER, &self.folder).env(NOW_MS, self.system.now_ms().to_string());
        let output = command.output().unwrap();
        assert_eq!(output.status.signal(), Some(9), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// No test by itself: see [`Machine::killed`].
#[test]
fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let now_ms = std::env::var(NOW_MS).unwrap().parse().unwrap();
    // It draws other random bytes than the process that tests.
    let system = Arc::new(Scripted::new(now_ms, 2));
    let machine = Machine { folder: folder.into(), system, _temporary: None };
    let said = machine.run(&["run", "--due"]);
    panic!("it was not killed: {}{}", said.out, said.errors);
}

fn zone() -> TimeZone {
    TimeZone::get("America/Los_Angeles").expect("the time zone database is installed (tzdata)")
}

fn local_ms(time: &str) -> i64 {
    time.parse::<DateTime>().unwrap().to_zoned(zone()).unwrap().timestamp().as_millisecond()
}

/// A text as it is compared: ids are `ID`, columns stand two spaces apart, the folder of the machine has a name, and of a
/// source of a run only the outcome is told.
fn plain(text: &str, folder: &Path) -> String {
    let text = text.replace(folder.to_str().unwrap(), "FOLDER");
    let text = Regex::new(r"(?-u:\b)[0-9a-f]{8}(?-u:\b)").unwrap().replace_all(&text, "ID").into_owned();
    let text = Regex::new("(?m), snapshot ID, .* stored$").unwrap().replace_all(&text, "").into_owned();
    Regex::new("  +").unwrap().replace_all(&text, "  ").into_owned()
}

/// Compares line by line, and shows all of it if a line differs.
fn assert_lines(got: &str, wanted: &str) {
    let lines = |text: &str| text.trim().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    let (got_lines, wanted_lines) = (lines(got), lines(wanted));
    let differs = got_lines.iter().zip(&wanted_lines).position(|(got, wanted)| got != wanted);
    let differs = differs.unwrap_or(got_lines.len().min(wanted_lines.len()));
    assert_eq!(got_lines.get(differs), wanted_lines.get(differs), "line {} of:\n{got}", differs + 1);
}
